//! Taking over existing servers: what stands unmanaged, how the nodes of a role compare, import, take over, eject.

use lampas_shared::{
    fleet::Scope,
    id::{ChangeId, NodeId},
    report::Action,
    scan::{EjectedPlace, ForeignPackage, HumanUser, Place},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{FrozenScope, NodeRef, ProtectedScope, Unplanned};

/// `GET /api/v1/nodes/{id or name}/foreign`: what stands on a node that nobody manages, as it is now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Foreign {
    /// The node.
    pub node: NodeRef,
    /// When it looked, by its clock.
    pub at: UnixMs,
    /// The files, by path.
    pub files: Vec<ForeignItem>,
    /// The packages that somebody asked for.
    pub packages: Vec<ForeignPackage>,
    /// The users that people sign in as.
    pub users: Vec<HumanUser>,
    /// How many places LAMPAS manages there; they are left out.
    pub managed: u32,
    /// What could not be looked at, and what was left off.
    pub notes: Vec<String>,
}

/// One file that nobody manages.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ForeignItem {
    /// What it is there for.
    pub place: Place,
    /// Where it stands. Characters that can't be seen are written as `\u{…}`.
    pub path: String,
    /// Owner, group, mode and size in words; what a link points to.
    pub about: String,
    /// The content, where it may be read: what is no text, or can't be seen, is written as `\xff` and `\u{…}`.
    pub content: Option<String>,
    /// Why it can't be imported; empty when it can.
    pub refusal: String,
    /// How many things it holds: jobs of a crontab, lines of `/etc/hosts`, else 1.
    pub count: u32,
}

/// `GET /api/v1/roles/{role}/compare`: what stands unmanaged on the nodes of a role, folded.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RoleComparison {
    /// The nodes that answered, by name.
    pub nodes: Vec<NodeRef>,
    /// The nodes that could not be asked.
    pub unasked: Vec<Unplanned>,
    /// What was found, by kind and name.
    pub items: Vec<ComparedItem>,
    /// How many places LAMPAS manages on the nodes, in all; they are left out.
    pub managed: u32,
    /// What could not be looked at, and what was left off, by node.
    pub notes: Vec<String>,
}

/// One thing that stands on some nodes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ComparedItem {
    /// What it is: a place of files (`cron`, `hosts` …), `package` or `user`.
    pub kind: String,
    /// The path, the line's names, the package's or the user's name.
    pub name: String,
    /// Its versions, the one of most nodes first.
    pub versions: Vec<ComparedVersion>,
    /// The nodes that don't have it.
    pub missing: Vec<NodeRef>,
    /// Whether every node that answered has the same.
    pub is_equal: bool,
    /// How many things it holds: jobs of a crontab, else 1.
    pub count: u32,
}

/// One version of a thing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ComparedVersion {
    /// The nodes that have it, by name.
    pub nodes: Vec<NodeRef>,
    /// Owner, mode and size, or the version, in words.
    pub about: String,
    /// A unified diff from the first version; empty for the first, and where contents may not be read.
    pub diff: String,
    /// The content, of the first version and where it may be read; shortened.
    pub content: Option<String>,
    /// What [`ImportRequest::items`] takes to import it.
    pub item: String,
    /// Why it can't be imported; empty when it can.
    pub refusal: String,
}

/// `POST /api/v1/nodes/{id or name}/import`: makes a planned change of what stands on a node.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// What is wanted: paths, kinds (`cron`, `cron_script`, `crontab`, `hosts`, `script`, `sudoers`, `file`), or `hosts:NAME` for
    /// one line; everything when empty. At most 1,000.
    #[serde(default)]
    pub items: Vec<String>,
    /// The scope of the objects: `role:app`.
    pub scope: Scope,
    /// Makes cron jobs of the lines of crontabs, whose lines go from their files in the same change. Otherwise the file as it
    /// stands becomes an object.
    #[serde(default)]
    pub as_jobs: bool,
    /// Why, in the author's words; says where it came from when left out.
    #[serde(default)]
    pub reason: String,
    /// Only looks: the plan is in no list of what waits, and nobody is told of it, until somebody tries to apply it or
    /// plans it again. It can be applied and approved like any other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_look: bool,
}

/// What an import made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// The change, planned; absent when nothing could be imported.
    pub change: Option<ChangeId>,
    /// Its number.
    pub number: Option<u64>,
    /// What became an object.
    pub taken: Vec<TakenItem>,
    /// What did not.
    pub left: Vec<LeftItem>,
}

/// Something that became an object.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TakenItem {
    /// What it was: a path, or a line of one.
    pub item: String,
    /// The object: `file cron.d-backup`.
    pub object: String,
    /// What the node says that an apply would do with it there.
    pub proof: Proof,
    /// More on that: why it is not proven, or what differs.
    pub detail: String,
}

/// What is proven of something that is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The node compared: content, owner and mode are what the object says, and nothing would be written.
    Unchanged,
    /// Something would be written; the plan shows it.
    Changes,
    /// The node could not be asked, or refused.
    Unproven,
}

/// Something that did not become an object.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeftItem {
    /// What.
    pub item: String,
    /// Why not.
    pub reason: String,
}

/// `GET /api/v1/nodes/{id or name}/manage`: what taking over would do, as the node says.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TakeOver {
    /// The node.
    pub node: NodeRef,
    /// Whether it observes still.
    pub is_observing: bool,
    /// Names what was seen: refused with `plan.moved` when anything moved since.
    pub plan: String,
    /// What would be written.
    pub actions: Vec<Action>,
    /// How many resources stand as desired already: they change hands and nothing is written.
    pub unchanged: u32,
    /// The freezes that stand over the node: as long as there is something to write, it isn't taken over in one.
    #[serde(default)]
    pub frozen: Vec<FrozenScope>,
    /// The protections over the node: as long as there is something to write, only an administrator takes it over, with a
    /// reason to go over them.
    #[serde(default)]
    pub protected: Vec<ProtectedScope>,
}

/// `POST /api/v1/nodes/{id or name}/manage`: the node observes no more.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManageRequest {
    /// The plan that was seen.
    pub plan: String,
    /// Why, in the principal's words.
    #[serde(default)]
    pub reason: String,
    /// Goes on although the node is protected or frozen, as administrators may, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<String>,
}

/// `POST /api/v1/nodes/{id or name}/eject`: leaves plain files on the node, and takes it out of the fleet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EjectRequest {
    /// The node's name, once more.
    pub confirm: String,
    /// Why, in the principal's words.
    #[serde(default)]
    pub reason: String,
    /// Goes on although the node, or nodes that name it in a generated line, are protected or frozen, as administrators may, for
    /// this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<String>,
}

/// What an ejected node has left.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EjectedNode {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Each place with what stands there.
    pub places: Vec<EjectedPlace>,
    /// The manifests on the node.
    pub manifests: Vec<String>,
}
