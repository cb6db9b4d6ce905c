//! Integration: real controllers and agents, driven through `lampasctl`.

mod access;
mod apply;
mod backup;
mod bad_input;
mod clock;
mod crash;
mod docs;
mod drift;
mod enrol;
mod full_disk;
mod hung;
mod mariadb;
mod operation;
mod peer;
mod real_accounts;
mod real_cut_off;
mod real_effects;
mod real_host;
mod real_kinds;
mod real_systemd;
mod restart;
mod rollout;
mod secrets;
mod signing;
mod takeover;
mod trust;
