//! The link as two machines without I/O: [`agent::AgentLink`] and [`controller::ControllerLink`].
//!
//! Bytes of the two ordered streams and the time go in by `handle_*`; effects come out by `poll_command`; `poll_timeout`
//! says when `handle_timeout` is due. Time is a [`std::time::Duration`] since any fixed start. After each input, take
//! all commands.
//!
//! # The story of a connection
//! The agent opens the control stream with `Hello`. The controller asks its store (`Authorise`) and answers `Welcome`,
//! which says up to where it has committed this life of the agent's outbox. From there the agent opens the outbox
//! stream and sends reports, at most [`WINDOW`] ahead of the last `Ack`; an `Ack` follows the controller's commit, and
//! only then does the agent let go of a report. So a report may be sent twice and is never lost; the controller drops
//! what it has by (node, epoch, sequence). Desired states go the other way; the agent takes a newer generation, ignores
//! one that it has, and refuses an older one or one whose hash is not its content's.
//!
//! The agent pings when it has said nothing for a heartbeat, the controller answers; so each side hears the other at
//! least once a heartbeat. The `Welcome` says how long that is, by the size of the fleet ([`heartbeat`]); who is silent
//! for [`patience`] has stalled. The controller pings by itself only while an operation is under way, so that a hung node is
//! named within three seconds. Who floods, stalls or lies is disconnected, with the reason for the record.
//!
//! Operations and blobs have streams of their own with one request and one answer each; what bounds those are the
//! limits of their frames and the drivers' deadlines.

pub mod agent;
pub mod controller;
mod inbound;

use std::{fmt, time::Duration};

use lampas_shared::error::Fault;

pub use inbound::Inbound;

use crate::message::{Goodbye, GoodbyeReason};

/// How many reports may be on their way unacknowledged: with 64 of them of the usual few hundred bytes the outbox
/// drains at 64 per round trip and commit, and a controller holds at most this many per node.
pub const WINDOW: usize = 64;

/// How many bytes of reports may be on their way, so that 64 large ones don't fill a controller.
pub const WINDOW_BYTES: usize = 1 << 20;

/// From the connection to `Hello` and from `Hello` to `Welcome`. A restarted controller authorises 5,000 agents within
/// a few seconds.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);

/// How many heartbeats may be missed before the peer counts as stalled.
const MISSED_HEARTBEATS: u32 = 3;

/// Silence that is borne in any case: a loaded machine or a lossy network is no hung peer because its heartbeat is short.
const SILENCE_MIN: Duration = Duration::from_secs(15);

/// The shortest heartbeat that a controller asks for. What a ping and its answer cost an agent is a tenth of a
/// millisecond.
const HEARTBEAT_MIN: Duration = Duration::from_secs(2);

/// The longest: it decides how soon an agent notices that its controller was killed and is back.
const HEARTBEAT_MAX: Duration = Duration::from_secs(5);

/// How many pings a controller wants to answer in a second, until the longest heartbeat is reached.
const PINGS_PER_SECOND: u64 = 250;

/// Returns the heartbeat that suits a fleet of so many nodes: an agent notices at its next ping that its controller was
/// killed and is back, so a small fleet pings more often; a large one needs seconds for its handshakes anyway.
pub fn heartbeat(nodes: usize) -> Duration {
    Duration::from_millis(1000 * nodes as u64 / PINGS_PER_SECOND).clamp(HEARTBEAT_MIN, HEARTBEAT_MAX)
}

/// Returns the silence after which a peer counts as stalled.
pub fn patience(heartbeat: Duration) -> Duration {
    (heartbeat * MISSED_HEARTBEATS).max(SILENCE_MIN)
}

/// How long reports may stay unacknowledged without any progress. A controller whose store is busy may take long; one
/// that never answers is left for another.
pub const ACK_LIMIT: Duration = Duration::from_secs(120);

/// How long an agent may be silent while an operation is under way.
pub const OPERATION_SILENCE: Duration = Duration::from_millis(2500);

/// How often the controller pings while an operation is under way.
pub const OPERATION_PING: Duration = Duration::from_secs(1);

/// How long a probe may stay.
pub const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// The two ordered streams of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Opened first, by the agent.
    Control,
    /// Opened by the agent with its first report.
    Outbox,
}

/// Why a machine wants its connection closed: for the record on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer did not say in time what it had to.
    Stalled(&'static str),
    /// The peer said more than it may.
    Flooded(&'static str),
    /// The peer said what can't be true or can't be read.
    Lied(String),
    /// The peer said goodbye.
    PeerLeft(Goodbye),
    /// This side wanted to go.
    Asked(Goodbye),
    /// The peer refused, with a fault in place of an answer.
    Refused(Fault),
}

impl CloseReason {
    /// Returns the application error code for the transport.
    pub fn code(&self) -> u32 {
        match self {
            Self::Asked(goodbye) | Self::PeerLeft(goodbye) => match goodbye.reason {
                GoodbyeReason::Done => 0,
                GoodbyeReason::Stopping => 1,
                GoodbyeReason::Revoked => 2,
                GoodbyeReason::Replaced => 3,
                GoodbyeReason::Moved => 4,
                GoodbyeReason::Misbehaved => 5,
            },
            Self::Stalled(_) => 16,
            Self::Flooded(_) => 17,
            Self::Lied(_) => 18,
            Self::Refused(_) => 19,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled(what) => write!(f, "the peer stalled: {what}"),
            Self::Flooded(what) => write!(f, "the peer flooded: {what}"),
            Self::Lied(what) => write!(f, "the peer broke the protocol: {what}"),
            Self::PeerLeft(goodbye) => write!(f, "the peer left: {}", goodbye.message),
            Self::Asked(goodbye) => f.write_str(&goodbye.message),
            Self::Refused(fault) => write!(f, "the peer refused: {fault}"),
        }
    }
}
