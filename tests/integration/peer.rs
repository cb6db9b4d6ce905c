//! What no agent would say: a peer of the tests' own, with a node's certificate, that writes its own first words.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lampas_runtime::{
    identity::{CONTROLLER_DNS, ControllerTime, Identity, Trust, Trusted, Who},
    quic::{ClientTls, Purpose, client_config, dial_from},
};
use lampas_shared::{desired::ContentHash, fleet::NodeFacts};
use lampas_tests::{Controller, Node, wait_for};
use lampas_wire::{Hello, Message, Role, encode, feature};

/// Nothing here may move a cursor, turn text around or hide it.
const TRICKS: [char; 6] = ['\u{202e}', '\u{2066}', '\u{1b}', '\u{9b}', '\u{7}', '\u{200b}'];
/// A frame begins with kind and version; its length follows.
const LENGTH_AT: std::ops::Range<usize> = 4..8;

/// The first words of a node with these facts, as a frame.
fn hello(node: &Node, facts: NodeFacts) -> Result<Vec<u8>> {
    let (identity, _) = credentials(node)?;
    let Who::Node(id) = identity.info().subject.who else { bail!("a node's identity") };
    let hello = Hello {
        role: Role::Session,
        oldest_version: 1,
        newest_version: 1,
        features: feature::NONE,
        agent_version: "0.1.0".to_owned(),
        node: id,
        outbox_epoch: 7,
        session: 1,
        applied: None,
        trust: ContentHash::of(b"none"),
        facts,
    };
    Ok(encode(&Message::Hello(Box::new(hello)))?)
}

fn credentials(node: &Node) -> Result<(Identity, Trust)> {
    let dir = node.root().join("var/lib/lampas/agent/identity");
    let identity = Identity::load(&dir.join("identity.pem"))?.context("an identity")?;
    Ok((identity, Trust::load(&dir.join("trust.pem"))?.context("a trust")?))
}

/// Adds facts as they are to a frame.
fn with_facts(mut frame: Vec<u8>, facts: &[(u16, usize)]) -> Vec<u8> {
    for (tag, length) in facts {
        frame.extend_from_slice(&tag.to_le_bytes());
        frame.extend_from_slice(&(*length as u16).to_le_bytes());
        frame.extend_from_slice(&vec![b'x'; *length]);
    }
    let length = (frame.len() - LENGTH_AT.end) as u32;
    frame[LENGTH_AT].copy_from_slice(&length.to_le_bytes());
    frame
}

/// Dials the controller as the node, says these bytes, and does what `then` says with the connection: `None` waits for
/// the controller to close it and returns why.
fn say(node: &Node, port: u16, bytes: &[u8], then: Option<&mut dyn FnMut()>) -> Result<String> {
    let (identity, trust) = credentials(node)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = runtime.enter();
    let address = format!("127.0.0.1:{port}").parse()?;
    let tls = ClientTls {
        purpose: Purpose::Link,
        verifier: Trusted::new(&trust, ControllerTime::default())?,
        identity: Some(identity.certified(&[])?),
    };
    let endpoint = dial_from(address)?;
    let dialled = endpoint.connect_with(client_config(tls)?, address, CONTROLLER_DNS)?;
    runtime.block_on(async {
        let connection = dialled.await?;
        let (mut send, _recv) = connection.open_bi().await?;
        send.write_all(bytes).await?;
        let Some(then) = then else {
            let closed = tokio::time::timeout(Duration::from_secs(60), connection.closed()).await;
            return Ok(closed.context("the controller closes the connection")?.to_string());
        };
        tokio::task::block_in_place(then);
        connection.close(0_u32.into(), b"");
        endpoint.wait_idle().await;
        Ok(String::new())
    })
}

fn assert_harmless(what: &str, text: &str) {
    assert!(!text.contains(TRICKS), "{what}: {text:?}");
}

