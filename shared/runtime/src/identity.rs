//! TLS identity: the key that never leaves its machine, the certificate that names its holder, and whom to trust.
//!
//! The certificate is the identity: its URI name says `lampas://FLEET/node/ID` or `lampas://FLEET/controller/ID`.
//! [`Identity`] is key and chain in one file, so that a renewal replaces both or neither. [`Trust`] is the fleet and its
//! set of authorities; while they rotate there are two. Who verifies whom stands in `verify`.

mod token;
mod verify;

use std::{fmt, io, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_shared::{
    desired::ContentHash,
    id::{ControllerId, FleetId, NodeId},
    time::UnixMs,
};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};
use zeroize::Zeroizing;

pub use token::{TokenText, TokenTextError, secret_hash};
pub use verify::{ControllerTime, NodeVerifier, Pinned, Trusted, verify_node};

use crate::files;

/// The DNS name that each controller's certificate carries besides its URI, and that agents dial.
pub const CONTROLLER_DNS: &str = "controller.lampas.internal";

/// Far above the size of a key with its chain, or of a set of authorities.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Who a certificate names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The fleet.
    pub fleet: FleetId,
    /// The holder.
    pub who: Who,
}

/// A node or a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// A node's agent.
    Node(NodeId),
    /// A controller.
    Controller(ControllerId),
}

impl Subject {
    /// Names a node.
    pub fn node(fleet: FleetId, node: NodeId) -> Self {
        Self { fleet, who: Who::Node(node) }
    }

    /// Names a controller.
    pub fn controller(fleet: FleetId, controller: ControllerId) -> Self {
        Self { fleet, who: Who::Controller(controller) }
    }

    /// Reads the URI; only the exact form that [`fmt::Display`] prints is taken, so that a name has one spelling.
    pub fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("lampas://")?.split('/');
        let fleet = FleetId::parse(parts.next()?).ok()?;
        let who = match (parts.next()?, parts.next()?) {
            ("node", id) => Who::Node(NodeId::parse(id).ok()?),
            ("controller", id) => Who::Controller(ControllerId::parse(id).ok()?),
            _ => return None,
        };
        let subject = Self { fleet, who };
        (subject.to_string() == uri).then_some(subject)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Node(id) => write!(f, "lampas://{}/node/{id}", self.fleet),
            Who::Controller(id) => write!(f, "lampas://{}/controller/{id}", self.fleet),
        }
    }
}

/// What one of our certificates says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertInfo {
    /// Whom it names.
    pub subject: Subject,
    /// The first instant of its life.
    pub not_before: UnixMs,
    /// The last instant of its life.
    pub not_after: UnixMs,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// BLAKE3 of the whole certificate.
    pub fingerprint: ContentHash,
    /// BLAKE3 of the public key (SubjectPublicKeyInfo).
    pub key: ContentHash,
}

/// Why a certificate or a key is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not a certificate at all.
    #[error("the certificate can't be parsed")]
    Malformed,
    /// A certificate, but not of LAMPAS.
    #[error("the certificate names no LAMPAS node or controller")]
    Foreign,
    /// The key could not be made or used.
    #[error("the key can't be used")]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file could not be read or written.
    #[error("the identity file {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file was read and holds something else.
    #[error("the identity file {path} holds no {what}")]
    Content {
        /// The file.
        path: String,
        /// What was looked for.
        what: &'static str,
    },
}

