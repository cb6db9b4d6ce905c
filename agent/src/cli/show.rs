//! How things are printed for people: times in the node's zone, and nothing that could move a terminal's cursor.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use lampas_shared::time::UnixMs;

use crate::{config::Paths, facts};

/// Prints lines for people.
pub(super) fn say(text: impl AsRef<str>) {
    put(&clean(text.as_ref()));
}

/// Prints lines as they are, for programs. A closed pipe ends the program quietly, as `head` expects.
pub(super) fn put(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let mut out = io::stdout().lock();
    if let Err(error) = write!(out, "{text}{end}").and_then(|()| out.flush()) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        // What was written until then is not all, and must not count as it.
        drop(writeln!(io::stderr(), "lampas-agent: can't write the output: {error}"));
        std::process::exit(1);
    }
}

/// Replaces what a terminal would obey, or what would show text in another order than it stands, by its code point.
/// Newlines and tabs stay.
pub fn clean(text: &str) -> String {
    let is_hostile = |c: char| lampas_shared::deceptive_char(c.encode_utf8(&mut [0; 4])).is_some();
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_hostile(c) => out.push_str(&format!("<U+{:04X}>", u32::from(c))),
            c => out.push(c),
        }
        out
    })
}

/// Reads a length: a number and `s`, `m`, `h` or `d`; seconds without a unit.
///
/// # Errors
/// When it is none, zero, or longer than a year.
pub fn parse_length(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("write it as 90s, 30m, 2h or 1d".to_owned()),
    };
    let secs = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
    let in_range = secs.filter(|s| (1..=366 * 86_400).contains(s));
    in_range.map(Duration::from_secs).ok_or_else(|| "write 1s to 366d, as in 90s, 30m, 2h or 1d".to_owned())
}

/// Prints times as the node's own clock shows them.
pub(super) struct Clock {
    zone: jiff::tz::TimeZone,
    today: Option<jiff::civil::Date>,
}

impl Clock {
    pub(super) fn of(paths: &Paths) -> Self {
        let zone = jiff::tz::TimeZone::get(&facts::time_zone(paths)).unwrap_or(jiff::tz::TimeZone::UTC);
        let now = jiff::Timestamp::from_millisecond(lampas_runtime::clock::now().0).ok();
        let today = now.map(|t| t.to_zoned(zone.clone()).date());
        Self { zone, today }
    }

    /// Returns the time of day for today, and the date with it for another day.
    pub(super) fn show(&self, at: UnixMs) -> String {
        let Ok(time) = jiff::Timestamp::from_millisecond(at.0) else { return at.to_string() };
        let zoned = time.to_zoned(self.zone.clone());
        let format = if Some(zoned.date()) == self.today { "%H:%M:%S" } else { "%F %H:%M" };
        zoned.strftime(format).to_string()
    }
}
