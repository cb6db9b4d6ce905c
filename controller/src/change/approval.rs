//! Approvals: somebody else looks at the plan of a change before it reaches protected nodes.
//!
//! Administrators protect scopes. A plan that affects a node in one of them waits until somebody who made none of its
//! drafts approves it. The approval names the plan by its whole digest, which covers what each node would become and
//! what it saw on its disk: when anything moves, the plan has another digest, and the approval is over. What a rollout
//! puts back by itself stood there before, and needs none.
//!
//! A plan that was only made to look at it, as a pipeline does for each merge request, can be approved like any other, but
//! waits for nobody: it is in no list, and nobody is told. Trying to apply it asks for the approval.

pub(crate) mod api;
pub(super) mod protection;
pub(crate) mod store;

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{ApprovalView, ApprovalWanted, Control, PlanOutlook, ProtectedScope};
use lampas_runtime::clock;
use lampas_shared::{
    access::{Login, Permission, Rights},
    change::{ChangeState, Verdict},
    error::Chain,
    event::EventKind,
    id::{ChangeId, NodeId},
    time::UnixMs,
};
use tracing::warn;

use self::store::ApprovalRow;
use super::{
    Apply, ChangeError, ChangeRow, Changes, fold, freeze,
    node_edit::{Both, Sides},
    plan::Prospect,
    progress, schedule, service,
    store::{self as changes, StoredPlan},
};
use crate::{
    access,
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
    fleet,
};

/// How many are named of those who may approve.
const NAMED: usize = 20;
/// How many waiting plans are listed; who has more than that waiting has another problem.
const LISTED: u32 = 200;

impl Changes {
    /// Approves the plan of a change, which must still hold.
    ///
    /// # Errors
    /// When the principal made the change, the plan is another or holds no more, or the change is not planned.
    pub async fn approve(
        &self,
        id: ChangeId,
        plan: &str,
        reason: &str,
        by: &Principal,
    ) -> Result<ChangeRow, ChangeError> {
        if plan.len() != 64 {
            let why = "is no whole digest of a plan; an approval binds to all of it";
            return Err(protection::rule("/plan", "plan", plan, why));
        }
        self.must(id, Permission::Approve, by).await?;
        self.look_again(id).await?;
        self.db()
            .write(|mut tx| async move {
                let now = clock::now();
                let row = waiting(&mut tx, id, "approved").await?;
                let approver = service::author(by);
                if authors(&row).contains(&approver) {
                    return Err(ChangeError::OwnChange { number: row.number, by: approver });
                }
                if row.state != ChangeState::Planned {
                    return Err(ChangeError::State { number: row.number, state: row.state, act: "approved" });
                }
                let prospect = Prospect::load(&mut tx, &row, &row.author, now).await?;
                service::hold(&mut tx, &row, plan, true, &prospect).await?;
                prospect.within(Permission::Approve, by)?;
                by.must_be_proven(|| prospect.root_code(None))?;
                let nodes = prospect.affected().into_keys().collect();
                let approval = ApprovalRow {
                    change: id,
                    plan: plan.to_owned(),
                    verdict: Verdict::Approved,
                    needs: protection::touched(&mut tx, prospect.sides(), &nodes).await?,
                    by: approver,
                    reason: reason.to_owned(),
                    note: String::new(),
                    at: now,
                };
                store::put(&mut tx, &approval).await?;
                changes::set_asked(&mut tx, id).await?;
                changes::set_state(&mut tx, id, ChangeState::Approved, now).await?;
                tell(&mut tx, &row, ChangeState::Approved, &format!("by {}", approval.by), reason);
                let entry = Entry::done(by, "change.approve", format!("change {}", row.number)).because(reason);
                tx.audit(entry.with_details(&serde_json::json!({
                    "plan": plan, "author": row.author, "nodes": nodes.len(), "protections": &approval.needs,
                })));
                let row = waiting(&mut tx, id, "approved").await?;
                Ok::<_, ChangeError>(tx.done(row))
            })
            .await
    }

