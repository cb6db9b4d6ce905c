//! Slots that nobody took: each time of a job that has no record ends in one, also when the machine was off.
//!
//! The wrapper records what cron starts; what cron doesn't start leaves nothing. So the agent keeps, for each job that is
//! in force, up to which moment its slots are settled and which later ones were taken ([`Slots::note`], before a record
//! leaves the spool). Once a minute it settles what is old enough: a slot that was neither taken nor is running was
//! *missed* when the machine was up, and *node down* when it was off or asleep ([`Gap`]): after the agent was last alive
//! and before the boot, or between two looks of which the clock says more than the machine was awake. So it is with a
//! virtual machine that was paused, and with a clock that was set ahead over its slots.
//!
//! A slot is old enough [`GRACE_MS`] after it, by a clock that has gone steadily for as long: cron catches up on what it
//! overslept, and a machine that just started learns the time a little later. What lies before the boot of a machine that
//! has been up for as long is settled at once. Nothing is told of the time before a job came into force, or while it was
//! off; one that is changed or goes has its last slots by its earlier schedule ([`Former`]). A report has an id that
//! follows from its slot, so that one that is made again after a crash is the same one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
    time::Instant,
};

use lampas_render::{Zone, next_runs};
use lampas_shared::{
    desired::ContentHash,
    host::{Schedule, TimeZoneName},
    id::{Id as _, ObjectId, RunId},
    report::{JobRun, RunOutcome},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    JOBS_DIRECTORY, JobFile,
    collect::running,
    file::{file_of, last_slot},
};
use crate::system::{Modified, NewFile, PathError, Root};

/// Where it is kept: root's alone.
const PATH: &str = "/var/lib/lampas/agent/slots.json";
const MAX_BYTES: u64 = 16 << 20;
const VERSION: u32 = 1;
const MINUTE_MS: i64 = 60_000;
/// How long after a slot cron may still start it: it catches up on five minutes one by one.
pub(super) const GRACE_MS: i64 = 6 * MINUTE_MS;
/// Between two looks.
const LOOK_MS: i64 = MINUTE_MS;
/// Between two looks of a clock that goes steadily.
const STEADY_MS: i64 = 3 * MINUTE_MS;
/// How often it is written when nothing happens: what may be lost of how long the machine was known to be up.
const SAVE_MS: i64 = 5 * MINUTE_MS;
/// How far back slots are told: who was away for longer knows.
pub(super) const BACK_MS: i64 = 7 * 24 * 60 * MINUTE_MS;
/// How many slots of a job are told one by one at a time; the rest is one record.
pub(super) const TOLD: usize = 20;
/// A clock that was ahead by more than this had been wrong.
const AHEAD_MS: i64 = 24 * 60 * MINUTE_MS;
/// More jobs than a node has.
const MAX_JOBS: usize = 10_000;
/// How much more the clock may say between two looks than the machine was awake: what NTP sets it ahead by at the most.
const ASLEEP_MS: i64 = 90_000;

/// What is known of the slots of this node's jobs.
#[derive(Debug, Clone)]
pub struct Slots {
    kept: Kept,
    saved_at: UnixMs,
    /// When the last look was, and how long the machine had been awake by then.
    looked_at: Option<(UnixMs, i64)>,
    steady_since: UnixMs,
}

/// What the clock and the machine say.
#[derive(Debug, Clone)]
pub struct Moment {
    /// By the clock.
    pub now: UnixMs,
    /// The life of the machine: `/proc/sys/kernel/random/boot_id`; empty when it can't be read.
    boot: String,
    /// When that began, by the clock as it goes: the kernel counts from there, asleep or not.
    booted_at: UnixMs,
    /// How long the machine was awake since some moment in the life of this process.
    awake_ms: i64,
}

