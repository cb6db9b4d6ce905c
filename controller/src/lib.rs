//! The Management Console: store, compile, link, API and dashboard. See `ARCHITECTURE.md`.

pub mod access;
pub mod api;
pub mod audit;
pub mod background;
pub mod backup;
pub mod ca;
pub mod change;
pub mod cli;
pub mod compile;
pub mod config;
pub mod db;
pub mod drift;
pub mod enrol;
pub mod event;
pub mod fleet;
pub mod host;
pub mod job;
pub mod link;
pub mod live;
pub mod operation;
pub mod past;
pub mod secret;
pub mod serve;
pub mod setup;
pub mod signer;
pub mod takeover;
