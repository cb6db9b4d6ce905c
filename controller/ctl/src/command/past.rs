//! The fleet and its nodes as they stood at a moment.

use lampas_api::{
    FleetMapGroup, PastChange, PastDiff, PastFleet, PastMoment, PastNode, PastNodeDiff, PastObject, PastRole,
    PastStanding, PastVerb,
};
use lampas_shared::{fleet::RoleName, report::ResourceState, time::UnixMs};

use super::{CommandError, Context, node, object};
use crate::{
    cli::PastDiffArgs,
    client::{CallError, encode},
    output::{self, count, state, time},
};

/// Runs `lampasctl overview --at TIME`.
pub(super) async fn fleet(context: &Context, at: UnixMs) -> Result<u8, CommandError> {
    let at = at.to_string();
    let past: PastFleet = context.client.get("/past", &[("at", Some(at.as_str()))]).await.map_err(moments)?;
    if context.is_json() {
        output::json(&past);
        return Ok(0);
    }
    output::line(format!("at {}: {}", time(past.moment.at), node::figures(&past.counts)));
    kept(past.moment);
    let is_told =
        |g: &&FleetMapGroup| g.observes || g.config.as_str() != "converged" || node::heard(g.state) != "online";
    for group in past.map.iter().filter(is_told) {
        let names = group.nodes.iter().take(8).map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
        let more = group.nodes.len().saturating_sub(8);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let config = config(group.observes, group.config);
        output::line(format!("{}  {config}  {names}{more}", state(node::heard(group.state))));
    }
    changes(&past.changes);
    Ok(0)
}

/// How a node stood: one that observed is written nothing, whatever its resources would be.
fn config(observes: bool, config: ResourceState) -> String {
    state(if observes { "observing" } else { config.as_str() })
}

fn changes(changes: &[PastChange]) {
    if changes.is_empty() {
        return;
    }
    output::line("");
    let row = |c: &PastChange| {
        let word = state(if c.was_rolling { "rolling" } else { "done" });
        vec![c.number.to_string(), word, c.title.clone(), c.author.clone(), time(c.applied_at)]
    };
    let heads = [">CHANGE", "STATE", "WHAT", "AUTHOR", "APPLIED"];
    output::table(&heads, changes.iter().map(row).collect());
}

/// Runs `lampasctl node show NODE --at TIME`.
pub(super) async fn one(context: &Context, which: &str, at: UnixMs) -> Result<u8, CommandError> {
    let at = at.to_string();
    let path = format!("/nodes/{}/past", encode(which));
    let past: PastNode = context.client.get(&path, &[("at", Some(at.as_str()))]).await.map_err(moments)?;
    if context.is_json() {
        output::json(&past);
        return Ok(0);
    }
    kept(past.moment);
    let Some(stood) = &past.stood else {
        output::line(format!("at {}: {which} is not known to have been in the fleet", time(past.moment.at)));
        return Ok(0);
    };
    let roles = stood.roles.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(", ");
    let until = stood.until.map_or_else(|| "and still".to_owned(), |until| format!("until {}", time(until)));
    let (heard, config) = (state(node::heard(stood.state)), config(stood.observe, stood.config));
    output::line(format!("at {}: {}  {heard}  {config}  {roles}", time(past.moment.at), stood.name));
    output::line(format!(
        "  generation {} · {} of {} in force · so since {}, {until}",
        if stood.generation.is_empty() { "none" } else { &stood.generation },
        stood.converged,
        count(u64::from(stood.resources), "resource"),
        time(stood.from)
    ));
    for drift in &past.drifts {
        output::line(format!("{}  {}  found {}", state("drifted"), drift.path, time(drift.found_at)));
    }
    objects(&past.objects);
    Ok(0)
}

fn objects(objects: &[PastObject]) {
    if objects.is_empty() {
        return;
    }
    output::line("");
    let row = |o: &PastObject| {
        let (kind, scope) = (o.key.kind.to_string(), o.key.scope.to_string());
        vec![kind, o.key.name.to_string(), scope, o.revision.to_string(), o.author.clone(), time(o.at)]
    };
    let heads = ["KIND", "NAME", "SCOPE", ">REVISION", "BY", "SAVED"];
    output::table(&heads, objects.iter().map(row).collect());
}

/// Runs `lampasctl role show ROLE --at TIME`.
pub(super) async fn role(context: &Context, role: &RoleName, at: UnixMs) -> Result<u8, CommandError> {
    let at = at.to_string();
    let path = format!("/roles/{role}/past");
    let past: PastRole = context.client.get(&path, &[("at", Some(at.as_str()))]).await.map_err(moments)?;
    if context.is_json() {
        output::json(&past);
        return Ok(0);
    }
    output::line(format!("at {}: role {role}, {}", time(past.moment.at), count(past.objects.len() as u64, "object")));
    kept(past.moment);
    let row = |m: &PastStanding| {
        let (heard, config) = (state(node::heard(m.state)), config(m.observe, m.config));
        vec![m.name.to_string(), heard, config, format!("{}/{}", m.converged, m.resources), time(m.from)]
    };
    if past.moment.is_kept() && past.members.is_empty() {
        output::line("  no node had it");
    } else if !past.members.is_empty() {
        output::table(&["NODE", "LINK", "CONFIG", ">IN FORCE", "SO SINCE"], past.members.iter().map(row).collect());
    }
    objects(&past.objects);
    changes(&past.changes);
    Ok(0)
}

