//! Codes of authenticators (RFC 6238: SHA-1, 6 digits, 30 s), and recovery codes.
//!
//! SHA-1 and 6 digits are what every authenticator understands; as HMAC, SHA-1 is sound (RFC 6194, section 3.3).

use lampas_runtime::random;
use lampas_shared::{id::UserId, time::UnixMs};
use totp_rs::{Algorithm, Builder, Secret, Totp};
use zeroize::Zeroizing;

/// 160 bits, as RFC 4226 (section 4) asks for.
pub(super) const SECRET_BYTES: usize = 20;

/// How many recovery codes there are.
pub(super) const RECOVERY_CODES: usize = 10;

const STEP_SECS: u64 = 30;

/// Makes a secret.
pub(super) fn make() -> Zeroizing<[u8; SECRET_BYTES]> {
    Zeroizing::new(random::bytes())
}

/// Returns the step whose code it is: that of this moment, the one before or the one after.
pub(super) fn step_of(secret: &[u8], code: &str, now: UnixMs) -> Option<u64> {
    machine(secret)?.check(code, u64::try_from(now.0 / 1000).ok()?)
}

/// Returns the secret in base32, for people and authenticators.
pub(super) fn as_text(secret: &[u8]) -> String {
    Secret::new(secret.into()).to_base32()
}

/// Returns what the QR code says.
pub(super) fn uri(secret: &[u8], login: &str, fleet: &str) -> String {
    let issuer = if fleet.is_empty() { "LAMPAS".to_owned() } else { format!("LAMPAS {fleet}") };
    let (issuer, login) = (encode(&issuer), encode(login));
    format!(
        "otpauth://totp/{issuer}:{login}?secret={}&issuer={issuer}&algorithm=SHA1&digits=6&period={STEP_SECS}",
        as_text(secret)
    )
}

fn machine(secret: &[u8]) -> Option<Totp> {
    let builder = Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6).with_skew(1);
    builder.with_step_duration(STEP_SECS).with_secret(secret.to_vec()).build().ok()
}

/// Makes recovery codes: four times four letters, 80 bits each.
pub(super) fn recovery_codes() -> Vec<String> {
    // Letters and digits that aren't mistaken for each other; 32 of them, so that five bits choose one evenly.
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let code = || {
        let letters: Vec<char> =
            random::bytes::<16>().iter().map(|b| char::from(LETTERS[usize::from(b & 31)])).collect();
        letters.chunks(4).map(|c| c.iter().collect::<String>()).collect::<Vec<_>>().join("-")
    };
    std::iter::repeat_with(code).take(RECOVERY_CODES).collect()
}

/// Returns what the store keeps of a recovery code, however it was typed. It is random and long, so that a fast hash is
/// enough.
pub(super) fn recovery_hash(user: UserId, code: &str) -> String {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    crate::access::secret::hash(&format!("recovery {user} {}", plain.to_ascii_lowercase()))
}

/// Returns whether it has the form of a code from an authenticator; everything else is taken for a recovery code.
pub(super) fn looks_timed(code: &str) -> bool {
    code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit())
}

/// Percent-encodes (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let one = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
pub(crate) fn code_at(text: &str, now: UnixMs) -> String {
    let secret = Secret::try_from_base32(text).expect("base32");
    machine(secret.as_bytes()).expect("a secret").generate((now.0 / 1000).unsigned_abs()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B, the last six of its eight digits.
        let secret = b"12345678901234567890";
        for (secs, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            let at = |off: i64| UnixMs((secs + off) * 1000);
            assert_eq!(step_of(secret, code, at(0)), Some(secs as u64 / 30), "{secs}");
            assert!(step_of(secret, code, at(-30)).is_some() && step_of(secret, code, at(30)).is_some(), "one step");
            assert_eq!(step_of(secret, code, at(-61)), None, "not two before");
            assert_eq!(step_of(secret, code, at(61)), None, "not two after");
        }
        for wrong in ["", "28708", "2870822", "abcdef", "２８７０８２"] {
            assert_eq!(step_of(secret, wrong, UnixMs(59_000)), None, "{wrong}");
        }
    }

    #[test]
    fn authenticators_are_told_everything() {
        let uri = uri(b"12345678901234567890", "admin@example", "Nord & Süd");
        assert_eq!(
            uri,
            "otpauth://totp/LAMPAS%20Nord%20%26%20S%C3%BCd:admin%40example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=LAMPAS%20Nord%20%26%20S%C3%BCd&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn recovery_codes_are_unlike_and_typed_as_one_likes() {
        let codes = recovery_codes();
        let user = random::new_id();
        let hashes: std::collections::BTreeSet<_> = codes.iter().map(|c| recovery_hash(user, c)).collect();
        assert_eq!(hashes.len(), RECOVERY_CODES);
        let code = &codes[0];
        assert_eq!(code.len(), 19);
        let typed = format!(" {} ", code.to_uppercase().replace('-', " "));
        assert_eq!(recovery_hash(user, &typed), recovery_hash(user, code));
        assert_ne!(recovery_hash(random::new_id(), code), recovery_hash(user, code), "bound to the user");
        assert!(!looks_timed(code) && looks_timed("123456"));
    }
}
