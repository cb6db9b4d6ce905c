//! The calls of the audit.

use axum::extract::State;
use lampas_api::{AuditEntry, AuditQuery, AuditVerification, Page};
use lampas_shared::access::Permission;

use crate::{
    api::{
        App,
        extract::{Query, limit, param},
        problem::Answer,
        table::{Access, Call, get},
    },
    db::{DbError, Tx},
};

const AUDIT: Access = Access::Needs(Permission::ViewAudit);

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/audit", AUDIT, "Acts, newest first", list).query::<AuditQuery>().gives_page::<AuditEntry>(),
        get("/api/v1/audit/verification", AUDIT, "Check the chain from its beginning", verify)
            .gives::<AuditVerification>(),
    ]
}

async fn list(State(app): State<App>, Query(query): Query<AuditQuery>) -> Answer<axum::Json<Page<AuditEntry>>> {
    let limit = limit(query.limit)?;
    let wanted = super::Query {
        before: query.after.as_deref().map(|a| param("audit entry", a)).transpose()?,
        principal: query.principal,
        act: query.act,
    };
    let wanted = &wanted;
    let items = app
        .db
        .read(|mut tx: Tx| async move {
            let items = super::list(&mut tx, wanted, limit).await?;
            Ok::<_, DbError>(tx.done(items))
        })
        .await?;
    let next = (items.len() == limit as usize).then(|| items.last().map(|e| e.seq.to_string())).flatten();
    Ok(axum::Json(Page { items, next, total: None }))
}

async fn verify(State(app): State<App>) -> Answer<axum::Json<AuditVerification>> {
    let found = app
        .db
        .read(|mut tx: Tx| async move {
            let found = super::verify(&mut tx).await?;
            Ok::<_, DbError>(tx.done(found))
        })
        .await?;
    Ok(axum::Json(found))
}
