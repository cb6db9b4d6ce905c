//! Drift of nodes from their desired state.