    /// Sends a planned change back to its author: it is a draft again, and its plan is gone.
    ///
    /// # Errors
    /// When it has no plan, or was applied or abandoned.
    pub async fn decline(&self, id: ChangeId, reason: &str, by: &Principal) -> Result<ChangeRow, ChangeError> {
        let reason = &protection::given("reason", reason)?;
        self.db()
            .write(|mut tx| async move {
                let now = clock::now();
                let row = waiting(&mut tx, id, "declined").await?;
                if row.state == ChangeState::Draft {
                    return Err(ChangeError::State { number: row.number, state: row.state, act: "declined" });
                }
                service::within(&mut tx, id, Permission::Approve, by).await?;
                let before = store::get(&mut tx, id).await?;
                let who = service::author(by);
                let declined = ApprovalRow {
                    change: id,
                    plan: row.plan_id.clone().unwrap_or_default(),
                    verdict: Verdict::Declined,
                    needs: before.map(|b| b.needs).unwrap_or_default(),
                    note: format!("declined by {who}: {reason}"),
                    by: who.clone(),
                    reason: reason.clone(),
                    at: now,
                };
                store::put(&mut tx, &declined).await?;
                store::drop_plan(&mut tx, id).await?;
                changes::set_state(&mut tx, id, ChangeState::Draft, now).await?;
                schedule::withdraw(&mut tx, &row, &format!("the plan was declined by {who}"), now).await?;
                tell(&mut tx, &row, ChangeState::Draft, &format!("declined by {who}"), reason);
                let entry = Entry::done(by, "change.decline", format!("change {}", row.number));
                tx.audit(entry.because(reason.clone()));
                let row = waiting(&mut tx, id, "declined").await?;
                Ok::<_, ChangeError>(tx.done(row))
            })
            .await
    }

    /// Notes that somebody asks to have a change applied which was only planned to look at it: from then on it waits.
    pub(crate) async fn asked(&self, id: ChangeId) -> Result<(), ChangeError> {
        self.db()
            .write(|mut tx| async move {
                if let Some(row) = changes::get(&mut tx, id, true).await? {
                    ask(&mut tx, &row, clock::now()).await?;
                }
                Ok::<_, ChangeError>(tx.done(()))
            })
            .await
    }

    /// Returns the plans that wait for an approval, the oldest first, as somebody sees them.
    pub async fn approvals(&self, by: &Principal) -> Result<Vec<ApprovalWanted>, ChangeError> {
        let login = &service::author(by);
        self.db()
            .read(|mut tx| async move {
                let rows = store::wanted(&mut tx, LISTED).await?;
                let ids: Vec<ChangeId> = rows.iter().map(|r| r.change).collect();
                let mut titles = changes::titles(&mut tx, &ids).await?;
                let mut standing = progress::progress(&mut tx, &ids).await?;
                let mut found = Vec::with_capacity(rows.len());
                let members = fleet::members(&mut tx).await?;
                let scopes = changes::scopes(&mut tx, &ids).await?;
                let outlooks = changes::outlooks(&mut tx, &ids).await?;
                let people = access::everybody(&mut tx, clock::now()).await?;
                // A plan names every node of the fleet: it is read only where somebody may approve on some of them.
                let is_part = |r: &Rights| r.is_anywhere(Permission::Approve) && !r.is_fleet(Permission::Approve);
                let has_parts = people.values().chain(by.rights.as_deref()).any(is_part);
                // Those that an earlier release noted, or whose nodes went meanwhile, wait for nobody.
                let waits = |r: &ApprovalRow| matches!(outlooks.get(&r.change), None | Some(PlanOutlook::Unknown));
                for approval in rows.into_iter().filter(waits) {
                    let Some(row) = changes::get(&mut tx, approval.change, false).await? else { continue };
                    let authors = authors(&row);
                    let title = titles.remove(&row.id).unwrap_or_default();
                    let plan = if has_parts { changes::plan(&mut tx, row.id).await? } else { None };
                    let nodes = plan.map(|(_, p)| nodes_of(&p)).unwrap_or_default();
                    let over = scopes.get(&row.id).cloned().unwrap_or_default();
                    let may = |by: &Principal| by.may(Permission::Approve, &over, nodes.iter().copied(), &members);
                    found.push(ApprovalWanted {
                        change: row.summary(title, standing.remove(&row.id).unwrap_or_default(), None),
                        plan: fold::short_id(&approval.plan),
                        protections: approval.needs,
                        since: approval.at,
                        is_mine: authors.contains(login),
                        may_approve: may(by) && !authors.contains(login),
                        approvers: approvers(&people, &authors, &may),
                    });
                }
                Ok::<_, ChangeError>(tx.done(found))
            })
            .await
    }

