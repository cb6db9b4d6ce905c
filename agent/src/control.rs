//! The agent's Unix socket: what an operator asks on the node. One request a connection, a line of JSON each way.
//!
//! Root, or the user that the agent runs as, may ask; the kernel says who it is (`SO_PEERCRED`). The socket is 0600 in a
//! directory of its own besides.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use lampas_runtime::Tasks;
use lampas_shared::{error::Fault, scan::Ejected};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tracing::{debug, warn};

use crate::reconcile::{Handle, Status};

/// The longest request; a reason is the only free text in it.
const MAX_REQUEST: u64 = 64 << 10;
/// The longest answer: the status of some ten thousand resources.
const MAX_ANSWER: u64 = 64 << 20;
/// How long a peer may take to say what it wants, or to take the answer.
const TALK_LIMIT: Duration = Duration::from_secs(10);
/// How long an answer may take: a pass, and then some.
const WORK_LIMIT: Duration = Duration::from_secs(90);
/// How many are served at once; operators, not programs.
const MAX_PEERS: usize = 16;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What do you know?
    Status,
    /// What would you do to the disk?
    Plan,
    /// Go back to the last good state.
    Undo,
    /// Write nothing.
    Pause {
        /// For how long; until `resume` when left out.
        secs: Option<u64>,
        /// Why.
        reason: String,
    },
    /// End the pause and the undo.
    Resume,
    /// Try again what failed or is quarantined.
    Retry,
    /// Make plain files of what is managed, and stop.
    Eject,
}

/// The answer: a value by request, or why not.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(serde_json::Value),
    Fault(Fault),
}

/// What `eject` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EjectedHere {
    /// What stays.
    #[serde(flatten)]
    pub ejected: Ejected,
    /// Why no controller knows of it, if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untold: Option<String>,
}

/// What `status` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Of the node.
    pub node: Status,
    /// The controller that the agent is connected with.
    pub connected: Option<String>,
    /// Why the last connection or attempt ended.
    pub last_error: Option<String>,
    /// Where a damaged journal was moved to at this start.
    pub damaged_journal: Option<PathBuf>,
}

/// Why the agent can't be asked.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no agent runs here: nobody listens on {}; start it with: systemctl start lampas-agent", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// One may not.
    #[error("only root may ask the agent: {} can't be opened", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// It broke off.
    #[error("asking the agent on {} failed", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It said no.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What the socket serves.
pub struct Service {
    /// The reconciler.
    pub handle: Handle,
    /// Says whether there is a connection: with whom, and why the last one ended.
    pub link: Box<dyn Fn() -> (Option<String>, Option<String>) + Send + Sync>,
    /// Tells a controller that the node is ejected.
    pub leave: Box<dyn Fn() -> BoxFuture<'static, Result<(), Fault>> + Send + Sync>,
    /// Where a damaged journal was moved to.
    pub damaged_journal: Option<PathBuf>,
}

/// Listens until the stop begins.
///
/// # Errors
/// When the socket can't be made, or another agent listens on it.
pub async fn serve(path: &Path, service: Service, tasks: &Tasks) -> io::Result<()> {
    let listener = bind(path).await?;
    let (stopping, service, owner) = (tasks.stopping(), Arc::new(service), tasks.clone());
    let path = path.to_owned();
    tasks.spawn("control", async move {
        let peers = Arc::new(Semaphore::new(MAX_PEERS));
        loop {
            // All arms are cancel-safe: a connection that is not accepted stays in the backlog.
            let accepted = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "can't accept on the agent's socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Closed at once when there are too many: the peer sees the end and says so.
            let Ok(permit) = peers.clone().try_acquire_owned() else { continue };
            let service = service.clone();
            owner.spawn("control.peer", async move {
                if let Err(error) = talk(stream, &service).await {
                    debug!(%error, "a peer of the agent's socket broke off");
                }
                drop(permit);
            });
        }
        // The next agent would replace it anyway.
        let _ = fs::remove_file(&path);
    });
    Ok(())
}

