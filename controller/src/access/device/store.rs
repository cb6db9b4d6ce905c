//! The table of what machines ask for.

use lampas_api::DevicePurpose;
use lampas_shared::{
    id::{IdentityId, UserId},
    time::UnixMs,
};
use sqlx::any::AnyRow;

use crate::db::{DbError, Tx, row::Reader};

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has decided.
    Open,
    /// It may be taken.
    Confirmed,
    /// It may not.
    Refused,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
        }
    }
}

/// A request as it stands.
#[derive(Debug, Clone)]
pub(super) struct DeviceRow {
    /// The hash of the device's code.
    pub(super) hash: String,
    /// The person's code, without its hyphen.
    pub(super) user_code: String,
    pub(super) purpose: DevicePurpose,
    pub(super) machine: String,
    pub(super) agent: String,
    pub(super) from: String,
    /// What all of the host's addresses have in common.
    pub(super) network: String,
    pub(super) ttl_secs: u64,
    /// Who must confirm; absent: whoever does is who is signed in.
    pub(super) asked_by: Option<UserId>,
    pub(super) state: State,
    /// Who decided.
    pub(super) user: Option<UserId>,
    /// What the deciding session was opened with, so that a logout told by the provider ends this one too.
    pub(super) identity: Option<IdentityId>,
    pub(super) provider_sid: Option<String>,
    pub(super) created_at: UnixMs,
    pub(super) expires_at: UnixMs,
    /// When the machine last asked.
    pub(super) polled_at: UnixMs,
    /// How long it has to wait between questions.
    pub(super) interval_ms: i64,
}

const REQUEST: &str = "d.device_hash, d.user_code, d.purpose, d.machine, d.agent, d.from_addr, d.network, d.ttl_secs, d.asked_by, \
                       d.state, d.user_id, d.identity_id, d.provider_sid, d.created_ms, d.expires_ms, d.polled_ms, \
                       d.interval_ms FROM device_request d";

fn request(row: &AnyRow) -> Result<DeviceRow, DbError> {
    let r = Reader::new("device_request", row);
    let (purpose, state) = (r.text("purpose")?, r.text("state")?);
    let purpose = [DevicePurpose::SignIn, DevicePurpose::Proof].into_iter().find(|p| p.as_str() == purpose);
    let state = [State::Open, State::Confirmed, State::Refused].into_iter().find(|s| s.as_str() == state);
    Ok(DeviceRow {
        hash: r.text("device_hash")?,
        user_code: r.text("user_code")?,
        purpose: purpose.ok_or_else(|| r.wrong("purpose", "is no purpose"))?,
        machine: r.text("machine")?,
        agent: r.text("agent")?,
        from: r.text("from_addr")?,
        network: r.maybe_text("network")?.unwrap_or_default(),
        ttl_secs: r.count("ttl_secs")?,
        asked_by: r.maybe_parse("asked_by")?,
        state: state.ok_or_else(|| r.wrong("state", "is no state"))?,
        user: r.maybe_parse("user_id")?,
        identity: r.maybe_parse("identity_id")?,
        provider_sid: r.maybe_text("provider_sid")?,
        created_at: r.time("created_ms")?,
        expires_at: r.time("expires_ms")?,
        polled_at: r.time("polled_ms")?,
        interval_ms: r.int("interval_ms")?,
    })
}

/// Drops what is over.
pub(super) async fn prune(tx: &mut Tx, now: UnixMs) -> Result<(), DbError> {
    sqlx::query("DELETE FROM device_request WHERE expires_ms <= ?").bind(now.0).execute(tx.conn()).await?;
    Ok(())
}

/// Returns how many stand there beside a request that is to be made: proofs of its user, or sign-ins of its network.
pub(super) async fn of_one(tx: &mut Tx, row: &DeviceRow) -> Result<u64, DbError> {
    let (rule, one) = match row.asked_by {
        Some(user) => ("d.asked_by = ?", user.to_string()),
        None => ("d.asked_by IS NULL AND d.network = ?", row.network.clone()),
    };
    let sql = format!("SELECT COUNT(*) AS n FROM device_request d WHERE {rule}");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(one).fetch_one(tx.conn()).await?;
    Reader::new("device_request", &row).count("n")
}

