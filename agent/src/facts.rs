//! What the node says of itself.
