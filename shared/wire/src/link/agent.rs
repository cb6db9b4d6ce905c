//! The agent's side of the link. It lives as long as the agent's outbox epoch, over all its connections.

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

use super::{ACK_LIMIT, CloseReason, HANDSHAKE_LIMIT, Inbound, Stream, WINDOW, WINDOW_BYTES, inbound::Item, patience};
use crate::{
    codec::encode,
    message::{Goodbye, GoodbyeReason, Hello, Message, Report, Trust, Welcome},
};

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Write these bytes to a stream; open it first if it isn't open.
    Send(Stream, Vec<u8>),
    /// The handshake is done: remember time, name, controllers and fleet.
    Welcomed(Box<Welcome>),
    /// Read at most this many reports after this number and give both to [`AgentLink::handle_reports`], an empty list
    /// too.
    Load {
        /// The number after which to read.
        after: u64,
        /// How many at most.
        limit: usize,
    },
    /// The controller has committed everything up to this number: let go of it.
    Acked(u64),
    /// Journal this state, then call [`AgentLink::handle_taken`] or [`AgentLink::handle_refused`]. One at a time.
    Take(Box<NodeDesired>),
    /// Trust these authorities from here on.
    Trust(Trust),
    /// Journal these signatures, in place of those before, and before the state that follows.
    Signatures(Vec<Signed>),
    /// Keep this head of the audit, then call [`AgentLink::handle_countersigned`].
    Head(Head),
    /// A fault that the controller sent: for the log.
    Fault(Fault),
    /// Close the connection; the machine has forgotten it already.
    Close(CloseReason),
}

/// The machine.
#[derive(Debug)]
pub struct AgentLink {
    node: NodeId,
    current: Option<(Generation, ContentHash)>,
    /// The number of the last report that a controller has committed in this epoch.
    acked: u64,
    /// The number of the last report that is in the outbox, as far as is known.
    last: u64,
    /// The greatest number that ever went out.
    sent_ever: u64,
    is_taking: bool,
    commands: VecDeque<Command>,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    control: Inbound,
    outbox: Inbound,
    since: Duration,
    heard: Duration,
    said: Duration,
    heartbeat: Option<Duration>,
    /// Numbers and sizes of the reports that are on their way.
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
    sent: u64,
    progress: Duration,
    is_loading: bool,
    /// Who approved the changes behind the next state.
    approvals: BTreeMap<u64, Approval>,
    /// The latest state that came while another was being journalled.
    next: Option<Box<NodeDesired>>,
    ping: u64,
}

impl AgentLink {
    /// Makes the machine of a node whose journal holds `current`.
    pub fn new(node: NodeId, current: Option<(Generation, ContentHash)>) -> Self {
        Self {
            node,
            current,
            acked: 0,
            last: 0,
            sent_ever: 0,
            is_taking: false,
            commands: VecDeque::new(),
            connection: None,
        }
    }

    /// Takes note that a connection stands, and begins the handshake on it.
    pub fn handle_connected(&mut self, now: Duration, mut hello: Hello) {
        hello.node = self.node;
        hello.applied = self.current;
        self.connection = Some(Connection {
            control: Inbound::default(),
            outbox: Inbound::default(),
            since: now,
            heard: now,
            said: now,
            heartbeat: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            sent: self.acked,
            progress: now,
            is_loading: false,
            approvals: BTreeMap::new(),
            next: None,
            ping: 0,
        });
        self.send(now, Stream::Control, &Message::Hello(Box::new(hello)));
    }

    /// Takes note that the connection is gone.
    pub fn handle_lost(&mut self) {
        self.connection = None;
        // What was to be sent or read for it has no meaning on the next one.
        self.commands.retain(|c| !matches!(c, Command::Send(..) | Command::Load { .. } | Command::Close(_)));
    }

