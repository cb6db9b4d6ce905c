//! What a node says with the ids of another one: nothing of the other node moves, and it is given nothing of the other's.
//!
//! No message of the link names a node: whose it is follows from the certificate of the session. What messages do name
//! are runs, operations, objects, targets, contents and values of secrets, and each of them may be another's.

use lampas_shared::{
    desired::{Content, Spec},
    id::{RunId, SecretValueId},
    operation::{OperationRun, OperationSpec, RunEnd},
    report::LostReports,
};
use proptest::{
    prelude::{Just, any},
    prop_assert_eq, prop_oneof,
    strategy::Strategy,
    test_runner::{Config, TestCaseError, TestRunner},
};

use super::{
    secret::{Safe, ask, template},
    *,
};
use crate::{
    db::{Tx, row::Reader},
    link::StateSource as _,
    operation::{Nodes as Selection, Operations, Starting},
};

/// A node with something of each kind, and what names it.
#[derive(Debug, Clone)]
struct Owned {
    node: NodeId,
    desired: NodeDesired,
    /// The run of an operation that is under way.
    run: (RunId, lampas_shared::id::OperationId),
    /// A job's run that was recorded.
    job_run: RunId,
    object: ObjectId,
    value: SecretValueId,
    blob: ContentHash,
}

struct Three {
    world: World,
    members: Members,
    owned: Vec<Owned>,
    _safe: Safe,
    _dir: testing::Sqlite,
}

impl Three {
    async fn new() -> Self {
        let dir = testing::sqlite().await;
        let (world, safe) = (World::new(dir.db.clone()), Safe::new());
        let mut nodes = Vec::new();
        for role in ["r1", "r2", "r3"] {
            nodes.push((role, world.node(&format!("node-{role}"), &[role], true).await));
        }
        let mut values = Vec::new();
        for (role, _) in &nodes {
            let scope = format!("role:{role}");
            values.push(safe.set(&world, &scope, &format!("pw-{role}"), role).await.expect("a value"));
            let big = format!("{role}\n").repeat(Content::INLINE_BYTES);
            let conf = template(&scope, &format!("conf-{role}"), &format!("{{{{secret.pw-{role}}}}}"));
            world.save(vec![put(file(&scope, &format!("big-{role}"), &big)), conf]).await.expect("files");
        }
        let runs = started(&world).await;
        let members = safe.members(&world);
        let mut owned = Vec::new();
        for ((_, node), value) in nodes.into_iter().zip(values) {
            let desired = world.desired(node).await;
            let blob = desired.resources().find_map(|r| match &r.spec {
                Spec::File { content, .. } if content.inline.is_none() => Some((r.object, content.hash)),
                _ => None,
            });
            let (object, blob) = blob.expect("a file that is fetched");
            let job_run = random::new_id();
            let (run, desired) = (runs[&node], desired);
            owned.push(Owned { node, desired, run, job_run, object, value, blob });
        }
        let three = Self { world, members, owned, _safe: safe, _dir: dir };
        for index in 0..three.owned.len() {
            let own = &three.owned[index];
            three.world.land(own.node, 1, 1, ResourceState::Converged).await;
            let own_reports = [Three::job(own, RunOutcome::Exited(0)), Three::drift(own, DriftOutcome::Standing)];
            three.send(index, 1, own_reports.to_vec()).await;
        }
        three
    }

    /// Hands reports in as a node, in an epoch of its outbox.
    async fn send(&self, as_node: usize, epoch: u64, reports: Vec<Report>) {
        let numbered = (10..).zip(reports).collect();
        self.world.ingest.submit(self.owned[as_node].node, epoch, numbered).await.expect("taken or passed over");
    }

    fn job(of: &Owned, outcome: RunOutcome) -> Report {
        let (run, object) = (of.job_run, of.object);
        let (at, output) = (UnixMs(50), "by somebody\n".to_owned());
        let user = "root".to_owned();
        let (started_at, ended_at, slot) = (at, Some(at), None);
        Report::Job(JobRun {
            run,
            object,
            user,
            slot,
            started_at,
            ended_at,
            outcome,
            output,
            output_bytes: 12,
            times: 1,
        })
    }

    fn drift(of: &Owned, outcome: DriftOutcome) -> Report {
        let resource = of.desired.resources().find(|r| r.object == of.object).expect("its file");
        Report::Drift(DriftReport {
            target: resource.target.clone(),
            object: of.object,
            generation: of.desired.generation,
            outcome,
            path: "/etc/somewhere".into(),
            diff: "-a\n+b\n".into(),
            observed: None,
            at: UnixMs(60),
        })
    }

    fn result(of: &Owned, end: RunEnd) -> Report {
        Report::Operation(OperationRun {
            run: of.run.0,
            operation: of.run.1,
            started_at: UnixMs(70),
            ended_at: UnixMs(80),
            end,
            output_bytes: 7,
            output_hash: ContentHash::of(b"forged"),
            found: None,
        })
    }

