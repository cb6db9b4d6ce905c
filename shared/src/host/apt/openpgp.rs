//! Keys of OpenPGP, read as far as it takes to say which they are: armor, packets and fingerprints of version 4 (RFC 9580).

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
const PRIVATE: &str = "it holds a private key, which must not leave its owner; give what gpg --armor --export prints";

/// Packets with private keys: section 4.3.
const SECRET_TAGS: [u8; 2] = [5, 7];
const PUBLIC_KEY: u8 = 6;

/// Returns whether a text is armored.
pub(super) fn is_armored(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN PGP ")
}

/// Reads base64 over several lines.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let packed: String = text.split_whitespace().collect();
    STANDARD.decode(packed).ok().filter(|bytes| !bytes.is_empty())
}

/// Where a line of armored text stands.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Outside,
    Headers,
    Body,
    Checked,
}

/// Returns the bytes of armored keys, one block after the other. Text that others would read otherwise is refused (apt takes
/// for a key's lines whatever follows a block's empty line): the keys that are shown are all that are trusted.
pub(super) fn dearmor(text: &str) -> Result<Vec<u8>, String> {
    if text.contains("-----BEGIN PGP PRIVATE KEY BLOCK-----") {
        return Err(PRIVATE.to_owned());
    }
    let (mut bytes, mut body, mut part) = (Vec::new(), String::new(), Part::Outside);
    for (number, line) in text.split('\n').enumerate() {
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        part = match part {
            Part::Outside if line.trim().is_empty() => Part::Outside,
            Part::Outside if line == BEGIN => Part::Headers,
            Part::Headers if line.is_empty() => Part::Body,
            Part::Headers if line.contains(": ") && !line.starts_with('-') => Part::Headers,
            Part::Body | Part::Checked if line == END => {
                bytes.extend(base64(&body).ok_or("it is damaged: its lines are not base64")?);
                body.clear();
                Part::Outside
            }
            Part::Body if line.len() == 5 && line.starts_with('=') && line.chars().all(is_base64) => Part::Checked,
            Part::Body if !line.is_empty() && !line.starts_with('=') && line.chars().all(is_base64) => {
                body.push_str(line);
                Part::Body
            }
            Part::Outside if bytes.is_empty() => break,
            _ => {
                return Err(format!(
                    "its line {} is none of an armored key: give what gpg --armor --export prints",
                    number + 1
                ));
            }
        };
    }
    if part != Part::Outside {
        return Err("it is cut off: the line -----END … is missing".to_owned());
    }
    if bytes.is_empty() {
        return Err(format!("it holds no public key: it begins with {BEGIN}"));
    }
    Ok(bytes)
}

/// Returns the fingerprints of the primary keys among packets, sorted.
pub(super) fn fingerprints(mut bytes: &[u8]) -> Result<Vec<String>, String> {
    let cut = || "it is cut off or damaged: it does not end where its last packet does".to_owned();
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, body, rest) = packet(bytes).ok_or_else(cut)?;
        if SECRET_TAGS.contains(&tag) {
            return Err(PRIVATE.to_owned());
        }
        if tag == PUBLIC_KEY {
            found.push(fingerprint(body)?);
        }
        bytes = rest;
    }
    if found.is_empty() {
        return Err("it holds no public key".to_owned());
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Section 5.5.4.2.
fn fingerprint(body: &[u8]) -> Result<String, String> {
    match body.first() {
        Some(4) => {}
        Some(version) => return Err(format!("its key is of version {version}, and only version 4 can be read")),
        None => return Err("it is damaged: a key without anything in it".to_owned()),
    }
    let length = u16::try_from(body.len()).map_err(|_| "it is damaged: a key of more than 64 KiB".to_owned())?;
    let mut hash = Sha1::new();
    hash.update([0x99]);
    hash.update(length.to_be_bytes());
    hash.update(body);
    Ok(hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    }))
}

/// Splits the first packet off: its tag, its body, and what follows. Section 4.2; partial lengths are none of keys.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if first & 0x80 == 0 {
        return None;
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0_usize, |n, byte| (n << 8) | usize::from(*byte));
    let (tag, length, rest) = if first & 0x40 == 0 {
        let width = match first & 3 {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => return None,
        };
        let (length, rest) = rest.split_at_checked(width)?;
        ((first >> 2) & 0x0f, number(length), rest)
    } else {
        let (second, rest) = rest.split_first()?;
        let (length, rest) = match second {
            0..=191 => (usize::from(*second), rest),
            192..=223 => {
                let (third, rest) = rest.split_first()?;
                (((usize::from(*second) - 192) << 8) + usize::from(*third) + 192, rest)
            }
            255 => {
                let (length, rest) = rest.split_at_checked(4)?;
                (number(length), rest)
            }
            _ => return None,
        };
        (first & 0x3f, length, rest)
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((tag, body, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fingerprint_is_what_gpg_says() {
        let text = include_str!("test-key.asc");
        let expected = include_str!("test-key.fingerprint").trim();
        assert_eq!(fingerprints(&dearmor(text).expect("armored")).expect("read"), [expected]);
    }

    #[test]
    fn what_others_would_read_beside_it_is_refused() {
        let good = include_str!("test-key.asc").trim().to_owned();
        let block = good.replace('\r', "");
        assert!(dearmor(&format!("\n  \n{block}\n\n{block}\n")).is_ok(), "several blocks, and space between them");
        let (headers, body) = block.split_once("\n\n").expect("an empty line");
        let (lines, end) = body.split_once("\n=").expect("a checksum");
        let checksum = &end[..4];
        for (what, bad) in [
            ("lines after the checksum", format!("{headers}\n\n{lines}\n={checksum}\n{lines}\n{END}")),
            ("two checksums", format!("{headers}\n\n{lines}\n={checksum}\n={checksum}\n{END}")),
            ("lines between blocks", format!("{block}\n{lines}\n{block}")),
            ("lines after the last", format!("{block}\n{lines}")),
            ("no empty line", format!("{headers}\n{lines}\n={checksum}\n{END}")),
            ("a line of spaces instead", format!("{headers}\n \n{lines}\n={checksum}\n{END}")),
            ("an empty line within", block.replacen(lines, &lines.replacen('\n', "\n\n", 1), 1)),
            ("a line that is none", format!("{headers}\n\n-{lines}\n={checksum}\n{END}")),
            ("a block within", format!("{headers}\n\n{block}\n{END}")),
            ("no end", block.replace(END, "")),
            ("line ends of others", block.replace('\n', "\r\n")),
        ] {
            assert!(dearmor(&bad).is_err(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[ -~\n]{0,200}") {
            let _ = fingerprints(&bytes);
            let _ = dearmor(&format!("{BEGIN}\n{text}\n{END}"));
        }
    }
}
