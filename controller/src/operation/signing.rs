//! Operations that wait for an operator's signature: what is to be signed, and the signature when it comes.
//!
//! Nothing of such an operation starts before. The controller sees to it that a statement names every run as it would be
//! told; whether the signature counts each node decides, and a statement starts each run once there.

use std::collections::BTreeMap;

use lampas_api::{OperationSigning, Signing, SigningPart, SigningRun};
use lampas_runtime::clock;
use lampas_shared::{
    TextError,
    access::Permission,
    desired::{ContentHash, Spec},
    event::EventKind,
    fleet::NodeName,
    id::{NodeId, OperationId, RunId},
    object::Kind,
    operation::{Away, OperationState, RunOrder, RunState, Work},
    signature::{Grant, Signed},
    time::UnixMs,
};
use uuid::Uuid;

use super::{
    OperationError,
    drive::order,
    service::{Operations, Selected},
    store::{self, OperationRow, RunRow},
};
use crate::{
    audit::{Entry, Principal},
    change::signing::store as signatures,
    db::{DbError, row::to_json},
    event::NewEvent,
};

/// How long a signature is waited for.
const WAIT_MS: i64 = 86_400_000;

/// Returns the signature that an operation needs: because it was asked for, or because a node is known to want one.
pub(super) fn wanted(row: &OperationRow, selected: &Selected) -> Option<OperationSigning> {
    let is_wanted =
        row.spec.sign || selected.runs.iter().any(|r| !r.observes && selected.want_signature.contains(&r.node));
    let is_question = matches!(row.spec.work, Work::Probe { .. });
    let usual = row.created_at.plus_ms(WAIT_MS);
    let until = match row.spec.away {
        Away::Queue { until } => until.min(usual),
        Away::Skip | Away::Expire => usual,
    };
    (is_wanted && !is_question).then_some(OperationSigning { until, signed_at: None, serial: None })
}

/// The order of a run without what is drawn for each.
fn bare(row: &OperationRow, run: &RunRow) -> RunOrder {
    let order = order(row, run);
    RunOrder {
        run: RunId::from_uuid(Uuid::nil()),
        operation: OperationId::from_uuid(Uuid::nil()),
        by: String::new(),
        signed: None,
        ..order
    }
}

impl Operations {
    /// Returns what has to be signed before an operation starts, whole.
    ///
    /// # Errors
    /// When it waits for no signature, or somebody may not run it, or not read what would run.
    pub(crate) async fn signing(&self, row: &OperationRow, by: &Principal) -> Result<Signing, OperationError> {
        let (runs, last_serial, fleet) = self
            .db()
            .read(|mut tx| async move {
                let runs = store::signing::runs(&mut tx, row).await?;
                let last = signatures::last_serial(&mut tx).await?;
                let fleet = signatures::fleet(&mut tx).await?;
                Ok::<_, DbError>(tx.done((runs, last, fleet)))
            })
            .await?;
        let view = self.view().await?;
        let ids = || runs.iter().map(|r| r.node);
        by.must_on_nodes(Permission::Run, ids(), view.members())?;
        by.must_on_nodes(Permission::ReadContent, ids(), view.members())?;
        must_wait(row)?;
        let names: BTreeMap<NodeId, NodeName> = view.members().iter().map(|m| (m.id, m.name.clone())).collect();
        let mut by_program: BTreeMap<ContentHash, (RunOrder, Vec<NodeId>)> = BTreeMap::new();
        for run in runs.iter().filter(|r| r.state == RunState::Queued) {
            let order = bare(row, run);
            by_program.entry(order.program_hash()).or_insert_with(|| (order, Vec::new())).1.push(run.node);
        }
        let (mut parts, mut shown) = (Vec::new(), Vec::new());
        for (order, nodes) in by_program.into_values() {
            let script = order.expect.and_then(|hash| {
                let class = view.compiled.class(nodes[0])?;
                let is_it = |spec: &Spec| matches!(spec, Spec::File { content, .. } if content.hash == hash);
                let resource = class.resources.iter().find(|r| r.kind == Kind::Script && is_it(&r.spec))?;
                let Spec::File { content, .. } = &resource.spec else { return None };
                let bytes = content.inline.clone().or_else(|| view.compiled.blob(nodes[0], hash))?;
                String::from_utf8(bytes).ok()
            });
            if order.expect.is_some() && script.is_none() {
                let why = "a script of it was changed since, and can't be shown; cancel it, and run it anew";
                return Err(OperationError::State(why));
            }
            let run = vec![shown.len()];
            shown.push(SigningRun { order: to_json(&order), script });
            let nodes = crate::change::refs(nodes, &names);
            parts.push(SigningPart { nodes, put: Vec::new(), remove: Vec::new(), run });
        }
        parts.sort_by(|a, b| a.nodes[0].name.cmp(&b.nodes[0].name));
        let purpose = format!("operation {}", row.number);
        Ok(Signing { fleet, last_serial, purpose, parts, resources: Vec::new(), runs: shown })
    }