    /// Takes bytes of a stream.
    pub fn handle_input(&mut self, now: Duration, stream: Stream, bytes: &[u8]) {
        let Some(connection) = &mut self.connection else { return };
        connection.heard = now;
        connection.inbound(stream).push(bytes);
        while let Some(connection) = &mut self.connection {
            let result = match connection.inbound(stream).next(now) {
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

    /// Takes note that the outbox holds reports up to this number.
    pub fn handle_outbox(&mut self, last: u64) {
        self.last = self.last.max(last);
        self.refill();
    }

    /// Takes the reports that [`Command::Load`] asked for, in order, with the number after which they were read. An
    /// answer to another connection's question is left aside: what stands between would be skipped.
    pub fn handle_reports(&mut self, now: Duration, after: u64, reports: Vec<(u64, Report)>) {
        let Some(connection) = &mut self.connection else { return };
        if !connection.is_loading || after != connection.sent {
            return;
        }
        connection.is_loading = false;
        if reports.is_empty() {
            // What was announced is gone: dropped as stale, or acknowledged meanwhile.
            self.last = self.last.min(connection.sent);
        }
        for (seq, report) in reports {
            let Some(connection) = &mut self.connection else { return };
            let full = connection.in_flight.len() >= WINDOW
                || (connection.in_flight_bytes >= WINDOW_BYTES && !connection.in_flight.is_empty());
            if full {
                self.last = self.last.max(seq);
                break;
            }
            let bytes = report_bytes(seq, report);
            if connection.in_flight.is_empty() {
                connection.progress = now;
            }
            connection.sent = seq;
            self.sent_ever = self.sent_ever.max(seq);
            connection.in_flight.push_back((seq, bytes.len()));
            connection.in_flight_bytes += bytes.len();
            connection.said = now;
            self.commands.push_back(Command::Send(Stream::Outbox, bytes));
            self.last = self.last.max(seq);
        }
        self.refill();
    }

    /// Takes note that the state of [`Command::Take`] is in the journal.
    pub fn handle_taken(&mut self, now: Duration, generation: Generation, hash: ContentHash) {
        self.current = self.current.max(Some((generation, hash)));
        self.take_next(now);
    }

    /// Takes note that the state of [`Command::Take`] was refused, and tells the controller.
    pub fn handle_refused(&mut self, now: Duration, fault: Fault) {
        self.send(now, Stream::Control, &Message::Fault(fault));
        self.take_next(now);
    }

    /// Tells the controller what the node says of itself from here on.
    pub fn handle_facts(&mut self, now: Duration, facts: NodeFacts) {
        if self.is_established() {
            self.send(now, Stream::Control, &Message::Facts(Box::new(facts)));
        }
    }

    /// Gives the controller a countersigned head.
    pub fn handle_countersigned(&mut self, now: Duration, signed: Countersigned) {
        if self.is_established() {
            self.send(now, Stream::Control, &Message::Countersigned(Box::new(signed)));
        }
    }

    /// Ends the connection in order.
    pub fn handle_stop(&mut self, now: Duration, goodbye: Goodbye) {
        self.close(now, CloseReason::Asked(goodbye));
    }

    /// Acts on what is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        let Some(connection) = &self.connection else { return };
        let Some(heartbeat) = connection.heartbeat else {
            if now >= connection.since + HANDSHAKE_LIMIT {
                self.close(now, CloseReason::Stalled("no welcome"));
            }
            return;
        };
        if now >= connection.heard + patience(heartbeat) {
            self.close(now, CloseReason::Stalled("silent for longer than it should be"));
        } else if !connection.in_flight.is_empty() && now >= connection.progress + ACK_LIMIT {
            self.close(now, CloseReason::Stalled("reports were not acknowledged"));
        } else if now >= connection.said + heartbeat {
            let nonce = connection.ping + 1;
            self.send(now, Stream::Control, &Message::Ping(nonce));
            if let Some(connection) = &mut self.connection {
                connection.ping = nonce;
            }
        }
    }

    /// Returns when [`AgentLink::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let connection = self.connection.as_ref()?;
        let Some(heartbeat) = connection.heartbeat else { return Some(connection.since + HANDSHAKE_LIMIT) };
        let due = (connection.heard + patience(heartbeat)).min(connection.said + heartbeat);
        Some(if connection.in_flight.is_empty() { due } else { due.min(connection.progress + ACK_LIMIT) })
    }

    /// Returns the next effect.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Returns whether the handshake is done and the connection stands.
    pub fn is_established(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.heartbeat.is_some())
    }

