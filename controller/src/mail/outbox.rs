//! The outbox: the messages that are to be sent, and what became of them.

use std::collections::BTreeSet;

use lampas_api::{MailDelivery, MailKind, MailState};
use lampas_shared::{
    access::Permission,
    event::EventKind,
    id::{MailId, UserId},
    time::UnixMs,
};
use sqlx::{Any, AssertSqlSafe, QueryBuilder, any::AnyRow};

use crate::{
    access,
    db::{
        DbError, Tx,
        row::{Reader, insert_many},
    },
    event::NewEvent,
    fleet::bounded,
};

/// As many messages wait at most: what comes then is noted as given up, so that it is seen.
const MOST_WAITING: u64 = 1_000;
/// As many one user gets within an hour, the morning mail, tests and words about the account aside.
const MOST_AN_HOUR: u64 = 60;
const COUNTED: &str = "kind NOT IN ('morning', 'test', 'account') AND state <> 'abandoned'";
const HOUR_MS: i64 = 3_600_000;
/// A message is given up after so long.
pub(super) const GIVE_UP_MS: i64 = 24 * HOUR_MS;
const TOO_OLD: &str = "not sent: it is more than a day old";

/// A message that is to be sent.
#[derive(Debug, Clone)]
pub(super) struct NewMessage {
    pub(super) id: MailId,
    /// What it is about and for whom: there is one message of a key.
    pub(super) key: String,
    pub(super) kind: MailKind,
    pub(super) user: Option<UserId>,
    pub(super) address: String,
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// Puts messages into the outbox, each once. What is too much is noted as given up. Returns how many are new.
pub(super) async fn enqueue(tx: &mut Tx, messages: &[NewMessage], now: UnixMs) -> Result<u64, DbError> {
    let mut waiting = count(tx, "state IN ('queued', 'failed')", None, UnixMs(0)).await?;
    let mut new = 0;
    for message in messages {
        if has(tx, &message.key).await? {
            continue;
        }
        let is_counted = !matches!(message.kind, MailKind::Morning | MailKind::Test | MailKind::Account);
        let of_hour = match message.user.filter(|_| is_counted) {
            Some(user) => count(tx, COUNTED, Some(user), now.plus_ms(-HOUR_MS)).await?,
            None => 0,
        };
        let refused = if waiting >= MOST_WAITING {
            Some(format!("not sent: {MOST_WAITING} messages wait already"))
        } else if of_hour >= MOST_AN_HOUR {
            Some(format!("not sent: more than {MOST_AN_HOUR} messages for this user within an hour"))
        } else {
            None
        };
        let state = if refused.is_some() { MailState::Abandoned } else { MailState::Queued };
        insert(tx, message, (state, refused.as_deref().unwrap_or_default()), now).await?;
        waiting += u64::from(refused.is_none());
        new += 1;
    }
    if new > 0 {
        tx.event(NewEvent::new(EventKind::MailMoved).with("state", MailState::Queued.as_str()));
    }
    Ok(new)
}

/// Stores a message as it stands. One whose key is there already stays as it is.
pub(super) async fn insert(
    tx: &mut Tx,
    message: &NewMessage,
    (state, answer): (MailState, &str),
    now: UnixMs,
) -> Result<(), DbError> {
    let columns = [
        "id",
        "once_key",
        "kind",
        "user_id",
        "address",
        "subject",
        "body",
        "html",
        "state",
        "attempts",
        "created_ms",
        "due_ms",
        "answer",
    ];
    let after = tx.dialect().on_conflict(&["once_key"], &[]);
    insert_many(tx, "mail_message", &columns, &after, &[message], |b, m| {
        b.push_bind(m.id.to_string())
            .push_bind(m.key.clone())
            .push_bind(m.kind.as_str())
            .push_bind(m.user.map(|u| u.to_string()))
            .push_bind(m.address.clone())
            .push_bind(m.subject.clone())
            .push_bind(m.text.clone())
            .push_bind(m.html.clone())
            .push_bind(state.as_str())
            .push_bind(0_i64)
            .push_bind(now.0)
            .push_bind(now.0)
            .push_bind(bounded(answer, 500));
    })
    .await
}

/// Returns whether there is a message of a key.
pub(super) async fn has(tx: &mut Tx, key: &str) -> Result<bool, DbError> {
    let row = sqlx::query("SELECT m.id FROM mail_message m WHERE m.once_key = ?")
        .bind(key.to_owned())
        .fetch_optional(tx.conn())
        .await?;
    Ok(row.is_some())
}

/// Returns the keys that begin so.
pub(super) async fn keys(tx: &mut Tx, start: &str) -> Result<BTreeSet<String>, DbError> {
    let rows = sqlx::query("SELECT m.once_key FROM mail_message m WHERE m.once_key >= ? AND m.once_key < ?")
        .bind(start.to_owned())
        .bind(format!("{start}~"))
        .fetch_all(tx.conn())
        .await?;
    rows.iter().map(|row| Reader::new("mail_message", row).text("once_key")).collect()
}

/// Counts messages since a time. `rule` is one of our own.
async fn count(tx: &mut Tx, rule: &'static str, user: Option<UserId>, since: UnixMs) -> Result<u64, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT COUNT(*) AS n FROM mail_message WHERE {rule}"));
    query.push(" AND created_ms >= ").push_bind(since.0);
    if let Some(user) = user {
        query.push(" AND user_id = ").push_bind(user.to_string());
    }
    let row = query.build().fetch_one(tx.conn()).await?;
    Reader::new("mail_message", &row).count("n")
}

/// Returns how many wait, and how many were sent and given up since a time.
pub(super) async fn figures(tx: &mut Tx, since: UnixMs) -> Result<(u32, u32, u32), DbError> {
    let waiting = count(tx, "state IN ('queued', 'failed')", None, UnixMs(0)).await?;
    let sent = count(tx, "state = 'sent'", None, since).await?;
    let abandoned = count(tx, "state = 'abandoned'", None, since).await?;
    Ok((waiting as u32, sent as u32, abandoned as u32))
}

/// How a message ended that was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The server refused its recipient, or the message itself.
    Refused,
    /// It was tried for too long.
    Exhausted,
    /// Nobody wants it sent any more.
    Withdrawn,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Exhausted => "exhausted",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Returns since when mail can't be delivered and why: the oldest message that fails, or was given up, after which none
/// was sent, and what was said last. That a server refuses a recipient is that one's matter, as long as others get theirs.
pub(super) async fn trouble(tx: &mut Tx, since: UnixMs) -> Result<Option<(UnixMs, String)>, DbError> {
    let bad = "m.state IN ('failed', 'abandoned') AND m.kind <> 'test' AND m.attempts > 0 AND m.tried_ms >= ? \
               AND m.tried_ms > (SELECT COALESCE(MAX(s.tried_ms), 0) FROM mail_message s WHERE s.state = 'sent') \
               AND (m.state = 'failed' OR m.ended = 'exhausted' OR (m.ended = 'refused' AND NOT EXISTS \
               (SELECT 1 FROM mail_message o WHERE o.state = 'sent' AND o.tried_ms >= ? AND o.address <> m.address)))";
    let sql = format!(
        "SELECT m.created_ms, m.answer, m.address, m.ended FROM mail_message m WHERE {bad} ORDER BY m.tried_ms DESC LIMIT 1"
    );
    let last = sqlx::query(AssertSqlSafe(sql)).bind(since.0).bind(since.0).fetch_optional(tx.conn()).await?;
    let Some(last) = last else { return Ok(None) };
    let r = Reader::new("mail_message", &last);
    let answer = match r.maybe_text("ended")?.as_deref() {
        Some("refused") => format!("a mail to {} was refused: {}", r.text("address")?, r.text("answer")?),
        _ => r.text("answer")?,
    };
    let sql = format!("SELECT MIN(m.created_ms) AS first_ms FROM mail_message m WHERE {bad}");
    let first = sqlx::query(AssertSqlSafe(sql)).bind(since.0).bind(since.0).fetch_one(tx.conn()).await?;
    Ok(Some((Reader::new("mail_message", &first).time("first_ms")?, answer)))
}

/// Returns the messages that are to be tried, and that nobody tries.
pub(super) async fn due(tx: &mut Tx, now: UnixMs, limit: u32) -> Result<Vec<MailId>, DbError> {
    let rows = sqlx::query(
        "SELECT m.id FROM mail_message m WHERE m.state IN ('queued', 'failed') AND m.due_ms <= ? \
         AND (m.claim IS NULL OR m.claim_ms < ?) ORDER BY m.due_ms, m.id LIMIT ?",
    )
    .bind(now.0)
    .bind(now.0)
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    rows.iter().map(|row| Reader::new("mail_message", row).parse("id")).collect()
}

/// A message that is tried.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) id: MailId,
    pub(super) kind: MailKind,
    pub(super) address: String,
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
    pub(super) attempts: u32,
    pub(super) created_at: UnixMs,
    /// Why it is not to go out any more: who it was for is not who they were, or it is too old.
    pub(super) over: Option<&'static str>,
}

