//! Takes the values of secrets out of what a run writes, before it reaches the disk: a whole value, wherever the pieces in
//! which it came were cut.
//!
//! This is a net for slips such as `set -x`; whoever wants to print a value in another form can.

use zeroize::Zeroizing;

/// Shorter values are not taken out: they stand in any text by chance, and say nothing there.
const MIN_BYTES: usize = 4;

/// What is looked for.
#[derive(Clone, Default)]
pub(super) struct Patterns(Vec<Pattern>);

#[derive(Clone)]
struct Pattern {
    bytes: Zeroizing<Vec<u8>>,
    shown: String,
}

impl Patterns {
    /// Looks for values, each with the name that stands in its place.
    pub(super) fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut all = Vec::new();
        for (name, value) in values {
            let shown = format!("[secret {name}]");
            // A shell's $(…) and most programs leave the last newline out.
            let whole = value.trim_end_matches('\n');
            all.push(Pattern { bytes: Zeroizing::new(whole.as_bytes().to_vec()), shown });
        }
        all.retain(|p| p.bytes.len() >= MIN_BYTES);
        // Of two that begin alike the longer one is meant where it stands.
        all.sort_by_key(|p| std::cmp::Reverse(p.bytes.len()));
        Self(all)
    }

    /// Takes the values out of a text that is whole.
    pub(super) fn mask_text(&self, text: &str) -> String {
        let mut mask = Mask::new(self.clone());
        let mut out = mask.push(text.as_bytes());
        out.extend(mask.finish());
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// One stream.
pub(super) struct Mask {
    patterns: Patterns,
    /// What may be the beginning of a value.
    held: Zeroizing<Vec<u8>>,
}

impl Mask {
    pub(super) fn new(patterns: Patterns) -> Self {
        Self { patterns, held: Zeroizing::default() }
    }

    /// Takes what came, and returns what can be shown of it so far.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.patterns.0.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        self.take(false)
    }

    /// Returns what was held back: nothing more comes.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        self.take(true)
    }

    fn take(&mut self, is_end: bool) -> Vec<u8> {
        let mut starts = [false; 256];
        for pattern in &self.patterns.0 {
            starts[usize::from(pattern.bytes[0])] = true;
        }
        let (mut out, mut at) = (Vec::with_capacity(self.held.len()), 0);
        while at < self.held.len() {
            let rest = &self.held[at..];
            let plain = rest.iter().position(|b| starts[usize::from(*b)]).unwrap_or(rest.len());
            if plain > 0 {
                out.extend_from_slice(&rest[..plain]);
                at += plain;
                continue;
            }
            let may_grow = |p: &Pattern| p.bytes.len() > rest.len() && p.bytes.starts_with(rest);
            if !is_end && self.patterns.0.iter().any(may_grow) {
                break;
            }
            match self.patterns.0.iter().find(|p| rest.starts_with(&p.bytes)) {
                Some(pattern) => {
                    out.extend_from_slice(pattern.shown.as_bytes());
                    at += pattern.bytes.len();
                }
                None => {
                    out.push(rest[0]);
                    at += 1;
                }
            }
        }
        self.held = Zeroizing::new(self.held[at..].to_vec());
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns() -> Patterns {
        Patterns::new([("db.password", "hunter22\n"), ("short", "abc"), ("long", "hunter22-and-more")])
    }

    fn in_pieces(text: &str, size: usize) -> String {
        let mut mask = Mask::new(patterns());
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size.max(1)) {
            out.extend(mask.push(piece));
        }
        out.extend(mask.finish());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn whole_values_are_taken_out_wherever_pieces_are_cut() {
        for (text, expected) in [
            ("pw=hunter22\n", "pw=[secret db.password]\n"),
            ("hunter22hunter22", "[secret db.password][secret db.password]"),
            ("hunter22-and-more!", "[secret long]!"),
            ("hunter22-and-mor", "[secret db.password]-and-mor"),
            ("hunter2", "hunter2"),
            ("hunthunter22", "hunt[secret db.password]"),
            ("abc", "abc"),
            ("", ""),
        ] {
            for size in 1..20 {
                assert_eq!(in_pieces(text, size), expected, "{text:?} in pieces of {size}");
            }
            assert_eq!(patterns().mask_text(text), expected);
        }
    }

    #[test]
    fn what_can_be_no_value_is_shown_at_once() {
        let mut mask = Mask::new(patterns());
        assert_eq!(mask.push(b"Password? "), b"Password? ");
        assert_eq!(mask.push(b"hun"), b"");
        assert_eq!(mask.push(b"dred"), b"hundred");
    }

    proptest! {
        #[test]
        fn no_cut_lets_a_value_through(text in "(hunter22|hunter|22|-and-more|x|\n){0,12}", size in 1_usize..40) {
            let out = in_pieces(&text, size);
            prop_assert!(!out.contains("hunter22"), "{}", out);
            prop_assert_eq!(out, in_pieces(&text, 4096));
        }
    }
}