impl Moment {
    /// Asks for them.
    pub fn read() -> Self {
        static BEGUN: OnceLock<Instant> = OnceLock::new();
        let now = lampas_runtime::clock::now();
        Self {
            now,
            boot: super::spool::boot_id(),
            booted_at: now.plus_ms(-rustix::system::sysinfo().uptime.saturating_mul(1000)),
            // CLOCK_MONOTONIC, which stands still while the machine is asleep.
            awake_ms: BEGUN.get_or_init(Instant::now).elapsed().as_millis().try_into().unwrap_or(i64::MAX),
        }
    }
}

/// What is kept over restarts.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// Drawn once; the ids of reports follow from it.
    seed: String,
    /// When the machine was last known to be up.
    alive_at: UnixMs,
    /// In which of its lives that was, and when that began.
    #[serde(default)]
    boot: String,
    #[serde(default)]
    booted_at: Option<UnixMs>,
    jobs: BTreeMap<ObjectId, Watched>,
    /// Jobs that are not in force so any more and have slots that are not settled.
    #[serde(default)]
    former: Vec<Former>,
    /// When the machine was off or asleep, as far as slots of that time are not settled.
    #[serde(default)]
    gaps: Vec<Gap>,
}

/// A job as it was until it was changed or went.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Former {
    object: ObjectId,
    job: Watched,
    /// When it was last seen so.
    ends: UnixMs,
}

/// A time at which the machine started nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    from: UnixMs,
    /// Its end; `None` is when the machine was started, by a clock that is not known to be right yet.
    to: Option<UnixMs>,
}

/// A job that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Watched {
    user: String,
    schedule: Schedule,
    zone: TimeZoneName,
    /// All slots until then are settled.
    until: UnixMs,
    /// Later ones that were taken.
    taken: BTreeSet<i64>,
    /// The first slot that is not settled; the end of time when none comes.
    next: i64,
}

impl Slots {
    /// Reads what is kept; begins anew when there is nothing, or nothing that can be read. Call it before the first record
    /// of this life is noted.
    ///
    /// # Errors
    /// When the disk can't be read.
    pub fn load(root: &Root, moment: &Moment) -> Result<Self, PathError> {
        let kept = root.read(PATH, MAX_BYTES)?.and_then(|bytes| {
            let kept = serde_json::from_slice::<Kept>(&bytes).ok().filter(|k| k.version == VERSION);
            if kept.is_none() {
                warn!(file = PATH, "what was kept of the jobs' slots can't be read; slots are watched from now on");
            }
            kept
        });
        let kept = kept.unwrap_or_else(|| {
            let seed = format!("{:032x}", u128::from_ne_bytes(lampas_runtime::random::bytes()));
            Kept::new(seed, moment)
        });
        Ok(Self::of(kept, moment))
    }

    fn of(kept: Kept, moment: &Moment) -> Self {
        let mut slots = Self { kept, saved_at: moment.now, looked_at: None, steady_since: moment.now };
        slots.kept.follow_boot(moment);
        slots
    }

    /// Writes what is known, durably.
    ///
    /// # Errors
    /// When the disk can't be written; then it stands as before.
    pub fn save(&mut self, root: &Root, now: UnixMs) -> Result<(), PathError> {
        let bytes = serde_json::to_vec(&self.kept).expect("plain values have a JSON form");
        let new = NewFile {
            bytes: &bytes,
            uid: root.euid(),
            gid: 0,
            mode: 0o600,
            xattrs: &BTreeMap::new(),
            modified: Modified::Now,
        };
        root.write(PATH, &new)?;
        self.saved_at = now;
        Ok(())
    }

    /// Notes that a run took its slot. Returns whether that is to be kept before the record goes. A record is its job's user's
    /// to write: a slot that can't have been is passed over.
    pub fn note(&mut self, run: &JobRun, now: UnixMs) -> bool {
        let Some(slot) = run.slot.filter(|s| s.0 % MINUTE_MS == 0 && s.since(now) < AHEAD_MS) else { return false };
        let (mut is_watched, mut is_news) = (false, false);
        for (_, job) in self.kept.watched().filter(|(object, _)| *object == run.object) {
            is_watched = true;
            is_news |= job.take(slot);
        }
        // Whoever ran something was up.
        (is_watched && self.kept.was_up(slot)) || is_news
    }

