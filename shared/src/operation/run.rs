//! The run of an operation on one node: what the node is told, and what it says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    TextError,
    check::ScriptDraft,
    desired::ContentHash,
    error::Fault,
    host::{EnvName, UserName},
    id::{OperationId, RunId, SecretValueId},
    object::ObjectName,
    probe::{Found, Number, Probe},
    signature::Signed,
    time::UnixMs,
};

/// What a node is told to run. Complete: the node chooses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOrder {
    /// The run; a node starts each at most once.
    pub run: RunId,
    /// The operation that it is part of.
    pub operation: OperationId,
    /// The program and its arguments; the program by absolute path or by a name for the standard path.
    pub argv: Vec<String>,
    /// For a script: the hash of what must stand at the program's path.
    pub expect: Option<ContentHash>,
    /// Variables on top of the standard ones.
    pub environment: BTreeMap<EnvName, String>,
    /// As whom.
    pub user: UserName,
    /// Seconds until it is ended.
    pub timeout_secs: u32,
    /// Bytes of output to keep.
    pub output_bytes: u64,
    /// Only try, in a copy.
    pub rehearse: bool,
    /// Who asked, as the audit names it.
    pub by: String,
    /// A script that comes along instead of one that stands on the node: somebody is writing it. The first word of
    /// [`RunOrder::argv`] is its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ScriptDraft>,
    /// Variables that hold values of secrets: the node fetches them sealed, and nothing else of the order has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<EnvName, SecretUse>,
    /// The operator's statement with the signature over it, where somebody signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
    /// A question in place of a program. The first word of [`RunOrder::argv`] is `probe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeOrder>,
}

/// What a node is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOrder {
    /// The question.
    pub probe: Probe,
    /// What was measured there before, for what is compared with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Number>,
}

/// A value of a secret, by reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretUse {
    /// The secret.
    pub name: ObjectName,
    /// Which of its values.
    pub value: SecretValueId,
}

impl RunOrder {
    /// Returns a hash over what runs, as whom, with what and within which limits: what an operator's signature is over.
    /// Neither the run nor the operation is in it, which are drawn later, nor who asked. Secrets are in it by reference.
    pub fn program_hash(&self) -> ContentHash {
        let Self { argv, expect, environment, user, timeout_secs, output_bytes, rehearse, program, secrets, .. } = self;
        let mut out = b"lampas run/v2".to_vec();
        // Each with its length before it, so that no part flows into the next.
        let mut put = |bytes: &[u8]| {
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        put(&(argv.len() as u64).to_le_bytes());
        for word in argv {
            put(word.as_bytes());
        }
        put(expect.as_ref().map_or(&[][..], |hash| hash.as_bytes()));
        put(&(environment.len() as u64).to_le_bytes());
        for (name, value) in environment {
            put(name.as_str().as_bytes());
            put(value.as_bytes());
        }
        put(user.as_str().as_bytes());
        put(&[u8::from(*rehearse)]);
        put(program.as_ref().map_or(&[][..], |draft| draft.content.as_bytes()));
        put(&timeout_secs.to_le_bytes());
        put(&output_bytes.to_le_bytes());
        put(&(secrets.len() as u64).to_le_bytes());
        for (variable, SecretUse { name, value }) in secrets {
            put(variable.as_str().as_bytes());
            put(name.as_str().as_bytes());
            put(value.as_uuid().as_bytes());
        }
        ContentHash::of(&out)
    }
}

/// What a node knows of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunStatus {
    /// Nothing.
    Unknown,
    /// It is under way.
    Running,
    /// It is over.
    Ended(Box<OperationRun>),
}

/// A run that is over, as the node recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRun {
    /// The run.
    pub run: RunId,
    /// The operation.
    pub operation: OperationId,
    /// When it began, by the node's clock.
    pub started_at: UnixMs,
    /// When it ended, by the node's clock.
    pub ended_at: UnixMs,
    /// How it ended.
    pub end: RunEnd,
    /// How many bytes it wrote in all.
    pub output_bytes: u64,
    /// A hash over all that it wrote, also what was not kept: equal outputs have equal ones.
    pub output_hash: ContentHash,
    /// What a probe found, in words; of nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
}

impl OperationRun {
    /// Returns what there is to say beyond the state; empty for the success of a program.
    pub fn detail(&self) -> String {
        match &self.found {
            Some(found) => found.text.clone(),
            None => self.end.detail(),
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// The program exited with this status.
    Exited(i32),
    /// The program died of this signal.
    Signalled(i32),
    /// It was ended because its time was over.
    TimedOut,
    /// It was ended because somebody asked.
    Cancelled,
    /// It could not be started.
    NotStarted(Fault),
    /// What watched over it is gone: the machine was restarted, or somebody killed it.
    Lost(String),
}

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The agent, about the run: what a rehearsal would change, what was left running.
    Agent,
}

/// A piece of output.
#[derive(Clone, PartialEq, Eq)]
pub struct OutputChunk {
    /// How many bytes the run had written before; a step between two chunks is a gap.
    pub offset: u64,
    /// From where.
    pub stream: OutputStream,
    /// When it was written, in milliseconds since the run began.
    pub after_ms: u64,
    /// The bytes; at most [`OutputChunk::MAX_BYTES`].
    pub bytes: Vec<u8>,
}

impl OutputChunk {
    /// The most bytes of one.
    pub const MAX_BYTES: usize = 32 << 10;
}

impl std::fmt::Debug for OutputChunk {
    /// Leaves the bytes out: output never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutputChunk({:?} {}+{} B)", self.stream, self.offset, self.bytes.len())
    }
}

