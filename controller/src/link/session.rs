//! One normal link: feeds the machine with bytes and time, and carries out its commands.
//!
//! The task never waits for one thing alone: reading, writing, the store and the others' calls are arms of one loop, so
//! a peer that doesn't read still gets its pings counted, and a close is never late.

mod pipe;
mod request;

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use lampas_runtime::{
    clock,
    identity::{self, CertInfo},
    random,
};
use lampas_shared::{
    audit::{Countersigned, Head},
    error::{Chain, Fault},
    fleet::{NodeFacts, NodePause, NodePolicy},
    id::NodeId,
};
use lampas_wire::{
    Goodbye, GoodbyeReason, Hello, Report, Role, Welcome, feature,
    link::{
        CloseReason, Stream,
        controller::{Command, ControllerLink},
        heartbeat,
    },
};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use self::{
    pipe::{Pipe, read, write},
    request::serve_stream,
};
use super::{
    registry::{Claim, Entry, Handle},
    server::Shared,
    source::{FENCED, Member, Presence, Wanted},
};

/// How long the last words may take to leave.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(300);

/// The first pause before a state that could not be fetched is fetched again; doubled by jitter.
const FETCH_PAUSE: Duration = Duration::from_secs(1);

/// How often a node is shown the head of the audit: what is rewritten within that time before it was shown is not found.
const HEAD_EVERY: Duration = Duration::from_secs(300);

/// How many nodes are shown the head within a second after they all connected.
const HEADS_PER_SECOND: u64 = 100;

/// Returns when a node that has just connected is shown the first head: a fleet that comes back signs in turns.
fn first_head(nodes: usize) -> Duration {
    let [a, b] = random::bytes::<2>();
    let spread = 200 + 1000 * nodes as u64 / HEADS_PER_SECOND;
    Duration::from_millis(100 + spread * u64::from(u16::from_le_bytes([a, b])) / u64::from(u16::MAX))
}

/// Bytes that wait for a peer that doesn't read: one state of the greatest size and some answers.
const UNREAD_MAX: usize = 20 << 20;

/// Serves a connection until it ends.
pub(super) async fn serve(shared: Arc<Shared>, connection: Connection, node: NodeId, cert: CertInfo) {
    let handle = Handle::new(connection.clone());
    let machine = ControllerLink::new(shared.now(), node);
    let mut driver = Driver {
        shared: Arc::clone(&shared),
        node,
        cert,
        handle: Arc::clone(&handle),
        machine,
        control: Pipe::default(),
        outbox: Pipe::default(),
        hello: None,
        judging: None,
        fetching: None,
        fetch_at: None,
        submitting: None,
        reports: Vec::new(),
        is_session: false,
        head_at: None,
        heading: None,
        shown_head: None,
    };
    let reason = driver.run(&connection).await;
    let is_session = driver.is_session;
    drop(driver);
    if is_session && shared.gate.registry.leave(&shared.gate.claims, node, &handle) {
        info!(node.id = %node, reason, "a node disconnected");
        shared.board.add(Presence::Disconnected { node, session: handle.session(), reason, at: clock::now() });
    }
}

/// What the store says about a node that said hello.
struct Judged {
    member: Result<Option<Member>, Fault>,
    acked: Result<u64, Fault>,
    began: Instant,
}

type Fetched = Result<Wanted, Fault>;

struct Driver {
    shared: Arc<Shared>,
    node: NodeId,
    cert: CertInfo,
    handle: Arc<Handle>,
    machine: ControllerLink,
    control: Pipe,
    outbox: Pipe,
    hello: Option<Box<Hello>>,
    judging: Option<BoxFuture<'static, Judged>>,
    fetching: Option<BoxFuture<'static, Fetched>>,
    /// When the desired state is to be asked for.
    fetch_at: Option<Instant>,
    submitting: Option<BoxFuture<'static, Result<u64, Fault>>>,
    /// Reports that wait for the submission before them.
    reports: Vec<(u64, Report)>,
    is_session: bool,
    /// When the head of the audit is to be shown next.
    head_at: Option<Instant>,
    heading: Option<BoxFuture<'static, Result<Option<Head>, Fault>>>,
    /// The head that was shown last.
    shown_head: Option<Head>,
}

async fn maybe<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(running) => {
            let output = running.await;
            *future = None;
            output
        }
        None => pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

