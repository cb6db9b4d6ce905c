//! Peers that flood, stall or lie are disconnected, and the reason says which.

use std::time::Duration;

use lampas_shared::{
    desired::NodeDesired,
    fleet::NodeName,
    id::{ControllerId, FleetId, NodeId, ObjectId, RunId},
    report::{JobRun, RunOutcome},
    time::UnixMs,
};
use lampas_wire::{
    Hello, Message, Report, Role, Trust, Welcome, encode,
    frame::Frame,
    link::{
        CloseReason, Stream, WINDOW,
        agent::{AgentLink, Command as AgentCommand},
        controller::{Command as ControllerCommand, ControllerLink},
        heartbeat,
    },
};

use crate::world::{hello, state, uuid};

const START: Duration = Duration::from_secs(100);

fn node() -> NodeId {
    NodeId::from_uuid(uuid(1))
}

fn welcome(acked: u64) -> Welcome {
    Welcome {
        controller: ControllerId::from_uuid(uuid(3)),
        fleet: FleetId::from_uuid(uuid(4)),
        name: NodeName::parse("web-1").expect("a name"),
        time: UnixMs(0),
        heartbeat_ms: 5000,
        acked,
        controllers: Vec::new(),
    }
}

/// Returns an agent after its handshake.
fn agent() -> AgentLink {
    let mut agent = AgentLink::new(node(), None);
    agent.handle_connected(START, hello(node(), 1, 1));
    tell(&mut agent, Stream::Control, &Message::Welcome(Box::new(welcome(0))));
    assert!(agent.is_established());
    while agent.poll_command().is_some() {}
    agent
}

/// Returns a controller after the agent's handshake.
fn controller() -> ControllerLink {
    let mut controller = ControllerLink::new(START, node());
    say(&mut controller, Stream::Control, &Message::Hello(Box::new(hello(node(), 1, 1))));
    controller.handle_welcome(START, welcome(0), &Trust::new(vec![vec![1]]));
    assert!(controller.is_open());
    while controller.poll_command().is_some() {}
    controller
}

fn tell(agent: &mut AgentLink, stream: Stream, message: &Message) {
    agent.handle_input(START, stream, &encode(message).expect("encodes"));
}

fn say(controller: &mut ControllerLink, stream: Stream, message: &Message) {
    controller.handle_input(START, stream, &encode(message).expect("encodes"));
}

fn agent_closed(agent: &mut AgentLink) -> CloseReason {
    std::iter::from_fn(|| agent.poll_command())
        .find_map(|c| if let AgentCommand::Close(reason) = c { Some(reason) } else { None })
        .expect("the agent closes")
}

fn controller_closed(controller: &mut ControllerLink) -> CloseReason {
    std::iter::from_fn(|| controller.poll_command())
        .find_map(|c| if let ControllerCommand::Close(reason) = c { Some(reason) } else { None })
        .expect("the controller closes")
}

fn run(number: u64) -> Message {
    let report = Report::Job(JobRun {
        run: RunId::from_uuid(uuid(u128::from(number))),
        object: ObjectId::from_uuid(uuid(7)),
        user: "root".into(),
        slot: None,
        started_at: UnixMs(0),
        ended_at: None,
        outcome: RunOutcome::Lost,
        output: String::new(),
        output_bytes: 0,
        times: 1,
    });
    Message::Report { seq: number, report: Box::new(report) }
}

#[test]
fn floods_are_cut_off() {
    let mut agent = agent();
    for nonce in 0..600 {
        tell(&mut agent, Stream::Control, &Message::Ping(nonce));
    }
    assert!(matches!(agent_closed(&mut agent), CloseReason::Flooded(_)));

    let mut controller = controller();
    for seq in 1..=WINDOW as u64 + 1 {
        say(&mut controller, Stream::Outbox, &run(seq));
    }
    assert_eq!(controller_closed(&mut controller), CloseReason::Flooded("more reports than the window holds"));
}

