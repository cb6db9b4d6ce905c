//! The only way to the disk and to programs, below a root.
