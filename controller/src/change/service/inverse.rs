//! Changes that put something back: what an applied one did, or an object at one of its revisions.

use std::collections::BTreeSet;

use lampas_api::{Draft, DraftAct};
use lampas_shared::{
    TextError,
    change::ChangeState,
    id::{ChangeId, NodeId, ObjectId},
    object::ObjectKey,
};

use super::{Apply, Changes, NewChange, apply, create, make, number};
use crate::{
    audit::Principal,
    change::{ChangeError, ChangeRow, draft, draft::Verb, node_edit, plan::Prospect, rollout, store},
    db::Tx,
    host,
};

impl Changes {
    /// Makes the change that undoes an applied one. Objects that were changed again since are a conflict.
    pub async fn revert(&self, id: ChangeId, reason: &str, by: &Principal) -> Result<ChangeRow, ChangeError> {
        self.db()
            .write(|mut tx| async move {
                let (row, does_something) = inverse(&mut tx, id, reason, by).await?;
                if !does_something {
                    let number = number(&mut tx, id).await?;
                    return Err(ChangeError::Nothing(format!(
                        "nothing can be put back: all that change {number} brought to nodes is so since an earlier one, and \
                         what they had instead is over; apply what shall be"
                    )));
                }
                Ok::<_, ChangeError>(tx.done(row))
            })
            .await
    }

    /// Makes the change that puts an object back to one of its revisions, also when it was deleted since.
    pub async fn restore(
        &self,
        object: ObjectId,
        revision: u64,
        reason: &str,
        by: &Principal,
    ) -> Result<ChangeRow, ChangeError> {
        self.db()
            .write(|mut tx| async move {
                let missing =
                    || ChangeError::Nothing(format!("the object has no revision {revision} that could be restored"));
                let old =
                    host::revision(&mut tx, object, revision).await?.filter(|r| !r.is_deletion).ok_or_else(missing)?;
                let standing = host::get(&mut tx, object).await?;
                let previous_name = standing.as_ref().map(|s| s.spec.name.clone()).filter(|n| *n != old.spec.name);
                // Another object that took the name since is not the one that comes back.
                let base = Some(standing.map_or(0, |s| s.revision));
                let draft = Draft { act: DraftAct::Put(old.spec), base, previous_name };
                let reason = if reason.is_empty() { format!("restore revision {revision}") } else { reason.to_owned() };
                let new = NewChange { drafts: vec![draft], reason, ..NewChange::default() };
                let row = create(&mut tx, &new, by).await.map_err(remade)?;
                Ok::<_, ChangeError>(tx.done(row))
            })
            .await
    }
}

/// Undoes a change everywhere and at once, also on nodes that can't be asked: who doesn't have it stays as it is.
pub(crate) async fn revert_at_once(
    tx: &mut Tx,
    id: ChangeId,
    reason: &str,
    by: &Principal,
) -> Result<(ChangeRow, Vec<NodeId>), ChangeError> {
    let (row, _) = inverse(tx, id, reason, by).await?;
    apply(tx, row.id, &Apply { is_own: true, ..Apply::default() }, by).await
}

/// Makes the change that undoes another one; tells whether it does anything.
async fn inverse(tx: &mut Tx, id: ChangeId, reason: &str, by: &Principal) -> Result<(ChangeRow, bool), ChangeError> {
    let row = store::get(tx, id, false).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
    if row.state.is_open() || row.state == ChangeState::Abandoned {
        return Err(ChangeError::State { number: row.number, state: row.state, act: "reverted: it was never applied" });
    }
    let mut drafts = Vec::new();
    for made in host::by_change(tx, id).await? {
        let before = match made.revision {
            0 | 1 => None,
            n => host::revision(tx, made.object, n - 1).await?.filter(|r| !r.is_deletion),
        };
        let base = Some(if made.is_deletion { 0 } else { made.revision });
        drafts.push(match before {
            None if made.is_deletion => continue,
            None => Draft { act: DraftAct::Delete(made.spec.key()), base, previous_name: None },
            Some(before) => {
                let previous_name = (before.spec.name != made.spec.name).then(|| made.spec.name.clone());
                Draft { act: DraftAct::Put(before.spec), base, previous_name }
            }
        });
    }
    // What it brought to nodes that had been left out of a deletion made no revision.
    let made: BTreeSet<ObjectKey> = drafts.iter().map(draft::key_of).collect();
    for object in rollout::store::objects(tx, id).await? {
        let Some((last, _)) = host::newest(tx, object).await?.filter(|(last, _)| last.is_deletion) else { continue };
        if !made.contains(&last.spec.key()) {
            drafts.push(Draft { act: DraftAct::Delete(last.spec.key()), base: Some(0), previous_name: None });
        }
    }
    let node_edits = node_edit::inverse(tx, id).await?;
    if drafts.is_empty() && node_edits.is_empty() {
        return Err(ChangeError::Nothing(format!(
            "change {} changed no object and no node, there is nothing to revert",
            row.number
        )));
    }
    let reason = if reason.is_empty() { format!("revert change {}", row.number) } else { reason.to_owned() };
    let new = NewChange { drafts, node_edits, reason, reverts: Some(id), ..NewChange::default() };
    let (row, prospect) = make(tx, &new, by).await.map_err(remade)?;
    let does_something =
        |p: Prospect| !p.node_edits.is_empty() || p.edits.iter().any(|(_, edit)| edit.verb != Verb::None);
    Ok((row, prospect.is_none_or(does_something)))
}

/// Says of what is in the way of what comes back that it stands there: another name is no way out.
fn remade(error: ChangeError) -> ChangeError {
    match error {
        ChangeError::Exists { key, author } => ChangeError::Remade { key, author },
        other => other,
    }
}

/// Refuses to put a change back in waves where others left nodes out of its objects before: those stay left out, and the
/// waves would be between two layers of that.
pub(in crate::change) fn must_put_back_whole(are_held: bool, how: &Apply) -> Result<(), ChangeError> {
    if !are_held || how.rollout.is_plain() {
        return Ok(());
    }
    let why = "nodes were left out of an earlier change of its objects, and stay so: put it back on all at once, without \
               waves and limit";
    Err(ChangeError::Strategy(TextError::new("rollout", "", why)))
}
