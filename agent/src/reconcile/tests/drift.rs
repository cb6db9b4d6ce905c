//! Changes by hand: held, reported, repaired; reverted and adopted.

use std::time::Duration;

use lampas_shared::{
    object::{DriftPolicy, Target},
    report::{DriftOutcome, DriftReport, JobRun, Phase, ResourceState, RunOutcome},
};
use lampas_wire::Report;
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
async fn a_plan_names_the_held_file_that_it_will_not_reach() {
    let node = Node::with_motd(DriftPolicy::Hold).await;
    node.edit("/etc/motd", "by hand\n");
    node.wait_drift(DriftOutcome::Standing, 1).await;
    let planned = async |text| {
        let state = node.state(2, vec![file("/etc/motd", text), file("/etc/other", "x\n")]);
        let plan = node.handle.plan(state).await.expect("planned");
        plan.actions.into_iter().map(|a| (a.path, a.notes.join("\n"))).collect::<Vec<_>>()
    };
    let other = ("/etc/other".to_owned(), String::new());
    let told = planned("one\nnewer\n").await;
    let [first, (path, note)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((first, path.as_str()), (&other, "/etc/motd"));
    assert!(note.contains("changed by hand and is held") && note.contains("adopted or reverted"), "{note}");
    for (text, why) in [("one\ntwo\n", "the change is not about it"), ("by hand\n", "that adopts it")] {
        assert_eq!(planned(text).await, std::slice::from_ref(&other), "{why}");
    }
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

#[tokio::test]
async fn edits_that_come_while_others_are_looked_at_are_kept_too() {
    const FILES: usize = 150;
    let node = Node::start();
    let path = |at: usize| format!("/etc/f{at}");
    node.send(1, (0..FILES).map(|at| file(&path(at), "wanted\n")).collect()).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.handle.pass().await.expect("passes");
    // One after the other, as the agent looks again and again: each look meets some that the one before had not.
    let (beside, places) = (node.path("/edited"), (0..FILES).map(|at| node.path(&path(at))).collect::<Vec<_>>());
    let edits = tokio::task::spawn_blocking(move || {
        for place in places {
            std::fs::write(&beside, "by hand\n").expect("written");
            std::fs::rename(&beside, place).expect("renamed");
        }
    });
    while !edits.is_finished() {
        node.handle.pass().await.expect("passes");
    }
    edits.await.expect("edited");
    let told = || {
        let standing = node.drifts().into_iter().filter(|d| d.outcome == DriftOutcome::Standing);
        standing.map(|d| d.path).collect::<std::collections::BTreeSet<_>>()
    };
    node.wait("all edits to be told", || (told().len() == FILES).then_some(())).await;
    for at in 0..FILES {
        assert_eq!(node.text(&path(at)).as_deref(), Some("by hand\n"), "{}", path(at));
    }
}

#[tokio::test]
async fn more_changed_files_than_the_outbox_takes_at_once_are_told_in_pieces() {
    const FILES: usize = 90;
    let node = Node::start();
    let path = |at: usize| format!("/etc/f{at}");
    node.send(1, (0..FILES).map(|at| file(&path(at), "wanted\n")).collect()).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.handle.pass().await.expect("passes");
    // Together they are more than the outbox ever holds: a byte of a content takes more than one there.
    let large = format!("{}\n", "by hand ".repeat(30 << 10));
    let node = node
        .restart(|root| {
            for at in 0..FILES {
                std::fs::write(root.join(path(at).trim_start_matches('/')), &large).expect("written");
            }
        })
        .await;
    let mut told = std::collections::BTreeSet::new();
    while told.len() < FILES {
        node.handle.pass().await.expect("a full outbox ends no pass");
        let pending = node.journal.outbox().pending(0, usize::MAX).expect("read");
        assert!(!pending.is_empty(), "{} of {FILES} are told", told.len());
        told.extend(pending.iter().filter_map(|(_, report)| match report {
            Report::Drift(drift) if drift.outcome == DriftOutcome::Standing => Some(drift.path.clone()),
            _ => None,
        }));
        // A controller comes by.
        node.journal.outbox().acked(pending[pending.len() - 1].0).expect("acknowledged");
    }
    assert_eq!(node.text(&path(FILES - 1)).as_deref(), Some(large.as_str()));
}

#[tokio::test]
async fn a_repair_stands_although_no_more_reports_fit() {
    let node = Node::with_motd(DriftPolicy::Repair).await;
    let run = || {
        Report::Job(JobRun {
            run: lampas_runtime::random::new_id(),
            object: lampas_runtime::random::new_id(),
            user: "root".into(),
            slot: None,
            started_at: lampas_runtime::clock::now(),
            ended_at: None,
            outcome: RunOutcome::Exited(0),
            output: String::new(),
            output_bytes: 0,
            times: 1,
        })
    };
    while node.journal.outbox().push(run()).is_ok() {}
    node.edit("/etc/motd", "by hand\n");
    node.wait_drift(DriftOutcome::Repaired, 1).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("one\ntwo\n"));
    node.handle.pass().await.expect("passes");
    assert_eq!(node.drifts().len(), 1, "once");
}
