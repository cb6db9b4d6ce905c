//! Freezes: windows in which nothing is changed on the nodes of a scope.
//!
//! No change is applied meanwhile to a node in the scope, no rollout begins a wave there, and what is scheduled waits
//! for the end. What is under way when a freeze begins goes on, and what a rollout puts back by itself is put back:
//! a fleet in two halves is worse than either. An administrator may go over freezes that stand; of those that are made
//! later such a change knows nothing.

pub(crate) mod api;
pub(crate) mod store;

use std::collections::BTreeSet;

use lampas_api::{Freeze, FreezeCreate, FreezeState, FrozenScope};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::Permission,
    event::EventKind,
    id::{ChangeId, FreezeId, NodeId},
    time::UnixMs,
};

use self::store::FreezeRow;
use super::{
    ChangeError, Changes,
    approval::{
        self, nodes_of,
        protection::{given, is_within, rule, shown_scope, stored},
    },
    node_edit::{Both, Sides},
    service, store as changes,
};
use crate::{
    audit::{Entry, Principal},
    compile::NodeInput,
    db::{DbError, Tx},
    event::NewEvent,
    fleet,
};

/// Longer is not a freeze but the end of changes.
const YEAR_MS: i64 = 366 * 86_400_000;
/// How long those that are over are listed.
const PAST_MS: i64 = 30 * 86_400_000;
/// How many may stand or be to come at once.
const MAX: usize = 200;

impl Changes {
    /// Returns the freezes that stand and are to come, by their beginning; with `past` those of the last month too.
    pub async fn freezes(&self, past: bool) -> Result<Vec<Freeze>, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let now = clock::now();
                let since = if past { now.plus_ms(-PAST_MS) } else { now };
                let rows = store::until_after(&mut tx, since).await?;
                let members = fleet::members(&mut tx).await?;
                let found = rows.iter().map(|r| shown(r, &members, now)).collect();
                Ok::<_, ChangeError>(tx.done(found))
            })
            .await
    }

    /// Makes a freeze.
    ///
    /// # Errors
    /// When it ends before it begins or in the past, is longer than a year, or names a node that isn't there.
    pub async fn freeze(&self, new: &FreezeCreate, by: &Principal) -> Result<Freeze, ChangeError> {
        let now = clock::now();
        let from = new.from.unwrap_or(now);
        let wrong = |why: &str| Err(rule("/until", "end of the freeze", &new.until.to_string(), why));
        if new.until <= now {
            return wrong("is in the past");
        }
        if new.until <= from {
            return wrong("is not after its beginning");
        }
        if new.until.since(from) > YEAR_MS || from.since(now) > YEAR_MS {
            return wrong("is more than a year away");
        }
        let reason = &given("reason", &new.reason)?;
        self.db()
            .write(|mut tx| async move {
                if store::until_after(&mut tx, now).await?.len() >= MAX {
                    return Err(rule("/scope", "scope", &new.scope.to_string(), "200 freezes stand or are to come"));
                }
                let scope = stored(&mut tx, &new.scope).await?;
                let members = fleet::members(&mut tx).await?;
                by.must_on_scopes(Permission::Freeze, [&new.scope], &members)?;
                let row = FreezeRow {
                    id: random::new_id(),
                    scope,
                    from,
                    until: new.until,
                    reason: reason.clone(),
                    author: service::author(by),
                    created_at: now,
                    ended_by: String::new(),
                };
                store::insert(&mut tx, &row).await?;
                let event = NewEvent::new(EventKind::FreezeChanged).with("scope", &new.scope);
                let event = event.with("state", if from > now { "to come" } else { "on" });
                tx.event(event.with("until", row.until).with("reason", reason));
                let entry = Entry::done(by, "freeze.create", new.scope.to_string()).because(reason.clone());
                tx.audit(entry.with_details(&serde_json::json!({ "from": from, "until": row.until })));
                let made = shown(&row, &members, now);
                Ok::<_, ChangeError>(tx.done(made))
            })
            .await
    }

    /// Ends a freeze before its time, or drops one that has not begun.
    ///
    /// # Errors
    /// When there is none that stands or is to come.
    pub async fn thaw(&self, id: FreezeId, reason: &str, by: &Principal) -> Result<Freeze, ChangeError> {
        self.db()
            .write(|mut tx| async move {
                let now = clock::now();
                let missing = || ChangeError::Nothing(format!("there is no freeze {id} that stands or is to come"));
                let rows = store::until_after(&mut tx, now).await?;
                let mut row = rows.into_iter().find(|r| r.id == id).ok_or_else(missing)?;
                let members = fleet::members(&mut tx).await?;
                by.must_on_scopes(Permission::Freeze, [&shown_scope(&row.scope, &members)], &members)?;
                row.ended_by = service::author(by);
                (row.from, row.until) = (row.from.min(now), now);
                store::end(&mut tx, &row).await?;
                let made = shown(&row, &members, now);
                let event = NewEvent::new(EventKind::FreezeChanged).with("scope", &made.scope);
                tx.event(event.with("state", "over").with("reason", reason));
                tx.audit(Entry::done(by, "freeze.end", made.scope.to_string()).because(reason));
                Ok::<_, ChangeError>(tx.done(made))
            })
            .await
    }
}

