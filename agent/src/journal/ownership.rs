//! What LAMPAS wrote, and what stood there before its first change.

use lampas_shared::{
    desired::ContentHash,
    id::ObjectId,
    object::{DriftPolicy, Target},
};
use serde::{Deserialize, Serialize};

/// One place on the disk that LAMPAS owns: a path, or a block in a file that it shares with others.
///
/// Keyed in the journal by the path (`/etc/motd`), or by the path and the block (`/etc/hosts#lampas`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// The resource that it was written for; several share a block, then the first.
    pub target: Target,
    /// Its object.
    pub object: ObjectId,
    /// What its object says about changes by hand.
    pub drift: DriftPolicy,
    /// What LAMPAS wrote last; what differs from it was written by somebody else.
    pub wrote: Standing,
    /// What stood there before LAMPAS's first change; comes back when the object goes. Its bytes are a blob.
    pub before: Standing,
}

/// What stands at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// BLAKE3 of its bytes.
        hash: ContentHash,
        /// How many bytes.
        size: u64,
        /// The permission bits.
        mode: u32,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// A directory.
    Directory {
        /// The permission bits.
        mode: u32,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// A symbolic link.
    Link {
        /// What it points to.
        to: String,
    },
    /// LAMPAS's block in a file of others.
    Block {
        /// BLAKE3 of the block's bytes with its markers.
        hash: ContentHash,
    },
}
