//! The seal of a backup: HPKE (RFC 9180) with X25519, HKDF-SHA256 and AES-256-GCM, over chunks of 64 KiB.
//!
//! HPKE's context numbers the chunks, so that none can be dropped, doubled or swapped; the last one is marked in its
//! associated data, so that a cut shows. The file begins with a fixed line and the encapsulated key.

use std::{
    fmt,
    io::{self, Read, Write},
    str::FromStr,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE,
    hpke::{EncapsulatedSecret, Hpke as _, HpkeOpener, HpkePrivateKey, HpkePublicKey, HpkeSealer},
};
use thiserror::Error;
use zeroize::Zeroizing;

const MAGIC: &[u8] = b"lampas-backup/1\n";
const INFO: &[u8] = b"lampas backup/1";
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;
const KEY_BYTES: usize = 32;

/// Why it can't be sealed or opened.
#[derive(Debug, Error)]
pub enum SealError {
    /// A key isn't one.
    #[error("{what} must look like {prefix}… with 43 characters after it")]
    Key {
        /// Which key.
        what: &'static str,
        /// What it begins with.
        prefix: &'static str,
    },
    /// The cryptography failed.
    #[error("encrypt the backup")]
    Seal(#[source] rustls::Error),
    /// It can't be opened with this key.
    #[error("the backup is damaged, or sealed to another key")]
    Open,
    /// It isn't a backup.
    #[error("this is not a backup of LAMPAS")]
    Magic,
    /// The file can't be read.
    #[error("read the backup")]
    Read(#[source] io::Error),
    /// The file can't be written.
    #[error("write the backup")]
    Write(#[source] io::Error),
}

/// What backups are sealed to; may be known to everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

/// What opens them; kept apart from the controller.
pub struct RecoveryKey(Zeroizing<Vec<u8>>);

/// Both, as `backup keygen` makes them.
#[derive(Debug)]
pub struct KeyPair {
    /// For the controller.
    pub public: PublicKey,
    /// For the safe.
    pub recovery: RecoveryKey,
}

const PUBLIC: &str = "lbp1-";
const RECOVERY: &str = "lbr1-";

impl KeyPair {
    /// Makes a pair.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Self, SealError> {
        let (public, private) = SUITE.generate_key_pair().map_err(SealError::Seal)?;
        let recovery = RecoveryKey(Zeroizing::new(private.secret_bytes().to_vec()));
        Ok(Self { public: PublicKey(public.0), recovery })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = SealError;
    fn from_str(text: &str) -> Result<Self, SealError> {
        parse(text, PUBLIC).map(|k| Self(k.to_vec())).ok_or(SealError::Key { what: "the public key", prefix: PUBLIC })
    }
}

impl RecoveryKey {
    /// Returns the text to be kept.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{RECOVERY}{}", URL_SAFE_NO_PAD.encode(self.0.as_slice())))
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey(redacted)")
    }
}

impl FromStr for RecoveryKey {
    type Err = SealError;
    fn from_str(text: &str) -> Result<Self, SealError> {
        parse(text, RECOVERY).map(Self).ok_or(SealError::Key { what: "the recovery key", prefix: RECOVERY })
    }
}

fn parse(text: &str, prefix: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim().strip_prefix(prefix)?).ok()?);
    (bytes.len() == KEY_BYTES).then_some(bytes)
}

