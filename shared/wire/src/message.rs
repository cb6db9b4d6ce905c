//! What can be said on the link, in domain types.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    audit::{Countersigned, Head},
    check::{Checked, ScriptDraft},
    desired::{Approval, ContentHash, Generation, NodeDesired},
    error::Fault,
    fleet::{NodeFacts, NodeName},
    id::{ControllerId, FleetId, NodeId, RunId, SecretValueId},
    object::Target,
    operation::{OperationRun, OutputPart, RunOrder, RunStatus},
    report::{DriftReport, GenerationReport, JobRun, LostReports, NodePlan, ObservedFile},
    scan::{Ejected, Scan, ScanRequest},
    secret::StillHeld,
    signature::Signed,
    time::UnixMs,
};

/// The version of the bodies that this build writes, and the newest that it reads.
pub const WIRE_VERSION: u16 = 1;

/// Bits of [`Hello::features`]: what an agent can do beyond what its wire version says.
pub mod feature {
    /// None.
    pub const NONE: u32 = 0;
    /// The node observes: nothing is written there until an operator takes it over.
    pub const OBSERVES: u32 = 1;
    /// The agent knows scans, taking over and ejecting.
    pub const SCANS: u32 = 1 << 1;
    /// The agent takes who approved the changes behind a state.
    pub const APPROVALS: u32 = 1 << 2;
}

