//! What an apply is asked before it goes on: whether its gates may run, somebody approved it, and no freeze stands.

use std::collections::BTreeSet;

use lampas_shared::{TextError, access::Permission, fleet::Scope, id::NodeId, object::Body, time::UnixMs};

use super::Apply;
use crate::{
    access::Outside,
    audit::Principal,
    change::{ChangeError, ChangeRow, approval, draft::Verb, freeze, plan::Prospect},
    db::Tx,
    secret,
};

/// Lets a change through to its nodes: somebody approved it where that is needed, no freeze stands, or an administrator
/// goes over that.
pub(super) async fn admit(
    tx: &mut Tx,
    row: &ChangeRow,
    prospect: &Prospect,
    how: &Apply,
    by: &Principal,
    now: UnixMs,
) -> Result<(), ChangeError> {
    let nodes: BTreeSet<NodeId> = prospect.affected().into_keys().collect();
    let over = approval::check(tx, row, (prospect.sides(), &nodes), how).await?;
    if let (Some(why), false) = (&how.over_protection, over.is_empty()) {
        by.must_on_nodes(Permission::Protect, prospect.concerned(), &prospect.members)?;
        let scopes = over.iter().map(|o| o.scope.to_string()).collect();
        approval::overridden(tx, row, ("protection", why), scopes, by, now).await?;
    }
    // Who is beyond the limit gets nothing now; freezes are asked again before that.
    let limit = how.rollout.limit.as_ref();
    let is_within = |id: &NodeId| {
        let node = prospect.members.iter().find(|m| m.id == *id);
        limit.is_none_or(|scope| node.is_none_or(|m| scope.contains(&m.name, &m.roles, &m.labels)))
    };
    let nodes = nodes.into_iter().filter(is_within).collect();
    let frozen = freeze::over(tx, prospect.sides(), &nodes, now).await?;
    match &how.over_freeze {
        _ if frozen.is_empty() => Ok(()),
        None => Err(ChangeError::Frozen { number: row.number, frozen }),
        Some(why) => {
            by.must_on_nodes(Permission::Protect, prospect.concerned(), &prospect.members)?;
            let scopes = frozen.iter().map(|f| f.scope.to_string()).collect();
            Ok(approval::overridden(tx, row, ("freeze", why), scopes, by, now).await?)
        }
    }
}

/// Refuses to let a change out in waves that edits nodes: roles and labels are the nodes' own, and can't be held back.
pub(in super::super) fn must_be_whole(prospect: &Prospect, how: &Apply) -> Result<(), ChangeError> {
    if prospect.node_edits.is_empty() || how.rollout.is_plain() {
        return Ok(());
    }
    let why = "a change that edits nodes reaches all of them at once; leave out waves and limit, or make a change of each wave";
    Err(ChangeError::Strategy(TextError::new("rollout", "", why)))
}

/// Wants the permission to run, wherever the gates of a rollout run: they are asked in the controller's name.
///
/// # Errors
/// With the nodes on which it isn't held.
pub(in super::super) fn must_run_gates(prospect: &Prospect, how: &Apply, by: &Principal) -> Result<(), Outside> {
    if by.rights.is_none() {
        return Ok(());
    }
    for gate in &how.rollout.gates {
        match &gate.from {
            Some(name) => {
                by.must_on_scopes(Permission::Run, [&Scope::Node(name.clone())], &prospect.members)?;
            }
            None => by.must_on_nodes(Permission::Run, prospect.affected().into_keys(), &prospect.members)?,
        }
    }
    Ok(())
}

/// Refuses secrets whose values were destroyed since they were drafted.
///
/// # Errors
/// With the first of them.
pub(super) async fn must_have_values(tx: &mut Tx, prospect: &Prospect) -> Result<(), ChangeError> {
    for (_, edit) in prospect.edits.iter().filter(|(_, e)| e.verb != Verb::None) {
        let Some(Body::Secret(secret)) = edit.after.as_deref().map(|spec| &spec.body) else { continue };
        if let Some(value) = secret.value
            && secret::store::is_purged(tx, value).await?
        {
            let why = "names a value that was purged; set a new one".to_owned();
            return Err(ChangeError::Value { key: Box::new(edit.key.clone()), why });
        }
    }
    Ok(())
}