#[test]
fn lies_are_cut_off() {
    let check_agent = |stream: Stream, message: &Message, expected: &str| {
        let mut agent = agent();
        tell(&mut agent, stream, message);
        let reason = agent_closed(&mut agent);
        assert!(matches!(&reason, CloseReason::Lied(what) if what.contains(expected)), "{reason:?}");
    };
    check_agent(Stream::Outbox, &Message::Ack(1), "was not sent");
    let other = NodeId::from_uuid(uuid(2));
    check_agent(Stream::Control, &Message::Desired(Box::new(state(other, 1))), "came here");
    check_agent(Stream::Outbox, &Message::Ping(1), "out of place");
    check_agent(Stream::Control, &Message::Hello(Box::new(hello(node(), 1, 1))), "out of place");

    let mut fresh = AgentLink::new(node(), None);
    fresh.handle_connected(START, hello(node(), 1, 1));
    tell(&mut fresh, Stream::Control, &Message::Welcome(Box::new(welcome(5))));
    assert!(matches!(agent_closed(&mut fresh), CloseReason::Lied(what) if what.contains("was never sent")));

    let mut stranger = ControllerLink::new(START, node());
    say(&mut stranger, Stream::Control, &Message::Hello(Box::new(hello(other, 1, 1))));
    assert!(
        matches!(controller_closed(&mut stranger), CloseReason::Lied(what) if what.contains("the certificate names"))
    );

    let mut early = ControllerLink::new(START, node());
    say(&mut early, Stream::Outbox, &run(1));
    assert!(matches!(controller_closed(&mut early), CloseReason::Lied(_)), "nothing is taken before the welcome");

    let mut broken = controller();
    broken.handle_input(START, Stream::Control, &[4, 0, 1, 0, 0xff, 0xff, 0xff, 0xff]);
    assert!(matches!(controller_closed(&mut broken), CloseReason::Lied(what) if what.contains("at most 64")));
}

#[test]
fn silence_is_noticed_on_both_sides() {
    let mut agent = agent();
    let at = START + Duration::from_secs(15);
    agent.handle_timeout(at);
    assert_eq!(agent_closed(&mut agent), CloseReason::Stalled("silent for longer than it should be"));

    let mut waiting = AgentLink::new(node(), None);
    waiting.handle_connected(START, hello(node(), 1, 1));
    waiting.handle_timeout(waiting.poll_timeout().expect("is due"));
    assert_eq!(agent_closed(&mut waiting), CloseReason::Stalled("no welcome"));

    let mut controller = controller();
    controller.handle_timeout(START + Duration::from_secs(15));
    assert_eq!(controller.poll_command(), Some(ControllerCommand::Silent(true)), "named within 15 s when idle");
    controller.handle_timeout(START + Duration::from_secs(20));
    assert_eq!(controller_closed(&mut controller), CloseReason::Stalled("silent for longer than it should be"));
}

#[test]
fn a_hung_node_is_named_within_three_seconds_of_an_operation() {
    let mut controller = controller();
    let asked = START + Duration::from_secs(4);
    controller.handle_operation_began(asked);
    let mut named_at = None;
    for _ in 0..20 {
        let Some(due) = controller.poll_timeout() else { break };
        controller.handle_timeout(due);
        let is_named = std::iter::from_fn(|| controller.poll_command()).any(|c| c == ControllerCommand::Silent(true));
        if is_named {
            named_at = Some(due);
            break;
        }
    }
    let after = named_at.expect("is named").saturating_sub(asked);
    assert!(after <= Duration::from_secs(3), "named after {after:?}");

    say(&mut controller, Stream::Control, &Message::Pong(1));
    assert_eq!(controller.poll_command(), Some(ControllerCommand::Silent(false)), "and taken back when it speaks");
}

#[test]
fn older_generations_and_false_hashes_are_refused_with_a_fault() {
    let refused = |agent: &mut AgentLink, state: NodeDesired| {
        tell(agent, Stream::Control, &Message::Desired(Box::new(state)));
        let commands: Vec<_> = std::iter::from_fn(|| agent.poll_command()).collect();
        assert!(!commands.iter().any(|c| matches!(c, AgentCommand::Take(_))));
        assert!(agent.is_established(), "the connection goes on");
        commands.iter().any(|c| matches!(c, AgentCommand::Send(Stream::Control, _)))
    };
    let mut agent = agent();
    let current = state(node(), 5);
    tell(&mut agent, Stream::Control, &Message::Desired(Box::new(current.clone())));
    assert!(matches!(agent.poll_command(), Some(AgentCommand::Take(_))));
    agent.handle_taken(START, current.generation, current.hash);
    assert!(refused(&mut agent, state(node(), 4)), "older");
    assert!(!refused(&mut agent, current.clone()), "equal: nothing to say");
    let mut false_hash = state(node(), 6);
    false_hash.hash = current.hash;
    assert!(refused(&mut agent, false_hash), "another content than its hash");
    assert_eq!(agent.current(), Some((current.generation, current.hash)));
}

