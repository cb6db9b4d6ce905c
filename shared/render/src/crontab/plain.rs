//! Cron's lines without `lampas-agent`: what is left when a node is ejected.

use lampas_shared::{
    host::{CronJob, CronTable},
    id::ObjectId,
    object::ObjectName,
};

use super::{
    DEFAULT_PATH, LineContent, MAX_LINE_BYTES,
    adopt::call,
    escape, parse,
    render::{file_name, variable_line},
};

/// A job's file in `/etc/cron.d` that calls the command itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// The text.
    pub text: String,
    /// What the text can't say and the job did.
    pub losses: Vec<String>,
    /// A command that is too long for a line of cron, to be put where [`plain_system`] was told.
    pub script: Option<String>,
}

/// Returns the text of a job's file in `/etc/cron.d` without the wrapper. `script` is where a command stands that does not
/// fit into a line.
pub fn plain_system(job: &CronJob, name: &ObjectName, node_zone: &str, script: &str) -> Plain {
    let mut text = format!(
        "# This was the object \"{name}\" of LAMPAS ({}); the node was ejected, and the file is yours.\n",
        file_name(name)
    );
    let losses = losses(job, node_zone);
    for loss in &losses {
        text.push_str(&format!("# {loss}\n"));
    }
    let mut kept = losses;
    let shell = job.environment.iter().find(|(n, _)| n.as_str() == "SHELL").map_or("/bin/sh", |(_, v)| v.as_str());
    let mut variables: Vec<(&str, &str)> = vec![("SHELL", shell)];
    if !job.environment.keys().any(|n| n.as_str() == "PATH") {
        variables.push(("PATH", DEFAULT_PATH));
    }
    variables.extend(job.environment.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(|(n, _)| *n != "SHELL"));
    variables.extend(job.mailto.as_deref().map(|m| ("MAILTO", m)));
    for (name, value) in variables {
        match variable_line(name, value) {
            Some(line) => text.push_str(&line),
            None => {
                let loss = format!(
                    "the variable {name} can't stand in a crontab: its value has over 990 bytes or both kinds of quotes"
                );
                text.push_str(&format!("# {loss}\n"));
                kept.push(loss);
            }
        }
    }
    let (line, long) = line(job, true, script);
    text.push_str(&line);
    text.push('\n');
    Plain { text, losses: kept, script: long }
}

/// Returns lines of a block or a file with each call of the wrapper replaced by the job's own command. `job` knows the jobs;
/// lines that call none of them stay as they are. The second part is what the lines can't say, the third the commands that do
/// not fit, each with its job.
pub fn plain_lines(
    text: &str,
    table: CronTable,
    node_zone: &str,
    mut job: impl FnMut(ObjectId) -> Option<(CronJob, String)>,
) -> (String, Vec<String>, Vec<(ObjectId, String)>) {
    let (mut out, mut lost, mut long) = (String::new(), Vec::new(), Vec::new());
    for raw in text.split_inclusive('\n') {
        let whole = raw.trim_end_matches('\n');
        let bare = whole.trim_start().strip_prefix("# disabled: ").unwrap_or(whole);
        let parsed = parse(format!("{bare}\n").as_bytes(), table);
        let called = parsed.lines.first().and_then(|l| match &l.content {
            LineContent::Job { command, .. } => call(command).map(|c| c.object),
            _ => None,
        });
        let Some((id, (job, script))) = called.and_then(|id| Some((id, job(id)?))) else {
            out.push_str(raw);
            continue;
        };
        for loss in losses(&job, node_zone) {
            out.push_str(&format!("# {loss}\n"));
            lost.push(loss);
        }
        let (line, command) = line(&job, table == CronTable::System, &script);
        out.push_str(&line);
        out.push('\n');
        long.extend(command.map(|c| (id, c)));
    }
    (out, lost, long)
}

fn losses(job: &CronJob, node_zone: &str) -> Vec<String> {
    let mut losses = Vec::new();
    if let Some(zone) = job.time_zone.as_ref().filter(|z| z.as_str() != node_zone) {
        losses.push(format!(
            "it ran at \"{}\" in {zone}; cron runs it in the node's own zone, {node_zone}",
            job.schedule
        ));
    }
    if let Some(secs) = job.timeout_secs {
        losses.push(format!("a run was ended after {secs} s; cron sets no limit"));
    }
    losses
}

