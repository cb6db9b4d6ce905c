//! Whether a start by cron is one of the job's own times: what `lampas-agent job run` asks before it runs anything.

use std::fmt;

use jiff::{Timestamp, tz::AmbiguousOffset};
use lampas_shared::{
    host::{CronJob, Schedule},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};

use super::{LARGE_CHANGE_MINUTES, Zone, admits, change_before, is_large, is_wildcard};

/// How late cron may be for a slot: it catches up on up to five minutes one by one (Debian's cron.c, `wakeupKind` 1).
const LATE_MINUTES: i64 = 5;

/// A start in the first second of a minute is punctual: an idle machine starts jobs within a tenth of that.
const PUNCTUAL_MS: i64 = 1000;

const MINUTE_MS: i64 = 60_000;

/// What the wrapper does with a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Runs the job; the slot is to be remembered as the last one before the command starts.
    Run {
        /// The instant that the run is for. For `@reboot`, where there are no slots, the instant of the start.
        slot: UnixMs,
    },
    /// Does not run the job.
    Skip {
        /// Why not.
        reason: SkipReason,
    },
}

/// Why a start is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkipReason {
    /// Cron starts the wrapper more often than the job is due, because the job has a time zone of its own. Not worth a
    /// record.
    NotASlot,
    /// The slot has been taken by an earlier start. Not worth a record.
    AlreadyRan,
    /// The clock was set back and the job ran in the first of the two hours.
    RepeatedHour,
    /// The job's time zone is not known here; the agent is older than the zone.
    UnknownZone,
}

impl SkipReason {
    /// Returns whether an operator would want to see it among the job's runs.
    pub fn is_worth_a_record(self) -> bool {
        matches!(self, Self::RepeatedHour | Self::UnknownZone)
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotASlot => "not due at this time in the job's time zone",
            Self::AlreadyRan => "already ran for this time",
            Self::RepeatedHour => "the clock was set back and it ran in the first of the two hours",
            Self::UnknownZone => "the job's time zone is not known to this agent",
        })
    }
}

/// Decides what to do with a start by cron at `now`, when `last_slot` is the slot that was taken last.
///
/// - A start counts for a slot up to 4 minutes and 59 seconds after it, and each slot is taken once. When cron catches up
///   on several minutes, starts take the oldest free slot first; a punctual start takes the newest, so that a minute
///   without cron doesn't shift all later slots.
/// - In the node's own zone cron has decided before: a fixed-time job that it makes up for after a longer sleep takes its
///   missed slot of the last three hours, and a start that no slot explains (cron and this database disagree about
///   the zone) runs for its own minute rather than never.
/// - A `last_slot` far in the future (the clock had been wrong by more than a clock change) is ignored.
pub fn slot_for(job: &CronJob, node_zone: &Zone, now: UnixMs, last_slot: Option<UnixMs>) -> Decision {
    let skip = |reason| Decision::Skip { reason };
    let schedule = &job.schedule;
    if schedule.is_reboot() {
        return Decision::Run { slot: now };
    }
    let (zone, is_own) = match &job.time_zone {
        None => (node_zone.clone(), true),
        Some(name) => match Zone::parse(name) {
            Ok(zone) if zone.is_same_rule(node_zone) => (zone, true),
            Ok(zone) => (zone, false),
            Err(_) => return skip(SkipReason::UnknownZone),
        },
    };
    let is_wild = is_wildcard(schedule);
    let ahead_minutes = if is_wild { LATE_MINUTES } else { LARGE_CHANGE_MINUTES };
    let last = last_slot.filter(|last| last.since(now) < ahead_minutes * MINUTE_MS);
    let minute = UnixMs(now.0.div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS));

    let near = Seen::look(schedule, &zone, minute, LATE_MINUTES, last);
    let is_newest_first = last.is_none() || now.since(minute) < PUNCTUAL_MS;
    match if is_newest_first { near.newest } else { near.oldest } {
        Some(slot) => return Decision::Run { slot },
        None if near.is_repeated => return skip(SkipReason::RepeatedHour),
        None if near.is_taken => return skip(SkipReason::AlreadyRan),
        None if !is_own => return skip(SkipReason::NotASlot),
        None => {}
    }
    if !is_wild {
        let far = Seen::look(schedule, &zone, minute, LARGE_CHANGE_MINUTES, last);
        match if last.is_none() { far.newest } else { far.oldest } {
            Some(slot) => return Decision::Run { slot },
            None if far.is_repeated => return skip(SkipReason::RepeatedHour),
            None if far.is_taken => return skip(SkipReason::AlreadyRan),
            None => {}
        }
    }
    if last.is_some_and(|last| minute <= last) { skip(SkipReason::AlreadyRan) } else { Decision::Run { slot: minute } }
}

/// What stands in the minutes before a start.
#[derive(Default)]
struct Seen {
    newest: Option<UnixMs>,
    oldest: Option<UnixMs>,
    is_taken: bool,
    is_repeated: bool,
}

impl Seen {
    fn look(schedule: &Schedule, zone: &Zone, minute: UnixMs, minutes: i64, last: Option<UnixMs>) -> Self {
        let mut seen = Self::default();
        for back in 0..minutes {
            let at = minute.plus_ms(-back * MINUTE_MS);
            match judge(schedule, zone, at) {
                Judgement::Slot if last.is_some_and(|last| at <= last) => seen.is_taken = true,
                Judgement::Slot => {
                    seen.newest = seen.newest.or(Some(at));
                    seen.oldest = Some(at);
                }
                Judgement::Repeated => seen.is_repeated = true,
                Judgement::No => {}
            }
        }
        seen
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Slot,
    /// The second pass of an hour, for a job that runs in the first.
    Repeated,
    No,
}

/// Says what an instant on a whole minute is for a schedule: the rule of the module, read from the instant.
pub(super) fn judge(schedule: &Schedule, zone: &Zone, at: UnixMs) -> Judgement {
    let Ok(instant) = Timestamp::from_millisecond(at.0) else { return Judgement::No };
    let tz = zone.tz();
    let wall = tz.to_datetime(instant);
    let is_wild = is_wildcard(schedule);
    let is_admitted = admits(schedule, wall);
    if is_wild {
        return if is_admitted { Judgement::Slot } else { Judgement::No };
    }
    if skipped_before(schedule, zone, instant) {
        return Judgement::Slot;
    }
    if !is_admitted {
        return Judgement::No;
    }
    match tz.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Fold { before, after }
            if !is_large(before.seconds() - after.seconds()) && tz.to_offset(instant) == after =>
        {
            Judgement::Repeated
        }
        _ => Judgement::Slot,
    }
}

/// Returns whether the clock was just set forward, at this instant, over a wall time that the fields admit.
fn skipped_before(schedule: &Schedule, zone: &Zone, instant: Timestamp) -> bool {
    let second = instant.as_second();
    if change_before(zone, second.saturating_add(1)) != Some(second) {
        return false;
    }
    let Ok(earlier) = Timestamp::from_second(second - 1) else { return false };
    let (before, after) = (zone.tz().to_offset(earlier), zone.tz().to_offset(instant));
    let gap = after.seconds() - before.seconds();
    if gap <= 0 || is_large(gap) {
        return false;
    }
    (0..i64::from(gap) / 60).any(|minute| {
        Timestamp::from_second(second + minute * 60).is_ok_and(|t| admits(schedule, before.to_datetime(t)))
    })
}
