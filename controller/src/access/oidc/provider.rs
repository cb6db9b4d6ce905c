//! Identity providers: listing, setting, removing, checking. Who sets one decides who its users become, and so must have
//! what its mappings give and what everybody may who signs in with it.

use lampas_api::{FieldProblem, Provider, ProviderCheck, ProviderPut, ProviderSpec, SignInOptions, SignInProvider};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::{ProviderName, Rights},
    check_line,
    event::EventKind,
};

use super::{
    ProviderError, client,
    store::{self, ProviderRow},
};
use crate::{
    access::{
        Access, AccessError,
        grant::{self, must_have, store::SubjectId},
        group, rights, store as users,
        user::last_administrator,
    },
    api::{
        guard::Caller,
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
};

/// More than any page of buttons shows.
const MOST_PROVIDERS: usize = 20;

impl Access {
    /// Returns providers by name, after a name.
    pub(crate) async fn providers(&self, after: &str, limit: u32) -> Answer<Vec<Provider>> {
        let rows = self.provider_rows(after, limit).await?;
        Ok(rows.iter().map(|r| self.shown_provider(r)).collect())
    }

    /// Returns one provider by name.
    pub(crate) async fn provider(&self, name: &str) -> Answer<Provider> {
        Ok(self.shown_provider(&self.provider_row(name).await?))
    }

    /// Returns the buttons of the sign-in page.
    pub(crate) async fn sign_in_options(&self) -> Answer<SignInOptions> {
        let rows = self.provider_rows("", MOST_PROVIDERS as u32).await?;
        let mut providers: Vec<SignInProvider> = rows
            .iter()
            .filter(|r| r.spec.is_enabled)
            .map(|r| SignInProvider { name: r.name.clone(), title: r.title().to_owned() })
            .collect();
        providers.sort_by(|a, b| a.title.cmp(&b.title));
        Ok(SignInOptions { providers })
    }

    /// Makes a provider, or changes it. Returns whether it is a new one.
    pub(crate) async fn put_provider(
        &self,
        by: &Principal,
        reason: &str,
        name: &str,
        wanted: &ProviderPut,
    ) -> Answer<(Provider, bool)> {
        let name = &ProviderName::parse(name).map_err(|e| Refusal::text("/name", &e))?;
        let spec = &self.checked(&wanted.spec)?;
        let secret = wanted.client_secret.as_deref();
        if secret.is_some_and(|s| s.len() > 1024 || s.chars().any(char::is_control)) {
            let why = "a client secret is one line of at most 1,024 bytes";
            return Err(Refusal::field("/client_secret", why));
        }
        let fresh_id = random::new_id();
        let id = match self.find_provider(name.as_str()).await? {
            Some(row) => row.id,
            None => fresh_id,
        };
        if secret.is_some_and(|s| !s.is_empty()) {
            self.oidc.secrets.settle(&self.db).await.map_err(|e| Refusal::new("provider.vault", e.to_string()))?;
        }
        let sealed = match secret {
            Some(secret) if !secret.is_empty() => {
                Some(self.oidc.secrets.seal(&id, secret.as_bytes()).map_err(|e| Refusal::internal(&e))?)
            }
            _ => None,
        };
        let (sealed, now) = (&sealed, clock::now());
        let made = self
            .db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                let before = store::by_name(&mut tx, name.as_str()).await?;
                if before.as_ref().is_some_and(|b| b.id != id) {
                    return Err(Refusal::new("conflict", "somebody made it anew at the same moment; try again").into());
                }
                if before.is_none() && store::providers(&mut tx, "", MOST_PROVIDERS as u32).await?.len() >= MOST_PROVIDERS {
                    let why = format!("there are {MOST_PROVIDERS} identity providers, and no more can be");
                    return Err(Refusal::field("/name", why).into());
                }
                if let Some(before) = &before {
                    if before.identities > 0 && before.spec.issuer != spec.issuer {
                        let why = "users have identities there, and at another issuer they would be others: make a provider \
                                   of another name";
                        return Err(Refusal::field("/spec/issuer", why).into());
                    }
                    must_have_its_users(&mut tx, by, before).await?;
                    let mapped = mapped(&mut tx, &before.spec, false).await?;
                    must_have(&mut tx, by, &mapped, "change a provider that gives").await?;
                }
                let mapped = mapped(&mut tx, spec, true).await?;
                must_have(&mut tx, by, &mapped, "map a group to").await?;
                let secret_is = match (secret, sealed) {
                    (None, _) => "",
                    (Some(_), Some(_)) => ", another client secret",
                    (Some(_), None) => ", without a client secret",
                };
                let row = ProviderRow {
                    id,
                    name: name.clone(),
                    spec: spec.clone(),
                    sealed: match secret {
                        None => before.as_ref().and_then(|b| b.sealed.clone()),
                        Some(_) => sealed.clone(),
                    },
                    created_at: before.as_ref().map_or(now, |b| b.created_at),
                    updated_at: now,
                    identities: before.as_ref().map_or(0, |b| b.identities),
                };
                let act = if before.is_some() { "provider.update" } else { "provider.create" };
                if before.is_some() {
                    store::update(&mut tx, &row).await?;
                } else {
                    store::insert(&mut tx, &row).await?;
                }
                if !spec.allows_password && !store::has_reachable_administrator(&mut tx, Some(id)).await? {
                    let why = "no administrator could sign in while the provider is away: keep one with a password and \
                               without an identity there";
                    return Err(Refusal::field("/spec/allows_password", why).into());
                }
                let what = described(before.as_ref().map(|b| &b.spec), spec);
                tx.audit(Entry::done(by, act, format!("{name}: {what}{secret_is}")).because(reason));
                tx.event(NewEvent::new(EventKind::ProviderChanged).with("name", name));
                Ok::<_, AccessError>(tx.done((row, before.is_none())))
            })
            .await?;
        Ok((self.shown_provider(&made.0), made.1))
    }

    /// Removes a provider with its identities, and ends what it opened, but for the caller's own session.
    pub(crate) async fn delete_provider(&self, caller: &Caller, name: &str) -> Answer<()> {
        let (by, reason, keep) = (&caller.as_principal(), &caller.reason, caller.session());
        self.db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                let row = store::by_name(&mut tx, name).await?;
                let row = row.ok_or_else(|| AccessError::from(unknown(name)))?;
                must_have_its_users(&mut tx, by, &row).await?;
                let ended = store::end_opened(&mut tx, (row.id, None), keep).await?;
                store::delete(&mut tx, row.id).await?;
                if !store::has_reachable_administrator(&mut tx, None).await? {
                    return Err(last_administrator().into());
                }
                let object =
                    format!("{}, and {} identities there; sessions that ended: {ended}", row.name, row.identities);
                tx.audit(Entry::done(by, "provider.remove", object).because(reason));
                tx.event(NewEvent::new(EventKind::ProviderChanged).with("name", &row.name));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Asks a provider what it says of itself, as a sign-in would.
    pub(crate) async fn check_provider(&self, name: &str) -> Answer<ProviderCheck> {
        let row = self.provider_row(name).await?;
        let (is_good, findings) = match self.looked_at(&row).await {
            Ok(findings) => findings,
            Err(error) => (false, vec![error.to_string()]),
        };
        Ok(ProviderCheck { is_good, findings })
    }

    async fn looked_at(&self, row: &ProviderRow) -> Result<(bool, Vec<String>), ProviderError> {
        let metadata = self.oidc.directory.fetch(&self.oidc.egress, &row.spec.issuer).await?;
        let mut findings = vec![format!("the discovery document is about {}", metadata.issuer)];
        let keys = client::fetch_keys(&self.oidc.egress, &metadata).await?;
        findings.push(format!("it publishes {} keys", keys.len()));
        let mut is_good = !keys.is_empty();
        let algorithms = &metadata.id_token_signing_alg_values_supported;
        if !algorithms.is_empty() && !algorithms.iter().any(|a| a.starts_with(['R', 'P', 'E'])) {
            is_good = false;
            findings.push(format!("it signs with {}, of which nothing is believed here", algorithms.join(", ")));
        }
        match &metadata.code_challenge_methods_supported {
            Some(methods) if methods.iter().any(|m| m == "S256") => findings.push("it takes PKCE with S256".into()),
            Some(_) => {
                is_good = false;
                findings.push("it does not take PKCE with S256, which is always used".into());
            }
            None if row.sealed.is_none() => {
                findings.push("it does not say that it takes PKCE, and there is no client secret".into());
            }
            None => findings.push("it does not say that it takes PKCE; the client secret protects the code".into()),
        }
        if let Some(known) = &metadata.scopes_supported {
            let missing: Vec<&str> =
                row.spec.scopes.iter().map(String::as_str).filter(|s| !known.iter().any(|k| k == s)).collect();
            if !missing.is_empty() {
                findings.push(format!("it does not list the scopes {}", missing.join(", ")));
            }
        }
        let uri = self.redirect_uri();
        findings.push(format!("the redirect URI to register there is {uri}"));
        Ok((is_good, findings))
    }

    fn checked(&self, wanted: &ProviderSpec) -> Answer<ProviderSpec> {
        let mut spec = wanted.clone();
        let mut wrong = Vec::new();
        let mut add = |pointer: String, detail: String| wrong.push(FieldProblem { pointer, detail });
        for (field, text, most) in [
            ("title", &mut spec.title, 64),
            ("issuer", &mut spec.issuer, 500),
            ("client_id", &mut spec.client_id, 255),
            ("user_claim", &mut spec.user_claim, 100),
            ("groups_claim", &mut spec.groups_claim, 100),
        ] {
            *text = text.trim().to_owned();
            if let Err(e) = check_line(field_name(field), text, most) {
                add(format!("/spec/{field}"), e.to_string());
            }
        }
        match self.oidc.egress.check(&spec.issuer) {
            Err(e) => add("/spec/issuer".into(), e.to_string()),
            Ok(url) if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() => {
                add("/spec/issuer".into(), "an issuer has no query, fragment or user name".into());
            }
            Ok(_) => {}
        }
        for (field, text) in [("client_id", &spec.client_id), ("user_claim", &spec.user_claim)] {
            if text.is_empty() {
                add(format!("/spec/{field}"), "is empty".into());
            }
        }
        spec.scopes.retain(|s| s != "openid");
        let is_token =
            |s: &String| !s.is_empty() && s.len() <= 100 && s.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
        if spec.scopes.len() > 20 || !spec.scopes.iter().all(is_token) {
            add("/spec/scopes".into(), "up to 20 words without blanks and quotation marks".into());
        }
        let is_word = |s: &String| !s.is_empty() && s.len() <= 200 && !s.chars().any(char::is_control);
        if spec.second_factor_values.len() > 20 || !spec.second_factor_values.iter().all(is_word) {
            add("/spec/second_factor_values".into(), "up to 20 values of acr or amr".into());
        }
        if spec.mappings.len() > 200 {
            add("/spec/mappings".into(), "at most 200".into());
        }
        if !spec.mappings.is_empty() && spec.groups_claim.is_empty() {
            add("/spec/groups_claim".into(), "name the claim that the mappings are about".into());
        }
        for (i, mapping) in spec.mappings.iter().enumerate() {
            if !is_word(&mapping.claim) {
                add(format!("/spec/mappings/{i}/claim"), "name a group of the provider, up to 200 bytes".into());
            }
            if mapping.group.is_none() && mapping.preset.is_none() {
                add(format!("/spec/mappings/{i}"), "say which group or preset it means here".into());
            }
        }
        if wrong.is_empty() { Ok(spec) } else { Err(Refusal::fields(wrong)) }
    }

    pub(super) async fn provider_row(&self, name: &str) -> Answer<ProviderRow> {
        self.find_provider(name).await?.ok_or_else(|| unknown(name))
    }

    pub(super) async fn find_provider(&self, name: &str) -> Answer<Option<ProviderRow>> {
        let row = self
            .db
            .read(|mut tx: Tx| async move {
                let row = store::by_name(&mut tx, name).await?;
                Ok::<_, DbError>(tx.done(row))
            })
            .await?;
        Ok(row)
    }

    async fn provider_rows(&self, after: &str, limit: u32) -> Answer<Vec<ProviderRow>> {
        let rows = self
            .db
            .read(|mut tx: Tx| async move {
                let rows = store::providers(&mut tx, after, limit).await?;
                Ok::<_, DbError>(tx.done(rows))
            })
            .await?;
        Ok(rows)
    }

    fn shown_provider(&self, row: &ProviderRow) -> Provider {
        Provider {
            id: row.id,
            name: row.name.clone(),
            spec: row.spec.clone(),
            has_client_secret: row.sealed.is_some(),
            identities: row.identities,
            redirect_uri: self.redirect_uri(),
            logout_uri: super::logout_uri(self.oidc.url(), &row.name),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

fn field_name(field: &str) -> &'static str {
    match field {
        "title" => "title",
        "issuer" => "issuer",
        "client_id" => "client id",
        "user_claim" => "claim for the name",
        _ => "claim for groups",
    }
}

pub(super) fn unknown(name: &str) -> Refusal {
    Refusal::not_found("identity provider", name.chars().take(64).collect::<String>())
}

/// Returns all that a provider can give by itself: the presets, and what the groups were granted.
async fn mapped(tx: &mut Tx, spec: &ProviderSpec, must_exist: bool) -> Result<Rights, AccessError> {
    let mut all: Vec<_> = Vec::new();
    if spec.makes_accounts {
        all.extend(Rights::of(spec.default_preset).0);
    }
    let grants = grant::store::standing(tx, clock::now()).await?;
    for (i, mapping) in spec.mappings.iter().enumerate() {
        all.extend(mapping.preset.into_iter().flat_map(|p| Rights::of(p).0));
        let Some(name) = &mapping.group else { continue };
        match group::store::by_name(tx, name.as_str()).await? {
            Some(found) => {
                let to = SubjectId::Group(found.id);
                all.extend(grants.iter().filter(|g| g.to == to).filter_map(grant::store::GrantRow::right));
            }
            None if must_exist => {
                let why = format!("there is no group {name}; make it first");
                return Err(Refusal::field(&format!("/spec/mappings/{i}/group"), why).into());
            }
            None => {}
        }
    }
    Ok(all.into_iter().collect())
}

/// Who decides by what provider somebody signs in could sign in as that one.
async fn must_have_its_users(tx: &mut Tx, by: &Principal, row: &ProviderRow) -> Result<(), AccessError> {
    let now = clock::now();
    for user in store::users_of(tx, row.id).await? {
        let Some(user) = users::user_by_id(tx, user).await? else { continue };
        let has = rights(tx, user.id, user.preset, now).await?;
        must_have(tx, by, &has, "change the sign-in of users who have").await?;
    }
    Ok(())
}

/// Says what a change is about.
fn described(before: Option<&ProviderSpec>, spec: &ProviderSpec) -> String {
    let Some(before) = before else {
        let accounts = if spec.makes_accounts { "makes accounts" } else { "for known users" };
        return format!("{} as {}, {accounts}, {} mappings", spec.issuer, spec.client_id, spec.mappings.len());
    };
    let changed = [
        ("title", before.title != spec.title),
        ("issuer", before.issuer != spec.issuer),
        ("client id", before.client_id != spec.client_id),
        ("scopes", before.scopes != spec.scopes),
        ("claim for the name", before.user_claim != spec.user_claim),
        ("claim for groups", before.groups_claim != spec.groups_claim),
        ("mappings", before.mappings != spec.mappings),
        ("making of accounts", before.makes_accounts != spec.makes_accounts),
        ("preset of accounts", before.default_preset != spec.default_preset),
        ("values for a second factor", before.second_factor_values != spec.second_factor_values),
        ("passwords", before.allows_password != spec.allows_password),
        ("whether it is offered", before.is_enabled != spec.is_enabled),
    ];
    let changed: Vec<&str> = changed.iter().filter(|(_, is)| *is).map(|(what, _)| *what).collect();
    if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") }
}
