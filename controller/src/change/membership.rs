//! The store's side of the link: who belongs to the fleet, what they shall be, what they say.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use lampas_runtime::clock;
use lampas_shared::{
    audit::Head,
    desired::ContentHash,
    error::{Chain, Fault},
    id::{ControllerId, NodeId, SecretValueId},
    signature::Signed,
    time::UnixMs,
};
use lampas_wire::Report;
use tracing::{error, warn};

mod store;

use super::{Desired, Ingest, IngestError};
use crate::{
    audit::{Entry, Principal},
    db::{Db, DbError, gather::Gather, row::draw},
    fleet,
    link::{FENCED, Member, Membership, NodeGate, Presence, Recorded, StateSource, Wanted},
    secret::{self, Vault},
};

/// So seldom a node's asking for what is another's is told, whatever and however often it asks.
const STRAY_MS: i64 = 60_000;

/// What is asked of a node that connects: its id with a certificate's serial, or with an outbox epoch.
type Gathered<T, A> = Arc<Gather<(NodeId, T), Result<A, Fault>>>;

/// What the link asks of the store.
#[derive(Clone)]
pub struct Members {
    desired: Desired,
    ingest: Ingest,
    controller: ControllerId,
    members: Gathered<String, Option<Member>>,
    acked: Gathered<u64, u64>,
    signed: Gathered<(), Vec<Signed>>,
    given: Gathered<SecretValueId, Option<String>>,
    /// How many nodes the fleet had when somebody connected last.
    size: Arc<AtomicUsize>,
    /// When it was last told of a node that it asked for what is another's.
    strays: Arc<Mutex<BTreeMap<NodeId, UnixMs>>>,
    /// What seals secrets for nodes, and what wakes nodes whose facts moved them.
    vault: Option<(Vault, Arc<dyn NodeGate>)>,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Members({})", self.controller)
    }
}

impl Members {
    /// Answers from the compiled fleet and the store, and gives reports to the ingest.
    pub fn new(desired: Desired, ingest: Ingest, controller: ControllerId) -> Self {
        Self {
            desired,
            ingest,
            controller,
            members: Arc::default(),
            acked: Arc::default(),
            signed: Arc::default(),
            given: Arc::default(),
            size: Arc::default(),
            strays: Arc::default(),
            vault: None,
        }
    }

    /// Also serves secrets.
    #[must_use]
    pub fn with_vault(self, vault: Vault, gate: Arc<dyn NodeGate>) -> Self {
        Self { vault: Some((vault, gate)), ..self }
    }

    fn db(&self) -> &Db {
        self.desired.db()
    }
}

/// Gives each question its answer out of one look at the store.
fn each<T, A>(
    questions: Vec<(NodeId, T)>,
    found: Result<impl Fn(&(NodeId, T)) -> A, DbError>,
) -> Vec<Result<A, Fault>> {
    match found {
        Ok(found) => questions.iter().map(|q| Ok(found(q))).collect(),
        Err(error) => {
            let fault = fault(&error);
            questions.iter().map(|_| Err(fault.clone())).collect()
        }
    }
}

fn fault(error: &DbError) -> Fault {
    error!(error = %Chain(error), "the store failed under the link");
    Fault::passing("store.failed", "the controller's store could not answer; it will be tried again")
}

