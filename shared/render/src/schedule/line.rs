//! What stands in cron's file for a schedule, when the job's zone isn't the node's.

use std::collections::BTreeSet;

use lampas_shared::{
    TextError,
    host::{CronJob, Schedule},
};

use super::{Zone, is_large, is_wildcard};

/// Returns the fields for cron's file: the job's own when it has no zone, or one with the node's clock; otherwise fields
/// that fire at least at every slot, and every hour, so that cron itself never skips or repeats anything
/// (it treats them as a wildcard job). [`super::slot_for`] sorts out which starts are meant.
///
/// # Errors
/// When the job's zone is unknown.
pub fn cron_line_schedule(job: &CronJob, node_zone: &Zone) -> Result<Schedule, TextError> {
    let schedule = &job.schedule;
    let Some(name) = &job.time_zone else { return Ok(schedule.clone()) };
    let zone = Zone::parse(name)?;
    let Some([minutes, ..]) = schedule.fields() else { return Ok(schedule.clone()) };
    if zone.is_same_rule(node_zone) {
        return Ok(schedule.clone());
    }

    let (job_offsets, node_offsets): (Vec<_>, Vec<_>) = (zone.offsets().collect(), node_zone.offsets().collect());
    let own: BTreeSet<u8> = (0..60).filter(|m| minutes.contains(*m)).collect();
    let mut wanted = BTreeSet::new();
    let minute_of = |secs: i64| (secs.div_euclid(60).rem_euclid(60)) as u8;
    for (_, node) in &node_offsets {
        for (_, job) in &job_offsets {
            wanted.extend(own.iter().map(|m| minute_of(i64::from(*m) * 60 + i64::from(node - job))));
        }
        for change in changes_over_slots(schedule, &job_offsets) {
            wanted.insert(minute_of(change + i64::from(*node)));
        }
    }
    let field = if wanted == own {
        schedule.as_str().split(' ').next().filter(|f| !f.starts_with('@')).unwrap_or("0").to_owned()
    } else if wanted.len() == 60 {
        "*".to_owned()
    } else if wanted.iter().eq([0, 15, 30, 45].iter()) {
        "*/15".to_owned()
    } else {
        wanted.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
    };
    format!("{field} * * * *").parse()
}

/// Returns the instants at which the clock of the job's zone is set forward over a time of a fixed-time job: it runs
/// right then, whatever its minute field says.
fn changes_over_slots(schedule: &Schedule, offsets: &[(i64, i32)]) -> Vec<i64> {
    if is_wildcard(schedule) {
        return Vec::new();
    }
    let skips = |at: i64, before: i32, gap: i32| {
        (0..i64::from(gap) / 60).any(|minute| {
            let wall =
                jiff::tz::Offset::from_seconds(before).ok().zip(jiff::Timestamp::from_second(at + minute * 60).ok());
            wall.is_some_and(|(offset, t)| admits_time(schedule, offset.to_datetime(t)))
        })
    };
    let pairs = offsets.windows(2).map(|pair| (pair[1].0, pair[0].1, pair[1].1 - pair[0].1));
    pairs.filter(|(at, before, gap)| *gap > 0 && !is_large(*gap) && skips(*at, *before, *gap)).map(|p| p.0).collect()
}

/// Returns whether the time of day is admitted. The day doesn't matter: the date of a clock change moves.
fn admits_time(schedule: &Schedule, wall: jiff::civil::DateTime) -> bool {
    schedule.fields().is_some_and(|[m, h, ..]| m.contains(wall.minute() as u8) && h.contains(wall.hour() as u8))
}
