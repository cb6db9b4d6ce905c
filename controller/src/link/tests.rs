//! Tests of the link over loopback.
