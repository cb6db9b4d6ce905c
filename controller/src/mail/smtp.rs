//! One message to the mail server.
//!
//! The server is what an administrator set, and stands on this machine or in the same network more often than not: so
//! private addresses are allowed here, unlike for what the controller fetches elsewhere. Addresses that can't be meant
//! (metadata of clouds, link-local, multicast) are refused. The name is resolved once, and what was judged is connected to. Every
//! step has a limit of time, the whole has one, and a server can't say more than [`MOST_BYTES`].

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_api::{MailSecurity, MailServer};
use lettre::{
    Address,
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
        response::Response,
    },
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::egress;

/// For one step: a name, a connection, a command and its answer.
const STEP: Duration = Duration::from_secs(20);
/// For the answer to the message itself: servers look for spam in between.
const MESSAGE: Duration = Duration::from_secs(60);
/// For all of it.
const WHOLE: Duration = Duration::from_secs(120);
/// How much a server may say.
const MOST_BYTES: usize = 256 << 10;

/// The server, and what is shown to it.
pub(super) struct Server {
    pub(super) at: MailServer,
    pub(super) password: Option<Zeroizing<String>>,
    /// Who this machine says it is.
    pub(super) hello: String,
}

/// Why a message was not taken.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    /// Whether it is of no use to try again: the server refuses this message, or this recipient.
    pub(super) is_final: bool,
    /// In words, without secrets.
    pub(super) why: String,
}

impl Failed {
    fn passing(why: impl Into<String>) -> Self {
        Self { is_final: false, why: why.into() }
    }
}

/// Hands a message to the server; returns what it answered.
///
/// # Errors
/// When it was not taken. After a lost connection that is not sure.
pub(super) async fn deliver(server: &Server, from: &Address, to: &Address, message: &[u8]) -> Result<String, Failed> {
    let outcome = match timeout(WHOLE, talk(server, from, to, message)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failed::passing(format!("the server took longer than {} s", WHOLE.as_secs()))),
    };
    let hide = |text: String| masked(server, &text);
    outcome.map(hide).map_err(|f| Failed { why: hide(f.why), ..f })
}

async fn talk(server: &Server, from: &Address, to: &Address, message: &[u8]) -> Result<String, Failed> {
    let stream = connect(&server.at).await?;
    let hello = ClientId::Domain(server.hello.clone());
    let opened = match server.at.security {
        MailSecurity::Tls => {
            let stream = encrypt(&server.at, stream).await?;
            step("greets", AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello)).await
        }
        MailSecurity::Starttls | MailSecurity::None => {
            step("greets", AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello)).await
        }
    };
    let mut connection = opened?;
    if server.at.security == MailSecurity::Starttls {
        let tls = parameters(&server.at).await?;
        step("turns to TLS", connection.starttls(tls, &hello)).await?;
    }
    if let (false, Some(password)) = (server.at.user.is_empty(), &server.password) {
        let credentials = Credentials::new(server.at.user.clone(), password.to_string());
        step("lets us sign in", connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials)).await?;
    }
    // A sender or a login that is refused is refused for every message: that is mended in the settings, and tried again.
    step("takes the sender", connection.command(Mail::new(Some(from.clone()), Vec::new()))).await?;
    let last = |f: Refused| Failed { is_final: f.is_permanent, ..f.into() };
    refused("takes the recipient", STEP, connection.command(Rcpt::new(to.clone(), Vec::new()))).await.map_err(last)?;
    refused("takes the message", STEP, connection.command(Data)).await.map_err(last)?;
    let answer = refused("takes the message", MESSAGE, connection.message(message)).await.map_err(last)?;
    // It has the message; whether it hears the end doesn't matter.
    let _ = timeout(Duration::from_secs(2), connection.quit()).await;
    Ok(said(&answer))
}

/// What went wrong in a step.
struct Refused {
    is_permanent: bool,
    why: String,
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::passing(refused.why)
    }
}

async fn step<T>(what: &str, work: impl Future<Output = Result<T, SmtpError>>) -> Result<T, Failed> {
    refused(what, STEP, work).await.map_err(Failed::from)
}

async fn refused<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, SmtpError>>,
) -> Result<T, Refused> {
    match timeout(limit, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            Err(Refused { is_permanent: error.is_permanent(), why: format!("before the server {what}: {error}") })
        }
        Err(_) => {
            let why = format!("before the server {what}: no answer within {} s", limit.as_secs());
            Err(Refused { is_permanent: false, why })
        }
    }
}

/// Connects to the first of the server's addresses that lets itself be.
async fn connect(server: &MailServer) -> Result<Bounded<TcpStream>, Failed> {
    let (host, port) = (server.host.as_str(), server.port());
    let found = timeout(STEP, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| Failed::passing(format!("{host} can't be resolved in time")))?;
    let all: Vec<SocketAddr> = found.map_err(|e| Failed::passing(format!("{host} can't be resolved: {e}")))?.collect();
    let mut why = format!("{host} has no address");
    for address in all.into_iter().take(4) {
        if let Err(refused) = judged(server, address.ip()) {
            why = refused;
            continue;
        }
        match timeout(STEP, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(Bounded { inner: stream, left: MOST_BYTES, peer: address }),
            Ok(Err(error)) => why = format!("{address} can't be connected to: {error}"),
            Err(_) => why = format!("{address} can't be connected to within {} s", STEP.as_secs()),
        }
    }
    Err(Failed::passing(why))
}