impl Driver {
    /// Returns why it ended.
    async fn run(&mut self, connection: &Connection) -> String {
        let stopping = self.shared.tasks.stopping();
        loop {
            if let Some(reason) = self.carry_out() {
                self.last_words(connection, &reason).await;
                return reason.to_string();
            }
            self.start_work();
            let due = self.machine.poll_timeout().map(|at| self.shared.instant(at));
            let may_fetch = self.fetching.is_none() && self.control.unread() == 0 && self.machine.is_open();
            let fetch_at = self.fetch_at.filter(|_| may_fetch);
            let head_at = self.head_at.filter(|_| self.heading.is_none() && self.machine.is_open());
            let handle = Arc::clone(&self.handle);
            // Every arm is cancel-safe: QUIC streams and the accept queue keep what is not taken, the boxed futures
            // live in `self`, and calls stay in the inbox.
            tokio::select! {
                chunk = read(&mut self.control.recv) => match chunk {
                    Ok(Some(chunk)) => self.machine.handle_input(self.shared.now(), Stream::Control, &chunk.bytes),
                    Ok(None) => return Self::ended(connection, "the agent ended the control stream"),
                    Err(error) => return Self::ended(connection, &Chain(&error).to_string()),
                },
                chunk = read(&mut self.outbox.recv) => match chunk {
                    Ok(Some(chunk)) => self.machine.handle_input(self.shared.now(), Stream::Outbox, &chunk.bytes),
                    Ok(None) => return Self::ended(connection, "the agent ended the outbox stream"),
                    Err(error) => return Self::ended(connection, &Chain(&error).to_string()),
                },
                count = write(&mut self.control.send, &self.control.waiting[self.control.written..]) => match count {
                    Ok(count) => self.control.wrote(count),
                    Err(error) => return Self::ended(connection, &Chain(&error).to_string()),
                },
                count = write(&mut self.outbox.send, &self.outbox.waiting[self.outbox.written..]) => match count {
                    Ok(count) => self.outbox.wrote(count),
                    Err(error) => return Self::ended(connection, &Chain(&error).to_string()),
                },
                stream = connection.accept_bi() => match stream {
                    Ok((send, recv)) if self.control.send.is_none() => self.control.open(send, recv),
                    Ok((send, recv)) => self.spawn_stream(send, recv),
                    Err(error) => return Chain(&error).to_string(),
                },
                () = handle.called.notified() => self.called(),
                judged = maybe(&mut self.judging) => self.judged(judged),
                fetched = maybe(&mut self.fetching) => self.fetched(fetched),
                submitted = maybe(&mut self.submitting) => self.submitted(submitted),
                head = maybe(&mut self.heading) => self.headed(head),
                () = until(head_at) => {
                    self.head_at = Some(Instant::now() + HEAD_EVERY);
                    let source = Arc::clone(&self.shared.parts.source);
                    self.heading = Some(async move { source.audit_head().await }.boxed());
                }
                () = until(due) => self.machine.handle_timeout(self.shared.now()),
                () = until(fetch_at) => self.fetch(),
                () = stopping.cancelled(), if !self.machine.is_closed() => {
                    let message = "the controller stops".to_owned();
                    let goodbye = Goodbye { reason: GoodbyeReason::Stopping, message };
                    self.machine.handle_close(self.shared.now(), goodbye);
                }
            }
        }
    }

    /// Carries out the machine's commands. Returns why the connection shall end.
    fn carry_out(&mut self) -> Option<CloseReason> {
        while let Some(command) = self.machine.poll_command() {
            match command {
                Command::Send(stream, bytes) => {
                    let pipe = match stream {
                        Stream::Control => &mut self.control,
                        Stream::Outbox => &mut self.outbox,
                    };
                    pipe.push(bytes);
                    if pipe.unread() > UNREAD_MAX {
                        return Some(CloseReason::Stalled("it does not read"));
                    }
                }
                Command::Authorise(hello) => self.judge(hello),
                Command::Commit(seq, report) => self.reports.push((seq, *report)),
                Command::Silent(is_stale) => {
                    self.handle.stale.send_replace(is_stale);
                    self.heard(is_stale);
                }
                Command::Facts(facts) => self.told(&facts),
                Command::Countersigned(signed) => self.countersigned(*signed),
                Command::Fault(fault) => {
                    warn!(node.id = %self.node, fault.code, "a node refused what it was sent: {fault}");
                    if self.is_session && fault.code.starts_with("desired.") {
                        self.shared.board.add(Presence::Declined { node: self.node, fault, at: clock::now() });
                    }
                }
                Command::Close(reason) => return Some(reason),
            }
        }
        None
    }

