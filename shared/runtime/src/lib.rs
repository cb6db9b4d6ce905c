//! The only shared I/O of LAMPAS: tasks and their end, clock, random numbers, telemetry, configuration, TLS identity, sealed values
//! and the QUIC endpoint. Everything else that is shared is pure.

pub mod backoff;
pub mod clock;
pub mod config;
pub mod files;
pub mod identity;
pub mod lifecycle;
pub mod quic;
pub mod random;
pub mod seal;
mod tasks;
pub mod telemetry;

pub use tasks::Tasks;
