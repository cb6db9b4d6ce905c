//! Who belongs to the fleet, who is connected to which controller, and what is recorded of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lampas_runtime::clock;
use lampas_shared::{
    event::EventKind,
    fleet::NodeFacts,
    id::{ControllerId, NodeId},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use crate::{
    change::{
        holder::{Holder, holders},
        refusal,
    },
    compile::StableFacts,
    db::{
        DbError, Tx,
        row::{Reader, id_chunks, insert_many, push_ids},
    },
    event::NewEvent,
    fleet,
    link::{Member, Presence, Recorded},
};

/// Up to this many connections of a batch get an event each; more are told together.
const SINGLE_EVENTS: usize = 20;

/// How many nodes one statement gives an address each: the store goes through the list for each of them.
const SAME_TIME: usize = 200;

/// A controller that said nothing for so long is not alive: it says something every ten seconds.
const CONTROLLER_SILENT_MS: i64 = 35_000;

pub(super) async fn members(
    tx: &mut Tx,
    controller: ControllerId,
    asked: &[(NodeId, String)],
) -> Result<BTreeMap<(NodeId, String), Member>, DbError> {
    let alive = clock::now().plus_ms(-CONTROLLER_SILENT_MS);
    let (mut nodes, mut revoked) = (BTreeMap::new(), BTreeSet::new());
    for chunk in id_chunks(asked) {
        let ids: Vec<NodeId> = chunk.iter().map(|(node, _)| *node).collect();
        let mut query = QueryBuilder::<Any>::new(
            "SELECT n.id, n.name, n.machine, n.revoked_ms, n.trust, n.observe, s.controller, o.seen_ms FROM node n \
             LEFT JOIN node_session s ON s.node = n.id AND s.closed_ms IS NULL \
             LEFT JOIN controller o ON o.id = s.controller WHERE n.id IN ",
        );
        push_ids(&mut query, &ids);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("node", row);
            let is_revoked = r.maybe_int("revoked_ms")?.is_some();
            let holder: Option<ControllerId> = r.maybe_parse("controller")?;
            let is_elsewhere =
                holder.is_some_and(|h| h != controller) && r.maybe_time("seen_ms")?.is_some_and(|seen| seen > alive);
            let member = Member {
                name: r.parse("name")?,
                is_revoked,
                machine: r.text("machine")?,
                is_elsewhere,
                observes: r.count("observe")? != 0,
                trust: r.text("trust")?,
            };
            nodes.insert(r.parse::<NodeId>("id")?, member);
        }
        let serials: Vec<&String> = chunk.iter().map(|(_, serial)| serial).collect();
        let mut query = QueryBuilder::<Any>::new(
            "SELECT c.node, c.serial FROM certificate c WHERE c.revoked_ms IS NOT NULL AND c.serial IN ",
        );
        push_ids(&mut query, &serials);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("certificate", row);
            revoked.insert((r.parse::<NodeId>("node")?, r.text("serial")?));
        }
    }
    // A certificate without a row was renewed after the backup that this store was restored from: the handshake has
    // verified that the fleet's signer issued it, and the node is still a member.
    let member = |key: &(NodeId, String)| {
        let mut member = nodes.get(&key.0)?.clone();
        member.is_revoked |= revoked.contains(key);
        Some((key.clone(), member))
    };
    Ok(asked.iter().filter_map(member).collect())
}

