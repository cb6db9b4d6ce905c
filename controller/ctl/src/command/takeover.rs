//! Comparing roles, importing from nodes, taking over and ejecting.

use std::collections::BTreeMap;

use lampas_api::{
    Change, ComparedItem, EjectRequest, EjectedNode, ImportRequest, Imported, ManageRequest, NodeSummary, Proof,
    RoleComparison, TakeOver,
};
use lampas_shared::{
    fleet::{RoleName, Scope},
    rollout::Strategy,
};
use reqwest::Method;

use super::{CommandError, Context, ansible, confirm, crontab, plan, progress};
use crate::{
    cli::{EjectArgs, ImportArgs, Sure},
    client::encode,
    output::{self, count},
};

/// Runs `lampasctl import`.
pub(super) async fn import(context: &Context, args: ImportArgs) -> Result<u8, CommandError> {
    match (args.source.as_str(), args.source.strip_prefix("node:")) {
        (_, Some(node)) => from_node(context, node, &args).await,
        ("crontab", None) => crontab::import(context, &args).await,
        ("ansible", None) => ansible::import(context, &args).await,
        (other, None) => {
            Err(CommandError::Usage(format!("{other:?}: write node:NAME, crontab FILE or ansible INVENTORY")))
        }
    }
}

async fn from_node(context: &Context, node: &str, args: &ImportArgs) -> Result<u8, CommandError> {
    let Some(scope) = args.scope.clone() else {
        return Err(CommandError::Usage("give the scope of the objects: --scope role:app".into()));
    };
    let (items, reason) = (args.what.clone(), args.reason.clone());
    let request = ImportRequest { items, scope, as_jobs: args.as_jobs, reason, only_look: args.plan };
    let path = format!("/nodes/{}/import", encode(node));
    let made: Imported = context.client.send_json(Method::POST, &path, &request).await?;
    let Some(number) = made.number else {
        if context.is_json() {
            output::json(&made);
        } else {
            left(&made);
            output::note("nothing could be imported");
        }
        return Ok(2);
    };
    if !context.is_json() {
        if let Some(Scope::Role(role)) = args.scope.as_ref().filter(|_| args.plan) {
            // The change is there by now: a comparison that only who sees the whole role gets is not worth its answer.
            if let Err(error) = overview(context, node, role).await {
                output::note(format!("how it compares with the role {role} can't be shown: {error}"));
            }
        }
        taken(&made, node);
        left(&made);
    }
    let change: Change = context.client.get(&format!("/changes/{number}"), &[]).await?;
    let Some(current) = change.plan.clone() else { return super::change::shown_plan(context, &change) };
    if args.plan {
        if context.is_json() {
            output::json(&made);
            return Ok(0);
        }
        return super::change::shown_plan(context, &change);
    }
    if !context.is_json() {
        plan::print(&change);
    }
    if !current.blockers.is_empty() || !current.unplanned.is_empty() {
        plan::not_applied(context, &change);
        return Ok(2);
    }
    progress::apply(context, &number.to_string(), &current.id, (false, Strategy::default()), &args.wait).await
}

/// Prints how what stands on a node compares with its role, kind by kind: first the whole, then each thing.
async fn overview(context: &Context, node: &str, role: &RoleName) -> Result<(), CommandError> {
    let path = format!("/roles/{}/compare", encode(role.as_str()));
    let found: RoleComparison = context.client.get(&path, &[]).await?;
    let nodes = found.nodes.len();
    let has_it = |refs: &[lampas_api::NodeRef]| refs.iter().any(|n| n.name == *node || n.id.to_string() == *node);
    // All, equal everywhere, only here.
    let mut kinds: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    for item in found.items.iter().filter(|i| i.versions.iter().any(|v| has_it(&v.nodes))) {
        let sums = kinds.entry(&item.kind).or_default();
        sums[0] += item.count;
        let is_alone = item.versions.len() == 1 && item.versions[0].nodes.len() == 1;
        match () {
            () if is_alone => sums[2] += item.count,
            () if item.is_equal => sums[1] += item.count,
            () => {}
        }
    }
    for (kind, [all, equal, alone]) in kinds {
        let other = all - equal - alone;
        let parts = [
            (equal, format!("{equal} equal on {}", count(nodes as u64, "node"))),
            (other, format!("{other} not the same on all")),
            (alone, format!("{alone} only here")),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|(n, _)| *n > 0).map(|(_, text)| text).collect();
        output::line(format!("  {kind:<10} {all:>4}   {}", parts.join(", ")));
    }
    output::line("");
    Ok(())
}

