//! Runs of operations: orders, what became of them, output.

use std::collections::BTreeMap;

use lampas_shared::{
    TextError,
    desired::ContentHash,
    error,
    host::{EnvName, UserName},
    id::{OperationId, RunId, SecretValueId},
    object::ObjectName,
    operation as domain,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Bytes, Fault, Text, bounded, bounded_list, cut};
use crate::{
    codec::{DecodeError, EncodeError, from_body, to_body},
    message::{Kind as FrameKind, Reply, Request},
};

/// The most words of a command, and the most bytes of all words and values together.
const MAX_WORDS: usize = 512;
const MAX_WORD_BYTES: usize = 200 << 10;
/// The most references to secrets of one order.
const MAX_SECRETS: usize = 64;
/// The longest reason for a lost run, and the longest name of who asked.
const MAX_TEXT: usize = 1024;

pub(super) fn encode(kind: FrameKind, reply: &Reply) -> Result<Vec<u8>, EncodeError> {
    match reply {
        Reply::Run(Ok(domain::RunStatus::Ended(run))) if let Some(found) = &run.found => {
            super::probe::encode_reply(kind, run, found)
        }
        Reply::Run(status) => to_body(kind, &status.as_ref().map(RunStatus::from).map_err(Fault::from)),
        Reply::Output(part) => to_body(kind, &part.as_ref().map(OutputPart::from).map_err(Fault::from)),
        _ => super::operation::encode(kind, reply),
    }
}

pub(super) fn decode(kind: FrameKind, body: &[u8]) -> Result<Reply, DecodeError> {
    let bad = |source| DecodeError::Value { kind, source };
    let fault = |fault: Fault| error::Fault::try_from(fault).map_err(bad);
    Ok(match kind {
        FrameKind::OutputReply => Reply::Output(match from_body::<Result<OutputPart, Fault>>(kind, body)? {
            Ok(part) => Ok(part.try_into().map_err(bad)?),
            Err(error) => Err(fault(error)?),
        }),
        _ => Reply::Run(match from_body::<Result<RunStatus, Fault>>(kind, body)? {
            Ok(status) => Ok(status.try_into().map_err(bad)?),
            Err(error) => Err(fault(error)?),
        }),
    })
}

pub(super) fn decode_request(kind: FrameKind, body: &[u8]) -> Result<Request, DecodeError> {
    let bad = |source| DecodeError::Value { kind, source };
    let run = |bytes: [u8; 16]| RunId::from_uuid(Uuid::from_bytes(bytes));
    Ok(match kind {
        FrameKind::RunRequest => Request::Run(from_body::<RunOrder>(kind, body)?.try_into().map_err(bad)?),
        FrameKind::TryRequest => {
            let (order, content): (RunOrder, Text) = from_body(kind, body)?;
            let program = Some(super::check::draft_from_wire(content).map_err(bad)?);
            Request::Run(domain::RunOrder { program, ..order.try_into().map_err(bad)? })
        }
        FrameKind::OrderRequest => Request::Run(from_body::<Order>(kind, body)?.try_into().map_err(bad)?),
        FrameKind::OutputRequest => {
            let (bytes, offset): ([u8; 16], u64) = from_body(kind, body)?;
            Request::Output { run: run(bytes), offset }
        }
        FrameKind::CancelRequest => Request::CancelRun(run(from_body(kind, body)?)),
        FrameKind::ForgetRequest => Request::ForgetRun(run(from_body(kind, body)?)),
        _ => Request::RunStatus(run(from_body(kind, body)?)),
    })
}

#[derive(Serialize, Deserialize)]
pub(super) struct RunOrder {
    run: [u8; 16],
    operation: [u8; 16],
    argv: Vec<Text>,
    expect: Option<[u8; 32]>,
    environment: Vec<(Text, Text)>,
    user: Text,
    timeout_secs: u32,
    output_bytes: u64,
    rehearse: bool,
    by: Text,
}

impl From<&domain::RunOrder> for RunOrder {
    fn from(order: &domain::RunOrder) -> Self {
        Self {
            run: *order.run.as_uuid().as_bytes(),
            operation: *order.operation.as_uuid().as_bytes(),
            argv: order.argv.iter().map(|w| w.as_str().into()).collect(),
            expect: order.expect.map(|h| *h.as_bytes()),
            environment: order.environment.iter().map(|(n, v)| (n.as_str().into(), v.as_str().into())).collect(),
            user: order.user.as_str().into(),
            timeout_secs: order.timeout_secs,
            output_bytes: order.output_bytes,
            rehearse: order.rehearse,
            by: Text(cut(&order.by, MAX_TEXT)),
        }
    }
}

