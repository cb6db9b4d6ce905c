//! The calls of set-up: open, because there is nobody who could sign in.

use axum::{extract::State, response::IntoResponse};
use lampas_api::{Session, SetupRequest, SetupState};

use crate::{
    access::api::signed_in,
    api::{
        App,
        extract::Json,
        guard::Caller,
        problem::Answer,
        table::{Access, Call, act, get},
    },
};

/// The rows of the table.
pub(crate) fn calls() -> Vec<Call> {
    vec![
        get("/api/v1/setup", Access::Open, "Whether the controller waits for its first administrator", state)
            .gives::<SetupState>(),
        act(
            "POST",
            "/api/v1/setup",
            Access::Open,
            "setup.complete",
            "Make the first administrator and sign in",
            complete,
        )
        .takes::<SetupRequest>()
        .answers::<Session>(201),
    ]
}

async fn state(State(app): State<App>) -> Answer<axum::Json<SetupState>> {
    Ok(axum::Json(super::state(&app.db, app.access.keys_url()).await?))
}

async fn complete(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<SetupRequest>,
) -> Answer<impl IntoResponse> {
    let opened = super::complete(&app.db, &app.access, &app.config.data_dir, &caller, &wanted).await?;
    signed_in(&app, opened).await
}
