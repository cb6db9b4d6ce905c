//! Lives of a controller, one after the other, on one store: each ends when its rollout is over or when it is struck.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use lampas_runtime::Tasks;
use lampas_shared::{
    id::{ChangeId, NodeId},
    report::ResourceState,
    rollout::{Phase, State, Strategy},
};

use super::{
    super::{super::rollout, *},
    Scenario,
    fleet::{Fleet, content},
};
use crate::{
    db::{
        Tx,
        row::{Reader, to_json},
        testing::{Fate, MariaDb},
    },
    operation::Operations,
};

/// How long all lives together may take; they take seconds.
const LIMIT: Duration = Duration::from_secs(120);
/// Why the same is brought once more.
const AGAIN: &str = "bring it again";
/// How often the time of a phase may run out: once for each of the three waves.
const MOST_DEADLINES: u32 = 3;

/// A store on which four nodes have what stands before, and how the change to it goes.
pub(super) struct Stage<'a> {
    scenario: Scenario,
    place: Place<'a>,
}

enum Place<'a> {
    /// The file that each play begins with a copy of.
    Sqlite(tempfile::TempDir),
    /// The name begins those of the databases, of which each is played on once.
    MariaDb { server: &'a MariaDb, name: String, played: AtomicU32 },
}

/// How a rollout ended, without what differs from play to play.
#[derive(Debug)]
pub(super) struct Outcome {
    state: State,
    contents: BTreeMap<String, String>,
    lines: Vec<String>,
    /// How many controllers it took.
    pub(super) lives: u32,
}

