//! Rollouts: how a change goes wave by wave, and what can be told to it.

use lampas_api::{Change, ChangeSummary, Progress, RolloutLimit, RolloutRequest, RolloutView};
use lampas_shared::rollout::{Gate, LimitStand, OnFailure, Order, Phase, State};
use reqwest::Method;

use super::{CommandError, Context, change, listed, show};
use crate::{
    cli::{RolloutCommand, RolloutOrderArgs},
    client::encode,
    output::{self, count, state, time},
};

/// Runs `lampasctl rollout …`.
pub(super) async fn run(context: &Context, command: RolloutCommand) -> Result<u8, CommandError> {
    match command {
        RolloutCommand::List { list } => {
            show(context, &list, async || {
                let query = [("state", Some("rolling"))];
                let page = context.client.pages::<ChangeSummary>("/changes", &query, list.max).await?;
                listed(
                    context,
                    &page,
                    "nothing is rolling out; begin with: lampasctl apply -f FILE --canary 1 --then 50%",
                    change::changes,
                );
                Ok(())
            })
            .await
        }
        RolloutCommand::Show { change } => {
            let shown: Change =
                context.client.get(&format!("/changes/{}", encode(&change)), &[("brief", Some("true"))]).await?;
            if context.is_json() {
                output::json(&shown.rollout);
            } else {
                print(&shown)?;
            }
            Ok(0)
        }
        RolloutCommand::Pause(args) => order(context, &args, Order::Pause).await,
        RolloutCommand::Resume(args) => order(context, &args, Order::Resume).await,
        RolloutCommand::Promote(args) => order(context, &args, Order::Promote).await,
        RolloutCommand::Abort(args) => order(context, &args, Order::Abort).await,
        RolloutCommand::Revert(args) => order(context, &args, Order::Revert).await,
    }
}

async fn order(context: &Context, args: &RolloutOrderArgs, order: Order) -> Result<u8, CommandError> {
    let request = RolloutRequest { order, reason: args.reason.clone() };
    let path = format!("/changes/{}/rollout", encode(&args.change));
    let shown: Change = context.client.send_json(Method::POST, &path, &request).await?;
    if context.is_json() {
        output::json(&shown.rollout);
    } else {
        print(&shown)?;
    }
    Ok(0)
}

fn print(change: &Change) -> Result<(), CommandError> {
    let number = change.summary.number;
    let Some(rollout) = &change.rollout else {
        return Err(CommandError::Usage(format!("change {number} was applied to all nodes at once; it has no waves")));
    };
    output::line(format!("  change {number}  {}  {}", state(rollout.state.as_str()), rollout.reason));
    let row = |(index, wave): (usize, &lampas_api::RolloutWave)| {
        let at = index as u32 + 1;
        let names: Vec<&str> = wave.nodes.iter().take(4).map(|n| n.name.as_str()).collect();
        let more = if wave.nodes.len() > 4 { ", …" } else { "" };
        let standing = standing(wave.progress, rollout.state);
        vec![at.to_string(), wave_word(rollout, at, wave.progress), standing, format!("{}{more}", names.join(", "))]
    };
    output::table(&[">WAVE", "", "NODES", ""], rollout.waves.iter().enumerate().map(row).collect());
    gate_lines(rollout);
    match rollout.state {
        State::Running => output::note(format!("  the wave ends by {}", time(rollout.deadline))),
        State::Paused if held(rollout).is_some() => held_note(number, rollout),
        State::Paused => output::note(format!(
            "  it is aborted at {}; go on with: lampasctl rollout resume {number}, or promote, abort, revert",
            time(rollout.deadline)
        )),
        State::Aborted => output::note(format!("  put back what stood before with: lampasctl change revert {number}")),
        State::Reverted => match change.reverted_by {
            Some(by) => {
                output::note(format!("  change {by} put back what stood before; see: lampasctl change show {by}"));
            }
            None => output::note("  what stood before is being put back"),
        },
        State::Done => {}
    }
    Ok(())
}

/// How a wave stands: of a rollout that is over, what became of it.
fn wave_word(rollout: &RolloutView, at: u32, progress: Progress) -> String {
    let has_begun = at < rollout.wave || (at == rollout.wave && rollout.phase != Phase::Measuring);
    let is_beyond = rollout.limit.as_ref().is_some_and(|l| l.stand != LimitStand::Lifted && at > l.waves);
    match rollout.state {
        State::Reverted if has_begun => "put back",
        State::Aborted if has_begun => "has it",
        State::Reverted | State::Aborted => "never had it",
        // Somebody let it go on though nothing there proved the change.
        State::Done if progress.converged + progress.superseded == 0 => "passed, not proven",
        State::Done => "through",
        State::Running | State::Paused if is_beyond => "not yet",
        State::Running | State::Paused if at > rollout.wave => "not begun",
        State::Running | State::Paused if at < rollout.wave && progress.converged + progress.superseded == 0 => {
            "passed, not proven"
        }
        State::Running | State::Paused if at < rollout.wave || held(rollout).is_some() => "through",
        State::Running | State::Paused => phase(rollout.phase),
    }
    .to_owned()
}

