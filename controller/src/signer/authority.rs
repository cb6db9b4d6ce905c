//! The fleet's authorities: a root, an intermediate that signs, and the rules of what is signed.
//!
//! Files, 0600 in a directory that is the signer's own: `authority.json` (the fleet and the generations that are
//! trusted), `root-N.pem` and `root-N.key`, `intermediate-N.pem` and `intermediate-N.key`, `signed.log`. A root's key
//! may be moved away once its intermediate stands; it comes back for a new one. Everything is built from the public
//! key of a request and the record alone: names and extensions that a request carries are ignored.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use lampas_runtime::{
    files,
    identity::{self, CONTROLLER_DNS, CertInfo, Subject, Trust, certificates_from_pem, certificates_to_pem},
    random,
};
use lampas_shared::{
    desired::ContentHash,
    error::Fault,
    id::{ControllerId, FleetId, NodeId},
    time::UnixMs,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::{info, warn};

use super::{
    ledger::{Act, Ledger},
    protocol::{AuthorityInfo, Enrolment, Issued, Renewal},
};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// A node's or controller's certificate; renewed after two thirds of it.
const LEAF_MS: i64 = 30 * DAY_MS;

/// A fresh certificate is valid from an hour ago: clocks of nodes differ.
const BACKDATE_MS: i64 = 3600 * 1000;

const INTERMEDIATE_MS: i64 = 5 * 365 * DAY_MS;

const ROOT_MS: i64 = 20 * 365 * DAY_MS;

/// An intermediate is made anew, if the root's key is here, when less than this is left: three lives of a leaf.
const INTERMEDIATE_DUE_MS: i64 = 90 * DAY_MS;

/// The longest request that is looked at: one of ours has under 300 bytes.
const CSR_BYTES_MAX: usize = 8 * 1024;

/// The longest chain that is looked at: ours have a leaf and an intermediate.
const CHAIN_MAX: usize = 4;

/// Signatures at once and per second: the largest token lets 10,000 nodes in; renewals of 5,000 nodes come to one every
/// five minutes.
const BURST: f64 = 12_000.0;
const PER_SECOND: f64 = 10.0;

/// The most roots that are trusted at once.
const ROOTS_MAX: usize = 4;

/// Why the authorities can't be opened or made.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error("the signer's file {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("the signer's file {path} holds no {what}")]
    Content {
        /// The file.
        path: String,
        /// What was looked for.
        what: &'static str,
    },
    /// The directory belongs to another fleet.
    #[error("the signer holds the authority of fleet {here}, not of {asked}")]
    OtherFleet {
        /// Whose authority is here.
        here: FleetId,
        /// Whose was asked for.
        asked: FleetId,
    },
    /// Nothing was opened yet.
    #[error("the signer holds no authority yet")]
    Unopened,
    /// The root's key was taken away and is needed.
    #[error("the root's key is offline: put {path} back for this")]
    RootOffline {
        /// Where it belongs.
        path: String,
    },
    /// Too many roots.
    #[error("{ROOTS_MAX} roots are trusted already: retire the old ones first (lampas-controller ca retire)")]
    TooManyRoots,
    /// The cryptography failed.
    #[error("signing")]
    Signing(#[from] rcgen::Error),
    /// A key or certificate of ours is unusable.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// The request or its record is refused.
    #[error("{0}")]
    Refused(Fault),
}

impl AuthorityError {
    /// Returns what the controller is told.
    pub(super) fn to_fault(&self) -> Fault {
        match self {
            Self::Refused(fault) => fault.clone(),
            Self::File { .. } => Fault::passing("signer.file", lampas_shared::error::Chain(self).to_string()),
            _ => Fault::lasting("signer.failed", lampas_shared::error::Chain(self).to_string()),
        }
    }
}

/// What stands in `authority.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    fleet: FleetId,
    /// The generations that are trusted; the last one signs.
    generations: Vec<u32>,
}

struct Held {
    manifest: Manifest,
    roots: Vec<CertificateDer<'static>>,
    intermediate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    issuer_name: String,
}

/// The authorities, their keys and the log.
pub struct Authority {
    dir: PathBuf,
    held: Option<Held>,
    ledger: Ledger,
    tokens: f64,
    refilled: UnixMs,
}

