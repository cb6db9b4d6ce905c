//! A change that cuts the node off undoes itself; a controller that is away reverts nobody.

use std::sync::atomic::Ordering;

use lampas_shared::report::{Phase, ResourceState};

use super::fixture::{Node, file};
use crate::journal::{Progress, Stance};

#[tokio::test]
async fn a_change_that_cuts_the_node_off_is_undone_and_quarantined_until_a_newer_one() {
    let node = Node::start();
    node.send(1, vec![file("/etc/cut", "no\n"), file("/etc/motd", "one\n")]).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.send(2, vec![file("/etc/cut", "yes\n"), file("/etc/motd", "two\n")]).await;
    let report = node.wait("quarantine", || node.report(2, |r| r.phase == Phase::Quarantined)).await;
    assert_eq!(report.state, ResourceState::Failed);
    assert!(
        report.resources.iter().all(|r| r.fault.as_ref().is_some_and(|f| f.code == "generation.quarantined")),
        "{report:?}"
    );
    node.handle.pass().await.expect("passes");
    assert_eq!((node.text("/etc/cut").as_deref(), node.text("/etc/motd").as_deref()), (Some("no\n"), Some("one\n")));

    // It stays so over a restart and when the same generation comes again.
    let node = node.restart(|_| ()).await;
    node.handle
        .desired(node.state(2, vec![file("/etc/cut", "yes\n"), file("/etc/motd", "two\n")]))
        .await
        .expect("taken");
    node.handle.pass().await.expect("passes");
    assert_eq!(node.text("/etc/motd").as_deref(), Some("one\n"));
    assert!(matches!(node.status().await.stance, Stance::Quarantined { .. }));

    let report = node.send(3, vec![file("/etc/cut", "no\n"), file("/etc/motd", "three\n")]).await;
    assert_eq!(report.state, ResourceState::Converged);
    node.wait("confirmation", || node.report(3, |r| r.phase == Phase::Confirmed)).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("three\n"));
}

#[tokio::test]
async fn a_retry_tries_a_quarantined_generation_again() {
    let node = Node::start();
    node.send(1, vec![file("/etc/motd", "one\n")]).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.send(2, vec![file("/etc/cut", "yes\n")]).await;
    node.wait("quarantine", || node.report(2, |r| r.phase == Phase::Quarantined)).await;
    node.handle.retry().await.expect("taken");
    let again = || node.reports().len();
    let before = again();
    node.wait("a second quarantine", || {
        let quarantined = node
            .reports()
            .iter()
            .filter(|r| matches!(r, lampas_wire::Report::Generation(g) if g.phase == Phase::Quarantined))
            .count();
        (quarantined == 2 && again() > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_is_away_reverts_nobody() {
    let node = Node::start();
    node.send(1, vec![file("/etc/motd", "one\n")]).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.controller.is_away.store(true, Ordering::SeqCst);
    node.send(2, vec![file("/etc/motd", "two\n")]).await;
    node.wait("the undo", || (node.text("/etc/motd")? == "one\n").then_some(())).await;
    node.wait("it to be applied again", || (node.text("/etc/motd")? == "two\n").then_some(())).await;
    assert_eq!(node.status().await.progress, Some(Progress::Unconfirmed));
    let node = node.restart(|_| ()).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("two\n"));
    node.controller.is_away.store(false, Ordering::SeqCst);
    node.wait("confirmation", || node.report(2, |r| r.phase == Phase::Confirmed)).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("two\n"));
}

#[tokio::test]
async fn the_first_generation_of_all_is_undone_to_what_stood_before() {
    let node = Node::start();
    node.edit("/etc/motd", "before\n");
    node.send(1, vec![file("/etc/motd", "one\n"), file("/etc/cut", "yes\n")]).await;
    node.wait("quarantine", || node.report(1, |r| r.phase == Phase::Quarantined)).await;
    assert_eq!((node.text("/etc/motd").as_deref(), node.text("/etc/cut")), (Some("before\n"), None));
}