/// Declares the kinds of frames with their numbers and limits.
macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident = $number:literal, $limit:expr;)*) => {
        /// The kinds of frames. The numbers are for ever.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Kind {
            $($(#[$meta])* $name = $number,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the kind with this number.
            pub fn from_u16(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Returns the longest body, in bytes.
            pub fn max_bytes(self) -> usize {
                match self {
                    $(Self::$name => $limit,)*
                }
            }
        }
    };
}

kinds! {
    /// The agent's first words; fixed layout.
    Hello = 1, 16 << 10;
    /// The controller's answer.
    Welcome = 2, 16 << 10;
    /// A desired state; the limit holds 10,000 resources, or 2,000 with inline contents.
    Desired = 3, 16 << 20;
    /// Are you there?
    Ping = 4, 64;
    /// I am.
    Pong = 5, 64;
    /// The last frame before an orderly end.
    Goodbye = 6, 4 << 10;
    /// Something that was said could not be taken.
    Fault = 7, 8 << 10;
    /// The certificates of the fleet's authorities.
    Trust = 8, 64 << 10;
    /// Operators' signatures over root code, all that hold for the node.
    Signatures = 9, 2 << 20;
    /// What the node says of itself, when that changed; laid out as in the hello.
    Facts = 10, 16 << 10;
    /// The head of the audit, to be kept and countersigned.
    AuditHead = 11, 256;
    /// It is.
    Countersigned = 12, 1 << 10;
    /// Who approved the changes that the next state comes from.
    Approvals = 13, 4 << 20;
    /// One report of the outbox; the largest carries 256 KiB of a drifted file and its diff.
    Report = 16, 4 << 20;
    /// Reports up to here are committed.
    Ack = 17, 64;
    /// Reports that the outbox could not hold, in one report's place.
    Lost = 18, 64;
    /// The run of an operation that is over, in the outbox.
    RunReport = 19, 16 << 10;
    /// The same, with what a question found.
    ProbeReport = 20, 32 << 10;
    /// What would you do for this state?
    PlanRequest = 32, 16 << 20;
    /// This; the limit holds 250 diffs of the greatest length.
    PlanReply = 33, 16 << 20;
    /// What stands at this target?
    ReadRequest = 34, 8 << 10;
    /// This.
    ReadReply = 35, 512 << 10;
    /// Put the desired state back.
    RevertRequest = 36, 8 << 10;
    /// Try again what failed or is quarantined.
    RetryRequest = 37, 64;
    /// Done, or why not.
    DoneReply = 38, 8 << 10;
    /// Run this, once.
    RunRequest = 40, 256 << 10;
    /// What do you know of this run?
    RunQuery = 41, 64;
    /// This; also the answer to a request to run or to cancel.
    RunReply = 42, 16 << 10;
    /// End this run.
    CancelRequest = 43, 64;
    /// What did this run write from here on?
    OutputRequest = 44, 64;
    /// A piece of it, or its end; many on one stream.
    OutputReply = 45, 36 << 10;
    /// The output is stored: let go of it.
    ForgetRequest = 46, 64;
    /// Content by its hash.
    BlobRequest = 48, 64;
    /// The content: at most 1 MiB, and what the encoding adds.
    BlobReply = 49, (1 << 20) + (8 << 10);
    /// The value of a secret, sealed to this key.
    SecretRequest = 50, 128;
    /// The value: at most 32 KiB, and what sealing and the encoding add.
    SecretReply = 51, 40 << 10;
    /// May I join?
    EnrolRequest = 64, 32 << 10;
    /// The certificate, or why not.
    EnrolReply = 65, 128 << 10;
    /// A new certificate, please.
    RenewRequest = 66, 16 << 10;
    /// The certificate, or why not.
    RenewReply = 67, 128 << 10;
    /// What stands unmanaged?
    ScanRequest = 80, 512 << 10;
    /// This; contents make most of it.
    ScanReply = 81, 16 << 20;
    /// Observe no more: the controller's states are to be written.
    ManageRequest = 82, 64;
    /// Make plain files of what is managed, forget who you are, and stop.
    EjectRequest = 83, 64;
    /// This is left.
    EjectReply = 84, 4 << 20;
    /// As [`Kind::EnrolReply`], for a node that shall only observe. An agent that does not know what that is does not know
    /// this answer either, and so does not join.
    EnrolObserveReply = 85, 128 << 10;
    /// What do your tools say of this script?
    CheckRequest = 86, 512 << 10;
    /// This.
    CheckReply = 87, 512 << 10;
    /// As [`Kind::RunRequest`], with the script that is to run.
    TryRequest = 88, 768 << 10;
    /// As [`Kind::TryRequest`], the script being there or not, with references to secrets and an operator's statement.
    OrderRequest = 89, 1 << 20;
    /// As [`Kind::RunRequest`], with a question in place of a program.
    ProbeRequest = 96, 64 << 10;
    /// As [`Kind::RunReply`], with what a question found.
    ProbeReply = 97, 32 << 10;
    /// This node was ejected by its owner: let go of it. Answered as requests are.
    LeaveRequest = 98, 64;
    /// These values of secrets are destroyed: let go of them.
    PurgeRequest = 99, 8 << 10;
    /// These of them are still there.
    PurgeReply = 100, 192 << 10;
}

/// Everything that can be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Agent, control stream, first.
    Hello(Box<Hello>),
    /// Controller, control stream, first.
    Welcome(Box<Welcome>),
    /// Controller, control stream: be this.
    Desired(Box<NodeDesired>),
    /// Either side, control stream, with a number that the answer repeats.
    Ping(u64),
    /// The answer to a ping.
    Pong(u64),
    /// Either side, control stream, last.
    Goodbye(Goodbye),
    /// Either side, any stream.
    Fault(Fault),
    /// Controller, control stream: the authorities to trust from here on.
    Trust(Trust),
    /// Controller, control stream: the signatures that hold, in place of those before.
    Signatures(Vec<Signed>),
    /// Controller, control stream: who approved the changes behind the next state, by their numbers.
    Approvals(BTreeMap<u64, Approval>),
    /// Agent, control stream: what the node says of itself from here on.
    Facts(Box<NodeFacts>),
    /// Controller, control stream: the head of the audit.
    AuditHead(Head),
    /// Agent, control stream: the answer to it.
    Countersigned(Box<Countersigned>),
    /// Agent, outbox stream.
    Report {
        /// Its number within the outbox's epoch, from 1.
        seq: u64,
        /// What it says.
        report: Box<Report>,
    },
    /// Controller, outbox stream: everything up to this number is committed.
    Ack(u64),
    /// Controller, first on an operation stream.
    Request(Box<Request>),
    /// Agent, last on an operation stream.
    Reply(Box<Reply>),
    /// Agent, blob stream.
    BlobRequest(BlobRequest),
    /// Controller, blob stream.
    BlobReply(Result<Vec<u8>, Fault>),
    /// Agent, on a stream of its own.
    SecretRequest(SecretRequest),
    /// Controller, the same; the value is sealed to the key that was given.
    SecretReply(Result<Vec<u8>, Fault>),
    /// Agent, on a stream of its own; a [`Reply::Done`] answers it.
    LeaveRequest,
    /// Agent, under `lampas-enrol/1`.
    EnrolRequest(Box<EnrolRequest>),
    /// Controller, under `lampas-enrol/1`.
    EnrolReply(Box<EnrolReply>),
    /// Agent, under `lampas/1` on a stream of its own, or under `lampas-renew/1`.
    RenewRequest(RenewRequest),
    /// Controller, the same.
    RenewReply(Box<RenewReply>),
}

