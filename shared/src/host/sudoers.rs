//! Rules for sudo(8): a file of `/etc/sudoers.d`.

use serde::{Deserialize, Serialize};

use super::ManagedPath;
use crate::{TextError, text::check_name};

/// Rules are a few lines; this is more than any site has.
const MAX_BYTES: usize = 64 << 10;

/// A file of `/etc/sudoers.d` by the object's name, owned by root with mode 0440. On the node it is checked together with
/// everything that sudo reads besides it, and refused when nobody but root would keep full rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Sudoers {
    /// The lines, as in sudoers(5); without `@include`, since what it names would be nobody's to check.
    pub content: String,
}

impl Sudoers {
    /// Returns where the rules of this name stand.
    ///
    /// # Errors
    /// When sudo would not read a file of this name.
    pub fn path_for(name: &str) -> Result<ManagedPath, TextError> {
        check_name(
            "name",
            name,
            64,
            |_, c| c.is_ascii_alphanumeric() || "_-".contains(c),
            "rules for sudo have a name of letters, digits, '_' and '-' only, since sudo skips files with a '.'",
        )?;
        if name == "README" {
            return Err(TextError::new("name", name, "is the file that comes with sudo"));
        }
        ManagedPath::parse(format!("/etc/sudoers.d/{name}"))
    }

    /// Returns the bytes that stand on the node: the content, ended with a newline.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.content.clone().into_bytes();
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        bytes
    }

    /// Checks the name and the lines, as far as that goes without sudo.
    ///
    /// # Errors
    /// When sudo would not read the file, or would read what nobody checks.
    pub fn check(&self, name: &str) -> Result<(), TextError> {
        Self::path_for(name)?;
        let wrong = |value: &str, reason: String| Err(TextError::new("content", value, reason));
        if self.content.len() > MAX_BYTES {
            return wrong("…", format!("{} bytes, at most {MAX_BYTES} are allowed", self.content.len()));
        }
        if self.content.trim().is_empty() {
            return wrong("", "is empty; write the lines that stand in the file".into());
        }
        for line in self.content.split('\n') {
            if line.chars().any(|c| c.is_control() && c != '\t') {
                return wrong(line, "has a control character (a carriage return, maybe)".into());
            }
            let first = line.trim_start();
            if ["#include", "@include"].iter().any(|word| first.starts_with(word)) {
                return wrong(line, "takes in other files, which nobody checks; write their lines here".into());
            }
        }
        if self.content.trim_end_matches('\n').ends_with('\\') {
            return wrong("", "ends within a line that goes on".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sudo_would_skip_or_nobody_checks_is_refused() {
        let check = |name: &str, content: &str, is_good: bool| {
            let result = Sudoers { content: content.to_owned() }.check(name);
            assert_eq!(result.is_ok(), is_good, "{name} {content:?}: {result:?}");
        };
        check("admins", "%admins ALL=(ALL:ALL) ALL\n", true);
        check("admins", "# why\nUser_Alias A = ann, \\\n  bob\nA ALL = ALL", true);
        check("admins.conf", "ann ALL=ALL\n", false);
        check("a~", "ann ALL=ALL\n", false);
        check("../passwd", "ann ALL=ALL\n", false);
        check("README", "ann ALL=ALL\n", false);
        check("admins", " \n", false);
        check("admins", "ann ALL=ALL\r\n", false);
        check("admins", "#includedir /tmp\n", false);
        check("admins", "  @include /tmp/x\n", false);
        check("admins", "ann ALL=ALL \\\n", false);
        check("admins", &"#".repeat(MAX_BYTES + 1), false);
    }

    #[test]
    fn the_file_ends_with_a_newline() {
        assert_eq!(Sudoers { content: "a ALL=ALL".into() }.bytes(), b"a ALL=ALL\n");
        assert_eq!(Sudoers { content: "a ALL=ALL\n".into() }.bytes(), b"a ALL=ALL\n");
    }
}
