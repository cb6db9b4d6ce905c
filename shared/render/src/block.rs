//! A marked block of lines among foreign lines: what LAMPAS writes into files that it does not own.
//!
//! Works on bytes: foreign lines may have any encoding and line ending, and come back exactly as they were.

use std::ops::Range;

/// How every begin marker starts.
const BEGIN: &[u8] = b"# BEGIN LAMPAS";

/// How every end marker starts.
const END: &[u8] = b"# END LAMPAS";

/// Stands at the end of a begin marker when the file had no final newline before the block was appended, so that
/// removing the block restores the bytes.
const JOINED: &str = " [added the newline above]";

/// Returns the lines between the markers; `None` when there is no whole block. With several blocks the first counts.
pub fn extract(existing: &[u8]) -> Option<&[u8]> {
    scan(existing).blocks.first().map(|block| &existing[block.inner.clone()])
}

/// Returns the file with this content between the markers. An existing block stays where it is; a first one is
/// appended; empty content removes it. Foreign bytes stay as they are: of broken markers (a begin without end, an end without
/// begin) only the marker line goes, of several whole blocks all but the first go.
///
/// `subject` is what `lampas-agent why` takes; `content` ends with a newline unless it is empty.
pub fn replace(existing: &[u8], subject: &str, content: &[u8]) -> Vec<u8> {
    let found = scan(existing);
    let mut out = Vec::with_capacity(existing.len() + content.len() + 160);
    let mut copied = 0;
    let mut is_written = content.is_empty();
    for (span, block) in found.in_order() {
        out.extend_from_slice(&existing[copied..span.start]);
        copied = span.end;
        let Some(block) = block else { continue };
        if !is_written {
            is_written = true;
            write_block(&mut out, subject, block.is_joined, content);
        } else if content.is_empty() && block.is_joined && span.end == existing.len() && out.last() == Some(&b'\n') {
            out.pop();
        }
    }
    out.extend_from_slice(&existing[copied..]);
    if !is_written {
        let is_joined = out.last().is_some_and(|last| *last != b'\n');
        if is_joined {
            out.push(b'\n');
        }
        write_block(&mut out, subject, is_joined, content);
    }
    out
}

/// Returns the file with this content in the place of the first block and its markers: what was managed is foreign
/// from here on. `content` ends with a newline unless it is empty.
pub fn release(existing: &[u8], content: &[u8]) -> Vec<u8> {
    let found = scan(existing);
    let Some(block) = found.blocks.first() else { return existing.to_vec() };
    let mut out = Vec::with_capacity(existing.len());
    out.extend_from_slice(&existing[..block.outer.start]);
    out.extend_from_slice(content);
    out.extend_from_slice(&existing[block.outer.end..]);
    out
}

/// Returns the foreign bytes: all but markers and what stands between them.
pub fn foreign(existing: &[u8]) -> Vec<u8> {
    replace(existing, "", b"")
}

/// Returns the spans of the file that are whole blocks, markers included.
pub fn spans(existing: &[u8]) -> Vec<Range<usize>> {
    scan(existing).blocks.into_iter().map(|block| block.outer).collect()
}

fn write_block(out: &mut Vec<u8>, subject: &str, is_joined: bool, content: &[u8]) {
    let joined = if is_joined { JOINED } else { "" };
    out.extend_from_slice(
        format!("# BEGIN LAMPAS (managed; do not edit; see lampas-agent why {subject}){joined}\n").as_bytes(),
    );
    out.extend_from_slice(content);
    out.extend_from_slice(b"# END LAMPAS\n");
}

struct Block {
    outer: Range<usize>,
    inner: Range<usize>,
    is_joined: bool,
}

struct Scan {
    blocks: Vec<Block>,
    /// Marker lines without their counterpart.
    strays: Vec<Range<usize>>,
}

impl Scan {
    fn in_order(&self) -> Vec<(Range<usize>, Option<&Block>)> {
        let blocks = self.blocks.iter().map(|b| (b.outer.clone(), Some(b)));
        let mut all: Vec<_> = blocks.chain(self.strays.iter().map(|s| (s.clone(), None))).collect();
        all.sort_by_key(|(span, _)| span.start);
        all
    }
}

