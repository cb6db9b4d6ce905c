//! Changes.

use lampas_api::{Change, ChangeNode, ChangeSummary, PlanOutlook, PlanRequest, RolloutStage};
use lampas_shared::rollout::{State, Strategy};
use reqwest::Method;

use super::{CommandError, Context, approval, listed, plan, progress, show};
use crate::{
    cli::{ChangeCommand, WaitArgs},
    client::encode,
    output::{self, ago, now, state},
};

/// Runs `lampasctl change …`.
pub(super) async fn run(context: &Context, command: ChangeCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    match command {
        ChangeCommand::List { state, scope, kind, author, list } => {
            show(context, &list, async || {
                let query = [
                    ("state", state.as_deref()),
                    ("scope", scope.as_deref()),
                    ("kind", kind.as_deref()),
                    ("author", author.as_deref()),
                ];
                let is_filtered = query.iter().any(|(_, value)| value.is_some());
                let page = client.pages::<ChangeSummary>("/changes", &query, list.max.or(Some(50))).await?;
                let none = if is_filtered {
                    "no change matches; leave out a filter, or see all: lampasctl change list"
                } else {
                    "no changes; make one with: lampasctl apply -f FILE --plan"
                };
                listed(context, &page, none, changes);
                Ok(())
            })
            .await
        }
        ChangeCommand::Show { change } => {
            let path = format!("/changes/{}", encode(&change));
            let shown: Change = client.get(&path, &[]).await?;
            let nodes = client.pages::<ChangeNode>(&format!("{path}/nodes"), &[], None).await?.items;
            if context.is_json() {
                output::json(&serde_json::json!({ "change": shown, "nodes": nodes }));
                return Ok(0);
            }
            changes(std::slice::from_ref(&shown.summary));
            plan::print(&shown);
            approval::lines(&shown);
            if let Some(superseded) = &shown.summary.superseded {
                output::line(format!(
                    "  overtaken: {}\n  it can't be applied any more; look at what stands, make it again and plan that",
                    superseded.why
                ));
                return Ok(0);
            }
            if shown.summary.state.is_open() {
                plan::footer(&shown);
            } else {
                let row = |n: &ChangeNode| {
                    let word = serde_json::to_value(n.state).ok().and_then(|v| v.as_str().map(str::to_owned));
                    let took = n.took_ms.map(|ms| format!("{ms} ms")).unwrap_or_default();
                    let number = shown.summary.number;
                    let why = n.fault.as_ref().map(|f| plan::numbered(&f.message, number)).unwrap_or_default();
                    vec![n.node.name.clone(), state(&word.unwrap_or_default()), took, why]
                };
                output::line("");
                output::table(&["NODE", "STATE", ">TOOK", ""], nodes.iter().map(row).collect());
            }
            Ok(0)
        }
        ChangeCommand::Plan { change, limit } => {
            let path = format!("/changes/{}/plan", encode(&change));
            let planned: Change = client.send_json(Method::POST, &path, &PlanRequest { limit }).await?;
            shown_plan(context, &planned)
        }
        ChangeCommand::Apply { change, plan, allow_unplanned, reason, control, rollout, wait } => {
            let rollout = rollout.strategy().map_err(CommandError::Usage)?;
            let how = approval::How::new(allow_unplanned, rollout, &control, &reason)?;
            let plan = match plan {
                Some(plan) => plan,
                None => {
                    let shown: Change = client.get(&format!("/changes/{}", encode(&change)), &[]).await?;
                    let plan = shown.plan.ok_or_else(|| {
                        CommandError::Usage(format!(
                            "change {change} has no plan; make one with: lampasctl change plan {change}"
                        ))
                    })?;
                    plan.id
                }
            };
            approval::apply(context, &change, &plan, how, &wait).await
        }
        ChangeCommand::Approve { change, plan, reason, sure } => {
            approval::approve(context, &change, plan.as_deref(), reason, &sure).await
        }
        ChangeCommand::Decline { change, reason } => approval::decline(context, &change, reason).await,
        ChangeCommand::Unschedule { change, reason } => approval::unschedule(context, &change, reason).await,
        ChangeCommand::Sign { change, how } => super::signing::change(context, &change, &how).await,
        ChangeCommand::Abandon { change } => {
            client.act(Method::POST, &format!("/changes/{}/abandon", encode(&change))).await?;
            output::note(format!("change {change} is abandoned"));
            Ok(0)
        }
        ChangeCommand::Revert { change, reason, wait } => revert(context, &change, &reason, &wait).await,
        ChangeCommand::Wait { change, timeout } => {
            let events = client.events(None).await.ok();
            progress::follow(context, &change, timeout, events).await
        }
    }
}

