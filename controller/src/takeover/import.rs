//! Objects of what stands on a node: files with their very bytes, jobs of crontabs, lines of hosts. Pure.
//!
//! A file becomes an object that says exactly what stands there, so that the node, when it is asked, has nothing to do:
//! that is the proof. Jobs are another thing than the lines that they come from, and their plan shows it: the lines leave
//! the file that they stood in, in the same change, so that no job runs twice.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{Draft, DraftAct, LeftItem};
use lampas_render::{crontab, hosts};
use lampas_shared::{
    deceptive_char,
    fleet::Scope,
    host::{
        GroupName, HostName, HostsEntry, ManagedFile, ManagedPath, Package, PackageName, Script, User, UserName,
        Validator,
    },
    object::{Body, DriftPolicy, Kind, ObjectKey, ObjectName, ObjectSpec, Target},
    report::ObservedFile,
    scan::{ForeignFile, ForeignPackage, HumanUser, Place, Scan},
};

use super::read::{refusal, show_line, table};

/// What is wanted of a scan.
pub(super) struct Wanted<'a> {
    /// Paths, kinds, `hosts:NAME`; everything when empty.
    pub(super) items: &'a [String],
    /// The scope of the objects.
    pub(super) scope: &'a Scope,
    /// Whether lines of crontabs become jobs.
    pub(super) as_jobs: bool,
    /// The objects that there are, with what they claim.
    pub(super) standing: &'a BTreeMap<ObjectKey, Vec<Target>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Import {
    pub(super) taken: Vec<Taken>,
    pub(super) left: Vec<LeftItem>,
}

/// One object, and what it was.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) item: String,
    pub(super) spec: ObjectSpec,
    /// Whether an apply must find it as it stands: a file with its own bytes.
    pub(super) is_same: bool,
}

impl Import {
    pub(super) fn drafts(&self) -> Vec<Draft> {
        let draft = |t: &Taken| Draft { act: DraftAct::Put(t.spec.clone()), base: None, previous_name: None };
        self.taken.iter().map(draft).collect()
    }
}

/// Makes objects of what is wanted.
pub(super) fn import(scan: &Scan, wanted: &Wanted<'_>) -> Import {
    let mut maker = Maker { wanted, names: wanted.standing.keys().cloned().collect(), out: Import::default() };
    for file in &scan.files {
        if maker.wants(file) {
            maker.file(file);
        } else if file.place == Place::Hosts {
            maker.some_hosts(file);
        }
    }
    // Packages and users are taken when they are named: hundreds of packages came with the system, and nobody chose them.
    for package in scan.packages.iter().filter(|p| is_named(wanted.items, "package", "packages", &p.name)) {
        maker.package(package);
    }
    for user in scan.users.iter().filter(|u| is_named(wanted.items, "user", "users", &u.name)) {
        maker.user(user);
    }
    for item in wanted.items.iter().filter(|i| !is_met(scan, i)) {
        maker.leave(item, "nothing unmanaged on the node is called that");
    }
    maker.out
}

/// Whether an item names a thing: `packages` all of them, `package:nginx` one.
fn is_named(items: &[String], kind: &str, word: &str, name: &str) -> bool {
    let is_it =
        |item: &String| item == word || item.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':')) == Some(name);
    items.iter().any(is_it)
}

/// Whether the scan holds what an item names.
fn is_met(scan: &Scan, item: &str) -> bool {
    let by_file = |f: &ForeignFile| {
        let bytes = || f.file.as_ref().and_then(|f| f.content.as_deref()).unwrap_or_default();
        let has_line =
            |name: &str| own_lines(bytes()).iter().any(|l| l.names.first().is_some_and(|n| n.as_str() == name));
        f.path == item
            || f.place.as_str() == item
            || (f.place == Place::Hosts && item.strip_prefix("hosts:").is_some_and(has_line))
    };
    let one = [item.to_owned()];
    item == "packages"
        || item == "users"
        || scan.packages.iter().any(|p| is_named(&one, "package", "packages", &p.name))
        || scan.users.iter().any(|u| is_named(&one, "user", "users", &u.name))
        || scan.files.iter().any(by_file)
}

struct Maker<'a> {
    wanted: &'a Wanted<'a>,
    names: BTreeSet<ObjectKey>,
    out: Import,
}

