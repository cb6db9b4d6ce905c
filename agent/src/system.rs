//! The only way to the disk and to programs: everything below a root, nothing through a symbolic link.
//!
//! [`Root`] holds a descriptor of `/` or of `--root DIR`; [`root`] walks below it, [`write`](mod@write) puts files in
//! place so that each is old or new, [`accounts`] reads users and groups as that root knows them. [`run`] starts programs
//! by absolute path; [`sandbox`] starts checkers that execute what they check; [`memory`] gives back what rests.

pub mod accounts;
pub mod memory;
pub mod root;
pub mod run;
pub mod sandbox;
pub mod write;

pub use accounts::{Account, Accounts};
pub use root::{PathError, Root, Seen, Stamp};
pub use write::{Modified, NewFile};
