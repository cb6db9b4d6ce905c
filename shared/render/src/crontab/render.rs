//! From jobs to cron's files.

use lampas_shared::{TextError, host::CronJob, id::ObjectId, object::ObjectName};
use thiserror::Error;

use super::escape;
use crate::{
    block,
    schedule::{Zone, cron_line_schedule},
};

/// The `PATH` of a job that sets none: that of Debian's `/etc/crontab`.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin";

/// Every line is shorter than this: cron cuts lines at its `MAX_COMMAND` and `MAX_ENVSTR` of 1,000 (cron.h).
pub const MAX_LINE_BYTES: usize = 1000;

/// Between the wrapper's call and the excerpt of the command.
pub(super) const EXCERPT_MARK: &str = "  # ";

/// Why a job can't stand in cron's file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// The job's time zone is unknown.
    #[error(transparent)]
    Zone(#[from] TextError),
    /// The line would be cut by cron.
    #[error(
        "the line in cron's file would have {bytes} bytes, cron cuts at {MAX_LINE_BYTES}: shorten the schedule or the path of the agent"
    )]
    LineTooLong {
        /// Its length without the excerpt.
        bytes: usize,
    },
    /// A path of the agent can't stand in a line.
    #[error("the path {0:?} can't stand in a crontab: it must be absolute and have no control characters")]
    Path(String),
}

/// Returns the name of a job's file in `/etc/cron.d`.
pub fn file_name(name: &ObjectName) -> String {
    format!("lampas-{name}")
}

/// Returns the whole text of a job's file in `/etc/cron.d`.
///
/// `wrapper` is the absolute path of `lampas-agent`, `root` its `--root` when it has one. A job that is not enabled has
/// its line as a comment. A variable whose value can't stand in a crontab (over 990 bytes, or both kinds of quotes at
/// its start) is left to the wrapper, and a comment says so.
///
/// # Errors
/// When the job's zone is unknown, or the line can't be written.
pub fn render_system(
    job: &CronJob,
    name: &ObjectName,
    object: ObjectId,
    wrapper: &str,
    node_zone: &Zone,
    root: Option<&str>,
) -> Result<String, RenderError> {
    let file = file_name(name);
    let mut text = format!(
        "# Managed by LAMPAS: change the object \"{name}\" there, not this file.\n\
         # Who made it so, and why: lampas-agent why /etc/cron.d/{file}\n"
    );
    push_zone_comment(&mut text, job, node_zone)?;
    text.push_str("SHELL=/bin/sh\n");
    let mut variables: Vec<(&str, &str)> =
        job.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // The line itself always runs in /bin/sh; the job's own SHELL reaches it through the wrapper.
    variables.retain(|(name, _)| *name != "SHELL");
    if !job.environment.keys().any(|name| name.as_str() == "PATH") {
        variables.insert(0, ("PATH", DEFAULT_PATH));
    }
    if let Some(mailto) = &job.mailto {
        variables.push(("MAILTO", mailto));
    }
    for (name, value) in variables {
        match variable_line(name, value) {
            Some(line) => text.push_str(&line),
            None => text.push_str(&format!("# {name} is set by lampas-agent: its value can't stand in a crontab.\n")),
        }
    }
    push_job(&mut text, job, Some(job.user.as_str()), object, wrapper, node_zone, root)?;
    Ok(text)
}

/// A job of a user's crontab.
#[derive(Debug, Clone, Copy)]
pub struct BlockJob<'a> {
    /// The job.
    pub job: &'a CronJob,
    /// The object's name.
    pub name: &'a ObjectName,
    /// The object.
    pub object: ObjectId,
}

