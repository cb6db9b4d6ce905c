//! What a node knows may be lost, or may be another node's: its files stay, and what stood before still comes back.

use std::fs;

use lampas_shared::{
    desired::{Generation, NodeDesired},
    id::NodeId,
    object::DriftPolicy,
    report::{Phase, ResourceState},
    time::UnixMs,
};

use super::fixture::{Node, file, with_policy};
use crate::journal::{Pause, Transaction};

const AGENT: &str = "/var/lib/lampas/agent";

/// A node whose `/etc/motd` was somebody's before it was LAMPAS's, and has been changed twice since.
async fn node_with_an_original() -> Node {
    let node = Node::start();
    node.edit("/etc/motd", "by a person\n");
    node.send(1, vec![file("/etc/motd", "one\n")]).await;
    node.send(2, vec![file("/etc/motd", "two\n")]).await;
    node.send(3, vec![file("/etc/motd", "three\n"), file("/etc/new", "x\n")]).await;
    node
}

fn originals(node: &Node) -> usize {
    let names = fs::read_dir(node.path(&format!("{AGENT}/kept"))).expect("listed").flatten();
    names.filter(|e| e.file_name().len() == 64).count()
}

#[tokio::test]
async fn originals_that_only_an_undo_needed_go_with_it() {
    let node = node_with_an_original().await;
    node.wait("the sweep", || (originals(&node) == 1).then_some(())).await;
    node.send(4, Vec::new()).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("by a person\n"));
    node.wait("the sweep", || (originals(&node) == 0).then_some(())).await;
}

#[tokio::test]
async fn a_damaged_journal_loses_no_original_and_the_node_converges_again() {
    let node = node_with_an_original().await;
    let node = node
        .restart(|root| {
            let db = root.join("var/lib/lampas/agent/journal/db/db");
            let length = fs::metadata(&db).expect("stat").len();
            fs::write(&db, vec![0x5a; length as usize]).expect("written");
        })
        .await;
    assert!(node.handle.current().is_none(), "the state is asked for again");
    assert!(node.journal.moved_aside().is_some(), "and that is told");
    let report = node.send(3, vec![file("/etc/motd", "three\n"), file("/etc/new", "x\n")]).await;
    assert_eq!((report.phase, report.state), (Phase::Confirmed, ResourceState::Converged), "nothing is drift");
    assert!(node.drifts().is_empty());
    node.send(4, Vec::new()).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("by a person\n"));
    assert_eq!(node.text("/etc/new"), None);
}

#[tokio::test]
async fn without_the_copy_of_the_ownership_originals_are_put_aside_and_not_swept() {
    let node = node_with_an_original().await;
    let node = node
        .restart(|root| {
            let agent = root.join("var/lib/lampas/agent");
            fs::remove_dir_all(agent.join("journal")).expect("removed");
            fs::write(agent.join("kept/ownership.json"), "{").expect("damaged");
        })
        .await;
    node.send(3, vec![file("/etc/motd", "four\n")]).await;
    let aside = fs::read_dir(node.path(&format!("{AGENT}/kept.orphaned-1"))).expect("put aside").flatten();
    let texts: Vec<String> = aside.filter_map(|e| fs::read_to_string(e.path()).ok()).collect();
    assert!(texts.iter().any(|t| t == "by a person\n"), "{texts:?}");
}

#[tokio::test]
async fn a_journal_of_another_node_gives_its_files_and_nothing_else() {
    let node = node_with_an_original().await;
    node.send(4, vec![with_policy(file("/etc/motd", "three\n"), DriftPolicy::Hold)]).await;
    let node = node
        .restart(|root| {
            let other = NodeId::from_uuid(uuid::Uuid::from_u128(8));
            let journal = crate::journal::Journal::open(&root.join("var/lib/lampas/agent/journal")).expect("opens");
            // As if all of it had been another node's: that is what a new identity makes of it.
            assert!(journal.hand_over(other).expect("handed over"));
            let generation = Generation { epoch: 900, counter: 900 };
            let state = NodeDesired::new(other, generation, vec![file("/etc/evil", "x\n")]);
            let mut transaction = Transaction::new();
            transaction.current(&crate::journal::Accepted {
                state: state.clone(),
                received_at: UnixMs(0),
                progress: crate::journal::Progress::Received,
                resources: Vec::new(),
                applied_at: None,
            });
            transaction.good(&state);
            journal.commit(transaction).expect("committed");
        })
        .await;
    node.handle.pass().await.expect("passes");
    assert!(node.handle.current().is_none() && node.reports().is_empty(), "{:?}", node.reports());
    assert_eq!(node.text("/etc/motd").as_deref(), Some("three\n"), "files stay until there is a state");
    assert_eq!(node.text("/etc/evil"), None);
    node.send(1, vec![file("/etc/other", "y\n")]).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("by a person\n"), "the new fleet does not want it");
    assert_eq!(node.text("/etc/other").as_deref(), Some("y\n"));
}

#[tokio::test]
async fn a_pause_ends_although_the_clock_was_set_back_for_years() {
    let node = Node::start();
    let now = lampas_runtime::clock::now();
    let (since, until) = (now.plus_ms(20 * 365 * 86_400_000), now.plus_ms(20 * 365 * 86_400_000 + 1500));
    let node = node
        .restart(|root| {
            let journal = crate::journal::Journal::open(&root.join("var/lib/lampas/agent/journal")).expect("opens");
            let mut transaction = Transaction::new();
            transaction.pause(Some(&Pause { until: Some(until), reason: "work".into(), since }));
            journal.commit(transaction).expect("committed");
        })
        .await;
    node.handle.desired(node.state(1, vec![file("/etc/motd", "x\n")])).await.expect("accepted");
    node.handle.pass().await.expect("passes");
    assert_eq!(node.text("/etc/motd"), None, "it lasts as long as it was meant to");
    loop {
        node.handle.pass().await.expect("passes");
        if node.text("/etc/motd").is_some() {
            break;
        }
        assert!(lampas_runtime::clock::now().since(now) < 60_000, "{:?}", node.status().await.pause);
    }
}
