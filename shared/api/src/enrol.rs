//! Enrolment tokens.

use lampas_shared::{
    fleet::{Labels, NodeName, RoleName},
    id::{NodeId, TokenId},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /api/v1/enrolment-tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolTokenCreate {
    /// The roles of the node.
    #[serde(default)]
    pub roles: Vec<RoleName>,
    /// The labels of the node.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Labels,
    /// The node's name; its host name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The network that it may enrol from (CIDR).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// Its life in seconds: 60 to 604,800; an hour by default.
    #[serde(default = "hour")]
    pub ttl_secs: u64,
    /// How many nodes may use it: 1 to 10,000; one by default. More than one can't go with `node`.
    #[serde(default = "one")]
    pub uses: u32,
    /// The node only observes until an operator takes it over: nothing is written there.
    #[serde(default)]
    pub observe: bool,
}

fn hour() -> u64 {
    3600
}

fn one() -> u32 {
    1
}

/// The answer: the only time that the token is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnrolTokenCreated {
    /// The token's row.
    pub token: EnrolToken,
    /// The token itself, `lpt1-…`; it pins the fleet's CA.
    pub secret: String,
    /// One command for the new node; the token is given on standard input.
    pub command: String,
}

/// A row of `GET /api/v1/enrolment-tokens`; `GET …/{id}` to wait for the node; `DELETE …/{id}` withdraws it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnrolToken {
    /// The token's id; not its secret.
    pub id: TokenId,
    /// The roles that it gives.
    pub roles: Vec<RoleName>,
    /// The name that it gives.
    pub node: Option<NodeName>,
    /// The network that it may be used from.
    pub cidr: Option<String>,
    /// Who made it.
    pub author: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it ends.
    pub expires_at: UnixMs,
    /// How often it may still be used.
    pub uses_left: u32,
    /// Whether its nodes only observe at first.
    #[serde(default)]
    pub observe: bool,
    /// The nodes that used it, with their name and whether they are connected.
    pub enrolled: Vec<EnrolledNode>,
    /// `waiting`, `used`, `expired` or `withdrawn`.
    pub state: String,
}

/// A node that used a token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnrolledNode {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Whether its agent is connected.
    pub is_connected: bool,
    /// One line on what it is: `Debian 12, 4 cores`.
    pub about: String,
}
