//! Keeps what was acknowledged: the desired state, the outbox, what LAMPAS owns, contents, changes by hand that stand.
//!
//! # The story of the data
//! A desired state arrives: its contents go into blobs, the state itself under one key, and a *received* report into the
//! outbox, all in one [`Transaction`]. Before the first write to the disk an [`Intent`] goes in, with how to undo it; after
//! the proof the intent goes out in the same commit that says *applied*. So at any instant a restart knows what was
//! promised and what may be half done. Reports stay in the outbox until a controller has acknowledged their commit.
//!
//! What [`Journal::commit`] returned for survives `kill -9` and a power cut. A full disk makes commits fail, keeps what
//! was acknowledged, and heals by itself. A damaged journal is moved aside, loudly, and the agent goes on with an empty
//! one: it leaves files as they are, takes those that are as desired for its own, and asks the controller for its state.
//!
//! One process may open it; others ask the agent through its socket. All calls block: keep them off the executor.

mod blob;
mod outbox;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use lampas_shared::{
    desired::{ContentHash, NodeDesired},
    error::Fault,
    id::{NodeId, SecretValueId},
    object::Target,
};
use lampas_wire::Report;
use thiserror::Error;

use self::{
    blob::Blobs,
    record::key,
    store::{Batch, Store},
};
use crate::host::{Owned, Ownership};

pub use outbox::Outbox;
pub use record::{Accepted, Drift, Intent, Owed, Pause, Progress, RecordError, SeenHead, Stance};

/// The agent's store. Clones are the same store.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    blobs: Blobs,
    outbox: outbox::State,
    moved_aside: Option<PathBuf>,
    is_fresh: bool,
}

/// Why the journal could not do it.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("the journal {} is in use by another process: an agent is running already", dir.display())]
    Locked {
        /// Where.
        dir: PathBuf,
    },
    /// The file system said no.
    #[error("{what} {}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can't be used at the moment; what was acknowledged is kept and later attempts may succeed.
    #[error("the journal {} can't be used at the moment: {why}", dir.display())]
    Unavailable {
        /// Where.
        dir: PathBuf,
        /// Why.
        why: String,
    },
    /// A newer agent wrote it, and this one can't read it. Nothing was touched.
    #[error(
        "the journal {} was written by lampas-agent {version}, and this older one ({}) can't read it: {why}; install \
         {version} again, or, to go on without what it knows, move {} away by hand", dir.display(), env!("CARGO_PKG_VERSION"),
        dir.join("db").display()
    )]
    Newer {
        /// Where.
        dir: PathBuf,
        /// Which.
        version: String,
        /// What can't be read.
        why: String,
    },
    /// The outbox holds as many results as it may, none of which may be dropped.
    #[error("the outbox is full: {len} reports wait for a controller")]
    Full {
        /// How many.
        len: usize,
    },
    /// A record is not what it should be.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        record::fault(&error)
    }
}

impl Journal {
    /// Opens or creates the journal, and draws the epoch of this life of the outbox.
    ///
    /// # Errors
    /// When another process has it, or the file system says no. Damage is no error; see [`Journal::moved_aside`].
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let opened = Store::open(dir)?;
        let blobs = Blobs::open(&dir.join("blobs"))?;
        let is_fresh = opened.store.get(key::EPOCH)?.is_none();
        let outbox = outbox::State::open(&opened.store)?;
        let inner = Inner { store: opened.store, blobs, outbox, moved_aside: opened.moved_aside, is_fresh };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns where a damaged journal was moved to when this one was opened.
    pub fn moved_aside(&self) -> Option<&Path> {
        self.inner.moved_aside.as_deref()
    }

    /// Returns why it can't be written at the moment, if it can't: a full disk, mostly.
    pub fn trouble(&self) -> Option<String> {
        self.inner.store.trouble()
    }

    /// Returns whether there was none before this was opened, or it was damaged.
    pub fn is_fresh(&self) -> bool {
        self.inner.is_fresh
    }

