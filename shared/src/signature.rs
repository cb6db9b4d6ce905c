//! Signatures over root code: the text that an operator reads and signs, so that a taken controller can't forge root.
//!
//! A [`Statement`] names the fleet, a serial, when it ends, and for which nodes which root code may come or go. It has one
//! spelling: what [`Statement::parse`] takes is what [`Statement::to_text`] prints, to the byte. It is signed with
//! `ssh-keygen -Y sign -n lampas-root-code`, and checked by the agent itself against keys that its node's owner put there.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{
    TextError, check_line,
    desired::{ContentHash, Resource},
    fleet::NodeName,
    id::{FleetId, NodeId},
    object::{Kind, Target},
    time::UnixMs,
};

/// The namespace of `ssh-keygen -Y`: a signature for something else is none for root code.
pub const NAMESPACE: &str = "lampas-root-code";

/// The most statements that a node holds.
pub const MAX_HELD: usize = 64;
/// The longest text, in bytes: some thousand nodes.
pub const MAX_TEXT: usize = 256 << 10;
/// The longest signature, in bytes: those of certificates and FIDO keys are far below.
pub const MAX_SIGNATURE: usize = 16 << 10;

const HEAD: &str = "LAMPAS root code, version 1";

/// What an operator says by signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The fleet that it is for.
    pub fleet: FleetId,
    /// Grows with each statement: a node that used one takes no older one any more.
    pub serial: u64,
    /// After this it begins nothing any more.
    pub expires: UnixMs,
    /// What it was made for, in words.
    pub purpose: String,
    /// Nodes with what they are granted.
    pub parts: Vec<Part>,
}

/// Nodes that are granted the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The nodes; an agent goes by the id, a reader by the name.
    pub nodes: Vec<(NodeId, NodeName)>,
    /// What may be.
    pub grants: BTreeSet<Grant>,
}

/// One thing that may be done as root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// This resource may come, with exactly this hash ([`Resource::compute_hash`]).
    Put {
        /// The kind.
        kind: Kind,
        /// The hash over all that is in force of it.
        hash: ContentHash,
        /// What it claims.
        target: Target,
    },
    /// What stands there for objects of this kind may go.
    Remove {
        /// The kind.
        kind: Kind,
        /// The path.
        path: String,
    },
    /// This may be run, once.
    Run {
        /// [`crate::operation::RunOrder::program_hash`].
        hash: ContentHash,
        /// The program, in one line.
        title: String,
    },
}

impl Grant {
    /// Returns the grant that a resource needs.
    pub fn of(resource: &Resource) -> Self {
        Self::Put { kind: resource.kind, hash: resource.compute_hash(), target: resource.target.clone() }
    }

    fn line(&self) -> String {
        match self {
            Self::Put { kind, hash, target } => format!("put {} {hash} {target}", kind.as_str()),
            Self::Remove { kind, path } => format!("remove {} {path}", kind.as_str()),
            Self::Run { hash, title } => format!("run {hash} {title}"),
        }
    }

    fn parse(line: &str) -> Result<Self, TextError> {
        let odd = || TextError::new("statement", line, "is no line of a statement");
        let (verb, rest) = line.split_once(' ').ok_or_else(odd)?;
        let (first, rest) = rest.split_once(' ').ok_or_else(odd)?;
        match verb {
            "put" => {
                let (hash, target) = rest.split_once(' ').ok_or_else(odd)?;
                Ok(Self::Put { kind: first.parse()?, hash: hash.parse()?, target: Target::parse(target)? })
            }
            "remove" => {
                check_line("path", rest, 1200)?;
                Ok(Self::Remove { kind: first.parse()?, path: rest.to_owned() })
            }
            "run" => {
                check_line("title", rest, 1200)?;
                Ok(Self::Run { hash: first.parse()?, title: rest.to_owned() })
            }
            _ => Err(odd()),
        }
    }
}

impl Statement {
    /// Returns the text that is signed.
    pub fn to_text(&self) -> String {
        let Self { fleet, serial, expires, purpose, parts } = self;
        let mut out = format!("{HEAD}\nfleet {fleet}\nserial {serial}\nexpires {expires}\nfor {purpose}\n");
        for part in parts {
            for (id, name) in &part.nodes {
                let _ = writeln!(out, "node {id} {name}");
            }
            for grant in &part.grants {
                out.push_str(&grant.line());
                out.push('\n');
            }
        }
        out
    }