impl Authority {
    /// Opens a directory; it is made when it isn't there. Blocking.
    ///
    /// # Errors
    /// When a file can't be read, or holds something else than it should.
    pub fn open(dir: &Path, now: UnixMs) -> Result<Self, AuthorityError> {
        let file = |path: &Path| {
            let path = path.display().to_string();
            move |source| AuthorityError::File { path, source }
        };
        files::private_dir(dir).map_err(file(dir))?;
        let log = dir.join("signed.log");
        let ledger = Ledger::open(&log).map_err(file(&log))?;
        let mut authority = Self { dir: dir.to_owned(), held: None, ledger, tokens: BURST, refilled: now };
        let path = dir.join("authority.json");
        match files::read_private(&path, 64 * 1024) {
            Ok(bytes) => {
                let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|_| content(&path, "manifest"))?;
                authority.held = Some(authority.load(manifest)?);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(file(&path)(source)),
        }
        Ok(authority)
    }

    /// Returns the authorities; they are made for this fleet when there are none. Blocking.
    ///
    /// # Errors
    /// When they belong to another fleet, or can't be made.
    pub fn open_fleet(&mut self, fleet: FleetId, now: UnixMs) -> Result<AuthorityInfo, AuthorityError> {
        match &self.held {
            Some(held) if held.manifest.fleet != fleet => {
                return Err(AuthorityError::OtherFleet { here: held.manifest.fleet, asked: fleet });
            }
            Some(_) => self.renew_intermediate(now)?,
            None => {
                self.make_generation(fleet, 1, now)?;
                self.install(Manifest { fleet, generations: vec![1] })?;
                info!(fleet.id = %fleet, "made the fleet's root and intermediate authorities");
            }
        }
        self.info()
    }

    /// Returns the authorities without their keys.
    ///
    /// # Errors
    /// When there are none yet.
    pub fn info(&self) -> Result<AuthorityInfo, AuthorityError> {
        let held = self.held()?;
        let generation = held.generation();
        let newest = held.roots.last().expect("there is at least one root");
        Ok(AuthorityInfo {
            fleet: held.manifest.fleet,
            roots: held.roots.iter().map(|r| r.to_vec()).collect(),
            generation,
            issuer: held.issuer_name.clone(),
            root_not_after: not_after(newest)?,
            signing_not_after: not_after(&held.intermediate)?,
            has_root_key: self.path("root", generation, "key").exists(),
            issued: self.ledger.count(),
        })
    }

    /// Makes a new root and intermediate. Both roots are trusted from here on, the new intermediate signs. Blocking.
    ///
    /// # Errors
    /// When there are too many roots already, or files can't be written.
    pub fn rotate(&mut self, now: UnixMs) -> Result<AuthorityInfo, AuthorityError> {
        let mut manifest = self.held()?.manifest.clone();
        if manifest.generations.len() >= ROOTS_MAX {
            return Err(AuthorityError::TooManyRoots);
        }
        let next = manifest.generations.iter().max().copied().unwrap_or(0) + 1;
        self.make_generation(manifest.fleet, next, now)?;
        manifest.generations.push(next);
        self.install(manifest)?;
        info!(generation = next, "made a new root; the old one stays trusted until it is retired");
        self.info()
    }

