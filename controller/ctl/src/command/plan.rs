//! Plans as they are shown, the same for `apply`, `diff`, `change show` and `drift adopt`.

use lampas_api::{Change, ChangeSet, Control, DraftVerb, EmptyScope, NodeRef, Plan, PlanHold, PlanLimit};
use lampas_shared::{
    change::{ScheduleState, Verdict},
    fleet::Scope,
    object::Kind,
    report::{Action, Verb},
    rollout::State,
};

use super::Context;
use crate::{
    client::CallError,
    output::{self, count},
};

/// How many lines of one diff are shown before the rest is left to the dashboard.
const DIFF_LINES: usize = 60;

/// Prints what a change would do.
pub(super) fn print(change: &Change) {
    // A value stands where others use it: these are named below.
    let is_value = |kind: Kind| matches!(kind, Kind::Var | Kind::Secret);
    let has_values = change.drafts.iter().any(|d| is_value(d.key.kind) && d.verb != DraftVerb::None);
    for draft in change.drafts.iter().filter(|d| d.verb != DraftVerb::None) {
        let nodes = change.plan.as_ref().map(|p| affected(p, draft.key.name.as_str())).unwrap_or_default();
        let nodes = if is_value(draft.key.kind) { "where it is used".to_owned() } else { count(nodes, "node") };
        let (kind, name, scope) = (draft.key.kind, &draft.key.name, &draft.key.scope);
        output::line(format!("  {} {kind} {name}   {scope}   {nodes}", sign(draft.verb.as_str())));
    }
    for edit in change.node_edits.iter().filter(|e| e.verb != DraftVerb::None) {
        output::line(format!("  {} node {}", sign(edit.verb.as_str()), edit.node.name));
        let changed = output::diff_lines(&edit.diff).filter(|l| l.starts_with(['+', '-']));
        output::diff(&changed.collect::<Vec<_>>().join("\n"), "      ");
    }
    let number = Some(change.summary.number);
    let Some(plan) = &change.plan else {
        output::note("  not planned yet");
        return;
    };
    for group in &plan.groups {
        let shown = names(&group.nodes);
        if group.observes {
            let verb = if group.nodes.len() == 1 { "observes" } else { "observe" };
            let more = match &group.unasked {
                Some(why) => format!(" ({why})"),
                None if group.actions.is_empty() => String::new(),
                None => "; this would be:".to_owned(),
            };
            output::line(format!("    {shown} {verb}: nothing is written there{more}"));
            group.actions.iter().for_each(|a| action(a, has_values, number));
            continue;
        }
        output::line(format!("    {shown}{}", if group.nodes.len() > 1 { " (identical)" } else { "" }));
        for a in &group.actions {
            action(a, has_values, number);
        }
        if group.actions.is_empty() {
            output::line("      nothing is written: it stands there as desired, or is held as drift");
        }
    }
    held_lines(change);
    for empty in &plan.empty_scopes {
        output::line(format!("    {}", nobody(empty)));
    }
    for warning in &plan.warnings {
        output::line(format!("    warning: {warning}"));
    }
    for node in &plan.unplanned {
        output::line(format!("    {}: not planned, {}", node.node.name, node.reason));
    }
    if let Some(limit) = &plan.limit {
        for line in limit_lines(limit) {
            output::line(line);
        }
    }
    if let Some(set) = &change.set {
        set_lines(set);
    }
    for runs in &plan.next_runs {
        if runs.runs.is_empty() {
            output::line(format!("    next runs of {}  none by the clock", runs.name));
            continue;
        }
        let times = runs.runs.iter().map(|r| r.local.get(..16).unwrap_or(&r.local));
        output::line(format!("    next runs of {}  {}  ({})", runs.name, on_days(times), runs.time_zone));
        for run in runs.runs.iter().filter(|r| !r.note.is_empty()) {
            output::line(format!("      {}: {}", run.local, run.note));
        }
    }
}

/// Names nodes, as far as there is room.
fn names(nodes: &[NodeRef]) -> String {
    let names: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
    match names.len() {
        0..=6 => names.join(", "),
        more => format!("{} and {} more", names[..5].join(", "), more - 5),
    }
}

