//! What the reconciler knows, in memory and in the journal at once: every change is committed before it is believed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::{ContentHash, Generation, NodeDesired, Spec},
    error::{Chain, Fault},
    id::{NodeId, SecretValueId},
    object::Target,
    report::{GenerationReport, Phase, ResourceReport, ResourceState},
    time::UnixMs,
};
use lampas_wire::Report;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::{
    host::Ownership,
    journal::{Accepted, Drift, Journal, JournalError, Pause, Progress, Stance, Transaction},
    system::Root,
};

/// The book of one node.
pub(super) struct Book {
    pub(super) journal: Journal,
    node: NodeId,
    pub(super) current: Option<Arc<Accepted>>,
    pub(super) stance: Stance,
    pub(super) pause: Option<Pause>,
    pub(super) drifts: BTreeMap<Target, Drift>,
    pub(super) ownership: Arc<Ownership>,
    /// Held changes by hand that somebody asked to overwrite: the fingerprint of what was told of then.
    pub(super) reverting: BTreeMap<Target, ContentHash>,
    /// Whether the current generation is undone for the time being, to see whether it cut the node off.
    pub(super) is_on_trial_revert: bool,
    arrived: Option<(Generation, Instant)>,
    /// The contents of states that are being planned, as long as somebody plans them.
    planned: Vec<Weak<Needed>>,
}

/// What a state needs besides itself.
#[derive(Debug, Default)]
pub(super) struct Needed {
    contents: BTreeSet<ContentHash>,
    values: BTreeSet<SecretValueId>,
}

impl Needed {
    fn take(&mut self, state: &NodeDesired) {
        self.contents.extend(contents(state));
        self.values.extend(super::secret::values(state));
    }
}

/// What a pass works towards.
#[derive(Clone)]
pub(super) struct Goal {
    pub(super) state: Arc<NodeDesired>,
    /// Whether it is the state that the controller sent last.
    pub(super) is_current: bool,
}

impl Book {
    /// Reads the journal.
    pub(super) fn open(journal: Journal, node: NodeId) -> Result<Self, JournalError> {
        // What another life of this node (enrolled anew) was told, and what it had to tell, is nobody's business. What it
        // wrote stays on the disk, and stays known as LAMPAS's: the next state decides about it.
        if journal.hand_over(node)? {
            warn!(node.id = %node, "the journal was another node's; its state and its reports are dropped, its files stay");
        }
        let current = journal.current()?.filter(|c| c.state.node == node);
        let stance = if current.is_some() { journal.stance()? } else { Stance::Follow };
        Ok(Self {
            node,
            current: current.map(Arc::new),
            stance,
            pause: journal.pause()?,
            drifts: journal.drifts()?,
            ownership: Arc::new(journal.ownership()?),
            reverting: BTreeMap::new(),
            is_on_trial_revert: false,
            arrived: None,
            planned: Vec::new(),
            journal,
        })
    }

    /// Takes up the copy of the ownership when the journal was lost: what stood before LAMPAS must still come back.
    pub(super) fn recover_ownership(&mut self, root: &Root) -> Result<(), JournalError> {
        if !self.journal.is_fresh() || !self.ownership.places.is_empty() {
            return Ok(());
        }
        if let Some(ownership) = crate::host::kept_ownership(root) {
            if ownership.places.is_empty() {
                return Ok(());
            }
            warn!(places = ownership.places.len(), "the journal was lost; what LAMPAS owns is known from its copy");
            let mut transaction = Transaction::new();
            transaction.ownership(&Ownership::default(), &ownership);
            self.journal.commit(transaction)?;
            self.ownership = Arc::new(ownership);
            return Ok(());
        }
        match crate::host::put_aside(root) {
            Ok(None) => {}
            Ok(Some(path)) => error!(
                path,
                "the journal was lost, and the copy of what LAMPAS owns with it; what stood before it is kept there"
            ),
            Err(error) => error!(error = %Chain(&error), "the originals of files could not be put aside"),
        }
        Ok(())
    }

    /// Takes a state from the controller into the journal, together with the report that says so.
    pub(super) fn accept(&mut self, mut state: NodeDesired) -> Result<bool, Fault> {
        self.check(&state)?;
        if let Some(current) = &self.current {
            let known = (current.state.generation, current.state.hash);
            if state.generation < known.0 {
                let text = format!("generation {} is older than {}, which this node has", state.generation, known.0);
                return Err(Fault::lasting("desired.older", text));
            }
            if state.generation == known.0 {
                return if state.hash == known.1 {
                    Ok(false)
                } else {
                    let text =
                        format!("generation {} is known with another hash, {}", state.generation, known.1.short());
                    Err(Fault::lasting("desired.generation_reused", text))
                };
            }
        }
        let mut transaction = Transaction::new();
        transaction.take_contents(&mut state);
        let generation = state.generation;
        let accepted = Accepted {
            state,
            received_at: clock::now(),
            progress: Progress::Received,
            resources: Vec::new(),
            applied_at: None,
        };
        transaction.current(&accepted);
        transaction.stance(&Stance::Follow);
        let arrived = Instant::now();
        transaction.report(Report::Generation(GenerationReport {
            generation,
            hash: accepted.state.hash,
            phase: Phase::Received,
            state: ResourceState::Waiting,
            took_ms: 0,
            resources: Vec::new(),
            at: clock::now(),
        }));
        self.journal.commit(transaction)?;
        self.current = Some(Arc::new(accepted));
        self.stance = Stance::Follow;
        self.is_on_trial_revert = false;
        self.arrived = Some((generation, arrived));
        Ok(true)
    }

