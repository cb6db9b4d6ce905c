//! What is not for this node, or not newer than what it has, is refused over a real link by the real journal.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use lampas_runtime::{Tasks, identity::Trust, random};
use lampas_shared::{
    desired::{ContentHash, Generation, NodeDesired},
    id::NodeId,
    testing,
};

use super::{
    peer::{DAY_MS, Fleet, Peer},
    wait_for,
};
use crate::{
    config::{self, Paths},
    host::Tools,
    journal::Journal,
    link::{Credentials, Endpoints, Link, Memory},
    reconcile::{self, Handle, Settings, Upstream},
    system::sandbox::Helper,
};

/// Starts an agent on a root of its own: journal, reconciler and link as they are when it runs.
fn start(root: &Path, fleet: &Fleet, peer: &Peer) -> (NodeId, Handle, Tasks) {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("chmod");
    for directory in ["etc", "var/lib/lampas/agent"] {
        fs::create_dir_all(root.join(directory)).expect("made");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("written");
    fs::write(root.join("etc/group"), "root:x:0:\n").expect("written");
    let trust = Trust { fleet: fleet.id, roots: vec![fleet.root.clone()] };
    let memory = Memory { controllers: vec![peer.address()], ..Memory::default() };
    let identity = fleet.node(-DAY_MS, DAY_MS);
    let credentials = Arc::new(Credentials::in_memory(identity, trust, memory).expect("a node's"));
    let (node, paths) = (credentials.node(), Paths::new(root));
    let journal = Journal::open(&paths.journal()).expect("opens");
    let settings = Settings {
        node,
        paths,
        times: config::Reconcile::default(),
        wrapper: "/usr/bin/lampas-agent".into(),
        tools: Tools { sandbox: Helper { path: "/nonexistent".into(), args: Vec::new(), env: Vec::new() } },
    };
    let (handle, reconciler) = reconcile::open(settings, journal.clone()).expect("opens");
    let link = Link::handle(credentials, Vec::new(), Endpoints::Fresh);
    let dialling = Link::new(&link, Box::new(Default::default), Arc::new(handle.clone()), Arc::new(journal.outbox()));
    let (tasks, upstream): (_, Arc<dyn Upstream>) = (Tasks::new(), Arc::new(link));
    let owner = tasks.clone();
    tasks.spawn("reconcile", async move { reconciler.run(upstream, &owner).await });
    tasks.spawn("link", dialling.run(tasks.stopping()));
    (node, handle, tasks)
}

fn motd(node: NodeId, counter: u64, text: &str) -> NodeDesired {
    let resource = testing::file("/etc/motd", "motd", text.as_bytes(), 0o644);
    NodeDesired::new(node, Generation { epoch: 1, counter }, vec![resource])
}

#[tokio::test]
async fn a_state_of_another_node_or_of_an_older_generation_changes_nothing() {
    let (fleet, root) = (Fleet::new(), tempfile::tempdir().expect("a directory"));
    let peer = Peer::listen(&fleet, "127.0.0.1:0").await;
    let (node, handle, tasks) = start(root.path(), &fleet, &peer);
    let found = || fs::read_to_string(root.path().join("etc/motd")).unwrap_or_default();
    wait_for("a session", || peer.sessions() == 1).await;

    let ours = motd(node, 5, "ours\n");
    let held = Some((ours.generation, ours.hash));
    peer.push(ours);
    wait_for("the file", || found() == "ours\n").await;

    // Whoever sends another node's state is not to be talked to: the agent leaves, and dials anew.
    peer.push(motd(random::new_id(), 6, "another node's\n"));
    wait_for("another session", || peer.sessions() == 2).await;
    assert_eq!((handle.current(), found().as_str()), (held, "ours\n"));

    let false_hash = NodeDesired { hash: ContentHash::of(b"else"), ..motd(node, 6, "not what it says\n") };
    let cases = [
        (motd(node, 4, "older\n"), "desired.stale"),
        (motd(node, 5, "the same number\n"), "desired.stale"),
        (false_hash, "desired.hash"),
    ];
    for (at, (state, code)) in cases.into_iter().enumerate() {
        peer.push(state);
        wait_for(code, || peer.faults().len() > at).await;
        let faults = peer.faults();
        assert_eq!((faults[at].code.as_str(), faults[at].retry), (code, false), "{faults:?}");
        assert_eq!((handle.current(), found().as_str()), (held, "ours\n"), "{code}");
    }

    // The link stays, and so does the way for what is newer.
    peer.push(motd(node, 6, "newer\n"));
    wait_for("the newer file", || found() == "newer\n").await;
    assert_eq!((peer.faults().len(), peer.sessions()), (3, 2));
    assert!(tasks.finish(Duration::from_secs(30)).await);
}