    /// Reads a text; only the one spelling is taken.
    ///
    /// # Errors
    /// When it is longer than [`MAX_TEXT`], or not such a text.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let odd = |line: &str, why: &str| TextError::new("statement", line, why);
        if text.len() > MAX_TEXT {
            return Err(odd("", &format!("{} bytes, at most {MAX_TEXT} are allowed", text.len())));
        }
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(odd(text.lines().next().unwrap_or_default(), "is not the first line of a statement"));
        }
        let mut field = |name: &str| {
            let line = lines.next().unwrap_or_default();
            let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
            value.ok_or_else(|| odd(line, &format!("stands where {name} should")))
        };
        let fleet = FleetId::parse(field("fleet")?)?;
        let serial = field("serial")?;
        let serial = serial.parse().map_err(|_| odd(serial, "is no serial"))?;
        let expires = field("expires")?.parse()?;
        let purpose = field("for")?.to_owned();
        check_line("purpose", &purpose, 500)?;
        let mut parts: Vec<Part> = Vec::new();
        for line in lines {
            if let Some(rest) = line.strip_prefix("node ") {
                let (id, name) = rest.split_once(' ').ok_or_else(|| odd(line, "has no name"))?;
                let node = (NodeId::parse(id)?, NodeName::parse(name)?);
                match parts.last_mut().filter(|part| part.grants.is_empty()) {
                    Some(part) => part.nodes.push(node),
                    None => parts.push(Part { nodes: vec![node], grants: BTreeSet::new() }),
                }
            } else {
                let part = parts.last_mut().ok_or_else(|| odd(line, "stands before any node"))?;
                part.grants.insert(Grant::parse(line)?);
            }
        }
        let found = Self { fleet, serial, expires, purpose, parts };
        if found.to_text() == text { Ok(found) } else { Err(odd("", "is not in the one spelling of statements")) }
    }

    /// Returns what a node is granted; `None` when it isn't named.
    pub fn for_node(&self, node: NodeId) -> Option<BTreeSet<&Grant>> {
        let mut named = self.parts.iter().filter(|p| p.nodes.iter().any(|(id, _)| *id == node)).peekable();
        named.peek()?;
        Some(named.flat_map(|p| &p.grants).collect())
    }

    /// Returns the nodes that it names.
    pub fn nodes(&self) -> impl Iterator<Item = &(NodeId, NodeName)> {
        self.parts.iter().flat_map(|p| &p.nodes)
    }
}

/// A text with the signature over it, as `ssh-keygen -Y sign` wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// [`Statement::to_text`].
    pub text: String,
    /// In armour: `-----BEGIN SSH SIGNATURE-----` …
    pub signature: String,
}

impl Signed {
    /// Checks the form; whether the signature holds, only who has the keys can say.
    ///
    /// # Errors
    /// When it is too long, the text is no statement, or the signature is not in armour.
    pub fn check(&self) -> Result<Statement, TextError> {
        let odd = |why: &str| TextError::new("signature", "", why);
        if self.signature.len() > MAX_SIGNATURE {
            return Err(odd("is longer than any that ssh-keygen writes"));
        }
        let is_armour = |c: char| c.is_ascii_alphanumeric() || "+/=- \n\r".contains(c);
        if !self.signature.starts_with("-----BEGIN SSH SIGNATURE-----") || !self.signature.chars().all(is_armour) {
            return Err(odd("is not what `ssh-keygen -Y sign` writes: -----BEGIN SSH SIGNATURE----- …"));
        }
        Statement::parse(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(n: u128) -> (NodeId, NodeName) {
        (NodeId::from_uuid(uuid::Uuid::from_u128(n)), NodeName::parse(format!("web-{n}")).expect("a name"))
    }

    fn sample() -> Statement {
        let put = Grant::Put { kind: Kind::Cron, hash: ContentHash::of(b"x"), target: Target::path("/etc/a b") };
        let remove = Grant::Remove { kind: Kind::File, path: "/etc/sudoers.d/old".into() };
        let run = Grant::Run { hash: ContentHash::of(b"y"), title: "df -h".into() };
        Statement {
            fleet: FleetId::from_uuid(uuid::Uuid::from_u128(9)),
            serial: 7,
            expires: UnixMs(1_795_000_000_000),
            purpose: "change 12".into(),
            parts: vec![
                Part { nodes: vec![node(1), node(2)], grants: [put.clone(), remove].into() },
                Part { nodes: vec![node(3)], grants: [put, run].into() },
            ],
        }
    }

    #[test]
    fn a_statement_has_one_spelling() {
        let text = sample().to_text();
        assert_eq!(Statement::parse(&text), Ok(sample()));
        assert!(text.starts_with("LAMPAS root code, version 1\nfleet 00000000-0000-"), "{text}");
        for (from, to) in [
            ("serial 7", "serial 07"),
            ("serial 7", "serial +7"),
            ("for change 12\n", "for change 12\n\n"),
            ("remove file", "remove  file"),
            ("put cron", "put crom"),
            ("version 1", "version 2"),
            ("node 00000000-0000-0000-0000-000000000003 web-3\n", ""),
            ("expires 2026", "expires 26"),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(Statement::parse(&text.replace(from, to)).is_err(), "{from} {to}");
        }
        assert!(Statement::parse(text.trim_end()).is_err(), "the last line ends");
        assert!(Statement::parse(&text.replace('\n', "\r\n")).is_err());
    }

    #[test]
    fn nodes_are_granted_what_stands_below_them_alone() {
        let statement = sample();
        assert_eq!(statement.for_node(node(1).0).map(|g| g.len()), Some(2));
        assert_eq!(statement.for_node(node(3).0).map(|g| g.iter().any(|g| matches!(g, Grant::Run { .. }))), Some(true));
        assert_eq!(statement.for_node(node(4).0), None);
        assert_eq!(statement.nodes().count(), 3);
    }

    #[test]
    fn only_armour_is_a_signature() {
        let signed = |signature: &str| Signed { text: sample().to_text(), signature: signature.into() }.check();
        assert!(signed("-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n").is_ok());
        assert!(signed("AAAA").is_err());
        assert!(signed("-----BEGIN SSH SIGNATURE-----\n\u{1b}[2J").is_err());
    }

    proptest! {
        #[test]
        fn what_is_parsed_is_printed_alike(text in "LAMPAS root code, version 1\n(.|\n){0,400}") {
            if let Ok(found) = Statement::parse(&text) {
                prop_assert_eq!(found.to_text(), text);
            }
        }
    }
}
