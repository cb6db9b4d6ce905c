//! Jobs out of a crontab that somebody else wrote: as objects, with what is left of the file.

use std::collections::BTreeMap;

use lampas_shared::{
    fleet::Scope,
    host::{CronJob, CronTable, EnvName, UserName},
    object::{Body, DriftPolicy, ObjectName, ObjectSpec},
};

use super::{
    LineContent,
    adopt::{call, command_end},
    parse, unescape,
};

/// The `PATH` that cron gives to a job whose table sets none (cron(8); `_PATH_DEFPATH`).
const CRON_PATH: &str = "/usr/bin:/bin";

/// What could be taken out of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// The jobs, in the order of their lines.
    pub jobs: Vec<TakenJob>,
    /// The table without their lines, byte for byte.
    pub rest: Vec<u8>,
    /// Lines that stay, with the reason; line 0 is the table as a whole.
    pub left: Vec<(usize, String)>,
}

/// A job that was a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenJob {
    /// Its line, from 1.
    pub line: usize,
    /// The job, for a file of its own in `/etc/cron.d`.
    pub job: CronJob,
    /// What it may be called, after its command: letters, digits, `_` and `-`.
    pub hint: String,
}

/// Takes the jobs out of a table. `user` is whose table it is, for a user's own.
///
/// A table that cron ignores as a whole gives nothing: its jobs don't run, and shall not begin to.
pub fn take(bytes: &[u8], table: CronTable, user: Option<&UserName>) -> Taken {
    let nothing = |line: usize, why: String| Taken { jobs: Vec::new(), rest: bytes.to_vec(), left: vec![(line, why)] };
    if bytes.last().is_some_and(|b| *b != b'\n') {
        return nothing(0, "cron ignores it, because its last line has no newline".into());
    }
    let crontab = parse(bytes, table);
    for (i, line) in crontab.lines.iter().enumerate() {
        if let LineContent::Invalid(why) = &line.content {
            return nothing(i + 1, format!("cron ignores the whole file because of this line: {why}"));
        }
    }
    let mut taken = Taken::default();
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for (i, line) in crontab.lines.iter().enumerate() {
        match &line.content {
            LineContent::Variable { name, value } => drop(variables.insert(name.clone(), value.clone())),
            LineContent::Job { schedule, user: own, command } => {
                let Some(user) = own.as_ref().or(user) else { continue };
                let job = job(schedule, user, command, &variables);
                match job {
                    Ok(job) => {
                        taken.jobs.push(TakenJob { line: i + 1, hint: hint(&job.command), job });
                        continue;
                    }
                    Err(why) => taken.left.push((i + 1, why)),
                }
            }
            LineContent::Blank | LineContent::Comment | LineContent::Invalid(_) => {}
        }
        taken.rest.extend_from_slice(&line.raw);
    }
    taken
}

fn job(
    schedule: &lampas_shared::host::Schedule,
    user: &UserName,
    command: &str,
    variables: &BTreeMap<String, String>,
) -> Result<CronJob, String> {
    if call(command).is_some() {
        return Err("it calls lampas-agent: it is a job of LAMPAS already".into());
    }
    let (command, input) = unescape(command_end(command));
    if input.is_some() {
        return Err("it gives the command input after '%', which a job can't say".into());
    }
    if command.contains("\\%") {
        return Err("it has a backslash before a percent sign, which a job can't say".into());
    }
    let mut job = CronJob {
        schedule: schedule.clone(),
        user: user.clone(),
        command,
        environment: BTreeMap::new(),
        mailto: None,
        time_zone: None,
        table: CronTable::System,
        timeout_secs: None,
        enabled: true,
        template: false,
    };
    for (name, value) in variables {
        match name.as_str() {
            "MAILTO" => job.mailto = Some(value.clone()),
            // Debian's cron ignores it.
            "CRON_TZ" => {}
            _ => drop(job.environment.insert(EnvName::parse(name.as_str()).map_err(|e| e.to_string())?, value.clone())),
        }
    }
    let path = EnvName::parse("PATH").expect("a constant name");
    job.environment.entry(path).or_insert_with(|| CRON_PATH.to_owned());
    let spec = ObjectSpec {
        name: ObjectName::parse("taken").expect("a constant name"),
        scope: Scope::Fleet,
        drift: DriftPolicy::default(),
        body: Body::Cron(job.clone()),
    };
    spec.check().map_err(|e| e.to_string())?;
    Ok(job)
}

