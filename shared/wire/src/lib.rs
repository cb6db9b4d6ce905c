//! Frames, messages and the sans-I/O link.
