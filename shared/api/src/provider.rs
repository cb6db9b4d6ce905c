//! Identity providers (OpenID Connect), signing in with them, and the identities that users have there.

use lampas_shared::{
    access::{GroupMapping, Login, Preset, ProviderName},
    id::{IdentityId, ProviderId},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{KeyAnswer, Session};

/// An identity provider: `GET /api/v1/providers`, `GET /api/v1/providers/{provider}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Provider {
    /// The provider.
    pub id: ProviderId,
    /// Its name.
    pub name: ProviderName,
    /// What it is and does.
    pub spec: ProviderSpec,
    /// Whether there is a client secret; it is shown to nobody.
    pub has_client_secret: bool,
    /// How many users have an identity there.
    pub identities: u32,
    /// The redirect URI to register with the provider, exactly as it stands.
    pub redirect_uri: String,
    /// The back-channel logout URI to register with the provider: it ends there what it opened here.
    pub logout_uri: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it was last changed.
    pub updated_at: UnixMs,
}

/// What an administrator says of an identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderSpec {
    /// What the button of the sign-in page says; empty: the name.
    #[serde(default)]
    pub title: String,
    /// The issuer, as its discovery document names it: `https://id.example.com/realms/main`.
    pub issuer: String,
    /// The client id that the provider knows this controller by.
    pub client_id: String,
    /// The scopes that are asked for; `openid` always is.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The claim that accounts made at the first sign-in are named by.
    #[serde(default = "user_claim")]
    pub user_claim: String,
    /// The claim that lists the user's groups; empty: none does.
    #[serde(default)]
    pub groups_claim: String,
    /// What those groups mean here.
    #[serde(default)]
    pub mappings: Vec<GroupMapping>,
    /// Whether whoever signs in there gets an account; otherwise only who was invited or has linked one.
    #[serde(default)]
    pub makes_accounts: bool,
    /// The preset of such accounts where no mapping gives one.
    #[serde(default = "no_preset")]
    pub default_preset: Preset,
    /// Values of `acr` or `amr` that stand for a second factor at the provider: who comes with one is not asked for the
    /// second factor here. Empty: everybody who has one is asked.
    #[serde(default)]
    pub second_factor_values: Vec<String>,
    /// Whether users with an identity there may sign in by password too.
    #[serde(default = "yes")]
    pub allows_password: bool,
    /// Whether it is offered; sign-in with one that isn't is refused.
    #[serde(default = "yes")]
    pub is_enabled: bool,
}

fn user_claim() -> String {
    "preferred_username".to_owned()
}

fn no_preset() -> Preset {
    Preset::None
}

fn yes() -> bool {
    true
}

/// `PUT /api/v1/providers/{provider}`: makes an identity provider, or puts all of this in the place of what it was.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderPut {
    /// What it shall be.
    pub spec: ProviderSpec,
    /// Another client secret, which is stored sealed; left out: it stays; empty: it is taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

/// `POST /api/v1/providers/{provider}/check`: what the provider says of itself, fetched anew.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProviderCheck {
    /// Whether people can sign in, as far as that shows without one.
    pub is_good: bool,
    /// What was found, and what is wrong.
    pub findings: Vec<String>,
}

/// `GET /api/v1/sign-in-options`, open: with what one can sign in besides a password.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct SignInOptions {
    /// The providers, by title.
    pub providers: Vec<SignInProvider>,
}

/// A button of the sign-in page.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignInProvider {
    /// The provider's name.
    pub name: ProviderName,
    /// What the button says.
    pub title: String,
}

/// `POST /api/v1/session/provider`, open: begins to sign in with a provider. The answer sets a cookie that the rest of it
/// is bound to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderSignIn {
    /// The provider's name.
    pub provider: String,
    /// The secret of an invitation, for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<String>,
}

/// `POST /api/v1/session/proof/provider` and `POST /api/v1/session/identities`: begins to show at a provider who sits there,
/// and to link an identity of one's own.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderBegin {
    /// The provider's name.
    pub provider: String,
}

/// Where the browser goes next.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProviderRedirect {
    /// The provider's page.
    pub url: String,
}

/// `PUT /api/v1/session/provider`, open, with the cookie: ends what was begun, with what the provider's redirect brought;
/// then, if a second factor is asked for (`second_factor.needed`), once more with that alone.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderReturn {
    /// `state` of the redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `code` of the redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `iss` of the redirect (RFC 9207), if it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// `error` of the redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The code that the authenticator shows, or a recovery code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<String>,
    /// What a security key answered, instead of a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyAnswer>,
}

/// What was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderPurpose {
    /// A session was opened.
    SignIn,
    /// The session's owner showed who sits there.
    Proof,
    /// An identity was linked to the session's owner.
    Link,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProviderDone {
    /// What was ended.
    pub purpose: ProviderPurpose,
    /// The session as it is.
    pub session: Session,
}

/// A user's identity at a provider.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// The identity, or the invitation for one.
    pub id: IdentityId,
    /// The provider's name.
    pub provider: ProviderName,
    /// What the provider knows the user by (`sub`); absent while the invitation is open.
    pub subject: Option<String>,
    /// What the provider called the user last; to be read, nothing is decided by it.
    pub shown: String,
    /// Until when the invitation can be taken up.
    pub invited_until: Option<UnixMs>,
    /// Whether the provider made the account, and its mappings give the preset.
    pub is_maker: bool,
    /// When it was linked, or invited.
    pub created_at: UnixMs,
    /// The last sign-in with it.
    pub last_used_at: Option<UnixMs>,
}

/// `GET /api/v1/session/identities` and `GET /api/v1/users/{user}/identities`: with what somebody signs in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Identities {
    /// The user's name.
    pub login: Login,
    /// Whether there is a password.
    pub has_password: bool,
    /// Whether it may be used to sign in.
    pub may_use_password: bool,
    /// Identities and open invitations, the oldest first.
    pub identities: Vec<Identity>,
}

/// `POST /api/v1/users/{user}/identities`: links an identity to a user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityLink {
    /// The provider's name.
    pub provider: String,
    /// What the provider knows the user by (`sub`).
    pub subject: String,
}

/// `POST /api/v1/users/{user}/invitations`: lets a user link an identity at the first sign-in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationCreate {
    /// The provider's name.
    pub provider: String,
    /// Its life in seconds, 60 to 2,592,000 (30 days).
    #[serde(default = "week")]
    pub ttl_secs: u64,
}

fn week() -> u64 {
    7 * 86_400
}

/// The answer: the only time that the link is shown. Whoever opens it becomes that user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InvitationCreated {
    /// The invitation.
    pub id: IdentityId,
    /// The link to give to the user.
    pub link: String,
    /// Until when it can be taken up.
    pub expires_at: UnixMs,
}

/// `GET /api/v1/providers`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProviderQuery {
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(nullable = false)]
    pub after: Option<String>,
    /// How many rows: 1 to 500, 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(nullable = false)]
    pub limit: Option<u32>,
}
