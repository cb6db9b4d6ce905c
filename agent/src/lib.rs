//! The privileged agent on every node.