    /// Notes that the machine is up.
    pub fn alive(&mut self, now: UnixMs) {
        self.kept.alive_at = now;
    }

    /// Returns whether it is time for a look.
    pub fn is_due(&self, now: UnixMs) -> bool {
        self.looked_at.is_none_or(|(at, _)| !(0..LOOK_MS).contains(&now.since(at)))
    }

    /// Returns whether something should be written although nothing was told.
    pub fn is_stale(&self, now: UnixMs) -> bool {
        !(0..SAVE_MS).contains(&now.since(self.saved_at))
    }

    /// Settles what is old enough. Call it when the spool holds no record of a run that is over. Returns what is to be
    /// told, before this is saved.
    ///
    /// # Errors
    /// When the disk can't be read.
    pub fn look(&mut self, root: &Root, moment: &Moment) -> Result<Vec<JobRun>, PathError> {
        let mut in_force = Vec::new();
        for name in root.list(JOBS_DIRECTORY, MAX_JOBS)?.unwrap_or_default() {
            let object = name.strip_suffix(".json").and_then(|stem| ObjectId::parse(stem).ok());
            if let Some(file) = object.and_then(|o| file_of(root, o)) {
                in_force.push(file);
            }
        }
        let mut taken = running(root)?;
        taken.extend(in_force.iter().filter_map(|f| Some((f.object, last_slot(root, f)?))));
        let mut told = self.settle(&in_force, &taken, moment);
        // Cron reads the system's own tables: below another directory it starts nothing, and nothing is amiss.
        told.retain(|run| root.is_system() || run.outcome != RunOutcome::Missed);
        Ok(told)
    }

    /// The same, of what was seen: the jobs that stand on the node, and slots that were taken without a record yet.
    pub(super) fn settle(
        &mut self,
        in_force: &[JobFile],
        taken: &[(ObjectId, UnixMs)],
        moment: &Moment,
    ) -> Vec<JobRun> {
        let now = moment.now;
        let is_first = self.looked_at.is_none();
        let seen_at = self.looked_at.map_or(self.saved_at, |(at, _)| at);
        self.follow_clock(moment);
        for (of, slot) in taken.iter().filter(|(_, slot)| slot.since(now) < AHEAD_MS) {
            for (_, job) in self.kept.watched().filter(|(object, _)| object == of) {
                job.take(*slot);
            }
        }
        let limit = if now.since(self.steady_since) >= GRACE_MS {
            Some(now.plus_ms(-GRACE_MS))
        } else {
            // A machine that was not started just now knows the time, and cron starts nothing of before.
            (is_first && now.since(moment.booted_at) >= GRACE_MS).then(|| moment.booted_at.plus_ms(-1))
        };
        let told = limit.map(|limit| self.kept.settle(limit, moment.booted_at)).unwrap_or_default();
        let wanted = in_force.iter().filter(|f| f.job.enabled && !f.job.schedule.is_reboot());
        let wanted: BTreeMap<ObjectId, Watched> = wanted.map(|f| (f.object, Watched::of(f, now))).collect();
        // One that changed or went has its last slots by the old schedule; those of the new one count from here.
        let is_over = |object: &ObjectId, job: &mut Watched| wanted.get(object).is_none_or(|w| !w.is_same(job));
        let over: Vec<_> = self.kept.jobs.extract_if(.., is_over).collect();
        let open = over.into_iter().filter(|(_, job)| job.next <= seen_at.0);
        self.kept.former.extend(open.map(|(object, job)| Former { object, job, ends: seen_at }));
        self.kept.former.truncate(MAX_JOBS);
        for (object, job) in wanted {
            self.kept.jobs.entry(object).or_insert(job);
        }
        self.kept.alive_at = now;
        self.kept.booted_at = Some(moment.booted_at);
        told
    }

