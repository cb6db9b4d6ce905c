//! One request and one answer on a stream of its own.

use std::time::Duration;

use lampas_wire::{
    DecodeError, EncodeError, Message, decode, encode,
    frame::{Decoder, FrameError},
};
use quinn::{Connection, RecvStream};
use thiserror::Error;
use tokio::time::timeout;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// The request can't be sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The connection is gone.
    #[error("the connection ended")]
    Connection(#[from] quinn::ConnectionError),
    /// The stream broke.
    #[error("the stream broke while {0}")]
    Stream(&'static str),
    /// The peer doesn't speak the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer says what can't be understood.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Too late.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Opens a stream, sends a message, and returns the one that comes back.
///
/// # Errors
/// When it can't be sent, or no readable answer comes within the limit.
///
/// # Cancellation
/// The stream is reset when the future is dropped.
pub async fn exchange(connection: &Connection, request: &Message, limit: Duration) -> Result<Message, ExchangeError> {
    let bytes = encode(request)?;
    let attempt = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_all(&bytes).await.map_err(|_| ExchangeError::Stream("the request was sent"))?;
        // Fails only when the peer has answered already and stopped listening.
        let _ = send.finish();
        read_message(&mut recv).await
    };
    timeout(limit, attempt).await.map_err(|_| ExchangeError::Timeout(limit))?
}

/// Reads the one message of a stream.
///
/// # Errors
/// When the stream ends before it, or it can't be read.
pub(crate) async fn read_message(recv: &mut RecvStream) -> Result<Message, ExchangeError> {
    let mut decoder = Decoder::new();
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(decode(&frame)?);
        }
        match recv.read_chunk(64 << 10, true).await {
            Ok(Some(chunk)) => decoder.push(&chunk.bytes),
            Ok(None) => {
                decoder.finish()?;
                return Err(ExchangeError::Stream("the answer was read: it is empty"));
            }
            Err(quinn::ReadError::ConnectionLost(error)) => return Err(error.into()),
            Err(_) => return Err(ExchangeError::Stream("the answer was read")),
        }
    }
}