/// Returns the lines of LAMPAS's block in a user's crontab, without its markers. There are no variables in it: they
/// would hold for the foreign lines below it, so a job's environment comes from the wrapper alone.
///
/// # Errors
/// When a job's zone is unknown, or a line can't be written.
pub fn render_user_block(
    jobs: &[BlockJob<'_>],
    wrapper: &str,
    node_zone: &Zone,
    root: Option<&str>,
) -> Result<String, RenderError> {
    let mut text = String::new();
    for BlockJob { job, name, object } in jobs {
        text.push_str(&format!("# {name}\n"));
        push_zone_comment(&mut text, job, node_zone)?;
        push_job(&mut text, job, None, *object, wrapper, node_zone, root)?;
    }
    Ok(text)
}

/// Returns a user's crontab with this block (from [`render_user_block`]); see [`block::replace`].
pub fn replace_block(existing: &[u8], user: &str, content: &str) -> Vec<u8> {
    block::replace(existing, &format!("crontab:{user}"), content.as_bytes())
}

fn push_zone_comment(text: &mut String, job: &CronJob, node_zone: &Zone) -> Result<(), RenderError> {
    let line = cron_line_schedule(job, node_zone)?;
    if let Some(zone) = job.time_zone.as_ref().filter(|_| line != job.schedule) {
        text.push_str(&format!(
            "# Runs at \"{}\" in {zone}. Cron knows only {node_zone}: it starts the wrapper more often, which runs the job \
             at its own times.\n",
            job.schedule
        ));
    }
    Ok(())
}

fn push_job(
    text: &mut String,
    job: &CronJob,
    user: Option<&str>,
    object: ObjectId,
    wrapper: &str,
    node_zone: &Zone,
    root: Option<&str>,
) -> Result<(), RenderError> {
    let mut line = if job.enabled { String::new() } else { "# disabled: ".to_owned() };
    line.push_str(cron_line_schedule(job, node_zone)?.as_str());
    if let Some(user) = user {
        line.push_str(&format!(" {user}"));
    }
    line.push_str(&format!(" {}", shell_path(wrapper)?));
    if let Some(root) = root {
        line.push_str(&format!(" --root {}", shell_path(root)?));
    }
    line.push_str(&format!(" job run {object}"));
    if line.len() >= MAX_LINE_BYTES {
        return Err(RenderError::LineTooLong { bytes: line.len() });
    }
    let room = (MAX_LINE_BYTES - 1).saturating_sub(line.len() + EXCERPT_MARK.len());
    if let Some(excerpt) = excerpt(job, room) {
        line.push_str(EXCERPT_MARK);
        line.push_str(&excerpt);
    }
    text.push_str(&line);
    text.push('\n');
    Ok(())
}

/// Returns the command for a comment behind the line, escaped, in at most `room` bytes; a cut one ends with `…`.
pub(super) fn excerpt(job: &CronJob, room: usize) -> Option<String> {
    let whole = escape(job.shell_command().trim());
    if whole.len() <= room {
        return Some(whole);
    }
    let mut end = room.checked_sub('…'.len_utf8())?;
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    // What is left of a cut escape would be a backslash of its own; that is harmless in a comment.
    Some(format!("{}…", &whole[..end]))
}

/// Returns `NAME=value` as `load_env` reads it back; `None` when it can't be written.
pub(super) fn variable_line(name: &str, value: &str) -> Option<String> {
    let is_plain = !value.is_empty() && value.trim_matches([' ', '\t']) == value && !value.starts_with(['"', '\'']);
    let line = if is_plain {
        format!("{name}={value}\n")
    } else {
        let quote = ['"', '\''].into_iter().find(|quote| !value.contains(*quote))?;
        format!("{name}={quote}{value}{quote}\n")
    };
    (line.len() < MAX_LINE_BYTES).then_some(line)
}

/// Returns a path as a word of the shell, in cron's escaping.
fn shell_path(path: &str) -> Result<String, RenderError> {
    if !path.starts_with('/') || path.chars().any(char::is_control) {
        return Err(RenderError::Path(path.to_owned()));
    }
    if path.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-".contains(c)) {
        return Ok(path.to_owned());
    }
    Ok(escape(&format!("'{}'", path.replace('\'', r"'\''"))))
}
