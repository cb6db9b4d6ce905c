//! The two ordered streams of a link, as the machine's commands fill and drain them.

use std::future::pending;

use quinn::{Chunk, ReadError, RecvStream, SendStream, WriteError};

use super::super::stream::CHUNK_BYTES;

/// One ordered stream with what waits to be written.
#[derive(Default)]
pub(super) struct Pipe {
    pub(super) send: Option<SendStream>,
    pub(super) recv: Option<RecvStream>,
    pub(super) waiting: Vec<u8>,
    pub(super) written: usize,
}

impl Pipe {
    pub(super) fn open(&mut self, send: SendStream, recv: RecvStream) {
        self.send = Some(send);
        self.recv = Some(recv);
    }

    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        if self.waiting.is_empty() {
            self.waiting = bytes;
        } else {
            self.waiting.extend_from_slice(&bytes);
        }
    }

    pub(super) fn unread(&self) -> usize {
        self.waiting.len() - self.written
    }

    pub(super) fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.unread() == 0 {
            // An idle connection holds no buffer.
            self.waiting = Vec::new();
            self.written = 0;
        }
    }
}

/// Cancel-safe, as [`RecvStream::read_chunk`] is.
pub(super) async fn read(recv: &mut Option<RecvStream>) -> Result<Option<Chunk>, ReadError> {
    match recv {
        Some(recv) => recv.read_chunk(CHUNK_BYTES, true).await,
        None => pending().await,
    }
}

/// Cancel-safe, as [`SendStream::write`] is.
pub(super) async fn write(send: &mut Option<SendStream>, bytes: &[u8]) -> Result<usize, WriteError> {
    match send {
        Some(send) if !bytes.is_empty() => send.write(bytes).await,
        _ => pending().await,
    }
}
