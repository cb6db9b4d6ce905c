//! The calls of signing in on a machine.

use axum::{extract::State, http::StatusCode};
use lampas_api::{DeviceAsk, DeviceBegin, DeviceBegun, DeviceCode, DeviceRequest, DeviceSession};
use lampas_shared::access::Permission;

use crate::api::{
    App,
    extract::Json,
    guard::Caller,
    problem::Answer,
    table::{Access, Call, Scoped, act, ask},
};

const OWN: Access = Access::Needs(Permission::OwnAccount);

const CHECK: &str = "/api/v1/session/device/check";
const CONFIRM: &str = "/api/v1/session/device/confirmation";
const REFUSE: &str = "/api/v1/session/device/refusal";

/// The rows of the table.
pub(in crate::access) fn calls() -> Vec<Call> {
    let calls = [
        act("POST", "/api/v1/device", Access::Open, "device.begin", "Ask to be signed in on a machine", begin)
            .takes::<DeviceBegin>()
            .answers::<DeviceBegun>(201),
        act("POST", "/api/v1/device/session", Access::Open, "session.open", "Fetch the session once confirmed", fetch)
            .takes::<DeviceAsk>()
            .answers::<DeviceSession>(201),
        ask(CHECK, OWN, "What a machine asks for, by the code that it shows", check)
            .takes::<DeviceCode>()
            .gives::<DeviceRequest>(),
        act("POST", CONFIRM, OWN, "device.confirm", "Confirm that a machine is signed in as oneself", confirm)
            .takes::<DeviceCode>()
            .grave(),
        act("POST", REFUSE, OWN, "device.refuse", "Refuse what a machine asks for", refuse).takes::<DeviceCode>(),
    ];
    calls.into_iter().map(|c| c.scoped(Scoped::Own)).collect()
}

async fn begin(
    State(app): State<App>,
    caller: Caller,
    Json(wanted): Json<DeviceBegin>,
) -> Answer<(StatusCode, axum::Json<DeviceBegun>)> {
    Ok((StatusCode::CREATED, axum::Json(app.access.begin_device(&caller, &wanted).await?)))
}

async fn fetch(
    State(app): State<App>,
    caller: Caller,
    Json(asked): Json<DeviceAsk>,
) -> Answer<(StatusCode, axum::Json<DeviceSession>)> {
    Ok((StatusCode::CREATED, axum::Json(app.access.device_session(&caller, &asked.device_code).await?)))
}

async fn check(
    State(app): State<App>,
    caller: Caller,
    Json(code): Json<DeviceCode>,
) -> Answer<axum::Json<DeviceRequest>> {
    Ok(axum::Json(app.access.device_request(&caller, &code.user_code).await?))
}

async fn confirm(State(app): State<App>, caller: Caller, Json(code): Json<DeviceCode>) -> Answer<StatusCode> {
    app.access.decide_device(&caller, &code.user_code, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn refuse(State(app): State<App>, caller: Caller, Json(code): Json<DeviceCode>) -> Answer<StatusCode> {
    app.access.decide_device(&caller, &code.user_code, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
