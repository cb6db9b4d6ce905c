//! The dashboard's certificate: apart from the fleet's authorities, and replaceable.
//!
//! Without a certificate of the operator's the controller makes an authority of its own under `DATA/web`, which a
//! browser or `LAMPAS_CA` can be told to trust, and under it a certificate for the given names and addresses. It is
//! made anew when the names change or a third of its life is left.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lampas_runtime::{
    files,
    identity::{certificates_from_pem, certificates_to_pem},
    random,
};
use lampas_shared::time::UnixMs;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use zeroize::Zeroizing;

const DAY_MS: i64 = 24 * 3600 * 1000;

const CA_MS: i64 = 10 * 365 * DAY_MS;

/// Browsers take at most 398 days.
const LEAF_MS: i64 = 390 * DAY_MS;

const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Why the dashboard has no certificate.
#[derive(Debug, Error)]
pub enum WebTlsError {
    /// A file could not be read or written.
    #[error("the web certificate's file {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("the web certificate's file {path} holds no {what}")]
    Content {
        /// The file.
        path: String,
        /// What was looked for.
        what: &'static str,
    },
    /// A name is not one that a certificate can carry.
    #[error("{0:?} is neither a host name nor an address; a certificate can't name it")]
    Name(String),
    /// The cryptography failed.
    #[error("making the web certificate")]
    Making(#[from] rcgen::Error),
    /// Key and certificate don't go together, or are of no use for TLS.
    #[error("key and certificate of the dashboard don't work")]
    Tls(#[from] rustls::Error),
}

/// What the dashboard's listener presents.
#[derive(Debug, Clone)]
pub struct WebTls {
    /// For HTTPS: TLS 1.2 and 1.3, `h2` and `http/1.1`.
    pub config: Arc<ServerConfig>,
    /// The authority to trust, where the controller made it: its PEM file.
    pub ca_file: Option<PathBuf>,
    /// The end of the certificate.
    pub not_after: UnixMs,
}

impl WebTls {
    /// Loads an operator's certificate chain and key, both PEM. Blocking.
    ///
    /// # Errors
    /// When they can't be read or don't go together.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, WebTlsError> {
        let chain_pem = read(cert)?;
        let key_pem = Zeroizing::new(read(key)?);
        Self::build(&chain_pem, cert, &key_pem, key, None)
    }

    /// Loads the certificate under `dir`, or makes it for these names and addresses, the authority too. Blocking.
    ///
    /// # Errors
    /// When files can't be read or written, or a name is none.
    pub fn load_or_make(dir: &Path, names: &[String], now: UnixMs) -> Result<Self, WebTlsError> {
        files::private_dir(dir).map_err(|source| file(dir, source))?;
        let ca = Authority::load_or_make(dir, now)?;
        let (cert, key) = (dir.join("cert.pem"), dir.join("cert.key"));
        let wanted: BTreeSet<String> = names.iter().map(|n| spelled(n)).collect();
        let is_good = |pem: &str| {
            let chain = certificates_from_pem(pem)?;
            let (found, issuer_key, before, after) = names_of(chain.first()?)?;
            let fits =
                found == wanted && issuer_key == ca.certificate_subject()? && after - now.0 > (after - before) / 3;
            fits.then_some(())
        };
        let stands = cert.exists() && key.exists() && is_good(&read(&cert)?).is_some();
        if !stands {
            let (chain_pem, key_pem) = ca.issue(names, now)?;
            files::replace(&key, key_pem.as_bytes(), 0o600).map_err(|source| file(&key, source))?;
            files::replace(&cert, chain_pem.as_bytes(), 0o644).map_err(|source| file(&cert, source))?;
        }
        let key_pem = Zeroizing::new(read(&key)?);
        Self::build(&read(&cert)?, &cert, &key_pem, &key, Some(dir.join("ca.pem")))
    }

    fn build(
        chain_pem: &str,
        cert: &Path,
        key_pem: &str,
        key: &Path,
        ca_file: Option<PathBuf>,
    ) -> Result<Self, WebTlsError> {
        let chain = certificates_from_pem(chain_pem).ok_or_else(|| content(cert, "certificate"))?;
        let key_der = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| content(key, "private key"))?;
        let parsed = x509_parser::parse_x509_certificate(&chain[0]);
        let (_, parsed) = parsed.map_err(|_| content(cert, "certificate"))?;
        let not_after = UnixMs(parsed.validity().not_after.timestamp().saturating_mul(1000));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key_der)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), ca_file, not_after })
    }
}