fn taken(made: &Imported, node: &str) {
    let row = |t: &lampas_api::TakenItem| {
        let proof = match t.proof {
            Proof::Unchanged => format!("● no change on {node}, taken over"),
            Proof::Changes if t.detail.is_empty() => "~ see the plan".to_owned(),
            Proof::Changes => format!("~ {}", t.detail),
            Proof::Unproven => format!("▲ not proven: {}", t.detail),
        };
        vec![t.item.clone(), t.object.clone(), proof]
    };
    output::table(&["WHAT", "OBJECT", "PROOF"], made.taken.iter().map(row).collect());
}

fn left(made: &Imported) {
    if made.left.is_empty() {
        return;
    }
    output::line("");
    output::line("left as it is:");
    for left in &made.left {
        output::line(format!("  {}: {}", left.item, left.reason));
    }
    output::line("");
}

/// Runs `lampasctl role compare`.
pub(super) async fn compare(context: &Context, role: &RoleName, all: bool) -> Result<u8, CommandError> {
    let path = format!("/roles/{}/compare", encode(role.as_str()));
    let found: RoleComparison = context.client.get(&path, &[]).await?;
    if context.is_json() {
        output::json(&found);
        return Ok(0);
    }
    let nodes = found.nodes.len();
    output::line(format!(
        "{} compared; {} managed already and left out",
        count(nodes as u64, "node"),
        count(u64::from(found.managed), "place")
    ));
    for node in &found.unasked {
        output::line(format!("  {}: not compared, {}", node.node.name, node.reason));
    }
    output::table(&["KIND", ">EQUAL", ">DIFFERENT", ">ONLY ON SOME"], summary(&found.items));
    for item in found.items.iter().filter(|i| !i.is_equal || all) {
        print_item(item, nodes);
    }
    found.notes.iter().for_each(|note| output::note(format!("  {note}")));
    let differs = found.items.iter().any(|i| !i.is_equal);
    if nodes > 0 {
        output::note(format!("take something over: lampasctl import node:NAME WHAT --scope role:{role} --plan"));
    }
    Ok(if differs { 10 } else { 0 })
}

fn summary(items: &[ComparedItem]) -> Vec<Vec<String>> {
    // Equal, different, only on some.
    let mut kinds: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    for item in items {
        let at = match (item.is_equal, item.versions.len()) {
            (true, _) => 0,
            (false, 2..) => 1,
            _ => 2,
        };
        kinds.entry(&item.kind).or_default()[at] += item.count;
    }
    kinds
        .iter()
        .map(|(kind, n)| vec![(*kind).to_owned(), n[0].to_string(), n[1].to_string(), n[2].to_string()])
        .collect()
}

fn print_item(item: &ComparedItem, nodes: usize) {
    let names = |refs: &[lampas_api::NodeRef]| {
        let shown: Vec<&str> = refs.iter().take(6).map(|n| n.name.as_str()).collect();
        let more = refs.len().saturating_sub(6);
        if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
    };
    let head = if item.is_equal { "equal on all".to_owned() } else { String::new() };
    output::line(format!("{} {}  {head}", item.kind, item.name));
    for (i, version) in item.versions.iter().enumerate() {
        output::line(format!("    {} of {nodes}: {}   {}", version.nodes.len(), names(&version.nodes), version.about));
        if i > 0 {
            output::diff(&version.diff, "      ");
        }
        if !version.refusal.is_empty() {
            output::line(format!("      can't be imported: {}", version.refusal));
        }
    }
    if !item.missing.is_empty() {
        output::line(format!("    not on {}", names(&item.missing)));
    }
}

