//! Waiting for a change: each node as it is done, and the exit code that follows.

use std::{
    collections::BTreeSet,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use lampas_api::{Change, ChangeNode, ChangeNodeState, Progress, RolloutView};
use lampas_shared::{
    change::ChangeState,
    event::EventKind,
    id::ChangeId,
    rollout::{LimitStand, Phase, State, Strategy},
};

use super::{CommandError, Context, approval, plan, waiter::Waiter};
use crate::{
    cli::WaitArgs,
    client::encode,
    output::{self, count},
};

/// How many nodes get a line of their own; beyond that a bar counts.
const LINES: usize = 30;
/// How often the change is looked at when no event comes: the stream may be broken.
const LOOK: Duration = Duration::from_secs(1);
/// How long events of nodes are gathered before the change is looked at, where each node gets a line.
const GATHER_LINES: Duration = Duration::from_millis(10);
/// The same where nodes are counted: the change's own end is told at once, by an event of its own.
const GATHER: Duration = Duration::from_millis(250);
/// Which nodes of a large change get a line while it goes on.
const IN_TROUBLE: &str = "failed,superseded";
/// Which of them do at its end.
const NOT_IN_FORCE: &str = "waiting,applying,failed,unreachable,superseded,untouched";

/// Applies a plan and, if asked, waits.
pub(super) async fn apply(
    context: &Context,
    change: &str,
    plan: &str,
    (allow_unplanned, rollout): (bool, Strategy),
    wait: &WaitArgs,
) -> Result<u8, CommandError> {
    approval::apply(context, change, plan, approval::How::plain(allow_unplanned, rollout), wait).await
}

/// Tells what to do next, or waits until every node is done.
pub(super) async fn after_apply<S>(
    context: &Context,
    change: Change,
    wait: &WaitArgs,
    events: Option<S>,
) -> Result<u8, CommandError>
where
    S: futures_util::Stream<Item = Result<lampas_shared::event::Event, crate::client::CallError>> + Unpin,
{
    if wait.wait {
        let number = change.summary.number.to_string();
        return follow_from(context, &number, Some(change), wait.timeout, events).await;
    }
    if context.is_json() {
        output::json(&change);
    } else {
        let number = change.summary.number;
        output::line(format!("  change {number} is on its way · {}/changes/{number}", context.client.server()));
        output::note(format!("  follow it with: lampasctl change wait {number}"));
    }
    Ok(0)
}

/// Waits until every node of a change is done. Returns 0, 2 or 3.
pub(super) async fn follow<S>(
    context: &Context,
    change: &str,
    timeout_secs: u64,
    events: Option<S>,
) -> Result<u8, CommandError>
where
    S: futures_util::Stream<Item = Result<lampas_shared::event::Event, crate::client::CallError>> + Unpin,
{
    follow_from(context, change, None, timeout_secs, events).await
}

async fn follow_from<S>(
    context: &Context,
    change: &str,
    mut known: Option<Change>,
    timeout_secs: u64,
    mut events: Option<S>,
) -> Result<u8, CommandError>
where
    S: futures_util::Stream<Item = Result<lampas_shared::event::Event, crate::client::CallError>> + Unpin,
{
    let started = Instant::now();
    let path = format!("/changes/{}", encode(change));
    let mut shown = BTreeSet::new();
    let (mut told, mut wave) = (0, 0);
    let bar = indicatif::ProgressBar::hidden();
    let mut waiter = waiter(context, change, timeout_secs).beside(bar.clone()).which_answered(known.is_some());
    loop {
        let change: Change = match known.take() {
            Some(change) => change,
            None => waiter.get(&path, &[("brief", Some("true"))]).await?,
        };
        let progress = change.summary.progress;
        let total = progress.total();
        let is_bar = total as usize > LINES;
        if is_bar && !context.is_json() && std::io::stderr().is_terminal() && bar.is_hidden() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            bar.set_length(u64::from(total));
        }
        bar.set_position(u64::from(total - progress.waiting - progress.applying - progress.held));
        let rolling = change.rollout.as_ref().filter(|r| r.state == State::Running);
        if let Some(rollout) = rolling.filter(|r| !context.is_json() && r.wave > wave) {
            wave = rollout.wave;
            bar.suspend(|| super::rollout::wave_line(rollout));
        }
        let is_settled = progress.waiting + progress.applying == 0 && rolling.is_none();
        let is_over = is_settled && change.summary.state != ChangeState::Approved;
        let timed_out = started.elapsed().as_secs() >= timeout_secs;
        let is_end = is_over || timed_out;
        if !context.is_json() {
            let in_trouble = progress.failed + progress.superseded;
            // Of a large change only the nodes that get a line are fetched, and only when there may be more of them.
            let wanted = match (is_bar, is_end) {
                (false, _) => Some(None),
                (true, true) if progress.converged < total => Some(Some(NOT_IN_FORCE)),
                (true, false) if in_trouble > told => Some(Some(IN_TROUBLE)),
                (true, _) => None,
            };
            if let Some(states) = wanted {
                for node in &nodes(&mut waiter, &path, states).await? {
                    let is_pending = matches!(
                        node.state,
                        ChangeNodeState::Waiting | ChangeNodeState::Applying | ChangeNodeState::Held
                    );
                    // At a limit those beyond it are part of the answer.
                    let is_beyond = is_over && node.state == ChangeNodeState::Held;
                    if (!is_pending || timed_out || is_beyond) && shown.insert((node.node.id, node.state)) {
                        bar.suspend(|| line(node, change.summary.number, change.rollout.as_ref()));
                    }
                }
                told = in_trouble;
            }
        }
        if is_end {
            bar.finish_and_clear();
            let is_reverted = change.rollout.as_ref().is_some_and(|r| r.state == State::Reverted);
            let (mut change, mut back) = (change, None);
            if let Some(by) = change.reverted_by.filter(|_| is_reverted && is_over) {
                back = Some((by, put_back(&mut waiter, by, started, timeout_secs).await?));
                // What the gates wrote may have come in meanwhile.
                change = waiter.get(&path, &[("brief", Some("true"))]).await?;
            }
            if context.is_json() {
                let whole: Change = waiter.get(&path, &[]).await?;
                let nodes = nodes(&mut waiter, &path, None).await?;
                output::json(&serde_json::json!({ "change": whole, "nodes": nodes }));
            }
            return Ok(conclude(context, &change, is_over, back));
        }
        let has_lines = !is_bar && !context.is_json();
        wait_for_news(&mut events, change.summary.id, if has_lines { GATHER_LINES } else { GATHER }).await;
    }
}

