//! Nodes, roles and labels.
