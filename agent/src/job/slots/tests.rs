//! Slots that nobody took, on a clock that the test sets.

use super::*;
use crate::host::tests::fixture::{Host, cron};

const HOUR: i64 = 60 * MINUTE_MS;
const DAY: i64 = 24 * HOUR;

fn at(text: &str) -> UnixMs {
    UnixMs(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond())
}

fn job(schedule: &str, zone: &str) -> JobFile {
    let mut host = Host::new();
    let more = format!(r#"{{"schedule": "{schedule}", "time_zone": "{zone}", "user": "root"}}"#);
    let resource = cron("job", &more);
    host.apply(std::slice::from_ref(&resource));
    file_of(&host.root, resource.object).expect("it was applied")
}

/// A node whose agent looks when it is told to.
struct Node {
    slots: Slots,
    files: Vec<JobFile>,
    boot: &'static str,
    booted_at: UnixMs,
    /// How much more the clock has gone than the machine was awake.
    asleep_ms: i64,
}

impl Node {
    /// An agent that has been up for an hour when it sees the jobs first.
    fn new(files: Vec<JobFile>, now: UnixMs) -> Self {
        let booted_at = now.plus_ms(-HOUR);
        let moment = Moment { now, boot: "first".into(), booted_at, awake_ms: now.0 };
        let slots = Slots::of(Kept::new("seed".into(), &moment), &moment);
        let mut node = Self { slots, files, boot: "first", booted_at, asleep_ms: 0 };
        assert!(node.look(now).is_empty(), "nothing is told of the time before");
        node
    }

    fn moment(&self, now: UnixMs) -> Moment {
        Moment { now, boot: self.boot.to_owned(), booted_at: self.booted_at, awake_ms: now.0 - self.asleep_ms }
    }

    fn look(&mut self, now: UnixMs) -> Vec<JobRun> {
        let moment = self.moment(now);
        self.slots.settle(&self.files, &[], &moment)
    }

    /// Looks each minute.
    fn run(&mut self, from: UnixMs, until: UnixMs) -> Vec<JobRun> {
        let minutes = (0..).map(|n| from.plus_ms(n * MINUTE_MS)).take_while(|t| *t <= until);
        minutes.flat_map(|now| self.look(now)).collect()
    }

    fn took(&mut self, slot: UnixMs) {
        let run = Untaken { slot, outcome: RunOutcome::Exited(0), more: None };
        let run = run.record("another", self.files[0].object, "root");
        self.slots.note(&run, slot);
    }

    /// The agent is started anew, from what was kept.
    fn restart(&mut self, now: UnixMs) {
        let text = serde_json::to_string(&self.slots.kept).expect("JSON");
        let kept = serde_json::from_str(&text).expect("the same");
        self.slots = Slots::of(kept, &self.moment(now));
    }

    /// The machine was started again, and its agent with it.
    fn boot(&mut self, booted_at: UnixMs, now: UnixMs) {
        (self.boot, self.booted_at) = (if self.boot == "first" { "second" } else { "third" }, booted_at);
        self.restart(now);
    }
}

fn told(runs: &[JobRun]) -> Vec<(String, RunOutcome)> {
    runs.iter().map(|r| (r.slot.expect("a slot").to_string(), r.outcome)).collect()
}

fn all(times: &[&str], outcome: RunOutcome) -> Vec<(String, RunOutcome)> {
    times.iter().map(|t| (at(t).to_string(), outcome)).collect()
}

#[test]
fn what_cron_did_not_start_is_missed_once() {
    let start = at("2026-07-01T10:00:30Z");
    let mut node = Node::new(vec![job("*/30 * * * *", "UTC")], start);
    node.took(at("2026-07-01T10:30:00Z"));
    let found = node.run(start, at("2026-07-01T11:34:00Z"));
    assert_eq!(told(&found), all(&["2026-07-01T11:00:00Z"], RunOutcome::Missed), "half past eleven may still come");
    assert!(found[0].output.contains("although the machine was up"), "{found:?}");
    let later = node.run(at("2026-07-01T11:35:00Z"), at("2026-07-01T11:59:00Z"));
    assert_eq!(told(&later), all(&["2026-07-01T11:30:00Z"], RunOutcome::Missed));
    node.restart(at("2026-07-01T12:10:00Z"));
    assert!(node.run(at("2026-07-01T12:10:00Z"), at("2026-07-01T12:15:00Z")).is_empty(), "the clock isn't known yet");
    let after = node.run(at("2026-07-01T12:16:00Z"), at("2026-07-01T12:20:00Z"));
    assert_eq!(told(&after), all(&["2026-07-01T12:00:00Z"], RunOutcome::Missed), "and nothing twice");
}

#[test]
fn a_machine_that_was_off_says_so_when_it_is_back() {
    let start = at("2026-07-01T10:00:30Z");
    let mut node = Node::new(vec![job("0 * * * *", "UTC")], start);
    node.run(start, at("2026-07-01T10:59:30Z"));
    let back = at("2026-07-01T14:20:40Z");
    node.boot(at("2026-07-01T14:20:00Z"), back);
    assert!(node.run(back, at("2026-07-01T14:25:40Z")).is_empty(), "the clock isn't known yet");
    let back = at("2026-07-01T14:26:40Z");
    let slots = ["2026-07-01T11:00:00Z", "2026-07-01T12:00:00Z", "2026-07-01T13:00:00Z", "2026-07-01T14:00:00Z"];
    assert_eq!(told(&node.look(back)), all(&slots, RunOutcome::NodeDown));
    assert!(node.look(back.plus_ms(MINUTE_MS)).is_empty(), "once");
    let next = node.run(back.plus_ms(2 * MINUTE_MS), at("2026-07-01T15:10:00Z"));
    assert_eq!(told(&next), all(&["2026-07-01T15:00:00Z"], RunOutcome::Missed), "from the boot on it is cron's");
}

#[test]
fn an_agent_that_was_away_believes_the_records() {
    let start = at("2026-07-01T10:00:30Z");
    let mut node = Node::new(vec![job("0 * * * *", "UTC")], start);
    let back = at("2026-07-01T18:00:30Z");
    node.boot(at("2026-07-01T17:30:00Z"), back);
    // The machine was up until after 13:00, whatever became of the agent.
    for slot in ["2026-07-01T11:00:00Z", "2026-07-01T13:00:00Z"] {
        node.took(at(slot));
    }
    let found = told(&node.look(back));
    let mut expected = all(&["2026-07-01T12:00:00Z"], RunOutcome::Missed);
    let off = ["2026-07-01T14:00:00Z", "2026-07-01T15:00:00Z", "2026-07-01T16:00:00Z", "2026-07-01T17:00:00Z"];
    expected.extend(all(&off, RunOutcome::NodeDown));
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected.into_iter().collect::<BTreeSet<_>>());
}

