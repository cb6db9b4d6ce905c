//! Messages to frames and back, by the version of the frame.

use lampas_shared::TextError;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    frame::{Frame, FrameError},
    message::{Kind, Message, WIRE_VERSION},
    v1,
};

/// Returns the bytes of a message: a whole frame.
///
/// # Errors
/// When the message is longer than its kind may be.
pub fn encode(message: &Message) -> Result<Vec<u8>, EncodeError> {
    let kind = message.kind();
    let body = v1::encode(message)?;
    Ok(Frame { kind: kind as u16, version: WIRE_VERSION, body }.to_bytes()?)
}

/// Reads a frame.
///
/// # Errors
/// [`DecodeError::Unknown`] for what a later version may say: skip it or answer with a fault. Every other error is a
/// peer that doesn't speak the protocol.
pub fn decode(frame: &Frame) -> Result<Message, DecodeError> {
    let kind = Kind::from_u16(frame.kind);
    let Some(kind) = kind.filter(|_| frame.version == WIRE_VERSION) else {
        return Err(DecodeError::Unknown { kind: frame.kind, version: frame.version });
    };
    v1::decode(kind, &frame.body)
}

/// Why a message can't be sent.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// It is too long.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It holds what the encoding can't say.
    #[error("encoding a message of kind {kind:?}")]
    Body {
        /// The kind.
        kind: Kind,
        /// What the encoder says.
        source: Box<bincode::error::EncodeError>,
    },
}

/// Why a frame is no message.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// A kind or a version of a kind that this build doesn't know.
    #[error("frames of kind {kind} in version {version} are not known here")]
    Unknown {
        /// The kind.
        kind: u16,
        /// The version.
        version: u16,
    },
    /// The body isn't what its kind says.
    #[error("a frame of kind {kind:?} is malformed")]
    Body {
        /// The kind.
        kind: Kind,
        /// What the decoder says.
        source: Box<bincode::error::DecodeError>,
    },
    /// Bytes are left after the message.
    #[error("a frame of kind {kind:?} has {extra} bytes too many")]
    Trailing {
        /// The kind.
        kind: Kind,
        /// How many.
        extra: usize,
    },
    /// A value is not what its type allows.
    #[error("a frame of kind {kind:?} holds a bad value")]
    Value {
        /// The kind.
        kind: Kind,
        /// Which and why.
        source: TextError,
    },
}

/// Encodes one struct.
pub(crate) fn to_body<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, EncodeError> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|source| EncodeError::Body { kind, source: Box::new(source) })
}

/// Decodes one struct, which must be all of the body. The decoder's own byte limit is the smallest of three that holds
/// the body, so that no length inside of it can ask for much more memory than came.
pub(crate) fn from_body<T: DeserializeOwned>(kind: Kind, body: &[u8]) -> Result<T, DecodeError> {
    use bincode::{config::standard, serde::borrow_decode_from_slice as read};
    let result = match body.len() {
        0..=0x4000 => read(body, standard().with_limit::<0x1_0000>()),
        0x4001..=0x10_0000 => read(body, standard().with_limit::<0x40_0000>()),
        _ => read(body, standard().with_limit::<0x400_0000>()),
    };
    let (value, used): (T, usize) = result.map_err(|source| DecodeError::Body { kind, source: Box::new(source) })?;
    match body.len() - used {
        0 => Ok(value),
        extra => Err(DecodeError::Trailing { kind, extra }),
    }
}
