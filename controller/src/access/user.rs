//! Users: making, changing, removing. The last administrator stays.

use lampas_api::{User, UserCreate, UserUpdate};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::{Login, Preset},
    event::EventKind,
    id::UserId,
};

use super::{
    Access, AccessError, password,
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

impl Access {
    /// Returns users by name, after a name.
    pub async fn users(&self, after: &str, limit: u32) -> Answer<Vec<User>> {
        let rows = self
            .db
            .read(|mut tx: Tx| async move {
                let rows = store::users(&mut tx, after, limit).await?;
                Ok::<_, DbError>(tx.done(rows))
            })
            .await?;
        Ok(rows.iter().map(shown).collect())
    }

    /// Returns one user, by id or name.
    pub async fn user(&self, which: &str) -> Answer<User> {
        let row = self.find(which).await?;
        Ok(shown(&row))
    }

    /// Returns a user that is not stored yet: the password is checked and hashed.
    pub(crate) async fn new_user(&self, login: &Login, preset: Preset, password: &str) -> Answer<UserRow> {
        password::check("/password", password, login.as_str())?;
        Ok(UserRow {
            id: random::new_id(),
            login: login.clone(),
            preset,
            password_hash: self.passwords.hash(password).await?,
            created_at: clock::now(),
            disabled_at: None,
            signed_in_at: None,
            has_second_factor: false,
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
                store::insert_user(&mut tx, row).await?;
                let object = format!("{} ({})", row.login, row.preset.as_str());
                tx.audit(Entry::done(by, "user.create", object).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &row.login));
                Ok(tx.done(()))
            })
            .await?;
        Ok(shown(row))
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
                let administrators = store::administrators(&mut tx).await?;
                let row = store::user_by_id(&mut tx, id).await?;
                let mut row = row.ok_or_else(|| AccessError::from(Refusal::not_found("user", id)))?;
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
                let stays = row.preset == Preset::Administrator && row.disabled_at.is_none();
                if administrators == [id] && !stays {
                    return Err(AccessError::from(last_administrator()));
                }
                store::update_user(&mut tx, &row, now).await?;
                if row.disabled_at.is_some() || hash.is_some() {
                    store::delete_sessions(&mut tx, id, None).await?;
                }
                let object =
                    format!("{}: {}", row.login, if what.is_empty() { "nothing".to_owned() } else { what.join(", ") });
                tx.audit(Entry::done(by, "user.update", object).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &row.login));
                Ok(tx.done(row))
            })
            .await?;
        Ok(shown(&row))
    }

    /// Removes a user with their sessions and tokens.
    pub async fn delete_user(&self, caller: &Caller, which: &str) -> Answer<()> {
        let row = self.find(which).await?;
        let (row, by, reason) = (&row, &caller.as_principal(), &caller.reason);
        self.db
            .write(|mut tx: Tx| async move {
                if store::administrators(&mut tx).await? == [row.id] {
                    return Err(AccessError::from(last_administrator()));
                }
                if !store::delete_user(&mut tx, row.id).await? {
                    return Err(Refusal::not_found("user", &row.login).into());
                }
                tx.audit(Entry::done(by, "user.delete", row.login.as_str()).because(reason));
                tx.event(NewEvent::new(EventKind::UserChanged).with("login", &row.login));
                Ok(tx.done(()))
            })
            .await?;
        Ok(())
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

fn last_administrator() -> Refusal {
    Refusal::new("last_administrator", "make another administrator first; without one nobody could manage users")
}

fn shown(row: &UserRow) -> User {
    User {
        id: row.id,
        login: row.login.clone(),
        preset: row.preset,
        is_disabled: row.disabled_at.is_some(),
        created_at: row.created_at,
        last_sign_in_at: row.signed_in_at,
        has_second_factor: row.has_second_factor,
    }
}
