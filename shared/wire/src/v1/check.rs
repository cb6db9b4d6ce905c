//! Checks of drafts of scripts.

use lampas_shared::{
    TextError,
    check::{self, FindingLevel as DomainLevel, MAX_FINDINGS},
    error,
};
use serde::{Deserialize, Serialize};

use super::{Fault, Text, bounded, bounded_list, cut, each};
use crate::{
    codec::{DecodeError, EncodeError, from_body, to_body},
    message::{Kind as FrameKind, Reply},
};

/// The longest message of a finding, in bytes, and the most tools or notes.
const MAX_MESSAGE: usize = 1000;
const MAX_NOTES: usize = 16;

pub(super) fn draft_from_wire(content: Text) -> Result<check::ScriptDraft, TextError> {
    let draft = check::ScriptDraft { content: content.0 };
    draft.check()?;
    Ok(draft)
}

pub(super) fn encode(kind: FrameKind, checked: &Result<check::Checked, error::Fault>) -> Result<Vec<u8>, EncodeError> {
    to_body(kind, &checked.as_ref().map(Checked::from).map_err(Fault::from))
}

pub(super) fn decode(kind: FrameKind, body: &[u8]) -> Result<Reply, DecodeError> {
    let bad = |source| DecodeError::Value { kind, source };
    Ok(Reply::Check(match from_body::<Result<Checked, Fault>>(kind, body)? {
        Ok(checked) => Ok(checked.try_into().map_err(bad)?),
        Err(fault) => Err(fault.try_into().map_err(bad)?),
    }))
}

#[derive(Serialize, Deserialize)]
struct Checked {
    tools: Vec<Text>,
    notes: Vec<Text>,
    findings: Vec<Finding>,
}

#[derive(Serialize, Deserialize)]
struct Finding {
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
    level: Level,
    code: Text,
    message: Text,
    tool: Text,
}

#[derive(Serialize, Deserialize)]
enum Level {
    Error,
    Warning,
    Info,
    Style,
}

impl From<&check::Checked> for Checked {
    fn from(checked: &check::Checked) -> Self {
        let texts = |list: &[String]| list.iter().take(MAX_NOTES).map(|t| Text(cut(t, MAX_MESSAGE))).collect();
        Self {
            tools: texts(&checked.tools),
            notes: texts(&checked.notes),
            findings: checked.findings.iter().take(MAX_FINDINGS).map(Finding::from).collect(),
        }
    }
}

impl From<&check::ToolFinding> for Finding {
    fn from(finding: &check::ToolFinding) -> Self {
        Self {
            line: finding.line,
            column: finding.column,
            end_line: finding.end_line,
            end_column: finding.end_column,
            level: match finding.level {
                DomainLevel::Error => Level::Error,
                DomainLevel::Warning => Level::Warning,
                DomainLevel::Info => Level::Info,
                DomainLevel::Style => Level::Style,
            },
            code: Text(cut(&finding.code, 32)),
            message: Text(cut(&finding.message, MAX_MESSAGE)),
            tool: Text(cut(&finding.tool, 32)),
        }
    }
}

impl TryFrom<Checked> for check::Checked {
    type Error = TextError;
    fn try_from(checked: Checked) -> Result<Self, TextError> {
        let texts = |list: Vec<Text>| -> Result<Vec<String>, TextError> {
            bounded_list("notes", list.len(), MAX_NOTES)?;
            list.into_iter().map(|t| bounded("note", &t.0, MAX_MESSAGE).map(|()| t.0)).collect()
        };
        bounded_list("findings", checked.findings.len(), MAX_FINDINGS)?;
        Ok(Self { tools: texts(checked.tools)?, notes: texts(checked.notes)?, findings: each(checked.findings)? })
    }
}

impl TryFrom<Finding> for check::ToolFinding {
    type Error = TextError;
    fn try_from(finding: Finding) -> Result<Self, TextError> {
        bounded("code", &finding.code.0, 32)?;
        bounded("tool", &finding.tool.0, 32)?;
        bounded("message", &finding.message.0, MAX_MESSAGE)?;
        Ok(Self {
            line: finding.line,
            column: finding.column,
            end_line: finding.end_line,
            end_column: finding.end_column,
            level: match finding.level {
                Level::Error => DomainLevel::Error,
                Level::Warning => DomainLevel::Warning,
                Level::Info => DomainLevel::Info,
                Level::Style => DomainLevel::Style,
            },
            code: finding.code.0,
            message: finding.message.0,
            tool: finding.tool.0,
        })
    }
}
