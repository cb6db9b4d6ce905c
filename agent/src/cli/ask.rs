//! Commands that ask the running agent through its socket; `why` does without it too.

use std::{
    fs,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_runtime::identity::verify_signature;
use lampas_shared::{
    desired::Generation,
    report::{NodePlan, ResourceState, Verb},
};
use serde::de::DeserializeOwned;

use super::{
    Output,
    show::{Clock, clean, put, say},
};
use crate::{
    config::Paths,
    control::{self, AgentStatus, AskError, Request},
    host,
    job::{JOBS_DIRECTORY, JobFile},
    journal::{Pause, Progress, Stance},
    link::Credentials,
    reconcile::{Explained, ResourceStatus, Status, explain, read_snapshot},
    system::Root,
};

/// Something on the node is not as it should be.
pub(super) const NOT_CONVERGED: u8 = 2;
/// A plan has something to do.
const CHANGES: u8 = 10;

pub(super) fn ask<T: DeserializeOwned>(paths: &Paths, request: &Request) -> Result<T, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| AskError::Io { path: paths.socket(), source })?;
    runtime.block_on(control::ask(&paths.socket(), request))
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    put(&serde_json::to_string_pretty(value)?);
    Ok(())
}

pub(super) fn status(paths: &Paths, output: Output) -> anyhow::Result<ExitCode> {
    let status: AgentStatus = ask(paths, &Request::Status)?;
    if output == Output::Json {
        json(&status)?;
    } else {
        say(describe(&status, &Clock::of(paths)));
    }
    let is_well = status.node.state == ResourceState::Converged && status.node.stance == Stance::Follow;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(NOT_CONVERGED) })
}

fn describe(status: &AgentStatus, clock: &Clock) -> String {
    let AgentStatus { node, connected, last_error, damaged_journal } = status;
    let mut out = String::new();
    let mut line = |label: &str, text: String| out.push_str(&format!("{label:<12} {text}\n"));
    line("node", node.node.to_string());
    match (connected, last_error) {
        (Some(controller), _) => line("controller", format!("connected with {controller}")),
        (None, Some(error)) => line("controller", format!("not connected: {error}")),
        (None, None) => line("controller", "not connected".into()),
    }
    match node.generation {
        None => line("generation", "none yet: no controller has sent a state to this node".into()),
        Some(generation) => {
            let progress = match (&node.stance, node.progress) {
                (Stance::Quarantined { reason, since, .. }, _) => {
                    format!("quarantined since {}: {reason}", clock.show(*since))
                }
                (Stance::Undone { since, .. }, _) => {
                    format!("undone since {}; go on with: lampas-agent resume", clock.show(*since))
                }
                (Stance::Follow, Some(Progress::Received)) => "received, not yet in force".into(),
                (Stance::Follow, Some(Progress::Applied)) => "applied, to be confirmed".into(),
                (Stance::Follow, Some(Progress::Unconfirmed)) => {
                    "applied, unconfirmed: no controller has been reached since".into()
                }
                (Stance::Follow, _) => "confirmed".into(),
            };
            // What is quarantined, undone or waits is not in force, whenever it may have been.
            let is_in_force = node.stance == Stance::Follow && node.progress != Some(Progress::Received);
            let since = node.applied_at.filter(|_| is_in_force);
            let since = since.map(|at| format!(" · in force since {}", clock.show(at))).unwrap_or_default();
            line("generation", format!("{generation} · {progress}{since}"));
        }
    }
    if let Some(Pause { until, reason, .. }) = &node.pause {
        let until = until.map_or("until resumed".into(), |u| format!("until {}", clock.show(u)));
        line("paused", format!("{until}: {reason}"));
    }
    if !node.policy.is_empty() {
        line("policy", node.policy.clone());
    }
    if let Some(path) = damaged_journal {
        line("journal", format!("was damaged and moved to {}", path.display()));
    }
    if let Some(why) = &node.journal_trouble {
        line("journal", format!("can't be written; what was acknowledged is kept, nothing new is taken: {why}"));
    }
    if node.waiting_reports > 0 || node.dropped_reports > 0 {
        let dropped = if node.dropped_reports > 0 {
            format!(", {} stale ones dropped", node.dropped_reports)
        } else {
            String::new()
        };
        line("outbox", format!("{} reports wait for a controller{dropped}", node.waiting_reports));
    }
    let converged = node.resources.iter().filter(|r| r.state == ResourceState::Converged).count();
    line("resources", format!("{} · {converged} in force", node.resources.len()));
    for resource in node.resources.iter().filter(|r| r.state != ResourceState::Converged || !r.notes.is_empty()) {
        out.push_str(&format!(
            "  {:<10} {} {} ({})\n",
            resource.state.as_str(),
            resource.kind,
            resource.name,
            resource.scope
        ));
        if let Some(fault) = &resource.fault {
            out.push_str(&format!("             {}\n", fault.message));
        }
        for note in &resource.notes {
            out.push_str(&format!("             note: {note}\n"));
        }
    }
    for drift in &node.drifts {
        out.push_str(&format!("  by hand    {} since {}\n", drift.path, clock.show(drift.since)));
    }
    out
}