/// Says whom a plan with a limit reaches, and who waits.
pub(super) fn limit_lines(limit: &PlanLimit) -> Vec<String> {
    let side = |nodes: &[NodeRef]| format!("{}: {}", count(nodes.len() as u64, "node"), names(nodes));
    let within = format!("    limited to {}: {}", limit.scope, side(&limit.within));
    if limit.beyond.is_empty() {
        return vec![format!("{within}; nobody is beyond")];
    }
    vec![within, format!("    not yet: {}", side(&limit.beyond))]
}

/// Says what comes into a set of manifests.
fn set_lines(set: &ChangeSet) {
    for join in &set.joins {
        let from = join.from.as_ref().map(|from| format!(", out of set {from}")).unwrap_or_default();
        output::line(format!(
            "    {} {}   {} comes into set {}{from}",
            join.key.kind, join.key.name, join.key.scope, set.name
        ));
    }
}

/// Puts local times into a line: the day stands before the first of its times.
fn on_days<'a>(times: impl Iterator<Item = &'a str>) -> String {
    let mut day = "";
    let words = times.map(|time| {
        let (date, clock) = time.split_once('T').unwrap_or(("", time));
        let word = if date == day { clock.to_owned() } else { format!("{date} {clock}") };
        day = date;
        word
    });
    words.collect::<Vec<_>>().join("  ")
}

/// Prints the line that says how to go on, and what is in the way.
pub(super) fn footer(change: &Change) {
    let Some(plan) = &change.plan else { return };
    let number = change.summary.number;
    let unplanned =
        if plan.unplanned.is_empty() { String::new() } else { format!(", {} not planned", plan.unplanned.len()) };
    output::line(format!(
        "  plan {}  ·  {}{unplanned}  ·  {}",
        plan.id,
        counts(plan),
        next_step(number, &change.control, plan)
    ));
    for blocker in &plan.blockers {
        output::note(format!("  in the way: {}", numbered(blocker, number)));
    }
}

/// Tells that a plan which was to be applied can't be, and what to do.
pub(super) fn not_applied(context: &Context, change: &Change) {
    if context.is_json() {
        output::json(change);
    } else {
        footer(change);
    }
    output::note("  nothing was applied");
}

/// Says how to go on from a plan: what is always refused is not proposed.
fn next_step(number: u64, control: &Control, plan: &Plan) -> String {
    let is_dropped = control.schedule.as_ref().is_some_and(|s| s.state == ScheduleState::Dropped);
    // One that was planned anew is another plan.
    let is_ended = control.approval.as_ref().is_some_and(|a| a.verdict == Verdict::Ended && a.at >= plan.at);
    let anew = format!("plan anew with: lampasctl change plan {number}");
    if is_dropped || is_ended {
        format!("it holds no more; {anew}")
    } else if !plan.blockers.is_empty() {
        format!("blocked; once nothing is in the way, {anew}")
    } else {
        let unplanned = if plan.unplanned.is_empty() { "" } else { " --allow-unplanned" };
        format!("apply with: lampasctl apply --plan {}{unplanned}", plan.id)
    }
}

/// Puts the number of the change into what a node says to do about it, which does not know it.
pub(super) fn numbered(text: &str, number: impl std::fmt::Display) -> String {
    text.replace("lampasctl change sign CHANGE", &format!("lampasctl change sign {number}"))
}

/// The same in what the controller refused.
pub(super) fn refused(error: CallError, number: &str) -> CallError {
    match error {
        CallError::Refused(mut problem) => {
            problem.detail = numbered(&problem.detail, number);
            CallError::Refused(problem)
        }
        other => other,
    }
}

/// Says how many nodes change, and how many of the fleet don't.
pub(super) fn counts(plan: &Plan) -> String {
    let verb = if plan.changing == 1 { "changes" } else { "change" };
    let changing = count(u64::from(plan.changing), "node");
    let now = plan.limit.as_ref().filter(|l| !l.beyond.is_empty());
    let now = now.map(|l| format!(" ({} now)", l.within.len())).unwrap_or_default();
    let observing = match plan.observing {
        0 => String::new(),
        1 => ", 1 observes".to_owned(),
        n => format!(", {n} observe"),
    };
    format!("{changing} {verb}{now}{observing}, {} unchanged", plan.unchanged)
}

