//! The controller's own recurring work.
