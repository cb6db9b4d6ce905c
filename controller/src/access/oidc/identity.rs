//! Whom an identity at a provider makes here: known ones, invited ones, made ones; linking and unlinking.

use lampas_api::{Identities, Identity, IdentityLink, InvitationCreate, InvitationCreated};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::Login,
    event::EventKind,
    id::{IdentityId, UserId},
};

use super::{
    flow::as_user,
    provider::unknown,
    store::{self, IdentityRow, ProviderRow},
    token,
};
use crate::{
    access::{
        Access, AccessError,
        grant::{self, must_have},
        rights, secret,
        store::{self as users, UserRow},
        user::{last_administrator, must_be_free},
    },
    api::{
        guard::Caller,
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
};

/// How long an invitation may be open.
const INVITATION_SECS: std::ops::RangeInclusive<u64> = 60..=2_592_000;

/// More identities than anybody has.
const MOST: usize = 20;

/// Somebody who came back from a provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) identity: IdentityId,
    pub(super) user: UserId,
}

impl Access {
    /// Returns with what a user signs in.
    pub(crate) async fn identities(&self, which: &str) -> Answer<Identities> {
        let user = self.find(which).await?;
        let id = user.id;
        let rows = self
            .db
            .read(|mut tx: Tx| async move {
                let rows = store::of_user(&mut tx, id).await?;
                let may = may_use_password(&mut tx, id).await?;
                Ok::<_, DbError>(tx.done((rows, may)))
            })
            .await?;
        let has_password = !user.password_hash.is_empty();
        Ok(Identities {
            login: user.login,
            has_password,
            may_use_password: has_password && rows.1.is_none(),
            identities: rows.0.into_iter().map(shown).collect(),
        })
    }

