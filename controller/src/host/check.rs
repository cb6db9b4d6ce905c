//! Checks a spec without saving it, for editors. Only what can be seen by looking: nothing is run on the controller.

use lampas_api::{Finding, NextRun, Severity, SpecCheck};
use lampas_render::{Zone, crontab, next_runs};
use lampas_shared::{
    TextError, deceptive_char,
    fleet::Scope,
    host::{CronJob, CronTable, Encoding, FileMode, ManagedFile, Schedule, TimeZoneName},
    object::{Body, ObjectSpec},
    template::Source,
    time::UnixMs,
};

use crate::compile::template::{Unfilled, unfilled};

mod among;
mod mistakes;

pub(crate) use among::look;

/// How many runs are shown.
const RUNS: usize = 5;

/// Checks a spec as it was sent; `own` is the zone of its nodes, where they have one in common.
pub(crate) fn check(raw: &serde_json::Value, own: Option<&TimeZoneName>, now: UnixMs) -> SpecCheck {
    let mut found = SpecCheck { problems: Vec::new(), next_runs: Vec::new(), time_zone: None, standing: None };
    let spec = match serde_json::from_value::<ObjectSpec>(raw.clone()) {
        Ok(spec) => spec,
        Err(error) => {
            found.problems = mistakes::mistakes(raw);
            if found.problems.is_empty() {
                found.problems.push(unreadable(&error.to_string()));
            }
            // What can be shown of the job is shown although another field is wrong.
            if let Some(Ok(job)) = raw.get("body").map(|b| serde_json::from_value::<Body>(b.clone())) {
                runs(&job, own, now, &mut found);
            }
            return found;
        }
    };
    if let Err(error) = spec.check() {
        found.problems.push(wrong(&error));
    }
    match &spec.body {
        Body::Cron(job) => found.problems.extend(job_findings(job, &spec.scope)),
        Body::Script(script) => {
            found.problems.extend(script_findings(&script.content));
            found.problems.extend(secret_findings(&spec.body, script.mode));
        }
        Body::File(file) => {
            found.problems.extend(file_findings(file));
            found.problems.extend(secret_findings(&spec.body, file.mode));
        }
        _ => {}
    }
    found.problems.extend(unfilled_findings(&spec.body));
    runs(&spec.body, own, now, &mut found);
    found
}

/// Returns the next runs of a job with the zone that they are meant in: its own, else that of its nodes, `own`; where
/// that is not known or not one, UTC stands for theirs, and says so.
pub(crate) fn job_runs(job: &CronJob, own: Option<&TimeZoneName>, now: UnixMs, count: usize) -> (String, Vec<NextRun>) {
    let named = job.time_zone.as_ref().or(own).and_then(|z| Some((z.to_string(), Zone::parse(z).ok()?)));
    let (name, zone) = named.unwrap_or_else(|| ("UTC (the job goes by each node's own zone)".to_owned(), Zone::utc()));
    let runs = next_runs(&job.schedule, &zone, now, count);
    let shown = runs.into_iter().map(|r| NextRun { at: r.at, local: r.local, note: r.note.unwrap_or_default() });
    (name, shown.collect())
}

fn runs(body: &Body, own: Option<&TimeZoneName>, now: UnixMs, found: &mut SpecCheck) {
    if let Body::Cron(job) = body {
        let (zone, runs) = job_runs(job, own, now, RUNS);
        found.time_zone = Some(zone);
        if runs.is_empty() && !job.schedule.is_reboot() {
            found.problems.push(warning("schedule", "no day of the next 40 years fits it: the job never runs"));
        }
        found.next_runs = if job.enabled { runs } else { Vec::new() };
    }
}

fn unreadable(message: &str) -> Finding {
    let message = message.split(" at line ").next().unwrap_or_default();
    let quoted = message.strip_prefix("missing field `").or_else(|| message.strip_prefix("unknown field `"));
    let field = match quoted {
        Some(rest) => rest.split('`').next().unwrap_or_default(),
        // A checked text says `FIELD "value": why`.
        None => message.split_once(" \"").map_or("", |(field, _)| field),
    };
    Finding {
        field: field.to_owned(),
        line: None,
        column: None,
        severity: Severity::Error,
        message: message.to_owned(),
    }
}

