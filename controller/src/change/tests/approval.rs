//! Approval, freezes and the schedule through the store, by two people and by two controllers.

use lampas_api::{FreezeCreate, FreezeState, ProtectionCreate};
use lampas_shared::{
    access::Preset,
    change::{ScheduleState, Verdict},
    id::UserId,
    rollout::{Order, State, Strategy},
};

use super::{
    super::{rollout::driver, schedule},
    rollout::Told,
    *,
};
use crate::audit;

mod leave;
mod node_edit;

testing::on_both!(
    a_protected_node_waits_for_somebody_else,
    an_approval_dies_when_anything_moves,
    a_declined_plan_is_a_draft_again,
    a_plan_to_look_at_waits_for_nobody_until_it_is_asked_for,
    an_administrator_goes_over_a_protection,
    a_freeze_holds_back_changes,
    a_freeze_holds_back_the_next_wave,
    other_labels_lead_nobody_past_a_freeze,
    a_change_is_applied_at_its_time_and_once,
    what_cant_be_applied_at_its_time_says_why,
    a_schedule_waits_for_the_end_of_a_freeze,
    what_a_rollout_puts_back_needs_nobody,
);

fn rk() -> Principal {
    Principal::new("user:rk", "10.0.0.1")
}

fn dana() -> Principal {
    Principal::new("user:dana", "10.0.0.2")
}

const SOON_MS: i64 = 3_600_000;

