//! The first administrator.
