//! Cron's files (crontab(5)) as Debian's cron reads them: files in `/etc/cron.d` and users' crontabs.
//!
//! A job of LAMPAS never has its command in cron's file: the line starts `lampas-agent job run ID`, which reads the job
//! from a file of its own, decides by the schedule's zone, runs the command and records the run. The command stands
//! behind it as a comment, for whoever reads the file.

mod adopt;
mod lint;
mod plain;
mod render;
mod take;

pub use adopt::{AdoptError, Adopted, read_back};
pub use lint::{Finding, Severity, lint, lint_file_name};
pub use plain::{Plain, plain_lines, plain_system};
pub use render::{
    BlockJob, DEFAULT_PATH, MAX_LINE_BYTES, RenderError, file_name, render_system, render_user_block, replace_block,
};
pub use take::{Taken, TakenJob, take};

use std::fmt;

use lampas_shared::host::{CronTable, Schedule, UserName};

use crate::block;

/// A table of cron, every line as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crontab {
    /// The lines in their order.
    pub lines: Vec<Line>,
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The bytes, with the line's end if it has one.
    pub raw: Vec<u8>,
    /// What it says.
    pub content: LineContent,
}

/// What a line says to cron.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineContent {
    /// Nothing.
    Blank,
    /// A comment: the first character that is no blank is `#`.
    Comment,
    /// A variable for the jobs below it.
    Variable {
        /// The name, without quotes.
        name: String,
        /// The value, without quotes.
        value: String,
    },
    /// A job.
    Job {
        /// When it runs.
        schedule: Schedule,
        /// The account, in a system table.
        user: Option<UserName>,
        /// The rest of the line, as it stands.
        command: String,
    },
    /// What cron refuses. In a file of `/etc/cron.d` it makes cron ignore the whole file.
    Invalid(String),
}

impl Crontab {
    /// Returns the bytes that it was read from.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| line.raw.iter().copied()).collect()
    }

    /// Returns the lines that are jobs, with their numbers from 1.
    pub fn jobs(&self) -> impl Iterator<Item = (usize, &Line)> {
        let numbered = self.lines.iter().enumerate().map(|(i, line)| (i + 1, line));
        numbered.filter(|(_, line)| matches!(line.content, LineContent::Job { .. }))
    }
}

impl fmt::Display for Crontab {
    /// Prints the text that it was read from; bytes that are not UTF-8 are replaced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

/// Reads a table; every text can be read.
pub fn parse(text: impl AsRef<[u8]>, table: CronTable) -> Crontab {
    let lines = text.as_ref().split_inclusive(|b| *b == b'\n');
    Crontab { lines: lines.map(|raw| Line { raw: raw.to_vec(), content: parse_line(raw, table) }).collect() }
}

/// Returns the lines of LAMPAS's block in a user's crontab, without its markers.
pub fn extract_block(existing: &[u8]) -> Option<&[u8]> {
    block::extract(existing)
}

fn parse_line(raw: &[u8], table: CronTable) -> LineContent {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    let Ok(text) = std::str::from_utf8(raw) else {
        let is_comment = raw.trim_ascii_start().starts_with(b"#");
        return if is_comment { LineContent::Comment } else { LineContent::Invalid("the line is not UTF-8".into()) };
    };
    let text = text.trim_start_matches([' ', '\t']);
    if text.is_empty() {
        return LineContent::Blank;
    }
    if text.starts_with('#') {
        return LineContent::Comment;
    }
    if text.contains('\0') {
        return LineContent::Invalid("the line contains a NUL byte".into());
    }
    if let Some((name, value)) = parse_variable(text) {
        return LineContent::Variable { name, value };
    }
    parse_job(text, table).unwrap_or_else(LineContent::Invalid)
}

fn parse_job(text: &str, table: CronTable) -> Result<LineContent, String> {
    let count = if text.starts_with('@') { 1 } else { 5 };
    let mut rest = text;
    for _ in 0..count {
        (_, rest) = next_word(rest);
    }
    let schedule: Schedule = text[..text.len() - rest.len()]
        .trim_end()
        .parse()
        .map_err(|e: lampas_shared::TextError| format!("{}: {}", e.what, e.reason))?;
    let user = match table {
        CronTable::User => None,
        CronTable::System => {
            let (user, after) = next_word(rest);
            rest = after;
            Some(UserName::parse(user).map_err(|e| format!("user {:?}: {}", e.value, e.reason))?)
        }
    };
    if rest.trim().is_empty() {
        return Err("there is no command".into());
    }
    Ok(LineContent::Job { schedule, user, command: rest.to_owned() })
}

/// Splits the first word off, and the blanks behind it.
fn next_word(text: &str) -> (&str, &str) {
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start_matches([' ', '\t']))
}

/// Reads `name = value` by the rules of cron's `load_env` (env.c): either side may stand in single or double quotes,
/// within which nothing is special; an unquoted value loses blanks at its end; an empty value must be quoted.
fn parse_variable(text: &str) -> Option<(String, String)> {
    let is_blank = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let (name, rest) = match text.chars().next()? {
        quote @ ('"' | '\'') => {
            let (name, rest) = text[1..].split_once(quote)?;
            if name.contains('=') {
                return None;
            }
            (name, rest)
        }
        _ => text.split_at(text.find(|c| is_blank(c) || c == '=')?),
    };
    let value = rest.trim_start_matches(is_blank).strip_prefix('=')?.trim_start_matches(is_blank);
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => {
            let (value, rest) = value[1..].split_once(quote)?;
            if !rest.trim_matches(is_blank).is_empty() {
                return None;
            }
            value
        }
        _ => value.trim_end_matches(is_blank),
    };
    Some((name.to_owned(), value.to_owned()))
}

/// Returns what cron hands to the shell: `\%` becomes `%`, and an unescaped `%` ends the command, the rest being its
/// input (crontab(5); do_command.c).
fn unescape(command: &str) -> (String, Option<&str>) {
    let mut shell = String::with_capacity(command.len());
    let mut is_escaped = false;
    for (at, c) in command.char_indices() {
        match c {
            '%' if is_escaped => {
                shell.pop();
                shell.push('%');
                is_escaped = false;
            }
            '%' => return (shell, Some(&command[at + 1..])),
            _ => {
                shell.push(c);
                is_escaped = c == '\\' && !is_escaped;
            }
        }
    }
    (shell, None)
}

/// Escapes each `%` that cron would take as the end of the command.
fn escape(command: &str) -> String {
    let mut line = String::with_capacity(command.len() + 8);
    let mut is_escaped = false;
    for c in command.chars() {
        if c == '%' && !is_escaped {
            line.push('\\');
        }
        line.push(c);
        is_escaped = c == '\\' && !is_escaped;
    }
    line
}

#[cfg(test)]
mod tests;
