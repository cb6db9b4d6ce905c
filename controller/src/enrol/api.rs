//! The calls of enrolment tokens.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{EnrolToken, EnrolTokenCreate, EnrolTokenCreated, EnrolTokenQuery, Page};
use lampas_shared::{
    access::Permission,
    id::{TokenId, UserId},
};

use super::{Maker, TokenError};
use crate::{
    api::{
        App,
        extract::{Json, Path, Query, limit, param},
        guard::{Caller, Credential},
        problem::{Answer, Refusal},
        table::{Access, Call, Scoped, act, get},
    },
    db::{DbError, Tx},
};

const NODES: Access = Access::Needs(Permission::ManageNodes);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/enrolment-tokens", NODES, "Enrolment tokens, newest first", list)
            .query::<EnrolTokenQuery>()
            .gives_page::<EnrolToken>()
            .scoped(Scoped::Filtered),
        act("POST", "/api/v1/enrolment-tokens", NODES, "enrolment.create", "Make an enrolment token", create)
            .takes::<EnrolTokenCreate>()
            .answers::<EnrolTokenCreated>(201)
            .scoped(Scoped::Selection),
        get("/api/v1/enrolment-tokens/{token}", NODES, "One token, to wait for its node", one)
            .gives::<EnrolToken>()
            .scoped(Scoped::Filtered),
        act(
            "DELETE",
            "/api/v1/enrolment-tokens/{token}",
            NODES,
            "enrolment.withdraw",
            "Withdraw an enrolment token",
            withdraw,
        )
        .scoped(Scoped::Filtered),
    ]
}

/// Returns whose tokens somebody sees and withdraws: everybody's, or, with rights over a part of the fleet, their own.
fn of(caller: &Caller) -> Answer<Option<UserId>> {
    let identity = caller.identity()?;
    Ok((!identity.rights.is_fleet(Permission::ManageNodes)).then_some(identity.user))
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<EnrolTokenQuery>,
) -> Answer<axum::Json<Page<EnrolToken>>> {
    let limit = limit(query.limit)? as usize;
    let of = of(&caller)?;
    let mut items = app
        .db
        .read(|mut tx: Tx| async move {
            let items = super::list(&mut tx, of).await?;
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
    let identity = caller.identity()?;
    let token = match &identity.by {
        Credential::Token { id, .. } => Some(*id),
        Credential::Session { .. } | Credential::Machine { .. } => None,
    };
    let maker = Some(Maker { user: identity.user, token });
    let made = app
        .db
        .write(|mut tx: Tx| async move {
            let made = super::create(&mut tx, wanted, pin, (by, maker)).await?;
            Ok::<_, TokenError>(tx.done(made))
        })
        .await?;
    let command = format!("lampas-agent enrol --controller {} --token-file -", app.reachable.join(","));
    let created = EnrolTokenCreated { token: made.row, secret: made.text.to_string(), command };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

async fn one(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<axum::Json<EnrolToken>> {
    let id: TokenId = param("enrolment token", &id)?;
    let of = of(&caller)?;
    let token = app
        .db
        .read(|mut tx: Tx| async move {
            let token = super::get(&mut tx, id, of).await?;
            Ok::<_, TokenError>(tx.done(token))
        })
        .await?;
    Ok(axum::Json(token))
}

async fn withdraw(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let id: TokenId = param("enrolment token", &id)?;
    let (by, of) = (&caller.as_principal(), of(&caller)?);
    app.db
        .write(|mut tx: Tx| async move {
            super::withdraw(&mut tx, id, of, by).await?;
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
            TokenError::Outside(_) => Self::new("forbidden", text),
            TokenError::Ttl(_) => Self::field("/ttl_secs", text),
            TokenError::Uses(_) | TokenError::NamedForMany => Self::field("/uses", text),
            TokenError::Network(_) => Self::field("/cidr", text),
            TokenError::TooMany { field, .. } => Self::field(&format!("/{field}"), text),
        }
    }
}
