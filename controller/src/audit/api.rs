//! The calls of the audit.

use std::io;

use axum::{body::Body, extract::State, http::header, response::IntoResponse};
use futures_util::{StreamExt as _, stream};
use lampas_api::{
    AuditEntry, AuditExportQuery, AuditFormat, AuditHead, AuditQuery, AuditRecord, AuditVerification, Page,
};
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
            .gives::<AuditVerification>()
            .long(),
        get("/api/v1/audit/heads", AUDIT, "Heads of the chain that nodes signed, in its order", heads)
            .gives_list::<AuditHead>(),
        get("/api/v1/audit/export", AUDIT, "The whole audit, or a part, for keeping and checking elsewhere", export)
            .query::<AuditExportQuery>()
            .gives_text("application/jsonl")
            .or_text("text/csv")
            .long(),
    ]
}

async fn list(State(app): State<App>, Query(query): Query<AuditQuery>) -> Answer<axum::Json<Page<AuditEntry>>> {
    let limit = limit(query.limit)?;
    let wanted = super::Query {
        before: query.after.as_deref().map(|a| param("audit entry", a)).transpose()?,
        principal: query.principal,
        act: query.act,
        object: query.object,
        text: query.text,
        since: query.since,
        until: query.until,
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

/// How many entries are read and sent at once.
const SLICE: u32 = 500;

/// Streams entries, the oldest first, each slice read by itself: an export of years holds neither memory nor the store.
async fn export(State(app): State<App>, Query(query): Query<AuditExportQuery>) -> Answer<impl IntoResponse> {
    let AuditExportQuery { format, principal, act, object, text, since, until } = query;
    let wanted = super::Query { before: None, principal, act, object, text, since, until };
    let first = slice(&app, &wanted, 0).await?;
    let (media, name, head) = match format {
        AuditFormat::Jsonl => ("application/jsonl", "audit.jsonl", String::new()),
        AuditFormat::Csv => ("text/csv; charset=utf-8", "audit.csv", super::export::csv_head()),
    };
    let state = (app, wanted, Some(first));
    let slices = stream::try_unfold(state, move |(app, wanted, held)| async move {
        let Some(rows) = held else { return Ok(None) };
        let Some(last) = rows.last().map(|r| r.seq) else { return Ok(None) };
        let next = if rows.len() < SLICE as usize {
            None
        } else {
            // An export that breaks off must not look whole: the error ends the stream without its last chunk.
            Some(slice(&app, &wanted, last).await.map_err(|r| io::Error::other(r.detail))?)
        };
        Ok::<_, io::Error>(Some((super::export::lines(&rows, format), (app, wanted, next))))
    });
    let body = Body::from_stream(stream::once(async move { Ok(head) }).chain(slices));
    let disposition = format!("attachment; filename=\"{name}\"");
    Ok(([(header::CONTENT_TYPE, media.to_owned()), (header::CONTENT_DISPOSITION, disposition)], body))
}

async fn slice(app: &App, wanted: &super::Query, after: u64) -> Answer<Vec<AuditRecord>> {
    let rows = app
        .db
        .read(|mut tx: Tx| async move {
            let rows = super::records(&mut tx, wanted, after, SLICE).await?;
            Ok::<_, DbError>(tx.done(rows))
        })
        .await?;
    Ok(rows)
}

async fn heads(State(app): State<App>) -> Answer<axum::Json<Vec<AuditHead>>> {
    let found = app
        .db
        .read(|mut tx: Tx| async move {
            let found = super::head::list(&mut tx).await?;
            Ok::<_, DbError>(tx.done(found))
        })
        .await?;
    Ok(axum::Json(found))
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
