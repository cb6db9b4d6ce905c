//! The calls of sources.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{ObjectSource, Reason, Source, SourceAccept, SourceCreate, SourceDetail, SourceSync, SourceUpdate};
use lampas_shared::{
    access::Permission,
    error::Chain,
    fleet::Scope,
    id::ObjectId,
    object::ObjectSpec,
    source::{SourceName, SourceState},
    time::UnixMs,
};

use super::{SourceError, service::Owner};
use crate::{
    access::Reach,
    api::{
        App,
        extract::{Json, MaybeJson, Path, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, get},
    },
    change::api::reason,
    host::{api::Eyes, mask},
};

const VIEW: Access = Access::Needs(Permission::View);
const CHANGE: Access = Access::Needs(Permission::Change);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/sources", VIEW, "Git sources, by name", list).gives_list::<Source>().scoped(Scoped::Filtered),
        act("POST", "/api/v1/sources", CHANGE, "source.create", "Set up a git source", create)
            .scoped(Scoped::Selection)
            .takes::<SourceCreate>()
            .answers::<Source>(201)
            .grave(),
        get("/api/v1/sources/{source}", VIEW, "One git source, with what differs from it", one)
            .gives::<SourceDetail>()
            .scoped(Scoped::Filtered),
        act("PATCH", "/api/v1/sources/{source}", CHANGE, "source.update", "Set up a git source anew", update)
            .scoped(Scoped::Selection)
            .takes::<SourceUpdate>()
            .gives::<Source>()
            .grave(),
        act("DELETE", "/api/v1/sources/{source}", CHANGE, "source.remove", "Forget a git source", remove)
            .scoped(Scoped::Selection)
            .may_take::<Reason>(),
        act("POST", "/api/v1/sources/{source}/sync", CHANGE, "source.sync", "Look at a git source now", sync)
            .scoped(Scoped::Selection)
            .may_take::<SourceSync>()
            .gives::<Source>(),
        act(
            "POST",
            "/api/v1/sources/{source}/accept",
            CHANGE,
            "source.accept",
            "Take a head whose history was rewritten",
            accept,
        )
        .scoped(Scoped::Selection)
        .takes::<SourceAccept>()
        .gives::<Source>()
        .grave(),
        get("/api/v1/objects/{object}/sources", VIEW, "Which git sources an object comes from", of_object)
            .gives_list::<ObjectSource>()
            .scoped(Scoped::Filtered),
    ]
}

fn owner(caller: &Caller) -> Answer<Owner> {
    let identity = caller.identity()?;
    Ok(Owner { by: caller.as_principal(), user: identity.user, login: identity.login.to_string() })
}

async fn list(State(app): State<App>, caller: Caller) -> Answer<axum::Json<Vec<Source>>> {
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let mut found = app.sources.list().await?;
    found.retain(|s| reach.has_scope(&s.scope));
    Ok(axum::Json(found))
}

/// Returns the sources that could not be fetched, verified or applied: the name, why, and since when.
pub(crate) async fn in_trouble(app: &App, reach: &Reach) -> Answer<Vec<(SourceName, String, Option<UnixMs>)>> {
    let mut found = app.sources.list().await?;
    found.retain(|s| reach.has_scope(&s.scope) && matches!(s.state, SourceState::Failed | SourceState::Rewritten));
    let why = |s: Source| match s.problem {
        Some(problem) => (s.name, problem.text, Some(problem.at)),
        None => (s.name, s.why, s.synced_at),
    };
    Ok(found.into_iter().map(why).collect())
}

/// Returns the sources that the fleet differs from: each with its name, how many objects differ, and since when that is
/// known.
pub(crate) async fn differing(app: &App, reach: &Reach) -> Answer<Vec<(SourceName, u32, Option<UnixMs>)>> {
    let mut found = app.sources.list().await?;
    let is_told = |s: &Source| !matches!(s.state, SourceState::Failed | SourceState::Rewritten);
    // What waits as a change of the source is told by its change.
    found.retain(|s| reach.has_scope(&s.scope) && s.change.is_none() && is_told(s) && s.counts.different() > 0);
    Ok(found.into_iter().map(|s| (s.name, s.counts.different(), s.synced_at)).collect())
}

