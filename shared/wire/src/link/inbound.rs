//! What comes in on one ordered stream: frames under a rate limit, read into messages.

use std::time::Duration;

use lampas_shared::error::{Chain, Fault};

use super::CloseReason;
use crate::{
    codec::{DecodeError, decode},
    frame::Decoder,
    message::Message,
};

/// Frames that may come at once, and per second in the long run. A control stream sees one a second at its busiest, an
/// outbox stream a window of reports per commit.
const BURST: u64 = 512;
const PER_SECOND: u64 = 256;

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Inbound {
    decoder: Decoder,
    /// Thousandths of frames taken beyond what the rate allows.
    level_milli: u64,
    refilled_at: Duration,
}

/// What one frame is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A message.
    Message(Message),
    /// Something of a later version: the fault to answer with.
    Unknown(Fault),
}

impl Inbound {
    /// Takes bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Returns how many bytes are held.
    pub fn buffered(&self) -> usize {
        self.decoder.buffered()
    }

    /// Returns what comes next, or why the connection can't go on.
    pub(super) fn next(&mut self, now: Duration) -> Result<Option<Item>, CloseReason> {
        let frame = match self.decoder.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(error) => return Err(CloseReason::Lied(error.to_string())),
        };
        let passed = now.saturating_sub(self.refilled_at).as_millis() as u64;
        self.refilled_at = self.refilled_at.max(now);
        self.level_milli = self.level_milli.saturating_sub(passed.saturating_mul(PER_SECOND));
        self.level_milli += 1000;
        if self.level_milli > BURST * 1000 {
            return Err(CloseReason::Flooded("more frames than the link may carry"));
        }
        match decode(&frame) {
            Ok(message) => Ok(Some(Item::Message(message))),
            Err(error @ DecodeError::Unknown { .. }) => {
                Ok(Some(Item::Unknown(Fault::lasting("wire.unknown", error.to_string()))))
            }
            Err(error) => Err(CloseReason::Lied(Chain(&error).to_string())),
        }
    }
}
