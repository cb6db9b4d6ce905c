//! What a plan is made from, apart from the disk.

use std::collections::BTreeSet;

use lampas_shared::{
    desired::{ContentHash, Resource},
    error::Fault,
    object::{Kind, Target},
};

use super::{Looks, Ownership, Secrets};

/// Everything that [`plan`](super::plan()) needs besides the disk.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// What shall be: the resources of the host group.
    pub resources: &'a [Resource],
    /// Returns the bytes of a content that does not ride along; `None` when the journal has no such blob.
    pub content: &'a dyn Fn(&ContentHash) -> Option<Vec<u8>>,
    /// What LAMPAS wrote, and what stood before.
    pub owned: &'a Ownership,
    /// Targets that were changed by hand and are left as they are. In a shared block, lines that were added by hand stay
    /// while any target of the block is held.
    pub held: &'a BTreeSet<Target>,
    /// What the node is.
    pub facts: &'a Facts,
    /// The node's own policy: a fault refuses the resource.
    pub judge: &'a dyn Fn(&Resource) -> Option<Fault>,
    /// The same for what goes: a fault leaves it standing.
    pub judge_removal: &'a dyn Fn(&Removal<'_>) -> Option<Fault>,
    /// What earlier looks found, so that only files that were touched since are read; `None` reads every file.
    pub looks: Option<&'a Looks>,
    /// What of the resources holds secrets; they are put together in `resources`.
    pub secrets: Option<&'a Secrets>,
}

/// A place, or a part of one, that no resource wants any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal<'a> {
    /// Where.
    pub path: &'a str,
    /// The kind of the object that it was written for.
    pub kind: Kind,
    /// Owner, group and mode of the files that stand there and that come back.
    pub files: [Option<(u32, u32, u32)>; 2],
    /// As whom it has cron start something.
    pub jobs_of: &'a [String],
}

/// What the planner must know of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The IANA name of the node's time zone, in which its cron counts; an unknown one counts as UTC.
    pub time_zone: String,
    /// `uname -n`, for the 127.0.1.1 line of `/etc/hosts`.
    pub host_name: String,
    /// The absolute path of `lampas-agent`, as cron's lines call it: `/usr/bin/lampas-agent`.
    pub wrapper: String,
    /// `--root` as it must stand in cron's lines; `None` for `/`.
    pub root_argument: Option<String>,
}
