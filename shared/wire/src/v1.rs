//! Version 1 of the bodies: frozen structs, apart from the domain, with checked conversions both ways.
//!
//! Nothing here may change once released: another layout is another version. The golden vectors in the tests hold it.

mod check;
mod control;
mod desired;
mod enrol;
mod hello;
mod operation;
mod probe;
mod proof;
mod purge;
mod report;
mod run;
mod scan;
#[cfg(test)]
mod tests;

use lampas_shared::{TextError, error, object::Target};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    codec::{DecodeError, EncodeError, from_body, to_body},
    message::{BlobRequest, Goodbye, Kind, Message, RenewRequest, Request, SecretRequest},
};

pub(crate) fn encode(message: &Message) -> Result<Vec<u8>, EncodeError> {
    let kind = message.kind();
    match message {
        Message::Hello(hello) => Ok(hello::encode(hello)),
        Message::Welcome(welcome) => to_body(kind, &control::Welcome::from(&**welcome)),
        Message::Desired(state) => to_body(kind, &desired::NodeDesired::from(&**state)),
        Message::Ping(nonce) | Message::Pong(nonce) | Message::Ack(nonce) => to_body(kind, nonce),
        Message::Goodbye(goodbye) => to_body(kind, &control::Goodbye::from(goodbye)),
        Message::Fault(fault) => to_body(kind, &Fault::from(fault)),
        Message::Trust(trust) => to_body(kind, &control::trust_to_wire(trust)),
        Message::Signatures(held) => to_body(kind, &proof::signatures_to_wire(held)),
        Message::Approvals(said) => to_body(kind, &proof::approvals_to_wire(said)),
        Message::Facts(facts) => to_body(kind, &Borrowed(&hello::encode_facts(facts))),
        Message::AuditHead(head) => to_body(kind, &proof::Head::from(head)),
        Message::Countersigned(signed) => to_body(kind, &proof::Countersigned::from(&**signed)),
        Message::Report { seq, report } => report::encode(kind, *seq, report),
        Message::Request(request) => match &**request {
            Request::Plan(state) => to_body(kind, &desired::NodeDesired::from(state)),
            Request::Read(target) | Request::Revert(target) => to_body(kind, &Text::from(target.as_str())),
            Request::Retry | Request::Manage | Request::Eject => to_body(kind, &()),
            Request::Check(draft) => to_body(kind, &draft.content.as_str()),
            Request::Run(order) if let Some(asked) = &order.probe => probe::encode_request(kind, order, asked),
            Request::Run(order) if kind == Kind::OrderRequest => to_body(kind, &run::Order::from(order)),
            Request::Run(order) => match &order.program {
                Some(draft) => to_body(kind, &(run::RunOrder::from(order), draft.content.as_str())),
                None => to_body(kind, &run::RunOrder::from(order)),
            },
            Request::RunStatus(run) | Request::CancelRun(run) | Request::ForgetRun(run) => {
                to_body(kind, run.as_uuid().as_bytes())
            }
            Request::Output { run, offset } => to_body(kind, &(run.as_uuid().as_bytes(), *offset)),
            Request::Scan(request) => to_body(kind, &scan::request_to_wire(request)),
            Request::Purge(values) => purge::encode_request(kind, values),
        },
        Message::Reply(reply) => operation::encode(kind, reply),
        Message::BlobRequest(request) => to_body(kind, request.hash.as_bytes()),
        Message::BlobReply(reply) => to_body(kind, &reply.as_ref().map(|bytes| Borrowed(bytes)).map_err(Fault::from)),
        Message::SecretRequest(request) => to_body(kind, &(request.value.as_uuid().as_bytes(), request.key)),
        Message::SecretReply(reply) => to_body(kind, &reply.as_ref().map(|bytes| Borrowed(bytes)).map_err(Fault::from)),
        Message::LeaveRequest => to_body(kind, &()),
        Message::EnrolRequest(request) => to_body(kind, &enrol::EnrolRequest::from(&**request)),
        Message::EnrolReply(reply) => {
            to_body(kind, &reply.as_ref().as_ref().map(enrol::Enrolled::from).map_err(Fault::from))
        }
        Message::RenewRequest(request) => to_body(kind, &Borrowed(&request.csr)),
        Message::RenewReply(reply) => {
            to_body(kind, &reply.as_ref().as_ref().map(enrol::Renewed::from).map_err(Fault::from))
        }
    }
}