    /// Makes it a node's. What another node was told, what that had to tell and what it found is dropped; what LAMPAS owns
    /// on this disk and an apply that was interrupted stay. Returns whether it had been another's.
    pub fn hand_over(&self, node: NodeId) -> Result<bool, JournalError> {
        let known: Option<NodeId> = self.record(key::NODE)?;
        let earlier = known.or(self.current()?.map(|c| c.state.node));
        if known == Some(node) {
            return Ok(false);
        }
        let is_anothers = earlier.is_some_and(|earlier| earlier != node);
        let mut transaction = Transaction::new();
        if is_anothers {
            self.outbox().acked(u64::MAX)?;
            for key in [key::CURRENT, key::GOOD, key::PREVIOUS, key::STANCE, key::SIGNED, key::HEADS] {
                transaction.batch.push((key.to_vec(), None));
            }
            for (key, _) in self.inner.store.scan(key::DRIFT, key::DRIFT, usize::MAX)? {
                transaction.batch.push((key, None));
            }
        }
        transaction.set(key::NODE, &node);
        self.commit(transaction)?;
        Ok(is_anothers)
    }

    /// Returns the outbox.
    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.clone())
    }

    /// Returns the state that a controller sent last.
    pub fn current(&self) -> Result<Option<Accepted>, JournalError> {
        self.record(key::CURRENT)
    }

    /// Returns the state that was confirmed last.
    pub fn good(&self) -> Result<Option<NodeDesired>, JournalError> {
        self.record(key::GOOD)
    }

    /// Returns the state that was confirmed before the last good one.
    pub fn previous(&self) -> Result<Option<NodeDesired>, JournalError> {
        self.record(key::PREVIOUS)
    }

    /// Returns which state the agent keeps true.
    pub fn stance(&self) -> Result<Stance, JournalError> {
        Ok(self.record(key::STANCE)?.unwrap_or_default())
    }

    /// Returns the pause, if there is one; it may have run out.
    pub fn pause(&self) -> Result<Option<Pause>, JournalError> {
        self.record(key::PAUSE)
    }

    /// Returns what operators signed.
    pub fn signed(&self) -> Result<crate::signature::Ledger, JournalError> {
        Ok(self.record(key::SIGNED)?.unwrap_or_default())
    }

    /// Returns the heads of the audit that were shown, the oldest first.
    pub fn heads(&self) -> Result<Vec<SeenHead>, JournalError> {
        Ok(self.record(key::HEADS)?.unwrap_or_default())
    }

    /// Returns what the agent was about to do to the disk when it was last heard of.
    pub fn intent(&self) -> Result<Option<Intent>, JournalError> {
        self.record(key::INTENT)
    }

    /// Returns what was to follow a change when the agent was last heard of.
    pub fn owed(&self) -> Result<Option<Owed>, JournalError> {
        self.record(key::OWED)
    }

    /// Returns everything that LAMPAS owns on this node.
    pub fn ownership(&self) -> Result<Ownership, JournalError> {
        let mut places = BTreeMap::new();
        for (key, value) in self.inner.store.scan(key::OWNED, key::OWNED, usize::MAX)? {
            let path = String::from_utf8_lossy(&key[key::OWNED.len()..]).into_owned();
            let owned: Owned = record::decode(&key, &value)?;
            places.insert(path, owned);
        }
        Ok(Ownership { places })
    }

    /// Returns the changes by hand that stand.
    pub fn drifts(&self) -> Result<BTreeMap<Target, Drift>, JournalError> {
        let entries = self.inner.store.scan(key::DRIFT, key::DRIFT, usize::MAX)?;
        let drifts = entries.iter().map(|(key, value)| record::decode::<Drift>(key, value));
        Ok(drifts.map(|d| d.map(|d| (d.target.clone(), d))).collect::<Result<_, _>>()?)
    }

    /// Returns a content. `None` when there is none, or when its bytes are no longer what its hash says.
    pub fn blob(&self, hash: &ContentHash) -> Result<Option<Vec<u8>>, JournalError> {
        match self.inner.store.get(&blob_key(hash))? {
            Some(bytes) => Ok(blob::checked(hash, bytes)),
            None => self.inner.blobs.read(hash),
        }
    }

    /// Returns whether a content is there, without checking its bytes.
    pub fn has_blob(&self, hash: &ContentHash) -> Result<bool, JournalError> {
        Ok(self.inner.blobs.has(hash) || self.inner.store.get(&blob_key(hash))?.is_some())
    }

    /// Returns the value of a secret as it came: sealed to this node's key.
    pub fn sealed_value(&self, value: SecretValueId) -> Result<Option<Vec<u8>>, JournalError> {
        self.inner.store.get(&secret_key(value))
    }

    /// Lets go of values of secrets, durably.
    pub fn forget_values(&self, values: &std::collections::BTreeSet<SecretValueId>) -> Result<(), JournalError> {
        let mut batch = Batch::new();
        for value in values {
            if self.inner.store.get(&secret_key(*value))?.is_some() {
                batch.push((secret_key(*value), None));
            }
        }
        if batch.is_empty() { Ok(()) } else { self.inner.store.commit(&batch) }
    }

    /// Returns the values of secrets that it holds.
    pub fn values(&self) -> Result<std::collections::BTreeSet<SecretValueId>, JournalError> {
        let of_key = |key: &[u8]| {
            let bytes = key[key::SECRET.len()..].try_into().ok()?;
            Some(SecretValueId::from_uuid(uuid::Uuid::from_bytes(bytes)))
        };
        let entries = self.inner.store.scan(key::SECRET, key::SECRET, usize::MAX)?;
        Ok(entries.iter().filter_map(|(key, _)| of_key(key)).collect())
    }

    /// Does all of a transaction or nothing, durably. Returns the outbox's last sequence number.
    ///
    /// # Errors
    /// [`JournalError::Full`] when its reports don't fit; otherwise when the disk says no. Nothing is done then.
    pub fn commit(&self, transaction: Transaction) -> Result<u64, JournalError> {
        let Transaction { mut batch, reports, blobs } = transaction;
        for (hash, bytes) in blobs {
            if bytes.len() <= blob::INLINE_BYTES {
                batch.push((blob_key(&hash), Some(bytes)));
            } else {
                self.inner.blobs.write(&hash, &bytes)?;
            }
        }
        self.inner.outbox.commit(&self.inner.store, batch, &reports)
    }

    /// Removes the contents and the values of secrets that no state needs.
    pub fn sweep(
        &self,
        needed: &std::collections::BTreeSet<ContentHash>,
        values: &std::collections::BTreeSet<SecretValueId>,
    ) -> Result<(), JournalError> {
        let mut batch = Batch::new();
        for (key, _) in self.inner.store.scan(key::BLOB, key::BLOB, usize::MAX)? {
            let hash: Result<[u8; 32], _> = key[key::BLOB.len()..].try_into();
            if hash.map_or(true, |h| !needed.contains(&ContentHash::from_bytes(h))) {
                batch.push((key, None));
            }
        }
        self.inner.blobs.sweep(needed)?;
        for (key, _) in self.inner.store.scan(key::SECRET, key::SECRET, usize::MAX)? {
            if !values.iter().any(|value| secret_key(*value) == key) {
                batch.push((key, None));
            }
        }
        if batch.is_empty() { Ok(()) } else { self.inner.store.commit(&batch) }
    }

    fn record<T: serde::de::DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, JournalError> {
        Ok(self.inner.store.get(key)?.map(|bytes| record::decode(key, &bytes)).transpose()?)
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Journal(epoch {})", self.inner.outbox.epoch())
    }
}

