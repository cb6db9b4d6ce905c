//! Nodes, roles, labels and the scopes that pick nodes by them.

mod label;
mod node;
mod scope;

pub use label::{LabelKey, LabelValue, Labels, Selector};
pub use node::{NodeFacts, NodeName, NodePause, NodePolicy, NodeState, RoleName};
pub use scope::{Level, Scope};
