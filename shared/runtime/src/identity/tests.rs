//! Tests of names, files and verifiers.
