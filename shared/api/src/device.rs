//! Signing in on a machine without a browser: a program asks with a code, a person confirms it in the dashboard (the device
//! authorization grant of RFC 8628, whose words the codes of refusals are).

use lampas_shared::{access::Login, id::TokenId, time::UnixMs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a machine asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DevicePurpose {
    /// To be signed in on it.
    SignIn,
    /// To do something grave, at once: a session of ten minutes that is proven. Only who is signed in on the machine asks so.
    Proof,
}

impl DevicePurpose {
    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Proof => "proof",
        }
    }
}

/// `POST /api/v1/device`: begins.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceBegin {
    /// What it is for.
    pub purpose: DevicePurpose,
    /// The machine, as it names itself, 1 to 64 characters.
    pub machine: String,
    /// How long to be signed in, in seconds, 60 to 7,776,000 (90 days); of a proof ten minutes at most.
    pub ttl_secs: u64,
}

/// The answer: the only time that the device's code is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceBegun {
    /// What the machine asks with whether it was confirmed.
    pub device_code: String,
    /// What the person compares, or types: `BCDF-GHJK`.
    pub user_code: String,
    /// The page that confirms.
    pub url: String,
    /// The same with the code filled in.
    pub url_with_code: String,
    /// When the codes are over.
    pub expires_at: UnixMs,
    /// How long to wait between questions, in seconds.
    pub interval_secs: u64,
}

/// `POST /api/v1/device/session`: whether it was confirmed. Until then it is refused as `authorization_pending`, or as
/// `slow_down` if it comes too early: the interval is five seconds longer from then on. `access_denied` and `expired_token` are
/// the end.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceAsk {
    /// The device's code.
    pub device_code: String,
}

/// The answer once it was confirmed: the only time that the secret is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceSession {
    /// The session's id.
    pub id: TokenId,
    /// The secret, for `Authorization: Bearer …`.
    pub secret: String,
    /// Who is signed in.
    pub login: Login,
    /// When it ends at the latest.
    pub expires_at: UnixMs,
}

/// The body of `POST /api/v1/session/device` and below: the code that the machine shows, in any case, with or without its hyphen.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceCode {
    /// The code.
    pub user_code: String,
}

/// `POST /api/v1/session/device`: what a machine asks for, for the person who is to confirm it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceRequest {
    /// The code, as it is shown on the machine.
    pub user_code: String,
    /// What it is for.
    pub purpose: DevicePurpose,
    /// The machine, as it names itself: anybody can write anything there.
    pub machine: String,
    /// The program, as it names itself.
    pub agent: String,
    /// The address that it asked from.
    pub from: String,
    /// When it asked.
    pub created_at: UnixMs,
    /// When the code is over.
    pub expires_at: UnixMs,
    /// How long it would be signed in.
    pub ttl_secs: u64,
}