    /// Takes note of what a node says of itself while it is connected.
    fn told(&mut self, facts: &NodeFacts) {
        if self.is_session {
            let facts = Box::new(bounded(facts));
            self.shared.board.add(Presence::Facts { node: self.node, facts, at: clock::now() });
        }
    }

    /// Takes a head of the audit that the node signed, if it was shown it here and the signature holds.
    fn countersigned(&mut self, signed: Countersigned) {
        let Some(shown) = self.shown_head.as_ref().filter(|head| **head == signed.head) else {
            debug!(node.id = %self.node, "a node countersigned a head that it was not shown");
            return;
        };
        let text = shown.to_signed_text(self.shared.fleet, self.node, signed.at_ms);
        let chain = lampas_runtime::quic::peer_chain(&self.handle.connection);
        let key = chain.first().and_then(|leaf| identity::verify_signature(leaf, text.as_bytes(), &signed.signature));
        let Some(key) = key else {
            warn!(node.id = %self.node, "a node's signature under the head of the audit does not hold");
            return;
        };
        if let Some(earlier) = &signed.contradicts {
            error!(
                node.id = %self.node, earlier.seq = earlier.seq, seq = signed.head.seq,
                "a node was shown another audit before: entries were taken away or replaced"
            );
        }
        self.shared.board.add(Presence::Countersigned {
            node: self.node,
            signed: Box::new(signed),
            key,
            at: clock::now(),
        });
    }

    fn start_work(&mut self) {
        // Until the session is recorded, reports wait: nobody could tell them from those of an older session.
        if self.submitting.is_none()
            && !self.reports.is_empty()
            && let Some(session) = self.handle.session()
        {
            let reports = std::mem::take(&mut self.reports);
            let (source, node) = (Arc::clone(&self.shared.parts.source), self.node);
            let epoch = self.hello.as_ref().map_or(0, |h| h.outbox_epoch);
            self.submitting = Some(async move { source.submit(node, session, epoch, reports).await }.boxed());
        }
    }

    fn judge(&mut self, hello: Box<Hello>) {
        let parts = self.shared.parts.clone();
        let (node, serial, epoch) = (self.node, self.cert.serial.clone(), hello.outbox_epoch);
        let began = Instant::now();
        self.hello = Some(hello);
        self.judging = Some(
            async move {
                let member = parts.members.member(node, &serial).await;
                let acked = parts.source.acked(node, epoch).await;
                Judged { member, acked, began }
            }
            .boxed(),
        );
    }

