//! Support scripts: executables that a role's operators and jobs call by name.

use serde::{Deserialize, Serialize};

use super::{FileMode, GroupName, ManagedPath, Reaction, UserName, file::MAX_CONTENT_BYTES};
use crate::{
    TextError,
    operation::{Parameter, check_declarations},
    template::Template,
};

/// A script; checked (`sh -n`, `bash -n`, `perl -c` in a sandbox) before it lands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Where it stands on the node; `/usr/local/bin/NAME` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<ManagedPath>,
    /// The text, UTF-8, at most 1 MiB, beginning with a `#!` line.
    pub content: String,
    /// Whether names in the text stand for values: `{{var.NAME}}`, `{{secret.NAME}}`, `{{fact.hostname}}`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// The owner; `root` by default.
    #[serde(default = "UserName::root")]
    pub owner: UserName,
    /// The group; `root` by default.
    #[serde(default = "GroupName::root")]
    pub group: GroupName,
    /// The mode; `0755` by default.
    #[serde(default = "default_mode")]
    pub mode: FileMode,
    /// What whoever runs it as an operation may or must say; none by default. Not part of what stands on a node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// The units that are reloaded or restarted when it changed, in this order; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_change: Vec<Reaction>,
}

fn default_mode() -> FileMode {
    FileMode::new(0o755).expect("0755 is a mode")
}

impl Script {
    /// Returns the path for a script of this name.
    ///
    /// # Errors
    /// When no path is given and the name can't be a file's.
    pub fn path_for(&self, name: &str) -> Result<ManagedPath, TextError> {
        match &self.path {
            Some(path) => Ok(path.clone()),
            None => ManagedPath::parse(format!("/usr/local/bin/{name}")),
        }
    }

    pub(crate) fn check(&self) -> Result<(), TextError> {
        let wrong =
            |reason: String| Err(TextError::new("content", self.content.lines().next().unwrap_or_default(), reason));
        if self.content.len() > MAX_CONTENT_BYTES {
            return wrong(format!("{} bytes, at most {MAX_CONTENT_BYTES} are allowed", self.content.len()));
        }
        if self.content.contains('\0') {
            return wrong("contains a NUL byte".into());
        }
        if !self.content.starts_with("#!/") {
            return wrong("the first line must name the interpreter, as in #!/bin/sh".into());
        }
        if self.content.lines().next().is_some_and(|l| l.ends_with('\r')) {
            return wrong(
                "the first line ends with a carriage return, which the kernel takes as part of the interpreter's name"
                    .into(),
            );
        }
        Reaction::check_all(&self.on_change)?;
        if self.template {
            Template::parse(&self.content)?;
        }
        check_declarations(&self.parameters)
    }
}
