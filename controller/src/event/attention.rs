//! What needs somebody, the most urgent first: for Overview and the morning mail.
//!
//! Of each kind a handful is named; what is left out is counted, in a line that leads to the page with all of them.

use lampas_api::{Attention, OverviewCounts, PlanOutlook};
use lampas_runtime::clock;
use lampas_shared::{
    access::Permission,
    change::ChangeState,
    fleet::{NodeName, NodePause, NodeState},
    report::ResourceState,
    time::UnixMs,
};

use crate::{
    access::Reach,
    api::{App, guard::Caller, problem::Answer},
    change::{Listing, api::visible},
    db::{DbError, Tx},
    drift::DriftFilter,
    fleet::NodeFilter,
};

/// The most that is listed; the pages behind the links show all.
const LISTED: usize = 40;
/// How many of a kind are named.
const NAMED: usize = 5;
/// How many rows are looked at for those that somebody may see.
const LOOKED_AT: u32 = 500;

const DAY_MS: i64 = 86_400_000;
/// A certificate that ends within a week is shown.
const EXPIRING_MS: i64 = 7 * DAY_MS;

/// Returns what needs somebody.
pub(crate) async fn attention(
    app: &App,
    caller: &Caller,
    reach: &Reach,
    counts: &OverviewCounts,
) -> Answer<Vec<Attention>> {
    let now = clock::now();
    let mut found = Vec::new();
    if caller.may(Permission::ManageUsers)
        && let Some((since, why)) = app.mail.trouble(now).await?
    {
        let text = format!("mail can't be delivered: {why}");
        found.push(item("mail_failing", text, "/mail?show=log".to_owned(), Some(since), 0));
    }
    bad_nodes(app, reach, &mut found).await?;
    if reach.is_all() {
        let keys = crate::vault::sealing::status(&app.db, &app.config.data_dir).await?;
        for (file, problem) in keys.into_iter().filter_map(|k| Some((k.file, k.problem?))) {
            found.push(item("sealing_key", format!("{file}: {problem}"), "/controller".to_owned(), None, 0));
        }
    }
    let mut paused = Vec::new();
    for (number, why, until) in app.changes.paused().await? {
        if sees(app, reach, number).await? {
            let text = format!("the rollout of change {number} waits for a decision: {}", within(reach, &why));
            paused.push(item("rollout_paused", text, format!("/changes/{number}"), Some(until), 0));
        }
    }
    few(&mut found, paused, 0, ("rollouts that wait for a decision", "/changes"));
    let sources = crate::source::api::in_trouble(app, reach).await?.into_iter().map(|(name, why, since)| {
        let text = format!("the source {name} needs attention: {why}");
        item("source_failed", text, format!("/sources/{name}"), since, 0)
    });
    few(&mut found, sources.collect(), 0, ("sources that need attention", "/sources"));
    let differing = crate::source::api::differing(app, reach).await?.into_iter().map(|(name, count, since)| {
        let objects = if count == 1 { "1 object differs".to_owned() } else { format!("{count} objects differ") };
        item("source_differs", format!("{objects} from the git source {name}"), format!("/sources/{name}"), since, 0)
    });
    few(&mut found, differing.collect(), 0, ("sources that differ", "/sources"));
    ending(app, caller, reach, now, &mut found).await?;
    if counts.drifted > 0 {
        drifted(app, reach, &mut found).await?;
    }
    let filter = NodeFilter { state: Some(NodeState::Offline), ..NodeFilter::default() };
    let (nodes, more) = nodes(app, reach, &filter).await?;
    let offline = nodes.into_iter().map(|node| {
        let link = format!("/nodes/{}", node.name);
        item("offline", format!("{} is not connected", node.name), link, node.last_seen_at, 1)
    });
    few(&mut found, offline.collect(), more, ("nodes that are not connected", "/nodes?state=offline"));
    missed(app, reach, now, &mut found).await?;
    waiting(app, caller, reach, now, &mut found).await?;
    let more = found.len().saturating_sub(LISTED);
    if more > 1 {
        found.truncate(LISTED);
        found.push(item("more", format!("and {more} more"), "/activity".to_owned(), None, 0));
    }
    Ok(found)
}

