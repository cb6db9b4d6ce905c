//! Set-up, sign-in, users and API tokens.

use lampas_shared::{
    access::{Actions, Login, Permission, Preset, Subject, UserGroupName},
    fleet::Scope,
    id::{GrantId, TokenId, UserGroupId, UserId},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::KeyAnswer;

/// `GET /api/v1/setup`, open: whether the controller still waits for its first administrator.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SetupState {
    /// Whether there is no administrator yet.
    pub is_open: bool,
    /// The controller's version.
    pub version: String,
    /// The address at which security keys and passkeys work; absent when they can't, since it has no host name.
    pub keys_url: Option<String>,
}

/// `POST /api/v1/setup`, open, with the token of the set-up link: makes the first administrator and signs in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetupRequest {
    /// The token of the set-up link.
    pub token: String,
    /// The administrator's name.
    pub login: Login,
    /// The password, 10 to 256 characters.
    pub password: String,
    /// What the fleet is called, up to 64 characters.
    #[serde(default)]
    pub fleet_name: String,
}

/// `POST /api/v1/session`, open: signs in. Whoever has a second factor is told so (`second_factor.needed`) once the password
/// is right, and sends both again with a code.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {
    /// The user's name.
    pub login: String,
    /// The password.
    pub password: String,
    /// The code that the authenticator shows, or a recovery code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What a security key answered to `POST /api/v1/session/key-request`, instead of a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyAnswer>,
}

/// `POST /api/v1/session/proof`: shows once more who sits there. Grave calls want this within the last ten minutes
/// (`reauthentication.needed`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionProof {
    /// The password; not needed with a security key that asked for a PIN or a finger itself.
    #[serde(default)]
    pub password: String,
    /// The code of the second factor, for who has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What a security key answered to `POST /api/v1/session/proof/key-request`, instead of a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyAnswer>,
}

/// `GET /api/v1/session/second-factor`: one's own second factor.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecondFactor {
    /// Since when an authenticator's code is asked for at sign-in; absent without one.
    pub since: Option<UnixMs>,
    /// How many security keys there are; each is a second factor by itself.
    pub security_keys: u32,
    /// How many recovery codes are left.
    pub recovery_codes_left: u32,
    /// Whether the fleet requires one of this preset.
    pub is_required: bool,
}

/// `POST /api/v1/session/second-factor`: makes the secret of a new second factor, which counts once a code confirmed it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactorBegin {
    /// The password; who has none, or may not use it, shows at the provider that it is them (`reauthentication.needed`).
    #[serde(default)]
    pub password: String,
}

/// The answer: the only time that the secret is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecondFactorSecret {
    /// The secret in base32, to be typed.
    pub secret: String,
    /// The same for a QR code: `otpauth://totp/…` (SHA-1, 6 digits, 30 s).
    pub uri: String,
}

/// `PUT /api/v1/session/second-factor`: proves that the authenticator has the secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactorConfirm {
    /// The code that it shows.
    pub code: String,
}

/// Codes that each serve once instead of the authenticator: the only time that they are shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecoveryCodes {
    /// The codes.
    pub codes: Vec<String>,
}

/// `GET` and `PUT /api/v1/sign-in-rules`: what the fleet asks of everybody at sign-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRules {
    /// Presets whose users need a second factor: who has none sets it up at the next sign-in, before anything else.
    pub second_factor_for: Vec<Preset>,
}

