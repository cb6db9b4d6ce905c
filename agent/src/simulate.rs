//! Many agents in one process, without disks.
