//! The way back: a file of cron that was edited by hand, as a job again.

use std::collections::BTreeMap;

use lampas_shared::{
    TextError,
    fleet::Scope,
    host::{CronJob, CronTable, EnvName, UserName},
    id::ObjectId,
    object::{Body, DriftPolicy, ObjectName, ObjectSpec},
};
use thiserror::Error;

use super::{
    DEFAULT_PATH, LineContent, MAX_LINE_BYTES, parse,
    render::{EXCERPT_MARK, excerpt},
    unescape,
};
use crate::schedule::{Zone, cron_line_schedule};

/// What a file says, as a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The job: the current one with what the file says otherwise.
    pub job: CronJob,
    /// What the operator should know about the reading.
    pub notes: Vec<String>,
}

/// Why a file can't be adopted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdoptError {
    /// A line that cron refuses.
    #[error("line {line} can't be adopted: {reason}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// One object is one job.
    #[error("it can't be adopted: it has {0} jobs, one object is one job; make objects of the others first")]
    SeveralJobs(usize),
    /// The block of a user's crontab doesn't say which line is this job.
    #[error("it can't be adopted: no line of the block calls this job any more")]
    NotFound,
    /// What was written isn't allowed in an object.
    #[error("it can't be adopted")]
    Job(#[from] TextError),
}

/// Reads a job back from the text of its file (or, for a user's table, from LAMPAS's block), as somebody left it.
///
/// The schedule, the user, variables, `MAILTO` and the command are taken over. A line that still calls
/// `lampas-agent job run` keeps the command, unless the excerpt behind it was edited: then that is meant. A file without
/// a job line is a job that is not enabled.
///
/// # Errors
/// When it has several jobs, lines that cron refuses, or what an object can't say.
pub fn read_back(text: &str, object: ObjectId, current: &CronJob, node_zone: &Zone) -> Result<Adopted, AdoptError> {
    let crontab = parse(text, current.table);
    let invalid = crontab.lines.iter().enumerate().find_map(|(i, line)| match &line.content {
        LineContent::Invalid(reason) => Some(AdoptError::Line { line: i + 1, reason: reason.clone() }),
        _ => None,
    });
    if let Some(error) = invalid {
        return Err(error);
    }
    let mut adopted = Adopted { job: current.clone(), notes: Vec::new() };
    let jobs: Vec<_> = crontab.jobs().collect();
    let own = match (jobs.len(), current.table) {
        (0, CronTable::System) => {
            if current.enabled {
                adopted.notes.push("the file has no job line: the job is not enabled".into());
            }
            adopted.job.enabled = false;
            None
        }
        (1, CronTable::System) => Some(jobs[0]),
        (count, CronTable::System) => return Err(AdoptError::SeveralJobs(count)),
        (_, CronTable::User) => match line_of(&jobs, object) {
            Err(AdoptError::NotFound) if is_commented_out(text, object) => {
                adopted.job.enabled = false;
                None
            }
            found => Some(found?),
        },
    };
    let above = own.map_or(crontab.lines.len(), |(number, _)| number - 1);
    if current.table == CronTable::System {
        let variables = crontab.lines[..above].iter().filter_map(|line| match &line.content {
            LineContent::Variable { name, value } => Some((name.as_str(), value.as_str())),
            _ => None,
        });
        take_variables(&mut adopted, variables, text)?;
    }
    if let Some((number, line)) = own
        && let LineContent::Job { schedule, user, command } = &line.content
    {
        adopted.job.enabled = true;
        if let Some(user) = user {
            adopted.job.user = UserName::clone(user);
        }
        if *schedule != cron_line_schedule(current, node_zone)? {
            adopted.job.schedule = schedule.clone();
            if let Some(zone) = adopted.job.time_zone.take() {
                adopted
                    .notes
                    .push(format!("the edited schedule goes by the node's zone; it was meant in {zone} before"));
            }
        }
        take_command(&mut adopted, number, command, current, line.raw.len())?;
    }
    check(&adopted.job)?;
    Ok(adopted)
}

/// Finds this job's line in a user's block: the one that calls it, or the only one.
fn line_of<'a>(jobs: &[(usize, &'a super::Line)], object: ObjectId) -> Result<(usize, &'a super::Line), AdoptError> {
    let calls = |line: &super::Line| match &line.content {
        LineContent::Job { command, .. } => call(command).is_some_and(|call| call.object == object),
        _ => false,
    };
    let mut found = jobs.iter().filter(|(_, line)| calls(line));
    match (found.next(), found.count(), jobs) {
        (Some(one), 0, _) => Ok(*one),
        (Some(_), more, _) => Err(AdoptError::SeveralJobs(more + 1)),
        (None, _, [only]) if !only.1.calls_any() => Ok(*only),
        (None, ..) => Err(AdoptError::NotFound),
    }
}

/// Returns whether the job's line stands in the text as a comment.
fn is_commented_out(text: &str, object: ObjectId) -> bool {
    let call = format!(" job run {object}");
    text.lines().any(|line| line.trim_start().starts_with('#') && line.contains(&call))
}

