//! Single messages on streams of their own: requests, blobs, enrolment, renewal.

use std::{io, time::Duration};

use lampas_shared::error::Chain;
use lampas_wire::{
    Kind, Message, decode, encode,
    frame::{Decoder, FrameError},
};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use thiserror::Error;
use tokio::time::timeout;

/// How many bytes are taken from a stream at once.
pub(super) const CHUNK_BYTES: usize = 16 << 10;

/// Why a message did not come or go.
#[derive(Debug, Error)]
pub(super) enum StreamError {
    #[error("the peer did not answer in time")]
    Late,
    #[error("reading from the peer")]
    Read(#[from] ReadError),
    #[error("writing to the peer")]
    Write(#[from] WriteError),
    #[error("the stream ended before a message did")]
    Ended,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the peer said something else: {0}")]
    Unexpected(String),
    #[error("the message can't be sent")]
    Encode(#[source] io::Error),
}

/// Reads one message of an expected kind. `head` is what was read of it already.
pub(super) async fn read_message(
    recv: &mut RecvStream,
    head: &[u8],
    expected: &[Kind],
    limit: Duration,
) -> Result<Message, StreamError> {
    let read = async {
        let mut decoder = Decoder::new();
        let mut first = head.to_vec();
        decoder.push(head);
        loop {
            // The kind is looked at before its body comes, so that nobody can make us hold what we don't want.
            if first.len() >= 2 {
                let kind = u16::from_le_bytes([first[0], first[1]]);
                if !expected.iter().any(|e| *e as u16 == kind) {
                    return Err(StreamError::Unexpected(format!("a frame of kind {kind}")));
                }
            }
            if let Some(frame) = decoder.next_frame()? {
                return decode(&frame).map_err(|e| StreamError::Unexpected(Chain(&e).to_string()));
            }
            let chunk = recv.read_chunk(CHUNK_BYTES, true).await?.ok_or(StreamError::Ended)?;
            if first.len() < 2 {
                first.extend(chunk.bytes.iter().take(2));
            }
            decoder.push(&chunk.bytes);
        }
    };
    timeout(limit, read).await.map_err(|_| StreamError::Late)?
}

/// Reads the kind of the first frame. Returns it with the bytes that were taken.
pub(super) async fn read_kind(recv: &mut RecvStream, limit: Duration) -> Result<(u16, Vec<u8>), StreamError> {
    let read = async {
        let mut head = Vec::new();
        while head.len() < 2 {
            let chunk = recv.read_chunk(CHUNK_BYTES, true).await?.ok_or(StreamError::Ended)?;
            head.extend_from_slice(&chunk.bytes);
        }
        Ok((u16::from_le_bytes([head[0], head[1]]), head))
    };
    timeout(limit, read).await.map_err(|_| StreamError::Late)?
}

/// Writes one message and ends the stream.
pub(super) async fn write_message(
    send: &mut SendStream,
    message: &Message,
    limit: Duration,
) -> Result<(), StreamError> {
    let bytes = encode(message).map_err(|e| StreamError::Encode(io::Error::other(e)))?;
    timeout(limit, send.write_all(&bytes)).await.map_err(|_| StreamError::Late)??;
    // Fails only when it was ended before, which it wasn't.
    let _ = send.finish();
    Ok(())
}