impl Maker<'_> {
    fn wants(&self, file: &ForeignFile) -> bool {
        let items = self.wanted.items;
        items.is_empty() || items.iter().any(|i| *i == file.path || *i == file.place.as_str())
    }

    fn file(&mut self, file: &ForeignFile) {
        let path = show_line(&file.path);
        let why = refusal(file);
        if !why.is_empty() {
            return self.leave(&path, &why);
        }
        let Some(found) = &file.file else { return };
        let bytes = found.content.as_deref().unwrap_or_default();
        match file.place {
            Place::Hosts => self.hosts(bytes, None),
            Place::Cron | Place::Crontab if self.wanted.as_jobs => self.jobs(file, found, bytes),
            _ => self.whole(file, found, bytes, &path, true),
        }
    }

    /// The file as it stands, or with these bytes.
    fn whole(&mut self, file: &ForeignFile, found: &ObservedFile, bytes: &[u8], item: &str, is_same: bool) {
        let parsed = (
            ManagedPath::parse(file.path.as_str()),
            UserName::parse(found.owner.clone()),
            GroupName::parse(found.group.clone()),
        );
        let (Ok(path), Ok(owner), Ok(group)) = parsed else { return self.leave(item, "its path or owner has no name") };
        let target = Target::path(path.as_str());
        let claims = |(key, targets): (&ObjectKey, &Vec<Target>)| {
            (key.scope == *self.wanted.scope && targets.contains(&target)).then(|| key.to_string())
        };
        if let Some(other) = self.wanted.standing.iter().find_map(claims) {
            return self
                .leave(item, &format!("{other} manages this path already, and will once the node is in its scope"));
        }
        let hint = name_of(file.place, path.as_str());
        let script = Script {
            path: (path.as_str() != format!("/usr/local/bin/{hint}")).then(|| path.clone()),
            content: std::str::from_utf8(bytes).unwrap_or_default().to_owned(),
            template: false,
            owner: owner.clone(),
            group: group.clone(),
            mode: found.mode,
            parameters: Vec::new(),
            on_change: Vec::new(),
        };
        let as_script = matches!(file.place, Place::Script).then(|| self.spec(&hint, Body::Script(script)));
        let as_script = as_script.filter(|s| is_text(bytes) && s.check().is_ok());
        let spec = as_script.unwrap_or_else(|| {
            let (content, encoding) = ManagedFile::encode(bytes);
            let validate = (file.place == Place::Sudoers).then_some(Validator::Sudoers);
            let (mode, on_change) = (found.mode, Vec::new());
            let file =
                ManagedFile { path, content, encoding, template: false, owner, group, mode, validate, on_change };
            self.spec(&hint, Body::File(file))
        });
        self.take(item, spec, is_same);
    }

    /// The lines of a crontab as jobs, and the file without them.
    fn jobs(&mut self, file: &ForeignFile, found: &ObservedFile, bytes: &[u8]) {
        let path = show_line(&file.path);
        let user = file.path.rsplit('/').next().and_then(|u| UserName::parse(u).ok());
        let taken = crontab::take(bytes, table(file.place), user.as_ref());
        for (line, why) in &taken.left {
            let item = if *line == 0 { path.clone() } else { format!("{path}:{line}") };
            self.leave(&item, why);
        }
        if taken.jobs.is_empty() {
            return;
        }
        for job in taken.jobs {
            let spec = self.spec(&job.hint, Body::Cron(job.job));
            self.take(&format!("{path}:{}", job.line), spec, false);
        }
        self.whole(file, found, &taken.rest, &format!("{path} without these lines"), false);
    }

    /// Single lines of hosts that were asked for by name.
    fn some_hosts(&mut self, file: &ForeignFile) {
        let names: BTreeSet<&str> = self.wanted.items.iter().filter_map(|i| i.strip_prefix("hosts:")).collect();
        let why = refusal(file);
        match (names.is_empty(), why.is_empty()) {
            (true, _) => {}
            (false, false) => self.leave("/etc/hosts", &why),
            (false, true) => {
                let bytes = file.file.as_ref().and_then(|f| f.content.as_deref()).unwrap_or_default();
                self.hosts(bytes, Some(&names));
            }
        }
    }

    fn hosts(&mut self, bytes: &[u8], only: Option<&BTreeSet<&str>>) {
        for line in own_lines(bytes) {
            let Some(first) = line.names.first().map(ToString::to_string) else { continue };
            if only.is_some_and(|names| !names.contains(first.as_str())) {
                continue;
            }
            let item = format!("/etc/hosts {} {first}", line.address);
            let entry = HostsEntry {
                address: Some(line.address),
                names: line.names,
                nodes: None,
                domain: None,
                comment: line.comment,
            };
            let spec = self.spec(&clean(&first), Body::Hosts(entry));
            let claims = spec.targets().unwrap_or_default();
            let is_claimed = |targets: &Vec<Target>| targets.iter().any(|t| claims.contains(t));
            let other = self.wanted.standing.iter().find(|(k, t)| k.scope == *self.wanted.scope && is_claimed(t));
            match other.map(|(key, _)| key.to_string()) {
                Some(other) => self.leave(&item, &format!("{other} has one of its names already")),
                None => self.take(&item, spec, false),
            }
        }
    }

    /// A package as it is installed, of this version or any: nodes of a role rarely have the very same.
    fn package(&mut self, package: &ForeignPackage) {
        let item = format!("package:{}", package.name);
        let name = match PackageName::parse(package.name.as_str()) {
            Ok(name) => name,
            Err(error) => return self.leave(&item, &error.to_string()),
        };
        if let Some(other) = self.claimant(&Target::package(&name)) {
            return self.leave(&item, &format!("{other} manages it already"));
        }
        let hint = clean(name.as_str());
        let spec = self.spec(&hint, Body::Package(Package { package: Some(name.clone()), ..Package::default() }));
        let is_own_name = spec.name.as_str() == name.as_str();
        let package = Package { package: (!is_own_name).then_some(name), ..Package::default() };
        self.take(&item, ObjectSpec { body: Body::Package(package), ..spec }, true);
    }

    /// A user with its number, its groups and its home; keys and passwords stay the node's own.
    fn user(&mut self, user: &HumanUser) {
        let item = format!("user:{}", user.name);
        let parsed = (UserName::parse(user.name.as_str()), ObjectName::parse(user.name.as_str()));
        let (Ok(name), Ok(object)) = parsed else { return self.leave(&item, "its name can't be an object's") };
        if let Some(other) = self.claimant(&Target::user(&name)) {
            return self.leave(&item, &format!("{other} manages it already"));
        }
        let mut groups = user.groups.iter().filter_map(|g| GroupName::parse(g.as_str()).ok());
        let group = groups.next();
        let body = Body::User(User {
            uid: Some(user.uid),
            group,
            groups: Some(groups.collect()),
            home: ManagedPath::parse(user.home.as_str()).ok(),
            ..User::default()
        });
        let scope = self.wanted.scope.clone();
        self.take(&item, ObjectSpec { name: object, scope, drift: DriftPolicy::default(), body }, true);
    }

    /// The object of this scope that claims a target.
    fn claimant(&self, target: &Target) -> Option<String> {
        let claims = |(key, targets): (&ObjectKey, &Vec<Target>)| {
            (key.scope == *self.wanted.scope && targets.contains(target)).then(|| key.to_string())
        };
        self.wanted.standing.iter().find_map(claims)
    }

    fn take(&mut self, item: &str, spec: ObjectSpec, is_same: bool) {
        match spec.check() {
            Ok(()) => {
                self.names.insert(spec.key());
                self.out.taken.push(Taken { item: item.to_owned(), spec, is_same });
            }
            Err(error) => self.leave(item, &error.to_string()),
        }
    }

    /// An object with a name that no other of its kind and scope has.
    fn spec(&self, hint: &str, body: Body) -> ObjectSpec {
        let kind: Kind = body.kind();
        let scope = self.wanted.scope.clone();
        let free =
            |name: &ObjectName| !self.names.contains(&ObjectKey { kind, scope: scope.clone(), name: name.clone() });
        let tries = std::iter::once(hint.to_owned()).chain((2..).map(|n| format!("{hint}-{n}")));
        let name = tries
            .filter_map(|t| ObjectName::parse(t).ok())
            .find(free)
            .expect("a cleaned hint is a name, and there are more numbers than objects");
        ObjectSpec { name, scope: scope.clone(), drift: DriftPolicy::default(), body }
    }

    fn leave(&mut self, item: &str, reason: &str) {
        self.out.left.push(LeftItem { item: show_line(item), reason: show_line(reason) });
    }
}