impl super::Line {
    fn calls_any(&self) -> bool {
        matches!(&self.content, LineContent::Job { command, .. } if call(command).is_some())
    }
}

/// A command that calls the wrapper.
pub(super) struct Call<'a> {
    pub(super) object: ObjectId,
    /// What stands behind the call.
    rest: &'a str,
}

/// Reads `…/lampas-agent [--root R] job run ID`.
pub(super) fn call(command: &str) -> Option<Call<'_>> {
    let (program, rest) = command.split_once(" job run ")?;
    if !program.split([' ', '\'']).any(|word| word.ends_with("/lampas-agent")) {
        return None;
    }
    let end = rest.find(|c: char| !c.is_ascii_hexdigit() && c != '-').unwrap_or(rest.len());
    Some(Call { object: ObjectId::parse(&rest[..end]).ok()?, rest: &rest[end..] })
}

fn take_command(
    adopted: &mut Adopted,
    number: usize,
    command: &str,
    current: &CronJob,
    line_bytes: usize,
) -> Result<(), AdoptError> {
    let wrong = |reason: &str| AdoptError::Line { line: number, reason: reason.to_owned() };
    let given = match call(command) {
        None => command,
        Some(Call { rest, .. }) => {
            let Some(given) = rest.strip_prefix(EXCERPT_MARK) else {
                let rest = rest.trim();
                let is_comment = rest.is_empty() || rest == "#";
                return if is_comment {
                    Ok(())
                } else {
                    Err(wrong("something was added to the call of lampas-agent; write the whole command in its place"))
                };
            };
            // The same line would be rendered from the current command: nobody touched the excerpt.
            let room = (MAX_LINE_BYTES - 1).saturating_sub(line_bytes.saturating_sub(given.len() + 1));
            if excerpt(current, room).as_deref() == Some(given)
                || excerpt(current, usize::MAX).as_deref() == Some(given)
            {
                return Ok(());
            }
            if given.ends_with('…') {
                let shown = given.trim_end_matches('…');
                let whole = excerpt(current, usize::MAX).unwrap_or_default();
                return if whole.starts_with(shown) {
                    Ok(())
                } else {
                    Err(wrong("the excerpt of the command was edited, but it doesn't show the whole command"))
                };
            }
            adopted
                .notes
                .push("the comment behind the call was edited: it is taken as the command that is meant".into());
            given
        }
    };
    let (shell, input) = unescape(command_end(given));
    if input.is_some() {
        return Err(wrong(
            "it gives the command input after '%', which an object can't say; write '\\%' for a percent sign",
        ));
    }
    if shell.contains("\\%") {
        return Err(wrong("it has a backslash before a percent sign, which an object can't say"));
    }
    adopted.job.command = shell;
    Ok(())
}

/// Returns the command without blanks at its end, but with one that a backslash keeps.
pub(super) fn command_end(command: &str) -> &str {
    let trimmed = command.trim_end_matches([' ', '\t']);
    if trimmed.ends_with('\\') && trimmed.len() < command.len() { &command[..=trimmed.len()] } else { trimmed }
}

fn take_variables<'a>(
    adopted: &mut Adopted,
    variables: impl Iterator<Item = (&'a str, &'a str)>,
    text: &str,
) -> Result<(), AdoptError> {
    let before = std::mem::take(&mut adopted.job.environment);
    let mut after: BTreeMap<EnvName, String> = BTreeMap::new();
    adopted.job.mailto = None;
    for (name, value) in variables {
        match name {
            "MAILTO" => adopted.job.mailto = Some(value.to_owned()),
            "CRON_TZ" => adopted.notes.push("CRON_TZ is left out, since cron ignores it: set time_zone".into()),
            _ => {
                after.insert(EnvName::parse(name)?, value.to_owned());
            }
        }
    }
    let name = |name: &str| EnvName::parse(name).expect("a constant name");
    // What the file has although the job doesn't say it.
    if !before.contains_key(&name("PATH")) && after.get(&name("PATH")).is_some_and(|p| p == DEFAULT_PATH) {
        after.remove(&name("PATH"));
    }
    if after.get(&name("SHELL")).is_some_and(|shell| shell == "/bin/sh") {
        after.remove(&name("SHELL"));
        after.extend(before.get(&name("SHELL")).map(|shell| (name("SHELL"), shell.clone())));
    }
    // What the job has although it can't stand in the file.
    for (name, value) in before {
        if text.lines().any(|line| line.starts_with(&format!("# {name} is set by lampas-agent"))) {
            after.entry(name).or_insert(value);
        }
    }
    adopted.job.environment = after;
    Ok(())
}

/// Applies the checks of an object.
fn check(job: &CronJob) -> Result<(), TextError> {
    let spec = ObjectSpec {
        name: ObjectName::parse("adopted")?,
        scope: Scope::Fleet,
        drift: DriftPolicy::default(),
        body: Body::Cron(job.clone()),
    };
    spec.check()
}