/// Takes the oldest sign-in that nobody decided about away, of the network with the most, if there are as many of strangers.
pub(super) async fn make_room(tx: &mut Tx, most: u64) -> Result<(), DbError> {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM device_request d WHERE d.asked_by IS NULL").fetch_one(tx.conn());
    if Reader::new("device_request", &row.await?).count("n")? < most {
        return Ok(());
    }
    let row = sqlx::query(
        "SELECT COALESCE(d.network, '') AS network, COUNT(*) AS n, MIN(d.created_ms) AS first_ms FROM device_request d \
         WHERE d.asked_by IS NULL AND d.state = 'open' GROUP BY COALESCE(d.network, '') ORDER BY n DESC, first_ms LIMIT 1",
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(()) };
    let r = Reader::new("device_request", &row);
    let oldest = sqlx::query(
        "SELECT d.device_hash FROM device_request d WHERE d.asked_by IS NULL AND d.state = 'open' \
         AND COALESCE(d.network, '') = ? ORDER BY d.created_ms, d.device_hash LIMIT 1",
    )
    .bind(r.text("network")?)
    .fetch_one(tx.conn())
    .await?;
    take(tx, &Reader::new("device_request", &oldest).text("device_hash")?).await?;
    Ok(())
}

pub(super) async fn insert(tx: &mut Tx, row: &DeviceRow) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO device_request (device_hash, user_code, purpose, machine, agent, from_addr, network, ttl_secs, \
         asked_by, state, created_ms, expires_ms, polled_ms, interval_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&row.hash)
    .bind(&row.user_code)
    .bind(row.purpose.as_str())
    .bind(&row.machine)
    .bind(&row.agent)
    .bind(&row.from)
    .bind(&row.network)
    .bind(row.ttl_secs as i64)
    .bind(row.asked_by.map(|id| id.to_string()))
    .bind(row.state.as_str())
    .bind(row.created_at.0)
    .bind(row.expires_at.0)
    .bind(row.polled_at.0)
    .bind(row.interval_ms)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Returns the request with a person's code that nobody has decided about and that isn't over.
