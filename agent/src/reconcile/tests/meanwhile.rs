//! What somebody does while a pass is under way: a pause, one more edit, a journal that can't be written.

use std::sync::{Arc, atomic::Ordering};

use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, NodeDesired, Resource},
    error::Fault,
    object::Target,
    report::{DriftOutcome, Phase, ResourceState},
};
use lampas_wire::Report;
use tokio::sync::Notify;

use super::fixture::{Node, file, node_id, open_node, prepare};
use crate::{
    host,
    journal::{Intent, Journal, Pause, Transaction},
    reconcile::{Bench, Handle, pass},
};

/// A node whose passes are run one by one.
struct Still {
    dir: tempfile::TempDir,
    handle: Handle,
    journal: Journal,
    _reconciler: crate::reconcile::Reconciler,
}

impl Still {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        prepare(dir.path());
        let (handle, reconciler, journal) = open_node(dir.path());
        Self { dir, handle, journal, _reconciler: reconciler }
    }

    fn bench(&self) -> Arc<Bench> {
        self.handle.bench.clone()
    }

    fn state(counter: u64, resources: Vec<Resource>) -> NodeDesired {
        NodeDesired::new(node_id(), lampas_shared::desired::Generation { epoch: 1, counter }, resources)
    }

    async fn apply(&self, counter: u64, resources: Vec<Resource>) {
        self.handle.desired(Self::state(counter, resources)).await.expect("accepted");
        pass::run(&self.handle.bench, true).expect("passes");
    }

    fn text(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.dir.path().join(path)).ok()
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.dir.path().join(path), text).expect("written");
    }

    fn told(&self, outcome: DriftOutcome) -> Vec<String> {
        let reports = self.journal.outbox().pending(0, usize::MAX).expect("read").into_iter();
        let of = |report| match report {
            Report::Drift(drift) if drift.outcome == outcome => Some(drift.diff),
            _ => None,
        };
        reports.filter_map(|(_, report)| of(report)).collect()
    }
}

#[tokio::test]
async fn a_pause_that_comes_while_a_pass_is_under_way_stops_its_write() {
    let node = Still::new();
    node.apply(1, vec![file("/etc/motd", "one\n")]).await;
    node.handle.desired(Still::state(2, vec![file("/etc/motd", "two\n")])).await.expect("accepted");
    let bench = node.bench();
    let begun = pass::begin(&bench).expect("begins").expect("a state");
    let pause = Pause { until: None, reason: "disk swap".into(), since: clock::now() };
    bench.book().set_pause(Some(pause)).expect("paused");
    begun.run(true).expect("passes");
    assert_eq!(node.text("etc/motd").as_deref(), Some("one\n"));
    assert!(node.journal.intent().expect("read").is_none());
    let current = bench.book().current.clone().expect("a state");
    assert_eq!(current.resources[0].state, ResourceState::Paused, "{current:?}");
    bench.book().set_pause(None).expect("resumed");
    pass::run(&bench, true).expect("passes");
    assert_eq!(node.text("etc/motd").as_deref(), Some("two\n"));
}

#[tokio::test]
async fn nothing_is_written_after_the_answer_to_a_pause() {
    const FILES: usize = 200;
    let node = Node::start();
    let wanted = |text: &str| (0..FILES).map(|at| file(&format!("/etc/f{at}"), text)).collect::<Vec<_>>();
    node.send(1, wanted("one\n")).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.handle.desired(node.state(2, wanted("two\n"))).await.expect("accepted");
    node.handle.pause(None, "by hand".into()).await.expect("paused");
    let texts = || (0..FILES).map(|at| node.text(&format!("/etc/f{at}"))).collect::<Vec<_>>();
    let then = texts();
    assert!(then.iter().all(|text| *text == then[0]), "all or nothing");
    node.handle.pass().await.expect("passes");
    assert_eq!(texts(), then);
}

#[tokio::test]
async fn what_is_edited_once_more_after_somebody_asked_to_revert_it_stays_and_is_told() {
    let node = Still::new();
    node.apply(1, vec![file("/etc/motd", "wanted\n")]).await;
    node.write("etc/motd", "first\n");
    let bench = node.bench();
    pass::run(&bench, true).expect("passes");
    let target = Target::path("/etc/motd");
    let asked = bench.book().drifts[&target].fingerprint;
    bench.book().reverting.insert(target.clone(), asked);
    node.write("etc/motd", "second\n");
    pass::run(&bench, true).expect("passes");
    assert_eq!(node.text("etc/motd").as_deref(), Some("second\n"));
    let told = node.told(DriftOutcome::Standing);
    assert!(told.len() == 2 && told[1].contains("+second"), "{told:?}");
    let asked = bench.book().drifts[&target].fingerprint;
    bench.book().reverting.insert(target, asked);
    pass::run(&bench, true).expect("passes");
    assert_eq!(node.text("etc/motd").as_deref(), Some("wanted\n"));
    assert_eq!(node.told(DriftOutcome::Repaired).len(), 1);
}

