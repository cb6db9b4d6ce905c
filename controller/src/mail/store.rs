//! The tables of mail: the setting, and where users get theirs. Messages are in [`super::outbox`].

use lampas_api::{MailServer, MorningMail, RolloutMail};
use lampas_shared::{
    access::{Login, Preset},
    error::Fault,
    event::{Event, EventKind},
    id::{ChangeId, NodeId, UserId},
    time::UnixMs,
};
use sqlx::{AssertSqlSafe, any::AnyRow};

use crate::{
    db::{
        DbError, Tx,
        row::{Reader, insert_many, to_json},
    },
    event,
};

/// The setting as it stands.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) server: MailServer,
    pub(super) morning: MorningMail,
    /// Since when the morning mail stands so: it is not sent for a time before.
    pub(super) morning_at: UnixMs,
    /// The password, sealed.
    pub(super) sealed: Option<String>,
    pub(super) revision: u64,
    /// The last event that messages were made of.
    pub(super) seen: u64,
    pub(super) updated_at: UnixMs,
}

pub(super) async fn setting(tx: &mut Tx) -> Result<Option<Setting>, DbError> {
    get(tx, "").await
}

/// Returns the setting for who will change it: nobody else does until then.
pub(super) async fn setting_to_change(tx: &mut Tx) -> Result<Option<Setting>, DbError> {
    let lock = tx.dialect().for_update();
    get(tx, lock).await
}

async fn get(tx: &mut Tx, lock: &str) -> Result<Option<Setting>, DbError> {
    let sql = format!(
        "SELECT s.server, s.morning, s.morning_ms, s.sealed, s.revision, s.seen_seq, s.updated_ms FROM mail_setting s \
         WHERE s.name = 'mail'{lock}"
    );
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_optional(tx.conn()).await?;
    let Some(row) = row else { return Ok(None) };
    let r = Reader::new("mail_setting", &row);
    Ok(Some(Setting {
        server: r.json("server")?,
        morning: r.json("morning")?,
        morning_at: r.time("morning_ms")?,
        sealed: r.maybe_text("sealed")?,
        revision: r.count("revision")?,
        seen: r.count("seen_seq")?,
        updated_at: r.time("updated_ms")?,
    }))
}

/// Stores the setting; where the events were read up to stays, unless it is new.
pub(super) async fn put_setting(tx: &mut Tx, row: &Setting) -> Result<(), DbError> {
    let columns = ["name", "server", "morning", "morning_ms", "sealed", "revision", "seen_seq", "updated_ms"];
    let update = ["server", "morning", "morning_ms", "sealed", "revision", "updated_ms"];
    let after = tx.dialect().on_conflict(&["name"], &update);
    insert_many(tx, "mail_setting", &columns, &after, &[row], |b, row| {
        b.push_bind("mail")
            .push_bind(to_json(&row.server))
            .push_bind(to_json(&row.morning))
            .push_bind(row.morning_at.0)
            .push_bind(row.sealed.clone())
            .push_bind(row.revision as i64)
            .push_bind(row.seen as i64)
            .push_bind(row.updated_at.0);
    })
    .await
}

pub(super) async fn delete_setting(tx: &mut Tx) -> Result<bool, DbError> {
    let done = sqlx::query("DELETE FROM mail_setting WHERE name = 'mail'").execute(tx.conn()).await?;
    Ok(done.rows_affected() == 1)
}

/// Says that messages were made of the events up to this one; false when another controller was here.
pub(super) async fn advance(tx: &mut Tx, from: u64, to: u64) -> Result<bool, DbError> {
    let done = sqlx::query("UPDATE mail_setting SET seen_seq = ? WHERE name = 'mail' AND seen_seq = ?")
        .bind(to as i64)
        .bind(from as i64)
        .execute(tx.conn())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// The events that messages may be made of.
const TOLD: [EventKind; 4] =
    [EventKind::RolloutMoved, EventKind::GenerationQuarantined, EventKind::ChangeMoved, EventKind::ProtectionChanged];

/// Returns such events after a sequence, in order.
pub(super) async fn events(tx: &mut Tx, after: u64, limit: u32) -> Result<Vec<Event>, DbError> {
    event::tail_of(tx, after, &TOLD, limit).await
}

/// Who gets mail where, and which.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) user: UserId,
    pub(super) login: Login,
    pub(super) preset: Preset,
    pub(super) address: Option<String>,
    pub(super) rollouts: RolloutMail,
    pub(super) approvals: bool,
    pub(super) morning: bool,
}