    /// Takes the signature that an operation waits for, and starts it.
    ///
    /// # Errors
    /// When it is not one for this fleet and for every run, is over, or its serial was used.
    pub(crate) async fn sign(
        &self,
        row: &OperationRow,
        signed: Signed,
        by: &Principal,
    ) -> Result<OperationRow, OperationError> {
        let nodes: Vec<NodeId> = self.all_nodes(row.id).await?.iter().map(|n| n.node.id).collect();
        let view = self.view().await?;
        by.must_on_nodes(Permission::Run, nodes, view.members())?;
        must_wait(row)?;
        let now = clock::now();
        let refused = |why: String| OperationError::Signature(TextError::new("statement", "", why));
        let statement = signed.check().map_err(OperationError::Signature)?;
        if statement.expires <= now {
            return Err(refused(format!("ended at {}", statement.expires)));
        }
        if statement.serial == 0 || i64::try_from(statement.serial).is_err() {
            return Err(refused("its serial is not from 1 to 2^63".into()));
        }
        let (statement, signed, refused) = (&statement, &signed, &refused);
        let found = self
            .db()
            .write(|mut tx| async move {
                // Nobody ends it, or gives it up, until this is over.
                if store::locked(&mut tx, row.id).await?.is_none() {
                    return Err(OperationError::State("it was signed, or is over, meanwhile"));
                }
                let fleet = signatures::fleet(&mut tx).await?;
                if statement.fleet != fleet {
                    return Err(refused(format!("is for the fleet {}, this is {fleet}", statement.fleet)));
                }
                let last = signatures::last_serial(&mut tx).await?;
                if statement.serial <= last {
                    return Err(refused(format!(
                        "has the serial {}, and {last} was used: sign anew",
                        statement.serial
                    )));
                }
                for run in store::signing::runs(&mut tx, row).await? {
                    let program = bare(row, &run).program_hash();
                    let is_it = |grant: &&Grant| matches!(grant, Grant::Run { hash, .. } if *hash == program);
                    let grants = statement.for_node(run.node).unwrap_or_default();
                    if run.state == RunState::Queued && !grants.into_iter().any(|g| is_it(&g)) {
                        return Err(refused(format!("does not cover what would run on the node {}", run.node)));
                    }
                }
                if !store::signing::signed(&mut tx, row.id, statement.serial, now).await? {
                    return Err(OperationError::State("it was signed, or is over, meanwhile"));
                }
                signatures::put(&mut tx, signed, statement, None, &crate::change::author(by), now).await?;
                let details = BTreeMap::from([
                    ("serial", statement.serial.to_string()),
                    ("nodes", statement.nodes().count().to_string()),
                    ("expires", statement.expires.to_string()),
                ]);
                let object = format!("operation {}: {}", row.number, row.spec.work.title());
                tx.audit(Entry::done(by, "operation.sign", object).with_details(&details));
                tx.event(NewEvent::new(EventKind::OperationMoved).with("operation", row.id));
                let found = store::find(&mut tx, &row.id.to_string()).await?;
                Ok(tx.done(found))
            })
            .await?;
        self.moved();
        self.wake();
        found.ok_or_else(|| OperationError::NotFound(row.number.to_string()))
    }

    /// Gives up on an operation that nobody signed in time, unless somebody did at the last moment.
    pub(super) async fn unsigned(&self, row: &OperationRow, now: UnixMs) -> Result<(), DbError> {
        self.db()
            .write(|mut tx| async move {
                let Some((found, runs)) = store::locked(&mut tx, row.id).await? else { return Ok(tx.done(())) };
                if found.cancelled.is_some() || found.waits_until().is_none_or(|until| now < until) {
                    return Ok(tx.done(()));
                }
                let ids: Vec<RunId> = runs.iter().map(|r| r.run).collect();
                store::settle(&mut tx, &ids, RunState::Expired, "no operator signed it in time", now).await?;
                let ended = store::conclude(&mut tx, row.id, now).await?;
                tx.event(
                    NewEvent::new(EventKind::OperationEnded)
                        .with("operation", row.id)
                        .with("number", row.number)
                        .with("state", ended.as_str()),
                );
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        self.moved();
        Ok(())
    }
}

fn must_wait(row: &OperationRow) -> Result<(), OperationError> {
    match (&row.signing, row.waits_until()) {
        _ if row.state != OperationState::Running || row.cancelled.is_some() => {
            Err(OperationError::State("it is over, or is being ended"))
        }
        (None, _) => Err(OperationError::State("it needs no signature")),
        (Some(_), None) => Err(OperationError::State("it is signed already")),
        (Some(_), Some(_)) => Ok(()),
    }
}
