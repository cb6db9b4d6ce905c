//! Two controllers on one store: who holds a node's connection, and what the others may still say.

use lampas_runtime::{Tasks, clock, random};
use lampas_shared::{
    desired::ContentHash,
    error::Fault,
    fleet::{Labels, NodeFacts},
    id::{ControllerId, NodeId},
    report::{JobRun, LostReports, RunOutcome},
    time::UnixMs,
};
use lampas_wire::Report;

use crate::{
    background,
    change::{Desired, Ingest, Members},
    db::{Db, DbError, Tx, row::Reader, testing},
    fleet::{self, NewNode},
    link::{FENCED, Membership as _, Presence, Recorded, StateSource as _},
};

testing::on_both!(
    only_the_newest_session_writes,
    what_an_older_session_says_of_presence_is_refused,
    a_node_that_is_connected_elsewhere_is_known,
    what_a_node_trusts_and_declines_is_kept,
    what_a_node_lost_is_told,
);

struct World {
    db: Db,
    tasks: Tasks,
    node: NodeId,
    /// Two controllers.
    ids: [ControllerId; 2],
    members: [Members; 2],
}

impl World {
    async fn new(db: Db) -> Self {
        let (tasks, node) = (Tasks::new(), random::new_id());
        let new = &NewNode {
            id: node,
            name: "web-1".parse().expect("a name"),
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
        let ids = [random::new_id(), random::new_id()];
        let members = ids.map(|id| Members::new(Desired::new(db.clone()), Ingest::start(db.clone(), &tasks), id));
        for id in ids {
            background::begin(&db, id).await.expect("begun");
        }
        Self { db, tasks, node, ids, members }
    }

    /// Records that the node connected to a controller. Returns the number of its session.
    async fn connect(&self, controller: usize, connection: u64, machine: &str) -> u64 {
        let facts = Box::new(NodeFacts { machine: machine.to_owned(), ..NodeFacts::default() });
        let presence = Presence::Connected {
            node: self.node,
            connection,
            address: "192.0.2.1:4000".to_owned(),
            facts,
            at: clock::now(),
        };
        let recorded = self.members[controller].record(vec![presence]).await.expect("recorded");
        let [Recorded { node, connection: told, session }] = recorded[..] else { panic!("{recorded:?}") };
        assert_eq!((node, told), (self.node, connection));
        session
    }

    async fn say(&self, controller: usize, presence: Presence) {
        self.members[controller].record(vec![presence]).await.expect("recorded");
    }

    async fn submit(&self, controller: usize, session: u64, seq: u64) -> Result<u64, Fault> {
        self.members[controller].submit(self.node, session, 7, vec![(seq, run())]).await
    }

    async fn state(&self) -> String {
        self.column("SELECT n.state AS value FROM node n").await
    }

    async fn runs(&self) -> String {
        self.column("SELECT CAST(COUNT(*) AS CHAR(9)) AS value FROM job_run").await
    }

    async fn column(&self, sql: &'static str) -> String {
        let read = self.db.read(|mut tx: Tx| async move {
            let row = sqlx::query(sql).fetch_one(tx.conn()).await?;
            let value = Reader::new("value", &row).text("value")?;
            Ok::<_, DbError>(tx.done(value))
        });
        read.await.expect(sql)
    }

    async fn events(&self, kind: &str) -> Vec<String> {
        let read = self.db.read(|mut tx: Tx| async move {
            let rows = sqlx::query("SELECT e.kind, e.details FROM event e ORDER BY e.seq").fetch_all(tx.conn()).await?;
            let read = rows.iter().map(|r| {
                let r = Reader::new("event", r);
                Ok((r.text("kind")?, r.text("details")?))
            });
            let all = read.collect::<Result<Vec<(String, String)>, DbError>>()?;
            Ok::<_, DbError>(tx.done(all))
        });
        let all = read.await.expect("events");
        all.into_iter().filter(|(k, _)| k == kind).map(|(_, details)| details).collect()
    }

    fn gone(&self, session: u64) -> Presence {
        Presence::Disconnected { node: self.node, session: Some(session), reason: "gone".to_owned(), at: clock::now() }
    }
}

fn run() -> Report {
    Report::Job(JobRun {
        run: random::new_id(),
        object: random::new_id(),
        user: "root".to_owned(),
        slot: None,
        started_at: clock::now(),
        ended_at: None,
        outcome: RunOutcome::Lost,
        output: String::new(),
        output_bytes: 0,
        times: 1,
    })
}

async fn only_the_newest_session_writes(db: Db) {
    let world = World::new(db).await;
    let first = world.connect(0, 1, "m1").await;
    assert_eq!(world.submit(0, first, 1).await, Ok(1));
    // The node moves to the other controller; the first has not noticed.
    let second = world.connect(1, 1, "m1").await;
    assert!(second > first);
    assert_eq!(world.submit(0, first, 2).await.expect_err("fenced").code, FENCED);
    assert_eq!(world.submit(1, second, 2).await, Ok(2));
    // It connects anew to the same one, and has reports of the old connection under way.
    let third = world.connect(1, 2, "m1").await;
    assert_eq!(world.submit(1, second, 3).await.expect_err("fenced").code, FENCED);
    assert_eq!(world.submit(1, third, 3).await, Ok(3));
    assert_eq!(world.runs().await, "3", "nothing was written in an old name, nothing twice");
    assert!(world.tasks.finish(crate::link::testing::LONG).await);
}

async fn what_an_older_session_says_of_presence_is_refused(db: Db) {
    let world = World::new(db).await;
    let first = world.connect(0, 1, "m1").await;
    let second = world.connect(1, 1, "m1").await;
    let silent = |session| Presence::Heard { node: world.node, session, is_stale: true, at: clock::now() };
    world.say(0, silent(first)).await;
    world.say(0, world.gone(first)).await;
    assert_eq!(world.state().await, "online", "the node is with the other controller");
    assert!(world.events("fleet.node.disconnected").await.is_empty());
    world.say(1, silent(second)).await;
    assert_eq!(world.state().await, "stale");
    let third = world.connect(1, 2, "m1").await;
    world.say(1, world.gone(second)).await;
    assert_eq!(world.state().await, "online", "a later connection is there");
    world.say(1, world.gone(third)).await;
    assert_eq!(world.state().await, "offline");
    assert_eq!(world.events("fleet.node.disconnected").await.len(), 1);
}

async fn a_node_that_is_connected_elsewhere_is_known(db: Db) {
    let world = World::new(db).await;
    let elsewhere = async |controller: usize| {
        let member = world.members[controller].member(world.node, "00").await.expect("answered").expect("a member");
        (member.is_elsewhere, member.machine)
    };
    assert_eq!(elsewhere(1).await, (false, String::new()));
    let session = world.connect(0, 1, "m1").await;
    assert_eq!(elsewhere(0).await, (false, "m1".to_owned()), "it is here");
    assert_eq!(elsewhere(1).await, (true, "m1".to_owned()));
    // A controller that is dead holds nobody.
    let dead = world.ids[0];
    let quiet = world.db.write(|mut tx: Tx| async move {
        let update = sqlx::query("UPDATE controller SET seen_ms = 1 WHERE id = ?").bind(dead.to_string());
        update.execute(tx.conn()).await?;
        Ok::<_, DbError>(tx.done(()))
    });
    quiet.await.expect("written");
    assert!(!elsewhere(1).await.0);
    background::begin(&world.db, world.ids[0]).await.expect("it is back");
    assert!(!elsewhere(1).await.0, "its sessions ended with its last life");
    assert_eq!(world.state().await, "offline");
    assert!(world.submit(0, session, 1).await.is_ok(), "what came over the newest session counts");
}

async fn what_a_node_trusts_and_declines_is_kept(db: Db) {
    let world = World::new(db).await;
    world.connect(0, 1, "m1").await;
    let (set, node) = (ContentHash::of(b"both"), world.node);
    let behind = async || {
        let read = world.db.read(|mut tx: Tx| async move {
            let behind = fleet::behind(&mut tx, set, "LAMPAS signing 2").await?;
            Ok::<_, DbError>(tx.done(behind))
        });
        read.await.expect("read").len()
    };
    let certificate = |issuer: &'static str| {
        world.db.write(move |mut tx: Tx| async move {
            let insert = sqlx::query(
                "INSERT INTO certificate (serial, node, subject, issuer, fingerprint, not_before_ms, not_after_ms, issued_ms, \
                 reason) VALUES (?, ?, '', ?, '', 1, 2, 1, '')",
            );
            insert.bind(issuer).bind(node.to_string()).bind(issuer).execute(tx.conn()).await?;
            Ok::<_, DbError>(tx.done(()))
        })
    };
    certificate("LAMPAS signing 1").await.expect("written");
    assert_eq!(behind().await, 1);
    world.say(0, Presence::Trusts { node, trust: set }).await;
    assert_eq!(behind().await, 1, "it trusts the new root, and has no certificate under it");
    certificate("LAMPAS signing 2").await.expect("written");
    assert_eq!(behind().await, 0);

