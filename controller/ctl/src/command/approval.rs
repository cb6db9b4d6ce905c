//! Approvals, protections, freezes, and applying what may have to wait for one of them.

use std::time::{Duration, Instant};

use lampas_api::{
    ApplyRequest, ApprovalWanted, ApproveRequest, Change, Freeze, FreezeCreate, FreezeState, Protection,
    ProtectionCreate, Reason,
};
use lampas_shared::{
    change::{ChangeState, ScheduleState, Verdict},
    rollout::Strategy,
    time::UnixMs,
};
use reqwest::Method;

use super::{CommandError, Context, confirm, plan, progress, show, waiter::Waiter};
use crate::{
    cli::{ApprovalCommand, ControlArgs, FreezeCommand, ProtectArgs, ProtectionCommand, Sure, WaitArgs},
    client::{CallError, ROOT_CODE, encode},
    output::{self, ago, count, now, state, time},
};

/// How long what happens to other changes may gather before this one is looked at again.
const GATHER: Duration = Duration::from_secs(1);

/// How a plan is applied.
#[derive(Debug, Clone, Default)]
pub(super) struct How {
    allow_unplanned: bool,
    rollout: Strategy,
    at: Option<UnixMs>,
    override_protection: bool,
    override_freeze: bool,
    reason: String,
    wait_approval: Option<u64>,
}

impl How {
    /// At once, on all nodes or in waves.
    pub(super) fn plain(allow_unplanned: bool, rollout: Strategy) -> Self {
        Self { allow_unplanned, rollout, ..Self::default() }
    }

    /// Returns whether nothing was said about the way, so that the plan is all there is to name.
    fn is_plain(&self) -> bool {
        let overrides = self.override_protection || self.override_freeze;
        self.rollout.is_plain() && self.at.is_none() && !self.allow_unplanned && !overrides
    }

    /// As the arguments say.
    pub(super) fn new(
        allow_unplanned: bool,
        rollout: Strategy,
        control: &ControlArgs,
        reason: &str,
    ) -> Result<Self, CommandError> {
        if (control.override_protection || control.override_freeze) && reason.trim().is_empty() {
            return Err(CommandError::Usage("say with -m why it is overridden".into()));
        }
        Ok(Self {
            allow_unplanned,
            rollout,
            at: control.at,
            override_protection: control.override_protection,
            override_freeze: control.override_freeze,
            reason: reason.to_owned(),
            wait_approval: control.wait_approval,
        })
    }
}

