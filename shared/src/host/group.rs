//! Groups of a node, as in group(5).

use serde::{Deserialize, Serialize};

use super::{
    GroupName, UserName,
    user::{check_list, is_usable},
};
use crate::TextError;

/// Whether an account, or a group of accounts, shall be on the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ensure {
    /// It shall be there.
    #[default]
    Present,
    /// It shall not, whoever made it.
    Absent,
}

/// A group. The object's name is the group's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = OsGroup))]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Whether the group shall be there; `present` by default. `absent` removes it whoever made it.
    #[serde(default)]
    pub ensure: Ensure,
    /// The number; the next free one when left out. A group that has another is not renumbered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Whether a new group gets a number of the system's (below 1000); `false` by default.
    #[serde(default)]
    pub system: bool,
    /// All its members, beside those whose primary group it is; left alone when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<UserName>>,
}

impl Group {
    /// Returns the group's name.
    ///
    /// # Errors
    /// When the object's name is no group's.
    pub fn name_of(name: &str) -> Result<GroupName, TextError> {
        GroupName::parse(name)
    }

    /// Checks the name and the rules between the fields.
    ///
    /// # Errors
    /// When the group can't be made so.
    pub fn check(&self, name: &str) -> Result<(), TextError> {
        let group = Self::name_of(name)?;
        let is_root = group == GroupName::root();
        match self.gid {
            Some(0) if !is_root => return Err(TextError::new("gid", "0", "is the group root's own")),
            Some(gid) if !is_usable(gid) => {
                return Err(TextError::new("gid", &gid.to_string(), "is no number of a group"));
            }
            _ => {}
        }
        if self.ensure == Ensure::Absent {
            if is_root {
                return Err(TextError::new("name", name, "is the system's own and can't go"));
            }
            if *self != (Self { ensure: Ensure::Absent, ..Self::default() }) {
                return Err(TextError::new("ensure", "absent", "a group that goes has no other field"));
            }
        }
        check_list("members", self.members.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_contradict_each_other_are_refused() {
        let check = |name: &str, json: &str, is_good: bool| {
            let group: Group = serde_json::from_str(json).expect("a group");
            let result = group.check(name);
            assert_eq!(result.is_ok(), is_good, "{name} {json}: {result:?}");
        };
        check("ops", "{}", true);
        check("ops", r#"{"gid": 1500, "members": ["ann", "bob"]}"#, true);
        check("ops", r#"{"members": ["ann", "ann"]}"#, false);
        check("ops", r#"{"gid": 0}"#, false);
        check("ops", r#"{"ensure": "absent"}"#, true);
        check("ops", r#"{"ensure": "absent", "gid": 5}"#, false);
        check("root", r#"{"ensure": "absent"}"#, false);
        check("o ps", "{}", false);
    }
}
