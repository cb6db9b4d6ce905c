//! What the link needs of the rest of the agent.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use lampas_shared::{
    audit::Head,
    check::{Checked, ScriptDraft},
    desired::{ContentHash, Generation, NodeDesired},
    error::Fault,
    id::SecretValueId,
    object::Target,
    report::{NodePlan, ObservedFile},
    scan::{Ejected, Scan, ScanRequest},
    secret::StillHeld,
    signature::Signed,
};
use lampas_wire::Report;
use tokio::sync::watch;

use crate::journal;

/// Takes desired states and answers questions.
pub trait Reconciler: Send + Sync + 'static {
    /// Journals a state; done when it is durable.
    fn desired(&self, state: NodeDesired) -> BoxFuture<'static, Result<(), Fault>>;
    /// Says what would be done for a state; reads only.
    fn plan(&self, state: NodeDesired) -> BoxFuture<'static, Result<NodePlan, Fault>>;
    /// Reads what stands at a target.
    fn read(&self, target: Target) -> BoxFuture<'static, Result<Option<ObservedFile>, Fault>>;
    /// Puts the desired state back over a held drift.
    fn revert(&self, target: Target) -> BoxFuture<'static, Result<(), Fault>>;
    /// Tries again what failed or is quarantined.
    fn retry(&self) -> BoxFuture<'static, Result<(), Fault>>;
    /// Returns the state in the journal.
    fn current(&self) -> Option<(Generation, ContentHash)>;
    /// Returns bits of [`lampas_wire::feature`].
    fn features(&self) -> u32 {
        lampas_wire::feature::NONE
    }
    /// Looks at what stands unmanaged; reads only.
    fn scan(&self, _: ScanRequest) -> BoxFuture<'static, Result<Scan, Fault>> {
        Box::pin(async { Err(unknown("scans")) })
    }
    /// Ends observing: states are written from here on.
    fn manage(&self) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async { Err(unknown("taking over")) })
    }
    /// Makes plain files of what is managed, and forgets the identity; the agent stops soon after the answer.
    fn eject(&self) -> BoxFuture<'static, Result<Ejected, Fault>> {
        Box::pin(async { Err(unknown("ejecting")) })
    }
    /// Takes the signatures that hold, in place of those before; done when they are durable.
    fn signatures(&self, _: Vec<Signed>) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
    /// Keeps a head of the audit. Returns an earlier one that it contradicts; `Err` when it can't be kept, and then is
    /// not countersigned.
    fn keep_head(&self, _: Head) -> BoxFuture<'static, Result<Option<Head>, Fault>> {
        Box::pin(async { Err(unknown("heads of the audit")) })
    }
    /// Says what the node's tools find in a draft of a script.
    fn check(&self, _: ScriptDraft) -> BoxFuture<'static, Result<Checked, Fault>> {
        Box::pin(async { Err(unknown("checks of drafts")) })
    }
    /// Lets go of values of secrets that are destroyed; says which of them are still here, and why.
    fn purge(&self, _: BTreeSet<SecretValueId>) -> BoxFuture<'static, Result<Vec<StillHeld>, Fault>> {
        Box::pin(async { Err(unknown("purges")) })
    }
    /// Wakes when what the node says of itself changed.
    fn facts_changed(&self) -> Option<watch::Receiver<u64>> {
        None
    }
    /// Returns what looks after runs of operations.
    fn runs(&self) -> Option<std::sync::Arc<crate::operation::Runs>> {
        None
    }
}

fn unknown(what: &str) -> Fault {
    Fault::lasting("wire.unknown", format!("this agent does not know {what}"))
}

/// Reports that wait until a controller has committed them.
pub trait Outbox: Send + Sync + 'static {
    /// Names this life of the outbox; never 0.
    fn epoch(&self) -> u64;
    /// Holds the number of the last report that was put in, and wakes when there is a later one.
    fn subscribe(&self) -> watch::Receiver<u64>;
    /// Returns the reports after a number, in order, at most `limit`.
    fn pending(&self, after: u64, limit: usize) -> BoxFuture<'static, Result<Vec<(u64, Report)>, Fault>>;
    /// Lets go of everything up to a number.
    fn acked(&self, seq: u64) -> BoxFuture<'static, Result<(), Fault>>;
}

impl Outbox for journal::Outbox {
    fn epoch(&self) -> u64 {
        journal::Outbox::epoch(self)
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        journal::Outbox::subscribe(self)
    }

    fn pending(&self, after: u64, limit: usize) -> BoxFuture<'static, Result<Vec<(u64, Report)>, Fault>> {
        let outbox = self.clone();
        Box::pin(blocking(move || journal::Outbox::pending(&outbox, after, limit)))
    }

    fn acked(&self, seq: u64) -> BoxFuture<'static, Result<(), Fault>> {
        let outbox = self.clone();
        Box::pin(blocking(move || journal::Outbox::acked(&outbox, seq)))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, journal::JournalError> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Fault::from),
        Err(error) => Err(Fault::passing("journal.unavailable", error.to_string())),
    }
}
