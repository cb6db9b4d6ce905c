//! Gets the node's certificate with a token.
