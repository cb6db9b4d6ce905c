//! Edits of a file that a template made, carried back into the template.
//!
//! Three texts are in play: the template that the node's file came from (*base*), the template as it stands (*ours*), and what
//! somebody made of the file on the node (*theirs*). Lines are compared. Where an edited line of the file came from a line of the template without
//! a name in it, the edit goes into the template as it is; where a name stood, or the template was changed there as well, a
//! person decides.
//!
//! Theirs is written as templates are, line by line: two braces are doubled, and where a secret's value stands it is
//! named. For files that hold secrets the node writes that itself ([`sketch`]), since a value never leaves it: what it does
//! not show is [`HIDDEN`], which no template can say.

mod sketch;
mod three_way;

pub use sketch::{Filled, sketch};
pub use three_way::{Merge, Part as MergePart, Side, Why, merge, rendered};

use lampas_shared::template::{Part, Template};

/// Stands for lines that the node doesn't show, as secrets are in them. No template can be read that holds it.
pub const HIDDEN: &str = "{{hidden}}";

/// Returns whether a text has lines that the node doesn't show. Two braces of its own are doubled, so that a line which says
/// [`HIDDEN`] itself reads otherwise.
pub fn hides(text: &str) -> bool {
    text.lines().any(|line| line == HIDDEN)
}

/// Writes plain text of a node as a template that says the same.
pub fn plain(text: &str) -> String {
    Template::escape(text)
}

/// Writes parts as a template: what is text as it is, secrets by their names.
pub(crate) fn source(parts: &[Part]) -> String {
    let mut merged: Vec<Part> = Vec::new();
    for part in parts {
        match (merged.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(text),
            (_, part) => merged.push(part.clone()),
        }
    }
    merged.iter().map(Part::source).collect()
}

#[cfg(test)]
mod tests;
