//! The gates of rollouts: each is an operation on the nodes of a wave, found again by its key.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use lampas_api::OperationNode;
use lampas_shared::{
    error::{Chain, Fault},
    fleet::Scope,
    id::NodeId,
    operation::{Away, Limits, OperationSpec, RunState, Strategy, Work},
    probe::{Number, Probe},
    rollout::{Gate, Verdict},
};

use super::{
    OperationError, Operations,
    service::{Nodes, Starting},
    store::{self, OperationRow},
};
use crate::{
    audit::Principal,
    change::rollout::driver::{Gates, Question},
    compile::NodeInput,
    db::DbError,
    fleet,
};

/// Up to how many nodes the operation of a gate names them.
const NAMED: usize = 8;

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
                if question.is_before && !gate.needs_before() {
                    continue;
                }
                match self.ask_one(&question, gate, index).await.map_err(failed)? {
                    Verdict::Pass => {}
                    Verdict::Open => verdict = Verdict::Open,
                    no @ Verdict::Fail(_) => return Ok(no),
                }
            }
            Ok(verdict)
        })
    }

    fn open(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move {
            let found = self.db().read(|mut tx| async move {
                let found = store::open_gates(&mut tx).await?;
                Ok::<_, DbError>(tx.done(found))
            });
            found.await.map_err(|error| Fault::passing("gates.failed", Chain(&error).to_string()))
        })
    }

    fn end(&self, key: String) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let failed = |error: OperationError| Fault::passing("gates.failed", Chain(&error).to_string());
            let Some(row) = self.by_request(&key).await.map_err(failed)? else { return Ok(()) };
            match self.cancel(&row.id.to_string(), &Principal::system()).await {
                // It answered at the last moment.
                Ok(()) | Err(OperationError::State(_)) => Ok(()),
                Err(error) => Err(failed(error)),
            }
        })
    }
}

impl Operations {
    async fn ask_one(&self, question: &Question, gate: &Gate, index: u32) -> Result<Verdict, OperationError> {
        let of = if question.is_before { &question.before } else { &question.key };
        let key = format!("{of}:{index}");
        // The same key gives the same operation, however often it is asked and by which controller.
        let row = match self.by_request(&key).await? {
            Some(row) => row,
            None => match self.begin_gate(question, gate, index, key).await? {
                Ok(row) => row,
                Err(why) => return Ok(Verdict::Fail(why)),
            },
        };
        let runs = self.all_nodes(row.id).await?;
        if question.is_before {
            // Who could not be measured fails the gate itself.
            return Ok(if runs.iter().all(|r| r.state.is_final()) { Verdict::Pass } else { Verdict::Open });
        }
        if let Some(bad) = runs.iter().find(|r| r.state.is_final() && r.state != RunState::Succeeded) {
            return Ok(Verdict::Fail(said(&row, bad)));
        }
        let is_over = runs.iter().all(|r| r.state == RunState::Succeeded);
        Ok(if is_over { Verdict::Pass } else { Verdict::Open })
    }

    /// Begins the operation of a gate; says why it can't be asked, if that is so.
    async fn begin_gate(
        &self,
        question: &Question,
        gate: &Gate,
        index: u32,
        key: String,
    ) -> Result<Result<OperationRow, String>, OperationError> {
        let before_key = format!("{}:{index}", question.before);
        let (members, measured) = self
            .db()
            .read(|mut tx| async move {
                let members = fleet::members(&mut tx).await?;
                let measured = store::measured(&mut tx, &before_key).await?;
                Ok::<_, DbError>(tx.done((members, measured)))
            })
            .await?;
        let nodes: Vec<NodeId> = match &gate.from {
            None => question.nodes.clone(),
            Some(name) => match members.iter().find(|m| m.name == *name) {
                Some(node) => vec![node.id],
                None => return Ok(Err(format!("there is no node {name} to ask from"))),
            },
        };
        let (work, timeout_secs) = match &gate.probe {
            None => (Work::Command { argv: gate.command.clone() }, gate.timeout_secs),
            Some(probe) => {
                let mut probe = probe.clone();
                let mut before = BTreeMap::new();
                if is_of_fleet(&probe, &members) {
                    probe.permit();
                }
                if question.is_before {
                    // One value is enough, whatever it is.
                    (probe.for_secs, probe.within_secs) = (0, 0);
                } else if probe.needs_before() {
                    if let Some(node) = nodes.iter().find(|n| !measured.contains_key(n)) {
                        let name = members.iter().find(|m| m.id == *node).map_or("a node", |m| m.name.as_str());
                        return Ok(Err(format!(
                            "{} on {name}: it could not be measured before the change",
                            probe.title()
                        )));
                    }
                    before = measured.into_iter().filter(|(node, _)| nodes.contains(node)).collect();
                }
                let limit = probe.limit_secs();
                (Work::Probe { probe, before }, limit)
            }
        };
        let what = if question.is_before { "before" } else { "gate of" };
        let spec = OperationSpec {
            work,
            on: asked(&nodes, &members),
            user: gate.user.clone(),
            limits: Limits { timeout_secs, output_bytes: 64 << 10 },
            strategy: Strategy::default(),
            away: Away::Expire,
            reason: format!("{what} change {}", question.number),
            rehearse: false,
            secrets: BTreeMap::new(),
            sign: false,
        };
        let who = Starting { author: "system".to_owned(), by: Principal::system(), request_key: Some(key) };
        self.begin(spec, Nodes::Wave(nodes), &who).await.map(Ok)
    }
}

/// Returns whom a gate is told to ask: the nodes by name, while they fit a line.
fn asked(nodes: &[NodeId], members: &[NodeInput]) -> Vec<Scope> {
    let named = members.iter().filter(|m| nodes.contains(&m.id)).map(|m| Scope::Node(m.name.clone()));
    match nodes.len() {
        1..=NAMED => named.collect(),
        _ => vec![Scope::Fleet],
    }
}

/// Returns whether a probe goes to a node of the fleet: by its name, its host name or the address that is set for it.
fn is_of_fleet(probe: &Probe, members: &[NodeInput]) -> bool {
    let Some((host, _)) = probe.goes_to() else { return false };
    let is_host = |name: &str| !name.is_empty() && name.eq_ignore_ascii_case(host.as_str());
    let address = host.as_address();
    members
        .iter()
        .any(|m| is_host(m.name.as_str()) || is_host(&m.facts.hostname) || (address.is_some() && m.address == address))
}

/// Returns how a gate answered on a node, for people.
fn said(row: &OperationRow, run: &OperationNode) -> String {
    let word = run.state.as_str().replace('_', " ");
    let is_probe = matches!(row.spec.work, Work::Probe { .. });
    let said = match (run.detail.as_str(), run.state) {
        ("", _) => word,
        // A program's exit status stands with the operation, and its output beside it.
        (_, RunState::Failed) if !is_probe => word,
        (detail, RunState::Failed) => detail.to_owned(),
        (detail, _) => format!("{word}: {detail}"),
    };
    format!("{} on {}: {said} (operation {})", row.spec.work.title(), run.node.name, row.number)
}

/// What was measured on each node.
pub(super) type Measured = BTreeMap<NodeId, Number>;
