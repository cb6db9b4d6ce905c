//! The gate: finds a node's session and asks it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use lampas_shared::{
    check::{Checked, ScriptDraft},
    desired::NodeDesired,
    error::{Chain, Fault},
    fleet::NodeState,
    id::{NodeId, RunId, SecretValueId},
    object::Target,
    operation::{OutputPart, RunOrder, RunStatus},
    report::{NodePlan, ObservedFile},
    scan::{Ejected, Scan, ScanRequest},
    secret::StillHeld,
};
use lampas_wire::{Kind, Message, Reply, Request, decode, frame::Decoder};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tracing::debug;

use super::{
    gate::NodeGate,
    registry::{Claims, Handle, Registry},
    stream::{CHUNK_BYTES, StreamError, read_message, write_message},
};

/// A plan looks at the disk and runs checks; a node that is alive says so meanwhile. Silence ends the wait much sooner.
const PLAN_LIMIT: Duration = Duration::from_secs(30);
const READ_LIMIT: Duration = Duration::from_secs(10);
/// A process is started, or one is asked to end; neither waits for it.
const RUN_LIMIT: Duration = Duration::from_secs(20);
const REVERT_LIMIT: Duration = Duration::from_secs(60);
const SCAN_LIMIT: Duration = Duration::from_secs(60);
/// Two tools with twenty seconds each.
const CHECK_LIMIT: Duration = Duration::from_secs(50);
const EJECT_LIMIT: Duration = Duration::from_secs(90);
/// A pass that is under way ends first.
const PURGE_LIMIT: Duration = Duration::from_secs(90);

/// A state of the greatest size at a window a round trip.
const WRITE_LIMIT: Duration = Duration::from_secs(15);

/// Operations at once: each may hold an answer of some 100 KiB.
const OPERATIONS_MAX: usize = 256;

/// What the rest of the controller holds of the link. Clones share it; it can be made before the link is started.
#[derive(Debug, Clone)]
pub struct Gate {
    pub(super) registry: Arc<Registry>,
    pub(super) claims: Arc<Claims>,
    operations: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// Makes a gate to nobody.
    pub fn new() -> Self {
        Self { registry: Arc::default(), claims: Arc::default(), operations: Arc::new(Semaphore::new(OPERATIONS_MAX)) }
    }

    async fn ask(&self, node: NodeId, request: Request, expected: Kind, limit: Duration) -> Result<Reply, Fault> {
        let _turn = self.operations.acquire().await.expect("the semaphore is never closed");
        let handle = self.registry.get(node).ok_or_else(offline)?;
        let _counted = Counted::begin(&handle);
        let mut stale = handle.stale.subscribe();
        let exchange = async {
            let (mut send, mut recv) = timeout(WRITE_LIMIT, handle.connection.open_bi())
                .await
                .map_err(|_| StreamError::Late)?
                .map_err(quinn::WriteError::from)?;
            write_message(&mut send, &Message::Request(Box::new(request)), WRITE_LIMIT).await?;
            // A run that asked a question is told of with what it found.
            let found = if expected == Kind::RunReply { Kind::ProbeReply } else { expected };
            read_message(&mut recv, &[], &[expected, found, Kind::Fault], limit).await
        };
        // Dropping the exchange resets its stream: the node stops working on it.
        let answer = tokio::select! {
            answer = exchange => answer,
            _ = stale.wait_for(|is_stale| *is_stale) => Err(StreamError::Late),
        };
        match answer {
            Ok(Message::Reply(reply)) => Ok(*reply),
            Ok(Message::Fault(fault)) => Err(fault),
            Ok(_) => Err(Fault::lasting("link.confused", "the node answered something that was not asked")),
            Err(StreamError::Late) => Err(hung()),
            Err(error) => {
                debug!(node.id = %node, error = %Chain(&error), "an operation failed");
                Err(match handle.connection.close_reason() {
                    Some(_) => offline(),
                    None => Fault::passing("link.failed", Chain(&error).to_string()),
                })
            }
        }
    }

