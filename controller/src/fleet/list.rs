//! The list of nodes: searched, filtered and paged by the store.

use std::collections::BTreeMap;

use lampas_api::{NodeSummary, Page};
use lampas_runtime::clock;
use lampas_shared::{
    desired::Generation,
    fleet::{Labels, NodeFacts, NodePause, NodeState, RoleName, Selector},
    id::NodeId,
    report::ResourceState,
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder, any::AnyRow};

use crate::db::{
    DbError, Tx,
    row::{Reader, id_chunks, push_ids},
};

const FROM: &str = " FROM node n LEFT JOIN node_config c ON c.node = n.id LEFT JOIN node_refusal u ON u.node = n.id \
                    WHERE 1 = 1";
const COLUMNS: &str = "n.id, n.observe, n.ejected_ms, n.name, n.address, n.state, n.seen_ms, n.revoked_ms, c.epoch, c.counter, c.reported_epoch, \
                       c.reported_counter, c.phase, c.state AS config, c.converged, c.total, u.code AS refusal";

/// Whose facts may say that the node is paused or its generation undone: a first sieve, so that not the facts of every node
/// are read.
const HALTED: &str = "f.facts LIKE '%\"pause\":{%' OR f.facts LIKE '%\"undone_since\":%'";

/// Which nodes are wanted.
#[derive(Debug, Clone, Default)]
pub struct NodeFilter {
    /// Part of the name, or an address.
    pub search: Option<String>,
    /// With this role.
    pub role: Option<RoleName>,
    /// With these labels.
    pub labels: Option<Selector>,
    /// Heard or not.
    pub state: Option<NodeState>,
    /// With this worst state of their resources.
    pub config: Option<ResourceState>,
    /// In this phase of their generation.
    pub phase: Option<&'static str>,
    /// Only those that don't take the state that they shall have.
    pub is_refusing: bool,
    /// Only those on which somebody said that nothing is to be written, or that the generation is undone.
    pub is_halted: bool,
    /// Whether revoked ones are listed too.
    pub with_revoked: bool,
}

impl NodeFilter {
    fn push(&self, query: &mut QueryBuilder<Any>) {
        if !self.with_revoked {
            query.push(" AND n.revoked_ms IS NULL");
        }
        if let Some(search) = self.search.as_deref().map(str::trim).filter(|s| !s.is_empty()) {
            // '!' escapes, since a backslash is one character in SQLite and an escape in MySQL's literals.
            let escaped: String = search.chars().take(200).flat_map(escape).collect();
            let pattern = format!("%{}%", escaped.to_lowercase());
            query.push(" AND (n.name LIKE ").push_bind(pattern.clone()).push(" ESCAPE '!' OR n.address LIKE ");
            query.push_bind(pattern.clone()).push(" ESCAPE '!' OR n.observed_address LIKE ");
            query.push_bind(pattern).push(" ESCAPE '!')");
        }
        if let Some(role) = &self.role {
            query.push(" AND EXISTS (SELECT 1 FROM node_role r WHERE r.node = n.id AND r.role = ");
            query.push_bind(role.as_str().to_owned()).push(")");
        }
        if let Some(selector) = &self.labels {
            for term in selector.to_string().split(',') {
                let (name, value) = term.split_once('=').expect("a selector's terms are key=value");
                query.push(" AND EXISTS (SELECT 1 FROM node_label l WHERE l.node = n.id AND l.name = ");
                query.push_bind(name.to_owned()).push(" AND l.value = ").push_bind(value.to_owned()).push(")");
            }
        }
        if let Some(state) = self.state {
            query.push(" AND n.state = ").push_bind(state_word(state));
        }
        if let Some(phase) = self.phase {
            query.push(" AND c.phase = ").push_bind(phase);
        }
        if self.is_refusing {
            query.push(" AND u.node IS NOT NULL");
        }
        if self.is_halted {
            query.push(" AND EXISTS (SELECT 1 FROM node_facts f WHERE f.node = n.id AND (");
            query.push(HALTED).push("))");
        }
        if let Some(config) = self.config {
            query.push(" AND COALESCE(c.state, 'waiting') = ").push_bind(config.as_str());
        }
    }
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let first = matches!(c, '%' | '_' | '!').then_some('!');
    first.into_iter().chain([c])
}

