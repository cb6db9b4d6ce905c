//! What the nodes' own policies allow, beside each other.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use lampas_api::{NodeRef, PolicyOfNode};
use lampas_shared::{
    access::Permission,
    fleet::{NodeFacts, NodePolicy, NodeState},
    id::NodeId,
};

use crate::{
    access::Reach,
    api::{App, guard::Caller, problem::Answer},
    db::{DbError, Tx, row::Reader},
};

pub(super) async fn policies(State(app): State<App>, caller: Caller) -> Answer<axum::Json<Vec<PolicyOfNode>>> {
    let rows = app
        .db
        .read(|mut tx: Tx| async move {
            let rows = stored(&mut tx).await?;
            Ok::<_, DbError>(tx.done(rows))
        })
        .await?;
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let states = app.gate.states();
    let usual = usual(rows.iter().filter_map(|(_, _, policy)| policy.as_ref()));
    let line = |(id, name, policy): (NodeId, String, Option<NodePolicy>)| PolicyOfNode {
        node: NodeRef { id, name },
        state: states.get(&id).copied().unwrap_or(NodeState::Offline),
        differs: policy.as_ref().map(essence) != usual,
        policy,
    };
    Ok(axum::Json(rows.into_iter().filter(|(id, ..)| reach.has_node(*id)).map(line).collect()))
}

/// What counts when two policies are compared: what they allow, not why one can't be followed.
fn essence(policy: &NodePolicy) -> NodePolicy {
    let malformed = if policy.malformed.is_empty() { String::new() } else { "malformed".to_owned() };
    NodePolicy { malformed, has_file: false, ..policy.clone() }
}

/// Returns what most nodes say.
fn usual<'a>(policies: impl Iterator<Item = &'a NodePolicy>) -> Option<NodePolicy> {
    let mut counts: BTreeMap<String, (usize, NodePolicy)> = BTreeMap::new();
    for policy in policies.map(essence) {
        counts.entry(crate::db::row::to_json(&policy)).or_insert((0, policy)).0 += 1;
    }
    counts.into_values().max_by_key(|(count, _)| *count).map(|(_, policy)| policy)
}

async fn stored(tx: &mut Tx) -> Result<Vec<(NodeId, String, Option<NodePolicy>)>, DbError> {
    let rows = sqlx::query(
        "SELECT n.id, n.name, f.facts FROM node n LEFT JOIN node_facts f ON f.node = n.id \
         WHERE n.revoked_ms IS NULL ORDER BY n.name",
    )
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("node", row);
            let facts = r.maybe_json::<NodeFacts>("facts")?;
            Ok((r.parse("id")?, r.text("name")?, facts.and_then(|f| f.policy)))
        })
        .collect()
}

/// Returns the nodes whose policy wants an operator's signature for root code, as far as they told.
pub(crate) async fn wanting(tx: &mut Tx) -> Result<BTreeSet<NodeId>, DbError> {
    // A first sieve, so that not the facts of every node are read.
    let rows = sqlx::query(
        "SELECT n.id, f.facts FROM node n JOIN node_facts f ON f.node = n.id \
         WHERE n.revoked_ms IS NULL AND f.facts LIKE '%\"require_signature\":true%'",
    )
    .fetch_all(tx.conn())
    .await?;
    let mut found = BTreeSet::new();
    for row in &rows {
        let r = Reader::new("node", row);
        let policy = r.maybe_json::<NodeFacts>("facts")?.and_then(|f| f.policy);
        if policy.is_some_and(|p| p.require_signature && p.root_code && p.malformed.is_empty()) {
            found.insert(r.parse("id")?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_say_is_usual() {
        let open = NodePolicy { root_code: true, ..NodePolicy::default() };
        let by_file = NodePolicy { has_file: true, ..open.clone() };
        let closed = NodePolicy { has_file: true, ..NodePolicy::default() };
        assert_eq!(usual([&open, &closed, &by_file].into_iter()), Some(open));
        assert_eq!(usual(std::iter::empty()), None);
    }
}