impl StateSource for Members {
    fn wanted(&self, node: NodeId) -> BoxFuture<'_, Result<Wanted, Fault>> {
        Box::pin(async move {
            let (desired, is_signed) = self.desired.desired_and_signed(node).await.map_err(|e| fault(&e))?;
            // Mostly nobody signs. Read after the state, they hold all that were there when it was made.
            let signatures = if is_signed { self.signatures(node).await? } else { Vec::new() };
            Ok(Wanted { desired, signatures })
        })
    }

    fn audit_head(&self) -> BoxFuture<'_, Result<Option<Head>, Fault>> {
        Box::pin(async move {
            let read = self.db().read(|mut tx| async move {
                let head = crate::audit::head(&mut tx).await?;
                Ok::<_, DbError>(tx.done(head))
            });
            read.await.map_err(|e| fault(&e))
        })
    }

    fn blob(&self, node: NodeId, hash: ContentHash) -> BoxFuture<'_, Result<Option<Vec<u8>>, Fault>> {
        Box::pin(async move {
            let found = self.desired.blob(node, hash).await.map_err(|e| fault(&e))?;
            // What nobody has is a content of before: the state moved on while the node asked.
            if found.is_none() && self.desired.view().await.map_err(|e| fault(&e))?.compiled.has_blob(hash) {
                self.stray(node, &format!("content {hash}")).await;
            }
            Ok(found)
        })
    }

    fn leave(&self, node: NodeId) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let moved = super::service::let_go(self.db(), node).await.map_err(|error| match error {
                super::ChangeError::Store(error) => fault(&error),
                other => {
                    warn!(node.id = %node, error = %Chain(&other), "a node that was ejected can't be let go of");
                    Fault::passing("leave.failed", "the controller could not let go of the node; its log says why")
                }
            })?;
            if let Some((_, gate)) = &self.vault {
                gate.wake(&moved);
            }
            Ok(())
        })
    }

    fn secret(
        &self,
        node: NodeId,
        value: SecretValueId,
        key: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<Vec<u8>>, Fault>> {
        Box::pin(async move {
            let Some((vault, _)) = self.vault.clone() else { return Ok(None) };
            // Entitled is who must have it, and nobody else.
            let is_run = self.db().read(|mut tx| async move {
                let needs = crate::operation::needs(&mut tx, node, value).await?;
                Ok::<_, DbError>(tx.done(needs))
            });
            let is_needed = self.desired.needs(node, value).await.map_err(|e| fault(&e))?;
            let is_meant = is_needed || is_run.await.map_err(|e| fault(&e))?;
            let read = self.db().read(|mut tx| async move {
                let sealed = secret::store::sealed(&mut tx, value).await?;
                Ok::<_, DbError>(tx.done(sealed))
            });
            if read.await.map_err(|e| fault(&e))?.is_none() {
                return Ok(None);
            }
            if !is_meant {
                self.stray(node, &format!("value {value} of a secret")).await;
                return Ok(None);
            }
            // Put down before it goes, so that a purge reaches who has it; what is purged meanwhile goes to nobody.
            let Some(sealed) = self.give(node, value).await? else { return Ok(None) };
            let done = tokio::task::spawn_blocking(move || vault.reseal(value, &sealed, node, &key)).await;
            match done {
                Ok(Ok(sealed)) => Ok(Some(sealed)),
                Ok(Err(error)) => {
                    error!(node.id = %node, error = %Chain(&error), "the value of a secret can't be given to its node");
                    Err(Fault::lasting("secret.vault", "the controller can't open the secret; its log says why"))
                }
                Err(_) => Err(Fault::passing("secret.vault", "the controller failed inside")),
            }
        })
    }

    fn submit(
        &self,
        node: NodeId,
        session: u64,
        epoch: u64,
        reports: Vec<(u64, Report)>,
    ) -> BoxFuture<'_, Result<u64, Fault>> {
        Box::pin(async move {
            let done = self.ingest.submit_in(session, node, epoch, reports).await;
            done.map_err(|e| match e {
                IngestError::Fenced => Fault::lasting(FENCED, e.to_string()),
                IngestError::Stopping | IngestError::Store(_) => Fault::passing("store.failed", e.to_string()),
            })
        })
    }

    fn acked(&self, node: NodeId, epoch: u64) -> BoxFuture<'_, Result<u64, Fault>> {
        Box::pin(self.acked.ask((node, epoch), move |questions| async move {
            let nodes: Vec<NodeId> = questions.iter().map(|(node, _)| *node).collect();
            let nodes = &nodes;
            let read = self.db().read(|mut tx| async move {
                let seen = super::ingest::seen(&mut tx, nodes).await?;
                Ok::<_, DbError>(tx.done(seen))
            });
            let found = read.await.map(|seen| move |q: &(NodeId, u64)| seen.get(q).copied().unwrap_or(0));
            each(questions, found)
        }))
    }
}

