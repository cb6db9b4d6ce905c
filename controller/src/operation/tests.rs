//! Two controllers on one store: each run begins once, on the controller that holds its node, and no result is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use lampas_runtime::{Tasks, clock, random};
use lampas_shared::{
    desired::{ContentHash, NodeDesired},
    error::Fault,
    fleet::{Labels, NodeState},
    id::{NodeId, RunId},
    object::Target,
    operation::{
        OperationRun, OperationSpec, OperationState, OutputChunk, OutputStream, RunEnd, RunOrder, RunState, RunStatus,
    },
    report::{NodePlan, ObservedFile},
};

use super::{
    Filter, Operations,
    service::{Nodes, Starting},
    store,
};
use crate::{
    audit::Principal,
    change::Desired,
    db::{Db, DbError, Tx, row::Reader, testing},
    fleet::{self, NewNode},
    link::NodeGate,
};

testing::on_both!(
    each_run_begins_once_where_its_node_is,
    who_is_connected_to_nobody_is_passed_over_once,
    who_only_observes_is_passed_over_and_counts_for_nothing,
    the_last_words_are_whole_however_they_came,
);

/// The connections of one controller. A node that is told to run something is through at once.
#[derive(Debug, Default)]
struct Holds {
    nodes: BTreeSet<NodeId>,
    told: Mutex<Vec<(NodeId, RunId)>>,
}

fn away<T: Send + 'static>() -> BoxFuture<'static, Result<T, Fault>> {
    Box::pin(async { Err(Fault::passing("link.offline", "nobody is asked this here")) })
}

impl NodeGate for Holds {
    fn connected(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    fn states(&self) -> BTreeMap<NodeId, NodeState> {
        self.nodes.iter().map(|node| (*node, NodeState::Online)).collect()
    }

    fn wake(&self, _: &[NodeId]) {}

    fn plan(&self, _: NodeId, _: NodeDesired) -> BoxFuture<'_, Result<NodePlan, Fault>> {
        away()
    }

    fn read(&self, _: NodeId, _: Target) -> BoxFuture<'_, Result<Option<ObservedFile>, Fault>> {
        away()
    }

    fn revert(&self, _: NodeId, _: Target) -> BoxFuture<'_, Result<(), Fault>> {
        away()
    }

    fn retry(&self, _: NodeId) -> BoxFuture<'_, Result<(), Fault>> {
        away()
    }

    fn close(&self, _: NodeId, _: &str) {}

    fn run(&self, node: NodeId, order: RunOrder) -> BoxFuture<'_, Result<RunStatus, Fault>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push((node, order.run));
        Box::pin(async move {
            let now = clock::now();
            Ok(RunStatus::Ended(Box::new(OperationRun {
                run: order.run,
                operation: order.operation,
                started_at: now,
                ended_at: now,
                end: RunEnd::Exited(0),
                output_bytes: 0,
                output_hash: ContentHash::of(b""),
                found: None,
            })))
        })
    }
}

/// Two controllers with two nodes each, and a node that nobody holds.
struct World {
    db: Db,
    tasks: Tasks,
    holds: [Arc<Holds>; 2],
    controllers: [Operations; 2],
    alone: NodeId,
}

impl World {
    async fn new(db: Db) -> Self {
        let tasks = Tasks::new();
        let mut nodes = Vec::new();
        for number in 1..=5 {
            let new = &NewNode {
                id: random::new_id(),
                name: format!("web-{number}").parse().expect("a name"),
                roles: Vec::new(),
                labels: Labels::new(),
                machine: String::new(),
                observed_address: None,
                at: clock::now(),
            };
            let made = db.write(|mut tx: Tx| async move {
                fleet::create(&mut tx, new).await?;
                Ok::<_, fleet::FleetError>(tx.done(()))
            });
            made.await.expect("a node");
            nodes.push(new.id);
        }
        let alone = nodes.pop().expect("five");
        for (number, node) in nodes.iter().enumerate() {
            let controller = format!("controller-{}", number % 2);
            let held = db.write(|mut tx: Tx| {
                let (controller, node) = (controller.clone(), node.to_string());
                async move {
                    sqlx::query(
                        "INSERT INTO node_session (node, controller, epoch, address, opened_ms, reason) \
                         VALUES (?, ?, 1, '192.0.2.1:1', 1, '')",
                    )
                    .bind(node)
                    .bind(controller)
                    .execute(tx.conn())
                    .await?;
                    Ok::<_, DbError>(tx.done(()))
                }
            });
            held.await.expect("a session");
        }
        let of = |which: usize| {
            let nodes = nodes.iter().skip(which).step_by(2).copied().collect();
            Arc::new(Holds { nodes, told: Mutex::default() })
        };
        let holds = [of(0), of(1)];
        let controllers = [0, 1].map(|which: usize| {
            let gate: Arc<dyn NodeGate> = holds[which].clone();
            Operations::start(&tasks, db.clone(), gate, Desired::new(db.clone()), 30)
        });
        Self { db, tasks, holds, controllers, alone }
    }