const ACCOUNT: &str = "u.id, u.login, u.preset, a.address, COALESCE(a.rollouts, 'mine') AS rollouts, \
                       COALESCE(a.approvals, 1) AS approvals, COALESCE(a.morning, 1) AS morning FROM user_account u \
                       LEFT JOIN mail_account a ON a.user_id = u.id";

fn account_of(row: &AnyRow) -> Result<Account, DbError> {
    let r = Reader::new("mail_account", row);
    Ok(Account {
        user: r.parse("id")?,
        login: r.parse("login")?,
        preset: r.parse("preset")?,
        address: r.maybe_text("address")?,
        rollouts: r.parse("rollouts")?,
        approvals: r.flag("approvals")?,
        morning: r.flag("morning")?,
    })
}

/// Returns everybody who has an address and isn't barred.
pub(super) async fn accounts(tx: &mut Tx) -> Result<Vec<Account>, DbError> {
    let sql = format!("SELECT {ACCOUNT} WHERE a.address IS NOT NULL AND u.disabled_ms IS NULL ORDER BY u.login");
    sqlx::query(AssertSqlSafe(sql)).fetch_all(tx.conn()).await?.iter().map(account_of).collect()
}

/// Returns how a user gets mail; nothing when there is no such user.
pub(super) async fn account(tx: &mut Tx, user: UserId) -> Result<Option<Account>, DbError> {
    let sql = format!("SELECT {ACCOUNT} WHERE u.id = ?");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(user.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(account_of).transpose()
}

pub(super) async fn put_account(tx: &mut Tx, row: &Account, now: UnixMs) -> Result<(), DbError> {
    let columns = ["user_id", "address", "rollouts", "approvals", "morning", "updated_ms"];
    let after = tx.dialect().on_conflict(&["user_id"], &columns[1..]);
    insert_many(tx, "mail_account", &columns, &after, &[row], |b, row| {
        b.push_bind(row.user.to_string())
            .push_bind(row.address.clone())
            .push_bind(row.rollouts.as_str())
            .push_bind(i64::from(row.approvals))
            .push_bind(i64::from(row.morning))
            .push_bind(now.0);
    })
    .await
}

/// Forgets where a user who goes gets mail; what still waits for them is dropped.
pub(crate) async fn forget(tx: &mut Tx, user: UserId) -> Result<(), DbError> {
    sqlx::query("DELETE FROM mail_account WHERE user_id = ?").bind(user.to_string()).execute(tx.conn()).await?;
    sqlx::query("DELETE FROM mail_message WHERE user_id = ?").bind(user.to_string()).execute(tx.conn()).await?;
    Ok(())
}

/// Returns the address that an identity provider told of a user, if what it shows of them is one.
pub(super) async fn suggested(tx: &mut Tx, user: UserId) -> Result<Option<String>, DbError> {
    let row = sqlx::query(
        "SELECT MAX(i.shown) AS shown FROM external_identity i WHERE i.user_id = ? AND i.subject IS NOT NULL \
         AND i.shown LIKE '%@%'",
    )
    .bind(user.to_string())
    .fetch_one(tx.conn())
    .await?;
    Reader::new("external_identity", &row).maybe_text("shown")
}

/// Returns who applied a change last, as the audit has it: `user:NAME` or `token:TOKEN of NAME`.
pub(super) async fn applied_by(tx: &mut Tx, number: u64) -> Result<Option<String>, DbError> {
    let row = sqlx::query(
        "SELECT a.principal FROM audit a WHERE a.act IN ('change.apply', 'change.schedule') AND a.object = ? \
         AND a.result = 'done' ORDER BY a.seq DESC LIMIT 1",
    )
    .bind(format!("change {number}"))
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| Reader::new("audit", &row).text("principal")).transpose()
}

/// Returns the change that brought a generation to a node, and what the node said of it.
pub(super) async fn change_of(
    tx: &mut Tx,
    node: NodeId,
    (epoch, counter): (u64, u64),
) -> Result<Option<(ChangeId, String)>, DbError> {
    let row = sqlx::query(
        "SELECT c.change_id, c.message FROM change_node c WHERE c.node = ? AND c.epoch = ? AND c.counter = ? \
         ORDER BY c.change_id DESC LIMIT 1",
    )
    .bind(node.to_string())
    .bind(epoch as i64)
    .bind(counter as i64)
    .fetch_optional(tx.conn())
    .await?;
    row.map(|row| {
        let r = Reader::new("change_node", &row);
        let message = r.text("message")?;
        // As it is stored in the node's line of the change: empty, or a fault.
        let said = serde_json::from_str::<Fault>(&message).map_or(message, |fault| fault.message);
        Ok((r.parse("change_id")?, said))
    })
    .transpose()
}