    /// Returns the state that the journal holds, as far as the link knows.
    pub fn current(&self) -> Option<(Generation, ContentHash)> {
        self.current
    }

    /// Returns how many bytes the machine holds for its connection.
    pub fn held_bytes(&self) -> usize {
        let queued = self.commands.iter().map(|c| if let Command::Send(_, bytes) = c { bytes.len() } else { 0 });
        let inbound = self.connection.as_ref().map_or(0, |c| c.control.buffered() + c.outbox.buffered());
        queued.sum::<usize>() + inbound
    }

    fn message(&mut self, now: Duration, stream: Stream, message: Message) -> Result<(), CloseReason> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match (stream, connection.heartbeat.is_some(), message) {
            (Stream::Control, false, Message::Welcome(welcome)) => return self.welcome(welcome),
            (_, _, Message::Goodbye(goodbye)) => return Err(CloseReason::PeerLeft(goodbye)),
            (_, false, Message::Fault(fault)) => return Err(CloseReason::Refused(fault)),
            (_, true, Message::Fault(fault)) => self.commands.push_back(Command::Fault(fault)),
            (Stream::Control, true, Message::Desired(state)) => self.desired(now, state)?,
            (Stream::Control, true, Message::Ping(nonce)) => self.send(now, Stream::Control, &Message::Pong(nonce)),
            (Stream::Control, true, Message::Pong(_)) => {}
            (Stream::Control, true, Message::Trust(trust)) => self.commands.push_back(Command::Trust(trust)),
            (Stream::Control, true, Message::Signatures(held)) => {
                self.commands.push_back(Command::Signatures(held));
            }
            (Stream::Control, true, Message::Approvals(said)) => connection.approvals = said,
            (Stream::Control, true, Message::AuditHead(head)) => self.commands.push_back(Command::Head(head)),
            (Stream::Outbox, true, Message::Ack(seq)) => return self.ack(now, seq),
            (stream, _, message) => {
                return Err(CloseReason::Lied(format!(
                    "{:?} is out of place on the {stream:?} stream",
                    message.kind()
                )));
            }
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: Box<Welcome>) -> Result<(), CloseReason> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if welcome.acked > self.sent_ever {
            return Err(CloseReason::Lied(format!("report {} is acknowledged and was never sent", welcome.acked)));
        }
        connection.heartbeat = Some(Duration::from_millis(u64::from(welcome.heartbeat_ms)));
        if welcome.acked > self.acked {
            self.acked = welcome.acked;
            self.commands.push_back(Command::Acked(welcome.acked));
        }
        connection.sent = self.acked;
        self.commands.push_back(Command::Welcomed(welcome));
        self.refill();
        Ok(())
    }

    fn ack(&mut self, now: Duration, seq: u64) -> Result<(), CloseReason> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if seq > connection.sent {
            return Err(CloseReason::Lied(format!("report {seq} is acknowledged and was not sent")));
        }
        while let Some((_, bytes)) = connection.in_flight.pop_front_if(|(s, _)| *s <= seq) {
            connection.in_flight_bytes -= bytes;
            connection.progress = now;
        }
        if seq > self.acked {
            self.acked = seq;
            self.commands.push_back(Command::Acked(seq));
        }
        self.refill();
        Ok(())
    }

    /// Asks for more reports when there are some and the window is open.
    fn refill(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let room = WINDOW.saturating_sub(connection.in_flight.len());
        let is_ready = connection.heartbeat.is_some() && !connection.is_loading;
        if is_ready && room > 0 && connection.in_flight_bytes < WINDOW_BYTES && self.last > connection.sent {
            connection.is_loading = true;
            self.commands.push_back(Command::Load { after: connection.sent, limit: room });
        }
    }

    fn desired(&mut self, now: Duration, mut state: Box<NodeDesired>) -> Result<(), CloseReason> {
        if state.node != self.node {
            return Err(CloseReason::Lied(format!("the state of node {} came here", state.node)));
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        for made in state.groups.iter_mut().flat_map(|g| &mut g.resources).map(|r| &mut r.provenance) {
            made.approval = connection.approvals.get(&made.change).cloned().unwrap_or_default();
        }
        connection.approvals.clear();
        if self.is_taking {
            // Only the latest counts. It is judged when its turn comes.
            if connection.next.as_ref().is_none_or(|n| n.generation < state.generation) {
                connection.next = Some(state);
            }
            return Ok(());
        }
        match judge(self.current, &state) {
            Verdict::Known => {}
            Verdict::Newer => {
                self.is_taking = true;
                self.commands.push_back(Command::Take(state));
            }
            Verdict::Refused(fault) => self.send(now, Stream::Control, &Message::Fault(fault)),
        }
        Ok(())
    }

    fn take_next(&mut self, now: Duration) {
        self.is_taking = false;
        let Some(connection) = &mut self.connection else { return };
        if let Some(next) = connection.next.take()
            && let Err(reason) = self.desired(now, next)
        {
            self.close(now, reason);
        }
    }

    fn send(&mut self, now: Duration, stream: Stream, message: &Message) {
        let Some(connection) = &mut self.connection else { return };
        // What an agent says on its control stream is far below every limit.
        if let Ok(bytes) = encode(message) {
            connection.said = now;
            self.commands.push_back(Command::Send(stream, bytes));
        }
    }

    fn close(&mut self, now: Duration, reason: CloseReason) {
        if let CloseReason::Asked(goodbye) = &reason {
            self.send(now, Stream::Control, &Message::Goodbye(goodbye.clone()));
        } else if !matches!(reason, CloseReason::PeerLeft(_) | CloseReason::Refused(_)) {
            let goodbye = Goodbye { reason: GoodbyeReason::Misbehaved, message: reason.to_string() };
            self.send(now, Stream::Control, &Message::Goodbye(goodbye));
        }
        self.commands.retain(|c| !matches!(c, Command::Load { .. }));
        self.connection = None;
        self.commands.push_back(Command::Close(reason));
    }
}