/// Says that no node is in a scope, which one was perhaps meant, and where to look.
pub(super) fn nobody(empty: &EmptyScope) -> String {
    if empty.scope == Scope::Fleet {
        return "no node is in the fleet yet; enrol one with: lampasctl token create".to_owned();
    }
    let meant = empty.nearest.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default();
    let next = if meant.is_empty() { "; see" } else { " See" };
    format!("no node is in {}{meant}{next}: lampasctl node list", empty.scope)
}

/// Returns whether applying the change would do anything: on a node, or to what the controller holds.
pub(super) fn has_work(change: &Change) -> bool {
    change.drafts.iter().any(|d| d.verb != DraftVerb::None)
        || change.node_edits.iter().any(|e| e.verb != DraftVerb::None)
        || change.set.as_ref().is_some_and(|s| !s.joins.is_empty())
        || change.plan.as_ref().is_some_and(|p| p.groups.iter().any(|g| !g.observes) || !p.unplanned.is_empty())
}

/// Returns whether some of what a change wants, and that is so already, is kept from nodes by a rollout that is under way.
pub(super) fn is_awaited(change: &Change) -> bool {
    change.plan.iter().flat_map(|p| &p.held).any(|h| !h.state.is_final())
}

/// Says which nodes don't have what the change wants yet, whose rollout keeps it from them, and what to do.
pub(super) fn held_lines(change: &Change) {
    for held in change.plan.iter().flat_map(|p| &p.held) {
        let what: Vec<String> = held.objects.iter().take(3).map(|o| format!("{} {}", o.kind, o.name)).collect();
        let more = if held.objects.len() > 3 { format!(" and {} more", held.objects.len() - 3) } else { String::new() };
        let beyond = u64::from(held.count).saturating_sub(held.nodes.len() as u64);
        let nodes = match (held.nodes.is_empty(), beyond) {
            (false, 0) => names(&held.nodes),
            (false, beyond) => format!("{} and {beyond} that you may not see", names(&held.nodes)),
            (true, beyond) => format!("{} that you may not see", count(beyond, "node")),
        };
        let deletion = if held.is_deletion { "the deletion of " } else { "" };
        let (what, number, word) = (format!("{deletion}{}{more}", what.join(", ")), held.change, held.state.as_str());
        if held.state.is_final() {
            if held.stays {
                output::line(format!("    {nodes}: stays left out by change {number} ({word}): {what}"));
                output::note(format!("      bring it there with: {}", remedy(held)));
            } else {
                output::line(format!("    {nodes}: not yet, left out by change {number} ({word}): {what}"));
            }
            continue;
        }
        output::line(format!("    {nodes}: not yet, change {number} keeps it back (its rollout is {word}): {what}"));
        let go_on = if held.state == State::Paused { "resume" } else { "promote" };
        output::note(format!(
            "      go on with: lampasctl rollout {go_on} {number}   or end it: lampasctl rollout abort|revert {number}"
        ));
    }
}

/// Says how what stays left out is brought to its nodes.
pub(super) fn remedy(held: &PlanHold) -> String {
    match held.objects.first().filter(|_| held.is_deletion) {
        Some(key) => {
            let others = if held.objects.len() > 1 { ", and so each of the others" } else { "" };
            format!("lampasctl object delete {}/{}/{}{others}", key.kind, key.scope, key.name)
        }
        None => "lampasctl apply -f FILE, without --set".to_owned(),
    }
}

/// Prints what one node would do.
pub(super) fn actions(actions: &[Action]) {
    for a in actions {
        action(a, false, None);
    }
}

fn affected(plan: &Plan, name: &str) -> u64 {
    let concerned = plan.groups.iter().filter(|g| !g.observes && g.actions.iter().any(|a| a.name.as_str() == name));
    concerned.map(|g| g.nodes.len() as u64).sum()
}

