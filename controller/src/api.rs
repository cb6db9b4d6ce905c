//! The HTTP API and the dashboard's assets, over one table of calls.
//!
//! A request passes the frame (id, host, headers, problem bodies), then the guard of its call (who, may they, did they
//! mean it), then the handler, which lives with its feature. Router, guard and OpenAPI document are made from the same
//! `table`.

mod assets;
mod events;
pub(crate) mod extract;
mod frame;
pub mod guard;
mod metrics;
pub mod openapi;
pub mod problem;
pub mod server;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    middleware::from_fn_with_state,
    response::IntoResponse,
};
use lampas_api::ControllerStatus;
use lampas_runtime::Tasks;
use lampas_shared::{access::Permission, id::UserId};
use tokio::sync::Semaphore;
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer};
use tracing::error;

use crate::{
    access::Access as Accounts,
    change::{Changes, Desired},
    config::Config,
    db::Db,
    drift::Drifts,
    enrol::Enrolments,
    link::NodeGate,
};
use problem::Refusal;
use table::{Access, Call, Scoped, get};

/// What every handler can reach. Clones share it.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The services behind the calls.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// The store.
    pub db: Db,
    /// Users, sessions, tokens.
    pub access: Accounts,
    /// The process's tasks.
    pub tasks: Tasks,
    /// The way to the nodes.
    pub gate: Arc<dyn NodeGate>,
    /// What nodes shall be.
    pub desired: Desired,
    /// Changes.
    pub changes: Changes,
    /// Drift.
    pub drifts: Drifts,
    /// Operations.
    pub operations: crate::operation::Operations,
    /// Enrolment.
    pub enrolments: Enrolments,
    /// What seals the values of secrets.
    pub vault: crate::secret::Vault,
    /// Git sources.
    pub(crate) sources: crate::source::Sources,
    /// What fetches things from elsewhere.
    pub egress: crate::egress::Egress,
    /// Mail.
    pub(crate) mail: crate::mail::Mails,
    /// Where agents reach this controller, as `HOST:PORT`.
    pub reachable: Vec<String>,
    hosts: Vec<String>,
    streams: Arc<Semaphore>,
    /// How many of them each user has open.
    streams_of: Mutex<BTreeMap<UserId, usize>>,
    openapi: String,
}

/// What [`App::new`] puts together.
pub struct Services {
    /// The store.
    pub db: Db,
    /// The way to the nodes.
    pub gate: Arc<dyn NodeGate>,
    /// What nodes shall be.
    pub desired: Desired,
    /// Changes.
    pub changes: Changes,
    /// Enrolment.
    pub enrolments: Enrolments,
    /// Where agents reach this controller.
    pub reachable: Vec<String>,
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Puts the services together.
    pub fn new(config: Config, tasks: Tasks, services: Services) -> Self {
        let Services { db, gate, desired, changes, enrolments, reachable } = services;
        let runs_days = config.retention.runs_days;
        let port = reachable.first().and_then(|r| r.rsplit_once(':')?.1.parse().ok()).unwrap_or(config.listen.port());
        let operations =
            crate::operation::Operations::start(&tasks, db.clone(), gate.clone(), desired.clone(), runs_days);
        Self(Arc::new(Parts {
            operations,
            access: Accounts::new(db.clone(), &config).at(&config.dashboard_url(port)),
            vault: crate::secret::Vault::new(&config.data_dir),
            sources: crate::source::Sources::new(changes.clone(), crate::egress::Egress::new(&config.egress), &config),
            egress: crate::egress::Egress::new(&config.egress),
            mail: crate::mail::Mails::new(db.clone(), &config.data_dir, &config.dashboard_url(port)),
            hosts: frame::hosts(&config),
            streams: Arc::new(Semaphore::new(config.limits.event_streams)),
            streams_of: Mutex::default(),
            openapi: openapi::json(),
            config,
            db,
            tasks,
            gate,
            desired,
            drifts: Drifts::new(changes.clone()),
            changes,
            enrolments,
            reachable,
        }))
    }