fn wrong(error: &TextError) -> Finding {
    let message = if error.value.is_empty() { error.reason.clone() } else { error.to_string() };
    Finding { field: error.what.to_owned(), line: None, column: None, severity: Severity::Error, message }
}

fn warning(field: &str, message: impl Into<String>) -> Finding {
    Finding { field: field.to_owned(), line: None, column: None, severity: Severity::Warning, message: message.into() }
}

/// What cron makes of a job that may not be what was meant. `%` is no trap here: the command does not stand in cron's
/// file.
fn job_findings(job: &CronJob, scope: &Scope) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(zone) = &job.time_zone
        && let Err(unknown) = Zone::parse(zone)
    {
        found.push(wrong(&unknown));
    }
    if job.environment.keys().any(|n| n.as_str() == "TZ") {
        found.push(warning("environment", "TZ does not change when the job runs: set its time zone instead"));
    }
    if job.environment.values().any(|value| value.contains('$')) {
        found.push(warning("environment", "cron does not expand variables: '$' stays as it is"));
    }
    if let Some(message) = either_day(&job.schedule) {
        found.push(warning("schedule", message));
    }
    if is_flood(&job.schedule) && !matches!(scope, Scope::Node(_)) {
        let message = "starts at midnight sharp on every node of its scope, with everybody else's jobs; \
                       another minute spreads the load";
        found.push(warning("schedule", message));
    }
    if let Some(at) = job.command.find('%') {
        let is_date = job.command[..at].ends_with('\\');
        let message = "% stands for itself here: cron's input after % is not passed on";
        // Only where somebody may have meant input: a date's `+%F` is read as it looks.
        if !is_date && !job.command.contains("+%") && !job.command[..at].contains(['\'', '"']) {
            found.push(Finding { column: column(&job.command, at), line: Some(1), ..warning("command", message) });
        }
    }
    found
}

/// When neither day nor weekday begins with `*`, cron takes either, which is seldom meant.
fn either_day(schedule: &Schedule) -> Option<&'static str> {
    let [_, _, day, _, weekday] = schedule.fields()?;
    (!day.is_star() && !weekday.is_star())
        .then_some("day and weekday are both set: cron runs the job when either fits, not when both do")
}

/// Whether the only start of a day is at 00:00.
fn is_flood(schedule: &Schedule) -> bool {
    let Some([minute, hour, ..]) = schedule.fields() else { return false };
    let only_zero =
        |set: lampas_shared::host::FieldSet, most: u8| set.contains(0) && (1..=most).all(|n| !set.contains(n));
    only_zero(*minute, 59) && only_zero(*hour, 23)
}

/// What holds secrets is not for everybody on the node.
fn secret_findings(body: &Body, mode: FileMode) -> Option<Finding> {
    let uses = crate::compile::template::uses(body);
    let has_secret = uses.iter().any(|source| matches!(source, Source::Secret(_)));
    (has_secret && mode.bits() & 0o007 != 0)
        .then(|| warning("mode", "secrets are in it, and everybody on the node may have them: write 0640 or stricter"))
}

/// Names that were perhaps to be filled in, where nothing does.
fn unfilled_findings(body: &Body) -> Vec<Finding> {
    let told = |u: &Unfilled| Finding { line: u32::try_from(u.line).ok(), ..warning(u.field, u.to_string()) };
    unfilled(body).iter().map(told).collect()
}

fn column(line: &str, at: usize) -> Option<u32> {
    u32::try_from(line[..at].chars().count() + 1).ok()
}

/// What is known of files by their place: cron's tables, and what can be run.
fn file_findings(file: &ManagedFile) -> Vec<Finding> {
    if file.encoding != Encoding::Utf8 {
        return Vec::new();
    }
    match cron_table(file.path.as_str()) {
        Some((table, name)) => {
            let by_name = name.and_then(crontab::lint_file_name).map(|message| warning("path", message));
            by_name.into_iter().chain(table_findings(&file.content, table)).collect()
        }
        None if file.mode.bits() & 0o111 != 0 => script_findings(&file.content),
        None => Vec::new(),
    }
}

