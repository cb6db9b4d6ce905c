//! Changes: drafts, plan, apply, revert.