    /// Notes what a refused apply showed: that the approved plan holds no more, or that an approval is wanted; and that
    /// somebody asks for the plan. What can't be noted is logged: the refusal itself is what counts.
    pub(super) async fn note_refusal(&self, id: ChangeId, given: Option<&str>, error: &ChangeError) {
        let noted = self
            .db()
            .write(|mut tx| async move {
                let now = clock::now();
                let Some(row) = changes::get(&mut tx, id, true).await? else { return Ok(tx.done(())) };
                if given.is_none() || names(given, &row) {
                    ask(&mut tx, &row, now).await?;
                }
                match error {
                    ChangeError::ApprovalNeeded { needs, .. } if row.state == ChangeState::Planned => {
                        want(&mut tx, &row, needs.clone(), now).await?;
                    }
                    ChangeError::Moved { .. }
                    | ChangeError::Conflict { .. }
                    | ChangeError::Exists { .. }
                    | ChangeError::Remade { .. }
                    | ChangeError::NodeConflict { .. }
                    | ChangeError::Tie(_)
                        if names(given, &row) =>
                    {
                        end(&mut tx, &row, &error.to_string(), now).await?;
                    }
                    _ => {}
                }
                Ok::<_, ChangeError>(tx.done(()))
            })
            .await;
        if let Err(error) = noted {
            warn!(error = %Chain(&error), "what a refused apply means for its approval was not noted");
        }
    }
}

/// Lets a change wait that was only planned to look at it, from this moment.
async fn ask(tx: &mut Tx, row: &ChangeRow, now: UnixMs) -> Result<(), DbError> {
    if !row.is_look || row.state != ChangeState::Planned {
        return Ok(());
    }
    changes::set_asked(tx, row.id).await?;
    if let Some(wanted) = store::get(tx, row.id).await?.filter(|a| a.verdict == Verdict::Wanted) {
        store::put(tx, &ApprovalRow { at: now, ..wanted }).await?;
    }
    tell(tx, row, row.state, "somebody asks to have it applied", "");
    Ok(())
}

/// Whether somebody gave the plan that the change has: only then it says something of the approval.
fn names(given: Option<&str>, row: &ChangeRow) -> bool {
    given.is_some_and(|g| row.plan_id.as_deref().is_some_and(|full| fold::names_plan(g, full)))
}

/// Returns whether somebody said something of a change: of the plan that it has, or of one before.
pub(super) async fn is_judged(tx: &mut Tx, id: ChangeId) -> Result<bool, DbError> {
    let said = |a: ApprovalRow| a.verdict != Verdict::Wanted || !a.note.is_empty();
    Ok(store::get(tx, id).await?.is_some_and(said))
}

/// Returns who made a change or one of its drafts: drafts come with their change, from one hand. What a git source makes
/// is also of whoever set that up.
pub(super) fn authors(row: &ChangeRow) -> BTreeSet<String> {
    let owner = row.author.strip_prefix("source:").and_then(|s| s.rsplit_once(" of ")).map(|(_, owner)| owner);
    owner.map(str::to_owned).into_iter().chain([row.author.clone()]).collect()
}

async fn waiting(tx: &mut Tx, id: ChangeId, act: &'static str) -> Result<ChangeRow, ChangeError> {
    let row = changes::get(tx, id, true).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
    service::must_be_open(&row, act)?;
    Ok(row)
}