impl TryFrom<RunOrder> for domain::RunOrder {
    type Error = TextError;
    fn try_from(order: RunOrder) -> Result<Self, TextError> {
        bounded_list("arguments", order.argv.len(), MAX_WORDS)?;
        bounded_list("variables", order.environment.len(), MAX_WORDS)?;
        let words = order.argv.iter().chain(order.environment.iter().map(|(_, v)| v));
        if let Some(odd) = words.clone().find(|w| w.0.contains('\0')) {
            return Err(TextError::new("argument", &odd.0, "contains a NUL byte"));
        }
        bounded_list("bytes of arguments", words.map(|w| w.0.len()).sum(), MAX_WORD_BYTES)?;
        let program = order.argv.first().map(|w| w.0.as_str()).unwrap_or_default();
        if program.is_empty() || (program.contains('/') && !program.starts_with('/')) {
            return Err(TextError::new("program", program, "is neither an absolute path nor a name"));
        }
        if !(1..=86_400).contains(&order.timeout_secs) {
            return Err(TextError::new("time-out", &order.timeout_secs.to_string(), "is not in 1 to 86400"));
        }
        if !(4 << 10..=16 << 20).contains(&order.output_bytes) {
            return Err(TextError::new("output", &order.output_bytes.to_string(), "is not in 4 KiB to 16 MiB"));
        }
        lampas_shared::check_line("principal", &order.by.0, MAX_TEXT)?;
        let mut environment = BTreeMap::new();
        for (name, value) in order.environment {
            environment.insert(EnvName::parse(name.0)?, value.0);
        }
        Ok(Self {
            run: RunId::from_uuid(Uuid::from_bytes(order.run)),
            operation: OperationId::from_uuid(Uuid::from_bytes(order.operation)),
            argv: order.argv.into_iter().map(|w| w.0).collect(),
            expect: order.expect.map(ContentHash::from_bytes),
            environment,
            user: UserName::parse(order.user.0)?,
            timeout_secs: order.timeout_secs,
            output_bytes: order.output_bytes,
            rehearse: order.rehearse,
            by: order.by.0,
            program: None,
            secrets: BTreeMap::new(),
            signed: None,
            probe: None,
        })
    }
}

/// An order with what is younger than [`RunOrder`]: a script that comes along, references to secrets, and a statement.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    order: RunOrder,
    program: Option<Text>,
    /// Variables with the secret's name and its value's id.
    secrets: Vec<(Text, Text, [u8; 16])>,
    signed: Option<(Text, Text)>,
}

impl From<&domain::RunOrder> for Order {
    fn from(order: &domain::RunOrder) -> Self {
        let secret = |(variable, used): (&EnvName, &domain::SecretUse)| {
            (variable.as_str().into(), used.name.as_str().into(), *used.value.as_uuid().as_bytes())
        };
        Self {
            order: order.into(),
            program: order.program.as_ref().map(|draft| draft.content.as_str().into()),
            secrets: order.secrets.iter().map(secret).collect(),
            signed: order.signed.as_ref().map(|s| (s.text.as_str().into(), s.signature.as_str().into())),
        }
    }
}

