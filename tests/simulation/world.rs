//! One agent, one controller and its store, and everything between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lampas_shared::{
    desired::{ContentHash, Generation, NodeDesired, Provenance, Resource, Spec},
    fleet::{NodeFacts, NodeName, Scope},
    host::{FileMode, GroupName, ManagedPath, UserName},
    id::{ControllerId, FleetId, NodeId, ObjectId, RunId},
    object::{DriftPolicy, Kind, ObjectName, Target},
    report::{JobRun, RunOutcome},
    time::UnixMs,
};
use lampas_wire::{
    Goodbye, GoodbyeReason, Hello, Report, Role, Trust, WIRE_VERSION, Welcome,
    link::{
        CloseReason, Stream, WINDOW, WINDOW_BYTES,
        agent::{AgentLink, Command as AgentCommand},
        controller::{Command as ControllerCommand, ControllerLink},
    },
};

/// How bad the world is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    /// The longest delay of a packet, in milliseconds.
    pub(crate) delay_ms: u64,
    /// How many packets of a hundred are lost; the transport sends them again, a second later.
    pub(crate) loss_percent: u64,
    /// How often the connection breaks.
    pub(crate) breaks: u64,
    /// How often the agent is killed.
    pub(crate) agent_crashes: u64,
    /// How often the controller is killed.
    pub(crate) controller_crashes: u64,
    /// How often a controller pushes an older state.
    pub(crate) stale_states: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Side {
    Agent,
    Controller,
}

#[derive(Debug)]
enum Event {
    Dial,
    Deliver { connection: u64, to: Side, stream: Stream, bytes: Vec<u8> },
    Lost { connection: u64, at: Side },
    Loaded { life: u64, after: u64, reports: Vec<(u64, Report)> },
    Taken { life: u64, generation: Generation, hash: ContentHash },
    Authorised { connection: u64, hello: Box<Hello> },
    Committed { connection: u64, life: u64, epoch: u64, seq: u64, report: Box<Report> },
    Push,
    Change,
    Stale,
    Break,
    KillAgent,
    KillController,
}

pub(crate) struct World {
    random: Random,
    faults: Faults,
    /// Milliseconds.
    now: u64,
    serial: u64,
    events: BTreeMap<(u64, u64), Event>,
    /// When the last bytes of a direction of a stream arrive: later ones don't overtake them.
    arrivals: BTreeMap<(u64, Side, Stream), u64>,
    is_calm: bool,

    // The agent: what survives a crash, then what doesn't.
    node: NodeId,
    outbox: BTreeMap<u64, Report>,
    next_seq: u64,
    epoch: u64,
    journalled: Option<(Generation, ContentHash)>,
    agent: AgentLink,
    agent_life: u64,
    agent_connection: Option<u64>,
    session: u64,

    // The controller: its store, then what a crash takes.
    committed: BTreeMap<u64, u64>,
    applied: BTreeMap<(u64, u64), RunId>,
    desired: NodeDesired,
    controllers: BTreeMap<u64, ControllerLink>,
    sessions: BTreeMap<u64, (u64, u64)>,
    controller_life: u64,