#[test]
fn hostile_facts_are_bounded_and_move_no_cursor() -> Result<()> {
    let controller = Controller::start()?;
    let node = Node::prepare("web-1")?;
    controller.enrol(&node, "app")?;
    let text: String = TRICKS.iter().collect::<String>() + "[2J]0;evil" + &"\u{202e}x".repeat(100);
    let facts = NodeFacts {
        hostname: text.clone(),
        os: text.clone(),
        kernel: text.clone(),
        architecture: text.clone(),
        cpus: u32::MAX,
        memory_bytes: u64::MAX,
        time_zone: text.clone(),
        agent_version: text.clone(),
        machine: text.clone(),
        root: text.clone(),
        addresses: vec![text; 40],
        policy: None,
    };
    let frame = hello(&node, facts)?;
    let mut look = || {
        controller.wait_online("web-1");
        let shown = wait_for("its facts", || {
            let shown = controller.json(&["node", "show", "web-1"]).map_err(|e| e.to_string())?;
            let is_there = shown["facts"]["os"].as_str().is_some_and(|os| os.contains("evil"));
            if is_there { Ok(shown) } else { Err(shown.to_string()) }
        });
        for (fact, most) in [("os", 128), ("hostname", 253), ("time_zone", 64), ("architecture", 32), ("root", 256)] {
            let text = shown["facts"][fact].as_str().unwrap_or_else(|| panic!("{fact} in {shown}"));
            assert!(text.chars().count() <= most, "{fact}: {text:?}");
            assert_harmless(fact, text);
        }
        assert_harmless("facts", &serde_json::to_string(&shown["facts"]).expect("JSON"));
        for args in [&["node", "show", "web-1"][..], &["node", "list"], &["audit"], &["overview"]] {
            let printed = controller.ctl(args).expect("lampasctl runs");
            assert_harmless(&args.join(" "), &(printed.out + &printed.err));
        }
    };
    say(&node, controller.port(), &frame, Some(&mut look))?;
    Ok(())
}

#[test]
fn first_words_that_break_the_layout_end_the_connection_alone() -> Result<()> {
    let controller = Controller::start()?;
    let (liar, mut well) = (Node::prepare("web-1")?, controller.node("web-2", "app")?);
    controller.enrol(&liar, "app")?;
    let good = hello(&liar, NodeFacts::default())?;
    let long = with_facts(good.clone(), &[(1, 60_000)]);
    let many = with_facts(good.clone(), &[(12, 8); 65]);
    let mut short = good.clone();
    short.truncate(good.len() - 3);
    let short = with_facts(short, &[]);
    let mut not_text = with_facts(good.clone(), &[(2, 4)]);
    let end = not_text.len();
    not_text[end - 4..].fill(0xff);
    let mut endless = good.clone();
    endless[LENGTH_AT].fill(0xff);
    for (frame, what) in [
        (long, "a fact of 60,000 bytes"),
        (many, "65 addresses"),
        (short, "a fact that ends early"),
        (not_text, "a fact that is no text"),
        (endless, "a frame of 4 GiB"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "another protocol"),
    ] {
        let why = say(&liar, controller.port(), &frame, None)?;
        assert!(why.starts_with("closed by peer"), "{what}: {why}");
        assert_harmless(what, &why);
        let shown = controller.json(&["node", "show", "web-1"])?;
        assert_eq!(shown["state"], "offline", "{what}: {shown}");
    }
    // Whoever behaves is not disturbed.
    controller.apply("[[file]]\nname = \"m\"\nscope = \"node:web-2\"\npath = \"/etc/motd\"\ncontent = \"on\\n\"\n")?;
    assert_eq!(well.read("/etc/motd")?, "on\n");
    assert!(!well.process().log_tail().contains("not connected"));
    // And whoever is sent away may come again and say it properly.
    let mut look = || controller.wait_online("web-1");
    say(&liar, controller.port(), &good, Some(&mut look))?;
    Ok(())
}
