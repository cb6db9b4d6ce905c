//! `/etc/hosts` (hosts(5)): LAMPAS's lines in a marked block, foreign lines byte for byte around it.

mod adopt;

pub use adopt::{HostsAdoptError, read_back};

use std::{fmt, net::IpAddr};

use lampas_shared::host::HostName;
use serde::{Deserialize, Serialize};

use crate::block;

/// What `lampas-agent why` takes for the block.
pub const PATH: &str = "/etc/hosts";

/// One line of the managed block.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostsLine {
    /// The address.
    pub address: IpAddr,
    /// The canonical name first, then aliases.
    pub names: Vec<HostName>,
    /// A comment at the end of the line; empty for none.
    pub comment: String,
}

impl fmt::Display for HostsLine {
    /// Prints the line without a newline. Control characters of a comment are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t", self.address)?;
        for (i, name) in self.names.iter().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { " " })?;
        }
        let comment: String = self.comment.trim().chars().filter(|c| !c.is_control()).collect();
        if comment.is_empty() { Ok(()) } else { write!(f, "  # {comment}") }
    }
}

/// Returns the lines as they stand in the block, each with its newline.
pub fn render_lines(lines: &[HostsLine]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&format!("{line}\n"));
    }
    text
}

/// Returns the file with these lines as its managed block; see [`block::replace`].
pub fn replace_block(existing: &[u8], lines: &[HostsLine]) -> Vec<u8> {
    block::replace(existing, PATH, render_lines(lines).as_bytes())
}

/// Returns the lines of the managed block without its markers; `None` when there is no block.
pub fn extract_block(existing: &[u8]) -> Option<&[u8]> {
    block::extract(existing)
}

/// A hosts file, every line as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsFile {
    /// The lines in their order.
    pub lines: Vec<Line>,
}

impl HostsFile {
    /// Returns the bytes that it was read from.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| line.raw.iter().copied()).collect()
    }
}

/// One line of a hosts file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The bytes, with the line's end if it has one.
    pub raw: Vec<u8>,
    /// What it says.
    pub content: LineContent,
}

/// What a line says to the resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineContent {
    /// Nothing.
    Blank,
    /// A comment.
    Comment,
    /// An address with its names.
    Entry {
        /// The address.
        address: IpAddr,
        /// The names as they stand, canonical one first.
        names: Vec<String>,
        /// The comment, trimmed; empty for none.
        comment: String,
    },
    /// What the resolver passes over.
    Invalid(InvalidLine),
}

/// Why a line says nothing to the resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLine {
    /// Its first word is no address.
    #[error("the first word is not an IP address")]
    NoAddress,
    /// There are no names after the address.
    #[error("there is no name after the address")]
    NoName,
    /// It isn't text.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// A carriage return belongs to the last name, which then never matches.
    #[error("the line ends with a carriage return, which becomes part of its last name")]
    CarriageReturn,
}

/// Reads a hosts file; every file can be read.
pub fn parse(bytes: &[u8]) -> HostsFile {
    let lines = bytes.split_inclusive(|b| *b == b'\n');
    HostsFile { lines: lines.map(|raw| Line { raw: raw.to_vec(), content: parse_line(raw) }).collect() }
}

fn parse_line(raw: &[u8]) -> LineContent {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    let (entry, comment) = match raw.iter().position(|b| *b == b'#') {
        Some(at) => (&raw[..at], &raw[at + 1..]),
        None => (raw, &raw[raw.len()..]),
    };
    if entry.trim_ascii().is_empty() {
        return if entry.len() == raw.len() { LineContent::Blank } else { LineContent::Comment };
    }
    if entry.ends_with(b"\r") {
        return LineContent::Invalid(InvalidLine::CarriageReturn);
    }
    let Ok(entry) = std::str::from_utf8(entry) else { return LineContent::Invalid(InvalidLine::NotUtf8) };
    let mut words = entry.split_ascii_whitespace();
    let Some(address) = words.next().and_then(|word| word.parse().ok()) else {
        return LineContent::Invalid(InvalidLine::NoAddress);
    };
    let names: Vec<String> = words.map(str::to_owned).collect();
    if names.is_empty() {
        return LineContent::Invalid(InvalidLine::NoName);
    }
    LineContent::Entry { address, names, comment: String::from_utf8_lossy(comment).trim().to_owned() }
}

/// A name of a managed line that a foreign line has too, for the same address family and with another address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// The name, as in the managed line.
    pub name: HostName,
    /// The managed address.
    pub managed: IpAddr,
    /// The foreign address.
    pub foreign: IpAddr,
    /// The foreign line's number in the existing file, from 1.
    pub line: usize,
    /// Whether the foreign line comes first, and so is what the resolver answers first.
    pub is_foreign_first: bool,
}

impl fmt::Display for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, managed, foreign, line, .. } = self;
        let is_own_name = matches!(foreign, IpAddr::V4(v4) if v4.octets() == [127, 0, 1, 1]);
        match (is_own_name, self.is_foreign_first) {
            (true, true) => write!(
                f,
                "{name} is the node's own name: line {line} gives it {foreign}, which stays the first answer, not {managed}"
            ),
            (true, false) => {
                write!(f, "{name} is the node's own name: {managed} comes before {foreign} (line {line}) for it")
            }
            (false, true) => {
                write!(f, "{name} also stands in line {line} as {foreign}, which comes first and wins over {managed}")
            }
            (false, false) => {
                write!(f, "{name} also stands in line {line} as {foreign}; {managed} comes first and wins")
            }
        }
    }
}

/// Returns which names of managed lines foreign lines claim too. The first match of a file wins for each address
/// family (nsswitch "files"). Names are compared without case; the same address in both is no conflict.
pub fn shadowed(existing: &[u8], lines: &[HostsLine]) -> Vec<Shadow> {
    let blocks = block::spans(existing);
    let block_start = blocks.first().map_or(existing.len(), |span| span.start);
    let mut foreign: Vec<(usize, usize, IpAddr, Vec<String>)> = Vec::new();
    let mut offset = 0;
    for (index, line) in parse(existing).lines.into_iter().enumerate() {
        let start = offset;
        offset += line.raw.len();
        if let LineContent::Entry { address, names, .. } = line.content
            && !blocks.iter().any(|span| span.contains(&start))
        {
            foreign.push((index + 1, start, address, names));
        }
    }
    let mut found = Vec::new();
    for line in lines {
        for name in &line.names {
            let claims = |(_, _, address, names): &&(usize, usize, IpAddr, Vec<String>)| {
                address.is_ipv4() == line.address.is_ipv4()
                    && names.iter().any(|n| n.eq_ignore_ascii_case(name.as_str()))
            };
            if let Some((number, start, address, _)) = foreign.iter().find(claims)
                && *address != line.address
            {
                found.push(Shadow {
                    name: name.clone(),
                    managed: line.address,
                    foreign: *address,
                    line: *number,
                    is_foreign_first: *start < block_start,
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
