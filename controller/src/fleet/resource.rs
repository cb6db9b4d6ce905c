//! The states of a node's resources, as it last reported them.

use std::collections::BTreeMap;

use lampas_shared::{
    error::Fault,
    id::NodeId,
    object::Target,
    report::{ResourceReport, ResourceState},
    time::UnixMs,
};

use crate::{
    change,
    db::{DbError, Tx, row::Reader},
};

/// One resource as its node reported it.
#[derive(Debug, Clone)]
pub struct ResourceRow {
    /// Its state.
    pub state: ResourceState,
    /// Why it is not converged.
    pub fault: Option<Fault>,
    /// What the operator should know although it is in force.
    pub notes: Vec<String>,
    /// When its state last changed.
    pub since: UnixMs,
}

/// The states of a node's resources.
#[derive(Debug, Clone, Default)]
pub struct ResourceStates {
    told: BTreeMap<Target, ResourceRow>,
    /// When the node told them all.
    told_at: UnixMs,
    is_received: bool,
}

impl ResourceStates {
    /// Returns what the node said of a resource; `None` when it never spoke of it.
    pub fn get(&self, target: &Target) -> Option<&ResourceRow> {
        self.told.get(target)
    }

    /// Returns the state of a resource that was last changed at this time. What was changed since the node told its
    /// states is not in force, whatever it said of the revision before.
    pub fn state(&self, target: &Target, changed_at: UnixMs) -> ResourceState {
        match self.told.get(target) {
            Some(row) if row.state != ResourceState::Converged || changed_at <= self.told_at => row.state,
            _ if self.is_received => ResourceState::Applying,
            _ => ResourceState::Waiting,
        }
    }
}

/// Returns the states of a node's resources: all that it last reported.
pub async fn resource_states(tx: &mut Tx, node: NodeId) -> Result<ResourceStates, DbError> {
    let mut states = BTreeMap::new();
    let (mut told_at, mut is_received) = (UnixMs::default(), false);
    let row = sqlx::query("SELECT c.resources, c.reported_ms, c.phase FROM node_config c WHERE c.node = ?")
        .bind(node.to_string())
        .fetch_optional(tx.conn())
        .await?;
    if let Some(row) = row {
        let r = Reader::new("node_config", &row);
        let since = r.maybe_time("reported_ms")?.unwrap_or_default();
        (told_at, is_received) = (since, r.text("phase")? == "received");
        let all = change::told(&r.text("resources")?);
        let row = |told: change::Told| ResourceRow {
            state: told.state(),
            fault: None,
            notes: Vec::new(),
            since: told.since().unwrap_or(since),
        };
        states.extend(all.into_iter().map(|(target, told)| (target, row(told))));
    }
    // A drift that ended since then ended a state too.
    let ended = sqlx::query(
        "SELECT d.target_key, MAX(d.ended_ms) AS last_ms FROM drift d WHERE d.node = ? AND d.ended_ms IS NOT NULL \
         GROUP BY d.target_key",
    )
    .bind(node.to_string())
    .fetch_all(tx.conn())
    .await?;
    let ended = ended.iter().map(|row| {
        let r = Reader::new("drift", row);
        Ok::<_, DbError>((r.text("target_key")?, r.time("last_ms")?))
    });
    let ended: BTreeMap<String, UnixMs> = ended.collect::<Result<_, _>>()?;
    if !ended.is_empty() {
        for (target, row) in &mut states {
            if let Some(last) = ended.get(&change::target_key(target)) {
                row.since = row.since.max(*last);
            }
        }
    }
    // What is not quietly in force says more, in a row of its own.
    let rows = sqlx::query("SELECT s.report, s.at_ms FROM resource_state s WHERE s.node = ?")
        .bind(node.to_string())
        .fetch_all(tx.conn())
        .await?;
    for row in &rows {
        let r = Reader::new("resource_state", row);
        let report: ResourceReport = r.json("report")?;
        let quiet = states.get(&report.target).filter(|q| q.state == report.state);
        let since = match quiet.filter(|q| q.state == ResourceState::Converged) {
            // In force with a note: since when it is in force, not since when the note is there.
            Some(quiet) => quiet.since,
            None => r.time("at_ms")?,
        };
        let row = ResourceRow { state: report.state, fault: report.fault, notes: report.notes, since };
        states.insert(report.target, row);
    }
    Ok(ResourceStates { told: states, told_at, is_received })
}
