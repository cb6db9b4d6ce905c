//! Probes: a question in an order's place, and results with what was found. Kinds of their own, as orders and results are
//! frozen.

use lampas_shared::{
    TextError, error, operation as domain,
    probe::{self, Number, Probe},
};
use serde::{Deserialize, Serialize};

use super::{
    Fault, Text, bounded, bounded_list,
    run::{OperationRun, RunOrder},
};
use crate::{
    codec::{DecodeError, EncodeError, from_body, to_body},
    message::{Kind, Reply, Report, Request},
};

/// The most words of a question.
const MAX_WORDS: usize = 64;

/// An order, the question in its words, and the bits of what was measured before.
type Question = (RunOrder, Vec<Text>, Option<u64>);

pub(super) fn encode_request(
    kind: Kind,
    order: &domain::RunOrder,
    asked: &domain::ProbeOrder,
) -> Result<Vec<u8>, EncodeError> {
    let words = asked.probe.words().iter().map(|w| w.as_str().into()).collect();
    let question: Question = (RunOrder::from(order), words, asked.before.map(bits));
    to_body(kind, &question)
}

pub(super) fn decode_request(kind: Kind, body: &[u8]) -> Result<Request, DecodeError> {
    let bad = |source| DecodeError::Value { kind, source };
    let (order, words, before): Question = from_body(kind, body)?;
    bounded_list("words", words.len(), MAX_WORDS).map_err(bad)?;
    let words: Vec<String> = words.into_iter().map(|w| w.0).collect();
    let probe = Probe::from_words(&words).map_err(bad)?;
    let before = before.map(number).transpose().map_err(bad)?;
    let probe = Some(domain::ProbeOrder { probe, before });
    Ok(Request::Run(domain::RunOrder { probe, ..order.try_into().map_err(bad)? }))
}

#[derive(Serialize, Deserialize)]
struct Found {
    text: Text,
    value: Option<u64>,
}

impl From<&probe::Found> for Found {
    fn from(found: &probe::Found) -> Self {
        Self { text: found.text.as_str().into(), value: found.value.map(bits) }
    }
}

impl TryFrom<Found> for probe::Found {
    type Error = TextError;
    fn try_from(found: Found) -> Result<Self, TextError> {
        bounded("finding", &found.text.0, Self::MAX_TEXT)?;
        Ok(Self::new(&found.text.0, found.value.map(number).transpose()?))
    }
}

pub(super) fn encode_report(
    kind: Kind,
    seq: u64,
    run: &domain::OperationRun,
    found: &probe::Found,
) -> Result<Vec<u8>, EncodeError> {
    to_body(kind, &(seq, OperationRun::from(run), Found::from(found)))
}

pub(super) fn decode_report(kind: Kind, body: &[u8]) -> Result<(u64, Report), DecodeError> {
    let bad = |source| DecodeError::Value { kind, source };
    let (seq, run, found): (u64, OperationRun, Found) = from_body(kind, body)?;
    Ok((seq, Report::Operation(ended(run, found).map_err(bad)?)))
}

pub(super) fn encode_reply(
    kind: Kind,
    run: &domain::OperationRun,
    found: &probe::Found,
) -> Result<Vec<u8>, EncodeError> {
    let reply: Result<(OperationRun, Found), Fault> = Ok((run.into(), found.into()));
    to_body(kind, &reply)
}

pub(super) fn decode_reply(kind: Kind, body: &[u8]) -> Result<Reply, DecodeError> {
    let bad = |source| DecodeError::Value { kind, source };
    Ok(Reply::Run(match from_body::<Result<(OperationRun, Found), Fault>>(kind, body)? {
        Ok((run, found)) => Ok(domain::RunStatus::Ended(Box::new(ended(run, found).map_err(bad)?))),
        Err(fault) => Err(error::Fault::try_from(fault).map_err(bad)?),
    }))
}

fn ended(run: OperationRun, found: Found) -> Result<domain::OperationRun, TextError> {
    Ok(domain::OperationRun { found: Some(found.try_into()?), ..run.try_into()? })
}

fn bits(number: Number) -> u64 {
    number.get().to_bits()
}

fn number(bits: u64) -> Result<Number, TextError> {
    Number::try_from(f64::from_bits(bits))
}