/// What comes on a stream of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputPart {
    /// A piece.
    Chunk(OutputChunk),
    /// There is no more: the run is over and wrote this many bytes.
    End(u64),
}

macro_rules! run_states {
    ($($(#[$meta:meta])* $variant:ident = $text:literal,)*) => {
        /// Where the run of one node is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum RunState {
            $($(#[$meta])* $variant,)*
        }

        impl RunState {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

run_states! {
    /// Waits for its turn, or for the node.
    Queued = "queued",
    /// The node was told.
    Running = "running",
    /// Exited with 0.
    Succeeded = "succeeded",
    /// Exited with something else, died of a signal, or could not be started.
    Failed = "failed",
    /// Was ended because its time was over.
    TimedOut = "timed_out",
    /// Was ended, or never begun, because somebody asked.
    Cancelled = "cancelled",
    /// Was passed over: the node was away, or the operation stopped before its turn.
    Skipped = "skipped",
    /// The node did not come back in time.
    Expired = "expired",
    /// The node refused it: its policy, or what it is.
    Refused = "refused",
    /// No result came in time. One that still comes is taken.
    Lost = "lost",
}

impl RunState {
    /// Returns whether nothing more is to be done. A lost one may still become what its node says.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Returns whether it counts against the failures that are allowed.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut | Self::Refused | Self::Lost)
    }
}

impl std::str::FromStr for RunState {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let found = Self::ALL.iter().copied().find(|s| s.as_str() == text);
        found.ok_or_else(|| TextError::new("state", text, "is no state of a run"))
    }
}

impl RunEnd {
    /// Returns the state that it means.
    pub fn state(&self) -> RunState {
        match self {
            Self::Exited(0) => RunState::Succeeded,
            Self::Exited(_) | Self::Signalled(_) | Self::NotStarted(_) => RunState::Failed,
            Self::TimedOut => RunState::TimedOut,
            Self::Cancelled => RunState::Cancelled,
            Self::Lost(_) => RunState::Lost,
        }
    }

    /// Returns what there is to say beyond the state; empty for a success.
    pub fn detail(&self) -> String {
        match self {
            Self::Exited(0) | Self::TimedOut | Self::Cancelled => String::new(),
            Self::Exited(status) => format!("exit status {status}"),
            Self::Signalled(signal) => format!("signal {signal}"),
            Self::NotStarted(fault) => fault.message.clone(),
            Self::Lost(why) => why.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn order() -> RunOrder {
        RunOrder {
            run: RunId::from_uuid(Uuid::from_u128(1)),
            operation: OperationId::from_uuid(Uuid::from_u128(2)),
            argv: vec!["df".into(), "-h".into()],
            expect: None,
            environment: BTreeMap::new(),
            user: UserName::root(),
            timeout_secs: 600,
            output_bytes: 1 << 20,
            rehearse: false,
            by: "user:ann".into(),
            program: None,
            secrets: BTreeMap::new(),
            signed: None,
            probe: None,
        }
    }

    #[test]
    fn what_is_signed_is_all_that_decides_what_happens() {
        let hash = order().program_hash();
        let name = |text: &str| EnvName::parse(text).expect("a name");
        let value = |n| SecretUse {
            name: ObjectName::parse("db.password").expect("a name"),
            value: SecretValueId::from_uuid(Uuid::from_u128(n)),
        };
        let same = RunOrder { run: RunId::from_uuid(Uuid::from_u128(3)), by: "user:ben".into(), ..order() };
        assert_eq!(same.program_hash(), hash, "which run it is, and who asked, is drawn later");
        let others = [
            RunOrder { argv: vec!["df".into(), "-h ".into()], ..order() },
            RunOrder { argv: vec!["df-h".into()], ..order() },
            RunOrder { expect: Some(ContentHash::of(b"x")), ..order() },
            RunOrder { environment: [(name("PARAM_A"), "1".into())].into(), ..order() },
            RunOrder { user: UserName::parse("ann").expect("a user"), ..order() },
            RunOrder { timeout_secs: 601, ..order() },
            RunOrder { output_bytes: 4096, ..order() },
            RunOrder { rehearse: true, ..order() },
            RunOrder { program: Some(ScriptDraft { content: "#!/bin/sh\n".into() }), ..order() },
            RunOrder { secrets: [(name("PARAM_A"), value(1))].into(), ..order() },
            RunOrder { secrets: [(name("PARAM_A"), value(2))].into(), ..order() },
            RunOrder { secrets: [(name("PARAM_B"), value(1))].into(), ..order() },
        ];
        let mut hashes: Vec<ContentHash> = others.iter().map(RunOrder::program_hash).collect();
        hashes.push(hash);
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), others.len() + 1, "each of them is another program");
    }
}
