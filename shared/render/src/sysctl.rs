//! Files of `/etc/sysctl.d`, as sysctl.d(5) reads them.

pub use lampas_shared::host::assigned;
