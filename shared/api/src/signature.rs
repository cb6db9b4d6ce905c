//! Operators' signatures over root code.

use lampas_shared::{
    id::{FleetId, NodeId},
    object::Kind,
    signature::Signed,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::NodeRef;

/// `GET /api/v1/signing?change=N` or `?node=NAME`, and `GET /api/v1/operations/{operation}/signing`: what needs an
/// operator's signature. The client builds the statement
/// itself, from what it was shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Signing {
    /// The fleet.
    pub fleet: FleetId,
    /// The greatest serial of any statement that is known here; the next one is greater. 0 before the first.
    pub last_serial: u64,
    /// What it is for: `change 12`.
    pub purpose: String,
    /// Nodes with what they want signed; empty when nothing needs a signature.
    pub parts: Vec<SigningPart>,
    /// The resources that the parts name, whole: [`lampas_shared::desired::Resource`] as JSON, with its content.
    pub resources: Vec<String>,
    /// What would be run, of an operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<SigningRun>,
}

/// Something that would be run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SigningRun {
    /// [`lampas_shared::operation::RunOrder`] as JSON, of no particular run.
    pub order: String,
    /// Of a script that stands on the node: its text, whose hash the order names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
}

/// Nodes that want the same signed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SigningPart {
    /// The nodes, by name.
    pub nodes: Vec<NodeRef>,
    /// Places in [`Signing::resources`] of what comes.
    pub put: Vec<usize>,
    /// What goes.
    pub remove: Vec<SigningRemoval>,
    /// Places in [`Signing::runs`] of what would be run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<usize>,
}

/// Root code that goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct SigningRemoval {
    /// The kind of its object.
    pub kind: Kind,
    /// Where it stands.
    pub path: String,
}

/// What a signature is wanted for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct SigningQuery {
    /// A change that is planned.
    pub change: Option<String>,
    /// A node: what it shall be already.
    pub node: Option<String>,
}

/// `POST /api/v1/signatures`: a statement with the signature over it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureCreate {
    /// The text and the signature.
    pub signed: Signed,
    /// The change that it was made for; planned anew afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// A stored signature.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Signature {
    /// Its serial.
    pub serial: u64,
    /// What it is for.
    pub purpose: String,
    /// The text that was signed.
    pub text: String,
    /// The nodes that it names.
    pub nodes: Vec<NodeId>,
    /// Who uploaded it.
    pub author: String,
    /// When.
    pub at: UnixMs,
    /// When it ends.
    pub expires_at: UnixMs,
    /// What stands in the way of the change that it was made for, after planning it anew; empty when nothing does.
    pub blockers: Vec<String>,
}

/// Which signatures are wanted, newest first.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct SignatureQuery {
    /// Made for this change.
    pub change: Option<String>,
}
