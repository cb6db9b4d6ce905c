//! What is signed: operators' statements, and heads of the audit; and who approved changes.

use std::collections::BTreeMap;

use lampas_shared::{
    TextError,
    audit::{self, Head as DomainHead},
    desired::{Approval as DomainApproval, ContentHash},
    signature::{MAX_HELD, MAX_SIGNATURE, MAX_TEXT, Signed as DomainSigned},
};
use serde::{Deserialize, Serialize};

use super::{Bytes, Text, bounded, bounded_list};

/// The longest signature of a node, in bytes; one of ECDSA P-256 has at most 72.
const MAX_COUNTERSIGNATURE: usize = 512;

pub(super) fn signatures_to_wire(held: &[DomainSigned]) -> Vec<(&str, &str)> {
    held.iter().map(|s| (s.text.as_str(), s.signature.as_str())).collect()
}

/// Reads statements; whether they hold is judged where they are used, so that a wrong one can be told.
pub(super) fn signatures_from_wire(held: Vec<(Text, Text)>) -> Result<Vec<DomainSigned>, TextError> {
    bounded_list("signatures", held.len(), MAX_HELD)?;
    held.into_iter().map(signed_from_wire).collect()
}

/// Reads one of them.
pub(super) fn signed_from_wire((text, signature): (Text, Text)) -> Result<DomainSigned, TextError> {
    bounded("statement", &text.0, MAX_TEXT)?;
    bounded("signature", &signature.0, MAX_SIGNATURE)?;
    Ok(DomainSigned { text: text.0, signature: signature.0 })
}

/// The most changes that one state comes from: one of each resource.
const MAX_APPROVALS: usize = 10_000;

#[derive(Serialize, Deserialize)]
pub(super) enum Approval {
    NotRequired,
    By(Text),
    Over(Text),
    Unknown,
}

pub(super) fn approvals_to_wire(said: &BTreeMap<u64, DomainApproval>) -> Vec<(u64, Approval)> {
    let one = |approval: &DomainApproval| match approval {
        DomainApproval::Unknown => Approval::Unknown,
        DomainApproval::NotRequired => Approval::NotRequired,
        DomainApproval::By(name) => Approval::By(Text(super::cut(name, 256))),
        DomainApproval::Over(name) => Approval::Over(Text(super::cut(name, 256))),
    };
    said.iter().map(|(change, approval)| (*change, one(approval))).collect()
}

pub(super) fn approvals_from_wire(said: Vec<(u64, Approval)>) -> Result<BTreeMap<u64, DomainApproval>, TextError> {
    bounded_list("approvals", said.len(), MAX_APPROVALS)?;
    let name = |name: Text| bounded("approver", &name.0, 256).map(|()| name.0);
    let one = |approval| {
        Ok(match approval {
            Approval::Unknown => DomainApproval::Unknown,
            Approval::NotRequired => DomainApproval::NotRequired,
            Approval::By(by) => DomainApproval::By(name(by)?),
            Approval::Over(by) => DomainApproval::Over(name(by)?),
        })
    };
    said.into_iter().map(|(change, approval)| Ok((change, one(approval)?))).collect()
}

#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    epoch: u64,
    seq: u64,
    hash: [u8; 32],
}

impl From<&DomainHead> for Head {
    fn from(head: &DomainHead) -> Self {
        Self { epoch: head.epoch, seq: head.seq, hash: *head.hash.as_bytes() }
    }
}

impl From<Head> for DomainHead {
    fn from(head: Head) -> Self {
        Self { epoch: head.epoch, seq: head.seq, hash: ContentHash::from_bytes(head.hash) }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Countersigned {
    head: Head,
    at_ms: i64,
    signature: Bytes,
    contradicts: Option<Head>,
}

impl From<&audit::Countersigned> for Countersigned {
    fn from(signed: &audit::Countersigned) -> Self {
        Self {
            head: (&signed.head).into(),
            at_ms: signed.at_ms,
            signature: Bytes(signed.signature.clone()),
            contradicts: signed.contradicts.as_ref().map(Head::from),
        }
    }
}

impl TryFrom<Countersigned> for audit::Countersigned {
    type Error = TextError;
    fn try_from(signed: Countersigned) -> Result<Self, TextError> {
        bounded_list("bytes of a signature", signed.signature.0.len(), MAX_COUNTERSIGNATURE)?;
        Ok(Self {
            head: signed.head.into(),
            at_ms: signed.at_ms,
            signature: signed.signature.0,
            contradicts: signed.contradicts.map(DomainHead::from),
        })
    }
}
