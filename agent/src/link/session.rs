//! One connection: moves the machine's bytes, and does what it commands.

use std::{collections::VecDeque, fmt, future::pending, sync::Arc, time::Duration};

use futures_util::{
    StreamExt as _,
    future::{BoxFuture, OptionFuture},
    stream::FuturesUnordered,
};
use lampas_runtime::{clock, random};
use lampas_shared::{
    audit::{Countersigned, Head},
    desired::{ContentHash, Generation, NodeDesired},
    error::{Chain, Fault},
    time::UnixMs,
};
use lampas_wire::{
    Goodbye, GoodbyeReason, Hello, Report, Welcome,
    link::{
        CloseReason, Stream,
        agent::{AgentLink, Command},
    },
};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, WriteError};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Dialled, Dialler, LinkHandle, LinkStatus, Outbox, Reconciler,
    dial::{RenewError, renew},
    operation,
};
use crate::reconcile::Upstream as _;

/// How often the certificate's age is looked at, and how soon a renewal that failed is tried again.
const RENEWAL_LOOK: Duration = Duration::from_secs(3600);
/// Over how long nodes spread their renewals when an authority is new.
const REKEY_SPREAD: Duration = Duration::from_secs(10);
/// Between attempts to journal a state when the journal says that it may pass (a full disk).
const TAKE_RETRY: Duration = Duration::from_secs(5);
/// For the last words to leave.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether the handshake was done.
    pub was_welcomed: bool,
    /// Why the controller or this side ended it in order.
    pub reason: Option<GoodbyeReason>,
    /// The same, or the transport's reason, in words.
    pub message: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

type Taking = BoxFuture<'static, (Generation, ContentHash, Result<(), Fault>)>;
type Loading = BoxFuture<'static, (u64, Result<Vec<(u64, Report)>, Fault>)>;

/// What goes on over the end of a connection.
#[derive(Default)]
pub(super) struct Carried {
    /// A state that is being journalled.
    taking: Option<Taking>,
    /// Reports that are being let go of.
    acking: Option<BoxFuture<'static, Result<(), Fault>>>,
    /// The number up to which to let go next.
    ack: Option<u64>,
    /// Signatures that are being journalled.
    signing: Option<BoxFuture<'static, Result<(), Fault>>>,
}

/// Looks at what the node says of itself.
pub(super) type Facts = Arc<dyn Fn() -> lampas_shared::fleet::NodeFacts + Send + Sync>;

/// What a connection is run with.
pub(super) struct Session<'a> {
    pub(super) dialler: &'a Arc<Dialler>,
    pub(super) reconciler: &'a Arc<dyn Reconciler>,
    pub(super) outbox: &'a Arc<dyn Outbox>,
    pub(super) current: &'a watch::Sender<Option<Connection>>,
    pub(super) status: &'a watch::Sender<LinkStatus>,
    pub(super) facts: &'a Facts,
    /// The machine's zero of time.
    pub(super) start: Instant,
}

/// A stream that is written as fast as the controller takes it.
#[derive(Default)]
struct Outgoing {
    stream: Option<SendStream>,
    queue: VecDeque<Vec<u8>>,
    offset: usize,
}

