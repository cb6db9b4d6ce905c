//! The driver over real QUIC on loopback, against a peer that uses the controller's machine.
