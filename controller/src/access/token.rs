//! API tokens: making, speaking by one, revoking.

use std::net::IpAddr;

use lampas_api::{ApiToken, ApiTokenCreate, ApiTokenCreated};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::{Permission, Preset},
    check_line,
    fleet::Scope,
    id::{TokenId, UserId},
    time::UnixMs,
};

use super::{
    Access, AccessError, secret,
    store::{self, TokenRow},
};
use crate::{
    api::{
        guard::{Caller, Credential, Identity},
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    config::Network,
    db::{DbError, Tx},
    host,
};

/// How old the time of the last use may be before it is written again.
const USED_MS: i64 = 60_000;

/// Refuses who acts with less than all that a user may: an API token that is held to a part of its owner's rights.
///
/// # Errors
/// With what is refused, in the words of `act`.
pub(crate) async fn must_be_whole(
    tx: &mut Tx,
    by: &Principal,
    (user, preset): (UserId, Preset),
    act: &str,
) -> Result<(), AccessError> {
    let Some(own) = &by.rights else { return Ok(()) };
    let owner = super::rights(tx, user, preset, clock::now()).await?;
    if own.covers(&owner, &|_| None) {
        return Ok(());
    }
    let members = crate::fleet::members(tx).await?;
    if own.covers(&owner, &super::reach::finder(&members)) {
        return Ok(());
    }
    let why = format!("{} is held to a part of its owner's rights, and can't {act}", by.name);
    Err(Refusal::new("forbidden", why).into())
}

impl Access {
    /// Returns who a token speaks for.
    ///
    /// # Errors
    /// When it is unknown, revoked or over, or comes from another network.
    pub(crate) async fn by_token(&self, given: &str, address: IpAddr, now: UnixMs) -> Answer<Identity> {
        let refused = || Refusal::new("unauthenticated", "the API token is unknown, revoked or over");
        if !given.starts_with(secret::TOKEN_PREFIX) || given.len() > 100 {
            return Err(refused());
        }
        let hash = &secret::hash(given);
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let Some(row) = store::token_by_hash(&mut tx, hash).await? else { return Ok(tx.done(None)) };
                let rights = super::rights(&mut tx, row.user, row.owner_preset, now).await?;
                Ok::<_, DbError>(tx.done(Some((row, rights))))
            })
            .await?;
        let (row, rights) = found.filter(|(r, _)| now < r.expires_at).ok_or_else(refused)?;
        if !row.fits(address) {
            return Err(Refusal::new("unauthenticated", format!("the API token is not for use from {address}")));
        }
        if row.used_at.is_none_or(|t| now.since(t) > USED_MS) {
            let (id, from) = (row.id, &address.to_string());
            let touched = self
                .db
                .write(|mut tx: Tx| async move {
                    store::touch_token(&mut tx, id, from, now).await?;
                    Ok::<_, DbError>(tx.done(()))
                })
                .await;
            super::pass_over(touched);
        }
        let level = row.preset.min(rights.level());
        let rights = row.bound(rights);
        Ok(Identity {
            user: row.user,
            login: row.owner,
            preset: rights.highest(row.preset),
            level,
            rights: rights.into(),
            by: Credential::Token { id: row.id, name: row.name, is_grave: row.is_grave },
        })
    }

    /// Returns tokens, newest first: one's own, or everybody's.
    pub async fn tokens(&self, of: Option<UserId>, before: Option<TokenId>, limit: u32) -> Answer<Vec<ApiToken>> {
        let before = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
        let before = &before;
        let rows = self
            .db
            .read(|mut tx: Tx| async move {
                let rows = store::tokens(&mut tx, of, before, limit).await?;
                Ok::<_, DbError>(tx.done(rows))
            })
            .await?;
        Ok(rows.iter().map(shown).collect())
    }

    /// Returns tokens that end within a span, soonest first: the caller's, or everybody's for who manages them.
    pub async fn expiring_tokens(&self, caller: &Caller, span_ms: i64, limit: u32) -> Answer<Vec<ApiToken>> {
        let of = Some(caller.identity()?.user).filter(|_| !caller.may(Permission::ManageUsers));
        let now = clock::now();
        let rows = self
            .db
            .read(|mut tx: Tx| async move {
                let rows = store::expiring_tokens(&mut tx, of, (now, now.plus_ms(span_ms)), limit).await?;
                Ok::<_, DbError>(tx.done(rows))
            })
            .await?;
        Ok(rows.iter().map(shown).collect())
    }

    /// Makes a token for the caller.
    pub async fn create_token(&self, caller: &Caller, wanted: &ApiTokenCreate) -> Answer<ApiTokenCreated> {
        let identity = caller.identity()?;
        let level = identity.level;
        if wanted.preset > level {
            let why = format!("you may no more than {}, a token can't be more", level.as_str());
            return Err(Refusal::field("/preset", why));
        }
        let mut wanted = wanted.clone();
        if wanted.is_grave {
            caller.grave(clock::now())?;
        }
        match &identity.by {
            Credential::Token { id, .. } => self.bound_by(*id, &mut wanted).await?,
            Credential::Machine { expires_at, .. } => wanted.ttl_secs = wanted.ttl_secs.min(left(*expires_at)?),
            Credential::Session { .. } => {}
        }
        self.make_token(identity.user, caller.as_principal(), &wanted).await
    }

    /// Who holds a token can't make one that lives longer, or works from elsewhere.
    async fn bound_by(&self, id: TokenId, wanted: &mut ApiTokenCreate) -> Answer<()> {
        let row = self
            .db
            .read(|mut tx: Tx| async move {
                let row = store::token_by_id(&mut tx, id).await?;
                Ok::<_, DbError>(tx.done(row))
            })
            .await?;
        let row = row.ok_or_else(|| Refusal::new("unauthenticated", "the API token was revoked meanwhile"))?;
        wanted.ttl_secs = wanted.ttl_secs.min(left(row.expires_at)?);
        if let Some(bound) = &row.only {
            let given = wanted.permissions.get_or_insert_with(|| bound.clone());
            if let Some(more) = given.iter().find(|p| !bound.contains(p)) {
                return Err(Refusal::field("/permissions", format!("the token that asks may not {}", more.as_str())));
            }
        }
        if let Some(bound) = &row.scope {
            let given = wanted.scope.get_or_insert_with(|| bound.clone());
            if given != bound {
                return Err(Refusal::field("/scope", format!("the token that asks is bound to {bound}")));
            }
        }
        let Some(bound) = row.cidr.as_deref().and_then(|c| c.parse::<Network>().ok()) else { return Ok(()) };
        let narrower = match &wanted.cidr {
            None => Some(bound),
            Some(cidr) => cidr.parse::<Network>().ok().filter(|n| bound.holds(*n)),
        };
        let network = narrower.ok_or_else(|| {
            Refusal::field("/cidr", format!("the token that asks is bound to {bound}: stay within it"))
        })?;
        wanted.cidr = Some(network.to_string());
        Ok(())
    }

    /// Makes a token for a user, without a caller: for the command line of the controller.
    pub async fn make_token(&self, user: UserId, by: Principal, wanted: &ApiTokenCreate) -> Answer<ApiTokenCreated> {
        check_line("name", &wanted.name, 64).map_err(|e| Refusal::text("/name", &e))?;
        if wanted.name.trim().is_empty() {
            return Err(Refusal::field("/name", "say what the token is for"));
        }
        if !(60..=31_536_000).contains(&wanted.ttl_secs) {
            return Err(Refusal::field("/ttl_secs", "a token lives 60 to 31536000 seconds"));
        }
        if let Some(cidr) = &wanted.cidr {
            cidr.parse::<Network>().map_err(|e| Refusal::field("/cidr", e))?;
        }
        if let Some(only) = &wanted.permissions {
            if only.is_empty() {
                return Err(Refusal::field("/permissions", "name at least one permission, or leave them out"));
            }
            if let Some(more) = only.iter().find(|p| !wanted.preset.grants(**p)) {
                let why = format!("{} is not a permission of {}", more.as_str(), wanted.preset.as_str());
                return Err(Refusal::field("/permissions", why));
            }
        }
        let now = clock::now();
        let secret = format!("{}{}", secret::TOKEN_PREFIX, secret::make());
        let (hash, by) = (&secret::hash(&secret), &by);
        let row = self
            .db
            .write(|mut tx: Tx| async move {
                let owner = store::user_by_id(&mut tx, user).await?;
                let owner = owner.ok_or_else(|| AccessError::from(Refusal::not_found("user", user)))?;
                let row = TokenRow {
                    id: random::new_id(),
                    user,
                    owner: owner.login,
                    owner_preset: owner.preset,
                    name: wanted.name.clone(),
                    preset: wanted.preset,
                    created_at: now,
                    expires_at: now.plus_ms((wanted.ttl_secs * 1000) as i64),
                    used_at: None,
                    cidr: wanted.cidr.clone(),
                    only: wanted.permissions.clone(),
                    scope: wanted.scope.clone().filter(|s| *s != Scope::Fleet),
                    is_scope_gone: false,
                    is_grave: wanted.is_grave,
                    is_owner_barred: owner.disabled_at.is_some(),
                };
                let scope = match &row.scope {
                    Some(scope) => Some(host::stored_scope(&mut tx, scope).await?.ok_or_else(|| {
                        AccessError::from(Refusal::field("/scope", format!("{scope} names a node that is not there")))
                    })?),
                    None => None,
                };
                store::insert_token(&mut tx, &row, hash, scope).await?;
                tx.audit(Entry::done(by, "token.create", bounds(&row)));
                Ok::<_, AccessError>(tx.done(row))
            })
            .await?;
        Ok(ApiTokenCreated { token: shown(&row), secret })
    }

    /// Revokes a token: one's own, or anybody's with the permission.
    pub async fn revoke_token(&self, caller: &Caller, id: TokenId) -> Answer<()> {
        let identity = caller.identity()?;
        let (by, reason, now) = (&caller.as_principal(), &caller.reason, clock::now());
        self.db
            .write(|mut tx: Tx| async move {
                let row = store::token_by_id(&mut tx, id).await?;
                let row = row.filter(|r| r.user == identity.user || caller.may(Permission::ManageUsers));
                let row = row.ok_or_else(|| AccessError::from(Refusal::not_found("API token", id)))?;
                if row.user != identity.user {
                    caller.grave(now)?;
                }
                store::revoke_token(&mut tx, id, now).await?;
                tx.audit(Entry::done(by, "token.revoke", format!("{} of {}", row.name, row.owner)).because(reason));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }
}

/// Returns how many seconds are left of what asks for a token: no token outlives it.
fn left(expires_at: UnixMs) -> Answer<u64> {
    let left = expires_at.since(clock::now()) / 1000;
    if left < 60 {
        return Err(Refusal::field("/ttl_secs", "what asks ends within a minute; sign in anew"));
    }
    Ok(left as u64)
}

/// What the audit says of a new token.
fn bounds(row: &TokenRow) -> String {
    let mut text = format!("{} ({}", row.name, row.preset.as_str());
    if let Some(only) = &row.only {
        text.push_str(": ");
        text.push_str(&only.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(" "));
    }
    if let Some(scope) = &row.scope {
        text.push_str(&format!(" on {scope}"));
    }
    text.push_str(if row.is_grave { ", grave)" } else { ")" });
    text
}

fn shown(row: &TokenRow) -> ApiToken {
    ApiToken {
        id: row.id,
        name: row.name.clone(),
        owner: row.owner.clone(),
        preset: row.preset.min(row.owner_preset),
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.used_at,
        cidr: row.cidr.clone(),
        permissions: row.only.clone(),
        scope: row.scope.clone(),
        is_grave: row.is_grave,
    }
}