/// The lines of a hosts file that are not the system's own: neither loopback nor what every installation brings.
pub(super) fn own_lines(bytes: &[u8]) -> Vec<hosts::HostsLine> {
    let line = |line: hosts::Line| match line.content {
        hosts::LineContent::Entry { address, names, comment } => {
            let names: Vec<HostName> = names.into_iter().map(HostName::parse).collect::<Result<_, _>>().ok()?;
            let is_own = !address.is_loopback() && !address.is_multicast() && !address.is_unspecified();
            let is_plain = deceptive_char(&comment).is_none() && comment.len() <= 200;
            let comment = if is_plain { comment } else { String::new() };
            let is_generic = names.iter().all(|n| n.as_str().starts_with("ip6-"));
            (is_own && !is_generic).then_some(hosts::HostsLine { address, names, comment })
        }
        _ => None,
    };
    hosts::parse(bytes).lines.into_iter().filter_map(line).collect()
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|t| !t.contains('\0'))
}

/// A name after a path: of the usual places with what tells them apart.
fn name_of(place: Place, path: &str) -> String {
    let (parent, file) = path.rsplit_once('/').unwrap_or(("", path));
    let above = parent.rsplit('/').next().unwrap_or_default();
    match place {
        Place::Cron if file == "crontab" => "crontab".to_owned(),
        Place::Cron | Place::CronScript | Place::Sudoers if file != above => clean(&format!("{above}-{file}")),
        Place::Crontab => clean(&format!("crontab-{file}")),
        _ => clean(file),
    }
}

