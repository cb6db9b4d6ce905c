//! Secrets that callers show: made here, stored as hashes, compared without telling where they differ.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lampas_runtime::random;

/// What every API token begins with, so that scanners of repositories find it.
pub const TOKEN_PREFIX: &str = "lpa1-";

/// What the secret of a machine's session begins with.
pub const SESSION_PREFIX: &str = "lps1-";

/// Makes a secret of 256 bits in base64url.
pub fn make() -> String {
    URL_SAFE_NO_PAD.encode(random::bytes::<32>())
}

/// Returns what the store keeps. The secrets are random and long, so that a fast hash is enough.
pub fn hash(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// Compares without telling by time where two secrets differ: hashes are compared in constant time.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    blake3::hash(a) == blake3::hash(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_unlike_and_hide_behind_their_hash() {
        let (a, b) = (make(), make());
        assert_ne!(a, b);
        assert_eq!(a.len(), 43);
        assert!(!hash(&a).contains(&a) && hash(&a).len() == 64);
        assert!(equal(b"x", b"x") && !equal(b"x", b"y") && !equal(b"", b"x"));
    }
}
