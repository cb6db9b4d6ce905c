//! Identity providers: what they are called, and what their groups mean here.

use serde::{Deserialize, Serialize};

use super::{Preset, UserGroupName};
use crate::text::{check_name, text_newtype};

text_newtype!(
    /// The name of an identity provider: 1 to 64 of `a-z 0-9 . _ -`, starting with a letter.
    ProviderName,
    |text| check_name(
        "identity provider",
        text,
        64,
        |i, c| c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || "._-".contains(c))),
        "use lower-case letters, digits, '.', '_' and '-', starting with a letter",
    )
);

/// What a group of an identity provider means here: a group of users, a preset, or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupMapping {
    /// The group as the provider's claim names it; compared as it is.
    pub claim: String,
    /// The group of users that its members are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<UserGroupName>,
    /// The preset that its members have, if the provider made their account; the highest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
}