/// Waits for a change that the controller has accepted.
pub(super) fn waiter<'a>(context: &'a Context, change: &str, timeout_secs: u64) -> Waiter<'a> {
    let command = format!("lampasctl change wait {change}");
    Waiter::new(context, format!("change {change} goes on"), command, Some(Duration::from_secs(timeout_secs)))
}

/// Waits until the nodes have what the reverting change puts back; returns how they stand.
async fn put_back(
    waiter: &mut Waiter<'_>,
    by: u64,
    started: Instant,
    timeout_secs: u64,
) -> Result<Progress, CommandError> {
    loop {
        let change: Change = waiter.get(&format!("/changes/{by}"), &[("brief", Some("true"))]).await?;
        let progress = change.summary.progress;
        if progress.waiting + progress.applying == 0 || started.elapsed().as_secs() >= timeout_secs {
            return Ok(progress);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn nodes(waiter: &mut Waiter<'_>, path: &str, states: Option<&str>) -> Result<Vec<ChangeNode>, CommandError> {
    Ok(waiter.pages::<ChangeNode>(&format!("{path}/nodes"), &[("state", states)]).await?.items)
}

/// Waits until the change itself moves; else until `gather` after something else happened, or for [`LOOK`]. Cancel-safe:
/// events are hints.
pub(super) async fn wait_for_news<S>(events: &mut Option<S>, change: ChangeId, gather: Duration)
where
    S: futures_util::Stream<Item = Result<lampas_shared::event::Event, crate::client::CallError>> + Unpin,
{
    let Some(stream) = events else {
        tokio::time::sleep(Duration::from_millis(200)).await;
        return;
    };
    let mut until = tokio::time::Instant::now() + LOOK;
    loop {
        match tokio::time::timeout_at(until, stream.next()).await {
            Ok(None | Some(Err(_))) => {
                *events = None;
                return;
            }
            Ok(Some(Ok(event))) if event.kind == EventKind::ChangeMoved && event.change == Some(change) => {
                // Its way to the nodes is no news to whoever sent it there.
                if event.details.get("state").is_none_or(|s| s != "rolling") {
                    return;
                }
            }
            Ok(Some(Ok(_))) => until = until.min(tokio::time::Instant::now() + gather),
            Err(_) => return,
        }
    }
}

fn line(node: &ChangeNode, number: u64, rollout: Option<&RolloutView>) {
    let took = node.took_ms.map(|ms| format!("   {ms} ms")).unwrap_or_default();
    let why = node.fault.as_ref().map(|f| format!("   {} ({})", plan::numbered(&f.message, number), f.code));
    let why = why.unwrap_or_default();
    let text = match node.state {
        ChangeNodeState::Converged => format!("✓ in force{took}"),
        ChangeNodeState::Failed => format!("■ {}{why}", node.config.map_or("failed", |c| c.as_str())),
        ChangeNodeState::Unreachable => "○ not connected; it gets this when it returns".to_owned(),
        ChangeNodeState::Untouched => "– never had it".to_owned(),
        ChangeNodeState::Superseded => match &node.fault {
            Some(fault) => format!("– {}", fault.message),
            None => "– overtaken by a later change".to_owned(),
        },
        ChangeNodeState::Waiting => "◌ has not answered yet".to_owned(),
        ChangeNodeState::Held => match rollout.and_then(|r| r.limit.as_ref()) {
            Some(limit) if limit.stand != LimitStand::Lifted => format!("◌ not yet: limited to {}", limit.scope),
            _ => "◌ in a later wave".to_owned(),
        },
        ChangeNodeState::Applying => "◐ received, not in force yet".to_owned(),
    };
    output::line(format!("  {}  {text}", node.node.name));
}

/// Returns a time as it was given: `45 s`, `5 min`, `2 h`.
fn span(secs: u32) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 if secs.is_multiple_of(60) => format!("{} min", secs / 60),
        _ if secs.is_multiple_of(3600) => format!("{} h", secs / 3600),
        _ => format!("{} min {} s", secs / 60, secs % 60),
    }
}

/// Says what a change that is not over waits for.
fn still(progress: Progress, rollout: Option<&RolloutView>) -> String {
    let moving = progress.waiting + progress.applying;
    let rolling = rollout.filter(|r| r.state == State::Running);
    let Some(rollout) = rolling.filter(|r| moving == 0 || r.phase != Phase::Applying) else {
        return format!("{} still converging", count(u64::from(moving), "node"));
    };
    let (wave, waves) = (rollout.wave, rollout.waves.len() as u32);
    let by = output::time(rollout.deadline);
    let frozen = if rollout.reason.is_empty() { String::new() } else { format!(" ({})", rollout.reason) };
    let next = match () {
        () if wave == waves => "the rollout ends".to_owned(),
        () if rollout.limit.as_ref().is_some_and(|l| l.waves == wave && l.stand == LimitStand::Ahead) => {
            "the nodes within the limit are through".to_owned()
        }
        () => format!("wave {} of {waves} begins", wave + 1),
    };
    match rollout.phase {
        Phase::Measuring => {
            format!("what gates compare with is measured for wave {wave} of {waves}, until {by}{frozen}")
        }
        Phase::Applying => format!("wave {wave} of {waves} waits for its nodes, until {by}{frozen}"),
        Phase::Gating => format!("the gates of wave {wave} of {waves} are asked, until {by}{frozen}"),
        Phase::Soaking => {
            format!("{next} after {} of soak, at {by}{frozen}", span(rollout.strategy.soak_secs))
        }
    }
}

/// `back` is the change that put back what stood before, and how far it is.
fn conclude(context: &Context, change: &Change, is_over: bool, back: Option<(u64, Progress)>) -> u8 {
    let summary = &change.summary;
    let progress = summary.progress;
    let is_held = |r: &RolloutView| super::rollout::held(r).is_some();
    let stopped = change.rollout.as_ref().filter(|r| !matches!(r.state, State::Done | State::Running));
    let code = if !is_over {
        3
    } else if stopped.is_some_and(is_held) && progress.failed + progress.unreachable == 0 {
        // All that was asked for is done: the rest was meant to wait.
        0
    } else if stopped.is_some() || progress.failed + progress.unreachable > 0 {
        2
    } else {
        0
    };
    if context.is_json() {
        return code;
    }
    if let Some(rollout) = stopped.filter(|_| is_over) {
        super::rollout::stopped_lines(context, summary.number, rollout, back);
        return code;
    }
    let took = match (summary.applied_at, summary.done_at) {
        (Some(applied), Some(done)) => format!(" in {:.1} s", done.since(applied).max(0) as f64 / 1000.0),
        _ => String::new(),
    };
    let link = format!("{}/changes/{}", context.client.server(), summary.number);
    match code {
        0 if progress == Progress::default() => output::line(format!("  done, no node was concerned · {link}")),
        0 => output::line(format!("  done{took} · {link}")),
        3 => {
            output::line(format!("  {}; the change goes on · {link}", still(progress, change.rollout.as_ref())));
            output::note(format!("  wait for it with: lampasctl change wait {}", summary.number));
        }
        _ => {
            let parts = [(progress.failed, "failed"), (progress.unreachable, "not connected")];
            let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, w)| format!("{n} {w}")).collect();
            output::line(format!("  {} in force, {} · {link}", progress.converged, parts.join(", ")));
        }
    }
    code
}
