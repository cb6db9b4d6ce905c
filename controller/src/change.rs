//! Changes: drafts, plan, apply, revert; and what nodes shall be and say.
//!
//! A change holds drafts. Planning compiles the fleet as it would be and asks the connected nodes; the plan's id binds
//! to what was seen. Applying writes revisions, generations, audit and events in one transaction and wakes the link.
//! What nodes report comes back through [`Ingest`], which gathers the reports of many nodes into one transaction.
//! [`Desired`] holds the compiled fleet in memory, so that thousands of nodes are served without asking the store.

pub(crate) mod api;
pub(crate) mod approval;
mod assign;
mod desired;
mod draft;
mod effect;
mod fold;
pub(crate) mod freeze;
mod holder;
mod ingest;
mod membership;
mod node_edit;
mod plan;
mod problem;
mod progress;
mod refusal;
mod reports;
pub(crate) mod rollout;
pub(crate) mod root_code;
pub(crate) mod schedule;
mod service;
pub(crate) mod set;
pub(crate) mod signing;
mod store;
mod superseded;
mod unmatched;

use lampas_shared::{TextError, change::ChangeState, fleet::NodeName, object::ObjectKey};
use thiserror::Error;

pub(crate) use assign::epoch;
pub(crate) use desired::refs;
pub use desired::{Desired, View};
pub use draft::{Edit, Verb};
pub(crate) use ingest::target_key;
pub use ingest::{Ingest, IngestError};
pub use membership::Members;
pub(crate) use reports::{Told, told};
pub use schedule::Orderer;
pub use service::{Apply, Changes, Listing, NewChange, NewValue};
pub(crate) use service::{Guards, author, guards_of, make, note_overridden};
pub use store::ChangeRow;
pub(crate) use store::{forget_nodes, open, titles};

use crate::{
    access::{Outside, Unproven},
    compile::Tie,
    db::DbError,
    fleet::FleetError,
};