impl Session<'_> {
    /// Runs a connection to its end.
    pub(super) async fn run(
        &self,
        machine: &mut AgentLink,
        carried: &mut Carried,
        dialled: &Dialled,
        hello: Hello,
        stopping: &CancellationToken,
    ) -> Ended {
        let connection = &dialled.connection;
        let mut welcomed = None;
        let result = self.drive(machine, carried, dialled, hello, stopping, &mut welcomed).await;
        machine.handle_lost();
        let was_welcomed = welcomed.is_some();
        match result {
            Ok(reason) => {
                let message = reason.to_string();
                connection.close(reason.code().into(), &message.as_bytes()[..message.len().min(200)]);
                let goodbye = match &reason {
                    CloseReason::PeerLeft(goodbye) | CloseReason::Asked(goodbye) => Some(goodbye.reason),
                    _ => None,
                };
                Ended { was_welcomed, reason: goodbye, message }
            }
            Err(error) => {
                let reason = match &error {
                    ConnectionError::ApplicationClosed(close) => reason_of(close.error_code.into_inner()),
                    _ => None,
                };
                Ended { was_welcomed, reason, message: Chain(&error).to_string() }
            }
        }
    }

    async fn drive(
        &self,
        machine: &mut AgentLink,
        carried: &mut Carried,
        dialled: &Dialled,
        hello: Hello,
        stopping: &CancellationToken,
        welcomed: &mut Option<(UnixMs, Instant)>,
    ) -> Result<CloseReason, ConnectionError> {
        let connection = &dialled.connection;
        let (send, control_in) = connection.open_bi().await?;
        let mut control_in = Some(control_in);
        let mut outbox_in: Option<RecvStream> = None;
        let mut control = Outgoing { stream: Some(send), ..Outgoing::default() };
        let mut outbox = Outgoing::default();
        let mut reports = self.outbox.subscribe();
        let mut loading: Option<Loading> = None;
        let mut operations = FuturesUnordered::new();
        let mut renewal: Option<BoxFuture<'static, Result<(), RenewError>>> = None;
        let mut look_at: Option<Instant> = None;
        let mut has_new_authority = false;
        let mut is_stopping = false;
        let mut heading: Option<BoxFuture<'static, Option<Countersigned>>> = None;
        let mut facts = self.reconciler.facts_changed();

        machine.handle_outbox(*reports.borrow_and_update());
        machine.handle_connected(self.start.elapsed(), hello);
        loop {
            while let Some(command) = machine.poll_command() {
                match command {
                    Command::Send(Stream::Control, bytes) => control.queue.push_back(bytes),
                    Command::Send(Stream::Outbox, bytes) => outbox.queue.push_back(bytes),
                    Command::Welcomed(welcome) => {
                        if welcome.fleet != self.dialler.credentials().fleet() {
                            return Ok(CloseReason::Lied("the welcome is of another fleet".to_owned()));
                        }
                        *welcomed = Some((welcome.time, Instant::now()));
                        look_at = Some(Instant::now());
                        self.welcome(dialled, *welcome);
                    }
                    Command::Load { after, limit } => {
                        let reading = self.outbox.pending(after, limit);
                        loading = Some(Box::pin(async move { (after, reading.await) }));
                    }
                    Command::Acked(seq) => carried.ack = carried.ack.max(Some(seq)),
                    Command::Take(state) => {
                        // What is signed is journalled before what needs it.
                        let (signing, taking) = (carried.signing.take(), take(Arc::clone(self.reconciler), *state));
                        carried.taking = Some(Box::pin(async move {
                            note_signing(OptionFuture::from(signing).await);
                            taking.await
                        }));
                    }
                    Command::Trust(trust) => {
                        if !self.dialler.credentials().trusts(&trust) {
                            // The certificate shall follow before the old authority retires; not all nodes at once.
                            has_new_authority = true;
                            let [jitter] = random::bytes::<1>();
                            look_at = Some(Instant::now() + REKEY_SPREAD * u32::from(jitter) / 255);
                        }
                        self.trust(trust);
                    }
                    Command::Signatures(held) => carried.signing = Some(self.reconciler.signatures(held)),
                    Command::Head(head) => heading = Some(self.countersign(head)),
                    Command::Fault(fault) => warn!(fault.code, error = %fault, "the controller reported a fault"),
                    Command::Close(reason) => {
                        farewell(&mut control).await;
                        return Ok(reason);
                    }
                }
            }
            if carried.acking.is_none()
                && let Some(seq) = carried.ack.take()
            {
                carried.acking = Some(self.outbox.acked(seq));
            }
            if outbox.stream.is_none() && !outbox.queue.is_empty() {
                // There is always room for it among the streams that an agent may open, so this doesn't wait.
                let (send, recv) = connection.open_bi().await?;
                outbox.stream = Some(send);
                outbox_in = Some(recv);
            }
            let due = machine.poll_timeout().map(|at| self.start + at);

            // Every arm is cancel-safe: quinn's reads, single writes, accepts and `closed` take nothing when they are
            // dropped; the futures of work under way are kept outside and only polled here.
            tokio::select! {
                read = chunk(&mut control_in) => self.received(machine, Stream::Control, read, &mut control_in)?,
                read = chunk(&mut outbox_in) => self.received(machine, Stream::Outbox, read, &mut outbox_in)?,
                written = control.write_some() => written_or_lost(written, &mut control)?,
                written = outbox.write_some() => written_or_lost(written, &mut outbox)?,
                accepted = connection.accept_bi() => {
                    let (send, recv) = accepted?;
                    // QUIC bounds how many a controller may open.
                    operations.push(operation::serve(Arc::clone(self.reconciler), send, recv));
                }
                Some(()) = operations.next(), if !operations.is_empty() => {}
                Ok(()) = reports.changed() => machine.handle_outbox(*reports.borrow_and_update()),
                (after, read) = ready(&mut loading) => {
                    let read = read.unwrap_or_else(|fault| {
                        warn!(error = %fault, "the outbox can't be read");
                        Vec::new()
                    });
                    machine.handle_reports(self.start.elapsed(), after, read);
                }
                (generation, hash, taken) = ready(&mut carried.taking) => match taken {
                    Ok(()) => machine.handle_taken(self.start.elapsed(), generation, hash),
                    Err(fault) => {
                        warn!(desired.generation = %generation, error = %fault, "generation {generation} is refused");
                        machine.handle_refused(self.start.elapsed(), fault);
                    }
                },
                done = ready(&mut carried.signing) => note_signing(Some(done)),
                signed = ready(&mut heading) => if let Some(signed) = signed {
                    machine.handle_countersigned(self.start.elapsed(), signed);
                },
                () = changed(&mut facts) => {
                    let gathered = {
                        let look = Arc::clone(self.facts);
                        tokio::task::spawn_blocking(move || look()).await
                    };
                    if let Ok(gathered) = gathered {
                        machine.handle_facts(self.start.elapsed(), gathered);
                    }
                }
                done = ready(&mut carried.acking) => if let Err(fault) = done {
                    // They are sent again after the next start, and dropped there as duplicates.
                    warn!(error = %fault, "acknowledged reports could not be taken out of the outbox");
                },
                done = ready(&mut renewal) => if let Err(error) = done {
                    warn!(error = %Chain(&error), "the certificate could not be renewed; trying again in an hour");
                },
                () = until(look_at) => {
                    look_at = Some(Instant::now() + RENEWAL_LOOK);
                    if renewal.is_none() && (has_new_authority || self.is_renewal_due(welcomed.as_ref())) {
                        let link = LinkHandle::new(Arc::clone(self.dialler));
                        let (connection, tells) = (connection.clone(), std::mem::take(&mut has_new_authority));
                        renewal = Some(Box::pin(async move {
                            renew(link.credentials(), &connection).await?;
                            // Whom a node trusts stands in its hello: one from a new socket tells it, and that it works.
                            if tells && let Err(fault) = link.confirm().await {
                                warn!(error = %fault, "the new authorities could not be told; the next connection does");
                            }
                            Ok(())
                        }));
                    }
                }
                () = until(due) => machine.handle_timeout(self.start.elapsed()),
                () = stopping.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    let message = "the agent stops".to_owned();
                    machine.handle_stop(self.start.elapsed(), Goodbye { reason: GoodbyeReason::Stopping, message });
                }
                error = connection.closed() => return Err(error),
            }
        }
    }

    fn received(
        &self,
        machine: &mut AgentLink,
        stream: Stream,
        read: Result<Option<quinn::Chunk>, quinn::ReadError>,
        recv: &mut Option<RecvStream>,
    ) -> Result<(), ConnectionError> {
        match read {
            Ok(Some(chunk)) => machine.handle_input(self.start.elapsed(), stream, &chunk.bytes),
            Err(quinn::ReadError::ConnectionLost(error)) => return Err(error),
            // Without the controller's half there are no heartbeats: the machine ends it in time.
            Ok(None) | Err(_) => *recv = None,
        }
        Ok(())
    }

    fn welcome(&self, dialled: &Dialled, welcome: Welcome) {
        info!(controller = dialled.controller, name = %welcome.name, "connected");
        self.current.send_replace(Some(dialled.connection.clone()));
        self.status.send_modify(|status| {
            status.connected = Some(dialled.controller.clone());
            status.last_error = None;
            status.sessions += 1;
        });
        let credentials = Arc::clone(self.dialler.credentials());
        // Nobody waits for it: it is a memory.
        drop(tokio::task::spawn_blocking(move || {
            credentials.welcomed(welcome.time, welcome.name.as_str(), &welcome.controllers);
        }));
    }

    fn trust(&self, trust: lampas_wire::Trust) {
        let credentials = Arc::clone(self.dialler.credentials());
        drop(tokio::task::spawn_blocking(move || match credentials.trusted(trust) {
            Ok(()) => info!("the fleet's authorities changed"),
            Err(error) => warn!(error = %Chain(&error), "the fleet's new authorities can't be used"),
        }));
    }

    /// Keeps a head of the audit and signs it; nothing when it can't be kept.
    fn countersign(&self, head: Head) -> BoxFuture<'static, Option<Countersigned>> {
        let kept = self.reconciler.keep_head(head.clone());
        let credentials = Arc::clone(self.dialler.credentials());
        Box::pin(async move {
            let contradicts = match kept.await {
                Ok(contradicts) => contradicts,
                Err(fault) => {
                    debug!(error = %fault, "a head of the audit is not kept");
                    return None;
                }
            };
            let at_ms = clock::now().0;
            let text = head.to_signed_text(credentials.fleet(), credentials.node(), at_ms);
            match credentials.identity().key().sign(text.as_bytes()) {
                Ok(signature) => Some(Countersigned { head, at_ms, signature, contradicts }),
                Err(error) => {
                    warn!(error = %Chain(&error), "a head of the audit can't be signed");
                    None
                }
            }
        })
    }

    /// Judges by the controller's clock.
    fn is_renewal_due(&self, welcomed: Option<&(UnixMs, Instant)>) -> bool {
        welcomed.is_some_and(|(time, at)| {
            let now = time.plus_ms(at.elapsed().as_millis() as i64);
            self.dialler.credentials().identity().is_due(now)
        })
    }
}

