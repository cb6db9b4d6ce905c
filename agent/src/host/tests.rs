//! Plans, applies and undoes on roots in temporary directories, as the user who runs the tests.

mod account;
mod attack;
mod crash;
mod disk;
mod drift;
pub(crate) mod fixture;
mod looks;
mod package;
mod property;
mod round;
mod service;
mod sudoers;
mod sysctl;
