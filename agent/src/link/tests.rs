//! The driver over real QUIC on loopback, against a peer that uses the controller's machine.

mod peer;
mod refused;

use std::{sync::Arc, time::Duration};

use lampas_runtime::{
    Tasks,
    identity::{Identity, Trust},
};
use lampas_shared::{
    desired::{ContentHash, Generation, NodeDesired},
    id::NodeId,
};
use lampas_wire::{Message, Reply, Request};

use self::peer::{DAY_MS, Fleet, Peer};
use super::{Credentials, Endpoints, Link, LinkHandle, Memory};
use crate::{
    config::Paths,
    enrol,
    reconcile::Upstream,
    simulate::node::{Counters, SimulatedNode},
};

/// An agent whose node is in memory.
struct Agent {
    tasks: Tasks,
    handle: LinkHandle,
    counters: Arc<Counters>,
    node: NodeId,
}

impl Agent {
    fn start(fleet: &Fleet, identity: Identity, controllers: Vec<String>) -> Self {
        let trust = Trust { fleet: fleet.id, roots: vec![fleet.root.clone()] };
        let memory = Memory { controllers, ..Memory::default() };
        let credentials = Arc::new(Credentials::in_memory(identity, trust, memory).expect("a node's"));
        let (tasks, counters) = (Tasks::new(), Arc::new(Counters::default()));
        let handle = Link::handle(Arc::clone(&credentials), Vec::new(), Endpoints::Fresh);
        let node = Arc::new(SimulatedNode::new(credentials.node(), Arc::clone(&counters), None, tasks.clone()));
        let link = Link::new(&handle, Box::new(Default::default), Arc::new(Arc::clone(&node)), Arc::new(node));
        tasks.spawn("link", link.run(tasks.stopping()));
        Self { tasks, handle, counters, node: credentials.node() }
    }

    async fn wait_connected(&self) {
        let mut status = self.handle.status();
        let connected = status.wait_for(|s| s.connected.is_some());
        let result = tokio::time::timeout(Duration::from_secs(60), connected).await;
        assert!(result.is_ok(), "not connected: {:?}", self.handle.status().borrow());
    }
}

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not come within a minute");
}

fn state(node: NodeId, counter: u64) -> NodeDesired {
    NodeDesired::new(node, Generation { epoch: 1, counter }, Vec::new())
}

#[tokio::test]
async fn states_reports_questions_contents_and_probes_pass_over_one_link() {
    let fleet = Fleet::new();
    let peer = Peer::listen(&fleet, "127.0.0.1:0").await;
    let agent = Agent::start(&fleet, fleet.node(-DAY_MS, DAY_MS), vec![peer.address()]);
    agent.wait_connected().await;

    peer.push(state(agent.node, 1));
    wait_for("three committed reports", || peer.committed().len() == 3).await;
    wait_for("the acknowledgement of all", || agent.counters.acked() == 3).await;
    assert_eq!(peer.committed().iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [1, 2, 3]);

    let asked = Message::Request(Box::new(Request::Plan(state(agent.node, 2))));
    let answer = peer.ask(asked).await;
    assert!(matches!(answer, Message::Reply(reply) if matches!(*reply, Reply::Plan(Ok(_)))));

    let hash = ContentHash::of(peer::BLOB);
    assert_eq!(agent.handle.fetch_blob(hash).await.expect("fetched"), peer::BLOB);
    let refused = agent.handle.fetch_blob(ContentHash::of(b"else")).await.expect_err("there is none");
    assert_eq!(refused.code, "blob.missing");

    assert_eq!(peer.probes(), 0);
    agent.handle.confirm().await.expect("a fresh handshake");
    assert_eq!(peer.probes(), 1);
    assert!(agent.handle.status().borrow().connected.is_some(), "the session stays as it is");

    assert!(agent.tasks.finish(Duration::from_secs(10)).await);
    wait_for("the goodbye", || peer.goodbyes() == 1).await;
}