/// Prints the heads of the audit that this node keeps, each signed anew with its key.
pub(super) fn heads(paths: &Paths) -> anyhow::Result<ExitCode> {
    let status = read_snapshot(&paths.snapshot()).context("no head of the audit is known here yet")?;
    let credentials = Credentials::load(&paths.identity())?;
    let (identity, name) = (credentials.identity(), credentials.memory().name);
    for seen in &status.heads {
        let (head, at_ms) = (&seen.head, seen.at.0);
        let text = head.to_signed_text(credentials.fleet(), credentials.node(), at_ms);
        let signature = identity.key().sign(text.as_bytes())?;
        let leaf = identity.chain().first().context("the identity has no certificate")?;
        let key = verify_signature(leaf, text.as_bytes(), &signature).context("the key is not the certificate's")?;
        let line = serde_json::json!({
            "fleet": credentials.fleet(), "node": credentials.node(), "name": name,
            "epoch": head.epoch, "seq": head.seq, "hash": head.hash, "at_ms": at_ms,
            "signature": STANDARD.encode(signature), "public_key": STANDARD.encode(key),
            "contradicts_seq": null, "contradicts_hash": null,
        });
        put(&line.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists the copies of changes by hand, or prints one as it was. One that may hold values of secrets is opened with the
/// node's key, which root alone can read.
pub(super) fn kept(paths: &Paths, name: Option<&str>, output: Output) -> anyhow::Result<ExitCode> {
    let root = Root::open(paths.root())?;
    let Some(name) = name else {
        let copies = host::copies(&root)?;
        if output == Output::Json {
            json(&copies)?;
            return Ok(ExitCode::SUCCESS);
        }
        if copies.is_empty() {
            say("no copy is kept: nothing that was changed by hand was written over");
        }
        let clock = Clock::of(paths);
        for copy in copies {
            let sealed = if copy.is_sealed { "   sealed: it may hold values of secrets" } else { "" };
            say(format!("{}   {}{sealed}", clock.show(copy.at), copy.name));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let found = host::copy(&root, name)?;
    let text = "there is no such copy, or it can't be opened with this node's key; lampas-agent kept lists them";
    let bytes = found.with_context(|| format!("{name}: {text}"))?;
    // As it was, for a file or a pager: it may be no text.
    io::stdout().lock().write_all(&bytes).context("writing it")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn plan(paths: &Paths, output: Output) -> anyhow::Result<ExitCode> {
    let plan: NodePlan = ask(paths, &Request::Plan)?;
    if output == Output::Json {
        json(&plan)?;
    } else {
        for action in &plan.actions {
            let sign = match action.verb {
                Verb::Create => '+',
                Verb::Update => '~',
                Verb::Remove => '-',
            };
            say(format!("{sign} {} {}   {}", action.kind, action.name, action.path));
            action.diff.lines().for_each(|line| say(format!("    {line}")));
            action.notes.iter().for_each(|note| say(format!("  note: {note}")));
            if let Some(fault) = &action.fault {
                say(format!("  can't be done: {}", fault.message));
            }
        }
        match plan.actions.len() {
            0 => say("nothing to do"),
            n => say(format!("{n} to do")),
        }
    }
    Ok(if plan.actions.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(CHANGES) })
}

pub(super) fn why(paths: &Paths, place: &str, output: Output) -> anyhow::Result<ExitCode> {
    let status: Status = match ask::<AgentStatus>(paths, &Request::Status) {
        Ok(status) => status.node,
        Err(AskError::NotRunning { .. }) => {
            let path = paths.snapshot();
            let status = read_snapshot(&path)
                .with_context(|| format!("no agent runs here, and what it left in {} can't be read", path.display()))?;
            eprintln!("no agent runs here; this is what it knew {}", Clock::of(paths).show(status.at));
            status
        }
        Err(error) => return Err(error.into()),
    };
    // A path may hold a colon itself: the whole is tried first.
    let whole = normal(paths, place);
    let (path, line) = match place.rsplit_once(':').and_then(|(path, line)| Some((path, line.parse::<usize>().ok()?))) {
        Some((path, line)) if !status.places.contains_key(&whole) => (normal(paths, path), Some(line)),
        _ => (whole, None),
    };
    let text = line.map(|n| line_of(paths, &path, n)).transpose()?;
    let Some(found) = explain(&status, &path, text.as_deref()) else {
        let where_ = line.map_or_else(|| path.clone(), |n| format!("line {n} of {path}"));
        bail!("{where_} is not LAMPAS's: nobody manages it from a controller");
    };
    if output == Output::Json {
        json(&found)?;
    } else {
        say(explanation(&found, &Clock::of(paths)));
    }
    Ok(ExitCode::SUCCESS)
}

fn explanation(found: &Explained, clock: &Clock) -> String {
    let mut out = String::new();
    for resource in &found.resources {
        let ResourceStatus { kind, name, scope, provenance, .. } = resource;
        let reason = if provenance.reason.is_empty() { String::new() } else { format!(", \"{}\"", provenance.reason) };
        out.push_str(&format!(
            "{kind} {name} ({scope}), revision {}, by {}, {}{reason}\n",
            provenance.revision,
            provenance.author,
            clock.show(provenance.at)
        ));
        let generation = found.generation.map_or("no generation".to_owned(), |g| format!("generation {g}"));
        let since = found.applied_at.map(|at| format!(" since {}", clock.show(at))).unwrap_or_default();
        let state = match resource.state {
            ResourceState::Converged => format!("in force{since}"),
            ResourceState::Paused if found.undone_since.is_some() => "undone".to_owned(),
            other => other.as_str().to_owned(),
        };
        out.push_str(&format!(
            "  approved by: {} · {generation} · {state} · undo: lampasctl change revert {}\n",
            provenance.approval, provenance.change
        ));
        if let Some(fault) = &resource.fault {
            out.push_str(&format!("  {}\n", fault.message));
        }
        resource.notes.iter().for_each(|note| out.push_str(&format!("  note: {note}\n")));
    }
    if let Some(since) = found.undone_since {
        let generation = found.generation.map_or_else(String::new, |g| format!("generation {g} is "));
        let since = clock.show(since);
        out.push_str(&format!(
            "  {generation}undone on this node since {since}: what stood before it stands; go on with: lampas-agent resume\n"
        ));
    } else if found.resources.is_empty() {
        out.push_str("LAMPAS wrote it for an object that is no longer wanted here; it is about to go\n");
    }
    out.push_str(&format!("  before LAMPAS: {}\n", found.before));
    if let Some(drift) = &found.drift {
        out.push_str(&format!("  changed by hand: seen {}\n", clock.show(drift.since)));
    }
    out
}

/// Returns a path as the node sees it: absolute, and without the root when it was given with it.
fn normal(paths: &Paths, path: &str) -> String {
    let absolute = std::path::absolute(path).map_or_else(|_| path.to_owned(), |p| p.to_string_lossy().into_owned());
    let root = paths.root().to_string_lossy();
    match absolute.strip_prefix(&*root) {
        Some(rest) if root != "/" && rest.starts_with('/') => rest.to_owned(),
        _ => absolute,
    }
}

fn line_of(paths: &Paths, path: &str, number: usize) -> anyhow::Result<String> {
    let root = Root::open(paths.root())?;
    let bytes = root.read(path, 16 << 20)?.with_context(|| format!("{path} does not exist"))?;
    let text = String::from_utf8_lossy(&bytes);
    let line = number.checked_sub(1).and_then(|n| text.lines().nth(n));
    line.map(str::to_owned).with_context(|| format!("{path} has no line {number}"))
}

pub(super) fn undo(paths: &Paths) -> anyhow::Result<ExitCode> {
    let generation: Generation = ask(paths, &Request::Undo)?;
    say(format!("generation {generation} is undone on this node; it stays so until a newer one arrives"));
    say("go on with it: lampas-agent resume");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pause(paths: &Paths, length: Option<Duration>, reason: String) -> anyhow::Result<ExitCode> {
    let pause: Pause = ask(paths, &Request::Pause { secs: length.map(|l| l.as_secs()), reason })?;
    let until = pause.until.map_or("until resumed".to_owned(), |u| format!("until {}", Clock::of(paths).show(u)));
    say(format!("paused {until}; end it with: lampas-agent resume"));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(paths: &Paths) -> anyhow::Result<ExitCode> {
    let () = ask(paths, &Request::Resume)?;
    say("resumed");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn retry(paths: &Paths) -> anyhow::Result<ExitCode> {
    let () = ask(paths, &Request::Retry)?;
    say("trying again; see: lampas-agent status");
    Ok(ExitCode::SUCCESS)
}

/// Lists the jobs as cron's wrapper reads them: works without the agent.
pub(super) fn jobs(paths: &Paths, output: Output) -> anyhow::Result<ExitCode> {
    let directory = paths.below(JOBS_DIRECTORY);
    let root = Root::open(paths.root())?;
    let mut jobs = Vec::new();
    let entries = match fs::read_dir(&directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries.with_context(|| format!("listing {}", directory.display()))?),
    };
    for entry in entries.into_iter().flatten() {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|n| n.strip_suffix(".json")).and_then(|n| n.parse().ok());
        let Some(id) = id else { continue };
        match JobFile::read(&root, id) {
            Ok(job) => jobs.push(job),
            Err(error) => eprintln!("lampas-agent: {}", clean(&lampas_shared::error::Chain(&error).to_string())),
        }
    }
    jobs.sort_by(|a, b| a.name.cmp(&b.name));
    if output == Output::Json {
        json(&jobs)?;
    } else {
        for job in &jobs {
            let line = format!(
                "{}  {:<24} {:<20} {:<12} {}",
                job.object, job.name, job.job.schedule, job.job.user, job.job.command
            );
            say(&line);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use lampas_shared::{id::NodeId, time::UnixMs};

    use super::*;

    #[test]
    fn only_what_is_in_force_is_said_to_be_since_when() {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::of(&Paths::new(dir.path()));
        let generation = Generation { epoch: 1, counter: 1 };
        let (follow, undone) = (Stance::Follow, Stance::Undone { generation, since: UnixMs(1) });
        for (stance, progress, is_in_force) in [
            (&follow, Progress::Received, false),
            (&follow, Progress::Applied, true),
            (&follow, Progress::Confirmed, true),
            (&undone, Progress::Confirmed, false),
        ] {
            let node = Status {
                node: NodeId::from_uuid(uuid::Uuid::from_u128(7)),
                generation: Some(generation),
                hash: None,
                progress: Some(progress),
                stance: stance.clone(),
                state: ResourceState::Converged,
                applied_at: Some(UnixMs(1)),
                pause: None,
                policy: String::new(),
                journal_trouble: None,
                waiting_reports: 0,
                dropped_reports: 0,
                resources: Vec::new(),
                places: std::collections::BTreeMap::new(),
                drifts: Vec::new(),
                heads: Vec::new(),
                agent_version: String::new(),
                at: UnixMs(2),
            };
            let status = AgentStatus { node, connected: None, last_error: None, damaged_journal: None };
            let said = describe(&status, &clock);
            assert_eq!(said.contains("in force since"), is_in_force, "{progress:?}: {said}");
        }
    }
}
