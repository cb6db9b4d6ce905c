//! Hints that something changed, for browsers and waiting commands.