/// Adds the first of a kind, and one line for the rest: those of the list, and `more` that are not in it.
fn few(found: &mut Vec<Attention>, items: Vec<Attention>, more: u64, (what, link): (&str, &str)) {
    let Some(kind) = items.first().map(|i| i.kind.clone()) else { return };
    let rest = items.len().saturating_sub(NAMED) as u64 + more;
    found.extend(items.into_iter().take(NAMED));
    if rest > 0 {
        let text = if rest == 1 { format!("and one more of the {what}") } else { format!("and {rest} more {what}") };
        found.push(item(&kind, text, link.to_owned(), None, 0));
    }
}

/// Nodes that undid, refuse or could not do what they were given, and those that somebody on them told not to.
async fn bad_nodes(app: &App, reach: &Reach, found: &mut Vec<Attention>) -> Answer<()> {
    let filter = NodeFilter { phase: Some("quarantined"), ..NodeFilter::default() };
    let (quarantined, more) = nodes(app, reach, &filter).await?;
    let undid = quarantined.into_iter().map(|node| {
        let what = node.desired.map_or_else(String::new, |g| format!(" {g}"));
        let text = format!("{} undid generation{what}, which cut it off", node.name);
        item("quarantined", text, format!("/nodes/{}", node.name), None, 1)
    });
    few(found, undid.collect(), more, ("nodes that undid a generation", "/nodes"));
    let filter = NodeFilter { is_refusing: true, ..NodeFilter::default() };
    let (refusing, more) = nodes(app, reach, &filter).await?;
    let declined = refusing.into_iter().map(|node| {
        item("declined", format!("{} {}", node.name, node.attention), format!("/nodes/{}", node.name), None, 1)
    });
    few(found, declined.collect(), more, ("nodes that don't take their state", "/nodes"));
    for (state, kind) in [(ResourceState::Failed, "failed"), (ResourceState::Blocked, "blocked")] {
        let filter = NodeFilter { config: Some(state), ..NodeFilter::default() };
        let (nodes, more) = nodes(app, reach, &filter).await?;
        let bad = nodes.into_iter().filter_map(|node| {
            let link = format!("/nodes/{}", node.name);
            let text = if node.attention.is_empty() { kind } else { node.attention.as_str() };
            let is_listed = found.iter().any(|i| i.link == link);
            (!is_listed).then(|| item(kind, format!("{}: {text}", node.name), link, None, 1))
        });
        let bad: Vec<_> = bad.collect();
        few(found, bad, more, (&format!("nodes that are {kind}"), &format!("/nodes?config={kind}")));
    }
    let filter = NodeFilter { is_halted: true, ..NodeFilter::default() };
    // Those that are over are told of until the node says so: they must not take the place of others.
    let (halted, more) = nodes_among(app, reach, &filter, LOOKED_AT).await?;
    // Facts may tell of a pause that is over.
    let halted = halted.into_iter().filter_map(|node| {
        let (kind, since, text) = match (node.undone_since, node.pause) {
            (Some(since), _) => ("undone", since, "its generation is undone, by somebody on the node".to_owned()),
            (None, Some(NodePause { since, until, reason })) => {
                let until =
                    until.map_or_else(|| "until somebody resumes it".to_owned(), |until| format!("until {until}"));
                ("paused", since, format!("paused on the node {until}: {reason}"))
            }
            (None, None) => return None,
        };
        let link = format!("/nodes/{}", node.name);
        // Beside what failed there it is said already.
        let is_listed = found.iter().any(|i| i.link == link);
        (!is_listed).then(|| item(kind, format!("{}: {text}", node.name), link, Some(since), 1))
    });
    let halted: Vec<_> = halted.collect();
    few(found, halted, more, ("nodes that are paused or undone by somebody on them", "/nodes"));
    Ok(())
}

