//! How a controller itself stands.

use lampas_shared::id::ControllerId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How one of the keys stands under which the store holds sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Nothing was sealed yet: the first need makes the key, or takes the one that is there.
    Unused,
    /// The key here is the store's.
    Right,
    /// There is no key here, and the store holds values.
    Missing,
    /// The key here is another one than the store's.
    Other,
    /// The file can't be read.
    Unreadable,
}

impl KeyState {
    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Right => "right",
            Self::Missing => "missing",
            Self::Other => "other",
            Self::Unreadable => "unreadable",
        }
    }

    /// Returns whether what needs the key works.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Unused | Self::Right)
    }
}

/// One of the keys.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SealingKey {
    /// The file below the data directory: `identity/secret-key`.
    pub file: String,
    /// What is sealed under it.
    pub holds: String,
    /// How it stands.
    pub state: KeyState,
    /// What is wrong and what to do, in a sentence; absent when nothing is.
    pub problem: Option<String>,
}

/// `GET /api/v1/controller`: the controller that answers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ControllerStatus {
    /// Its id.
    pub id: ControllerId,
    /// The first name by which it is reached.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The keys under which the store holds sealed values.
    pub keys: Vec<SealingKey>,
}