    /// Starts an operation on the fleet and waits for its end.
    async fn run(&self, controller: usize, spec: &str) -> (u64, OperationState) {
        let spec: OperationSpec = serde_json::from_str(spec).expect("a spec");
        let who = Starting { author: "ann".to_owned(), by: Principal::system(), request_key: None };
        let row = self.controllers[controller].begin(spec, Nodes::Selected, &who).await.expect("begun");
        let ended = async {
            loop {
                let row = self.controllers[1 - controller].find(&row.number.to_string()).await.expect("found");
                if row.state != OperationState::Running {
                    return row.state;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let state = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it ends");
        (row.number, state)
    }

    async fn ends_told(&self) -> u64 {
        let told = self.db.read(|mut tx: Tx| async move {
            let row = sqlx::query("SELECT COUNT(*) AS n FROM event WHERE kind = 'operation.operation.ended'")
                .fetch_one(tx.conn())
                .await?;
            let count = Reader::new("event", &row).count("n")?;
            Ok::<_, DbError>(tx.done(count))
        });
        told.await.expect("read")
    }

    async fn stop(self) {
        self.tasks.stop();
        self.tasks.finish(Duration::from_secs(10)).await;
    }
}

async fn each_run_begins_once_where_its_node_is(db: Db) {
    let world = World::new(db).await;
    let spec = r#"{"work": {"kind": "command", "argv": ["/bin/true"]}, "on": ["node:web-1", "node:web-2", "node:web-3",
        "node:web-4"], "strategy": {"concurrency": 1}}"#;
    let before = world.ends_told().await;
    // Both at once: each looks at the operations of both.
    for round in 0..3 {
        let (one, two) = tokio::join!(world.run(round % 2, spec), world.run(1 - round % 2, spec));
        assert_eq!((one.1, two.1), (OperationState::Succeeded, OperationState::Succeeded), "round {round}");
    }
    assert_eq!(world.ends_told().await - before, 6, "the end of each is told once");
    let mut runs = BTreeSet::new();
    for holds in &world.holds {
        for (node, run) in holds.told.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            assert!(holds.nodes.contains(node), "told by the controller that holds it");
            runs.insert(*run);
        }
    }
    assert_eq!(runs.len(), 24);
    world.stop().await;
}

async fn who_is_connected_to_nobody_is_passed_over_once(db: Db) {
    let world = World::new(db).await;
    let spec = r#"{"work": {"kind": "command", "argv": ["/bin/true"]}, "on": ["fleet"]}"#;
    let (number, state) = world.run(0, spec).await;
    assert_eq!(state, OperationState::Failed);
    let row = world.controllers[0].find(&number.to_string()).await.expect("found");
    for node in world.controllers[1].all_nodes(row.id).await.expect("nodes") {
        let expected = if node.node.id == world.alone { RunState::Skipped } else { RunState::Succeeded };
        assert_eq!(node.state, expected, "{}", node.node.name);
    }
    world.stop().await;
}

async fn who_only_observes_is_passed_over_and_counts_for_nothing(db: Db) {
    let world = World::new(db).await;
    let observes = |id: NodeId| {
        let id = id.to_string();
        world.db.write(move |mut tx: Tx| {
            let id = id.clone();
            async move {
                sqlx::query("UPDATE node SET observe = 1 WHERE id = ?").bind(id).execute(tx.conn()).await?;
                Ok::<_, DbError>(tx.done(()))
            }
        })
    };
    observes(world.alone).await.expect("it observes");
    let spec = r#"{"work": {"kind": "command", "argv": ["/bin/true"]}, "on": ["fleet"]}"#;
    let (number, state) = world.run(0, spec).await;
    assert_eq!(state, OperationState::Succeeded);
    let row = world.controllers[0].find(&number.to_string()).await.expect("found");
    let nodes = world.controllers[1].all_nodes(row.id).await.expect("nodes");
    let passed = nodes.iter().find(|n| n.node.id == world.alone).expect("it is listed");
    assert_eq!(passed.state, RunState::Skipped);
    assert_eq!(passed.detail, "web-5 only observes: take it over first (lampasctl node manage web-5)");
    let runs = world.controllers[0].list(&Filter::default(), None, 1).await.expect("a list").items[0].runs;
    assert_eq!((runs.total, runs.succeeded, runs.skipped, runs.observing), (5, 4, 1, 1));

    // Where nobody else is, there is nothing to run.
    let spec = r#"{"work": {"kind": "command", "argv": ["/bin/true"]}, "on": ["node:web-5"]}"#;
    let spec: OperationSpec = serde_json::from_str(spec).expect("a spec");
    let who = Starting { author: "ann".to_owned(), by: Principal::system(), request_key: None };
    let refused = world.controllers[0].begin(spec, Nodes::Selected, &who).await.expect_err("nobody runs it");
    assert_eq!(refused.to_string(), passed.detail);
    world.stop().await;
}

/// A program writes its message in several calls, the end of the line last; what reads it takes each as it comes.
async fn the_last_words_are_whole_however_they_came(db: Db) {
    let world = World::new(db).await;
    let (number, _) =
        world.run(0, r#"{"work": {"kind": "command", "argv": ["/bin/true"]}, "on": ["node:web-1"]}"#).await;
    let row = world.controllers[0].find(&number.to_string()).await.expect("found");
    let run = world.controllers[0].all_nodes(row.id).await.expect("nodes")[0].run;
    let noise = "-".repeat(4000) + "\n";
    let message = "/bin/ls: cannot access '/nonexistent': No such file\n";
    let mut pieces = vec![(OutputStream::Stdout, noise.as_bytes())];
    pieces.extend(message.as_bytes().chunks(9).map(|piece| (OutputStream::Stderr, piece)));
    let mut offset = 0;
    for (stream, bytes) in pieces {
        let chunk = OutputChunk { offset, stream, after_ms: 1, bytes: bytes.to_vec() };
        offset += bytes.len() as u64;
        let put = world.db.write(|mut tx: Tx| {
            let chunk = chunk.clone();
            async move {
                store::put_output(&mut tx, row.id, &[(run, chunk)]).await?;
                Ok::<_, DbError>(tx.done(()))
            }
        });
        put.await.expect("stored");
    }
    let said = world.db.read(|mut tx: Tx| async move {
        let said = store::last_words(&mut tx, run).await?;
        Ok::<_, DbError>(tx.done(said))
    });
    let said = said.await.expect("read");
    assert_eq!(said, message.trim());
    world.stop().await;
}