/// Takes the right to try a message, unless somebody has it, or it is over.
pub(super) async fn claim(
    tx: &mut Tx,
    id: MailId,
    claim: &str,
    (now, until): (UnixMs, UnixMs),
) -> Result<Option<Outgoing>, DbError> {
    let taken = sqlx::query(
        "UPDATE mail_message SET claim = ?, claim_ms = ? WHERE id = ? AND state IN ('queued', 'failed') AND due_ms <= ? \
         AND (claim IS NULL OR claim_ms < ?)",
    )
    .bind(claim.to_owned())
    .bind(until.0)
    .bind(id.to_string())
    .bind(now.0)
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    if taken.rows_affected() != 1 {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT m.id, m.kind, m.user_id, m.address, m.subject, m.body, m.html, m.attempts, m.created_ms, u.preset, \
         u.disabled_ms, a.address AS account FROM mail_message m LEFT JOIN user_account u ON u.id = m.user_id \
         LEFT JOIN mail_account a ON a.user_id = m.user_id WHERE m.id = ?",
    )
    .bind(id.to_string())
    .fetch_one(tx.conn())
    .await?;
    let r = Reader::new("mail_message", &row);
    let created_at = r.time("created_ms")?;
    Ok(Some(Outgoing {
        id: r.parse("id")?,
        kind: r.parse("kind")?,
        address: r.text("address")?,
        subject: r.text("subject")?,
        text: r.text("body")?,
        html: r.text("html")?,
        attempts: r.count("attempts")? as u32,
        created_at,
        over: if now.since(created_at) >= GIVE_UP_MS { Some(TOO_OLD) } else { withdrawn(tx, &r, now).await? },
    }))
}