/// The dashboard's own authority.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn load_or_make(dir: &Path, now: UnixMs) -> Result<Self, WebTlsError> {
        let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        if !(cert.exists() && key.exists()) {
            let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
            let mut params = params(now, CA_MS)?;
            params.distinguished_name.push(DnType::CommonName, "LAMPAS dashboard authority");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let made = params.self_signed(&pair)?.der().clone();
            let key_pem = Zeroizing::new(pair.serialize_pem());
            files::replace(&key, key_pem.as_bytes(), 0o600).map_err(|source| file(&key, source))?;
            let cert_pem = certificates_to_pem(&[made]);
            files::replace(&cert, cert_pem.as_bytes(), 0o644).map_err(|source| file(&cert, source))?;
        }
        let all = certificates_from_pem(&read(&cert)?);
        let certificate = all.and_then(|all| all.into_iter().next()).ok_or_else(|| content(&cert, "certificate"))?;
        let key_pem = Zeroizing::new(read(&key)?);
        let pair = KeyPair::from_pem(&key_pem).map_err(|_| content(&key, "private key"))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, pair)?;
        Ok(Self { certificate, issuer })
    }

    fn certificate_subject(&self) -> Option<Vec<u8>> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&self.certificate).ok()?;
        subject_key_id(&parsed)
    }

    fn issue(&self, names: &[String], now: UnixMs) -> Result<(String, Zeroizing<String>), WebTlsError> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(now, LEAF_MS)?;
        for name in names {
            let san = match name.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => {
                    rustls::pki_types::DnsName::try_from(name.as_str()).map_err(|_| WebTlsError::Name(name.clone()))?;
                    SanType::DnsName(name.as_str().try_into()?)
                }
            };
            params.subject_alt_names.push(san);
        }
        let common = names.first().map_or("lampas", |n| n.as_str());
        params.distinguished_name.push(DnType::CommonName, common.chars().take(64).collect::<String>());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&pair, &self.issuer)?.der().clone();
        let chain = certificates_to_pem(&[leaf, self.certificate.clone()]);
        Ok((chain, Zeroizing::new(pair.serialize_pem())))
    }
}

fn params(now: UnixMs, life_ms: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let at = |ms: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(ms.max(0) as u64);
    params.not_before = at(now.0 - DAY_MS);
    params.not_after = at(now.0 + life_ms);
    params.distinguished_name = DistinguishedName::new();
    let mut serial: [u8; 16] = random::bytes();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// Returns a certificate's names, the key id of its authority, and its life.
fn names_of(certificate: &CertificateDer<'_>) -> Option<(BTreeSet<String>, Vec<u8>, i64, i64)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = BTreeSet::new();
    for name in &parsed.subject_alternative_name().ok()??.value.general_names {
        names.insert(match name {
            GeneralName::DNSName(name) => spelled(name),
            GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
                Ok(v4) => IpAddr::from(v4).to_string(),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string(),
            },
            _ => return None,
        });
    }
    let issuer = parsed.iter_extensions().find_map(|e| match e.parsed_extension() {
        x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
        _ => None,
    })?;
    let life = parsed.validity();
    Some((names, issuer.0.to_vec(), life.not_before.timestamp() * 1000, life.not_after.timestamp() * 1000))
}

fn subject_key_id(parsed: &x509_parser::certificate::X509Certificate<'_>) -> Option<Vec<u8>> {
    parsed.iter_extensions().find_map(|e| match e.parsed_extension() {
        x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn spelled(name: &str) -> String {
    let name = name.trim_matches(['[', ']']);
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

fn read(path: &Path) -> Result<String, WebTlsError> {
    use io::Read as _;
    let mut text = String::new();
    let opened = std::fs::File::open(path).map_err(|source| file(path, source))?;
    opened.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|source| file(path, source))?;
    Ok(text)
}

fn file(path: &Path, source: io::Error) -> WebTlsError {
    WebTlsError::File { path: path.display().to_string(), source }
}

fn content(path: &Path, what: &'static str) -> WebTlsError {
    WebTlsError::Content { path: path.display().to_string(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_stands_until_names_change_or_it_is_due() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let now = UnixMs(1_790_000_000_000);
        let cert = || std::fs::read(dir.path().join("cert.pem")).expect("read");
        let ca = || std::fs::read(dir.path().join("ca.pem")).expect("read");
        WebTls::load_or_make(dir.path(), &names(&["fleet.example", "127.0.0.1", "::1"]), now).expect("made");
        let (first, authority) = (cert(), ca());
        WebTls::load_or_make(dir.path(), &names(&["FLEET.example", "[::1]", "127.0.0.1"]), now).expect("stands");
        assert_eq!(cert(), first, "the same names in another order and spelling");
        WebTls::load_or_make(dir.path(), &names(&["other.example"]), now).expect("made");
        let other = cert();
        assert_ne!(other, first);
        let later = now.plus_ms(300 * DAY_MS);
        let tls = WebTls::load_or_make(dir.path(), &names(&["other.example"]), later).expect("made");
        assert_ne!(cert(), other, "a third of its life is left");
        assert!(tls.not_after > later);
        assert_eq!(ca(), authority, "the authority stays, so that who trusts it need not be told again");
    }

    #[test]
    fn what_can_not_be_named_and_what_does_not_fit_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let now = UnixMs(1_790_000_000_000);
        let bad = WebTls::load_or_make(dir.path(), &["not a name".to_owned()], now).expect_err("refused");
        assert!(matches!(bad, WebTlsError::Name(_)), "{bad}");
        WebTls::load_or_make(dir.path(), &["fleet.example".to_owned()], now).expect("made");
        let cert = dir.path().join("cert.pem");
        assert!(WebTls::load(&cert, &dir.path().join("cert.key")).is_ok());
        let other_key = WebTls::load(&cert, &dir.path().join("ca.key")).expect_err("refused");
        assert!(matches!(other_key, WebTlsError::Tls(_)), "{other_key}");
    }
}