/// Returns which table a file is to cron, and its name where that decides whether cron reads it.
fn cron_table(path: &str) -> Option<(CronTable, Option<&str>)> {
    if path == "/etc/crontab" {
        return Some((CronTable::System, None));
    }
    let of = |directory: &str| path.strip_prefix(directory).filter(|name| !name.contains('/'));
    of("/etc/cron.d/")
        .map(|name| (CronTable::System, Some(name)))
        .or_else(|| of("/var/spool/cron/crontabs/").map(|_| (CronTable::User, None)))
}

fn table_findings(content: &str, table: CronTable) -> Vec<Finding> {
    let mut found: Vec<Finding> = crontab::lint(content, table)
        .into_iter()
        .map(|f| Finding {
            line: u32::try_from(f.line).ok(),
            column: f.column.and_then(|c| u32::try_from(c).ok()),
            // The file can be saved: only cron would not take it.
            ..warning("content", f.message)
        })
        .collect();
    for (number, line) in crontab::parse(content, table).jobs() {
        if let crontab::LineContent::Job { schedule, .. } = &line.content
            && let Some(message) = either_day(schedule)
        {
            found.push(Finding { line: u32::try_from(number).ok(), ..warning("content", message) });
        }
    }
    found.sort_by_key(|f| (f.line, f.column));
    found
}

fn script_findings(content: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut note = |line: usize, column: Option<u32>, message: &str| {
        let line = u32::try_from(line).ok();
        found.push(Finding { line, column, ..warning("content", message) });
    };
    let first = content.lines().next().unwrap_or_default();
    match first.strip_prefix("#!") {
        None => note(1, None, "has no #! line: the caller's shell will run it, whichever that is"),
        Some(rest) if !rest.trim_start().starts_with('/') => note(1, Some(3), "the interpreter needs an absolute path"),
        Some(rest) if is_posix(rest) => {
            let bashism = content.lines().enumerate().find_map(|(i, line)| {
                let code = line.trim_start();
                let is_test = code.starts_with("[[ ")
                    || ["if ", "while ", "until ", "&& ", "|| ", "! "]
                        .iter()
                        .any(|w| line.contains(&format!("{w}[[ ")));
                (is_test && !code.starts_with('#')).then(|| (i + 1, line.find("[[ ").and_then(|at| column(line, at))))
            });
            if let Some((line, column)) = bashism {
                note(line, column, "[[ is bash; Debian's /bin/sh is dash: write #!/bin/bash");
            }
        }
        Some(_) => {}
    }
    let mut ends = content.split_inclusive('\n').enumerate();
    if let Some((i, line)) = ends.find(|(_, l)| l.ends_with("\r\n")) {
        let message = "ends with a carriage return, which the shell takes for part of the word";
        note(i + 1, column(line, line.len() - 2), message);
    }
    for (i, line) in content.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if let Some(c) = deceptive_char(line) {
            let message = format!("contains the character U+{:04X}, which can't be seen", u32::from(c));
            note(i + 1, line.find(c).and_then(|at| column(line, at)), &message);
            break;
        }
    }
    if !content.is_empty() && !content.ends_with('\n') {
        let last = content.lines().last().unwrap_or_default();
        note(content.lines().count(), column(last, last.len()), "has no newline at its end");
    }
    found.sort_by_key(|f| (f.line, f.column));
    found
}

