//! Protections: the scopes in which a change needs an approval.

use std::collections::BTreeSet;

use lampas_api::{ProtectedScope, Protection, ProtectionCreate};
use lampas_runtime::{clock, random};
use lampas_shared::{
    TextError,
    access::Permission,
    check_line,
    event::EventKind,
    fleet::Scope,
    id::{NodeId, ProtectionId},
};

use super::{
    super::{ChangeError, Changes, node_edit::Sides, service},
    store::{self, ProtectionRow},
};
use crate::{
    audit::{Entry, Principal},
    compile::NodeInput,
    db::{DbError, Tx},
    event::NewEvent,
    fleet, host,
};

/// More would be a policy of another kind.
const MAX: usize = 200;

impl Changes {
    /// Returns the protections by scope.
    pub async fn protections(&self) -> Result<Vec<Protection>, ChangeError> {
        self.db()
            .read(|mut tx| async move {
                let rows = store::protections(&mut tx).await?;
                let members = fleet::members(&mut tx).await?;
                let found = rows.iter().map(|r| shown(r, &members)).collect();
                Ok::<_, ChangeError>(tx.done(found))
            })
            .await
    }

    /// Protects a scope. Plans that wait to be applied there need an approval from then on.
    ///
    /// # Errors
    /// When it is protected already, or names a node that isn't there.
    pub async fn protect(&self, new: &ProtectionCreate, by: &Principal) -> Result<Protection, ChangeError> {
        let reason = given("reason", &new.reason)?;
        self.db()
            .write(|mut tx| {
                let reason = reason.clone();
                async move {
                    let now = clock::now();
                    let rows = store::protections(&mut tx).await?;
                    let scope = stored(&mut tx, &new.scope).await?;
                    let members = fleet::members(&mut tx).await?;
                    by.must_on_scopes(Permission::Protect, [&new.scope], &members)?;
                    if rows.len() >= MAX {
                        return Err(rule(
                            "/scope",
                            "scope",
                            &new.scope.to_string(),
                            "200 scopes are protected already",
                        ));
                    }
                    if rows.iter().any(|r| r.scope == scope) {
                        return Err(rule("/scope", "scope", &new.scope.to_string(), "is protected already"));
                    }
                    let row = ProtectionRow {
                        id: random::new_id(),
                        scope,
                        reason: reason.clone(),
                        author: service::author(by),
                        created_at: now,
                    };
                    store::insert_protection(&mut tx, &row).await?;
                    let event = NewEvent::new(EventKind::ProtectionChanged).with("scope", &new.scope);
                    tx.event(event.with("state", "protected").with("reason", &reason));
                    tx.audit(Entry::done(by, "protection.create", new.scope.to_string()).because(reason));
                    super::refresh(&mut tx, now).await?;
                    let made = shown(&row, &members);
                    Ok::<_, ChangeError>(tx.done(made))
                }
            })
            .await
    }

    /// Takes a protection away.
    pub async fn unprotect(&self, id: ProtectionId, reason: &str, by: &Principal) -> Result<(), ChangeError> {
        self.db()
            .write(|mut tx| async move {
                let rows = store::protections(&mut tx).await?;
                let missing = || ChangeError::Nothing(format!("there is no protection {id}"));
                let row = rows.into_iter().find(|r| r.id == id).ok_or_else(missing)?;
                store::delete_protection(&mut tx, id).await?;
                let members = fleet::members(&mut tx).await?;
                let scope = shown_scope(&row.scope, &members);
                by.must_on_scopes(Permission::Protect, [&scope], &members)?;
                let event = NewEvent::new(EventKind::ProtectionChanged).with("scope", &scope);
                tx.event(event.with("state", "no longer protected").with("reason", reason));
                tx.audit(Entry::done(by, "protection.remove", scope.to_string()).because(reason));
                super::refresh(&mut tx, clock::now()).await?;
                Ok::<_, ChangeError>(tx.done(()))
            })
            .await
    }
}

/// Returns what is protected among these nodes, as they stand or as they would be.
pub(in super::super) async fn touched(
    tx: &mut Tx,
    sides: Sides<'_>,
    nodes: &BTreeSet<NodeId>,
) -> Result<Vec<ProtectedScope>, DbError> {
    let rows = store::protections(tx).await?;
    let is_touched = |r: &&ProtectionRow| sides.is_touched(nodes, |m| is_within(&r.scope, m));
    let view =
        |r: &ProtectionRow| ProtectedScope { scope: shown_scope(&r.scope, sides.before), reason: r.reason.clone() };
    Ok(rows.iter().filter(is_touched).map(view).collect())
}

/// Returns whether a node is in a scope as it is stored.
pub(in super::super) fn is_within(scope: &Scope, node: &NodeInput) -> bool {
    match scope {
        Scope::Node(id) => id.as_str() == node.id.to_string(),
        other => other.contains(&node.name, &node.roles, &node.labels),
    }
}

/// Returns a stored scope as people write it.
pub(in super::super) fn shown_scope(scope: &Scope, members: &[NodeInput]) -> Scope {
    match scope {
        Scope::Node(id) => {
            let node = members.iter().find(|m| m.id.to_string() == id.as_str());
            Scope::Node(node.map_or_else(|| id.clone(), |m| m.name.clone()))
        }
        other => other.clone(),
    }
}

/// Returns a scope as it is stored.
pub(in super::super) async fn stored(tx: &mut Tx, scope: &Scope) -> Result<Scope, ChangeError> {
    let unknown = || rule("/scope", "scope", &scope.to_string(), "names a node that is not there");
    let text = host::stored_scope(tx, scope).await?.ok_or_else(unknown)?;
    if text.len() > 400 {
        return Err(rule("/scope", "scope", &text, "is longer than 400 bytes"));
    }
    text.parse().map_err(|wrong| ChangeError::Rule { pointer: "/scope", wrong })
}

/// Checks a reason that must be there.
pub(in super::super) fn given(what: &'static str, text: &str) -> Result<String, ChangeError> {
    let text = text.trim();
    check_line(what, text, 2000).map_err(|wrong| ChangeError::Rule { pointer: "/reason", wrong })?;
    if text.is_empty() || text.chars().count() > 500 {
        return Err(rule("/reason", what, text, "must say why, in 1 to 500 characters"));
    }
    Ok(text.to_owned())
}

pub(in super::super) fn rule(pointer: &'static str, what: &'static str, text: &str, why: &str) -> ChangeError {
    ChangeError::Rule { pointer, wrong: TextError::new(what, text, why) }
}

fn shown(row: &ProtectionRow, members: &[NodeInput]) -> Protection {
    Protection {
        id: row.id,
        scope: shown_scope(&row.scope, members),
        reason: row.reason.clone(),
        author: row.author.clone(),
        created_at: row.created_at,
        nodes: members.iter().filter(|m| is_within(&row.scope, m)).count() as u32,
    }
}
