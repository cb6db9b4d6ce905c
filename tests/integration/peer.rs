//! What no agent would say: a peer of the tests' own, with a node's certificate, that writes its own first words.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lampas_runtime::{
    identity::{CONTROLLER_DNS, ControllerTime, Identity, Trust, Trusted, Who},
    quic::{ClientTls, Purpose, client_config, dial_from},
};
use lampas_shared::{
    desired::ContentHash,
    fleet::NodeFacts,
    id::NodeId,
    operation::{OperationRun, RunEnd},
    report::{GenerationReport, Phase, ResourceState},
    time::UnixMs,
};
use lampas_tests::{Controller, Node, Store, wait_for};
use lampas_wire::{BlobRequest, Hello, Message, Report, Role, SecretRequest, decode, encode, feature, frame::Decoder};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing here may move a cursor, turn text around or hide it.
const TRICKS: [char; 6] = ['\u{202e}', '\u{2066}', '\u{1b}', '\u{9b}', '\u{7}', '\u{200b}'];
/// A frame begins with kind and version; its length follows.
const LENGTH_AT: std::ops::Range<usize> = 4..8;

/// The first words of a node with these facts, as a frame.
fn hello(node: &Node, facts: NodeFacts) -> Result<Vec<u8>> {
    hello_as(id_of(node)?, facts)
}

fn id_of(node: &Node) -> Result<NodeId> {
    let (identity, _) = credentials(node)?;
    let Who::Node(id) = identity.info().subject.who else { bail!("a node's identity") };
    Ok(id)
}

/// The first words of who says to be this node.
fn hello_as(id: NodeId, facts: NodeFacts) -> Result<Vec<u8>> {
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

/// A connection of a node's certificate, whose first words were said.
struct Peer {
    endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    /// The control stream, which the connection wants open.
    _control: (quinn::SendStream, quinn::RecvStream),
    /// The stream of its reports, which is never ended either.
    outbox: Option<(quinn::SendStream, quinn::RecvStream)>,
    /// Last: it drives the others.
    runtime: tokio::runtime::Runtime,
}

impl Peer {
    /// Dials the controller as the node and says these bytes.
    fn say(node: &Node, port: u16, bytes: &[u8]) -> Result<Self> {
        let (identity, trust) = credentials(node)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let entered = runtime.enter();
        let address = format!("127.0.0.1:{port}").parse()?;
        let tls = ClientTls {
            purpose: Purpose::Link,
            verifier: Trusted::new(&trust, ControllerTime::default())?,
            identity: Some(identity.certified(&[])?),
        };
        let endpoint = dial_from(address)?;
        let dialled = endpoint.connect_with(client_config(tls)?, address, CONTROLLER_DNS)?;
        drop(entered);
        let (connection, control) = runtime.block_on(async {
            let connection = dialled.await?;
            let (mut send, recv) = connection.open_bi().await?;
            send.write_all(bytes).await?;
            anyhow::Ok((connection, (send, recv)))
        })?;
        Ok(Self { endpoint, connection, _control: control, outbox: None, runtime })
    }

    /// Waits for the controller to close it and returns why.
    fn closed(self) -> Result<String> {
        self.runtime.block_on(async {
            let closed = tokio::time::timeout(PATIENCE, self.connection.closed()).await;
            Ok(closed.context("the controller closes the connection")?.to_string())
        })
    }

    /// Says something on a stream of its own and returns what comes back.
    fn ask(&self, message: &Message) -> Result<Message> {
        let asked = async {
            let (mut send, mut recv) = self.connection.open_bi().await?;
            send.write_all(&encode(message)?).await?;
            next(&mut Decoder::new(), &mut recv).await
        };
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await })?
    }

    /// Tells reports on its outbox's only stream, and waits until all are acknowledged.
    fn report(&mut self, reports: Vec<Report>) -> Result<()> {
        let last = reports.len() as u64;
        let told = async {
            let (mut send, mut recv) = self.connection.open_bi().await?;
            for (seq, report) in (1..).zip(reports) {
                send.write_all(&encode(&Message::Report { seq, report: Box::new(report) })?).await?;
            }
            let mut decoder = Decoder::new();
            while next(&mut decoder, &mut recv).await? != Message::Ack(last) {}
            anyhow::Ok((send, recv))
        };
        let told = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, told).await });
        self.outbox = Some(told.context("all are acknowledged")??);
        Ok(())
    }

    fn end(self) {
        self.connection.close(0_u32.into(), b"");
        self.runtime.block_on(self.endpoint.wait_idle());
    }
}

/// Reads the next message of a stream.
async fn next(decoder: &mut Decoder, recv: &mut quinn::RecvStream) -> Result<Message> {
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(decode(&frame)?);
        }
        let chunk = recv.read_chunk(64 << 10, true).await?.context("the stream goes on")?;
        decoder.push(&chunk.bytes);
    }
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
        pause: None,
        undone_since: None,
    };
    let frame = hello(&node, facts)?;
    let look = || {
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
    let peer = Peer::say(&node, controller.port(), &frame)?;
    look();
    peer.end();
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
        let why = Peer::say(&liar, controller.port(), &frame)?.closed()?;
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
    let peer = Peer::say(&liar, controller.port(), &good)?;
    controller.wait_online("web-1");
    peer.end();
    Ok(())
}