/// Certificates and tokens that end within days.
async fn ending(app: &App, caller: &Caller, reach: &Reach, now: UnixMs, found: &mut Vec<Attention>) -> Answer<()> {
    let before = now.plus_ms(EXPIRING_MS);
    let expiring = app
        .db
        .read(|mut tx: Tx| async move {
            let found = crate::fleet::expiring(&mut tx, before, LOOKED_AT).await?;
            Ok::<_, DbError>(tx.done(found))
        })
        .await?;
    let seen = |(name, _): &(NodeName, UnixMs)| reach.has_name(name.as_str());
    let certificates = expiring.into_iter().filter(seen).map(|(name, ends)| {
        let text = if ends < now {
            format!("the certificate of {name} ended; it renews it when it connects, or enrol it anew")
        } else {
            format!("the certificate of {name} ends on {ends}, and the node has not renewed it")
        };
        item("certificate_expiring", text, format!("/nodes/{name}"), Some(ends).filter(|e| *e < now), 1)
    });
    few(found, certificates.collect(), 0, ("certificates that end", "/nodes"));
    let tokens = app.access.expiring_tokens(caller, EXPIRING_MS, LOOKED_AT).await?;
    let tokens = tokens.into_iter().map(|token| {
        let text = format!("the API token “{}” of {} ends on {}", token.name, token.owner, token.expires_at);
        let link = if token.owner.as_str() == caller.login() { "/tokens" } else { "/tokens?show=all" };
        item("token_expiring", text, link.to_owned(), None, 0)
    });
    few(found, tokens.collect(), 0, ("API tokens that end", "/tokens"));
    Ok(())
}

/// What was changed by hand.
async fn drifted(app: &App, reach: &Reach, found: &mut Vec<Attention>) -> Answer<()> {
    let filter = DriftFilter { standing: Some(true), ..DriftFilter::default() };
    let page = app.drifts.list(&filter, if reach.is_all() { NAMED as u32 } else { LOOKED_AT }).await?;
    // Who has the whole fleet has all of them.
    let total = page.total.filter(|_| reach.is_all());
    let seen = page.items.into_iter().filter(|d| reach.has_node(d.node.id)).map(|row| {
        let text = format!("{} was changed by hand on {}", row.path, row.node.name);
        item("drifted", text, format!("/drift/{}", row.id), Some(row.found_at), 1)
    });
    let seen: Vec<_> = seen.collect();
    let more = total.map_or(0, |total| total.saturating_sub(seen.len() as u64));
    few(found, seen, more, ("changes by hand", "/drift"));
    Ok(())
}

/// Jobs that did not run at their time within the last day.
async fn missed(app: &App, reach: &Reach, now: UnixMs, found: &mut Vec<Attention>) -> Answer<()> {
    let since = now.plus_ms(-DAY_MS);
    let mut missed = app
        .db
        .read(|mut tx: Tx| async move {
            let missed = crate::job::tally(&mut tx, since, true).await?;
            Ok::<_, DbError>(tx.done(missed))
        })
        .await?;
    missed.retain(|m| reach.has_node(m.node));
    // Those of one time stay by name.
    missed.sort_by_key(|m| std::cmp::Reverse(m.last));
    let seen = missed.into_iter().map(|m| {
        let times = if m.count == 1 { "once".to_owned() } else { format!("{} times", m.count) };
        let text = format!("{} did not run on {} at its time, {times} in the last 24 hours", m.name, m.node_name);
        item("missed", text, format!("/runs?object={}&node={}", m.object, m.node), Some(m.last), 1)
    });
    few(found, seen.collect(), 0, ("jobs that did not run at their time", "/runs"));
    Ok(())
}

