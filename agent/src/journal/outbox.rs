//! Reports that wait for a controller's acknowledgement.
//!
//! Every start draws a new epoch and numbers what is left from 1, so that (epoch, sequence) never means two things. A
//! report may then arrive twice, under two epochs: what it says is the same, and runs of jobs carry their own id.
//!
//! The outbox is bounded. When it is full, reports that a later one has made stale (a *received*, the word on a generation
//! or a drift that was said again) go first, oldest first. One report in their place says how many and of when, so that
//! the controller knows of the gap. Results of runs never go: then [`JournalError::Full`] tells the sender to keep them where
//! they are. They fill three quarters at most, and with standing drifts fifteen sixteenths, so that a node that has been
//! away for long can always say what became of its state: what it does to its disk is journalled with that word.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::Generation,
    report::{DriftOutcome, LostReports, Phase},
    time::UnixMs,
};
use lampas_wire::Report;
use tokio::sync::watch;
use tracing::warn;

use super::{
    Journal, JournalError, Transaction, record,
    record::key,
    store::{Batch, Store},
};

/// The most reports that wait. A node with a job every minute fills three quarters of it in two days.
const MAX_REPORTS: usize = 4096;
/// Room for the report of what was dropped: three numbers.
const LOST_BYTES: usize = 256;
/// The most bytes that wait, so that reports with contents can't fill the disk.
const MAX_BYTES: usize = 64 << 20;

/// The outbox of a journal. Clones are the same outbox.
#[derive(Debug, Clone)]
pub struct Outbox {
    journal: Journal,
}

impl Outbox {
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal }
    }

    /// Returns the epoch of this life of the outbox; never 0, greater at each start.
    pub fn epoch(&self) -> u64 {
        self.journal.inner.outbox.epoch
    }

    /// Puts a report in, durably. Returns its number. Blocking.
    ///
    /// # Errors
    /// [`JournalError::Full`] when nothing in it may be dropped.
    pub fn push(&self, report: Report) -> Result<u64, JournalError> {
        let mut transaction = Transaction::new();
        transaction.report(report);
        self.journal.commit(transaction)
    }

    /// Returns the reports after a number, in order, at most `limit`. Numbers may have gaps. Blocking.
    pub fn pending(&self, after: u64, limit: usize) -> Result<Vec<(u64, Report)>, JournalError> {
        let from = seq_key(after.saturating_add(1));
        let entries = self.journal.inner.store.scan(key::OUTBOX, &from, limit)?;
        let reports = entries.iter().map(|(key, value)| Ok((seq_of(key), record::decode(key, value)?)));
        reports.collect()
    }

    /// Takes out what a controller has committed: everything up to a number. Blocking.
    pub fn acked(&self, seq: u64) -> Result<(), JournalError> {
        self.journal.inner.outbox.acked(&self.journal.inner.store, seq)
    }

    /// Returns the number of the last report that was put in, and wakes when there is a later one.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.journal.inner.outbox.last.subscribe()
    }

    /// Returns how many reports wait, and how many were dropped since the start.
    pub fn counts(&self) -> (usize, u64) {
        let waiting = self.journal.inner.outbox.waiting();
        (waiting.items.len(), waiting.dropped)
    }
}

/// What the journal knows of its outbox without reading it.
pub(super) struct State {
    epoch: u64,
    waiting: Mutex<Waiting>,
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Waiting {
    items: BTreeMap<u64, Item>,
    bytes: usize,
    dropped: u64,
    next: u64,
    /// What the report in the place of dropped ones says, and its number, while it waits.
    lost: Option<(u64, LostReports)>,
}

#[derive(Clone)]
struct Item {
    bytes: usize,
    topic: Topic,
    /// When it was, by the node's clock.
    at: UnixMs,
}

impl Item {
    fn of(report: &Report, bytes: usize) -> Self {
        let at = match report {
            Report::Generation(r) => r.at,
            Report::Drift(r) => r.at,
            Report::Job(run) => run.started_at,
            Report::Operation(run) => run.started_at,
            Report::Lost(lost) => lost.until,
        };
        Self { bytes, topic: Topic::of(report), at }
    }
}

/// What a report is about; of the same topic only the latest counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    /// Must arrive, and can be kept where it is: a run of a job or an operation.
    Run,
    /// Says only that something is under way.
    Received,
    /// What became of a generation.
    Generation(Generation),
    /// The state of one drift.
    Drift { target: String, stands: bool },
    /// What was dropped.
    Lost,
}