#[tokio::test]
async fn an_agent_finds_the_controller_that_is_up_and_loses_nothing_when_it_restarts() {
    let fleet = Fleet::new();
    let first = Peer::listen(&fleet, "127.0.0.1:0").await;
    let address = first.address();
    let agent = Agent::start(&fleet, fleet.node(-DAY_MS, DAY_MS), vec!["localhost:1".into(), address.clone()]);
    agent.wait_connected().await;
    first.hold_commits();
    first.push(state(agent.node, 1));
    wait_for("reports on their way", || first.received() == 3).await;
    assert_eq!(agent.counters.acked(), 0);
    first.crash().await;

    let second = Peer::listen(&fleet, &address).await;
    wait_for("the same reports again", || second.committed().len() == 3).await;
    wait_for("their acknowledgement", || agent.counters.acked() == 3).await;
    assert!(agent.tasks.finish(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_certificate_is_renewed_over_the_link_and_after_its_end() {
    for (from, to) in [(-29 * DAY_MS, DAY_MS), (-30 * DAY_MS, -DAY_MS)] {
        let fleet = Fleet::new();
        let peer = Peer::listen(&fleet, "127.0.0.1:0").await;
        let agent = Agent::start(&fleet, fleet.node(from, to), vec![peer.address()]);
        agent.wait_connected().await;
        let until = || agent.handle.credentials().identity().info().not_after;
        wait_for("a new certificate", || until().since(lampas_runtime::clock::now()) > 20 * DAY_MS).await;
        assert!(agent.tasks.finish(Duration::from_secs(10)).await);
    }
}

#[tokio::test]
async fn a_controller_of_another_fleet_gets_no_word() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    let peer = Peer::listen(&theirs, "127.0.0.1:0").await;
    let agent = Agent::start(&ours, ours.node(-DAY_MS, DAY_MS), vec![peer.address()]);
    wait_for("a refusal", || agent.handle.status().borrow().last_error.is_some()).await;
    let error = agent.handle.status().borrow().last_error.clone().unwrap_or_default();
    assert!(error.contains("another fleet"), "{error}");
    assert_eq!(peer.hellos(), 0);
    let confirmed = agent.handle.confirm().await.expect_err("nobody else is there");
    assert_eq!(confirmed.code, "link.unreachable");
    assert!(agent.tasks.finish(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_token_gets_an_identity_once() {
    use std::os::unix::fs::PermissionsExt as _;

    let fleet = Fleet::new();
    let peer = Peer::listen(&fleet, "127.0.0.1:0").await;
    let root = tempfile::tempdir().expect("a directory");
    let token_file = root.path().join("token");
    std::fs::write(&token_file, format!("{}\n", *fleet.token.reveal())).expect("written");
    let paths = Paths::new(root.path().join("node"));
    let mut args = enrol::Args { controller: peer.address(), token_file, replace: false };

    let outcome = enrol::run(&args, &paths).await.expect("enrolled");
    assert_eq!(outcome.name.as_str(), "web-9");
    assert!(outcome.wrote_config);
    for file in std::fs::read_dir(paths.identity()).expect("listed") {
        let mode = file.expect("an entry").metadata().expect("its metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let credentials = Credentials::load(&paths.identity()).expect("loads");
    assert_eq!(credentials.memory().controllers, [peer.address()]);

    let again = enrol::run(&args, &paths).await.expect_err("is enrolled");
    assert!(again.to_string().contains("--replace"), "{again}");
    args.replace = true;
    enrol::run(&args, &paths).await.expect("replaced");

    let other = Fleet::new();
    std::fs::write(&args.token_file, &**other.token.reveal()).expect("written");
    let wrong = enrol::run(&args, &paths).await.expect_err("the token is another fleet's");
    let text = lampas_shared::error::Chain(&wrong).to_string();
    assert!(text.contains("the authority that the token pins"), "{text}");
}