#[test]
fn who_runs_long_has_taken_its_slot() {
    let start = at("2026-07-01T10:00:30Z");
    let mut node = Node::new(vec![job("0 11 * * *", "UTC")], start);
    let object = node.files[0].object;
    for minute in 0..90 {
        let now = start.plus_ms(minute * MINUTE_MS);
        let running = [(object, at("2026-07-01T11:00:00Z"))];
        let taken: &[_] = if minute >= 60 { &running } else { &[] };
        let moment = node.moment(now);
        assert!(node.slots.settle(&node.files, taken, &moment).is_empty(), "{now}");
    }
}

#[test]
fn clock_changes_are_those_of_the_schedule() {
    // 02:30 does not exist on that day and runs at 03:00 local; 02:30 in October comes twice and runs in the first.
    let check = |zone: &str, schedule: &str, from: &str, slots: &[&str]| {
        let start = at(from);
        let mut node = Node::new(vec![job(schedule, zone)], start);
        let back = start.plus_ms(DAY + GRACE_MS);
        node.boot(start.plus_ms(DAY), back);
        assert_eq!(told(&node.look(back)), all(slots, RunOutcome::NodeDown), "{zone} {from}");
    };
    check("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z"]);
    check("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z"]);
    check("UTC", "30 2 * * *", "2026-10-24T12:00:00Z", &["2026-10-25T02:30:00Z"]);
    check("Europe/Berlin", "0 */12 * * *", "2026-10-24T12:00:00Z", &["2026-10-24T22:00:00Z", "2026-10-25T11:00:00Z"]);
}

