//! The check before each call: who calls, whether that one may, and whether a browser really meant it.

use axum::{
    extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use lampas_shared::{
    access::{Login, Permission, Place, Preset, Rights},
    fleet::{RoleName, Scope},
    id::{TokenId, UserId},
    time::UnixMs,
};
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tracing::warn;

use super::{
    App,
    frame::RequestId,
    problem::Refusal,
    table::{Access, Rule, Scoped},
};
use crate::access::secret::{SESSION_PREFIX, equal};

/// Who calls: what handlers and services know of it.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is; absent in open calls without a login.
    pub identity: Option<Identity>,
    /// From where, with trusted proxies taken off.
    pub address: IpAddr,
    /// The program, as it names itself; shortened.
    pub agent: String,
    /// The request's id.
    pub request: String,
    /// Why, as the header `X-Reason` says; empty without it.
    pub reason: String,
}

/// A user, signed in or by a token.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// The user's name.
    pub login: Login,
    /// The user's own preset; of a token the highest, up to its own, that its rights include.
    pub preset: Preset,
    /// What may be done, and where.
    pub rights: Arc<Rights>,
    /// The most that a token of this one can be made for.
    pub level: Preset,
    /// By what.
    pub by: Credential,
}

/// What a caller showed.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A session's cookie.
    Session {
        /// The session.
        id: TokenId,
        /// What `X-CSRF-Token` must be.
        csrf: String,
        /// When it ends at the latest.
        expires_at: UnixMs,
        /// When password and code were last entered in it.
        proven_at: UnixMs,
        /// Whether a second factor must be set up in it before anything else.
        must_enrol: bool,
    },
    /// What `lampasctl` is signed in with on a machine, as somebody confirmed it in the dashboard.
    Machine {
        /// The session.
        id: TokenId,
        /// The machine, as it named itself.
        machine: String,
        /// When it was opened: somebody confirmed that.
        opened_at: UnixMs,
        /// When it ends at the latest.
        expires_at: UnixMs,
        /// When somebody last confirmed that they sit there.
        proven_at: UnixMs,
    },
    /// An API token.
    Token {
        /// The token.
        id: TokenId,
        /// Its name.
        name: String,
        /// Whether grave calls may be made with it.
        is_grave: bool,
    },
}

/// For how long a session stays proven: long enough for a task, short enough for a desk that is left.
pub(crate) const PROVEN_MS: i64 = 10 * 60_000;

impl Caller {
    /// Refuses a grave call, unless its caller was there within the last ten minutes, or holds a token that was made for
    /// such calls.
    pub fn grave(&self, now: UnixMs) -> Result<(), Refusal> {
        match &self.identity()?.by {
            Credential::Session { proven_at, .. } | Credential::Machine { proven_at, .. }
                if now.since(*proven_at) < PROVEN_MS =>
            {
                Ok(())
            }
            Credential::Machine { .. } => {
                Err(Refusal::new("reauthentication.needed", "this is grave: confirm in the dashboard that it is you"))
            }
            Credential::Session { .. } => Err(Refusal::new(
                "reauthentication.needed",
                "this is grave: show once more that it is you, with password and code",
            )),
            Credential::Token { is_grave: true, .. } => Ok(()),
            Credential::Token { name, .. } => Err(Refusal::new(
                "reauthentication.needed",
                format!("this is grave, and the API token {name} was made without the right to it"),
            )),
        }
    }

    /// Returns the session that it speaks by; an API token is none.
    pub(crate) fn session(&self) -> Option<TokenId> {
        match &self.identity.as_ref()?.by {
            Credential::Session { id, .. } | Credential::Machine { id, .. } => Some(*id),
            Credential::Token { .. } => None,
        }
    }

    /// Returns who it is, as the audit writes it.
    pub fn principal(&self) -> String {
        match &self.identity {
            None => "stranger".to_owned(),
            Some(Identity { login, by: Credential::Token { name, .. }, .. }) => format!("token:{name} of {login}"),
            Some(Identity { login, by: Credential::Machine { machine, .. }, .. }) => {
                format!("machine:{machine} of {login}")
            }
            Some(Identity { login, .. }) => format!("user:{login}"),
        }
    }

    /// Returns the user's name, for authorship.
    pub fn login(&self) -> String {
        self.identity.as_ref().map_or_else(|| "stranger".to_owned(), |i| i.login.to_string())
    }