/// Returns the freezes that stand at a time over some of these nodes.
pub(super) async fn over(
    tx: &mut Tx,
    sides: Sides<'_>,
    nodes: &BTreeSet<NodeId>,
    now: UnixMs,
) -> Result<Vec<FrozenScope>, DbError> {
    let rows = store::until_after(tx, now).await?;
    Ok(touched(rows.iter().filter(|r| r.from <= now), sides, nodes))
}

fn touched<'a>(
    rows: impl Iterator<Item = &'a FreezeRow>,
    sides: Sides<'_>,
    nodes: &BTreeSet<NodeId>,
) -> Vec<FrozenScope> {
    let is_touched = |r: &&FreezeRow| sides.is_touched(nodes, |m| is_within(&r.scope, m));
    let view = |r: &FreezeRow| FrozenScope {
        scope: shown_scope(&r.scope, sides.before),
        from: r.from,
        until: r.until,
        reason: r.reason.clone(),
    };
    rows.filter(is_touched).map(view).collect()
}

/// Returns the freezes that stand or are to come over the nodes of a change's plan.
pub(super) async fn ahead(tx: &mut Tx, change: ChangeId) -> Result<Vec<FrozenScope>, DbError> {
    let rows = store::until_after(tx, clock::now()).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let Some((_, plan)) = changes::plan(tx, change).await? else { return Ok(Vec::new()) };
    let both = Both::of(tx, change).await?;
    Ok(touched(rows.iter(), both.sides(), &nodes_of(&plan)))
}

/// Returns why the wave of these nodes may not begin, and until when.
pub(super) async fn holding(
    tx: &mut Tx,
    change: ChangeId,
    wave: &[NodeId],
    now: UnixMs,
) -> Result<Option<(String, UnixMs)>, DbError> {
    let mut rows = store::until_after(tx, now).await?;
    rows.retain(|r| r.from <= now);
    if rows.is_empty() {
        return Ok(None);
    }
    let overrides = approval::store::overrides(tx, change).await?;
    if let Some(made) = overrides.iter().find(|o| o.what == "freeze") {
        rows.retain(|r| r.created_at > made.at);
    }
    let members = fleet::members(tx).await?;
    let frozen = touched(rows.iter(), Sides::same(&members), &wave.iter().copied().collect());
    Ok(until(&frozen).map(|last| (format!("the next wave waits: {}", told(&frozen)), last)))
}

/// Returns when the last of them ends.
pub(super) fn until(frozen: &[FrozenScope]) -> Option<UnixMs> {
    frozen.iter().map(|f| f.until).max()
}

/// Tells freezes in a sentence.
pub(crate) fn told(frozen: &[FrozenScope]) -> String {
    let one = |f: &FrozenScope| format!("{} is frozen until {} ({})", f.scope, f.until, f.reason);
    let first: Vec<String> = frozen.iter().take(3).map(one).collect();
    let more = if frozen.len() > 3 { format!(" and {} more", frozen.len() - 3) } else { String::new() };
    format!("{}{more}", first.join(", "))
}

fn shown(row: &FreezeRow, members: &[NodeInput], now: UnixMs) -> Freeze {
    let state = match () {
        () if row.until <= now => FreezeState::Over,
        () if row.from > now => FreezeState::Coming,
        () => FreezeState::Standing,
    };
    Freeze {
        id: row.id,
        scope: shown_scope(&row.scope, members),
        from: row.from,
        until: row.until,
        reason: row.reason.clone(),
        author: row.author.clone(),
        created_at: row.created_at,
        ended_by: row.ended_by.clone(),
        state,
        nodes: members.iter().filter(|m| is_within(&row.scope, m)).count() as u32,
    }
}
