//! Online backups, encrypted to a key kept apart, and their restore.