impl Topic {
    fn of(report: &Report) -> Self {
        match report {
            Report::Generation(r) if r.phase == Phase::Received => Self::Received,
            Report::Generation(r) => Self::Generation(r.generation),
            Report::Drift(r) => {
                Self::Drift { target: r.target.to_string(), stands: r.outcome == DriftOutcome::Standing }
            }
            Report::Job(_) | Report::Operation(_) => Self::Run,
            Report::Lost(_) => Self::Lost,
        }
    }

    /// What one is, whose later one makes an earlier one stale.
    fn subject(&self) -> Option<Subject<'_>> {
        match self {
            Self::Received => Some(Subject::Received),
            Self::Generation(generation) => Some(Subject::Generation(*generation)),
            Self::Drift { target, .. } => Some(Subject::Drift(target)),
            Self::Run | Self::Lost => None,
        }
    }

    /// Whether its sender can keep it where it is, so that it leaves room for what can't wait.
    fn can_wait(&self) -> bool {
        matches!(self, Self::Run | Self::Drift { stands: true, .. })
    }
}

/// What later reports say again.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'a> {
    Received,
    Generation(Generation),
    Drift(&'a str),
}

/// How much waits, or may.
#[derive(Clone, Copy)]
struct Room {
    reports: usize,
    bytes: usize,
}

impl Room {
    const ALL: Self = Self { reports: MAX_REPORTS, bytes: MAX_BYTES };
    /// For runs.
    const RUNS: Self = Self { reports: MAX_REPORTS / 4 * 3, bytes: MAX_BYTES / 4 * 3 };
    /// For runs and standing drifts.
    const WAITING: Self = Self { reports: MAX_REPORTS / 16 * 15, bytes: MAX_BYTES / 16 * 15 };

    fn of<'a>(items: impl Iterator<Item = &'a Item>) -> Self {
        items.fold(Self { reports: 0, bytes: 0 }, |all, item| all.with(item))
    }

    fn with(self, item: &Item) -> Self {
        Self { reports: self.reports + 1, bytes: self.bytes + item.bytes }
    }

    fn fits(self, most: Self) -> bool {
        self.reports <= most.reports && self.bytes <= most.bytes
    }
}

