//! Scheduled changes: a plan that is applied at its time by whichever controller looks first.
//!
//! The schedule holds the plan's digest, how it is to be applied, and who ordered it. At its time the plan must still
//! hold and that principal must still be allowed to; otherwise the change stays planned and says why. Looking whether
//! it waits and applying it are one transaction, so that two controllers apply it once. While a freeze stands over one
//! of its nodes it waits for the end.

pub(crate) mod driver;
pub(crate) mod store;

use lampas_api::{FrozenScope, ScheduleView};
use lampas_runtime::clock;
use lampas_shared::{
    access::Permission,
    change::ScheduleState,
    event::EventKind,
    id::{ChangeId, TokenId, UserId},
    time::UnixMs,
};

use self::store::ScheduleRow;
use super::{
    Apply, ChangeError, ChangeRow, Changes,
    approval::{self, protection},
    freeze,
    node_edit::Both,
    plan::Prospect,
    service, store as changes,
};
use crate::{
    access,
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
};

/// How far ahead a change may be scheduled.
const AHEAD_MS: i64 = 366 * 86_400_000;
/// How late a change may be applied whose time passed while no controller ran.
const LATE_MS: i64 = 3_600_000;

/// Who ordered a change: what is asked again at its time.
#[derive(Debug, Clone)]
pub struct Orderer {
    /// As the audit names them.
    pub by: Principal,
    /// The user.
    pub user: UserId,
    /// The token that they used.
    pub token: Option<TokenId>,
}

impl Changes {
    /// Puts a planned change on the schedule, in place of what stood there for it.
    ///
    /// # Errors
    /// When the time is in the past, the plan holds no more, or it needs an approval that it doesn't have.
    pub async fn schedule(
        &self,
        id: ChangeId,
        how: &Apply,
        at: UnixMs,
        who: &Orderer,
    ) -> Result<ChangeRow, ChangeError> {
        how.rollout.check().map_err(ChangeError::Strategy)?;
        let wrong = |why| Err(protection::rule("/at", "time", &at.to_string(), why));
        match at.since(clock::now()) {
            ..=0 => return wrong("is in the past"),
            ahead if ahead > AHEAD_MS => return wrong("is more than a year away"),
            _ => {}
        }
        self.must(id, Permission::Change, &who.by).await?;
        self.look_again(id).await?;
        let outcome = self
            .db()
            .write(|mut tx| async move {
                let row = put(&mut tx, id, how, at, who).await?;
                Ok::<_, ChangeError>(tx.done(row))
            })
            .await;
        if let Err(error) = &outcome {
            self.note_refusal(id, how.plan.as_deref(), error).await;
        }
        outcome
    }

    /// Takes a change off the schedule.
    ///
    /// # Errors
    /// When it isn't on it.
    pub async fn unschedule(&self, id: ChangeId, reason: &str, by: &Principal) -> Result<ChangeRow, ChangeError> {
        self.db()
            .write(|mut tx| async move {
                let row =
                    changes::get(&mut tx, id, true).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
                service::within(&mut tx, id, Permission::Change, by).await?;
                let why = format!("taken off by {}{}", service::author(by), because(reason));
                if !withdraw(&mut tx, &row, &why, clock::now()).await? {
                    return Err(ChangeError::Nothing(format!("change {} is not scheduled", row.number)));
                }
                tx.audit(Entry::done(by, "change.unschedule", format!("change {}", row.number)).because(reason));
                Ok::<_, ChangeError>(tx.done(row))
            })
            .await
    }