impl Members {
    /// Tells that a node asked for what is another's, which was refused; an agent doesn't by itself.
    async fn stray(&self, node: NodeId, what: &str) {
        let now = clock::now();
        {
            let mut told = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
            if told.get(&node).is_some_and(|last| (0..STRAY_MS).contains(&now.since(*last))) {
                return;
            }
            told.insert(node, now);
        }
        warn!(node.id = %node, what, "a node asked for what is not meant for it");
        let write = self.db().write(|mut tx| async move {
            if let Some(name) = fleet::names(&mut tx, Some(&[node])).await?.remove(&node) {
                let by = Principal::new(format!("node:{name}"), "");
                tx.audit(Entry::refused(&by, "node.fetch", what, "no state or run of this node holds it"));
            }
            Ok::<_, DbError>(tx.done(()))
        });
        if let Err(error) = write.await {
            error!(node.id = %node, error = %Chain(&error), "what a node asked for could not be put into the audit");
        }
    }

    /// Returns a value as it was sealed, and puts down that a node is about to get it: of all nodes that ask meanwhile in one
    /// transaction. Nothing when it was destroyed.
    pub(super) async fn give(&self, node: NodeId, value: SecretValueId) -> Result<Option<String>, Fault> {
        let answer = |questions: Vec<(NodeId, SecretValueId)>| async move {
            let given = secret::store::holder::give(self.db(), &questions, clock::now()).await;
            let found = given.map(|sealed| move |q: &(NodeId, SecretValueId)| sealed.get(&q.1).cloned());
            each(questions, found)
        };
        self.given.ask((node, value), answer).await
    }

    async fn signatures(&self, node: NodeId) -> Result<Vec<Signed>, Fault> {
        let answer = |questions: Vec<(NodeId, ())>| async move {
            let nodes: Vec<NodeId> = questions.iter().map(|(node, ())| *node).collect();
            let found = super::signing::held_for(self.db(), &nodes).await;
            let found = found.map(|held| move |q: &(NodeId, ())| held.get(&q.0).cloned().unwrap_or_default());
            each(questions, found)
        };
        self.signed.ask((node, ()), answer).await
    }
}

impl Membership for Members {
    fn member(&self, node: NodeId, serial: &str) -> BoxFuture<'_, Result<Option<Member>, Fault>> {
        Box::pin(self.members.ask((node, serial.to_owned()), move |questions| async move {
            let asked = &questions;
            let read = self.db().read(|mut tx| async move {
                self.size.store(fleet::size(&mut tx).await?, Ordering::Relaxed);
                let found = store::members(&mut tx, self.controller, asked).await?;
                Ok::<_, DbError>(tx.done(found))
            });
            let found = read.await.map(|found| move |q: &(NodeId, String)| found.get(q).cloned());
            each(questions, found)
        }))
    }

    fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    fn record(&self, presence: Vec<Presence>) -> BoxFuture<'_, Result<Vec<Recorded>, Fault>> {
        Box::pin(async move {
            let presence = &presence;
            let write = self.db().write(|mut tx| async move {
                let (recorded, moved) = store::record(&mut tx, self.controller, presence).await?;
                // Only where a template speaks of them do other facts make other states.
                let is_used = !moved.is_empty() && fleet::uses_facts(&mut tx).await?;
                if !moved.is_empty() {
                    let state = draw(&mut tx, "state", 1).await?;
                    let desired = self.desired.clone();
                    tx.after_commit(move || desired.said(state, moved, is_used));
                }
                Ok::<_, DbError>(tx.done((recorded, is_used)))
            });
            let (recorded, has_moved) = write.await.map_err(|e| fault(&e))?;
            if has_moved {
                let moved = self.desired.assign().await.map_err(|e| fault(&e))?;
                if let Some((_, gate)) = &self.vault {
                    gate.wake(&moved);
                }
            }
            Ok(recorded)
        })
    }
}
