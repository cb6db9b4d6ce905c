//! What refuses a change, as the API tells it.

use axum::http::StatusCode;
use lampas_api::FieldProblem;

use super::ChangeError;
use crate::{api::problem::Refusal, fleet::FleetError};

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        let text = lampas_shared::error::Chain(&error).to_string();
        match &error {
            ChangeError::Store(inner) => Self::internal(inner),
            ChangeError::NotFound(_) | ChangeError::Nothing(_) => Self::new("not_found", text),
            ChangeError::EmptySet(_) => Self::new("set.empty", text),
            ChangeError::Conflict { .. } | ChangeError::NodeConflict { .. } | ChangeError::Superseded { .. } => {
                Self::new("conflict", text)
            }
            ChangeError::Exists { key, .. } => {
                let pointer = format!("/drafts/{}/name", key.name);
                Self { status: StatusCode::CONFLICT, code: "exists".into(), ..Self::field(&pointer, text) }
            }
            ChangeError::Remade { .. } => Self::new("conflict", text),
            ChangeError::Twice(_) | ChangeError::Count(_) | ChangeError::NoSuchNode { .. } => {
                Self::field("/drafts", text)
            }
            ChangeError::Template(problem) => {
                let pointer = format!("/drafts/{}/{}", problem.key.name, problem.field);
                Self { code: "template".into(), ..Self::fields(vec![FieldProblem { pointer, detail: text }]) }
            }
            ChangeError::Value { key, .. } => {
                let pointer = format!("/drafts/{}/value", key.name);
                Self { code: "secret.value".into(), ..Self::fields(vec![FieldProblem { pointer, detail: text }]) }
            }
            ChangeError::Tie(_) => Self { code: "tie".into(), ..Self::field("/drafts", text) },
            ChangeError::Field { key, source } => {
                let pointer = format!("/drafts/{}/{}", key.name, source.what.replace(' ', "_"));
                Self::fields(vec![FieldProblem { pointer, detail: text }])
            }
            ChangeError::Moved { .. } => Self::new("plan.moved", text),
            ChangeError::Unplanned { .. } => Self::new("plan.unplanned", text),
            ChangeError::Signature(inner) => Self::text("/signed", inner),
            ChangeError::Blocked(_) => Self::new("plan.blocked", text),
            ChangeError::State { .. } => Self::new("change.state", text),
            ChangeError::Rolling { .. } => Self::new("change.rolling", text),
            ChangeError::Order(_) => Self::new("rollout.state", text),
            ChangeError::Strategy(inner) => Self::text("/rollout", inner),
            ChangeError::ApprovalNeeded { .. } => Self::new("approval.needed", text),
            ChangeError::OwnChange { .. } => Self::new("approval.own", text),
            ChangeError::Guarded(_) | ChangeError::Leaving { .. } => Self::new("node.guarded", text),
            ChangeError::Frozen { .. } | ChangeError::FrozenWave(_) => Self::new("change.frozen", text),
            ChangeError::Unfit(_) => Self::new("conflict", text),
            ChangeError::Outside(_) => Self::new("forbidden", text),
            ChangeError::Unproven(inner) => inner.into(),
            ChangeError::Rule { pointer, wrong } => Self::text(pointer, wrong),
            ChangeError::KeyReused(_) => Self::new("idempotency.reused", text),
            ChangeError::Fleet(_) => match error {
                ChangeError::Fleet(inner) => inner.into(),
                _ => Self::new("conflict", text),
            },
        }
    }
}

impl From<FleetError> for Refusal {
    fn from(error: FleetError) -> Self {
        let text = lampas_shared::error::Chain(&error).to_string();
        match &error {
            FleetError::Store(inner) => Self::internal(inner),
            FleetError::NotFound(_) => Self::new("not_found", text),
            FleetError::NameTaken(_) => {
                Self { status: StatusCode::CONFLICT, code: "exists".into(), ..Self::field("/name", text) }
            }
            FleetError::Conflict { .. } => Self::new("precondition_failed", text),
            FleetError::Field(inner) => Self::text(&format!("/{}", inner.what.replace(' ', "_")), inner),
        }
    }
}
