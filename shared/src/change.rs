//! Changes: drafts that are planned, approved and applied together, and how they go on each node.

use serde::{Deserialize, Serialize};

/// The way of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeState {
    /// Drafts only.
    Draft,
    /// A plan was made and holds until something moves.
    Planned,
    /// Somebody approved the plan.
    Approved,
    /// Revisions are committed; nodes are on their way.
    Rolling,
    /// Every node is in force, or was given up.
    Done,
    /// Dropped before it was applied.
    Abandoned,
}

impl ChangeState {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Planned => "planned",
            Self::Approved => "approved",
            Self::Rolling => "rolling",
            Self::Done => "done",
            Self::Abandoned => "abandoned",
        }
    }

    /// Returns whether nothing of it was committed yet, so that it can still be edited or dropped.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Draft | Self::Planned | Self::Approved)
    }
}

impl std::str::FromStr for ChangeState {
    type Err = crate::TextError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Draft, Self::Planned, Self::Approved, Self::Rolling, Self::Done, Self::Abandoned];
        let found = all.into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| crate::TextError::new("state", text, "is not a state of a change"))
    }
}

/// Why something on nodes became otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// What was wanted stayed, and had drifted: it was put back, by policy or because somebody reverted it.
    Corrective,
    /// Somebody wanted something else than before; adopting what was done by hand is that too.
    Intentional,
}

/// What somebody said of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing yet; it waits for somebody.
    Wanted,
    /// It may be applied as it is.
    Approved,
    /// It may not; the change is a draft again.
    Declined,
    /// It was approved, and something moved since.
    Ended,
}

/// How a scheduled change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ScheduleState {
    /// Its time has not come, or a freeze stands.
    Waiting,
    /// It was applied.
    Applied,
    /// It could not be applied at its time.
    Dropped,
    /// Somebody took it off the schedule.
    Withdrawn,
}

macro_rules! words {
    ($name:ident, $what:literal, $($variant:ident = $word:literal),*) => {
        impl $name {
            /// Returns the word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::TextError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(crate::TextError::new($what, text, "is none that is known")),
                }
            }
        }
    };
}
words!(Cause, "cause", Corrective = "corrective", Intentional = "intentional");
words!(Verdict, "verdict", Wanted = "wanted", Approved = "approved", Declined = "declined", Ended = "ended");
words!(
    ScheduleState,
    "state of a schedule",
    Waiting = "waiting",
    Applied = "applied",
    Dropped = "dropped",
    Withdrawn = "withdrawn"
);