impl Message {
    /// Returns the kind of frame that carries it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Welcome(_) => Kind::Welcome,
            Self::Desired(_) => Kind::Desired,
            Self::Ping(_) => Kind::Ping,
            Self::Pong(_) => Kind::Pong,
            Self::Goodbye(_) => Kind::Goodbye,
            Self::Fault(_) => Kind::Fault,
            Self::Trust(_) => Kind::Trust,
            Self::Signatures(_) => Kind::Signatures,
            Self::Approvals(_) => Kind::Approvals,
            Self::Facts(_) => Kind::Facts,
            Self::AuditHead(_) => Kind::AuditHead,
            Self::Countersigned(_) => Kind::Countersigned,
            Self::Report { report, .. } => match **report {
                Report::Lost(_) => Kind::Lost,
                Report::Operation(ref run) if run.found.is_some() => Kind::ProbeReport,
                Report::Operation(_) => Kind::RunReport,
                Report::Generation(_) | Report::Drift(_) | Report::Job(_) => Kind::Report,
            },
            Self::Ack(_) => Kind::Ack,
            Self::Request(request) => match **request {
                Request::Plan(_) => Kind::PlanRequest,
                Request::Read(_) => Kind::ReadRequest,
                Request::Revert(_) => Kind::RevertRequest,
                Request::Retry => Kind::RetryRequest,
                Request::Scan(_) => Kind::ScanRequest,
                Request::Manage => Kind::ManageRequest,
                Request::Eject => Kind::EjectRequest,
                Request::Check(_) => Kind::CheckRequest,
                Request::Run(ref order) if order.probe.is_some() => Kind::ProbeRequest,
                Request::Run(ref order) if !order.secrets.is_empty() || order.signed.is_some() => Kind::OrderRequest,
                Request::Run(ref order) if order.program.is_some() => Kind::TryRequest,
                Request::Run(_) => Kind::RunRequest,
                Request::RunStatus(_) => Kind::RunQuery,
                Request::CancelRun(_) => Kind::CancelRequest,
                Request::Output { .. } => Kind::OutputRequest,
                Request::ForgetRun(_) => Kind::ForgetRequest,
                Request::Purge(_) => Kind::PurgeRequest,
            },
            Self::Reply(reply) => match **reply {
                Reply::Plan(_) => Kind::PlanReply,
                Reply::Read(_) => Kind::ReadReply,
                Reply::Done(_) => Kind::DoneReply,
                Reply::Scan(_) => Kind::ScanReply,
                Reply::Eject(_) => Kind::EjectReply,
                Reply::Check(_) => Kind::CheckReply,
                Reply::Run(Ok(RunStatus::Ended(ref run))) if run.found.is_some() => Kind::ProbeReply,
                Reply::Run(_) => Kind::RunReply,
                Reply::Output(_) => Kind::OutputReply,
                Reply::Purged(_) => Kind::PurgeReply,
            },
            Self::BlobRequest(_) => Kind::BlobRequest,
            Self::BlobReply(_) => Kind::BlobReply,
            Self::SecretRequest(_) => Kind::SecretRequest,
            Self::SecretReply(_) => Kind::SecretReply,
            Self::LeaveRequest => Kind::LeaveRequest,
            Self::EnrolRequest(_) => Kind::EnrolRequest,
            Self::EnrolReply(reply) => match &**reply {
                Ok(enrolled) if enrolled.observe => Kind::EnrolObserveReply,
                _ => Kind::EnrolReply,
            },
            Self::RenewRequest(_) => Kind::RenewRequest,
            Self::RenewReply(_) => Kind::RenewReply,
        }
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The normal link: it becomes the node's one session.
    Session,
    /// A fresh handshake that confirms a generation. The controller answers with `Welcome` and changes nothing; the
    /// node's session stays as it is.
    Probe,
}