pub(crate) fn decode(kind: Kind, body: &[u8]) -> Result<Message, DecodeError> {
    let bad = |source| DecodeError::Value { kind, source };
    let target = |body| from_body::<Text>(kind, body).and_then(|t| Target::parse(&t.0).map_err(bad));
    Ok(match kind {
        Kind::Hello => Message::Hello(Box::new(hello::decode(body).map_err(bad)?)),
        Kind::Welcome => {
            Message::Welcome(Box::new(from_body::<control::Welcome>(kind, body)?.try_into().map_err(bad)?))
        }
        Kind::Desired => {
            Message::Desired(Box::new(from_body::<desired::NodeDesired>(kind, body)?.try_into().map_err(bad)?))
        }
        Kind::Ping => Message::Ping(from_body(kind, body)?),
        Kind::Pong => Message::Pong(from_body(kind, body)?),
        Kind::Ack => Message::Ack(from_body(kind, body)?),
        Kind::Goodbye => Message::Goodbye(Goodbye::try_from(from_body::<control::Goodbye>(kind, body)?).map_err(bad)?),
        Kind::Fault => Message::Fault(from_body::<Fault>(kind, body)?.try_into().map_err(bad)?),
        Kind::Signatures => Message::Signatures(proof::signatures_from_wire(from_body(kind, body)?).map_err(bad)?),
        Kind::Approvals => Message::Approvals(proof::approvals_from_wire(from_body(kind, body)?).map_err(bad)?),
        Kind::Facts => Message::Facts(Box::new(hello::decode_facts(&from_body::<Bytes>(kind, body)?.0).map_err(bad)?)),
        Kind::AuditHead => Message::AuditHead(from_body::<proof::Head>(kind, body)?.into()),
        Kind::Countersigned => {
            Message::Countersigned(Box::new(from_body::<proof::Countersigned>(kind, body)?.try_into().map_err(bad)?))
        }
        Kind::Trust => Message::Trust(control::trust_from_wire(from_body(kind, body)?).map_err(bad)?),
        Kind::Report => {
            let (seq, report): (u64, report::Report) = from_body(kind, body)?;
            Message::Report { seq, report: Box::new(report.try_into().map_err(bad)?) }
        }
        Kind::Lost => {
            let (seq, lost): (u64, report::LostReports) = from_body(kind, body)?;
            Message::Report { seq, report: Box::new(crate::message::Report::Lost(lost.try_into().map_err(bad)?)) }
        }
        Kind::ProbeReport => {
            let (seq, report) = probe::decode_report(kind, body)?;
            Message::Report { seq, report: Box::new(report) }
        }
        Kind::RunReport => {
            let (seq, run): (u64, run::OperationRun) = from_body(kind, body)?;
            Message::Report { seq, report: Box::new(crate::message::Report::Operation(run.try_into().map_err(bad)?)) }
        }
        Kind::PlanRequest => {
            let state = from_body::<desired::NodeDesired>(kind, body)?.try_into().map_err(bad)?;
            Message::Request(Box::new(Request::Plan(state)))
        }
        Kind::ReadRequest => Message::Request(Box::new(Request::Read(target(body)?))),
        Kind::RevertRequest => Message::Request(Box::new(Request::Revert(target(body)?))),
        Kind::RetryRequest => {
            from_body::<()>(kind, body)?;
            Message::Request(Box::new(Request::Retry))
        }
        Kind::ScanRequest => {
            let request = scan::request_from_wire(from_body(kind, body)?).map_err(bad)?;
            Message::Request(Box::new(Request::Scan(request)))
        }
        Kind::ManageRequest => {
            from_body::<()>(kind, body)?;
            Message::Request(Box::new(Request::Manage))
        }
        Kind::EjectRequest => {
            from_body::<()>(kind, body)?;
            Message::Request(Box::new(Request::Eject))
        }
        Kind::CheckRequest => {
            Message::Request(Box::new(Request::Check(check::draft_from_wire(from_body(kind, body)?).map_err(bad)?)))
        }
        Kind::CheckReply => Message::Reply(Box::new(check::decode(kind, body)?)),
        Kind::ScanReply | Kind::EjectReply => Message::Reply(Box::new(scan::decode(kind, body)?)),
        Kind::PlanReply | Kind::ReadReply | Kind::DoneReply => Message::Reply(Box::new(operation::decode(kind, body)?)),
        Kind::PurgeRequest => Message::Request(Box::new(purge::decode_request(kind, body)?)),
        Kind::PurgeReply => Message::Reply(Box::new(purge::decode(kind, body)?)),
        Kind::ProbeRequest => Message::Request(Box::new(probe::decode_request(kind, body)?)),
        Kind::ProbeReply => Message::Reply(Box::new(probe::decode_reply(kind, body)?)),
        Kind::RunReply | Kind::OutputReply => Message::Reply(Box::new(run::decode(kind, body)?)),
        Kind::OrderRequest
        | Kind::TryRequest
        | Kind::RunRequest
        | Kind::RunQuery
        | Kind::CancelRequest
        | Kind::OutputRequest
        | Kind::ForgetRequest => Message::Request(Box::new(run::decode_request(kind, body)?)),
        Kind::BlobRequest => {
            let hash: [u8; 32] = from_body(kind, body)?;
            Message::BlobRequest(BlobRequest { hash: lampas_shared::desired::ContentHash::from_bytes(hash) })
        }
        Kind::BlobReply => match from_body::<Result<Bytes, Fault>>(kind, body)? {
            Ok(bytes) => Message::BlobReply(Ok(bytes.0)),
            Err(fault) => Message::BlobReply(Err(fault.try_into().map_err(bad)?)),
        },
        Kind::SecretRequest => {
            let (value, key): ([u8; 16], [u8; 32]) = from_body(kind, body)?;
            let value = lampas_shared::id::SecretValueId::from_uuid(uuid::Uuid::from_bytes(value));
            Message::SecretRequest(SecretRequest { value, key })
        }
        Kind::SecretReply => match from_body::<Result<Bytes, Fault>>(kind, body)? {
            Ok(bytes) => Message::SecretReply(Ok(bytes.0)),
            Err(fault) => Message::SecretReply(Err(fault.try_into().map_err(bad)?)),
        },
        Kind::LeaveRequest => {
            from_body::<()>(kind, body)?;
            Message::LeaveRequest
        }
        Kind::EnrolRequest => {
            Message::EnrolRequest(Box::new(from_body::<enrol::EnrolRequest>(kind, body)?.try_into().map_err(bad)?))
        }
        Kind::EnrolReply | Kind::EnrolObserveReply => {
            Message::EnrolReply(Box::new(match from_body::<Result<enrol::Enrolled, Fault>>(kind, body)? {
                Ok(enrolled) => {
                    let enrolled = crate::message::Enrolled::try_from(enrolled).map_err(bad)?;
                    Ok(crate::message::Enrolled { observe: kind == Kind::EnrolObserveReply, ..enrolled })
                }
                Err(fault) => Err(fault.try_into().map_err(bad)?),
            }))
        }
        Kind::RenewRequest => Message::RenewRequest(RenewRequest { csr: from_body::<Bytes>(kind, body)?.0 }),
        Kind::RenewReply => {
            Message::RenewReply(Box::new(match from_body::<Result<enrol::Renewed, Fault>>(kind, body)? {
                Ok(renewed) => Ok(renewed.try_into().map_err(bad)?),
                Err(fault) => Err(fault.try_into().map_err(bad)?),
            }))
        }
    })
}