    /// Applies a change whose time has come, unless another controller did.
    async fn fire(&self, id: ChangeId) -> Result<(), ChangeError> {
        self.look_again(id).await?;
        let moved = self
            .db()
            .write(|mut tx| async move {
                let now = clock::now();
                let Some(found) = store::get(&mut tx, id, true).await? else { return Ok(tx.done(Vec::new())) };
                if found.state != ScheduleState::Waiting || found.at > now {
                    return Ok(tx.done(Vec::new()));
                }
                if now.since(found.due) > LATE_MS {
                    let why = format!("no controller ran at {}, and it came back more than an hour later", found.due);
                    return Err(ChangeError::Unfit(why));
                }
                // Who ordered it may perhaps less by now; where, is asked with the nodes that would move.
                let by = may(&mut tx, &found, now).await?;
                let how = Apply { plan: Some(found.plan.clone()), ..found.how.apply() };
                // Before it is applied: what waits is taken off the schedule by that.
                store::set(&mut tx, id, ScheduleState::Applied, (found.due, ""), now).await?;
                let (row, moved) = service::apply(&mut tx, id, &how, &by).await?;
                tell(&mut tx, &row, "applied", "");
                Ok::<_, ChangeError>(tx.done(moved))
            })
            .await?;
        self.gate().wake(&moved);
        Ok(())
    }

    /// A freeze stands: it waits for the end.
    async fn hold_back(&self, id: ChangeId, frozen: &[FrozenScope]) -> Result<(), ChangeError> {
        let Some(until) = freeze::until(frozen) else { return Ok(()) };
        let why = &format!("it waits: {}", freeze::told(frozen));
        self.db()
            .write(|mut tx| async move {
                let found = store::get(&mut tx, id, true).await?.filter(|s| s.state == ScheduleState::Waiting);
                let row = changes::get(&mut tx, id, false).await?;
                let (Some(found), Some(row)) = (found, row) else { return Ok(tx.done(())) };
                if (found.due, &found.reason) != (until, why) {
                    store::set(&mut tx, id, ScheduleState::Waiting, (until, why), clock::now()).await?;
                    tell(&mut tx, &row, "held", why);
                }
                Ok::<_, ChangeError>(tx.done(()))
            })
            .await
    }

    /// It can't be applied: it stays planned, and says why.
    async fn drop_due(&self, id: ChangeId, why: &str) -> Result<(), ChangeError> {
        self.db()
            .write(|mut tx| async move {
                let now = clock::now();
                let found = store::get(&mut tx, id, true).await?.filter(|s| s.state == ScheduleState::Waiting);
                let row = changes::get(&mut tx, id, true).await?;
                let (Some(found), Some(row)) = (found, row) else { return Ok(tx.done(())) };
                store::set(&mut tx, id, ScheduleState::Dropped, (found.due, why), now).await?;
                approval::end(&mut tx, &row, why, now).await?;
                tell(&mut tx, &row, "dropped", why);
                tx.audit(Entry::refused(&found.by, "change.apply", format!("change {}", row.number), why));
                Ok::<_, ChangeError>(tx.done(()))
            })
            .await
    }

    /// Returns the open changes that were dropped from the schedule since a time: number, why and when.
    pub(crate) async fn dropped(&self, since: UnixMs) -> Result<Vec<(u64, String, UnixMs)>, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let found = store::dropped(&mut tx, since).await?;
                Ok::<_, ChangeError>(tx.done(found))
            })
            .await
    }

    /// Returns the numbers of the changes that are on the schedule.
    pub(crate) async fn scheduled(&self) -> Result<Vec<u64>, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let found = store::numbers(&mut tx).await?;
                Ok::<_, ChangeError>(tx.done(found))
            })
            .await
    }
}

async fn put(tx: &mut Tx, id: ChangeId, how: &Apply, at: UnixMs, who: &Orderer) -> Result<ChangeRow, ChangeError> {
    let now = clock::now();
    let row = changes::get(tx, id, true).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
    service::must_be_open(&row, "scheduled")?;
    let prospect = Prospect::load(tx, &row, &row.author, now).await?;
    let given = how.plan.as_deref().unwrap_or_default();
    service::hold(tx, &row, given, how.allow_unplanned, &prospect).await?;
    super::rollout::limit::joined(&how.rollout, super::rollout::limit::of_plan(tx, row.id).await?)?;
    prospect.must(tx, &who.by).await?;
    service::must_run_gates(&prospect, how, &who.by)?;
    service::must_be_whole(&prospect, how)?;
    let nodes = prospect.affected().into_keys().collect();
    approval::check(tx, &row, (prospect.sides(), &nodes), how).await?;
    // At its time nobody is there to ask.
    who.by.must_be_proven(|| prospect.root_code(Some(how)))?;
    let scheduled = ScheduleRow {
        change: id,
        plan: row.plan_id.clone().unwrap_or_default(),
        state: ScheduleState::Waiting,
        at,
        due: at,
        how: store::How::of(how),
        by: who.by.clone(),
        user: who.user,
        token: who.token,
        reason: String::new(),
    };
    store::put(tx, &scheduled, now).await?;
    tell(tx, &row, "scheduled", &format!("for {} UTC", at.to_string().get(..16).unwrap_or_default().replace('T', " ")));
    let entry = Entry::done(&who.by, "change.schedule", format!("change {}", row.number)).because(row.reason.clone());
    tx.audit(entry.with_details(&serde_json::json!({ "plan": scheduled.plan, "at": at, "nodes": nodes.len() })));
    Ok(row)
}

