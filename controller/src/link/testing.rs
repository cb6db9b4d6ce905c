//! A controller's link with its real parts over loopback, and a node's end of it, for tests.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lampas_api::EnrolTokenCreate;
use lampas_runtime::{
    Tasks,
    identity::{CONTROLLER_DNS, ControllerTime, Identity, Pinned, PrivateKey, TokenText, Trust, Trusted},
    quic::{ClientTls, Purpose, client_config, dial_from},
    random,
};
use lampas_shared::{desired::ContentHash, error::Fault, fleet::NodeFacts, id::NodeId};
use lampas_wire::{
    EnrolRequest, Enrolled, Hello, Kind, Message, RenewRequest, Renewed, Role, decode, encode, feature, frame::Decoder,
};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::{
    Gate, Link, LinkConfig, Parts,
    stream::{CHUNK_BYTES, read_message, write_message},
};
use crate::{
    audit::Principal,
    ca::{Ca, Credentials},
    change::{Desired, Ingest, Members},
    db::{Db, DbError},
    enrol::{self, Enrolments},
    signer::{Signer, SignerOptions, run},
};

/// Long enough for a slow machine; no test waits for it when all is well.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) struct World {
    _dir: TempDir,
    pub(crate) tasks: Tasks,
    pub(crate) db: Db,
    pub(crate) ca: Ca,
    pub(crate) gate: Gate,
    pub(crate) link: Link,
    pub(crate) enrolments: Enrolments,
    pub(crate) credentials: Credentials,
    pub(crate) address: SocketAddr,
}

/// A node that has its certificate.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) trust: Trust,
}

/// A connection that was welcomed, or not yet.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    _send: SendStream,
    recv: RecvStream,
    decoder: Decoder,
    _endpoint: Endpoint,
}

/// Starts the signer in this process, on a socket of its own.
pub(crate) fn signer(tasks: &Tasks, dir: &Path) -> Signer {
    let options = SignerOptions {
        dir: dir.join("signer"),
        socket: dir.join("signer.sock"),
        allow_uids: Vec::new(),
        lifeline: false,
    };
    let (socket, owner): (PathBuf, _) = (options.socket.clone(), tasks.clone());
    tasks.spawn("signer", async move { run(options, &owner).await.expect("the signer runs") });
    Signer::at(socket)
}

impl World {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let tasks = Tasks::new();
        let db = Db::open(&format!("sqlite://{}", dir.path().join("lampas.db").display()), 4).await.expect("a store");
        let controller = random::new_id();
        let ca = Ca::new(signer(&tasks, dir.path()), random::new_id(), controller, dir.path());
        let credentials = ca.credentials().await.expect("credentials");
        let gate = Gate::new();
        let desired = Desired::new(db.clone());
        let ingest = Ingest::start(db.clone(), &tasks);
        let members = Arc::new(Members::new(desired.clone(), ingest, controller));
        let at = Arc::new(gate.clone());
        let enrolments = Enrolments::start(&tasks, desired, ca.signer().clone(), at, &credentials, Vec::new());
        let config = LinkConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            controller,
            controllers: Vec::new(),
            reset_key: [7; 32],
        };
        let parts = Parts { source: members.clone(), members, admission: Arc::new(enrolments.clone()) };
        let link = Link::start(&tasks, config, &credentials, gate.clone(), parts).expect("the link starts");
        let address = link.local_addr().expect("an address");
        Self { _dir: dir, tasks, db, ca, gate, link, enrolments, credentials, address }
    }

    /// Makes a token.
    pub(crate) async fn token(&self, ask: &EnrolTokenCreate) -> TokenText {
        let pin = self.enrolments.pin();
        let made = self.db.write(|mut tx| async move {
            let made = enrol::create(&mut tx, ask, pin, (&Principal::system(), None)).await?;
            Ok::<_, enrol::TokenError>(tx.done(made.text))
        });
        made.await.expect("a token").parse().expect("a whole token")
    }

    /// Shows a token with a key.
    pub(crate) async fn show(&self, token: &TokenText, key: &PrivateKey, hostname: &str) -> Result<Enrolled, Fault> {
        let tls = ClientTls { purpose: Purpose::Enrol, verifier: Pinned::new(token.pin), identity: None };
        let (connection, _endpoint) = self.dial(tls).await.expect("the handshake");
        let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
        let facts = facts(hostname, "");
        let csr = key.request().expect("a request");
        let request = EnrolRequest { token: token.secret().to_string(), csr, facts };
        write_message(&mut send, &Message::EnrolRequest(Box::new(request)), LONG).await.expect("sent");
        let reply = read_message(&mut recv, &[], &[Kind::EnrolReply], LONG).await.expect("answered");
        let Message::EnrolReply(reply) = reply else { panic!("another message") };
        *reply
    }

    /// Enrols a node with a token of its own.
    pub(crate) async fn node(&self, hostname: &str) -> Node {
        let token = self.token(&ask()).await;
        let key = PrivateKey::generate().expect("a key");
        let enrolled = self.show(&token, &key, hostname).await.expect("enrolled");
        node(key, enrolled)
    }

    pub(crate) async fn dial(&self, tls: ClientTls) -> Result<(Connection, Endpoint), ConnectionError> {
        let endpoint = dial_from(self.address).expect("a socket");
        let config = client_config(tls).expect("configured");
        let connection = endpoint.connect_with(config, self.address, CONTROLLER_DNS).expect("dials").await?;
        Ok((connection, endpoint))
    }

    /// Dials as a node and says hello.
    pub(crate) async fn connect(&self, node: &Node, machine: &str, session: u64) -> Session {
        let (connection, endpoint) = self.dial(node.tls(Purpose::Link)).await.expect("the handshake");
        let (mut send, recv) = connection.open_bi().await.expect("a stream");
        let hello = Hello {
            role: Role::Session,
            oldest_version: 1,
            newest_version: 1,
            features: feature::NONE,
            agent_version: "0.1.0".to_owned(),
            node: node.id,
            outbox_epoch: 7,
            session,
            applied: None,
            trust: crate::ca::wire_trust(&node.trust).hash(),
            facts: facts(&node.name, machine),
        };
        let bytes = encode(&Message::Hello(Box::new(hello))).expect("encodes");
        send.write_all(&bytes).await.expect("sent");
        Session { connection, _send: send, recv, decoder: Decoder::new(), _endpoint: endpoint }
    }

    /// Asks for a new certificate under `lampas-renew/1`.
    pub(crate) async fn renew(&self, node: &Node) -> Result<Renewed, Fault> {
        let (connection, _endpoint) = self.dial(node.tls(Purpose::Renew)).await.expect("the handshake");
        let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
        let csr = node.identity.key().request().expect("a request");
        write_message(&mut send, &Message::RenewRequest(RenewRequest { csr }), LONG).await.expect("sent");
        let reply = read_message(&mut recv, &[], &[Kind::RenewReply], LONG).await.expect("answered");
        let Message::RenewReply(reply) = reply else { panic!("another message") };
        *reply
    }

    /// Returns the texts of the kinds of events so far.
    pub(crate) async fn events(&self) -> Vec<String> {
        let read = self.db.read(|mut tx| async move {
            let rows = sqlx::query("SELECT e.kind FROM event e ORDER BY e.seq").fetch_all(tx.conn()).await?;
            let texts = rows.iter().map(|r| crate::db::row::Reader::new("event", r).text("kind"));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            Ok::<_, DbError>(tx.done(texts))
        });
        read.await.expect("events")
    }
}