async fn revert(context: &Context, change: &str, reason: &str, wait: &WaitArgs) -> Result<u8, CommandError> {
    let body = serde_json::json!({ "reason": reason });
    let path = format!("/changes/{}/revert", encode(change));
    let made: Change = context.client.send_json(Method::POST, &path, &body).await?;
    let Some(current) = &made.plan else { return shown_plan(context, &made) };
    if !context.is_json() {
        plan::print(&made);
    }
    progress::apply(context, &made.summary.number.to_string(), &current.id, (true, Strategy::default()), wait).await
}

/// Prints a change with its plan and how to apply it; returns 10 when it would do something.
pub(super) fn shown_plan(context: &Context, change: &Change) -> Result<u8, CommandError> {
    let code = shown_compared(context, change)?;
    if plan::has_work(change) && !context.is_json() {
        plan::footer(change);
        if change.control.is_look && !change.control.protections.is_empty() {
            let scopes: Vec<String> = change.control.protections.iter().map(|p| p.scope.to_string()).collect();
            output::note(format!("  needs an approval for {}: applying it asks for that", scopes.join(", ")));
        }
    }
    Ok(code)
}

/// Prints what a change would do; returns 10 when there is something.
pub(super) fn shown_compared(context: &Context, change: &Change) -> Result<u8, CommandError> {
    let (has_work, is_awaited) = (plan::has_work(change), plan::is_awaited(change));
    if context.is_json() {
        output::json(change);
    } else if has_work {
        plan::print(change);
    } else if is_awaited {
        output::line("  nothing to apply: all is as it is wanted, but not everywhere yet");
        plan::held_lines(change);
    } else {
        output::line("  nothing to do: the fleet is already so");
        plan::held_lines(change);
    }
    Ok(if has_work || is_awaited { 10 } else { 0 })
}

/// Whether a rollout's state says more than that its change is rolling or done.
fn is_telling(stage: &RolloutStage) -> bool {
    matches!(stage.state, State::Paused | State::Aborted | State::Reverted)
}

/// Prints changes, one a line.
pub(super) fn changes(items: &[ChangeSummary]) {
    let row = |c: &ChangeSummary| {
        let p = c.progress;
        let total = p.total();
        let nodes = match total {
            0 => String::new(),
            _ if p.failed + p.unreachable > 0 => format!("{}/{total}, {} not", p.converged, p.failed + p.unreachable),
            _ => format!("{}/{total}", p.converged),
        };
        let when = ago(Some(c.applied_at.unwrap_or(c.created_at)), now());
        vec![
            c.number.to_string(),
            match &c.superseded {
                Some(_) => state("superseded"),
                None if c.outlook == Some(PlanOutlook::Blocked) => state("blocked"),
                None if c.outlook == Some(PlanOutlook::Idle) => state("nothing to do"),
                None if c.outlook == Some(PlanOutlook::Gone) => state("nodes gone"),
                None if c.outlook == Some(PlanOutlook::Unknown) => state("plan again"),
                None => state(c.stage.filter(is_telling).map_or(c.state.as_str(), |s| s.state.as_str())),
            },
            nodes,
            c.title.clone(),
            c.cause.as_str().to_owned(),
            c.author.clone(),
            when,
            c.reason.clone(),
        ]
    };
    output::table(
        &[">CHANGE", "STATE", "NODES", "WHAT", "CAUSE", "AUTHOR", "WHEN", "WHY"],
        items.iter().map(row).collect(),
    );
}
