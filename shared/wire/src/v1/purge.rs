//! Values of secrets that go from nodes.

use std::collections::BTreeSet;

use lampas_shared::{TextError, error, id::SecretValueId, secret};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Fault, Text, bounded, bounded_list, cut, each};
use crate::{
    codec::{DecodeError, EncodeError, from_body, to_body},
    message::{Kind as FrameKind, Reply, Request},
};

/// The most values of one request.
const MAX_VALUES: usize = 256;
/// The longest reason, in bytes.
const MAX_WHY: usize = 512;

pub(super) fn encode_request(kind: FrameKind, values: &BTreeSet<SecretValueId>) -> Result<Vec<u8>, EncodeError> {
    let values: Vec<[u8; 16]> = values.iter().map(|v| *v.as_uuid().as_bytes()).collect();
    to_body(kind, &values)
}

pub(super) fn decode_request(kind: FrameKind, body: &[u8]) -> Result<Request, DecodeError> {
    let values: Vec<[u8; 16]> = from_body(kind, body)?;
    bounded_list("values", values.len(), MAX_VALUES).map_err(|source| DecodeError::Value { kind, source })?;
    Ok(Request::Purge(values.into_iter().map(|v| SecretValueId::from_uuid(Uuid::from_bytes(v))).collect()))
}

pub(super) fn encode(
    kind: FrameKind,
    held: &Result<Vec<secret::StillHeld>, error::Fault>,
) -> Result<Vec<u8>, EncodeError> {
    let held = held.as_ref().map(|held| held.iter().take(MAX_VALUES).map(StillHeld::from).collect::<Vec<_>>());
    to_body(kind, &held.map_err(Fault::from))
}

pub(super) fn decode(kind: FrameKind, body: &[u8]) -> Result<Reply, DecodeError> {
    let bad = |source| DecodeError::Value { kind, source };
    Ok(Reply::Purged(match from_body::<Result<Vec<StillHeld>, Fault>>(kind, body)? {
        Ok(held) => {
            bounded_list("values", held.len(), MAX_VALUES).map_err(bad)?;
            Ok(each(held).map_err(bad)?)
        }
        Err(fault) => Err(fault.try_into().map_err(bad)?),
    }))
}

#[derive(Serialize, Deserialize)]
struct StillHeld {
    value: [u8; 16],
    why: Text,
}

impl From<&secret::StillHeld> for StillHeld {
    fn from(held: &secret::StillHeld) -> Self {
        Self { value: *held.value.as_uuid().as_bytes(), why: Text(cut(&held.why, MAX_WHY)) }
    }
}

impl TryFrom<StillHeld> for secret::StillHeld {
    type Error = TextError;
    fn try_from(held: StillHeld) -> Result<Self, TextError> {
        bounded("why", &held.why.0, MAX_WHY)?;
        Ok(Self { value: SecretValueId::from_uuid(Uuid::from_bytes(held.value)), why: held.why.0 })
    }
}
