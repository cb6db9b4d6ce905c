//! A node: its name, its roles, whether it is reachable, and what it says of itself.

use serde::{Deserialize, Serialize};

use crate::{
    TextError,
    text::{check_name, text_newtype},
    time::UnixMs,
};

text_newtype!(
    /// A node's name: a host name in lower case, unique in the fleet; may change.
    NodeName,
    |text| {
        check_name(
            "node name",
            text,
            253,
            |_, c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c),
            "use lower-case letters, digits, '-' and '.'",
        )?;
        let label_ok = |l: &str| !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-');
        if text.split('.').all(label_ok) {
            Ok(())
        } else {
            Err(TextError::new("node name", text, "each part between dots has 1 to 63 characters and no '-' at its ends"))
        }
    }
);

text_newtype!(
    /// A role's name: 1 to 32 of `a-z 0-9 -`, starting with a letter: `app`, `database`, `batch-import`.
    RoleName,
    |text| check_name(
        "role",
        text,
        32,
        |i, c| c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || c == '-')),
        "use lower-case letters, digits and '-', starting with a letter",
    )
);

/// Whether the controller hears a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Connected and answering.
    Online,
    /// Connected, but silent for longer than it should be.
    Stale,
    /// Not connected.
    Offline,
}

/// What a node says of itself when it connects. Facts are hostile input: lengths are bounded when they arrive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NodeFacts {
    /// `uname -n`.
    pub hostname: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
    /// `uname -r`.
    pub kernel: String,
    /// `x86_64`, `aarch64` …
    pub architecture: String,
    /// Processors that are online.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The IANA name of the node's time zone, `UTC` when unknown.
    pub time_zone: String,
    /// The agent's version.
    pub agent_version: String,
    /// Hash of the machine-id; a second node with the same value is a clone.
    pub machine: String,
    /// `--root` of the agent, `/` by default.
    pub root: String,
    /// The node's addresses other than loopback.
    pub addresses: Vec<String>,
    /// What the node's own policy allows; absent for agents that don't tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<NodePolicy>,
    /// The pause that somebody on the node asked for; absent when none holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<NodePause>,
    /// Since when its generation is undone, by somebody on the node; absent when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_since: Option<UnixMs>,
}

/// Nothing is written on a node until it ends: `lampas-agent pause`. Times are by the node's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NodePause {
    /// Since when.
    pub since: UnixMs,
    /// When it ends by itself; absent when only `lampas-agent resume` ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMs>,
    /// Why, in the words of who asked for it.
    pub reason: String,
}

/// What a node's own policy allows, as its agent goes by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NodePolicy {
    /// Whether there is a file; without one everything is allowed.
    pub has_file: bool,
    /// Why it can't be followed: then no root code comes or goes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub malformed: String,
    /// Whether its owner forbids every write.
    pub observe: bool,
    /// Whether content that root executes is allowed.
    pub root_code: bool,
    /// Whether root code needs an operator's signature.
    pub require_signature: bool,
    /// Whether a signature also covers root code with secrets in it, by reference.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed_secrets: bool,
    /// Paths that are not touched, with what is below them; the first sixteen.
    pub deny_paths: Vec<String>,
    /// Whose signatures the node takes: the principals of its `allowed_signers`; the first sixteen.
    pub signers: Vec<String>,
}
