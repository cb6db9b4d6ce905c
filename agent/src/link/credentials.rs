//! Who the node is, whom it trusts, and what it remembers of controllers.
//!
//! Three files in the identity's directory, each replaced whole: key and chain in `identity.pem`, fleet and authorities
//! in `trust.pem`, the rest in `link.json`. The last is a memory, not a promise: without it the agent starts over with
//! what its configuration says.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use lampas_runtime::{
    clock, files,
    identity::{ControllerTime, Identity, IdentityError, PrivateKey, Trust, Trusted, Who},
    quic::{ClientTls, EndpointError, Purpose, client_config},
};
use lampas_shared::{
    desired::ContentHash,
    error::Chain,
    fleet::NodeFacts,
    id::{FleetId, NodeId},
    time::UnixMs,
};
use lampas_wire::{Hello, Role, WIRE_VERSION, feature};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::warn;

use super::lock;

/// Key and chain.
pub const IDENTITY_FILE: &str = "identity.pem";
/// Fleet and authorities.
pub const TRUST_FILE: &str = "trust.pem";
const MEMORY_FILE: &str = "link.json";
/// The longest memory that is read: 32 controllers with a few addresses each are under 8 KiB.
const MEMORY_BYTES: u64 = 64 << 10;

/// Why the node has no usable identity.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// It was never enrolled.
    #[error("this node is not enrolled ({path} is missing): run `lampas-agent enrol` with a token")]
    NotEnrolled {
        /// The file that is missing.
        path: String,
    },
    /// A file is there and can't be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The certificate is a controller's, or of another fleet than the authorities.
    #[error("the certificate in {path} is not one of a node of this fleet")]
    Foreign {
        /// The file.
        path: String,
    },
}

/// What the link remembers between starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The node's name, as the controller said last.
    pub name: String,
    /// The controllers that the controller named last, as `HOST:PORT`.
    pub controllers: Vec<String>,
    /// Where each controller was reached last: used when its name can't be resolved.
    pub addresses: BTreeMap<String, SocketAddr>,
    /// The last time that a controller told.
    pub controller_time_ms: Option<i64>,
}

/// The node's identity and memory. Shared by all of the link.
#[derive(Debug)]
pub struct Credentials {
    /// Where the files are; simulated nodes have none.
    dir: Option<PathBuf>,
    node: NodeId,
    fleet: FleetId,
    time: ControllerTime,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: Arc<Identity>,
    trust: Arc<Trust>,
    memory: Memory,
}

impl Credentials {
    /// Reads the files. Blocking.
    ///
    /// # Errors
    /// When the node isn't enrolled, or a file can't be used.
    pub fn load(dir: &Path) -> Result<Self, CredentialsError> {
        let path = dir.join(IDENTITY_FILE);
        let missing = |path: &Path| CredentialsError::NotEnrolled { path: path.display().to_string() };
        let identity = Identity::load(&path)?.ok_or_else(|| missing(&path))?;
        let trust_path = dir.join(TRUST_FILE);
        let trust = Trust::load(&trust_path)?.ok_or_else(|| missing(&trust_path))?;
        let memory = read_memory(&dir.join(MEMORY_FILE));
        Self::new(Some(dir.to_owned()), identity, trust, memory)
            .ok_or_else(|| CredentialsError::Foreign { path: path.display().to_string() })
    }

    /// Holds an identity without files.
    pub fn in_memory(identity: Identity, trust: Trust, memory: Memory) -> Option<Self> {
        Self::new(None, identity, trust, memory)
    }

    fn new(dir: Option<PathBuf>, identity: Identity, trust: Trust, memory: Memory) -> Option<Self> {
        let subject = identity.info().subject;
        let Who::Node(node) = subject.who else { return None };
        if subject.fleet != trust.fleet {
            return None;
        }
        let time = ControllerTime::from_last(memory.controller_time_ms.map(UnixMs));
        let inner = Inner { identity: Arc::new(identity), trust: Arc::new(trust), memory };
        Some(Self { dir, node, fleet: subject.fleet, time, inner: Mutex::new(inner) })
    }

    /// Returns the node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Returns the fleet.
    pub fn fleet(&self) -> FleetId {
        self.fleet
    }

