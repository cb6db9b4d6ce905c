//! Objects and their revisions.

use lampas_shared::{
    id::{NodeId, ObjectId},
    object::{Kind, ObjectKey, ObjectName, ObjectSpec},
    source::SourceName,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::DraftVerb;

/// A row of `GET /api/v1/objects?kind&scope&query&after&limit`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ObjectSummary {
    /// The object.
    pub id: ObjectId,
    /// The kind.
    pub kind: Kind,
    /// The scope.
    pub scope: String,
    /// The name.
    pub name: ObjectName,
    /// The current revision, from 1.
    pub revision: u64,
    /// One line on what it says: `*/5 * * * * www-data date …`, `/etc/motd 0644`.
    pub summary: String,
    /// Who saved the current revision.
    pub author: String,
    /// When it was saved.
    pub updated_at: UnixMs,
    /// How many nodes have it in their desired state.
    pub nodes: u32,
    /// The set of manifests that it is in; absent for one that was made by hand, or that a git source brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SourceName>,
    /// How it was deleted: then the last revision is the deletion, and who saved it deleted it. Absent while it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
}

/// How an object was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deletion {
    /// The number of the change.
    pub change: u64,
    /// Why; empty where nobody said.
    pub reason: String,
}

/// `GET /api/v1/objects/{id}`, with the revision as its ETag.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Object {
    /// What the list shows.
    #[serde(flatten)]
    pub about: ObjectSummary,
    /// What it says. Contents that the caller may not read are left empty, with `is_masked`.
    pub spec: ObjectSpec,
    /// Whether a content was left out for want of the permission `read_content`.
    pub is_masked: bool,
    /// The nodes that have it.
    pub effective_on: Vec<NodeRef>,
    /// The nodes in its scope on which another object wins its target.
    pub overridden_on: Vec<Overridden>,
    /// Whether it was deleted; then `spec` is its last revision's.
    pub is_deleted: bool,
}

/// A node by id and name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeRef {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
}

/// A node on which a more specific object wins.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Overridden {
    /// The node.
    pub node: NodeRef,
    /// The object that wins.
    pub by: ObjectId,
    /// That object, for people: `cron hello (node:web-1)`.
    pub by_text: String,
}

/// A row of `GET /api/v1/objects/{id}/revisions` (newest first); with `spec` in `GET …/revisions/{n}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    /// The number, from 1.
    pub revision: u64,
    /// Who saved it.
    pub author: String,
    /// When.
    pub at: UnixMs,
    /// Why.
    pub reason: String,
    /// The number of the change that brought it.
    pub change: u64,
    /// Whether this revision deleted the object.
    pub is_deletion: bool,
    /// What it says; only when one revision is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<ObjectSpec>,
}

/// `GET /api/v1/objects/{id}/diff?from&to`: a unified diff of two revisions, as manifests.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevisionDiff {
    /// The older one; 0 for nothing.
    pub from: u64,
    /// The newer one.
    pub to: u64,
    /// The unified diff.
    pub diff: String,
}

/// `POST /api/v1/check/spec`: checks a spec without saving it; always 200.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SpecCheck {
    /// What is wrong; empty when it could be saved.
    pub problems: Vec<Finding>,
    /// For a cron job: the next five runs. Empty for `@reboot`.
    pub next_runs: Vec<NextRun>,
    /// For a cron job: the zone that they are meant in.
    pub time_zone: Option<String>,
    /// The object that stands under this kind, scope and name, if there is one that may be seen.
    #[serde(default)]
    pub standing: Option<StandingObject>,
}

/// The object that a spec would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandingObject {
    /// The object.
    pub id: ObjectId,
    /// Its revision.
    pub revision: u64,
}

/// One thing that a check found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The field: `schedule`, `content` …
    pub field: String,
    /// The line within a content, from 1.
    pub line: Option<u32>,
    /// The character within the line, from 1; the whole line when left out.
    #[serde(default)]
    pub column: Option<u32>,
    /// `error` (can't be saved) or `warning`.
    pub severity: Severity,
    /// What is wrong and what would be right.
    pub message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It can't be saved.
    Error,
    /// It can be saved; somebody should look.
    Warning,
}

/// A run to come.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NextRun {
    /// When.
    pub at: UnixMs,
    /// The wall time in its zone with offset: `2026-03-29T02:30:00+01:00`.
    pub local: String,
    /// What a clock change does to it; empty on other days.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// `GET /api/v1/history`: what became of the objects between two moments.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// From this moment.
    pub from: UnixMs,
    /// To this one.
    pub to: UnixMs,
    /// How many objects stood at both and are the same.
    pub unchanged: u32,
    /// The others, by kind, scope and name; at most 1,000.
    pub items: Vec<HistoryItem>,
    /// Whether there are more.
    pub has_more: bool,
}

/// An object that another moment finds otherwise.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryItem {
    /// The object.
    pub object: ObjectId,
    /// Its identity, as of the later moment where it stood then.
    pub key: ObjectKey,
    /// What became of it.
    pub verb: DraftVerb,
    /// The revision that stood at first.
    pub from: Option<u64>,
    /// The revision that stood at last.
    pub to: Option<u64>,
    /// The newest revision of it up to the later moment, without what it says: who, when, why, with which change.
    pub last: Revision,
    /// A unified diff of the object, as manifests.
    pub diff: String,
}

/// `GET /api/v1/export?scope&kind`: manifests that `apply` reads.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Export {
    /// The TOML text.
    pub manifest: String,
    /// How many objects it holds.
    pub objects: u32,
}

/// `POST /api/v1/check/manifest`: reads a manifest without saving anything; always 200.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestText {
    /// What it is called in messages.
    #[serde(default)]
    pub name: String,
    /// The TOML text.
    pub manifest: String,
}

/// What reading a manifest found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ManifestCheck {
    /// All mistakes; empty when it can be applied.
    pub problems: Vec<Finding>,
    /// The objects, when there is no mistake.
    pub objects: Vec<ManifestObject>,
}

/// An object of a manifest.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ManifestObject {
    /// The line of its table, from 1.
    pub line: u32,
    /// The draft that it is, for `POST /api/v1/changes`.
    pub draft: crate::Draft,
}
