//! Runs of cron jobs, and the next runs of a schedule.

use lampas_api::{Run, SpecCheck};
use lampas_shared::{
    fleet::Scope,
    host::{CronJob, CronTable, Schedule, TimeZoneName, UserName},
    object::{Body, DriftPolicy, ObjectName, ObjectSpec},
    report::RunOutcome,
};
use reqwest::Method;

use super::{CommandError, Context, listed, show};
use crate::{
    cli::JobCommand,
    client::encode,
    output::{self, state, time},
};

/// Runs `lampasctl job …`.
pub(super) async fn run(context: &Context, command: JobCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    match command {
        JobCommand::List { job, node, list } => {
            let object = match &job {
                Some(job) if job.contains('/') || job.len() == 36 => Some(job.clone()),
                Some(job) => Some(format!("cron/{job}")),
                None => None,
            };
            let object = match object {
                Some(object) => Some(super::object::find(context, &object).await?.about.id.to_string()),
                None => None,
            };
            show(context, &list, async || {
                let query = [("object", object.as_deref()), ("node", node.as_deref())];
                let page = client.pages::<Run>("/runs", &query, list.max.or(Some(50))).await?;
                listed(context, &page, "no runs are recorded yet", |items| {
                    let row = |r: &Run| {
                        let took = r.ended_at.map(|e| format!("{:.1} s", e.since(r.started_at) as f64 / 1000.0));
                        vec![
                            time(r.started_at),
                            r.name.clone(),
                            r.node.name.clone(),
                            outcome(r),
                            took.unwrap_or_default(),
                            r.output_bytes.to_string(),
                            r.id.to_string(),
                        ]
                    };
                    output::table(
                        &["STARTED", "JOB", "NODE", "OUTCOME", ">TOOK", ">BYTES", "RUN"],
                        items.iter().map(row).collect(),
                    );
                });
                Ok(())
            })
            .await
        }
        JobCommand::Show { run } => {
            let run: Run = client.get(&format!("/runs/{}", encode(&run)), &[]).await?;
            if context.is_json() {
                output::json(&run);
                return Ok(0);
            }
            output::note(format!(
                "{} on {} as {}: {}, {} {}",
                run.name,
                run.node.name,
                run.user,
                outcome(&run),
                if matches!(run.outcome, RunOutcome::Missed | RunOutcome::NodeDown) { "was due" } else { "began" },
                time(run.started_at)
            ));
            let text = run.output.unwrap_or_default();
            if run.output_bytes > text.len() as u64 {
                output::note(format!("the last {} of {} bytes:", text.len(), run.output_bytes));
            }
            output::line(text.trim_end_matches('\n'));
            Ok(0)
        }
        JobCommand::Next { schedule, time_zone } => {
            let schedule: Schedule = schedule.parse()?;
            let spec = ObjectSpec {
                name: ObjectName::parse("next")?,
                scope: Scope::Fleet,
                drift: DriftPolicy::default(),
                body: Body::Cron(CronJob {
                    schedule,
                    user: UserName::root(),
                    command: "true".into(),
                    environment: Default::default(),
                    mailto: None,
                    time_zone: Some(TimeZoneName::parse(time_zone)?),
                    table: CronTable::System,
                    timeout_secs: None,
                    enabled: true,
                    template: false,
                }),
            };
            let check: SpecCheck = client.send_json(Method::POST, "/check/spec", &spec).await?;
            if context.is_json() {
                output::json(&check);
                return Ok(0);
            }
            for problem in &check.problems {
                output::note(&problem.message);
            }
            for run in &check.next_runs {
                output::line(format!("{}  {}", run.local, run.note).trim_end());
            }
            Ok(u8::from(!check.problems.is_empty()))
        }
    }
}

fn outcome(run: &Run) -> String {
    let times = if run.times > 1 { format!(", {} times", run.times) } else { String::new() };
    match run.outcome {
        RunOutcome::Exited(0) => state("done"),
        RunOutcome::Exited(status) => format!("{} ({status})", state("failed")),
        RunOutcome::Signalled(signal) => format!("{} (signal {signal})", state("failed")),
        RunOutcome::TimedOut => format!("{} (too long)", state("failed")),
        RunOutcome::NotStarted => format!("{} (not started)", state("failed")),
        RunOutcome::Skipped => "○ skipped".into(),
        RunOutcome::Lost => format!("{} (lost)", state("failed")),
        RunOutcome::Missed => format!("◌ missed{times}"),
        RunOutcome::NodeDown => format!("◌ node down{times}"),
    }
}