/// Why a message is not for whom it was any more: it may have waited for hours.
async fn withdrawn(tx: &mut Tx, r: &Reader<'_>, now: UnixMs) -> Result<Option<&'static str>, DbError> {
    // What tells that mail goes elsewhere goes to where it went.
    if r.parse::<MailKind>("kind")? == MailKind::Account {
        return Ok(None);
    }
    let Some(user) = r.maybe_parse::<UserId>("user_id")? else { return Ok(None) };
    if r.maybe_time("disabled_ms")?.is_some() {
        return Ok(Some("not sent: the account was barred meanwhile"));
    }
    if r.maybe_text("account")?.as_deref() != Some(r.text("address")?.as_str()) {
        return Ok(Some("not sent: the account has another address by now"));
    }
    let rights = access::rights(tx, user, r.parse("preset")?, now).await?;
    Ok((!rights.is_anywhere(Permission::View)).then_some("not sent: the account sees nothing of the fleet any more"))
}

/// What came of a try.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) state: MailState,
    /// What the server said, or why not.
    pub(super) answer: String,
    /// How it ended, if it was given up.
    pub(super) end: Option<End>,
    /// When it is tried again.
    pub(super) due: UnixMs,
}

/// Notes what came of a try, if the right to it is still held. What was sent is no longer kept.
pub(super) async fn settle(
    tx: &mut Tx,
    (id, claim): (MailId, &str),
    outcome: &Outcome,
    now: UnixMs,
) -> Result<bool, DbError> {
    let Outcome { state, answer, end, due } = outcome;
    let is_over = matches!(state, MailState::Sent | MailState::Abandoned);
    let sql = if is_over {
        "UPDATE mail_message SET state = ?, answer = ?, due_ms = ?, tried_ms = ?, ended = ?, attempts = attempts + 1, \
         claim = NULL, claim_ms = NULL, body = '', html = '' WHERE id = ? AND claim = ?"
    } else {
        "UPDATE mail_message SET state = ?, answer = ?, due_ms = ?, tried_ms = ?, ended = ?, attempts = attempts + 1, \
         claim = NULL, claim_ms = NULL WHERE id = ? AND claim = ?"
    };
    let done = sqlx::query(sql)
        .bind(state.as_str())
        .bind(bounded(answer, 500))
        .bind(due.0)
        .bind(now.0)
        .bind(end.map(End::as_str))
        .bind(id.to_string())
        .bind(claim.to_owned())
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == 1 {
        tx.event(NewEvent::new(EventKind::MailMoved).with("state", state.as_str()));
    }
    Ok(done.rows_affected() == 1)
}

