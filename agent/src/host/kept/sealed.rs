//! Kept copies that may hold values of secrets, as they stand on the disk: sealed to the node's key, which lies apart.
//!
//! A head in plain says which values may be in the copy, by their random ids, so that a purge finds it without opening it;
//! the seal covers the head. Who has a copy of these files alone learns nothing of the content. Root on the node has the
//! key, and opens them: `lampas-agent kept`.

use std::collections::BTreeSet;

use lampas_runtime::seal::{self, SealError, SealKey};
use lampas_shared::{desired::ContentHash, error::Chain, id::SecretValueId};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Owned;
use crate::system::{PathError, Root};

/// The key's file, as [`crate::config::Paths::secret_key`] has it.
const KEY: &str = "var/lib/lampas/agent/secret-key";
/// What a sealed copy begins with. A file that begins so by itself is told by its hash, or has another name.
const MAGIC: &[u8] = b"lampas kept/1\n";
/// A place holds a handful of values; thousands of ids fit.
const MAX_HEAD: usize = 1 << 18;
const NAMES: &str = "lampas agent 2026 names of kept copies";

/// What a copy may hold of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Nothing: it is kept as it is.
    Nothing,
    /// These values and no others; none where only what somebody else wrote stands there.
    Values(BTreeSet<SecretValueId>),
    /// Nobody knows: any.
    Any,
}

impl Holds {
    /// Returns what a copy of a place holds, by what LAMPAS left there and by whether it puts secrets there next.
    pub(crate) fn of(owned: Option<&Owned>, is_secret: bool) -> Self {
        match owned {
            // An agent that didn't put values down wrote it.
            Some(owned) if owned.holds_secrets && owned.values.is_empty() => Self::Any,
            Some(owned) if owned.holds_secrets => Self::Values(owned.values.clone()),
            _ if is_secret => Self::Values(BTreeSet::new()),
            _ => Self::Nothing,
        }
    }

    /// Returns whether one of these values may be in it.
    pub(super) fn may_hold(&self, values: &BTreeSet<SecretValueId>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Values(held) => held.iter().any(|value| values.contains(value)),
            Self::Any => true,
        }
    }

    /// Returns what both together hold.
    pub(super) fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, only) | (only, Self::Nothing) => only,
            (Self::Any, _) | (_, Self::Any) => Self::Any,
            (Self::Values(mut all), Self::Values(more)) => {
                all.extend(more);
                Self::Values(all)
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    /// The place that it is a copy of, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    of: String,
    /// The values that may be in it; absent when nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<BTreeSet<SecretValueId>>,
}

/// A copy as it stands on the disk.
pub(super) enum Stored {
    /// As it is.
    Plain(Vec<u8>),
    /// Sealed: what it holds, where the seal begins, and all of it.
    Sealed(Holds, usize, Vec<u8>),
}

impl Stored {
    /// Tells the one from the other. `is_plain` knows what no head can: that the bytes are the content itself.
    pub(super) fn of(bytes: Vec<u8>, is_plain: impl FnOnce(&[u8]) -> bool) -> Self {
        let head = bytes.strip_prefix(MAGIC).and_then(|rest| {
            let end = rest.iter().take(MAX_HEAD).position(|b| *b == b'\n')?;
            Some((serde_json::from_slice::<Head>(&rest[..end]).ok()?, MAGIC.len() + end + 1))
        });
        match head {
            Some((head, at)) if !is_plain(&bytes) => {
                Self::Sealed(head.values.map_or(Holds::Any, Holds::Values), at, bytes)
            }
            _ => Self::Plain(bytes),
        }
    }

    /// Returns what it may hold.
    pub(super) fn holds(&self) -> Holds {
        match self {
            Self::Plain(_) => Holds::Nothing,
            Self::Sealed(holds, ..) => holds.clone(),
        }
    }

    /// Returns the content; `None` when it doesn't open: it is damaged, or the node's key is another one.
    pub(super) fn open(self, root: &Root) -> Option<Vec<u8>> {
        let (at, bytes) = match self {
            Self::Plain(bytes) => return Some(bytes),
            Self::Sealed(_, at, bytes) => (at, bytes),
        };
        let (head, body) = bytes.split_at(at);
        let opened = key(root).and_then(|key| key.open(head, body));
        let opened = opened.inspect_err(|error| warn!(error = %Chain(error), "a kept copy can't be opened"));
        opened.ok().map(|bytes| bytes.to_vec())
    }
}

/// Returns a copy as it is to stand on the disk.
pub(super) fn stored(root: &Root, of: &str, holds: &Holds, bytes: &[u8]) -> Result<Vec<u8>, PathError> {
    let values = match holds {
        Holds::Nothing => return Ok(bytes.to_vec()),
        Holds::Values(values) => Some(values.clone()),
        Holds::Any => None,
    };
    let head = Head { of: of.to_owned(), values };
    let mut out = MAGIC.to_vec();
    serde_json::to_writer(&mut out, &head).expect("a head has text keys and no failing serialisers");
    out.push(b'\n');
    let sealed = key(root).and_then(|key| seal::seal(&key.public(), &out, bytes));
    out.extend(sealed.map_err(|error| unsealed(&error))?);
    Ok(out)
}

/// Returns digits for the name of a copy, which nobody can compare with a guess at its content.
pub(super) fn digits(root: &Root, bytes: &[u8]) -> Result<String, PathError> {
    let key = key(root).map_err(|error| unsealed(&error))?.digest_key(NAMES);
    let digest = blake3::keyed_hash(&key, ContentHash::of(bytes).as_bytes());
    Ok(ContentHash::from_bytes(*digest.as_bytes()).short())
}

fn key(root: &Root) -> Result<SealKey, SealError> {
    SealKey::open_or_make(&root.path().join(KEY))
}

fn unsealed(error: &SealError) -> PathError {
    warn!(error = %Chain(error), "a copy with secrets can't be sealed; nothing is kept in plain instead");
    let errno = match error {
        SealError::File { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::IO),
        _ => Errno::IO,
    };
    PathError::system(&format!("/{KEY}"), "can't seal a copy with the node's key", errno)
}
