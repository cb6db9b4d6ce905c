//! The agents' connections: the controller's side of the link over QUIC.
//!
//! [`server`] accepts: after the handshake the purpose (ALPN) and the certificate decide what a connection may do. A
//! normal link is driven by a task of its own (`session`), which feeds the sans-I/O machine of `lampas_wire` with bytes
//! and time and carries out its commands; it holds no buffers but what is under way, because there are thousands.
//! [`Gate`] is what the rest of the controller holds: it finds a node's session in the `registry`, wakes it, asks it, or
//! ends it. What the link needs of the store stands in traits ([`StateSource`], [`Membership`], [`Admission`]).

mod gate;
mod operation;
mod presence;
mod registry;
pub mod server;
mod session;
mod source;
mod stream;

pub use gate::NodeGate;
pub use operation::Gate;
pub use server::{Link, LinkConfig, LinkError, Parts};
pub use source::{Admission, FENCED, Member, Membership, Presence, Recorded, Shown, StateSource, Wanted};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
