//! The controller's configuration: one TOML file, checked once at start.