/// A content that doesn't ride along with a state, and is fetched by its hash.
fn long(line: &str) -> String {
    format!("{line}\n").repeat(1000)
}

fn big(name: &str, line: &str) -> String {
    let (scope, content) = (format!("node:{}", name.trim_end_matches(".conf")), long(line));
    format!(
        "[[file]]\nname = \"{name}\"\nscope = \"{scope}\"\npath = \"/etc/{name}\"\ncontent = \"\"\"\n{content}\"\"\"\n"
    )
}

/// Sets a secret for a node, and makes a file there that uses it.
fn keep_secret(controller: &Controller, name: &str, node: &str) -> Result<()> {
    let scope = format!("node:{node}");
    let set = controller.ctl_with(&["secret", "set", name, "--scope", &scope], "canary-of-it\n")?;
    assert_eq!(set.code, 0, "{set:#?}");
    let file = format!(
        "[[file]]\nname = \"{name}\"\nscope = \"{scope}\"\npath = \"/etc/{name}\"\nmode = \"0600\"\ntemplate = true\n\
         content = \"{{{{secret.{name}}}}}\\n\"\n"
    );
    let applied = controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &file)?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    Ok(())
}

/// Returns the id of a secret's value.
fn value_of(controller: &Controller, token: &str, secret: &str) -> Result<String> {
    let objects = controller.json(&["object", "list"])?;
    let mut all = objects["items"].as_array().into_iter().flatten();
    let found = all.find(|o| o["kind"] == "secret" && o["name"] == secret).and_then(|o| o["id"].as_str());
    let id = found.with_context(|| format!("{secret} in {objects:#}"))?;
    let values = controller.https(token, "GET", &format!("/api/v1/objects/{id}/values"), &[])?.body;
    let value = values.get(0).or_else(|| values["items"].get(0)).and_then(|v| v["id"].as_str());
    Ok(value.with_context(|| format!("a value: {values:#}"))?.to_owned())
}