    /// A clock that jumps is not believed for a while; one that went back from far ahead was wrong before.
    fn follow_clock(&mut self, moment: &Moment) {
        let now = moment.now;
        let is_steady = self.looked_at.is_some_and(|(at, _)| (0..STEADY_MS).contains(&now.since(at)));
        if !is_steady {
            self.steady_since = now;
        }
        if let Some((at, awake_ms)) = self.looked_at
            && now.since(at) - (moment.awake_ms - awake_ms) > ASLEEP_MS
        {
            self.kept.gaps.push(Gap { from: at, to: Some(now) });
        }
        self.looked_at = Some((now, moment.awake_ms));
        if self.kept.alive_at.since(now) > AHEAD_MS {
            warn!(was = %self.kept.alive_at, "the clock was ahead by more than a day; slots are watched from now on");
            self.kept.begin(now);
        }
    }
}

impl Kept {
    fn new(seed: String, moment: &Moment) -> Self {
        Self {
            version: VERSION,
            seed,
            alive_at: moment.now,
            boot: moment.boot.clone(),
            booted_at: Some(moment.booted_at),
            jobs: BTreeMap::new(),
            former: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// All that is watched, in its present form and in earlier ones.
    fn watched(&mut self) -> impl Iterator<Item = (ObjectId, &mut Watched)> {
        let former = self.former.iter_mut().map(|f| (f.object, &mut f.job));
        self.jobs.iter_mut().map(|(object, job)| (*object, job)).chain(former)
    }

    /// Notes that the machine was off, when it was started since it was last known to be up.
    fn follow_boot(&mut self, moment: &Moment) {
        let is_known = !self.boot.is_empty() && !moment.boot.is_empty();
        let is_another = if is_known { self.boot != moment.boot } else { moment.booted_at > self.alive_at };
        if is_another {
            for gap in &mut self.gaps {
                // It went off again before its clock was known.
                gap.to = gap.to.or(self.booted_at).or(Some(self.alive_at));
            }
            self.gaps.push(Gap { from: self.alive_at, to: None });
        }
        self.boot.clone_from(&moment.boot);
        self.booted_at = Some(moment.booted_at);
    }

    /// Takes a slot that somebody took as a sign that the machine was not off before it. Returns whether that is news.
    fn was_up(&mut self, slot: UnixMs) -> bool {
        let booted_at = self.booted_at.unwrap_or(self.alive_at);
        let open = self.gaps.iter_mut().find(|g| g.to.is_none() && g.from < slot && slot < booted_at);
        open.map(|gap| gap.from = slot).is_some()
    }

    /// Begins anew from a moment.
    fn begin(&mut self, now: UnixMs) {
        self.alive_at = now;
        self.former.clear();
        self.gaps.clear();
        for job in self.jobs.values_mut() {
            job.begin(now);
        }
    }

    /// Settles all slots up to the limit and returns what is told of those that nobody took.
    fn settle(&mut self, limit: UnixMs, booted_at: UnixMs) -> Vec<JobRun> {
        let Self { seed, jobs, former, gaps, .. } = self;
        for gap in &mut *gaps {
            // By now the clock is known.
            gap.to.get_or_insert(booted_at);
        }
        let mut told = Vec::new();
        let current = jobs.iter_mut().map(|(object, job)| (*object, job, limit));
        let earlier = former.iter_mut().map(|f| (f.object, &mut f.job, limit.min(f.ends)));
        for (object, job, limit) in current.chain(earlier) {
            let found = job.settle(limit, gaps);
            told.extend(found.into_iter().map(|f| f.record(seed, object, &job.user)));
        }
        former.retain(|f| f.ends > limit);
        gaps.retain(|g| g.to.is_none_or(|to| to > limit));
        told
    }
}

/// A slot that nobody took, and for how many it stands that are not told one by one, since when.
#[derive(Debug, Clone)]
struct Untaken {
    slot: UnixMs,
    outcome: RunOutcome,
    more: Option<(usize, UnixMs)>,
}

impl Watched {
    fn of(file: &JobFile, now: UnixMs) -> Self {
        let zone = file.job.time_zone.clone().unwrap_or_else(|| file.zone.clone());
        let (user, schedule) = (file.job.user.to_string(), file.job.schedule.clone());
        let mut job = Self { user, schedule, zone, until: now, taken: BTreeSet::new(), next: 0 };
        job.begin(now);
        job
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.user, &self.schedule, &self.zone) == (&other.user, &other.schedule, &other.zone)
    }

    /// Counts from a moment.
    fn begin(&mut self, from: UnixMs) {
        (self.until, self.taken) = (from, BTreeSet::new());
        self.next = self.after(from, 1).first().map_or(i64::MAX, |at| at.0);
    }

    fn after(&self, from: UnixMs, count: usize) -> Vec<UnixMs> {
        // A zone that is not known here has no slots that could be told.
        let Ok(zone) = Zone::parse(&self.zone) else { return Vec::new() };
        next_runs(&self.schedule, &zone, from, count).into_iter().map(|run| run.at).collect()
    }

    /// Notes that somebody took a slot. Returns whether that is news.
    fn take(&mut self, slot: UnixMs) -> bool {
        slot > self.until && self.taken.insert(slot.0)
    }

    /// Settles all slots up to the limit and returns those that nobody took.
    fn settle(&mut self, limit: UnixMs, gaps: &[Gap]) -> Vec<Untaken> {
        if self.next > limit.0 {
            return Vec::new();
        }
        let oldest = limit.plus_ms(-BACK_MS);
        let (mut from, mut untaken) = (self.until.max(oldest), BTreeMap::<RunOutcome, Vec<UnixMs>>::new());
        'all: loop {
            let slots = self.after(from, 500);
            for slot in &slots {
                if *slot > limit {
                    self.next = slot.0;
                    break 'all;
                }
                if !self.taken.contains(&slot.0) {
                    let was_off = gaps.iter().any(|g| *slot > g.from && g.to.is_some_and(|to| *slot < to));
                    let outcome = if was_off { RunOutcome::NodeDown } else { RunOutcome::Missed };
                    untaken.entry(outcome).or_default().push(*slot);
                }
                from = *slot;
            }
            if slots.is_empty() {
                self.next = i64::MAX;
                break;
            }
        }
        self.until = limit;
        self.taken = self.taken.split_off(&(limit.0 + 1));
        untaken.into_iter().flat_map(|(outcome, slots)| shortened(outcome, &slots)).collect()
    }
}