    connections: u64,
    pushed: BTreeSet<RunId>,
    stale_refused: u64,
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let node = NodeId::from_uuid(uuid(1));
        let mut world = Self {
            random: Random(seed | 1),
            faults,
            now: 0,
            serial: 0,
            events: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            is_calm: false,
            node,
            outbox: BTreeMap::new(),
            next_seq: 1,
            epoch: 1,
            journalled: None,
            agent: AgentLink::new(node, None),
            agent_life: 0,
            agent_connection: None,
            session: 0,
            committed: BTreeMap::new(),
            applied: BTreeMap::new(),
            desired: state(node, 1),
            controllers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            controller_life: 0,
            connections: 0,
            pushed: BTreeSet::new(),
            stale_refused: 0,
        };
        world.after(0, Event::Dial);
        world
    }

    /// Lets things happen for a while, with faults strewn over it.
    pub(crate) fn run_with_faults(&mut self, for_ms: u64) {
        let end = self.now + for_ms;
        let strew = |world: &mut Self, count: u64, make: fn() -> Event| {
            for _ in 0..count {
                let at = world.random.below(for_ms);
                world.after(at, make());
            }
        };
        strew(self, 400, || Event::Push);
        strew(self, 20, || Event::Change);
        strew(self, self.faults.stale_states, || Event::Stale);
        strew(self, self.faults.breaks, || Event::Break);
        strew(self, self.faults.agent_crashes, || Event::KillAgent);
        strew(self, self.faults.controller_crashes, || Event::KillController);
        while self.step(end) {}
    }

    /// Ends the faults and lets a quarter of an hour pass: longer than every time limit of the link.
    pub(crate) fn run_to_quiet(&mut self) {
        self.is_calm = true;
        let end = self.now + 900_000;
        while self.step(end) {}
    }

    pub(crate) fn check_converged(&self) {
        let applied: BTreeSet<RunId> = self.applied.values().copied().collect();
        let lost: Vec<_> = self.pushed.difference(&applied).collect();
        assert!(lost.is_empty(), "{} of {} reports are lost", lost.len(), self.pushed.len());
        assert!(self.outbox.is_empty(), "{} reports were never acknowledged", self.outbox.len());
        assert_eq!(self.journalled, Some((self.desired.generation, self.desired.hash)), "the agent has the last state");
        assert!(self.agent.is_established(), "the agent is connected");
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections
    }

    /// Does the next thing that is due before `end`.
    fn step(&mut self, end: u64) -> bool {
        let timers = self.controllers.values().map(ControllerLink::poll_timeout).chain([self.agent.poll_timeout()]);
        let timer = timers.flatten().map(|t| t.as_millis() as u64).min();
        let event = self.events.first_key_value().map(|(key, _)| key.0);
        let Some(next) = [timer, event].into_iter().flatten().min().filter(|t| *t <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if event.is_some_and(|at| at <= self.now) {
            let (_, event) = self.events.pop_first().expect("was just looked at");
            self.happen(event);
        } else {
            let now = self.time();
            self.agent.handle_timeout(now);
            for controller in self.controllers.values_mut() {
                controller.handle_timeout(now);
            }
        }
        self.obey();
        self.check_bounds();
        true
    }

    fn happen(&mut self, event: Event) {
        let now = self.time();
        match event {
            Event::Dial => self.dial(),
            Event::Deliver { connection, to: Side::Agent, stream, bytes } => {
                if self.agent_connection == Some(connection) {
                    self.agent.handle_input(now, stream, &bytes);
                }
            }
            Event::Deliver { connection, to: Side::Controller, stream, bytes } => {
                if let Some(controller) = self.controllers.get_mut(&connection) {
                    controller.handle_input(now, stream, &bytes);
                }
            }
            Event::Lost { connection, at: Side::Agent } => {
                if self.agent_connection == Some(connection) {
                    self.lose_agent_side();
                }
            }
            Event::Lost { connection, at: Side::Controller } => drop(self.controllers.remove(&connection)),
            Event::Loaded { life, after, reports } => {
                // A driver may well hand over what an earlier connection asked for, but not an earlier process.
                if life == self.agent_life {
                    self.agent.handle_reports(now, after, reports);
                }
            }
            Event::Taken { life, generation, hash } => {
                if life == self.agent_life {
                    assert!(self.journalled.is_none_or(|(g, _)| g < generation), "an older generation was journalled");
                    self.journalled = Some((generation, hash));
                    self.agent.handle_taken(now, generation, hash);
                }
            }
            Event::Authorised { connection, hello } => self.authorise(connection, &hello),
            Event::Committed { connection, life, epoch, seq, report } => {
                if life == self.controller_life {
                    self.commit(connection, epoch, seq, &report);
                }
            }
            Event::Push => self.push(),
            Event::Change => {
                self.desired = state(self.node, self.desired.generation.counter + 1);
                for controller in self.controllers.values_mut() {
                    controller.handle_desired(now, self.desired.clone());
                }
            }
            Event::Stale => {
                let counter = self.random.below(self.desired.generation.counter) + 1;
                for controller in self.controllers.values_mut() {
                    controller.handle_desired(now, state(self.node, counter));
                    // What a confused controller said is set right by what it says next.
                    controller.handle_desired(now, self.desired.clone());
                }
            }
            Event::Break => {
                if let Some(connection) = self.agent_connection {
                    // Each side finds out in its own time.
                    let (agent, controller) = (self.random.below(5000), self.random.below(30_000));
                    self.cut(connection);
                    self.after(agent, Event::Lost { connection, at: Side::Agent });
                    self.after(controller, Event::Lost { connection, at: Side::Controller });
                }
            }
            Event::KillAgent => self.kill_agent(),
            Event::KillController => {
                self.controller_life += 1;
                self.controllers.clear();
                self.sessions.clear();
                if let Some(connection) = self.agent_connection {
                    self.cut(connection);
                    let delay = self.random.below(10_000);
                    self.after(delay, Event::Lost { connection, at: Side::Agent });
                }
            }
        }
    }

    fn dial(&mut self) {
        if self.agent_connection.is_some() {
            return;
        }
        self.connections += 1;
        self.session += 1;
        let (connection, now) = (self.connections, self.time());
        self.agent_connection = Some(connection);
        self.controllers.insert(connection, ControllerLink::new(now, self.node));
        self.agent.handle_outbox(self.next_seq - 1);
        self.agent.handle_connected(now, hello(self.node, self.epoch, self.session));
    }

    fn authorise(&mut self, connection: u64, hello: &Hello) {
        let now = self.time();
        let this = (hello.outbox_epoch, hello.session);
        if self.sessions.values().any(|other| *other > this) {
            if let Some(controller) = self.controllers.get_mut(&connection) {
                controller.handle_close(now, goodbye(GoodbyeReason::Replaced));
            }
            return;
        }
        for (other, controller) in &mut self.controllers {
            if *other != connection && self.sessions.contains_key(other) {
                controller.handle_close(now, goodbye(GoodbyeReason::Replaced));
            }
        }
        self.sessions.insert(connection, this);
        let welcome = Welcome {
            controller: ControllerId::from_uuid(uuid(3)),
            fleet: FleetId::from_uuid(uuid(4)),
            name: NodeName::parse("web-1").expect("a name"),
            time: UnixMs(0),
            heartbeat_ms: 5000,
            acked: self.committed.get(&hello.outbox_epoch).copied().unwrap_or(0),
            controllers: Vec::new(),
        };
        if let Some(controller) = self.controllers.get_mut(&connection) {
            controller.handle_welcome(now, welcome, &Trust::new(vec![vec![1]]));
            controller.handle_desired(now, self.desired.clone());
        }
    }

    /// The store's transaction: drops what it has, and never leaves a gap.
    fn commit(&mut self, connection: u64, epoch: u64, seq: u64, report: &Report) {
        let last = self.committed.entry(epoch).or_default();
        if seq > *last {
            assert_eq!(seq, *last + 1, "a report was skipped");
            *last = seq;
            let Report::Job(run) = report else { panic!("only runs are pushed here") };
            assert_eq!(self.applied.insert((epoch, seq), run.run), None, "a report was applied twice");
        }
        let last = *last;
        let now = self.time();
        if let Some(controller) = self.controllers.get_mut(&connection) {
            controller.handle_committed(now, last.min(seq));
        }
    }

    fn push(&mut self) {
        let run = RunId::from_uuid(uuid(1000 + self.pushed.len() as u128));
        self.pushed.insert(run);
        let output = "x".repeat(self.random.below(20_000) as usize);
        let report = Report::Job(JobRun {
            run,
            object: ObjectId::from_uuid(uuid(7)),
            user: "root".into(),
            slot: None,
            started_at: UnixMs(0),
            ended_at: None,
            outcome: RunOutcome::Lost,
            output,
            output_bytes: 0,
            times: 1,
        });
        self.outbox.insert(self.next_seq, report);
        self.agent.handle_outbox(self.next_seq);
        self.next_seq += 1;
    }

    fn kill_agent(&mut self) {
        if let Some(connection) = self.agent_connection.take() {
            self.cut(connection);
            let delay = self.random.below(30_000);
            self.after(delay, Event::Lost { connection, at: Side::Controller });
        }
        self.agent_life += 1;
        self.session = 0;
        self.epoch += 1;
        let left: Vec<Report> = std::mem::take(&mut self.outbox).into_values().collect();
        self.outbox = (1..).zip(left).collect();
        self.next_seq = self.outbox.len() as u64 + 1;
        self.agent = AgentLink::new(self.node, self.journalled);
        self.after(100, Event::Dial);
    }

    /// Takes back everything that is on its way on a connection.
    fn cut(&mut self, connection: u64) {
        self.events.retain(|_, event| !matches!(event, Event::Deliver { connection: c, .. } if *c == connection));
        // Nothing that is sent from here on arrives.
        for side in [Side::Agent, Side::Controller] {
            for stream in [Stream::Control, Stream::Outbox] {
                self.arrivals.insert((connection, side, stream), u64::MAX);
            }
        }
    }

    fn lose_agent_side(&mut self) {
        self.agent_connection = None;
        self.agent.handle_lost();
        let pause = 50 + self.random.below(500);
        self.after(pause, Event::Dial);
    }

    /// Does what the machines command.
    fn obey(&mut self) {
        while let Some(command) = self.agent.poll_command() {
            self.obey_agent(command);
        }
        let connections: Vec<u64> = self.controllers.keys().copied().collect();
        for connection in connections {
            while let Some(command) = self.controllers.get_mut(&connection).and_then(ControllerLink::poll_command) {
                self.obey_controller(connection, command);
            }
        }
    }

    fn obey_agent(&mut self, command: AgentCommand) {
        match command {
            AgentCommand::Send(stream, bytes) => {
                let connection = self.agent_connection.unwrap_or(self.connections);
                self.transmit(connection, Side::Controller, stream, bytes);
            }
            AgentCommand::Load { after, limit } => {
                let reports = self.outbox.range(after + 1..).take(limit).map(|(s, r)| (*s, r.clone())).collect();
                // A busy disk now and then.
                let is_slow = !self.is_calm && self.random.below(4) == 0;
                let delay = self.random.below(if is_slow { 10_000 } else { 50 });
                self.after(delay, Event::Loaded { life: self.agent_life, after, reports });
            }
            AgentCommand::Acked(seq) => {
                let committed = self.committed.get(&self.epoch).copied().unwrap_or(0);
                assert!(seq <= committed, "report {seq} is let go of and only {committed} are committed");
                self.outbox = self.outbox.split_off(&(seq + 1));
            }
            AgentCommand::Take(state) => {
                assert!(self.journalled.is_none_or(|(g, _)| g < state.generation), "an older generation was taken");
                let delay = self.random.below(200);
                let (generation, hash) = (state.generation, state.hash);
                self.after(delay, Event::Taken { life: self.agent_life, generation, hash });
            }
            AgentCommand::Close(reason) => {
                assert!(
                    matches!(reason, CloseReason::Stalled(_) | CloseReason::PeerLeft(_)),
                    "an honest controller is no reason for {reason:?}"
                );
                if let Some(connection) = self.agent_connection {
                    self.after(5000, Event::Lost { connection, at: Side::Controller });
                }
                self.lose_agent_side();
            }
            AgentCommand::Fault(fault) => panic!("an honest controller sends no fault: {fault}"),
            AgentCommand::Welcomed(_)
            | AgentCommand::Trust(_)
            | AgentCommand::Signatures(_)
            | AgentCommand::Head(_) => {}
        }
    }

    fn obey_controller(&mut self, connection: u64, command: ControllerCommand) {
        match command {
            ControllerCommand::Send(stream, bytes) => self.transmit(connection, Side::Agent, stream, bytes),
            ControllerCommand::Authorise(hello) => {
                let delay = self.random.below(300);
                self.after(delay, Event::Authorised { connection, hello });
            }
            ControllerCommand::Commit(seq, report) => {
                let epoch = self.sessions.get(&connection).expect("only sessions commit").0;
                // In order, as one actor would: never before an earlier one of this connection.
                let delay = 200;
                let life = self.controller_life;
                self.after(delay, Event::Committed { connection, life, epoch, seq, report });
            }
            ControllerCommand::Close(reason) => {
                assert!(
                    matches!(reason, CloseReason::Stalled(_) | CloseReason::PeerLeft(_) | CloseReason::Asked(_)),
                    "an honest agent is no reason for {reason:?}"
                );
                self.controllers.remove(&connection);
                self.sessions.remove(&connection);
                // The last frame arrives with the close, or the close alone.
                let delay = self.random.below(1000) + self.faults.delay_ms;
                self.after(delay, Event::Lost { connection, at: Side::Agent });
            }
            ControllerCommand::Fault(fault) => {
                assert_eq!(fault.code, "desired.stale", "an honest controller's states are refused only for their age");
                self.stale_refused += 1;
            }
            ControllerCommand::Silent(_) | ControllerCommand::Facts(_) | ControllerCommand::Countersigned(_) => {}
        }
    }

    /// Sends bytes in pieces, each with a delay of its own, in order within the stream.
    fn transmit(&mut self, connection: u64, to: Side, stream: Stream, bytes: Vec<u8>) {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let size = (self.random.below(1400) as usize + 1).min(rest.len());
            let (piece, later) = rest.split_at(size);
            rest = later;
            let mut delay = if self.is_calm { 1 } else { self.random.below(self.faults.delay_ms) };
            if !self.is_calm && self.random.below(100) < self.faults.loss_percent {
                delay += 1000;
            }
            let last = self.arrivals.entry((connection, to, stream)).or_default();
            if *last == u64::MAX {
                return;
            }
            *last = (*last).max(self.now + delay);
            let at = *last - self.now;
            self.after(at, Event::Deliver { connection, to, stream, bytes: piece.to_vec() });
        }
    }

    fn check_bounds(&self) {
        assert!(self.agent.held_bytes() <= 2 * WINDOW_BYTES, "the agent holds {} bytes", self.agent.held_bytes());
        for controller in self.controllers.values() {
            let (bytes, reports) = controller.held();
            assert!(
                bytes <= 2 * WINDOW_BYTES && reports <= WINDOW,
                "the controller holds {bytes} bytes, {reports} reports"
            );
        }
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + delay, self.serial), event);
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.now)
    }
}