/// A name after the program that a command starts.
fn hint(command: &str) -> String {
    let is_setting = |w: &&str| {
        w.contains('=')
            || matches!(*w, "/bin/sh" | "sh" | "/bin/bash" | "bash" | "-c" | "cd" | "test" | "[" | "nice" | "-n")
    };
    let word = command.split_whitespace().find(|w| !is_setting(w) && w.contains(|c: char| c.is_ascii_alphanumeric()));
    let program = word.unwrap_or("job").rsplit('/').next().unwrap_or("job");
    let stem = program.rsplit_once('.').map_or(program, |(stem, _)| if stem.is_empty() { program } else { stem });
    let clean: String = stem.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).take(40).collect();
    let clean = clean.trim_start_matches(['_', '-']);
    if clean.is_empty() { "job".to_owned() } else { clean.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn jobs_come_out_with_their_variables_and_the_rest_stays() {
        let text = b"# backup\nMAILTO=ops\n0 3 * * * root /usr/local/bin/backup.sh --all\nA=1\n@daily www-data date +\\%F\n5 5 * * * root mail%body\n";
        let taken = take(text, CronTable::System, None);
        let jobs: Vec<_> = taken.jobs.iter().map(|t| (t.line, t.hint.as_str(), t.job.command.as_str())).collect();
        assert_eq!(jobs, [(3, "backup", "/usr/local/bin/backup.sh --all"), (5, "date", "date +%F")]);
        assert_eq!(taken.jobs[0].job.mailto.as_deref(), Some("ops"));
        assert_eq!(taken.jobs[0].job.environment.len(), 1, "PATH as cron gives it: {:?}", taken.jobs[0].job);
        assert_eq!(taken.jobs[1].job.environment.len(), 2);
        assert_eq!(taken.rest, b"# backup\nMAILTO=ops\nA=1\n5 5 * * * root mail%body\n");
        assert_eq!(taken.left.len(), 1);
    }

    #[test]
    fn what_cron_ignores_stays_ignored() {
        for text in [&b"* * * * * root x"[..], b"* * * * * root x\n* * *\n", b"* * * * * root \xff\n"] {
            let taken = take(text, CronTable::System, None);
            assert!(taken.jobs.is_empty() && taken.rest == text && !taken.left.is_empty(), "{taken:?}");
        }
    }

    #[test]
    fn a_users_table_names_no_user() {
        let ann = UserName::parse("ann").expect("a user");
        let taken = take(b"* * * * * cd /srv && ./tick\n", CronTable::User, Some(&ann));
        assert_eq!(taken.jobs[0].job.user, ann);
        assert_eq!(taken.jobs[0].job.table, CronTable::System);
        assert!(taken.rest.is_empty());
    }

    proptest! {
        #[test]
        fn no_line_is_both_taken_and_left(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let taken = take(&bytes, CronTable::System, None);
            let lines = bytes.split_inclusive(|b| *b == b'\n').count();
            let rest = taken.rest.split_inclusive(|b| *b == b'\n').count();
            prop_assert_eq!(taken.jobs.len() + rest, lines);
        }

        #[test]
        fn any_text_is_read(text in "([*0-9@a-z#=% \\\\/\n\"']{0,200}\n)?") {
            let taken = take(text.as_bytes(), CronTable::System, None);
            prop_assert!(taken.jobs.iter().all(|t| ObjectName::parse(t.hint.as_str()).is_ok()));
        }
    }
}