/// Says whether mail may go to an address, as the server is set.
pub(super) fn judged(server: &MailServer, address: IpAddr) -> Result<(), String> {
    if !egress::may_serve_mail(address) {
        return Err(format!("{} is at {address}, which can't be a mail server", server.host));
    }
    if server.security == MailSecurity::None && !server.allow_plain && !address.to_canonical().is_loopback() {
        return Err(format!("{} is at {address}, and without TLS mail goes to this machine alone", server.host));
    }
    Ok(())
}

/// Reads the authorities that are set.
pub(super) fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|_| "is not a certificate in PEM".to_owned())?;
    let mut store = RootCertStore::empty();
    for certificate in &found {
        store.add(certificate.clone()).map_err(|e| format!("holds a certificate that can't be an authority: {e}"))?;
    }
    if found.is_empty() { Err("holds no certificate (PEM)".to_owned()) } else { Ok(found) }
}

async fn parameters(server: &MailServer) -> Result<TlsParameters, Failed> {
    let failed = |e: SmtpError| Failed::passing(format!("TLS can't be set up: {e}"));
    let mut builder = TlsParameters::builder(server.host.clone());
    if !server.ca.is_empty() {
        builder = builder.certificate_store(CertificateStore::None);
        for certificate in authorities(&server.ca).map_err(Failed::passing)? {
            builder = builder.add_root_certificate(Certificate::from_der(certificate.to_vec()).map_err(failed)?);
        }
    }
    // It may read the system's certificates.
    let built = tokio::task::spawn_blocking(move || builder.build_rustls()).await;
    built.map_err(|_| Failed::passing("TLS can't be set up"))?.map_err(failed)
}

async fn encrypt<S>(server: &MailServer, stream: Bounded<S>) -> Result<Bounded<TlsStream<Bounded<S>>>, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut roots = RootCertStore::empty();
    if server.ca.is_empty() {
        let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        let found = found.map_err(|_| Failed::passing("the system's certificates can't be read"))?;
        roots.add_parsable_certificates(found.certs);
    } else {
        roots.add_parsable_certificates(authorities(&server.ca).map_err(Failed::passing)?);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Failed::passing(format!("TLS can't be set up: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(server.host.clone()).map_err(|e| Failed::passing(e.to_string()))?;
    let peer = stream.peer;
    let shaken = timeout(STEP, tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    match shaken {
        Ok(Ok(inner)) => Ok(Bounded { inner, left: MOST_BYTES, peer }),
        Ok(Err(error)) => Err(Failed::passing(format!("before the server turns to TLS: {error}"))),
        Err(_) => {
            Err(Failed::passing(format!("before the server turns to TLS: no answer within {} s", STEP.as_secs())))
        }
    }
}

fn said(answer: &Response) -> String {
    let lines: Vec<&str> = answer.message().collect();
    super::text::line(&format!("{} {}", answer.code(), lines.join(" ")))
}

/// Takes the password out of what a server said: one that repeats it doesn't bring it into a log.
fn masked(server: &Server, text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(password) = server.password.as_ref().filter(|p| !p.is_empty()) {
        let plain = Zeroizing::new(format!("\0{}\0{}", server.at.user, password.as_str()));
        for secret in [STANDARD.encode(plain.as_bytes()), STANDARD.encode(password.as_bytes()), password.to_string()] {
            text = text.replace(&secret, "(hidden)");
        }
    }
    super::text::line(&text)
}

/// A connection on which only so much is read.
#[derive(Debug)]
struct Bounded<S> {
    inner: S,
    left: usize,
    peer: SocketAddr,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("the server says too much")));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.left = self.left.saturating_sub(buf.filled().len() - before);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> AsyncTokioStream for Bounded<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_serve_mail_and_metadata_do_not() {
        let server =
            |security, allow_plain| MailServer { host: "mail".into(), security, allow_plain, ..MailServer::default() };
        let check = |server: &MailServer, address: &str| judged(server, address.parse().expect("an address")).is_ok();
        let tls = server(MailSecurity::Starttls, false);
        for good in ["127.0.0.1", "10.0.0.5", "::1", "fd00::5", "93.184.216.34", "::ffff:10.0.0.5"] {
            assert!(check(&tls, good), "{good}");
        }
        for bad in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "fe80::1",
            "169.254.1.1",
            "224.0.0.1",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(!check(&tls, bad), "{bad}");
        }
        let plain = server(MailSecurity::None, false);
        assert!(check(&plain, "127.0.0.1") && check(&plain, "::1") && !check(&plain, "10.0.0.5"));
        assert!(check(&server(MailSecurity::None, true), "10.0.0.5"));
    }

    #[test]
    fn a_password_that_comes_back_is_hidden() {
        let at = MailServer { user: "lampas".into(), ..MailServer::default() };
        let server = Server { at, password: Some(Zeroizing::new("s3cret&canary".into())), hello: "x".into() };
        let sent = STANDARD.encode("\0lampas\0s3cret&canary");
        let text =
            masked(&server, &format!("535 no {sent}, or s3cret&canary, {}\r\nX", STANDARD.encode("s3cret&canary")));
        assert_eq!(text, "535 no (hidden), or (hidden), (hidden)  X");
    }

    #[test]
    fn authorities_are_certificates() {
        for bad in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            authorities(bad).expect_err(bad);
        }
    }
}
