//! The agents' connections: the controller's side of the link over QUIC.

mod gate;
mod source;

pub use gate::NodeGate;
pub use source::{Member, Membership, Presence, StateSource};
