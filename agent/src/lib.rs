//! The privileged agent on every node: makes true what the controller decided, and keeps it true without it.
//!
//! # Map
//! - [`link`] speaks to a controller: takes desired states in, carries the outbox out. [`enrol`] gets the certificate.
//! - [`journal`] keeps what was acknowledged: desired state, outbox, ownership, blobs. Nothing else knows its store.
//! - [`reconcile`] is the one task that changes the node: observe, plan, validate, apply, prove, report, confirm.
//! - [`drift`] notices changes by hand; [`policy`] is the node's own word over any controller.
//! - [`system`] is the only way to the disk and to programs, below a root; [`host`] plans and applies each kind on it.
//! - [`observe`] holds that nothing is written yet; [`scan`] looks at what others put on the node, to take it over.
//! - [`operation`] runs commands and scripts that a controller asks for, each in a process that outlives the agent.
//! - [`job`] is what cron runs: a wrapper that needs neither agent nor controller.
//! - [`control`] is the agent's Unix socket, [`cli`] what an operator types on the node.

pub mod check;
pub mod cli;
pub mod config;
pub mod control;
pub mod drift;
pub mod enrol;
pub mod facts;
pub mod host;
pub mod job;
pub mod journal;
pub mod link;
pub mod observe;
pub mod operation;
pub mod policy;
mod probe;
pub mod reconcile;
pub mod scan;
pub mod signature;
pub mod simulate;
pub mod system;