fn action(action: &Action, with_object: bool, number: Option<u64>) {
    let verb = match action.verb {
        Verb::Create => "+",
        Verb::Update => "~",
        Verb::Remove => "-",
    };
    let object = if with_object { format!("   {} {}", action.kind, action.name) } else { String::new() };
    output::line(format!("      {verb} {}{object}", action.path));
    let changed: Vec<&str> = output::diff_lines(&action.diff).collect();
    output::diff(&changed.iter().take(DIFF_LINES).copied().collect::<Vec<_>>().join("\n"), "        ");
    if changed.len() > DIFF_LINES {
        output::line(format!("        … {} more lines", changed.len() - DIFF_LINES));
    }
    for note in &action.notes {
        output::line(format!("        note: {note}"));
    }
    if let Some(fault) = &action.fault {
        let why = number.map_or_else(|| fault.message.clone(), |number| numbered(&fault.message, number));
        output::line(format!("        can't be done: {why} ({})", fault.code));
    }
}

fn sign(verb: &str) -> &'static str {
    match verb {
        "create" => "+",
        "delete" => "-",
        _ => "~",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What is said of a plan of change 4, which was made at 12:00.
    fn check(control: &Value, more: &Value, expected: &str) {
        let mut all = json!({"protections": [], "approvers": [], "freezes": [], "overrides": []});
        let mut plan = json!({
            "id": "7c1e-44a0", "at": "2026-01-01T12:00:00Z", "groups": [], "unplanned": [], "unchanged": 0, "blockers": [],
            "next_runs": [],
        });
        for (whole, part) in [(&mut all, control), (&mut plan, more)] {
            let (whole, part) = (whole.as_object_mut().expect("an object"), part.as_object().expect("an object"));
            whole.extend(part.clone());
        }
        let control: Control = serde_json::from_value(all).expect("a control");
        let plan: Plan = serde_json::from_value(plan).expect("a plan");
        assert_eq!(next_step(4, &control, &plan), expected);
    }

    #[test]
    fn the_next_step_is_one_that_can_work() {
        let approval = |verdict: &str, at: &str| {
            let at = format!("2026-01-01T{at}Z");
            json!({"approval": {"verdict": verdict, "by": "bert", "reason": "", "note": "", "at": at}})
        };
        let schedule = |state: &str| {
            let at = "2026-01-01T13:00:00Z";
            json!({"schedule": {"state": state, "at": at, "due": at, "by": "anna", "rollout": {}, "reason": ""}})
        };
        let node = json!({"id": "0190a5c0-0000-7000-8000-000000000001", "name": "web-2"});
        let apply = "apply with: lampasctl apply --plan 7c1e-44a0";
        let over = "it holds no more; plan anew with: lampasctl change plan 4";
        check(&json!({}), &json!({}), apply);
        check(&approval("approved", "12:30:00"), &json!({}), apply);
        check(&approval("ended", "12:30:00"), &json!({}), over);
        check(&approval("ended", "11:30:00"), &json!({}), apply);
        check(&schedule("waiting"), &json!({}), apply);
        check(&schedule("withdrawn"), &json!({}), apply);
        check(&schedule("dropped"), &json!({}), over);
        let blocked = "blocked; once nothing is in the way, plan anew with: lampasctl change plan 4";
        check(&json!({}), &json!({"blockers": ["web-1: file motd: no"]}), blocked);
        let unplanned = json!({"unplanned": [{"node": node, "reason": "it is not connected"}]});
        check(&json!({}), &unplanned, "apply with: lampasctl apply --plan 7c1e-44a0 --allow-unplanned");
    }

    #[test]
    fn what_a_node_says_of_a_signature_names_the_change() {
        let said = "no signature covers it; sign it with: lampasctl change sign CHANGE, or: lampasctl node sign NODE";
        let expected = "no signature covers it; sign it with: lampasctl change sign 4, or: lampasctl node sign NODE";
        assert_eq!(numbered(said, 4), expected);
        let problem = json!({"type": "x", "title": "no", "status": 409, "detail": said, "code": "plan.blocked"});
        let error = CallError::Refused(Box::new(serde_json::from_value(problem).expect("a problem")));
        assert_eq!(refused(error, "4").to_string(), expected);
    }
}
