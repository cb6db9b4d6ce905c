//! QUIC endpoints of both sides: sockets, TLS 1.3, transport parameters.
//!
//! ALPN names the purpose of a connection ([`Purpose`]). There is no 0-RTT and no resumption: each connection is a
//! fresh handshake, so that revocation and the proof that a node can still reach its controller mean what they say.

mod reset;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use lampas_shared::id::NodeId;
use nix::sys::socket::{setsockopt, sockopt};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
    crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig},
};
use rustls::{
    client::{ResolvesClientCert, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};
use socket2::{Domain, Protocol, Socket, Type};

use self::reset::{OwnIds, ResetKey};
use crate::identity::{CertInfo, Identity, IdentityError, NodeVerifier, Trust, Who, inspect};

/// Both directions of the one UDP socket. The kernel counts 2.3 KiB for a full packet: 5,000 nodes that reconnect at once
/// overran 8 MiB and waited seconds for retransmission. It is taken while a burst waits, not before. The kernel may
/// grant less without privilege.
const SOCKET_BUFFER_BYTES: usize = 32 << 20;

/// Silence after which a connection is lost. Keep-alives of the agent come several times within it.
pub const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// How long an agent hears nothing before it asks whether the connection is alive, which also keeps NAT bindings. A little
/// more than a heartbeat of the controller, so that it costs packets only where those stay away: a controller that was
/// killed and is back answers the first of them with a reset.
pub const KEEP_ALIVE: Duration = Duration::from_secs(6);

/// Control, outbox, renewal, and a few blobs at once.
const STREAMS_OF_AGENT: u32 = 16;

/// Operations that a controller has under way with one node.
const STREAMS_OF_CONTROLLER: u32 = 32;

/// Handshakes under way above which a new peer must prove its address first.
const PENDING_BEFORE_RETRY: usize = 512;

/// What a connection is for; its ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The normal link, mutual TLS.
    Link,
    /// Enrolment: a token instead of a certificate.
    Enrol,
    /// Renewal of an expired certificate, nothing else.
    Renew,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 3] = [Self::Link, Self::Enrol, Self::Renew];

    /// Returns the protocol's name in ALPN.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Link => b"lampas/1",
            Self::Enrol => b"lampas-enrol/1",
            Self::Renew => b"lampas-renew/1",
        }
    }

    /// Returns the purpose of an established connection.
    pub fn of(connection: &Connection) -> Option<Self> {
        let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
        let protocol = data.protocol?;
        Self::ALL.into_iter().find(|p| p.alpn() == protocol)
    }
}

