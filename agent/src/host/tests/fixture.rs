//! A root in a temporary directory, and short ways to say what shall stand in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
};

pub(crate) use lampas_shared::testing::resource;
use lampas_shared::{
    desired::{Content, ContentHash, Resource, Spec},
    error::Fault,
    host::{CronJob, FileMode, GroupName, HostName, ManagedPath, UserName},
    object::{Kind, ObjectName, Target},
    report::ResourceReport,
};

use crate::{
    host::{ApplyError, Facts, HostPlan, Inputs, Looks, Ownership, Record, Removal, apply, plan, prove, roll_back},
    system::Root,
};

pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) root: Root,
    pub(crate) owned: Ownership,
    pub(crate) held: BTreeSet<Target>,
    pub(crate) contents: BTreeMap<ContentHash, Vec<u8>>,
    pub(crate) looks: Looks,
    /// What the node's policy says of what goes.
    pub(crate) keeps: Option<fn(&Removal<'_>) -> Option<Fault>>,
}

impl Host {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let root = Root::open(dir.path()).expect("opens");
        let host = Self {
            dir,
            root,
            owned: Ownership::default(),
            held: BTreeSet::new(),
            contents: BTreeMap::new(),
            looks: Looks::default(),
            keeps: None,
        };
        for directory in ["etc/cron.d", "var/spool/cron/crontabs", "opt"] {
            host.make(directory);
        }
        host.write(
            "etc/passwd",
            &format!("root:x:0:0:root:/root:/bin/sh\nann:x:{0}:{1}::/home/ann:/bin/sh\n", ann(), ann()),
        );
        host.write("etc/group", &format!("root:x:0:\nann:x:{}:\n", ann()));
        host
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(crate) fn make(&self, relative: &str) {
        std::fs::create_dir_all(self.path(relative)).expect("mkdir");
    }

    pub(crate) fn write(&self, relative: &str, text: &str) {
        std::fs::write(self.path(relative), text).expect("writes");
    }

    pub(crate) fn text(&self, relative: &str) -> Option<String> {
        std::fs::read(self.path(relative)).ok().map(|b| String::from_utf8_lossy(&b).into_owned())
    }

    pub(crate) fn with_inputs<T>(&self, resources: &[Resource], work: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let facts = Facts {
            time_zone: "Europe/Berlin".to_owned(),
            host_name: "web-1".to_owned(),
            wrapper: "/usr/bin/lampas-agent".to_owned(),
            root_argument: Some(self.dir.path().display().to_string()),
        };
        let content = |hash: &ContentHash| self.contents.get(hash).cloned();
        let judge = |_: &Resource| None;
        work(&Inputs {
            resources,
            content: &content,
            owned: &self.owned,
            held: &self.held,
            facts: &facts,
            judge: &judge,
            judge_removal: &|removal| self.keeps.and_then(|keeps| keeps(removal)),
            looks: Some(&self.looks),
            secrets: None,
        })
    }

    pub(crate) fn plan(&self, resources: &[Resource]) -> HostPlan {
        self.with_inputs(resources, |inputs| plan(&self.root, inputs))
    }

    pub(crate) fn try_apply(&mut self, resources: &[Resource]) -> Result<Record, ApplyError> {
        let planned = self.plan(resources);
        let owned = std::cell::RefCell::new(self.owned.clone());
        let result = apply(&self.root, &planned, &mut |record| {
            *owned.borrow_mut() = record.ownership.clone();
            Ok(())
        });
        self.owned = owned.into_inner();
        result
    }

    /// Applies and checks that all of it is in force and that a second time changes nothing.
    pub(crate) fn apply(&mut self, resources: &[Resource]) -> Record {
        let record = self.try_apply(resources).expect("applies");
        let again = self.plan(resources);
        let left: Vec<_> =
            again.items.iter().filter(|i| i.verb.is_some()).map(|i| (&i.target, i.verb, &i.diff)).collect();
        assert!(again.is_empty(), "a second apply would do something: {left:?} {:?}", again.steps);
        record
    }

    pub(crate) fn roll_back(&mut self, record: &Record) {
        let owned = std::cell::RefCell::new(None);
        let result = roll_back(&self.root, &record.undo, &mut |record| {
            *owned.borrow_mut() = Some(record.ownership.clone());
            Ok(())
        });
        result.expect("rolls back");
        self.owned = owned.into_inner().expect("journalled");
    }

    pub(crate) fn prove(&self, resources: &[Resource]) -> Vec<ResourceReport> {
        self.with_inputs(resources, |inputs| prove(&self.root, inputs))
    }