/// Tries what waits at once: the server is another.
pub(super) async fn hurry(tx: &mut Tx, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE mail_message SET due_ms = ? WHERE state = 'failed' AND due_ms > ?")
        .bind(now.0)
        .bind(now.0)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Notes that a message was tried once, outside of the outbox.
pub(super) async fn tried(tx: &mut Tx, id: MailId, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("UPDATE mail_message SET attempts = 1, tried_ms = ? WHERE id = ?")
        .bind(now.0)
        .bind(id.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns how many morning mails a user asked for since a time.
pub(super) async fn mornings_now(tx: &mut Tx, user: UserId, since: UnixMs) -> Result<u64, DbError> {
    count(tx, "once_key LIKE 'morning-now:%'", Some(user), since).await
}

/// Gives up all that waits.
pub(super) async fn give_up(tx: &mut Tx, why: &str) -> Result<u64, DbError> {
    let done = sqlx::query(
        "UPDATE mail_message SET state = 'abandoned', ended = 'withdrawn', answer = ?, body = '', html = '', claim = NULL, \
         claim_ms = NULL WHERE state IN ('queued', 'failed')",
    )
    .bind(why.to_owned())
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// Drops what an earlier process of this controller had taken.
pub(super) async fn forget_claims(tx: &mut Tx, of: &str) -> Result<(), DbError> {
    sqlx::query("UPDATE mail_message SET claim = NULL, claim_ms = NULL WHERE claim LIKE ?")
        .bind(format!("{of}/%"))
        .execute(tx.conn())
        .await?;
    Ok(())
}

const DELIVERY: &str = "m.id, m.kind, COALESCE(u.login, '') AS login, m.address, m.subject, m.state, m.attempts, \
                        m.created_ms, m.tried_ms, m.due_ms, m.answer FROM mail_message m \
                        LEFT JOIN user_account u ON u.id = m.user_id";

/// Returns messages, the newest first.
pub(super) async fn list(
    tx: &mut Tx,
    (state, before): (Option<MailState>, &str),
    limit: u32,
) -> Result<Vec<MailDelivery>, DbError> {
    let mut query = QueryBuilder::<Any>::new(format!("SELECT {DELIVERY} WHERE m.id < "));
    query.push_bind(before.to_owned());
    if let Some(state) = state {
        query.push(" AND m.state = ").push_bind(state.as_str());
    }
    query.push(" ORDER BY m.id DESC LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(tx.conn()).await?.iter().map(delivery).collect()
}

/// Returns one message.
pub(super) async fn one(tx: &mut Tx, id: MailId) -> Result<Option<MailDelivery>, DbError> {
    let sql = format!("SELECT {DELIVERY} WHERE m.id = ?");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(delivery).transpose()
}

fn delivery(row: &AnyRow) -> Result<MailDelivery, DbError> {
    let r = Reader::new("mail_message", row);
    let state: MailState = r.parse("state")?;
    Ok(MailDelivery {
        id: r.parse("id")?,
        kind: r.parse("kind")?,
        login: r.text("login")?,
        address: r.text("address")?,
        subject: r.text("subject")?,
        state,
        attempts: r.count("attempts")? as u32,
        created_at: r.time("created_ms")?,
        tried_at: r.maybe_time("tried_ms")?,
        next_at: Some(r.time("due_ms")?).filter(|_| matches!(state, MailState::Queued | MailState::Failed)),
        answer: r.text("answer")?,
    })
}

#[cfg(test)]
mod tests;
