//! TLS of probes: whom they trust, and how long a certificate is valid.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use lampas_runtime::clock;
use lampas_shared::probe::Tls;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::net::Stage;
use crate::config::Paths;

/// The largest file of certificates that is read.
const MAX_CA_BYTES: u64 = 4 << 20;

/// Whom a probe trusts.
#[derive(Debug, Clone)]
pub(super) struct Trust(Result<Arc<ClientConfig>, String>);

impl Trust {
    /// Reads the node's roots, or those that are named; what is wrong with them is told by the handshake.
    pub(super) fn load(tls: &Tls, paths: &Paths) -> Self {
        Self(load(tls, paths).map(Arc::new))
    }

    /// Shakes hands, and checks how long the certificate is valid. Returns the stream and for how many days that is.
    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        host: &str,
        tls: &Tls,
        stage: &Stage,
    ) -> Result<(TlsStream<TcpStream>, i64), String> {
        stage.set("TLS");
        let config = self.0.clone()?;
        let name = if tls.server_name.is_empty() { host } else { tls.server_name.as_str() };
        let server = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name} is no name for TLS"))?;
        let stream = TlsConnector::from(config)
            .connect(server, stream)
            .await
            .map_err(|e| format!("TLS with {name} failed: {e}"))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let days = chain.first().and_then(|c| days_left(c)).ok_or("its certificate can't be read")?;
        if days < i64::from(tls.days_left) {
            let text = if days < 0 { "is over".to_owned() } else { format!("is valid for {days} days") };
            return Err(format!("its certificate {text}, expected at least {} days", tls.days_left));
        }
        Ok((stream, days))
    }
}

fn load(tls: &Tls, paths: &Paths) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS can't be spoken: {e}"))?;
    if tls.insecure {
        let any = Arc::new(Anyone(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(any).with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            let file = paths.root().join(path.as_str().trim_start_matches('/'));
            let failed = |e: &dyn std::fmt::Display| format!("the certificates in {path} can't be read: {e}");
            let pem = read(&file).map_err(|e| failed(&e))?;
            for cert in CertificateDer::pem_slice_iter(&pem) {
                roots.add(cert.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
            }
            if roots.is_empty() {
                return Err(failed(&"there is none"));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err("this node trusts no authority: install ca-certificates, or name a CA".to_owned());
            }
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Reads a file of certificates. It is named from elsewhere and read as root: a pipe is not waited for, and of a device
/// nothing is read.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::options().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_CA_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_CA_BYTES {
        return Err(io::Error::other("the file is larger than 4 MiB"));
    }
    Ok(bytes)
}

fn days_left(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let left = parsed.validity().not_after.timestamp() - clock::now().0 / 1000;
    Some(left.div_euclid(86_400))
}

/// Takes any certificate, and still proves that whoever shows it has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