impl World {
    async fn user(&self, login: &str, preset: Preset) -> UserId {
        let id: UserId = random::new_id();
        self.db
            .write(|mut tx| async move {
                sqlx::query(
                    "INSERT INTO user_account (id, login, display_name, preset, password_hash, created_ms, updated_ms) \
                     VALUES (?, ?, '', ?, '', 0, 0)",
                )
                .bind(id.to_string())
                .bind(login)
                .bind(preset.as_str())
                .execute(tx.conn())
                .await
                .map_err(DbError::from)?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await
            .expect("a user");
        id
    }

    async fn protect(&self, scope: &str) {
        let new = ProtectionCreate { scope: scope.parse().expect("a scope"), reason: "customers' data".into() };
        self.changes.protect(&new, &admin()).await.expect("protected");
    }

    async fn frozen(&self, scope: &str) -> lampas_api::Freeze {
        let until = clock::now().plus_ms(SOON_MS);
        let new = FreezeCreate { scope: scope.parse().expect("a scope"), from: None, until, reason: "the sale".into() };
        self.changes.freeze(&new, &admin()).await.expect("frozen")
    }

    /// A planned change of one file, by its author.
    async fn planned(&self, content: &str, by: &Principal) -> (ChangeRow, lampas_api::Plan) {
        let new = NewChange { drafts: vec![put(file("role:app", "motd", content))], ..NewChange::default() };
        let row = self.changes.create(&new, by).await.expect("a change");
        let plan = self.changes.plan(row.id, by).await.expect("a plan");
        (row, plan)
    }

    async fn control(&self, row: &ChangeRow) -> (ChangeState, lampas_api::Control) {
        let change = self.changes.show(row.id).await.expect("a change");
        (change.summary.state, change.control)
    }

    /// Puts a change on the schedule and lets its time come.
    async fn scheduled(&self, row: &ChangeRow, plan: &lampas_api::Plan, user: UserId, ago_ms: i64) {
        let at = clock::now().plus_ms(SOON_MS);
        let who = Orderer { by: rk(), user, token: None };
        self.changes.schedule(row.id, &how(plan), at, &who).await.expect("scheduled");
        let (past, id) = (clock::now().plus_ms(-ago_ms).0, row.id.to_string());
        let id = &id;
        self.db
            .write(|mut tx| async move {
                sqlx::query("UPDATE change_schedule SET at_ms = ?, due_ms = ? WHERE change_id = ?")
                    .bind(past)
                    .bind(past)
                    .bind(id)
                    .execute(tx.conn())
                    .await
                    .map_err(DbError::from)?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await
            .expect("its time comes");
    }

    /// Another controller over the same store.
    fn other(&self) -> Changes {
        Changes::new(Desired::new(self.db.clone()), self.nodes.clone())
    }
}

fn how(plan: &lampas_api::Plan) -> Apply {
    Apply { plan: Some(plan.id.clone()), allow_unplanned: true, ..Apply::default() }
}

async fn a_protected_node_waits_for_somebody_else(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    for (login, preset) in [("dana", Preset::Operator), ("rk", Preset::Operator), ("vera", Preset::Viewer)] {
        world.user(login, preset).await;
    }
    let (free, plan) = world.planned("free", &rk()).await;
    world.changes.apply(free.id, &how(&plan), &rk()).await.expect("nothing is protected");
    let (row, plan) = world.planned("hello", &rk()).await;
    assert!(world.changes.approvals(&rk()).await.expect("a list").is_empty());
    world.protect("role:app").await;
    let waiting = world.changes.approvals(&rk()).await.expect("a list");
    let one = &waiting[0];
    assert_eq!((waiting.len(), one.is_mine, one.may_approve), (1, true, false), "also what was planned before");
    assert_eq!(one.approvers, ["dana"], "no viewer, and not its author");
    let error = world.changes.apply(row.id, &how(&plan), &rk()).await.expect_err("it needs an approval");
    assert_eq!(
        error.to_string(),
        format!(
            "change {} needs an approval: role:app is protected (customers' data); dana may approve it",
            row.number
        )
    );
    for author in ["user:rk", "token:ci of rk", "machine:laptop of rk"] {
        let own = world.changes.approve(row.id, &plan.digest, "", &Principal::new(author, "")).await;
        assert!(matches!(own, Err(ChangeError::OwnChange { .. })), "{author}");
    }
    let short = world.changes.approve(row.id, &plan.id, "", &dana()).await;
    assert!(matches!(short, Err(ChangeError::Rule { pointer: "/plan", .. })), "only the whole digest binds");
    let other = world.changes.approve(row.id, &"0".repeat(64), "", &dana()).await;
    assert!(matches!(other, Err(ChangeError::Moved { .. })));
    let approved = world.changes.approve(row.id, &plan.digest, "looks right", &dana()).await.expect("approved");
    assert_eq!(approved.state, ChangeState::Approved);
    let (_, control) = world.control(&row).await;
    let said = control.approval.expect("said");
    assert_eq!((said.verdict, said.by.as_str(), said.reason.as_str()), (Verdict::Approved, "dana", "looks right"));
    assert!(world.changes.approvals(&dana()).await.expect("a list").is_empty());
    let again = world.changes.plan(row.id, &rk()).await.expect("planned again");
    assert_eq!(again.digest, plan.digest, "nothing moved");
    assert_eq!(world.control(&row).await.0, ChangeState::Approved);
    world.changes.apply(row.id, &how(&plan), &rk()).await.expect("applied");
    world.end().await;
}

async fn an_approval_dies_when_anything_moves(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    world.protect("fleet").await;
    let (row, plan) = world.planned("hello", &rk()).await;
    world.changes.approve(row.id, &plan.digest, "", &dana()).await.expect("approved");
    let wrong = Apply { plan: Some("0000-0000".into()), ..Apply::default() };
    world.changes.apply(row.id, &wrong, &rk()).await.expect_err("another plan's id");
    assert_eq!(world.control(&row).await.0, ChangeState::Approved, "a wrong id says nothing of the approval");
    world.node("web-2", &["app"], true).await;
    let error = world.changes.apply(row.id, &how(&plan), &rk()).await.expect_err("the fleet moved");
    assert!(matches!(error, ChangeError::Moved { .. }), "{error}");
    let (state, control) = world.control(&row).await;
    let said = control.approval.expect("said");
    assert_eq!((state, said.verdict), (ChangeState::Planned, Verdict::Ended));
    assert!(said.note.starts_with("was approved by dana, then the plan"), "{}", said.note);
    let fresh = world.changes.plan(row.id, &rk()).await.expect("planned again");
    assert_ne!(fresh.digest, plan.digest);
    let error = world.changes.apply(row.id, &how(&fresh), &rk()).await.expect_err("it needs another approval");
    assert!(matches!(error, ChangeError::ApprovalNeeded { .. }), "{error}");
    let old = world.changes.approve(row.id, &plan.digest, "", &dana()).await.expect_err("the old plan");
    assert!(matches!(old, ChangeError::Moved { .. }), "{old}");
    // A plan anew with another digest ends an approval, too.
    world.changes.approve(row.id, &fresh.digest, "", &dana()).await.expect("approved");
    world.node("web-3", &["app"], true).await;
    world.changes.plan(row.id, &rk()).await.expect("planned again");
    let (state, control) = world.control(&row).await;
    assert_eq!((state, control.approval.map(|a| a.verdict)), (ChangeState::Planned, Some(Verdict::Wanted)));
    world.end().await;
}

async fn a_declined_plan_is_a_draft_again(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    world.protect("role:app").await;
    let (row, plan) = world.planned("hello", &rk()).await;
    let why = world.changes.decline(row.id, " ", &dana()).await;
    assert!(matches!(why, Err(ChangeError::Rule { pointer: "/reason", .. })));
    let declined = world.changes.decline(row.id, "typo", &dana()).await.expect("declined");
    assert_eq!((declined.state, declined.plan_id), (ChangeState::Draft, None));
    let (_, control) = world.control(&row).await;
    assert_eq!(control.approval.expect("said").reason, "typo");
    let late = world.changes.approve(row.id, &plan.digest, "", &dana()).await.expect_err("its plan is gone");
    assert!(matches!(late, ChangeError::State { .. }), "{late}");
    let again = world.changes.plan(row.id, &rk()).await.expect("planned again");
    let (_, control) = world.control(&row).await;
    assert_eq!(control.approval.expect("wanted").note, "declined by dana: typo");
    world.changes.approve(row.id, &again.digest, "", &dana()).await.expect("approved");
    world.end().await;
}

async fn a_plan_to_look_at_waits_for_nobody_until_it_is_asked_for(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    world.protect("role:app").await;
    let looked = async |content: &str| {
        let drafts = vec![put(file("role:app", "motd", content))];
        let row = world.changes.create(&NewChange { drafts, only_look: true, ..NewChange::default() }, &rk()).await;
        let row = row.expect("a change");
        let plan = world.changes.plan(row.id, &rk()).await.expect("a plan");
        (row, plan)
    };
    let listed = async || {
        let waiting = world.changes.approvals(&dana()).await.expect("a list");
        let listing = Listing { state: Some(ChangeState::Planned), is_asked: true, limit: 9, ..Listing::default() };
        let asked = world.changes.list(&listing).await.expect("a list");
        let numbers = |found: &mut dyn Iterator<Item = u64>| found.collect::<Vec<_>>();
        let asked = numbers(&mut asked.items.iter().map(|c| c.number));
        (numbers(&mut waiting.iter().map(|w| w.change.number)), asked)
    };
    let (row, plan) = looked("hello").await;
    assert_eq!(listed().await, (vec![], vec![]));
    world.protect("fleet").await;
    assert_eq!(listed().await, (vec![], vec![]), "also when more is protected");
    let (_, control) = world.control(&row).await;
    assert!(control.is_look && control.approval.is_some_and(|a| a.verdict == Verdict::Wanted), "it says what it needs");

    // A mistaken plan's id asks for nothing; trying to apply it does, and to put it on the schedule.
    let wrong = Apply { plan: Some("0000-0000".into()), ..Apply::default() };
    world.changes.apply(row.id, &wrong, &rk()).await.expect_err("another plan's id");
    assert_eq!(listed().await, (vec![], vec![]));
    let error = world.changes.apply(row.id, &how(&plan), &rk()).await.expect_err("it needs an approval");
    assert!(matches!(error, ChangeError::ApprovalNeeded { .. }), "{error}");
    assert_eq!(listed().await, (vec![row.number], vec![row.number]));
    assert!(!world.control(&row).await.1.is_look);
    let (later, plan) = looked("later").await;
    let who = Orderer { by: rk(), user: world.user("rk", Preset::Operator).await, token: None };
    let at = clock::now().plus_ms(SOON_MS);
    world.changes.schedule(later.id, &how(&plan), at, &who).await.expect_err("it needs an approval");
    assert_eq!(listed().await.0, [row.number, later.number]);

    // Who has its number may approve it as it is.
    let (third, plan) = looked("third").await;
    world.changes.approve(third.id, &plan.digest, "", &dana()).await.expect("approved");
    world.changes.apply(third.id, &how(&plan), &rk()).await.expect("applied");
    world.end().await;
}

async fn an_administrator_goes_over_a_protection(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    world.protect("node:web-1").await;
    let (row, plan) = world.planned("hello", &admin()).await;
    let over = Apply { over_protection: Some("it burns".into()), ..how(&plan) };
    world.changes.apply(row.id, &over, &admin()).await.expect("applied");
    let (_, control) = world.control(&row).await;
    let made = &control.overrides[0];
    assert_eq!((made.what.as_str(), made.by.as_str(), made.reason.as_str()), ("protection", "admin", "it burns"));
    let protections = world.changes.protections().await.expect("a list");
    assert_eq!((protections[0].scope.to_string().as_str(), protections[0].nodes), ("node:web-1", 1));
    world.changes.unprotect(protections[0].id, "", &admin()).await.expect("no longer");
    let (row, plan) = world.planned("again", &rk()).await;
    world.changes.apply(row.id, &how(&plan), &rk()).await.expect("applied");
    world.end().await;
}

async fn a_freeze_holds_back_changes(db: Db) {
    let world = World::new(db);
    world.node("web-1", &["app"], true).await;
    let other = world.node("db-1", &["database"], true).await;
    let freeze = world.frozen("role:app").await;
    assert_eq!((freeze.state, freeze.nodes), (FreezeState::Standing, 1));
    let (row, plan) = world.planned("hello", &rk()).await;
    let error = world.changes.apply(row.id, &how(&plan), &rk()).await.expect_err("frozen");
    assert!(error.to_string().starts_with(&format!("role:app is frozen until {} (the sale)", freeze.until)), "{error}");
    assert_eq!(world.control(&row).await.1.freezes.len(), 1);
    world.save(vec![put(file("role:database", "issue", "x"))]).await.expect("elsewhere");
    assert_eq!(world.desired(other).await.resources().count(), 1);
    let over = Apply { over_freeze: Some("it burns".into()), ..how(&plan) };
    world.changes.apply(row.id, &over, &admin()).await.expect("an administrator goes over it");
    assert_eq!(world.control(&row).await.1.overrides[0].what, "freeze");
    world.changes.thaw(freeze.id, "", &dana()).await.expect("ended");
    assert!(world.changes.freezes(false).await.expect("a list").is_empty());
    assert_eq!(world.changes.freezes(true).await.expect("a list")[0].ended_by, "dana");
    let (row, plan) = world.planned("again", &rk()).await;
    world.changes.apply(row.id, &how(&plan), &rk()).await.expect("nothing stands");
    let past = FreezeCreate {
        scope: "fleet".parse().expect("a scope"),
        from: None,
        until: clock::now().plus_ms(-1),
        reason: "late".into(),
    };
    assert!(matches!(world.changes.freeze(&past, &rk()).await, Err(ChangeError::Rule { pointer: "/until", .. })));
    world.end().await;
}

async fn a_freeze_holds_back_the_next_wave(db: Db) {
    let world = World::new(db);
    let first = world.node("web-1", &["app"], true).await;
    let second = world.node("web-2", &["app"], true).await;
    let (row, plan) = world.planned("new", &rk()).await;
    let strategy: Strategy = serde_json::from_value(serde_json::json!({ "waves": ["1"] })).expect("a strategy");
    let apply = Apply { rollout: strategy, ..how(&plan) };
    world.changes.apply(row.id, &apply, &rk()).await.expect("applied");
    let freeze = world.frozen("node:web-2").await;
    world.land(first, 7, 1, ResourceState::Converged).await;
    driver::pass(&world.other(), &Told::default()).await.expect("driven");
    let held = async || world.changes.show(row.id).await.expect("a change").rollout.expect("a rollout");
    let shown = held().await;
    assert_eq!((shown.state, shown.wave), (State::Running, 1));
    assert!(shown.reason.contains("node:web-2 is frozen until"), "{}", shown.reason);
    assert!(shown.deadline > freeze.until, "the wave's time stands still");
    let refused = world.changes.order(row.id, Order::Promote, "", &admin()).await.expect_err("frozen");
    assert!(matches!(refused, ChangeError::FrozenWave(_)), "{refused}");
    assert_eq!(world.desired(second).await.resources().count(), 0);
    world.changes.thaw(freeze.id, "", &admin()).await.expect("ended");
    driver::pass(&world.other(), &Told::default()).await.expect("driven");
    let shown = held().await;
    assert_eq!((shown.wave, shown.reason.as_str()), (2, ""));
    assert_eq!(world.desired(second).await.resources().count(), 1);
    world.end().await;
}

async fn other_labels_lead_nobody_past_a_freeze(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    world.save(vec![put(file("role:database", "motd", "db"))]).await.expect("made");
    let freeze = world.frozen("role:database").await;
    let before = world.desired(node).await;
    let other = NodeUpdate { roles: Some(["database".parse().expect("a role")].into()), ..NodeUpdate::default() };
    let refused = world.changes.update_node(node, &other, None, None, &rk()).await.expect_err("frozen");
    assert!(matches!(refused, ChangeError::Guarded(_)), "{refused}");
    assert_eq!(world.desired(node).await, before, "nothing moved");
    let rename = NodeUpdate { name: Some("web-9".parse().expect("a name")), ..NodeUpdate::default() };
    world.changes.update_node(node, &rename, None, None, &rk()).await.expect("a name moves nobody here");
    world.changes.thaw(freeze.id, "", &admin()).await.expect("ended");
    world.changes.update_node(node, &other, None, None, &rk()).await.expect("the freeze is over");
    world.frozen("role:database").await;
    let back = NodeUpdate { roles: Some(["app".parse().expect("a role")].into()), ..NodeUpdate::default() };
    let refused = world.changes.update_node(node, &back, None, None, &rk()).await.expect_err("out of it");
    assert!(matches!(refused, ChangeError::Guarded(_)), "{refused}");
    let silent = world.changes.update_node(node, &back, None, None, &admin()).await.expect_err("without a word");
    assert!(matches!(silent, ChangeError::Guarded(_)), "{silent}");
    world.changes.update_node(node, &back, None, Some("it burns"), &admin()).await.expect("an administrator may");
    let query = audit::Query { act: Some("node.override_freeze".into()), ..audit::Query::default() };
    let query = &query;
    let noted = world.db.read(|mut tx| async move { audit::list(&mut tx, query, 10).await.map(|e| tx.done(e)) });
    let noted = noted.await.expect("a list");
    assert_eq!((noted.len(), noted[0].reason.as_str(), noted[0].object.as_str()), (1, "it burns", "web-9"));
    world.end().await;
}

async fn a_change_is_applied_at_its_time_and_once(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let user = world.user("rk", Preset::Operator).await;
    let (row, plan) = world.planned("hello", &rk()).await;
    let who = Orderer { by: rk(), user, token: None };
    let past = world.changes.schedule(row.id, &how(&plan), clock::now().plus_ms(-1), &who).await;
    assert!(matches!(past, Err(ChangeError::Rule { pointer: "/at", .. })));
    world.changes.schedule(row.id, &how(&plan), clock::now().plus_ms(SOON_MS), &who).await.expect("scheduled");
    let next = schedule::driver::pass(&world.changes).await.expect("looked").expect("a time");
    assert!(next > clock::now());
    assert_eq!(world.desired(node).await.resources().count(), 0, "not yet");
    world.changes.unschedule(row.id, "rain", &rk()).await.expect("taken off");
    assert_eq!(world.control(&row).await.1.schedule.expect("it was").state, ScheduleState::Withdrawn);
    assert!(world.changes.unschedule(row.id, "", &rk()).await.is_err(), "it is not there any more");

    world.scheduled(&row, &plan, user, 1000).await;
    let before = world.desired(node).await.generation.counter;
    let (one, two) = (world.other(), world.other());
    let (one, two) = tokio::join!(schedule::driver::pass(&one), schedule::driver::pass(&two));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(world.desired(node).await.generation.counter, before + 1);
    let (state, control) = world.control(&row).await;
    assert_eq!((state, control.schedule.expect("it was").state), (ChangeState::Rolling, ScheduleState::Applied));
    world.end().await;
}

async fn what_cant_be_applied_at_its_time_says_why(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let user = world.user("rk", Preset::Operator).await;
    let (row, plan) = world.planned("hello", &rk()).await;
    let check = async |why: &str| {
        schedule::driver::pass(&world.other()).await.expect("looked");
        let (state, control) = world.control(&row).await;
        let schedule = control.schedule.expect("it was");
        assert_eq!((state, schedule.state), (ChangeState::Planned, ScheduleState::Dropped));
        assert!(schedule.reason.contains(why), "{}", schedule.reason);
        assert_eq!(world.desired(node).await.resources().count(), 0);
    };
    world.scheduled(&row, &plan, user, 2 * SOON_MS).await;
    check("no controller ran").await;
    assert_eq!(world.changes.dropped(UnixMs(0)).await.expect("a list").len(), 1);
    let set = async |preset: &str| {
        world
            .db
            .write(|mut tx| async move {
                sqlx::query("UPDATE user_account SET preset = ?")
                    .bind(preset)
                    .execute(tx.conn())
                    .await
                    .map_err(DbError::from)?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await
            .expect("another preset");
    };
    world.scheduled(&row, &plan, user, 1000).await;
    set("viewer").await;
    check("may apply changes no longer").await;
    set("operator").await;
    world.scheduled(&row, &plan, user, 1000).await;
    world.node("web-2", &["app"], true).await;
    check("holds no more").await;
    let fresh = world.changes.plan(row.id, &rk()).await.expect("planned again");
    world.scheduled(&row, &fresh, user, 1000).await;
    world.node("web-3", &["app"], true).await;
    world.changes.plan(row.id, &rk()).await.expect("planned again");
    schedule::driver::pass(&world.other()).await.expect("looked");
    assert_eq!(world.control(&row).await.1.schedule.expect("it was").state, ScheduleState::Withdrawn);
    world.end().await;
}

async fn a_schedule_waits_for_the_end_of_a_freeze(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let user = world.user("rk", Preset::Operator).await;
    let freeze = world.frozen("role:app").await;
    let (row, plan) = world.planned("hello", &rk()).await;
    world.scheduled(&row, &plan, user, 1000).await;
    schedule::driver::pass(&world.other()).await.expect("looked");
    let held = world.control(&row).await.1.schedule.expect("it is");
    assert_eq!((held.state, held.due), (ScheduleState::Waiting, freeze.until));
    assert!(held.reason.contains("role:app is frozen until"), "{}", held.reason);
    world.changes.thaw(freeze.id, "", &admin()).await.expect("ended");
    schedule::driver::pass(&world.other()).await.expect("looked");
    assert_eq!(world.desired(node).await.resources().count(), 1);
    world.end().await;
}

async fn what_a_rollout_puts_back_needs_nobody(db: Db) {
    let world = World::new(db);
    let first = world.node("web-1", &["app"], true).await;
    world.node("web-2", &["app"], true).await;
    world.protect("role:app").await;
    let (row, plan) = world.planned("bad", &rk()).await;
    world.changes.approve(row.id, &plan.digest, "", &dana()).await.expect("approved");
    let strategy: Strategy = serde_json::from_value(serde_json::json!({ "waves": ["1"] })).expect("a strategy");
    world.changes.apply(row.id, &Apply { rollout: strategy, ..how(&plan) }, &rk()).await.expect("applied");
    world.frozen("role:app").await;
    world.land(first, 7, 1, ResourceState::Failed).await;
    driver::pass(&world.other(), &Told::default()).await.expect("driven");
    let shown = world.changes.show(row.id).await.expect("a change").rollout.expect("a rollout");
    assert_eq!(shown.state, State::Reverted, "{}", shown.reason);
    assert_eq!(world.desired(first).await.resources().count(), 0);
    world.end().await;
}
