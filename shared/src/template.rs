//! Templates: texts in which names stand for values, `{{var.NAME}}`, `{{secret.NAME}}`, `{{fact.hostname}}`.
//!
//! The language is this and nothing more: no conditions, no loops, no defaults. `{{{{` stands for two braces, and of three the first for itself; what is
//! between `{{` and `}}` stands on one line; behind a `|` an [`Escape`] says how the value is written. Variables and facts
//! are put in by the controller, secrets by the node ([`Sealed`]).

mod sealed;

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

pub use sealed::{Part, Sealed};

use crate::{TextError, object::ObjectName};

/// The longest template, in bytes: with what is put in, it rides along in a state.
pub const MAX_TEMPLATE_BYTES: usize = 48 << 10;

/// A template that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// What stands there as it is.
    Text(String),
    /// A name that stands for a value.
    Use(Use),
}

/// A name that stands for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Whose value.
    pub source: Source,
    /// How it is written.
    pub escape: Escape,
    /// The line that it stands in, from 1.
    pub line: usize,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A variable.
    Var(ObjectName),
    /// A secret.
    Secret(ObjectName),
    /// What the node is.
    Fact(Fact),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Var(name) => write!(f, "var.{name}"),
            Self::Secret(name) => write!(f, "secret.{name}"),
            Self::Fact(fact) => write!(f, "fact.{}", fact.as_str()),
        }
    }
}

/// What of a node may stand in a text: what doesn't change from one day to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// The node's name in the fleet.
    Node,
    /// The node's id.
    Id,
    /// The address that an operator gave the node.
    Address,
    /// The name that the node says it has.
    Hostname,
    /// The operating system's release: `bookworm`.
    Codename,
    /// The machine's architecture: `x86_64`.
    Architecture,
}

impl Fact {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 6] =
        [Self::Node, Self::Id, Self::Address, Self::Hostname, Self::Codename, Self::Architecture];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Id => "id",
            Self::Address => "address",
            Self::Hostname => "hostname",
            Self::Codename => "codename",
            Self::Architecture => "architecture",
        }
    }
}

/// How a value is written into its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Escape {
    /// As it is.
    #[default]
    Raw,
    /// As one word of the shell, in single quotes.
    Shell,
    /// As a string of JSON or TOML, with its quotes.
    Quoted,
    /// In standard base64.
    Base64,
}

impl Escape {
    /// Writes a value.
    pub fn apply(self, value: &str) -> String {
        match self {
            Self::Raw => value.to_owned(),
            Self::Shell => format!("'{}'", value.replace('\'', r"'\''")),
            Self::Quoted => quoted(value),
            Self::Base64 => crate::host::base64_encode(value.as_bytes()),
        }
    }

    fn parse(word: &str) -> Option<Self> {
        match word {
            "raw" => Some(Self::Raw),
            "shell" => Some(Self::Shell),
            "json" | "toml" => Some(Self::Quoted),
            "base64" => Some(Self::Base64),
            _ => None,
        }
    }
}

/// A basic string of TOML 1.0, which is one of JSON as well.
fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When a name can't be read; the reason says in which line.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            let reason = format!("{} bytes, a template has at most {MAX_TEMPLATE_BYTES}", text.len());
            return Err(TextError::new("content", "…", reason));
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            plain.push_str(&rest[..at]);
            let after = &rest[at + 2..];
            if let Some(after) = after.strip_prefix("{{") {
                plain.push_str("{{");
                rest = after;
                continue;
            }
            if after.starts_with('{') {
                plain.push('{');
                rest = &rest[at + 1..];
                continue;
            }
            let line = line_of(text, text.len() - rest.len() + at);
            let wrong = |value: &str, reason: &str| {
                Err(TextError::new("content", value, format!("line {line} of the template: {reason}")))
            };
            let inner = after.split('\n').next().unwrap_or_default();
            let Some(end) = inner.find("}}") else {
                return wrong("{{", "the braces are not closed on their line; write {{{{ for two braces");
            };
            match parse_use(&inner[..end], line) {
                Ok(found) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Use(found));
                }
                Err(reason) => return wrong(&inner[..end], &reason),
            }
            rest = &after[end + 2..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// Returns the names in a text that is no template: what would stand for a value if it were one.
    pub fn names(text: &str) -> impl Iterator<Item = Use> {
        let lines = text.lines().zip(1..);
        lines.flat_map(|(line, number)| {
            let after_braces = line.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
            after_braces.filter_map(move |(inner, _)| parse_use(inner.trim_start_matches('{'), number).ok())
        })
    }

    /// Writes plain text as a template that says the same.
    pub fn escape(text: &str) -> String {
        // Of three braces the first two are doubled; what is left is one brace, which stands for itself.
        text.replace("{{", "{{{{")
    }

    /// Returns the parts.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns the names in it, in their order.
    pub fn uses(&self) -> impl Iterator<Item = &Use> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Use(found) => Some(found),
            Piece::Text(_) => None,
        })
    }

    /// Returns the facts in it.
    pub fn facts(&self) -> BTreeSet<Fact> {
        let fact = |found: &Use| if let Source::Fact(fact) = found.source { Some(fact) } else { None };
        self.uses().filter_map(fact).collect()
    }

    /// Returns whether a secret is in it.
    pub fn has_secrets(&self) -> bool {
        self.uses().any(|found| matches!(found.source, Source::Secret(_)))
    }
}

/// Returns the line of a byte, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn parse_use(inner: &str, line: usize) -> Result<Use, String> {
    let (name, escape) = match inner.split_once('|') {
        Some((name, word)) => {
            let word = word.trim();
            let known = "write it as raw, shell, json, toml or base64";
            (name, Escape::parse(word).ok_or_else(|| format!("{word:?} is no way to write a value; {known}"))?)
        }
        None => (inner, Escape::Raw),
    };
    let shape = "write it as var.NAME, secret.NAME or fact.NAME, and {{{{ for two braces";
    let (sort, name) = name.trim().split_once('.').ok_or(shape)?;
    let object = || {
        check_value_name(name).map_err(|e| e.to_string())?;
        ObjectName::parse(name).map_err(|e| e.to_string())
    };
    let source = match sort {
        "var" => Source::Var(object()?),
        "secret" => Source::Secret(object()?),
        "fact" => Source::Fact(Fact::ALL.into_iter().find(|f| f.as_str() == name).ok_or_else(|| {
            let known = Fact::ALL.map(Fact::as_str).join(", ");
            format!("there is no fact {name}; there are {known}")
        })?),
        _ => return Err(shape.to_owned()),
    };
    Ok(Use { source, escape, line })
}

/// Checks the name of a variable or a secret: `[a-z][a-z0-9_.-]*`, at most 64 characters.
pub(crate) fn check_value_name(name: &str) -> Result<(), TextError> {
    crate::text::check_name(
        "name",
        name,
        64,
        |i, c| c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || "_.-".contains(c))),
        "use lower-case letters, digits, '_', '.' and '-', starting with a letter",
    )
}

#[cfg(test)]
mod tests;
