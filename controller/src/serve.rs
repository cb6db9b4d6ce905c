//! `serve`: puts the parts together in their order, and takes them down in the reverse one.
//!
//! Configuration, store, signer, authorities, link, API, ready. On a stop the listeners refuse newcomers first, then
//! requests and streams end, then the ingest commits what it took, then the store closes.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use lampas_runtime::{Tasks, files, lifecycle, random};
use lampas_shared::{
    error::Chain,
    id::{ControllerId, FleetId},
};
use tracing::{info, warn};

use crate::{
    api::{App, Services, server::Listener},
    background::{self, Keep},
    ca::{Ca, Credentials},
    change::{Changes, Desired, Ingest, Members, rollout, schedule},
    config::Config,
    db::{Db, DbError, Tx, row::Reader},
    enrol::Enrolments,
    link::{Gate, Link, LinkConfig, NodeGate, Parts},
    setup, signer,
};

/// How long the whole process may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);

/// How long the signer may take to come up.
const SIGNER_LIMIT: Duration = Duration::from_secs(30);

/// A controller that runs.
pub struct Running {
    /// The API and the services behind it.
    pub app: App,
    /// Where it listens, TCP and UDP.
    pub address: SocketAddr,
    db: Db,
}

/// Runs the controller until the tasks stop.
///
/// # Errors
/// When a part can't be started; the error says which and why.
pub async fn run(config: Config, tasks: &Tasks) -> anyhow::Result<()> {
    let running = start(config, tasks).await?;
    let address = running.address;
    setup::offer(&running.db, &running.app.config.data_dir, &running.app.config.dashboard_url(address.port())).await?;
    lifecycle::ready(tasks, &format!("serving on {address}"));
    info!(%address, version = env!("CARGO_PKG_VERSION"), "the controller is ready");
    tasks.stopping().cancelled().await;
    tasks.finish(END_LIMIT).await;
    running.db.close().await;
    info!("the controller has stopped");
    Ok(())
}

/// Starts all parts.
///
/// # Errors
/// When a part can't be started.
pub async fn start(config: Config, tasks: &Tasks) -> anyhow::Result<Running> {
    let dir = &config.data_dir;
    files::private_dir(dir).with_context(|| format!("make the data directory {}", dir.display()))?;
    let url = config.database.url(dir).map_err(anyhow::Error::msg)?;
    let db = Db::open(url.reveal(), config.database.max_connections).await?;

    controller_id(&config)?;
    crate::vault::sealing::look(&db, dir).await?;
    if config.signer.socket.is_none() {
        let program = std::env::current_exe().context("find this program")?;
        signer::supervise(tasks, &program, &dir.join("signer"), &signer_socket(&config))?;
    }
    let ca = authorities(&config, &db).await?;
    let credentials = wait_for(&ca).await?;

    // One port number for both: TCP decides it, UDP must be free there too.
    let listener = Listener::bind(config.listen)?;
    let address = listener.address();
    let gate = Gate::new();
    let door: Arc<dyn NodeGate> = Arc::new(gate.clone());
    let desired = Desired::new(db.clone());
    let changes = Changes::new(desired.clone(), Arc::clone(&door));
    let ingest = Ingest::start(db.clone(), tasks);
    let reachable: Vec<String> = config.reachable_names().iter().map(|name| with_port(name, address.port())).collect();
    let enrolments = Enrolments::start(
        tasks,
        desired.clone(),
        ca.signer().clone(),
        Arc::clone(&door),
        &credentials,
        reachable.clone(),
    );
    let controller = controller_id(&config)?;
    let keep = &config.retention;
    let keep = Keep { events_days: keep.events_days, runs_days: keep.runs_days, drift_days: keep.drift_days };
    background::start(db.clone(), controller, keep, tasks).await?;
    let members = Arc::new(
        Members::new(desired.clone(), ingest, controller).with_vault(crate::secret::Vault::new(dir), Arc::clone(&door)),
    );
    let parts = Parts { source: members.clone(), members, admission: Arc::new(enrolments.clone()) };
    let link = LinkConfig {
        listen: address,
        controller,
        controllers: config.names.iter().map(|n| with_port(n, address.port())).collect(),
        reset_key: reset_key(&config)?,
    };
    let link = Link::start(tasks, link, &credentials, gate, parts)?;
    renew_daily(tasks, ca, link, enrolments.clone());

    let services = Services { db: db.clone(), gate: door, desired, changes, enrolments, reachable };
    let app = App::new(config, tasks.clone(), services);
    rollout::driver::start(app.changes.clone(), Arc::new(app.operations.clone()), tasks);
    schedule::driver::start(app.changes.clone(), tasks);
    crate::drift::settle::start(app.changes.clone(), tasks);
    crate::source::start(app.sources.clone(), controller, tasks);
    crate::mail::start(app.clone(), controller, tasks);
    crate::secret::driver::start(db.clone(), app.gate.clone(), tasks);
    listener.serve(&app, tasks)?;
    Ok(Running { app, address, db })
}

