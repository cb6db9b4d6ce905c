//! The controller's side of the link. It lives as long as one connection.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use lampas_shared::{
    audit::{Countersigned, Head},
    desired::{Approval, ContentHash, Generation, NodeDesired},
    error::Fault,
    fleet::NodeFacts,
    id::NodeId,
    signature::Signed,
};

use super::{
    CloseReason, HANDSHAKE_LIMIT, Inbound, OPERATION_PING, OPERATION_SILENCE, PROBE_LIMIT, Stream, WINDOW,
    inbound::Item, patience,
};
use crate::{
    codec::encode,
    message::{Goodbye, GoodbyeReason, Hello, Message, Report, Role, Trust, WIRE_VERSION, Welcome, feature},
};

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Write these bytes to a stream that the agent opened.
    Send(Stream, Vec<u8>),
    /// Decide about this agent: [`ControllerLink::handle_welcome`] or [`ControllerLink::handle_close`]. A session with
    /// a greater (epoch, session) takes over from the node's other connections; a probe changes nothing.
    Authorise(Box<Hello>),
    /// Commit this report, then call [`ControllerLink::handle_committed`]. In order; several may be under way.
    Commit(u64, Box<Report>),
    /// The agent is silent for longer than it should be, or is heard again.
    Silent(bool),
    /// What the node says of itself changed.
    Facts(Box<NodeFacts>),
    /// The node countersigned a head of the audit.
    Countersigned(Box<Countersigned>),
    /// A fault that the agent sent, as when it refuses a state: for the record.
    Fault(Fault),
    /// Close the connection.
    Close(CloseReason),
}

/// The machine.
#[derive(Debug)]
pub struct ControllerLink {
    /// Who the certificate says that the peer is.
    peer: NodeId,
    state: State,
    commands: VecDeque<Command>,
    control: Inbound,
    outbox: Inbound,
    since: Duration,
    heard: Duration,
    said: Duration,
    is_silent: bool,
    operations: usize,
    /// When the first of the running operations began.
    asked: Duration,
    ping: u64,
}

#[derive(Debug)]
enum State {
    /// Nothing was said yet.
    Fresh,
    /// `Hello` came; the store is being asked.
    Judging(Box<Hello>),
    /// The agent was welcomed for its session.
    Open(Session),
    /// The agent was welcomed for a probe.
    Probed,
    /// Over.
    Closed,
}

#[derive(Debug)]
struct Session {
    heartbeat: Duration,
    /// What the agent has, or was sent last.
    known: Option<(Generation, ContentHash)>,
    trust: ContentHash,
    received: u64,
    committed: u64,
    /// The reports that are being committed.
    open: VecDeque<u64>,
    /// Whether the agent takes who approved the changes behind a state.
    takes_approvals: bool,
    /// A hash over the signatures that were sent last; nothing before the first.
    signatures: Option<ContentHash>,
}

impl ControllerLink {
    /// Makes the machine of a connection whose certificate names `peer`.
    pub fn new(now: Duration, peer: NodeId) -> Self {
        Self {
            peer,
            state: State::Fresh,
            commands: VecDeque::new(),
            control: Inbound::default(),
            outbox: Inbound::default(),
            since: now,
            heard: now,
            said: now,
            is_silent: false,
            operations: 0,
            asked: now,
            ping: 0,
        }
    }

    /// Takes bytes of a stream.
    pub fn handle_input(&mut self, now: Duration, stream: Stream, bytes: &[u8]) {
        self.heard = now;
        if std::mem::take(&mut self.is_silent) {
            self.commands.push_back(Command::Silent(false));
        }
        self.inbound(stream).push(bytes);
        while !self.is_closed() {
            let result = match self.inbound(stream).next(now) {
                Ok(None) => return,
                Ok(Some(Item::Message(message))) => self.message(now, stream, message),
                Ok(Some(Item::Unknown(fault))) => {
                    self.send(now, Stream::Control, &Message::Fault(fault));
                    Ok(())
                }
                Err(reason) => Err(reason),
            };
            if let Err(reason) = result {
                self.close(now, reason);
            }
        }
    }

