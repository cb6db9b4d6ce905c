//! What a schedule means in a time zone, over both clock changes.
//!
//! # The rule
//! It is Debian cron's (cron(8), "daylight saving time and other time changes"), written as a set of instants, the
//! job's *slots*:
//! - A *wildcard* job (its minute or its hour field begins with `*`) goes by elapsed time: it has a slot at each instant
//!   whose wall time its fields admit. What the spring change skips it skips; in the autumn it runs in both hours.
//! - A *fixed-time* job (all others) runs once for each admitted wall time: one that the spring change skips runs right
//!   after the change (several skipped ones, and one that is due right then, are a single slot); in an hour that the
//!   autumn change repeats only the first pass counts.
//! - Changes of three hours and more are no daylight saving: fixed-time jobs then go by the new wall time alone.
//!
//! # Who decides
//! Cron knows the node's zone only (it ignores `CRON_TZ`). [`cron_line_schedule`] gives it fields that fire at least at
//! every slot, and `lampas-agent job run` asks [`slot_for`] at each start whether this one is meant. [`next_runs`]
//! shows the slots to come.

mod line;
mod slot;
mod zone;

pub use line::cron_line_schedule;
pub use slot::{Decision, SkipReason, slot_for};
pub use zone::Zone;

use std::collections::BTreeMap;

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::AmbiguousOffset,
};
use lampas_shared::{host::Schedule, time::UnixMs};
use serde::{Deserialize, Serialize};

/// Changes of the clock of this many minutes and more are not daylight saving (cron(8)).
const LARGE_CHANGE_MINUTES: i64 = 180;

/// How far ahead a run is looked for: 29 February on a given weekday comes every 28 years, 40 across 2100.
const LOOK_AHEAD_DAYS: usize = 41 * 366;

/// One run to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRun {
    /// When.
    pub at: UnixMs,
    /// The wall time in the schedule's zone: RFC 3339 with the offset.
    pub local: String,
    /// What a change of the clock does to it.
    pub note: Option<String>,
}

/// Returns the next runs after a point in time, at most `count`. Empty for `@reboot` and for dates that never come.
pub fn next_runs(schedule: &Schedule, zone: &Zone, after: UnixMs, count: usize) -> Vec<NextRun> {
    let mut runs = Vec::new();
    let Ok(start) = Timestamp::from_millisecond(after.0) else { return runs };
    if schedule.is_reboot() || count == 0 {
        return runs;
    }
    let mut date = zone.tz().to_datetime(start).date();
    date = date.yesterday().unwrap_or(date);
    let mut waiting: BTreeMap<i64, Origin> = BTreeMap::new();
    for _ in 0..LOOK_AHEAD_DAYS {
        slots_of_day(schedule, zone, date, &mut waiting);
        let Ok(tomorrow) = date.tomorrow() else { break };
        date = tomorrow;
        // No zone is further from UTC than 15 hours and no counted change longer than 3, so nothing of a later day comes before this.
        let settled = utc_seconds(date.at(0, 0, 0, 0)) - 18 * 3600;
        let later = waiting.split_off(&settled);
        for (second, origin) in std::mem::replace(&mut waiting, later) {
            let at = UnixMs(second.saturating_mul(1000));
            if at > after
                && let Some(local) = zone.local_text(at)
            {
                runs.push(NextRun { at, local, note: origin.note() });
                if runs.len() == count {
                    return runs;
                }
            }
        }
    }
    runs
}

/// How a slot came to stand where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Plain,
    /// The wall time does not exist on that day.
    Skipped(DateTime),
    FirstPass(DateTime),
    SecondPass(DateTime),
}

impl Origin {
    fn note(self) -> Option<String> {
        let clock = |t: DateTime| format!("{:02}:{:02}", t.hour(), t.minute());
        match self {
            Self::Plain => None,
            Self::Skipped(t) => {
                Some(format!("{} does not exist on this day: runs right after the clock change", clock(t)))
            }
            Self::FirstPass(t) => Some(format!("{} comes twice on this day: this is the first", clock(t))),
            Self::SecondPass(t) => Some(format!("{} comes twice on this day: this is the second", clock(t))),
        }
    }
}

/// Returns whether the job goes by elapsed time (crontab(5): a field that begins with `*`).
fn is_wildcard(schedule: &Schedule) -> bool {
    schedule.fields().is_some_and(|[minute, hour, ..]| minute.is_star() || hour.is_star())
}

/// Returns whether the fields admit this wall time.
fn admits(schedule: &Schedule, wall: DateTime) -> bool {
    let Some([minutes, hours, ..]) = schedule.fields() else { return false };
    minutes.contains(wall.minute() as u8) && hours.contains(wall.hour() as u8) && admits_date(schedule, wall.date())
}

fn admits_date(schedule: &Schedule, date: Date) -> bool {
    let weekday = date.weekday().to_sunday_zero_offset();
    schedule.admits_day(date.month() as u8, date.day() as u8, weekday as u8)
}

/// Returns the second of UTC for a wall time that is read as UTC.
fn utc_seconds(wall: DateTime) -> i64 {
    jiff::tz::Offset::UTC.to_timestamp(wall).map_or(i64::MAX, Timestamp::as_second)
}

/// Adds the slots whose wall time is on this date, by their second of UTC.
fn slots_of_day(schedule: &Schedule, zone: &Zone, date: Date, slots: &mut BTreeMap<i64, Origin>) {
    let Some([minutes, hours, ..]) = schedule.fields() else { return };
    if !admits_date(schedule, date) {
        return;
    }
    let is_wild = is_wildcard(schedule);
    for hour in (0..24_i8).filter(|h| hours.contains(*h as u8)) {
        for minute in (0..60_i8).filter(|m| minutes.contains(*m as u8)) {
            let wall = date.at(hour, minute, 0, 0);
            let at = |offset: jiff::tz::Offset| utc_seconds(wall).saturating_sub(i64::from(offset.seconds()));
            match zone.tz().to_ambiguous_timestamp(wall).offset() {
                AmbiguousOffset::Unambiguous { offset } => {
                    slots.entry(at(offset)).or_insert(Origin::Plain);
                }
                AmbiguousOffset::Fold { before, after } => {
                    slots.insert(at(before), Origin::FirstPass(wall));
                    if is_wild || is_large(before.seconds() - after.seconds()) {
                        slots.insert(at(after), Origin::SecondPass(wall));
                    }
                }
                AmbiguousOffset::Gap { before, after } => {
                    if !is_wild
                        && !is_large(after.seconds() - before.seconds())
                        && let Some(end) = change_before(zone, at(before).saturating_add(1))
                    {
                        slots.entry(end).or_insert(Origin::Skipped(wall));
                    }
                }
            }
        }
    }
}

fn is_large(change_secs: i32) -> bool {
    i64::from(change_secs) >= LARGE_CHANGE_MINUTES * 60
}

/// Returns the second at which the offset last changed before this one.
fn change_before(zone: &Zone, second: i64) -> Option<i64> {
    let at = Timestamp::from_second(second).ok()?;
    zone.tz().preceding(at).next().map(|t| t.timestamp().as_second())
}

#[cfg(test)]
mod tests;