/// Applies a plan, or puts it on the schedule. What waits for an approval, or stands in a freeze, is told with what to
/// do next; the exit code is 4 then.
pub(super) async fn apply(
    context: &Context,
    change: &str,
    plan: &str,
    how: How,
    wait: &WaitArgs,
) -> Result<u8, CommandError> {
    let is_plain = how.is_plain();
    // The stream of events is opened first, so that nothing is missed.
    let events = if wait.wait { context.client.events(None).await.ok() } else { None };
    let request = ApplyRequest {
        plan: plan.to_owned(),
        allow_unplanned: how.allow_unplanned,
        // Who waits, or prints a line, needs neither the drafts nor the names of the plan.
        brief: wait.wait || !context.is_json(),
        rollout: how.rollout,
        at: how.at,
        override_protection: how.override_protection,
        override_freeze: how.override_freeze,
        reason: how.reason,
    };
    let path = format!("/changes/{}/apply", encode(change));
    let until = how.wait_approval.map(|secs| Instant::now() + Duration::from_secs(secs));
    let mut is_told = false;
    loop {
        match context.client.send_json::<_, Change>(Method::POST, &path, &request).await {
            Ok(applied) if how.at.is_some() => return scheduled(context, &applied),
            Ok(applied) => return progress::after_apply(context, applied, wait, events).await,
            Err(error) if error.code() == "approval.needed" => {
                if !is_told {
                    needed(context, change, &error, until.is_some()).await?;
                    is_told = true;
                }
                let Some(until) = until else { return Ok(4) };
                match wait_for_approval(context, change, until).await {
                    Ok(None) => {}
                    Ok(Some(code)) => return Ok(code),
                    Err(CommandError::Away(why)) => {
                        output::note(why);
                        return Ok(4);
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(error) if error.code() == "change.frozen" => {
                output::note(format!("  {error}"));
                output::note(format!("  {}/changes/{change}", context.client.server()));
                return Ok(4);
            }
            // What was planned stands: to make it again would leave this one behind.
            Err(error) if error.code() == ROOT_CODE => {
                output::note(format!("  not applied: {error}"));
                let waits = if wait.wait { " --wait" } else { "" };
                let as_before = if is_plain { "" } else { ", with the same options" };
                output::note(format!("  then apply it:  lampasctl apply --plan {plan}{waits}{as_before}"));
                output::note(format!("  {}/changes/{change}", context.client.server()));
                return Ok(4);
            }
            // It may have arrived or not, and is not sent again: the change says which.
            Err(error) if error.is_outage() => {
                output::note(format!("  whether change {change} is applied is not known yet: {error}"));
                if !wait.wait || how.at.is_some() {
                    output::note(format!("  look with: lampasctl change show {change}"));
                    return Err(error.into());
                }
                let mut waiter = progress::waiter(context, change, wait.timeout);
                let shown: Change =
                    waiter.get(&format!("/changes/{}", encode(change)), &[("brief", Some("true"))]).await?;
                if shown.summary.state.is_open() {
                    output::note(format!(
                        "  change {change} is not applied; apply it with: lampasctl apply --plan {plan} --wait"
                    ));
                    return Err(error.into());
                }
                return progress::after_apply(context, shown, wait, events).await;
            }
            Err(error) if error.code() == "plan.moved" => {
                output::note(format!("  nothing was applied; plan anew with: lampasctl change plan {change}"));
                return Err(error.into());
            }
            Err(error) => return Err(plan::refused(error, change).into()),
        }
    }
}

/// Tells that a change waits for an approval, who may give it, and how.
async fn needed(context: &Context, change: &str, error: &CallError, waits: bool) -> Result<(), CommandError> {
    let shown: Change = context.client.get(&format!("/changes/{}", encode(change)), &[]).await?;
    let number = shown.summary.number;
    output::note(format!("  waiting for approval: {error}"));
    output::note(format!("  {}/changes/{number}", context.client.server()));
    let digits = shown.plan.as_ref().map(|p| p.id.as_str()).unwrap_or_default();
    output::note(format!("  approve it as somebody else: lampasctl change approve {number} --plan {digits}"));
    if !waits {
        output::note(format!("  then apply it:  lampasctl change apply {number} --plan {digits} --wait"));
        if context.is_json() {
            output::json(&shown);
        }
    }
    Ok(())
}

/// Waits until somebody said something. Nothing when it is approved; otherwise the exit code.
async fn wait_for_approval(context: &Context, change: &str, until: Instant) -> Result<Option<u8>, CommandError> {
    let path = format!("/changes/{}", encode(change));
    // The stream is opened before the first look, so that nothing falls between the two.
    let mut events = context.client.events(None).await.ok();
    let command = format!("lampasctl change apply {change} --wait-approval");
    let limit = until.saturating_duration_since(Instant::now());
    let mut waiter = Waiter::new(context, format!("change {change} waits for its approval"), command, Some(limit));
    loop {
        let shown: Change = waiter.get(&path, &[("brief", Some("true"))]).await?;
        let number = shown.summary.number;
        match shown.summary.state {
            ChangeState::Approved => {
                let by = shown.control.approval.map(|a| a.by).unwrap_or_default();
                output::note(format!("  approved by {by}"));
                return Ok(None);
            }
            ChangeState::Planned => {}
            ChangeState::Draft => {
                let why = shown.control.approval.map(|a| a.note).unwrap_or_default();
                output::note(format!("  change {number} was sent back: {why}"));
                return Ok(Some(4));
            }
            other => {
                output::note(format!("  change {number} is {} meanwhile", other.as_str()));
                return Ok(Some(if other == ChangeState::Abandoned { 4 } else { 0 }));
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            output::note(format!("  nobody said anything yet; change {number} goes on waiting"));
            return Ok(Some(4));
        }
        // Either way it is looked at again.
        let _ = tokio::time::timeout(left, progress::wait_for_news(&mut events, shown.summary.id, GATHER)).await;
    }
}

fn scheduled(context: &Context, change: &Change) -> Result<u8, CommandError> {
    let number = change.summary.number;
    if context.is_json() {
        output::json(change);
    } else if let Some(schedule) = &change.control.schedule {
        output::line(format!(
            "  change {number} is applied at {}, if its plan still holds · {}/changes/{number}",
            time(schedule.at),
            context.client.server()
        ));
        for freeze in change.control.freezes.iter().filter(|f| f.from <= schedule.at && f.until > schedule.at) {
            output::note(format!("  {} is frozen then; it waits until {}", freeze.scope, time(freeze.until)));
        }
        output::note(format!("  take it off the schedule with: lampasctl change unschedule {number}"));
    }
    Ok(0)
}

/// Prints what stands between a change and its nodes.
pub(super) fn lines(change: &Change) {
    let (control, number) = (&change.control, change.summary.number);
    let is_open = change.summary.state.is_open();
    if let Some(approval) = &control.approval {
        let because = if approval.reason.is_empty() { String::new() } else { format!(": {}", approval.reason) };
        let what = control.protections.iter().map(|p| p.scope.to_string()).collect::<Vec<_>>().join(", ");
        match approval.verdict {
            Verdict::Wanted if is_open => {
                output::line(format!(
                    "  waits for an approval: {what} protected; may approve: {}",
                    who(&control.approvers)
                ));
                output::note(format!("  approve it with: lampasctl change approve {number}"));
            }
            Verdict::Approved => output::line(format!("  approved by {}{because}", approval.by)),
            Verdict::Declined => output::line(format!("  declined by {}{because}", approval.by)),
            Verdict::Ended if is_open => output::line("  the approval is over; plan again"),
            Verdict::Wanted | Verdict::Ended => {}
        }
        if !approval.note.is_empty() && approval.verdict != Verdict::Declined && is_open {
            output::line(format!("  {}", approval.note));
        }
    }
    if let Some(schedule) = &control.schedule {
        let why = if schedule.reason.is_empty() { String::new() } else { format!(": {}", schedule.reason) };
        match schedule.state {
            ScheduleState::Waiting => {
                output::line(format!("  scheduled for {} by {}{why}", time(schedule.at), schedule.by));
            }
            ScheduleState::Dropped => output::line(format!("  was not applied at {}{why}", time(schedule.at))),
            ScheduleState::Withdrawn if is_open => output::line(format!("  was taken off the schedule{why}")),
            ScheduleState::Applied => output::line(format!("  applied by the schedule of {}", schedule.by)),
            ScheduleState::Withdrawn => {}
        }
    }
    for freeze in &control.freezes {
        output::line(format!(
            "  {} is frozen from {} until {}: {}",
            freeze.scope,
            time(freeze.from),
            time(freeze.until),
            freeze.reason
        ));
    }
    for over in &control.overrides {
        output::line(format!("  applied over a {} by {}: {}", over.what, over.by, over.reason));
    }
}

fn who(names: &[String]) -> String {
    if names.is_empty() { "nobody but its author".to_owned() } else { names.join(", ") }
}

/// Approves the plan of a change: the one that was seen before, or the one that is shown and asked about.
pub(super) async fn approve(
    context: &Context,
    change: &str,
    seen: Option<&str>,
    reason: String,
    sure: &Sure,
) -> Result<u8, CommandError> {
    let path = format!("/changes/{}", encode(change));
    let shown: Change = context.client.get(&path, &[]).await?;
    let number = shown.summary.number;
    let none = || {
        CommandError::Usage(format!(
            "change {number} has no plan; its author makes one with: lampasctl change plan {number}"
        ))
    };
    let current = shown.plan.as_ref().ok_or_else(none)?;
    if let Some(seen) = seen {
        let digits: String = seen.chars().filter(|c| *c != '-').flat_map(char::to_lowercase).collect();
        if digits.len() < 6 || !current.digest.starts_with(&digits) {
            return Err(CommandError::Usage(format!(
                "the plan of change {number} is {} meanwhile; look at it: lampasctl change show {number}",
                current.id
            )));
        }
    } else {
        if !context.is_json() {
            plan::print(&shown);
        }
        confirm(sure, &format!("approve plan {} of change {number} by {}?", current.id, shown.summary.author))?;
    }
    let request = ApproveRequest { plan: current.digest.clone(), reason };
    let approved: Change = context.client.send_json(Method::POST, &format!("{path}/approve"), &request).await?;
    if context.is_json() {
        output::json(&approved);
    } else {
        output::line(format!("  change {number} is approved · {}/changes/{number}", context.client.server()));
        output::note(format!("  apply it with: lampasctl change apply {number} --plan {} --wait", current.id));
    }
    Ok(0)
}

/// Sends a change back to its author.
pub(super) async fn decline(context: &Context, change: &str, reason: String) -> Result<u8, CommandError> {
    let path = format!("/changes/{}/decline", encode(change));
    let declined: Change = context.client.send_json(Method::POST, &path, &Reason { reason }).await?;
    if context.is_json() {
        output::json(&declined);
    } else {
        output::note(format!("change {} is a draft of {} again", declined.summary.number, declined.summary.author));
    }
    Ok(0)
}

/// Takes a change off the schedule.
pub(super) async fn unschedule(context: &Context, change: &str, reason: String) -> Result<u8, CommandError> {
    let path = format!("/changes/{}/schedule", encode(change));
    let shown: Change = context.client.send_json(Method::DELETE, &path, &Reason { reason }).await?;
    if context.is_json() {
        output::json(&shown);
    } else {
        output::note(format!("change {} is not scheduled any more", shown.summary.number));
    }
    Ok(0)
}

/// Runs `lampasctl approval …`.
pub(super) async fn run(context: &Context, command: ApprovalCommand) -> Result<u8, CommandError> {
    let ApprovalCommand::List { for_me, mine, list } = command;
    show(context, &list, async || {
        let mut waiting: Vec<ApprovalWanted> = context.client.get("/approvals", &[]).await?;
        waiting.retain(|w| (!for_me || w.may_approve) && (!mine || w.is_mine));
        waiting.truncate(list.max.unwrap_or(usize::MAX));
        if context.is_json() {
            output::json(&waiting);
        } else if waiting.is_empty() {
            output::note("nothing waits for an approval");
        } else {
            let row = |w: &ApprovalWanted| {
                vec![
                    w.change.number.to_string(),
                    w.plan.clone(),
                    w.change.title.clone(),
                    w.change.author.clone(),
                    ago(Some(w.since), now()),
                    w.protections.iter().map(|p| p.scope.to_string()).collect::<Vec<_>>().join(", "),
                    if w.is_mine { "somebody else".to_owned() } else { who(&w.approvers) },
                ]
            };
            let heads = [">CHANGE", "PLAN", "WHAT", "AUTHOR", "SINCE", "PROTECTED", "MAY APPROVE"];
            output::table(&heads, waiting.iter().map(row).collect());
        }
        Ok(())
    })
    .await
}

/// Runs `lampasctl protect`.
pub(super) async fn protect(context: &Context, args: ProtectArgs) -> Result<u8, CommandError> {
    let request = ProtectionCreate { scope: args.scope, reason: args.reason };
    let made: Protection = context.client.send_json(Method::POST, "/protections", &request).await?;
    if context.is_json() {
        output::json(&made);
    } else {
        output::line(format!(
            "  changes on {} ({}) need an approval",
            made.scope,
            count(u64::from(made.nodes), "node")
        ));
    }
    Ok(0)
}

/// Runs `lampasctl protection …`.
pub(super) async fn protection(context: &Context, command: ProtectionCommand) -> Result<u8, CommandError> {
    match command {
        ProtectionCommand::List { list } => {
            show(context, &list, async || {
                let mut found: Vec<Protection> = context.client.get("/protections", &[]).await?;
                found.truncate(list.max.unwrap_or(usize::MAX));
                if context.is_json() {
                    output::json(&found);
                } else if found.is_empty() {
                    output::note("no scope is protected; protect one with: lampasctl protect role:database -m WHY");
                } else {
                    let row = |p: &Protection| {
                        let since = ago(Some(p.created_at), now());
                        vec![p.scope.to_string(), p.nodes.to_string(), p.author.clone(), since, p.reason.clone()]
                    };
                    output::table(&["SCOPE", ">NODES", "BY", "SINCE", "WHY"], found.iter().map(row).collect());
                }
                Ok(())
            })
            .await
        }
        ProtectionCommand::Remove { scope, reason } => {
            let found: Vec<Protection> = context.client.get("/protections", &[]).await?;
            let named = |p: &&Protection| p.scope.to_string() == scope || p.id.to_string() == scope;
            let one = found.iter().find(named).ok_or_else(|| {
                CommandError::Usage(format!("{scope} is not protected; see: lampasctl protection list"))
            })?;
            let path = format!("/protections/{}", one.id);
            context.client.send_empty(Method::DELETE, &path, &Reason { reason }).await?;
            output::note(format!("{} is not protected any more", one.scope));
            Ok(0)
        }
    }
}

/// Runs `lampasctl freeze …`.
pub(super) async fn freeze(context: &Context, command: FreezeCommand) -> Result<u8, CommandError> {
    match command {
        FreezeCommand::Add { scope, from, until, reason } => {
            let request = FreezeCreate { scope, from, until, reason };
            let made: Freeze = context.client.send_json(Method::POST, "/freezes", &request).await?;
            if context.is_json() {
                output::json(&made);
            } else {
                let nodes = count(u64::from(made.nodes), "node");
                let (from, until) = (time(made.from), time(made.until));
                output::line(format!("  {} ({nodes}) is frozen from {from} until {until}", made.scope));
                output::note(format!("  end it before its time with: lampasctl freeze end {}", made.scope));
            }
            Ok(0)
        }
        FreezeCommand::List { past, list } => {
            show(context, &list, async || {
                let query = [("past", past.then_some("true"))];
                let mut found: Vec<Freeze> = context.client.get("/freezes", &query).await?;
                found.truncate(list.max.unwrap_or(usize::MAX));
                if context.is_json() {
                    output::json(&found);
                } else if found.is_empty() {
                    output::note(
                        "nothing is frozen; begin with: lampasctl freeze add --scope role:app --until 12h -m WHY",
                    );
                } else {
                    freezes(&found);
                }
                Ok(())
            })
            .await
        }
        FreezeCommand::End { freeze, reason } => {
            let found: Vec<Freeze> = context.client.get("/freezes", &[]).await?;
            let named: Vec<&Freeze> =
                found.iter().filter(|f| f.scope.to_string() == freeze || f.id.to_string() == freeze).collect();
            let one = match named[..] {
                [one] => one,
                [] => return Err(CommandError::Usage(format!("{freeze} is not frozen; see: lampasctl freeze list"))),
                _ => {
                    freezes(&found);
                    return Err(CommandError::Usage(format!("{freeze} has more than one freeze; give an id")));
                }
            };
            let path = format!("/freezes/{}/end", one.id);
            let ended: Freeze = context.client.send_json(Method::POST, &path, &Reason { reason }).await?;
            if context.is_json() {
                output::json(&ended);
            } else {
                output::note(format!("the freeze of {} is over", ended.scope));
            }
            Ok(0)
        }
    }
}

fn freezes(found: &[Freeze]) {
    let row = |f: &Freeze| {
        let word = match f.state {
            FreezeState::Coming => "coming",
            FreezeState::Standing => "standing",
            FreezeState::Over => "over",
        };
        vec![
            f.scope.to_string(),
            state(word),
            time(f.from),
            time(f.until),
            f.nodes.to_string(),
            f.author.clone(),
            f.reason.clone(),
            f.id.to_string(),
        ]
    };
    let heads = ["SCOPE", "STATE", "FROM", "UNTIL", ">NODES", "BY", "WHY", "ID"];
    output::table(&heads, found.iter().map(row).collect());
}