/// Text that is copied out of the frame only after its length was checked against the frame's; `String`'s own decoding
/// would allocate first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub(crate) struct Text(pub(crate) String);

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Bytes, in the same way.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// Bytes that are only written.
struct Borrowed<'a>(&'a [u8]);

impl Serialize for Borrowed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A fault as it crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    code: Text,
    message: Text,
    retry: bool,
}

impl Fault {
    const MAX_CODE: usize = 64;
    const MAX_MESSAGE: usize = 4096;
}

impl From<&error::Fault> for Fault {
    /// Shortens what is too long: a fault must never be what can't be sent.
    fn from(fault: &error::Fault) -> Self {
        Self {
            code: Text(cut(&fault.code, Self::MAX_CODE)),
            message: Text(cut(&fault.message, Self::MAX_MESSAGE)),
            retry: fault.retry,
        }
    }
}

impl TryFrom<Fault> for error::Fault {
    type Error = TextError;
    fn try_from(fault: Fault) -> Result<Self, TextError> {
        bounded("code", &fault.code.0, Fault::MAX_CODE)?;
        bounded("message", &fault.message.0, Fault::MAX_MESSAGE)?;
        Ok(Self { code: fault.code.0, message: fault.message.0, retry: fault.retry })
    }
}

/// Returns at most `max` bytes of the text, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}

/// Refuses text that is longer than it may be.
pub(crate) fn bounded(what: &'static str, text: &str, max: usize) -> Result<(), TextError> {
    if text.len() > max {
        return Err(TextError::new(what, text, format!("{} bytes, at most {max} are allowed", text.len())));
    }
    Ok(())
}

/// Refuses a list that is longer than it may be.
pub(crate) fn bounded_list(what: &'static str, length: usize, max: usize) -> Result<(), TextError> {
    if length > max {
        return Err(TextError::new(what, &length.to_string(), format!("at most {max} are allowed")));
    }
    Ok(())
}

/// Converts each element, stopping at the first that fails.
pub(crate) fn each<A, B: TryFrom<A, Error = TextError>>(list: Vec<A>) -> Result<Vec<B>, TextError> {
    list.into_iter().map(B::try_from).collect()
}
