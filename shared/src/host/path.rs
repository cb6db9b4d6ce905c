//! Paths that LAMPAS may manage on a node.

use crate::{
    TextError,
    text::{check_line, text_newtype},
};

/// What belongs to the node's owner, the kernel or LAMPAS itself, and is never managed from the controller
/// (architecture: "Policy on the node"). The agent refuses these again.
const FORBIDDEN: [&str; 8] = [
    "/proc",
    "/sys",
    "/dev",
    "/run/lampas",
    "/etc/lampas",
    "/var/lib/lampas",
    "/usr/bin/lampas-agent",
    "/usr/lib/lampas-agent",
];

text_newtype!(
    /// An absolute path in normal form: no `.`, `..`, empty parts or trailing slash; at most 1,024 bytes, 255 a part;
    /// nothing that is the kernel's or LAMPAS's own.
    ManagedPath,
    |text| {
        let wrong = |reason: &str| Err(TextError::new("path", text, reason));
        check_line("path", text, 1024)?;
        let Some(rest) = text.strip_prefix('/') else { return wrong("must begin with '/'") };
        if rest.is_empty() {
            return wrong("the root directory can't be managed");
        }
        for part in rest.split('/') {
            match part {
                "" => return wrong("has an empty part (\"//\" or a trailing slash)"),
                "." | ".." => return wrong("must not contain \".\" or \"..\""),
                _ if part.len() > 255 => return wrong("has a part of over 255 bytes"),
                _ => {}
            }
        }
        if FORBIDDEN.iter().any(|f| text == *f || text.strip_prefix(f).is_some_and(|r| r.starts_with('/'))) {
            return wrong("belongs to the kernel or to LAMPAS itself and can't be managed");
        }
        Ok(())
    }
);

impl ManagedPath {
    /// Returns the last part.
    pub fn file_name(&self) -> &str {
        self.as_str().rsplit('/').next().unwrap_or_default()
    }

    /// Returns the path without the leading slash, to be opened below a root directory.
    pub fn relative(&self) -> &str {
        &self.as_str()[1..]
    }
}