impl Node {
    pub(crate) fn tls(&self, purpose: Purpose) -> ClientTls {
        let verifier = Trusted::new(&self.trust, ControllerTime::default()).expect("trust");
        ClientTls { purpose, verifier, identity: Some(self.identity.certified(&[]).expect("usable")) }
    }
}

impl Session {
    /// Returns the next message of the control stream.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("frames") {
                return Some(decode(&frame).expect("a message"));
            }
            let chunk = tokio::time::timeout(LONG, self.recv.read_chunk(CHUNK_BYTES, true)).await.expect("in time");
            self.decoder.push(&chunk.ok().flatten()?.bytes);
        }
    }

    /// Waits for a message.
    pub(crate) async fn find<T>(&mut self, mut pick: impl FnMut(Message) -> Option<T>) -> T {
        loop {
            let message = self.next().await.expect("the stream goes on");
            if let Some(found) = pick(message) {
                return found;
            }
        }
    }

    /// Waits for the welcome.
    pub(crate) async fn welcomed(&mut self) -> lampas_wire::Welcome {
        self.find(|m| if let Message::Welcome(w) = m { Some(*w) } else { None }).await
    }
}

pub(crate) fn node(key: PrivateKey, enrolled: Enrolled) -> Node {
    let der = |all: Vec<Vec<u8>>| all.into_iter().map(CertificateDer::from).collect::<Vec<_>>();
    let identity = Identity::new(key, der(enrolled.chain)).expect("an identity");
    let trust = Trust { fleet: enrolled.fleet, roots: der(enrolled.trust.roots) };
    Node { id: enrolled.node, name: enrolled.name.to_string(), identity, trust }
}

pub(crate) fn ask() -> EnrolTokenCreate {
    EnrolTokenCreate {
        roles: vec!["app".parse().expect("a role")],
        labels: Default::default(),
        node: None,
        cidr: None,
        ttl_secs: 3600,
        uses: 1,
        observe: false,
    }
}

pub(crate) fn facts(hostname: &str, machine: &str) -> NodeFacts {
    let machine =
        if machine.is_empty() { ContentHash::of(hostname.as_bytes()).to_string() } else { machine.to_owned() };
    NodeFacts { hostname: hostname.to_owned(), machine, ..NodeFacts::default() }
}

/// Waits until a condition holds.
pub(crate) async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} did not come about");
}
