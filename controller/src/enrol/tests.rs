//! Tests of enrolment over loopback: real QUIC, TLS, signer and SQLite.

use lampas_api::EnrolTokenCreate;
use lampas_runtime::identity::{PrivateKey, TokenText};
use lampas_wire::GoodbyeReason;

use crate::{
    audit::Principal,
    enrol,
    link::{
        NodeGate as _,
        testing::{World, ask, node, wait_for},
    },
};

async fn only_token(world: &World) -> lampas_api::EnrolToken {
    let list = world.db.read(|mut tx| async move {
        let list = enrol::list(&mut tx, None).await?;
        Ok::<_, crate::db::DbError>(tx.done(list))
    });
    list.await.expect("tokens").remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_one_key_which_may_try_again() {
    let world = World::start().await;
    let token = world.token(&ask()).await;
    let (key, other) = (PrivateKey::generate().expect("a key"), PrivateKey::generate().expect("a key"));
    assert_eq!(only_token(&world).await.state, "waiting");
    let first = world.show(&token, &key, "web-1").await.expect("enrolled");
    let again = world.show(&token, &key, "web-1").await.expect("the same key may try again");
    assert_eq!((first.node, &first.name), (again.node, &again.name));
    let refused = world.show(&token, &other, "web-1").await.expect_err("the token was used");
    assert_eq!(refused.code, "enrol.token");
    let row = only_token(&world).await;
    assert_eq!((row.state.as_str(), row.uses_left, row.enrolled.len()), ("used", 0, 1));
    let enrolled = node(key, again);
    let mut session = world.connect(&enrolled, "m1", 1).await;
    session.welcomed().await;
    wait_for("the token's page", async || only_token(&world).await.enrolled[0].is_connected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_live_token_is_refused() {
    let world = World::start().await;
    let key = PrivateKey::generate().expect("a key");
    let code = async |token: &TokenText| world.show(token, &key, "web-1").await.expect_err("refused").code;
    assert_eq!(code(&TokenText::draw(world.credentials.pin)).await, "enrol.token");
    let elsewhere = EnrolTokenCreate { cidr: Some("192.0.2.0/24".to_owned()), ..ask() };
    assert_eq!(code(&world.token(&elsewhere).await).await, "enrol.network");
    let withdrawn = world.token(&ask()).await;
    // The newest is listed first.
    let id = only_token(&world).await.id;
    let done = world.db.write(|mut tx| async move {
        enrol::withdraw(&mut tx, id, None, &Principal::system()).await?;
        Ok::<_, enrol::TokenError>(tx.done(()))
    });
    done.await.expect("withdrawn");
    assert_eq!(code(&withdrawn).await, "enrol.token");
    let expired = world.token(&ask()).await;
    let done = world.db.write(|mut tx| async move {
        let update = sqlx::query("UPDATE enrol_token SET expires_ms = 1 WHERE withdrawn_ms IS NULL");
        update.execute(tx.conn()).await.map_err(crate::db::DbError::from)?;
        Ok::<_, crate::db::DbError>(tx.done(()))
    });
    done.await.expect("expired");
    assert_eq!(code(&expired).await, "enrol.token");
    assert_eq!(world.events().await.iter().filter(|e| *e == "fleet.node.enrolled").count(), 0, "nobody came in");
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_and_a_minute_later_it_is_not() {
    let world = World::start().await;
    let key = PrivateKey::generate().expect("a key");
    let guess = TokenText::draw(world.credentials.pin);
    let mut codes = Vec::new();
    for _ in 0..21 {
        codes.push(world.show(&guess, &key, "web-1").await.expect_err("refused").code);
    }
    assert_eq!(codes.last().map(String::as_str), Some("enrol.busy"));
    assert!(codes[..20].iter().all(|c| c == "enrol.token"), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_many_gives_each_its_name() {
    let world = World::start().await;
    let token = world.token(&EnrolTokenCreate { uses: 2, ..ask() }).await;
    let key = || PrivateKey::generate().expect("a key");
    let first = world.show(&token, &key(), "Web-1.example").await.expect("enrolled");
    let second = world.show(&token, &key(), "web-1.example").await.expect("enrolled");
    assert_eq!((first.name.as_str(), second.name.as_str()), ("web-1.example", "web-1-2.example"));
    assert_eq!(world.show(&token, &key(), "web-1").await.expect_err("two are in").code, "enrol.token");
    let token = world.token(&ask()).await;
    assert_eq!(world.show(&token, &key(), "no name!").await.expect_err("no name").code, "enrol.name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_a_node_that_is_there_lets_it_in_anew() {
    let world = World::start().await;
    let old = world.node("web-1").await;
    let mut session = world.connect(&old, "m1", 1).await;
    session.welcomed().await;
    let named = EnrolTokenCreate { node: Some("web-1".parse().expect("a name")), ..ask() };
    let token = world.token(&named).await;
    let key = PrivateKey::generate().expect("a key");
    let enrolled = world.show(&token, &key, "other").await.expect("enrolled");
    let new = node(key, enrolled);
    assert_eq!((new.id, new.name.as_str()), (old.id, "web-1"));
    let ended = session.find(|m| if let lampas_wire::Message::Goodbye(g) = m { Some(g.reason) } else { None });
    assert_eq!(ended.await, GoodbyeReason::Revoked);
    let mut stale = world.connect(&old, "m1", 2).await;
    let refused = stale.find(|m| if let lampas_wire::Message::Goodbye(g) = m { Some(g.reason) } else { None });
    assert_eq!(refused.await, GoodbyeReason::Revoked, "the old certificate is over");
    let mut session = world.connect(&new, "m2", 1).await;
    session.welcomed().await;
    assert!(world.gate.connected(new.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_and_both_work() {
    let world = World::start().await;
    let old = world.node("web-1").await;
    let renewed = world.renew(&old).await.expect("renewed");
    assert_ne!(renewed.chain[0], old.identity.chain()[0].to_vec());
    world.connect(&old, "m1", 1).await.welcomed().await;
    let again = world.renew(&old).await.expect("an answer that was lost is asked for again");
    assert_ne!(again.chain[0], renewed.chain[0]);
}