/// Returns a page of nodes by name, with the number of all that match.
pub async fn list(
    tx: &mut Tx,
    filter: &NodeFilter,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<NodeSummary>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT COUNT(*) AS total{FROM}"));
    filter.push(&mut query);
    let row = query.build().fetch_one(tx.conn()).await?;
    let total = Reader::new("node", &row).count("total")?;

    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS}{FROM}"));
    filter.push(&mut query);
    if let Some(after) = after {
        query.push(" AND n.name > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY n.name LIMIT ").push_bind(i64::from(limit) + 1);
    let mut rows = query.build().fetch_all(tx.conn()).await?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let items = complete(tx, &rows).await?;
    let next = items.last().filter(|_| has_more).map(|n| n.name.to_string());
    Ok(Page { items, next, total: Some(total) })
}

/// Returns the rows of these nodes, in the order of their names.
pub(super) async fn summaries(tx: &mut Tx, ids: &[NodeId]) -> Result<Vec<NodeSummary>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS}{FROM} AND n.id IN "));
    push_ids(&mut query, ids);
    query.push(" ORDER BY n.name");
    let rows = query.build().persistent(false).fetch_all(tx.conn()).await?;
    complete(tx, &rows).await
}

/// Adds roles, labels and what was said on the nodes themselves, each with one statement for the whole page.
async fn complete(tx: &mut Tx, rows: &[AnyRow]) -> Result<Vec<NodeSummary>, DbError> {
    let ids: Vec<String> = rows.iter().map(|r| Reader::new("node", r).text("id")).collect::<Result<_, _>>()?;
    let mut roles: BTreeMap<String, Vec<RoleName>> = BTreeMap::new();
    let mut labels: BTreeMap<String, Labels> = BTreeMap::new();
    let mut halts: BTreeMap<String, Halts> = BTreeMap::new();
    let now = clock::now();
    for chunk in id_chunks(&ids) {
        let mut query = QueryBuilder::<Any>::new("SELECT r.node, r.role FROM node_role r WHERE r.node IN ");
        push_ids(&mut query, chunk);
        query.push(" ORDER BY r.role");
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("node_role", row);
            roles.entry(r.text("node")?).or_default().push(r.parse("role")?);
        }
        let mut query = QueryBuilder::<Any>::new("SELECT l.node, l.name, l.value FROM node_label l WHERE l.node IN ");
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("node_label", row);
            labels.entry(r.text("node")?).or_default().insert(r.parse("name")?, r.parse("value")?);
        }
        let mut query = QueryBuilder::<Any>::new(format!(
            "SELECT f.node, f.facts FROM node_facts f WHERE ({HALTED}) AND f.node IN "
        ));
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("node_facts", row);
            let facts = r.maybe_json::<NodeFacts>("facts")?.unwrap_or_default();
            // A node that can't be heard says nothing when its pause ends.
            let pause = facts.pause.filter(|p| p.until.is_none_or(|until| now < until));
            halts.insert(r.text("node")?, Halts { pause, undone_since: facts.undone_since });
        }
    }
    let one = |(row, id): (_, String)| {
        let halts = halts.remove(&id).unwrap_or_default();
        summary(row, roles.remove(&id), labels.remove(&id), halts)
    };
    rows.iter().zip(ids).map(one).collect()
}

/// What somebody said on a node itself.
#[derive(Debug, Default)]
struct Halts {
    pause: Option<NodePause>,
    undone_since: Option<UnixMs>,
}

impl Halts {
    /// One phrase for it; empty when nothing was said.
    fn phrase(&self) -> &'static str {
        match (self.undone_since, &self.pause) {
            (Some(_), _) => "undone on the node",
            (None, Some(_)) => "paused on the node",
            (None, None) => "",
        }
    }
}

