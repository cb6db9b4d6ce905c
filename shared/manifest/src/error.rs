//! Mistakes in manifests, with the place where each stands.

use std::fmt;

use lampas_shared::TextError;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// `field "value": reason`, or what else there is to say.
    pub message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

impl std::error::Error for ManifestError {}

/// All mistakes of a set of manifests, by file and line; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestErrors(pub Vec<ManifestError>);

impl fmt::Display for ManifestErrors {
    /// Prints one mistake a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestErrors {}

/// Words a mistake in a field's value; the value is shortened.
pub(crate) fn wrong_value(field: &'static str, value: &str, reason: impl Into<String>) -> String {
    TextError::new(field, value, reason).to_string()
}

/// Words a mistake that the domain found between fields. There may be no value to show.
pub(crate) fn wrong_object(error: &TextError) -> String {
    if error.value.is_empty() { format!("{}: {}", error.what, error.reason) } else { error.to_string() }
}