pub(super) async fn open(tx: &mut Tx, user_code: &str, now: UnixMs) -> Result<Option<DeviceRow>, DbError> {
    let sql = format!("SELECT {REQUEST} WHERE d.user_code = ? AND d.state = 'open' AND d.expires_ms > ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user_code).bind(now.0).fetch_optional(tx.conn()).await?;
    row.as_ref().map(request).transpose()
}

pub(super) async fn by_hash(tx: &mut Tx, hash: &str) -> Result<Option<DeviceRow>, DbError> {
    let sql = format!("SELECT {REQUEST} WHERE d.device_hash = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash).fetch_optional(tx.conn()).await?;
    row.as_ref().map(request).transpose()
}

/// Decides about an open request; false when somebody did before.
pub(super) async fn decide(
    tx: &mut Tx,
    row: &DeviceRow,
    state: State,
    user: UserId,
    (identity, sid): (Option<IdentityId>, Option<&str>),
) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE device_request SET state = ?, user_id = ?, identity_id = ?, provider_sid = ? \
         WHERE device_hash = ? AND state = 'open'",
    )
    .bind(state.as_str())
    .bind(user.to_string())
    .bind(identity.map(|id| id.to_string()))
    .bind(sid.map(str::to_owned))
    .bind(&row.hash)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that the machine asked, and how long it waits from then on.
pub(super) async fn polled(tx: &mut Tx, hash: &str, now: UnixMs, interval_ms: i64) -> Result<(), DbError> {
    sqlx::query("UPDATE device_request SET polled_ms = ?, interval_ms = ? WHERE device_hash = ?")
        .bind(now.0)
        .bind(interval_ms)
        .bind(hash)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Takes a request away; false when it was gone.
pub(super) async fn take(tx: &mut Tx, hash: &str) -> Result<bool, DbError> {
    let done = sqlx::query("DELETE FROM device_request WHERE device_hash = ?").bind(hash).execute(tx.conn()).await?;
    Ok(done.rows_affected() == 1)
}

/// Takes away what a user decided about or asked for.
pub(in crate::access) async fn delete_of(tx: &mut Tx, user: UserId) -> Result<(), DbError> {
    sqlx::query("DELETE FROM device_request WHERE user_id = ? OR asked_by = ?")
        .bind(user.to_string())
        .bind(user.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use lampas_runtime::random;

    use super::*;
    use crate::db::{Db, testing};

    testing::on_both!(a_request_is_decided_once_and_taken_once, who_asks_most_makes_room);

    async fn who_asks_most_makes_room(db: Db) {
        let of = |hash: &str, code: &str, network: &str, at: i64| DeviceRow {
            network: network.to_owned(),
            created_at: UnixMs(at),
            ..row(hash, code)
        };
        let user: UserId = random::new_id();
        let rows = &[
            of("own", "BCDFGHJK", "192.0.2.9", 1),
            of("a1", "BCDFGHJL", "2001:db8::", 2),
            of("a2", "BCDFGHJM", "2001:db8::", 3),
            DeviceRow { asked_by: Some(user), ..of("proof", "BCDFGHJN", "2001:db8::", 0) },
        ];
        let left = db.write(|mut tx: Tx| async move {
            for row in rows {
                insert(&mut tx, row).await?;
            }
            assert_eq!(of_one(&mut tx, &rows[3]).await?, 1, "proofs are counted by user");
            assert_eq!(of_one(&mut tx, &rows[1]).await?, 2, "and not with what strangers ask");
            make_room(&mut tx, 4).await?;
            make_room(&mut tx, 3).await?;
            let mut left = Vec::new();
            for row in rows {
                left.extend(by_hash(&mut tx, &row.hash).await?.map(|r| r.hash));
            }
            Ok::<_, DbError>(tx.done(left))
        });
        assert_eq!(left.await.expect("written"), ["own", "a2", "proof"]);
    }

    fn row(hash: &str, code: &str) -> DeviceRow {
        DeviceRow {
            hash: hash.to_owned(),
            user_code: code.to_owned(),
            purpose: DevicePurpose::SignIn,
            machine: "Rechner-ß".to_owned(),
            agent: "lampasctl/0".to_owned(),
            from: "192.0.2.1".to_owned(),
            network: "192.0.2.1".to_owned(),
            ttl_secs: 3600,
            asked_by: None,
            state: State::Open,
            user: None,
            identity: None,
            provider_sid: None,
            created_at: UnixMs(1_000),
            expires_at: UnixMs(601_000),
            polled_at: UnixMs(1_000),
            interval_ms: 5_000,
        }
    }

    async fn a_request_is_decided_once_and_taken_once(db: Db) {
        let (user, identity): (UserId, IdentityId) = (random::new_id(), random::new_id());
        let (first, second) = (&row("h1", "BCDFGHJK"), &row("h2", "LMNPQRST"));
        db.write(|mut tx: Tx| async move {
            insert(&mut tx, first).await?;
            insert(&mut tx, second).await?;
            prune(&mut tx, UnixMs(2_000)).await?;
            assert_eq!(of_one(&mut tx, first).await?, 2);
            let other = DeviceRow { network: "192.0.2.2".to_owned(), ..first.clone() };
            assert_eq!(of_one(&mut tx, &other).await?, 0);
            assert_eq!(of_one(&mut tx, &DeviceRow { asked_by: Some(user), ..other }).await?, 0);
            let found = open(&mut tx, "BCDFGHJK", UnixMs(2_000)).await?.expect("is open");
            assert_eq!((found.hash.as_str(), found.machine.as_str(), found.state), ("h1", "Rechner-ß", State::Open));
            assert!(open(&mut tx, "BCDFGHJK", UnixMs(601_000)).await?.is_none(), "over");
            let by = (Some(identity), Some("sid-1"));
            assert!(decide(&mut tx, &found, State::Confirmed, user, by).await?);
            assert!(!decide(&mut tx, &found, State::Refused, user, by).await?, "once");
            assert!(open(&mut tx, "BCDFGHJK", UnixMs(2_000)).await?.is_none(), "decided");
            polled(&mut tx, "h1", UnixMs(3_000), 10_000).await?;
            let found = by_hash(&mut tx, "h1").await?.expect("is there");
            assert_eq!((found.state, found.user, found.identity), (State::Confirmed, Some(user), Some(identity)));
            assert_eq!(
                (found.provider_sid.as_deref(), found.polled_at.0, found.interval_ms),
                (Some("sid-1"), 3_000, 10_000)
            );
            assert!(take(&mut tx, "h1").await?);
            assert!(!take(&mut tx, "h1").await?, "once");
            prune(&mut tx, UnixMs(601_000)).await?;
            assert_eq!(of_one(&mut tx, first).await?, 0);
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
        let same = &row("h3", "LMNPQRST");
        db.write(|mut tx: Tx| async move {
            insert(&mut tx, second).await?;
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
        let taken = db
            .write(|mut tx: Tx| async move {
                insert(&mut tx, same).await?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await
            .expect_err("a code is one machine's");
        assert!(taken.is_duplicate(), "{taken}");
    }
}