/// Makes a name of a text.
fn clean(text: &str) -> String {
    let kept: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).take(100).collect();
    let kept = kept.trim_start_matches(['.', '_', '-']);
    if kept.is_empty() { "imported".to_owned() } else { kept.to_owned() }
}

#[cfg(test)]
mod tests {
    use lampas_shared::{desired::ContentHash, host::FileMode, time::UnixMs};
    use proptest::prelude::*;

    use super::*;

    fn file(place: Place, path: &str, content: &[u8], mode: u32) -> ForeignFile {
        let found = ObservedFile {
            content: Some(content.to_vec()),
            hash: ContentHash::of(content),
            owner: "root".to_owned(),
            group: "staff".to_owned(),
            mode: FileMode::new(mode).expect("a mode"),
            modified_at: UnixMs(0),
            is_writable_by_others: false,
        };
        ForeignFile { place, path: path.to_owned(), file: Some(found), link: None, fault: String::new() }
    }

    fn run(files: Vec<ForeignFile>, items: &[&str], as_jobs: bool) -> Import {
        let items: Vec<String> = items.iter().map(|i| (*i).to_owned()).collect();
        let scope: Scope = "role:app".parse().expect("a scope");
        let standing = BTreeMap::new();
        let wanted = Wanted { items: &items, scope: &scope, as_jobs, standing: &standing };
        import(&Scan { files, ..Scan::default() }, &wanted)
    }

    fn names(import: &Import) -> Vec<String> {
        import.taken.iter().map(|t| format!("{} {}", t.spec.body.kind(), t.spec.name)).collect()
    }

    #[test]
    fn files_keep_their_bytes_owner_and_mode() {
        let import = run(
            vec![
                file(Place::Cron, "/etc/cron.d/backup", b"0 3 * * * root \xff\n", 0o600),
                file(Place::Script, "/usr/local/bin/tool", b"#!/bin/sh\nexit\n", 0o750),
                file(Place::Script, "/usr/local/bin/binary", b"\x7fELF\0", 0o755),
            ],
            &[],
            false,
        );
        assert_eq!(names(&import), ["file cron.d-backup", "script tool", "file binary"]);
        assert!(import.taken.iter().all(|t| t.is_same) && import.left.is_empty());
        let Body::File(backup) = &import.taken[0].spec.body else { panic!("a file") };
        assert_eq!(backup.bytes().expect("decodes"), b"0 3 * * * root \xff\n");
        assert_eq!((backup.mode.bits(), backup.group.as_str()), (0o600, "staff"));
        let Body::Script(tool) = &import.taken[1].spec.body else { panic!("a script") };
        assert_eq!((tool.mode.bits(), &tool.path), (0o750, &None));
    }

    #[test]
    fn jobs_leave_their_file_in_the_same_act() {
        let text = b"# nightly\n0 3 * * * root /usr/local/bin/backup\n5 * * * * root mail%x\n";
        let import = run(vec![file(Place::Cron, "/etc/cron.d/backup", text, 0o644)], &[], true);
        assert_eq!(names(&import), ["cron backup", "file cron.d-backup"]);
        let Body::File(rest) = &import.taken[1].spec.body else { panic!("a file") };
        assert_eq!(rest.content, "# nightly\n5 * * * * root mail%x\n");
        assert!(!import.taken[1].is_same);
        assert_eq!(import.left[0].item, "/etc/cron.d/backup:3");
    }