/// Refuses what the caller can't see as if it weren't there.
async fn seen(app: &App, caller: &Caller, which: &str) -> Answer<()> {
    let reach = Reach::of(app, caller, Permission::View).await?;
    let found = app.sources.list().await?;
    let is_seen = |s: &&Source| s.name.as_str() == which || s.id.to_string() == which;
    match found.iter().find(is_seen) {
        Some(source) if reach.has_scope(&source.scope) => Ok(()),
        _ => Err(SourceError::NotFound(which.chars().take(80).collect()).into()),
    }
}

async fn one(State(app): State<App>, caller: Caller, Path(which): Path<String>) -> Answer<axum::Json<SourceDetail>> {
    seen(&app, &caller, &which).await?;
    let eyes = Eyes::of(&app, &caller).await?;
    let view = app.desired.view().await?;
    let sees = |scope: &Scope| eyes.sees.has_scope(scope);
    let veil = |spec: &mut ObjectSpec| {
        if !eyes.may_read(spec) {
            mask::mask(spec, true);
        }
    };
    let mut detail = app.sources.show(&which, &view, &sees, &veil).await?;
    if !eyes.sees.is_all() {
        let problem = &mut detail.source.problem;
        // What is wrong may name what lies elsewhere.
        if let Some(problem) = problem.as_mut().filter(|_| !eyes.sees.has_scope(&detail.source.scope)) {
            problem.mistakes.clear();
        }
    }
    Ok(axum::Json(detail))
}

async fn create(State(app): State<App>, caller: Caller, Json(wanted): Json<SourceCreate>) -> Answer<impl IntoResponse> {
    reason(&wanted.reason)?;
    let made = app.sources.create(wanted, &owner(&caller)?).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(wanted): Json<SourceUpdate>,
) -> Answer<axum::Json<Source>> {
    seen(&app, &caller, &which).await?;
    reason(&wanted.reason)?;
    Ok(axum::Json(app.sources.update(&which, wanted, &owner(&caller)?).await?))
}

async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    MaybeJson(given): MaybeJson<Reason>,
) -> Answer<StatusCode> {
    seen(&app, &caller, &which).await?;
    app.sources.remove(&which, &reason(&given.reason)?, &caller.as_principal()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn sync(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    MaybeJson(given): MaybeJson<SourceSync>,
) -> Answer<axum::Json<Source>> {
    seen(&app, &caller, &which).await?;
    let why = reason(&given.reason)?;
    Ok(axum::Json(app.sources.sync(&which, given.all, &why, &caller.as_principal()).await?))
}

async fn accept(
    State(app): State<App>,
    caller: Caller,
    Path(which): Path<String>,
    Json(wanted): Json<SourceAccept>,
) -> Answer<axum::Json<Source>> {
    seen(&app, &caller, &which).await?;
    let why = reason(&wanted.reason)?;
    Ok(axum::Json(app.sources.accept(&which, &wanted.commit, &why, &caller.as_principal()).await?))
}

async fn of_object(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<Vec<ObjectSource>>> {
    let id: ObjectId = param("object", &id)?;
    let reach = Reach::of(&app, &caller, Permission::View).await?;
    let view = app.desired.view().await?;
    let stored = view.all.objects.get(&id).filter(|o| reach.has_scope(&o.spec.scope));
    let stored = stored.ok_or_else(|| Refusal::not_found("object", id))?;
    Ok(axum::Json(app.sources.of_object(&stored.spec.key(), &view).await?))
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        let text = Chain(&error).to_string();
        match error {
            SourceError::Store(inner) => Self::internal(&inner),
            SourceError::Vault(inner) => Self::internal(&inner),
            SourceError::Change(inner) => inner.into(),
            SourceError::NotFound(_) => Self::new("not_found", text),
            SourceError::Exists(_) => {
                Self { status: StatusCode::CONFLICT, code: "exists".into(), ..Self::field("/name", text) }
            }
            SourceError::Field { pointer, wrong } => Self::text(pointer, &wrong),
            SourceError::Unfit(_) => Self::new("conflict", text),
            SourceError::Outside(_) => Self::new("forbidden", text),
        }
    }
}
