//! Roles.

use lampas_shared::fleet::RoleName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A row of `GET /api/v1/roles`; `GET /api/v1/roles/{name}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Role {
    /// The name.
    pub name: RoleName,
    /// How many nodes have it.
    pub nodes: u32,
    /// How many of them are online.
    pub online: u32,
    /// How many of them are wholly in force.
    pub converged: u32,
    /// How many of them have drifted.
    pub drifted: u32,
    /// How many of them have failed or blocked resources.
    pub failed: u32,
    /// How many objects have this role as their scope.
    pub objects: u32,
}