    pub(crate) fn fault(&self, resource: &Resource) -> Option<String> {
        let planned = self.plan(std::slice::from_ref(resource));
        planned.item(&resource.target).and_then(|i| i.fault.as_ref()).map(|f: &Fault| f.code.clone())
    }

    /// Returns everything below the root with its metadata, but for LAMPAS's own directory.
    pub(crate) fn picture(&self) -> BTreeMap<String, (u32, u32, u32, Vec<u8>, i64)> {
        let mut picture = BTreeMap::new();
        let mut queue = vec![self.dir.path().to_owned()];
        while let Some(directory) = queue.pop() {
            for entry in std::fs::read_dir(&directory).expect("lists").flatten() {
                let path = entry.path();
                let relative = path.strip_prefix(self.dir.path()).expect("below").display().to_string();
                if relative == "var/lib" {
                    continue;
                }
                let meta = entry.metadata().expect("stat");
                let (bytes, time) = if meta.is_symlink() {
                    (std::fs::read_link(&path).expect("link").display().to_string().into_bytes(), 0)
                } else if meta.is_dir() {
                    queue.push(path);
                    (Vec::new(), 0)
                } else {
                    (std::fs::read(&path).expect("reads"), meta.mtime() * 1_000_000_000 + meta.mtime_nsec())
                };
                picture.insert(relative, (meta.mode(), meta.uid(), meta.gid(), bytes, time));
            }
        }
        picture
    }
}

/// The uid of a user of the root who isn't root: the tester, where the tester isn't root.
pub(crate) fn ann() -> u32 {
    match nix::unistd::geteuid().as_raw() {
        0 => 12345,
        own => own,
    }
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub(crate) fn file(path: &str, text: &str) -> Resource {
    file_of(path, text.as_bytes(), "root", 0o644)
}

pub(crate) fn file_of(path: &str, bytes: &[u8], owner: &str, mode: u32) -> Resource {
    let spec = Spec::File {
        path: ManagedPath::parse(path).expect("path"),
        content: Content { inline: Some(bytes.to_vec()), ..Content::of(bytes) },
        owner: UserName::parse(owner).expect("user"),
        group: GroupName::parse(owner).expect("group"),
        mode: FileMode::new(mode).expect("mode"),
        validate: None,
    };
    resource(Target::path(path), Kind::File, "file", spec)
}

pub(crate) fn sudoers(name: &str, text: &str) -> Resource {
    let path = format!("/etc/sudoers.d/{name}");
    let mut resource = file_of(&path, text.as_bytes(), "root", 0o440);
    resource.kind = Kind::Sudoers;
    resource.name = ObjectName::parse(name).expect("name");
    if let Spec::File { validate, .. } = &mut resource.spec {
        *validate = Some(lampas_shared::host::Validator::Sudoers);
    }
    resource
}

pub(crate) fn directory(path: &str, mode: u32) -> Resource {
    let spec = Spec::Directory {
        path: ManagedPath::parse(path).expect("path"),
        owner: UserName::root(),
        group: GroupName::root(),
        mode: FileMode::new(mode).expect("mode"),
    };
    resource(Target::path(path), Kind::Directory, "directory", spec)
}

pub(crate) fn link(path: &str, to: &str) -> Resource {
    let spec = Spec::Link { path: ManagedPath::parse(path).expect("path"), to: to.to_owned() };
    resource(Target::path(path), Kind::Link, "link", spec)
}

pub(crate) fn hosts(address: &str, name: &str) -> Resource {
    let address: std::net::IpAddr = address.parse().expect("address");
    let spec = Spec::Hosts { address, names: vec![HostName::parse(name).expect("name")], comment: String::new() };
    resource(Target::host_name(name, address.is_ipv6()), Kind::Hosts, name, spec)
}

pub(crate) fn cron(name: &str, more: &str) -> Resource {
    let mut job = serde_json::json!({ "schedule": "*/5 * * * *", "command": "date +%F" });
    let more: serde_json::Value = serde_json::from_str(more).expect("JSON");
    for (key, value) in more.as_object().expect("an object") {
        job[key] = value.clone();
    }
    let job: CronJob = serde_json::from_value(job).expect("a job");
    let target = match job.table {
        lampas_shared::host::CronTable::System => format!("\"cron:{name}\""),
        lampas_shared::host::CronTable::User => format!("\"crontab:{}:{name}\"", job.user),
    };
    resource(serde_json::from_str(&target).expect("target"), Kind::Cron, name, Spec::Cron(job))
}
