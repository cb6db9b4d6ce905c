//! A small controller: real QUIC and TLS, the controller's machine, a store in memory.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use lampas_runtime::{
    Tasks, clock,
    identity::{CONTROLLER_DNS, Identity, PrivateKey, Subject, TokenText, Trust, Who, pin},
    quic::{Purpose, listen, peer_node, server_config},
    random,
};
use lampas_shared::{
    desired::{ContentHash, NodeDesired},
    error::Fault,
    fleet::NodeName,
    id::{FleetId, NodeId},
    time::UnixMs,
};
use lampas_wire::{
    Enrolled, Kind, Message, Renewed, Role, Welcome, encode,
    frame::Decoder,
    link::{
        Stream,
        controller::{Command, ControllerLink},
    },
};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use tokio::{sync::mpsc, time::Instant};

use super::super::{exchange, lock};

pub(super) const DAY_MS: i64 = 24 * 3600 * 1000;
pub(super) const BLOB: &[u8] = b"a content";

/// A fleet's authority.
pub(super) struct Fleet {
    pub(super) id: FleetId,
    pub(super) root: CertificateDer<'static>,
    pub(super) token: TokenText,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

impl Fleet {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test root");
        let root = params.self_signed(&key).expect("signed").der().clone();
        let issuer = Arc::new(Issuer::from_ca_cert_der(&root, key).expect("an issuer"));
        let token = TokenText::draw(pin(&root));
        Self { id: random::new_id(), root, token, issuer }
    }

    /// Issues a node's identity whose life begins and ends so far from the present.
    pub(super) fn node(&self, from_ms: i64, to_ms: i64) -> Identity {
        self.issue(Subject::node(self.id, random::new_id()), None, from_ms, to_ms)
    }

    fn issue(&self, subject: Subject, dns: Option<&str>, from_ms: i64, to_ms: i64) -> Identity {
        let key = PrivateKey::generate().expect("a key");
        let params = params(&subject, dns, from_ms, to_ms);
        let certificate = params.signed_by(key.signing(), &*self.issuer).expect("signed").der().clone();
        Identity::new(key, vec![certificate]).expect("ours")
    }

    fn trust(&self) -> Trust {
        Trust { fleet: self.id, roots: vec![self.root.clone()] }
    }
}

fn params(subject: &Subject, dns: Option<&str>, from_ms: i64, to_ms: i64) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    let at = |t: UnixMs| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(t.0 as u64);
    let now = clock::now();
    (params.not_before, params.not_after) = (at(now.plus_ms(from_ms)), at(now.plus_ms(to_ms)));
    params.subject_alt_names = vec![SanType::URI(subject.to_string().try_into().expect("a URI"))];
    if let Some(dns) = dns {
        params.subject_alt_names.push(SanType::DnsName(dns.try_into().expect("a name")));
    }
    params
}

/// The controller.
pub(super) struct Peer {
    endpoint: Endpoint,
    tasks: Tasks,
    state: Arc<State>,
}

struct State {
    fleet: FleetId,
    root: CertificateDer<'static>,
    issuer: Arc<Issuer<'static, KeyPair>>,
    secret: String,
    committed: Mutex<Vec<(u64, u64)>>,
    last: Mutex<BTreeMap<u64, u64>>,
    holds: AtomicBool,
    received: AtomicUsize,
    hellos: AtomicUsize,
    probes: AtomicUsize,
    goodbyes: AtomicUsize,
    faults: Mutex<Vec<Fault>>,
    sessions: AtomicUsize,
    session: Mutex<Option<(Connection, mpsc::Sender<NodeDesired>)>>,
}

