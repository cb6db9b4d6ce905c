//! The node's own policy.
