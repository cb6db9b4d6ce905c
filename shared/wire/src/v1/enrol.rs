//! Enrolment and renewal.

use lampas_shared::{
    TextError,
    fleet::NodeName,
    id::{FleetId, NodeId},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Bytes, Text, bounded_list,
    control::{certificates_from_wire, controllers_from_wire, trust_from_wire, trust_to_wire},
    hello::{decode_facts, encode_facts},
};
use crate::message;

/// The longest signing request, in bytes; ours have under one KiB.
const MAX_CSR: usize = 8 << 10;

#[derive(Serialize, Deserialize)]
pub(super) struct EnrolRequest {
    token: Text,
    csr: Bytes,
    facts: Bytes,
}

impl From<&message::EnrolRequest> for EnrolRequest {
    fn from(request: &message::EnrolRequest) -> Self {
        Self {
            token: request.token.as_str().into(),
            csr: Bytes(request.csr.clone()),
            facts: Bytes(encode_facts(&request.facts)),
        }
    }
}

impl TryFrom<EnrolRequest> for message::EnrolRequest {
    type Error = TextError;
    fn try_from(request: EnrolRequest) -> Result<Self, TextError> {
        if request.token.0.len() > 256 {
            // The value stays out of the error: it may be a secret.
            return Err(TextError::new("token", "", "is too long"));
        }
        bounded_list("csr", request.csr.0.len(), MAX_CSR)?;
        Ok(Self { token: request.token.0, csr: request.csr.0, facts: decode_facts(&request.facts.0)? })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Enrolled {
    node: [u8; 16],
    name: Text,
    fleet: [u8; 16],
    chain: Vec<Bytes>,
    roots: Vec<Bytes>,
    controllers: Vec<Text>,
    time_ms: i64,
}

impl From<&message::Enrolled> for Enrolled {
    fn from(enrolled: &message::Enrolled) -> Self {
        Self {
            node: *enrolled.node.as_uuid().as_bytes(),
            name: enrolled.name.as_str().into(),
            fleet: *enrolled.fleet.as_uuid().as_bytes(),
            chain: enrolled.chain.iter().cloned().map(Bytes).collect(),
            roots: trust_to_wire(&enrolled.trust),
            controllers: enrolled.controllers.iter().map(|c| c.as_str().into()).collect(),
            time_ms: enrolled.time.0,
        }
    }
}

impl TryFrom<Enrolled> for message::Enrolled {
    type Error = TextError;
    fn try_from(enrolled: Enrolled) -> Result<Self, TextError> {
        Ok(Self {
            node: NodeId::from_uuid(Uuid::from_bytes(enrolled.node)),
            name: NodeName::parse(enrolled.name.0)?,
            fleet: FleetId::from_uuid(Uuid::from_bytes(enrolled.fleet)),
            chain: certificates_from_wire(enrolled.chain)?,
            trust: trust_from_wire(enrolled.roots)?,
            controllers: controllers_from_wire(enrolled.controllers)?,
            time: UnixMs(enrolled.time_ms),
            // The kind of the frame says it.
            observe: false,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Renewed {
    chain: Vec<Bytes>,
    roots: Vec<Bytes>,
    time_ms: i64,
}

impl From<&message::Renewed> for Renewed {
    fn from(renewed: &message::Renewed) -> Self {
        Self {
            chain: renewed.chain.iter().cloned().map(Bytes).collect(),
            roots: trust_to_wire(&renewed.trust),
            time_ms: renewed.time.0,
        }
    }
}

impl TryFrom<Renewed> for message::Renewed {
    type Error = TextError;
    fn try_from(renewed: Renewed) -> Result<Self, TextError> {
        Ok(Self {
            chain: certificates_from_wire(renewed.chain)?,
            trust: trust_from_wire(renewed.roots)?,
            time: UnixMs(renewed.time_ms),
        })
    }
}