    /// Ends the trust in all roots but the newest. Their files stay. Blocking.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn retire(&mut self) -> Result<AuthorityInfo, AuthorityError> {
        let mut manifest = self.held()?.manifest.clone();
        let newest = *manifest.generations.last().expect("there is at least one generation");
        manifest.generations = vec![newest];
        self.install(manifest)?;
        info!(generation = newest, "only the newest root is trusted");
        self.info()
    }

    /// Signs for a node that enrols. The certificate may leave after [`Authority::commit`].
    pub(super) fn enrol(&mut self, record: &Enrolment, csr: &[u8], now: UnixMs) -> Result<Issued, AuthorityError> {
        let key = public_key(csr)?;
        if record.expires < now {
            return Err(refused("signer.token_expired", "the token of this enrolment has expired"));
        }
        if let Some(nodes) = self.ledger.let_in(record.token) {
            match nodes.get(&record.node) {
                // An enrolment that died half-way is tried again with the same key, by nobody else.
                Some(before) if *before == key_hash(&key) => {}
                Some(_) => return Err(refused("signer.token_used", "the token was used for another key")),
                None if nodes.len() >= record.uses as usize => {
                    return Err(refused("signer.token_used", "the token has let in as many nodes as it may"));
                }
                None => {}
            }
        }
        self.take_token(now)?;
        let act = Act::Enrolled { node: record.node, token: record.token };
        self.issue_node(record.node, &key, act, now)
    }

    /// Signs for a node that showed a certificate that this signer issued to it.
    pub(super) fn renew(&mut self, record: &Renewal, csr: &[u8], now: UnixMs) -> Result<Issued, AuthorityError> {
        let key = public_key(csr)?;
        if !self.ledger.may_renew(record.node, record.fingerprint) {
            let found = self.judge_found(record, now)?;
            self.take_token(now)?;
            self.note(now, Act::FoundInUse { node: record.node }, &found)?;
            warn!(node.id = %record.node, serial = found.serial, "a certificate that the log does not know was found in use");
        } else {
            self.take_token(now)?;
        }
        self.issue_node(record.node, &key, Act::Renewed { node: record.node, after: record.fingerprint }, now)
    }

    /// Judges a certificate that the log doesn't name: one of this fleet's authorities signed it for this node and it is
    /// within its life, so it was issued after the backup that the log was restored from. The controller's word counts
    /// for nothing here: who took only the controller has no such certificate to show.
    fn judge_found(&self, record: &Renewal, now: UnixMs) -> Result<CertInfo, AuthorityError> {
        let unknown = || refused("signer.unknown", "that certificate is not among the node's last two; enrol it anew");
        if self.ledger.names(record.fingerprint) || record.shown.len() > CHAIN_MAX {
            return Err(unknown());
        }
        let held = self.held()?;
        let chain: Vec<_> = record.shown.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let (leaf, rest) = chain.split_first().ok_or_else(unknown)?;
        let info = identity::inspect(leaf).map_err(|_| unknown())?;
        let is_its = info.fingerprint == record.fingerprint
            && info.subject == Subject::node(held.manifest.fleet, record.node)
            && (info.not_before..=info.not_after).contains(&now);
        let trust = Trust { fleet: held.manifest.fleet, roots: held.roots.clone() };
        if !is_its || identity::verify_node(&trust, leaf, rest, now).is_err() {
            return Err(unknown());
        }
        Ok(info)
    }

    /// Signs for a controller.
    pub(super) fn controller(
        &mut self,
        controller: ControllerId,
        csr: &[u8],
        now: UnixMs,
    ) -> Result<Issued, AuthorityError> {
        let key = public_key(csr)?;
        self.take_token(now)?;
        let fleet = self.held()?.manifest.fleet;
        let subject = Subject::controller(fleet, controller);
        self.issue(&subject, &key, ExtendedKeyUsagePurpose::ServerAuth, Act::Controller { controller }, now)
    }

    /// Logs and syncs what was signed; only then may it leave. Blocking.
    pub(super) fn commit(&mut self) -> Result<(), AuthorityError> {
        let path = self.dir.join("signed.log");
        let file = |source| AuthorityError::File { path: path.display().to_string(), source };
        let outcome = self.ledger.commit();
        if outcome.is_err() {
            self.ledger = Ledger::open(&path).map_err(file)?;
        }
        outcome.map_err(file)
    }

    fn issue_node(
        &mut self,
        node: NodeId,
        key: &rcgen::PublicKey,
        act: Act,
        now: UnixMs,
    ) -> Result<Issued, AuthorityError> {
        let subject = Subject::node(self.held()?.manifest.fleet, node);
        self.issue(&subject, key, ExtendedKeyUsagePurpose::ClientAuth, act, now)
    }

    fn issue(
        &mut self,
        subject: &Subject,
        key: &rcgen::PublicKey,
        usage: ExtendedKeyUsagePurpose,
        act: Act,
        now: UnixMs,
    ) -> Result<Issued, AuthorityError> {
        let held = self.held()?;
        let signing_end = not_after(&held.intermediate)?;
        let mut params = params(now.plus_ms(-BACKDATE_MS), now.plus_ms(LEAF_MS).min(signing_end))?;
        let uri = subject.to_string().try_into()?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        if usage == ExtendedKeyUsagePurpose::ServerAuth {
            params.subject_alt_names.push(SanType::DnsName(CONTROLLER_DNS.try_into()?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(key, &held.issuer)?.der().clone();
        let info = identity::inspect(&leaf)?;
        let issued = Issued {
            chain: vec![leaf.to_vec(), held.intermediate.to_vec()],
            serial: info.serial.clone(),
            fingerprint: info.fingerprint,
            subject: subject.to_string(),
            issuer: held.issuer_name.clone(),
            not_before: info.not_before,
            not_after: info.not_after,
        };
        self.note(now, act, &info)?;
        Ok(issued)
    }

    fn note(&mut self, now: UnixMs, act: Act, info: &CertInfo) -> Result<(), AuthorityError> {
        let path = self.dir.join("signed.log");
        self.ledger
            .note(now, act, info)
            .map_err(|source| AuthorityError::File { path: path.display().to_string(), source })
    }

    fn take_token(&mut self, now: UnixMs) -> Result<(), AuthorityError> {
        let elapsed = Duration::from_millis(now.since(self.refilled).max(0) as u64);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * PER_SECOND).min(BURST);
        self.refilled = now;
        if self.tokens < 1.0 {
            warn!("too many certificates are asked for");
            let fault =
                Fault::passing("signer.busy", "the signer issued too many certificates lately; try again later");
            return Err(AuthorityError::Refused(fault));
        }
        self.tokens -= 1.0;
        Ok(())
    }

    fn held(&self) -> Result<&Held, AuthorityError> {
        self.held.as_ref().ok_or(AuthorityError::Unopened)
    }

    fn path(&self, what: &str, generation: u32, suffix: &str) -> PathBuf {
        self.dir.join(format!("{what}-{generation}.{suffix}"))
    }

    /// Makes the next intermediate of the generation that signs, when it is due and the root's key is here.
    fn renew_intermediate(&mut self, now: UnixMs) -> Result<(), AuthorityError> {
        let held = self.held()?;
        let left = not_after(&held.intermediate)?.since(now);
        if left > INTERMEDIATE_DUE_MS {
            return Ok(());
        }
        let (generation, manifest) = (held.generation(), held.manifest.clone());
        let root_key = self.path("root", generation, "key");
        if !root_key.exists() {
            warn!(
                days_left = left / DAY_MS,
                "the intermediate authority ends soon and the root's key is offline: put it back and restart the signer"
            );
            return if left > 0 {
                Ok(())
            } else {
                Err(AuthorityError::RootOffline { path: root_key.display().to_string() })
            };
        }
        let root = Issuer::from_ca_cert_der(held.roots.last().expect("at least one"), read_key(&root_key)?)?;
        self.make_intermediate(manifest.fleet, generation, &root, now)?;
        self.install(manifest)
    }

    fn make_generation(&self, fleet: FleetId, generation: u32, now: UnixMs) -> Result<(), AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(now.plus_ms(-BACKDATE_MS), now.plus_ms(ROOT_MS))?;
        params.distinguished_name.push(DnType::CommonName, format!("LAMPAS {fleet} root {generation}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key)?.der().clone();
        self.write("root", generation, &key, &root)?;
        self.make_intermediate(fleet, generation, &Issuer::from_ca_cert_der(&root, key)?, now)
    }

    fn make_intermediate(
        &self,
        fleet: FleetId,
        generation: u32,
        root: &Issuer<'_, KeyPair>,
        now: UnixMs,
    ) -> Result<(), AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(now.plus_ms(-BACKDATE_MS), now.plus_ms(INTERMEDIATE_MS))?;
        params.distinguished_name.push(DnType::CommonName, format!("LAMPAS {fleet} signing {generation}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, root)?.der().clone();
        self.write("intermediate", generation, &key, &certificate)
    }

    /// Writes certificate and key into one file each, the key first: a certificate without key is never taken up.
    fn write(
        &self,
        what: &str,
        generation: u32,
        key: &KeyPair,
        certificate: &CertificateDer<'_>,
    ) -> Result<(), AuthorityError> {
        let pem = zeroize::Zeroizing::new(key.serialize_pem());
        let certificate = certificates_to_pem(std::slice::from_ref(certificate));
        for (suffix, text) in [("key", pem.as_bytes()), ("pem", certificate.as_bytes())] {
            let path = self.path(what, generation, suffix);
            files::replace(&path, text, 0o600)
                .map_err(|source| AuthorityError::File { path: path.display().to_string(), source })?;
        }
        Ok(())
    }

    fn install(&mut self, manifest: Manifest) -> Result<(), AuthorityError> {
        let held = self.load(manifest)?;
        let path = self.dir.join("authority.json");
        let text = serde_json::to_vec_pretty(&held.manifest).expect("a manifest serialises");
        files::replace(&path, &text, 0o600)
            .map_err(|source| AuthorityError::File { path: path.display().to_string(), source })?;
        self.held = Some(held);
        Ok(())
    }

    fn load(&self, manifest: Manifest) -> Result<Held, AuthorityError> {
        let mut roots = Vec::new();
        for generation in &manifest.generations {
            roots.push(read_certificate(&self.path("root", *generation, "pem"))?);
        }
        let generation =
            *manifest.generations.last().ok_or_else(|| content(&self.dir.join("authority.json"), "generation"))?;
        let intermediate = read_certificate(&self.path("intermediate", generation, "pem"))?;
        let key_path = self.path("intermediate", generation, "key");
        let key = read_key(&key_path)?;
        let parsed = x509_parser::parse_x509_certificate(&intermediate);
        let (_, parsed) = parsed.map_err(|_| content(&key_path, "matching certificate"))?;
        if parsed.tbs_certificate.subject_pki.raw != key.subject_public_key_info() {
            return Err(content(&key_path, "key of its certificate"));
        }
        let issuer_name = parsed.subject().to_string();
        let issuer = Issuer::from_ca_cert_der(&intermediate, key)?;
        Ok(Held { manifest, roots, intermediate, issuer, issuer_name })
    }
}

impl Held {
    fn generation(&self) -> u32 {
        *self.manifest.generations.last().expect("there is at least one generation")
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.dir.display())
    }
}

fn params(not_before: UnixMs, not_after: UnixMs) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |time: UnixMs| epoch + Duration::from_secs((time.0 / 1000).max(0) as u64);
    params.not_before = at(not_before);
    params.not_after = at(not_after);
    params.distinguished_name = DistinguishedName::new();
    let mut serial: [u8; 16] = random::bytes();
    // Positive and of full length (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// Returns the key of a request after its signature was checked. The rest of the request is ignored.
fn public_key(csr: &[u8]) -> Result<rcgen::PublicKey, AuthorityError> {
    let bad = || refused("signer.request", "the signing request is malformed or not signed by its own key");
    if csr.len() > CSR_BYTES_MAX {
        return Err(bad());
    }
    let request =
        CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr)).map_err(|_| bad())?;
    let strong = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
    if !strong.contains(&request.public_key.algorithm()) {
        return Err(refused("signer.algorithm", "only ECDSA P-256, P-384 and Ed25519 keys are signed"));
    }
    Ok(request.public_key)
}