    async fn told(&self, node: NodeId, request: Request) -> Result<RunStatus, Fault> {
        match self.ask(node, request, Kind::RunReply, RUN_LIMIT).await? {
            Reply::Run(status) => status,
            _ => Err(hung()),
        }
    }

    /// Listens to output. Dropping the future stops the node's sending.
    async fn listen(&self, node: NodeId, run: RunId, offset: u64, sink: mpsc::Sender<OutputPart>) -> Result<(), Fault> {
        let handle = self.registry.get(node).ok_or_else(offline)?;
        let failed = |error: &dyn std::error::Error| Fault::passing("link.failed", Chain(error).to_string());
        let (mut send, mut recv) = match timeout(WRITE_LIMIT, handle.connection.open_bi()).await {
            Ok(Ok(streams)) => streams,
            Ok(Err(_)) => return Err(offline()),
            Err(_) => return Err(hung()),
        };
        let request = Message::Request(Box::new(Request::Output { run, offset }));
        write_message(&mut send, &request, WRITE_LIMIT).await.map_err(|e| failed(&e))?;
        let mut decoder = Decoder::new();
        let mut reached = offset;
        loop {
            while let Some(frame) = decoder.next_frame().map_err(|e| failed(&e))? {
                let part = match decode(&frame).map_err(|e| failed(&e))? {
                    Message::Reply(reply) => match *reply {
                        Reply::Output(part) => part?,
                        _ => return Err(confused()),
                    },
                    Message::Fault(fault) => return Err(fault),
                    _ => return Err(confused()),
                };
                // Offsets only grow: what is kept of a run is bounded by them.
                if let OutputPart::Chunk(chunk) = &part {
                    if chunk.offset < reached {
                        return Err(confused());
                    }
                    reached = chunk.offset.saturating_add(chunk.bytes.len() as u64);
                }
                let is_end = matches!(part, OutputPart::End(_));
                if sink.send(part).await.is_err() || is_end {
                    return Ok(());
                }
            }
            match recv.read_chunk(CHUNK_BYTES, true).await {
                Ok(Some(chunk)) => decoder.push(&chunk.bytes),
                Ok(None) => return Err(Fault::passing("link.failed", "the output ended early")),
                Err(_) => return Err(offline()),
            }
        }
    }

    async fn done(&self, node: NodeId, request: Request) -> Result<(), Fault> {
        match self.ask(node, request, Kind::DoneReply, REVERT_LIMIT).await? {
            Reply::Done(done) => done,
            _ => Err(hung()),
        }
    }
}

impl NodeGate for Gate {
    fn connected(&self, node: NodeId) -> bool {
        self.registry.get(node).is_some()
    }

    fn states(&self) -> BTreeMap<NodeId, NodeState> {
        self.registry.states()
    }

    fn is_silent(&self, node: NodeId) -> bool {
        self.registry.get(node).is_some_and(|handle| *handle.stale.borrow())
    }

    fn wake(&self, nodes: &[NodeId]) {
        for node in nodes {
            if let Some(handle) = self.registry.get(*node) {
                handle.call(|inbox| inbox.wake = true);
            }
        }
    }

