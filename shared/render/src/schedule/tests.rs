//! The rule of the schedule module, shown by example, and proven against a model of Debian's cron.

use lampas_shared::host::{CronJob, TimeZoneName};
use proptest::prelude::*;

use super::{slot::Judgement, *};

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Asia/Tokyo",
];

fn zone(name: &str) -> Zone {
    Zone::parse(TimeZoneName::parse(name).expect("a name")).expect("a zone")
}

fn at(text: &str) -> UnixMs {
    text.parse().expect("RFC 3339")
}

fn job(schedule: &str, time_zone: Option<&str>) -> CronJob {
    CronJob {
        schedule: schedule.parse().expect("a schedule"),
        user: lampas_shared::host::UserName::root(),
        command: "true".into(),
        environment: BTreeMap::default(),
        mailto: None,
        time_zone: time_zone.map(|name| TimeZoneName::parse(name).expect("a name")),
        table: lampas_shared::host::CronTable::System,
        timeout_secs: None,
        enabled: true,
        template: false,
    }
}

fn check_next(schedule: &str, zone_name: &str, after: &str, expected: &[&str]) {
    let runs = next_runs(&schedule.parse().expect("valid"), &zone(zone_name), at(after), expected.len());
    let local: Vec<_> = runs.iter().map(|r| r.local.as_str()).collect();
    assert_eq!(local, expected, "{schedule} in {zone_name}");
}

#[test]
fn the_next_runs_are_in_the_zone_s_wall_time() {
    check_next(
        "*/30 * * * *",
        "UTC",
        "2026-01-31T23:45:00Z",
        &["2026-02-01T00:00:00+00:00", "2026-02-01T00:30:00+00:00"],
    );
    check_next("0 9 * * 1", "Asia/Tokyo", "2026-01-01T00:00:00Z", &["2026-01-05T09:00:00+09:00"]);
    check_next("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00+00:00"]);
    check_next("@monthly", "UTC", "2026-01-01T00:00:00Z", &["2026-02-01T00:00:00+00:00"]);
}

#[test]
fn a_date_that_never_comes_and_reboot_have_no_next_run() {
    check_next("0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z", &[]);
    assert_eq!(next_runs(&"0 0 30 2 *".parse().expect("valid"), &Zone::utc(), UnixMs(0), 5), []);
    assert_eq!(next_runs(&"@reboot".parse().expect("valid"), &Zone::utc(), UnixMs(0), 5), []);
    assert_eq!(next_runs(&"* * * * *".parse().expect("valid"), &Zone::utc(), UnixMs(i64::MAX), 5), []);
    for zone_name in ZONES {
        let (last, daily) = (Timestamp::MAX.as_millisecond(), "0 2 * * *".parse().expect("valid"));
        assert!(next_runs(&daily, &zone(zone_name), UnixMs(last - 86_400_000 * 3), 9).len() < 5, "time ends");
        for now in [i64::MIN, last, i64::MAX] {
            let _ = slot_for(&job("0 2 * * *", Some(zone_name)), &Zone::utc(), UnixMs(now), Some(UnixMs(0)));
        }
    }
}

#[test]
fn a_fixed_time_that_the_spring_change_skips_runs_once_right_after_it() {
    let expected = ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"];
    check_next("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", &expected);
    let runs =
        next_runs(&"0,30 2 * * *".parse().expect("valid"), &zone("Europe/Berlin"), at("2026-03-29T00:00:00Z"), 2);
    assert_eq!(runs[0].note.as_deref(), Some("02:00 does not exist on this day: runs right after the clock change"));
    assert_eq!(runs[1].local, "2026-03-30T02:00:00+02:00");
}