/// Runs `lampasctl node manage`.
pub(super) async fn manage(
    context: &Context,
    node: &str,
    only_plan: bool,
    (reason, override_reason): (String, Option<String>),
    sure: &Sure,
) -> Result<u8, CommandError> {
    let path = format!("/nodes/{}/manage", encode(node));
    let shown: TakeOver = context.client.get(&path, &[]).await?;
    if context.is_json() && only_plan {
        output::json(&shown);
        return Ok(0);
    }
    if !context.is_json() {
        plan::actions(&shown.actions);
        output::line(format!(
            "  {} would be written; {} as desired already, with no change, and taken over",
            count(shown.actions.len() as u64, "resource"),
            count(u64::from(shown.unchanged), "resource")
        ));
        for freeze in shown.frozen.iter().filter(|_| !shown.actions.is_empty()) {
            let until = output::time(freeze.until);
            output::note(format!("  not before {until}: {} is frozen ({})", freeze.scope, freeze.reason));
        }
        for guard in shown.protected.iter().filter(|_| !shown.actions.is_empty()) {
            output::note(format!("  {} is protected ({}): an administrator takes it over", guard.scope, guard.reason));
        }
    }
    if only_plan {
        return Ok(if shown.actions.is_empty() { 0 } else { 10 });
    }
    if !shown.is_observing {
        output::note(format!("{node} is managed already"));
        return Ok(0);
    }
    confirm(sure, &format!("take {node} over? From here on LAMPAS writes there"))?;
    let request = ManageRequest { plan: shown.plan.clone(), reason, override_reason };
    context.client.send_empty(Method::POST, &path, &request).await?;
    if context.is_json() {
        output::json(&shown);
    } else {
        output::note(format!("{node} is taken over; follow it with: lampasctl node show {node}"));
    }
    Ok(0)
}

/// Runs `lampasctl eject`.
pub(super) async fn eject(context: &Context, args: &EjectArgs) -> Result<u8, CommandError> {
    let mut names: Vec<String> = args.node.iter().map(ToString::to_string).collect();
    if let Some(role) = &args.role {
        let query = [("role", Some(role.as_str()))];
        let found = context.client.pages::<NodeSummary>("/nodes", &query, None).await?.items;
        names.extend(found.into_iter().map(|n| n.name.to_string()));
    }
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(CommandError::Usage("there is no such node".into()));
    }
    confirm(
        &args.sure,
        &format!(
            "eject {}? What LAMPAS wrote stays as plain files, the agents stop, and generated lines of other nodes name them no more",
            names.join(", ")
        ),
    )?;
    let mut done = Vec::new();
    let mut failed = 0_u32;
    for name in &names {
        let request = EjectRequest {
            confirm: name.clone(),
            reason: args.reason.clone(),
            override_reason: args.override_reason.clone(),
        };
        let path = format!("/nodes/{}/eject", encode(name));
        match context.client.send_json::<_, EjectedNode>(Method::POST, &path, &request).await {
            Ok(ejected) => {
                if !context.is_json() {
                    output::line(format!("{}  ejected", ejected.name));
                    for place in &ejected.places {
                        output::line(format!("  {}   {}", place.path, place.what));
                    }
                    for manifest in &ejected.manifests {
                        output::line(format!("  manifest   {manifest}"));
                    }
                }
                done.push(ejected);
            }
            Err(error) if names.len() > 1 => {
                failed += 1;
                output::note(format!("{name}: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if context.is_json() {
        output::json(&done);
    }
    Ok(if failed > 0 { 2 } else { 0 })
}
