//! The signer: a process of its own that holds the signing keys.
