//! Objects of a fleet compiled to what each node must be. Pure.