    /// Returns key and certificate.
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&lock(&self.inner).identity)
    }

    /// Returns the last time that a controller told.
    pub fn last_controller_time(&self) -> Option<UnixMs> {
        self.time.last()
    }

    /// Returns what is remembered.
    pub fn memory(&self) -> Memory {
        lock(&self.inner).memory.clone()
    }

    /// Returns the hash of the authorities, as the handshake compares it.
    pub fn trust_hash(&self) -> ContentHash {
        let trust = Arc::clone(&lock(&self.inner).trust);
        lampas_wire::Trust::new(trust.roots.iter().map(|r| r.to_vec()).collect()).hash()
    }

    /// Returns how the node greets when it only tries whether it may come: it has no outbox then, whose number must not be 0.
    pub fn trial(&self) -> Hello {
        Hello {
            role: Role::Probe,
            oldest_version: WIRE_VERSION,
            newest_version: WIRE_VERSION,
            features: feature::NONE,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.node(),
            outbox_epoch: 1,
            session: 0,
            applied: None,
            trust: self.trust_hash(),
            facts: NodeFacts::default(),
        }
    }

    /// Returns whether every one of these authorities is trusted already.
    pub fn trusts(&self, trust: &lampas_wire::Trust) -> bool {
        let held = Arc::clone(&lock(&self.inner).trust);
        trust.roots.iter().all(|root| held.roots.iter().any(|r| r.as_ref() == root.as_slice()))
    }

    /// Returns whether the certificate may have expired: by the controllers' time for certain, by the node's own clock
    /// perhaps.
    pub fn may_be_expired(&self) -> bool {
        let until = self.identity().info().not_after;
        clock::now() > until || self.time.last().is_some_and(|t| t > until)
    }

    /// Builds what to dial with.
    ///
    /// # Errors
    /// When the key or an authority can't be used.
    pub fn client_config(&self, purpose: Purpose) -> Result<quinn::ClientConfig, EndpointError> {
        let (identity, trust) = {
            let inner = lock(&self.inner);
            (Arc::clone(&inner.identity), Arc::clone(&inner.trust))
        };
        let verifier = Trusted::new(&trust, self.time.clone())?;
        client_config(ClientTls { purpose, verifier, identity: Some(identity.certified(&[])?) })
    }

    /// Remembers where a controller was reached. It is written with the next [`Credentials::welcomed`].
    pub fn reached(&self, controller: &str, address: SocketAddr) {
        lock(&self.inner).memory.addresses.insert(controller.to_owned(), address);
    }

    /// Remembers what a welcome said. Blocking.
    pub fn welcomed(&self, time: UnixMs, name: &str, controllers: &[String]) {
        self.time.saw(time);
        let memory = {
            let mut inner = lock(&self.inner);
            let memory = &mut inner.memory;
            memory.controller_time_ms = self.time.last().map(|t| t.0);
            name.clone_into(&mut memory.name);
            if !controllers.is_empty() {
                memory.controllers = controllers.to_vec();
            }
            let known = memory.controllers.clone();
            // Names that no list has any more would pile up over the years.
            if memory.addresses.len() > 64 {
                memory.addresses.retain(|name, _| known.contains(name));
            }
            memory.clone()
        };
        if let Some(dir) = &self.dir
            && let Err(error) = write_memory(dir, &memory)
        {
            warn!(%error, "what a controller said could not be remembered");
        }
    }

    /// Takes a new certificate, with the key that it is for. Blocking.
    ///
    /// # Errors
    /// When it isn't for this node and key, or the file can't be written; the old one stays then.
    pub fn renewed(&self, key: PrivateKey, renewed: lampas_wire::Renewed) -> Result<(), IdentityError> {
        let chain = renewed.chain.into_iter().map(CertificateDer::from).collect();
        let identity = Identity::new(key, chain)?;
        if identity.info().subject != self.identity().info().subject {
            return Err(IdentityError::Foreign);
        }
        if let Some(dir) = &self.dir {
            identity.store(&dir.join(IDENTITY_FILE))?;
        }
        lock(&self.inner).identity = Arc::new(identity);
        self.time.saw(renewed.time);
        self.trusted(renewed.trust)
    }

    /// Takes a new set of authorities. Blocking.
    ///
    /// # Errors
    /// When one isn't a certificate, or the file can't be written; the old set stays then.
    pub fn trusted(&self, trust: lampas_wire::Trust) -> Result<(), IdentityError> {
        let roots = trust.roots.into_iter().map(CertificateDer::from).collect();
        let trust = Trust { fleet: self.fleet, roots };
        if trust.roots.is_empty() {
            return Err(IdentityError::Malformed);
        }
        // Whether each is usable shows when a verifier is built of them.
        Trusted::new(&trust, self.time.clone())?;
        if let Some(dir) = &self.dir {
            trust.store(&dir.join(TRUST_FILE))?;
        }
        lock(&self.inner).trust = Arc::new(trust);
        Ok(())
    }
}

/// Writes a memory beside the identity. Blocking.
pub(crate) fn write_memory(dir: &Path, memory: &Memory) -> std::io::Result<()> {
    let text = serde_json::to_vec_pretty(memory)?;
    files::replace(&dir.join(MEMORY_FILE), &text, 0o600)
}

fn read_memory(path: &Path) -> Memory {
    match files::read_private(path, MEMORY_BYTES) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            warn!(path = %path.display(), error = %Chain(&error), "the link's memory is damaged; starting over");
            Memory::default()
        }),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                warn!(path = %path.display(), %error, "the link's memory can't be read; starting over");
            }
            Memory::default()
        }
    }
}