impl Outcome {
    /// Returns everything that was recorded.
    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Checks that it is what the scenario says.
    pub(super) fn check(&self, scenario: &Scenario) {
        assert_eq!(self.state, scenario.ends, "{self:#?}");
        for (node, found) in &self.contents {
            let expected = if scenario.have_it.contains(&node.as_str()) { "new" } else { "old" };
            assert_eq!(found, expected, "{node}: {self:#?}");
        }
        assert_eq!(self.lives, 1);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl<'a> Stage<'a> {
    /// Sets the stage on SQLite.
    pub(super) fn sqlite(scenario: Scenario) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        runtime().block_on(set(&sqlite_url(&dir.path().join("stage.db")), scenario));
        Self { scenario, place: Place::Sqlite(dir) }
    }

    /// Sets the stage on a server.
    pub(super) fn mariadb(scenario: Scenario, server: &'a MariaDb, name: &str) -> Self {
        Self { scenario, place: Place::MariaDb { server, name: name.to_owned(), played: 0.into() } }
    }

    /// Plays with this fate for each commit, however many controllers it takes.
    pub(super) fn play(&self, fate: Fate) -> Outcome {
        let mut played = None;
        let url = match &self.place {
            Place::Sqlite(dir) => {
                let copy = tempfile::tempdir().expect("a directory");
                let file = copy.path().join("store.db");
                std::fs::copy(dir.path().join("stage.db"), &file).expect("copied");
                played = Some(copy);
                sqlite_url(&file)
            }
            Place::MariaDb { server, name, played } => {
                let name = format!("{name}_{}", played.fetch_add(1, Ordering::SeqCst));
                let url = server.url(&name);
                runtime().block_on(async {
                    server.fresh(&name).await.close().await;
                    set(&url, self.scenario).await;
                });
                url
            }
        };
        let fleet = Arc::new(runtime().block_on(fleet_of(&url, self.scenario)));
        let late = AtomicU32::new(0);
        let began = std::time::Instant::now();
        let mut lives = 0;
        loop {
            lives += 1;
            assert!(began.elapsed() < LIMIT, "{lives} lives, and still no end: {:#?}", self.scenario);
            // Dropping it drops every task of this life where it stands.
            let runtime = runtime();
            let ended = runtime.block_on(async {
                let life = Life::begin(&url, fleet.clone(), self.scenario, &late).await;
                life.db.strikes().set(fate.clone());
                tokio::select! {
                    () = life.db.strikes().died() => None,
                    outcome = life.live() => Some(outcome),
                    () = tokio::time::sleep(LIMIT) => panic!("it hangs: {}", life.lines().await.join("\n")),
                }
            });
            drop(runtime);
            if let Some(outcome) = ended {
                drop(played);
                return Outcome { lives, ..outcome };
            }
        }
    }
}

fn sqlite_url(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

/// Makes four nodes that have a file.
async fn set(url: &str, scenario: Scenario) {
    let db = Db::open(url, 4).await.expect("a store");
    let world = World::new(db.clone());
    let mut nodes = Vec::new();
    for name in ["web-1", "web-2", "web-3", "web-4"] {
        nodes.push(world.node(name, &["app"], !scenario.away.contains(&name)).await);
    }
    world.save(vec![put(file("role:app", "motd", "old"))]).await.expect("made");
    for node in nodes {
        world.land(node, 7, 1, ResourceState::Converged).await;
    }
    world.end().await;
    db.close().await;
}

async fn fleet_of(url: &str, scenario: Scenario) -> Fleet {
    let db = Db::open(url, 2).await.expect("a store");
    let desired = Desired::new(db.clone());
    let nodes = db.read(|mut tx: Tx| async move { nodes(&mut tx).await.map(|n| tx.done(n)) }).await.expect("nodes");
    let mut all = Vec::new();
    for (id, name) in nodes {
        let counter = desired.desired_for(id).await.expect("read").expect("a state").generation.counter;
        all.push((id, name, counter));
    }
    db.close().await;
    Fleet::new(scenario, all.into_iter())
}

async fn nodes(tx: &mut Tx) -> Result<Vec<(NodeId, String)>, DbError> {
    let rows = sqlx::query("SELECT id, name FROM node ORDER BY name").fetch_all(tx.conn()).await?;
    rows.iter().map(|row| Reader::new("node", row).parse("id").and_then(|id| Ok((id, row_name(row)?)))).collect()
}

fn row_name(row: &sqlx::any::AnyRow) -> Result<String, DbError> {
    Reader::new("node", row).text("name")
}

/// A controller that runs, and a second look at its store that nothing strikes.
struct Life<'a> {
    db: Db,
    aside: Db,
    changes: Changes,
    ingest: Ingest,
    operations: Operations,
    fleet: Arc<Fleet>,
    scenario: Scenario,
    /// How often a deadline was let come.
    late: &'a AtomicU32,
    has_settled: AtomicBool,
}

impl<'a> Life<'a> {
    async fn begin(url: &str, fleet: Arc<Fleet>, scenario: Scenario, late: &'a AtomicU32) -> Self {
        let db = Db::open(url, 4).await.expect("a store");
        let aside = Db::connect(url, 2).await.expect("the same store");
        let tasks = Tasks::new();
        let changes = Changes::new(Desired::new(db.clone()), fleet.clone());
        let ingest = Ingest::start(db.clone(), &tasks);
        let operations = Operations::start(&tasks, db.clone(), fleet.clone(), Desired::new(db.clone()), 30);
        Self { db, aside, changes, ingest, operations, fleet, scenario, late, has_settled: AtomicBool::new(false) }
    }

