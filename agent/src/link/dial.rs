//! From a controller's name to a connection.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::select_ok};
use lampas_runtime::{
    identity::{CONTROLLER_DNS, PrivateKey},
    quic::{EndpointError, Purpose, dial_from},
    random,
};
use lampas_shared::error::Chain;
use lampas_wire::{Message, RenewRequest};
use quinn::{Connection, Endpoint};
use thiserror::Error;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Credentials, ExchangeError, exchange};

/// For a name to be resolved.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// For a handshake with one address. QUIC repeats the first packet after one, three and seven seconds; a controller that is
/// back takes the handshakes of 5,000 nodes in turn, for which 5 s were too few.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// When the name leads to other addresses, how long they are given before the last good one is dialled as well.
const LAST_GOOD_AFTER: Duration = Duration::from_secs(2);
/// For a certificate to be signed: the signer limits its rate.
const RENEW_LIMIT: Duration = Duration::from_secs(30);
/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// The sockets to dial from.
#[derive(Debug, Clone)]
pub enum Endpoints {
    /// A socket of its own for each connection.
    Fresh,
    /// Shared ones, for many agents in one process.
    Shared(Arc<[Endpoint]>),
}

/// A connection, with the socket that it stands on.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub connection: Connection,
    /// Its socket; kept so that it lives as long.
    pub endpoint: Endpoint,
    /// The controller, as `HOST:PORT`.
    pub controller: String,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum DialError {
    /// The name can't be resolved, and no last good address is known.
    #[error("the name of controller {controller} can't be resolved")]
    Resolve {
        /// The controller.
        controller: String,
        /// Why.
        source: io::Error,
    },
    /// The socket or TLS can't be set up.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The address can't be dialled at all.
    #[error("dialling {address}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: quinn::ConnectError,
    },
    /// The handshake failed.
    #[error("the handshake with {address}")]
    Handshake {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: quinn::ConnectionError,
    },
    /// Nobody answered.
    #[error("no answer from {address} within {limit:?} (is UDP open? is the controller running?)")]
    Timeout {
        /// The address.
        address: SocketAddr,
        /// The limit.
        limit: Duration,
    },
    /// The certificate has expired and could not be renewed.
    #[error("the expired certificate could not be renewed")]
    Renew(#[source] RenewError),
}