    fn judged(&mut self, judged: Judged) {
        let now = self.shared.now();
        let Some(hello) = self.hello.as_deref() else { return };
        let bye = |reason, message: &str| Goodbye { reason, message: message.to_owned() };
        let (member, acked) = match (judged.member, judged.acked) {
            (Ok(Some(member)), Ok(acked)) if !member.is_revoked => (member, acked),
            (Ok(_), Ok(_)) => {
                self.refused("the node was revoked or is not of this fleet");
                let message = "this node was revoked or removed; it needs a new enrolment token";
                return self.machine.handle_close(now, bye(GoodbyeReason::Revoked, message));
            }
            (Err(fault), _) | (_, Err(fault)) => {
                warn!(node.id = %self.node, error = %fault, "the store could not say whether a node may connect");
                let message = "the controller's store does not answer";
                return self.machine.handle_close(now, bye(GoodbyeReason::Stopping, message));
            }
        };
        if hello.trust.to_string() != member.trust {
            self.shared.board.add(Presence::Trusts { node: self.node, trust: hello.trust });
        }
        let observes = hello.features & feature::OBSERVES != 0;
        if hello.role == Role::Session && observes != member.observes {
            self.shared.board.add(Presence::Mode { node: self.node, observes });
        }
        if hello.role == Role::Session {
            let claim = Claim {
                epoch: hello.outbox_epoch,
                session: hello.session,
                machine: hello.facts.machine.chars().take(128).collect(),
            };
            if member.is_elsewhere && !member.machine.is_empty() && member.machine != claim.machine {
                self.refused(
                    "another machine with the same identity is connected to another controller: one of them is a clone",
                );
                let message = "another machine with this identity is connected; enrol this one by itself";
                return self.machine.handle_close(now, bye(GoodbyeReason::Misbehaved, message));
            }
            let gate = &self.shared.gate;
            match gate.registry.enter(&gate.claims, self.node, claim, &self.handle, judged.began) {
                Entry::In => {}
                Entry::Outdated => {
                    let message = "a later connection of this node is there";
                    return self.machine.handle_close(now, bye(GoodbyeReason::Replaced, message));
                }
                Entry::Clone => {
                    self.refused("another machine with the same identity is connected: one of them is a clone");
                    let message = "another machine with this identity is connected; enrol this one by itself";
                    return self.machine.handle_close(now, bye(GoodbyeReason::Misbehaved, message));
                }
                Entry::Closed => {
                    return self.machine.handle_close(now, bye(GoodbyeReason::Revoked, "this node was revoked"));
                }
            }
            self.is_session = true;
            let facts = Box::new(bounded(&hello.facts));
            let address = self.handle.connection.remote_address().to_string();
            info!(node.id = %self.node, node.name = %member.name, peer = address, "a node connected");
            let connection = self.handle.number;
            self.shared.board.add(Presence::Connected {
                node: self.node,
                connection,
                address,
                facts,
                at: clock::now(),
            });
            self.fetch_at = Some(Instant::now());
            self.head_at = Some(Instant::now() + first_head(self.shared.parts.members.size()));
        }
        let welcome = Welcome {
            controller: self.shared.controller,
            fleet: self.shared.fleet,
            name: member.name,
            time: clock::now(),
            heartbeat_ms: heartbeat(self.shared.parts.members.size()).as_millis() as u32,
            acked,
            controllers: self.shared.controllers.clone(),
        };
        self.machine.handle_welcome(now, welcome, &self.shared.trust());
    }

    /// Shows the node the head of the audit, unless it was shown it.
    fn headed(&mut self, head: Result<Option<Head>, Fault>) {
        match head {
            Ok(Some(head)) if self.shown_head.as_ref() != Some(&head) => {
                self.machine.handle_audit_head(self.shared.now(), head.clone());
                self.shown_head = Some(head);
            }
            Ok(_) => {}
            Err(fault) => debug!(node.id = %self.node, error = %fault, "the head of the audit could not be read"),
        }
    }

    /// Records whether the node is silent; before the session is recorded there is nothing to put that to.
    fn heard(&self, is_stale: bool) {
        if let Some(session) = self.handle.session().filter(|_| self.is_session) {
            self.shared.board.add(Presence::Heard { node: self.node, session, is_stale, at: clock::now() });
        }
    }

    fn refused(&self, reason: &str) {
        warn!(node.id = %self.node, reason, "a node was refused");
        self.shared.board.add(Presence::Refused {
            node: Some(self.node),
            address: self.handle.connection.remote_address().to_string(),
            reason: reason.to_owned(),
            at: clock::now(),
        });
    }

    fn called(&mut self) {
        let inbox = self.handle.take();
        let now = self.shared.now();
        (0..inbox.began).for_each(|_| self.machine.handle_operation_began(now));
        (0..inbox.ended).for_each(|_| self.machine.handle_operation_ended());
        if inbox.wake {
            self.fetch_at = Some(Instant::now());
        }
        if inbox.recorded && *self.handle.stale.borrow() {
            self.heard(true);
        }
        if inbox.trust {
            self.machine.handle_trust(now, &self.shared.trust());
        }
        if let Some((send, recv, head)) = inbox.outbox {
            if self.outbox.send.is_some() {
                let message = "two outbox streams".to_owned();
                self.machine.handle_close(now, Goodbye { reason: GoodbyeReason::Misbehaved, message });
                return;
            }
            self.outbox.open(send, recv);
            self.machine.handle_input(now, Stream::Outbox, &head);
        }
        if let Some(goodbye) = inbox.close {
            self.machine.handle_close(now, goodbye);
        }
    }

    fn fetch(&mut self) {
        self.fetch_at = None;
        let (source, pushes, node) =
            (Arc::clone(&self.shared.parts.source), Arc::clone(&self.shared.pushes), self.node);
        self.fetching = Some(
            async move {
                let _turn = pushes.acquire().await.expect("the semaphore is never closed");
                source.wanted(node).await
            }
            .boxed(),
        );
    }