/// Seals what is written to it.
pub(super) struct Writer<W: Write> {
    out: W,
    sealer: Box<dyn HpkeSealer>,
    chunk: Zeroizing<Vec<u8>>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut out: W, key: &PublicKey) -> Result<Self, SealError> {
        let (secret, sealer) = SUITE.setup_sealer(INFO, &HpkePublicKey(key.0.clone())).map_err(SealError::Seal)?;
        out.write_all(MAGIC).and_then(|()| out.write_all(&secret.0)).map_err(SealError::Write)?;
        Ok(Self { out, sealer, chunk: Zeroizing::new(Vec::with_capacity(CHUNK)) })
    }

    /// Writes the last chunk and returns what was written to.
    pub(super) fn finish(mut self) -> Result<W, SealError> {
        self.seal(true).map_err(SealError::Write)?;
        self.out.flush().map_err(SealError::Write)?;
        Ok(self.out)
    }

    fn seal(&mut self, is_last: bool) -> io::Result<()> {
        let sealed = self.sealer.seal(&[u8::from(is_last)], &self.chunk).map_err(io::Error::other)?;
        self.out.write_all(&sealed)?;
        self.chunk.clear();
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits for the next byte: the last one must be known as such.
        if self.chunk.len() == CHUNK {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens what it reads.
pub(super) struct Reader<R: Read> {
    from: R,
    opener: Box<dyn HpkeOpener>,
    chunk: Zeroizing<Vec<u8>>,
    at: usize,
    ahead: Vec<u8>,
    is_over: bool,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(mut from: R, key: &RecoveryKey) -> Result<Self, SealError> {
        let mut head = [0; MAGIC.len() + KEY_BYTES];
        from.read_exact(&mut head).map_err(|_| SealError::Magic)?;
        let (magic, secret) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(SealError::Magic);
        }
        let private = HpkePrivateKey::from(key.0.to_vec());
        let opener =
            SUITE.setup_opener(&EncapsulatedSecret(secret.to_vec()), INFO, &private).map_err(|_| SealError::Open)?;
        let ahead = take(&mut from).map_err(SealError::Read)?;
        Ok(Self { from, opener, chunk: Zeroizing::new(Vec::new()), at: 0, ahead, is_over: false })
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            if self.is_over {
                return Ok(0);
            }
            let next = if self.ahead.len() < CHUNK + TAG { Vec::new() } else { take(&mut self.from)? };
            let is_last = next.is_empty();
            let opened = self.opener.open(&[u8::from(is_last)], &self.ahead);
            self.chunk = Zeroizing::new(opened.map_err(|_| io::Error::other(SealError::Open))?);
            (self.at, self.ahead, self.is_over) = (0, next, is_last);
        }
        let taken = into.len().min(self.chunk.len() - self.at);
        into[..taken].copy_from_slice(&self.chunk[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

fn take(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut sealed = Vec::with_capacity(CHUNK + TAG);
    from.take((CHUNK + TAG) as u64).read_to_end(&mut sealed)?;
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(plain: &[u8], key: &PublicKey) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), key).expect("begins");
        writer.write_all(plain).expect("writes");
        writer.finish().expect("ends")
    }

    fn open(sealed: &[u8], key: &RecoveryKey) -> Result<Vec<u8>, String> {
        let mut plain = Vec::new();
        let mut reader = Reader::new(sealed, key).map_err(|e| e.to_string())?;
        reader.read_to_end(&mut plain).map_err(|e| e.to_string())?;
        Ok(plain)
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_alone() {
        let (pair, other) = (KeyPair::generate().expect("a pair"), KeyPair::generate().expect("a pair"));
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let plain: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let sealed = seal(&plain, &pair.public);
            assert_eq!(open(&sealed, &pair.recovery).as_deref(), Ok(plain.as_slice()), "{size}");
            assert!(open(&sealed, &other.recovery).is_err());
        }
    }

    #[test]
    fn damage_shows_wherever_it_is() {
        let pair = KeyPair::generate().expect("a pair");
        let sealed = seal(&vec![7; 2 * CHUNK + 5], &pair.public);
        let head = MAGIC.len() + KEY_BYTES;
        for at in [0, MAGIC.len(), head, head + CHUNK, sealed.len() - 1] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(open(&damaged, &pair.recovery).is_err(), "a flipped bit at {at}");
        }
        for cut in [1, 21, TAG + 5, sealed.len() - head - (CHUNK + TAG)] {
            assert!(open(&sealed[..sealed.len() - cut], &pair.recovery).is_err(), "{cut} bytes cut off");
        }
    }

    #[test]
    fn keys_survive_as_text() {
        let pair = KeyPair::generate().expect("a pair");
        assert_eq!(pair.public.to_string().parse::<PublicKey>().expect("parses"), pair.public);
        let again: RecoveryKey = pair.recovery.reveal().parse().expect("parses");
        assert_eq!(open(&seal(b"x", &pair.public), &again).as_deref(), Ok(b"x".as_slice()));
        assert!(pair.public.to_string().parse::<RecoveryKey>().is_err());
        assert!(!format!("{pair:?}").contains(pair.recovery.reveal().as_str()));
    }
}