    /// Everything that a node may say, with the ids of one.
    fn all_of(of: &Owned) -> Vec<Report> {
        let mut all = vec![
            Three::result(of, RunEnd::Exited(0)),
            Three::result(of, RunEnd::Lost("gone".into())),
            Three::job(of, RunOutcome::Exited(9)),
            Three::job(of, RunOutcome::NodeDown),
            Report::Lost(LostReports { count: 4, from: UnixMs(1), until: UnixMs(2) }),
        ];
        let drifts = [DriftOutcome::Standing, DriftOutcome::Repaired, DriftOutcome::Resolved];
        all.extend(drifts.map(|outcome| Three::drift(of, outcome)));
        for phase in [Phase::Received, Phase::Applied, Phase::Confirmed] {
            let states = [ResourceState::Converged, ResourceState::Failed, ResourceState::Drifted];
            all.extend(states.map(|state| report(&of.desired, phase, state)));
        }
        all
    }

    /// Returns every row that is of a node, in every table that knows nodes.
    async fn rows_of(&self, own: &Owned) -> Vec<String> {
        let (node, run) = (own.node.to_string(), own.run.0.to_string());
        let read = self.world.db.read(|mut tx: Tx| async move {
            let tables =
                column(&mut tx, "SELECT name AS line FROM sqlite_master WHERE type = 'table' ORDER BY name", None);
            let mut rows = Vec::new();
            for table in tables.await? {
                let sql = format!("SELECT name AS line FROM pragma_table_info('{table}')");
                let columns = column(&mut tx, &sql, None).await?;
                let (key, id) = match table.as_str() {
                    "node" => ("id", &node),
                    "operation_output" => ("run", &run),
                    _ if columns.iter().any(|c| c == "node") => ("node", &node),
                    _ => continue,
                };
                let quoted: Vec<String> = columns.iter().map(|c| format!("quote(\"{c}\")")).collect();
                let line = quoted.join(" || ' | ' || ");
                let sql =
                    format!("SELECT '{table}: ' || {line} AS line FROM \"{table}\" WHERE \"{key}\" = ? ORDER BY 1");
                rows.extend(column(&mut tx, &sql, Some(id)).await?);
            }
            Ok::<_, DbError>(tx.done(rows))
        });
        read.await.expect("read")
    }

    async fn end(self) {
        self.world.end().await;
    }
}

async fn column(tx: &mut Tx, sql: &str, id: Option<&String>) -> Result<Vec<String>, DbError> {
    let query = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
    let query = if let Some(id) = id { query.bind(id.clone()) } else { query };
    let rows = query.fetch_all(tx.conn()).await?;
    rows.iter().map(|row| Reader::new("dump", row).text("line")).collect()
}