fn shortened(outcome: RunOutcome, slots: &[UnixMs]) -> Vec<Untaken> {
    let one = |slot: &UnixMs| Untaken { slot: *slot, outcome, more: None };
    let mut found: Vec<Untaken> = slots.iter().take(TOLD).map(one).collect();
    if let [first, .., last] = slots.get(TOLD..).unwrap_or_default() {
        found.push(Untaken { slot: *last, outcome, more: Some((slots.len() - TOLD, *first)) });
    } else {
        found.extend(slots.iter().skip(TOLD).map(one));
    }
    found
}

impl Untaken {
    fn record(self, seed: &str, object: ObjectId, user: &str) -> JobRun {
        let why = match self.outcome {
            RunOutcome::NodeDown => "the machine was off or asleep at this time",
            _ => "cron did not start it at this time, although the machine was up",
        };
        let output = match self.more {
            None => why.to_owned(),
            Some((count, first)) => format!("{why}; so it was with this slot and {} more since {first}", count - 1),
        };
        let hash = ContentHash::of(format!("{seed}:{object}:{}:{}", self.slot.0, self.more.is_some()).as_bytes());
        let random = hash.as_bytes().first_chunk::<10>().copied().expect("a hash is longer");
        JobRun {
            run: RunId::from_parts(self.slot, random),
            object,
            user: user.to_owned(),
            slot: Some(self.slot),
            started_at: self.slot,
            ended_at: None,
            outcome: self.outcome,
            output_bytes: output.len() as u64,
            output,
            times: self.more.map_or(1, |(count, _)| count.try_into().unwrap_or(u32::MAX)),
        }
    }
}

#[cfg(test)]
mod tests;
