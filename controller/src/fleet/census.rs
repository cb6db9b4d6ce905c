//! The fleet in numbers: what Overview and the fleet map show.

use std::collections::{BTreeMap, btree_map::Entry};

use lampas_api::{FleetMapGroup, OverviewCounts};
use lampas_shared::{
    fleet::{NodeName, NodeState, RoleName},
    report::ResourceState,
    time::UnixMs,
};

use super::list::parse_state;
use crate::db::{DbError, Tx, row::Reader};

/// Counts nodes by state, and objects: two statements, whatever the size of the fleet.
pub async fn counts(tx: &mut Tx) -> Result<OverviewCounts, DbError> {
    let mut counts = OverviewCounts::default();
    let rows = sqlx::query(
        "SELECT n.state, n.observe, COALESCE(c.state, 'waiting') AS config, COUNT(*) AS nodes FROM node n \
         LEFT JOIN node_config c ON c.node = n.id WHERE n.revoked_ms IS NULL \
         GROUP BY n.state, n.observe, COALESCE(c.state, 'waiting')",
    )
    .fetch_all(tx.conn())
    .await?;
    for row in &rows {
        let r = Reader::new("node", row);
        let nodes = r.count("nodes")? as u32;
        if r.count("observe")? != 0 {
            counts.observing += nodes;
        }
        count(&mut counts, parse_state(&r.text("state")?).unwrap_or(NodeState::Offline), r.parse("config")?, nodes);
    }
    let row = sqlx::query("SELECT COUNT(*) AS objects FROM object").fetch_one(tx.conn()).await?;
    counts.objects = Reader::new("object", &row).count("objects")? as u32;
    Ok(counts)
}

/// Adds nodes that stand alike.
pub(crate) fn count(counts: &mut OverviewCounts, state: NodeState, config: ResourceState, nodes: u32) {
    counts.nodes += nodes;
    match state {
        NodeState::Online => counts.online += nodes,
        NodeState::Stale => counts.stale += nodes,
        NodeState::Offline => counts.offline += nodes,
    }
    match config {
        ResourceState::Converged => counts.converged += nodes,
        ResourceState::Applying | ResourceState::Waiting => counts.applying += nodes,
        ResourceState::Drifted => counts.drifted += nodes,
        ResourceState::Failed | ResourceState::Blocked => counts.failed += nodes,
        ResourceState::Paused => {}
    }
}

/// Returns the nodes whose certificate ends before a time, the soonest first. Agents renew theirs with a third of its
/// life to go, so one that is near its end stands for a node that can't.
pub async fn expiring(tx: &mut Tx, before: UnixMs, limit: u32) -> Result<Vec<(NodeName, UnixMs)>, DbError> {
    let rows = sqlx::query(
        "SELECT n.name, MAX(x.not_after_ms) AS ends_ms FROM node n JOIN certificate x ON x.node = n.id \
         WHERE n.revoked_ms IS NULL AND x.revoked_ms IS NULL GROUP BY n.name HAVING MAX(x.not_after_ms) < ? \
         ORDER BY ends_ms, n.name LIMIT ?",
    )
    .bind(before.0)
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("certificate", row);
            Ok((r.parse("name")?, r.time("ends_ms")?))
        })
        .collect()
}

/// Returns a small row for each node, by first role and name.
pub async fn map(tx: &mut Tx) -> Result<Vec<FleetMapGroup>, DbError> {
    let rows = sqlx::query(
        "SELECT n.name, n.state, n.observe, COALESCE(c.state, 'waiting') AS config, f.role FROM node n \
         LEFT JOIN node_config c ON c.node = n.id \
         LEFT JOIN (SELECT r.node, MIN(r.role) AS role FROM node_role r GROUP BY r.node) f ON f.node = n.id \
         WHERE n.revoked_ms IS NULL ORDER BY n.name",
    )
    .fetch_all(tx.conn())
    .await?;
    let mut groups: BTreeMap<(Option<RoleName>, String, String, bool), FleetMapGroup> = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("node", row);
        let (role, state, config) = (r.maybe_parse("role")?, r.text("state")?, r.text("config")?);
        let observes = r.flag("observe")?;
        let name = r.parse("name")?;
        match groups.entry((role, state, config, observes)) {
            Entry::Occupied(mut group) => group.get_mut().nodes.push(name),
            Entry::Vacant(place) => {
                let (role, state, config, observes) = place.key();
                let group = FleetMapGroup {
                    role: role.clone(),
                    state: parse_state(state).ok_or_else(|| r.wrong("state", "is not a state of a node"))?,
                    config: config.parse().map_err(|_| r.wrong("config", "is not a state of a resource"))?,
                    observes: *observes,
                    nodes: vec![name],
                };
                place.insert(group);
            }
        }
    }
    Ok(groups.into_values().collect())
}