    /// Refuses what is not for this node or not what it says.
    pub(super) fn check(&self, state: &NodeDesired) -> Result<(), Fault> {
        if state.node != self.node {
            let text = format!("the state is for node {}, this is {}", state.node, self.node);
            return Err(Fault::lasting("desired.other_node", text));
        }
        let computed = state.compute_hash();
        if computed != state.hash {
            let text = format!("the state says hash {}, it is {}", state.hash.short(), computed.short());
            return Err(Fault::lasting("desired.hash", text));
        }
        let mut targets = BTreeSet::new();
        for resource in state.resources() {
            if !targets.insert(&resource.target) {
                return Err(Fault::lasting("desired.target_twice", format!("{} is claimed twice", resource.target)));
            }
            let Spec::File { content, .. } = &resource.spec else { continue };
            let honest = content
                .inline
                .as_ref()
                .is_none_or(|b| ContentHash::of(b) == content.hash && b.len() as u64 == content.size);
            if !honest {
                return Err(Fault::lasting(
                    "desired.content",
                    format!("the content of {} is not what its hash says", resource.target),
                ));
            }
        }
        Ok(())
    }

    /// Returns what to work towards; `None` before a controller has ever sent a state.
    pub(super) fn goal(&self) -> Result<Option<Goal>, JournalError> {
        let Some(current) = &self.current else { return Ok(None) };
        if self.follows() {
            let state = Arc::new(current.state.clone());
            return Ok(Some(Goal { state, is_current: true }));
        }
        let back = self.back(current)?;
        let nothing = || NodeDesired::new(self.node, Generation::default(), Vec::new());
        Ok(Some(Goal { state: Arc::new(back.unwrap_or_else(nothing)), is_current: false }))
    }

    /// Returns the state that is gone back to from the current one.
    fn back(&self, current: &Accepted) -> Result<Option<NodeDesired>, JournalError> {
        let good = self.journal.good()?.filter(|g| g.node == self.node);
        // When the generation that is undone is itself the last good one, the one before it is meant.
        match good {
            Some(good) if good.generation == current.state.generation => {
                Ok(self.journal.previous()?.filter(|g| g.node == self.node))
            }
            good => Ok(good),
        }
    }

    /// Returns the states that may be kept true again by themselves: while the current one is not confirmed, that is it and
    /// the one before it, whichever of them stands.
    pub(super) fn on_trial(&self) -> Result<Vec<NodeDesired>, JournalError> {
        let is_decided = |c: &&Arc<Accepted>| c.progress == Progress::Confirmed || self.stance != Stance::Follow;
        let Some(current) = self.current.as_ref().filter(|c| !is_decided(c)) else { return Ok(Vec::new()) };
        Ok(self.back(current)?.into_iter().chain([current.state.clone()]).collect())
    }

    /// Returns whether the current state is the one to be kept true.
    pub(super) fn follows(&self) -> bool {
        matches!(self.stance, Stance::Follow) && !self.is_on_trial_revert
    }

    /// Returns the pause that holds at this moment.
    pub(super) fn pause_at(&self, now: UnixMs) -> Option<&Pause> {
        self.pause.as_ref().filter(|p| p.until.is_none_or(|until| now < until))
    }

    /// Begins the pause anew when the clock was set back behind its beginning, so that it ends: nobody can say how much of
    /// it is over.
    /// Returns whether it did.
    pub(super) fn rebase_pause(&mut self, now: UnixMs) -> Result<bool, JournalError> {
        let Some(Pause { until: Some(until), reason, since }) = self.pause.clone().filter(|p| now < p.since) else {
            return Ok(false);
        };
        warn!("the clock was set back behind the beginning of the pause; the pause begins anew");
        let until = Some(now.plus_ms(until.since(since).max(0)));
        self.set_pause(Some(Pause { until, reason, since: now }))?;
        Ok(true)
    }

    /// Builds the report of the current generation.
    pub(super) fn report(&self, accepted: &Accepted, phase: Phase) -> Report {
        let state = accepted.resources.iter().map(|r| r.state).max().unwrap_or(ResourceState::Converged);
        let took = match self.arrived {
            Some((generation, at)) if generation == accepted.state.generation => at.elapsed().as_millis() as u64,
            _ => clock::now().since(accepted.received_at).max(0) as u64,
        };
        Report::Generation(GenerationReport {
            generation: accepted.state.generation,
            hash: accepted.state.hash,
            phase,
            state,
            took_ms: took,
            resources: accepted.resources.clone(),
            at: clock::now(),
        })
    }

