//! Small values sealed to a key pair: HPKE (RFC 9180) with X25519, HKDF-SHA256 and AES-256-GCM, one message each.

use std::{fmt, path::Path};

use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE,
    hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey},
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::files;

/// How long a key is.
pub const KEY_BYTES: usize = 32;

/// Why a value can't be sealed or opened.
#[derive(Debug, Error)]
pub enum SealError {
    /// The key's file can't be read or written.
    #[error("read or make the key {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("the key {0} is damaged")]
    Damaged(String),
    /// The cryptography failed.
    #[error("seal a value")]
    Seal(#[source] rustls::Error),
    /// It is damaged, or sealed to another key or for another purpose.
    #[error("the value is damaged, or sealed to another key")]
    Open,
}

/// A key pair that values are sealed to.
pub struct SealKey {
    public: [u8; KEY_BYTES],
    private: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(redacted)")
    }
}

impl SealKey {
    /// Makes a pair.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Self, SealError> {
        let (public, private) = SUITE.generate_key_pair().map_err(SealError::Seal)?;
        let public = public.0.try_into().map_err(|_| SealError::Open)?;
        Ok(Self { public, private: Zeroizing::new(private.secret_bytes().to_vec()) })
    }

    /// Reads the pair from its file, which only its owner can read; makes it when there is none. Blocking.
    ///
    /// # Errors
    /// When the file can't be read or written, or is damaged.
    pub fn open_or_make(path: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::File { path: path.display().to_string(), source };
        match files::read_private(path, 2 * KEY_BYTES as u64 + 1) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let damaged = || SealError::Damaged(path.display().to_string());
                let (public, private) = bytes.split_at_checked(KEY_BYTES).ok_or_else(damaged)?;
                if private.len() != KEY_BYTES {
                    return Err(damaged());
                }
                let public = public.try_into().map_err(|_| damaged())?;
                Ok(Self { public, private: Zeroizing::new(private.to_vec()) })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Some(dir) = path.parent() {
                    files::private_dir(dir).map_err(failed)?;
                }
                let key = Self::generate()?;
                let bytes = Zeroizing::new([key.public.as_slice(), &key.private].concat());
                files::replace(path, &bytes, 0o600).map_err(failed)?;
                Ok(key)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns what values are sealed to.
    pub fn public(&self) -> [u8; KEY_BYTES] {
        self.public
    }

    /// Returns a key for keyed digests that belongs to this pair.
    pub fn digest_key(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.private)
    }

    /// Opens what was sealed to this key under the same `bound`.
    ///
    /// # Errors
    /// When it is damaged, or was sealed to another key or under another `bound`.
    pub fn open(&self, bound: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (secret, body) = sealed.split_at_checked(KEY_BYTES).ok_or(SealError::Open)?;
        let private = HpkePrivateKey::from(self.private.to_vec());
        let opened = SUITE.open(&EncapsulatedSecret(secret.to_vec()), INFO, bound, body, &private);
        opened.map(Zeroizing::new).map_err(|_| SealError::Open)
    }
}

const INFO: &[u8] = b"lampas secret/1";

/// Seals a value to a public key. It opens only under the same `bound`: what it is and for whom.
///
/// # Errors
/// When the key is none.
pub fn seal(to: &[u8; KEY_BYTES], bound: &[u8], value: &[u8]) -> Result<Vec<u8>, SealError> {
    let key = HpkePublicKey(to.to_vec());
    let (secret, body) = SUITE.seal(INFO, bound, value, &key).map_err(SealError::Seal)?;
    Ok([secret.0, body].concat())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_value_opens_with_its_key_and_for_its_purpose_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("keys/secret-key");
        let key = SealKey::open_or_make(&path).expect("made");
        let again = SealKey::open_or_make(&path).expect("read");
        assert_eq!(key.public(), again.public());
        assert_eq!(std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        let sealed = seal(&key.public(), b"node a", b"hunter2").expect("sealed");
        assert_ne!(sealed, seal(&key.public(), b"node a", b"hunter2").expect("sealed"));
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(again.open(b"node a", &sealed).expect("opens").as_slice(), b"hunter2");
        again.open(b"node b", &sealed).expect_err("another purpose");
        SealKey::generate().expect("a key").open(b"node a", &sealed).expect_err("another key");
        let mut damaged = sealed.clone();
        damaged[40] ^= 1;
        key.open(b"node a", &damaged).expect_err("damaged");
        key.open(b"node a", &sealed[..20]).expect_err("cut");
        std::fs::write(&path, b"x").expect("writes");
        SealKey::open_or_make(&path).expect_err("damaged key");
    }
}
