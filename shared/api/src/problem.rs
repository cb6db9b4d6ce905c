//! Errors as problem details (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, as `application/problem+json`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable URI reference: `/problems/CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code alone: `conflict`, `not_found`, `invalid`, `plan.moved` …
    pub code: String,
    /// The same words for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, what it means and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The fields at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldProblem>,
    /// The request's id, as in the controller's log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request: String,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// A JSON pointer into the request: `/drafts/0/spec/body/schedule`.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}
