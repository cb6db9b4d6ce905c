//! The harness: a real controller and real agents, as processes of their own, under directories of their own.
//!
//! Everything is driven as a user would: through `lampasctl`, and through the files of the nodes. Ports are picked
//! free; every process ends with its owner.

mod controller;
mod machine;
mod manifest;
mod mariadb;
mod node;
mod process;
mod secret;
mod session;
mod wait;

pub use controller::{Controller, CtlOutput, HttpAnswer, Store};
pub use machine::{Machine, Service};
pub use manifest::templated;
pub use mariadb::MariaDb;
pub use node::Node;
pub use process::{Process, binary, free_port};
pub use secret::Texts;
pub use session::Session;
pub use wait::{wait_for, wait_within};
