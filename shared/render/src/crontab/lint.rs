//! What cron would silently do with a table, said beforehand.

use std::fmt;

use lampas_shared::host::CronTable;
use serde::{Deserialize, Serialize};

use super::{LineContent, MAX_LINE_BYTES, parse, unescape};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Cron does something else than one might think.
    Warning,
    /// Cron ignores the line or the whole file.
    Error,
}

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1; the whole line when there is none.
    pub column: Option<usize>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what cron makes of it.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Says why cron ignores a file of this name in `/etc/cron.d`; `None` when it doesn't.
pub fn lint_file_name(name: &str) -> Option<String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return Some(format!("cron ignores {name:?}: a file's name may have letters, digits, '_' and '-' only"));
    }
    None
}

/// Returns what cron ignores in a table or reads otherwise than it looks, in the order of lines.
pub fn lint(text: impl AsRef<[u8]>, table: CronTable) -> Vec<Finding> {
    let crontab = parse(text, table);
    let mut findings = Vec::new();
    let last = crontab.lines.len();
    for (index, line) in crontab.lines.iter().enumerate() {
        let number = index + 1;
        let mut find = |severity, message: String, at: Option<usize>| {
            let column = at.map(|at| String::from_utf8_lossy(&line.raw[..at]).chars().count() + 1);
            findings.push(Finding { line: number, column, severity, message });
        };
        let is_active = !matches!(line.content, LineContent::Blank | LineContent::Comment);
        if is_active && line.raw.strip_suffix(b"\n").unwrap_or(&line.raw).len() >= MAX_LINE_BYTES {
            find(
                Severity::Error,
                format!("{} bytes: cron cuts a line at {MAX_LINE_BYTES}", line.raw.len()),
                Some(MAX_LINE_BYTES - 1),
            );
        }
        if is_active && (line.raw.ends_with(b"\r\n") || line.raw.ends_with(b"\r")) {
            let end = line.raw.iter().position(|b| *b == b'\r');
            find(
                Severity::Error,
                "ends with a carriage return, which becomes part of the value or command".into(),
                end,
            );
        }
        match &line.content {
            LineContent::Blank | LineContent::Comment => {}
            LineContent::Variable { name, .. } if name == "CRON_TZ" || name == "TZ" => {
                find(
                    Severity::Warning,
                    format!("{name} does not change when jobs run: cron goes by the node's zone"),
                    None,
                );
            }
            LineContent::Variable { value, .. } if value.contains('$') => {
                let at = line.raw.iter().position(|b| *b == b'$');
                find(Severity::Warning, "cron does not expand variables: '$' stays as it is".into(), at);
            }
            LineContent::Variable { .. } => {}
            LineContent::Job { command, .. } => {
                if let Some(input) = unescape(command).1 {
                    let end = line.raw.strip_suffix(b"\n").unwrap_or(&line.raw).len();
                    let message =
                        "cron ends the command at '%' and gives it the rest as input; write '\\%' for a percent sign";
                    find(Severity::Warning, message.into(), end.checked_sub(input.len() + 1));
                }
            }
            LineContent::Invalid(reason) => {
                let whole = if table == CronTable::System { "; cron ignores the whole file" } else { "" };
                find(Severity::Error, format!("{reason}{whole}"), None);
            }
        }
        if number == last && !line.raw.ends_with(b"\n") {
            find(
                Severity::Error,
                "the last line has no newline: cron ignores the whole file".into(),
                Some(line.raw.len()),
            );
        }
    }
    findings
}
