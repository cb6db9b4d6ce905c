//! Rollouts: how a change goes wave by wave, and what can be told to it.

use lampas_api::{Change, ChangeSummary, Progress, RolloutRequest, RolloutView};
use lampas_shared::rollout::{Gate, Order, Phase, State};
use reqwest::Method;

use super::{CommandError, Context, change, show};
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
                if context.is_json() {
                    output::json(&page);
                } else if page.items.is_empty() {
                    output::note("nothing is rolling out; begin with: lampasctl apply -f FILE --canary 1 --then 50%");
                } else {
                    change::changes(&page.items);
                }
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
        let word = match () {
            () if at > rollout.wave => "not begun",
            () if at < rollout.wave || rollout.state == State::Done => "through",
            () => phase(rollout.phase),
        };
        let names: Vec<&str> = wave.nodes.iter().take(4).map(|n| n.name.as_str()).collect();
        let more = if wave.nodes.len() > 4 { ", …" } else { "" };
        vec![at.to_string(), word.to_owned(), standing(wave.progress), format!("{}{more}", names.join(", "))]
    };
    output::table(&[">WAVE", "", "NODES", ""], rollout.waves.iter().enumerate().map(row).collect());
    gate_lines(rollout);
    match rollout.state {
        State::Running => output::note(format!("  the wave ends by {}", time(rollout.deadline))),
        State::Paused => output::note(format!(
            "  it is aborted at {}; go on with: lampasctl rollout resume {number}, or promote, abort, revert",
            time(rollout.deadline)
        )),
        State::Aborted => output::note(format!("  put back what stood before with: lampasctl change revert {number}")),
        State::Done | State::Reverted => {}
    }
    Ok(())
}

/// Prints what the gates said: each with what its nodes answered.
fn gate_lines(rollout: &RolloutView) {
    for (wave, at) in rollout.waves.iter().zip(1..) {
        for asked in &wave.gates {
            let title = rollout.strategy.gates.get(asked.gate as usize).map(Gate::title).unwrap_or_default();
            let word = match (asked.failed, asked.open) {
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

fn standing(progress: Progress) -> String {
    let total = progress.total();
    let bad = progress.failed + progress.unreachable;
    let not = if bad > 0 { format!(", {bad} not") } else { String::new() };
    format!("{}/{total} in force{not}", progress.converged)
}

/// Prints that a wave has begun.
pub(super) fn wave_line(rollout: &RolloutView) {
    let nodes = rollout.waves.get(rollout.wave as usize - 1).map_or(0, |w| w.progress.total());
    output::line(format!("  wave {} of {}: {}", rollout.wave, rollout.waves.len(), count(u64::from(nodes), "node")));
}

/// Prints why a rollout stopped and what to do.
pub(super) fn stopped_lines(context: &Context, number: u64, rollout: &RolloutView) {
    output::line(format!("  {}: {}", rollout.state.as_str(), rollout.reason));
    gate_lines(rollout);
    match rollout.state {
        State::Paused => output::note(format!(
            "  go on with: lampasctl rollout resume {number}   or: lampasctl rollout promote|abort|revert {number}"
        )),
        State::Reverted => output::note("  what stood before is back on every node that had the change"),
        State::Aborted => {
            output::note(format!("  who has the change keeps it; undo it with: lampasctl change revert {number}"));
        }
        State::Running | State::Done => {}
    }
    output::line(format!("  {}/changes/{number}", context.client.server()));
}
