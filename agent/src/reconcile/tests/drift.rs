//! Changes by hand: held, reported, repaired; reverted and adopted.

use std::time::Duration;

use lampas_shared::{
    object::{DriftPolicy, Target},
    report::{DriftOutcome, DriftReport, Phase, ResourceState},
};
use tokio::time::Instant;

use super::fixture::{Node, file, with_policy};

impl Node {
    async fn wait_drift(&self, outcome: DriftOutcome, count: usize) -> DriftReport {
        let look = || self.drifts().into_iter().filter(|d| d.outcome == outcome).nth(count - 1);
        self.wait("a drift report", look).await
    }

    /// Applies a file and waits until the agent has come to rest.
    async fn with_motd(drift: DriftPolicy) -> Self {
        let node = Self::start();
        node.send(1, vec![with_policy(file("/etc/motd", "one\ntwo\n"), drift)]).await;
        node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
        node.handle.pass().await.expect("passes");
        node
    }
}

#[tokio::test]
async fn a_held_change_is_told_within_two_seconds_and_kept_through_generations_and_restarts() {
    let node = Node::with_motd(DriftPolicy::Hold).await;
    let since = Instant::now();
    node.edit("/etc/motd", "one\nby hand\n");
    let told = node.wait_drift(DriftOutcome::Standing, 1).await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert!(told.diff.contains("-two") && told.diff.contains("+by hand"), "{}", told.diff);
    assert_eq!(told.observed.expect("there").content.as_deref(), Some(b"one\nby hand\n".as_slice()));
    let report = node.wait("the state", || node.report(1, |r| r.state == ResourceState::Drifted)).await;
    assert_eq!(report.resources[0].state, ResourceState::Drifted);

    node.send(2, vec![file("/etc/motd", "one\nnewer\n"), file("/etc/other", "x\n")]).await;
    assert_eq!(
        (node.text("/etc/motd").as_deref(), node.text("/etc/other").as_deref()),
        (Some("one\nby hand\n"), Some("x\n"))
    );
    let node = node.restart(|_| ()).await;
    node.handle.pass().await.expect("passes");
    assert_eq!(node.text("/etc/motd").as_deref(), Some("one\nby hand\n"));
    let standing = node.drifts().iter().filter(|d| d.outcome == DriftOutcome::Standing).count();
    assert_eq!(standing, 1, "it is told once");

    node.handle.revert(Target::path("/etc/motd")).await.expect("reverted");
    assert_eq!(node.text("/etc/motd").as_deref(), Some("one\nnewer\n"));
    assert_eq!(node.drifts().last().expect("told").outcome, DriftOutcome::Repaired);
    let error = node.handle.revert(Target::path("/etc/motd")).await.expect_err("nothing stands there");
    assert_eq!(error.code, "drift.none");
}

#[tokio::test]
async fn a_change_that_is_taken_back_or_adopted_is_resolved() {
    let node = Node::with_motd(DriftPolicy::Hold).await;
    node.edit("/etc/motd", "by hand\n");
    node.wait_drift(DriftOutcome::Standing, 1).await;
    node.edit("/etc/motd", "one\ntwo\n");
    node.wait_drift(DriftOutcome::Resolved, 1).await;
    node.edit("/etc/motd", "better\n");
    node.wait_drift(DriftOutcome::Standing, 2).await;
    let report = node.send(2, vec![file("/etc/motd", "better\n")]).await;
    assert_eq!(report.state, ResourceState::Converged, "{report:?}");
    node.wait_drift(DriftOutcome::Resolved, 2).await;
    // From here on it is LAMPAS's own.
    node.send(3, vec![file("/etc/motd", "best\n")]).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("best\n"));
}

#[tokio::test]
async fn a_repaired_change_is_gone_within_two_seconds_and_told() {
    let node = Node::with_motd(DriftPolicy::Repair).await;
    let since = Instant::now();
    node.edit("/etc/motd", "by hand\n");
    let told = node.wait_drift(DriftOutcome::Repaired, 1).await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert!(told.diff.contains("+by hand"), "{}", told.diff);
    assert_eq!(node.text("/etc/motd").as_deref(), Some("one\ntwo\n"));
    std::fs::remove_file(node.path("/etc/motd")).expect("removed");
    node.wait_drift(DriftOutcome::Repaired, 2).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("one\ntwo\n"));
}

#[tokio::test]
async fn a_reported_change_stands_until_the_object_changes() {
    let node = Node::with_motd(DriftPolicy::Report).await;
    node.edit("/etc/motd", "by hand\n");
    node.wait_drift(DriftOutcome::Standing, 1).await;
    let same = with_policy(file("/etc/motd", "one\ntwo\n"), DriftPolicy::Report);
    node.send(2, vec![same, file("/etc/other", "x\n")]).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("by hand\n"));
    node.send(3, vec![with_policy(file("/etc/motd", "three\n"), DriftPolicy::Report)]).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("three\n"));
    assert!(node.status().await.drifts.is_empty());
}

#[tokio::test]
async fn a_change_while_the_agent_was_away_is_found_when_it_is_back() {
    let node = Node::with_motd(DriftPolicy::Hold).await;
    let node = node.restart(|root| std::fs::write(root.join("etc/motd"), "by hand\n").expect("written")).await;
    let told = node.wait_drift(DriftOutcome::Standing, 1).await;
    assert_eq!(told.path, "/etc/motd");
    assert_eq!(node.text("/etc/motd").as_deref(), Some("by hand\n"));
}

#[tokio::test]
async fn after_a_lost_journal_files_stay_and_become_owned_by_their_content() {
    let node = Node::with_motd(DriftPolicy::Hold).await;
    let node =
        node.restart(|root| std::fs::remove_dir_all(root.join("var/lib/lampas/agent/journal")).expect("removed")).await;
    node.handle.pass().await.expect("passes");
    assert_eq!(node.text("/etc/motd").as_deref(), Some("one\ntwo\n"), "without a state nothing is touched");
    assert!(node.handle.current().is_none(), "the controller is asked for the state");
    let report = node.send(1, vec![file("/etc/motd", "one\ntwo\n")]).await;
    assert_eq!((report.phase, report.state), (Phase::Confirmed, ResourceState::Converged));
    node.edit("/etc/motd", "by hand\n");
    node.wait_drift(DriftOutcome::Standing, 1).await;
}
