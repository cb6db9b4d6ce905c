//! The pure domain of LAMPAS: what controller, agent, dashboard and command line talk about.
//!
//! Nothing here does I/O, reads a clock or draws a random number; times and ids come in as
//! arguments. Building a value is its check: who holds a [`host::ManagedPath`] need not look again.
//!
//! # Glossary
//! - **fleet**: all nodes of one controller. **node**: one server with an agent. **role**: what a node is for.
//! - **object**: anything an operator can change; has immutable **revisions**. **scope**: the nodes it is for.
//! - **target**: what an object claims on a node (a path, a host name, a cron name); precedence is decided by target.
//! - **change**: drafts of objects that are planned, approved and applied together. **plan**: what would happen, as a value.
//! - **rollout**: how an applied change reaches its nodes: in **waves**, each with a failure budget, **gates** and a deadline.
//! - **desired state**: all that one node must be; has a **generation** and a content **hash**. **resource**: one entry of it.
//! - **cause** of what became otherwise on nodes: **corrective**, drift was put back; **intentional**, somebody wanted something else.
//! - **group**: resources that are validated and rolled back together.
//! - **observed state**: what the agent found. **drift**: a difference nobody asked for. **adopt**: make it the desired state;
//!   where a template made the file, by a three-way **merge** into it. **revert**: put the desired state back. **report**: what a node says of a generation.
//! - **in force**: bytes read back and, where it can be, the effect proven.
//! - **journal**: the agent's store. **outbox**: reports that wait for the controller's acknowledgement.
//! - **scan**: what stands on a node that nobody manages. **observe**: a mode of a node in which nothing is written; **take
//!   over** ends it. **eject**: leave plain files behind and forget the node's identity.
//! - **enrolment**: how a node gets its certificate, by a **token**.
//! - **operation**: a command or a script that runs once on a **selection**: the nodes of some scopes, resolved when it
//!   starts. Each node has one **run** of it. **rehearse**: run in a copy of the node's files, to see what would change.
//! - **variable**, **secret**: a named value that **templates** use; a secret's is sealed and never shown.
//! - **root code**: what root, or everybody's login, would execute or obey; judged by effect ([`root_code`]).
//! - **source**: a git repository whose manifests the controller reads; what a commit says is *brought* by a change.
//! - **event**: a fact. **audit**: an act by a **principal** (user, API token, node, schedule).

pub mod access;
pub mod audit;
pub mod change;
pub mod check;
pub mod desired;
pub mod error;
pub mod event;
pub mod fleet;
pub mod host;
pub mod id;
pub mod object;
pub mod operation;
pub mod probe;
pub mod report;
pub mod rollout;
pub mod root_code;
pub mod scan;
pub mod secret;
pub mod signature;
pub mod source;
pub mod template;
#[doc(hidden)]
pub mod testing;
mod text;
pub mod time;

pub use text::{TextError, check_line, deceptive_char};
