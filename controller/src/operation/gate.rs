//! The gates of rollouts: each is an operation on the nodes of a wave, found again by its key.

use futures_util::future::BoxFuture;
use lampas_shared::{
    error::{Chain, Fault},
    fleet::Scope,
    operation::{Limits, OperationSpec, RunState, Strategy, Work},
    rollout::{Gate, Verdict},
};

use super::{OperationError, Operations, service::Starting};
use crate::{
    audit::Principal,
    change::rollout::driver::{Gates, Question},
};

impl Gates for Operations {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Verdict, Fault>> {
        Box::pin(async move {
            let failed = |error: OperationError| Fault::passing("gates.failed", Chain(&error).to_string());
            // Of a wave whose nodes all left the fleet there is nobody to ask.
            if question.nodes.is_empty() {
                return Ok(Verdict::Pass);
            }
            let mut verdict = Verdict::Pass;
            for (gate, index) in question.gates.iter().zip(0_u32..) {
                match self.ask_one(&question, gate, index).await.map_err(failed)? {
                    Verdict::Pass => {}
                    Verdict::Open => verdict = Verdict::Open,
                    no @ Verdict::Fail(_) => return Ok(no),
                }
            }
            Ok(verdict)
        })
    }
}

impl Operations {
    async fn ask_one(&self, question: &Question, gate: &Gate, index: u32) -> Result<Verdict, OperationError> {
        let spec = OperationSpec {
            work: Work::Command { argv: gate.command.clone() },
            on: vec![Scope::Fleet],
            user: gate.user.clone(),
            limits: Limits { timeout_secs: gate.timeout_secs, output_bytes: 64 << 10 },
            strategy: Strategy::default(),
            away: lampas_shared::operation::Away::Expire,
            reason: format!("gate of change {}", question.number),
            rehearse: false,
            secrets: std::collections::BTreeMap::new(),
            sign: false,
        };
        let who = Starting {
            author: "system".to_owned(),
            by: Principal::system(),
            request_key: Some(format!("{}:{index}", question.key)),
        };
        // The same key gives the same operation, however often it is asked and by which controller.
        let row = self.begin(spec, Some((None, question.nodes.clone())), &who).await?;
        let runs = self.all_nodes(row.id).await?;
        if let Some(bad) = runs.iter().find(|r| r.state.is_final() && r.state != RunState::Succeeded) {
            let title = row.spec.work.title();
            return Ok(Verdict::Fail(format!(
                "{title} on {}: {} (operation {})",
                bad.node.name,
                bad.state.as_str().replace('_', " "),
                row.number
            )));
        }
        let is_over = runs.iter().all(|r| r.state == RunState::Succeeded);
        Ok(if is_over { Verdict::Pass } else { Verdict::Open })
    }
}
