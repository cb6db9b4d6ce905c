//! Who verifies whom in the handshake, and by which time.
//!
//! Chains are verified by webpki; what differs from its defaults is the time and the name. A node's certificate may
//! be expired in the handshake, because TLS doesn't know yet whether the connection is for renewal: the link judges
//! that afterwards. A controller's certificate is judged by what the agent knows of the time, which is more than its
//! wall clock: see [`ControllerTime`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use lampas_shared::{desired::ContentHash, id::FleetId, time::UnixMs};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{CONTROLLER_DNS, CertInfo, IdentityError, Trust, Who, inspect, pin};
use crate::clock;

/// The last time that a controller told, shared by all connections of an agent. Clones share it.
///
/// Controllers' clocks are the fleet's time, so true time is never before it. An agent's own clock may be years off
/// either way; a certificate is refused as expired only when both of them say so, and never because a clock that is
/// known to be behind finds it too young.
#[derive(Debug, Clone, Default)]
pub struct ControllerTime(Arc<AtomicI64>);

impl ControllerTime {
    /// Starts from a remembered time.
    pub fn from_last(last: Option<UnixMs>) -> Self {
        Self(Arc::new(AtomicI64::new(last.map_or(0, |t| t.0))))
    }

    /// Remembers a time that a controller told; an older one changes nothing.
    pub fn saw(&self, time: UnixMs) {
        self.0.fetch_max(time.0, Ordering::Relaxed);
    }

    /// Returns the last time that a controller told.
    pub fn last(&self) -> Option<UnixMs> {
        Some(UnixMs(self.0.load(Ordering::Relaxed))).filter(|t| t.0 > 0)
    }

    /// Returns the instant by which a certificate is judged.
    fn judge(&self, wall: UnixMs, info: &CertInfo) -> UnixMs {
        let Some(last) = self.last() else { return wall };
        let best = wall.max(last);
        if best > info.not_after && last <= info.not_after {
            last.max(info.not_before)
        } else {
            best.max(info.not_before)
        }
    }
}

/// What the traits of both sides ask alike: signatures of TLS 1.3, by the algorithms that the verifier holds.
macro_rules! tls13_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(refuse("the link is TLS 1.3 only"))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// Verifies a controller by the fleet's authorities.
#[derive(Debug)]
pub struct Trusted {
    fleet: FleetId,
    roots: RootCertStore,
    time: ControllerTime,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trusted {
    /// Trusts the controllers of a fleet.
    ///
    /// # Errors
    /// When a root isn't a certificate.
    pub fn new(trust: &Trust, time: ControllerTime) -> Result<Arc<Self>, IdentityError> {
        Ok(Arc::new(Self { fleet: trust.fleet, roots: root_store(&trust.roots)?, time, algorithms: algorithms() }))
    }
}

/// Verifies a controller by the pin of an authority, which it must present: how a node enrols.
#[derive(Debug)]
pub struct Pinned {
    pin: ContentHash,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    /// Trusts whoever chains up to the authority with this pin.
    pub fn new(pin: ContentHash) -> Arc<Self> {
        Arc::new(Self { pin, algorithms: algorithms() })
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    aws_lc_rs::default_provider().signature_verification_algorithms
}

fn root_store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, IdentityError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|_| IdentityError::Malformed)?;
    }
    Ok(store)
}

fn unix(time: UnixMs) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(time.0.max(0) as u64))
}

/// Turns a reason of ours into what rustls sends and shows.
fn refuse(reason: &'static str) -> Error {
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Refused(&'static str);
    Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(Refused(reason)))))
}

fn controller(der: &CertificateDer<'_>) -> Result<CertInfo, Error> {
    let info = inspect(der).map_err(|_| refuse("the controller's certificate is not one of LAMPAS"))?;
    match info.subject.who {
        Who::Controller(_) => Ok(info),
        Who::Node(_) => Err(refuse("a node posed as a controller")),
    }
}

fn verify_controller(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    roots: &RootCertStore,
    at: UnixMs,
    algorithms: WebPkiSupportedAlgorithms,
) -> Result<ServerCertVerified, Error> {
    let parsed = ParsedCertificate::try_from(leaf)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, unix(at), algorithms.all)?;
    let internal = ServerName::try_from(CONTROLLER_DNS).expect("a valid DNS name");
    verify_server_name(&parsed, &internal)?;
    if *name != internal {
        return Err(refuse("agents ask for controller.lampas.internal"));
    }
    Ok(ServerCertVerified::assertion())
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let info = controller(end_entity)?;
        if info.subject.fleet != self.fleet {
            return Err(refuse("the controller is of another fleet"));
        }
        let at = self.time.judge(clock::now(), &info);
        verify_controller(end_entity, intermediates, server_name, &self.roots, at, self.algorithms)
    }

    tls13_only!();
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let info = controller(end_entity)?;
        let root = intermediates.iter().find(|c| pin(c) == self.pin);
        let root = root.ok_or_else(|| refuse("the controller does not hold the authority that the token pins"))?;
        let roots =
            root_store(&[root.clone().into_owned()]).map_err(|_| refuse("the pinned authority is malformed"))?;
        // A node that enrols may not know the time yet, and the token is younger than any clock that it was given:
        // the pin and the single use of the token carry the trust, so the certificate is judged within its own life.
        let at = clock::now().clamp(info.not_before, info.not_after);
        verify_controller(end_entity, intermediates, server_name, &roots, at, self.algorithms)
    }

    tls13_only!();
}

/// Verifies a node for the controller. The certificate is optional in TLS, because a node that enrols has none; a chain
/// that is presented must be whole and of this fleet. Expiry and revocation are judged by the link after the handshake.
#[derive(Debug)]
pub struct NodeVerifier {
    fleet: FleetId,
    chain: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl NodeVerifier {
    /// Takes the nodes of a fleet.
    ///
    /// # Errors
    /// When a root isn't a certificate, or there is none.
    pub fn new(trust: &Trust) -> Result<Arc<Self>, IdentityError> {
        let roots = Arc::new(root_store(&trust.roots)?);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider).allow_unauthenticated().build();
        let chain = chain.map_err(|_| IdentityError::Malformed)?;
        Ok(Arc::new(Self { fleet: trust.fleet, chain, algorithms: algorithms() }))
    }

    /// Judges a chain as of an instant: one of the fleet's authorities signed the first certificate, for a node.
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        at: impl FnOnce(&CertInfo) -> UnixMs,
    ) -> Result<ClientCertVerified, Error> {
        let info = inspect(leaf).map_err(|_| refuse("the certificate is not one of LAMPAS"))?;
        if info.subject.fleet != self.fleet {
            return Err(refuse("the certificate is of another fleet"));
        }
        if !matches!(info.subject.who, Who::Node(_)) {
            return Err(refuse("the certificate is not one of a node"));
        }
        self.chain.verify_client_cert(leaf, rest, unix(at(&info)))
    }
}

/// Verifies that one of a fleet's authorities signed a node's certificate, and that it is within its life.
///
/// # Errors
/// When it isn't so, or a root isn't a certificate.
pub fn verify_node(
    trust: &Trust,
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    at: UnixMs,
) -> Result<(), IdentityError> {
    let judged = NodeVerifier::new(trust)?.judge(leaf, rest, |_| at);
    judged.map(drop).map_err(|_| IdentityError::Foreign)
}

impl ClientCertVerifier for NodeVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Agents hold one identity: a hint would only make the handshake longer.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let within = |info: &CertInfo| clock::now().clamp(info.not_before, info.not_after.max(info.not_before));
        self.judge(end_entity, intermediates, within)
    }

    tls13_only!();
}