/// Reads one of our certificates. Judges nothing: the chain is verified by `verify`.
///
/// # Errors
/// When it isn't a certificate, or doesn't name exactly one node or controller.
pub fn inspect(der: &[u8]) -> Result<CertInfo, IdentityError> {
    let (rest, cert) =
        x509_parser::certificate::X509Certificate::from_der(der).map_err(|_| IdentityError::Malformed)?;
    if !rest.is_empty() {
        return Err(IdentityError::Malformed);
    }
    let names = cert.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
    let names = names.map(|n| n.value.general_names.as_slice()).unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let subject = match (uris.next(), uris.next()) {
        (Some(uri), None) => Subject::parse(uri).ok_or(IdentityError::Foreign)?,
        _ => return Err(IdentityError::Foreign),
    };
    let ms = |time: x509_parser::time::ASN1Time| UnixMs(time.timestamp().saturating_mul(1000));
    Ok(CertInfo {
        subject,
        not_before: ms(cert.validity().not_before),
        not_after: ms(cert.validity().not_after),
        serial: cert.tbs_certificate.raw_serial_as_string().replace(':', ""),
        fingerprint: ContentHash::of(der),
        key: ContentHash::of(cert.tbs_certificate.subject_pki.raw),
    })
}

/// Returns the pin of an authority, as enrolment tokens carry it: BLAKE3 of its certificate.
pub fn pin(ca: &CertificateDer<'_>) -> ContentHash {
    ContentHash::of(ca)
}

/// A private key (ECDSA P-256), made where it is used.
pub struct PrivateKey(rcgen::KeyPair);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

impl PrivateKey {
    /// Makes a key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
        key.map(Self).map_err(|e| IdentityError::Key(e.into()))
    }

    /// Reads a key in PEM.
    ///
    /// # Errors
    /// When it isn't one.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        rcgen::KeyPair::from_pem(pem).map(Self).map_err(|e| IdentityError::Key(e.into()))
    }

    /// Returns the key in PEM.
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// Makes a signing request (PKCS #10, DER) that proves possession of the key and asks for nothing: who is named,
    /// and for how long, the signer decides from its record.
    ///
    /// # Errors
    /// When signing fails.
    pub fn request(&self) -> Result<Vec<u8>, IdentityError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&self.0).map_err(|e| IdentityError::Key(e.into()))?;
        Ok(request.der().to_vec())
    }

    /// Signs a message: ECDSA P-256 with SHA-256, in ASN.1.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        rcgen::SigningKey::sign(&self.0, message).map_err(|e| IdentityError::Key(e.into()))
    }

    /// Returns the key as `rcgen` uses it, for signers.
    pub fn signing(&self) -> &rcgen::KeyPair {
        &self.0
    }
}

/// A key with the certificate that names its holder, and the chain up to but without the root.
pub struct Identity {
    key: PrivateKey,
    chain: Vec<CertificateDer<'static>>,
    info: CertInfo,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, until {})", self.info.subject, self.info.not_after)
    }
}

impl Identity {
    /// Joins a key with its chain, the holder's certificate first.
    ///
    /// # Errors
    /// When the first certificate isn't one of ours or is for another key.
    pub fn new(key: PrivateKey, chain: Vec<CertificateDer<'static>>) -> Result<Self, IdentityError> {
        let info = inspect(chain.first().ok_or(IdentityError::Malformed)?)?;
        if info.key != public_key_hash(&key.0) {
            return Err(IdentityError::Key("the certificate is for another key".into()));
        }
        Ok(Self { key, chain, info })
    }

    /// Returns what the certificate says.
    pub fn info(&self) -> &CertInfo {
        &self.info
    }

    /// Returns the key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Returns the chain, the holder's certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Returns whether it is time to renew: a third of the life is left or less.
    pub fn is_due(&self, now: UnixMs) -> bool {
        let life = self.info.not_after.since(self.info.not_before);
        self.info.not_after.since(now) <= life / 3
    }

    /// Writes key and chain into one file, 0600, whole or not at all. Blocking.
    ///
    /// # Errors
    /// When writing fails; what stood before still stands then.
    pub fn store(&self, path: &Path) -> Result<(), IdentityError> {
        let mut pem = self.key.to_pem();
        pem.push_str(&certificates_to_pem(&self.chain));
        files::replace(path, pem.as_bytes(), 0o600)
            .map_err(|source| IdentityError::File { path: path.display().to_string(), source })
    }

