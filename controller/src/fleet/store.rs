//! The tables of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lampas_api::{Node, NodeRefusal, NodeUpdate};
use lampas_runtime::clock;
use lampas_shared::{
    TextError,
    desired::ContentHash,
    event::EventKind,
    fleet::{Labels, NodeFacts, NodeName, RoleName},
    id::NodeId,
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use super::{FleetError, NewNode, list, role};
use crate::{
    audit::{Entry, Principal},
    compile::{NodeInput, StableFacts},
    db::{
        DbError, Tx,
        row::{Reader, insert_many, to_json},
    },
    event::NewEvent,
};

/// Adds a node. The caller draws its id and binds its certificate in the same transaction.
///
/// # Errors
/// When the name is taken.
pub async fn create(tx: &mut Tx, node: &NewNode) -> Result<(), FleetError> {
    if id_of(tx, &node.name).await?.is_some() {
        return Err(FleetError::NameTaken(node.name.clone()));
    }
    let done = sqlx::query(
        "INSERT INTO node (id, name, observed_address, state, enrolled_ms, os, agent_version, machine, revision) \
         VALUES (?, ?, ?, 'offline', ?, '', '', ?, 1)",
    )
    .bind(node.id.to_string())
    .bind(node.name.as_str())
    .bind(node.observed_address.clone())
    .bind(node.at.0)
    .bind(bounded(&node.machine, 128))
    .execute(tx.conn())
    .await
    .map_err(DbError::from);
    match done {
        Err(e) if e.is_duplicate() => return Err(FleetError::NameTaken(node.name.clone())),
        other => other?,
    };
    set_roles(tx, node.id, &node.roles).await?;
    set_labels(tx, node.id, &node.labels).await?;
    let event = NewEvent::new(EventKind::NodeEnrolled).node(node.id).with("name", &node.name);
    tx.event(event);
    Ok(())
}

/// Returns the id of the node with this name.
pub async fn id_of(tx: &mut Tx, name: &NodeName) -> Result<Option<NodeId>, DbError> {
    let row =
        sqlx::query("SELECT n.id FROM node n WHERE n.name = ?").bind(name.as_str()).fetch_optional(tx.conn()).await?;
    row.map(|r| Reader::new("node", &r).parse("id")).transpose()
}

/// Returns the node with this id or name.
pub async fn find(tx: &mut Tx, id_or_name: &str) -> Result<Node, FleetError> {
    let id = match NodeId::parse(id_or_name) {
        Ok(id) => Some(id),
        Err(_) => match NodeName::parse(id_or_name) {
            Ok(name) => id_of(tx, &name).await?,
            Err(_) => None,
        },
    };
    let node = match id {
        Some(id) => get(tx, id).await?,
        None => None,
    };
    node.ok_or_else(|| FleetError::NotFound(id_or_name.chars().take(100).collect()))
}

/// Returns a node with all that is known of it.
pub async fn get(tx: &mut Tx, id: NodeId) -> Result<Option<Node>, DbError> {
    let Some(row) = sqlx::query(
        "SELECT n.observed_address, n.enrolled_ms, n.revision, c.reported_epoch, c.reported_counter, c.phase, f.facts, \
         u.code, u.message, u.at_ms, \
         (SELECT MAX(x.not_after_ms) FROM certificate x WHERE x.node = n.id AND x.revoked_ms IS NULL) AS expires_ms \
         FROM node n LEFT JOIN node_config c ON c.node = n.id LEFT JOIN node_facts f ON f.node = n.id \
         LEFT JOIN node_refusal u ON u.node = n.id WHERE n.id = ?",
    )
    .bind(id.to_string())
    .fetch_optional(tx.conn())
    .await?
    else {
        return Ok(None);
    };
    let r = Reader::new("node", &row);
    let phase = r.maybe_text("phase")?.unwrap_or_default();
    let reported = list::generation(&r, "reported_epoch", "reported_counter")?;
    let observed_address = r.maybe_text("observed_address")?;
    let enrolled_at = r.time("enrolled_ms")?;
    let certificate_expires_at = r.maybe_time("expires_ms")?;
    let revision = r.count("revision")?;
    let refusal = match (r.maybe_text("code")?, r.maybe_text("message")?, r.maybe_time("at_ms")?) {
        (Some(code), Some(message), Some(since)) => {
            Some(NodeRefusal { remedy: list::remedy(&code).to_owned(), code, message, since })
        }
        _ => None,
    };
    let facts = r.maybe_json::<NodeFacts>("facts")?.unwrap_or_default();
    let Some(summary) = list::summaries(tx, &[id]).await?.pop() else { return Ok(None) };
    Ok(Some(Node {
        summary,
        facts,
        observed_address,
        enrolled_at,
        certificate_expires_at,
        is_confirmed: match phase.as_str() {
            "confirmed" => Some(true),
            "applied" => Some(false),
            _ => None,
        },
        quarantined: reported.filter(|_| phase == "quarantined"),
        refusal,
        revision,
    }))
}

/// Changes name, roles, labels or address. The caller compiles anew.
///
/// # Errors
/// When there is no such node, the name is taken, somebody was faster, or the address is none.
pub async fn update(
    tx: &mut Tx,
    id: NodeId,
    update: &NodeUpdate,
    expected: Option<u64>,
    by: &Principal,
) -> Result<(), FleetError> {
    let for_update = tx.dialect().for_update();
    let row =
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT n.name, n.revision FROM node n WHERE n.id = ?{for_update}")))
            .bind(id.to_string())
            .fetch_optional(tx.conn())
            .await
            .map_err(DbError::from)?
            .ok_or_else(|| FleetError::NotFound(id.to_string()))?;
    let r = Reader::new("node", &row);
    let name: NodeName = r.parse("name")?;
    let revision = r.count("revision")?;
    if let Some(expected) = expected.filter(|e| *e != revision) {
        return Err(FleetError::Conflict { name, expected, found: revision });
    }
    if let Some(new) = update.name.as_ref().filter(|n| **n != name) {
        if id_of(tx, new).await?.is_some() {
            return Err(FleetError::NameTaken(new.clone()));
        }
        sqlx::query("UPDATE node SET name = ? WHERE id = ?")
            .bind(new.as_str())
            .bind(id.to_string())
            .execute(tx.conn())
            .await
            .map_err(DbError::from)?;
    }
    if let Some(address) = &update.address {
        let address = parse_address(address)?;
        sqlx::query("UPDATE node SET address = ? WHERE id = ?")
            .bind(address.map(|a| a.to_string()))
            .bind(id.to_string())
            .execute(tx.conn())
            .await
            .map_err(DbError::from)?;
    }
    if let Some(roles) = &update.roles {
        set_roles(tx, id, roles).await?;
    }
    if let Some(labels) = &update.labels {
        set_labels(tx, id, labels).await?;
    }
    sqlx::query("UPDATE node SET revision = revision + 1 WHERE id = ?")
        .bind(id.to_string())
        .execute(tx.conn())
        .await
        .map_err(DbError::from)?;
    let shown = update.name.as_ref().unwrap_or(&name);
    tx.event(NewEvent::new(EventKind::NodeChanged).node(id).with("name", shown));
    tx.audit(Entry::done(by, "node.update", name.to_string()).with_details(update));
    Ok(())
}

/// Reads an address as an operator gives it; empty for none.
pub fn parse_address(text: &str) -> Result<Option<IpAddr>, TextError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |why: &str| TextError::new("address", text, why);
    let address: IpAddr = text.parse().map_err(|_| wrong("is not an IPv4 or IPv6 address"))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(wrong("is not the address of a host"));
    }
    Ok(Some(address))
}