/// Changes that wait for somebody, or were given up.
async fn waiting(app: &App, caller: &Caller, reach: &Reach, now: UnixMs, found: &mut Vec<Attention>) -> Answer<()> {
    let waiting = crate::change::approval::api::waiting(app, caller, reach).await?;
    let approvals = waiting.iter().map(|wanted| {
        let change = &wanted.change;
        let text = format!("change {} of {} waits for an approval: {}", change.number, change.author, change.title);
        item("approval_waiting", text, format!("/changes/{}", change.number), Some(wanted.since), 0)
    });
    few(found, approvals.collect(), 0, ("changes that wait for an approval", "/changes"));
    let mut dropped = Vec::new();
    for (number, why, at) in app.changes.dropped(now.plus_ms(-DAY_MS)).await? {
        if sees(app, reach, number).await? {
            let text = format!("change {number} was not applied at its time: {why}");
            dropped.push(item("schedule_dropped", text, format!("/changes/{number}"), Some(at), 0));
        }
    }
    few(found, dropped, 0, ("changes that were not applied at their time", "/changes"));
    let mut back = Vec::new();
    for (number, why, at) in app.changes.put_back(now.plus_ms(-DAY_MS)).await? {
        if sees(app, reach, number).await? {
            let text = format!("the rollout of change {number} was put back: {}", within(reach, &why));
            back.push(item("rollout_reverted", text, format!("/changes/{number}"), Some(at), 0));
        }
    }
    few(found, back, 0, ("rollouts that were put back", "/changes"));
    let mut told: Vec<u64> = app.changes.scheduled().await?;
    told.extend(waiting.iter().map(|w| w.change.number));
    // One that waits for longer than a day is forgotten, not urgent; after a week it is given up.
    let planned = Listing { state: Some(ChangeState::Planned), is_asked: true, limit: 50, ..Listing::default() };
    let planned = visible(app, reach, planned).await?.items;
    let is_told = |c: &&lampas_api::ChangeSummary| {
        // What would do nothing, or has no node any more, waits for nobody.
        let is_over = matches!(c.outlook, Some(PlanOutlook::Idle | PlanOutlook::Gone));
        now.since(c.created_at) < DAY_MS && !told.contains(&c.number) && !is_over
    };
    let planned = planned.iter().filter(is_told).map(|c| {
        let text = match c.outlook {
            Some(PlanOutlook::Blocked) => {
                format!("change {} can't be applied as it is, nodes are in the way: {}", c.number, c.title)
            }
            Some(PlanOutlook::Unknown) => {
                format!("change {} was planned by an earlier release, plan it again: {}", c.number, c.title)
            }
            _ => format!("change {} waits to be applied: {}", c.number, c.title),
        };
        item("plan_waiting", text, format!("/changes/{}", c.number), Some(c.created_at), 0)
    });
    few(found, planned.collect(), 0, ("changes that wait to be applied", "/changes?state=planned"));
    Ok(())
}

/// Returns a reason as somebody may read it: it may name nodes that they don't see.
fn within<'a>(reach: &Reach, reason: &'a str) -> &'a str {
    if reach.is_named_beyond(reason) { "who sees all of its nodes reads why" } else { reason }
}

/// Returns whether a change may be seen.
async fn sees(app: &App, reach: &Reach, number: u64) -> Answer<bool> {
    if reach.is_all() {
        return Ok(true);
    }
    let id = app.changes.find(&number.to_string()).await?.id;
    let scopes = app.changes.scopes(&[id]).await?;
    Ok(scopes.get(&id).is_some_and(|all| all.iter().all(|s| reach.has_scope(s))))
}

fn item(kind: &str, text: String, link: String, since: Option<UnixMs>, nodes: u32) -> Attention {
    Attention { kind: kind.to_owned(), text, link, since, nodes }
}

/// Returns the nodes that may be seen, and how many there are beside: all that somebody may see is counted.
async fn nodes(app: &App, reach: &Reach, filter: &NodeFilter) -> Answer<(Vec<lampas_api::NodeSummary>, u64)> {
    nodes_among(app, reach, filter, if reach.is_all() { NAMED as u32 } else { LOOKED_AT }).await
}

/// Returns them out of this many, which are read before it is known which of them are shown.
async fn nodes_among(
    app: &App,
    reach: &Reach,
    filter: &NodeFilter,
    most: u32,
) -> Answer<(Vec<lampas_api::NodeSummary>, u64)> {
    let page = app
        .db
        .read(|mut tx: Tx| async move {
            let page = crate::fleet::list(&mut tx, filter, None, most).await?;
            Ok::<_, DbError>(tx.done(page))
        })
        .await?;
    let read = page.items.len() as u64;
    let seen = page.items.into_iter().filter(|n| reach.has_node(n.id)).collect();
    let more = page.total.filter(|_| reach.is_all()).map_or(0, |total| total.saturating_sub(read));
    Ok((seen, more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_named_and_the_rest_is_counted() {
        let check = |items: usize, more: u64, expected: &[&str]| {
            let items = (1..=items).map(|n| item("offline", format!("web-{n}"), "/nodes".into(), None, 1)).collect();
            let mut found = Vec::new();
            few(&mut found, items, more, ("nodes", "/nodes?state=offline"));
            assert_eq!(found.iter().map(|i| i.text.as_str()).collect::<Vec<_>>(), expected);
        };
        let all = ["web-1", "web-2", "web-3", "web-4", "web-5"];
        check(0, 0, &[]);
        check(5, 0, &all);
        check(7, 0, &[&all[..], &["and 2 more nodes"]].concat());
        check(5, 95, &[&all[..], &["and 95 more nodes"]].concat());
        check(2, 1, &["web-1", "web-2", "and one more of the nodes"]);
    }
}
