//! The merge itself: hunks of both sides over the lines of the base template.

use std::{fmt::Write as _, ops::Range};

use lampas_shared::template::{Part as Rendered, Piece, Template, Use};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::{hides, source};

/// A template that was merged with a node's edits, piece by piece in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The pieces.
    pub parts: Vec<Part>,
}

/// A piece of a merge. Each text is whole lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The template's own lines.
    Kept(String),
    /// The node's lines in the place of the template's.
    Taken {
        /// What the template says.
        template: String,
        /// What the node says.
        node: String,
    },
    /// Lines about which somebody must decide.
    Conflict {
        /// What the template says.
        template: String,
        /// What the node says, as a template would.
        node: String,
        /// Why it isn't clear.
        why: Why,
    },
}

/// Why somebody must decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A name stands in the template's lines.
    Name,
    /// The node's lines may hold a secret and are not shown: they can't be taken.
    Hidden,
    /// The template was changed there as well.
    Both,
}

/// Whose lines are taken in conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The template's.
    Template,
    /// The node's.
    Node,
}

/// Merges. `resolve` says what a name stands for on the node.
///
/// # Errors
/// What `resolve` says; and when a template can't be read.
pub fn merge(
    base: &str,
    ours: &str,
    theirs: &str,
    resolve: &dyn Fn(&Use) -> Result<Rendered, String>,
) -> Result<Merge, String> {
    let base: Vec<&str> = base.split_inclusive('\n').collect();
    let node = theirs_hunks(&base, theirs, resolve)?;
    Ok(Merge { parts: combine(&base, &ours_hunks(&base, ours), &node) })
}

/// Puts a template together for a node, as a template without names of variables and facts.
///
/// # Errors
/// What `resolve` says; and when the template can't be read.
pub fn rendered(template: &str, resolve: &dyn Fn(&Use) -> Result<Rendered, String>) -> Result<String, String> {
    let lines = template.split_inclusive('\n').map(|line| Ok(rendered_line(line, resolve)?.0));
    lines.collect()
}

impl Merge {
    /// Returns how many conflicts there are.
    pub fn conflicts(&self) -> usize {
        self.parts.iter().filter(|p| matches!(p, Part::Conflict { .. })).count()
    }

    /// Returns the merged text, with the side that is given in conflicts; `None` when there are some and none is given,
    /// or when they can't be solved so.
    pub fn text(&self, side: Option<Side>) -> Option<String> {
        let part = |part: &Part| match (part, side) {
            (Part::Kept(text) | Part::Taken { node: text, .. }, _)
            | (Part::Conflict { template: text, .. }, Some(Side::Template)) => Some(text.clone()),
            (Part::Conflict { node, .. }, Some(Side::Node)) if !hides(node) => Some(node.clone()),
            (Part::Conflict { .. }, _) => None,
        };
        self.parts.iter().map(part).collect()
    }

    /// Returns the text with marked conflicts, as git writes them. `node` is the node's name.
    pub fn marked(&self, node: &str) -> String {
        let mut out = String::new();
        let lines = |out: &mut String, text: &str| {
            out.push_str(text);
            if !text.is_empty() && !text.ends_with('\n') {
                out.push('\n');
            }
        };
        for part in &self.parts {
            match part {
                Part::Kept(text) | Part::Taken { node: text, .. } => out.push_str(text),
                Part::Conflict { template, node: found, .. } => {
                    if !out.is_empty() && !out.ends_with('\n') {
                        out.push('\n');
                    }
                    out.push_str("<<<<<<< template\n");
                    lines(&mut out, template);
                    out.push_str("=======\n");
                    lines(&mut out, found);
                    // Writing to a text can't fail.
                    let _ = writeln!(out, ">>>>>>> {node}");
                }
            }
        }
        out
    }
}

/// Returns a line of a template as it stands on the node, and whether a name is in it.
fn rendered_line(line: &str, resolve: &dyn Fn(&Use) -> Result<Rendered, String>) -> Result<(String, bool), String> {
    let template = Template::parse(line).map_err(|e| e.to_string())?;
    let mut has_name = false;
    let mut parts = Vec::new();
    for piece in template.pieces() {
        parts.push(match piece {
            Piece::Text(text) => Rendered::Text(text.clone()),
            Piece::Use(found) => {
                has_name = true;
                resolve(found)?
            }
        });
    }
    Ok((source(&parts), has_name))
}

/// What one side put in the place of lines of the base.
#[derive(Debug, Clone)]
struct Hunk {
    lines: Range<usize>,
    text: String,
    open: Option<Why>,
}

fn ours_hunks(base: &[&str], ours: &str) -> Vec<Hunk> {
    let ours: Vec<&str> = ours.split_inclusive('\n').collect();
    let ops = capture_diff_slices(Algorithm::Myers, base, &ours);
    let changed = ops.iter().filter(|op| !matches!(op, DiffOp::Equal { .. }));
    changed.map(|op| Hunk { lines: op.old_range(), text: ours[op.new_range()].concat(), open: None }).collect()
}

/// A hunk over the lines of the rendered base and of the node's file.
struct Raw {
    made: Range<usize>,
    found: Range<usize>,
    /// The lines of the template that it touches.
    lines: Range<usize>,
}

