//! Notices changes by hand.
