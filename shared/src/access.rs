//! Who may do what, where: permissions, presets of them, and grants of them over scopes.

mod grant;
mod provider;
mod rights;

use std::collections::BTreeSet;

pub use grant::{Actions, Subject, UserGroupName};
pub use provider::{GroupMapping, ProviderName};
pub use rights::{Find, Place, Right, Rights, Via};
use serde::{Deserialize, Serialize};

use crate::{
    TextError,
    text::{check_name, text_newtype},
};

text_newtype!(
    /// The name that a user signs in with: 1 to 64 of `a-z 0-9 . _ @ -`, starting with a letter.
    Login,
    |text| check_name(
        "user name",
        text,
        64,
        |i, c| c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || "._@-".contains(c))),
        "use lower-case letters, digits, '.', '_', '@' and '-', starting with a letter",
    )
);

/// What a call needs. A closed list: the table of calls names one for each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// See nodes, roles, objects, changes, drift, events.
    View,
    /// Read contents that aren't world-readable on the node; without it their diffs show hashes.
    ReadContent,
    /// Draft, plan, apply, revert, adopt, restore.
    Change,
    /// Give secrets values, and take secrets away.
    WriteSecret,
    /// Start and cancel operations: run commands and scripts on nodes.
    Run,
    /// Name nodes, give them roles, labels and addresses; retry and decommission; create enrolment tokens; revoke.
    ManageNodes,
    /// Approve or decline the plans of others.
    Approve,
    /// Say when nothing is changed where, and end that.
    Freeze,
    /// Say where changes need an approval; apply over protections and freezes.
    Protect,
    /// Users, and everybody's tokens and sessions.
    ManageUsers,
    /// Read the audit.
    ViewAudit,
    /// Own password, sessions and API tokens.
    OwnAccount,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::View,
        Self::ReadContent,
        Self::Change,
        Self::WriteSecret,
        Self::Run,
        Self::ManageNodes,
        Self::Approve,
        Self::Freeze,
        Self::Protect,
        Self::ManageUsers,
        Self::ViewAudit,
        Self::OwnAccount,
    ];

    /// Those that count over the whole fleet alone: in a part of it they allow nothing.
    pub const FLEET_ONLY: [Self; 3] = [Self::ManageUsers, Self::ViewAudit, Self::OwnAccount];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::ReadContent => "read_content",
            Self::Change => "change",
            Self::WriteSecret => "write_secret",
            Self::Run => "run",
            Self::ManageNodes => "manage_nodes",
            Self::Approve => "approve",
            Self::Freeze => "freeze",
            Self::Protect => "protect",
            Self::ManageUsers => "manage_users",
            Self::ViewAudit => "view_audit",
            Self::OwnAccount => "own_account",
        }
    }
}

impl std::str::FromStr for Permission {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let found = Self::ALL.into_iter().find(|p| p.as_str() == text);
        let all = Self::ALL.map(Self::as_str).join(", ");
        found.ok_or_else(|| TextError::new("permission", text, format!("is none of {all}")))
    }
}

/// A preset of permissions; a user's own holds over the whole fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The own account, and nothing else: for who has grants.
    None,
    /// Sees, changes nothing.
    Viewer,
    /// Changes the fleet.
    Operator,
    /// Also manages users, and reads the audit.
    Administrator,
}

impl Preset {
    /// All of them, from the least to the most.
    pub const ALL: [Self; 4] = [Self::None, Self::Viewer, Self::Operator, Self::Administrator];

    /// Returns what it includes.
    pub fn permissions(self) -> BTreeSet<Permission> {
        Permission::ALL.into_iter().filter(|p| self.grants(*p)).collect()
    }

    /// Returns whether it includes a permission.
    pub fn grants(self, permission: Permission) -> bool {
        match permission {
            Permission::OwnAccount => true,
            Permission::View => self >= Self::Viewer,
            Permission::ReadContent
            | Permission::Change
            | Permission::WriteSecret
            | Permission::Run
            | Permission::ManageNodes
            | Permission::Approve
            | Permission::Freeze => self >= Self::Operator,
            Permission::Protect | Permission::ManageUsers | Permission::ViewAudit => self >= Self::Administrator,
        }
    }

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

impl std::str::FromStr for Preset {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let found = Self::ALL.into_iter().find(|p| p.as_str() == text);
        found.ok_or_else(|| TextError::new("preset", text, "is none of none, viewer, operator and administrator"))
    }
}
