//! The signer's process: a Unix socket, its peer checked, and one thread that signs.
//!
//! The thread takes what waits together, signs it, syncs the log once, and only then answers: five thousand enrolments
//! cost a few hundred syncs.

use std::{
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use lampas_runtime::{Tasks, clock, files};
use lampas_shared::error::Fault;
use thiserror::Error;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tracing::{debug, info, warn};

use super::{
    authority::{Authority, AuthorityError},
    protocol::{Answer, Ask, Issued, read_frame, write_frame},
};

/// A peer that says nothing for so long is gone.
const PEER_LIMIT: Duration = Duration::from_secs(30);

/// Connections at once; a controller needs a few.
const PEERS_MAX: usize = 64;

/// Signatures that wait for one sync. More only make the first wait longer.
const BATCH_MAX: usize = 64;

/// How the signer runs.
#[derive(Debug, Clone)]
pub struct SignerOptions {
    /// Where keys and log stand, the signer's own.
    pub dir: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// Users other than its own that may ask, by uid.
    pub allow_uids: Vec<u32>,
    /// End when standard input ends: how a controller's own signer never outlives it.
    pub lifeline: bool,
}

/// Why the signer can't run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The authorities.
    #[error("opening the signer's keys")]
    Authority(#[from] AuthorityError),
    /// The socket.
    #[error("the signer's socket {path}")]
    Socket {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The thread.
    #[error("starting the signing thread")]
    Thread(#[source] io::Error),
}

type Job = (Ask, oneshot::Sender<Answer>);

/// Runs the signer until the tasks stop.
///
/// # Errors
/// When keys or socket can't be opened.
pub async fn run(options: SignerOptions, tasks: &Tasks) -> Result<(), ServeError> {
    let authority = Authority::open(&options.dir, clock::now())?;
    let failed = |source| ServeError::Socket { path: options.socket.display().to_string(), source };
    let listener = bind(&options).map_err(failed)?;
    // Deep enough that every connection can have one waiting; a full queue makes them wait in turn.
    let (jobs, queue) = mpsc::channel(PEERS_MAX);
    let thread = std::thread::Builder::new().name("signer".into()).spawn(move || sign_all(authority, queue));
    let thread = thread.map_err(ServeError::Thread)?;
    if options.lifeline {
        watch_lifeline(tasks.clone()).map_err(ServeError::Thread)?;
    }
    info!(socket = %options.socket.display(), "the signer is ready");
    let stopping = tasks.stopping();
    let peers = Arc::new(Semaphore::new(PEERS_MAX));
    loop {
        // All arms are cancel-safe: a connection that is not taken stays in the backlog.
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "the signer could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stopping.cancelled() => break,
        };
        if !is_allowed(&stream, &options.allow_uids) {
            continue;
        }
        let Ok(permit) = Arc::clone(&peers).acquire_owned().await else { break };
        let (jobs, stopping) = (jobs.clone(), stopping.clone());
        tasks.spawn("signer peer", async move {
            let _permit = permit;
            // Cancel-safe: what was signed is in the log, and the peer asks again.
            tokio::select! {
                ended = serve_peer(stream, &jobs) => if let Err(error) = ended {
                    debug!(%error, "a peer of the signer ended");
                },
                () = stopping.cancelled() => {}
            }
        });
    }
    drop(jobs);
    // The socket file goes with the process that listened on it.
    let _ = std::fs::remove_file(&options.socket);
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    Ok(())
}

/// Stops the tasks when standard input ends. The thread waits in a read and goes with the process.
fn watch_lifeline(tasks: Tasks) -> io::Result<()> {
    let wait = move || {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(n) if n > 0) {}
        info!("the controller is gone; the signer ends");
        tasks.stop();
    };
    std::thread::Builder::new().name("lifeline".into()).spawn(wait).map(drop)
}

fn bind(options: &SignerOptions) -> io::Result<UnixListener> {
    if let Some(dir) = options.socket.parent().filter(|d| !d.exists()) {
        files::private_dir(dir)?;
    }
    match std::os::unix::net::UnixStream::connect(&options.socket) {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another signer answers there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => std::fs::remove_file(&options.socket)?,
    }
    let listener = UnixListener::bind(&options.socket)?;
    let mode = if options.allow_uids.is_empty() { 0o600 } else { 0o666 };
    // Who may connect is decided by the peer's uid; the mode is a second fence.
    std::fs::set_permissions(&options.socket, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn is_allowed(stream: &UnixStream, allow: &[u32]) -> bool {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == nix::unistd::geteuid().as_raw() || allow.contains(&peer.uid()) => true,
        Ok(peer) => {
            warn!(peer.uid = peer.uid(), "a user that may not ask the signer was refused");
            false
        }
        Err(error) => {
            warn!(%error, "a peer without a uid was refused by the signer");
            false
        }
    }
}

async fn serve_peer(mut stream: UnixStream, jobs: &mpsc::Sender<Job>) -> io::Result<()> {
    loop {
        let ask: Ask = timeout(PEER_LIMIT, read_frame(&mut stream)).await??;
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the signing thread is gone");
        jobs.send((ask, answer)).await.map_err(|_| gone())?;
        let answer = answered.await.map_err(|_| gone())?;
        timeout(PEER_LIMIT, write_frame(&mut stream, &answer)).await??;
    }
}

fn sign_all(mut authority: Authority, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        sign_batch(&mut authority, batch);
    }
}

fn sign_batch(authority: &mut Authority, batch: Vec<Job>) {
    let mut waiting: Vec<(Issued, oneshot::Sender<Answer>)> = Vec::new();
    for (ask, answer) in batch {
        // A peer that is gone needs no answer: dropping what `send` gives back is all there is to do.
        match handle(authority, ask) {
            Ok(Answer::Issued(issued)) => waiting.push((issued, answer)),
            Ok(other) => drop(answer.send(other)),
            Err(error) => drop(answer.send(Answer::Fault(error.to_fault()))),
        }
    }
    if waiting.is_empty() {
        return;
    }
    let outcome = authority.commit();
    if let Err(error) = &outcome {
        warn!(error = %lampas_shared::error::Chain(error), "the signer's log can't be written; nothing is issued");
    }
    for (issued, answer) in waiting {
        drop(answer.send(match &outcome {
            Ok(()) => Answer::Issued(issued),
            Err(error) => Answer::Fault(Fault::passing("signer.log", error.to_fault().message)),
        }));
    }
}

fn handle(authority: &mut Authority, ask: Ask) -> Result<Answer, AuthorityError> {
    let now = clock::now();
    match ask {
        Ask::Open { fleet } => authority.open_fleet(fleet, now).map(Answer::Authority),
        Ask::Rotate => authority.rotate(now).map(Answer::Authority),
        Ask::Retire => authority.retire().map(Answer::Authority),
        Ask::Enrol { record, csr } => authority.enrol(&record, &csr, now).map(Answer::Issued),
        Ask::Renew { record, csr } => authority.renew(&record, &csr, now).map(Answer::Issued),
        Ask::Controller { controller, csr } => authority.controller(controller, &csr, now).map(Answer::Issued),
    }
}