/// Waits until what the node says of itself changed.
async fn changed(facts: &mut Option<watch::Receiver<u64>>) {
    match facts {
        Some(receiver) => {
            if receiver.changed().await.is_err() {
                *facts = None;
            }
        }
        None => pending().await,
    }
}

fn note_signing(done: Option<Result<(), Fault>>) {
    if let Some(Err(fault)) = done {
        // They come again with the next connection.
        warn!(error = %fault, "operators' signatures could not be journalled");
    }
}

impl Outgoing {
    /// Writes a part of what waits; never ready when nothing does.
    async fn write_some(&mut self) -> Result<(), WriteError> {
        let (Some(stream), Some(front)) = (&mut self.stream, self.queue.front()) else { return pending().await };
        self.offset += stream.write(&front[self.offset..]).await?;
        if self.offset >= front.len() {
            self.queue.pop_front();
            self.offset = 0;
        }
        Ok(())
    }
}

/// A controller that no longer reads a stream shows as missing answers, which the machine judges.
fn written_or_lost(written: Result<(), WriteError>, out: &mut Outgoing) -> Result<(), ConnectionError> {
    match written {
        Ok(()) => Ok(()),
        Err(WriteError::ConnectionLost(error)) => Err(error),
        Err(error) => {
            debug!(%error, "the controller stopped a stream");
            out.queue.clear();
            out.offset = 0;
            Ok(())
        }
    }
}

