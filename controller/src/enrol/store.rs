//! The tables of enrolment tokens, their uses, and certificates.

use std::collections::BTreeMap;

use lampas_api::{EnrolToken, EnrolledNode};
use lampas_runtime::clock;
use lampas_shared::{
    desired::ContentHash,
    event::EventKind,
    fleet::{Labels, NodeFacts, NodeName, RoleName},
    id::{NodeId, TokenId, UserId},
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use super::{
    network::Network,
    token::{Maker, TokenError},
};
use crate::{
    audit::{Entry, Principal},
    db::{
        DbError, Tx,
        row::{Reader, id_chunks, push_ids, to_json},
    },
    event::NewEvent,
    signer::Issued,
};

const COLUMNS: &str = "t.id, t.roles, t.node_name, t.cidr, t.uses, t.observe, t.created_by, t.created_ms, \
                       t.expires_ms, t.withdrawn_ms";
/// Tokens on one page.
const PAGE: i64 = 200;

/// A token as the enrolment needs it.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) id: TokenId,
    pub(super) roles: Vec<RoleName>,
    pub(super) labels: Labels,
    pub(super) node: Option<NodeName>,
    pub(super) network: Option<Network>,
    pub(super) uses: u32,
    pub(super) expires: UnixMs,
    pub(super) is_withdrawn: bool,
    /// Whether the node shall only observe.
    pub(super) observe: bool,
    pub(super) bound: Bound,
}

/// What a token is bound to whose maker has rights over a part of the fleet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bound {
    /// Whose rights are asked for again; nobody's when the maker had the whole fleet.
    pub(super) maker: Option<Maker>,
    /// The node that had the token's name when it was made.
    pub(super) known: Option<NodeId>,
}

pub(super) async fn insert(
    tx: &mut Tx,
    row: &EnrolToken,
    labels: &Labels,
    secret: ContentHash,
    bound: Bound,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO enrol_token (id, secret_hash, roles, labels, node_name, cidr, uses, observe, created_by, \
         created_ms, expires_ms, maker, maker_token, known_node) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(secret.to_string())
    .bind(to_json(&row.roles))
    .bind(to_json(labels))
    .bind(row.node.as_ref().map(|n| n.as_str().to_owned()))
    .bind(row.cidr.clone())
    .bind(i64::from(row.uses_left))
    .bind(i64::from(row.observe))
    .bind(row.author.chars().take(128).collect::<String>())
    .bind(row.created_at.0)
    .bind(row.expires_at.0)
    .bind(bound.maker.map(|m| m.user.to_string()))
    .bind(bound.maker.and_then(|m| m.token).map(|t| t.to_string()))
    .bind(bound.known.map(|n| n.to_string()))
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Returns the newest tokens, at most 200: all, or those that a user made with rights over a part of the fleet.
///
/// # Errors
/// Those of the store.
pub async fn list(tx: &mut Tx, of: Option<UserId>) -> Result<Vec<EnrolToken>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM enrol_token t"));
    if let Some(maker) = of {
        query.push(" WHERE t.maker = ").push_bind(maker.to_string());
    }
    query.push(" ORDER BY t.created_ms DESC, t.id DESC LIMIT ").push_bind(PAGE);
    let rows = query.build().fetch_all(tx.conn()).await?;
    let mut tokens = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    add_uses(tx, &mut tokens).await?;
    Ok(tokens.into_iter().map(|(token, _)| token).collect())
}

/// Returns one token; only if this user made it, when one is given.
///
/// # Errors
/// When there is none with this id, and those of the store.
pub async fn get(tx: &mut Tx, id: TokenId, of: Option<UserId>) -> Result<EnrolToken, TokenError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {COLUMNS} FROM enrol_token t WHERE t.id = "));
    query.push_bind(id.to_string());
    if let Some(maker) = of {
        query.push(" AND t.maker = ").push_bind(maker.to_string());
    }
    let row = query.build().fetch_optional(tx.conn()).await.map_err(DbError::from)?;
    let mut tokens = vec![read(&row.ok_or(TokenError::NotFound(id))?)?];
    add_uses(tx, &mut tokens).await?;
    Ok(tokens.remove(0).0)
}

