//! Cron schedules as Debian's cron reads them (crontab(5)): five fields or an `@` nickname.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{TextError, text::check_line};

/// One of the five fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    Day,
    /// 1 to 12, or `jan` to `dec`.
    Month,
    /// 0 to 7, 0 and 7 are Sunday, or `sun` to `sat`.
    Weekday,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Field {
    const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::Day, Self::Month, Self::Weekday];

    fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Weekday => "weekday",
        }
    }

    fn range(self) -> (u8, u8) {
        match self {
            Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::Day => (1, 31),
            Self::Month => (1, 12),
            Self::Weekday => (0, 7),
        }
    }

    fn number(self, text: &str) -> Option<u8> {
        let named = |names: &[&str], first: u8| {
            names.iter().position(|n| n.eq_ignore_ascii_case(text)).map(|i| i as u8 + first)
        };
        match self {
            Self::Month if text.starts_with(|c: char| c.is_ascii_alphabetic()) => named(&MONTHS, 1),
            Self::Weekday if text.starts_with(|c: char| c.is_ascii_alphabetic()) => named(&WEEKDAYS, 0),
            _ if text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        }
    }
}

/// The values that a field admits, and whether it began with `*` (which decides how day and weekday combine).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldSet {
    bits: u64,
    star: bool,
}

impl FieldSet {
    /// Returns whether the value is admitted.
    pub fn contains(self, value: u8) -> bool {
        value < 64 && self.bits & (1 << value) != 0
    }

    /// Returns whether the field began with `*`.
    pub fn is_star(self) -> bool {
        self.star
    }

    fn parse(field: Field, text: &str) -> Result<Self, String> {
        let (low, high) = field.range();
        let name = field.name();
        let mut bits = 0_u64;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => {
                    let parsed = step.parse::<u8>().ok().filter(|s| *s > 0 && step.bytes().all(|b| b.is_ascii_digit()));
                    (range, parsed.ok_or_else(|| format!("{name} {part:?}: the step must be a number from 1"))?)
                }
                None => (part, 1),
            };
            let number = |t: &str| {
                field
                    .number(t)
                    .filter(|n| (low..=high).contains(n))
                    .ok_or_else(|| format!("{name} {t:?} is not in {low} to {high}"))
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (low, high),
                Some((from, to)) => (number(from)?, number(to)?),
                None if part.contains('/') => {
                    return Err(format!("{name} {part:?}: a step needs a range or '*' before it"));
                }
                None => (number(range)?, number(range)?),
            };
            if from > to {
                return Err(format!("{name} {range:?}: the range runs backwards"));
            }
            for value in (from..=to).step_by(usize::from(step)) {
                bits |= 1 << value;
            }
        }
        if field == Field::Weekday {
            bits = (bits | (bits >> 7)) & 0x7f;
        }
        Ok(Self { bits, star: text.starts_with('*') })
    }
}

/// A schedule. Two are equal when their text is; compare [`Schedule::fields`] for what they mean.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    text: String,
    fields: Option<[FieldSet; 5]>,
}

crate::text::string_schema!(Schedule, "*/5 * * * *");

impl Schedule {
    /// Returns the text, fields separated by one blank.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns minute, hour, day, month and weekday (0 to 6, Sunday is 0); `None` for `@reboot`.
    pub fn fields(&self) -> Option<&[FieldSet; 5]> {
        self.fields.as_ref()
    }

    /// Returns whether cron runs this once when it starts.
    pub fn is_reboot(&self) -> bool {
        self.fields.is_none()
    }

    /// Returns whether a day is admitted. When neither day nor weekday begins with `*`, either suffices (crontab(5)).
    pub fn admits_day(&self, month: u8, day: u8, weekday: u8) -> bool {
        let Some([_, _, days, months, weekdays]) = &self.fields else { return false };
        let (by_day, by_weekday) = (days.contains(day), weekdays.contains(weekday));
        months.contains(month)
            && if days.is_star() || weekdays.is_star() { by_day && by_weekday } else { by_day || by_weekday }
    }
}

impl FromStr for Schedule {
    type Err = TextError;

    fn from_str(given: &str) -> Result<Self, TextError> {
        check_line("schedule", given, 512)?;
        let wrong = |reason: String| TextError::new("schedule", given, reason);
        let words: Vec<&str> = given.split([' ', '\t']).filter(|w| !w.is_empty()).collect();
        if let [nickname] = words[..]
            && let Some(name) = nickname.strip_prefix('@')
        {
            let expanded = match name {
                "reboot" => return Ok(Self { text: nickname.to_owned(), fields: None }),
                "yearly" | "annually" => "0 0 1 1 *",
                "monthly" => "0 0 1 * *",
                "weekly" => "0 0 * * 0",
                "daily" | "midnight" => "0 0 * * *",
                "hourly" => "0 * * * *",
                _ => {
                    let known = "@reboot, @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly";
                    return Err(wrong(format!("cron knows {known}")));
                }
            };
            return Ok(Self { text: nickname.to_owned(), fields: expanded.parse::<Self>()?.fields });
        }
        if words.len() != 5 {
            let count = if words.len() == 1 { "1 field".to_owned() } else { format!("{} fields", words.len()) };
            return Err(wrong(format!("{count}, cron needs 5 (minute hour day month weekday)")));
        }
        let mut fields = [FieldSet { bits: 0, star: false }; 5];
        for ((set, field), word) in fields.iter_mut().zip(Field::ALL).zip(&words) {
            *set = FieldSet::parse(field, word).map_err(&wrong)?;
        }
        Ok(Self { text: words.join(" "), fields: Some(fields) })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl TryFrom<String> for Schedule {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        match (text.parse::<Schedule>(), expected) {
            (Ok(schedule), Ok(normal)) => assert_eq!(schedule.as_str(), normal, "{text:?}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text:?} gave {error}"),
            (got, _) => panic!("{text:?} gave {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn schedules_are_read_as_cron_reads_them() {
        check("*/5 * * * *", Ok("*/5 * * * *"));
        check("  0\t4   1-7 jan,MAR sun ", Ok("0 4 1-7 jan,MAR sun"));
        check("@daily", Ok("@daily"));
        check("*/5 * * *", Err("4 fields, cron needs 5"));
        check("60 * * * *", Err("minute \"60\" is not in 0 to 59"));
        check("5/10 * * * *", Err("a step needs a range"));
        check("* * * * 5-1", Err("runs backwards"));
        check("*/0 * * * *", Err("the step must be a number from 1"));
        check("@fortnightly", Err("cron knows @reboot"));
        check("* * * * *\n* * * * *", Err("single line"));
    }

    #[test]
    fn sunday_is_both_0_and_7() {
        for text in ["0 0 * * 0", "0 0 * * 7", "0 0 * * 5-7"] {
            let schedule: Schedule = text.parse().expect("valid");
            assert!(schedule.admits_day(1, 1, 0), "{text}");
        }
    }

    #[test]
    fn day_and_weekday_are_alternatives_unless_one_is_a_star() {
        let either: Schedule = "0 0 13 * 5".parse().expect("valid");
        assert!(either.admits_day(1, 13, 1) && either.admits_day(1, 2, 5) && !either.admits_day(1, 2, 1));
        let both: Schedule = "0 0 */2 * 5".parse().expect("valid");
        assert!(both.admits_day(1, 3, 5) && !both.admits_day(1, 3, 4) && !both.admits_day(1, 2, 5));
    }
}
