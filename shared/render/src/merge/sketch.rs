//! What a node shows of a file in which secrets stand: its lines as a template, with no value in them.
//!
//! A line that stands as it was written becomes the template's line again, with the secret by its name. Of what was edited is shown
//! what neither took the place of a line with a secret nor looks like one: no value in any spelling, and neither the
//! first nor the last word before a secret, as whoever sets another password writes the same words before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use lampas_shared::template::{Escape, Part};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::{HIDDEN, plain, source};

/// Beyond this many lines nothing is compared: it would take seconds.
const MAX_LINES: usize = 20_000;

/// A part of a file as it was put together.
#[derive(Clone, PartialEq, Eq)]
pub struct Filled {
    part: Part,
    value: String,
}

impl fmt::Debug for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filled").field("part", &self.part).finish_non_exhaustive()
    }
}

impl Filled {
    /// Takes a part with its secret's value, which is empty for a text.
    pub fn new(part: Part, value: String) -> Self {
        Self { part, value }
    }

    /// Gives the part and the value back.
    pub fn into_inner(self) -> (Part, String) {
        (self.part, self.value)
    }

    fn written(&self) -> String {
        match &self.part {
            Part::Text(text) => text.clone(),
            Part::Secret { escape, .. } => escape.apply(&self.value),
        }
    }
}

/// Writes what stands on a node as a template without values. `None` when it is no text, or too long.
pub fn sketch(parts: &[Filled], standing: &[u8]) -> Option<String> {
    let standing = std::str::from_utf8(standing).ok().filter(|t| !t.contains('\0'))?;
    let found: Vec<&str> = standing.split_inclusive('\n').collect();
    let lines = lines(parts);
    let (mut made, mut owner) = (Vec::new(), Vec::new());
    for (index, line) in lines.iter().enumerate() {
        for text in line.written.split_inclusive('\n') {
            made.push(text);
            owner.push(index);
        }
    }
    if made.len().max(found.len()) > MAX_LINES {
        return None;
    }
    let ops = capture_diff_slices(Algorithm::Myers, &made, &found);
    let kept = kept(&ops, &owner, lines.len());
    let veil = Veil::of(parts, &lines);
    let mut out = Out::default();
    for op in &ops {
        let (old, new) = (op.old_range(), op.new_range());
        if let DiffOp::Equal { .. } = op {
            for at in old {
                let line = &lines[owner[at]];
                match (kept[owner[at]], at == 0 || owner[at - 1] != owner[at]) {
                    (true, true) => out.show(&line.source),
                    (true, false) => {}
                    (false, _) => out.hide(made[at].ends_with('\n')),
                }
            }
            continue;
        }
        let is_secret = |at: usize| lines[owner[at]].words.is_some();
        // Nothing says where a secret of several lines ends.
        let is_long = |at: usize| lines[owner[at]].written.trim_end_matches('\n').contains('\n');
        let is_bare = |at: usize| lines[owner[at]].words.as_ref().is_some_and(|words| words.is_empty() || is_long(at));
        // Beside a line that is nothing but a secret, or several of one, what came may be the rest of another one.
        let beside = (old.start > 0 && is_bare(old.start - 1)) || (old.end < made.len() && is_bare(old.end));
        let touches = old.clone().any(is_secret);
        // Among lines with secrets only what begins like a line without one is known to be that.
        let known: BTreeSet<String> =
            old.clone().filter(|at| !is_secret(*at)).filter_map(|at| first_word(made[at])).collect();
        let is_known = |text: &str| first_word(text).is_some_and(|word| known.contains(&word));
        let is_hidden = beside || old.clone().any(is_bare);
        for text in &found[new] {
            if is_hidden || (touches && !is_known(text)) || veil.covers(text) {
                out.hide(text.ends_with('\n'));
            } else {
                out.show(&plain(text));
            }
        }
    }
    // A last line of which nothing stands in the file can't have been edited.
    if let Some(last) = lines.last().filter(|l| l.written.is_empty()) {
        out.show(&last.source);
    }
    Some(out.text)
}

/// A line of the template.
#[derive(Default)]
struct Line {
    source: String,
    written: String,
    /// The first and the last word before a secret, when one is in it; none when nothing says what it is.
    words: Option<BTreeSet<String>>,
}

