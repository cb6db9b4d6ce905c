//! Enrolment and renewal, from the request to the certificate.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use lampas_runtime::{
    Tasks, clock,
    identity::{Trust, public_key_hash, secret_hash},
    random,
};
use lampas_shared::{
    desired::ContentHash,
    error::{Chain, Fault},
    event::EventKind,
    fleet::{NodeFacts, NodeName},
    id::NodeId,
    time::UnixMs,
};
use lampas_wire::{EnrolReply, EnrolRequest, Enrolled, RenewReply, Renewed};
use rcgen::CertificateSigningRequestParams;
use rustls::pki_types::CertificateSigningRequestDer;
use thiserror::Error;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    bounds::{self, Entrant},
    limit::{Limit, source},
    store::{self, Grant},
};
use crate::{
    access,
    audit::{Entry, Principal},
    ca::{Credentials, wire_trust},
    change::Desired,
    compile::{NodeInput, StableFacts},
    db::{DbError, Tx, row::draw},
    event::NewEvent,
    fleet::{self, FleetError, NewNode},
    link::{Admission, NodeGate, Shown},
    signer::{Enrolment, Issued, Renewal, Signer, SignerError},
};

/// Failed tries of one source in a minute: enough for mistakes, too few to learn anything.
const FAILURES_EACH: u32 = 20;
/// Failed tries in all in a minute.
const FAILURES_ALL: u32 = 2000;
const MINUTE_MS: i64 = 60_000;

/// Renewals of one node in an hour. One every twenty days is usual; a few more are a node that lost its answer.
const RENEWALS_EACH: u32 = 6;
const RENEWALS_ALL: u32 = 20_000;
const HOUR_MS: i64 = 3_600_000;

/// How long nodes that join are gathered before the fleet is compiled for them.
const GATHER: Duration = Duration::from_millis(50);
const ASSIGN_PAUSE: Duration = Duration::from_secs(2);

/// Names that are tried beside a host name that is taken: `web-1-2`, `web-1-3` …
const NAMES_MAX: u32 = 100;

/// Why a node was not let in.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// Unknown, used, expired or withdrawn: a stranger learns no more.
    #[error("the token is not valid here: it is unknown, used, expired or withdrawn; ask for a new one")]
    Token(&'static str),
    /// From the wrong network.
    #[error("the token may not be used from {0}")]
    Network(IpAddr),
    /// Too many tries.
    #[error("too many failed enrolments from there; wait a minute")]
    TooMany,
    /// The request.
    #[error("the signing request is malformed or not signed by its own key")]
    Request,
    /// No name.
    #[error("the node's host name {0:?} can't be its name; make a token with --node NAME")]
    Name(String),
    /// The node.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The signer.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

crate::store_error!(EnrolError);

impl EnrolError {
    /// Returns what the node is told.
    fn to_fault(&self) -> Fault {
        let text = self.to_string();
        match self {
            Self::Token(_) => Fault::lasting("enrol.token", text),
            Self::Network(_) => Fault::lasting("enrol.network", text),
            Self::TooMany => Fault::passing("enrol.busy", text),
            Self::Request => Fault::lasting("enrol.request", text),
            Self::Name(_) | Self::Fleet(FleetError::NameTaken(_) | FleetError::Field(_)) => {
                Fault::lasting("enrol.name", text)
            }
            Self::Signer(error) => error.to_fault(),
            Self::Fleet(_) | Self::Store(_) => {
                Fault::passing("enrol.store", "the controller's store does not answer; try again shortly")
            }
        }
    }

    /// Returns whether it counts against its source.
    fn is_failure(&self) -> bool {
        matches!(self, Self::Token(_) | Self::Network(_) | Self::Request)
    }
}

/// Lets nodes in and renews their certificates. Clones share the limits.
#[derive(Clone)]
pub struct Enrolments {
    inner: Arc<Inner>,
}

struct Inner {
    desired: Desired,
    signer: Signer,
    gate: Arc<dyn NodeGate>,
    /// Nodes joined, and wait for their desired state.
    joined: Notify,
    trust: RwLock<(Trust, ContentHash)>,
    controllers: Vec<String>,
    failures: Mutex<Limit<IpAddr>>,
    renewals: Mutex<Limit<NodeId>>,
}

impl std::fmt::Debug for Enrolments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrolments")
    }
}

/// What *reserve* found out.
#[derive(Clone)]
struct Reserved {
    grant: Grant,
    node: NodeId,
}

