//! Integration: real controllers and agents, driven through `lampasctl`.

mod access;
mod apply;
mod crash;
mod drift;
mod enrol;
mod restart;