impl State {
    /// Draws the epoch and numbers what waits from 1.
    pub(super) fn open(store: &Store) -> Result<Self, JournalError> {
        let stored = store.get(key::EPOCH)?.map(|v| record::decode::<u64>(key::EPOCH, &v)).transpose()?;
        // The clock keeps epochs growing when the journal was lost; the stored one when the clock was set back.
        let epoch = (clock::now().0.max(1) as u64).max(stored.unwrap_or(0) + 1);
        let mut waiting = Waiting { next: 1, ..Waiting::default() };
        let mut batch: Batch = vec![(key::EPOCH.to_vec(), Some(record::encode(&epoch)))];
        let old = store.scan(key::OUTBOX, key::OUTBOX, usize::MAX)?;
        let mut kept = Batch::new();
        for (old_key, value) in old {
            let report: Report = record::decode(&old_key, &value)?;
            let seq = waiting.next;
            waiting.add(seq, Item::of(&report, value.len()));
            if let Report::Lost(lost) = report {
                waiting.lost = Some((seq, lost));
            }
            if seq_of(&old_key) != seq {
                batch.push((old_key, None));
                kept.push((seq_key(seq), Some(value)));
            }
        }
        // Removals first: a new number may be another report's old one.
        batch.append(&mut kept);
        store.commit(&batch)?;
        let last = watch::Sender::new(waiting.next - 1);
        Ok(Self { epoch, waiting: Mutex::new(waiting), last })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Commits a batch together with reports.
    pub(super) fn commit(&self, store: &Store, mut batch: Batch, reports: &[Report]) -> Result<u64, JournalError> {
        if reports.is_empty() {
            store.commit(&batch)?;
            return Ok(self.waiting().next - 1);
        }
        // Held over the commit, so that numbers become durable in their order.
        let mut waiting = self.waiting();
        let mut added = Vec::new();
        for (seq, report) in (waiting.next..).zip(reports) {
            let value = record::encode(report);
            added.push((seq, Item::of(report, value.len())));
            batch.push((seq_key(seq), Some(value)));
        }
        let mut dropped = waiting.make_room(&added)?;
        let lost = waiting.lost_with(&dropped);
        if let Some(lost) = lost {
            let seq = waiting.next + added.len() as u64;
            let report = Report::Lost(lost);
            let value = record::encode(&report);
            added.push((seq, Item::of(&report, value.len())));
            batch.push((seq_key(seq), Some(value)));
            // The one before says less, and may be on its way: what comes after counts it again.
            dropped.extend(waiting.lost.map(|(seq, _)| seq));
        }
        batch.extend(dropped.iter().map(|seq| (seq_key(*seq), None)));
        store.commit(&batch)?;
        for seq in &dropped {
            waiting.remove(*seq);
        }
        for (seq, item) in added {
            waiting.add(seq, item);
        }
        if let Some(lost) = lost {
            let before = waiting.lost.map_or(0, |(_, before)| before.count);
            let count = lost.count - before;
            waiting.dropped += count;
            waiting.lost = Some((waiting.next - 1, lost));
            warn!(count, total = waiting.dropped, "the outbox is full; stale reports were dropped");
        }
        let last = waiting.next - 1;
        drop(waiting);
        self.last.send_replace(last);
        Ok(last)
    }

    fn acked(&self, store: &Store, seq: u64) -> Result<(), JournalError> {
        let mut waiting = self.waiting();
        let done: Vec<u64> = waiting.items.range(..=seq).map(|(s, _)| *s).collect();
        if done.is_empty() {
            return Ok(());
        }
        store.commit(&done.iter().map(|s| (seq_key(*s), None)).collect())?;
        for seq in done {
            waiting.remove(seq);
        }
        waiting.lost = waiting.lost.filter(|(lost, _)| *lost > seq);
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Returns which reports have to go so that the new ones fit.
    fn make_room(&self, added: &[(u64, Item)]) -> Result<Vec<u64>, JournalError> {
        let full = || JournalError::Full { len: self.items.len() };
        let new = || added.iter().map(|(_, item)| item);
        let is_run = |item: &&Item| item.topic == Topic::Run;
        let has_run = new().any(|item| is_run(&item));
        if has_run && !Room::of(self.items.values().chain(new()).filter(is_run)).fits(Room::RUNS) {
            return Err(full());
        }
        let most = if new().any(|item| item.topic.can_wait()) { Room::WAITING } else { Room::ALL };
        let mut room = Room { reports: self.items.len() + added.len(), bytes: self.bytes + Room::of(new()).bytes };
        if room.fits(most) {
            return Ok(Vec::new());
        }
        // What tells of the dropped ones needs a place too, unless it has one.
        if self.lost.is_none() {
            room = Room { reports: room.reports + 1, bytes: room.bytes + LOST_BYTES };
        }
        let mut later: BTreeSet<Subject<'_>> = new().filter_map(|item| item.topic.subject()).collect();
        let mut stale = Vec::new();
        for (seq, item) in self.items.iter().rev() {
            let Some(subject) = item.topic.subject() else { continue };
            if !later.insert(subject) || item.topic == Topic::Received {
                stale.push(*seq);
            }
        }
        let mut dropped = Vec::new();
        while !room.fits(most) {
            let seq = stale.pop().ok_or_else(full)?;
            room = Room { reports: room.reports - 1, bytes: room.bytes - self.items[&seq].bytes };
            dropped.push(seq);
        }
        Ok(dropped)
    }

    /// Returns what is to be told of reports that go, and of those that went before and were not told yet.
    fn lost_with(&self, dropped: &[u64]) -> Option<LostReports> {
        let times = || dropped.iter().filter_map(|seq| Some(self.items.get(seq)?.at));
        let fresh = LostReports { count: dropped.len() as u64, from: times().min()?, until: times().max()? };
        Some(self.lost.map_or(fresh, |(_, before)| LostReports {
            count: before.count + fresh.count,
            from: before.from.min(fresh.from),
            until: before.until.max(fresh.until),
        }))
    }

    fn add(&mut self, seq: u64, item: Item) {
        self.bytes += item.bytes;
        self.items.insert(seq, item);
        self.next = seq + 1;
    }

    fn remove(&mut self, seq: u64) {
        if let Some(item) = self.items.remove(&seq) {
            self.bytes -= item.bytes;
        }
    }
}

fn seq_key(seq: u64) -> Vec<u8> {
    [key::OUTBOX, &seq.to_be_bytes()].concat()
}

fn seq_of(key: &[u8]) -> u64 {
    key[key::OUTBOX.len()..].try_into().map_or(0, u64::from_be_bytes)
}
