//! Speaks to a controller.
