//! What the controller and the signer say to each other: one JSON value a frame, its length before it.

use std::io;

use lampas_shared::{
    desired::ContentHash,
    error::Fault,
    id::{ControllerId, FleetId, NodeId, TokenId},
    time::UnixMs,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest frame: a few certificates with room to spare.
const FRAME_BYTES_MAX: u32 = 256 * 1024;

/// What is asked of the signer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// The authorities. They are made when there are none yet, for this fleet.
    Open { fleet: FleetId },
    /// A certificate for a node that enrols.
    Enrol { record: Enrolment, csr: Vec<u8> },
    /// A certificate for a node that holds one.
    Renew { record: Renewal, csr: Vec<u8> },
    /// A certificate for a controller.
    Controller { controller: ControllerId, csr: Vec<u8> },
    /// A second root and intermediate; both roots are trusted from here on.
    Rotate,
    /// The end of all roots but the newest.
    Retire,
}

/// The signer's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The authorities.
    Authority(AuthorityInfo),
    /// A certificate.
    Issued(Issued),
    /// Refused or failed.
    Fault(Fault),
}

/// The record of an enrolment: which token allowed which node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The node that is named.
    pub node: NodeId,
    /// The token that allowed it.
    pub token: TokenId,
    /// How many nodes the token allows.
    pub uses: u32,
    /// When the token ends.
    pub expires: UnixMs,
}

/// The record of a renewal: which certificate it follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The node that is named.
    pub node: NodeId,
    /// BLAKE3 of the certificate that it showed.
    pub fingerprint: ContentHash,
    /// The certificate that it showed and what leads from it to a root, DER: a signer whose log came from a backup
    /// may not know it, and judges it by itself.
    #[serde(default)]
    pub shown: Vec<Vec<u8>>,
}

/// A certificate that the signer issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The certificate and what leads from it to a root, DER, the certificate first.
    pub chain: Vec<Vec<u8>>,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// BLAKE3 of it.
    pub fingerprint: ContentHash,
    /// The URI that it carries.
    pub subject: String,
    /// The name of the authority that signed it.
    pub issuer: String,
    /// The first instant of its life.
    pub not_before: UnixMs,
    /// The last instant of its life.
    pub not_after: UnixMs,
}

/// The authorities of the fleet, without their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityInfo {
    /// The fleet.
    pub fleet: FleetId,
    /// The roots that are trusted, DER, the newest last.
    pub roots: Vec<Vec<u8>>,
    /// Which of the roots signs: its number, from 1.
    pub generation: u32,
    /// The name of the intermediate that signs, as [`Issued::issuer`] says it.
    #[serde(default)]
    pub issuer: String,
    /// The end of the newest root.
    pub root_not_after: UnixMs,
    /// The end of the intermediate that signs.
    pub signing_not_after: UnixMs,
    /// Whether the newest root's key is here; it may be taken offline, and is needed only to renew the intermediate.
    pub has_root_key: bool,
    /// How many certificates were issued.
    pub issued: u64,
}

pub(super) async fn write_frame<T: Serialize>(out: &mut (impl AsyncWrite + Unpin), value: &T) -> io::Result<()> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len()).ok().filter(|l| *l <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the frame is too long"))?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&body);
    out.write_all(&frame).await
}

pub(super) async fn read_frame<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let length = from.read_u32_le().await?;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is too long"));
    }
    let mut body = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut body).await?;
    if body.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&body)?)
}