    fn fetched(&mut self, fetched: Fetched) {
        match fetched {
            Ok(Wanted { desired, signatures }) => {
                // What is signed comes before what needs it.
                self.machine.handle_signatures(self.shared.now(), signatures);
                if let Some(state) = desired {
                    self.machine.handle_desired(self.shared.now(), state);
                }
            }
            Err(fault) => {
                warn!(node.id = %self.node, error = %fault, "a desired state could not be fetched; trying again");
                let [jitter] = random::bytes::<1>();
                self.fetch_at = Some(Instant::now() + FETCH_PAUSE + FETCH_PAUSE * u32::from(jitter) / 255);
            }
        }
    }

    fn submitted(&mut self, submitted: Result<u64, Fault>) {
        let now = self.shared.now();
        match submitted {
            Ok(seq) => self.machine.handle_committed(now, seq),
            Err(fault) if fault.code == FENCED => {
                let message = "a later connection of this node took over".to_owned();
                self.machine.handle_close(now, Goodbye { reason: GoodbyeReason::Replaced, message });
            }
            Err(fault) => {
                // What was not acknowledged comes again with the next connection, in order.
                warn!(node.id = %self.node, error = %fault, "reports could not be committed");
                let message = "the controller could not commit reports".to_owned();
                self.machine.handle_close(now, Goodbye { reason: GoodbyeReason::Stopping, message });
            }
        }
    }

    /// Serves a stream that is not the control stream: it is sorted by its first frame.
    fn spawn_stream(&self, send: SendStream, recv: RecvStream) {
        if !self.is_session {
            // Before the welcome, and on a probe, there is nothing to ask for: dropping them resets the stream.
            return;
        }
        let (shared, handle, node, cert) =
            (Arc::clone(&self.shared), Arc::clone(&self.handle), self.node, self.cert.clone());
        self.shared.tasks.spawn("stream", async move {
            if let Err(error) = serve_stream(&shared, &handle, node, cert, send, recv).await {
                debug!(node.id = %node, error = %Chain(&error), "a stream failed");
            }
        });
    }

    fn ended(connection: &Connection, why: &str) -> String {
        let reason = connection.close_reason().map_or_else(|| why.to_owned(), |reason| Chain(&reason).to_string());
        connection.close(VarInt::from_u32(18), why.as_bytes());
        reason
    }

    /// Writes what the machine said last, and closes.
    async fn last_words(&mut self, connection: &Connection, reason: &CloseReason) {
        let rest = self.control.waiting.split_off(self.control.written);
        if let Some(send) = &mut self.control.send {
            let said = async {
                if send.write_all(&rest).await.is_ok() && send.finish().is_ok() {
                    // Resolves when the peer has it all.
                    let _ = send.stopped().await;
                }
            };
            let _ = timeout(LAST_WORDS_LIMIT, said).await;
        }
        connection.close(VarInt::from_u32(reason.code()), reason.to_string().as_bytes());
    }
}

/// Facts are a node's own words: they are cut to what can be true.
fn bounded(facts: &NodeFacts) -> NodeFacts {
    let cut = |text: &str, max: usize| text.chars().filter(|c| !c.is_control()).take(max).collect::<String>();
    NodeFacts {
        hostname: cut(&facts.hostname, 253),
        os: cut(&facts.os, 128),
        kernel: cut(&facts.kernel, 128),
        architecture: cut(&facts.architecture, 32),
        time_zone: cut(&facts.time_zone, 64),
        agent_version: cut(&facts.agent_version, 64),
        machine: cut(&facts.machine, 128),
        root: cut(&facts.root, 1024),
        addresses: facts.addresses.iter().take(64).map(|a| cut(a, 64)).collect(),
        policy: facts.policy.as_ref().map(|policy| NodePolicy {
            malformed: cut(&policy.malformed, 256),
            deny_paths: policy.deny_paths.iter().take(16).map(|p| cut(p, 256)).collect(),
            signers: policy.signers.iter().take(16).map(|s| cut(s, 256)).collect(),
            ..policy.clone()
        }),
        pause: facts.pause.as_ref().map(|pause| NodePause { reason: cut(&pause.reason, 256), ..pause.clone() }),
        ..*facts
    }
}