    /// Does what operator, fleet and driver do, round by round, until nothing is left to do.
    async fn live(&self) -> Outcome {
        loop {
            self.operate().await;
            if let Some(change) = self.change().await {
                self.look_that_waves_are_in_order(change).await;
                let is_quiet = !self.let_nodes_act().await;
                // What the store refuses comes again.
                let _ = rollout::driver::pass(&self.changes, &self.operations).await;
                let shown = self.changes.show(change).await.expect("shown").rollout.expect("a rollout");
                if is_quiet && self.is_over(shown.state).await {
                    return self.outcome(shown.state).await;
                }
                let waits = shown.state == State::Running && shown.phase == Phase::Applying;
                if is_quiet && waits && !self.scenario.away.is_empty() && self.has_settled.swap(true, Ordering::SeqCst)
                {
                    self.let_the_deadline_come(change).await;
                }
                if !is_quiet {
                    self.has_settled.store(false, Ordering::SeqCst);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Returns the change, once somebody has applied it.
    async fn change(&self) -> Option<ChangeId> {
        let newest = self.changes.list(&Listing { limit: 10, ..Listing::default() }).await.expect("listed");
        newest.items.iter().find(|c| c.reason == "roll it out" && c.stage.is_some()).map(|c| c.id)
    }

    /// Plays the operator, who sees what stands and says what is not said yet.
    async fn operate(&self) {
        let listed = self.changes.list(&Listing { limit: 10, ..Listing::default() }).await.expect("listed").items;
        let Some(row) = listed.iter().find(|c| c.reason == "roll it out") else {
            let draft = put(file("role:app", "motd", "new"));
            let new = NewChange { drafts: vec![draft], reason: "roll it out".into(), ..NewChange::default() };
            let _ = self.changes.create(&new, &admin()).await;
            return;
        };
        if row.stage.is_none() {
            let rollout: Strategy = serde_json::from_str(self.scenario.strategy).expect("a strategy");
            let how = Apply { allow_unplanned: true, rollout, ..Apply::default() };
            let _ = self.changes.apply(row.id, &how, &admin()).await;
            return;
        }
        if self.scenario.is_again && row.stage.is_some_and(|s| s.state == State::Aborted) {
            let draft = put(file("role:app", "motd", "new"));
            let new = NewChange { drafts: vec![draft], reason: AGAIN.into(), ..NewChange::default() };
            let _ = match listed.iter().find(|c| c.reason == AGAIN) {
                None => self.changes.create(&new, &admin()).await,
                Some(again) if again.state == ChangeState::Draft => {
                    let how = Apply { allow_unplanned: true, ..Apply::default() };
                    self.changes.apply(again.id, &how, &admin()).await
                }
                Some(_) => return,
            };
            return;
        }
        let given = self.audited("rollout.").await;
        let Some((order, is_time)) = self.scenario.orders.get(given) else { return };
        if is_time(&self.changes.show(row.id).await.expect("shown").rollout.expect("a rollout")) {
            let _ = self.changes.order(row.id, *order, "because", &admin()).await;
        }
    }

    async fn audited(&self, act: &str) -> usize {
        self.aside(&format!("SELECT act FROM audit WHERE act LIKE '{act}%'"), &["act"]).await.len()
    }

    /// Returns whether a node did anything, or has something to say.
    async fn let_nodes_act(&self) -> bool {
        // An order that is due comes first, so that each play is the same.
        if self.is_order_due().await {
            return true;
        }
        let mut has_acted = false;
        for id in self.fleet.names().into_keys() {
            let desired = self.changes.desired().desired_for(id).await.expect("the store answers").expect("a state");
            has_acted |= self.fleet.take(id, &desired);
        }
        has_acted | self.fleet.speak(&self.ingest).await
    }

    async fn is_order_due(&self) -> bool {
        let Some((_, is_time)) = self.scenario.orders.get(self.audited("rollout.").await) else { return false };
        let Some(change) = self.change().await else { return false };
        is_time(&self.changes.show(change).await.expect("shown").rollout.expect("a rollout"))
    }

    async fn is_over(&self, state: State) -> bool {
        let open = self.aside("SELECT id FROM operation WHERE state = 'running'", &["id"]).await;
        for id in self.fleet.names().into_keys() {
            let desired = self.changes.desired().desired_for(id).await.expect("read").expect("a state");
            if !self.fleet.is_at(id, &desired) {
                return false;
            }
        }
        let listed = self.changes.list(&Listing { limit: 10, ..Listing::default() }).await.expect("listed").items;
        let is_brought = !self.scenario.is_again || listed.iter().any(|c| c.reason == AGAIN && c.applied_at.is_some());
        state.is_final() && self.fleet.is_silent() && open.is_empty() && is_brought
    }

    /// Of nobody the wave before isn't proven and heard, whatever died.
    async fn look_that_waves_are_in_order(&self, change: ChangeId) {
        let (waves, reached) = self
            .aside
            .read(|mut tx: Tx| async move {
                let rollout = rollout::store::get(&mut tx, change, false).await?.expect("it stands");
                let rows = sqlx::query(
                    "SELECT node FROM change_node WHERE change_id = ? AND state NOT IN ('held', 'untouched')",
                )
                .bind(change.to_string())
                .fetch_all(tx.conn())
                .await?;
                let reached: Result<BTreeSet<NodeId>, DbError> =
                    rows.iter().map(|row| Reader::new("change_node", row).parse("node")).collect();
                // What is put back is put back everywhere at once.
                let waves = if rollout.state == State::Reverted { Vec::new() } else { rollout.waves };
                Ok::<_, DbError>(tx.done((waves, reached?)))
            })
            .await
            .expect("read");
        let (proven, passed) = (self.fleet.proven(), self.fleet.passed());
        let is_gated = self.scenario.strategy.contains("gates");
        for pair in waves.windows(2) {
            if pair[1].iter().any(|node| reached.contains(node)) {
                for before in &pair[0] {
                    assert!(proven.contains(before), "a wave began before the last one was proven");
                    assert!(!is_gated || passed.contains(before), "a wave began before its gate said yes");
                }
            }
        }
    }

    /// The time of the phase is over; nothing else moves the clock of a test.
    async fn let_the_deadline_come(&self, change: ChangeId) {
        let moved = self.aside.write(|mut tx: Tx| async move {
            let mut rollout = rollout::store::get(&mut tx, change, true).await?.expect("it stands");
            rollout.deadline = rollout.since;
            sqlx::query("UPDATE rollout SET body = ? WHERE change_id = ?")
                .bind(to_json(&rollout))
                .bind(change.to_string())
                .execute(tx.conn())
                .await?;
            Ok::<_, DbError>(tx.done(()))
        });
        moved.await.expect("moved");
        let times = self.late.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(times <= MOST_DEADLINES, "{times} deadlines came, and it did not end");
    }

    async fn outcome(&self, state: State) -> Outcome {
        let mut contents = BTreeMap::new();
        for (id, name) in self.fleet.names() {
            let desired = self.changes.desired().desired_for(id).await.expect("read").expect("a state");
            contents.insert(name, content(&desired));
        }
        Outcome { state, contents, lines: self.lines().await, lives: 0 }
    }

    /// Returns what was recorded: rows without ids and times. What many nodes cause is sorted: they don't wait for each
    /// other.
    async fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut rows = async |is_sorted: bool, sql: &str, columns: &[&'static str]| {
            let mut found = self.aside(sql, columns).await;
            if is_sorted {
                found.sort();
            }
            lines.extend(found);
        };
        rows(
            false,
            "SELECT number, state, author, reason FROM changes ORDER BY number",
            &["number", "state", "author", "reason"],
        )
        .await;
        rows(
            false,
            "SELECT principal, act, object, reason, result FROM audit ORDER BY seq",
            &["principal", "act", "object", "reason", "result"],
        )
        .await;
        let moved = "SELECT details FROM event WHERE kind = 'change.rollout.moved' ORDER BY seq";
        rows(false, moved, &["details"]).await;
        // That runs moved is told as often as somebody looked at them.
        let told = "SELECT kind, COUNT(*) AS times FROM event WHERE kind <> 'operation.run.moved' GROUP BY kind";
        rows(true, told, &["kind", "times"]).await;
        let at = "SELECT c.number, n.name, p.state, p.counter FROM change_node p JOIN node n ON n.id = p.node \
                  JOIN changes c ON c.id = p.change_id ORDER BY c.number, n.name";
        rows(false, at, &["number", "name", "state", "counter"]).await;
        let gates = "SELECT o.number, o.state, r.node_name, r.state AS run FROM operation o \
                     JOIN operation_run r ON r.operation = o.id ORDER BY o.number, r.node_name";
        rows(false, gates, &["number", "state", "node_name", "run"]).await;
        lines
    }

    /// Reads rows beside the controller.
    async fn aside(&self, sql: &str, columns: &[&'static str]) -> Vec<String> {
        let rows = self.aside.read(|mut tx: Tx| async move {
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(tx.conn()).await?;
            let line = |row: &sqlx::any::AnyRow| {
                let r = Reader::new("aside", row);
                let cells = columns.iter().map(|c| r.text(c).or_else(|_| r.int(c).map(|n| n.to_string())));
                cells.collect::<Result<Vec<_>, _>>().map(|cells| cells.join(" | "))
            };
            let lines: Result<Vec<String>, DbError> = rows.iter().map(line).collect();
            Ok::<_, DbError>(tx.done(lines?))
        });
        rows.await.expect("read")
    }
}