/// Marks a node as revoked: its certificates end with it, and it can't come back without a new token. The caller closes
/// its connection after the commit.
pub async fn revoke(tx: &mut Tx, id: NodeId, by: &Principal, reason: &str) -> Result<NodeName, FleetError> {
    let name = name_of(tx, id).await?;
    let now = clock::now();
    sqlx::query("UPDATE node SET revoked_ms = ?, state = 'offline', revision = revision + 1 WHERE id = ? AND revoked_ms IS NULL")
        .bind(now.0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await
        .map_err(DbError::from)?;
    revoke_certificates(tx, id, now, reason).await?;
    tx.event(NewEvent::new(EventKind::NodeRevoked).node(id).with("name", &name).with("reason", reason));
    tx.audit(Entry::done(by, "node.revoke", name.to_string()).because(reason));
    Ok(name)
}

/// Takes a node out of the fleet: its rows go, its certificates are revoked, its history (audit, events, revisions of
/// its objects) stays. Objects with this node as their scope must be gone; the caller sees to that.
pub async fn remove(tx: &mut Tx, id: NodeId, by: &Principal, reason: &str) -> Result<NodeName, FleetError> {
    let name = name_of(tx, id).await?;
    revoke_certificates(tx, id, clock::now(), reason).await?;
    for statement in [
        "DELETE FROM node_facts WHERE node = ?",
        "DELETE FROM node_role WHERE node = ?",
        "DELETE FROM node_label WHERE node = ?",
        "DELETE FROM node_session WHERE node = ?",
        "DELETE FROM node_refusal WHERE node = ?",
        "DELETE FROM node_config WHERE node = ?",
        "DELETE FROM resource_state WHERE node = ?",
        "DELETE FROM drift WHERE node = ?",
        "DELETE FROM outbox_seen WHERE node = ?",
        "UPDATE change_node SET state = 'superseded' WHERE node = ? AND state IN ('waiting', 'applying')",
        "DELETE FROM node WHERE id = ?",
    ] {
        sqlx::query(statement).bind(id.to_string()).execute(tx.conn()).await.map_err(DbError::from)?;
    }
    tx.event(NewEvent::new(EventKind::NodeRemoved).node(id).with("name", &name).with("reason", reason));
    tx.audit(Entry::done(by, "node.remove", name.to_string()).because(reason));
    Ok(name)
}

/// Returns whether a node may not connect: it was revoked, or is not of this fleet.
pub async fn is_revoked(tx: &mut Tx, id: NodeId) -> Result<bool, DbError> {
    let row = sqlx::query("SELECT n.revoked_ms FROM node n WHERE n.id = ?")
        .bind(id.to_string())
        .fetch_optional(tx.conn())
        .await?;
    row.map_or(Ok(true), |r| Ok(Reader::new("node", &r).maybe_int("revoked_ms")?.is_some()))
}

/// Stores what a node says of itself.
pub async fn set_facts(tx: &mut Tx, id: NodeId, facts: &NodeFacts, at: UnixMs) -> Result<(), DbError> {
    let after = tx.dialect().on_conflict(&["node"], &["at_ms", "facts"]);
    insert_many(tx, "node_facts", &["node", "at_ms", "facts"], &after, &[()], |b, ()| {
        b.push_bind(id.to_string()).push_bind(at.0).push_bind(to_json(facts));
    })
    .await?;
    sqlx::query("UPDATE node SET os = ?, agent_version = ?, machine = ?, stable_facts = ? WHERE id = ?")
        .bind(bounded(&facts.os, 255))
        .bind(bounded(&facts.agent_version, 64))
        .bind(bounded(&facts.machine, 128))
        .bind(write_stable(&stable(facts)))
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns what of a node's facts may stand in texts.
pub fn stable(facts: &NodeFacts) -> StableFacts {
    let line = |text: &str, max: usize| bounded(&text.replace('\n', " "), max);
    // `Debian GNU/Linux 12 (bookworm)`
    let codename = facts.os.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or_default();
    StableFacts {
        hostname: line(&facts.hostname, 253),
        codename: line(codename, 64),
        architecture: line(&facts.architecture, 32),
    }
}

fn write_stable(facts: &StableFacts) -> String {
    format!("{}\n{}\n{}", facts.hostname, facts.codename, facts.architecture)
}

fn read_stable(text: &str) -> StableFacts {
    let mut lines = text.split('\n').map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    StableFacts { hostname: next(), codename: next(), architecture: next() }
}

/// Returns whether any object has a template with facts of nodes in it.
pub async fn uses_facts(tx: &mut Tx) -> Result<bool, DbError> {
    let found = sqlx::query(
        "SELECT o.id FROM object o WHERE o.body LIKE '%\"template\":true%' AND o.body LIKE '%fact.%' LIMIT 1",
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(found.is_some())
}

/// Returns what nodes last said of themselves: those of `ids` that are of this fleet and not revoked.
pub async fn said(tx: &mut Tx, ids: &[NodeId]) -> Result<BTreeMap<NodeId, Option<NodeFacts>>, DbError> {
    let mut found = BTreeMap::new();
    for chunk in crate::db::row::id_chunks(ids) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT n.id, f.facts FROM node n LEFT JOIN node_facts f ON f.node = n.id WHERE n.revoked_ms IS NULL AND n.id IN ",
        );
        crate::db::row::push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("node", row);
            found.insert(r.parse("id")?, r.maybe_json::<NodeFacts>("facts")?);
        }
    }
    Ok(found)
}