/// The agent's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for.
    pub role: Role,
    /// The oldest wire version that the agent reads.
    pub oldest_version: u16,
    /// The newest wire version that the agent reads.
    pub newest_version: u16,
    /// Bits of [`feature`]; unknown ones are ignored.
    pub features: u32,
    /// The agent's version.
    pub agent_version: String,
    /// Who it is; must be what its certificate says.
    pub node: NodeId,
    /// Names this life of the agent's outbox: drawn at each start, it is never 0.
    pub outbox_epoch: u64,
    /// Grows with every connection within an outbox epoch: of two sessions the greater is the living one.
    pub session: u64,
    /// The state in the agent's journal, if there is one.
    pub applied: Option<(Generation, ContentHash)>,
    /// [`Trust::hash`] of the authorities that the agent trusts.
    pub trust: ContentHash,
    /// What the node says of itself.
    pub facts: NodeFacts,
}

/// The controller's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Who it is; must be what its certificate says.
    pub controller: ControllerId,
    /// Its fleet.
    pub fleet: FleetId,
    /// The node's name in the fleet.
    pub name: NodeName,
    /// Its clock: the agent judges certificates by the last one that it saw.
    pub time: UnixMs,
    /// How often each side pings when it has nothing else to say, in milliseconds.
    pub heartbeat_ms: u32,
    /// The last sequence of this outbox epoch that is committed; 0 when there is none.
    pub acked: u64,
    /// The controllers that the agent may dial, as `HOST:PORT`; they replace its list unless empty.
    pub controllers: Vec<String>,
}

/// The authorities to trust, as DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Their certificates, sorted.
    pub roots: Vec<Vec<u8>>,
}

impl Trust {
    /// The most authorities that are trusted at once: an old and a new root and room for two more.
    pub const MAX_ROOTS: usize = 8;

    /// Builds a set in its one order.
    pub fn new(mut roots: Vec<Vec<u8>>) -> Self {
        roots.sort();
        roots.dedup();
        Self { roots }
    }

    /// Returns the hash by which two sides find out whether they trust the same set.
    pub fn hash(&self) -> ContentHash {
        let mut bytes = Vec::new();
        for root in &self.roots {
            bytes.extend_from_slice(&(root.len() as u64).to_le_bytes());
            bytes.extend_from_slice(root);
        }
        ContentHash::of(&bytes)
    }
}

/// Why a connection ends in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// Why, in a word.
    pub reason: GoodbyeReason,
    /// Why, in a sentence.
    pub message: String,
}

/// The reasons for an orderly end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoodbyeReason {
    /// The process stops; dial again soon.
    Stopping,
    /// The node's certificate was revoked; it can't come back without a new token.
    Revoked,
    /// A later connection of the same node took over.
    Replaced,
    /// The peer broke the rules of the link.
    Misbehaved,
    /// Serve somewhere else: another controller is to be dialled.
    Moved,
    /// What the connection was for is done.
    Done,
}

/// One thing that waits in an agent's outbox until a controller has committed it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Report {
    /// What became of a generation.
    Generation(GenerationReport),
    /// A change by hand.
    Drift(DriftReport),
    /// A run of a job.
    Job(JobRun),
    /// Reports that are gone.
    Lost(LostReports),
    /// The run of an operation that is over.
    Operation(OperationRun),
}

