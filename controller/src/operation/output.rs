//! Output as it is shown: words of streams, and text with its gaps.

use lampas_shared::operation::{OutputChunk, OutputStream};

pub(super) fn stream_word(stream: OutputStream) -> &'static str {
    match stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
        OutputStream::Agent => "agent",
    }
}

pub(super) fn stream_of(word: &str) -> Option<OutputStream> {
    Some(match word {
        "stdout" => OutputStream::Stdout,
        "stderr" => OutputStream::Stderr,
        "agent" => OutputStream::Agent,
        _ => return None,
    })
}

/// Returns pieces as text: in the order of their offsets, what is not UTF-8 replaced, and a line where something is missing.
pub(super) fn text<'a>(chunks: impl IntoIterator<Item = &'a OutputChunk>, total: u64, most: usize) -> String {
    let mut bytes = Vec::new();
    let mut at = 0;
    let gap = |bytes: &mut Vec<u8>, missing: u64| {
        if !bytes.is_empty() && bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(format!("… {missing} bytes are left out here …\n").as_bytes());
    };
    for chunk in chunks {
        if chunk.offset > at {
            gap(&mut bytes, chunk.offset - at);
        }
        bytes.extend_from_slice(&chunk.bytes);
        at = at.max(chunk.offset + chunk.bytes.len() as u64);
        if bytes.len() > most {
            bytes.truncate(most);
            gap(&mut bytes, total.saturating_sub(most as u64).max(1));
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
    if at < total {
        gap(&mut bytes, total - at);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let chunk = |offset, bytes: &[u8]| OutputChunk {
            offset,
            stream: OutputStream::Stdout,
            after_ms: 0,
            bytes: bytes.to_vec(),
        };
        let whole = [chunk(0, b"a\xff\n"), chunk(3, b"b")];
        assert_eq!(text(&whole, 4, 100), "a\u{fffd}\nb");
        let gap = [chunk(0, b"a\n"), chunk(12, b"z\n")];
        assert_eq!(text(&gap, 15, 100), "a\n… 10 bytes are left out here …\nz\n… 1 bytes are left out here …\n");
    }
}
