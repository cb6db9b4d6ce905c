//! The audit: acts by principals, one row each, hash-chained.