    /// Returns whether it has a permission over the whole fleet.
    pub fn may(&self, permission: Permission) -> bool {
        self.identity.as_ref().is_some_and(|i| i.rights.is_fleet(permission))
    }

    /// Returns whether it has a permission somewhere.
    pub fn may_somewhere(&self, permission: Permission) -> bool {
        self.identity.as_ref().is_some_and(|i| i.rights.is_anywhere(permission))
    }

    /// Returns the identity of a call that needs one.
    pub fn identity(&self) -> Result<&Identity, Refusal> {
        self.identity.as_ref().ok_or_else(|| Refusal::new("unauthenticated", "sign in, or send an API token"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Refusal::new("internal", "the call is not in the table"))
    }
}

/// Checks one call by its rule, runs it within its time, and audits what was refused.
pub(super) async fn check(State((app, rule)): State<(App, Rule)>, request: Request, next: Next) -> Response {
    let mut caller = stranger(&app, &request);
    // A request's body can't be shared between threads; its head can.
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let (mut parts, body) = request.into_parts();
    let named = named(&mut parts, rule.scoped).await;
    let mut request = Request::from_parts(parts, body);
    let outcome = admit(&app, rule, (&method, &headers, named.as_deref()), &mut caller).await;
    let known = caller.identity.is_some();
    let response = match outcome {
        Err(refusal) => refusal.into_response(),
        Ok(()) => {
            request.extensions_mut().insert(caller.clone());
            let limit = if rule.is_long {
                Duration::from_secs(24 * 3600)
            } else {
                Duration::from_secs(app.config.limits.request_secs)
            };
            match tokio::time::timeout(limit, next.run(request)).await {
                Ok(response) => response,
                Err(_) => Refusal::new("timeout", "the call was given up; what it had begun may have been done")
                    .into_response(),
            }
        }
    };
    if let (Some(act), Some(refusal), true) = (rule.act, response.extensions().get::<Refusal>(), known) {
        let result = format!("refused: {}", refusal.code);
        if let Err(e) = app.access.audit_refused(&caller, act, &result).await {
            warn!(error = %lampas_shared::error::Chain(&e), act, "a refused act was not audited");
        }
    }
    response
}

async fn admit(
    app: &App,
    rule: Rule,
    (method, headers, named): (&Method, &HeaderMap, Option<&str>),
    caller: &mut Caller,
) -> Result<(), Refusal> {
    let is_write = rule.act.is_some() || !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    // A browser says where a request came from; a write from another site is never meant.
    if is_write && matches!(headers.get("sec-fetch-site").map(|v| v.as_bytes()), Some(b"cross-site" | b"same-site")) {
        return Err(Refusal::new("csrf", "the request comes from another site"));
    }
    let now = lampas_runtime::clock::now();
    caller.identity = match bearer(headers)? {
        Some(secret) if secret.starts_with(SESSION_PREFIX) => Some(app.access.by_machine(&secret, now).await?),
        Some(secret) => Some(app.access.by_token(&secret, caller.address, now).await?),
        None => match cookie(headers) {
            Some(secret) => app.access.by_session(&secret, now).await?,
            None => None,
        },
    };
    let Access::Needs(permission) = rule.access else { return Ok(()) };
    let identity = caller.identity()?;
    if let (true, Credential::Session { csrf, .. }) = (is_write, &identity.by) {
        let given = headers.get("x-csrf-token").map(|v| v.as_bytes()).unwrap_or_default();
        if !equal(given, csrf.as_bytes()) {
            return Err(Refusal::new("csrf", "send the session's csrf_token as X-CSRF-Token"));
        }
    }
    if matches!(&identity.by, Credential::Session { must_enrol: true, .. }) && !rule.is_for_enrolling {
        let why = "the fleet asks for a second factor: set one up, in the dashboard under your account";
        return Err(Refusal::new("second_factor.required", why));
    }
    within(app, caller, identity, permission, (rule.scoped, named)).await?;
    if rule.is_grave { caller.grave(now) } else { Ok(()) }
}

/// Returns the node or role that a path names, if the rule asks for a right on it.
async fn named(parts: &mut Parts, scoped: Scoped) -> Option<String> {
    let name = match scoped {
        Scoped::Node => "node",
        Scoped::Role => "role",
        _ => return None,
    };
    let params = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// Refuses who lacks the permission where the call needs it, as far as that can be told before it is handled.
async fn within(
    app: &App,
    caller: &Caller,
    identity: &Identity,
    permission: Permission,
    (scoped, named): (Scoped, Option<&str>),
) -> Result<(), Refusal> {
    let rights = &identity.rights;
    if rights.is_fleet(permission) {
        return Ok(());
    }
    let (who, word) = (caller.principal(), permission.as_str());
    if !rights.is_anywhere(permission) {
        let why = match &identity.by {
            Credential::Token { .. } => {
                format!("{who} is without the permission {word}, as it was made or as its owner is")
            }
            Credential::Session { .. } | Credential::Machine { .. } if identity.preset == Preset::None => {
                format!("{who} lacks the permission {word}: no grant includes it")
            }
            Credential::Session { .. } | Credential::Machine { .. } => {
                let need = if Preset::Operator.grants(permission) { "operator" } else { "administrator" };
                format!("{who} is {}, this needs {need}", identity.preset.as_str())
            }
        };
        return Err(Refusal::new("forbidden", why));
    }
    match (scoped, named) {
        (Scoped::Fleet, _) => {
            let why = format!("this needs the permission {word} over the whole fleet; {who} has it in parts of it");
            Err(Refusal::new("forbidden", why))
        }
        (Scoped::Node, Some(which)) => {
            let found = app.db.read(|mut tx| async move {
                let node = crate::fleet::find(&mut tx, which).await?;
                Ok::<_, crate::fleet::FleetError>(tx.done(node))
            });
            let node = found.await.map_err(Refusal::from)?.summary;
            let roles = node.roles.iter().cloned().collect();
            let place = Place { name: &node.name, roles: &roles, labels: &node.labels };
            match () {
                () if rights.on_node(permission, place) => Ok(()),
                // Who may not see it learns no more than of a name that nothing has.
                () if !rights.on_node(Permission::View, place) => Err(Refusal::not_found("node", which)),
                () => Err(Refusal::new("forbidden", format!("{who} lacks the permission {word} on {}", node.name))),
            }
        }
        (Scoped::Role, Some(role)) => {
            let role = RoleName::parse(role).map_err(|_| Refusal::not_found("role", role))?;
            if rights.on_scope(permission, &Scope::Role(role.clone()), &|_| None) {
                return Ok(());
            }
            Err(Refusal::new("forbidden", format!("{who} lacks the permission {word} on the whole role {role}")))
        }
        (Scoped::Node | Scoped::Role, None) => Err(Refusal::new("forbidden", "the call names nothing to look at")),
        (Scoped::Own | Scoped::Plain | Scoped::Objects | Scoped::Selection | Scoped::Filtered, _) => Ok(()),
    }
}

fn stranger(app: &App, request: &Request) -> Caller {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let shorten = |text: &str, max: usize| -> String { text.chars().filter(|c| !c.is_control()).take(max).collect() };
    Caller {
        identity: None,
        address: address(app, request),
        agent: shorten(header("user-agent"), 200),
        request: request.extensions().get::<RequestId>().map(|r| r.0.clone()).unwrap_or_default(),
        reason: shorten(header("x-reason"), 500),
    }
}

/// Returns where a request comes from: the peer, or what trusted proxies say, from the last one back to the first that
/// isn't trusted.
fn address(app: &App, request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
    let mut address = peer.unwrap_or(Ipv6Addr::UNSPECIFIED.into()).to_canonical();
    let forwarded = request.headers().get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|v| v.split(',')).map(str::trim).collect();
    for hop in hops.into_iter().rev() {
        if !app.config.web.trusts(address) {
            break;
        }
        match hop.parse::<IpAddr>() {
            Ok(ip) => address = ip.to_canonical(),
            Err(_) => break,
        }
    }
    address
}

/// The cookie of a session. The prefix makes browsers insist on Secure, Path=/ and no domain (RFC 6265bis).
pub(crate) const COOKIE: &str = "__Host-lampas";

fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut pairs = all.flat_map(|v| v.split(';')).filter_map(|p| p.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned()).filter(|v| !v.is_empty())
}

fn bearer(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(secret.trim().to_owned())),
        _ => Err(Refusal::new("unauthenticated", "Authorization must be: Bearer lpa1-…")),
    }
}