    /// Reads what [`Identity::store`] wrote; `Ok(None)` when there is no such file. Blocking.
    ///
    /// # Errors
    /// When it can't be read, is open to others, or holds something else.
    pub fn load(path: &Path) -> Result<Option<Self>, IdentityError> {
        let Some(pem) = read(path)? else { return Ok(None) };
        let content = |what| IdentityError::Content { path: path.display().to_string(), what };
        let text = std::str::from_utf8(&pem).map_err(|_| content("text"))?;
        let chain = certificates_from_pem(text).ok_or_else(|| content("certificate"))?;
        let key = PrivateKey::from_pem(text)?;
        Self::new(key, chain).map(Some)
    }

    /// Returns key and chain as rustls presents them. `roots` are appended to what is sent: the enrolment of a node
    /// needs the authority itself, because it knows only its pin.
    ///
    /// # Errors
    /// When the key can't be used.
    pub fn certified(&self, roots: &[CertificateDer<'static>]) -> Result<Arc<CertifiedKey>, IdentityError> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.0.serialize_der()));
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der);
        let signing = signing.map_err(|e| IdentityError::Key(e.into()))?;
        let chain = self.chain.iter().chain(roots).cloned().collect();
        Ok(Arc::new(CertifiedKey::new(chain, signing)))
    }
}

/// Checks what [`PrivateKey::sign`] made against a certificate. Returns the certificate's public key, an uncompressed point,
/// if the signature holds.
pub fn verify_signature(certificate: &[u8], message: &[u8], signature: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let point = certificate.tbs_certificate.subject_pki.subject_public_key.data.to_vec();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let (_, algorithms) = provider
        .signature_verification_algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == rustls::SignatureScheme::ECDSA_NISTP256_SHA256)?;
    // The schemes of TLS 1.3 fix the curve; the list names that one first.
    algorithms.first()?.verify_signature(&point, message, signature).ok()?;
    Some(point)
}

/// Returns BLAKE3 of a key's SubjectPublicKeyInfo, as [`CertInfo::key`] says it.
pub fn public_key_hash(key: &impl rcgen::PublicKeyData) -> ContentHash {
    ContentHash::of(&key.subject_public_key_info())
}

/// The fleet that somebody belongs to, and the authorities that sign for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The fleet.
    pub fleet: FleetId,
    /// Its root certificates; two while they rotate.
    pub roots: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Writes the set to a file, 0600, whole or not at all. Blocking.
    ///
    /// # Errors
    /// When writing fails.
    pub fn store(&self, path: &Path) -> Result<(), IdentityError> {
        let text = format!("fleet {}\n{}", self.fleet, certificates_to_pem(&self.roots));
        files::replace(path, text.as_bytes(), 0o600)
            .map_err(|source| IdentityError::File { path: path.display().to_string(), source })
    }

    /// Reads what [`Trust::store`] wrote; `Ok(None)` when there is no such file. Blocking.
    ///
    /// # Errors
    /// When it can't be read, is open to others, or holds something else.
    pub fn load(path: &Path) -> Result<Option<Self>, IdentityError> {
        let Some(bytes) = read(path)? else { return Ok(None) };
        let content = |what| IdentityError::Content { path: path.display().to_string(), what };
        let text = std::str::from_utf8(&bytes).map_err(|_| content("text"))?;
        let fleet = text.lines().next().and_then(|line| FleetId::parse(line.strip_prefix("fleet ")?).ok());
        let fleet = fleet.ok_or_else(|| content("fleet"))?;
        let roots = certificates_from_pem(text).ok_or_else(|| content("certificate"))?;
        Ok(Some(Self { fleet, roots }))
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    match files::read_private(path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::File { path: path.display().to_string(), source }),
    }
}

/// Returns certificates in PEM.
pub fn certificates_to_pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut pem = String::new();
    for certificate in certificates {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

/// Returns the certificates in a PEM text; `None` when there is none, or a broken one.
pub fn certificates_from_pem(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|f| !f.is_empty())
}

#[cfg(test)]
mod tests;