    /// Notes that a controller was reached after the current generation was applied: it is the last good one from here on.
    pub(super) fn confirmed(&mut self, generation: Generation) -> Result<(), JournalError> {
        let Some(current) = self.current.clone().filter(|c| c.state.generation == generation) else { return Ok(()) };
        if current.progress == Progress::Confirmed {
            return Ok(());
        }
        let accepted = Accepted { progress: Progress::Confirmed, ..(*current).clone() };
        let mut transaction = Transaction::new();
        transaction.current(&accepted);
        self.make_good(&accepted.state, &mut transaction)?;
        transaction.report(self.report(&accepted, Phase::Confirmed));
        self.journal.commit(transaction)?;
        self.current = Some(Arc::new(accepted));
        self.sweep();
        Ok(())
    }

    /// Makes a state the last good one.
    pub(super) fn make_good(&self, state: &NodeDesired, transaction: &mut Transaction) -> Result<(), JournalError> {
        match self.journal.good()? {
            Some(good) if good.generation == state.generation => {}
            Some(good) => {
                transaction.previous(&good);
                transaction.good(state);
            }
            None => transaction.good(state),
        }
        Ok(())
    }

    /// Notes that the current generation cut the node off.
    pub(super) fn quarantine(&mut self, generation: Generation, reason: &str) -> Result<(), JournalError> {
        let Some(current) = self.current.clone().filter(|c| c.state.generation == generation) else { return Ok(()) };
        let failed = |r: &lampas_shared::desired::Resource| ResourceReport {
            target: r.target.clone(),
            object: r.object,
            state: ResourceState::Failed,
            fault: Some(Fault::lasting("generation.quarantined", reason)),
            notes: Vec::new(),
        };
        let accepted = Accepted { resources: current.state.resources().map(failed).collect(), ..(*current).clone() };
        let stance = Stance::Quarantined { generation, reason: reason.to_owned(), since: clock::now() };
        let mut transaction = Transaction::new();
        transaction.current(&accepted);
        transaction.stance(&stance);
        transaction.report(self.report(&accepted, Phase::Quarantined));
        self.journal.commit(transaction)?;
        self.current = Some(Arc::new(accepted));
        self.stance = stance;
        self.is_on_trial_revert = false;
        Ok(())
    }

    /// Sets how far the current generation is, without a report.
    pub(super) fn set_progress(&mut self, generation: Generation, progress: Progress) -> Result<(), JournalError> {
        let Some(current) = self.current.clone().filter(|c| c.state.generation == generation) else { return Ok(()) };
        let accepted = Accepted { progress, ..(*current).clone() };
        let mut transaction = Transaction::new();
        transaction.current(&accepted);
        self.journal.commit(transaction)?;
        self.current = Some(Arc::new(accepted));
        Ok(())
    }

    /// Takes up a stance.
    pub(super) fn stand(&mut self, stance: Stance) -> Result<(), JournalError> {
        let mut transaction = Transaction::new();
        transaction.stance(&stance);
        self.journal.commit(transaction)?;
        self.stance = stance;
        Ok(())
    }

    /// Sets or ends the pause.
    pub(super) fn set_pause(&mut self, pause: Option<Pause>) -> Result<(), JournalError> {
        let mut transaction = Transaction::new();
        transaction.pause(pause.as_ref());
        self.journal.commit(transaction)?;
        self.pause = pause;
        Ok(())
    }

    /// Keeps the contents of a state that is only planned until the set is dropped.
    pub(super) fn keep(&mut self, state: &NodeDesired) -> Arc<Needed> {
        let mut needed = Needed::default();
        needed.take(state);
        let kept = Arc::new(needed);
        self.planned.retain(|p| p.strong_count() > 0);
        self.planned.push(Arc::downgrade(&kept));
        kept
    }

    /// Forgets contents that no state needs. A failure costs space alone.
    fn sweep(&self) {
        let states = [self.journal.good(), self.journal.previous()].into_iter().flatten().flatten();
        let mut needed = Needed::default();
        states.for_each(|state| needed.take(&state));
        self.current.iter().for_each(|current| needed.take(&current.state));
        for planned in self.planned.iter().filter_map(Weak::upgrade) {
            needed.contents.extend(planned.contents.iter().copied());
            needed.values.extend(planned.values.iter().copied());
        }
        if let Err(error) = self.journal.sweep(&needed.contents, &needed.values) {
            tracing::debug!(%error, "contents that nobody needs could not be removed");
        }
    }
}

/// Returns the contents that a state needs.
pub(super) fn contents(state: &NodeDesired) -> impl Iterator<Item = ContentHash> {
    state.resources().filter_map(|r| match &r.spec {
        Spec::File { content, .. } => Some(content.hash),
        _ => None,
    })
}