fn lines(parts: &[Filled]) -> Vec<Line> {
    let (mut lines, mut held) = (Vec::new(), Vec::<Filled>::new());
    for part in parts {
        let Part::Text(text) = &part.part else {
            held.push(part.clone());
            continue;
        };
        for piece in text.split_inclusive('\n') {
            held.push(Filled::new(Part::Text(piece.to_owned()), String::new()));
            if piece.ends_with('\n') {
                lines.push(line(&std::mem::take(&mut held)));
            }
        }
    }
    if !held.is_empty() {
        lines.push(line(&held));
    }
    lines
}

fn line(held: &[Filled]) -> Line {
    let parts: Vec<Part> = held.iter().map(|f| f.part.clone()).collect();
    let before: String =
        held.iter().map_while(|f| if let Part::Text(text) = &f.part { Some(text.as_str()) } else { None }).collect();
    let has_secret = parts.iter().any(|p| matches!(p, Part::Secret { .. }));
    Line {
        source: source(&parts),
        written: held.iter().map(Filled::written).collect(),
        words: has_secret.then(|| outer_words(&before)),
    }
}

/// The first word of a line, in small letters, if it says anything.
fn first_word(text: &str) -> Option<String> {
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)));
    words.find(|w| w.chars().filter(|c| c.is_alphanumeric()).count() >= 2).map(str::to_lowercase)
}

/// The first and the last word of what stands before a secret, in small letters; those that say anything.
fn outer_words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)));
    let telling = |w: &&str| w.chars().filter(|c| c.is_alphanumeric()).count() >= 2;
    let words: Vec<&str> = words.filter(telling).collect();
    words.first().into_iter().chain(words.last()).map(|w| w.to_lowercase()).collect()
}

/// Which lines of the template stand whole and in one piece.
fn kept(ops: &[DiffOp], owner: &[usize], count: usize) -> Vec<bool> {
    let mut places: BTreeMap<usize, Vec<Option<usize>>> = BTreeMap::new();
    for op in ops {
        for (nth, at) in op.old_range().enumerate() {
            let place = matches!(op, DiffOp::Equal { .. }).then_some(op.new_range().start + nth);
            places.entry(owner[at]).or_default().push(place);
        }
    }
    let is_whole = |places: &Vec<Option<usize>>| {
        let first = places.first().copied().flatten();
        first.is_some_and(|first| places.iter().zip(first..).all(|(place, wanted)| *place == Some(wanted)))
    };
    (0..count).map(|line| places.get(&line).is_some_and(is_whole)).collect()
}

/// What no shown line may hold.
struct Veil {
    texts: BTreeSet<String>,
    words: BTreeSet<String>,
}

impl Veil {
    fn of(parts: &[Filled], lines: &[Line]) -> Self {
        let mut texts = BTreeSet::new();
        for filled in parts.iter().filter(|f| matches!(f.part, Part::Secret { .. })) {
            let spellings =
                [Escape::Raw, Escape::Shell, Escape::Quoted, Escape::Base64].map(|e| e.apply(&filled.value));
            let pieces = spellings.iter().flat_map(|text| text.lines().map(str::trim));
            // What quotes an empty value says nothing.
            texts.extend(pieces.filter(|p| p.chars().any(char::is_alphanumeric) || p.len() > 2).map(str::to_owned));
        }
        let words = lines.iter().filter_map(|l| l.words.clone()).flatten().collect();
        Self { texts, words }
    }

    fn covers(&self, line: &str) -> bool {
        let small = line.to_lowercase();
        self.texts.iter().any(|t| line.contains(t.as_str())) || self.words.iter().any(|w| small.contains(w.as_str()))
    }
}

#[derive(Default)]
struct Out {
    text: String,
    is_hiding: bool,
}

impl Out {
    fn show(&mut self, text: &str) {
        self.text.push_str(text);
        self.is_hiding = false;
    }

    /// How many lines are hidden is nobody's business either.
    fn hide(&mut self, ends: bool) {
        if !self.is_hiding {
            self.text.push_str(HIDDEN);
            self.text.push('\n');
            self.is_hiding = true;
        }
        if !ends && self.text.ends_with('\n') {
            self.text.pop();
        }
    }
}
