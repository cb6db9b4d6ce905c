//! Files, directories and symbolic links.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{GroupName, ManagedPath, Reaction, UserName};
use crate::{TextError, template::Template, text::check_line};

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

/// A check that a file must pass on the node before it lands: one of those that LAMPAS brings, or a program of the node's
/// that runs without any power. In JSON and TOML a word, or a list of words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// A program with its arguments.
    #[serde(untagged)]
    Command(CheckCommand),
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for Validator {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::{
            ObjectBuilder,
            schema::{ArrayBuilder, OneOfBuilder, Type},
        };
        let word =
            ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["script", "json", "toml", "sudoers"]));
        let list = ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String));
        OneOfBuilder::new().item(word).item(list).into()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for Validator {}

/// A program that checks a content: absolute path and arguments, of which one or more hold `%s`, where the path of a copy
/// of the content is put in. It is executed as it stands, never by a shell, as nobody, without network and without
/// anything to write to but a scratch directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CheckCommand(Vec<String>);

impl CheckCommand {
    /// Checks the words.
    ///
    /// # Errors
    /// When they are no program by absolute path, or no argument names the content.
    pub fn new(words: Vec<String>) -> Result<Self, TextError> {
        let shown = words.join(" ");
        let wrong = |reason: &str| Err(TextError::new("validate", &shown, reason));
        let Some(program) = words.first() else {
            return wrong("is empty; write [\"/usr/sbin/PROGRAM\", \"ARGUMENT\", \"%s\"]");
        };
        let is_plain = |p: &str| p.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
        if !program.starts_with('/') || !is_plain(program) || program.contains("%s") {
            return wrong("names its program by an absolute path");
        }
        if words.len() > 32 {
            return wrong("has over 32 words");
        }
        words.iter().try_for_each(|word| check_line("validate", word, 1024))?;
        if !words.iter().skip(1).any(|word| word.contains("%s")) {
            return wrong("has no \"%s\", where the path of the content to be checked stands");
        }
        Ok(Self(words))
    }

    /// Returns the words, with `%s` as it was written.
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// Returns the words for a content that stands at this path.
    pub fn at(&self, path: &str) -> Vec<String> {
        self.0.iter().map(|word| word.replace("%s", path)).collect()
    }
}

impl TryFrom<Vec<String>> for CheckCommand {
    type Error = TextError;
    fn try_from(words: Vec<String>) -> Result<Self, TextError> {
        Self::new(words)
    }
}

impl From<CheckCommand> for Vec<String> {
    fn from(command: CheckCommand) -> Self {
        command.0
    }
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
    /// Whether names in the content stand for values: `{{var.NAME}}`, `{{secret.NAME}}`, `{{fact.hostname}}`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
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
    /// The units that are reloaded or restarted when it changed, in this order; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_change: Vec<Reaction>,
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
    /// The units that are reloaded or restarted when it changed, in this order; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_change: Vec<Reaction>,
}

impl Link {
    pub(crate) fn check(&self) -> Result<(), TextError> {
        if self.target.is_empty() {
            return Err(TextError::new("target", &self.target, "is empty"));
        }
        check_line("target", &self.target, 1024)?;
        Reaction::check_all(&self.on_change)
    }
}

fn default_file_mode() -> FileMode {
    FileMode(0o644)
}

fn default_directory_mode() -> FileMode {
    FileMode(0o755)
}

impl ManagedFile {
    pub(crate) fn check(&self) -> Result<(), TextError> {
        self.bytes()?;
        Reaction::check_all(&self.on_change)?;
        if !self.template {
            return Ok(());
        }
        if self.encoding != Encoding::Utf8 {
            return Err(TextError::new("template", "true", "only text can be a template"));
        }
        Template::parse(&self.content).map(drop)
    }

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

pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_word_or_a_program_with_its_arguments() {
        let check = |json: &str, expected: Option<&str>| {
            let read = serde_json::from_str::<Validator>(json).ok();
            let written = read.map(|v| serde_json::to_string(&v).expect("JSON"));
            assert_eq!(written.as_deref(), expected, "{json}");
        };
        check("\"json\"", Some("\"json\""));
        check(r#"["/usr/sbin/nginx","-t","-c","%s"]"#, Some(r#"["/usr/sbin/nginx","-t","-c","%s"]"#));
        check("\"shell\"", None);
        check("[]", None);
        check(r#"["nginx","%s"]"#, None);
        check(r#"["/usr/sbin/../bin/sh","%s"]"#, None);
        check(r#"["/usr/sbin/nginx","-t"]"#, None);
        check(r#"["/usr/sbin/nginx","a\nb","%s"]"#, None);
        let command = CheckCommand::new(vec!["/bin/x".into(), "--file=%s".into()]).expect("a command");
        assert_eq!(command.at("/tmp/f"), ["/bin/x", "--file=/tmp/f"]);
    }
}
