//! Security keys and passkeys (WebAuthn): registering them, and answering with them. Bytes are base64url without padding,
//! as the browser's own JSON form of WebAuthn has them.

use lampas_shared::{id::SecurityKeyId, time::UnixMs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/session/security-keys`, and `GET /api/v1/users/{user}/security-keys` of another user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecurityKeys {
    /// The keys, the oldest first.
    pub items: Vec<SecurityKey>,
    /// The address of the dashboard, the only one at which keys work: browsers bind them to its host name.
    pub url: String,
    /// Why no key can be used with this controller, and what to do; absent when they can.
    pub unavailable: Option<String>,
}

/// A security key: a token, a phone or a computer that keeps the secret half of a key pair.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecurityKey {
    /// The key.
    pub id: SecurityKeyId,
    /// What its owner calls it.
    pub name: String,
    /// When it was registered.
    pub created_at: UnixMs,
    /// When it was last used.
    pub last_used_at: Option<UnixMs>,
    /// Whether it is a passkey: it knows the account by itself and asks for a PIN or a finger, so that no password is
    /// needed with it.
    pub is_passkey: bool,
    /// When it answered with a counter that had gone back, as a copy of it would; that answer was refused.
    pub suspect_since: Option<UnixMs>,
    /// The host name that it was registered for, if that is no longer the dashboard's: it does not work.
    pub made_for: Option<String>,
}

/// A key that may answer, or that is registered already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyRef {
    /// The credential's id.
    pub id: String,
    /// How browsers reach it: `usb`, `nfc`, `ble`, `hybrid`, `internal`.
    pub transports: Vec<String>,
}

/// What `navigator.credentials.create()` is asked for: the answer to `POST /api/v1/session/security-keys/creation`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyCreation {
    /// The challenge; it serves once, in this session, for five minutes.
    pub challenge: String,
    /// The host name that the key is bound to.
    pub rp_id: String,
    /// What is called so in the browser's dialog.
    pub rp_name: String,
    /// The user's handle, which tells nothing.
    pub user_handle: String,
    /// The user's name.
    pub user_name: String,
    /// The algorithms that are understood (IANA COSE), the preferred one first.
    pub algorithms: Vec<i32>,
    /// The keys that are registered already.
    pub exclude: Vec<KeyRef>,
    /// How long the browser waits.
    pub timeout_ms: u32,
}

/// `POST /api/v1/session/security-keys`: registers what `navigator.credentials.create()` made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecurityKeyAdd {
    /// What to call it, 1 to 64 characters.
    pub name: String,
    /// `response.clientDataJSON`.
    pub client_data: String,
    /// `response.attestationObject`.
    pub attestation: String,
    /// `response.getTransports()`.
    #[serde(default)]
    pub transports: Vec<String>,
    /// `getClientExtensionResults().credProps.rk`: whether it knows the account by itself.
    #[serde(default)]
    pub is_discoverable: bool,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecurityKeyAdded {
    /// The key.
    pub key: SecurityKey,
    /// Of a first second factor the recovery codes: the only time that they are shown. Empty otherwise.
    pub recovery_codes: Vec<String>,
}

/// `POST /api/v1/session/key-request`, open: what a sign-in with a key has to answer. With name and password for the key as
/// a second factor; without both for a passkey.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySignIn {
    /// The user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// What `navigator.credentials.get()` is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyRequest {
    /// The challenge; it serves once, for this user or session, for five minutes.
    pub challenge: String,
    /// The host name that the key is bound to.
    pub rp_id: String,
    /// The keys that may answer; empty: any passkey.
    pub allow: Vec<KeyRef>,
    /// Whether the key itself must ask for a PIN or a finger.
    pub must_verify: bool,
    /// How long the browser waits.
    pub timeout_ms: u32,
}

/// What `navigator.credentials.get()` answered. `POST /api/v1/session/passkey` takes it alone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAnswer {
    /// The credential's id.
    pub id: String,
    /// `response.clientDataJSON`.
    pub client_data: String,
    /// `response.authenticatorData`.
    pub authenticator_data: String,
    /// `response.signature`.
    pub signature: String,
    /// `response.userHandle`, which passkeys answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_handle: Option<String>,
}

/// `PATCH /api/v1/session/security-keys/{key}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecurityKeyUpdate {
    /// What to call it, 1 to 64 characters.
    pub name: String,
}
