//! Unified diffs for people, bounded, with what must not be shown left out.

use std::collections::BTreeSet;

use similar::TextDiff;

/// The longest diff that is shown, in bytes (`Action::diff`).
const MAX_BYTES: usize = 64 << 10;
/// Beyond this, only sizes are told: a line diff of megabytes takes seconds.
const MAX_INPUT: usize = 512 << 10;

/// Returns the diff from `old` to `new`; empty when they are equal.
pub(super) fn unified(path: &str, old: &[u8], new: &[u8]) -> String {
    if old == new {
        return String::new();
    }
    let is_text = |b: &[u8]| !b.contains(&0) && std::str::from_utf8(b).is_ok();
    if old.len().max(new.len()) > MAX_INPUT || !is_text(old) || !is_text(new) {
        return summary(path, old, new);
    }
    let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
    let diff = TextDiff::from_lines(old.as_ref(), new.as_ref());
    bounded(diff.unified_diff().context_radius(3).header(path, path).to_string())
}

/// Says that bytes differ without showing them: they are no text, too long, or not for everybody.
pub(super) fn summary(path: &str, old: &[u8], new: &[u8]) -> String {
    use lampas_shared::desired::ContentHash;
    if old == new {
        return String::new();
    }
    let of = |b: &[u8]| format!("{} bytes, {}", b.len(), ContentHash::of(b).short());
    format!("--- {path}\n+++ {path}\n-({})\n+({})\n", of(old), of(new))
}

/// Returns a diff of single lines: all old ones away, all new ones in.
pub(super) fn lines(path: &str, old: &[String], new: &[String]) -> String {
    if old == new {
        return String::new();
    }
    let mut out = format!("--- {path}\n+++ {path}\n");
    let (before, after): (BTreeSet<&String>, BTreeSet<&String>) = (old.iter().collect(), new.iter().collect());
    let gone = old.iter().filter(|l| !after.contains(l)).map(|l| format!("-{l}\n"));
    let came = new.iter().filter(|l| !before.contains(l)).map(|l| format!("+{l}\n"));
    for line in gone.chain(came) {
        out.push_str(&line);
        if out.len() > MAX_BYTES {
            break;
        }
    }
    bounded(out)
}

fn bounded(mut diff: String) -> String {
    if diff.len() > MAX_BYTES {
        let mut at = MAX_BYTES - 64;
        while !diff.is_char_boundary(at) {
            at -= 1;
        }
        diff.truncate(at);
        diff.push_str("\n… (the rest is not shown)\n");
    }
    diff
}