/// Stores whom nodes say that they trust.
pub async fn set_trust(tx: &mut Tx, trusts: &BTreeMap<NodeId, ContentHash>) -> Result<(), DbError> {
    let mut by_set: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for (node, trust) in trusts {
        by_set.entry(trust.to_string()).or_default().push(*node);
    }
    for (trust, nodes) in by_set {
        for chunk in crate::db::row::id_chunks(&nodes) {
            let mut query = QueryBuilder::<Any>::new("UPDATE node SET trust = ");
            query.push_bind(trust.clone()).push(" WHERE id IN ");
            crate::db::row::push_ids(&mut query, chunk);
            query.build().persistent(false).execute(tx.conn()).await?;
        }
    }
    Ok(())
}

/// Returns the nodes that could not connect if only the newest authority were trusted: those that have not said that they
/// trust this set, and those whose certificate another intermediate signed. Revoked ones don't count.
pub async fn behind(tx: &mut Tx, trust: ContentHash, issuer: &str) -> Result<Vec<NodeName>, DbError> {
    let rows = sqlx::query(
        "SELECT n.name FROM node n WHERE n.revoked_ms IS NULL AND (n.trust <> ? OR NOT EXISTS (SELECT 1 FROM certificate x \
         WHERE x.node = n.id AND x.revoked_ms IS NULL AND x.issuer = ?)) ORDER BY n.name",
    )
    .bind(trust.to_string())
    .bind(bounded(issuer, 255))
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| Reader::new("node", row).parse("name")).collect()
}

