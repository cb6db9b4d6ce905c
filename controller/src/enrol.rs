//! Enrolment tokens, and how a node gets its certificate.
