//! What nodes report, once and in masses: job runs, edits by hand, generations.

use super::*;

testing::on_both!(
    a_report_counts_once,
    a_record_counts_for_the_slots_it_stands_for,
    drift_is_found_and_adopted,
    a_mass_of_reports_is_told_together,
);

async fn a_report_counts_once(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let run = |outcome| {
        Report::Job(JobRun {
            run: random::new_id(),
            object: random::new_id(),
            user: "root".into(),
            slot: None,
            started_at: UnixMs(5),
            ended_at: Some(UnixMs(6)),
            outcome,
            output: "done\n".into(),
            output_bytes: 5,
            times: 1,
        })
    };
    let (one, two) = (run(RunOutcome::Exited(1)), run(RunOutcome::TimedOut));
    let epoch = u64::MAX - 3;
    assert_eq!(world.ingest.submit(node, epoch, vec![(1, one.clone())]).await.expect("stored"), 1);
    assert_eq!(world.ingest.submit(node, epoch, vec![(1, one.clone()), (2, two)]).await.expect("stored"), 2);
    assert_eq!(world.ingest.submit(node, epoch, vec![(1, one.clone())]).await.expect("known"), 2);
    assert_eq!(world.ingest.submit(node, 4, vec![(1, one)]).await.expect("of a later epoch"), 1);
    let runs = world.db.read(|mut tx| async move {
        crate::job::list(&mut tx, &crate::job::RunFilter::default(), None, 10).await.map(|r| tx.done(r))
    });
    assert_eq!(runs.await.expect("runs").items.len(), 2);
    assert_eq!(
        world.ingest.submit(random::new_id(), 1, vec![(9, run(RunOutcome::Lost))]).await.expect("a stranger's"),
        9
    );
    world.end().await;
}

async fn a_record_counts_for_the_slots_it_stands_for(db: Db) {
    let world = World::new(db);
    let (one, two) = (world.node("web-1", &["app"], true).await, world.node("web-2", &["app"], true).await);
    let object = random::new_id();
    let run = |at, outcome, times| {
        Report::Job(JobRun {
            run: random::new_id(),
            object,
            user: "root".into(),
            slot: Some(UnixMs(at)),
            started_at: UnixMs(at),
            ended_at: None,
            outcome,
            output: String::new(),
            output_bytes: 0,
            times,
        })
    };
    let reports = [
        run(10, RunOutcome::NodeDown, 1),
        run(20, RunOutcome::NodeDown, 41),
        run(30, RunOutcome::NotStarted, 1),
        run(40, RunOutcome::Exited(7), 1),
        run(50, RunOutcome::Exited(0), 1),
        run(60, RunOutcome::Skipped, 1),
    ];
    world.ingest.submit(one, 1, (1..).zip(reports).collect()).await.expect("stored");
    world.ingest.submit(two, 1, vec![(1, run(5, RunOutcome::Missed, 3))]).await.expect("stored");
    let tally = async |since, only_missed| {
        let found = world.db.read(|mut tx| async move {
            crate::job::tally(&mut tx, UnixMs(since), only_missed).await.map(|found| tx.done(found))
        });
        let found = found.await.expect("counted");
        let mut found: Vec<_> =
            found.into_iter().map(|t| (t.node_name, format!("{:?}", t.verdict), t.count, t.last.0)).collect();
        found.sort();
        found
    };
    let is = |node: &str, verdict: &str, count, last| (node.to_owned(), verdict.to_owned(), count, last);
    assert_eq!(tally(0, true).await, [is("web-1", "Missed", 43, 30), is("web-2", "Missed", 3, 5)]);
    let all = [is("web-1", "Failed", 1, 40), is("web-1", "Missed", 44, 60), is("web-1", "Ran", 1, 50)];
    assert_eq!(tally(10, false).await, all, "what was before isn't counted");
    let runs = world.db.read(|mut tx| async move {
        crate::job::list(&mut tx, &crate::job::RunFilter::default(), None, 10).await.map(|r| tx.done(r))
    });
    let times: Vec<u32> = runs.await.expect("runs").items.iter().map(|r| r.times).collect();
    assert_eq!(times, [1, 1, 1, 1, 41, 1, 3], "an exit status is no count");
    world.end().await;
}