impl Enrolments {
    /// `controllers` is what nodes are told to dial, as `HOST:PORT`. A task compiles for the nodes that joined.
    pub fn start(
        tasks: &Tasks,
        desired: Desired,
        signer: Signer,
        gate: Arc<dyn NodeGate>,
        credentials: &Credentials,
        controllers: Vec<String>,
    ) -> Self {
        let inner = Arc::new(Inner {
            desired,
            signer,
            gate,
            joined: Notify::new(),
            trust: RwLock::new((credentials.trust.clone(), credentials.pin)),
            controllers,
            failures: Mutex::new(Limit::new(MINUTE_MS, FAILURES_EACH, FAILURES_ALL)),
            renewals: Mutex::new(Limit::new(HOUR_MS, RENEWALS_EACH, RENEWALS_ALL)),
        });
        tasks.spawn("enrolments", assign(Arc::clone(&inner), tasks.stopping()));
        Self { inner }
    }

    /// Takes up new credentials: after a rotation.
    pub fn set_credentials(&self, credentials: &Credentials) {
        let mut trust = self.inner.trust.write().unwrap_or_else(PoisonError::into_inner);
        *trust = (credentials.trust.clone(), credentials.pin);
    }

    /// Returns the pin that new tokens carry.
    pub fn pin(&self) -> ContentHash {
        self.inner.trust.read().unwrap_or_else(PoisonError::into_inner).1
    }