#[test]
fn a_fixed_time_that_the_autumn_change_repeats_runs_in_the_first_pass() {
    let expected = ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"];
    check_next("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &expected);
}

#[test]
fn wildcard_jobs_go_by_elapsed_time() {
    let spring = ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00"];
    check_next("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:01:00Z", &spring);
    let autumn = ["2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00"];
    check_next("*/30 2 * * *", "Europe/Berlin", "2026-10-25T00:01:00Z", &autumn);
    check_next("30 * * * *", "Europe/Berlin", "2026-10-25T00:01:00Z", &[autumn[0], autumn[2]]);
}

#[test]
fn cron_gets_the_job_s_own_fields_where_it_can_and_more_where_it_must() {
    let line = |schedule, of: Option<&str>, node| {
        cron_line_schedule(&job(schedule, of), &zone(node)).expect("known zones").to_string()
    };
    assert_eq!(line("30 2 * * 1-5", None, "Asia/Tokyo"), "30 2 * * 1-5");
    assert_eq!(line("30 2 * * *", Some("Europe/Vienna"), "Europe/Berlin"), "30 2 * * *");
    assert_eq!(line("*/20 9-17 * * *", Some("Europe/Berlin"), "UTC"), "*/20 * * * *");
    assert_eq!(line("5 9 * * *", Some("Asia/Tokyo"), "Asia/Kathmandu"), "50 * * * *");
    assert_eq!(line("@daily", Some("Asia/Tokyo"), "UTC"), "0 * * * *");
    assert_eq!(line("30 2 * * *", Some("Europe/Berlin"), "UTC"), "0,30 * * * *", "the change ends on the full hour");
    assert_eq!(line("* 3 * * *", Some("Australia/Lord_Howe"), "UTC"), "* * * * *");
}

#[test]
fn an_unknown_zone_is_an_error_for_the_line_and_a_reason_for_the_wrapper() {
    let job = job("0 0 * * *", Some("Mars/Base"));
    assert!(cron_line_schedule(&job, &Zone::utc()).is_err());
    let decision = slot_for(&job, &Zone::utc(), at("2026-01-01T00:00:00Z"), None);
    assert_eq!(decision, Decision::Skip { reason: SkipReason::UnknownZone });
}

fn check_slot(job: &CronJob, node: &str, now: &str, last: Option<&str>, expected: Result<&str, SkipReason>) {
    let expected = match expected {
        Ok(slot) => Decision::Run { slot: at(slot) },
        Err(reason) => Decision::Skip { reason },
    };
    assert_eq!(slot_for(job, &zone(node), at(now), last.map(at)), expected, "{job:?} at {now} after {last:?}");
}

#[test]
fn a_start_takes_its_slot_once_and_late_up_to_five_minutes() {
    let tokyo = job("0 9 * * *", Some("Asia/Tokyo"));
    let slot = "2026-05-01T00:00:00Z";
    check_slot(&tokyo, "UTC", "2026-05-01T00:00:00.100Z", None, Ok(slot));
    check_slot(&tokyo, "UTC", "2026-05-01T00:04:59.999Z", Some("2026-04-30T00:00:00Z"), Ok(slot));
    check_slot(&tokyo, "UTC", "2026-05-01T00:05:00Z", Some("2026-04-30T00:00:00Z"), Err(SkipReason::NotASlot));
    check_slot(&tokyo, "UTC", "2026-05-01T00:00:30Z", Some(slot), Err(SkipReason::AlreadyRan));
    check_slot(&tokyo, "UTC", "2026-05-01T01:00:00Z", Some(slot), Err(SkipReason::NotASlot));
}

#[test]
fn starts_that_cron_makes_up_for_take_the_oldest_slot_and_punctual_ones_the_newest() {
    let each = job("* * * * *", None);
    check_slot(&each, "UTC", "2026-05-01T00:04:12Z", Some("2026-05-01T00:01:00Z"), Ok("2026-05-01T00:02:00Z"));
    check_slot(&each, "UTC", "2026-05-01T00:04:00.050Z", Some("2026-05-01T00:01:00Z"), Ok("2026-05-01T00:04:00Z"));
}

#[test]
fn in_its_own_zone_a_start_that_no_slot_explains_still_runs() {
    let daily = job("0 2 * * *", None);
    let yesterday = Some("2026-04-30T02:00:00Z");
    check_slot(&daily, "UTC", "2026-05-01T02:40:03Z", yesterday, Ok("2026-05-01T02:00:00Z"));
    check_slot(&daily, "UTC", "2026-05-01T01:00:00Z", yesterday, Ok("2026-05-01T01:00:00Z"));
    check_slot(&daily, "UTC", "2026-05-01T01:00:20Z", Some("2026-05-01T01:00:00Z"), Err(SkipReason::AlreadyRan));
}

#[test]
fn a_cron_that_was_restarted_in_the_repeated_hour_does_not_run_a_job_again() {
    let night = job("30 2 * * *", None);
    let first = Some("2026-10-25T00:30:00Z");
    check_slot(&night, "Europe/Berlin", "2026-10-25T01:30:00Z", first, Err(SkipReason::RepeatedHour));
}

#[test]
fn a_last_slot_of_a_clock_that_was_years_ahead_does_not_stop_a_job() {
    let daily = job("0 2 * * *", Some("Asia/Tokyo"));
    check_slot(&daily, "UTC", "2026-05-01T17:00:00Z", Some("2031-05-01T17:00:00Z"), Ok("2026-05-01T17:00:00Z"));
    check_slot(&daily, "UTC", "2026-05-01T17:00:00Z", Some("2026-05-01T17:30:00Z"), Err(SkipReason::AlreadyRan));
}

/// Debian's cron (cron.c, main loop) as far as time matters: it counts minutes of wall time and sorts jumps by size.
struct ModelCron<'a> {
    zone: &'a Zone,
    line: Schedule,
    virtual_minute: i64,
    /// A quarter of an hour and its offset in minutes: clocks change on quarters, and asking the zone is slow.
    offset: (i64, i64),
}

