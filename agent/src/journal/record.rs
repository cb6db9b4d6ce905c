//! What stands under the journal's keys: one version byte, then JSON.
//!
//! JSON rather than bincode, since domain types grow fields and the journal outlives upgrades of the agent. Contents are
//! never in it: they are blobs.

use std::fmt::Write as _;

use lampas_shared::{
    desired::{ContentHash, Generation, NodeDesired},
    error::Fault,
    host::Reaction,
    id::{NodeId, ObjectId},
    object::{DriftPolicy, Target},
    report::{ObservedFile, ResourceReport},
    time::UnixMs,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::host::{Owned, Undo};

/// The version of all records.
const VERSION: u8 = 1;

/// The keys. The first part tells what stands there.
pub(super) mod key {
    pub(in crate::journal) const EPOCH: &[u8] = b"s/epoch";
    pub(in crate::journal) const NODE: &[u8] = b"s/node";
    pub(in crate::journal) const CURRENT: &[u8] = b"s/current";
    pub(in crate::journal) const GOOD: &[u8] = b"s/good";
    pub(in crate::journal) const PREVIOUS: &[u8] = b"s/previous";
    pub(in crate::journal) const STANCE: &[u8] = b"s/stance";
    pub(in crate::journal) const PAUSE: &[u8] = b"s/pause";
    pub(in crate::journal) const INTENT: &[u8] = b"s/intent";
    pub(in crate::journal) const OWED: &[u8] = b"s/owed";
    pub(in crate::journal) const SIGNED: &[u8] = b"s/signed";
    pub(in crate::journal) const HEADS: &[u8] = b"s/heads";
    pub(in crate::journal) const OWNED: &[u8] = b"w/";
    pub(in crate::journal) const DRIFT: &[u8] = b"d/";
    pub(in crate::journal) const OUTBOX: &[u8] = b"o/";
    pub(in crate::journal) const BLOB: &[u8] = b"b/";
    pub(in crate::journal) const SECRET: &[u8] = b"x/";
}

/// A desired state that a controller sent, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The state; its contents are blobs, none rides along.
    pub state: NodeDesired,
    /// When it arrived, by the node's clock.
    pub received_at: UnixMs,
    /// How far it is.
    pub progress: Progress,
    /// What became of each resource, when it was last applied.
    pub resources: Vec<ResourceReport>,
    /// When it was last applied, by the node's clock.
    pub applied_at: Option<UnixMs>,
}

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// In the journal.
    Received,
    /// On the disk and proven; a controller has to be reached yet.
    Applied,
    /// Re-applied after the controller was away for the revert as well: innocent, and still to be confirmed.
    Unconfirmed,
    /// A controller was reached afterwards, or nothing had changed.
    Confirmed,
}

/// Which state the agent keeps true.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stance {
    /// The current one.
    #[default]
    Follow,
    /// The last good one: the current generation cut the node off.
    Quarantined {
        /// The generation that did.
        generation: Generation,
        /// Why, in words.
        reason: String,
        /// Since when.
        since: UnixMs,
    },
    /// The last good one: somebody on the node said `undo`.
    Undone {
        /// The generation that was undone.
        generation: Generation,
        /// Since when.
        since: UnixMs,
    },
}

/// Nothing is written until it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it ends by itself; `None`: by `resume` only.
    pub until: Option<UnixMs>,
    /// Why, in the operator's words.
    pub reason: String,
    /// Since when.
    pub since: UnixMs,
}

/// What the agent is about to do to the disk, journalled before its first write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The generation whose state is being written.
    pub generation: Generation,
    /// When it began.
    pub since: UnixMs,
    /// How to go back to before it.
    pub undo: Undo,
}

/// What follows a change, journalled when all of it stands and before the first unit is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The generation that made it due.
    pub generation: Generation,
    /// Since when.
    pub since: UnixMs,
    /// What is done, in order.
    pub reactions: Vec<Reaction>,
}

/// A change by hand that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The resource.
    pub target: Target,
    /// Its object.
    pub object: ObjectId,
    /// What is done about it.
    pub policy: DriftPolicy,
    /// The file, as the node sees it.
    pub path: String,
    /// The hash of the desired resource when it was found; another one ends what is merely reported.
    pub desired: ContentHash,
    /// What tells one finding from the next: a hash over all that was observed.
    pub fingerprint: ContentHash,
    /// What was found, without the bytes; absent when there is no file.
    pub observed: Option<ObservedFile>,
    /// When it was first seen, by the node's clock.
    pub since: UnixMs,
}

/// A head of the audit that a controller showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenHead {
    /// The head.
    #[serde(flatten)]
    pub head: lampas_shared::audit::Head,
    /// When, by the node's clock.
    pub at: UnixMs,
}

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the record {key} can't be read: {why}")]
pub struct RecordError {
    key: String,
    why: String,
}

pub(super) fn encode(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, record).expect("records have text keys and no failing serialisers");
    bytes
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, RecordError> {
    let wrong = |why: String| RecordError { key: printable(key), why };
    match bytes.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|e| wrong(e.to_string())),
        Some((version, _)) => Err(wrong(format!("its version is {version}, known is {VERSION}"))),
        None => Err(wrong("it is empty".into())),
    }
}

