//! What lets a controller that was killed tell agents that it knows nothing of their connections: connection ids that it
//! recognises as its own, and reset tokens derived from them (RFC 9000, section 10.3).

use blake3::{derive_key, keyed_hash};
use quinn::{
    ConnectionId, ConnectionIdGenerator,
    crypto::{CryptoError, HmacKey},
};
use quinn_proto::InvalidCid;

use crate::random;

/// Random bytes of a connection id. With three, as of 5,000 nodes with five ids each, some would get one that another
/// node's connection has from before the controller was killed: packets of that one would never be answered.
const NONCE_BYTES: usize = 8;
/// Bytes that say that this controller gave the id: of four thousand million packets of strangers one is answered.
const CHECK_BYTES: usize = 4;
const ID_BYTES: usize = NONCE_BYTES + CHECK_BYTES;

/// Makes connection ids that carry a keyed check of themselves.
#[derive(Debug, Clone)]
pub(super) struct OwnIds([u8; 32]);

impl OwnIds {
    pub(super) fn new(reset_key: &[u8; 32]) -> Self {
        Self(derive_key("lampas 2026 quic connection ids", reset_key))
    }

    fn check(&self, nonce: &[u8]) -> [u8; CHECK_BYTES] {
        *keyed_hash(&self.0, nonce).as_bytes().first_chunk().expect("a hash is longer")
    }
}

impl ConnectionIdGenerator for OwnIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let nonce = random::bytes::<NONCE_BYTES>();
        ConnectionId::new(&[nonce.as_slice(), self.check(&nonce).as_slice()].concat())
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let (nonce, check) = id.split_at_checked(NONCE_BYTES).ok_or(InvalidCid)?;
        if self.check(nonce) == check { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// Makes and checks reset tokens.
pub(super) struct ResetKey([u8; 32]);

impl ResetKey {
    pub(super) fn new(reset_key: &[u8; 32]) -> Self {
        Self(derive_key("lampas 2026 quic stateless reset", reset_key))
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        let hash = keyed_hash(&self.0, data);
        out.copy_from_slice(&hash.as_bytes()[..out.len()]);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Hashes compare in constant time.
        let given = <[u8; 32]>::try_from(signature).map_err(|_| CryptoError)?;
        if keyed_hash(&self.0, data) == given { Ok(()) } else { Err(CryptoError) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_known_again_after_a_restart_and_to_nobody_else() {
        let id = OwnIds::new(&[7; 32]).generate_cid();
        assert!(OwnIds::new(&[7; 32]).validate(&id).is_ok());
        assert!(OwnIds::new(&[8; 32]).validate(&id).is_err());
        for at in 0..id.len() {
            let mut other = id.to_vec();
            other[at] ^= 1;
            assert!(OwnIds::new(&[7; 32]).validate(&ConnectionId::new(&other)).is_err(), "byte {at}");
            assert!(OwnIds::new(&[7; 32]).validate(&ConnectionId::new(&id[..at])).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_fleet_before_and_after_a_crash_shares_no_id() {
        let ids: HashSet<_> = (0..2)
            .flat_map(|_| {
                let mut ids = OwnIds::new(&[7; 32]);
                (0..50_000).map(move |_| ids.generate_cid())
            })
            .collect();
        assert_eq!(ids.len(), 100_000);
    }
}
