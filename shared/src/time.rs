//! Points in time as they are stored and sent: Unix milliseconds, UTC.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::TextError;

/// Milliseconds since 1970-01-01T00:00:00Z; RFC 3339 in JSON and TOML, an integer in binary encodings and in SQL.
/// Order events by sequence, never by this: clocks step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMs(pub i64);

crate::text::string_schema!(UnixMs, "2026-01-31T09:31:07.250Z");

impl UnixMs {
    /// Returns this point moved by `ms`, which may be negative; saturates.
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Returns the milliseconds from `earlier` to this point; negative when `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for UnixMs {
    /// Prints RFC 3339 with milliseconds, in UTC. What is outside of the years -9999 to 9999 is shown as its edge.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let edge = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        write!(f, "{:.3}", jiff::Timestamp::from_millisecond(self.0).unwrap_or(edge))
    }
}

impl FromStr for UnixMs {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let parsed: Result<jiff::Timestamp, _> = text.parse();
        parsed.map(|t| Self(t.as_millisecond())).map_err(|_| TextError::new("time", text, "is not RFC 3339"))
    }
}

impl Serialize for UnixMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for UnixMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_json_and_survive_the_way_back() {
        let time = UnixMs(1_790_000_000_123);
        assert_eq!(serde_json::to_string(&time).expect("serialises"), r#""2026-09-21T14:13:20.123Z""#);
        for ms in [0, -1, 1_790_000_000_123] {
            assert_eq!(UnixMs(ms).to_string().parse(), Ok(UnixMs(ms)));
        }
    }
}
