//! Pause and undo: what stands, and what is told of it.

use lampas_shared::{
    fleet::NodeFacts,
    object::Target,
    report::{Phase, ResourceReport, ResourceState, UNDONE},
};

use super::fixture::{Node, file};
use crate::reconcile::explain;

fn of<'a>(resources: &'a [ResourceReport], path: &str) -> &'a ResourceReport {
    resources.iter().find(|r| r.target == Target::path(path)).expect("reported")
}

impl Node {
    fn facts(&self) -> NodeFacts {
        self.handle.with_halts(NodeFacts::default())
    }

    /// The last word on a generation.
    fn last(&self, counter: u64) -> Option<(Phase, ResourceState)> {
        self.report(counter, |_| true).map(|r| (r.phase, r.state))
    }

    async fn confirmed(&self, counter: u64) {
        self.wait("confirmation", || self.report(counter, |r| r.phase == Phase::Confirmed)).await;
    }
}

#[tokio::test]
async fn a_pause_holds_until_resumed_and_is_told() {
    let node = Node::start();
    node.send(1, vec![file("/etc/motd", "one\n")]).await;
    node.confirmed(1).await;
    let told = node.handle.bench.facts_seen.subscribe();
    node.handle.pause(None, "disk swap".into()).await.expect("paused");
    assert!(told.has_changed().expect("open"), "the link is woken");
    let pause = node.facts().pause.expect("told, though nothing waits");
    assert_eq!((pause.reason.as_str(), pause.until), ("disk swap", None));
    let report = node.send(2, vec![file("/etc/motd", "two\n")]).await;
    assert_eq!(report.state, ResourceState::Paused);
    assert_eq!(node.text("/etc/motd").as_deref(), Some("one\n"));
    node.handle.resume().await.expect("resumed");
    node.confirmed(2).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("two\n"));
    assert_eq!(node.facts().pause, None);
}

#[tokio::test]
async fn what_waited_for_a_pause_is_written_when_it_ends_by_itself() {
    let node = Node::start();
    node.handle.pause(Some(std::time::Duration::from_secs(2)), "soon over".into()).await.expect("paused");
    assert!(node.facts().pause.expect("told").until.is_some());
    let told = node.handle.bench.facts_seen.subscribe();
    // Nobody asks for a pass from here on, and the next full look is ten minutes away.
    node.handle.desired(node.state(1, vec![file("/etc/motd", "one\n")])).await.expect("accepted");
    node.confirmed(1).await;
    assert_eq!(node.facts().pause, None);
    assert!(told.has_changed().expect("open"), "the link is woken, too");
}

#[tokio::test]
async fn an_undo_goes_back_until_resumed_and_says_what_stands_otherwise() {
    use ResourceState::{Converged, Paused};
    let node = Node::start();
    let same = file("/etc/same", "same\n");
    node.send(1, vec![file("/etc/motd", "one\n"), same.clone(), file("/etc/old", "old\n")]).await;
    node.confirmed(1).await;
    node.send(2, vec![file("/etc/motd", "two\n"), same, file("/etc/new", "new\n")]).await;
    node.confirmed(2).await;
    assert_eq!(node.text("/etc/old"), None);

    node.handle.undo().await.expect("undone");
    assert_eq!((node.text("/etc/motd").as_deref(), node.text("/etc/new")), (Some("one\n"), None));
    let report = node.report(2, |_| true).expect("told");
    assert_eq!((report.phase, report.state), (Phase::Confirmed, Paused), "{report:?}");
    let states: Vec<_> =
        ["/etc/motd", "/etc/same", "/etc/new", "/etc/old"].map(|path| of(&report.resources, path).state).to_vec();
    assert_eq!(states, [Paused, Converged, Paused, Paused]);
    assert_eq!(of(&report.resources, "/etc/motd").fault.as_ref().expect("says why").code, UNDONE);
    assert!(node.facts().undone_since.is_some());
    let status = node.status().await;
    assert_eq!(status.state, Paused);
    for (path, state) in [("/etc/motd", Some(Paused)), ("/etc/old", None)] {
        let why = explain(&status, path, None).expect("known");
        assert_eq!((why.resources.first().map(|r| r.state), why.undone_since.is_some()), (state, true), "{path}");
    }

    // A restart tells nothing new, and changes nothing.
    let reports = node.reports().len();
    let node = node.restart(|_| ()).await;
    node.handle.pass().await.expect("passes");
    assert_eq!((node.text("/etc/motd").as_deref(), node.reports().len()), (Some("one\n"), reports));
    assert!(node.facts().undone_since.is_some(), "an undo survives a restart");

    // An edit of what stands is drift all the same, and put back it stands undone.
    node.edit("/etc/motd", "by hand\n");
    node.wait("the drift", || node.last(2).filter(|(_, state)| *state == ResourceState::Drifted)).await;
    node.handle.revert(Target::path("/etc/motd")).await.expect("reverted");
    assert_eq!(node.text("/etc/motd").as_deref(), Some("one\n"));
    assert_eq!(node.last(2).expect("told").1, Paused);

    node.handle.resume().await.expect("resumed");
    node.wait("the second again", || (node.text("/etc/motd")? == "two\n").then_some(())).await;
    node.wait("that it is confirmed", || node.last(2).filter(|l| *l == (Phase::Confirmed, Converged))).await;
    assert_eq!((node.facts().undone_since, node.text("/etc/old")), (None, None));
}

#[tokio::test]
async fn a_newer_generation_ends_an_undo() {
    let node = Node::start();
    node.send(1, vec![file("/etc/motd", "one\n")]).await;
    node.confirmed(1).await;
    node.send(2, vec![file("/etc/motd", "two\n")]).await;
    node.confirmed(2).await;
    node.handle.undo().await.expect("undone");
    let told = node.handle.bench.facts_seen.subscribe();
    node.send(3, vec![file("/etc/motd", "three\n")]).await;
    assert!(told.has_changed().expect("open"));
    assert_eq!((node.text("/etc/motd").as_deref(), node.facts().undone_since), (Some("three\n"), None));
}
