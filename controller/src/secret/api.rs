//! The calls of secrets: a new value, and who uses a variable or a secret.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{Change, Draft, DraftAct, SecretPurge, SecretPurged, SecretSet, SecretValue, ValueUse};
use lampas_runtime::random;
use lampas_shared::{
    access::Permission,
    error::Chain,
    id::{ObjectId, SecretValueId},
    object::{Body, DriftPolicy, Kind, ObjectKey, ObjectSpec},
    secret::Secret,
};
use tracing::error;

use crate::{
    api::{
        App,
        extract::{Json, Path, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, get},
    },
    change::{Apply, NewChange, NewValue, api as change},
    host::api::{Eyes, node_ref, summary},
};

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    const WRITE: Access = Access::Needs(Permission::WriteSecret);
    vec![
        act("POST", "/api/v1/secrets", WRITE, "secret.set", "Give a secret a new value; the answer is its change", set)
            .scoped(Scoped::Objects)
            .takes::<SecretSet>()
            .answers::<Change>(201),
        get(
            "/api/v1/objects/{object}/uses",
            Access::Needs(Permission::View),
            "Which objects use a variable or a secret, and where",
            uses,
        )
        .scoped(Scoped::Filtered)
        .gives_list::<ValueUse>(),
        get(
            "/api/v1/objects/{object}/values",
            Access::Needs(Permission::View),
            "The values that a secret had, and what still needs each; never a value",
            values,
        )
        .scoped(Scoped::Filtered)
        .gives_list::<SecretValue>(),
        act(
            "POST",
            "/api/v1/objects/{object}/purge",
            WRITE,
            "secret.purge",
            "Destroy earlier values of a secret",
            purge,
        )
        .scoped(Scoped::Objects)
        .takes::<SecretPurge>()
        .gives::<SecretPurged>(),
    ]
}

async fn set(State(app): State<App>, caller: Caller, Json(wanted): Json<SecretSet>) -> Answer<impl IntoResponse> {
    let reason = change::reason(&wanted.reason)?;
    let by = caller.as_principal();
    // A second key would make two kinds of values, of which each controller opens one.
    if let Err(error) = app.vault.settle(&app.db).await {
        error!(error = %Chain(&error), "the value of a secret is not taken");
        return Err(Refusal::new("secret.vault", Chain(&error).to_string()));
    }
    let id: SecretValueId = random::new_id();
    let (vault, value) = (app.vault.clone(), wanted.value);
    let sealed = tokio::task::spawn_blocking(move || vault.seal(id, value.reveal())).await;
    let sealed = match sealed {
        Ok(Ok(sealed)) => sealed,
        Ok(Err(error)) => {
            error!(error = %Chain(&error), "the value of a secret could not be sealed");
            return Err(Refusal::new("internal", "the value can't be sealed; the controller's log says why"));
        }
        Err(_) => return Err(Refusal::new("internal", "the value can't be sealed")),
    };
    let key = ObjectKey { kind: Kind::Secret, scope: wanted.scope.clone(), name: wanted.name.clone() };
    let view = app.desired.view().await?;
    let standing = view.all.objects.values().find(|o| o.spec.key() == key);
    let description = wanted.description.unwrap_or_else(|| match standing.map(|s| &s.spec.body) {
        Some(Body::Secret(secret)) => secret.description.clone(),
        _ => String::new(),
    });
    let spec = ObjectSpec {
        name: wanted.name,
        scope: wanted.scope,
        drift: standing.map_or_else(DriftPolicy::default, |s| s.spec.drift),
        body: Body::Secret(Secret { description, value: Some(id) }),
    };
    let draft = Draft { act: DraftAct::Put(spec), base: wanted.base, previous_name: None };
    let (values, only_look) = (vec![NewValue { id, sealed }], wanted.only_look && !wanted.apply);
    let new = NewChange { drafts: vec![draft], reason, values, only_look, ..NewChange::default() };
    let row = if wanted.apply {
        let how = Apply { allow_unplanned: wanted.allow_unplanned, rollout: wanted.rollout, ..Apply::default() };
        app.changes.save(&new, &how, &by).await?
    } else {
        change::planned(&app, app.changes.create(&new, &by).await?, &by).await?
    };
    Ok((StatusCode::CREATED, axum::Json(change::shown(&app, &caller, &row).await?)))
}

async fn values(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<Vec<SecretValue>>> {
    let id: ObjectId = param("object", &id)?;
    let eyes = Eyes::of(&app, &caller).await?;
    let view = app.desired.view().await?;
    if !view.all.objects.get(&id).is_some_and(|o| eyes.sees.has_scope(&o.spec.scope)) {
        return Err(Refusal::not_found("object", id));
    }
    match super::purge::values(&app.db, &view, id, &|node| eyes.sees.has_node(node)).await {
        // Another kind of object has none.
        Err(super::purge::PurgeError::NotFound(_)) => Ok(axum::Json(Vec::new())),
        found => Ok(axum::Json(found?)),
    }
}

async fn purge(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(wanted): Json<SecretPurge>,
) -> Answer<axum::Json<SecretPurged>> {
    let id: ObjectId = param("object", &id)?;
    let wanted = SecretPurge { reason: change::reason(&wanted.reason)?, ..wanted };
    let view = app.desired.view().await?;
    Ok(axum::Json(super::purge::purge(&app.db, &view, id, &wanted, &caller.as_principal()).await?))
}

impl From<super::purge::PurgeError> for Refusal {
    fn from(error: super::purge::PurgeError) -> Self {
        use super::purge::PurgeError as E;
        let text = Chain(&error).to_string();
        match error {
            E::Store(inner) => Self::internal(&inner),
            E::NotFound(id) => Self::not_found("secret", id),
            E::Outside(_) => Self::new("forbidden", text),
            E::Used(_) => Self::new("secret.used", text),
            E::Moved => Self::new("secret.moved", text),
        }
    }
}

async fn uses(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<axum::Json<Vec<ValueUse>>> {
    let id: ObjectId = param("object", &id)?;
    let eyes = Eyes::of(&app, &caller).await?;
    let view = app.desired.view().await?;
    let is_seen = |o: &ObjectId| view.all.objects.get(o).is_some_and(|o| eyes.sees.has_scope(&o.spec.scope));
    if !is_seen(&id) {
        return Err(Refusal::not_found("object", id));
    }
    let mut found = Vec::new();
    for (user, nodes) in view.compiled.users(id) {
        let Some(stored) = view.all.objects.get(&user).filter(|o| eyes.sees.has_scope(&o.spec.scope)) else { continue };
        let mut nodes: Vec<_> =
            nodes.into_iter().filter(|n| eyes.sees.has_node(*n)).map(|n| node_ref(&view, n)).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        found.push(ValueUse { user: summary(&view, stored, &eyes), nodes });
    }
    found.sort_by(|a, b| (a.user.kind, &a.user.name, &a.user.scope).cmp(&(b.user.kind, &b.user.name, &b.user.scope)));
    Ok(axum::Json(found))
}
