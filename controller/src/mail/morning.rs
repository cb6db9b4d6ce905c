//! The morning mail: the last day and what needs somebody, as far as who gets it may see.
//!
//! It says what Overview says, from the same questions. There is one a day and user, by the date in its time zone: a
//! controller that is restarted, another one, or a clock that is set back makes no second. One that is late by more than
//! [`LATE_MS`] is left out: nobody wants the morning in the evening.

use std::collections::BTreeMap;

use jiff::{
    Timestamp,
    civil::{Date, Time},
    tz::{TimeZone, TimeZoneDatabase},
};
use lampas_api::{Attention, MailKind, MorningMail};
use lampas_runtime::clock;
use lampas_shared::{TextError, access::Permission, host::TimeZoneName, time::UnixMs};
use tracing::warn;

use super::{
    DAY_MS,
    outbox::{self, NewMessage},
    person::Person,
    store::{self, Setting},
    text::Letter,
};
use crate::{
    api::{App, problem::Answer},
    change::{Listing, api::visible},
    db::{DbError, Tx},
    job::{Tally, Verdict},
};

/// How late it may be.
const LATE_MS: i64 = 3 * 3_600_000;
/// How many of a kind are named.
const NAMED: usize = 8;

/// When the morning mail is sent.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    at: Time,
    zone: TimeZone,
}

impl Clock {
    /// Reads the setting.
    ///
    /// # Errors
    /// When the time or the zone is none.
    pub(super) fn of(morning: &MorningMail) -> Result<Self, TextError> {
        Ok(Self { at: time(&morning.at)?, zone: zone(&morning.time_zone)? })
    }

    /// Returns the date and the moment of the morning that is due: it has come, and not long ago.
    pub(super) fn due(&self, now: UnixMs) -> Option<(Date, UnixMs)> {
        // Shortly after midnight that of the evening before may be due still.
        [0, -1].into_iter().find_map(|days| {
            let (date, at) = self.slot(now, days)?;
            (0..LATE_MS).contains(&now.since(at)).then_some((date, at))
        })
    }

    /// Returns the next morning after a moment.
    pub(super) fn next(&self, now: UnixMs) -> Option<UnixMs> {
        (-1..=2).find_map(|days| self.slot(now, days).map(|(_, at)| at).filter(|at| *at > now))
    }

    /// Returns the morning some days after today. A time that a clock change leaves out is that much later.
    fn slot(&self, now: UnixMs, days: i64) -> Option<(Date, UnixMs)> {
        let today = Timestamp::from_millisecond(now.0).ok()?.to_zoned(self.zone.clone()).date();
        let date = today.checked_add(jiff::Span::new().days(days)).ok()?;
        let at = date.to_datetime(self.at).to_zoned(self.zone.clone()).ok()?;
        Some((date, UnixMs(at.timestamp().as_millisecond())))
    }
}

fn time(text: &str) -> Result<Time, TextError> {
    let wrong = || TextError::new("time of day", text, "write HH:MM, such as 07:00");
    let (hour, minute) = text.split_once(':').filter(|_| text.len() == 5).ok_or_else(wrong)?;
    let number = |t: &str| {
        if t.bytes().all(|b| b.is_ascii_digit()) { t.parse::<i8>().map_err(|_| wrong()) } else { Err(wrong()) }
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| wrong())
}

fn zone(name: &TimeZoneName) -> Result<TimeZone, TextError> {
    // It names the nearest zone when there is none of that name.
    lampas_render::Zone::parse(name)?;
    let found = TimeZoneDatabase::bundled().get(name.as_str());
    found.map_err(|_| TextError::new("time zone", name.as_str(), "is not a time zone"))
}

/// Returns whether somebody gets the morning mail.
pub(super) fn is_wanted(morning: &MorningMail, account: &store::Account) -> bool {
    account.morning && (morning.recipients.is_empty() || morning.recipients.contains(&account.login))
}

/// Puts the morning mail into the outbox, if it is due.
pub(super) async fn pass(app: &App, setting: &Setting) -> Answer<()> {
    let now = clock::now();
    let Some((date, at)) = Clock::of(&setting.morning).ok().filter(|_| setting.morning.is_on).and_then(|c| c.due(now))
    else {
        return Ok(());
    };
    if at < setting.morning_at {
        return Ok(());
    }
    let key = format!("morning:{date}");
    let of_date = &format!("{key}:");
    let (accounts, made) = app
        .db
        .read(|mut tx: Tx| async move {
            let found = (store::accounts(&mut tx).await?, outbox::keys(&mut tx, of_date).await?);
            Ok::<_, DbError>(tx.done(found))
        })
        .await?;
    let mut tallies = None;
    let is_due = |a: &store::Account| is_wanted(&setting.morning, a) && !made.contains(&format!("{key}:{}", a.user));
    for account in accounts.into_iter().filter(is_due) {
        let login = account.login.clone();
        if let Err(error) = told(app, account, &key, &mut tallies).await {
            // The others get theirs; this one is tried again.
            warn!(%login, error = %error.detail, "the morning mail of somebody could not be written");
        }
    }
    Ok(())
}