/// Returns the limit at which a rollout stands, while the rest waits for somebody.
pub(super) fn held(rollout: &RolloutView) -> Option<&RolloutLimit> {
    rollout.limit.as_ref().filter(|l| rollout.state == State::Paused && l.stand == LimitStand::Reached)
}

/// Says what can be done at a limit, and what happens by itself.
fn held_note(number: u64, rollout: &RolloutView) {
    let at = time(rollout.deadline);
    let by_itself = match rollout.strategy.on_failure {
        OnFailure::Revert => format!("it is put back at {at}"),
        OnFailure::Pause => format!("it ends at {at}, and nobody else gets it"),
        OnFailure::Promote => format!("it goes on at {at}"),
    };
    output::note(format!("  unless somebody decides, {by_itself}"));
    output::note(format!(
        "  go on to the rest with: lampasctl rollout promote {number}   put back with: lampasctl rollout revert {number}"
    ));
}

/// Prints what the gates said: each with what its nodes answered.
fn gate_lines(rollout: &RolloutView) {
    for (wave, at) in rollout.waves.iter().zip(1..) {
        for asked in &wave.gates {
            let title = rollout.strategy.gates.get(asked.gate as usize).map(Gate::title).unwrap_or_default();
            let word = match (asked.failed, asked.open) {
                (0, 0) if asked.cancelled > 0 => {
                    format!("– ended without an answer on {}", count(u64::from(asked.cancelled), "node"))
                }
                (0, 0) => format!("✓ holds on {}", count(u64::from(asked.passed), "node")),
                (0, open) => format!("◌ asked on {}", count(u64::from(open), "node")),
                (failed, _) => format!("■ no on {}", count(u64::from(failed), "node")),
            };
            output::line(format!("  wave {at}: {title}   {word}   (operation {})", asked.operation));
            for answer in &asked.answers {
                output::line(format!("    {}: {}", answer.node.name, answer.text));
            }
        }
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Measuring => "measuring",
        Phase::Applying => "applying",
        Phase::Gating => "asking the gates",
        Phase::Soaking => "soaking",
    }
}

fn standing(progress: Progress, state: State) -> String {
    let total = progress.total();
    if state == State::Reverted {
        return format!("{}/{total} had it", progress.converged);
    }
    let bad = progress.failed + progress.unreachable;
    let not = if bad > 0 { format!(", {bad} not") } else { String::new() };
    let later = progress.superseded;
    let later = if later > 0 { format!(", {later} with a later change") } else { String::new() };
    format!("{}/{total} in force{not}{later}", progress.converged)
}

/// Prints that a wave has begun.
pub(super) fn wave_line(rollout: &RolloutView) {
    let nodes = rollout.waves.get(rollout.wave as usize - 1).map_or(0, |w| w.progress.total());
    output::line(format!("  wave {} of {}: {}", rollout.wave, rollout.waves.len(), count(u64::from(nodes), "node")));
}

/// Prints why a rollout stopped and what to do. `back` is the change that put back what stood before, and how far it is.
pub(super) fn stopped_lines(context: &Context, number: u64, rollout: &RolloutView, back: Option<(u64, Progress)>) {
    match held(rollout) {
        Some(_) => output::line(format!("  {}", rollout.reason)),
        None => output::line(format!("  {}: {}", rollout.state.as_str(), rollout.reason)),
    }
    gate_lines(rollout);
    match rollout.state {
        State::Paused if held(rollout).is_some() => held_note(number, rollout),
        State::Paused => output::note(format!(
            "  go on with: lampasctl rollout resume {number}   or: lampasctl rollout promote|abort|revert {number}"
        )),
        State::Reverted => output::note(match back {
            Some((_, p)) if p.failed + p.unreachable + p.waiting + p.applying == 0 => {
                "  what stood before is back on every node that had the change".to_owned()
            }
            Some((by, p)) => {
                let open = count(u64::from(p.failed + p.unreachable + p.waiting + p.applying), "node");
                format!("  what stood before is not back on {open} yet; follow it with: lampasctl change wait {by}")
            }
            None => format!("  what stood before is being put back; see: lampasctl change show {number}"),
        }),
        State::Aborted => {
            output::note(format!("  who has the change keeps it; undo it with: lampasctl change revert {number}"));
        }
        State::Running | State::Done => {}
    }
    output::line(format!("  {}/changes/{number}", context.client.server()));
}