impl Connection {
    fn inbound(&mut self, stream: Stream) -> &mut Inbound {
        match stream {
            Stream::Control => &mut self.control,
            Stream::Outbox => &mut self.outbox,
        }
    }
}

enum Verdict {
    Known,
    Newer,
    Refused(Fault),
}

/// Decides whether a state is taken: newer yes, equal no, older or false never.
fn judge(current: Option<(Generation, ContentHash)>, state: &NodeDesired) -> Verdict {
    if let Some((generation, hash)) = current {
        if state.generation == generation && state.hash == hash {
            return Verdict::Known;
        }
        if state.generation <= generation {
            let message = format!("generation {} is not newer than {generation}, which is here", state.generation);
            return Verdict::Refused(Fault::lasting("desired.stale", message));
        }
    }
    if state.compute_hash() != state.hash {
        let message = format!("generation {} does not have the hash that came with it", state.generation);
        return Verdict::Refused(Fault::lasting("desired.hash", message));
    }
    Verdict::Newer
}

/// Encodes a report. One that is too long loses what can be looked up on the node, so that it never stands in the way
/// of those behind it.
fn report_bytes(seq: u64, mut report: Report) -> Vec<u8> {
    let fits = |report: &Report| encode(&Message::Report { seq, report: Box::new(report.clone()) }).ok();
    if let Some(bytes) = fits(&report) {
        return bytes;
    }
    if let Report::Generation(generation) = &mut report {
        for resource in &mut generation.resources {
            resource.notes.clear();
            if let Some(fault) = &mut resource.fault {
                fault.message.truncate(fault.message.floor_char_boundary(200));
            }
        }
    }
    if let Report::Drift(drift) = &mut report {
        drift.observed = None;
    }
    // 10,000 resources of at most 1,200 bytes of target and 300 of fault are the rest of it: keep the worst.
    if let Some(bytes) = fits(&report) {
        return bytes;
    }
    if let Report::Generation(generation) = &mut report {
        generation.resources.sort_by_key(|r| std::cmp::Reverse(r.state));
        generation.resources.truncate(1000);
    }
    fits(&report).expect("1,000 resources without notes are under 4 MiB; drifts and runs are bounded by their fields")
}