/// Withdraws a token: it lets nobody in any more. Nodes that used it stay. Only if this user made it, when one is given.
///
/// # Errors
/// When there is none with this id, and those of the store.
pub async fn withdraw(tx: &mut Tx, id: TokenId, of: Option<UserId>, by: &Principal) -> Result<(), TokenError> {
    get(tx, id, of).await?;
    let done = sqlx::query("UPDATE enrol_token SET withdrawn_ms = ? WHERE id = ? AND withdrawn_ms IS NULL")
        .bind(clock::now().0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await
        .map_err(DbError::from)?;
    if done.rows_affected() > 0 {
        tx.event(NewEvent::new(EventKind::TokenChanged).with("token", id).with("state", "withdrawn"));
        tx.audit(Entry::done(by, "token.withdraw", id.to_string()));
    }
    Ok(())
}

fn read(row: &sqlx::any::AnyRow) -> Result<(EnrolToken, bool), DbError> {
    let r = Reader::new("enrol_token", row);
    let token = EnrolToken {
        id: r.parse("id")?,
        roles: r.json("roles")?,
        node: r.maybe_parse("node_name")?,
        cidr: r.maybe_text("cidr")?,
        author: r.text("created_by")?,
        created_at: r.time("created_ms")?,
        expires_at: r.time("expires_ms")?,
        uses_left: r.count("uses")? as u32,
        observe: r.maybe_int("observe")?.is_some_and(|o| o != 0),
        enrolled: Vec::new(),
        state: String::new(),
    };
    Ok((token, r.maybe_int("withdrawn_ms")?.is_some()))
}

/// Adds who used the tokens, and from that their state.
async fn add_uses(tx: &mut Tx, tokens: &mut [(EnrolToken, bool)]) -> Result<(), DbError> {
    let ids: Vec<TokenId> = tokens.iter().map(|(t, _)| t.id).collect();
    let mut uses: BTreeMap<TokenId, (u32, Vec<EnrolledNode>)> = BTreeMap::new();
    for chunk in id_chunks(&ids) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT u.token, u.node, n.name, n.state, n.os, f.facts FROM enrol_use u LEFT JOIN node n ON n.id = u.node \
             LEFT JOIN node_facts f ON f.node = u.node WHERE u.token IN ",
        );
        push_ids(&mut query, chunk);
        query.push(" ORDER BY u.used_ms, u.node");
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("enrol_use", row);
            let (count, nodes) = uses.entry(r.parse("token")?).or_default();
            *count += 1;
            // A use without a node is an enrolment under way.
            if let Some(name) = r.maybe_text("name")? {
                nodes.push(EnrolledNode {
                    id: r.parse("node")?,
                    name,
                    is_connected: r.maybe_text("state")?.is_some_and(|s| s != "offline"),
                    about: about(&r.maybe_text("os")?.unwrap_or_default(), r.maybe_text("facts")?.as_deref()),
                });
            }
        }
    }
    let now = clock::now();
    for (token, is_withdrawn) in tokens {
        let (count, nodes) = uses.remove(&token.id).unwrap_or_default();
        token.uses_left = token.uses_left.saturating_sub(count);
        token.enrolled = nodes;
        token.state = match (token.uses_left, *is_withdrawn) {
            (_, true) => "withdrawn",
            (0, _) => "used",
            _ if token.expires_at < now => "expired",
            _ => "waiting",
        }
        .to_owned();
    }
    Ok(())
}

/// Returns one line on what a node is; its cores once it has told its facts.
fn about(os: &str, facts: Option<&str>) -> String {
    let facts: Option<NodeFacts> = facts.and_then(|f| serde_json::from_str(f).ok());
    match facts.map_or(0, |f| f.cpus) {
        0 => os.to_owned(),
        1 => format!("{os}, 1 core"),
        n => format!("{os}, {n} cores"),
    }
}

