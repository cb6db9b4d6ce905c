//! Limits: a change that reaches the nodes of one scope now, and the rest when somebody says so.
//!
//! A limit is part of the plan that it was made with, and of its id: who applies or approves that plan does so with the
//! limit. A plan without one may be applied with a limit, as it may be applied in waves.

use std::collections::BTreeSet;

use lampas_api::{NodeRef, PlanLimit};
use lampas_shared::{
    TextError,
    fleet::Scope,
    id::{ChangeId, NodeId},
    rollout::{Candidate, Strategy},
};

use super::candidates;
use crate::{
    change::{ChangeError, plan::Prospect, store as change_store},
    db::{DbError, Tx},
};

/// How many nodes are named where none is in the limit.
const NAMED: usize = 5;

/// Returns the limit that a plan which is being made has: the one that is asked for, else that of the plan before.
/// `fleet` takes it off.
pub(crate) async fn wanted(tx: &mut Tx, change: ChangeId, asked: Option<&Scope>) -> Result<Option<Scope>, DbError> {
    let scope = match asked {
        Some(scope) => Some(scope.clone()),
        None => of_plan(tx, change).await?,
    };
    Ok(scope.filter(|s| *s != Scope::Fleet))
}

/// Returns the limit of a change's plan.
pub(crate) async fn of_plan(tx: &mut Tx, change: ChangeId) -> Result<Option<Scope>, DbError> {
    Ok(change_store::plan(tx, change).await?.and_then(|(_, plan)| plan.shown.limit).map(|l| l.scope))
}

/// Divides the nodes that a change would be written on by a limit.
///
/// # Errors
/// When none is within it, or the change edits nodes, which can't be held back.
pub(crate) async fn divided(tx: &mut Tx, scope: &Scope, prospect: &Prospect) -> Result<PlanLimit, ChangeError> {
    if !prospect.node_edits.is_empty() {
        let why = "a change that edits nodes reaches all of them at once; leave the limit out";
        return Err(ChangeError::Strategy(TextError::new("limit", &scope.to_string(), why)));
    }
    let affected: BTreeSet<NodeId> = prospect.affected().into_keys().collect();
    let mut nodes = candidates(tx, &affected, &prospect.members, Some(scope)).await?;
    must_reach(Some(scope), &nodes, &|_| true)?;
    nodes.sort_by_key(|n| n.name);
    let refs = |is_within: bool| {
        let side = nodes.iter().filter(|n| n.is_within == is_within);
        side.map(|n| NodeRef { id: n.id, name: n.name.to_string() }).collect()
    };
    Ok(PlanLimit { scope: scope.clone(), within: refs(true), beyond: refs(false) })
}

/// Returns a strategy with the limit of the plan that it is for.
///
/// # Errors
/// When it has another one itself.
pub(crate) fn joined(strategy: &Strategy, planned: Option<Scope>) -> Result<Strategy, ChangeError> {
    let mut joined = strategy.clone();
    match (&strategy.limit, planned) {
        (Some(given), Some(planned)) if *given != planned => {
            let why = format!("the plan is limited to {planned}; plan again with the other limit");
            Err(ChangeError::Strategy(TextError::new("limit", &given.to_string(), why)))
        }
        (_, planned) => {
            joined.limit = joined.limit.or(planned);
            Ok(joined)
        }
    }
}

/// Refuses a limit that holds none of the nodes, where there are some; names those that whoever asks may see.
pub(super) fn must_reach(
    limit: Option<&Scope>,
    nodes: &[Candidate<'_>],
    sees: &dyn Fn(NodeId) -> bool,
) -> Result<(), ChangeError> {
    let Some(scope) = limit.filter(|_| !nodes.is_empty() && nodes.iter().all(|n| !n.is_within)) else {
        return Ok(());
    };
    let mut names: Vec<&str> = nodes.iter().filter(|n| sees(n.id)).map(|n| n.name.as_str()).collect();
    names.sort_unstable();
    let named = names.len().min(NAMED);
    let mut why = "holds no node that the change would be written on".to_owned();
    why += &match (&names[..named], nodes.len() - named) {
        ([], _) => "; those are beyond what you may see".to_owned(),
        (some, 0) => format!("; these are {}", some.join(", ")),
        (some, more) => format!("; these are {} and {more} more", some.join(", ")),
    };
    Err(ChangeError::Strategy(TextError::new("limit", &scope.to_string(), why)))
}