/// What a controller asks of an agent, one a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// What would be done for this state?
    Plan(NodeDesired),
    /// What stands at this target?
    Read(Target),
    /// Put the desired state back over a held drift.
    Revert(Target),
    /// Try again what failed or is quarantined.
    Retry,
    /// What stands unmanaged?
    Scan(ScanRequest),
    /// Observe no more.
    Manage,
    /// Leave plain files behind, forget the identity, and stop.
    Eject,
    /// What do your tools say of this script?
    Check(ScriptDraft),
    /// Run this, unless this run was begun before.
    Run(RunOrder),
    /// What do you know of this run?
    RunStatus(RunId),
    /// End this run; one that was never begun will not begin.
    CancelRun(RunId),
    /// What did this run write from this offset on? The answer is many parts, as they come.
    Output {
        /// The run.
        run: RunId,
        /// How many bytes are known already.
        offset: u64,
    },
    /// Let go of the output of this run.
    ForgetRun(RunId),
    /// Let go of these values of secrets, which are destroyed: sealed ones, and copies that may hold one. What is in force
    /// stays.
    Purge(BTreeSet<SecretValueId>),
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Plan`].
    Plan(Result<NodePlan, Fault>),
    /// To [`Request::Read`]; nothing when there is no file.
    Read(Result<Option<ObservedFile>, Fault>),
    /// To [`Request::Revert`], [`Request::Retry`], [`Request::Manage`] and [`Request::ForgetRun`].
    Done(Result<(), Fault>),
    /// To [`Request::Scan`].
    Scan(Result<Scan, Fault>),
    /// To [`Request::Eject`].
    Eject(Result<Ejected, Fault>),
    /// To [`Request::Check`].
    Check(Result<Checked, Fault>),
    /// To [`Request::Run`], [`Request::RunStatus`] and [`Request::CancelRun`].
    Run(Result<RunStatus, Fault>),
    /// To [`Request::Output`], as often as there is something.
    Output(Result<OutputPart, Fault>),
    /// To [`Request::Purge`]: what is still there; nothing when all of it went.
    Purged(Result<Vec<StillHeld>, Fault>),
}

/// Asks for content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRequest {
    /// Its hash; the answer is checked against it.
    pub hash: ContentHash,
}

/// Asks for the value of a secret that the node's state names. The connection says which node asks, and with that whose
/// key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretRequest {
    /// Which value.
    pub value: SecretValueId,
    /// The node's public key (X25519), which the value is sealed to.
    pub key: [u8; 32],
}

/// Asks to join the fleet.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolRequest {
    /// The token's secret part.
    pub token: String,
    /// A certificate signing request, DER. Only its key counts; its names and extensions are ignored.
    pub csr: Vec<u8>,
    /// What the node says of itself; its host name becomes its name unless the token says another.
    pub facts: NodeFacts,
}

impl std::fmt::Debug for EnrolRequest {
    /// Leaves the token out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EnrolRequest({}, csr of {} B)", self.facts.hostname, self.csr.len())
    }
}

/// The answer to [`EnrolRequest`].
pub type EnrolReply = Result<Enrolled, Fault>;

/// A place in the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The node's id.
    pub node: NodeId,
    /// The node's name.
    pub name: NodeName,
    /// The fleet.
    pub fleet: FleetId,
    /// The node's certificate and what leads from it to a root, DER, the node's first.
    pub chain: Vec<Vec<u8>>,
    /// The authorities to trust.
    pub trust: Trust,
    /// The controllers that the agent may dial, as `HOST:PORT`; may be empty.
    pub controllers: Vec<String>,
    /// The controller's clock.
    pub time: UnixMs,
    /// Whether the node shall only observe until an operator takes it over.
    pub observe: bool,
}

/// Asks for a new certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewRequest {
    /// A certificate signing request, DER; only its key counts.
    pub csr: Vec<u8>,
}

/// The answer to [`RenewRequest`].
pub type RenewReply = Result<Renewed, Fault>;

/// A new certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// As in [`Enrolled::chain`].
    pub chain: Vec<Vec<u8>>,
    /// The authorities to trust.
    pub trust: Trust,
    /// The controller's clock.
    pub time: UnixMs,
}