#[test]
fn each_heartbeat_of_a_fleet_names_a_hung_peer_as_soon() {
    for nodes in [0, 10, 500, 700, 1250, 5000, 100_000] {
        let beat = heartbeat(nodes);
        assert!((Duration::from_secs(2)..=Duration::from_secs(5)).contains(&beat), "{nodes} nodes: {beat:?}");
        let mut welcome = welcome(0);
        welcome.heartbeat_ms = beat.as_millis() as u32;
        let mut agent = AgentLink::new(node(), None);
        agent.handle_connected(START, hello(node(), 1, 1));
        tell(&mut agent, Stream::Control, &Message::Welcome(Box::new(welcome.clone())));
        let mut controller = ControllerLink::new(START, node());
        say(&mut controller, Stream::Control, &Message::Hello(Box::new(hello(node(), 1, 1))));
        controller.handle_welcome(START, welcome, &Trust::new(vec![vec![1]]));
        while controller.poll_command().is_some() {}

        // Neither hears the other from here on. The agent asks at each heartbeat, and each names the other in time.
        let mut asked = Vec::new();
        let (closed, mut now) = loop {
            let now = agent.poll_timeout().expect("is due");
            agent.handle_timeout(now);
            let said: Vec<_> = std::iter::from_fn(|| agent.poll_command()).collect();
            if let Some(AgentCommand::Close(reason)) = said.last() {
                break (reason.clone(), now);
            }
            asked.extend(said.iter().filter(|c| matches!(c, AgentCommand::Send(..))).map(|_| now));
        };
        assert!(matches!(closed, CloseReason::Stalled(_)), "{closed:?}");
        assert_eq!(now, START + Duration::from_secs(15));
        assert!(asked[0] <= START + beat, "a killed controller's answer comes after a heartbeat at most");
        assert!(asked.windows(2).all(|w| w[1] <= w[0] + beat));

        let mut named = None;
        while !controller.is_closed() {
            now = controller.poll_timeout().expect("is due");
            controller.handle_timeout(now);
            if std::iter::from_fn(|| controller.poll_command()).any(|c| c == ControllerCommand::Silent(true)) {
                named = Some(now);
            }
        }
        assert_eq!(named, Some(START + Duration::from_secs(15)), "named when idle");
    }
}

#[test]
fn what_a_later_version_says_is_answered_and_passed_over() {
    let mut controller = controller();
    let unknown = Frame { kind: 777, version: 9, body: vec![1; 100] };
    controller.handle_input(START, Stream::Control, &unknown.to_bytes().expect("encodes"));
    assert!(matches!(controller.poll_command(), Some(ControllerCommand::Send(Stream::Control, _))), "a fault");
    say(&mut controller, Stream::Control, &Message::Ping(1));
    assert!(matches!(controller.poll_command(), Some(ControllerCommand::Send(Stream::Control, _))), "a pong");
    assert!(controller.is_open());
}

#[test]
fn a_probe_is_welcomed_and_may_do_nothing_else() {
    let probe = Hello { role: Role::Probe, ..hello(node(), 1, 0) };
    let mut controller = ControllerLink::new(START, node());
    say(&mut controller, Stream::Control, &Message::Hello(Box::new(probe)));
    controller.handle_welcome(START, welcome(0), &Trust::new(vec![vec![1]]));
    controller.handle_desired(START, state(node(), 1));
    let sent =
        std::iter::from_fn(|| controller.poll_command()).filter(|c| matches!(c, ControllerCommand::Send(..))).count();
    assert_eq!(sent, 1, "the welcome and no state");
    say(&mut controller, Stream::Outbox, &run(1));
    assert!(matches!(controller_closed(&mut controller), CloseReason::Lied(_)));
}
