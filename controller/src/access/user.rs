//! Users: making, changing, removing. The last administrator stays, and nobody touches who may more.

use std::collections::BTreeMap;

use lampas_api::{User, UserCreate, UserUpdate};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::{Login, Preset, Rights, Subject, UserGroupName},
    event::EventKind,
    id::UserId,
};

use super::{
    Access, AccessError,
    grant::{self, must_be_administered, must_have, store::GrantRow},
    group, password,
    store::{self, UserRow},
};
use crate::{
    api::{
        guard::Caller,
        problem::{Answer, Refusal},
    },
    audit::Entry,
    db::{DbError, Tx},
    event::NewEvent,
};

/// Names by which audit and history call others than users.
const RESERVED: [&str; 4] = ["system", "controller", "anonymous", "stranger"];

impl Access {
    /// Returns users by name, after a name.
    pub async fn users(&self, after: &str, limit: u32) -> Answer<Vec<User>> {
        let rows = self
            .db
            .read(|mut tx: Tx| async move {
                let rows = store::users(&mut tx, after, limit).await?;
                let held = Held::load(&mut tx).await?;
                Ok::<_, DbError>(tx.done(rows.iter().map(|r| shown(r, &held)).collect()))
            })
            .await?;
        Ok(rows)
    }

    /// Returns one user, by id or name.
    pub async fn user(&self, which: &str) -> Answer<User> {
        let row = self.find(which).await?;
        self.shown(&row).await
    }

    /// Returns a user that is not stored yet: the password is checked and hashed.
    pub(crate) async fn new_user(&self, login: &Login, preset: Preset, password: &str) -> Answer<UserRow> {
        must_be_free(login)?;
        let password_hash = match password {
            // Such a user signs in with an identity provider, once invited to.
            "" => String::new(),
            password => {
                password::check("/password", password, login.as_str())?;
                self.passwords.hash(password).await?
            }
        };
        Ok(UserRow {
            id: random::new_id(),
            login: login.clone(),
            preset,
            password_hash,
            created_at: clock::now(),
            disabled_at: None,
            signed_in_at: None,
            has_second_factor: false,
            security_keys: 0,
        })
    }

