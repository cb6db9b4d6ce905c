//! Secrets: values on their way in, and who uses variables and secrets.

use lampas_shared::{
    fleet::Scope, id::SecretValueId, object::ObjectName, rollout::Strategy, secret::SecretText, time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{NodeRef, ObjectSummary};

/// `POST /api/v1/secrets`: a secret's new value. The answer is the planned change, which lists who uses it; no call ever
/// gives the value back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSet {
    /// The name: `[a-z][a-z0-9_.-]*`.
    pub name: ObjectName,
    /// The nodes that it is for.
    pub scope: Scope,
    /// The value: text of at most 32 KiB.
    pub value: SecretText,
    /// What it is for; what stands, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The revision that it was made from, as in a draft: 0 for a secret that must not stand yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// Why, for the audit.
    #[serde(default)]
    pub reason: String,
    /// Whether to apply at once.
    #[serde(default)]
    pub apply: bool,
    /// Only looks: the plan is in no list of what waits, and nobody is told of it, until somebody tries to apply it or
    /// plans it again. It can be applied and approved like any other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_look: bool,
    /// Whether to apply although some affected nodes could not be asked.
    #[serde(default)]
    pub allow_unplanned: bool,
    /// In which waves; all nodes at once by default.
    #[serde(default)]
    pub rollout: Strategy,
}

/// A row of `GET /api/v1/objects/{object}/uses`: an object that uses a variable or a secret, by name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ValueUse {
    /// The object.
    pub user: ObjectSummary,
    /// The nodes on which it does, by name.
    pub nodes: Vec<NodeRef>,
}

/// A row of `GET /api/v1/objects/{object}/values`: one of a secret's values, newest first; never the value itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecretValue {
    /// Its id.
    pub id: SecretValueId,
    /// When it was set.
    pub at: UnixMs,
    /// Who set it.
    pub author: String,
    /// Whether it is the one that stands.
    pub is_current: bool,
    /// When it was purged; nothing while it is kept.
    pub purged_at: Option<UnixMs>,
    /// What still needs it, in words: `node web-1 has not taken the new value yet`. Empty when nothing does.
    pub uses: Vec<String>,
    /// How far its purge is on the nodes that were given it; nothing while it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<PurgeReach>,
}

/// How far the purge of a value is on nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeReach {
    /// How many nodes are told: all that were given the value.
    pub total: u32,
    /// How many of them said that it is gone there.
    pub confirmed: u32,
    /// The others, by name; the first hundred that you may see.
    pub open: Vec<PurgeOpen>,
    /// How many more there are.
    pub more: u32,
}

/// A node on which a purged value may still be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeOpen {
    /// Its name.
    pub node: String,
    /// Why, in words: `/etc/app.conf is in force with it`.
    pub why: String,
    /// Whether it is told no more, since it left the fleet: what it has is for whoever has the machine to remove.
    pub is_lost: bool,
}

/// `POST /api/v1/objects/{object}/purge`: earlier values are destroyed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretPurge {
    /// How many of the earlier values are kept, the newest; none by default. The one that stands always is.
    #[serde(default)]
    pub keep: u32,
    /// Also those that something still needs: it can't be put together then.
    #[serde(default)]
    pub force: bool,
    /// Why, for the audit.
    #[serde(default)]
    pub reason: String,
}

/// What a purge did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecretPurged {
    /// How many values were destroyed.
    pub purged: u32,
    /// The values as they stand, newest first.
    pub values: Vec<SecretValue>,
}
