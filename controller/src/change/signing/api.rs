//! The calls of signatures over root code.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use lampas_api::{Signature, SignatureCreate, SignatureQuery, Signing, SigningQuery};
use lampas_shared::access::Permission;

use crate::api::{
    App,
    extract::{Json, Query},
    guard::Caller,
    problem::{Answer, Refusal},
    table::{Access, Call, act, get},
};

const READ: Access = Access::Needs(Permission::ReadContent);
const VIEW: Access = Access::Needs(Permission::View);
const CHANGE: Access = Access::Needs(Permission::Change);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        // Whole contents: who signs reads what he signs.
        get("/api/v1/signing", READ, "What needs an operator's signature: of a planned change, or of a node", signing)
            .query::<SigningQuery>()
            .gives::<Signing>()
            .long(),
        get("/api/v1/signatures", VIEW, "Signatures over root code, newest first", signatures)
            .query::<SignatureQuery>()
            .gives_list::<Signature>(),
        act("POST", "/api/v1/signatures", CHANGE, "signature.create", "Give a signature over root code", sign)
            .takes::<SignatureCreate>()
            .answers::<Signature>(201)
            .long(),
    ]
}

async fn signing(State(app): State<App>, Query(query): Query<SigningQuery>) -> Answer<axum::Json<Signing>> {
    let found = match (&query.change, &query.node) {
        (Some(change), None) => {
            let row = app.changes.find(change).await?;
            app.changes.signing(row.id).await?
        }
        (None, Some(node)) => {
            let node = crate::fleet::api::node_id(&app, node).await?;
            app.changes.signing_of_node(node).await?
        }
        _ => return Err(Refusal::field("/change", "name a change, or a node")),
    };
    Ok(axum::Json(found))
}

async fn signatures(State(app): State<App>, Query(query): Query<SignatureQuery>) -> Answer<axum::Json<Vec<Signature>>> {
    Ok(axum::Json(app.changes.signatures(query.change.as_deref()).await?))
}

async fn sign(State(app): State<App>, caller: Caller, Json(new): Json<SignatureCreate>) -> Answer<impl IntoResponse> {
    let made = app.changes.sign(&new, &caller.as_principal()).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}