/// Stores the hash of a node's machine-id.
pub async fn set_machine(tx: &mut Tx, id: NodeId, machine: &str) -> Result<(), DbError> {
    sqlx::query("UPDATE node SET machine = ? WHERE id = ?")
        .bind(bounded(machine, 128))
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Notes in the audit that a node renewed its certificate.
pub fn note_renewal(tx: &mut Tx, name: &NodeName, from: &str, serial: &str) {
    let by = Principal::new(format!("node:{name}"), from);
    tx.audit(
        Entry::done(&by, "certificate.renew", name.to_string()).with_details(&BTreeMap::from([("serial", serial)])),
    );
}

/// Returns the names of nodes by id: of all of them when `ids` is `None`.
pub async fn names(tx: &mut Tx, ids: Option<&[NodeId]>) -> Result<BTreeMap<NodeId, NodeName>, DbError> {
    let mut found = BTreeMap::new();
    let mut take = |rows: Vec<sqlx::any::AnyRow>| -> Result<(), DbError> {
        for row in &rows {
            let r = Reader::new("node", row);
            found.insert(r.parse("id")?, r.parse("name")?);
        }
        Ok(())
    };
    match ids {
        None => take(sqlx::query("SELECT n.id, n.name FROM node n").fetch_all(tx.conn()).await?)?,
        Some(ids) => {
            for chunk in crate::db::row::id_chunks(ids) {
                let mut query = QueryBuilder::<Any>::new("SELECT n.id, n.name FROM node n WHERE n.id IN ");
                crate::db::row::push_ids(&mut query, chunk);
                take(query.build().persistent(false).fetch_all(tx.conn()).await?)?;
            }
        }
    }
    Ok(found)
}

/// Returns how many nodes there are.
pub async fn size(tx: &mut Tx) -> Result<usize, DbError> {
    let row = sqlx::query("SELECT COUNT(*) AS nodes FROM node n").fetch_one(tx.conn()).await?;
    Ok(Reader::new("node", &row).count("nodes")? as usize)
}

/// Returns the nodes as the compiler wants them: all that are not revoked.
pub async fn members(tx: &mut Tx) -> Result<Vec<NodeInput>, DbError> {
    inputs(tx, "SELECT n.id, n.name, n.address, n.stable_facts FROM node n WHERE n.revoked_ms IS NULL ORDER BY n.id")
        .await
}

/// Returns the nodes that are revoked and still named in generated lines (see [`stay_named`]).
pub async fn still_named(tx: &mut Tx) -> Result<Vec<NodeInput>, DbError> {
    inputs(
        tx,
        "SELECT n.id, n.name, n.address, n.stable_facts FROM node n WHERE n.revoked_ms IS NOT NULL AND n.stays_named <> 0 \
         ORDER BY n.id",
    )
    .await
}

/// Notes of a node that was just revoked whether lines that are generated from nodes go on naming it.
pub async fn stay_named(tx: &mut Tx, id: NodeId, stays: bool) -> Result<(), DbError> {
    sqlx::query("UPDATE node SET stays_named = ? WHERE id = ?")
        .bind(i64::from(stays))
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

async fn inputs(tx: &mut Tx, select: &'static str) -> Result<Vec<NodeInput>, DbError> {
    let rows = sqlx::query(select).fetch_all(tx.conn()).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut nodes = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("node", row);
        let id: NodeId = r.parse("id")?;
        let address = r.maybe_parse("address")?;
        nodes.insert(
            id,
            NodeInput {
                id,
                name: r.parse("name")?,
                roles: BTreeSet::new(),
                labels: Labels::new(),
                address,
                facts: read_stable(&r.text("stable_facts")?),
            },
        );
    }
    for row in &sqlx::query("SELECT r.node, r.role FROM node_role r").fetch_all(tx.conn()).await? {
        let r = Reader::new("node_role", row);
        if let Some(node) = nodes.get_mut(&r.parse("node")?) {
            node.roles.insert(r.parse("role")?);
        }
    }
    for row in &sqlx::query("SELECT l.node, l.name, l.value FROM node_label l").fetch_all(tx.conn()).await? {
        let r = Reader::new("node_label", row);
        if let Some(node) = nodes.get_mut(&r.parse("node")?) {
            node.labels.insert(r.parse("name")?, r.parse("value")?);
        }
    }
    Ok(nodes.into_values().collect())
}

/// As much of a node's facts as a plan of cron jobs asks for: thousands are read for it.
#[derive(Default, serde::Deserialize)]
struct ZoneOnly {
    #[serde(default)]
    time_zone: String,
}

/// Returns the time zones of all nodes that said what they are.
pub async fn time_zones(tx: &mut Tx) -> Result<BTreeMap<NodeId, String>, DbError> {
    let rows = sqlx::query("SELECT f.node, f.facts FROM node_facts f").fetch_all(tx.conn()).await?;
    let zone = |row| {
        let r = Reader::new("node_facts", row);
        let facts = r.maybe_json::<ZoneOnly>("facts")?.unwrap_or_default();
        Ok((r.parse("node")?, facts.time_zone))
    };
    rows.iter().map(zone).collect()
}

async fn name_of(tx: &mut Tx, id: NodeId) -> Result<NodeName, FleetError> {
    let row =
        sqlx::query("SELECT n.name FROM node n WHERE n.id = ?").bind(id.to_string()).fetch_optional(tx.conn()).await;
    let row = row.map_err(DbError::from)?.ok_or_else(|| FleetError::NotFound(id.to_string()))?;
    Ok(Reader::new("node", &row).parse("name")?)
}

async fn revoke_certificates(tx: &mut Tx, id: NodeId, now: UnixMs, reason: &str) -> Result<(), DbError> {
    sqlx::query("UPDATE certificate SET revoked_ms = ?, reason = ? WHERE node = ? AND revoked_ms IS NULL")
        .bind(now.0)
        .bind(bounded(reason, 255))
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

async fn set_roles(tx: &mut Tx, id: NodeId, roles: &[RoleName]) -> Result<(), DbError> {
    sqlx::query("DELETE FROM node_role WHERE node = ?").bind(id.to_string()).execute(tx.conn()).await?;
    let roles: Vec<_> = roles.iter().collect::<BTreeSet<_>>().into_iter().collect();
    for role in &roles {
        role::ensure(tx, role).await?;
    }
    insert_many(tx, "node_role", &["node", "role"], "", &roles, |b, role| {
        b.push_bind(id.to_string()).push_bind(role.as_str().to_owned());
    })
    .await
}

async fn set_labels(tx: &mut Tx, id: NodeId, labels: &Labels) -> Result<(), DbError> {
    sqlx::query("DELETE FROM node_label WHERE node = ?").bind(id.to_string()).execute(tx.conn()).await?;
    let labels: Vec<_> = labels.iter().collect();
    insert_many(tx, "node_label", &["node", "name", "value"], "", &labels, |b, (name, value)| {
        b.push_bind(id.to_string()).push_bind(name.as_str().to_owned()).push_bind(value.as_str().to_owned());
    })
    .await
}

/// Cuts a text to what its column holds.
pub(crate) fn bounded(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}
