//! `lampas-agent run`: everything that the agent is, joined and started; and its orderly end.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use lampas_runtime::{Tasks, config::load_or_default, files, identity::Trust, lifecycle, telemetry};
use lampas_shared::error::Chain;
use tracing::{error, info, warn};

use crate::{
    config::{Config, Paths},
    control, facts,
    host::Tools,
    journal::{Journal, JournalError},
    link::{Credentials, Endpoints, Link, LinkHandle, TRUST_FILE},
    operation,
    reconcile::{self, Settings, Upstream},
    signature::Verifier,
    system::{memory, sandbox::Helper},
};

/// How long the tasks may take to end: a pass writes what it is at.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long an ejected agent lives on, so that who asked for it hears the answer.
const ANSWER_LEAVES: Duration = Duration::from_secs(1);
/// Between attempts to open a journal that a full disk keeps closed.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

pub(super) fn run(paths: &Paths) -> anyhow::Result<ExitCode> {
    memory::share_one_heap();
    super::clean_umask();
    let config: Config = load_or_default(&paths.config())?;
    telemetry::init(config.log.format, &config.log.level);
    // One connection and one file at a time keep no second core busy; each thread costs memory.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .context("starting threads")?;
    let tasks = Tasks::new();
    let result = runtime.block_on(serve(paths, config, &tasks));
    if let Err(error) = &result {
        error!(error = format!("{error:#}"), "the agent can't run");
    }
    let ended = runtime.block_on(tasks.finish(STOP_LIMIT));
    runtime.shutdown_timeout(Duration::from_secs(5));
    result?;
    if ended {
        info!("stopped");
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

async fn serve(paths: &Paths, config: Config, tasks: &Tasks) -> anyhow::Result<()> {
    lifecycle::stop_on_signals(tasks).context("installing signal handlers")?;
    let credentials = Credentials::load(&paths.identity()).context(
        "this node has no identity; join a fleet first: lampas-agent enrol --controller HOST:PORT --token-file FILE",
    )?;
    let credentials = Arc::new(credentials);
    let node = credentials.node();
    files::private_dir(&paths.journal()).context("making the journal's directory")?;
    let journal = {
        let dir = paths.journal();
        match open_journal(&dir, tasks).await? {
            Some(journal) => journal,
            None => return Ok(()),
        }
    };
    // Nobody but this process replaces files there: it holds the journal.
    for dir in [paths.data(), paths.identity()] {
        if let Err(error) = files::clear_left_over(&dir) {
            warn!(%error, "what an earlier agent was writing in {} can't be cleared away", dir.display());
        }
    }
    let wrapper = std::env::current_exe().context("finding the agent's own binary")?;
    let helper = Helper { path: wrapper.display().to_string(), args: vec!["sandbox".to_owned()], env: Vec::new() };
    let runs_helper = helper.clone();
    let settings =
        Settings { node, paths: paths.clone(), times: config.reconcile, wrapper, tools: Tools { sandbox: helper } };
    let (handle, reconciler) = {
        let journal = journal.clone();
        tokio::task::spawn_blocking(move || reconcile::open(settings, journal)).await??
    };
    let link = Link::handle(credentials, config.link.controllers, Endpoints::Fresh);
    let (fact_paths, halts) = (paths.clone(), handle.clone());
    let gather = Box::new(move || halts.with_halts(facts::gather(&fact_paths)));
    let outbox = journal.outbox();
    let dialling = Link::new(&link, gather, Arc::new(handle.clone()), Arc::new(outbox.clone()));
    let starter = operation::Starter::new(std::env::current_exe().context("finding the agent's own binary")?, paths);
    let trust = operation::Trust {
        fleet: Trust::load(&paths.identity().join(TRUST_FILE)).ok().flatten().map(|t| t.fleet),
        node,
        verifier: Verifier::new(runs_helper),
        upstream: Arc::new(LinkHandle::clone(&link)),
    };
    let runs = operation::Runs::new(paths.clone(), starter, outbox.clone(), trust);
    handle.set_runs(Arc::clone(&runs));
    tasks.spawn("runs", runs.keep(tasks.stopping()));
    let status = link.status();
    let (ejected, owner) = (handle.clone(), tasks.clone());
    tasks.spawn("ejected", async move { stop_when_ejected(ejected, owner).await });
    let leaving = LinkHandle::clone(&link);
    let service = control::Service {
        handle,
        leave: Box::new(move || {
            let link = leaving.clone();
            Box::pin(async move { link.leave().await })
        }),
        link: Box::new(move || {
            let status = status.borrow();
            (status.connected.clone(), status.last_error.clone())
        }),
        damaged_journal: journal.moved_aside().map(Into::into),
    };
    control::serve(&paths.socket(), service, tasks).await.context("listening on the agent's socket")?;
    let upstream: Arc<dyn Upstream> = Arc::new(LinkHandle::clone(&link));
    let owner = tasks.clone();
    tasks.spawn("reconcile", async move { reconciler.run(upstream, &owner).await });
    tasks.spawn("link", dialling.run(tasks.stopping()));
    tasks.spawn("jobs", super::jobs::collect(paths.clone(), outbox, tasks.clone()));
    info!(node.id = %node, root = %paths.root().display(), "running");
    lifecycle::ready(tasks, "keeping this node");
    tasks.stopping().cancelled().await;
    Ok(())
}

/// Stops the agent once the node is ejected and the answer had time to leave.
async fn stop_when_ejected(handle: reconcile::Handle, tasks: Tasks) {
    let stopping = tasks.stopping();
    // Both arms are cancel-safe: whether it was ejected stays.
    tokio::select! {
        () = handle.ejected() => {}
        () = stopping.cancelled() => return,
    }
    tokio::time::sleep(ANSWER_LEAVES).await;
    info!("this node is ejected; nothing is left to do here");
    tasks.stop();
}

/// Opens the journal; waits for room on a full disk. `None` when the agent is to stop before there is any.
async fn open_journal(dir: &Path, tasks: &Tasks) -> anyhow::Result<Option<Journal>> {
    let stopping = tasks.stopping();
    loop {
        let at = dir.to_owned();
        let error = match tokio::task::spawn_blocking(move || Journal::open(&at)).await? {
            Ok(journal) => return Ok(Some(journal)),
            Err(error @ JournalError::Locked { .. }) => return Err(error.into()),
            Err(error) => error,
        };
        warn!(error = %Chain(&error), retry_in = ?OPEN_AGAIN, "the journal can't be opened; nothing is lost, trying again");
        // Both arms are cancel-safe.
        tokio::select! {
            () = tokio::time::sleep(OPEN_AGAIN) => {}
            () = stopping.cancelled() => return Ok(None),
        }
    }
}