/// Asks again whether who ordered it may.
async fn may(tx: &mut Tx, found: &ScheduleRow, now: UnixMs) -> Result<Principal, ChangeError> {
    let has = access::permitted(tx, (found.user, found.token), now).await?;
    let unfit = |why: String| Err(ChangeError::Unfit(why));
    let Some(has) = has else {
        return unfit(format!("{} is gone, was disabled, or the token ended", found.by.name));
    };
    if !has.is_anywhere(Permission::Change) {
        return unfit(format!("{} may apply changes no longer", found.by.name));
    }
    if found.how.is_over() && !has.is_anywhere(Permission::Protect) {
        return unfit(format!("{} may override protections and freezes no longer", found.by.name));
    }
    Ok(found.by.clone().with_rights(has))
}

/// Takes a change off the schedule, if it is on it.
pub(super) async fn withdraw(tx: &mut Tx, row: &ChangeRow, why: &str, now: UnixMs) -> Result<bool, DbError> {
    let Some(found) = store::get(tx, row.id, true).await? else { return Ok(false) };
    if found.state != ScheduleState::Waiting {
        return Ok(false);
    }
    store::set(tx, row.id, ScheduleState::Withdrawn, (found.due, why), now).await?;
    tell(tx, row, "withdrawn", why);
    Ok(true)
}

/// A change has a plan: what was scheduled is another one, or the same.
pub(super) async fn planned(tx: &mut Tx, row: &ChangeRow, full: &str, now: UnixMs) -> Result<(), DbError> {
    match store::get(tx, row.id, true).await? {
        Some(found) if found.state == ScheduleState::Waiting && found.plan != full => {
            withdraw(tx, row, "something moved, and it was planned anew", now).await?;
        }
        // Whoever plans it again knows that it was dropped.
        Some(found) if found.state == ScheduleState::Dropped => {
            store::set(tx, row.id, ScheduleState::Withdrawn, (found.due, &found.reason), now).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Returns when a change is to be applied, or was.
pub(super) async fn view(tx: &mut Tx, id: ChangeId) -> Result<Option<ScheduleView>, DbError> {
    let found = store::get(tx, id, false).await?;
    Ok(found.map(|s| ScheduleView {
        state: s.state,
        at: s.at,
        due: s.due,
        by: service::author(&s.by),
        rollout: s.how.rollout,
        reason: s.reason,
    }))
}

/// Returns the freezes that stand over the nodes of a change's plan, unless it goes over them.
async fn frozen(tx: &mut Tx, found: &ScheduleRow, now: UnixMs) -> Result<Vec<FrozenScope>, DbError> {
    if found.how.over_freeze.is_some() {
        return Ok(Vec::new());
    }
    let Some((_, plan)) = changes::plan(tx, found.change).await? else { return Ok(Vec::new()) };
    let both = Both::of(tx, found.change).await?;
    freeze::over(tx, both.sides(), &approval::nodes_of(&plan), now).await
}

fn tell(tx: &mut Tx, row: &ChangeRow, state: &str, why: &str) {
    let event = NewEvent::new(EventKind::ScheduleMoved).change(row.id).with("number", row.number);
    tx.event(event.with("state", state).with("reason", why));
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}
