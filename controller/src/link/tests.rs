//! Tests of the link over loopback: real QUIC, TLS, signer and SQLite.

use std::time::Duration;

use lampas_runtime::quic::{ClientTls, Purpose};
use lampas_shared::fleet::NodeState;
use lampas_wire::{GoodbyeReason, Kind, Message, Reply};
use tokio::time::{Instant, timeout};

use super::{
    NodeGate as _,
    stream::{read_message, write_message},
    testing::{LONG, World, wait_for},
};
use crate::{audit::Principal, fleet};

fn goodbye(message: Message) -> Option<GoodbyeReason> {
    if let Message::Goodbye(goodbye) = message { Some(goodbye.reason) } else { None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_welcomed_by_name_and_gets_its_state() {
    let world = World::start().await;
    let node = world.node("web-1").await;
    let mut session = world.connect(&node, "m1", 1).await;
    let welcome = session.welcomed().await;
    assert_eq!(welcome.name.as_str(), "web-1");
    assert_eq!(welcome.fleet, node.trust.fleet);
    let state = session.find(|m| if let Message::Desired(state) = m { Some(*state) } else { None }).await;
    assert_eq!(state.node, node.id);
    assert_eq!(state.hash, state.compute_hash());
    assert!(world.gate.connected(node.id));
    assert_eq!(world.gate.states().get(&node.id), Some(&NodeState::Online));
    wait_for("the event", async || world.events().await.iter().any(|e| e == "fleet.node.connected")).await;
    session.connection.close(0_u32.into(), b"bye");
    wait_for("the end", async || !world.gate.connected(node.id)).await;
    wait_for("the event", async || world.events().await.iter().any(|e| e == "fleet.node.disconnected")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_nothing_on_the_link() {
    let world = World::start().await;
    let node = world.node("web-1").await;
    for purpose in [Purpose::Link, Purpose::Renew] {
        let tls = ClientTls { identity: None, ..node.tls(purpose) };
        let (connection, _endpoint) = world.dial(tls).await.expect("TLS lets it through");
        if purpose == Purpose::Renew {
            // It is closed when it asks, at the latest: there is nobody whose certificate could be renewed.
            drop(connection.open_bi().await);
        }
        let closed = timeout(LONG, connection.closed()).await;
        let why = closed.expect("closed").to_string();
        assert!(why.contains("certificate"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_ends_a_connection_within_a_second_for_good() {
    let world = World::start().await;
    let node = world.node("web-1").await;
    let mut session = world.connect(&node, "m1", 1).await;
    session.welcomed().await;
    let id = node.id;
    let revoked = world.db.write(|mut tx| async move {
        fleet::revoke(&mut tx, id, &Principal::system(), "stolen").await?;
        Ok::<_, fleet::FleetError>(tx.done(()))
    });
    revoked.await.expect("revoked");
    let start = Instant::now();
    world.gate.close(node.id, "stolen");
    assert_eq!(session.find(goodbye).await, GoodbyeReason::Revoked);
    timeout(LONG, session.connection.closed()).await.expect("closed");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let mut again = world.connect(&node, "m1", 2).await;
    assert_eq!(again.find(goodbye).await, GoodbyeReason::Revoked);
    let fault = world.renew(&node).await.expect_err("refused");
    assert_eq!(fault.code, "renew.revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_session_takes_over_and_a_clone_does_not() {
    let world = World::start().await;
    let node = world.node("web-1").await;
    let mut first = world.connect(&node, "m1", 1).await;
    first.welcomed().await;
    let mut second = world.connect(&node, "m1", 2).await;
    second.welcomed().await;
    assert_eq!(first.find(goodbye).await, GoodbyeReason::Replaced);
    let mut clone = world.connect(&node, "m2", 3).await;
    assert_eq!(clone.find(goodbye).await, GoodbyeReason::Misbehaved);
    wait_for("the event", async || world.events().await.iter().any(|e| e == "fleet.node.refused")).await;
    assert!(world.gate.connected(node.id));
    assert!(second.connection.close_reason().is_none(), "who was there first stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_answered_and_a_hung_node_is_named() {
    let world = World::start().await;
    let node = world.node("web-1").await;
    assert_eq!(world.gate.retry(node.id).await.expect_err("nobody is there").code, "link.offline");
    let mut session = world.connect(&node, "m1", 1).await;
    session.welcomed().await;
    let connection = session.connection.clone();
    let answer = async {
        let (mut send, mut recv) = connection.accept_bi().await.expect("a stream");
        read_message(&mut recv, &[], &[Kind::RetryRequest], LONG).await.expect("a request");
        write_message(&mut send, &Message::Reply(Box::new(Reply::Done(Ok(())))), LONG).await.expect("sent");
    };
    let (done, ()) = tokio::join!(world.gate.retry(node.id), answer);
    assert_eq!(done, Ok(()));
    let start = Instant::now();
    let hung = world.gate.retry(node.id).await.expect_err("it does not answer");
    assert_eq!(hung.code, "link.hung");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(world.gate.states().get(&node.id), Some(&NodeState::Stale));
    assert!(world.gate.is_silent(node.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_rotate_without_losing_a_node() {
    let world = World::start().await;
    let old = world.node("web-1").await;
    let mut session = world.connect(&old, "m1", 1).await;
    session.welcomed().await;
    world.ca.rotate().await.expect("rotated");
    let credentials = world.ca.credentials().await.expect("credentials");
    assert_eq!(credentials.trust.roots.len(), 2);
    world.link.set_credentials(&credentials).expect("taken up");
    world.enrolments.set_credentials(&credentials);
    let told = session.find(|m| if let Message::Trust(trust) = m { Some(trust.roots.len()) } else { None }).await;
    assert_eq!(told, 2);
    let new = world.node("web-2").await;
    for (node, machine) in [(&old, "m1"), (&new, "m2")] {
        world.connect(node, machine, 2).await.welcomed().await;
    }
    let renewed = world.renew(&old).await.expect("renewed");
    assert_eq!(renewed.trust.roots.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_stops_says_goodbye() {
    let world = World::start().await;
    let node = world.node("web-1").await;
    let mut session = world.connect(&node, "m1", 1).await;
    session.welcomed().await;
    world.tasks.stop();
    assert_eq!(session.find(goodbye).await, GoodbyeReason::Stopping);
    assert!(world.tasks.finish(LONG).await, "all tasks end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_found_across_controllers_and_a_fenced_session_ends() {
    let world = World::start().await;
    let node = world.node("web-1").await;
    let other: lampas_shared::id::ControllerId = lampas_runtime::random::new_id();
    crate::background::begin(&world.db, other).await.expect("another controller is alive");
    let mut session = world.connect(&node, "m1", 1).await;
    session.welcomed().await;
    wait_for("the session", async || world.events().await.iter().any(|e| e == "fleet.node.connected")).await;

    // The node is with the other controller from here on, as far as the store knows.
    let id = node.id;
    let moved = world.db.write(|mut tx| async move {
        let update = sqlx::query("UPDATE node_session SET controller = ?, epoch = epoch + 1 WHERE node = ?");
        update.bind(other.to_string()).bind(id.to_string()).execute(tx.conn()).await?;
        Ok::<_, crate::db::DbError>(tx.done(()))
    });
    moved.await.expect("moved");
    let lost = lampas_shared::report::LostReports {
        count: 1,
        from: lampas_shared::time::UnixMs(1),
        until: lampas_shared::time::UnixMs(2),
    };
    let report = Message::Report { seq: 1, report: Box::new(lampas_wire::Report::Lost(lost)) };
    let (mut send, _recv) = session.connection.open_bi().await.expect("a stream");
    send.write_all(&lampas_wire::encode(&report).expect("encodes")).await.expect("sent");
    assert_eq!(session.find(goodbye).await, GoodbyeReason::Replaced);
    assert!(!world.events().await.iter().any(|e| e == "host.report.lost"), "nothing was written");

    let mut clone = world.connect(&node, "m2", 1).await;
    assert_eq!(clone.find(goodbye).await, GoodbyeReason::Misbehaved);
    wait_for("the event", async || world.events().await.iter().any(|e| e == "fleet.node.refused")).await;
    let mut same = world.connect(&node, "m1", 2).await;
    same.welcomed().await;
}