impl<'a> ModelCron<'a> {
    fn start(zone: &'a Zone, line: Schedule, minute: i64) -> Self {
        let mut cron = Self { zone, line, virtual_minute: 0, offset: (i64::MIN, 0) };
        cron.virtual_minute = cron.wall(minute);
        cron
    }

    /// Minutes since the epoch, by the wall clock.
    fn wall(&mut self, minute: i64) -> i64 {
        let quarter = minute.div_euclid(15);
        if self.offset.0 != quarter {
            let instant = Timestamp::from_second(minute * 60).expect("in range");
            self.offset = (quarter, i64::from(self.zone.tz().to_offset(instant).seconds()) / 60);
        }
        minute + self.offset.1
    }

    fn finds(&self, wall: i64, is_for_wild: bool, is_for_fixed: bool) -> bool {
        let time = || Timestamp::from_second(wall * 60).expect("in range");
        let is_meant = if is_wildcard(&self.line) { is_for_wild } else { is_for_fixed };
        let minutes = self.line.fields().expect("not @reboot")[0];
        is_meant
            && minutes.contains(wall.rem_euclid(60) as u8)
            && admits(&self.line, jiff::tz::Offset::UTC.to_datetime(time()))
    }

    /// Wakes up in this minute; returns how many times the job is started.
    fn wake(&mut self, minute: i64) -> usize {
        let running = self.wall(minute);
        let difference = running - self.virtual_minute;
        let mut starts = 0;
        if (1..=5).contains(&difference) {
            while self.virtual_minute < running {
                self.virtual_minute += 1;
                starts += usize::from(self.finds(self.virtual_minute, true, true));
            }
        } else if (6..=180).contains(&difference) {
            starts += usize::from(self.finds(running, true, false));
            while self.virtual_minute < running {
                self.virtual_minute += 1;
                starts += usize::from(self.finds(self.virtual_minute, false, true));
            }
        } else if (-179..=0).contains(&difference) {
            starts += usize::from(self.finds(running, true, false));
        } else {
            self.virtual_minute = running;
            starts += usize::from(self.finds(running, true, true));
        }
        starts
    }
}

/// Runs the model over `[from, to)` (minutes), awake in each minute that `sleeps` doesn't leave out, and returns the
/// slots that ran. A run twice fails at once.
fn simulate(job: &CronJob, node: &Zone, from: i64, to: i64, mut sleeps: impl FnMut(i64) -> bool) -> Vec<i64> {
    let line = cron_line_schedule(job, node).expect("known zones");
    let mut cron = ModelCron::start(node, line, from - 1);
    let mut last: Option<UnixMs> = Some(UnixMs((from - 1) * 60_000));
    let mut ran = Vec::new();
    let mut is_late = false;
    for minute in from..to {
        if sleeps(minute) {
            is_late = true;
            continue;
        }
        for nth in 0..cron.wake(minute) {
            let late_ms = if is_late { 17_000 } else { 40 } + 10_000 * nth as i64;
            if let Decision::Run { slot } = slot_for(job, node, UnixMs(minute * 60_000 + late_ms), last) {
                assert!(last.is_none_or(|last| slot > last), "{slot} ran twice");
                last = Some(slot);
                ran.push(slot.0);
            }
        }
        is_late = false;
    }
    ran
}

fn expected(job: &CronJob, node: &Zone, from: i64, to: i64) -> Vec<i64> {
    let zone = job.time_zone.as_ref().map_or_else(|| node.clone(), |name| Zone::parse(name).expect("a zone"));
    let runs = next_runs(&job.schedule, &zone, UnixMs(from * 60_000 - 1), (to - from) as usize);
    runs.into_iter().map(|r| r.at.0).filter(|ms| *ms < to * 60_000).collect()
}

const YEAR_MINUTES: i64 = 365 * 1440;

