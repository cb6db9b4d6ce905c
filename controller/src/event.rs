//! Events: facts in commit order.
