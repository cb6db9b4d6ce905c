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