#[test]
fn over_a_year_with_both_changes_each_slot_runs_exactly_once() {
    let from = at("2026-01-01T00:00:00Z").0 / 60_000;
    for (schedule, time_zone, node) in [
        ("30 2 * * *", None, "Europe/Berlin"),
        ("0,30 2 * * *", Some("Europe/Berlin"), "UTC"),
        ("*/20 * * * *", None, "America/New_York"),
        ("15 1-3 * * *", Some("America/New_York"), "Europe/London"),
        ("45 1 * * 0", Some("Australia/Lord_Howe"), "Asia/Kathmandu"),
        ("0 0 * * *", Some("America/Santiago"), "Australia/Lord_Howe"),
        ("10 2 * * *", Some("UTC"), "Europe/Berlin"),
    ] {
        let (job, node) = (job(schedule, time_zone), zone(node));
        let ran = simulate(&job, &node, from, from + YEAR_MINUTES, |_| false);
        assert_eq!(ran, expected(&job, &node, from, from + YEAR_MINUTES), "{schedule} in {time_zone:?} on {node}");
    }
}

fn any_field(max: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("*".to_owned()),
        1 => (1..=30_u8).prop_map(|step| format!("*/{step}")),
        3 => (0..=max).prop_map(|n| n.to_string()),
        2 => (0..=max, 0..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        2 => (0..=max, 0..=max).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn any_schedule() -> impl Strategy<Value = String> {
    // Hours near the usual clock changes come up often.
    let hour = prop_oneof![any_field(23), (0..=4_u8).prop_map(|h| h.to_string())];
    (any_field(59), hour, prop_oneof![3 => Just("*"), 1 => Just("0"), 1 => Just("1-5")])
        .prop_map(|(minute, hour, weekday)| format!("{minute} {hour} * * {weekday}"))
}

/// A day in 2026 within two days of a change of the clock in one of the zones.
fn any_change_day() -> impl Strategy<Value = i64> {
    let days = ["2026-03-08", "2026-03-29", "2026-04-05", "2026-09-06", "2026-10-04", "2026-10-25", "2026-11-01"];
    (prop::sample::select(days.to_vec()), -2..2_i64)
        .prop_map(|(day, shift)| at(&format!("{day}T00:00:00Z")).0 / 60_000 + shift * 1440)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn around_clock_changes_each_slot_runs_exactly_once(
        schedule in any_schedule(),
        time_zone in prop::option::of(prop::sample::select(ZONES.to_vec())),
        node in prop::sample::select(ZONES.to_vec()),
        day in any_change_day(),
    ) {
        let (job, node) = (job(&schedule, time_zone), zone(node));
        let to = day + 2 * 1440;
        let ran = simulate(&job, &node, day, to, |_| false);
        prop_assert_eq!(ran, expected(&job, &node, day, to));
    }

    #[test]
    fn a_cron_that_is_late_by_minutes_loses_and_doubles_nothing(
        schedule in any_schedule(),
        node in prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Tokyo"]),
        naps in prop::collection::vec((0..1440_i64, 1..=4_i64), 0..20),
    ) {
        // A day without a change of the clock: cron catches up on each minute.
        let from = at("2026-06-10T00:00:00Z").0 / 60_000;
        let (job, node) = (job(&schedule, None), zone(node));
        let mut ends: Vec<bool> = vec![false; 1450];
        let mut free = 0;
        for (start, length) in naps {
            // At most four minutes at a stretch, a minute awake between them.
            if start > free { for m in start..start + length { ends[m as usize] = true; } free = start + length + 1; }
        }
        let to = from + 1450;
        ends[1449] = false;
        let ran = simulate(&job, &node, from, to, |minute| ends[(minute - from) as usize]);
        prop_assert_eq!(ran, expected(&job, &node, from, to));
    }

    #[test]
    fn what_is_shown_as_next_run_is_what_the_wrapper_judges(
        schedule in any_schedule(),
        zone_name in prop::sample::select(ZONES.to_vec()),
        day in any_change_day(),
    ) {
        let (schedule, zone): (Schedule, _) = (schedule.parse().expect("valid"), zone(zone_name));
        let shown: Vec<i64> = next_runs(&schedule, &zone, UnixMs(day * 60_000 - 1), 1440)
            .into_iter().map(|r| r.at.0).filter(|ms| *ms < (day + 1440) * 60_000).collect();
        let judged: Vec<i64> = (day..day + 1440).map(|m| m * 60_000)
            .filter(|ms| slot::judge(&schedule, &zone, UnixMs(*ms)) == Judgement::Slot).collect();
        prop_assert_eq!(shown, judged);
    }
}
