//! Checks a spec without saving it, for editors. Only what can be seen by looking: nothing is run on the controller.

use lampas_api::{Finding, NextRun, Severity, SpecCheck};
use lampas_render::{Zone, next_runs};
use lampas_shared::{
    TextError, deceptive_char,
    host::CronJob,
    object::{Body, ObjectSpec},
    time::UnixMs,
};

/// How many runs are shown.
const RUNS: usize = 5;

/// Checks a spec as it was sent.
pub(crate) fn check(raw: &serde_json::Value, now: UnixMs) -> SpecCheck {
    let mut found = SpecCheck { problems: Vec::new(), next_runs: Vec::new(), time_zone: None };
    let spec = match serde_json::from_value::<ObjectSpec>(raw.clone()) {
        Ok(spec) => spec,
        Err(error) => {
            found.problems.push(unreadable(&error.to_string()));
            // What can be shown of the job is shown although another field is wrong.
            if let Some(Ok(job)) = raw.get("body").map(|b| serde_json::from_value::<Body>(b.clone())) {
                runs(&job, now, &mut found);
            }
            return found;
        }
    };
    if let Err(error) = spec.check() {
        found.problems.push(wrong(&error));
    }
    match &spec.body {
        Body::Script(script) => found.problems.extend(script_findings(&script.content)),
        Body::File(file) if file.mode.bits() & 0o111 != 0 => found.problems.extend(script_findings(&file.content)),
        _ => {}
    }
    runs(&spec.body, now, &mut found);
    found
}

/// Returns the next runs of a job with the zone that they are meant in; none when the zone is the node's own and UTC
/// stands in for it.
pub(crate) fn job_runs(job: &CronJob, now: UnixMs, count: usize) -> (String, Vec<NextRun>) {
    let zone = job.time_zone.as_ref().and_then(|z| Zone::parse(z).ok()).unwrap_or_else(Zone::utc);
    let runs = next_runs(&job.schedule, &zone, now, count);
    let shown = runs.into_iter().map(|r| NextRun { at: r.at, local: r.local, note: r.note.unwrap_or_default() });
    (zone.name().to_string(), shown.collect())
}

fn runs(body: &Body, now: UnixMs, found: &mut SpecCheck) {
    if let Body::Cron(job) = body {
        let (zone, runs) = job_runs(job, now, RUNS);
        found.time_zone = Some(zone);
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
    Finding { field: field.to_owned(), line: None, severity: Severity::Error, message: message.to_owned() }
}

fn wrong(error: &TextError) -> Finding {
    let message = if error.value.is_empty() { error.reason.clone() } else { error.to_string() };
    Finding { field: error.what.to_owned(), line: None, severity: Severity::Error, message }
}

fn script_findings(content: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut note = |line: usize, message: &str| {
        let line = u32::try_from(line).ok();
        found.push(Finding { field: "content".into(), line, severity: Severity::Warning, message: message.to_owned() });
    };
    let first = content.lines().next().unwrap_or_default();
    match first.strip_prefix("#!") {
        None => note(1, "has no #! line: the caller's shell will run it, whichever that is"),
        Some(rest) if !rest.trim_start().starts_with('/') => note(1, "the interpreter needs an absolute path"),
        Some(rest) if rest.trim_end() == "/bin/sh" && content.contains("[[") => {
            note(1, "[[ is bash; Debian's /bin/sh is dash: write #!/bin/bash");
        }
        Some(_) => {}
    }
    let mut ends = content.split_inclusive('\n').enumerate();
    if let Some((i, _)) = ends.find(|(_, l)| l.ends_with("\r\n")) {
        note(i + 1, "ends with a carriage return, which the shell takes for part of the word");
    }
    for (i, line) in content.lines().enumerate() {
        if let Some(c) = deceptive_char(line.trim_end_matches('\r')) {
            note(i + 1, &format!("contains the character U+{:04X}, which can't be seen", u32::from(c)));
            break;
        }
    }
    if !content.is_empty() && !content.ends_with('\n') {
        note(content.lines().count(), "has no newline at its end");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_774_900_000_000);

    fn cron(schedule: &str) -> serde_json::Value {
        serde_json::json!({"name": "j", "scope": "fleet", "body": {"kind": "cron", "schedule": schedule, "command": "true"}})
    }

    #[test]
    fn a_job_shows_its_next_runs() {
        let found = check(&cron("*/5 * * * *"), NOW);
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        assert_eq!(found.next_runs.len(), 5);
        assert!(found.next_runs.windows(2).all(|w| w[1].at.since(w[0].at) == 300_000));
    }

    #[test]
    fn a_mistake_names_its_field() {
        for (raw, field) in [
            (cron("*/5 * * *"), "schedule"),
            (serde_json::json!({"scope": "fleet"}), "name"),
            (serde_json::json!({"name": "x", "scope": "nowhere"}), "scope"),
        ] {
            let found = check(&raw, NOW);
            assert_eq!(found.problems[0].field, field, "{:?}", found.problems);
            assert_eq!(found.problems[0].severity, Severity::Error);
        }
    }

    #[test]
    fn scripts_are_looked_at_line_by_line() {
        let lines: Vec<_> =
            script_findings("#!/bin/sh\nif [[ a ]]; then\r\n:\u{202e}\nfi").iter().map(|f| f.line).collect();
        assert_eq!(lines, [Some(1), Some(2), Some(3), Some(4)]);
        assert!(script_findings("#!/bin/bash\ntrue\n").is_empty());
    }
}
