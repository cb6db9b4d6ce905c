//! A pass over many unchanged objects does next to nothing.

use lampas_shared::report::Phase;

use super::fixture::{Node, file};

#[tokio::test]
async fn a_pass_over_500_unchanged_objects_writes_nothing_and_tells_nothing() {
    let node = Node::start();
    let resources: Vec<_> = (0..500).map(|n| file(&format!("/opt/file-{n}"), &format!("{n}\n"))).collect();
    node.send(1, resources).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.handle.pass().await.expect("passes");
    let journal = node.path("/var/lib/lampas/agent/journal/db/db");
    let touched = |path: &std::path::Path| std::fs::metadata(path).expect("there").modified().expect("known");
    let (before, copy, reports) =
        (touched(&journal), touched(&node.path("/var/lib/lampas/agent/state.json")), node.reports().len());
    let since = tokio::time::Instant::now();
    crate::reconcile::pass::run(&node.handle.bench, false).expect("passes");
    println!("a pass over 500 unchanged objects took {:?}", since.elapsed());
    assert_eq!(touched(&journal), before, "the journal is not written");
    assert_eq!(touched(&node.path("/var/lib/lampas/agent/state.json")), copy, "nor is the copy");
    assert_eq!(node.reports().len(), reports);
}
