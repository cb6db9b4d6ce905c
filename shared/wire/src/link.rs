//! The link as a machine without I/O.