    fn trust(&self) -> Trust {
        self.inner.trust.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    async fn let_in(&self, request: EnrolRequest, from: SocketAddr) -> Result<Enrolled, EnrolError> {
        let address = source(from.ip());
        if lock(&self.inner.failures).is_reached(clock::now(), &address) {
            return Err(EnrolError::TooMany);
        }
        let outcome = self.enrol_node(request, from).await;
        if outcome.as_ref().is_err_and(EnrolError::is_failure) {
            lock(&self.inner.failures).count(clock::now(), address);
        }
        outcome
    }

    async fn enrol_node(&self, request: EnrolRequest, from: SocketAddr) -> Result<Enrolled, EnrolError> {
        let key = request_key(&request.csr).ok_or(EnrolError::Request)?;
        let secret = secret_hash(&request.token);
        let reserved = self.reserve(secret, key, from).await?;
        let record = Enrolment {
            node: reserved.node,
            token: reserved.grant.id,
            uses: reserved.grant.uses,
            expires: reserved.grant.expires,
        };
        let issued = self.inner.signer.enrol(record, request.csr).await?;
        let name = self.settle(&reserved, &issued, &request.facts, from).await?;
        info!(node.id = %reserved.node, node.name = %name, peer = %from, token.id = %reserved.grant.id, "a node enrolled");
        let trust = self.trust();
        Ok(Enrolled {
            node: reserved.node,
            name,
            fleet: trust.fleet,
            chain: issued.chain,
            trust: wire_trust(&trust),
            controllers: self.inner.controllers.clone(),
            time: clock::now(),
            observe: reserved.grant.observe,
        })
    }

    /// Binds the token to the key and to a node id.
    async fn reserve(&self, secret: ContentHash, key: ContentHash, from: SocketAddr) -> Result<Reserved, EnrolError> {
        let drawn: NodeId = random::new_id();
        self.inner
            .desired
            .db()
            .write(|mut tx| async move {
                let grant = store::grant(&mut tx, secret).await?.ok_or(EnrolError::Token("unknown"))?;
                let now = clock::now();
                if grant.is_withdrawn {
                    return Err(EnrolError::Token("withdrawn"));
                }
                if grant.expires < now {
                    return Err(EnrolError::Token("expired"));
                }
                if grant.network.is_some_and(|n| !n.contains(from.ip())) {
                    return Err(EnrolError::Network(from.ip().to_canonical()));
                }
                // A token that names a node which is there lets it in anew, under its old id.
                let known = match &grant.node {
                    Some(name) => fleet::id_of(&mut tx, name).await?,
                    None => None,
                };
                still_may(&mut tx, &grant, known, now).await?;
                if let Some(node) = store::used_as(&mut tx, grant.id, key).await? {
                    return Ok(tx.done(Reserved { grant, node }));
                }
                if store::uses(&mut tx, grant.id).await? >= u64::from(grant.uses) {
                    return Err(EnrolError::Token("used"));
                }
                let node = known.unwrap_or(drawn);
                store::insert_use(&mut tx, grant.id, key, node, now, &from.to_string()).await?;
                tx.event(NewEvent::new(EventKind::TokenChanged).with("token", grant.id).with("state", "used"));
                Ok(tx.done(Reserved { grant, node }))
            })
            .await
    }

    /// Makes the node and records its certificate.
    async fn settle(
        &self,
        reserved: &Reserved,
        issued: &Issued,
        facts: &NodeFacts,
        from: SocketAddr,
    ) -> Result<NodeName, EnrolError> {
        let (name, is_anew) = self
            .inner
            .desired
            .db()
            .write(|mut tx| async move {
                let now = clock::now();
                let node = reserved.node;
                let known = fleet::names(&mut tx, Some(&[node])).await?.remove(&node);
                let is_anew = known.is_some();
                let name = match known {
                    Some(name) => {
                        store::supersede(&mut tx, node, now).await?;
                        tx.event(NewEvent::new(EventKind::NodeEnrolled).node(node).with("name", &name));
                        name
                    }
                    None => {
                        let name = free_name(&mut tx, &reserved.grant, facts).await?;
                        let new = NewNode {
                            id: node,
                            name: name.clone(),
                            roles: reserved.grant.roles.clone(),
                            labels: reserved.grant.labels.clone(),
                            machine: String::new(),
                            observed_address: Some(from.ip().to_canonical().to_string()),
                            at: now,
                        };
                        fleet::create(&mut tx, &new).await?;
                        name
                    }
                };
                crate::takeover::enrolled(&mut tx, node, reserved.grant.observe).await?;
                store::insert_certificate(&mut tx, node, issued, now).await?;
                // The compiled fleet has one more member, which is all that this process has to add to its copy.
                let state = draw(&mut tx, "state", 1).await?;
                if !is_anew {
                    let desired = self.inner.desired.clone();
                    let (roles, labels) = (reserved.grant.roles.iter().cloned(), reserved.grant.labels.clone());
                    let joined = NodeInput {
                        id: node,
                        name: name.clone(),
                        roles: roles.collect(),
                        labels,
                        address: None,
                        facts: StableFacts::default(),
                    };
                    tx.after_commit(move || desired.joined(state, joined));
                }
                let by = Principal::new(format!("node:{name}"), from.to_string());
                let details = serde_json::json!({ "token": reserved.grant.id, "serial": issued.serial });
                tx.audit(Entry::done(&by, "node.enrol", name.to_string()).with_details(&details));
                Ok::<_, EnrolError>(tx.done((name, is_anew)))
            })
            .await?;
        if is_anew {
            self.inner.gate.close(reserved.node, "this node was enrolled anew");
        }
        self.inner.joined.notify_one();
        Ok(name)
    }

    async fn renew_node(&self, node: NodeId, shown: Shown, csr: Vec<u8>, from: SocketAddr) -> Result<Renewed, Fault> {
        let store = |error: DbError| {
            warn!(node.id = %node, error = %Chain(&error), "a renewal could not ask the store");
            Fault::passing("renew.store", "the controller's store does not answer; try again shortly")
        };
        let revoked =
            || Fault::lasting("renew.revoked", "this node was revoked or removed; it needs a new enrolment token");
        let serial = shown.info.serial.clone();
        let is_revoked = self.inner.desired.db().read(|mut tx| async move {
            let is_revoked =
                fleet::is_revoked(&mut tx, node).await? || store::is_certificate_revoked(&mut tx, &serial).await?;
            Ok(tx.done(is_revoked))
        });
        if is_revoked.await.map_err(store)? {
            return Err(revoked());
        }
        {
            let mut renewals = lock(&self.inner.renewals);
            if renewals.is_reached(clock::now(), &node) {
                return Err(Fault::passing(
                    "renew.busy",
                    "this node renewed its certificate often lately; wait an hour",
                ));
            }
            renewals.count(clock::now(), node);
        }
        let record = Renewal { node, fingerprint: shown.info.fingerprint, shown: shown.chain };
        let issued = self.inner.signer.renew(record, csr).await.map_err(|e| e.to_fault())?;
        let written = &issued;
        let recorded = self.inner.desired.db().write(|mut tx| async move {
            // Revoked while the signer signed: then the certificate must not leave.
            if fleet::is_revoked(&mut tx, node).await? {
                return Ok(tx.done(false));
            }
            store::insert_certificate(&mut tx, node, written, clock::now()).await?;
            let name = fleet::names(&mut tx, Some(&[node])).await?.remove(&node);
            if let Some(name) = name {
                fleet::note_renewal(&mut tx, &name, &from.to_string(), &written.serial);
            }
            Ok(tx.done(true))
        });
        if !recorded.await.map_err(store)? {
            return Err(revoked());
        }
        info!(node.id = %node, until = %issued.not_after, "a node renewed its certificate");
        Ok(Renewed { chain: issued.chain, trust: wire_trust(&self.trust()), time: clock::now() })
    }
}

/// Compiles for nodes that joined. Other nodes may move with them, as where hosts entries are made from the fleet.
async fn assign(inner: Arc<Inner>, stopping: CancellationToken) {
    loop {
        // Both arms are cancel-safe: a notice that is not taken is kept, and a node that connects is given its state
        // by whoever serves it.
        tokio::select! {
            () = inner.joined.notified() => {}
            () = stopping.cancelled() => return,
        }
        sleep(GATHER).await;
        match inner.desired.assign().await {
            Ok(moved) => inner.gate.wake(&moved),
            Err(error) => {
                warn!(error = %Chain(&error), "nodes that joined could not be given their state; trying again");
                inner.joined.notify_one();
                sleep(ASSIGN_PAUSE).await;
            }
        }
    }
}

impl Admission for Enrolments {
    fn enrol(&self, request: EnrolRequest, from: SocketAddr) -> BoxFuture<'_, EnrolReply> {
        async move {
            self.let_in(request, from).await.map_err(|error| {
                let detail = if let EnrolError::Token(why) = &error { why } else { "" };
                warn!(peer = %from, detail, error = %Chain(&error), "an enrolment failed");
                error.to_fault()
            })
        }
        .boxed()
    }