/// Records presence. What happened to one node stays in its order: the first of each node is recorded, then the second.
pub(super) async fn record(
    tx: &mut Tx,
    controller: ControllerId,
    presence: &[Presence],
) -> Result<(Vec<Recorded>, BTreeMap<NodeId, StableFacts>), DbError> {
    let single = presence.len() <= SINGLE_EVENTS;
    let mut count: HashMap<NodeId, usize> = HashMap::new();
    let mut rounds: Vec<Vec<&Presence>> = Vec::new();
    let (mut trusts, mut declined) = (BTreeMap::new(), BTreeMap::new());
    let mut modes = BTreeMap::new();
    let (mut facts_of, mut heads) = (BTreeMap::new(), Vec::new());
    for one in presence {
        let round = match one {
            Presence::Connected { node, .. } | Presence::Disconnected { node, .. } | Presence::Heard { node, .. } => {
                let count = count.entry(*node).or_default();
                *count += 1;
                *count - 1
            }
            Presence::Mode { node, observes } => {
                modes.insert(*node, *observes);
                continue;
            }
            Presence::Trusts { node, trust } => {
                trusts.insert(*node, *trust);
                continue;
            }
            Presence::Facts { node, facts, at } => {
                facts_of.insert(*node, (facts, *at));
                continue;
            }
            Presence::Countersigned { node, signed, key, at } => {
                heads.push(crate::audit::Countersignature::new(*node, signed, key, *at));
                continue;
            }
            Presence::Declined { node, fault, at } => {
                declined.insert(*node, (fault, *at));
                continue;
            }
            Presence::Refused { node, address, reason, .. } => {
                let event = NewEvent::new(EventKind::NodeRefused).with("address", address).with("reason", reason);
                tx.event(match node {
                    Some(node) => event.node(*node),
                    None => event,
                });
                continue;
            }
        };
        if rounds.len() == round {
            rounds.push(Vec::new());
        }
        rounds[round].push(one);
    }
    let (mut came, mut went, mut recorded, mut moved) = (0, 0, Vec::new(), BTreeMap::new());
    for round in rounds {
        came += connected(tx, controller, &round, single, &mut recorded, &mut moved).await?;
        went += disconnected(tx, controller, &round, single).await?;
        heard(tx, controller, &round, single).await?;
    }
    if !single && came > 0 {
        tx.event(NewEvent::new(EventKind::NodeConnected).with("nodes", came));
    }
    if !single && went > 0 {
        tx.event(NewEvent::new(EventKind::NodeDisconnected).with("nodes", went));
    }
    let before = fleet::said(tx, &facts_of.keys().copied().collect::<Vec<_>>()).await?;
    for (node, (facts, at)) in facts_of {
        fleet::set_facts(tx, node, facts, at).await?;
        note(&mut moved, node, before.get(&node).and_then(Option::as_ref), facts);
        tx.event(NewEvent::new(EventKind::NodeChanged).node(node).with("facts", "changed"));
    }
    crate::audit::keep_countersignatures(tx, &heads).await?;
    fleet::set_trust(tx, &trusts).await?;
    crate::takeover::said(tx, &modes).await?;
    refusal::record(tx, &declined).await?;
    Ok((recorded, moved))
}

/// Notes what a node says otherwise than before, as far as it may stand in texts.
fn note(moved: &mut BTreeMap<NodeId, StableFacts>, node: NodeId, before: Option<&NodeFacts>, facts: &NodeFacts) {
    let stable = fleet::stable(facts);
    if before.map(fleet::stable).unwrap_or_default() != stable {
        moved.insert(node, stable);
    }
}

struct Came<'a> {
    node: NodeId,
    connection: u64,
    address: String,
    facts: &'a NodeFacts,
    at: UnixMs,
}

