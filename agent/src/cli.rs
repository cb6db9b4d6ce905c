//! What an operator types on the node.
