//! Users, sessions, tokens and the rule of who may do what.