    /// Lets the agent in, as [`Command::Authorise`] asked. `welcome.acked` is what is committed of its outbox epoch;
    /// `trust` is sent when the agent's differs.
    pub fn handle_welcome(&mut self, now: Duration, welcome: Welcome, trust: &Trust) {
        let State::Judging(hello) = &self.state else { return };
        let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms));
        let acked = welcome.acked;
        let known = hello.applied;
        let takes_approvals = hello.features & feature::APPROVALS != 0;
        let theirs = hello.trust;
        let role = hello.role;
        self.send(now, Stream::Control, &Message::Welcome(Box::new(welcome)));
        if role == Role::Probe {
            self.state = State::Probed;
            return;
        }
        self.state = State::Open(Session {
            heartbeat,
            known,
            trust: theirs,
            received: acked,
            committed: acked,
            open: VecDeque::new(),
            takes_approvals,
            signatures: None,
        });
        self.handle_trust(now, trust);
    }

    /// Tells the agent whom to trust, unless it does already.
    pub fn handle_trust(&mut self, now: Duration, trust: &Trust) {
        let State::Open(session) = &mut self.state else { return };
        let hash = trust.hash();
        if session.trust != hash {
            session.trust = hash;
            self.send(now, Stream::Control, &Message::Trust(trust.clone()));
        }
    }

    /// Tells the signatures that hold for the node, unless it was told the same on this connection. None are told only
    /// after some were: an agent that knows nothing of them is not asked to.
    pub fn handle_signatures(&mut self, now: Duration, held: Vec<Signed>) {
        let State::Open(session) = &mut self.state else { return };
        if session.signatures.is_none() && held.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        for signed in &held {
            bytes.extend_from_slice(signed.text.as_bytes());
            bytes.extend_from_slice(signed.signature.as_bytes());
        }
        let hash = ContentHash::of(&bytes);
        if session.signatures.replace(hash) != Some(hash) {
            self.send(now, Stream::Control, &Message::Signatures(held));
        }
    }

    /// Shows the node the head of the audit.
    pub fn handle_audit_head(&mut self, now: Duration, head: Head) {
        if self.is_open() {
            self.send(now, Stream::Control, &Message::AuditHead(head));
        }
    }

    /// Pushes a state, unless the agent has it or was sent it.
    pub fn handle_desired(&mut self, now: Duration, state: NodeDesired) {
        let State::Open(session) = &mut self.state else { return };
        let this = (state.generation, state.hash);
        if session.known == Some(this) {
            return;
        }
        let made = state.resources().map(|r| &r.provenance).filter(|_| session.takes_approvals);
        let told = made.filter(|p| p.approval != Approval::Unknown).map(|p| (p.change, p.approval.clone()));
        let told: BTreeMap<u64, Approval> = told.collect();
        match encode(&Message::Desired(Box::new(state))) {
            Ok(bytes) => {
                session.known = Some(this);
                if !told.is_empty() {
                    self.send(now, Stream::Control, &Message::Approvals(told));
                }
                self.said = now;
                self.commands.push_back(Command::Send(Stream::Control, bytes));
            }
            Err(error) => {
                self.commands.push_back(Command::Fault(Fault::lasting("desired.too_large", error.to_string())));
            }
        }
    }

    /// Takes note that everything up to this report is committed, and acknowledges it.
    pub fn handle_committed(&mut self, now: Duration, seq: u64) {
        let State::Open(session) = &mut self.state else { return };
        if seq > session.committed && seq <= session.received {
            session.committed = seq;
            while session.open.pop_front_if(|s| *s <= seq).is_some() {}
            self.send(now, Stream::Outbox, &Message::Ack(seq));
        }
    }

    /// Takes note that an operation began; the agent must be heard within [`OPERATION_SILENCE`] from here on.
    pub fn handle_operation_began(&mut self, now: Duration) {
        if !matches!(self.state, State::Open(_)) {
            return;
        }
        if self.operations == 0 {
            self.asked = now;
        }
        self.operations += 1;
    }

    /// Takes note that an operation ended.
    pub fn handle_operation_ended(&mut self) {
        self.operations = self.operations.saturating_sub(1);
    }

    /// Ends the connection: refuses the agent, or takes its session away.
    pub fn handle_close(&mut self, now: Duration, goodbye: Goodbye) {
        if !self.is_closed() {
            self.close(now, CloseReason::Asked(goodbye));
        }
    }

    /// Acts on what is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        match &self.state {
            State::Closed => {}
            State::Fresh if now >= self.since + HANDSHAKE_LIMIT => self.close(now, CloseReason::Stalled("no hello")),
            // The store owes the answer here, not the peer; the limit keeps the connection from waiting for ever.
            State::Judging(_) if now >= self.since + HANDSHAKE_LIMIT * 2 => {
                let message = "the controller was too busy to let the node in".to_owned();
                self.close(now, CloseReason::Asked(Goodbye { reason: GoodbyeReason::Stopping, message }));
            }
            State::Probed if now >= self.since + PROBE_LIMIT => {
                let message = "a probe ends after its welcome".to_owned();
                self.close(now, CloseReason::Asked(Goodbye { reason: GoodbyeReason::Done, message }));
            }
            State::Open(session) => {
                if now >= self.heard + patience(session.heartbeat) + session.heartbeat {
                    self.close(now, CloseReason::Stalled("silent for longer than it should be"));
                    return;
                }
                if !self.is_silent && now >= self.silent_at(session) {
                    self.is_silent = true;
                    self.commands.push_back(Command::Silent(true));
                }
                if self.operations > 0 && now >= self.ping_at() {
                    self.ping += 1;
                    self.send(now, Stream::Control, &Message::Ping(self.ping));
                }
            }
            _ => {}
        }
    }

    /// Returns when [`ControllerLink::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Duration> {
        match &self.state {
            State::Fresh => Some(self.since + HANDSHAKE_LIMIT),
            State::Judging(_) => Some(self.since + HANDSHAKE_LIMIT * 2),
            State::Probed => Some(self.since + PROBE_LIMIT),
            State::Open(session) => {
                let mut due = self.heard + patience(session.heartbeat) + session.heartbeat;
                if !self.is_silent {
                    due = due.min(self.silent_at(session));
                }
                if self.operations > 0 {
                    due = due.min(self.ping_at());
                }
                Some(due)
            }
            State::Closed => None,
        }
    }

    /// Returns the next effect.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Returns whether the agent was let in for a session and is still there.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Returns whether it is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Returns how many bytes and reports the machine holds.
    pub fn held(&self) -> (usize, usize) {
        let queued = self.commands.iter().map(|c| if let Command::Send(_, bytes) = c { bytes.len() } else { 0 });
        let reports = if let State::Open(session) = &self.state { session.open.len() } else { 0 };
        (queued.sum::<usize>() + self.control.buffered() + self.outbox.buffered(), reports)
    }

    /// With an operation under way, silence counts from its beginning, and briefly; else by heartbeats.
    fn silent_at(&self, session: &Session) -> Duration {
        let idle = self.heard + patience(session.heartbeat);
        if self.operations > 0 { idle.min(self.heard.max(self.asked) + OPERATION_SILENCE) } else { idle }
    }

    fn ping_at(&self) -> Duration {
        self.said.max(self.asked) + OPERATION_PING
    }

    fn message(&mut self, now: Duration, stream: Stream, message: Message) -> Result<(), CloseReason> {
        match (&mut self.state, stream, message) {
            (State::Fresh, Stream::Control, Message::Hello(hello)) => {
                if hello.node != self.peer {
                    let what = format!("the certificate names node {}, the hello node {}", self.peer, hello.node);
                    return Err(CloseReason::Lied(what));
                }
                if !(hello.oldest_version..=hello.newest_version).contains(&WIRE_VERSION) {
                    let message = format!(
                        "the agent speaks wire versions {} to {}, the controller {WIRE_VERSION}: upgrade the older of them",
                        hello.oldest_version, hello.newest_version
                    );
                    return Err(CloseReason::Asked(Goodbye { reason: GoodbyeReason::Moved, message }));
                }
                self.state = State::Judging(hello.clone());
                self.commands.push_back(Command::Authorise(hello));
            }
            (State::Open(session), Stream::Outbox, Message::Report { seq, report }) => {
                if seq <= session.received {
                    // Seen before; the answer may have been lost.
                    let committed = session.committed;
                    self.send(now, Stream::Outbox, &Message::Ack(committed));
                    return Ok(());
                }
                if session.open.len() >= WINDOW {
                    return Err(CloseReason::Flooded("more reports than the window holds"));
                }
                session.received = seq;
                session.open.push_back(seq);
                self.commands.push_back(Command::Commit(seq, report));
            }
            (State::Open(_), Stream::Control, Message::Ping(nonce)) => {
                self.send(now, Stream::Control, &Message::Pong(nonce));
            }
            (State::Open(_), Stream::Control, Message::Pong(_)) => {}
            (State::Open(_), Stream::Control, Message::Facts(facts)) => self.commands.push_back(Command::Facts(facts)),
            (State::Open(_), Stream::Control, Message::Countersigned(signed)) => {
                self.commands.push_back(Command::Countersigned(signed));
            }
            (State::Open(_), _, Message::Fault(fault)) => self.commands.push_back(Command::Fault(fault)),
            (_, _, Message::Goodbye(goodbye)) => return Err(CloseReason::PeerLeft(goodbye)),
            (_, stream, message) => {
                return Err(CloseReason::Lied(format!(
                    "{:?} is out of place on the {stream:?} stream",
                    message.kind()
                )));
            }
        }
        Ok(())
    }

    fn inbound(&mut self, stream: Stream) -> &mut Inbound {
        match stream {
            Stream::Control => &mut self.control,
            Stream::Outbox => &mut self.outbox,
        }
    }

    fn send(&mut self, now: Duration, stream: Stream, message: &Message) {
        // States alone can be too long, and they don't come through here.
        if let Ok(bytes) = encode(message) {
            self.said = now;
            self.commands.push_back(Command::Send(stream, bytes));
        }
    }

    fn close(&mut self, now: Duration, reason: CloseReason) {
        let goodbye = match &reason {
            CloseReason::Asked(goodbye) => Some(goodbye.clone()),
            CloseReason::PeerLeft(_) => None,
            other => Some(Goodbye { reason: GoodbyeReason::Misbehaved, message: other.to_string() }),
        };
        if let Some(goodbye) = goodbye {
            self.send(now, Stream::Control, &Message::Goodbye(goodbye));
        }
        self.state = State::Closed;
        self.commands.push_back(Command::Close(reason));
    }
}