async fn connected(
    tx: &mut Tx,
    controller: ControllerId,
    presence: &[&Presence],
    single: bool,
    recorded: &mut Vec<Recorded>,
    moved: &mut BTreeMap<NodeId, StableFacts>,
) -> Result<usize, DbError> {
    let came = presence.iter().filter_map(|p| match p {
        Presence::Connected { node, connection, address, facts, at } => {
            Some(Came { node: *node, connection: *connection, address: fleet::bounded(address, 64), facts, at: *at })
        }
        _ => None,
    });
    let mut came: Vec<Came<'_>> = came.collect();
    let ids: Vec<NodeId> = came.iter().map(|c| c.node).collect();
    let known = fleet::said(tx, &ids).await?;
    came.retain(|c| known.contains_key(&c.node));
    for chunk in came.chunks(SAME_TIME) {
        let Some(at) = chunk.iter().map(|c| c.at.0).max() else { continue };
        let mut query = QueryBuilder::<Any>::new("UPDATE node SET state = 'online', seen_ms = ");
        query.push_bind(at).push(", observed_address = CASE id");
        for one in chunk {
            query.push(" WHEN ").push_bind(one.node.to_string()).push(" THEN ").push_bind(one.address.clone());
        }
        query.push(" ELSE observed_address END WHERE id IN ");
        push_ids(&mut query, &chunk.iter().map(|c| c.node).collect::<Vec<_>>());
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    let after = tx.dialect().on_conflict(&["node"], &["controller", "address", "opened_ms", "reason"]);
    let columns = ["node", "controller", "epoch", "address", "opened_ms", "reason"];
    insert_many(tx, "node_session", &columns, &after, &came, |b, one| {
        b.push_bind(one.node.to_string())
            .push_bind(controller.to_string())
            .push_bind(0_i64)
            .push_bind(one.address.clone())
            .push_bind(one.at.0)
            .push_bind("");
    })
    .await?;
    let ids: Vec<NodeId> = came.iter().map(|c| c.node).collect();
    for chunk in id_chunks(&ids) {
        let mut query =
            QueryBuilder::<Any>::new("UPDATE node_session SET epoch = epoch + 1, closed_ms = NULL WHERE node IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    let held = holders(tx, &ids).await?;
    for one in &came {
        if let Some(holder) = held.get(&one.node) {
            recorded.push(Recorded { node: one.node, connection: one.connection, session: holder.epoch });
        }
        // Most nodes say the same each time.
        if known[&one.node].as_ref() != Some(one.facts) {
            fleet::set_facts(tx, one.node, one.facts, one.at).await?;
            note(moved, one.node, known[&one.node].as_ref(), one.facts);
        }
        if single {
            tx.event(NewEvent::new(EventKind::NodeConnected).node(one.node).with("address", &one.address));
        }
    }
    Ok(came.len())
}

async fn disconnected(
    tx: &mut Tx,
    controller: ControllerId,
    presence: &[&Presence],
    single: bool,
) -> Result<usize, DbError> {
    let mut by_reason: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    let (mut went, mut latest) = (Vec::new(), 0);
    let named =
        presence.iter().filter_map(|p| if let Presence::Disconnected { node, .. } = p { Some(*node) } else { None });
    let held = holders(tx, &named.collect::<Vec<_>>()).await?;
    for one in presence {
        // The end of a session that a later one replaced says nothing of the node.
        if let Presence::Disconnected { node, session, reason, at } = one
            && is_held(held.get(node), controller, *session)
        {
            by_reason.entry(fleet::bounded(reason, 255)).or_default().push(*node);
            went.push(*node);
            latest = latest.max(at.0);
            if single {
                tx.event(NewEvent::new(EventKind::NodeDisconnected).node(*node).with("reason", reason));
            }
        }
    }
    for chunk in id_chunks(&went) {
        let mut query = QueryBuilder::<Any>::new("UPDATE node SET state = 'offline', seen_ms = ");
        query.push_bind(latest).push(" WHERE id IN ");
        push_ids(&mut query, chunk);
        query.build().persistent(false).execute(tx.conn()).await?;
    }
    for (reason, nodes) in &by_reason {
        for chunk in id_chunks(nodes) {
            let mut query = QueryBuilder::<Any>::new("UPDATE node_session SET closed_ms = ");
            query.push_bind(latest).push(", reason = ").push_bind(reason.clone());
            query.push(" WHERE controller = ").push_bind(controller.to_string()).push(" AND node IN ");
            push_ids(&mut query, chunk);
            query.build().persistent(false).execute(tx.conn()).await?;
        }
    }
    Ok(went.len())
}

/// Whether a session is its node's newest. One that ended before it was recorded is known by its controller alone.
fn is_held(holder: Option<&Holder>, controller: ControllerId, session: Option<u64>) -> bool {
    holder.is_some_and(|h| h.controller == controller && session.is_none_or(|s| s == h.epoch))
}

async fn heard(tx: &mut Tx, controller: ControllerId, presence: &[&Presence], single: bool) -> Result<(), DbError> {
    let named = presence.iter().filter_map(|p| if let Presence::Heard { node, .. } = p { Some(*node) } else { None });
    let held = holders(tx, &named.collect::<Vec<_>>()).await?;
    for (wanted, state, word) in [(true, "stale", "silent"), (false, "online", "heard again")] {
        let (mut nodes, mut latest) = (Vec::new(), 0);
        for one in presence {
            if let Presence::Heard { node, session, is_stale, at } = one
                && *is_stale == wanted
                && is_held(held.get(node), controller, Some(*session))
            {
                nodes.push(*node);
                latest = latest.max(at.0);
                if single {
                    tx.event(NewEvent::new(EventKind::NodeChanged).node(*node).with("heard", word));
                }
            }
        }
        for chunk in id_chunks(&nodes) {
            let mut query = QueryBuilder::<Any>::new("UPDATE node SET state = ");
            query.push_bind(state).push(", seen_ms = ").push_bind(latest);
            query.push(" WHERE state <> 'offline' AND id IN ");
            push_ids(&mut query, chunk);
            query.build().persistent(false).execute(tx.conn()).await?;
        }
    }
    Ok(())
}
