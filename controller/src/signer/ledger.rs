//! The signer's own log of what it signed: append-only, one JSON object a line, each with the hash of the one before.
//!
//! It is read whole at start: its size is bounded by the rate limit (a line of 300 bytes a certificate; 5,000 nodes
//! with a renewal every 20 days write 30 MB a year).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use lampas_runtime::identity::CertInfo;
use lampas_shared::{
    desired::ContentHash,
    id::{ControllerId, NodeId, TokenId},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) at: UnixMs,
    pub(super) act: Act,
    pub(super) serial: String,
    pub(super) fingerprint: ContentHash,
    pub(super) key: ContentHash,
    pub(super) before: ContentHash,
}

/// Why a certificate was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Act {
    Enrolled {
        node: NodeId,
        token: TokenId,
    },
    Renewed {
        node: NodeId,
        after: ContentHash,
    },
    Controller {
        controller: ControllerId,
    },
    /// Not signed here, as far as this log knows: found in use after the log was restored from a backup.
    FoundInUse {
        node: NodeId,
    },
}

/// The log, and what follows from it.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    head: ContentHash,
    count: u64,
    /// Lines that were noted and not yet written.
    noted: Vec<u8>,
    /// The certificates of each node that may be renewed: the last two, because a node may not have got the last.
    nodes: BTreeMap<NodeId, Vec<ContentHash>>,
    /// Every certificate of a node that the log names, so that one which was replaced is never taken for an unknown one.
    named: BTreeSet<ContentHash>,
    /// Which nodes each token let in, with the key that they asked for.
    tokens: BTreeMap<TokenId, BTreeMap<NodeId, ContentHash>>,
}

impl Ledger {
    /// Opens the log and reads it. A last line that a crash cut off is dropped: its certificate never left.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let mut ledger = Self {
            file,
            head: ContentHash::of(b""),
            count: 0,
            noted: Vec::new(),
            nodes: BTreeMap::new(),
            named: BTreeSet::new(),
            tokens: BTreeMap::new(),
        };
        let mut reader = BufReader::new(ledger.file.try_clone()?);
        let (mut line, mut whole) = (Vec::new(), 0);
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            if line.last() != Some(&b'\n') {
                ledger.file.set_len(whole)?;
                ledger.file.sync_all()?;
                break;
            }
            let broken = |why: &str| {
                let message = format!("line {} of the signer's log {why}", ledger.count + 1);
                io::Error::new(io::ErrorKind::InvalidData, message)
            };
            let entry: Entry = serde_json::from_slice(&line).map_err(|_| broken("can't be read"))?;
            if entry.before != ledger.head {
                return Err(broken("does not follow the line before it: the log was changed"));
            }
            ledger.head = ContentHash::of(&line);
            ledger.learn(&entry);
            whole += length as u64;
        }
        ledger.file.seek(io::SeekFrom::End(0))?;
        Ok(ledger)
    }

    /// Notes what was signed: judgements that follow know of it, and [`Ledger::commit`] writes it.
    pub(super) fn note(&mut self, at: UnixMs, act: Act, info: &CertInfo) -> io::Result<()> {
        let entry = Entry {
            at,
            act,
            serial: info.serial.clone(),
            fingerprint: info.fingerprint,
            key: info.key,
            before: self.head,
        };
        let start = self.noted.len();
        serde_json::to_writer(&mut self.noted, &entry)?;
        self.noted.push(b'\n');
        self.head = ContentHash::of(&self.noted[start..]);
        self.learn(&entry);
        Ok(())
    }

    /// Appends what was noted and syncs it. After an error nothing of it stands in the file, and the ledger must be
    /// opened anew, as it knows of what never was.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        let lines = std::mem::take(&mut self.noted);
        if lines.is_empty() {
            return Ok(());
        }
        let length = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(&lines).and_then(|()| self.file.sync_data()) {
            // A line that is cut off is dropped at the next start, whole ones would be believed.
            self.file.set_len(length)?;
            return Err(error);
        }
        Ok(())
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns whether a node's certificate is one that may be renewed.
    pub(super) fn may_renew(&self, node: NodeId, fingerprint: ContentHash) -> bool {
        self.nodes.get(&node).is_some_and(|last| last.contains(&fingerprint))
    }

    /// Returns whether the log names a certificate, as live or as replaced.
    pub(super) fn names(&self, fingerprint: ContentHash) -> bool {
        self.named.contains(&fingerprint)
    }

    /// Returns the nodes that a token let in, with their keys.
    pub(super) fn let_in(&self, token: TokenId) -> Option<&BTreeMap<NodeId, ContentHash>> {
        self.tokens.get(&token)
    }

    fn learn(&mut self, entry: &Entry) {
        self.count += u64::from(!matches!(entry.act, Act::FoundInUse { .. }));
        let node = match &entry.act {
            Act::Enrolled { node, token } => {
                self.tokens.entry(*token).or_default().insert(*node, entry.key);
                // Who enrols anew starts anew: an older certificate of the same node renews nothing.
                self.nodes.remove(node);
                *node
            }
            Act::Renewed { node, .. } | Act::FoundInUse { node } => *node,
            Act::Controller { .. } => return,
        };
        self.named.insert(entry.fingerprint);
        let last = self.nodes.entry(node).or_default();
        last.push(entry.fingerprint);
        if last.len() > 2 {
            last.remove(0);
        }
    }
}
