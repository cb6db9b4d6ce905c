//! What nodes tell of edits by hand that can't be put back, and of what somebody on them said.

use lampas_shared::{
    fleet::{NodeFacts, NodePause},
    report::UNDONE,
};

use super::*;

testing::on_both!(
    a_revert_that_failed_leaves_the_drift,
    what_is_undone_is_not_in_force,
    a_pause_is_shown_while_it_holds
);

impl World {
    async fn standing(&self) -> Vec<String> {
        let filter = DriftFilter { standing: Some(true), ..DriftFilter::default() };
        let found = Drifts::new(self.changes.clone()).list(&filter, 10).await.expect("a list");
        found.items.into_iter().map(|d| d.path).collect()
    }

    async fn outcomes(&self) -> Vec<DriftOutcome> {
        let found = Drifts::new(self.changes.clone()).list(&DriftFilter::default(), 10).await.expect("a list");
        found.items.into_iter().map(|d| d.outcome).collect()
    }

    async fn summary(&self, filter: &fleet::NodeFilter) -> Option<lampas_api::NodeSummary> {
        let page =
            self.db.read(|mut tx| async move { fleet::list(&mut tx, filter, None, 9).await.map(|p| tx.done(p)) });
        page.await.expect("a page").items.pop()
    }

    async fn says(&self, node: NodeId, facts: &NodeFacts) {
        self.db
            .write(|mut tx| async move {
                fleet::set_facts(&mut tx, node, facts, clock::now()).await?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await
            .expect("stored");
    }
}

async fn a_revert_that_failed_leaves_the_drift(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    world.save(vec![put(file("role:app", "motd", "ours\n"))]).await.expect("made");
    world.land(node, 1, 1, ResourceState::Converged).await;
    let object = world.find("role:app", "motd").await.expect("it stands").id;
    let desired = world.desired(node).await;
    let tell = async |seq: u64, said: Report| {
        world.ingest.submit(node, 1, vec![(seq, said)]).await.expect("stored");
    };
    tell(10, Report::Drift(drift(object, DriftOutcome::Standing, None))).await;
    // Each in turn is what an agent says of a revert that it can't do, and the edit stands through all of them.
    for (at, state) in [ResourceState::Failed, ResourceState::Blocked, ResourceState::Waiting, ResourceState::Paused]
        .into_iter()
        .enumerate()
    {
        tell(11 + at as u64, report(&desired, Phase::Applied, state)).await;
        assert_eq!(world.standing().await, ["/etc/motd"], "{state:?}");
    }
    // A newer generation that meets it says that it is still drifted.
    world.save(vec![put(file("role:app", "motd", "better\n"))]).await.expect("made");
    world.land(node, 1, 20, ResourceState::Drifted).await;
    assert_eq!(world.standing().await, ["/etc/motd"]);
    // A revert that can be done ends it, in whatever order that is told.
    tell(30, Report::Drift(drift(object, DriftOutcome::Repaired, None))).await;
    world.land(node, 1, 31, ResourceState::Converged).await;
    assert!(world.standing().await.is_empty());
    assert_eq!(world.outcomes().await, [DriftOutcome::Repaired]);

    // A resource that is in force has no drift, also where it comes with a note.
    tell(40, Report::Drift(drift(object, DriftOutcome::Standing, None))).await;
    assert_eq!(world.standing().await.len(), 1);
    let Report::Generation(mut noted) = report(&world.desired(node).await, Phase::Applied, ResourceState::Converged)
    else {
        unreachable!("report() reports a generation")
    };
    noted.resources[0].notes.push("effect not proven under --root".into());
    tell(41, Report::Generation(noted)).await;
    assert!(world.standing().await.is_empty());
    world.end().await;
}

async fn what_is_undone_is_not_in_force(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let row = world.save(vec![put(file("role:app", "motd", "two\n"))]).await.expect("made");
    world.land(node, 1, 1, ResourceState::Converged).await;
    let desired = world.desired(node).await;
    let Report::Generation(mut undone) = report(&desired, Phase::Confirmed, ResourceState::Paused) else {
        unreachable!("report() reports a generation")
    };
    undone.resources[0].fault = Some(Fault::lasting(UNDONE, "undone on the node"));
    world.ingest.submit(node, 1, vec![(10, Report::Generation(undone))]).await.expect("stored");
    let since = clock::now();
    world.says(node, &NodeFacts { undone_since: Some(since), ..NodeFacts::default() }).await;

    let all = fleet::NodeFilter::default();
    let shown = world.summary(&all).await.expect("it is listed");
    assert_eq!((shown.config, shown.converged, shown.undone_since), (ResourceState::Paused, 0, Some(since)));
    assert_eq!(shown.attention, "undone on the node");
    let halted = fleet::NodeFilter { is_halted: true, ..fleet::NodeFilter::default() };
    assert!(world.summary(&halted).await.is_some());
    // The change had been done: what was taken back is said of it all the same.
    let (state, progress) = world.state(&row).await;
    assert_eq!((state, progress.converged, progress.failed), (ChangeState::Done, 0, 1));

    // Somebody resumes there.
    world.land(node, 1, 20, ResourceState::Converged).await;
    world.says(node, &NodeFacts::default()).await;
    let (_, progress) = world.state(&row).await;
    assert_eq!((progress.converged, progress.failed), (1, 0));
    let shown = world.summary(&all).await.expect("it is listed");
    assert_eq!((shown.config, shown.undone_since), (ResourceState::Converged, None));
    assert_eq!(shown.attention, "");
    assert!(world.summary(&halted).await.is_none());
    world.end().await;
}

async fn a_pause_is_shown_while_it_holds(db: Db) {
    let world = World::new(db);
    let node = world.node("web-1", &["app"], true).await;
    let now = clock::now();
    let pause = |until| NodePause { since: now, until, reason: "disk swap".into() };
    for (until, holds) in [(None, true), (Some(now.plus_ms(3_600_000)), true), (Some(now.plus_ms(-1)), false)] {
        world.says(node, &NodeFacts { pause: Some(pause(until)), ..NodeFacts::default() }).await;
        let shown = world.summary(&fleet::NodeFilter::default()).await.expect("it is listed");
        assert_eq!(shown.pause, holds.then(|| pause(until)));
        assert_eq!(shown.attention, if holds { "paused on the node" } else { "" });
    }
    world.end().await;
}