/// Returns the token with this secret, for a transaction that may use it.
pub(super) async fn grant(tx: &mut Tx, secret: ContentHash) -> Result<Option<Grant>, DbError> {
    let sql = format!(
        "SELECT t.id, t.roles, t.labels, t.node_name, t.cidr, t.uses, t.expires_ms, t.withdrawn_ms, t.observe, t.maker, \
         t.maker_token, t.known_node FROM enrol_token t \
         WHERE t.secret_hash = ?{}",
        tx.dialect().for_update()
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(secret.to_string()).fetch_optional(tx.conn()).await?;
    let Some(row) = row else { return Ok(None) };
    let r = Reader::new("enrol_token", &row);
    Ok(Some(Grant {
        id: r.parse("id")?,
        roles: r.json("roles")?,
        labels: r.json("labels")?,
        node: r.maybe_parse("node_name")?,
        network: r.maybe_parse("cidr")?,
        uses: r.count("uses")? as u32,
        expires: r.time("expires_ms")?,
        is_withdrawn: r.maybe_int("withdrawn_ms")?.is_some(),
        observe: r.maybe_int("observe")?.is_some_and(|o| o != 0),
        bound: Bound {
            maker: match r.maybe_parse("maker")? {
                Some(user) => Some(Maker { user, token: r.maybe_parse("maker_token")? }),
                None => None,
            },
            known: r.maybe_parse("known_node")?,
        },
    }))
}

/// Returns the node that a key was let in as by a token.
pub(super) async fn used_as(tx: &mut Tx, token: TokenId, key: ContentHash) -> Result<Option<NodeId>, DbError> {
    let row = sqlx::query("SELECT u.node FROM enrol_use u WHERE u.token = ? AND u.key_hash = ?")
        .bind(token.to_string())
        .bind(key.to_string())
        .fetch_optional(tx.conn())
        .await?;
    row.map(|r| Reader::new("enrol_use", &r).parse("node")).transpose()
}

/// Returns whether a token let a node in.
pub(super) async fn has_let_in(tx: &mut Tx, token: TokenId, node: NodeId) -> Result<bool, DbError> {
    let row = sqlx::query("SELECT COUNT(*) AS uses FROM enrol_use u WHERE u.token = ? AND u.node = ?")
        .bind(token.to_string())
        .bind(node.to_string())
        .fetch_one(tx.conn())
        .await?;
    Ok(Reader::new("enrol_use", &row).count("uses")? > 0)
}

/// Returns how often a token was used.
pub(super) async fn uses(tx: &mut Tx, token: TokenId) -> Result<u64, DbError> {
    let row = sqlx::query("SELECT COUNT(*) AS uses FROM enrol_use u WHERE u.token = ?")
        .bind(token.to_string())
        .fetch_one(tx.conn())
        .await?;
    Reader::new("enrol_use", &row).count("uses")
}

pub(super) async fn insert_use(
    tx: &mut Tx,
    token: TokenId,
    key: ContentHash,
    node: NodeId,
    at: UnixMs,
    from: &str,
) -> Result<(), DbError> {
    sqlx::query("INSERT INTO enrol_use (token, key_hash, node, used_ms, used_from) VALUES (?, ?, ?, ?, ?)")
        .bind(token.to_string())
        .bind(key.to_string())
        .bind(node.to_string())
        .bind(at.0)
        .bind(from.chars().take(64).collect::<String>())
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub(super) async fn insert_certificate(tx: &mut Tx, node: NodeId, issued: &Issued, at: UnixMs) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO certificate (serial, node, subject, issuer, fingerprint, not_before_ms, not_after_ms, issued_ms, \
         reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '')",
    )
    .bind(issued.serial.clone())
    .bind(node.to_string())
    .bind(issued.subject.clone())
    .bind(issued.issuer.chars().take(255).collect::<String>())
    .bind(issued.fingerprint.to_string())
    .bind(issued.not_before.0)
    .bind(issued.not_after.0)
    .bind(at.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Ends what a node held before it was let in anew.
pub(super) async fn supersede(tx: &mut Tx, node: NodeId, at: UnixMs) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE certificate SET revoked_ms = ?, reason = 'enrolled anew' WHERE node = ? AND revoked_ms IS NULL",
    )
    .bind(at.0)
    .bind(node.to_string())
    .execute(tx.conn())
    .await?;
    sqlx::query("DELETE FROM node_refusal WHERE node = ?").bind(node.to_string()).execute(tx.conn()).await?;
    sqlx::query("UPDATE node SET revoked_ms = NULL, machine = '' WHERE id = ?")
        .bind(node.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns whether a certificate was revoked; one that the store doesn't know (it was restored from a backup) was not.
pub(super) async fn is_certificate_revoked(tx: &mut Tx, serial: &str) -> Result<bool, DbError> {
    let row = sqlx::query("SELECT c.revoked_ms FROM certificate c WHERE c.serial = ?")
        .bind(serial.to_owned())
        .fetch_optional(tx.conn())
        .await?;
    row.map_or(Ok(false), |r| Ok(Reader::new("certificate", &r).maybe_int("revoked_ms")?.is_some()))
}
