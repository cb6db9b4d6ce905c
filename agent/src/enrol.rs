//! Gets the node's certificate with a token: `lampas-agent enrol`.
//!
//! The token pins the fleet's authority, so the first handshake is already with the right controller. The key is made
//! here and never leaves; the controller learns only the signing request. The identity is written last: while it is
//! missing, the node isn't enrolled, whatever else a crash has left.

use std::{
    fs,
    io::{self, BufRead as _, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use lampas_runtime::{
    files,
    identity::{Identity, IdentityError, Pinned, PrivateKey, TokenText, TokenTextError, Trust, Who, pin},
    quic::{ClientTls, Purpose, client_config},
};
use lampas_shared::{
    error::Fault,
    fleet::{NodeFacts, NodeName},
    time::UnixMs,
};
use lampas_wire::{EnrolRequest, Enrolled, Message};
use rustls::pki_types::CertificateDer;
use thiserror::Error;

use crate::{
    config::Paths,
    facts,
    link::{
        DialError, Endpoints, ExchangeError, IDENTITY_FILE, Memory, TRUST_FILE, connect, exchange, resolve,
        write_memory,
    },
};

/// The longest token file: a token has 96 characters, and somebody may add a comment or blank lines.
const TOKEN_BYTES: u64 = 4096;
/// For the controller to record the node and have the certificate signed.
const ENROL_LIMIT: Duration = Duration::from_secs(30);

/// What `lampas-agent enrol` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The controller, as HOST:PORT.
    #[arg(long, value_name = "HOST:PORT")]
    pub controller: String,
    /// The file that holds the token, or - for standard input.
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// Replace the identity that the node has.
    #[arg(long)]
    pub replace: bool,
}

/// Why the node is not enrolled.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The token can't be read.
    #[error("reading the token from {path}")]
    TokenFile {
        /// The file, `-` for standard input.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is no token.
    #[error(transparent)]
    Token(#[from] TokenTextError),
    /// There is an identity already.
    #[error("this node is enrolled already ({path}): --replace gives it a new identity")]
    Enrolled {
        /// The identity's file.
        path: String,
    },
    /// The name can't be resolved.
    #[error("the name of controller {controller} can't be resolved")]
    Resolve {
        /// The controller.
        controller: String,
        /// Why.
        source: io::Error,
    },
    /// The controller can't be reached, or doesn't hold the pinned authority.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The exchange broke.
    #[error("asking for a certificate")]
    Exchange(#[from] ExchangeError),
    /// The controller refused.
    #[error("the controller refused: {0}")]
    Refused(Fault),
    /// The controller gave what can't be used.
    #[error("the controller's answer can't be used: {0}")]
    Answer(&'static str),
    /// Key or certificate can't be used or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A file can't be written.
    #[error("writing {path}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// What became of it, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The node's name in the fleet.
    pub name: NodeName,
    /// The last instant of the certificate.
    pub until: UnixMs,
    /// Whether `agent.toml` was written.
    pub wrote_config: bool,
    /// Whether the node only observes.
    pub observe: bool,
}

/// Enrols this node and writes its files.
///
/// # Errors
/// Nothing that was there is replaced unless asked for, and an identity is written whole or not at all.
pub async fn run(args: &Args, paths: &Paths) -> Result<Outcome, EnrolError> {
    let dir = paths.identity();
    let identity_path = dir.join(IDENTITY_FILE);
    if !args.replace && identity_path.exists() {
        return Err(EnrolError::Enrolled { path: identity_path.display().to_string() });
    }
    let token = read_token(&args.token_file)?;
    // Before the token is used up: a directory that can't be written would waste it.
    files::private_dir(&dir).map_err(|source| EnrolError::Write { path: dir.display().to_string(), source })?;
    let gathered = facts::gather(paths);
    let (identity, trust, enrolled) = request(&args.controller, &token, gathered, &Endpoints::Fresh).await?;

    let mut controllers = vec![args.controller.clone()];
    controllers.extend(enrolled.controllers.into_iter().filter(|c| *c != args.controller));
    let memory = Memory {
        name: enrolled.name.to_string(),
        controllers,
        controller_time_ms: Some(enrolled.time.0),
        ..Memory::default()
    };
    trust.store(&dir.join(TRUST_FILE))?;
    write_memory(&dir, &memory).map_err(|source| EnrolError::Write { path: dir.display().to_string(), source })?;
    // Before the identity too: a node that is enrolled to observe never runs without knowing it.
    let observe = enrolled.observe;
    let held = if observe { crate::observe::begin(paths) } else { crate::observe::end(paths) };
    held.map_err(|source| EnrolError::Write { path: paths.observe().display().to_string(), source })?;
    identity.store(&identity_path)?;
    let wrote_config = write_config(&paths.config(), &args.controller)?;
    Ok(Outcome { name: enrolled.name, until: identity.info().not_after, wrote_config, observe })
}

/// Asks a controller for an identity. Writes nothing.
///
/// # Errors
/// When no address of the controller answers, it doesn't hold the pinned authority, or it refuses.
pub async fn request(
    controller: &str,
    token: &TokenText,
    facts: NodeFacts,
    endpoints: &Endpoints,
) -> Result<(Identity, Trust, Enrolled), EnrolError> {
    let addresses = resolve(controller)
        .await
        .map_err(|source| EnrolError::Resolve { controller: controller.to_owned(), source })?;
    let key = PrivateKey::generate()?;
    let mut failed = None;
    for address in addresses {
        match reach(address, token, endpoints).await {
            Ok((endpoint, connection)) => {
                let asked = Message::EnrolRequest(Box::new(EnrolRequest {
                    token: token.secret().to_string(),
                    csr: key.request()?,
                    facts,
                }));
                let answer = exchange(&connection, &asked, ENROL_LIMIT).await;
                connection.close(0_u32.into(), b"done");
                if matches!(endpoints, Endpoints::Fresh) {
                    // The close leaves with the endpoint; a controller that doesn't hear it waits for its own limit.
                    let _ = tokio::time::timeout(Duration::from_millis(500), endpoint.wait_idle()).await;
                }
                return accept(answer?, key, token);
            }
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.map_or(EnrolError::Answer("the controller has no address"), EnrolError::Dial))
}

async fn reach(
    address: SocketAddr,
    token: &TokenText,
    endpoints: &Endpoints,
) -> Result<(quinn::Endpoint, quinn::Connection), DialError> {
    let tls = ClientTls { purpose: Purpose::Enrol, verifier: Pinned::new(token.pin), identity: None };
    connect(endpoints, address, client_config(tls)?).await
}

/// Checks what the controller gave: a certificate for this key that names a node of the fleet whose authorities include
/// the pinned one.
fn accept(answer: Message, key: PrivateKey, token: &TokenText) -> Result<(Identity, Trust, Enrolled), EnrolError> {
    let enrolled = match answer {
        Message::EnrolReply(reply) => (*reply).map_err(EnrolError::Refused)?,
        Message::Fault(fault) => return Err(EnrolError::Refused(fault)),
        _ => return Err(EnrolError::Answer("it is none to an enrolment")),
    };
    let chain = enrolled.chain.iter().cloned().map(CertificateDer::from).collect();
    let identity = Identity::new(key, chain)?;
    let subject = identity.info().subject;
    if subject.fleet != enrolled.fleet || subject.who != Who::Node(enrolled.node) {
        return Err(EnrolError::Answer("the certificate names another node than the answer"));
    }
    let roots: Vec<_> = enrolled.trust.roots.iter().cloned().map(CertificateDer::from).collect();
    if !roots.iter().any(|root| pin(root) == token.pin) {
        return Err(EnrolError::Answer("the pinned authority is not among those to trust"));
    }
    let trust = Trust { fleet: enrolled.fleet, roots };
    Ok((identity, trust, enrolled))
}

/// Reads a token from a file or standard input; never from the argument list, which others can read.
///
/// # Errors
/// When it can't be read or is no token.
pub fn read_token(path: &Path) -> Result<TokenText, EnrolError> {
    let failed = |source| EnrolError::TokenFile { path: path.display().to_string(), source };
    let mut text = String::new();
    if path == Path::new("-") {
        // One line: an operator pastes it and presses return.
        io::stdin().lock().take(TOKEN_BYTES).read_line(&mut text).map_err(failed)?;
    } else {
        fs::File::open(path).map_err(failed)?.take(TOKEN_BYTES).read_to_string(&mut text).map_err(failed)?;
    }
    let line = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#')).unwrap_or_default();
    Ok(line.parse()?)
}

/// Writes a configuration with the controller, unless there is one.
fn write_config(path: &Path, controller: &str) -> Result<bool, EnrolError> {
    let failed = |source| EnrolError::Write { path: path.display().to_string(), source };
    if path.exists() {
        return Ok(false);
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    let value = toml::Value::String(controller.to_owned());
    let text = format!(
        "# The configuration of lampas-agent. Everything is optional; `lampas-agent config dump` shows all of it.\n\n\
         [link]\ncontrollers = [{value}]\n"
    );
    files::replace(path, text.as_bytes(), 0o644).map_err(failed)?;
    Ok(true)
}
