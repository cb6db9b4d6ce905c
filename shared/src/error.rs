//! Errors as they are shown and sent: the whole chain in one line, and faults that cross the wire.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

/// Prints an error with all its sources: `what was tried: why it failed: the cause`.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// An error that crosses the wire. Whether a retry can help is decided where the error is born.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[error("{message}")]
pub struct Fault {
    /// Stable, machine-readable: `cron.user_unknown`, `file.ancestor_writable`.
    pub code: String,
    /// What happened, what it means and what to do.
    pub message: String,
    /// Whether the same attempt may succeed later without anybody's act.
    pub retry: bool,
}

impl Fault {
    /// A fault that somebody must mend.
    pub fn lasting(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retry: false }
    }

    /// A fault that may pass by itself.
    pub fn passing(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retry: true }
    }
}
