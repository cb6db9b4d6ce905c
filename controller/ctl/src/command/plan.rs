//! Plans as they are shown, the same for `apply`, `diff`, `change show` and `drift adopt`.

use lampas_api::{Change, DraftVerb, Plan};
use lampas_shared::{
    object::Kind,
    report::{Action, Verb},
};

use crate::output::{self, count};

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
        let changed =
            edit.diff.lines().filter(|l| l.starts_with(['+', '-']) && !l.starts_with("+++") && !l.starts_with("---"));
        output::diff(&changed.collect::<Vec<_>>().join("\n"), "      ");
    }
    let Some(plan) = &change.plan else {
        output::note("  not planned yet");
        return;
    };
    for group in &plan.groups {
        let names: Vec<&str> = group.nodes.iter().map(|n| n.name.as_str()).collect();
        let shown = if names.len() > 6 {
            format!("{} and {} more", names[..5].join(", "), names.len() - 5)
        } else {
            names.join(", ")
        };
        output::line(format!("    {shown}{}", if names.len() > 1 { " (identical)" } else { "" }));
        for a in &group.actions {
            action(a, has_values);
        }
        if group.actions.is_empty() {
            output::line("      nothing is written: it stands there as desired");
        }
    }
    for node in &plan.unplanned {
        output::line(format!("    {}: not planned, {}", node.node.name, node.reason));
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

/// Prints the line that says how to go on.
pub(super) fn footer(plan: &Plan) {
    let nodes: usize = plan.groups.iter().map(|g| g.nodes.len()).sum();
    let changes = format!("{} change, {} unchanged", count(nodes as u64, "node"), plan.unchanged);
    let unplanned =
        if plan.unplanned.is_empty() { String::new() } else { format!(", {} not planned", plan.unplanned.len()) };
    output::line(format!(
        "  plan {}  ·  {changes}{unplanned}  ·  apply with: lampasctl apply --plan {}",
        plan.id, plan.id
    ));
    for blocker in &plan.blockers {
        output::note(format!("  in the way: {blocker}"));
    }
}

/// Returns whether applying the change would do anything: on a node, or to what the controller holds.
pub(super) fn has_work(change: &Change) -> bool {
    change.drafts.iter().any(|d| d.verb != DraftVerb::None)
        || change.node_edits.iter().any(|e| e.verb != DraftVerb::None)
        || change.plan.as_ref().is_some_and(|p| !p.groups.is_empty() || !p.unplanned.is_empty())
}

/// Prints what one node would do.
pub(super) fn actions(actions: &[Action]) {
    for a in actions {
        action(a, false);
    }
}

fn affected(plan: &Plan, name: &str) -> u64 {
    let concerned = plan.groups.iter().filter(|g| g.actions.iter().any(|a| a.name.as_str() == name));
    concerned.map(|g| g.nodes.len() as u64).sum()
}

fn action(action: &Action, with_object: bool) {
    let verb = match action.verb {
        Verb::Create => "+",
        Verb::Update => "~",
        Verb::Remove => "-",
    };
    let object = if with_object { format!("   {} {}", action.kind, action.name) } else { String::new() };
    output::line(format!("      {verb} {}{object}", action.path));
    let changed: Vec<&str> = action.diff.lines().filter(|l| !l.starts_with("---") && !l.starts_with("+++")).collect();
    output::diff(&changed.iter().take(DIFF_LINES).copied().collect::<Vec<_>>().join("\n"), "        ");
    if changed.len() > DIFF_LINES {
        output::line(format!("        … {} more lines", changed.len() - DIFF_LINES));
    }
    for note in &action.notes {
        output::line(format!("        note: {note}"));
    }
    if let Some(fault) = &action.fault {
        output::line(format!("        can't be done: {} ({})", fault.message, fault.code));
    }
}

fn sign(verb: &str) -> &'static str {
    match verb {
        "create" => "+",
        "delete" => "-",
        _ => "~",
    }
}
