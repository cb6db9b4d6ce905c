//! Resources for tests, here and in the crates above: what each of them would otherwise spell out for itself. Always
//! there, and in no document: with a feature for it cargo would build every crate twice.

use std::collections::BTreeMap;

use crate::{
    desired::{Approval, Content, ContentHash, Provenance, Resource, Spec},
    fleet::Scope,
    host::{CronJob, CronTable, FileMode, GroupName, ManagedPath, UserName},
    id::ObjectId,
    object::{DriftPolicy, Kind, ObjectName, Target},
    time::UnixMs,
};

/// Returns a resource of the whole fleet, at its first revision. Its object's id is made of its target.
///
/// # Panics
/// When the name is none.
#[must_use]
pub fn resource(target: Target, kind: Kind, name: &str, spec: Spec) -> Resource {
    let seed = ContentHash::of(target.as_str().as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&seed.as_bytes()[..16]);
    Resource {
        target,
        object: ObjectId::from_uuid(uuid::Uuid::from_bytes(bytes)),
        kind,
        name: ObjectName::parse(name).expect("tests give names"),
        scope: Scope::Fleet,
        drift: DriftPolicy::Hold,
        provenance: Provenance {
            revision: 1,
            author: "ann".into(),
            at: UnixMs(0),
            reason: String::new(),
            change: 1,
            approval: Approval::Unknown,
        },
        spec,
        on_change: Vec::new(),
    }
}

/// Returns the resource of a file of root.
///
/// # Panics
/// When path, name or mode are none.
#[must_use]
pub fn file(path: &str, name: &str, bytes: &[u8], mode: u32) -> Resource {
    let spec = Spec::File {
        path: ManagedPath::parse(path).expect("tests give paths"),
        content: Content::of(bytes),
        owner: UserName::root(),
        group: GroupName::root(),
        mode: FileMode::new(mode).expect("tests give modes"),
        validate: None,
    };
    resource(Target::path(path), Kind::File, name, spec)
}

/// Returns a job that runs each minute.
///
/// # Panics
/// When the user's name is none.
#[must_use]
pub fn cron_job(user: &str) -> CronJob {
    CronJob {
        schedule: "* * * * *".parse().expect("it is a schedule"),
        user: UserName::parse(user).expect("tests give users"),
        command: "true".into(),
        environment: BTreeMap::new(),
        mailto: None,
        time_zone: None,
        table: CronTable::System,
        timeout_secs: None,
        enabled: true,
        template: false,
    }
}
