//! Harness and tests over real parts.
