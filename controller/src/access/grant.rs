//! Grants: giving, taking away, explaining. Nobody gives or takes what he hasn't himself, and somebody who may
//! everything always stays.

pub(crate) mod api;
pub(crate) mod store;
#[cfg(test)]
mod tests;

use lampas_api::{Grant, GrantCreate, HeldRight, MayAnswer, UserRights};
use lampas_runtime::{clock, random};
use lampas_shared::{
    access::{Permission, Preset, Right, Rights, Subject, Via},
    check_line,
    event::EventKind,
    fleet::Scope,
    id::GrantId,
};

use self::store::{GrantRow, SubjectId};
use super::{
    Access, AccessError, group, reach,
    store::{self as users, UserRow},
    user::last_administrator,
};
use crate::{
    api::problem::{Answer, Refusal},
    audit::{Entry, Principal},
    compile::NodeInput,
    db::{DbError, Tx},
    event::NewEvent,
    fleet, host,
};

/// Ten years: longer is no time, but for ever.
const MOST_SECS: u64 = 315_360_000;

impl Access {
    /// Returns grants, the newest first: all, or those to one subject.
    pub(crate) async fn grants(&self, to: Option<&Subject>, before: &str, limit: u32) -> Answer<Vec<Grant>> {
        let now = clock::now();
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let to = match to {
                    Some(subject) => Some(subject_id(&mut tx, subject).await?),
                    None => None,
                };
                let rows = store::list(&mut tx, to, before, now, limit).await?;
                let members = fleet::members(&mut tx).await?;
                let found = rows.iter().map(|r| shown(r, &members)).collect();
                Ok::<_, AccessError>(tx.done(found))
            })
            .await?;
        Ok(found)
    }

    /// Grants something to a user or a group.
    pub(crate) async fn grant(&self, by: &Principal, wanted: &GrantCreate) -> Answer<Grant> {
        check(wanted)?;
        let now = clock::now();
        let made = self
            .db
            .write(|mut tx: Tx| async move {
                store::lock(&mut tx).await?;
                store::prune(&mut tx, now).await?;
                let to = subject_id(&mut tx, &wanted.subject).await?;
                let unknown = || Refusal::field("/scope", format!("{} names a node that is not there", wanted.scope));
                let scope = host::stored_scope(&mut tx, &wanted.scope).await?.ok_or_else(unknown)?;
                if scope.len() > 400 {
                    return Err(Refusal::field("/scope", "is longer than 400 bytes").into());
                }
                let row = GrantRow {
                    id: random::new_id(),
                    to,
                    subject: wanted.subject.clone(),
                    actions: wanted.actions.clone(),
                    scope: wanted.scope.clone(),
                    is_gone: false,
                    reason: wanted.reason.trim().to_owned(),
                    author: crate::change::author(by),
                    created_at: now,
                    expires_at: wanted.ttl_secs.map(|secs| now.plus_ms((secs * 1000) as i64)),
                };
                must_have(&mut tx, by, &row.right().into_iter().collect(), "grant").await?;
                store::insert(&mut tx, &row, &scope).await?;
                let until = row.expires_at.map_or_else(String::new, |t| format!(", until {t}"));
                let object = format!("{}: {} on {}{until}", row.subject, row.actions, row.scope);
                tx.audit(Entry::done(by, "grant.create", object).because(row.reason.clone()));
                tell(&mut tx, &row.subject);
                let members = fleet::members(&mut tx).await?;
                let made = shown(&row, &members);
                Ok::<_, AccessError>(tx.done(made))
            })
            .await?;
        Ok(made)
    }

    /// Takes a grant away.
    pub(crate) async fn take_grant(&self, by: &Principal, id: GrantId, reason: &str) -> Answer<()> {
        self.db
            .write(|mut tx: Tx| async move {
                store::lock(&mut tx).await?;
                let missing = || AccessError::from(Refusal::not_found("grant", id));
                let row = store::get(&mut tx, id).await?.ok_or_else(missing)?;
                must_have(&mut tx, by, &row.right().into_iter().collect(), "take away").await?;
                store::delete(&mut tx, id).await?;
                must_be_administered(&mut tx).await?;
                let object = format!("{}: {} on {}", row.subject, row.actions, row.scope);
                tx.audit(Entry::done(by, "grant.remove", object).because(reason));
                tell(&mut tx, &row.subject);
                Ok::<_, AccessError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Returns what a user may, and from where that comes.
    pub(crate) async fn user_rights(&self, which: &str) -> Answer<UserRights> {
        let (user, rights, _) = self.with_rights(which).await?;
        Ok(UserRights {
            login: user.login,
            is_disabled: user.disabled_at.is_some(),
            rights: rights.0.iter().map(held).collect(),
        })
    }

    /// Says whether a user may do something over a scope, and why.
    pub(crate) async fn may(&self, which: &str, permission: Permission, scope: &Scope) -> Answer<MayAnswer> {
        let (user, rights, members) = self.with_rights(which).await?;
        if let Scope::Node(name) = scope
            && members.iter().all(|m| m.name != *name)
        {
            return Err(Refusal::field("/scope", format!("there is no node {name}")));
        }
        let word = permission.as_str();
        let needs_all = Permission::FLEET_ONLY.contains(&permission);
        let asked = if needs_all { &Scope::Fleet } else { scope };
        let because: Vec<HeldRight> =
            rights.because(permission, asked, &reach::finder(&members)).into_iter().map(held).collect();
        let elsewhere: Vec<HeldRight> =
            rights.0.iter().filter(|r| r.permissions.contains(&permission)).map(held).collect();
        let told = |all: &[HeldRight]| {
            let one = |h: &HeldRight| {
                format!("{} over {}", h.via, h.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "))
            };
            all.iter().map(one).collect::<Vec<_>>().join("; ")
        };
        let login = &user.login;
        let (may, text) = match () {
            () if user.disabled_at.is_some() => (false, format!("{login} may not sign in, so nothing is allowed")),
            () if !because.is_empty() => (true, format!("{login} may {word} on {scope}: by {}", told(&because))),
            () if elsewhere.is_empty() => (false, format!("{login} may not {word} anywhere: no right includes it")),
            () if needs_all => (
                false,
                format!("{login} may not {word}: it counts over the whole fleet alone, not by {}", told(&elsewhere)),
            ),
            () => (false, format!("{login} may not {word} on all of {scope}, only by {}", told(&elsewhere))),
        };
        Ok(MayAnswer { may, because: if may { because } else { elsewhere }, text })
    }

    async fn with_rights(&self, which: &str) -> Answer<(UserRow, Rights, Vec<NodeInput>)> {
        let user = self.find(which).await?;
        let (id, preset) = (user.id, user.preset);
        let (rights, members) = self
            .db
            .read(|mut tx: Tx| async move {
                let rights = store::rights(&mut tx, id, preset, clock::now()).await?;
                let members = fleet::members(&mut tx).await?;
                Ok::<_, DbError>(tx.done((rights, members)))
            })
            .await?;
        Ok((user, rights, members))
    }
}

fn check(wanted: &GrantCreate) -> Answer<()> {
    check_line("reason", &wanted.reason, 2000).map_err(|e| Refusal::text("/reason", &e))?;
    if wanted.reason.chars().count() > 500 {
        return Err(Refusal::field("/reason", "a reason has at most 500 characters"));
    }
    if wanted.ttl_secs.is_some_and(|secs| !(60..=MOST_SECS).contains(&secs)) {
        return Err(Refusal::field("/ttl_secs", format!("a grant lives 60 to {MOST_SECS} seconds")));
    }
    let permissions = wanted.actions.permissions();
    if wanted.scope != Scope::Fleet
        && let Some(wide) = Permission::FLEET_ONLY.iter().find(|p| permissions.contains(p))
        && !matches!(wanted.actions, lampas_shared::access::Actions::Preset(_))
    {
        let why = format!("{} counts over the whole fleet alone: grant it on fleet", wide.as_str());
        return Err(Refusal::field("/actions", why));
    }
    Ok(())
}

async fn subject_id(tx: &mut Tx, subject: &Subject) -> Result<SubjectId, AccessError> {
    let unknown = || AccessError::from(Refusal::field("/subject", format!("there is no {subject}")));
    match subject {
        Subject::User(login) => {
            users::user_by_login(tx, login.as_str()).await?.map(|u| SubjectId::User(u.id)).ok_or_else(unknown)
        }
        Subject::Group(name) => {
            group::store::by_name(tx, name.as_str()).await?.map(|g| SubjectId::Group(g.id)).ok_or_else(unknown)
        }
    }
}

/// Refuses to touch rights that the principal hasn't in full himself.
pub(super) async fn must_have(tx: &mut Tx, by: &Principal, rights: &Rights, act: &str) -> Result<(), AccessError> {
    let Some(own) = &by.rights else { return Ok(()) };
    if own.covers(rights, &|_| None) {
        return Ok(());
    }
    let members = fleet::members(tx).await?;
    if own.covers(rights, &reach::finder(&members)) {
        return Ok(());
    }
    let text: Vec<String> = rights.0.iter().map(|r| words(&held(r))).collect();
    let why = format!("{} can't {act} what is more than their own rights: {}", by.name, text.join("; "));
    Err(Refusal::new("forbidden", why).into())
}

/// Refuses what would leave nobody who may everything for ever.
pub(super) async fn must_be_administered(tx: &mut Tx) -> Result<(), AccessError> {
    if store::has_administrator(tx).await? { Ok(()) } else { Err(last_administrator().into()) }
}

pub(super) fn tell(tx: &mut Tx, subject: &Subject) {
    let event = NewEvent::new(EventKind::UserChanged);
    tx.event(match subject {
        Subject::User(login) => event.with("login", login),
        Subject::Group(name) => event.with("login", format!("group {name}")),
    });
}

/// Returns a right as it is shown.
pub(super) fn held(right: &Right) -> HeldRight {
    let (via, grant) = match &right.via {
        Via::Preset(Preset::None) => ("own account".to_owned(), None),
        Via::Preset(preset) => (format!("preset {}", preset.as_str()), None),
        Via::Grant(id, None) => ("grant".to_owned(), Some(*id)),
        Via::Grant(id, Some(group)) => (format!("group {group}"), Some(*id)),
    };
    let mut scopes: Vec<Scope> = right.scopes.iter().cloned().collect();
    if scopes.is_empty() {
        scopes.push(Scope::Fleet);
    }
    HeldRight { permissions: right.permissions.iter().copied().collect(), scopes, via, grant }
}

fn words(held: &HeldRight) -> String {
    let permissions: Vec<&str> = held.permissions.iter().map(|p| p.as_str()).collect();
    let scopes: Vec<String> = held.scopes.iter().map(ToString::to_string).collect();
    format!("{} on {}", permissions.join(","), scopes.join(" and "))
}

fn shown(row: &GrantRow, members: &[NodeInput]) -> Grant {
    let nodes = members.iter().filter(|m| row.scope.contains(&m.name, &m.roles, &m.labels)).count();
    Grant {
        id: row.id,
        subject: row.subject.clone(),
        actions: row.actions.clone(),
        permissions: row.actions.permissions().into_iter().collect(),
        scope: row.scope.clone(),
        nodes: if row.is_gone { 0 } else { nodes as u32 },
        reason: row.reason.clone(),
        author: row.author.clone(),
        created_at: row.created_at,
        expires_at: row.expires_at,
    }
}

/// Refuses an edit of nodes that would give somebody a right on a node by bringing it into the scope of a grant, unless
/// whoever edits has that right on the node. What counts over the fleet alone is given to nobody so.
///
/// # Errors
/// With the grant's scope and the node.
pub(crate) async fn must_not_widen(
    tx: &mut Tx,
    by: &Principal,
    (before, now): (&[NodeInput], &[NodeInput]),
) -> Result<Result<(), reach::Outside>, DbError> {
    if by.rights.is_none() {
        return Ok(Ok(()));
    }
    let grants = store::standing(tx, clock::now()).await?;
    for node in now {
        let Some(old) = before.iter().find(|m| m.id == node.id).filter(|m| **m != *node) else { continue };
        for grant in &grants {
            let has = |n: &NodeInput| grant.scope.contains(&n.name, &n.roles, &n.labels);
            // The scope of a node goes with the node, whatever its name is.
            if grant.is_gone || matches!(grant.scope, Scope::Node(_)) || has(old) || !has(node) {
                continue;
            }
            for permission in grant.actions.permissions().into_iter().filter(|p| !Permission::FLEET_ONLY.contains(p)) {
                if let Err(mut outside) = by.must_on_nodes(permission, [node.id], before) {
                    outside.what = format!(
                        "{}, and would give it there to {}, who has it on {}",
                        outside.what, grant.subject, grant.scope
                    );
                    return Ok(Err(outside));
                }
            }
        }
    }
    Ok(Ok(()))
}
