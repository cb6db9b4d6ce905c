//! The control stream: `Welcome`, `Goodbye`, `Trust`.

use lampas_shared::{
    TextError,
    fleet::NodeName,
    id::{ControllerId, FleetId},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Bytes, Text, bounded, bounded_list, cut};
use crate::message;

/// The most controllers in a list; a fleet has a handful.
const MAX_CONTROLLERS: usize = 32;
/// The longest certificate, in bytes; ours have under one KiB.
const MAX_CERTIFICATE: usize = 8 << 10;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    controller: [u8; 16],
    fleet: [u8; 16],
    name: Text,
    time_ms: i64,
    heartbeat_ms: u32,
    acked: u64,
    controllers: Vec<Text>,
}

impl From<&message::Welcome> for Welcome {
    fn from(welcome: &message::Welcome) -> Self {
        Self {
            controller: *welcome.controller.as_uuid().as_bytes(),
            fleet: *welcome.fleet.as_uuid().as_bytes(),
            name: welcome.name.as_str().into(),
            time_ms: welcome.time.0,
            heartbeat_ms: welcome.heartbeat_ms,
            acked: welcome.acked,
            controllers: welcome.controllers.iter().map(|c| c.as_str().into()).collect(),
        }
    }
}

impl TryFrom<Welcome> for message::Welcome {
    type Error = TextError;
    fn try_from(welcome: Welcome) -> Result<Self, TextError> {
        // A heartbeat of nothing would be a flood, one of an hour no heartbeat.
        if !(100..=600_000).contains(&welcome.heartbeat_ms) {
            return Err(TextError::new("heartbeat", &welcome.heartbeat_ms.to_string(), "is not in 100 to 600000 ms"));
        }
        Ok(Self {
            controller: ControllerId::from_uuid(Uuid::from_bytes(welcome.controller)),
            fleet: FleetId::from_uuid(Uuid::from_bytes(welcome.fleet)),
            name: NodeName::parse(welcome.name.0)?,
            time: UnixMs(welcome.time_ms),
            heartbeat_ms: welcome.heartbeat_ms,
            acked: welcome.acked,
            controllers: controllers_from_wire(welcome.controllers)?,
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Goodbye {
    reason: GoodbyeReason,
    message: Text,
}

#[derive(Debug, Serialize, Deserialize)]
enum GoodbyeReason {
    Stopping,
    Revoked,
    Replaced,
    Misbehaved,
    Moved,
    Done,
}

impl From<&message::Goodbye> for Goodbye {
    fn from(goodbye: &message::Goodbye) -> Self {
        use message::GoodbyeReason as R;
        let reason = match goodbye.reason {
            R::Stopping => GoodbyeReason::Stopping,
            R::Revoked => GoodbyeReason::Revoked,
            R::Replaced => GoodbyeReason::Replaced,
            R::Misbehaved => GoodbyeReason::Misbehaved,
            R::Moved => GoodbyeReason::Moved,
            R::Done => GoodbyeReason::Done,
        };
        Self { reason, message: Text(cut(&goodbye.message, 1024)) }
    }
}

impl TryFrom<Goodbye> for message::Goodbye {
    type Error = TextError;
    fn try_from(goodbye: Goodbye) -> Result<Self, TextError> {
        use message::GoodbyeReason as R;
        bounded("message", &goodbye.message.0, 1024)?;
        let reason = match goodbye.reason {
            GoodbyeReason::Stopping => R::Stopping,
            GoodbyeReason::Revoked => R::Revoked,
            GoodbyeReason::Replaced => R::Replaced,
            GoodbyeReason::Misbehaved => R::Misbehaved,
            GoodbyeReason::Moved => R::Moved,
            GoodbyeReason::Done => R::Done,
        };
        Ok(Self { reason, message: goodbye.message.0 })
    }
}

pub(super) fn trust_to_wire(trust: &message::Trust) -> Vec<Bytes> {
    trust.roots.iter().cloned().map(Bytes).collect()
}

pub(super) fn trust_from_wire(roots: Vec<Bytes>) -> Result<message::Trust, TextError> {
    bounded_list("authorities", roots.len(), message::Trust::MAX_ROOTS)?;
    if roots.is_empty() {
        return Err(TextError::new("authorities", "", "a fleet has at least one"));
    }
    Ok(message::Trust::new(certificates_from_wire(roots)?))
}

pub(super) fn certificates_from_wire(list: Vec<Bytes>) -> Result<Vec<Vec<u8>>, TextError> {
    bounded_list("certificates", list.len(), 8)?;
    match list.iter().find(|c| c.0.is_empty() || c.0.len() > MAX_CERTIFICATE) {
        Some(odd) => {
            let reason = format!("a certificate has 1 to {MAX_CERTIFICATE} bytes");
            Err(TextError::new("certificate", &odd.0.len().to_string(), reason))
        }
        None => Ok(list.into_iter().map(|c| c.0).collect()),
    }
}

pub(super) fn controllers_from_wire(list: Vec<Text>) -> Result<Vec<String>, TextError> {
    bounded_list("controllers", list.len(), MAX_CONTROLLERS)?;
    for address in &list {
        lampas_shared::check_line("controller", &address.0, 300)?;
    }
    Ok(list.into_iter().map(|a| a.0).collect())
}