    #[test]
    fn what_is_chosen_is_taken_and_what_is_unknown_is_named() {
        let hosts = file(Place::Hosts, "/etc/hosts", b"127.0.0.1 localhost\n10.0.0.5 db-1 db\n10.0.0.6 db-2\n", 0o644);
        let tool = file(Place::Script, "/usr/local/bin/tool", b"#!/bin/sh\n", 0o755);
        let some = run(vec![hosts.clone(), tool.clone()], &["hosts:db-2", "nonsense"], false);
        assert_eq!(names(&some), ["hosts db-2"]);
        assert_eq!(some.left.iter().map(|l| l.item.as_str()).collect::<Vec<_>>(), ["nonsense"]);
        let kinds = run(vec![hosts, tool], &["hosts", "user:nobody-has-it"], false);
        assert_eq!(names(&kinds), ["hosts db-1", "hosts db-2"]);
        assert!(kinds.left[0].reason.contains("nothing unmanaged"), "{:?}", kinds.left);
    }

    #[test]
    fn packages_and_users_are_taken_by_name_as_they_are() {
        let package = |name: &str| ForeignPackage { name: name.to_owned(), version: "1.0".to_owned() };
        let groups = ["ann", "sudo"].map(str::to_owned).to_vec();
        let scan = Scan {
            packages: vec![package("g++"), package("nginx"), package("vim")],
            users: vec![HumanUser { name: "ann".into(), uid: 1000, groups, home: "/home/ann".into() }],
            ..Scan::default()
        };
        let scope: Scope = "role:app".parse().expect("a scope");
        let key =
            ObjectKey { kind: Kind::Package, scope: scope.clone(), name: ObjectName::parse("web").expect("a name") };
        let nginx = Target::package(&PackageName::parse("nginx").expect("a name"));
        let standing = BTreeMap::from([(key, vec![nginx])]);
        let take = |items: &[&str]| {
            let items: Vec<String> = items.iter().map(|i| (*i).to_owned()).collect();
            import(&scan, &Wanted { items: &items, scope: &scope, as_jobs: false, standing: &standing })
        };
        assert_eq!(names(&take(&[])), [""; 0], "without a name none of them is taken");
        let some = take(&["package:g++", "package:nginx", "users"]);
        assert_eq!(names(&some), ["package g--", "user ann"]);
        assert!(some.left[0].reason.contains("package web (role:app) manages it already"), "{:?}", some.left);
        let Body::Package(package) = &some.taken[0].spec.body else { panic!("a package") };
        assert_eq!(package.package.as_ref().map(|p| p.as_str()), Some("g++"));
        let Body::User(user) = &some.taken[1].spec.body else { panic!("a user") };
        assert_eq!((user.uid, user.group.as_ref().map(|g| g.as_str())), (Some(1000), Some("ann")));
        assert_eq!(user.groups.as_deref().map(<[_]>::len), Some(1));
        assert_eq!(names(&take(&["packages"])), ["package g--", "package vim"]);
    }

    #[test]
    fn names_that_are_taken_get_a_number_and_paths_that_are_managed_stay() {
        let scope: Scope = "role:app".parse().expect("a scope");
        let key =
            |kind, name: &str| ObjectKey { kind, scope: scope.clone(), name: ObjectName::parse(name).expect("a name") };
        let standing = BTreeMap::from([
            (key(Kind::Script, "tool"), vec![Target::path("/opt/tool")]),
            (key(Kind::File, "other"), vec![Target::path("/usr/local/bin/other")]),
        ]);
        let wanted = Wanted { items: &[], scope: &scope, as_jobs: false, standing: &standing };
        let files = vec![
            file(Place::Script, "/usr/local/bin/other", b"#!/bin/sh\n", 0o755),
            file(Place::Script, "/usr/local/bin/tool", b"#!/bin/sh\n", 0o755),
        ];
        let import = import(&Scan { files, ..Scan::default() }, &wanted);
        assert_eq!(names(&import), ["script tool-2"]);
        assert!(import.left[0].reason.contains("file other (role:app)"), "{:?}", import.left);
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_taken_byte_for_byte_or_named(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            name in "[^/\0]{1,40}",
            place in 0_usize..7,
            as_jobs in any::<bool>(),
        ) {
            let place = Place::ALL[place];
            let path = format!("/etc/x/{name}");
            let import = run(vec![file(place, &path, &bytes, 0o644)], &[], as_jobs);
            for taken in import.taken.iter().filter(|t| t.is_same) {
                let out = match &taken.spec.body {
                    Body::File(file) => file.bytes().expect("decodes"),
                    Body::Script(script) => script.content.clone().into_bytes(),
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!(&out, &bytes);
            }
            prop_assert!(place == Place::Hosts || as_jobs || import.taken.len() + import.left.len() == 1);
        }
    }
}
