//! The calls of enrolment tokens.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{EnrolToken, EnrolTokenCreate, EnrolTokenCreated, EnrolTokenQuery, Page};
use lampas_shared::{access::Permission, id::TokenId};

use super::TokenError;
use crate::{
    api::{
        App,
        extract::{Json, Path, Query, limit, param},
        guard::Caller,
        problem::{Answer, Refusal},
        table::{Access, Call, act, get},
    },
    db::{DbError, Tx},
};

const NODES: Access = Access::Needs(Permission::ManageNodes);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/enrolment-tokens", NODES, "Enrolment tokens, newest first", list)
            .query::<EnrolTokenQuery>()
            .gives_page::<EnrolToken>(),
        act("POST", "/api/v1/enrolment-tokens", NODES, "enrolment.create", "Make an enrolment token", create)
            .takes::<EnrolTokenCreate>()
            .answers::<EnrolTokenCreated>(201),
        get("/api/v1/enrolment-tokens/{token}", NODES, "One token, to wait for its node", one).gives::<EnrolToken>(),
        act(
            "DELETE",
            "/api/v1/enrolment-tokens/{token}",
            NODES,
            "enrolment.withdraw",
            "Withdraw an enrolment token",
            withdraw,
        ),
    ]
}

async fn list(State(app): State<App>, Query(query): Query<EnrolTokenQuery>) -> Answer<axum::Json<Page<EnrolToken>>> {
    let limit = limit(query.limit)? as usize;
    let mut items = app
        .db
        .read(|mut tx: Tx| async move {
            let items = super::list(&mut tx).await?;
            Ok::<_, DbError>(tx.done(items))
        })
        .await?;
    let total = Some(items.len() as u64);
    if let Some(after) = &query.after {
        let at = items.iter().position(|t| t.id.to_string() == *after).map_or(0, |i| i + 1);
        items.drain(..at);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(|t| t.id.to_string());
    Ok(axum::Json(Page { items, next, total }))
}

async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<EnrolTokenCreate>,
) -> Answer<impl IntoResponse> {
    let pin = app.enrolments.pin();
    let (by, wanted) = (&caller.as_principal(), &wanted);
    let made = app
        .db
        .write(|mut tx: Tx| async move {
            let made = super::create(&mut tx, wanted, pin, by).await?;
            Ok::<_, TokenError>(tx.done(made))
        })
        .await?;
    let command = format!("lampas-agent enrol --controller {} --token-file -", app.reachable.join(","));
    let created = EnrolTokenCreated { token: made.row, secret: made.text.to_string(), command };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

async fn one(State(app): State<App>, Path(id): Path<String>) -> Answer<axum::Json<EnrolToken>> {
    let id: TokenId = param("enrolment token", &id)?;
    let token = app
        .db
        .read(|mut tx: Tx| async move {
            let token = super::get(&mut tx, id).await?;
            Ok::<_, TokenError>(tx.done(token))
        })
        .await?;
    Ok(axum::Json(token))
}

async fn withdraw(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let id: TokenId = param("enrolment token", &id)?;
    let by = &caller.as_principal();
    app.db
        .write(|mut tx: Tx| async move {
            super::withdraw(&mut tx, id, by).await?;
            Ok::<_, TokenError>(tx.done(()))
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        let text = error.to_string();
        match error {
            TokenError::Store(inner) => Self::internal(&inner),
            TokenError::NotFound(_) => Self::new("not_found", text),
            TokenError::Ttl(_) => Self::field("/ttl_secs", text),
            TokenError::Uses(_) | TokenError::NamedForMany => Self::field("/uses", text),
            TokenError::Network(_) => Self::field("/cidr", text),
            TokenError::TooMany { field, .. } => Self::field(&format!("/{field}"), text),
        }
    }
}