impl TryFrom<Order> for domain::RunOrder {
    type Error = TextError;
    fn try_from(order: Order) -> Result<Self, TextError> {
        bounded_list("secrets", order.secrets.len(), MAX_SECRETS)?;
        let program = order.program.map(super::check::draft_from_wire).transpose()?;
        let plain = Self::try_from(order.order)?;
        let mut secrets = BTreeMap::new();
        for (variable, name, value) in order.secrets {
            let variable = EnvName::parse(variable.0)?;
            if plain.environment.contains_key(&variable) || secrets.contains_key(&variable) {
                return Err(TextError::new("variable", variable.as_str(), "is there twice"));
            }
            let value = SecretValueId::from_uuid(Uuid::from_bytes(value));
            secrets.insert(variable, domain::SecretUse { name: ObjectName::parse(name.0)?, value });
        }
        let signed = order.signed.map(super::proof::signed_from_wire).transpose()?;
        Ok(Self { program, secrets, signed, ..plain })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum RunStatus {
    Unknown,
    Running,
    Ended(OperationRun),
}

impl From<&domain::RunStatus> for RunStatus {
    fn from(status: &domain::RunStatus) -> Self {
        match status {
            domain::RunStatus::Unknown => Self::Unknown,
            domain::RunStatus::Running => Self::Running,
            domain::RunStatus::Ended(run) => Self::Ended((&**run).into()),
        }
    }
}

impl TryFrom<RunStatus> for domain::RunStatus {
    type Error = TextError;
    fn try_from(status: RunStatus) -> Result<Self, TextError> {
        Ok(match status {
            RunStatus::Unknown => Self::Unknown,
            RunStatus::Running => Self::Running,
            RunStatus::Ended(run) => Self::Ended(Box::new(run.try_into()?)),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct OperationRun {
    run: [u8; 16],
    operation: [u8; 16],
    started_at_ms: i64,
    ended_at_ms: i64,
    end: RunEnd,
    output_bytes: u64,
    output_hash: [u8; 32],
}

#[derive(Serialize, Deserialize)]
enum RunEnd {
    Exited(i32),
    Signalled(i32),
    TimedOut,
    Cancelled,
    NotStarted(Fault),
    Lost(Text),
}

impl From<&domain::OperationRun> for OperationRun {
    fn from(run: &domain::OperationRun) -> Self {
        use domain::RunEnd as E;
        Self {
            run: *run.run.as_uuid().as_bytes(),
            operation: *run.operation.as_uuid().as_bytes(),
            started_at_ms: run.started_at.0,
            ended_at_ms: run.ended_at.0,
            end: match &run.end {
                E::Exited(status) => RunEnd::Exited(*status),
                E::Signalled(signal) => RunEnd::Signalled(*signal),
                E::TimedOut => RunEnd::TimedOut,
                E::Cancelled => RunEnd::Cancelled,
                E::NotStarted(fault) => RunEnd::NotStarted(fault.into()),
                E::Lost(why) => RunEnd::Lost(Text(cut(why, MAX_TEXT))),
            },
            output_bytes: run.output_bytes,
            output_hash: *run.output_hash.as_bytes(),
        }
    }
}

impl TryFrom<OperationRun> for domain::OperationRun {
    type Error = TextError;
    fn try_from(run: OperationRun) -> Result<Self, TextError> {
        use domain::RunEnd as E;
        Ok(Self {
            run: RunId::from_uuid(Uuid::from_bytes(run.run)),
            operation: OperationId::from_uuid(Uuid::from_bytes(run.operation)),
            started_at: UnixMs(run.started_at_ms),
            ended_at: UnixMs(run.ended_at_ms),
            end: match run.end {
                RunEnd::Exited(status) => E::Exited(status),
                RunEnd::Signalled(signal) => E::Signalled(signal),
                RunEnd::TimedOut => E::TimedOut,
                RunEnd::Cancelled => E::Cancelled,
                RunEnd::NotStarted(fault) => E::NotStarted(fault.try_into()?),
                RunEnd::Lost(why) => {
                    bounded("reason", &why.0, MAX_TEXT)?;
                    E::Lost(why.0)
                }
            },
            output_bytes: run.output_bytes,
            output_hash: ContentHash::from_bytes(run.output_hash),
            found: None,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum OutputPart {
    Chunk { offset: u64, stream: OutputStream, after_ms: u64, bytes: Bytes },
    End(u64),
}

#[derive(Serialize, Deserialize)]
pub(super) enum OutputStream {
    Stdout,
    Stderr,
    Agent,
}

impl From<&domain::OutputPart> for OutputPart {
    fn from(part: &domain::OutputPart) -> Self {
        use domain::OutputStream as S;
        match part {
            domain::OutputPart::End(total) => Self::End(*total),
            domain::OutputPart::Chunk(chunk) => Self::Chunk {
                offset: chunk.offset,
                stream: match chunk.stream {
                    S::Stdout => OutputStream::Stdout,
                    S::Stderr => OutputStream::Stderr,
                    S::Agent => OutputStream::Agent,
                },
                after_ms: chunk.after_ms,
                bytes: Bytes(chunk.bytes.clone()),
            },
        }
    }
}

impl TryFrom<OutputPart> for domain::OutputPart {
    type Error = TextError;
    fn try_from(part: OutputPart) -> Result<Self, TextError> {
        use domain::OutputStream as S;
        Ok(match part {
            OutputPart::End(total) => Self::End(total),
            OutputPart::Chunk { offset, stream, after_ms, bytes } => {
                bounded_list("bytes of output", bytes.0.len(), domain::OutputChunk::MAX_BYTES)?;
                if bytes.0.is_empty() || offset.checked_add(bytes.0.len() as u64).is_none_or(|end| end > 1 << 62) {
                    return Err(TextError::new("offset", &offset.to_string(), "is not that of a piece of output"));
                }
                Self::Chunk(domain::OutputChunk {
                    offset,
                    stream: match stream {
                        OutputStream::Stdout => S::Stdout,
                        OutputStream::Stderr => S::Stderr,
                        OutputStream::Agent => S::Agent,
                    },
                    after_ms,
                    bytes: bytes.0,
                })
            }
        })
    }
}
