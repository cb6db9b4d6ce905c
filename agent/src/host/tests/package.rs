//! Packages below a root, by the machine's own apt and dpkg, from a repository that the test makes. No network is asked.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use lampas_shared::{
    desired::{Resource, Spec},
    host::{self, PackageName},
    object::{Kind, Target},
    report::{ResourceState, Verb},
};
use tokio::sync::Notify;

use super::fixture::{Host, file, is_root, resource};
use crate::host::{Apt, PackagePlan, Standing, apply, package::packages_helper, plan_packages};

pub(super) struct Packages {
    pub(super) host: Host,
    pub(super) apt: Apt,
}

impl Packages {
    /// A root with a database of packages and a repository; `None` where apt can't work.
    pub(super) fn new() -> Option<Self> {
        let has = |path: &str| Path::new(path).exists();
        if !is_root() || !has("/usr/bin/apt-get") || !has("/usr/bin/dpkg-deb") {
            return None;
        }
        let host = Host::new();
        for directory in [
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/lib/dpkg/triggers",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/log/apt",
            "etc/apt/sources.list.d",
            "etc/apt/preferences.d",
            "etc/apt/apt.conf.d",
            "etc/apt/trusted.gpg.d",
            "bin",
            "usr/sbin",
            "repository",
        ] {
            host.make(directory);
        }
        host.write("var/lib/dpkg/status", "");
        let repository = host.path("repository").display().to_string();
        host.write("etc/apt/sources.list", &format!("deb [trusted=yes] file:{repository} ./\n"));
        let apt = Apt::new(&host.root, Arc::new(Notify::new()), packages_helper(&host.root));
        let packages = Self { host, apt };
        packages.shell();
        Some(packages)
    }

    /// Gives the root what scripts of packages need.
    fn shell(&self) {
        let libraries = Command::new("/usr/bin/ldd").arg("/bin/dash").output().expect("ldd");
        let text = String::from_utf8_lossy(&libraries.stdout).into_owned();
        let paths = text.split_whitespace().filter(|w| w.starts_with('/')).map(str::to_owned);
        for path in paths.chain(["/bin/dash".to_owned()]) {
            let to = self.host.path(path.trim_start_matches('/'));
            fs::create_dir_all(to.parent().expect("below the root")).expect("mkdir");
            fs::copy(&path, &to).expect("copies");
        }
        fs::copy("/bin/dash", self.host.path("bin/sh")).expect("copies");
    }

