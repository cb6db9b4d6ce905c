//! Groups of users: making, changing, removing. Who lets somebody join gives that one what the group was granted, and so
//! must have it.

pub(crate) mod api;
pub(super) mod store;

use std::collections::BTreeMap;

use lampas_api::{UserGroup, UserGroupCreate, UserGroupUpdate};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::{Login, Rights, Subject},
    check_line,
    id::{UserGroupId, UserId},
};

use self::store::GroupRow;
use super::{
    Access, AccessError,
    grant::{self, must_be_administered, must_have, store::SubjectId},
    store as users,
};
use crate::{
    api::problem::{Answer, Refusal},
    audit::{Entry, Principal},
    db::{DbError, Tx},
};

impl Access {
    /// Returns groups by name, after a name.
    pub(crate) async fn groups(&self, after: &str, limit: u32) -> Answer<Vec<UserGroup>> {
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let rows = store::list(&mut tx, after, limit).await?;
                let members = store::members(&mut tx).await?;
                Ok::<_, DbError>(tx.done(rows.iter().map(|r| shown(r, &members)).collect()))
            })
            .await?;
        Ok(found)
    }

    /// Returns one group, by id or name.
    pub(crate) async fn group(&self, which: &str) -> Answer<UserGroup> {
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let row = find(&mut tx, which).await?;
                let members = store::members(&mut tx).await?;
                Ok::<_, AccessError>(tx.done(shown(&row, &members)))
            })
            .await?;
        Ok(found)
    }

    /// Makes a group.
    pub(crate) async fn create_group(
        &self,
        by: &Principal,
        reason: &str,
        wanted: &UserGroupCreate,
    ) -> Answer<UserGroup> {
        check_note(&wanted.note)?;
        let now = clock::now();
        let made = self
            .db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                must_be_free(&mut tx, wanted.name.as_str()).await?;
                let row = GroupRow {
                    id: random::new_id(),
                    name: wanted.name.clone(),
                    note: wanted.note.trim().to_owned(),
                    created_at: now,
                    grants: 0,
                };
                store::insert(&mut tx, &row).await?;
                for login in &wanted.members {
                    let user = user_of(&mut tx, login, "/members").await?;
                    store::join(&mut tx, row.id, user, now).await?;
                }
                let who: Vec<&str> = wanted.members.iter().map(Login::as_str).collect();
                let object =
                    if who.is_empty() { row.name.to_string() } else { format!("{}: {}", row.name, who.join(", ")) };
                tx.audit(Entry::done(by, "group.create", object).because(reason));
                grant::tell(&mut tx, &Subject::Group(row.name.clone()));
                let members = store::members(&mut tx).await?;
                Ok::<_, AccessError>(tx.done(shown(&row, &members)))
            })
            .await?;
        Ok(made)
    }

    /// Changes a group's name, note or members.
    pub(crate) async fn update_group(
        &self,
        by: &Principal,
        reason: &str,
        which: &str,
        wanted: &UserGroupUpdate,
    ) -> Answer<UserGroup> {
        if let Some(note) = &wanted.note {
            check_note(note)?;
        }
        let now = clock::now();
        let made = self
            .db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                let mut row = find(&mut tx, which).await?;
                let mut what = Vec::new();
                if let Some(name) = wanted.name.as_ref().filter(|n| **n != row.name) {
                    must_be_free(&mut tx, name.as_str()).await?;
                    what.push(format!("is {name} now"));
                }
                if wanted.note.as_ref().is_some_and(|n| n.trim() != row.note) {
                    what.push("another note".to_owned());
                }
                for login in &wanted.add {
                    let user = user_of(&mut tx, login, "/add").await?;
                    if store::join(&mut tx, row.id, user, now).await? {
                        what.push(format!("{login} joined"));
                    }
                }
                for login in &wanted.remove {
                    let user = user_of(&mut tx, login, "/remove").await?;
                    if store::leave(&mut tx, row.id, user).await? {
                        what.push(format!("{login} left"));
                    }
                }
                if !what.is_empty() {
                    let granted = granted(&mut tx, row.id).await?;
                    must_have(&mut tx, by, &granted, "give or take").await?;
                }
                let before = row.name.clone();
                row.name = wanted.name.clone().unwrap_or(row.name);
                row.note = wanted.note.as_ref().map_or(row.note, |n| n.trim().to_owned());
                store::update(&mut tx, &row).await?;
                must_be_administered(&mut tx).await?;
                let what = if what.is_empty() { "nothing".to_owned() } else { what.join(", ") };
                tx.audit(Entry::done(by, "group.update", format!("{before}: {what}")).because(reason));
                grant::tell(&mut tx, &Subject::Group(row.name.clone()));
                let members = store::members(&mut tx).await?;
                Ok::<_, AccessError>(tx.done(shown(&row, &members)))
            })
            .await?;
        Ok(made)
    }

    /// Removes a group with its grants; its members stay.
    pub(crate) async fn delete_group(&self, by: &Principal, reason: &str, which: &str) -> Answer<()> {
        self.db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                let row = find(&mut tx, which).await?;
                let granted = granted(&mut tx, row.id).await?;
                must_have(&mut tx, by, &granted, "take away").await?;
                grant::store::delete_of(&mut tx, SubjectId::Group(row.id)).await?;
                store::delete(&mut tx, row.id).await?;
                must_be_administered(&mut tx).await?;
                tx.audit(Entry::done(by, "group.delete", row.name.as_str()).because(reason));
                grant::tell(&mut tx, &Subject::Group(row.name.clone()));
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }
}

fn check_note(note: &str) -> Answer<()> {
    check_line("note", note, 800).map_err(|e| Refusal::text("/note", &e))?;
    if note.chars().count() > 200 { Err(Refusal::field("/note", "a note has at most 200 characters")) } else { Ok(()) }
}

async fn must_be_free(tx: &mut Tx, name: &str) -> Result<(), AccessError> {
    if store::by_name(tx, name).await?.is_none() {
        return Ok(());
    }
    let taken = Refusal::field("/name", format!("the name {name} is taken"));
    let (status, code) = (axum::http::StatusCode::CONFLICT, "exists".into());
    Err(Refusal { status, code, ..taken }.into())
}

async fn find(tx: &mut Tx, which: &str) -> Result<GroupRow, AccessError> {
    let row = match UserGroupId::parse(which) {
        Ok(id) => store::by_id(tx, id).await?,
        Err(_) => store::by_name(tx, which).await?,
    };
    row.ok_or_else(|| Refusal::not_found("group", which.chars().take(64).collect::<String>()).into())
}

async fn user_of(tx: &mut Tx, login: &Login, pointer: &str) -> Result<UserId, AccessError> {
    let user = users::user_by_login(tx, login.as_str()).await?;
    user.map(|u| u.id).ok_or_else(|| Refusal::field(pointer, format!("there is no user {login}")).into())
}

/// What all members of a group have by it.
async fn granted(tx: &mut Tx, id: UserGroupId) -> Result<Rights, DbError> {
    let grants = grant::store::standing(tx, clock::now()).await?;
    let to = SubjectId::Group(id);
    Ok(Rights(grants.iter().filter(|g| g.to == to).filter_map(grant::store::GrantRow::right).collect()))
}

fn shown(row: &GroupRow, members: &BTreeMap<UserGroupId, Vec<Login>>) -> UserGroup {
    UserGroup {
        id: row.id,
        name: row.name.clone(),
        note: row.note.clone(),
        members: members.get(&row.id).cloned().unwrap_or_default(),
        grants: row.grants,
        created_at: row.created_at,
    }
}
