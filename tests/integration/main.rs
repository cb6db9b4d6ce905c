//! Integration: real controllers and agents, driven through `lampasctl`.

mod access;
mod apply;
mod crash;
mod docs;
mod drift;
mod enrol;
mod mariadb;
mod restart;