/// `GET /api/v1/session` (401 when not signed in) and the answer to signing in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The user.
    pub user: UserId,
    /// The user's name.
    pub login: Login,
    /// The user's own preset, which holds over the whole fleet.
    pub preset: Preset,
    /// The preset that includes all that may be done somewhere: what a token can be made for at most.
    pub level: Preset,
    /// What may be done somewhere.
    pub permissions: Vec<Permission>,
    /// What may be done where.
    pub rights: Vec<HeldRight>,
    /// The value of the header `X-CSRF-Token` that every writing request with the session's cookie carries.
    pub csrf_token: String,
    /// When the session ends at the latest.
    pub expires_at: UnixMs,
    /// Whether a second factor is asked for at sign-in.
    pub has_second_factor: bool,
    /// Whether it can be the code of an authenticator.
    pub has_authenticator: bool,
    /// Whether it can be a security key.
    pub has_security_key: bool,
    /// Whether a second factor must be set up before anything else is answered.
    pub must_enrol: bool,
    /// What the fleet is called.
    pub fleet_name: String,
    /// The controller's version.
    pub version: String,
}

/// `PUT /api/v1/session/password`: changes one's own password; ends all other sessions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The current password.
    pub current: String,
    /// The new one, 10 to 256 characters.
    pub new: String,
}

/// A user: `GET /api/v1/users`, `GET /api/v1/users/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The user.
    pub id: UserId,
    /// The name to sign in with.
    pub login: Login,
    /// The preset, which holds over the whole fleet.
    pub preset: Preset,
    /// The groups that the user is in.
    pub groups: Vec<UserGroupName>,
    /// How many grants add to the preset, through groups too.
    pub grants: u32,
    /// Whether sign-in is barred.
    pub is_disabled: bool,
    /// When the user was made.
    pub created_at: UnixMs,
    /// The last sign-in.
    pub last_sign_in_at: Option<UnixMs>,
    /// Whether a second factor is asked for at sign-in.
    pub has_second_factor: bool,
    /// How many security keys the user has.
    pub security_keys: u32,
}

/// `POST /api/v1/users`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserCreate {
    /// The name to sign in with.
    pub login: Login,
    /// The preset.
    pub preset: Preset,
    /// The first password, 10 to 256 characters; left out or empty: none, the user signs in with an identity provider.
    #[serde(default)]
    pub password: String,
}

/// `PATCH /api/v1/users/{id}`: what is left out stays. The last administrator can't be removed, disabled or demoted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserUpdate {
    /// The preset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Whether sign-in is barred; barring ends the sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_disabled: Option<bool>,
    /// A new password; ends the sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// An API token: `GET /api/v1/tokens` (one's own; everybody's with `?all=true` and the permission).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiToken {
    /// The token's id; not its secret.
    pub id: TokenId,
    /// What it is for, in the owner's words.
    pub name: String,
    /// The owner.
    pub owner: Login,
    /// At most what this preset grants, and never more than the owner may.
    pub preset: Preset,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it ends.
    pub expires_at: UnixMs,
    /// When it was last used.
    pub last_used_at: Option<UnixMs>,
    /// The network that it may be used from (CIDR); any when absent.
    pub cidr: Option<String>,
    /// Only these permissions; absent: all of the preset.
    pub permissions: Option<Vec<Permission>>,
    /// Only in this scope; absent: wherever the owner may.
    pub scope: Option<Scope>,
    /// Whether grave calls (users, tokens of others) may be made with it, and root code let out.
    pub is_grave: bool,
}

/// `POST /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiTokenCreate {
    /// What it is for, 1 to 64 characters.
    pub name: String,
    /// The bound; at most the owner's preset.
    pub preset: Preset,
    /// Its life in seconds, 60 to 31,536,000 (a year).
    pub ttl_secs: u64,
    /// The network that it may be used from (CIDR).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// Only these permissions, each within the preset; left out: all of the preset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<Permission>>,
    /// Only in this scope; left out: wherever the owner may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Whether grave calls may be made with it, and root code let out; to give this right is grave itself.
    #[serde(default)]
    pub is_grave: bool,
}

/// The answer to making an API token: the only time that the secret is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiTokenCreated {
    /// The token.
    pub token: ApiToken,
    /// The secret, for `Authorization: Bearer …`.
    pub secret: String,
}