#[test]
fn a_long_absence_is_told_in_few_words() {
    let start = at("2026-01-01T00:00:30Z");
    let mut node = Node::new(vec![job("* * * * *", "UTC")], start);
    let back = at("2026-07-01T00:00:00Z");
    node.boot(back, back.plus_ms(GRACE_MS));
    let found = node.look(back.plus_ms(GRACE_MS));
    assert_eq!(found.len(), TOLD + 1);
    assert_eq!(found[0].slot, Some(back.plus_ms(-BACK_MS)), "a week and no more");
    let minutes = (BACK_MS / MINUTE_MS) as usize;
    assert!(found[TOLD].output.contains(&format!("and {} more", minutes - TOLD - 1)), "{}", found[TOLD].output);
    assert_eq!(found.iter().map(|r| r.times as usize).sum::<usize>(), minutes, "each is counted");
    let ids: BTreeSet<_> = found.iter().map(|r| r.run).collect();
    assert_eq!(ids.len(), TOLD + 1);
}

#[test]
fn a_report_that_is_made_again_is_the_same() {
    let start = at("2026-07-01T10:00:30Z");
    let mut node = Node::new(vec![job("0 * * * *", "UTC")], start);
    let back = at("2026-07-01T14:30:00Z");
    node.boot(at("2026-07-01T14:20:00Z"), back);
    let kept = node.slots.clone();
    let first = node.look(back);
    node.slots = kept;
    assert_eq!(first, node.look(back.plus_ms(2000)));
    assert_eq!(first.len(), 4);
}

#[test]
fn only_what_is_in_force_has_slots() {
    let start = at("2026-07-01T10:00:30Z");
    let mut disabled = job("0 * * * *", "UTC");
    disabled.job.enabled = false;
    let mut node = Node::new(vec![disabled.clone(), job("@reboot", "UTC")], start);
    assert!(node.run(start, at("2026-07-01T13:30:00Z")).is_empty());
    node.files[0].job.enabled = true;
    let found = node.run(at("2026-07-01T13:31:00Z"), at("2026-07-01T14:10:00Z"));
    assert_eq!(told(&found), all(&["2026-07-01T14:00:00Z"], RunOutcome::Missed), "from when it came into force");
    // Another schedule: the old one's slots count until it came.
    node.files[0].job.schedule = "30 * * * *".parse().expect("a schedule");
    let found = node.run(at("2026-07-01T14:11:00Z"), at("2026-07-01T15:10:00Z"));
    assert_eq!(told(&found), all(&["2026-07-01T14:30:00Z"], RunOutcome::Missed));
    node.files.clear();
    assert!(node.run(at("2026-07-01T15:11:00Z"), at("2026-07-01T17:00:00Z")).is_empty(), "it is gone");
}

#[test]
fn a_clock_that_was_wrong_is_not_believed() {
    let start = at("2026-07-01T10:00:30Z");
    let mut node = Node::new(vec![job("0 * * * *", "UTC")], start);
    let wrong = at("2031-07-01T10:00:30Z");
    node.slots.alive(wrong);
    node.slots.kept.jobs.values_mut().for_each(|j| j.begin(wrong));
    let found = node.run(start.plus_ms(MINUTE_MS), at("2026-07-01T11:10:00Z"));
    assert_eq!(told(&found), all(&["2026-07-01T11:00:00Z"], RunOutcome::Missed), "it goes on from the right time");
}