    let fault = Fault::lasting("desired.stale", "generation 1.1 is not newer than 9.4, which is here");
    for _ in 0..2 {
        world.say(0, Presence::Declined { node, fault: fault.clone(), at: UnixMs(5) }).await;
    }
    let told = world.events("fleet.node.declined").await;
    assert!(matches!(&told[..], [one] if one.contains("desired.stale")), "it is told once: {told:?}");
    let shown = world.db.read(|mut tx: Tx| async move {
        let node = fleet::find(&mut tx, "web-1").await?;
        Ok::<_, fleet::FleetError>(tx.done(node))
    });
    let shown = shown.await.expect("there");
    let refusal = shown.refusal.expect("it is shown");
    assert_eq!((refusal.code.as_str(), refusal.since), ("desired.stale", UnixMs(5)));
    assert!(refusal.remedy.contains("lampas-controller restore"), "{}", refusal.remedy);
    assert_eq!(shown.summary.attention, "holds a newer state than this store has");
}

async fn what_a_node_lost_is_told(db: Db) {
    let world = World::new(db).await;
    let session = world.connect(0, 1, "m1").await;
    let lost = LostReports { count: 12, from: UnixMs(1_000), until: UnixMs(61_000) };
    let acked = world.members[0].submit(world.node, session, 7, vec![(1, Report::Lost(lost))]).await;
    assert_eq!(acked, Ok(1));
    let told = world.events("host.report.lost").await;
    assert!(matches!(&told[..], [one] if one.contains("12") && one.contains("1970-01-01T00:01:01")), "{told:?}");
}
