//! Makes the desired state true, and keeps it true: one task that changes the node, level-triggered.
//!
//! # The story of a generation
//! [`Handle::desired`] checks a state and journals it with a *received* report. The task then runs a pass: it observes,
//! plans, validates, journals its intent, writes, proves and reports *applied*. If anything changed, the generation is on
//! trial: a controller must be reached by a fresh handshake within a minute. If none is, the last good state comes back;
//! if one is reached then, the generation cut the node off and is *quarantined*; if none is still, the generation was
//! innocent and is applied again, and confirmed whenever a controller is back. Every step is in the journal, so that a
//! crash at any instant restarts into the right one.
//!
//! A wake-up carries no data: each pass reads the whole desired and observed state. `book` is what is known, `pass` is what
//! is done, `trial` is the rule above, `task` is the loop around them.

mod bench;
mod book;
mod follow;
mod halt;
mod handle;
mod heads;
mod manifest;
mod pass;
mod purge;
mod secret;
mod snapshot;
mod takeover;
mod task;
#[cfg(test)]
mod tests;
mod trial;
mod upstream;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
};

use lampas_runtime::identity::Trust;
use lampas_shared::id::NodeId;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::{bench::Bench, book::Book};
pub use self::{
    handle::Handle,
    snapshot::{Explained, PlaceStatus, ResourceStatus, Status, explain, read as read_snapshot},
    task::Reconciler,
    upstream::Upstream,
};
use crate::{
    config::{self, Paths},
    host::{self, Looks, Tools},
    journal::{Journal, JournalError},
    link,
    signature::Verifier,
    system::{PathError, Root, sandbox::Helper},
};

/// What a reconciler is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which node this is; states of others are refused.
    pub node: NodeId,
    /// Where everything is.
    pub paths: Paths,
    /// Times.
    pub times: config::Reconcile,
    /// The absolute path of `lampas-agent`, as cron's lines call it.
    pub wrapper: PathBuf,
    /// What checks are made with.
    pub tools: Tools,
}

/// Why a reconciler can't start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The root directory.
    #[error("could not open the root directory")]
    Root(#[from] PathError),
}

/// Opens the reconciler over a journal. Blocking.
///
/// # Errors
/// When the journal can't be read or the root can't be opened.
pub fn open(settings: Settings, journal: Journal) -> Result<(Handle, Reconciler), OpenError> {
    let Settings { node, paths, times, wrapper, tools } = settings;
    let root = Root::open(paths.root())?;
    let mut book = Book::open(journal, node)?;
    book.recover_ownership(&root)?;
    let trust = Trust::load(&paths.identity().join(link::TRUST_FILE)).ok().flatten();
    let (fleet, verifier) = (trust.map(|t| t.fleet), Verifier::new(tools.sandbox.clone()));
    let wake = Arc::new(Notify::new());
    let packages = ["--root".to_owned(), root.path().display().to_string(), "packages".to_owned()];
    let helper = Helper { path: wrapper.display().to_string(), args: packages.to_vec(), env: Vec::new() };
    let apt = host::Apt::new(&root, wake.clone(), helper);
    let bench = Arc::new(Bench {
        root,
        node,
        wrapper,
        tools,
        book: Mutex::new(book),
        last_observed: Mutex::default(),
        follow: follow::Follow::default(),
        looks: Looks::default(),
        fleet,
        verifier,
        facts_seen: watch::Sender::new(0),
        policy_seen: Mutex::default(),
        node_key: secret::NodeKey::default(),
        upstream: OnceLock::new(),
        runs: OnceLock::new(),
        wake,
        apt,
        over: CancellationToken::new(),
        ejected: watch::Sender::new(false),
        settles: Notify::new(),
        passing: Mutex::default(),
        purged: Mutex::default(),
        paths,
    });
    bench.seal_earlier();
    // A few operators at once; more are told that the agent is busy.
    let (passes, requests) = mpsc::channel(16);
    let handle = Handle { bench: bench.clone(), passes };
    Ok((handle, Reconciler::new(bench, times, requests)))
}