    /// Makes the whole service: every call of the table, and the dashboard for the rest.
    pub fn router(&self) -> Router {
        let calls = table::router(self, calls())
            .method_not_allowed_fallback(async || Refusal::new("method_not_allowed", "this call knows other methods"))
            .fallback(assets::serve)
            .layer(CompressionLayer::new())
            .layer(CatchPanicLayer::custom(|_| {
                error!("a handler panicked");
                Refusal::new("internal", "the controller's log says more under this request's id").into_response()
            }))
            .layer(DefaultBodyLimit::max(self.config.limits.body_bytes))
            .layer(from_fn_with_state(self.clone(), frame::wrap))
            .with_state(self.clone());
        match self.config.web.path_prefix.as_str() {
            "" => calls,
            prefix => Router::new().nest(prefix, calls.clone()).merge(calls),
        }
    }
}

/// Returns the table: every call that there is.
pub(crate) fn calls() -> Vec<Call> {
    let mut calls = vec![
        get("/healthz", Access::Open, "Whether the process lives", healthz).gives_text("text/plain"),
        get("/readyz", Access::Open, "Whether requests can be served", readyz).gives_text("text/plain"),
        get(
            "/api/v1/controller",
            Access::Needs(Permission::View),
            "How the controller that answers stands",
            controller,
        )
        .gives::<ControllerStatus>(),
        get("/metrics", Access::Needs(Permission::View), "Figures for Prometheus", metrics::serve)
            .gives_text("text/plain"),
        get("/api/v1/openapi.json", Access::Needs(Permission::View), "This document", openapi::serve)
            .gives_text("application/json")
            .scoped(Scoped::Plain),
        get("/api/v1/events", Access::Needs(Permission::View), "Events as they are committed (SSE)", events::serve)
            .query::<lampas_api::EventQuery>()
            .gives_text("text/event-stream")
            .scoped(Scoped::Filtered)
            .long(),
    ];
    calls.extend(crate::setup::api::calls());
    calls.extend(crate::access::api::calls());
    calls.extend(crate::fleet::api::calls());
    calls.extend(crate::host::api::calls());
    calls.extend(crate::secret::api::calls());
    calls.extend(crate::change::api::calls());
    calls.extend(crate::change::approval::api::calls());
    calls.extend(crate::change::freeze::api::calls());
    calls.extend(crate::change::rollout::api::calls());
    calls.extend(crate::change::signing::api::calls());
    calls.extend(crate::enrol::api::calls());
    calls.extend(crate::takeover::api::calls());
    calls.extend(crate::source::api::calls());
    calls.extend(crate::drift::api::calls());
    calls.extend(crate::job::api::calls());
    calls.extend(crate::operation::api::calls());
    calls.extend(crate::event::api::calls());
    calls.extend(crate::past::api::calls());
    calls.extend(crate::audit::api::calls());
    calls.extend(crate::mail::api::calls());
    calls
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn controller(State(app): State<App>) -> problem::Answer<axum::Json<ControllerStatus>> {
    let id = crate::serve::controller_id(&app.config).map_err(|e| Refusal::internal(e.as_ref()))?;
    let keys = crate::vault::sealing::status(&app.db, &app.config.data_dir).await?;
    let name = app.config.reachable_names().swap_remove(0);
    Ok(axum::Json(ControllerStatus { id, name, version: env!("CARGO_PKG_VERSION").to_owned(), keys }))
}

async fn readyz(State(app): State<App>) -> Result<String, Refusal> {
    if app.tasks.is_stopping() {
        return Err(Refusal::new("unavailable", "the controller is stopping"));
    }
    let silent = || Refusal::new("unavailable", "the store does not answer");
    app.db.ping().await.map_err(|_| silent())?;
    // The rest works: whoever balances over controllers goes on, and whoever looks sees it.
    let keys = crate::vault::sealing::status(&app.db, &app.config.data_dir).await.map_err(|_| silent())?;
    let wrong = keys.iter().filter(|k| !k.state.is_good());
    Ok(wrong.fold("ready\n".to_owned(), |text, k| format!("{text}{}: {}\n", k.file, k.state.as_str())))
}