/// Runs `lampasctl diff --from TIME`; returns 10 when something is otherwise.
pub(super) async fn diff(context: &Context, from: UnixMs, args: &PastDiffArgs) -> Result<u8, CommandError> {
    let (from, to) = (from.to_string(), args.to.map(|to| to.to_string()));
    let role = args.role.as_ref().map(ToString::to_string);
    let query = [
        ("from", Some(from.as_str())),
        ("to", to.as_deref()),
        ("role", role.as_deref()),
        ("node", args.node.as_deref()),
    ];
    let found: PastDiff = context.client.get("/past/diff", &query).await.map_err(|error| match moments(error) {
        // Without --to the other moment is the present.
        CommandError::Usage(_) if args.to.is_none() => CommandError::Usage(ahead("from")),
        error => error,
    })?;
    let is_same = found.nodes.is_empty() && found.objects.is_empty();
    let code = if is_same { 0 } else { 10 };
    if context.is_json() {
        output::json(&found);
        return Ok(code);
    }
    for node in &found.nodes {
        let sign = match node.verb {
            PastVerb::Came => "+",
            PastVerb::Went => "-",
            PastVerb::Changed => "~",
        };
        output::line(format!("  {sign} node {}   {}{}", node.name, node.verb.as_str(), otherwise(node)));
    }
    object::history_items(&found.objects);
    if !found.nodes_known {
        kept(PastMoment { at: found.from, kept_since: found.kept_since });
        output::note("  what became of nodes since then is not known");
    }
    if !found.objects_known {
        output::note("  which objects held the node then is not known: it goes by the roles and labels that it had");
    }
    let nodes = if found.nodes_known {
        format!("{} otherwise, {} alike; ", count(found.nodes.len() as u64, "node"), found.nodes_unchanged)
    } else {
        String::new()
    };
    let objects = if found.objects_known {
        format!("{} otherwise, {} the same", count(found.objects.len() as u64, "object"), found.objects_unchanged)
    } else {
        "of objects nothing is known".to_owned()
    };
    let more = if found.has_more { ", and more; narrow it with --role or --node" } else { "" };
    output::note(format!("  between {} and {}: {nodes}{objects}{more}", found.from, found.to));
    Ok(code)
}

/// Says what of a node is otherwise, from what to what.
fn otherwise(node: &PastNodeDiff) -> String {
    let (Some(before), Some(after)) = (&node.before, &node.after) else { return String::new() };
    let list = |names: &mut dyn Iterator<Item = String>| {
        let all = names.collect::<Vec<_>>().join(", ");
        if all.is_empty() { "none".to_owned() } else { all }
    };
    let of = |word: &str, s: &PastStanding| match word {
        "name" => s.name.to_string(),
        "state" => node::heard(s.state).to_owned(),
        "config" => s.config.as_str().to_owned(),
        "mode" => if s.observe { "observing" } else { "managed" }.to_owned(),
        "roles" => list(&mut s.roles.iter().map(ToString::to_string)),
        "labels" => list(&mut s.labels.iter().map(|(k, v)| format!("{k}={v}"))),
        "generation" => if s.generation.is_empty() { "none" } else { &s.generation }.to_owned(),
        _ => s.resources.to_string(),
    };
    let one = |word: &String| format!("{word} {} → {}", of(word, before), of(word, after));
    let all: Vec<String> = node.changed.iter().map(one).collect();
    if all.is_empty() { String::new() } else { format!(": {}", all.join("; ")) }
}

/// Says in one sentence which moment was refused, by the controller's clock, and what to give instead.
fn moments(error: CallError) -> CommandError {
    let CallError::Refused(problem) = &error else { return error.into() };
    let [field] = problem.fields.as_slice() else { return error.into() };
    match (field.pointer.as_str(), field.detail.as_str()) {
        ("/at", "lies ahead") => CommandError::Usage(ahead("at")),
        ("/to", "lies ahead") => CommandError::Usage(ahead("to")),
        ("/from", detail) if detail.starts_with("lies after") => {
            CommandError::Usage("--from lies after --to: swap them".into())
        }
        _ => error.into(),
    }
}

fn ahead(option: &str) -> String {
    format!("--{option} lies ahead: give a moment that is past")
}

/// Says so when how nodes stood then is not kept.
fn kept(moment: PastMoment) {
    match moment.kept_since {
        _ if moment.is_kept() => {}
        Some(since) => output::note(format!("how nodes stood is kept since {}", time(since))),
        None => output::note("how nodes stood is kept from now on"),
    }
}