#[test]
fn what_is_another_nodes_is_refused_logged_and_audited() -> Result<()> {
    let controller = Controller::start()?;
    let (liar, db) = (Node::prepare("web-1")?, controller.node("db-1", "database")?);
    controller.enrol(&liar, "app")?;
    controller.apply(&big("db-1.conf", "the database's"))?;
    assert_eq!(db.read("/etc/db-1.conf")?, long("the database's"));
    let own = controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &big("web-1.conf", "its own"))?;
    assert_eq!(own.code, 0, "{own:#?}");
    keep_secret(&controller, "db-key", "db-1")?;
    keep_secret(&controller, "web-key", "web-1")?;
    wait_for("the database's secret", || match db.read("/etc/db-key") {
        Ok(text) if text == "canary-of-it\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let token = controller.ctl_ok(&["api-token", "create", "t", "--preset", "administrator", "--quiet"])?.out;
    let gate = controller.path("gate");
    // Nothing of it stays behind when the test fails.
    let code = "while [ -d $0 ] && [ ! -e $0/gate ]; do sleep 0.05; done; echo its own";
    let args = [
        "--output",
        "json",
        "run",
        "--detach",
        "--on",
        "node:db-1",
        "--",
        "/bin/sh",
        "-c",
        code,
        &controller.path("").display().to_string(),
    ];
    let begun: Value = serde_json::from_str(&controller.ctl_ok(&args)?.out)?;
    let number = begun["summary"]["number"].to_string();

    // Who says to be another than the certificate says is sent away, and disturbs nobody.
    let as_other = hello_as(id_of(&db)?, NodeFacts::default())?;
    let why = Peer::say(&liar, controller.port(), &as_other)?.closed()?;
    assert!(why.starts_with("closed by peer"), "{why}");
    assert_eq!(controller.json(&["node", "show", "db-1"])?["state"], "online");

    let mut peer = Peer::say(&liar, controller.port(), &hello(&liar, NodeFacts::default())?)?;
    controller.wait_online("web-1");
    // Contents: its own, another's, nobody's.
    for (line, is_given) in [("its own", true), ("the database's", false), ("nobody's", false)] {
        let text = long(line);
        let request = BlobRequest { hash: ContentHash::of(text.as_bytes()) };
        let Message::BlobReply(reply) = peer.ask(&Message::BlobRequest(request))? else { bail!("another answer") };
        match reply {
            Ok(bytes) => assert!(is_given && bytes == text.as_bytes(), "{line}"),
            Err(fault) => assert!(!is_given && fault.code == "blob.missing", "{line}: {fault:?}"),
        }
    }
    // Secrets: the same, whatever key they would be sealed to.
    for (secret, is_given) in [("web-key", true), ("db-key", false)] {
        let value = value_of(&controller, token.trim(), secret)?.parse()?;
        let request = SecretRequest { value, key: [7; 32] };
        let Message::SecretReply(reply) = peer.ask(&Message::SecretRequest(request))? else { bail!("another answer") };
        match reply {
            Ok(_) => assert!(is_given, "{secret}"),
            Err(fault) => assert!(!is_given && fault.code == "secret.missing", "{secret}: {fault:?}"),
        }
    }
    // Asked for again and again.
    let wanted = Message::BlobRequest(BlobRequest { hash: ContentHash::of(long("the database's").as_bytes()) });
    for _ in 0..20 {
        assert!(matches!(peer.ask(&wanted)?, Message::BlobReply(Err(_))));
    }

    // What became of the other's run and state is not for it to say.
    tell_of_another(&controller, &mut peer, &number)?;
    std::fs::write(&gate, "")?;
    wait_for("the run's own end", || {
        let shown = controller.json(&["run", "show", &number]).map_err(|e| e.to_string())?;
        let run = &shown["nodes"][0];
        let is_over = run["state"] == "succeeded" && run["is_output_complete"] == true;
        if is_over { Ok(()) } else { Err(shown.to_string()) }
    });
    assert!(controller.ctl_ok(&["run", "output", &number])?.out.contains("its own"));

    // It stands in the log and in the audit, and who asks again and again fills neither.
    let log = std::fs::read_to_string(controller.path("controller.log"))?;
    assert!(log.contains("asked for what is not meant for it") && log.contains("the result of another's run"), "{log}");
    let audit = controller.json(&["audit", "--principal", "node:web-1"])?;
    let refused = |act: &str| {
        let rows = audit["items"].as_array().into_iter().flatten().filter(|r| r["act"] == act);
        rows.filter(|r| r["result"].as_str().is_some_and(|r| r.starts_with("refused: "))).count()
    };
    assert!((1..5).contains(&refused("node.fetch")), "{audit:#}");
    assert_eq!(refused("node.result"), 1, "{audit:#}");
    peer.end();
    Ok(())
}

/// Has a peer tell the end of a run of db-1, and that db-1 undid what it has.
fn tell_of_another(controller: &Controller, peer: &mut Peer, number: &str) -> Result<()> {
    let shown = controller.json(&["run", "show", number])?;
    let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("a text in {shown:#}"));
    let result = OperationRun {
        run: text(&shown["nodes"][0]["run"])?.parse()?,
        operation: text(&shown["operation"]["summary"]["id"])?.parse()?,
        started_at: UnixMs(1),
        ended_at: UnixMs(2),
        end: RunEnd::Exited(0),
        output_bytes: 0,
        output_hash: ContentHash::of(b""),
        found: None,
    };
    let before = controller.json(&["node", "show", "db-1"])?;
    let undone = GenerationReport {
        generation: serde_json::from_value(before["desired"].clone())?,
        hash: ContentHash::of(b"another's"),
        phase: Phase::Quarantined,
        state: ResourceState::Failed,
        took_ms: 1,
        resources: Vec::new(),
        at: UnixMs(1),
    };
    // Taken, so that they aren't told for ever.
    peer.report(vec![Report::Operation(result), Report::Generation(undone)])?;
    let after = controller.json(&["run", "show", number])?;
    assert_eq!(after["nodes"][0]["state"], "running", "{after:#}");
    let after = controller.json(&["node", "show", "db-1"])?;
    assert_eq!((&after["config"], &after["reported"]), (&before["config"], &before["reported"]), "{after:#}");
    assert!(after["quarantined"].is_null(), "{after:#}");
    Ok(())
}

#[test]
fn an_older_state_that_is_told_again_changes_nothing_and_is_shown() -> Result<()> {
    let mut controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let motd = |text: &str| {
        format!("[[file]]\nname = \"m\"\nscope = \"fleet\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
    };
    controller.apply(&motd("first"))?;
    // Who has the controller's files of yesterday can tell a node again what it was told then.
    controller.process().stop()?;
    let mut copy = std::process::Command::new("/bin/cp");
    assert!(copy.arg("-a").arg(controller.data()).arg(controller.path("older")).status()?.success());
    controller.resume()?;
    controller.wait_online("web-1");
    controller.apply(&motd("second"))?;
    controller.process().stop()?;
    controller.switch_to("older", Store::Sqlite);
    controller.resume()?;
    controller.wait_online("web-1");
    let shown = wait_for("the refusal", || {
        let shown = controller.json(&["node", "show", "web-1"]).map_err(|e| e.to_string())?;
        if shown["refusal"].is_null() { Err(shown.to_string()) } else { Ok(shown) }
    });
    assert_eq!(shown["refusal"]["code"], "desired.stale", "{shown:#}");
    assert_eq!(node.read("/etc/motd")?, "second\n", "what is in force stays");
    // The next one has the number of what is in force, and is another: it is refused as well.
    let applied = controller.ctl_with(&["apply", "-f", "-", "--wait"], &motd("third"))?;
    assert_eq!(applied.code, 2, "{applied:#?}");
    assert_eq!(node.read("/etc/motd")?, "second\n");
    Ok(())
}