fn summary(
    row: &AnyRow,
    roles: Option<Vec<RoleName>>,
    labels: Option<Labels>,
    halts: Halts,
) -> Result<NodeSummary, DbError> {
    let r = Reader::new("node", row);
    let state = parse_state(&r.text("state")?).ok_or_else(|| r.wrong("state", "is not a state of a node"))?;
    let config = r.maybe_parse::<ResourceState>("config")?.unwrap_or(ResourceState::Waiting);
    let count = |column| Ok::<u32, DbError>(r.maybe_int(column)?.unwrap_or(0).max(0) as u32);
    let (converged, resources) = (count("converged")?, count("total")?);
    let phase = r.maybe_text("phase")?.unwrap_or_default();
    let is_revoked = r.maybe_int("revoked_ms")?.is_some();
    let refusal = r.maybe_text("refusal")?;
    let open = resources.saturating_sub(converged);
    let attention = match refusal.filter(|_| !is_revoked) {
        Some(code) => declined(&code).to_owned(),
        None => attention(state, config, &phase, is_revoked, open, halts.phrase()),
    };
    Ok(NodeSummary {
        id: r.parse("id")?,
        name: r.parse("name")?,
        roles: roles.unwrap_or_default(),
        labels: labels.unwrap_or_default(),
        state,
        config,
        converged,
        resources,
        desired: generation(&r, "epoch", "counter")?,
        reported: generation(&r, "reported_epoch", "reported_counter")?,
        last_seen_at: r.maybe_time("seen_ms")?,
        address: r.maybe_text("address")?,
        is_revoked,
        is_observing: r.count("observe")? != 0,
        ejected_at: r.maybe_time("ejected_ms")?,
        pause: halts.pause,
        undone_since: halts.undone_since,
        attention,
    })
}

/// The refusals of a state because the node holds a newer one.
fn is_behind(code: &str) -> bool {
    matches!(code, "desired.stale" | "desired.older" | "desired.generation_reused")
}

/// One phrase on why a node doesn't take its state.
fn declined(code: &str) -> &'static str {
    if is_behind(code) { "holds a newer state than this store has" } else { "does not take its state" }
}

/// What to do about a node that doesn't take its state.
pub(super) fn remedy(code: &str) -> &'static str {
    if is_behind(code) {
        "An old store is in charge: the node was given a newer state by another one. If this store shall lead, restore \
         its backup with `lampas-controller restore`, which opens a new epoch; else stop this controller and start the \
         one that led the fleet last."
    } else if code == "desired.too_large" {
        "Its state is too large to be sent: give it fewer objects, or smaller ones."
    } else {
        "Look at the agent's log on the node; if it was restored from another machine's image, enrol it anew."
    }
}

/// One phrase on what is wrong with a node; empty when nothing is.
fn attention(
    state: NodeState,
    config: ResourceState,
    phase: &str,
    is_revoked: bool,
    open: u32,
    halted: &str,
) -> String {
    let resources = |word: &str| match open {
        0 | 1 => word.to_owned(),
        n => format!("{n} resources {word}"),
    };
    match (state, config) {
        _ if is_revoked => "revoked".to_owned(),
        _ if phase == "quarantined" => "generation quarantined".to_owned(),
        // Whatever else stands otherwise, it is not what the fleet wants that stands there.
        (_, ResourceState::Failed | ResourceState::Blocked | ResourceState::Drifted) if !halted.is_empty() => {
            format!("{}, and {halted}", resources(config.as_str()))
        }
        (_, ResourceState::Failed) => resources("failed"),
        (_, ResourceState::Blocked) => resources("blocked"),
        (_, ResourceState::Drifted) => resources("drifted"),
        _ if !halted.is_empty() => halted.to_owned(),
        (NodeState::Offline, _) => "offline".to_owned(),
        (NodeState::Stale, _) => "silent".to_owned(),
        _ => String::new(),
    }
}

/// Reads a generation; 0 stands for none.
pub(super) fn generation(
    r: &Reader<'_>,
    epoch: &'static str,
    counter: &'static str,
) -> Result<Option<Generation>, DbError> {
    Ok(match (r.maybe_int(epoch)?, r.maybe_int(counter)?) {
        (Some(epoch), Some(counter)) if counter > 0 => {
            Some(Generation { epoch: epoch as u64, counter: counter as u64 })
        }
        _ => None,
    })
}

pub(crate) fn state_word(state: NodeState) -> &'static str {
    match state {
        NodeState::Online => "online",
        NodeState::Stale => "stale",
        NodeState::Offline => "offline",
    }
}

pub(crate) fn parse_state(text: &str) -> Option<NodeState> {
    [NodeState::Online, NodeState::Stale, NodeState::Offline].into_iter().find(|s| state_word(*s) == text)
}
