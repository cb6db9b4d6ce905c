//! Time zones: checked names with their rules, from the bundled database.

use std::{borrow::Borrow, fmt, sync::LazyLock};

use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};
use lampas_shared::{TextError, host::TimeZoneName, time::UnixMs};

use crate::nearest;

/// The database that is compiled in: the same on controller and nodes, whatever their systems hold.
static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The years whose rules count when two zones are compared: from 2020, long past, to 2100, where rules repeat anyway.
const HORIZON_SECS: (i64, i64) = (1_577_836_800, 4_102_444_800);

/// A time zone that exists.
#[derive(Clone)]
pub struct Zone {
    name: TimeZoneName,
    tz: TimeZone,
}

impl Zone {
    /// Looks a zone up in the bundled database.
    ///
    /// # Errors
    /// When there is none of that name, with the nearest name that there is.
    pub fn parse(name: impl Borrow<TimeZoneName>) -> Result<Self, TextError> {
        let name = name.borrow();
        let known = BUNDLED.get(name.as_str()).ok();
        if let Some(tz) = known.as_ref().filter(|tz| tz.iana_name() == Some(name.as_str())) {
            return Ok(Self { name: name.clone(), tz: tz.clone() });
        }
        let names: Vec<_> = BUNDLED.available().map(|n| n.as_str().to_owned()).collect();
        let suggestion = match known.as_ref().and_then(TimeZone::iana_name) {
            Some(exact) => Some(exact),
            None => nearest(name.as_str(), names.iter().map(String::as_str)),
        };
        let reason = match suggestion {
            Some(other) => format!("is not a time zone; did you mean {other}?"),
            None => "is not a time zone; use an IANA name such as Europe/Berlin or UTC".to_owned(),
        };
        Err(TextError::new("time_zone", name.as_str(), reason))
    }

    /// Returns UTC.
    pub fn utc() -> Self {
        Self { name: TimeZoneName::parse("UTC").expect("UTC is a valid name"), tz: TimeZone::UTC }
    }

    /// Returns the name.
    pub fn name(&self) -> &TimeZoneName {
        &self.name
    }

    /// Returns the wall time at a point in time as RFC 3339 with the zone's offset; `None` outside of the years
    /// -9999 to 9999.
    pub fn local_text(&self, at: UnixMs) -> Option<String> {
        let at = Timestamp::from_millisecond(at.0).ok()?;
        Some(at.display_with_offset(self.tz.to_offset(at)).to_string())
    }

    /// Returns whether the clocks of both zones show the same at every time that counts.
    pub fn is_same_rule(&self, other: &Self) -> bool {
        self.name == other.name || self.offsets().eq(other.offsets())
    }

    pub(super) fn tz(&self) -> &TimeZone {
        &self.tz
    }

    /// Returns the offsets in seconds with the second from which each holds, in the years that count.
    pub(super) fn offsets(&self) -> impl Iterator<Item = (i64, i32)> + '_ {
        let from = Timestamp::from_second(HORIZON_SECS.0).expect("2020 is in range");
        let first = (HORIZON_SECS.0, self.tz.to_offset(from).seconds());
        let transitions = self.tz.following(from).map(|t| (t.timestamp().as_second(), t.offset().seconds()));
        let mut last = None;
        std::iter::once(first)
            .chain(transitions)
            .take_while(|(at, _)| *at < HORIZON_SECS.1)
            .filter(move |(_, offset)| last.replace(*offset) != Some(*offset))
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Result<Zone, TextError> {
        Zone::parse(TimeZoneName::parse(name).expect("a name"))
    }

    #[test]
    fn an_unknown_zone_is_refused_with_the_nearest_name() {
        assert!(zone("Europe/Berlin").is_ok());
        assert!(zone("UTC").is_ok());
        for (given, meant) in [("Europe/Berlln", "Europe/Berlin"), ("europe/berlin", "Europe/Berlin")] {
            let error = zone(given).expect_err("unknown").to_string();
            assert!(error.ends_with(&format!("did you mean {meant}?")), "{error}");
        }
        assert!(zone("Mars/Olympus_Mons").expect_err("unknown").to_string().contains("use an IANA name"));
    }

    #[test]
    fn zones_with_the_same_clocks_are_the_same_rule() {
        let same = |a, b| zone(a).expect("known").is_same_rule(&zone(b).expect("known"));
        assert!(same("Europe/Berlin", "Europe/Vienna"));
        assert!(same("UTC", "Etc/UTC"));
        assert!(!same("Europe/Berlin", "Europe/London"));
        assert!(!same("Europe/London", "UTC"));
    }
}
