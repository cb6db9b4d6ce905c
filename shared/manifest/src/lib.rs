//! TOML manifests: objects in files.
