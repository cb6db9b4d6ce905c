//! Checks of a script's draft on a node: what `shellcheck`, `sh -n` and `perl -c` say of it.

use serde::{Deserialize, Serialize};

use crate::TextError;

/// The most findings that are told.
pub const MAX_FINDINGS: usize = 200;
/// The longest script that is checked or tried, in bytes.
pub const MAX_DRAFT: usize = 256 << 10;

/// What a node is asked to look at. The language stands in the first line.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ScriptDraft {
    /// The text, UTF-8, beginning with a `#!` line.
    pub content: String,
}

impl ScriptDraft {
    /// Checks what no tool needs to be run for.
    ///
    /// # Errors
    /// When it is too long, holds a NUL byte, or its first line names no interpreter.
    pub fn check(&self) -> Result<(), TextError> {
        let wrong = |why: String| TextError::new("content", self.content.lines().next().unwrap_or_default(), why);
        if self.content.len() > MAX_DRAFT {
            return Err(wrong(format!("{} bytes, at most {MAX_DRAFT} are allowed", self.content.len())));
        }
        if self.content.contains('\0') {
            return Err(wrong("contains a NUL byte".into()));
        }
        if !self.content.starts_with("#!/") {
            return Err(wrong("the first line must name the interpreter, as in #!/bin/sh".into()));
        }
        Ok(())
    }
}

impl std::fmt::Debug for ScriptDraft {
    /// Leaves the text out: scripts never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ScriptDraft({} B)", self.content.len())
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FindingLevel {
    /// It can't run like this.
    Error,
    /// It probably does not do what was meant.
    Warning,
    /// Something to know.
    Info,
    /// A matter of taste.
    Style,
}

/// One thing that a tool found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ToolFinding {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; 0 when the tool names none.
    pub column: u32,
    /// The line at which it ends.
    pub end_line: u32,
    /// The column before which it ends; 0 when the tool names none.
    pub end_column: u32,
    /// How much it matters.
    pub level: FindingLevel,
    /// The tool's number for it: `SC2086`; empty when it has none.
    pub code: String,
    /// What it is.
    pub message: String,
    /// The tool.
    pub tool: String,
}

/// What a node's tools said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Checked {
    /// The tools that ran, by name.
    pub tools: Vec<String>,
    /// What could not be done, in words: a tool that the node lacks.
    pub notes: Vec<String>,
    /// What they found, in the order of lines.
    pub findings: Vec<ToolFinding>,
}
