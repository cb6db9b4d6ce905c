//! Files, directories and symbolic links.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{GroupName, ManagedPath, UserName};
use crate::{TextError, text::check_line};

/// The longest content of one file, in bytes: what one blob holds (architecture, section 4).
pub(crate) const MAX_CONTENT_BYTES: usize = 1 << 20;

/// Permission bits, written in octal: `"0644"`. Set-uid and set-gid are allowed, and shown as `root_code`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileMode(u16);

crate::text::string_schema!(FileMode, "0644");

impl FileMode {
    /// Checks that only the twelve permission bits are set.
    pub fn new(bits: u32) -> Result<Self, TextError> {
        if bits > 0o7777 {
            return Err(TextError::new("mode", &format!("{bits:o}"), "has bits above 7777"));
        }
        Ok(Self(bits as u16))
    }

    /// Returns the bits.
    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }
}

impl FromStr for FileMode {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        if !(3..=5).contains(&text.len()) || !text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
            return Err(TextError::new("mode", text, "write it in octal, as in \"0644\""));
        }
        let bits = u32::from_str_radix(text, 8).map_err(|_| TextError::new("mode", text, "is not octal"))?;
        Self::new(bits)
    }
}

impl TryFrom<String> for FileMode {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl From<FileMode> for String {
    fn from(mode: FileMode) -> Self {
        mode.to_string()
    }
}

/// How a content stands in JSON and TOML.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As text.
    #[default]
    Utf8,
    /// As standard base64 with padding, for what is not UTF-8.
    Base64,
}

/// A check that a file must pass on the node before it lands. A closed list: a check is never a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Validator {
    /// `sh -n`, `bash -n` or `perl -c` by the first line; only `perl -c` runs code, and it runs sandboxed.
    Script,
    /// `json.tool`-class well-formedness, checked by the agent itself.
    Json,
    /// TOML well-formedness, checked by the agent itself.
    Toml,
    /// `visudo -c -f`.
    Sudoers,
}

/// A file with its whole content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ManagedFile {
    /// Where it stands on the node.
    pub path: ManagedPath,
    /// The content, at most 1 MiB decoded.
    #[serde(default)]
    pub content: String,
    /// How `content` is written; text by default.
    #[serde(default)]
    pub encoding: Encoding,
    /// The owner; `root` by default.
    #[serde(default = "UserName::root")]
    pub owner: UserName,
    /// The group; `root` by default.
    #[serde(default = "GroupName::root")]
    pub group: GroupName,
    /// The mode; `0644` by default.
    #[serde(default = "default_file_mode")]
    pub mode: FileMode,
    /// The check that it must pass on the node before it lands; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<Validator>,
}

/// A directory; what stands in it is nobody's business but its own objects'.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Where it stands on the node.
    pub path: ManagedPath,
    /// The owner; `root` by default.
    #[serde(default = "UserName::root")]
    pub owner: UserName,
    /// The group; `root` by default.
    #[serde(default = "GroupName::root")]
    pub group: GroupName,
    /// The mode; `0755` by default.
    #[serde(default = "default_directory_mode")]
    pub mode: FileMode,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Where the link stands on the node.
    pub path: ManagedPath,
    /// What it points to: absolute or relative, 1 to 1,024 bytes in one line. It need not exist.
    pub target: String,
}

impl Link {
    pub(crate) fn check(&self) -> Result<(), TextError> {
        if self.target.is_empty() {
            return Err(TextError::new("target", &self.target, "is empty"));
        }
        check_line("target", &self.target, 1024)
    }
}

fn default_file_mode() -> FileMode {
    FileMode(0o644)
}

fn default_directory_mode() -> FileMode {
    FileMode(0o755)
}

impl ManagedFile {
    /// Returns the bytes that shall stand on the disk.
    ///
    /// # Errors
    /// When the encoding says base64 and the content isn't, or when it is over 1 MiB.
    pub fn bytes(&self) -> Result<Vec<u8>, TextError> {
        let bytes = match self.encoding {
            Encoding::Utf8 => self.content.as_bytes().to_vec(),
            Encoding::Base64 => {
                base64_decode(&self.content).ok_or_else(|| TextError::new("content", &self.content, "is not base64"))?
            }
        };
        if bytes.len() > MAX_CONTENT_BYTES {
            return Err(TextError::new(
                "content",
                "…",
                format!("{} bytes, at most {MAX_CONTENT_BYTES} are allowed", bytes.len()),
            ));
        }
        Ok(bytes)
    }

    /// Returns content and encoding for bytes: text where they are UTF-8 without NUL, base64 otherwise.
    pub fn encode(bytes: &[u8]) -> (String, Encoding) {
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => (text.to_owned(), Encoding::Utf8),
            _ => (base64_encode(bytes), Encoding::Base64),
        }
    }
}

fn base64_decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    base64::engine::general_purpose::STANDARD.decode(compact).ok()
}

fn base64_encode(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