fn is_posix(interpreter: &str) -> bool {
    let program = interpreter.split_whitespace().next().unwrap_or_default();
    matches!(program, "/bin/sh" | "/usr/bin/sh" | "/bin/dash" | "/usr/bin/dash")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_774_900_000_000);

    fn cron(schedule: &str) -> serde_json::Value {
        serde_json::json!({"name": "j", "scope": "fleet", "body": {"kind": "cron", "schedule": schedule, "command": "true"}})
    }

    #[test]
    fn a_job_without_a_zone_goes_by_that_of_its_nodes() {
        let berlin = TimeZoneName::parse("Europe/Berlin").expect("a zone");
        let found = check(&cron("17 3 * * *"), Some(&berlin), NOW);
        assert_eq!(found.time_zone.as_deref(), Some("Europe/Berlin"));
        assert!(found.next_runs.iter().all(|r| r.local.ends_with("T03:17:00+02:00")), "{:?}", found.next_runs);
        let mut tokyo = cron("17 3 * * *");
        tokyo["body"]["time_zone"] = "Asia/Tokyo".into();
        assert_eq!(check(&tokyo, Some(&berlin), NOW).time_zone.as_deref(), Some("Asia/Tokyo"));
    }

    #[test]
    fn a_job_that_never_comes_is_told() {
        let warned =
            |schedule: &str| check(&cron(schedule), None, NOW).problems.iter().any(|p| p.message.contains("never"));
        assert!(warned("0 0 30 2 *"));
        assert!(!warned("0 4 29 2 *"));
        assert!(!warned("@reboot"));
    }

    #[test]
    fn a_job_shows_its_next_runs() {
        let found = check(&cron("*/5 * * * *"), None, NOW);
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        assert_eq!(found.next_runs.len(), 5);
        assert_eq!(found.time_zone.as_deref(), Some("UTC (the job goes by each node's own zone)"));
        assert!(found.next_runs.windows(2).all(|w| w[1].at.since(w[0].at) == 300_000));
    }

    #[test]
    fn a_template_is_read_and_an_open_file_with_secrets_is_warned_of() {
        let file = |content: &str, mode: &str| {
            let body = serde_json::json!({"kind": "file", "path": "/etc/f", "content": content, "mode": mode, "template": true});
            let found = check(&serde_json::json!({"name": "f", "scope": "fleet", "body": body}), None, NOW);
            found.problems.into_iter().map(|f| (f.field, f.severity)).collect::<Vec<_>>()
        };
        assert_eq!(file("{{secret.pw}}", "0640"), []);
        assert_eq!(file("{{secret.pw}}", "0644"), [("mode".to_owned(), Severity::Warning)]);
        assert_eq!(file("{{var.pw}}", "0644"), []);
        assert_eq!(file("{{pw}}", "0640"), [("content".to_owned(), Severity::Error)]);
    }

    #[test]
    fn names_that_nothing_fills_in_are_warned_of() {
        let warned = |body: serde_json::Value| {
            let found = check(&serde_json::json!({"name": "f", "scope": "fleet", "body": body}), None, NOW);
            assert!(found.problems.iter().all(|f| f.severity == Severity::Warning), "{:?}", found.problems);
            found.problems.into_iter().map(|f| (f.field, f.line, f.message)).collect::<Vec<_>>()
        };
        let file = |content: &str, template: bool| {
            warned(serde_json::json!({"kind": "file", "path": "/etc/f", "content": content, "mode": "0600",
                "template": template}))
        };
        let text = "content holds {{secret.db-pass}}, which is written as it stands: set template = true to fill it in";
        let one = ("content".to_owned(), Some(2), text.to_owned());
        assert_eq!(file("a\nb={{ secret.db-pass | shell }} {{secret.db-pass}}\n", false), [one]);
        assert_eq!(file("b={{secret.db-pass}}\n", true), []);
        for other in ["{{ .Values.x }} ${{ secrets.X }} {{x}} {{", "{{secret.x\n}}", "{{var.}}"] {
            assert_eq!(file(other, false), [], "{other}");
        }
        let script = serde_json::json!({"kind": "script", "content": "#!/bin/sh\necho {{fact.hostname}}\n"});
        assert_eq!(warned(script)[0].1, Some(2));
        let job = |template: bool| {
            let body = serde_json::json!({"kind": "cron", "schedule": "17 4 * * *", "command": "echo {{var.a}}",
                "environment": {"PW": "{{secret.a}}"}, "template": template});
            warned(body).into_iter().map(|(field, ..)| field).collect::<Vec<_>>()
        };
        assert_eq!(job(false), ["command", "environment"]);
        assert_eq!(job(true), ["command"]);
        let unit = serde_json::json!({"kind": "service", "unit": "[Service]\nExecStart=/bin/app {{var.a}}\n"});
        let named = serde_json::json!({"name": "app.service", "scope": "fleet", "body": unit});
        let found = check(&named, None, NOW).problems;
        assert_eq!(found.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(), ["unit"], "{found:?}");
    }

    #[test]
    fn a_mistake_names_its_field() {
        for (raw, field) in [
            (cron("*/5 * * *"), "schedule"),
            (
                serde_json::json!({"name": "j", "scope": "fleet", "body": {"kind": "cron", "schedule": "@daily",
                    "command": "true", "time_zone": "Mars/Base"}}),
                "time_zone",
            ),
            (serde_json::json!({"scope": "fleet"}), "name"),
            (serde_json::json!({"name": "x", "scope": "nowhere"}), "scope"),
        ] {
            let found = check(&raw, None, NOW);
            assert_eq!(found.problems[0].field, field, "{:?}", found.problems);
            assert_eq!(found.problems[0].severity, Severity::Error);
        }
    }

    #[test]
    fn scripts_are_looked_at_line_by_line() {
        let lines: Vec<_> =
            script_findings("#!/bin/sh\nif [[ a ]]; then\r\n:\u{202e}\nfi").iter().map(|f| f.line).collect();
        assert_eq!(lines, [Some(2), Some(2), Some(3), Some(4)]);
        assert!(script_findings("#!/bin/bash\ntrue\n").is_empty());
    }

    #[test]
    fn a_job_is_warned_of_what_cron_makes_of_it() {
        let job = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut raw = cron("17 4 * * *");
            change(&mut raw);
            let found = check(&raw, None, NOW);
            assert!(found.problems.iter().all(|f| f.severity == Severity::Warning), "{:?}", found.problems);
            found.problems.into_iter().map(|f| (f.field, f.column)).collect::<Vec<_>>()
        };
        let one = |field: &str, column| vec![(field.to_owned(), column)];
        assert_eq!(job(&|_| {}), []);
        assert_eq!(job(&|raw| raw["body"]["schedule"] = "0 9 13 * 5".into()), one("schedule", None));
        assert_eq!(job(&|raw| raw["body"]["schedule"] = "@daily".into()), one("schedule", None));
        assert_eq!(job(&|raw| raw["body"]["environment"] = serde_json::json!({"TZ": "UTC"})), one("environment", None));
        assert_eq!(job(&|raw| raw["body"]["command"] = "mail me%hello".into()), one("command", Some(8)));
        assert_eq!(job(&|raw| raw["body"]["command"] = "date +%F".into()), []);
        let on_one_node = |raw: &mut serde_json::Value| {
            raw["body"]["schedule"] = "@daily".into();
            raw["scope"] = "node:web-1".into();
        };
        assert_eq!(job(&on_one_node), []);
    }

    #[test]
    fn a_file_of_cron_is_read_as_cron_reads_it() {
        let file = |path: &str, content: &str| {
            let body = serde_json::json!({"kind": "file", "path": path, "content": content});
            let found = check(&serde_json::json!({"name": "f", "scope": "fleet", "body": body}), None, NOW);
            found.problems.into_iter().map(|f| (f.field, f.line, f.column)).collect::<Vec<_>>()
        };
        let content = |line, column| ("content".to_owned(), Some(line), column);
        assert_eq!(file("/etc/cron.d/ok", "1 2 * * * root true\n"), []);
        assert_eq!(file("/etc/cron.d/no.dot", "1 2 * * * root true\n"), [("path".to_owned(), None, None)]);
        assert_eq!(
            file("/etc/cron.d/ok", "CRON_TZ=UTC\n1 2 3 * 5 root date +%F"),
            [content(1, None), content(2, None), content(2, Some(22)), content(2, Some(24))]
        );
        assert_eq!(file("/var/spool/cron/crontabs/www-data", "1 2 * * * root true\n"), []);
        assert_eq!(file("/etc/other", "no table"), []);
    }
}