#[test]
fn a_clock_that_is_ahead_at_the_boot_tells_of_no_slots_to_come() {
    let start = at("2026-07-01T10:00:30Z");
    let mut node = Node::new(vec![job("0 * * * *", "UTC")], start);
    node.run(start, at("2026-07-01T10:59:30Z"));
    // It is a quarter past two, and the clock says a quarter past four until it is set.
    let wrong = at("2026-07-01T16:15:30Z");
    node.boot(at("2026-07-01T16:15:00Z"), wrong);
    assert!(node.run(wrong, wrong.plus_ms(2 * MINUTE_MS)).is_empty());
    node.booted_at = at("2026-07-01T14:15:00Z");
    node.asleep_ms = -2 * HOUR;
    let mut found = node.run(at("2026-07-01T14:18:30Z"), at("2026-07-01T15:00:30Z"));
    node.took(at("2026-07-01T15:00:00Z"));
    found.extend(node.run(at("2026-07-01T15:01:30Z"), at("2026-07-01T16:50:30Z")));
    let off = ["2026-07-01T11:00:00Z", "2026-07-01T12:00:00Z", "2026-07-01T13:00:00Z", "2026-07-01T14:00:00Z"];
    let mut expected = all(&off, RunOutcome::NodeDown);
    expected.extend(all(&["2026-07-01T16:00:00Z"], RunOutcome::Missed));
    assert_eq!(told(&found), expected);
}

#[test]
fn a_machine_that_slept_was_not_up() {
    let start = at("2026-07-01T10:00:30Z");
    let mut node = Node::new(vec![job("0 * * * *", "UTC")], start);
    node.run(start, at("2026-07-01T10:59:30Z"));
    node.asleep_ms += 3 * HOUR;
    let awake = at("2026-07-01T13:59:40Z");
    // What it starts when it is awake is its own.
    assert!(node.run(awake, at("2026-07-01T14:04:40Z")).is_empty(), "the clock isn't known yet");
    let found = node.run(at("2026-07-01T14:05:40Z"), at("2026-07-01T14:30:40Z"));
    let asleep = ["2026-07-01T11:00:00Z", "2026-07-01T12:00:00Z", "2026-07-01T13:00:00Z"];
    let mut expected = all(&asleep, RunOutcome::NodeDown);
    expected.extend(all(&["2026-07-01T14:00:00Z"], RunOutcome::Missed));
    assert_eq!(told(&found).into_iter().collect::<BTreeSet<_>>(), expected.into_iter().collect::<BTreeSet<_>>());
    assert!(found[0].output.contains("off or asleep"), "{found:?}");
    // An agent that was held up for long is no machine that slept.
    let late = node.run(at("2026-07-01T16:10:40Z"), at("2026-07-01T16:30:40Z"));
    assert_eq!(told(&late), all(&["2026-07-01T15:00:00Z", "2026-07-01T16:00:00Z"], RunOutcome::Missed));
}

#[test]
fn a_job_that_is_changed_or_goes_has_its_last_slots() {
    let start = at("2026-07-01T10:00:30Z");
    let change = |what: &dyn Fn(&mut Vec<JobFile>)| {
        let mut node = Node::new(vec![job("10 * * * *", "UTC")], start);
        assert!(node.run(start, at("2026-07-01T10:11:30Z")).is_empty(), "it may still come");
        what(&mut node.files);
        node.look(at("2026-07-01T10:12:30Z"));
        node
    };
    let missed = all(&["2026-07-01T10:10:00Z"], RunOutcome::Missed);
    let rest = |node: &mut Node| told(&node.run(at("2026-07-01T10:13:30Z"), at("2026-07-01T10:50:30Z")));
    let to_noon = |files: &mut Vec<JobFile>| files[0].job.schedule = "0 12 * * *".parse().expect("a schedule");
    assert_eq!(rest(&mut change(&to_noon)), missed);
    assert_eq!(rest(&mut change(&|files| files[0].job.enabled = false)), missed);
    assert_eq!(rest(&mut change(&|files| files.clear())), missed);
    // Over a start of the agent, and where its record comes late.
    let mut node = change(&to_noon);
    node.restart(at("2026-07-01T10:13:00Z"));
    assert_eq!(rest(&mut node), missed);
    let mut node = change(&to_noon);
    node.took(at("2026-07-01T10:10:00Z"));
    assert!(rest(&mut node).is_empty());
    assert!(node.slots.kept.former.is_empty(), "it is over");
}
