//! Tests of enrolment over loopback with a real store and signer.