/// A generator that is the same everywhere for ever (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit.max(1)
    }
}

pub(crate) fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

fn goodbye(reason: GoodbyeReason) -> Goodbye {
    Goodbye { reason, message: "simulated".into() }
}

pub(crate) fn hello(node: NodeId, epoch: u64, session: u64) -> Hello {
    Hello {
        role: Role::Session,
        oldest_version: WIRE_VERSION,
        newest_version: WIRE_VERSION,
        features: 0,
        agent_version: "simulated".into(),
        node,
        outbox_epoch: epoch,
        session,
        applied: None,
        trust: ContentHash::of(b""),
        facts: NodeFacts::default(),
    }
}

/// The state of a generation: one directory whose mode tells it from its neighbours'.
pub(crate) fn state(node: NodeId, counter: u64) -> NodeDesired {
    let path = ManagedPath::parse("/srv/simulated").expect("a path");
    let resource = Resource {
        target: Target::path(path.as_str()),
        object: ObjectId::from_uuid(uuid(7)),
        kind: Kind::Directory,
        name: ObjectName::parse("simulated").expect("a name"),
        scope: Scope::Fleet,
        drift: DriftPolicy::Hold,
        provenance: Provenance {
            revision: counter,
            author: "simulation".into(),
            at: UnixMs(0),
            reason: String::new(),
            change: counter,
            approval: lampas_shared::desired::Approval::Unknown,
        },
        on_change: Vec::new(),
        spec: Spec::Directory {
            path,
            owner: UserName::root(),
            group: GroupName::root(),
            mode: FileMode::new(counter as u32 & 0o777).expect("a mode"),
        },
    };
    NodeDesired::new(node, Generation { epoch: 1, counter }, vec![resource])
}