/// Asks the agent that runs here.
///
/// # Errors
/// When none runs, it can't be reached, or it says no.
pub async fn ask<T: DeserializeOwned>(path: &Path, request: &Request) -> Result<T, AskError> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning { path: path.to_owned() },
        io::ErrorKind::PermissionDenied => AskError::Denied { path: path.to_owned() },
        _ => AskError::Io { path: path.to_owned(), source },
    };
    let work = async {
        let mut stream = UnixStream::connect(path).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        if answer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the agent closed without an answer: it is busy or stopping",
            ));
        }
        Ok(serde_json::from_slice::<Answer>(&answer)?)
    };
    let late = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    match tokio::time::timeout(WORK_LIMIT + TALK_LIMIT, work).await.unwrap_or(Err(late)).map_err(fail)? {
        Answer::Ok(value) => serde_json::from_value(value).map_err(|e| fail(e.into())),
        Answer::Fault(fault) => Err(fault.into()),
    }
}

async fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("another agent listens on {}", path.display())));
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn talk(stream: UnixStream, service: &Service) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(read.take(MAX_REQUEST));
    tokio::time::timeout(TALK_LIMIT, reader.read_until(b'\n', &mut line)).await??;
    let answer = if uid == 0 || uid == nix::unistd::geteuid().as_raw() {
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) => {
                let late = || Answer::Fault(Fault::passing("agent.busy", "the agent took too long; look again later"));
                tokio::time::timeout(WORK_LIMIT, answer(service, request)).await.unwrap_or_else(|_| late())
            }
            Err(error) => {
                Answer::Fault(Fault::lasting("control.request", format!("the request can't be read: {error}")))
            }
        }
    } else {
        warn!(uid, "a user who may not asked the agent");
        Answer::Fault(Fault::lasting("control.denied", "only root and the agent's own user may ask the agent"))
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    tokio::time::timeout(TALK_LIMIT, write.write_all(&bytes)).await??;
    write.shutdown().await
}

async fn answer(service: &Service, request: Request) -> Answer {
    let Service { handle, link, leave, damaged_journal } = service;
    match request {
        Request::Status => {
            let (connected, last_error) = link();
            let damaged_journal = damaged_journal.clone();
            reply(Box::pin(async move {
                Ok(AgentStatus { node: handle.status().await?, connected, last_error, damaged_journal })
            }))
            .await
        }
        Request::Plan => reply(Box::pin(handle.plan_current())).await,
        Request::Undo => reply(Box::pin(handle.undo())).await,
        Request::Pause { secs, reason } => {
            if let Err(error) = lampas_shared::check_line("reason", &reason, 500) {
                return Answer::Fault(Fault::lasting("control.reason", error.to_string()));
            }
            reply(Box::pin(handle.pause(secs.map(Duration::from_secs), reason))).await
        }
        Request::Resume => reply(Box::pin(handle.resume())).await,
        Request::Retry => reply(Box::pin(handle.retry())).await,
        Request::Eject => reply(Box::pin(eject(handle, leave()))).await,
    }
}

/// Ejects, and tells the controller before the agent stops. What could not be told is told to who asked.
async fn eject(handle: &Handle, leave: BoxFuture<'_, Result<(), Fault>>) -> Result<EjectedHere, Fault> {
    let mut told = Ok(());
    let ejected = handle.eject_and(async { told = leave.await }).await?;
    let untold = told.err().map(|fault| {
        warn!(error = %fault, "no controller knows that this node is ejected");
        fault.message
    });
    Ok(EjectedHere { ejected, untold })
}

async fn reply<T: Serialize>(work: BoxFuture<'_, Result<T, Fault>>) -> Answer {
    match work.await {
        Ok(value) => serde_json::to_value(value)
            .map_or_else(|e| Answer::Fault(Fault::passing("control.answer", e.to_string())), Answer::Ok),
        Err(fault) => Answer::Fault(fault),
    }
}
