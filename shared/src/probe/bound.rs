//! Numbers, and what they are compared with.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::TextError;

/// A number that is one: neither infinite nor NaN.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = f64))]
#[serde(try_from = "f64", into = "f64")]
pub struct Number(f64);

impl Number {
    /// Returns it unless it is infinite or NaN.
    pub fn new(value: f64) -> Option<Self> {
        // One zero: what is equal looks equal.
        value.is_finite().then_some(Self(if value == 0.0 { 0.0 } else { value }))
    }

    /// Returns it as a plain number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Number {}

impl TryFrom<f64> for Number {
    type Error = TextError;
    fn try_from(value: f64) -> Result<Self, TextError> {
        Self::new(value).ok_or_else(|| TextError::new("number", &value.to_string(), "is not a finite number"))
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        number.0
    }
}

impl FromStr for Number {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let parsed = text.parse::<f64>().ok().and_then(Self::new);
        parsed.ok_or_else(|| TextError::new("number", text, "is not a number such as 0.8 or 95"))
    }
}

impl fmt::Display for Number {
    /// Shortest form that reads back as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 != 0.0 && (self.0.abs() >= 1e15 || self.0.abs() < 1e-6) {
            write!(f, "{:e}", self.0)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// How a value is compared with a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ProbeCompare))]
pub enum Compare {
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// Not more.
    #[serde(rename = "<=")]
    AtMost,
    /// More.
    #[serde(rename = ">")]
    More,
    /// Not less.
    #[serde(rename = ">=")]
    AtLeast,
}

impl Compare {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Less, Self::AtMost, Self::More, Self::AtLeast];

    /// Returns the sign for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }

    /// Returns whether greater values are the worse ones.
    pub fn is_upper(self) -> bool {
        matches!(self, Self::Less | Self::AtMost)
    }

    /// Returns whether a value is as it shall be; NaN never is.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::More => value > bound,
            Self::AtLeast => value >= bound,
        }
    }
}

impl FromStr for Compare {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let found = Self::ALL.into_iter().find(|c| c.as_str() == text);
        found.ok_or_else(|| TextError::new("comparison", text, "is none of <, <=, > and >="))
    }
}

/// What a value must keep to: a number, or what it was before the change. One of the two is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ProbeBound))]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// How.
    pub compare: Compare,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Number>,
    /// With what it was just before the change came: so many percent worse it may be, 0 to 10,000. Greater is worse with
    /// `<` and `<=`, less is with `>` and `>=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worse_percent: Option<Number>,
}

impl Bound {
    pub(super) fn check(&self) -> Result<(), TextError> {
        match (self.number, self.worse_percent) {
            (Some(_), None) => Ok(()),
            (None, Some(percent)) if (0.0..=10_000.0).contains(&percent.get()) => Ok(()),
            (None, Some(percent)) => Err(TextError::new("percent", &percent.to_string(), "must be 0 to 10000")),
            _ => Err(TextError::new("bound", "", "give either a number or how many percent worse than before")),
        }
    }

    /// Returns the number to compare with; nothing when it needs the value from before and there is none.
    pub fn limit(&self, before: Option<Number>) -> Option<f64> {
        match (self.number, self.worse_percent) {
            (Some(number), _) => Some(number.get()),
            (None, Some(percent)) => {
                let before = before?.get();
                // Of a negative value more of it is worse just as well: what counts is the distance.
                let room = before.abs() * percent.get() / 100.0;
                Some(if self.compare.is_upper() { before + room } else { before - room })
            }
            (None, None) => None,
        }
    }

    /// Returns it in words, with the value from before where that counts: `< 2`, `<= 1.1 (10 % over 1 before)`.
    pub fn words(&self, before: Option<Number>) -> String {
        let sign = self.compare.as_str();
        match (self.number, self.worse_percent, before) {
            (Some(number), _, _) => format!("{sign} {number}"),
            (None, Some(percent), Some(before)) => {
                let limit = self.limit(Some(before)).and_then(|l| Number::new(rounded(l)));
                let limit = limit.map(|l| l.to_string()).unwrap_or_default();
                let side = if self.compare.is_upper() { "over" } else { "under" };
                format!("{sign} {limit} ({percent} % {side} {before} before the change)")
            }
            _ => format!("{sign} what it was before the change"),
        }
    }
}

/// Rounds to four places, for people.
pub(super) fn rounded(value: f64) -> f64 {
    if value.abs() < 1e9 { (value * 1e4).round() / 1e4 } else { value }
}
