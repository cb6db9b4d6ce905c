//! What LAMPAS owns on the disk, and how to undo: plain values that the journal keeps.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    desired::ContentHash,
    host::Reaction,
    id::{ObjectId, SecretValueId},
    object::{Kind, ObjectName, Target},
};
use serde::{Deserialize, Serialize};

/// Everything that LAMPAS owns on this host, by path (`/etc/motd`). Of `/etc/hosts` and of users' crontabs it owns only
/// its marked block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// By path.
    pub places: BTreeMap<String, Owned>,
}

/// One place that LAMPAS owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// The resources that it was written for; more than one only in a shared block.
    pub claims: BTreeMap<Target, Claim>,
    /// Fingerprints of every state of this place that LAMPAS left, was about to leave, or found before its first change.
    /// What has another fingerprint was changed by hand. One entry, and two or three while an apply is under way.
    pub known: BTreeSet<ContentHash>,
    /// What stood there before LAMPAS's first change.
    pub before: Before,
    /// Whether what LAMPAS wrote there holds secrets: then nothing of it is shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_secrets: bool,
    /// The values of secrets that LAMPAS wrote there; none where an agent did that didn't put them down.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub values: BTreeSet<SecretValueId>,
}

/// A resource's part of a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Its object.
    pub object: ObjectId,
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: ObjectName,
    /// The lines that it has in a shared block; empty where the place is the resource's alone.
    pub lines: Vec<String>,
    /// Lines outside of the block that said the same when the resource came, and left the file for it. They come back when
    /// it goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<TakenLine>,
    /// What is reloaded or restarted when the place changes, also when the resource goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_change: Vec<Reaction>,
}

/// A line of others that left the file for a managed one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TakenLine {
    /// Which of the lines outside of the block it was, from 0.
    pub at: usize,
    /// The line, without its newline.
    pub line: String,
}

/// What stood at a place. The bytes of files are kept below `/var/lib/lampas/agent/kept`, named by their hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "was", rename_all = "snake_case")]
pub enum Before {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// BLAKE3 of its bytes, which is also the name of the kept copy.
        hash: ContentHash,
        /// Owner, mode, times and extended attributes.
        meta: FileMeta,
    },
    /// A directory.
    Directory {
        /// Owner, mode, times and extended attributes.
        meta: FileMeta,
    },
    /// A symbolic link.
    Link {
        /// What it points to.
        to: String,
    },
    /// A file of others, of which LAMPAS owns a block.
    Shared,
}

/// A file's metadata, to be put back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The twelve permission bits.
    pub mode: u32,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Extended attributes, ACLs among them.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What the journal must hold before the first write of an apply, and again after the last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What LAMPAS owns: during the apply what it owned and what it is about to, afterwards what it does.
    pub ownership: Ownership,
    /// How to go back to before this apply.
    pub undo: Undo,
}

/// How to put back what an apply changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// What LAMPAS owned before the apply.
    pub ownership: Ownership,
    /// The places, in the order in which they were written.
    pub steps: Vec<UndoStep>,
}

/// One place of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoStep {
    /// Where.
    pub path: String,
    /// What stood there, whole: for shared files too.
    pub before: Before,
    /// Whether only LAMPAS's block in it goes back, foreign lines staying as they are by then.
    pub is_shared: bool,
    /// The fingerprint of what the apply leaves there; what is neither that nor what stood there was changed by hand.
    pub left: ContentHash,
    /// The user whose crontab it is: then it is installed through `crontab -u`.
    pub crontab_of: Option<String>,
    /// The hash of what the apply leaves outside of the block, when it changes that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<ContentHash>,
    /// Whether nothing stands there for a moment, while a directory takes the place of a file or the other way round.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_twofold: bool,
    /// Whether secrets stand there before or after the apply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_secrets: bool,
}