/// Returns the authorities of this controller's fleet.
///
/// # Errors
/// When store or data directory can't be read or written.
pub async fn authorities(config: &Config, db: &Db) -> anyhow::Result<Ca> {
    let signer = signer::Signer::at(signer_socket(config));
    Ok(Ca::new(signer, fleet_id(db).await?, controller_id(config)?, &config.data_dir))
}

fn signer_socket(config: &Config) -> PathBuf {
    config.signer.socket.clone().unwrap_or_else(|| config.data_dir.join("signer.sock"))
}

async fn wait_for(ca: &Ca) -> anyhow::Result<Credentials> {
    let end = tokio::time::Instant::now() + SIGNER_LIMIT;
    loop {
        match ca.credentials().await {
            Ok(credentials) => return Ok(credentials),
            Err(error) if tokio::time::Instant::now() >= end => return Err(error).context("wait for the signer"),
            // The signer's process is starting.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Takes up renewed certificates and rotated authorities: each minute, because until a new root is trusted here, nodes that
/// were signed under it are not let in.
fn renew_daily(tasks: &Tasks, ca: Ca, link: Link, enrolments: Enrolments) {
    let stopping = tasks.stopping();
    tasks.spawn("credentials", async move {
        let mut beat = tokio::time::interval(Duration::from_secs(60));
        beat.tick().await;
        loop {
            // Both arms are cancel-safe: a tick that is not taken comes at the next call.
            tokio::select! {
                _ = beat.tick() => {}
                () = stopping.cancelled() => return,
            }
            match ca.credentials().await {
                Ok(credentials) => {
                    enrolments.set_credentials(&credentials);
                    if let Err(error) = link.set_credentials(&credentials) {
                        warn!(error = %Chain(&error), "the link kept its old credentials");
                    }
                }
                Err(error) => warn!(error = %Chain(&error), "the credentials could not be looked at"),
            }
        }
    });
}

/// Returns the fleet's id, which is made with the store.
async fn fleet_id(db: &Db) -> Result<FleetId, DbError> {
    let fresh: FleetId = random::new_id();
    db.write(|mut tx: Tx| async move {
        let row = sqlx::query("SELECT m.value FROM meta m WHERE m.name = 'fleet'").fetch_optional(tx.conn()).await?;
        let id = match row {
            Some(row) => Reader::new("meta", &row).parse("value")?,
            None => {
                let insert = sqlx::query("INSERT INTO meta (name, value) VALUES ('fleet', ?)");
                insert.bind(fresh.to_string()).execute(tx.conn()).await?;
                fresh
            }
        };
        Ok::<_, DbError>(tx.done(id))
    })
    .await
}

/// Returns this controller's id, which is made with its data directory.
pub(crate) fn controller_id(config: &Config) -> anyhow::Result<ControllerId> {
    let dir = config.data_dir.join("identity");
    files::private_dir(&dir)?;
    let file = dir.join("controller-id");
    match std::fs::read_to_string(&file) {
        Ok(text) => ControllerId::parse(text.trim()).with_context(|| format!("read {}", file.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let id: ControllerId = random::new_id();
            files::replace(&file, format!("{id}\n").as_bytes(), 0o600)?;
            Ok(id)
        }
        Err(e) => Err(e).with_context(|| format!("read {}", file.display())),
    }
}

/// Returns the secret by which agents learn at once that this controller was killed, made with its data directory.
fn reset_key(config: &Config) -> anyhow::Result<[u8; 32]> {
    let dir = config.data_dir.join("identity");
    files::private_dir(&dir)?;
    let file = dir.join("reset-key");
    match std::fs::read(&file) {
        Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice())
            .with_context(|| format!("{} has other than 32 bytes; remove it to have it made anew", file.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let key = random::bytes();
            files::replace(&file, &key, 0o600)?;
            Ok(key)
        }
        Err(e) => Err(e).with_context(|| format!("read {}", file.display())),
    }
}

fn with_port(name: &str, port: u16) -> String {
    if name.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
}