/// Reads a record of any key, to find damage early.
pub(super) fn check(key: &[u8], value: &[u8]) -> Result<(), RecordError> {
    match key {
        key::EPOCH => decode::<u64>(key, value).map(drop),
        key::NODE => decode::<NodeId>(key, value).map(drop),
        key::CURRENT => decode::<Accepted>(key, value).map(drop),
        key::GOOD | key::PREVIOUS => decode::<NodeDesired>(key, value).map(drop),
        key::STANCE => decode::<Stance>(key, value).map(drop),
        key::PAUSE => decode::<Pause>(key, value).map(drop),
        key::INTENT => decode::<Intent>(key, value).map(drop),
        key::OWED => decode::<Owed>(key, value).map(drop),
        key::SIGNED => decode::<crate::signature::Ledger>(key, value).map(drop),
        key::HEADS => decode::<Vec<SeenHead>>(key, value).map(drop),
        _ if key.starts_with(key::OWNED) => decode::<Owned>(key, value).map(drop),
        _ if key.starts_with(key::DRIFT) => decode::<Drift>(key, value).map(drop),
        _ if key.starts_with(key::OUTBOX) => decode::<lampas_wire::Report>(key, value).map(drop),
        _ => Ok(()),
    }
}

/// A journal that can't be used as it should be.
pub(super) fn fault(error: &super::JournalError) -> Fault {
    Fault::passing("journal.unavailable", lampas_shared::error::Chain(error).to_string())
}

fn printable(key: &[u8]) -> String {
    key.iter().fold(String::new(), |mut out, byte| {
        match byte {
            0x20..=0x7e => out.push(char::from(*byte)),
            _ => write!(out, "\\x{byte:02x}").expect("writing to a string succeeds"),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lampas_shared::{
        desired::{Content, Provenance, Resource, Spec},
        fleet::Scope,
        host::{FileMode, GroupName, ManagedPath, UserName},
        object::{Kind, ObjectName},
    };
    use uuid::Uuid;

    use super::*;
    use crate::host::{Before, Claim, Ownership, UndoStep};

    /// One record a line, key and JSON, as agents in the field have them. A line may never change: a later version reads it,
    /// and writes what needs nothing new as it did.
    const GOLDEN: &str = include_str!("golden.txt");

    fn resource() -> Resource {
        Resource {
            target: Target::path("/etc/motd"),
            object: ObjectId::from_uuid(Uuid::from_u128(7)),
            kind: Kind::File,
            name: ObjectName::parse("motd").expect("a name"),
            scope: Scope::Fleet,
            drift: DriftPolicy::Hold,
            provenance: Provenance {
                revision: 1,
                author: "ann".into(),
                at: UnixMs(1),
                reason: "why".into(),
                change: 2,
                approval: lampas_shared::desired::Approval::Unknown,
            },
            spec: Spec::File {
                path: ManagedPath::parse("/etc/motd").expect("a path"),
                content: Content { inline: None, ..Content::of(b"hello\n") },
                owner: UserName::root(),
                group: GroupName::root(),
                mode: FileMode::new(0o644).expect("a mode"),
                validate: None,
            },
            on_change: Vec::new(),
        }
    }

    fn samples() -> Vec<(&'static [u8], Vec<u8>)> {
        let generation = Generation { epoch: 1, counter: 118 };
        let state = NodeDesired::new(NodeId::from_uuid(Uuid::from_u128(1)), generation, vec![resource()]);
        let claim = Claim {
            object: resource().object,
            kind: Kind::File,
            name: resource().name,
            lines: Vec::new(),
            taken: Vec::new(),
            on_change: Vec::new(),
        };
        let owned = Owned {
            claims: BTreeMap::from([(resource().target, claim)]),
            known: [ContentHash::of(b"known")].into(),
            before: Before::Absent,
            holds_secrets: false,
            values: std::collections::BTreeSet::new(),
        };
        let undo = Undo {
            ownership: Ownership { places: BTreeMap::from([("/etc/motd".to_owned(), owned.clone())]) },
            steps: vec![UndoStep {
                path: "/etc/motd".into(),
                before: Before::Absent,
                is_shared: false,
                left: ContentHash::of(b"left"),
                crontab_of: None,
                foreign: None,
                is_twofold: false,
                holds_secrets: false,
            }],
        };
        let accepted = Accepted {
            state: state.clone(),
            received_at: UnixMs(3),
            progress: Progress::Applied,
            resources: Vec::new(),
            applied_at: Some(UnixMs(4)),
        };
        let drift = Drift {
            target: resource().target,
            object: resource().object,
            policy: DriftPolicy::Hold,
            path: "/etc/motd".into(),
            desired: resource().compute_hash(),
            fingerprint: ContentHash::of(b"found"),
            observed: None,
            since: UnixMs(5),
        };
        let owed = Owed { generation, since: UnixMs(6), reactions: vec!["reload app".parse().expect("a reaction")] };
        vec![
            (key::CURRENT, encode(&accepted)),
            (key::GOOD, encode(&state)),
            (key::STANCE, encode(&Stance::Undone { generation, since: UnixMs(7) })),
            (key::PAUSE, encode(&Pause { until: Some(UnixMs(9)), reason: "disk swap".into(), since: UnixMs(8) })),
            (key::INTENT, encode(&Intent { generation, since: UnixMs(10), undo })),
            (key::OWED, encode(&owed)),
            (b"w//etc/motd", encode(&owned)),
            (b"d/path:/etc/motd", encode(&drift)),
        ]
    }

    #[test]
    fn records_are_read_and_written_as_they_were_released() {
        let text = |(key, bytes): &(&[u8], Vec<u8>)| {
            assert_eq!(bytes[0], VERSION);
            format!("{} {}\n", printable(key), String::from_utf8_lossy(&bytes[1..]))
        };
        assert_eq!(samples().iter().map(text).collect::<String>(), GOLDEN);
        for (line, (key, _)) in GOLDEN.lines().zip(samples()) {
            let (_, json) = line.split_once(' ').expect("key and record");
            check(key, &[&[VERSION], json.as_bytes()].concat()).expect("read");
        }
    }
}