fn scan(existing: &[u8]) -> Scan {
    let mut found = Scan { blocks: Vec::new(), strays: Vec::new() };
    let mut open: Option<(Range<usize>, bool)> = None;
    let mut start = 0;
    for line in existing.split_inclusive(|b| *b == b'\n') {
        let span = start..start + line.len();
        start = span.end;
        if is_marker(line, BEGIN) {
            let is_joined = line.trim_ascii_end().ends_with(JOINED.as_bytes());
            if let Some((stray, _)) = open.replace((span, is_joined)) {
                found.strays.push(stray);
            }
        } else if is_marker(line, END) {
            match open.take() {
                Some((begin, is_joined)) => {
                    found.blocks.push(Block { inner: begin.end..span.start, outer: begin.start..span.end, is_joined });
                }
                None => found.strays.push(span),
            }
        }
    }
    found.strays.extend(open.map(|(span, _)| span));
    found
}

/// Returns whether a line is a marker: the word ends there, so that `# BEGIN LAMPAST` is foreign.
fn is_marker(line: &[u8], marker: &[u8]) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn a_block_is_appended_kept_in_place_and_removed_without_a_trace() {
        for before in ["", "a\n", "a\r\nb", "\n\n"] {
            let with = replace(before.as_bytes(), "/etc/hosts", b"x\n");
            assert!(text(&with).ends_with("x\n# END LAMPAS\n"), "{before:?}");
            assert_eq!(text(&replace(&with, "/etc/hosts", b"")), before);
        }
        let mut grown = replace(b"a", "/etc/hosts", b"x\n");
        grown.extend_from_slice(b"later\n");
        assert_eq!(text(&foreign(&grown)), "a\nlater\n", "the newline stays when a line came after it");
        let moved = replace(&grown, "/etc/hosts", b"y\n");
        assert!(text(&moved).ends_with("y\n# END LAMPAS\nlater\n"));
    }

    #[test]
    fn broken_markers_lose_no_foreign_line() {
        let check = |given: &str, left: &str| assert_eq!(text(&foreign(given.as_bytes())), left, "{given:?}");
        check("a\n# BEGIN LAMPAS (x)\nb\n", "a\nb\n");
        check("a\n# END LAMPAS\nb\n", "a\nb\n");
        check("# BEGIN LAMPAS\nb\n# BEGIN LAMPAS\nc\n# END LAMPAS\nd\n", "b\nd\n");
        check("# BEGIN LAMPAS\nb\n# END LAMPAS\nd\n# BEGIN LAMPAS\nc\n# END LAMPAS", "d\n");
        check("# BEGIN LAMPAST\nb\n# END LAMPAS-like\n", "# BEGIN LAMPAST\nb\n# END LAMPAS-like\n");
        check(" # BEGIN LAMPAS\n", " # BEGIN LAMPAS\n");
    }

    fn any_file() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..12),
            1 => Just(b"# BEGIN LAMPAS (managed)".to_vec()),
            1 => Just(b"# BEGIN LAMPAS (managed) [added the newline above]".to_vec()),
            1 => Just(b"# END LAMPAS".to_vec()),
            1 => Just(b"\r".to_vec()),
        ];
        (prop::collection::vec(line, 0..10), any::<bool>()).prop_map(|(lines, has_end)| {
            let mut file = lines.join(&b'\n');
            if has_end {
                file.push(b'\n');
            }
            file
        })
    }

    proptest! {
        #[test]
        fn replacing_twice_is_replacing_once_and_foreign_lines_stay(file in any_file(), lines in 0..3_usize) {
            let content = b"10.0.0.1\tdb-1\n".repeat(lines);
            let once = replace(&file, "/etc/hosts", &content);
            prop_assert_eq!(&replace(&once, "/etc/hosts", &content), &once);
            prop_assert_eq!(extract(&once), (lines > 0).then_some(content.as_slice()));
            prop_assert_eq!(scan(&once).strays.len(), 0);
            // Foreign lines are the same, in the same order; one final newline may have come or gone.
            let kept = |bytes: &[u8]| -> Vec<Vec<u8>> {
                bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).filter(|l| !l.is_empty()).collect()
            };
            prop_assert_eq!(kept(&foreign(&once)), kept(&foreign(&file)));
        }

        #[test]
        fn without_markers_removing_restores_the_exact_bytes(file in prop::collection::vec(any::<u8>(), 0..80)) {
            let with = replace(&file, "/etc/hosts", b"x\n");
            prop_assert_eq!(foreign(&with), file);
        }
    }
}