/// Lets the last words leave, within a limit.
async fn farewell(control: &mut Outgoing) {
    let leave = async {
        while !control.queue.is_empty() && control.write_some().await.is_ok() {}
        if let Some(stream) = &mut control.stream {
            let _ = stream.finish();
            let _ = stream.stopped().await;
        }
    };
    let _ = timeout(FAREWELL_LIMIT, leave).await;
}

async fn chunk(recv: &mut Option<RecvStream>) -> Result<Option<quinn::Chunk>, quinn::ReadError> {
    match recv {
        Some(recv) => recv.read_chunk(CHUNK, true).await,
        None => pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Waits for work under way and takes it out when it is done; never ready when there is none.
async fn ready<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(future) = work else { return pending().await };
    let value = future.await;
    *work = None;
    value
}

/// Gives a state to the reconciler, and again when it says that the reason may pass.
fn take(reconciler: Arc<dyn Reconciler>, state: NodeDesired) -> Taking {
    Box::pin(async move {
        let (generation, hash) = (state.generation, state.hash);
        // A full disk may last for days; nobody would send the state again before the next connection.
        loop {
            match reconciler.desired(state.clone()).await {
                Err(fault) if fault.retry => {
                    warn!(desired.generation = %generation, error = %fault, "generation {generation} can't be journalled yet");
                    sleep(TAKE_RETRY).await;
                }
                result => return (generation, hash, result),
            }
        }
    })
}

/// Reads the code with which the controller's driver closed.
fn reason_of(code: u64) -> Option<GoodbyeReason> {
    Some(match code {
        0 => GoodbyeReason::Done,
        1 => GoodbyeReason::Stopping,
        2 => GoodbyeReason::Revoked,
        3 => GoodbyeReason::Replaced,
        4 => GoodbyeReason::Moved,
        5 => GoodbyeReason::Misbehaved,
        _ => return None,
    })
}
