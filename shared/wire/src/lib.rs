//! What agents and controllers say to each other: frames, messages per version, and the link as a machine without I/O.
//!
//! [`frame`] cuts a stream into frames under hard limits. [`Message`] is what a frame means, in domain types; [`encode`]
//! and [`decode`] go through the structs of `v1`, which are frozen by golden vectors, so that a domain type may change
//! without changing the wire. [`link`] holds the two state machines, to which time and bytes are given.
//!
//! `Hello` and the facts of a node have a layout of their own that any version can read; the rest is bincode.

mod codec;
pub mod frame;
pub mod link;
mod message;
mod v1;

pub use codec::{DecodeError, EncodeError, decode, encode};
pub use message::{
    BlobRequest, EnrolReply, EnrolRequest, Enrolled, Goodbye, GoodbyeReason, Hello, Kind, Message, RenewReply,
    RenewRequest, Renewed, Reply, Report, Request, Role, SecretRequest, Trust, WIRE_VERSION, Welcome, feature,
};