/// Why an endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The socket.
    #[error("the UDP socket on {address}")]
    Socket {
        /// Where it should listen.
        address: SocketAddr,
        /// Why it doesn't.
        source: io::Error,
    },
    /// The identity or the trust.
    #[error("the identity for QUIC")]
    Identity(#[from] IdentityError),
    /// The TLS configuration.
    #[error("the TLS configuration for QUIC")]
    Tls(#[from] rustls::Error),
}

/// What an agent's connection is made with.
#[derive(Debug)]
pub struct ClientTls {
    /// The purpose.
    pub purpose: Purpose,
    /// How the controller is verified: [`crate::identity::Trusted`] or [`crate::identity::Pinned`].
    pub verifier: Arc<dyn ServerCertVerifier>,
    /// The key and chain to present; none when enrolling.
    pub identity: Option<Arc<CertifiedKey>>,
}

/// Builds what an agent dials with: `endpoint.connect_with(config, address, CONTROLLER_DNS)`.
///
/// # Errors
/// When TLS can't be configured.
pub fn client_config(tls: ClientTls) -> Result<ClientConfig, EndpointError> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(tls.verifier);
    let mut config = match tls.identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(Presented(identity))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![tls.purpose.alpn().to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(config).expect("TLS 1.3 with AES-128-GCM is configured");
    let mut client = ClientConfig::new(Arc::new(crypto));
    let mut transport = transport(STREAMS_OF_CONTROLLER);
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    client.transport_config(Arc::new(transport));
    Ok(client)
}

/// Builds what a controller listens with. Call it again after a renewal or a rotation and hand the result to
/// [`Endpoint::set_server_config`]; open connections stay.
///
/// # Errors
/// When TLS can't be configured.
pub fn server_config(identity: &Identity, trust: &Trust) -> Result<ServerConfig, EndpointError> {
    let resolver = Presenting { plain: identity.certified(&[])?, with_roots: identity.certified(&trust.roots)? };
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(NodeVerifier::new(trust)?)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = Purpose::ALL.iter().map(|p| p.alpn().to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(config).expect("TLS 1.3 with AES-128-GCM is configured");
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = transport(STREAMS_OF_AGENT);
    // A connection keeps a buffer as large as its largest batch of packets, 13 KiB; what goes to one node is a packet or two,
    // but for contents.
    transport.enable_segmentation_offload(false);
    server.transport_config(Arc::new(transport));
    // A fleet that reconnects after a restart arrives within a second or two; what comes on top is dropped and comes
    // again. Early packets of waiting handshakes are bounded to what two ClientHello packets need.
    server.max_incoming(8192).incoming_buffer_size(8 << 10).incoming_buffer_size_total(32 << 20);
    Ok(server)
}

/// Opens a controller's endpoint. `reset_key` is the controller's secret and the same after each start: with it a
/// controller that was killed tells agents at their next packet that it knows nothing of their connections (stateless
/// reset, RFC 9000, section 10.3), which they would otherwise learn from silence.
///
/// # Errors
/// When the socket can't be bound.
pub fn listen(address: SocketAddr, config: ServerConfig, reset_key: &[u8; 32]) -> Result<Endpoint, EndpointError> {
    let mut all = EndpointConfig::new(Arc::new(ResetKey::new(reset_key)));
    let ids = OwnIds::new(reset_key);
    all.cid_generator(move || Box::new(ids.clone()));
    // Packets are taken in batches of one time: with an interval between resets, of each batch one node would be told, and
    // the others after they had asked again for seconds. A reset is smaller than what it answers, so that none answers one.
    all.min_reset_interval(Duration::ZERO);
    endpoint(address, all, Some(config))
}

/// Opens an agent's endpoint, on a socket of its own, to reach a peer of the given address.
///
/// # Errors
/// When the socket can't be bound.
pub fn dial_from(peer: SocketAddr) -> Result<Endpoint, EndpointError> {
    let any = if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    endpoint(any.parse().expect("a valid address"), EndpointConfig::default(), None)
}

fn endpoint(
    address: SocketAddr,
    config: EndpointConfig,
    server: Option<ServerConfig>,
) -> Result<Endpoint, EndpointError> {
    let failed = |source| EndpointError::Socket { address, source };
    let buffers = server.is_some();
    let socket = socket(address, buffers).map_err(failed)?;
    Endpoint::new(config, server, socket, Arc::new(TokioRuntime)).map_err(failed)
}

fn socket(address: SocketAddr, buffers: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if buffers {
        // With CAP_NET_ADMIN beyond net.core.{r,w}mem_max; otherwise the kernel grants up to these. Less is slower
        // under a burst, not wrong.
        if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES).is_err() {
            let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        }
        if setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER_BYTES).is_err() {
            let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        }
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The parameters of both sides. Windows are small, because a controller holds thousands of connections, and states
/// and reports are a few KiB; blobs go at a window a round trip.
fn transport(streams_of_peer: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_of_peer))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(64 << 10))
        .receive_window(VarInt::from_u32(256 << 10))
        .send_window(256 << 10)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_LIMIT).expect("fits")));
    transport
}

/// Decides about a new peer: under load it must first prove that its address is its own, which costs it a round trip
/// and the server no state. Returns the handshake to go on with.
pub fn admit(incoming: Incoming, pending: usize) -> Option<Incoming> {
    if pending >= PENDING_BEFORE_RETRY && !incoming.remote_address_validated() && incoming.may_retry() {
        // Fails only when it was validated, which was just asked.
        let _ = incoming.retry();
        return None;
    }
    Some(incoming)
}

/// Returns the chain that the peer presented, its own certificate first; empty when it presented none.
pub fn peer_chain(connection: &Connection) -> Vec<CertificateDer<'static>> {
    let identity = connection.peer_identity().and_then(|i| i.downcast::<Vec<CertificateDer<'static>>>().ok());
    identity.map(|chain| *chain).unwrap_or_default()
}

/// Returns the node that the peer's certificate names, and what the certificate says. The handshake has verified its
/// chain and fleet; expiry and revocation are still to be judged.
pub fn peer_node(connection: &Connection) -> Option<(NodeId, CertInfo)> {
    let info = inspect(peer_chain(connection).first()?).ok()?;
    match info.subject.who {
        Who::Node(node) => Some((node, info)),
        Who::Controller(_) => None,
    }
}

/// Presents the authority itself to nodes that enrol, which know only its pin; all others save the bytes.
#[derive(Debug)]
struct Presenting {
    plain: Arc<CertifiedKey>,
    with_roots: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Presenting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let enrols = hello.alpn().is_some_and(|mut all| all.any(|p| p == Purpose::Enrol.alpn()));
        Some(Arc::clone(if enrols { &self.with_roots } else { &self.plain }))
    }
}

/// Presents one identity, whatever the server asks for.
#[derive(Debug)]
struct Presented(Arc<CertifiedKey>);

impl ResolvesClientCert for Presented {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
