//! Plans, applies and undoes on roots in temporary directories, as the user who runs the tests.

mod account;
mod attack;
mod block;
mod crash;
mod disk;
mod drift;
pub(crate) mod fixture;
mod flood;
mod looks;
mod package;
mod password;
mod property;
mod round;
mod service;
mod source;
mod sudoers;
mod sysctl;
mod undo;