    /// Adds a package to the repository.
    pub(super) fn publish(&self, name: &str, version: &str, fields: &str, postinst: &str) {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let at = |path: &str| directory.path().join(path);
        fs::create_dir_all(at("DEBIAN")).expect("mkdir");
        fs::create_dir_all(at(&format!("usr/share/{name}"))).expect("mkdir");
        fs::create_dir_all(at("etc")).expect("mkdir");
        fs::write(at(&format!("usr/share/{name}/version")), version).expect("writes");
        fs::write(at(&format!("etc/{name}.conf")), format!("{version}\n")).expect("writes");
        fs::write(at("DEBIAN/conffiles"), format!("/etc/{name}.conf\n")).expect("writes");
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Test <test@example.com>\n{fields}Description: test\n"
        );
        fs::write(at("DEBIAN/control"), &control).expect("writes");
        if !postinst.is_empty() {
            fs::write(at("DEBIAN/postinst"), format!("#!/bin/sh\n{postinst}\n")).expect("writes");
            fs::set_permissions(at("DEBIAN/postinst"), fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        let file = self.host.path(&format!("repository/{name}_{version}_all.deb"));
        let built = Command::new("/usr/bin/dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .args([directory.path(), &file])
            .output()
            .expect("dpkg-deb");
        assert!(built.status.success(), "{built:?}");
        let sum = Command::new("/usr/bin/sha256sum").arg(&file).output().expect("sha256sum");
        let sum = String::from_utf8_lossy(&sum.stdout).split_whitespace().next().expect("a sum").to_owned();
        let entry = format!(
            "{control}Filename: ./{name}_{version}_all.deb\nSize: {}\nSHA256: {sum}\n\n",
            file.metadata().expect("stat").len()
        );
        let list = self.host.text("repository/Packages").unwrap_or_default();
        self.host.write("repository/Packages", &format!("{list}{entry}"));
    }

    /// Has the root's lists read anew, as a nightly apt-get update does.
    pub(super) fn update(&self) {
        let root = self.host.dir.path().display().to_string();
        let updated = Command::new("/usr/bin/apt-get")
            .args(["-o", &format!("Dir={root}/"), "-o", &format!("Dir::State::status={root}/var/lib/dpkg/status")])
            .arg("update")
            .output()
            .expect("apt-get");
        assert!(updated.status.success(), "{updated:?}");
    }

    pub(super) fn plan(&self, resources: &[Resource]) -> PackagePlan {
        let plan = self.host.with_inputs(resources, |inputs| plan_packages(&self.host.root, inputs, &self.apt));
        plan.expect("there are packages")
    }

    fn note(&self, resources: &[Resource], part: &str) -> bool {
        self.plan(resources).plan.items.iter().flat_map(|i| &i.notes).any(|n| n.contains(part))
    }

    fn fault(&self, resources: &[Resource]) -> String {
        let plan = self.plan(resources);
        plan.plan.items.iter().find_map(|i| i.fault.as_ref()).map(|f| f.code.clone()).unwrap_or_default()
    }

    /// Runs what is planned until nothing is left or it fails; returns why.
    pub(super) fn apply(&mut self, resources: &[Resource]) -> Result<(), String> {
        for _ in 0..4 {
            let Some(mut plan) =
                self.host.with_inputs(resources, |inputs| plan_packages(&self.host.root, inputs, &self.apt))
            else {
                return Ok(());
            };
            let mut records = crate::host::plan(&self.host.root, &no_inputs(&self.host));
            records.take_records(&mut plan);
            let record = apply(&self.host.root, &records, &mut |_| Ok(())).expect("a record alone");
            if !records.is_empty() {
                self.host.owned = record.ownership;
            }
            match self.apt.standing(&plan, false) {
                (Standing::Failed(fault), _) => return Err(format!("{}: {}", fault.code, fault.message)),
                (_, false) => return Ok(()),
                (_, true) => {}
            }
            self.host.owned = plan.during(&self.host.root, &self.host.owned);
            self.apt.start(&self.host.root, &plan).expect("starts");
            let until = Instant::now() + Duration::from_secs(120);
            while self.apt.is_busy() {
                assert!(Instant::now() < until, "apt does not end");
                std::thread::yield_now();
            }
        }
        panic!("it goes on for ever: {:?}", self.plan(resources));
    }

    pub(super) fn version(&self, name: &str) -> Option<String> {
        self.host.text(&format!("usr/share/{name}/version"))
    }

    fn states(&self, resources: &[Resource]) -> Vec<ResourceState> {
        let plan = self.plan(resources);
        let (standing, _) = self.apt.standing(&plan, false);
        plan.reports(resources, &standing).into_iter().map(|r| r.state).collect()
    }
}

/// The host's own plan, of nothing: it carries the record.
fn no_inputs(host: &Host) -> crate::host::Inputs<'_> {
    static FACTS: std::sync::OnceLock<crate::host::Facts> = std::sync::OnceLock::new();
    let facts = FACTS.get_or_init(|| crate::host::Facts {
        time_zone: "UTC".to_owned(),
        host_name: "web-1".to_owned(),
        wrapper: "/usr/bin/lampas-agent".to_owned(),
        root_argument: None,
    });
    crate::host::Inputs {
        resources: &[],
        content: &|_| None,
        owned: &host.owned,
        held: &host.held,
        facts,
        judge: &|_| None,
        judge_removal: &|_| None,
        looks: None,
        secrets: None,
    }
}

pub(super) fn package(name: &str, json: &str) -> Resource {
    let want: host::Package = serde_json::from_str(json).expect("a package");
    want.check(name).expect("is right");
    let package = PackageName::parse(name).expect("a name");
    resource(Target::package(&package), Kind::Package, name, Spec::Package { name: package, want })
}

#[test]
fn real_a_package_comes_changes_is_held_and_goes() {
    let Some(mut packages) = Packages::new() else { return };
    packages.publish("hello", "1.0", "Depends: friend\n", "");
    packages.publish("friend", "1.0", "", "");
    let wanted = [package("hello", r#"{"version": "1.0"}"#)];
    assert!(packages.note(&wanted, "lists on this node don't know it"), "{:?}", packages.plan(&wanted));
    packages.apply(&wanted).expect("installs");
    assert_eq!(
        (packages.version("hello").as_deref(), packages.version("friend").as_deref()),
        (Some("1.0"), Some("1.0"))
    );
    assert_eq!(packages.states(&wanted), [ResourceState::Converged]);
    assert!(!packages.host.path("usr/sbin/policy-rc.d").exists(), "the shield is down");

    packages.publish("hello", "2.0", "Depends: friend\n", "");
    packages.update();
    let any = [package("hello", "{}")];
    assert!(!packages.plan(&any).has_work(), "any version will do");
    let latest = [package("hello", r#"{"version": "latest", "held": true}"#)];
    let item = packages.plan(&latest).plan.items.remove(0);
    assert!(item.diff.contains("-installed 1.0\n+installed 2.0\n+held\n"), "{}", item.diff);
    assert!(item.notes.iter().any(|n| n.contains("can't be undone")), "{:?}", item.notes);
    packages.host.write("etc/hello.conf", "by hand\n");
    packages.apply(&latest).expect("upgrades");
    assert_eq!(packages.version("hello").as_deref(), Some("2.0"));
    assert_eq!(packages.host.text("etc/hello.conf").as_deref(), Some("by hand\n"), "what was changed by hand stays");
    assert!(packages.host.text("var/lib/dpkg/status").expect("a database").contains("hold ok installed"));

    let back = [package("hello", r#"{"version": "1.0", "held": false}"#)];
    packages.apply(&back).expect("an exact version may be an older one, of a held package too");
    assert_eq!(packages.version("hello").as_deref(), Some("1.0"));
    assert!(!packages.host.text("var/lib/dpkg/status").expect("a database").contains("hold ok"));

    packages.apply(&[]).expect("goes with its object");
    assert_eq!(packages.version("hello"), None);
    assert!(packages.host.path("etc/hello.conf").exists(), "its configuration stays");
    assert_eq!(packages.version("friend").as_deref(), Some("1.0"), "what came along is apt's to clear away");
    packages.apply(&[package("hello", r#"{"ensure": "purged"}"#)]).expect("purges");
    assert!(!packages.host.path("etc/hello.conf").exists());
}

#[test]
fn real_what_would_take_others_away_needs_leave() {
    let Some(mut packages) = Packages::new() else { return };
    packages.publish("hello", "1.0", "", "");
    packages.publish("needs", "1.0", "Depends: hello\n", "");
    packages.publish("rival", "1.0", "Conflicts: hello\n", "");
    packages.publish("vital", "1.0", "Essential: yes\n", "");
    packages.publish("foe", "1.0", "Conflicts: vital\n", "");
    packages.publish("lonely", "1.0", "Depends: nobody-has-it\n", "");
    packages.update();
    let standing = ["hello", "needs", "vital"].map(|name| package(name, "{}"));
    packages.apply(&standing).expect("installs");
    let with = |name: &str, json: &str| {
        let others = standing.iter().filter(|r| r.name.as_str() != name).cloned();
        others.chain([package(name, json)]).collect::<Vec<_>>()
    };
    assert_eq!(packages.fault(&with("rival", "{}")), "package.removes_others");
    assert_eq!(packages.fault(&with("hello", r#"{"ensure": "absent"}"#)), "package.removes_others");
    let foe = packages.fault(&with("foe", r#"{"allow_removals": true}"#));
    assert!(["package.removes_essential", "package.unsatisfiable"].contains(&foe.as_str()), "{foe}");
    assert_eq!(packages.fault(&with("lonely", "{}")), "package.unsatisfiable");
    // One that can't be had stops no other.
    packages.publish("other", "1.0", "", "");
    packages.update();
    let mut mixed = with("rival", "{}");
    mixed.push(package("other", "{}"));
    packages.apply(&mixed).expect("the rest is done");
    assert_eq!(packages.version("other").as_deref(), Some("1.0"));
    let (sound, blocked) = (ResourceState::Converged, ResourceState::Blocked);
    assert_eq!(packages.states(&mixed), [sound, sound, sound, blocked, sound]);
    let leave = [package("vital", "{}"), package("other", "{}"), package("rival", r#"{"allow_removals": true}"#)];
    packages.host.owned = crate::host::Ownership::default();
    assert!(packages.note(&leave, "also goes: hello, needs"), "{:?}", packages.plan(&leave));
    packages.apply(&leave).expect("installs");
    assert_eq!((packages.version("hello"), packages.version("rival").as_deref()), (None, Some("1.0")));
}

#[test]
fn real_a_package_that_breaks_dpkg_is_told_and_mended_by_its_next_version() {
    let Some(mut packages) = Packages::new() else { return };
    packages.publish("broken", "1.0", "", "echo it is broken >&2; exit 1");
    packages.publish("sound", "1.0", "", "");
    packages.update();
    let wanted = [package("broken", "{}")];
    let why = packages.apply(&wanted).expect_err("its script fails");
    assert!(why.starts_with("package.broken") && why.contains("it is broken"), "{why}");
    assert_eq!(packages.states(&wanted), [ResourceState::Failed]);
    let item = packages.plan(&wanted).plan.items.remove(0);
    assert!(!item.is_drifted && item.verb == Some(Verb::Update), "{item:?}");
    packages.publish("broken", "2.0", "", "exit 0");
    packages.update();
    let mended = [package("broken", r#"{"version": "2.0"}"#), package("sound", "{}")];
    packages.apply(&mended).expect("the next version mends it");
    assert_eq!(
        (packages.version("broken").as_deref(), packages.version("sound").as_deref()),
        (Some("2.0"), Some("1.0"))
    );
    assert_eq!(packages.states(&mended), [ResourceState::Converged, ResourceState::Converged]);
}

#[test]
fn real_a_change_by_hand_is_drift_and_what_stood_before_stays() {
    let Some(mut packages) = Packages::new() else { return };
    packages.publish("hello", "1.0", "", "");
    packages.update();
    packages.apply(&[package("hello", "{}")]).expect("installs");
    packages.host.owned = crate::host::Ownership::default();
    let wanted = [package("hello", r#"{"version": "1.0"}"#)];
    packages.apply(&wanted).expect("nothing to do");
    packages.apply(&[]).expect("lets go");
    assert_eq!(packages.version("hello").as_deref(), Some("1.0"), "it stood before LAMPAS");
    packages.apply(&wanted).expect("nothing to do");
    let root = packages.host.dir.path().display().to_string();
    let removed = Command::new("/usr/bin/dpkg").args([&format!("--root={root}"), "--purge", "hello"]).output();
    assert!(removed.expect("dpkg").status.success());
    let plan = packages.plan(&wanted);
    assert!(plan.plan.items[0].is_drifted, "{plan:?}");
    packages.host.held.insert(wanted[0].target.clone());
    assert!(!packages.plan(&wanted).has_work(), "held, it is left so");
    assert_eq!(packages.states(&wanted), [ResourceState::Drifted]);
    packages.host.held.clear();
    packages.apply(&wanted).expect("puts it back");
    assert_eq!(packages.version("hello").as_deref(), Some("1.0"));
}

#[test]
fn without_dpkg_packages_are_blocked() {
    let host = Host::new();
    let apt = Apt::new(&host.root, Arc::new(Notify::new()), packages_helper(&host.root));
    let wanted = [package("hello", "{}")];
    let plan = host.with_inputs(&wanted, |inputs| plan_packages(&host.root, inputs, &apt)).expect("a plan");
    let code = plan.plan.items[0].fault.as_ref().map(|f| f.code.as_str());
    assert!(matches!(code, Some("package.no_dpkg" | "package.no_apt")), "{plan:?}");
    assert!(!plan.has_work());
}

/// Waits for something that another process does.
#[test]
fn a_file_in_a_directory_of_a_package_waits_for_it_and_stops_no_other() {
    let mut host = Host::new();
    host.make("var/lib/dpkg");
    host.write("var/lib/dpkg/status", "");
    let wanted = [package("hello", "{}"), file("/etc/hello/conf", "x\n"), file("/etc/other", "x\n")];
    host.apply(&wanted);
    assert_eq!((host.text("etc/hello/conf"), host.text("etc/other").as_deref()), (None, Some("x\n")));
    let states = |host: &Host| host.prove(&wanted).into_iter().map(|r| r.state).collect::<Vec<_>>();
    assert_eq!(states(&host), [ResourceState::Waiting, ResourceState::Converged]);
    host.make("etc/hello");
    host.apply(&wanted);
    assert_eq!(host.text("etc/hello/conf").as_deref(), Some("x\n"));
    assert_eq!(states(&host), [ResourceState::Converged; 2]);
    // Where no package is to come, nothing is waited for.
    assert_eq!(host.fault(&file("/etc/none/conf", "x\n")).as_deref(), Some("file.ancestor_missing"));
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < until, "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A script that says that it runs and waits until it may go on. There is no sleep in the root.
const WAITS: &str = ": > /runs; while [ ! -e /go ]; do :; done";

impl Packages {
    fn begin(&mut self, resources: &[Resource]) {
        let plan = self.plan(resources);
        self.host.owned = plan.during(&self.host.root, &self.host.owned);
        self.apt.start(&self.host.root, &plan).expect("starts");
    }

    /// An agent that begins anew on the same disk, beside whatever the one before left.
    fn restart(&mut self) {
        self.apt = Apt::new(&self.host.root, Arc::new(Notify::new()), packages_helper(&self.host.root));
    }
}

#[test]
fn real_an_agent_that_ends_leaves_apt_its_shield_and_finds_it_again() {
    let Some(mut packages) = Packages::new() else { return };
    packages.publish("slow", "1.0", "", WAITS);
    packages.update();
    let wanted = [package("slow", "{}")];
    packages.begin(&wanted);
    wait_for("its script", || packages.host.path("runs").exists());
    packages.restart();
    assert!(packages.apt.is_busy(), "it is found again");
    assert_eq!(packages.states(&wanted), [ResourceState::Applying]);
    let shield = packages.host.path("usr/sbin/policy-rc.d");
    assert!(shield.exists(), "services still don't start");
    packages.host.write("go", "");
    wait_for("its end", || !packages.apt.is_busy());
    assert!(!shield.exists());
    assert_eq!(packages.version("slow").as_deref(), Some("1.0"));
    assert_eq!(packages.states(&wanted), [ResourceState::Converged]);
}

#[test]
fn real_what_runs_apt_is_killed_and_the_next_attempt_mends_it() {
    let Some(mut packages) = Packages::new() else { return };
    packages.publish("slow", "1.0", "", WAITS);
    packages.update();
    let wanted = [package("slow", "{}")];
    packages.begin(&wanted);
    wait_for("its script", || packages.host.path("runs").exists());
    let root = packages.host.dir.path().display().to_string();
    for pid in of_root(&root) {
        // Some are children that went with their parents.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    wait_for("the agent to notice", || !packages.apt.is_busy());
    assert!(!packages.host.path("usr/sbin/policy-rc.d").exists(), "the shield is down");
    assert_eq!(packages.states(&wanted), [ResourceState::Applying], "it is planned anew, with what is half done");
    packages.host.write("go", "");
    packages.apply(&wanted).expect("mended");
    assert_eq!(packages.states(&wanted), [ResourceState::Converged]);
}

/// The processes whose command line or environment names a root, but for this one, those that start others first.
fn of_root(root: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("lists").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let names =
            |file: &str| fs::read(entry.path().join(file)).is_ok_and(|b| String::from_utf8_lossy(&b).contains(root));
        let is_in = fs::read_link(entry.path().join("root")).is_ok_and(|to| to.display().to_string() == root);
        if pid != std::process::id() as i32 && (names("cmdline") || names("environ") || is_in) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn real_an_installation_without_end_is_ended_and_mended() {
    let Some(mut packages) = Packages::new() else { return };
    packages.publish("endless", "1.0", "", "while :; do :; done");
    packages.update();
    packages.apt.limit = Duration::from_secs(3);
    let wanted = [package("endless", "{}")];
    let why = packages.apply(&wanted).expect_err("it has no end");
    assert!(why.starts_with("package.timed_out"), "{why}");
    let root = packages.host.dir.path().display().to_string();
    assert_eq!(of_root(&root), Vec::<i32>::new(), "nothing of it goes on");
    packages.publish("endless", "2.0", "", "exit 0");
    packages.update();
    // What is half done is tried first, to the end of its time.
    packages.apt.limit = Duration::from_secs(20);
    packages.apply(&[package("endless", r#"{"version": "2.0"}"#)]).expect("the next version mends it");
    assert_eq!(packages.version("endless").as_deref(), Some("2.0"));
}

#[test]
fn real_a_name_that_no_list_knows_is_no_pattern() {
    let Some(mut packages) = Packages::new() else { return };
    packages.publish("helxlo", "1.0", "", "");
    packages.update();
    let why = packages.apply(&[package("hel.lo", "{}")]).expect_err("there is none");
    assert!(why.starts_with("package.unknown") && why.contains("hel.lo"), "{why}");
    assert_eq!(packages.version("helxlo"), None, "nobody asked for it");
}

#[test]
fn real_what_is_written_into_a_source_by_an_editor_is_seen() {
    let Some(packages) = Packages::new() else { return };
    packages.publish("hello", "1.0", "", "");
    packages.publish("hello", "2.0", "", "");
    packages.update();
    let preferences = "etc/apt/preferences.d/pins";
    packages.host.write(preferences, "");
    let latest = [package("hello", r#"{"version": "latest"}"#)];
    let wants = |version: &str| {
        let diff = packages.plan(&latest).plan.items.remove(0).diff;
        assert!(diff.contains(&format!("+installed {version}\n")), "{diff}");
    };
    wants("2.0");
    packages.host.write(preferences, "Package: hello\nPin: version 1.0\nPin-Priority: 1001\n");
    wants("1.0");
}

/// Takes a lock as dpkg and apt do, in a process that says so and ends with its input.
fn hold(path: &Path) -> std::process::Child {
    let script = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()";
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut said = [0; 5];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut said).expect("it says so");
    child
}

#[test]
fn real_packages_wait_for_who_holds_dpkgs_lock_and_say_who() {
    let Some(mut packages) = Packages::new() else { return };
    packages.publish("hello", "1.0", "", "");
    packages.update();
    let wanted = [package("hello", "{}")];
    let mut other = hold(&packages.host.path("var/lib/dpkg/lock-frontend"));
    let why = packages.apply(&wanted).expect_err("another has it");
    assert!(why.starts_with("package.locked"), "{why}");
    assert!(why.contains(&format!("held by process {} (python3", other.id())), "{why}");
    assert_eq!(packages.version("hello"), None);
    assert_eq!(packages.states(&wanted), [ResourceState::Failed]);
    // What is free again is taken by the next attempt, which a passing fault has.
    drop(other.stdin.take());
    other.wait().expect("it ends");
    let plan = packages.plan(&wanted);
    assert!(matches!(packages.apt.standing(&plan, false), (Standing::Failed(fault), false) if fault.retry));
    assert!(matches!(packages.apt.standing(&plan, true), (Standing::Applying, true)));
    packages.apt.forget();
    packages.apply(&wanted).expect("it is free");
    assert_eq!(packages.version("hello").as_deref(), Some("1.0"));
}

#[test]
fn real_a_lock_that_is_let_go_in_time_fails_nothing() {
    let Some(mut packages) = Packages::new() else { return };
    packages.publish("hello", "1.0", "", "");
    packages.update();
    let wanted = [package("hello", "{}")];
    let mut other = hold(&packages.host.path("var/lib/dpkg/lock-frontend"));
    packages.begin(&wanted);
    let begun = packages.host.path("var/lib/lampas/agent/packages/begun.json");
    wait_for("apt to begin", || begun.exists());
    assert_eq!(packages.states(&wanted), [ResourceState::Applying]);
    drop(other.stdin.take());
    other.wait().expect("it ends");
    wait_for("its end", || !packages.apt.is_busy());
    assert_eq!(packages.states(&wanted), [ResourceState::Converged]);
}