    fn plan(&self, node: NodeId, state: NodeDesired) -> BoxFuture<'_, Result<NodePlan, Fault>> {
        async move {
            match self.ask(node, Request::Plan(state), Kind::PlanReply, PLAN_LIMIT).await? {
                Reply::Plan(plan) => plan,
                _ => Err(hung()),
            }
        }
        .boxed()
    }

    fn read(&self, node: NodeId, target: Target) -> BoxFuture<'_, Result<Option<ObservedFile>, Fault>> {
        async move {
            match self.ask(node, Request::Read(target), Kind::ReadReply, READ_LIMIT).await? {
                Reply::Read(file) => file,
                _ => Err(hung()),
            }
        }
        .boxed()
    }

    fn revert(&self, node: NodeId, target: Target) -> BoxFuture<'_, Result<(), Fault>> {
        self.done(node, Request::Revert(target)).boxed()
    }

    fn retry(&self, node: NodeId) -> BoxFuture<'_, Result<(), Fault>> {
        self.done(node, Request::Retry).boxed()
    }

    fn scan(&self, node: NodeId, ask: ScanRequest) -> BoxFuture<'_, Result<Scan, Fault>> {
        async move {
            match self.ask(node, Request::Scan(ask), Kind::ScanReply, SCAN_LIMIT).await.map_err(known)? {
                Reply::Scan(scan) => scan.map_err(known),
                _ => Err(hung()),
            }
        }
        .boxed()
    }

    fn manage(&self, node: NodeId) -> BoxFuture<'_, Result<(), Fault>> {
        async move { self.done(node, Request::Manage).await.map_err(known) }.boxed()
    }

    fn eject(&self, node: NodeId) -> BoxFuture<'_, Result<Ejected, Fault>> {
        async move {
            match self.ask(node, Request::Eject, Kind::EjectReply, EJECT_LIMIT).await.map_err(known)? {
                Reply::Eject(ejected) => ejected.map_err(known),
                _ => Err(hung()),
            }
        }
        .boxed()
    }

    fn check(&self, node: NodeId, draft: ScriptDraft) -> BoxFuture<'_, Result<Checked, Fault>> {
        async move {
            match self.ask(node, Request::Check(draft), Kind::CheckReply, CHECK_LIMIT).await.map_err(known)? {
                Reply::Check(checked) => checked.map_err(known),
                _ => Err(hung()),
            }
        }
        .boxed()
    }

    fn purge(&self, node: NodeId, values: BTreeSet<SecretValueId>) -> BoxFuture<'_, Result<Vec<StillHeld>, Fault>> {
        async move {
            let asked = values.clone();
            match self.ask(node, Request::Purge(values), Kind::PurgeReply, PURGE_LIMIT).await.map_err(known)? {
                // What was not asked is nobody's to say.
                Reply::Purged(held) => {
                    Ok(held.map_err(known)?.into_iter().filter(|h| asked.contains(&h.value)).collect())
                }
                _ => Err(hung()),
            }
        }
        .boxed()
    }

    fn close(&self, node: NodeId, reason: &str) {
        self.registry.close(node, reason);
    }

    fn run(&self, node: NodeId, order: RunOrder) -> BoxFuture<'_, Result<RunStatus, Fault>> {
        // An agent that knows no drafts says so.
        async move { self.told(node, Request::Run(order)).await.map_err(known) }.boxed()
    }

    fn run_status(&self, node: NodeId, run: RunId) -> BoxFuture<'_, Result<RunStatus, Fault>> {
        self.told(node, Request::RunStatus(run)).boxed()
    }

    fn cancel_run(&self, node: NodeId, run: RunId) -> BoxFuture<'_, Result<RunStatus, Fault>> {
        self.told(node, Request::CancelRun(run)).boxed()
    }

    fn forget_run(&self, node: NodeId, run: RunId) -> BoxFuture<'_, Result<(), Fault>> {
        self.done(node, Request::ForgetRun(run)).boxed()
    }

    fn output(
        &self,
        node: NodeId,
        run: RunId,
        offset: u64,
        sink: mpsc::Sender<OutputPart>,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        self.listen(node, run, offset, sink).boxed()
    }
}

/// While it lives, the session counts an operation and watches the node more closely.
struct Counted<'a>(&'a Handle);

impl<'a> Counted<'a> {
    fn begin(handle: &'a Handle) -> Self {
        handle.call(|inbox| inbox.began += 1);
        Self(handle)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.call(|inbox| inbox.ended += 1);
    }
}

/// An agent that does not know a request says so in the words of the wire.
fn known(fault: Fault) -> Fault {
    if fault.code == "wire.unknown" { super::gate::too_old() } else { fault }
}

fn confused() -> Fault {
    Fault::lasting("link.confused", "the node answered something that was not asked")
}

fn offline() -> Fault {
    Fault::passing("link.offline", "the node is not connected")
}

fn hung() -> Fault {
    Fault::passing("link.hung", "the node is connected and does not answer")
}
