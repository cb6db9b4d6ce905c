//! Frames: an eight-byte header and a body, cut out of a stream of bytes under hard limits.
//!
//! The header stands outside of any encoding so that it can be read by every version for ever: kind `u16`, version
//! `u16`, length of the body `u32`, all little endian. A length is checked against the limit of its kind as soon as the
//! header is there; memory grows only by bytes that have arrived.

use thiserror::Error;

use crate::message::Kind;

/// The length of a header.
pub const HEADER_BYTES: usize = 8;

/// The longest body of a kind that this version doesn't know. It is skipped, and must not be a way to fill memory.
pub const MAX_UNKNOWN_BYTES: usize = 64 << 10;

/// One frame as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is; see [`Kind`].
    pub kind: u16,
    /// The version of the body's layout.
    pub version: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Frame {
    /// Returns header and body as they go onto a stream.
    ///
    /// # Errors
    /// When the body is longer than its kind may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FrameError> {
        let limit = limit(self.kind);
        if self.body.len() > limit {
            return Err(FrameError::TooLong { kind: self.kind, length: self.body.len() as u64, limit });
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.body.len());
        bytes.extend_from_slice(&self.kind.to_le_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&(self.body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.body);
        Ok(bytes)
    }
}

impl std::fmt::Debug for Frame {
    /// Leaves the body out: contents never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame(kind {} v{}, {} B)", self.kind, self.version, self.body.len())
    }
}

/// Cuts a stream into frames: bytes in by [`Decoder::push`], frames out by [`Decoder::next_frame`].
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that were handed out already; removed when they outweigh the rest.
    taken: usize,
    broken: Option<FrameError>,
}

impl Decoder {
    /// Makes a decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes of the stream. Take the frames out after each push: then at most one frame and one push are held.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Returns the next whole frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// When a header announces more than its kind may have. The stream can't be read further; each later call says so
    /// again.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let rest = &self.buffer[self.taken..];
        let Some((header, body)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let kind = u16::from_le_bytes([header[0], header[1]]);
        let version = u16::from_le_bytes([header[2], header[3]]);
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let limit = limit(kind);
        if length > limit {
            let error = FrameError::TooLong { kind, length: length as u64, limit };
            self.broken = Some(error.clone());
            self.buffer = Vec::new();
            self.taken = 0;
            return Err(error);
        }
        let Some(body) = body.get(..length) else { return Ok(None) };
        let frame = Frame { kind, version, body: body.to_vec() };
        self.taken += HEADER_BYTES + length;
        if self.taken == self.buffer.len() {
            // An idle connection shall hold no buffer: there are thousands of them.
            self.buffer = Vec::new();
            self.taken = 0;
        } else if self.taken > self.buffer.len() / 2 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        Ok(Some(frame))
    }

    /// Returns how many bytes are held.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// Checks that the stream ended between two frames.
    ///
    /// # Errors
    /// When it ended inside of one.
    pub fn finish(&self) -> Result<(), FrameError> {
        match (&self.broken, self.buffered()) {
            (Some(error), _) => Err(error.clone()),
            (None, 0) => Ok(()),
            (None, held) => Err(FrameError::Truncated { held }),
        }
    }
}

/// Returns the longest body of a kind, in bytes.
pub fn limit(kind: u16) -> usize {
    Kind::from_u16(kind).map_or(MAX_UNKNOWN_BYTES, Kind::max_bytes)
}

/// What is wrong with a stream of frames.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A body is longer than its kind may be.
    #[error("a frame of kind {kind} has {length} bytes, at most {limit} are allowed")]
    TooLong {
        /// The kind.
        kind: u16,
        /// What the header says.
        length: u64,
        /// What is allowed.
        limit: usize,
    },
    /// The stream ended inside of a frame.
    #[error("the stream ended inside of a frame, after {held} of its bytes")]
    Truncated {
        /// How many bytes of the frame had come.
        held: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = Frame> {
        (any::<u16>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(kind, version, body)| Frame { kind, version, body })
            .prop_filter("within the limit of its kind", |f| f.body.len() <= limit(f.kind))
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut_of_the_stream(
            frames in proptest::collection::vec(frame(), 0..8),
            cuts in proptest::collection::vec(1_usize..64, 1..32),
        ) {
            let stream: Vec<u8> = frames.iter().flat_map(|f| f.to_bytes().unwrap()).collect();
            let mut decoder = Decoder::new();
            let (mut got, mut rest, mut cuts) = (Vec::new(), &stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                decoder.push(now);
                rest = later;
                while let Some(frame) = decoder.next_frame().unwrap() {
                    got.push(frame);
                }
            }
            prop_assert_eq!(got, frames);
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_are_frames_or_a_named_error_and_hold_no_more_than_came(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut decoder = Decoder::new();
            decoder.push(&bytes);
            while let Ok(Some(frame)) = decoder.next_frame() {
                prop_assert!(frame.body.len() <= limit(frame.kind));
            }
            prop_assert!(decoder.buffered() <= bytes.len());
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_by_the_header_alone() {
        let mut decoder = Decoder::new();
        decoder.push(&[4, 0, 1, 0, 0xff, 0xff, 0xff, 0xff]);
        let error = decoder.next_frame().unwrap_err();
        assert_eq!(error.to_string(), "a frame of kind 4 has 4294967295 bytes, at most 64 are allowed");
        decoder.push(&[0; 1000]);
        assert_eq!(decoder.buffered(), 0);
        assert_eq!(decoder.next_frame(), Err(error));
    }

    #[test]
    fn a_cut_off_frame_is_named() {
        let mut decoder = Decoder::new();
        decoder.push(&[4, 0, 1, 0, 9, 0, 0, 0, 7]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.finish(), Err(FrameError::Truncated { held: 9 }));
    }
}