fn theirs_hunks(
    base: &[&str],
    theirs: &str,
    resolve: &dyn Fn(&Use) -> Result<Rendered, String>,
) -> Result<Vec<Hunk>, String> {
    let (mut made, mut owner, mut has_name, mut starts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, line) in base.iter().enumerate() {
        let (text, is_named) = rendered_line(line, resolve)?;
        has_name.push(is_named);
        starts.push(made.len());
        for piece in text.split_inclusive('\n') {
            made.push(piece.to_owned());
            owner.push(index);
        }
    }
    starts.push(made.len());
    let found: Vec<String> = theirs.split_inclusive('\n').map(str::to_owned).collect();
    let ops = capture_diff_slices(Algorithm::Myers, &made, &found);
    let mut raws: Vec<Raw> = Vec::new();
    for op in ops.iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
        let (old, new) = (op.old_range(), op.new_range());
        // As many lines for as many: each is an edit of its own.
        let is_single = |at: usize| starts[owner[at] + 1] - starts[owner[at]] == 1;
        if old.len() == new.len() && old.clone().all(is_single) {
            let pairs = old.zip(new).map(|(made, found)| (made..made + 1, found..found + 1, owner[made]));
            raws.extend(pairs.map(|(made, found, line)| Raw { made, found, lines: line..line + 1 }));
            continue;
        }
        // What comes between two lines of the template belongs to neither; what comes into one is an edit of it.
        let first = owner.get(old.start).copied().unwrap_or(base.len());
        let lines = match owner.get(old.end.wrapping_sub(1)).filter(|_| old.end > 0) {
            Some(last) if !old.is_empty() || *last == first => first..*last + 1,
            _ => first..first,
        };
        match raws.last_mut() {
            Some(before) if lines.start < before.lines.end => {
                before.made.end = old.end;
                before.found.end = new.end;
                before.lines.end = before.lines.end.max(lines.end);
            }
            _ => raws.push(Raw { made: old, found: new, lines }),
        }
    }
    let hunk = |raw: Raw| {
        let Raw { made, found: place, lines } = raw;
        // Of the lines that are touched all that stands on the node is in question, also what is equal in them.
        let (before, after) =
            if lines.is_empty() { (0, 0) } else { (made.start - starts[lines.start], starts[lines.end] - made.end) };
        let text = found[place.start - before..place.end + after].concat();
        let open =
            if hides(&text) { Some(Why::Hidden) } else { has_name[lines.clone()].contains(&true).then_some(Why::Name) };
        Hunk { lines, text, open }
    };
    Ok(raws.into_iter().map(hunk).collect())
}

fn combine(base: &[&str], ours: &[Hunk], theirs: &[Hunk]) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut at, mut o, mut t) = (0, 0, 0);
    while o < ours.len() || t < theirs.len() {
        let start = ours.get(o..).into_iter().chain(theirs.get(t..)).flatten().map(|h| h.lines.start).min();
        let Some(start) = start else { break };
        let (first_o, first_t, mut end) = (o, t, start);
        loop {
            // What touches the other side's edit is a conflict with it; edits of one side stay apart.
            let joins = |hunk: &Hunk, other: bool, own: bool| {
                (!other && !own && hunk.lines.start == start)
                    || hunk.lines.start < end
                    || (other && hunk.lines.start <= end)
            };
            if let Some(hunk) = ours.get(o).filter(|h| joins(h, t > first_t, o > first_o)) {
                end = end.max(hunk.lines.end);
                o += 1;
            } else if let Some(hunk) = theirs.get(t).filter(|h| joins(h, o > first_o, t > first_t)) {
                end = end.max(hunk.lines.end);
                t += 1;
            } else {
                break;
            }
        }
        if at < start {
            parts.push(Part::Kept(base[at..start].concat()));
        }
        let (own, other) = (&ours[first_o..o], &theirs[first_t..t]);
        let template = applied(base, start..end, own);
        let node = applied(base, start..end, other);
        let open = other.iter().filter_map(|h| h.open).max();
        parts.push(match (own.is_empty(), other.is_empty(), open) {
            (_, true, _) => Part::Kept(template),
            (false, false, _) if template == node => Part::Kept(template),
            (true, false, None) => Part::Taken { template, node },
            (true, false, Some(why)) => Part::Conflict { template, node, why },
            (false, false, Some(Why::Hidden)) => Part::Conflict { template, node, why: Why::Hidden },
            (false, false, _) => Part::Conflict { template, node, why: Why::Both },
        });
        at = end;
    }
    if at < base.len() {
        parts.push(Part::Kept(base[at..].concat()));
    }
    parts
}

/// Returns lines of the base with the hunks of one side in them.
fn applied(base: &[&str], lines: Range<usize>, hunks: &[Hunk]) -> String {
    let mut out = String::new();
    let mut at = lines.start;
    for hunk in hunks {
        out.push_str(&base[at..hunk.lines.start].concat());
        out.push_str(&hunk.text);
        at = hunk.lines.end;
    }
    out.push_str(&base[at..lines.end].concat());
    out
}
