//! The only shared I/O of LAMPAS: tasks and their end, clock, random numbers, telemetry, configuration, TLS identity
//! and the QUIC endpoint. Everything else that is shared is pure.

pub mod clock;
pub mod random;
mod tasks;

pub use tasks::Tasks;