async fn told(app: &App, account: store::Account, key: &str, tallies: &mut Option<Vec<Tally>>) -> Answer<()> {
    let person = Person::of(app, account).await?.filter(|p| p.caller.may_somewhere(Permission::View));
    let Some(person) = person else { return Ok(()) };
    if tallies.is_none() {
        *tallies = Some(runs(app, clock::now()).await?);
    }
    let letter = letter(app, &person, tallies.as_deref().unwrap_or_default()).await?;
    put(app, &[person.message(MailKind::Morning, key, &letter)]).await
}

pub(super) async fn put(app: &App, messages: &[NewMessage]) -> Answer<()> {
    let now = clock::now();
    app.db
        .write(|mut tx: Tx| async move {
            outbox::enqueue(&mut tx, messages, now).await?;
            Ok::<_, DbError>(tx.done(()))
        })
        .await?;
    app.mail.woken.notify_one();
    Ok(())
}

/// Returns how the jobs of the last day went.
pub(super) async fn runs(app: &App, now: UnixMs) -> Answer<Vec<Tally>> {
    let since = now.plus_ms(-DAY_MS);
    let found = app
        .db
        .read(|mut tx: Tx| async move {
            let found = crate::job::tally(&mut tx, since, false).await?;
            Ok::<_, DbError>(tx.done(found))
        })
        .await?;
    Ok(found)
}

/// Writes the mail for somebody.
pub(super) async fn letter(app: &App, person: &Person, tallies: &[Tally]) -> Answer<Letter> {
    let (now, reach) = (clock::now(), &person.reach);
    let view = app.desired.view().await?;
    let counts = crate::event::api::counts(app, reach, &view).await?;
    let mut attention = crate::event::attention::attention(app, &person.caller, reach, &counts).await?;
    // Their list below counts all of them.
    attention.retain(|a| a.kind != "missed");
    let mut changes = visible(app, reach, Listing { limit: 50, ..Listing::default() }).await?.items;
    changes.retain(|c| c.applied_at.is_some_and(|at| now.since(at) < DAY_MS));
    let fleet = app
        .db
        .read(|mut tx: Tx| async move {
            let name = crate::setup::fleet_name(&mut tx).await?;
            Ok::<_, DbError>(tx.done(name))
        })
        .await?;
    let tallies: Vec<&Tally> = tallies.iter().filter(|t| reach.has_node(t.node)).collect();
    let count = |v: Verdict| tallies.iter().filter(|t| t.verdict == v).map(|t| t.count).sum::<u64>();
    let (ok, failed, missed) = (count(Verdict::Ran), count(Verdict::Failed), count(Verdict::Missed));
    let urgent = attention.len() + usize::from(failed > 0) + usize::from(missed > 0);
    let name = if fleet.is_empty() { "LAMPAS".to_owned() } else { format!("LAMPAS {fleet}") };
    let subject = match urgent {
        0 => format!("{name}: all is well"),
        1 => format!("{name}: one thing needs attention"),
        n => format!("{name}: {n} things need attention"),
    };
    let mut letter = Letter::new(&subject).line(&format!(
        "{} nodes, {} online, {} as they should be. In the last 24 hours: {}, {}.",
        counts.nodes,
        counts.online,
        counts.converged,
        plural(changes.len() as u64, "change was applied", "changes were applied"),
        plural(ok, "job ran well", "jobs ran well"),
    ));
    for (head, kinds) in SECTIONS {
        let of = |a: &&Attention| if kinds.is_empty() { !is_listed(&a.kind) } else { kinds.contains(&a.kind.as_str()) };
        // Those that are not named are counted in a line of their own.
        let items: Vec<String> = attention.iter().filter(of).map(|a| a.text.clone()).collect();
        letter = letter.list(head, &items);
        if *head == FAILED {
            letter = letter.list(&format!("Jobs that failed ({failed} runs)"), &jobs(&tallies, Verdict::Failed));
            letter = letter.list(
                &format!("Jobs that did not run at their time ({missed} runs)"),
                &jobs(&tallies, Verdict::Missed),
            );
        }
    }
    let applied = changes.iter().map(|c| format!("change {} of {}: {}", c.number, c.author, c.title)).collect();
    letter = letter.list("Changes of the last 24 hours", &shortened(applied));
    if urgent == 0 {
        letter = letter.line("Nothing needs attention.");
    }
    letter = letter.link("Overview", &app.mail.page("/"));
    Ok(letter.line(
        "You get this because your account says so: change that under Your account, or with lampasctl mail account.",
    ))
}

