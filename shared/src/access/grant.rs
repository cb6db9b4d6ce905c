//! Grants: who (a user, or all users of a group) may do what, where.
//!
//! A group here is a group of the dashboard's users; the groups of a node's accounts are in `crate::host`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Login, Permission, Preset};
use crate::{
    TextError,
    text::{check_name, string_schema, text_newtype},
};

text_newtype!(
    /// The name of a group of users: 1 to 64 of `a-z 0-9 . _ -`, starting with a letter.
    UserGroupName,
    |text| check_name(
        "group",
        text,
        64,
        |i, c| c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || "._-".contains(c))),
        "use lower-case letters, digits, '.', '_' and '-', starting with a letter",
    )
);

/// Who a grant is for: `user:eve`, `group:web-team`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// One user.
    User(Login),
    /// All users of a group.
    Group(UserGroupName),
}

string_schema!(Subject, "group:web-team");

impl FromStr for Subject {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text.split_once(':') {
            Some(("user", name)) => Login::parse(name).map(Self::User),
            Some(("group", name)) => UserGroupName::parse(name).map(Self::Group),
            _ => Err(TextError::new("subject", text, "write user:NAME or group:NAME")),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
        }
    }
}

/// What a grant allows: a preset's permissions (`operator`), or some permissions (`view,run`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Actions {
    /// All that a preset includes.
    Preset(Preset),
    /// These; never empty.
    Only(BTreeSet<Permission>),
}

string_schema!(Actions, "view,run");

impl Actions {
    /// Returns the permissions.
    pub fn permissions(&self) -> BTreeSet<Permission> {
        match self {
            Self::Preset(preset) => preset.permissions(),
            Self::Only(permissions) => permissions.clone(),
        }
    }
}

impl FromStr for Actions {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text.parse::<Preset>() {
            Ok(Preset::None) => Err(TextError::new("actions", text, "grants nothing")),
            Ok(preset) => Ok(Self::Preset(preset)),
            Err(_) => {
                let wrong = |_| TextError::new("actions", text, "write a preset, or permissions joined with ','");
                text.split(',').map(|word| word.trim().parse()).collect::<Result<_, _>>().map(Self::Only).map_err(wrong)
            }
        }
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preset(preset) => f.write_str(preset.as_str()),
            Self::Only(permissions) => {
                let words: Vec<&str> = permissions.iter().map(|p| p.as_str()).collect();
                f.write_str(&words.join(","))
            }
        }
    }
}

macro_rules! through_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = TextError;
            fn try_from(text: String) -> Result<Self, TextError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

through_text!(Subject, Actions);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_and_actions_read_what_they_write() {
        for text in ["user:eve", "group:web-team"] {
            assert_eq!(text.parse::<Subject>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
        for text in ["eve", "group:", "group:Web", "role:app"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
        for text in ["operator", "view,run", "view"] {
            assert_eq!(text.parse::<Actions>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "none", "root", "view,", "operator,run"] {
            assert!(text.parse::<Actions>().is_err(), "{text}");
        }
    }
}