impl Peer {
    /// Listens; a port that was just given back may take a moment.
    pub(super) async fn listen(fleet: &Fleet, address: &str) -> Self {
        let identity =
            fleet.issue(Subject::controller(fleet.id, random::new_id()), Some(CONTROLLER_DNS), -DAY_MS, DAY_MS);
        let address: SocketAddr = address.parse().expect("an address");
        let mut tries = 0;
        let endpoint = loop {
            match listen(address, server_config(&identity, &fleet.trust()).expect("configured"), &[7; 32]) {
                Ok(endpoint) => break endpoint,
                Err(error) if tries == 500 => panic!("the port is still taken: {error}"),
                Err(_) => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        let state = Arc::new(State {
            fleet: fleet.id,
            root: fleet.root.clone(),
            issuer: Arc::clone(&fleet.issuer),
            secret: fleet.token.secret().to_string(),
            committed: Mutex::default(),
            last: Mutex::default(),
            holds: AtomicBool::new(false),
            received: AtomicUsize::new(0),
            hellos: AtomicUsize::new(0),
            probes: AtomicUsize::new(0),
            goodbyes: AtomicUsize::new(0),
            faults: Mutex::default(),
            sessions: AtomicUsize::new(0),
            session: Mutex::default(),
        });
        let tasks = Tasks::new();
        let (accepting, owner, shared) = (endpoint.clone(), tasks.clone(), Arc::clone(&state));
        tasks.spawn("accept", async move {
            while let Some(incoming) = accepting.accept().await {
                let (owner, state) = (owner.clone(), Arc::clone(&shared));
                owner.clone().spawn("connection", async move {
                    let Ok(connection) = incoming.await else { return };
                    match Purpose::of(&connection) {
                        Some(Purpose::Link) => session(&state, connection, &owner).await,
                        _ => sign(&state, &connection).await,
                    }
                });
            }
        });
        Self { endpoint, tasks, state }
    }

    pub(super) fn address(&self) -> String {
        self.endpoint.local_addr().expect("an address").to_string()
    }

    pub(super) fn push(&self, state: NodeDesired) {
        let session = lock(&self.state.session);
        session.as_ref().expect("a session").1.try_send(state).expect("room");
    }

    pub(super) async fn ask(&self, request: Message) -> Message {
        let connection = lock(&self.state.session).as_ref().expect("a session").0.clone();
        exchange(&connection, &request, Duration::from_secs(30)).await.expect("an answer")
    }

    pub(super) fn committed(&self) -> Vec<(u64, u64)> {
        lock(&self.state.committed).clone()
    }

    pub(super) fn hold_commits(&self) {
        self.state.holds.store(true, Relaxed);
    }

    pub(super) fn received(&self) -> usize {
        self.state.received.load(Relaxed)
    }

    pub(super) fn hellos(&self) -> usize {
        self.state.hellos.load(Relaxed)
    }

    pub(super) fn probes(&self) -> usize {
        self.state.probes.load(Relaxed)
    }

    pub(super) fn goodbyes(&self) -> usize {
        self.state.goodbyes.load(Relaxed)
    }

    /// How many sessions there were.
    pub(super) fn sessions(&self) -> usize {
        self.state.sessions.load(Relaxed)
    }

    /// What the agent refused, in order.
    pub(super) fn faults(&self) -> Vec<Fault> {
        lock(&self.state.faults).clone()
    }

    /// Ends without a goodbye on the control stream.
    pub(super) async fn crash(self) {
        self.endpoint.close(99_u32.into(), b"");
        self.endpoint.wait_idle().await;
        *lock(&self.state.session) = None;
        self.tasks.finish(Duration::from_secs(10)).await;
    }
}

/// Runs one link with the controller's machine.
async fn session(state: &Arc<State>, connection: Connection, tasks: &Tasks) {
    let Some((node, info)) = peer_node(&connection) else { return };
    if info.not_after < clock::now() {
        return connection.close(20_u32.into(), b"the certificate has expired");
    }
    let start = Instant::now();
    let mut machine = ControllerLink::new(start.elapsed(), node);
    let mut sends: BTreeMap<Stream, SendStream> = BTreeMap::new();
    let (bytes_in, mut incoming) = mpsc::channel::<(Stream, Vec<u8>)>(16);
    let (states_in, mut states) = mpsc::channel::<NodeDesired>(16);
    let mut epoch = 0;
    loop {
        while let Some(command) = machine.poll_command() {
            match command {
                Command::Send(stream, bytes) => {
                    if let Some(send) = sends.get_mut(&stream) {
                        let _ = send.write_all(&bytes).await;
                    }
                }
                Command::Authorise(hello) => {
                    state.hellos.fetch_add(1, Relaxed);
                    epoch = hello.outbox_epoch;
                    let acked = lock(&state.last).get(&epoch).copied().unwrap_or(0);
                    let trust = lampas_wire::Trust::new(vec![state.root.to_vec()]);
                    machine.handle_welcome(start.elapsed(), welcome(state, acked), &trust);
                    if hello.role == Role::Probe {
                        state.probes.fetch_add(1, Relaxed);
                    } else {
                        *lock(&state.session) = Some((connection.clone(), states_in.clone()));
                        state.sessions.fetch_add(1, Relaxed);
                    }
                }
                Command::Commit(seq, _) => {
                    state.received.fetch_add(1, Relaxed);
                    if !state.holds.load(Relaxed) {
                        lock(&state.last).insert(epoch, seq);
                        lock(&state.committed).push((epoch, seq));
                        machine.handle_committed(start.elapsed(), seq);
                    }
                }
                Command::Close(reason) => {
                    state.goodbyes.fetch_add(usize::from(!reason.to_string().contains("confirmed")), Relaxed);
                    return connection.close(reason.code().into(), b"");
                }
                Command::Fault(fault) => lock(&state.faults).push(fault),
                Command::Silent(_) | Command::Facts(_) | Command::Countersigned(_) => {}
            }
        }
        let due = machine.poll_timeout().map_or(start + Duration::from_secs(600), |t| start + t);
        tokio::select! {
            accepted = connection.accept_bi() => {
                let Ok((send, recv)) = accepted else { return };
                if let std::collections::btree_map::Entry::Vacant(place) = sends.entry(Stream::Control) {
                    place.insert(send);
                    let bytes_in = bytes_in.clone();
                    tasks.spawn("control", read(Stream::Control, recv, Vec::new(), bytes_in));
                } else if let Some((send, recv, first)) = serve_or_return(state, node, send, recv).await {
                    sends.insert(Stream::Outbox, send);
                    tasks.spawn("outbox", read(Stream::Outbox, recv, first, bytes_in.clone()));
                }
            }
            Some((stream, bytes)) = incoming.recv() => machine.handle_input(start.elapsed(), stream, &bytes),
            Some(desired) = states.recv() => machine.handle_desired(start.elapsed(), desired),
            () = tokio::time::sleep_until(due) => machine.handle_timeout(start.elapsed()),
        }
    }
}

async fn read(stream: Stream, mut recv: RecvStream, first: Vec<u8>, to: mpsc::Sender<(Stream, Vec<u8>)>) {
    if !first.is_empty() && to.send((stream, first)).await.is_err() {
        return;
    }
    while let Ok(Some(chunk)) = recv.read_chunk(4096, true).await {
        if to.send((stream, chunk.bytes.to_vec())).await.is_err() {
            return;
        }
    }
}

/// Serves a blob or a renewal; returns the stream when it is the outbox's.
async fn serve_or_return(
    state: &State,
    node: NodeId,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Option<(SendStream, RecvStream, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut decoder = Decoder::new();
    let frame = loop {
        let chunk = recv.read_chunk(4096, true).await.ok()??;
        seen.extend_from_slice(&chunk.bytes);
        if seen.starts_with(&(Kind::Report as u16).to_le_bytes()) {
            return Some((send, recv, seen));
        }
        decoder.push(&chunk.bytes);
        if let Some(frame) = decoder.next_frame().ok()? {
            break frame;
        }
    };
    let answer = match lampas_wire::decode(&frame).ok()? {
        Message::BlobRequest(request) if request.hash == ContentHash::of(BLOB) => Message::BlobReply(Ok(BLOB.to_vec())),
        Message::BlobRequest(_) => Message::BlobReply(Err(Fault::lasting("blob.missing", "there is no such content"))),
        Message::RenewRequest(request) => renewed(state, node, &request.csr),
        _ => return None,
    };
    let _ = send.write_all(&encode(&answer).ok()?).await;
    let _ = send.finish();
    None
}

/// Serves enrolment and the renewal of expired certificates.
async fn sign(state: &State, connection: &Connection) {
    let Ok((mut send, mut recv)) = connection.accept_bi().await else { return };
    let answer = match exchange::read_message(&mut recv).await {
        Ok(Message::EnrolRequest(request)) if request.token == state.secret => {
            let node: NodeId = random::new_id();
            Message::EnrolReply(Box::new(Ok(Enrolled {
                node,
                name: NodeName::parse("web-9").expect("a name"),
                fleet: state.fleet,
                chain: vec![certificate(state, node, &request.csr)],
                trust: lampas_wire::Trust::new(vec![state.root.to_vec()]),
                controllers: Vec::new(),
                time: clock::now(),
                observe: false,
            })))
        }
        Ok(Message::EnrolRequest(_)) => {
            Message::EnrolReply(Box::new(Err(Fault::lasting("enrol.token", "no such token"))))
        }
        Ok(Message::RenewRequest(request)) => {
            let Some((node, _)) = peer_node(connection) else { return };
            renewed(state, node, &request.csr)
        }
        _ => return,
    };
    let _ = send.write_all(&encode(&answer).expect("encodes")).await;
    let _ = send.finish();
    connection.closed().await;
}

fn renewed(state: &State, node: NodeId, csr: &[u8]) -> Message {
    Message::RenewReply(Box::new(Ok(Renewed {
        chain: vec![certificate(state, node, csr)],
        trust: lampas_wire::Trust::new(vec![state.root.to_vec()]),
        time: clock::now(),
    })))
}

fn certificate(state: &State, node: NodeId, csr: &[u8]) -> Vec<u8> {
    let subject = Subject { fleet: state.fleet, who: Who::Node(node) };
    let mut request = rcgen::CertificateSigningRequestParams::from_der(&csr.to_vec().into()).expect("a request");
    request.params = params(&subject, None, -DAY_MS, 29 * DAY_MS);
    request.signed_by(&state.issuer).expect("signed").der().to_vec()
}

fn welcome(state: &State, acked: u64) -> Welcome {
    Welcome {
        controller: random::new_id(),
        fleet: state.fleet,
        name: NodeName::parse("web-9").expect("a name"),
        time: clock::now(),
        heartbeat_ms: 1000,
        acked,
        controllers: Vec::new(),
    }
}
