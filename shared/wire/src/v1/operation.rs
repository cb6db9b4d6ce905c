//! Answers on operation streams: plans, observed files, done.

use lampas_shared::{
    TextError,
    desired::ContentHash,
    error,
    host::FileMode,
    id::ObjectId,
    object::{ObjectName, Target},
    report,
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Bytes, Fault, Text, bounded, bounded_list, desired::Kind, each};
use crate::{
    codec::{DecodeError, EncodeError, from_body, to_body},
    message::{Kind as FrameKind, Reply},
};

/// The longest diff, in bytes, as the report's fields promise.
pub(super) const MAX_DIFF: usize = 64 << 10;
/// The longest path or note, in bytes.
pub(super) const MAX_PATH: usize = 4096;
pub(super) const MAX_NOTES: usize = 64;

pub(super) fn encode(kind: FrameKind, reply: &Reply) -> Result<Vec<u8>, EncodeError> {
    match reply {
        Reply::Plan(plan) => to_body(kind, &plan.as_ref().map(NodePlan::from).map_err(Fault::from)),
        Reply::Read(file) => {
            to_body(kind, &file.as_ref().map(|f| f.as_ref().map(ObservedFile::from)).map_err(Fault::from))
        }
        Reply::Done(done) => to_body(kind, &done.as_ref().copied().map_err(Fault::from)),
        Reply::Run(_) | Reply::Output(_) => super::run::encode(kind, reply),
        Reply::Check(checked) => super::check::encode(kind, checked),
        Reply::Purged(held) => super::purge::encode(kind, held),
        Reply::Scan(_) | Reply::Eject(_) => super::scan::encode(kind, reply),
    }
}

pub(super) fn decode(kind: FrameKind, body: &[u8]) -> Result<Reply, DecodeError> {
    let bad = |source| DecodeError::Value { kind, source };
    let fault = |fault: Fault| error::Fault::try_from(fault).map_err(bad);
    Ok(match kind {
        FrameKind::PlanReply => Reply::Plan(match from_body::<Result<NodePlan, Fault>>(kind, body)? {
            Ok(plan) => Ok(plan.try_into().map_err(bad)?),
            Err(error) => Err(fault(error)?),
        }),
        FrameKind::ReadReply => Reply::Read(match from_body::<Result<Option<ObservedFile>, Fault>>(kind, body)? {
            Ok(file) => Ok(file.map(report::ObservedFile::try_from).transpose().map_err(bad)?),
            Err(error) => Err(fault(error)?),
        }),
        _ => Reply::Done(match from_body::<Result<(), Fault>>(kind, body)? {
            Ok(()) => Ok(()),
            Err(error) => Err(fault(error)?),
        }),
    })
}

#[derive(Serialize, Deserialize)]
struct NodePlan {
    desired: [u8; 32],
    observed: [u8; 32],
    actions: Vec<Action>,
}

#[derive(Serialize, Deserialize)]
struct Action {
    target: Text,
    object: [u8; 16],
    kind: Kind,
    name: Text,
    verb: Verb,
    path: Text,
    diff: Text,
    notes: Vec<Text>,
    fault: Option<Fault>,
}

#[derive(Serialize, Deserialize)]
enum Verb {
    Create,
    Update,
    Remove,
}

impl From<&report::NodePlan> for NodePlan {
    fn from(plan: &report::NodePlan) -> Self {
        Self {
            desired: *plan.desired.as_bytes(),
            observed: *plan.observed.as_bytes(),
            actions: plan.actions.iter().map(Action::from).collect(),
        }
    }
}

impl TryFrom<NodePlan> for report::NodePlan {
    type Error = TextError;
    fn try_from(plan: NodePlan) -> Result<Self, TextError> {
        Ok(Self {
            desired: ContentHash::from_bytes(plan.desired),
            observed: ContentHash::from_bytes(plan.observed),
            actions: each(plan.actions)?,
        })
    }
}

impl From<&report::Action> for Action {
    fn from(action: &report::Action) -> Self {
        Self {
            target: action.target.as_str().into(),
            object: *action.object.as_uuid().as_bytes(),
            kind: action.kind.into(),
            name: action.name.as_str().into(),
            verb: match action.verb {
                report::Verb::Create => Verb::Create,
                report::Verb::Update => Verb::Update,
                report::Verb::Remove => Verb::Remove,
            },
            path: Text(super::cut(&action.path, MAX_PATH)),
            diff: Text(super::cut(&action.diff, MAX_DIFF)),
            notes: notes_to_wire(&action.notes),
            fault: action.fault.as_ref().map(Fault::from),
        }
    }
}

impl TryFrom<Action> for report::Action {
    type Error = TextError;
    fn try_from(action: Action) -> Result<Self, TextError> {
        bounded("path", &action.path.0, MAX_PATH)?;
        bounded("diff", &action.diff.0, MAX_DIFF)?;
        Ok(Self {
            target: Target::parse(&action.target.0)?,
            object: ObjectId::from_uuid(Uuid::from_bytes(action.object)),
            kind: action.kind.into(),
            name: ObjectName::parse(action.name.0)?,
            verb: match action.verb {
                Verb::Create => report::Verb::Create,
                Verb::Update => report::Verb::Update,
                Verb::Remove => report::Verb::Remove,
            },
            path: action.path.0,
            diff: action.diff.0,
            notes: notes_from_wire(action.notes)?,
            fault: action.fault.map(error::Fault::try_from).transpose()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ObservedFile {
    content: Option<Bytes>,
    hash: [u8; 32],
    owner: Text,
    group: Text,
    mode: u32,
    modified_at_ms: i64,
    is_writable_by_others: bool,
}

impl From<&report::ObservedFile> for ObservedFile {
    fn from(file: &report::ObservedFile) -> Self {
        Self {
            content: file.content.clone().map(Bytes),
            hash: *file.hash.as_bytes(),
            owner: file.owner.as_str().into(),
            group: file.group.as_str().into(),
            mode: file.mode.bits(),
            modified_at_ms: file.modified_at.0,
            is_writable_by_others: file.is_writable_by_others,
        }
    }
}

impl TryFrom<ObservedFile> for report::ObservedFile {
    type Error = TextError;
    fn try_from(file: ObservedFile) -> Result<Self, TextError> {
        if let Some(content) = &file.content {
            bounded_list("observed bytes", content.0.len(), Self::MAX_BYTES)?;
        }
        lampas_shared::check_line("owner", &file.owner.0, 256)?;
        lampas_shared::check_line("group", &file.group.0, 256)?;
        Ok(Self {
            content: file.content.map(|c| c.0),
            hash: ContentHash::from_bytes(file.hash),
            owner: file.owner.0,
            group: file.group.0,
            mode: FileMode::new(file.mode)?,
            modified_at: UnixMs(file.modified_at_ms),
            is_writable_by_others: file.is_writable_by_others,
        })
    }
}

pub(super) fn notes_to_wire(notes: &[String]) -> Vec<Text> {
    notes.iter().take(MAX_NOTES).map(|n| Text(super::cut(n, MAX_PATH))).collect()
}

pub(super) fn notes_from_wire(notes: Vec<Text>) -> Result<Vec<String>, TextError> {
    bounded_list("notes", notes.len(), MAX_NOTES)?;
    for note in &notes {
        bounded("note", &note.0, MAX_PATH)?;
    }
    Ok(notes.into_iter().map(|n| n.0).collect())
}