/// The job's line, and its command when that does not fit.
fn line(job: &CronJob, is_system: bool, script: &str) -> (String, Option<String>) {
    let start = if job.enabled { "" } else { "# disabled: " };
    let user = if is_system { format!(" {}", job.user) } else { String::new() };
    // In a user's table variables would hold for the lines below; there they stand before the command.
    let exports: String = if is_system {
        String::new()
    } else {
        let quoted = |v: &str| format!("'{}'", v.replace('\'', r"'\''"));
        job.environment.iter().fold(String::new(), |all, (n, v)| all + &format!("export {n}={}; ", quoted(v)))
    };
    let command = format!("{exports}{}", job.shell_command().trim());
    let line = format!("{start}{}{user} {}", job.schedule, escape(&command));
    if line.len() < MAX_LINE_BYTES {
        return (line, None);
    }
    (format!("{start}{}{user} /bin/sh {}", job.schedule, escape(script)), Some(format!("{command}\n")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lampas_shared::host::{EnvName, TimeZoneName, UserName};

    use super::*;
    use crate::{crontab::render_system, schedule::Zone};

    fn job() -> CronJob {
        CronJob {
            schedule: "*/5 * * * *".parse().expect("a schedule"),
            user: UserName::parse("www-data").expect("a user"),
            command: "date +%F >> /x".to_owned(),
            environment: BTreeMap::new(),
            mailto: None,
            time_zone: None,
            table: CronTable::System,
            timeout_secs: None,
            enabled: true,
            template: false,
        }
    }

    fn object() -> ObjectId {
        ObjectId::parse("0190a000-0000-7000-8000-000000000001").expect("an id")
    }

    #[test]
    fn a_jobs_file_runs_the_command_itself() {
        let name = ObjectName::parse("hello").expect("a name");
        let plain = plain_system(&CronJob { mailto: Some("ops".to_owned()), ..job() }, &name, "UTC", "/s");
        assert!(plain.text.ends_with("MAILTO=ops\n*/5 * * * * www-data date +\\%F >> /x\n"), "{}", plain.text);
        assert_eq!((plain.losses, plain.script), (vec![], None));
        assert!(!plain.text.contains("lampas-agent"));
    }

    #[test]
    fn what_cron_cannot_say_is_named_and_long_commands_go_to_a_script() {
        let name = ObjectName::parse("hello").expect("a name");
        let long = CronJob {
            command: "x".repeat(3000),
            time_zone: Some(TimeZoneName::parse("Asia/Tokyo").expect("a zone")),
            timeout_secs: Some(9),
            enabled: false,
            ..job()
        };
        let plain = plain_system(&long, &name, "UTC", "/var/lib/lampas/ejected/hello.sh");
        assert_eq!(plain.losses.len(), 2);
        assert!(plain.text.ends_with("# disabled: */5 * * * * www-data /bin/sh /var/lib/lampas/ejected/hello.sh\n"));
        assert_eq!(plain.script.map(|s| s.len()), Some(3001));
    }

    #[test]
    fn lines_that_call_the_wrapper_become_plain_and_others_stay() {
        let name = ObjectName::parse("hello").expect("a name");
        let job = job();
        let text = render_system(&job, &name, object(), "/usr/bin/lampas-agent", &Zone::utc(), None).expect("renders");
        let foreign = "17 3 * * * root /usr/bin/backup\n";
        let (plain, lost, long) = plain_lines(&format!("{text}{foreign}"), CronTable::System, "UTC", |id| {
            (id == object()).then(|| (job.clone(), "/s".to_owned()))
        });
        assert!(plain.ends_with(&format!("*/5 * * * * www-data date +\\%F >> /x\n{foreign}")), "{plain}");
        assert!(!plain.contains("job run") && lost.is_empty() && long.is_empty());
    }

    #[test]
    fn a_users_lines_carry_their_environment() {
        let environment = BTreeMap::from([(EnvName::parse("A").expect("a name"), "it's".to_owned())]);
        let job = CronJob { environment, ..job() };
        let (line, _) = line(&job, false, "/s");
        assert_eq!(line, r"*/5 * * * * export A='it'\''s'; date +\%F >> /x");
    }
}