/// Why something could not be done to a change.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// There is no such change.
    #[error("there is no change {0:?}")]
    NotFound(String),
    /// Somebody was faster: the object has a newer revision than the draft was made from.
    #[error(
        "{key} was changed by {author} meanwhile: revision {found} stands, the draft was made from {base}; look at both and save again"
    )]
    Conflict {
        /// The object.
        key: ObjectKey,
        /// What the draft was made from; 0 for "there was none".
        base: u64,
        /// What stands; 0 for "there is none".
        found: u64,
        /// Who made that.
        author: String,
    },
    /// What shall be made stands already: it would be written over.
    #[error("there is {key} already, saved by {author}; open it to change it, or choose another name")]
    Exists {
        /// The object.
        key: ObjectKey,
        /// Who saved it.
        author: String,
    },
    /// What shall come back is there again: it would be written over.
    #[error(
        "{key} can't come back: one that {author} saved since stands in its place; edit that, or delete it and put this back then; what stood before is in its history: lampasctl object history {kind}/{scope}/{name}",
        kind = .key.kind, scope = .key.scope, name = .key.name
    )]
    Remade {
        /// The object.
        key: ObjectKey,
        /// Who saved what stands.
        author: String,
    },
    /// Two drafts of the change are of one object.
    #[error("{0} stands twice in this change; one draft of each object is allowed")]
    Twice(ObjectKey),
    /// Two objects of one level claim one target.
    #[error("{0}")]
    Tie(Box<Tie>),
    /// A name in a template stands for nothing on a node.
    #[error("{0}")]
    Template(Box<crate::compile::Problem>),
    /// A secret's draft names no value, or one that is not its own.
    #[error("{key}: {why}")]
    Value {
        /// The secret.
        key: Box<ObjectKey>,
        /// What is wrong.
        why: String,
    },
    /// A draft says what an object can't.
    #[error("{key}")]
    Field {
        /// The object.
        key: Box<ObjectKey>,
        /// What is wrong.
        source: TextError,
    },
    /// A scope names a node that isn't there.
    #[error("{key}: there is no node {node}")]
    NoSuchNode {
        /// The object.
        key: ObjectKey,
        /// The name.
        node: NodeName,
    },
    /// Somebody was faster: the node has a newer revision than the edit was made from, or is gone.
    #[error(
        "node {node} was edited or taken out meanwhile: revision {found} stands, the edit was made from {base}; look at it and edit it again"
    )]
    NodeConflict {
        /// The node.
        node: NodeName,
        /// What the edit was made from.
        base: u64,
        /// What stands; 0 when it is gone.
        found: u64,
    },
    /// There are no drafts, or more than 10,000.
    #[error("a change has 1 to 10000 drafts and edits of nodes, not {0}")]
    Count(usize),
    /// The plan that was seen holds no more.
    #[error("the plan {plan} holds no more: {why}; plan again")]
    Moved {
        /// The plan as it was given.
        plan: String,
        /// What moved.
        why: String,
    },
    /// Some affected nodes could not be asked, and nobody said that this is fine.
    #[error(
        "{nodes} affected nodes could not be asked; allow unplanned nodes to go on, they get the change when they return"
    )]
    Unplanned {
        /// How many.
        nodes: usize,
    },
    /// A signature is not what it should be.
    #[error(transparent)]
    Signature(TextError),
    /// Nodes said that they could not do it.
    #[error("the plan can't be applied: {}", .0.join("; "))]
    Blocked(Vec<String>),
    /// Another act was faster: what the change is about was changed since it was made.
    #[error("change {number} can't be applied any more: {why}; look at what stands and make it again")]
    Superseded {
        /// Its number.
        number: u64,
        /// What was changed, and by whom.
        why: String,
    },
    /// It is too late or too early for that.
    #[error("change {number} is {}, it can't be {act}", .state.as_str())]
    State {
        /// Its number.
        number: u64,
        /// Its state.
        state: ChangeState,
        /// What was asked for.
        act: &'static str,
    },
    /// The client used one idempotency key for two different requests.
    #[error("the idempotency key was used for another change ({0})")]
    KeyReused(u64),
    /// An object of the change is on its way with another one.
    #[error(
        "{key} is rolling out with change {number}, and nodes wait for it: let that go on (lampasctl rollout resume {number}, or promote), or end it (lampasctl rollout abort {number}, or revert), then apply again"
    )]
    Rolling {
        /// The object.
        key: ObjectKey,
        /// The other change.
        number: u64,
    },
    /// A rollout can't be told so.
    #[error(transparent)]
    Order(lampas_shared::rollout::Refused),
    /// Somebody else must look at it first.
    #[error("change {number} needs an approval: {}; {}", protected(.needs), approvers(.may))]
    ApprovalNeeded {
        /// Its number.
        number: u64,
        /// What is protected.
        needs: Vec<lampas_api::ProtectedScope>,
        /// Who may approve it.
        may: Vec<String>,
    },
    /// An author would approve.
    #[error("{by} made change {number}; somebody else must approve it")]
    OwnChange {
        /// Its number.
        number: u64,
        /// Who.
        by: String,
    },
    /// A freeze stands over nodes of the change.
    #[error("{}; apply change {number} when that is over, or schedule it", freeze::told(.frozen))]
    Frozen {
        /// Its number.
        number: u64,
        /// The freezes.
        frozen: Vec<lampas_api::FrozenScope>,
    },
    /// A freeze stands over the next wave of a rollout.
    #[error("{0}; it begins by itself afterwards")]
    FrozenWave(String),
    /// A scheduled change can't be applied for a reason of the schedule's own.
    #[error("{0}")]
    Unfit(String),
    /// A field of a protection, a freeze, an approval or a schedule is wrong.
    #[error("{wrong}")]
    Rule {
        /// Which.
        pointer: &'static str,
        /// What is wrong.
        wrong: TextError,
    },
    /// A strategy says what can't be.
    #[error(transparent)]
    Strategy(TextError),
    /// A node would move without a change where one would have to wait.
    #[error(
        "{0}: this edit would move nodes there, or lead them in or out; plan it as a change, so that it can be approved or scheduled (lampasctl node set … --plan); an administrator may go over it with a reason (--override)"
    )]
    Guarded(String),
    /// A node's going would change nodes without a change where one would have to wait.
    #[error(
        "{told}: {what} would change {on} at once; wait until that is over, or an administrator may go over it with a reason (--override)"
    )]
    Leaving {
        /// What stands in the way.
        told: String,
        /// What is done to which node.
        what: String,
        /// The nodes that it would change, by name.
        on: String,
    },
    /// There is nothing that could be reverted or adopted.
    #[error("{0}")]
    Nothing(String),
    /// All of a set was to go, and it holds nothing.
    #[error("the set {0} holds no object; there is nothing to delete")]
    EmptySet(lampas_shared::source::SourceName),
    /// It is about objects or nodes on which somebody may not.
    #[error(transparent)]
    Outside(#[from] Outside),
    /// It is root code, and who lets it out has not lately shown who they are.
    #[error(transparent)]
    Unproven(#[from] Unproven),
    /// A node.
    #[error(transparent)]
    Fleet(FleetError),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

/// Tells protections in a sentence.
pub(crate) fn protected(needs: &[lampas_api::ProtectedScope]) -> String {
    let one = |n: &lampas_api::ProtectedScope| format!("{} is protected ({})", n.scope, n.reason);
    let first: Vec<String> = needs.iter().take(3).map(one).collect();
    let more = if needs.len() > 3 { format!(" and {} more", needs.len() - 3) } else { String::new() };
    format!("{}{more}", first.join(", "))
}

fn approvers(may: &[String]) -> String {
    match may {
        [] => "nobody but its author may approve changes: make another operator".to_owned(),
        few if few.len() <= 5 => format!("{} may approve it", few.join(", ")),
        many => format!("{} and {} more may approve it", many[..4].join(", "), many.len() - 4),
    }
}

crate::store_error!(ChangeError);

impl From<FleetError> for ChangeError {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::Store(error) => Self::Store(error),
            other => Self::Fleet(other),
        }
    }
}

/// Marks rolling changes as done whose nodes are all at an end; returns how many.
pub(crate) async fn settle(tx: &mut crate::db::Tx, now: lampas_shared::time::UnixMs) -> Result<usize, DbError> {
    Ok(progress::settle(tx, None, now).await?.len())
}

#[cfg(test)]
mod tests;