    /// Links an identity to a user, by what the provider knows the user by.
    pub(crate) async fn link(
        &self,
        by: &Principal,
        reason: &str,
        which: &str,
        wanted: &IdentityLink,
    ) -> Answer<Identity> {
        let user = &self.find(which).await?;
        let row = &self.provider_row(&wanted.provider).await?;
        if !token::is_subject(&wanted.subject) {
            let why = "write the `sub` that the provider gives to the user: up to 255 characters of ASCII";
            return Err(Refusal::field("/subject", why));
        }
        let made = self
            .db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                let has = rights(&mut tx, user.id, user.preset, clock::now()).await?;
                must_have(&mut tx, by, &has, "change the sign-in of somebody who has").await?;
                let made = insert(&mut tx, user, row, &wanted.subject, ("", false)).await?;
                let object = format!("{} is {} at {}", user.login, wanted.subject, row.name);
                tx.audit(Entry::done(by, "identity.link", object).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                Ok::<_, AccessError>(tx.done(made))
            })
            .await?;
        Ok(shown(made))
    }

    /// Links the identity that came back to the caller.
    pub(super) async fn link_own(&self, caller: &Caller, row: &ProviderRow, subject: &str, name: &str) -> Answer<()> {
        let user = &self.find(caller.identity()?.login.as_str()).await?;
        let by = &caller.as_principal();
        self.db
            .write(|mut tx: Tx| async move {
                insert(&mut tx, user, row, subject, (name, false)).await?;
                let object = format!("{} is {subject} at {}", user.login, row.name);
                tx.audit(Entry::done(by, "identity.link", object));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Takes an identity, or an invitation, off a user: one's own, or anybody's of no more rights. What was opened with it
    /// ends, but for the caller's own session.
    pub(crate) async fn unlink(&self, caller: &Caller, which: &str, id: IdentityId) -> Answer<()> {
        let user = &self.find(which).await?;
        let (by, reason, keep) = (&caller.as_principal(), &caller.reason, caller.session());
        self.db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                let missing = || AccessError::from(Refusal::not_found("identity", id));
                let all = store::of_user(&mut tx, user.id).await?;
                let row = all.iter().find(|r| r.id == id).ok_or_else(missing)?;
                let has = rights(&mut tx, user.id, user.preset, clock::now()).await?;
                must_have(&mut tx, by, &has, "change the sign-in of somebody who has").await?;
                let is_last = all.iter().filter(|r| r.subject.is_some()).count() == 1 && row.subject.is_some();
                if is_last && user.password_hash.is_empty() && is_own(by, user) {
                    let why = "it is all that you sign in with; ask an administrator for a password first";
                    return Err(Refusal::new("conflict", why).into());
                }
                let ended = store::end_opened(&mut tx, (row.provider, Some(id)), keep).await?;
                store::delete_identity(&mut tx, id).await?;
                if row.subject.is_some() && !store::has_reachable_administrator(&mut tx, None).await? {
                    return Err(last_administrator().into());
                }
                let object = match &row.subject {
                    Some(subject) => format!(
                        "{} is no longer {subject} at {}; sessions that ended: {ended}",
                        user.login, row.provider_name
                    ),
                    None => format!("the invitation of {} to {}", user.login, row.provider_name),
                };
                tx.audit(Entry::done(by, "identity.unlink", object).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Invites a user to sign in with a provider: whoever opens the link and signs in there becomes that user.
    pub(crate) async fn invite(
        &self,
        by: &Principal,
        reason: &str,
        which: &str,
        wanted: &InvitationCreate,
    ) -> Answer<InvitationCreated> {
        if !INVITATION_SECS.contains(&wanted.ttl_secs) {
            return Err(Refusal::field("/ttl_secs", "an invitation is open for 60 to 2,592,000 seconds (30 days)"));
        }
        let user = &self.find(which).await?;
        let row = &self.provider_row(&wanted.provider).await?;
        let now = clock::now();
        let (secret, until) = (secret::make(), now.plus_ms((wanted.ttl_secs * 1000) as i64));
        let hash = &secret::hash(&secret);
        let id: IdentityId = random::new_id();
        self.db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                let has = rights(&mut tx, user.id, user.preset, now).await?;
                must_have(&mut tx, by, &has, "invite somebody to").await?;
                must_have_room(&mut tx, user).await?;
                let open =
                    IdentityRow { subject: None, invited_until: Some(until), ..fresh(id, user, row, "", ("", false)) };
                store::insert_identity(&mut tx, &open, Some(hash)).await?;
                let object = format!("{} to {}, until {until}", user.login, row.name);
                tx.audit(Entry::done(by, "identity.invite", object).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        // Behind `#`, so that it reaches no log of a server or proxy.
        let link = format!("{}/sign-in/invited#{}.{secret}", self.oidc.url, row.name);
        Ok(InvitationCreated { id, link, expires_at: until })
    }

    /// Returns whose an identity is.
    pub(super) async fn known(&self, row: &ProviderRow, subject: &str) -> Answer<Option<Found>> {
        let id = row.id;
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let found = store::by_subject(&mut tx, id, subject).await?;
                Ok::<_, DbError>(tx.done(found))
            })
            .await?;
        Ok(found.map(|f| Found { identity: f.id, user: f.user }))
    }

    /// Makes an identity of an invitation.
    pub(super) async fn taken_up(
        &self,
        caller: &Caller,
        row: &ProviderRow,
        hash: &str,
        subject: &str,
        name: &str,
    ) -> Answer<Found> {
        let now = clock::now();
        let found = self
            .db
            .write(|mut tx: Tx| async move {
                let over = || {
                    let why = "the invitation is over, was taken up, or is to another provider: ask for another one";
                    AccessError::from(Refusal::new("sign_in_failed", why))
                };
                let open = store::invitation(&mut tx, row.id, hash, now).await?.ok_or_else(over)?;
                let user = users::user_by_id(&mut tx, open.user).await?;
                let user = user.filter(|u| u.disabled_at.is_none()).ok_or_else(over)?;
                if !store::take_up(&mut tx, open.id, subject).await? {
                    return Err(over());
                }
                let object = format!("{} is {subject} ({name}) at {}, as invited", user.login, row.name);
                tx.audit(Entry::done(&as_user(&user, caller), "identity.link", object));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                Ok::<_, AccessError>(tx.done(Found { identity: open.id, user: user.id }))
            })
            .await?;
        Ok(found)
    }

    /// Makes an account at the first sign-in, called as the provider says.
    pub(super) async fn made_account(
        &self,
        caller: &Caller,
        row: &ProviderRow,
        name: &str,
        subject: &str,
        person: &str,
    ) -> Answer<Found> {
        let login = Login::parse(name.trim().to_lowercase()).map_err(|_| {
            let why = format!(
                "the provider's claim {} gives no name that an account can have: use another claim",
                row.spec.user_claim
            );
            Refusal::new("sign_in_failed", why)
        })?;
        must_be_free(&login).map_err(|refusal| Refusal::new("sign_in_failed", refusal.detail))?;
        let user = &UserRow {
            id: random::new_id(),
            login,
            preset: row.spec.default_preset,
            password_hash: String::new(),
            created_at: clock::now(),
            disabled_at: None,
            signed_in_at: None,
            has_second_factor: false,
            security_keys: 0,
        };
        let identity = self
            .db
            .write(|mut tx: Tx| async move {
                if users::user_by_login(&mut tx, user.login.as_str()).await?.is_some() {
                    let why = format!(
                        "there is an account {} already, and a name alone proves nothing: its owner links the identity \
                         from within it, or an administrator does",
                        user.login
                    );
                    return Err(AccessError::from(Refusal::new("sign_in_failed", why)));
                }
                users::insert_user(&mut tx, user).await?;
                let made = insert(&mut tx, user, row, subject, (person, true)).await?;
                let object = format!("{} ({}), {subject} at {}", user.login, user.preset.as_str(), row.name);
                tx.audit(Entry::done(&as_user(user, caller), "user.create", object));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                Ok::<_, AccessError>(tx.done(made))
            })
            .await?;
        Ok(Found { identity: identity.id, user: user.id })
    }

    /// Refuses a password, though it is right, of somebody who shall sign in with a provider.
    pub(in crate::access) async fn must_allow_password(&self, user: UserId) -> Answer<()> {
        let strict = self
            .db
            .read(|mut tx: Tx| async move {
                let strict = may_use_password(&mut tx, user).await?;
                Ok::<_, DbError>(tx.done(strict))
            })
            .await?;
        match strict {
            None => Ok(()),
            Some(title) => {
                Err(Refusal::new("sign_in_failed", format!("this account signs in with {title}, not by password")))
            }
        }
    }
}

/// Returns the title of a provider that forbids a user passwords, if there is one.
async fn may_use_password(tx: &mut Tx, user: UserId) -> Result<Option<String>, DbError> {
    for identity in store::of_user(tx, user).await?.into_iter().filter(|i| i.subject.is_some()) {
        let provider = store::by_id(tx, identity.provider).await?;
        if let Some(row) = provider.filter(|p| p.spec.is_enabled && !p.spec.allows_password) {
            return Ok(Some(row.title().to_owned()));
        }
    }
    Ok(None)
}

/// Returns whether somebody acts on the own account, by whatever they are signed in.
fn is_own(by: &Principal, user: &UserRow) -> bool {
    by.name == format!("user:{}", user.login) || by.name.ends_with(&format!(" of {}", user.login))
}

async fn must_have_room(tx: &mut Tx, user: &UserRow) -> Result<(), AccessError> {
    if store::of_user(tx, user.id).await?.len() < MOST {
        return Ok(());
    }
    Err(Refusal::new("conflict", format!("{} has {MOST} identities and invitations; take one off first", user.login))
        .into())
}

async fn insert(
    tx: &mut Tx,
    user: &UserRow,
    provider: &ProviderRow,
    subject: &str,
    named: (&str, bool),
) -> Result<IdentityRow, AccessError> {
    if let Some(taken) = store::by_subject(tx, provider.id, subject).await? {
        let why = if taken.user == user.id {
            "that identity is linked already".to_owned()
        } else {
            "that identity is linked to another account".to_owned()
        };
        return Err(Refusal::new("exists", why).into());
    }
    must_have_room(tx, user).await?;
    if store::by_id(tx, provider.id).await?.is_none() {
        return Err(unknown(provider.name.as_str()).into());
    }
    let row = fresh(random::new_id(), user, provider, subject, named);
    store::insert_identity(tx, &row, None).await?;
    Ok(row)
}

fn fresh(
    id: IdentityId,
    user: &UserRow,
    provider: &ProviderRow,
    subject: &str,
    (name, is_maker): (&str, bool),
) -> IdentityRow {
    IdentityRow {
        id,
        user: user.id,
        provider: provider.id,
        provider_name: provider.name.clone(),
        subject: Some(subject.to_owned()),
        invited_until: None,
        shown: name.to_owned(),
        is_maker,
        memberships: Vec::new(),
        created_at: clock::now(),
        used_at: None,
    }
}

fn shown(row: IdentityRow) -> Identity {
    Identity {
        id: row.id,
        provider: row.provider_name,
        subject: row.subject,
        shown: row.shown,
        invited_until: row.invited_until,
        is_maker: row.is_maker,
        created_at: row.created_at,
        last_used_at: row.used_at,
    }
}