fn key_hash(key: &rcgen::PublicKey) -> ContentHash {
    identity::public_key_hash(key)
}

fn refused(code: &str, message: &str) -> AuthorityError {
    AuthorityError::Refused(Fault::lasting(code, message))
}

fn content(path: &Path, what: &'static str) -> AuthorityError {
    AuthorityError::Content { path: path.display().to_string(), what }
}

fn read_text(path: &Path) -> Result<zeroize::Zeroizing<String>, AuthorityError> {
    let bytes = files::read_private(path, 64 * 1024)
        .map_err(|source| AuthorityError::File { path: path.display().to_string(), source })?;
    String::from_utf8(bytes).map(zeroize::Zeroizing::new).map_err(|_| content(path, "text"))
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, AuthorityError> {
    let found = certificates_from_pem(&read_text(path)?).and_then(|all| all.into_iter().next());
    found.ok_or_else(|| content(path, "certificate"))
}

fn read_key(path: &Path) -> Result<KeyPair, AuthorityError> {
    KeyPair::from_pem(&read_text(path)?).map_err(|_| content(path, "key"))
}

fn not_after(certificate: &CertificateDer<'_>) -> Result<UnixMs, AuthorityError> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let (_, parsed) = parsed.map_err(|_| identity::IdentityError::Malformed)?;
    Ok(UnixMs(parsed.validity().not_after.timestamp().saturating_mul(1000)))
}