/// Changes to the journal that happen together.
#[derive(Default)]
pub struct Transaction {
    batch: Batch,
    reports: Vec<Report>,
    blobs: Vec<(ContentHash, Vec<u8>)>,
}

impl Transaction {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.reports.is_empty() && self.blobs.is_empty()
    }

    /// Sets the state that a controller sent. Its contents must be blobs already: see [`Transaction::take_contents`].
    pub fn current(&mut self, accepted: &Accepted) {
        self.set(key::CURRENT, accepted);
    }

    /// Sets the state that was confirmed last.
    pub fn good(&mut self, state: &NodeDesired) {
        self.set(key::GOOD, state);
    }

    /// Sets the state that was confirmed before.
    pub fn previous(&mut self, state: &NodeDesired) {
        self.set(key::PREVIOUS, state);
    }

    /// Sets which state is kept true.
    pub fn stance(&mut self, stance: &Stance) {
        self.set(key::STANCE, stance);
    }

    /// Sets or ends the pause.
    pub fn pause(&mut self, pause: Option<&Pause>) {
        self.put(key::PAUSE.to_vec(), pause);
    }

    /// Sets what operators signed.
    pub fn signed(&mut self, ledger: &crate::signature::Ledger) {
        self.set(key::SIGNED, ledger);
    }

    /// Sets the heads of the audit that were shown.
    pub fn heads(&mut self, heads: &[SeenHead]) {
        self.set(key::HEADS, &heads);
    }

    /// Sets or ends the intent.
    pub fn intent(&mut self, intent: Option<&Intent>) {
        self.put(key::INTENT.to_vec(), intent);
    }

    /// Sets or ends what follows a change.
    pub fn owed(&mut self, owed: Option<&Owed>) {
        self.put(key::OWED.to_vec(), owed);
    }

    /// Makes the journal's ownership what `after` says, given what it is.
    pub fn ownership(&mut self, before: &Ownership, after: &Ownership) {
        let place_key = |path: &str| [key::OWNED, path.as_bytes()].concat();
        for path in before.places.keys().filter(|p| !after.places.contains_key(*p)) {
            self.batch.push((place_key(path), None));
        }
        for (path, owned) in &after.places {
            if before.places.get(path) != Some(owned) {
                self.put(place_key(path), Some(owned));
            }
        }
    }

    /// Notes a change by hand that stands.
    pub fn drift(&mut self, drift: &Drift) {
        self.put([key::DRIFT, drift.target.as_str().as_bytes()].concat(), Some(drift));
    }

    /// Forgets a change by hand.
    pub fn end_drift(&mut self, target: &Target) {
        self.batch.push(([key::DRIFT, target.as_str().as_bytes()].concat(), None));
    }

    /// Puts a report into the outbox.
    pub fn report(&mut self, report: Report) {
        self.reports.push(report);
    }

    /// Adds a content.
    pub fn blob(&mut self, bytes: Vec<u8>) {
        self.blobs.push((ContentHash::of(&bytes), bytes));
    }

    /// Puts the value of a secret in, as it came.
    pub fn sealed_value(&mut self, value: SecretValueId, sealed: Vec<u8>) {
        self.batch.push((secret_key(value), Some(sealed)));
    }

    /// Takes the contents that ride along with a state, as blobs.
    pub fn take_contents(&mut self, state: &mut NodeDesired) {
        for resource in state.groups.iter_mut().flat_map(|g| &mut g.resources) {
            if let lampas_shared::desired::Spec::File { content, .. } = &mut resource.spec
                && let Some(bytes) = content.inline.take()
            {
                self.blobs.push((content.hash, bytes));
            }
        }
    }

    fn set(&mut self, key: &[u8], record: &impl serde::Serialize) {
        self.put(key.to_vec(), Some(record));
    }

    fn put(&mut self, key: Vec<u8>, record: Option<&impl serde::Serialize>) {
        self.batch.push((key, record.map(record::encode)));
    }
}

fn secret_key(value: SecretValueId) -> Vec<u8> {
    [key::SECRET, value.as_uuid().as_bytes().as_slice()].concat()
}

fn blob_key(hash: &ContentHash) -> Vec<u8> {
    [key::BLOB, hash.as_bytes()].concat()
}