#[tokio::test]
async fn a_revert_overwrites_nothing_that_was_not_told() {
    let node = Node::start();
    node.send(1, vec![file("/etc/motd", "wanted\n")]).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.handle.pass().await.expect("passes");
    let told = |text: &str| node.drifts().iter().any(|d| d.diff.contains(text));
    node.edit("/etc/motd", "first\n");
    node.wait("the first edit", || told("+first").then_some(())).await;
    node.edit("/etc/motd", "second\n");
    let answer = node.handle.revert(Target::path("/etc/motd")).await;
    assert!(told("+second"), "told, whether the agent found it before it was asked or because it was");
    match answer {
        Ok(()) => assert_eq!(node.text("/etc/motd").as_deref(), Some("wanted\n")),
        Err(fault) => {
            assert_eq!((fault.code.as_str(), node.text("/etc/motd").as_deref()), ("drift.moved", Some("second\n")));
        }
    }
}

#[tokio::test]
async fn a_revert_goes_on_when_a_newer_state_comes_before_its_pass() {
    let node = Node::start();
    node.send(1, vec![file("/etc/motd", "wanted\n")]).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.edit("/etc/motd", "by hand\n");
    node.wait("the edit", || (!node.drifts().is_empty()).then_some(())).await;
    // A state whose content can't be had yet; then the content is on its way, and a newer state comes with another.
    let texts = ["first\n".repeat(20_000), "second\n".repeat(20_000)];
    let state = |counter: u64, n: usize| {
        node.state(counter, vec![file("/etc/motd", "wanted\n"), file(&format!("/opt/{n}"), &texts[n])])
    };
    node.controller.is_away.store(true, Ordering::SeqCst);
    node.handle.desired(state(2, 0)).await.expect("accepted");
    node.wait("word of the wait", || node.report(2, |r| !r.resources.is_empty())).await;
    let [asked, may_go] = [(); 2].map(|()| Arc::new(Notify::new()));
    let hashes = texts.each_ref().map(|text| ContentHash::of(text.as_bytes()));
    *node.controller.gate.lock().expect("not poisoned") = Some((hashes[0], asked.clone(), may_go.clone()));
    let blobs = hashes.into_iter().zip(texts.iter().map(|text| text.clone().into_bytes()));
    node.controller.blobs.lock().expect("not poisoned").extend(blobs);
    let newer = async {
        asked.notified().await;
        node.controller.is_away.store(false, Ordering::SeqCst);
        node.handle.desired(state(3, 1)).await.expect("accepted");
        *node.controller.gate.lock().expect("not poisoned") = None;
        may_go.notify_one();
    };
    let (reverted, ()) = tokio::join!(node.handle.revert(Target::path("/etc/motd")), newer);
    reverted.expect("reverted");
    assert_eq!(node.text("/etc/motd").as_deref(), Some("wanted\n"));
    assert_eq!(node.text("/opt/1").as_deref(), Some(texts[1].as_str()));
}

#[tokio::test]
async fn what_is_undone_after_a_lost_end_of_an_apply_is_in_the_journal_as_on_the_disk() {
    let node = Still::new();
    node.write("etc/motd", "the owner's own\n");
    node.apply(1, vec![file("/etc/motd", "managed\n")]).await;
    let bench = node.bench();
    let owned = bench.book().ownership.clone();
    // A removal whose records are in the journal, while what follows it in the pass can't be journalled.
    let empty = Still::state(2, Vec::new());
    let plan = bench.with_inputs(&empty, |inputs| host::plan(&bench.root, inputs));
    let mut during = host::Ownership::clone(&owned);
    let applied = host::apply(&bench.root, &plan, &mut |record| {
        let mut transaction = Transaction::new();
        transaction.ownership(&during, &record.ownership);
        let undo = record.undo.clone();
        transaction.intent(Some(&Intent { generation: empty.generation, since: clock::now(), undo }));
        during = record.ownership.clone();
        bench.book().journal.commit(transaction).map(drop).map_err(Fault::from)
    });
    applied.expect("applies");
    assert_eq!(node.text("etc/motd").as_deref(), Some("the owner's own\n"));
    assert!(node.journal.ownership().expect("read").places.is_empty());
    pass::run(&bench, true).expect("passes");
    assert_eq!(node.text("etc/motd").as_deref(), Some("managed\n"));
    assert_eq!(node.journal.ownership().expect("read"), *owned);
    assert_eq!(*bench.book().ownership, *owned);
    node.apply(3, Vec::new()).await;
    assert_eq!(node.text("etc/motd").as_deref(), Some("the owner's own\n"));
}