    /// Makes a user.
    pub async fn create_user(&self, caller: &Caller, wanted: &UserCreate) -> Answer<User> {
        let row = self.new_user(&wanted.login, wanted.preset, &wanted.password).await?;
        let (row, by, reason) = (&row, &caller.as_principal(), &caller.reason);
        self.db
            .write(|mut tx: Tx| async move {
                if store::user_by_login(&mut tx, row.login.as_str()).await?.is_some() {
                    let taken = Refusal::field("/login", format!("the name {} is taken", row.login));
                    return Err(AccessError::from(Refusal {
                        status: axum::http::StatusCode::CONFLICT,
                        code: "exists".into(),
                        ..taken
                    }));
                }
                must_have(&mut tx, by, &Rights::of(row.preset), "make a user of").await?;
                store::insert_user(&mut tx, row).await?;
                let object = format!("{} ({})", row.login, row.preset.as_str());
                tx.audit(Entry::done(by, "user.create", object).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &row.login));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        self.shown(row).await
    }

    /// Changes a user; barring them, or a new password, ends their sessions.
    pub async fn update_user(&self, caller: &Caller, which: &str, wanted: &UserUpdate) -> Answer<User> {
        let id = self.find(which).await?;
        let hash = match &wanted.password {
            Some(new) => {
                password::check("/password", new, id.login.as_str())?;
                Some(self.passwords.hash(new).await?)
            }
            None => None,
        };
        let (id, hash, by, reason, now) = (id.id, &hash, &caller.as_principal(), &caller.reason, clock::now());
        let row = self
            .db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                let row = store::user_by_id(&mut tx, id).await?;
                let mut row = row.ok_or_else(|| AccessError::from(Refusal::not_found("user", id)))?;
                // As they are and as they will be: a new password makes its giver this user.
                let rights = super::rights(&mut tx, id, row.preset, now).await?;
                must_have(&mut tx, by, &rights, "change").await?;
                let mut what = Vec::new();
                if let Some(preset) = wanted.preset.filter(|p| *p != row.preset) {
                    what.push(format!("{} → {}", row.preset.as_str(), preset.as_str()));
                    row.preset = preset;
                }
                if let Some(barred) = wanted.is_disabled.filter(|b| *b != row.disabled_at.is_some()) {
                    what.push(if barred { "barred" } else { "let in" }.to_owned());
                    row.disabled_at = barred.then_some(now);
                }
                if let Some(hash) = hash {
                    what.push("new password".to_owned());
                    row.password_hash.clone_from(hash);
                }
                must_have(&mut tx, by, &Rights::of(row.preset), "give").await?;
                store::update_user(&mut tx, &row, now).await?;
                must_be_administered(&mut tx).await?;
                if row.disabled_at.is_some() || hash.is_some() {
                    store::delete_sessions(&mut tx, id, None).await?;
                }
                let object =
                    format!("{}: {}", row.login, if what.is_empty() { "nothing".to_owned() } else { what.join(", ") });
                tx.audit(Entry::done(by, "user.update", object).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &row.login));
                Ok::<_, AccessError>(tx.done(row))
            })
            .await?;
        self.shown(&row).await
    }

    /// Removes a user with their sessions and tokens.
    pub async fn delete_user(&self, caller: &Caller, which: &str) -> Answer<()> {
        let row = self.find(which).await?;
        let (row, by, reason) = (&row, &caller.as_principal(), &caller.reason);
        self.db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                let rights = super::rights(&mut tx, row.id, row.preset, clock::now()).await?;
                must_have(&mut tx, by, &rights, "remove").await?;
                if !store::delete_user(&mut tx, row.id).await? {
                    return Err(AccessError::from(Refusal::not_found("user", &row.login)));
                }
                must_be_administered(&mut tx).await?;
                tx.audit(Entry::done(by, "user.delete", row.login.as_str()).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &row.login));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    async fn shown(&self, row: &UserRow) -> Answer<User> {
        let held = self
            .db
            .read(|mut tx: Tx| async move {
                let held = Held::load(&mut tx).await?;
                Ok::<_, DbError>(tx.done(held))
            })
            .await?;
        Ok(shown(row, &held))
    }

    pub(super) async fn find(&self, which: &str) -> Answer<UserRow> {
        let row = match UserId::parse(which) {
            Ok(id) => {
                self.db
                    .read(|mut tx: Tx| async move {
                        let row = store::user_by_id(&mut tx, id).await?;
                        Ok::<_, DbError>(tx.done(row))
                    })
                    .await?
            }
            Err(_) => self.user_by_login(which).await?,
        };
        row.ok_or_else(|| Refusal::not_found("user", which.chars().take(64).collect::<String>()))
    }
}

/// Refuses a name that would be taken for the controller's own in the audit.
pub(super) fn must_be_free(login: &Login) -> Result<(), Refusal> {
    if RESERVED.contains(&login.as_str()) {
        return Err(Refusal::field(
            "/login",
            format!("the name {login} is kept for what no user does; choose another"),
        ));
    }
    Ok(())
}

pub(super) fn last_administrator() -> Refusal {
    let why = "make another administrator first, for the whole fleet and without an end; nobody could manage users";
    Refusal::new("last_administrator", why)
}

/// The groups that users are in, and what was granted.
struct Held {
    groups: BTreeMap<UserId, Vec<UserGroupName>>,
    grants: Vec<GrantRow>,
}

impl Held {
    async fn load(tx: &mut Tx) -> Result<Self, DbError> {
        let groups = group::store::of_users(tx).await?;
        Ok(Self { groups, grants: grant::store::standing(tx, clock::now()).await? })
    }
}

fn shown(row: &UserRow, held: &Held) -> User {
    let groups = held.groups.get(&row.id).cloned().unwrap_or_default();
    let is_theirs = |g: &&GrantRow| match &g.subject {
        Subject::User(login) => *login == row.login,
        Subject::Group(name) => groups.contains(name),
    };
    User {
        id: row.id,
        login: row.login.clone(),
        preset: row.preset,
        grants: held.grants.iter().filter(is_theirs).count() as u32,
        groups,
        is_disabled: row.disabled_at.is_some(),
        created_at: row.created_at,
        last_sign_in_at: row.signed_in_at,
        has_second_factor: row.has_second_factor,
        security_keys: row.security_keys,
    }
}
