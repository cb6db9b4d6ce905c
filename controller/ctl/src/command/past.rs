//! The fleet and its nodes as they stood at a moment.

use lampas_api::{PastChange, PastFleet, PastMoment, PastNode, PastObject};
use lampas_shared::time::UnixMs;

use super::{CommandError, Context, node};
use crate::{
    client::encode,
    output::{self, count, state, time},
};

/// Runs `lampasctl overview --at TIME`.
pub(super) async fn fleet(context: &Context, at: UnixMs) -> Result<u8, CommandError> {
    let at = at.to_string();
    let past: PastFleet = context.client.get("/past", &[("at", Some(at.as_str()))]).await?;
    if context.is_json() {
        output::json(&past);
        return Ok(0);
    }
    output::line(format!("at {}: {}", time(past.moment.at), node::figures(&past.counts)));
    kept(past.moment);
    for group in past.map.iter().filter(|g| g.config.as_str() != "converged" || node::heard(g.state) != "online") {
        let names = group.nodes.iter().take(8).map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
        let more = group.nodes.len().saturating_sub(8);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        output::line(format!("{}  {}  {names}{more}", state(node::heard(group.state)), state(group.config.as_str())));
    }
    if !past.changes.is_empty() {
        output::line("");
        let row = |c: &PastChange| {
            let word = state(if c.was_rolling { "rolling" } else { "done" });
            vec![c.number.to_string(), word, c.title.clone(), c.author.clone(), time(c.applied_at)]
        };
        let heads = [">CHANGE", "STATE", "WHAT", "AUTHOR", "APPLIED"];
        output::table(&heads, past.changes.iter().map(row).collect());
    }
    Ok(0)
}

/// Runs `lampasctl node show NODE --at TIME`.
pub(super) async fn one(context: &Context, which: &str, at: UnixMs) -> Result<u8, CommandError> {
    let at = at.to_string();
    let path = format!("/nodes/{}/past", encode(which));
    let past: PastNode = context.client.get(&path, &[("at", Some(at.as_str()))]).await?;
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
    let (heard, config) = (state(node::heard(stood.state)), state(stood.config.as_str()));
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
    if !past.objects.is_empty() {
        output::line("");
        let row = |o: &PastObject| {
            let (kind, scope) = (o.key.kind.to_string(), o.key.scope.to_string());
            vec![kind, o.key.name.to_string(), scope, o.revision.to_string(), o.author.clone(), time(o.at)]
        };
        let heads = ["KIND", "NAME", "SCOPE", ">REVISION", "BY", "SAVED"];
        output::table(&heads, past.objects.iter().map(row).collect());
    }
    Ok(0)
}

/// Says so when how nodes stood then is not kept.
fn kept(moment: PastMoment) {
    match moment.kept_since {
        _ if moment.is_kept() => {}
        Some(since) => output::note(format!("how nodes stood is kept since {}", time(since))),
        None => output::note("how nodes stood is kept from now on"),
    }
}
