//! The text of an enrolment token: what an operator carries to a new node.
//!
//! `lpt1-` and base64url of the authority's pin (32 bytes), the secret (32 bytes), and four bytes of their BLAKE3, so
//! that a token that lost a character in a paste is told apart from one that was refused.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lampas_shared::desired::ContentHash;
use zeroize::Zeroizing;

use crate::random;

const PREFIX: &str = "lpt1-";

/// An enrolment token. It shows in no log: `Debug` hides the secret, and only [`TokenText::reveal`] prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText {
    /// The pin of the authority that the controller must hold.
    pub pin: ContentHash,
    secret: Zeroizing<[u8; 32]>,
}

/// A text that is no enrolment token; it is not repeated here, as it may nearly be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a whole enrolment token: it starts with lpt1- and has 96 characters; copy it again")]
pub struct TokenTextError;

impl TokenText {
    /// Draws a secret for a fleet with this pin.
    pub fn draw(pin: ContentHash) -> Self {
        Self { pin, secret: Zeroizing::new(random::bytes()) }
    }

    /// Returns the secret as it is sent to the controller: base64url.
    pub fn secret(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.secret))
    }

    /// Returns the whole text, to be shown once.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 68]);
        bytes[..32].copy_from_slice(self.pin.as_bytes());
        bytes[32..64].copy_from_slice(&*self.secret);
        let sum = ContentHash::of(&bytes[..64]);
        bytes[64..].copy_from_slice(&sum.as_bytes()[..4]);
        Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*bytes)))
    }
}

/// Returns what a store keeps of a secret as [`TokenText::secret`] prints it. A secret of 256 random bits needs no
/// slow hash: there is nothing to guess.
pub fn secret_hash(secret: &str) -> ContentHash {
    ContentHash::of(secret.as_bytes())
}

impl FromStr for TokenText {
    type Err = TokenTextError;

    fn from_str(text: &str) -> Result<Self, TokenTextError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(TokenTextError)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenTextError)?);
        let (pin, rest) = bytes.split_first_chunk::<32>().ok_or(TokenTextError)?;
        let (secret, sum) = rest.split_first_chunk::<32>().ok_or(TokenTextError)?;
        if *sum != ContentHash::of(&bytes[..64]).as_bytes()[..4] {
            return Err(TokenTextError);
        }
        Ok(Self { pin: ContentHash::from_bytes(*pin), secret: Zeroizing::new(*secret) })
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText(pin {}, secret redacted)", self.pin.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_way_and_a_damaged_one_is_named() {
        let token = TokenText::draw(ContentHash::of(b"ca"));
        let text = token.reveal();
        assert_eq!(text.len(), 96);
        assert_eq!(format!("  {}\n", *text).parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&*token.secret()));
        for damaged in [&text[..95], &text[1..], &text.replace("lpt1-", "lpt2-"), "", "lpt1-"] {
            assert_eq!(damaged.parse::<TokenText>(), Err(TokenTextError));
        }
        let mut flipped = text.to_string().into_bytes();
        flipped[50] = if flipped[50] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped).expect("ASCII");
        assert_eq!(flipped.parse::<TokenText>(), Err(TokenTextError));
    }
}