const FAILED: &str = "Failed";

/// The sections, with the kinds of what needs somebody; the last takes the rest.
const SECTIONS: &[(&str, &[&str])] = &[
    (
        FAILED,
        &[
            "quarantined",
            "declined",
            "failed",
            "blocked",
            "rollout_paused",
            "rollout_reverted",
            "schedule_dropped",
            "offline",
        ],
    ),
    ("Changed by hand", &["drifted"]),
    ("About to end", &["certificate_expiring", "token_expiring"]),
    ("Waiting", &["approval_waiting", "plan_waiting"]),
    ("Also", &[]),
];

fn is_listed(kind: &str) -> bool {
    SECTIONS.iter().any(|(_, kinds)| kinds.contains(&kind))
}

fn jobs(tallies: &[&Tally], verdict: Verdict) -> Vec<String> {
    let mut found: BTreeMap<&str, (u64, Vec<&str>)> = BTreeMap::new();
    for tally in tallies.iter().filter(|t| t.verdict == verdict) {
        let (count, nodes) = found.entry(tally.name.as_str()).or_default();
        *count += tally.count;
        nodes.push(tally.node_name.as_str());
    }
    let told = |(name, (count, nodes)): (&str, (u64, Vec<&str>))| {
        let more = nodes.len().saturating_sub(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{name}: {count} on {}{more}", nodes.iter().take(3).copied().collect::<Vec<_>>().join(", "))
    };
    shortened(found.into_iter().map(told).collect())
}

fn shortened(mut items: Vec<String>) -> Vec<String> {
    let more = items.len().saturating_sub(NAMED);
    items.truncate(NAMED);
    if more > 0 {
        items.push(format!("and {more} more"));
    }
    items
}

fn plural(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(at: &str, zone: &str) -> Clock {
        let time_zone = TimeZoneName::parse(zone).expect("a zone");
        Clock::of(&MorningMail { at: at.into(), time_zone, ..MorningMail::default() }).expect("a clock")
    }

    fn at(text: &str) -> UnixMs {
        UnixMs(text.parse::<Timestamp>().expect("a time").as_millisecond())
    }

    #[test]
    fn it_is_due_from_its_time_for_three_hours() {
        let berlin = clock("07:00", "Europe/Berlin");
        let check = |now: &str, expected: Option<&str>| {
            assert_eq!(berlin.due(at(now)).map(|(date, _)| date.to_string()).as_deref(), expected, "{now}");
        };
        check("2026-07-01T04:59:59Z", None);
        check("2026-07-01T05:00:00Z", Some("2026-07-01"));
        check("2026-07-01T07:59:59Z", Some("2026-07-01"));
        check("2026-07-01T08:00:00Z", None);
        // In winter an hour later.
        check("2026-12-01T05:30:00Z", None);
        check("2026-12-01T06:00:00Z", Some("2026-12-01"));
        let late = clock("23:30", "UTC");
        assert_eq!(late.due(at("2026-07-02T01:00:00Z")).expect("due").0.to_string(), "2026-07-01");
    }

    #[test]
    fn the_next_one_is_after_now_over_clock_changes_too() {
        let check =
            |clock: &Clock, now: &str, expected: &str| assert_eq!(clock.next(at(now)), Some(at(expected)), "{now}");
        let berlin = clock("07:00", "Europe/Berlin");
        check(&berlin, "2026-07-01T05:00:00Z", "2026-07-02T05:00:00Z");
        check(&berlin, "2026-07-01T04:00:00Z", "2026-07-01T05:00:00Z");
        check(&berlin, "2026-10-24T06:00:00Z", "2026-10-25T06:00:00Z");
        // 02:30 doesn't exist on that day: it is 03:30.
        check(&clock("02:30", "Europe/Berlin"), "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z");
    }

    #[test]
    fn times_and_zones_are_checked() {
        for bad in ["", "7:00", "24:00", "07:60", "+7:00", "07-00", "07:000"] {
            time(bad).expect_err(bad);
        }
        let wrong = TimeZoneName::parse("Europe/Berlim").expect("a name");
        assert!(zone(&wrong).expect_err("none").to_string().contains("Europe/Berlin"));
    }
}