/// Returns what is protected among the nodes that a change is about to be applied to, and would be overridden: nothing
/// when nothing is, or when its plan is approved.
///
/// # Errors
/// [`ChangeError::ApprovalNeeded`], with who may.
pub(super) async fn check(
    tx: &mut Tx,
    row: &ChangeRow,
    (sides, nodes): (Sides<'_>, &BTreeSet<NodeId>),
    how: &Apply,
) -> Result<Vec<ProtectedScope>, ChangeError> {
    let needs = protection::touched(tx, sides, nodes).await?;
    if needs.is_empty() {
        return Ok(needs);
    }
    let approval = store::get(tx, row.id).await?;
    let is_approved = row.state == ChangeState::Approved
        && how.plan.is_some()
        && approval.is_some_and(|a| a.verdict == Verdict::Approved && Some(&a.plan) == row.plan_id.as_ref());
    if is_approved {
        return Ok(Vec::new());
    }
    if how.over_protection.is_some() {
        return Ok(needs);
    }
    let over = changes::scopes(tx, &[row.id]).await?.remove(&row.id).unwrap_or_default();
    let may = |by: &Principal| by.may(Permission::Approve, &over, nodes.iter().copied(), sides.before);
    let people = access::everybody(tx, clock::now()).await?;
    let may = approvers(&people, &authors(row), &may);
    Err(ChangeError::ApprovalNeeded { number: row.number, needs, may })
}

/// Returns who may approve what these did not make, by name.
fn approvers(
    people: &BTreeMap<Login, Rights>,
    authors: &BTreeSet<String>,
    may: &dyn Fn(&Principal) -> bool,
) -> Vec<String> {
    let others = people.iter().filter(|(login, _)| !authors.contains(login.as_str()));
    let able = others.filter(|(login, rights)| {
        let somebody = || Principal::new(login.as_str(), "").with_rights((*rights).clone());
        rights.is_anywhere(Permission::Approve) && may(&somebody())
    });
    able.map(|(login, _)| login.to_string()).take(NAMED).collect()
}

/// Notes on the change and in the audit that it was applied over something.
pub(super) async fn overridden(
    tx: &mut Tx,
    row: &ChangeRow,
    (what, why): (&'static str, &str),
    scopes: Vec<String>,
    by: &Principal,
    now: UnixMs,
) -> Result<(), DbError> {
    store::put_override(tx, row.id, (what, &service::author(by), why), now).await?;
    let act = if what == "freeze" { "change.override_freeze" } else { "change.override_protection" };
    let entry = Entry::done(by, act, format!("change {}", row.number)).because(why);
    tx.audit(entry.with_details(&serde_json::json!({ "scopes": scopes })));
    Ok(())
}

/// A change has a plan: says whether that waits for an approval, and whether the one that stood still does.
pub(super) async fn planned(
    tx: &mut Tx,
    row: &ChangeRow,
    (full, plan): (&str, &StoredPlan),
    now: UnixMs,
) -> Result<ChangeState, ChangeError> {
    let before = store::get(tx, row.id).await?;
    let is_approved = |a: &ApprovalRow| a.verdict == Verdict::Approved && a.plan == full;
    if row.state == ChangeState::Approved && before.as_ref().is_some_and(is_approved) {
        return Ok(ChangeState::Approved);
    }
    let needs = needs(tx, row.id, plan).await?;
    let row = ChangeRow { plan_id: Some(full.to_owned()), ..row.clone() };
    if needs.is_empty() {
        store::delete(tx, row.id).await?;
    } else {
        want(tx, &row, needs, now).await?;
    }
    Ok(ChangeState::Planned)
}

/// Protections are others: looks again which plans wait for an approval.
async fn refresh(tx: &mut Tx, now: UnixMs) -> Result<(), ChangeError> {
    for id in store::planned(tx, 500).await? {
        let Some(row) = changes::get(tx, id, true).await? else { continue };
        let Some((_, plan)) = changes::plan(tx, id).await? else { continue };
        let needs = needs(tx, id, &plan).await?;
        if needs.is_empty() {
            store::delete(tx, id).await?;
        } else {
            want(tx, &row, needs, now).await?;
        }
    }
    Ok(())
}

/// Returns what is protected among the nodes of a plan that an approval could let through: nobody waits for one of a plan
/// that nodes can't do, or that does nothing.
async fn needs(tx: &mut Tx, id: ChangeId, plan: &StoredPlan) -> Result<Vec<ProtectedScope>, ChangeError> {
    if plan.shown.is_idle || fold::is_blocked(&plan.shown) {
        return Ok(Vec::new());
    }
    let both = Both::of(tx, id).await?;
    Ok(protection::touched(tx, both.sides(), &nodes_of(plan)).await?)
}

pub(super) fn nodes_of(plan: &StoredPlan) -> BTreeSet<NodeId> {
    plan.nodes.keys().copied().collect()
}

/// Notes that a plan waits for an approval; since when it does stays.
async fn want(tx: &mut Tx, row: &ChangeRow, needs: Vec<ProtectedScope>, now: UnixMs) -> Result<(), DbError> {
    let plan = row.plan_id.clone().unwrap_or_default();
    let before = store::get(tx, row.id).await?;
    let same = before.as_ref().filter(|b| b.verdict == Verdict::Wanted && b.plan == plan);
    let at = same.map_or(now, |b| b.at);
    let note = match &before {
        Some(b) if b.verdict == Verdict::Approved => format!("was approved by {}, then planned anew", b.by),
        Some(b) => b.note.clone(),
        None => String::new(),
    };
    let (by, reason) = (String::new(), String::new());
    let row = ApprovalRow { change: row.id, plan, verdict: Verdict::Wanted, needs, by, reason, note, at };
    store::put(tx, &row).await
}

/// Ends an approval because something moved: the change is planned again, and no more.
pub(super) async fn end(tx: &mut Tx, row: &ChangeRow, why: &str, now: UnixMs) -> Result<(), ChangeError> {
    if row.state != ChangeState::Approved {
        return Ok(());
    }
    if let Some(before) = store::get(tx, row.id).await? {
        let note = format!("was approved by {}, then {why}", before.by);
        store::put(tx, &ApprovalRow { verdict: Verdict::Ended, note, at: now, ..before }).await?;
    }
    changes::set_state(tx, row.id, ChangeState::Planned, now).await?;
    tell(tx, row, ChangeState::Planned, "the approval is over", why);
    Ok(())
}

fn tell(tx: &mut Tx, row: &ChangeRow, state: ChangeState, what: &str, why: &str) {
    let event = NewEvent::new(EventKind::ChangeMoved).change(row.id).with("number", row.number);
    let why = if why.is_empty() { what.to_owned() } else { format!("{what}: {why}") };
    tx.event(event.with("state", state.as_str()).with("why", why));
}

/// Returns what stands between a change and its nodes.
pub(super) async fn control(tx: &mut Tx, row: &ChangeRow, is_brief: bool) -> Result<Control, DbError> {
    let approval = store::get(tx, row.id).await?;
    let mut control = Control {
        schedule: schedule::view(tx, row.id).await?,
        overrides: store::overrides(tx, row.id).await?,
        is_look: row.is_look && row.state.is_open(),
        ..Control::default()
    };
    if row.state.is_open() {
        if row.state == ChangeState::Planned && approval.as_ref().is_some_and(|a| a.verdict == Verdict::Wanted) {
            let members = fleet::members(tx).await?;
            let over = changes::scopes(tx, &[row.id]).await?.remove(&row.id).unwrap_or_default();
            let nodes = changes::plan(tx, row.id).await?.map(|(_, p)| nodes_of(&p)).unwrap_or_default();
            let may = |by: &Principal| by.may(Permission::Approve, &over, nodes.iter().copied(), &members);
            let people = access::everybody(tx, clock::now()).await?;
            control.approvers = approvers(&people, &authors(row), &may);
        }
        if !is_brief {
            control.freezes = freeze::ahead(tx, row.id).await?;
        }
    }
    if let Some(a) = approval {
        control.protections = a.needs;
        control.approval =
            Some(ApprovalView { verdict: a.verdict, by: a.by, reason: a.reason, note: a.note, at: a.at });
    }
    Ok(control)
}