/// Starts an operation on all nodes; none of them answers.
async fn started(world: &World) -> BTreeMap<NodeId, (RunId, lampas_shared::id::OperationId)> {
    let tasks = Tasks::new();
    let operations =
        Operations::start(&tasks, world.db.clone(), world.nodes.clone(), Desired::new(world.db.clone()), 30);
    let spec = r#"{"work": {"kind": "command", "argv": ["/bin/true"]}, "on": ["fleet"]}"#;
    let spec: OperationSpec = serde_json::from_str(spec).expect("a spec");
    let who = Starting { author: "ann".to_owned(), by: Principal::system(), request_key: None };
    let row = operations.begin(spec, Selection::Selected, &who).await.expect("begun");
    let all_run = async {
        loop {
            let read = world.db.read(|mut tx: Tx| async move {
                let sql = "SELECT run || ' ' || node AS line FROM operation_run WHERE state = 'running'";
                let lines = column(&mut tx, sql, None).await?;
                Ok::<_, DbError>(tx.done(lines))
            });
            let lines = read.await.expect("read");
            if lines.len() == 3 {
                return lines;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let lines = tokio::time::timeout(std::time::Duration::from_secs(60), all_run).await.expect("they are told");
    assert!(tasks.finish(std::time::Duration::from_secs(20)).await, "nobody drives it any more");
    let pair = |line: &String| {
        let (run, node) = line.split_once(' ').expect("two");
        (NodeId::parse(node).expect("an id"), (RunId::parse(run).expect("an id"), row.id))
    };
    lines.iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_another_node_moves_whatever_is_said() {
    let three = Three::new().await;
    let mut epoch = 100;
    for (a, attacker) in three.owned.iter().enumerate() {
        for (b, victim) in three.owned.iter().enumerate().filter(|(b, _)| *b != a) {
            let before = three.rows_of(victim).await;
            let kinds: BTreeSet<&str> = before.iter().filter_map(|row| row.split(':').next()).collect();
            for table in ["node", "job_run", "drift", "operation_run", "outbox_seen"] {
                assert!(kinds.contains(table), "{table} is not among {kinds:?}");
            }
            // Its epoch too: an acknowledgement of the other's would make reports vanish.
            for report in Three::all_of(victim) {
                epoch += 1;
                three.send(a, epoch, vec![report.clone()]).await;
                assert_eq!(before, three.rows_of(victim).await, "{a} said of {b}: {report:?}");
            }
            three.send(a, 1, Three::all_of(victim)).await;
            assert_eq!(before, three.rows_of(victim).await, "{a} in the epoch of {b}");
            assert_eq!(ask(&three.members, attacker.node, victim.value).await, None, "a secret of {b} for {a}");
            assert!(three.members.blob(attacker.node, victim.blob).await.expect("asked").is_none(), "a file of {b}");
        }
    }
    for (index, own) in three.owned.iter().enumerate() {
        assert!(ask(&three.members, own.node, own.value).await.is_some(), "its own it is given");
        assert!(three.members.blob(own.node, own.blob).await.expect("asked").is_some());
        let before = three.rows_of(own).await;
        three.send(index, 5, vec![Three::result(own, RunEnd::Exited(0))]).await;
        let after = three.rows_of(own).await;
        assert_ne!(before, after, "of its own it is believed");
        assert!(after.iter().any(|row| row.starts_with("operation_run") && row.contains("succeeded")), "{after:#?}");
    }
    three.end().await;
}

/// Which ids stand in a report: those of one of the nodes each, or of nobody.
#[derive(Debug, Clone)]
struct Mixed {
    kind: u8,
    run: usize,
    operation: usize,
    object: usize,
    state: usize,
    outcome: u8,
    epoch: u64,
}

fn mixed() -> impl Strategy<Value = Mixed> + use<> {
    let owner = || 0_usize..4;
    (0_u8..5, owner(), owner(), owner(), owner(), any::<u8>(), prop_oneof![Just(1_u64), 1_u64..9, any::<u64>()])
        .prop_map(|(kind, run, operation, object, state, outcome, epoch)| Mixed {
            kind,
            run,
            operation,
            object,
            state,
            outcome,
            epoch,
        })
}

impl Mixed {
    fn report(&self, three: &Three, nobody: &Owned) -> Report {
        let of = |owner: usize| three.owned.get(owner).unwrap_or(nobody);
        let mixed = Owned {
            node: nobody.node,
            desired: of(self.state).desired.clone(),
            run: (of(self.run).run.0, of(self.operation).run.1),
            job_run: if self.outcome.is_multiple_of(2) { of(self.run).job_run } else { of(self.run).run.0 },
            // Its file is looked up in its state.
            object: of(self.state).object,
            value: nobody.value,
            blob: nobody.blob,
        };
        match self.kind {
            0 => Three::result(
                &mixed,
                if self.outcome > 99 { RunEnd::TimedOut } else { RunEnd::Exited(self.outcome.into()) },
            ),
            1 => match Three::job(&mixed, RunOutcome::Missed) {
                Report::Job(run) => Report::Job(JobRun { object: of(self.object).object, ..run }),
                other => other,
            },
            2 => match Three::drift(
                &mixed,
                if self.outcome > 99 { DriftOutcome::Resolved } else { DriftOutcome::Standing },
            ) {
                Report::Drift(drift) => Report::Drift(DriftReport { object: of(self.object).object, ..drift }),
                other => other,
            },
            3 => report(&mixed.desired, Phase::Applied, ResourceState::Failed),
            _ => report(&mixed.desired, Phase::Confirmed, ResourceState::Converged),
        }
    }
}

#[test]
fn whatever_ids_are_mixed_only_the_sender_moves() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let three = runtime.block_on(Three::new());
    let nobody = Owned {
        run: (random::new_id(), random::new_id()),
        job_run: random::new_id(),
        object: three.owned[0].object,
        ..three.owned[0].clone()
    };
    let said = proptest::collection::vec(mixed(), 1..6);
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(0_usize..3, said), |(sender, said)| {
        runtime.block_on(async {
            let others: Vec<&Owned> =
                three.owned.iter().enumerate().filter(|(i, _)| *i != sender).map(|(_, o)| o).collect();
            let mut before = Vec::new();
            for other in &others {
                before.push(three.rows_of(other).await);
            }
            for one in &said {
                three.send(sender, one.epoch.max(2), vec![one.report(&three, &nobody)]).await;
            }
            for (other, before) in others.iter().zip(before) {
                prop_assert_eq!(before, three.rows_of(other).await, "{} moved {}", sender, other.node);
            }
            Ok::<(), TestCaseError>(())
        })
    });
    outcome.expect("nothing of another node moves");
    runtime.block_on(three.end());
}