/// Why there is no new certificate.
#[derive(Debug, Error)]
pub enum RenewError {
    /// The exchange failed.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The controller refused.
    #[error(transparent)]
    Refused(#[from] lampas_shared::error::Fault),
    /// The key or the certificate can't be used.
    #[error(transparent)]
    Identity(#[from] lampas_runtime::identity::IdentityError),
    /// The controller said something else.
    #[error("the controller answered with something else")]
    Answer,
}

/// Dials controllers.
#[derive(Debug)]
pub struct Dialler {
    credentials: Arc<Credentials>,
    configured: Vec<String>,
    endpoints: Endpoints,
}

impl Dialler {
    /// Dials as this node.
    pub fn new(credentials: Arc<Credentials>, configured: Vec<String>, endpoints: Endpoints) -> Self {
        Self { credentials, configured, endpoints }
    }

    /// Returns who dials.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// Returns the controllers in the order in which they are tried.
    pub fn controllers(&self) -> Vec<String> {
        let mut all = self.configured.clone();
        for controller in self.credentials.memory().controllers {
            if !all.contains(&controller) {
                all.push(controller);
            }
        }
        all
    }

    /// Dials for the normal link. A certificate that may have expired is renewed first.
    ///
    /// # Errors
    /// When nobody answers, or TLS says no.
    pub async fn dial_for_session(&self, controller: &str) -> Result<Dialled, DialError> {
        if self.credentials.may_be_expired() {
            self.renew_expired(controller).await;
        }
        self.dial(controller, Purpose::Link, &self.endpoints).await
    }

    /// Dials from a new socket, whatever the other connections use.
    ///
    /// # Errors
    /// When nobody answers, or TLS says no.
    pub async fn dial_fresh(&self, controller: &str) -> Result<Dialled, DialError> {
        self.dial(controller, Purpose::Link, &Endpoints::Fresh).await
    }

    /// Tries to renew an expired certificate. Failure is no end: the node's clock may be what is wrong.
    async fn renew_expired(&self, controller: &str) {
        let renewed = match self.dial(controller, Purpose::Renew, &self.endpoints).await {
            Ok(dialled) => {
                let renewed = renew(&self.credentials, &dialled.connection).await;
                dialled.connection.close(0_u32.into(), b"done");
                renewed.map_err(DialError::Renew)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = renewed {
            warn!(controller, error = %Chain(&error), "the certificate may have expired and is not renewed");
        }
    }

    async fn dial(&self, controller: &str, purpose: Purpose, endpoints: &Endpoints) -> Result<Dialled, DialError> {
        let last = self.credentials.memory().addresses.get(controller).copied();
        let addresses = match resolve(controller).await {
            Ok(addresses) => addresses,
            // A controller must be reachable while DNS isn't.
            Err(source) => match last {
                Some(address) => vec![address],
                None => return Err(DialError::Resolve { controller: controller.to_owned(), source }),
            },
        };
        let config = self.credentials.client_config(purpose)?;
        let named = self.dial_any(controller, &addresses, &config, endpoints);
        // A name that leads elsewhere, by a managed hosts entry perhaps, must not keep a controller from being reached that
        // is where it was.
        let Some(last) = last.filter(|last| !addresses.contains(last)) else { return named.await };
        let late = async {
            tokio::time::sleep(LAST_GOOD_AFTER).await;
            self.dial_any(controller, &[last], &config, endpoints).await
        };
        select_ok([named.boxed(), late.boxed()]).await.map(|(dialled, _)| dialled)
    }

    /// Dials addresses of one controller in turn.
    async fn dial_any(
        &self,
        controller: &str,
        addresses: &[SocketAddr],
        config: &quinn::ClientConfig,
        endpoints: &Endpoints,
    ) -> Result<Dialled, DialError> {
        let mut failed = None;
        for address in addresses {
            match connect(endpoints, *address, config.clone()).await {
                Ok((endpoint, connection)) => {
                    self.credentials.reached(controller, *address);
                    return Ok(Dialled { connection, endpoint, controller: controller.to_owned() });
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| DialError::Resolve {
            controller: controller.to_owned(),
            source: io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
        }))
    }
}

/// Connects to one address.
pub(crate) async fn connect(
    endpoints: &Endpoints,
    address: SocketAddr,
    config: quinn::ClientConfig,
) -> Result<(Endpoint, Connection), DialError> {
    let endpoint = match endpoints {
        Endpoints::Fresh => dial_from(address)?,
        Endpoints::Shared(all) => {
            let number = u32::from_le_bytes(random::bytes()) as usize;
            all.get(number % all.len().max(1)).cloned().map_or_else(|| dial_from(address), Ok)?
        }
    };
    let connecting = endpoint
        .connect_with(config, address, CONTROLLER_DNS)
        .map_err(|source| DialError::Connect { address, source })?;
    match timeout(HANDSHAKE_LIMIT, connecting).await {
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(source)) => Err(DialError::Handshake { address, source }),
        Err(_) => Err(DialError::Timeout { address, limit: HANDSHAKE_LIMIT }),
    }
}

/// Asks for a new certificate for a new key, over a connection of the link or of renewal.
///
/// # Errors
/// When the controller refuses or doesn't answer; the old certificate stays then.
pub(crate) async fn renew(credentials: &Arc<Credentials>, connection: &Connection) -> Result<(), RenewError> {
    let key = PrivateKey::generate()?;
    let request = Message::RenewRequest(RenewRequest { csr: key.request()? });
    let Message::RenewReply(reply) = exchange(connection, &request, RENEW_LIMIT).await? else {
        return Err(RenewError::Answer);
    };
    let renewed = (*reply)?;
    let credentials = Arc::clone(credentials);
    let stored = tokio::task::spawn_blocking(move || {
        credentials.renewed(key, renewed)?;
        info!(until = %credentials.identity().info().not_after, "the certificate is renewed");
        Ok(())
    });
    stored.await.unwrap_or(Err(RenewError::Answer))
}

/// Resolves `HOST:PORT`, at most four addresses, each family's first ones.
///
/// # Errors
/// When it isn't `HOST:PORT`, the name doesn't exist, or no name server answers in time.
pub async fn resolve(controller: &str) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(RESOLVE_LIMIT, tokio::net::lookup_host(controller));
    let found = found.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no name server answered"))??;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}