    fn renew(&self, node: NodeId, shown: Shown, csr: Vec<u8>, from: SocketAddr) -> BoxFuture<'_, RenewReply> {
        async move {
            self.renew_node(node, shown, csr, from).await.inspect_err(|fault| {
                warn!(node.id = %node, peer = %from, error = %fault, "a renewal failed");
            })
        }
        .boxed()
    }
}

/// Asks again whether the maker of a token may let the node in, where they have rights over a part of the fleet.
async fn still_may(tx: &mut Tx, grant: &Grant, known: Option<NodeId>, now: UnixMs) -> Result<(), EnrolError> {
    let Some(maker) = grant.bound.maker else { return Ok(()) };
    let Some(rights) = access::permitted(tx, (maker.user, maker.token), now).await? else {
        return Err(EnrolError::Token("its maker is gone, was disabled, or their API token ended"));
    };
    let known = match known {
        same if same == grant.bound.known => same,
        // The node that this very token let in has its name since.
        Some(node) if store::has_let_in(tx, grant.id, node).await? => None,
        _ => return Err(EnrolError::Token("its name is another node's than when it was made")),
    };
    let members = fleet::members(tx).await?;
    let entrant = Entrant { roles: &grant.roles, labels: &grant.labels, name: grant.node.as_ref(), known };
    bounds::within("its maker", &rights, entrant, &members)
        .map_err(|_| EnrolError::Token("its maker may let in such a node no longer"))
}

/// Returns the name that the token gives, or one made of the host name.
async fn free_name(tx: &mut Tx, grant: &Grant, facts: &NodeFacts) -> Result<NodeName, EnrolError> {
    if let Some(name) = &grant.node {
        return Ok(name.clone());
    }
    let hostname = facts.hostname.to_ascii_lowercase();
    let bad = || EnrolError::Name(facts.hostname.chars().filter(|c| !c.is_control()).take(64).collect());
    let first = NodeName::parse(hostname.trim_end_matches('.')).map_err(|_| bad())?;
    if fleet::id_of(tx, &first).await?.is_none() {
        return Ok(first);
    }
    let (host, domain) = match first.as_str().split_once('.') {
        Some((host, domain)) => (host.to_owned(), format!(".{domain}")),
        None => (first.to_string(), String::new()),
    };
    for number in 2..NAMES_MAX {
        let Ok(name) = NodeName::parse(format!("{host}-{number}{domain}")) else { break };
        if fleet::id_of(tx, &name).await?.is_none() {
            return Ok(name);
        }
    }
    Err(FleetError::NameTaken(first).into())
}

fn request_key(csr: &[u8]) -> Option<ContentHash> {
    let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr)).ok()?;
    Some(public_key_hash(&request.public_key))
}

/// A lock whose holder panicked holds counts, which are good enough as they stand.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
