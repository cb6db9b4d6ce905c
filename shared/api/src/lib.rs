//! Requests and answers of the HTTP API, version 1: used by the controller and by `lampasctl`, and by the dashboard
//! through the OpenAPI document. Domain types stand in them as they are; what the API adds stands here.
//!
//! Conventions: ids are UUIDs in text, times RFC 3339, lists are [`Page`]s that go on at `next`, errors are
//! [`Problem`]s (RFC 9457). Unknown fields in requests are refused.

mod access;
mod approval;
mod audit;
mod change;
mod controller;
mod device;
mod drift;
mod enrol;
mod job;
mod mail;
mod node;
mod object;
mod operation;
mod overview;
mod page;
mod past;
mod problem;
mod provider;
mod query;
mod role;
mod script;
mod secret;
mod security_key;
mod signature;
mod source;
mod takeover;

pub use access::*;
pub use approval::*;
pub use audit::*;
pub use change::*;
pub use controller::*;
pub use device::*;
pub use drift::*;
pub use enrol::*;
pub use job::*;
pub use mail::*;
pub use node::*;
pub use object::*;
pub use operation::*;
pub use overview::*;
pub use page::*;
pub use past::*;
pub use problem::*;
pub use provider::*;
pub use query::*;
pub use role::*;
pub use script::*;
pub use secret::*;
pub use security_key::*;
pub use signature::*;
pub use source::*;
pub use takeover::*;