/// A row of `GET /api/v1/sessions`: one's own open sessions, with `?all=true` and the permission everybody's;
/// `DELETE /api/v1/sessions/{id}` ends one, `DELETE /api/v1/users/{user}/sessions` all of a user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OpenSession {
    /// The session's id; not its secret.
    pub id: TokenId,
    /// Whose it is.
    pub login: Login,
    /// When it was opened.
    pub created_at: UnixMs,
    /// When it was last used, to the minute.
    pub seen_at: UnixMs,
    /// When it ends at the latest.
    pub expires_at: UnixMs,
    /// From where it was opened.
    pub from: String,
    /// The browser, as it names itself.
    pub agent: String,
    /// The machine that `lampasctl` is signed in on; absent for browsers.
    pub machine: Option<String>,
    /// Whether it is the one that asks.
    pub is_current: bool,
}

/// A group of users: `GET /api/v1/user-groups`. What is granted to it, all its members have.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserGroup {
    /// The group.
    pub id: UserGroupId,
    /// Its name.
    pub name: UserGroupName,
    /// What it is for.
    pub note: String,
    /// Its members, by name.
    pub members: Vec<Login>,
    /// How many grants it has.
    pub grants: u32,
    /// When it was made.
    pub created_at: UnixMs,
}

/// `POST /api/v1/user-groups`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserGroupCreate {
    /// Its name.
    pub name: UserGroupName,
    /// What it is for, up to 200 characters.
    #[serde(default)]
    pub note: String,
    /// Its first members.
    #[serde(default)]
    pub members: Vec<Login>,
}

/// `PATCH /api/v1/user-groups/{group}`: what is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserGroupUpdate {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<UserGroupName>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who joins; who is in it stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Login>,
    /// Who leaves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Login>,
}

/// A grant: `GET /api/v1/grants`. It adds to what its subject may; nothing takes away but its end.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// The grant.
    pub id: GrantId,
    /// Who: `user:eve`, `group:web-team`.
    pub subject: Subject,
    /// What: a preset, or permissions joined with commas.
    pub actions: Actions,
    /// The permissions that these are.
    pub permissions: Vec<Permission>,
    /// Where.
    pub scope: Scope,
    /// How many nodes are in the scope.
    pub nodes: u32,
    /// Why, in its maker's words.
    pub reason: String,
    /// Who made it.
    pub author: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it ends by itself; absent: never.
    pub expires_at: Option<UnixMs>,
}

/// `POST /api/v1/grants`: nobody grants what he hasn't himself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantCreate {
    /// Who: `user:eve`, `group:web-team`.
    pub subject: Subject,
    /// What: `viewer`, `operator`, `administrator`, or permissions joined with commas: `view,run`.
    pub actions: Actions,
    /// Where: `fleet`, `role:app`, `node:web-1`, `label:env=prod`.
    pub scope: Scope,
    /// Its life in seconds, 60 to 315,360,000 (ten years); left out: until somebody takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_secs: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Permissions over what is in all of some scopes, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldRight {
    /// What.
    pub permissions: Vec<Permission>,
    /// Where: in each of these scopes; `fleet` alone is everywhere.
    pub scopes: Vec<Scope>,
    /// Where it comes from: `preset operator`, `grant`, `group web-team`.
    pub via: String,
    /// The grant, if it comes from one.
    pub grant: Option<GrantId>,
}

/// `GET /api/v1/users/{user}/rights`: what a user may, all together.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserRights {
    /// The user's name.
    pub login: Login,
    /// Whether sign-in is barred, and nothing of this counts.
    pub is_disabled: bool,
    /// The rights, which add up.
    pub rights: Vec<HeldRight>,
}

/// `GET /api/v1/users/{user}/may`: whether a user may do something somewhere, and why.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MayAnswer {
    /// Whether the user may, over all of the scope.
    pub may: bool,
    /// The rights that allow it; of who may not, those that allow it elsewhere.
    pub because: Vec<HeldRight>,
    /// The same in a sentence.
    pub text: String,
}