async fn drift_is_found_and_adopted(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    world.save(vec![put(file("role:app", "motd", "ours\n"))]).await.expect("made");
    world.land(node, 1, 1, ResourceState::Converged).await;
    let object: ObjectId = world.find("role:app", "motd").await.expect("it stands").id;
    let tell = |outcome, content| Report::Drift(drift(object, outcome, Some(content)));
    let reports = vec![(4, tell(DriftOutcome::Standing, "first\n")), (5, tell(DriftOutcome::Standing, "theirs\n"))];
    world.ingest.submit(node, 1, reports).await.expect("stored");
    let drifts = Drifts::new(world.changes.clone());
    let found = drifts.list(&DriftFilter { standing: Some(true), ..DriftFilter::default() }, 10).await.expect("a list");
    assert_eq!(found.items.len(), 1, "the same drift is one finding");
    assert_eq!((found.items[0].adopt_refusal.as_str(), found.items[0].scope_nodes), ("", 1));
    let summary = |world: &World| {
        let db = world.db.clone();
        async move {
            let page = db.read(|mut tx| async move {
                fleet::list(&mut tx, &fleet::NodeFilter::default(), None, 9).await.map(|p| tx.done(p))
            });
            page.await.expect("a page").items.remove(0)
        }
    };
    assert_eq!(summary(&world).await.config, ResourceState::Drifted);
    let (change, _) =
        drifts.adopt(found.items[0].id, &AdoptRequest::default(), &admin()).await.expect("a planned change");
    assert_eq!((change.state, change.reason.as_str()), (ChangeState::Planned, "adopted from web-1"));
    world.changes.apply(change.id, &Apply::default(), &admin()).await.expect("applied");
    world.ingest.submit(node, 1, vec![(6, tell(DriftOutcome::Resolved, "theirs\n"))]).await.expect("stored");
    world.land(node, 1, 7, ResourceState::Converged).await;
    assert_eq!(summary(&world).await.config, ResourceState::Converged);
    let left = drifts.list(&DriftFilter { standing: Some(true), ..DriftFilter::default() }, 10).await.expect("a list");
    assert!(left.items.is_empty());
    world.end().await;
}

async fn a_mass_of_reports_is_told_together(db: Db) {
    let world = World::new(db);
    let mut nodes = Vec::new();
    for i in 0..60 {
        nodes.push(world.node(&format!("n{i}"), &["app"], true).await);
    }
    let row = world.save(vec![put(file("role:app", "motd", "a"))]).await.expect("made");
    let last = *world.db.committed().borrow();
    let mut submits = Vec::new();
    for node in &nodes {
        let desired = world.desired(*node).await;
        let reports = vec![
            (1, report(&desired, Phase::Received, ResourceState::Converged)),
            (2, report(&desired, Phase::Applied, ResourceState::Converged)),
        ];
        submits.push(world.ingest.submit(*node, 1, reports));
    }
    for acked in futures_util::future::join_all(submits).await {
        assert_eq!(acked.expect("stored"), 2);
    }
    assert_eq!(world.state(&row).await.0, ChangeState::Done);
    let events = world
        .db
        .read(|mut tx| async move { event::tail(&mut tx, last, 500).await.map(|e| tx.done(e)) })
        .await
        .expect("events");
    let reported = events.iter().filter(|e| e.kind == EventKind::NodeReported).count();
    assert!((1..60).contains(&reported), "{reported} events for 60 nodes");
    assert!(
        events.iter().any(|e| e.kind == EventKind::ChangeMoved && e.details.get("state").is_some_and(|s| s == "done"))
    );
    world.end().await;
}
