//! The scope of an object: the nodes that it is for, and how specific that is.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Labels, NodeName, RoleName, Selector};
use crate::TextError;

/// How specific a scope is; a higher level wins a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Every node.
    Fleet,
    /// Nodes with certain labels.
    Selector,
    /// Nodes of a role.
    Role,
    /// One node.
    Node,
}

/// The nodes that an object is for: `fleet`, `label:env=prod`, `role:app`, `node:web-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Every node.
    Fleet,
    /// Nodes with all of these labels.
    Selector(Selector),
    /// Nodes of this role.
    Role(RoleName),
    /// This node.
    Node(NodeName),
}

crate::text::string_schema!(Scope, "role:app");

impl Scope {
    /// Returns how specific the scope is.
    pub fn level(&self) -> Level {
        match self {
            Self::Fleet => Level::Fleet,
            Self::Selector(_) => Level::Selector,
            Self::Role(_) => Level::Role,
            Self::Node(_) => Level::Node,
        }
    }

    /// Returns whether a node with this name, these roles and labels is in the scope.
    pub fn contains(&self, name: &NodeName, roles: &BTreeSet<RoleName>, labels: &Labels) -> bool {
        match self {
            Self::Fleet => true,
            Self::Selector(selector) => selector.matches(labels),
            Self::Role(role) => roles.contains(role),
            Self::Node(node) => node == name,
        }
    }
}

impl FromStr for Scope {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text.split_once(':') {
            None if text == "fleet" => Ok(Self::Fleet),
            Some(("label", rest)) => rest.parse().map(Self::Selector),
            Some(("role", rest)) => rest.parse().map(Self::Role),
            Some(("node", rest)) => rest.parse().map(Self::Node),
            _ => Err(TextError::new("scope", text, "write fleet, role:NAME, node:NAME or label:KEY=VALUE")),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Selector(selector) => write!(f, "label:{selector}"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::Node(node) => write!(f, "node:{node}"),
        }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}
