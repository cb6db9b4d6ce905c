//! One way to a provider and back: begun with a cookie, ended with what the redirect brought.
//!
//! The cookie holds all of it, sealed: nothing of what strangers begin is stored here, and it serves the browser that
//! began alone. It is worth nothing after ten minutes.

use lampas_api::{FieldProblem, KeyRequest, ProviderPurpose, ProviderRedirect, ProviderReturn};
use lampas_runtime::clock;
use lampas_shared::{
    deceptive_char,
    event::EventKind,
    id::{IdentityId, ProviderId, TokenId, UserId},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use tracing::info;
use url::Url;

use super::{
    ProviderError,
    client::{self, Exchange, Metadata},
    identity::Found,
    provider::unknown,
    store::ProviderRow,
    token::{self, Claims, Expected, TokenError},
};
use crate::{
    access::{
        Access, Opened,
        factor::{self, Given, Second},
        secret,
        session::Origin,
        store::UserRow,
        webauthn::KeyGiven,
    },
    api::{
        guard::Caller,
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
};

/// How long somebody may take at the provider's page, and then for the second factor.
pub(super) const FLOW_MS: i64 = 600_000;

/// The longest cookie's value; browsers take 4,096 bytes with name and attributes (RFC 6265, section 6.1).
const MOST_COOKIE: usize = 3900;

/// What the cookie holds.
#[derive(Debug, Serialize, Deserialize)]
struct Flow {
    provider: ProviderId,
    purpose: ProviderPurpose,
    state: String,
    nonce: String,
    verifier: String,
    begun: UnixMs,
    /// The session that proves or links.
    session: Option<TokenId>,
    /// The hash of an invitation's secret.
    invitation: Option<String>,
    /// Who came back, when only the second factor is missing.
    verified: Option<Verified>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Verified {
    identity: IdentityId,
    user: UserId,
    shown: String,
    groups: Vec<String>,
    /// What the provider calls its own session.
    #[serde(default)]
    sid: Option<String>,
    at: UnixMs,
}

/// What begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begin<'a> {
    pub(super) provider: &'a str,
    pub(super) purpose: ProviderPurpose,
    pub(super) session: Option<TokenId>,
    pub(super) invitation: Option<&'a str>,
}

/// How it ended.
pub(super) enum Ended {
    /// With what was meant; a sign-in with a session.
    Done(ProviderPurpose, Option<Box<Opened>>),
    /// Not yet: the second factor is missing or wrong. The cookie goes on.
    Again(String, Refusal),
}

/// What comes back of a user.
struct Returned {
    claims: Claims,
    subject: String,
    shown: String,
    groups: Vec<String>,
    /// Whether the provider vouches for a second factor.
    has_second: bool,
}

/// What attempts with providers are counted under, by address; no user can be called so.
fn counted_as(caller: &Caller) -> String {
    format!("provider from {}", caller.address)
}

impl Access {
    /// Begins: returns where the browser goes, and the cookie's value.
    pub(super) async fn begin_with_provider(
        &self,
        caller: &Caller,
        wanted: Begin<'_>,
    ) -> Answer<(ProviderRedirect, String)> {
        self.attempt(caller, &counted_as(caller))?;
        let row = self.find_provider(wanted.provider).await?.filter(|r| r.spec.is_enabled);
        let row = row.ok_or_else(|| unknown(wanted.provider))?;
        // What is begun at one controller may end at another.
        self.oidc.flows.settle(&self.db).await.map_err(|e| Refusal::new("provider.vault", e.to_string()))?;
        let metadata = self.oidc.directory.metadata(&self.oidc.egress, &row.spec.issuer).await?;
        let flow = Flow {
            provider: row.id,
            purpose: wanted.purpose,
            state: secret::make(),
            nonce: secret::make(),
            verifier: secret::make(),
            begun: clock::now(),
            session: wanted.session,
            invitation: wanted.invitation.map(secret::hash),
            verified: None,
        };
        let url = self.authorization_url(&row, &metadata, &flow)?;
        let cookie = self.sealed(&flow)?;
        // What only leads to the provider was no guess.
        self.throttle.succeeded(&counted_as(caller), caller.address);
        Ok((ProviderRedirect { url }, cookie))
    }

    fn authorization_url(&self, row: &ProviderRow, metadata: &Metadata, flow: &Flow) -> Answer<String> {
        use aws_lc_rs::digest;
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

        let parsed = Url::parse(&metadata.authorization_endpoint);
        let mut url = parsed.map_err(|_| Refusal::new("provider.failed", "the provider's page has no address"))?;
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, flow.verifier.as_bytes()));
        let scopes: Vec<&str> = ["openid"].into_iter().chain(row.spec.scopes.iter().map(String::as_str)).collect();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &row.spec.client_id)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &flow.state)
            .append_pair("nonce", &flow.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if flow.purpose == ProviderPurpose::Proof {
            // The user shall be there in person; the ID token says when that was.
            url.query_pairs_mut().append_pair("prompt", "login").append_pair("max_age", "0");
        }
        Ok(url.into())
    }

    fn sealed(&self, flow: &Flow) -> Answer<String> {
        let text = crate::db::row::to_json(flow);
        let sealed = self.oidc.flows.seal(&"flow", text.as_bytes()).map_err(|e| Refusal::internal(&e))?;
        if sealed.len() <= MOST_COOKIE {
            return Ok(sealed);
        }
        let why = "too many groups of the provider are mapped here for one user: map fewer";
        Err(Refusal::new("sign_in_failed", why))
    }

    /// Opens a cookie; one that is over, or none of ours, is as good as none.
    fn opened(&self, cookie: Option<&str>) -> Answer<Flow> {
        let lost = || {
            let why = "this browser began no sign-in with a provider, or took longer than ten minutes: begin anew";
            Refusal::new("sign_in_failed", why)
        };
        let sealed = cookie.filter(|c| c.len() < 16 << 10).ok_or_else(lost)?;
        let text = self.oidc.flows.open(&"flow", sealed).map_err(|_| lost())?;
        let flow: Flow = serde_json::from_slice(&text).map_err(|_| lost())?;
        let since = flow.verified.as_ref().map_or(flow.begun, |v| v.at);
        if (0..FLOW_MS).contains(&clock::now().since(since)) { Ok(flow) } else { Err(lost()) }
    }

    /// Ends what was begun.
    pub(super) async fn end_with_provider(
        &self,
        caller: &Caller,
        cookie: Option<&str>,
        given: &ProviderReturn,
    ) -> Answer<Ended> {
        let ended = self.ended(caller, cookie, given).await;
        if let Err(refusal) = &ended
            && refusal.status.is_client_error()
            && refusal.code != "throttled"
        {
            info!(from = %caller.address, why = refusal.detail, "a sign-in with a provider failed");
            self.note_provider_refused(caller, refusal).await?;
        }
        ended
    }

    async fn note_provider_refused(&self, caller: &Caller, refusal: &Refusal) -> Answer<()> {
        let why: String = refusal.detail.chars().take(200).collect();
        let (by, object) = (&caller.as_principal(), &format!("with a provider: {why}"));
        self.db
            .write(|mut tx: Tx| async move {
                tx.audit(Entry::refused(by, "session.open", object.as_str(), &refusal.code));
                let told = NewEvent::new(EventKind::SessionRefused).with("login", "(with a provider)");
                tx.event(told.with("from", caller.address));
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    async fn ended(&self, caller: &Caller, cookie: Option<&str>, given: &ProviderReturn) -> Answer<Ended> {
        // Counted before anything is looked at: what is refused is noted, and strangers shall not fill the audit.
        self.attempt(caller, &counted_as(caller))?;
        let mut flow = self.opened(cookie)?;
        if let Some(session) = flow.session
            && factor::in_session(caller).ok() != Some(session)
        {
            let why = "it was begun in another session, or the session is over: begin anew";
            return Err(Refusal::new("sign_in_failed", why));
        }
        if let Some(verified) = flow.verified.clone() {
            let user = self.admitted(verified.user).await?;
            return self.second_asked(caller, &mut flow, &verified, &user, given).await;
        }
        let row = self.provider_of(flow.provider).await?;
        let returned = self.returned(&row, &flow, given).await?;
        if flow.purpose == ProviderPurpose::Link {
            self.link_own(caller, &row, &returned.subject, &returned.shown).await?;
            self.throttle.succeeded(&counted_as(caller), caller.address);
            return Ok(Ended::Done(flow.purpose, None));
        }
        let found = self.identified(caller, &row, &flow, &returned).await?;
        let user = self.admitted(found.user).await?;
        if flow.purpose == ProviderPurpose::Proof && caller.identity()?.user != user.id {
            let why = "you signed in there as somebody else; sign out there, and show that it is you";
            return Err(Refusal::new("sign_in_failed", why));
        }
        let verified = Verified {
            identity: found.identity,
            user: user.id,
            shown: returned.shown,
            groups: returned.groups,
            sid: token::session(&returned.claims).map(str::to_owned),
            at: clock::now(),
        };
        if returned.has_second {
            return self.finished(caller, &row, &flow, &verified, &user, false).await;
        }
        self.second_asked(caller, &mut flow, &verified, &user, given).await
    }

    /// Returns what a key has to answer of who came back and lacks the second factor.
    pub(super) async fn provider_key_request(&self, caller: &Caller, cookie: Option<&str>) -> Answer<KeyRequest> {
        self.attempt(caller, &counted_as(caller))?;
        let flow = self.opened(cookie)?;
        let why = "nobody came back from the provider in this browser";
        let verified = flow.verified.ok_or_else(|| Refusal::new("sign_in_failed", why))?;
        let request = self.second_key_request(verified.user, flow.session).await?;
        self.throttle.succeeded(&counted_as(caller), caller.address);
        Ok(request)
    }

    /// Asks the second factor of who came back; the cookie keeps who that is while it is missing.
    async fn second_asked(
        &self,
        caller: &Caller,
        flow: &mut Flow,
        verified: &Verified,
        user: &UserRow,
        given: &ProviderReturn,
    ) -> Answer<Ended> {
        let row = self.provider_of(flow.provider).await?;
        let by = as_user(user, caller);
        let key = given.key.as_ref();
        let key = key.map(|answer| KeyGiven { answer, session: flow.session, must_verify: false });
        if given.second_factor.is_some() || key.is_some() {
            self.attempt(caller, user.login.as_str())?;
        }
        let refused = match self.second(&by, user, Given { code: given.second_factor.as_deref(), key }).await? {
            second @ (Second::None | Second::Passed | Second::Required) => {
                if second == Second::Passed {
                    self.throttle.succeeded(user.login.as_str(), caller.address);
                }
                return self.finished(caller, &row, flow, verified, user, second == Second::Required).await;
            }
            Second::Missing(kinds) => {
                let fields: Vec<FieldProblem> = kinds.missing().into_iter().map(named).collect();
                let words = fields.iter().map(|f| f.detail.as_str()).collect::<Vec<_>>().join(", or ");
                Refusal { fields, ..Refusal::new("second_factor.needed", words) }
            }
            Second::Wrong => {
                let why = "the code is wrong, or was used before: each code counts once";
                Refusal::new("second_factor.wrong", why)
            }
            Second::Refused(why) => Refusal::new("second_factor.wrong", format!("the key was refused: {why}")),
        };
        if refused.code == "second_factor.wrong" {
            self.note_refused(caller, user.login.as_str(), "second_factor.wrong").await?;
        }
        self.throttle.succeeded(&counted_as(caller), caller.address);
        flow.verified = Some(verified.clone());
        Ok(Ended::Again(self.sealed(flow)?, refused))
    }

    /// Does what was meant, once all is shown.
    async fn finished(
        &self,
        caller: &Caller,
        row: &ProviderRow,
        flow: &Flow,
        verified: &Verified,
        user: &UserRow,
        must_enrol: bool,
    ) -> Answer<Ended> {
        self.throttle.succeeded(&counted_as(caller), caller.address);
        let by = &as_user(user, caller);
        if flow.purpose == ProviderPurpose::Proof {
            let (session, now) = (factor::in_session(caller)?, clock::now());
            self.db
                .write(|mut tx: Tx| async move {
                    crate::access::store::prove_session(&mut tx, session, now).await?;
                    // The provider may have begun another session of its own for it.
                    crate::access::store::renew_origin(&mut tx, session, verified.identity, verified.sid.as_deref())
                        .await?;
                    tx.audit(Entry::done(by, "session.proof", format!("{} with {}", user.login, row.name)));
                    Ok::<_, DbError>(tx.done(()))
                })
                .await?;
            return Ok(Ended::Done(flow.purpose, None));
        }
        let user = self.refreshed(by, row, verified.identity, &verified.shown, &verified.groups).await?;
        let origin = Origin { identity: Some(verified.identity), sid: verified.sid.clone() };
        let opened = self.open_from(caller, &user, must_enrol, origin).await?;
        Ok(Ended::Done(flow.purpose, Some(Box::new(opened))))
    }

    /// Exchanges what the redirect brought for what the provider says of the user.
    async fn returned(&self, row: &ProviderRow, flow: &Flow, given: &ProviderReturn) -> Answer<Returned> {
        let failed = |why: String| Refusal::new("sign_in_failed", why);
        let state = given.state.as_deref().unwrap_or_default();
        if !secret::equal(state.as_bytes(), flow.state.as_bytes()) {
            return Err(failed("it was begun in another browser or window: begin anew".to_owned()));
        }
        if let Some(error) = &given.error {
            return Err(failed(format!("the provider refused: {}", client::word(error))));
        }
        let metadata = self.oidc.directory.metadata(&self.oidc.egress, &row.spec.issuer).await?;
        let issuer = given.issuer.as_deref();
        // A mix-up of providers is found by the issuer in the redirect (RFC 9207).
        if issuer.is_some_and(|i| i != metadata.issuer)
            || (issuer.is_none() && metadata.authorization_response_iss_parameter_supported)
        {
            return Err(failed("the answer does not come from the provider that was asked".to_owned()));
        }
        let code = given.code.as_deref().filter(|c| !c.is_empty() && c.len() < 8192);
        let code = code.ok_or_else(|| Refusal::field("/code", "is missing"))?;
        let sealed = row.sealed.as_deref();
        let opened =
            sealed.map(|s| self.oidc.secrets.open(&row.id, s)).transpose().map_err(|e| Refusal::internal(&e))?;
        let secret = opened.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let tokens = client::exchange(
            &self.oidc.egress,
            &metadata,
            &Exchange {
                client_id: &row.spec.client_id,
                secret,
                redirect_uri: &self.redirect_uri(),
                code,
                verifier: &flow.verifier,
            },
        )
        .await?;
        let expected = Expected {
            issuer: &metadata.issuer,
            client_id: &row.spec.client_id,
            nonce: &flow.nonce,
            now: clock::now(),
            there_since: (flow.purpose == ProviderPurpose::Proof).then_some(flow.begun),
        };
        let mut claims = self.verified(&metadata, &tokens.id_token, expected).await?;
        let subject = token::subject(&claims).unwrap_or_default().to_owned();
        self.completed(row, &metadata, &tokens.access_token, &subject, &mut claims).await?;
        let shown = ["name", row.spec.user_claim.as_str(), "email"].into_iter().find_map(|c| token::text(&claims, c));
        let is_seen = |c: &char| deceptive_char(c.encode_utf8(&mut [0; 4])).is_none();
        let shown: String = shown.unwrap_or_default().chars().filter(is_seen).take(60).collect();
        let groups = match row.spec.groups_claim.as_str() {
            "" => Vec::new(),
            name => token::texts(&claims, name),
        };
        // Only those that mean something: the cookie may have to hold them.
        let is_mapped = |g: &String| row.spec.mappings.iter().any(|m| m.claim == *g);
        let groups = groups.into_iter().filter(is_mapped).collect();
        let vouched = token::texts(&claims, "amr").into_iter().chain(token::texts(&claims, "acr"));
        let has_second = vouched.into_iter().any(|v| row.spec.second_factor_values.contains(&v));
        Ok(Returned { claims, subject, shown, groups, has_second })
    }

    /// Verifies an ID token; with the keys fetched anew, if none of those in memory signed it.
    async fn verified(&self, metadata: &Metadata, id_token: &str, expected: Expected<'_>) -> Answer<Claims> {
        let directory = &self.oidc.directory;
        let keys = directory.keys(&self.oidc.egress, metadata, false).await?;
        let mut found = token::verify(id_token, &keys, expected);
        if matches!(found, Err(TokenError::UnknownKey | TokenError::Signature)) {
            let keys = directory.keys(&self.oidc.egress, metadata, true).await?;
            found = token::verify(id_token, &keys, expected);
        }
        found.map_err(|e| Refusal::new("sign_in_failed", e.to_string()))
    }

    /// Asks for claims that are not in the ID token but needed.
    async fn completed(
        &self,
        row: &ProviderRow,
        metadata: &Metadata,
        access_token: &str,
        subject: &str,
        claims: &mut Claims,
    ) -> Answer<()> {
        let needed = [row.spec.groups_claim.as_str(), row.spec.user_claim.as_str()];
        let is_whole = needed.iter().all(|name| name.is_empty() || claims.contains_key(*name));
        let Some(url) = metadata.userinfo_endpoint.as_deref().filter(|_| !is_whole && !access_token.is_empty()) else {
            return Ok(());
        };
        let more = client::user_info(&self.oidc.egress, url, access_token).await?;
        // It may be about somebody else (OpenID Connect Core 1.0, section 5.3.2).
        if token::text(&more, "sub") != Some(subject) {
            return Err(Refusal::new("sign_in_failed", "what the provider says of the user is about another one"));
        }
        for (name, value) in more {
            if needed.contains(&name.as_str()) || name == "name" || name == "email" {
                claims.entry(name).or_insert(value);
            }
        }
        Ok(())
    }

    async fn identified(&self, caller: &Caller, row: &ProviderRow, flow: &Flow, who: &Returned) -> Answer<Found> {
        if let Some(found) = self.known(row, &who.subject).await? {
            return Ok(found);
        }
        if flow.purpose != ProviderPurpose::SignIn {
            return Err(Refusal::new("sign_in_failed", "that identity is not linked to your account"));
        }
        if let Some(hash) = &flow.invitation {
            return self.taken_up(caller, row, hash, &who.subject, &who.shown).await;
        }
        if row.spec.makes_accounts {
            let name = token::text(&who.claims, &row.spec.user_claim).unwrap_or_default();
            return self.made_account(caller, row, name, &who.subject, &who.shown).await;
        }
        let why = "nobody here has that identity: ask an administrator for an invitation, or sign in as before and link \
                   it under your account";
        Err(Refusal::new("sign_in_failed", why))
    }

    /// Returns the user, unless barred.
    async fn admitted(&self, user: UserId) -> Answer<UserRow> {
        let row = self
            .db
            .read(|mut tx: Tx| async move {
                let row = crate::access::store::user_by_id(&mut tx, user).await?;
                Ok::<_, DbError>(tx.done(row))
            })
            .await?;
        row.filter(|r| r.disabled_at.is_none())
            .ok_or_else(|| Refusal::new("sign_in_failed", "the account is barred, or gone"))
    }

    async fn provider_of(&self, id: ProviderId) -> Answer<ProviderRow> {
        let row = self
            .db
            .read(|mut tx: Tx| async move {
                let row = super::store::by_id(&mut tx, id).await?;
                Ok::<_, DbError>(tx.done(row))
            })
            .await?;
        row.filter(|r| r.spec.is_enabled)
            .ok_or_else(|| Refusal::new("sign_in_failed", "the provider is not offered any more"))
    }
}

/// The fields of this call are called otherwise than those of a password's.
fn named(field: FieldProblem) -> FieldProblem {
    let pointer = if field.pointer == "/code" { "/second_factor".to_owned() } else { field.pointer };
    FieldProblem { pointer, ..field }
}

pub(super) fn as_user(user: &UserRow, caller: &Caller) -> Principal {
    Principal::new(format!("user:{}", user.login), caller.address.to_string())
}

impl From<TokenError> for ProviderError {
    fn from(error: TokenError) -> Self {
        Self::Code(error.to_string())
    }
}
