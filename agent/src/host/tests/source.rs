//! Sources of packages with keys of their own, and what follows a package, by the machine's own apt and gpg.

use std::{collections::BTreeSet, process::Command};

use lampas_shared::{
    desired::Resource,
    host::AptSource,
    object::{Kind, ObjectName},
};

use super::{
    fixture::{Host, file, is_root},
    package::{Packages, package},
};
use crate::host::{changed_packages, followed, note_follows, plan_packages};

/// A key that signs a repository.
struct Key {
    home: tempfile::TempDir,
}

impl Key {
    fn new() -> Self {
        let key = Self { home: tempfile::tempdir().expect("a directory") };
        let options =
            ["--batch", "--passphrase", "", "--quick-generate-key", "Test <test@example.com>", "ed25519", "sign"];
        key.gpg(&options);
        key
    }

    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("/usr/bin/gpg")
            .env("GNUPGHOME", self.home.path())
            .args(["--quiet", "--yes"])
            .args(arguments)
            .output()
            .expect("gpg");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    fn armored(&self) -> String {
        String::from_utf8(self.gpg(&["--armor", "--export"])).expect("text")
    }

    fn fingerprint(&self) -> String {
        let text = String::from_utf8(self.gpg(&["--with-colons", "--fingerprint"])).expect("text");
        let line = text.lines().find(|l| l.starts_with("fpr:")).expect("a fingerprint");
        line.split(':').nth(9).expect("a field").to_owned()
    }

    /// Signs the repository of a root.
    fn sign(&self, host: &Host) {
        let directory = host.path("repository");
        let out = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir(&directory).output().expect("runs");
            String::from_utf8(output.stdout).expect("text").split(' ').next().expect("a word").trim().to_owned()
        };
        let sum = out("/usr/bin/sha256sum", &["Packages"]);
        let size = directory.join("Packages").metadata().expect("stat").len();
        let date = Command::new("/usr/bin/date").args(["-u", "-R"]).env("LC_ALL", "C").output().expect("date");
        let date = String::from_utf8(date.stdout).expect("text").replace("+0000", "UTC");
        let release = format!("Origin: test\nLabel: test\nDate: {}\nSHA256:\n {sum} {size} Packages\n", date.trim());
        host.write("repository/Release", &release);
        let (from, to) = (directory.join("Release"), directory.join("InRelease"));
        let (from, to) = (from.display().to_string(), to.display().to_string());
        self.gpg(&["--batch", "--passphrase", "", "--output", &to, "--clearsign", &from]);
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // Its own agent, by its own home.
        let _ = Command::new("/usr/bin/gpgconf").env("GNUPGHOME", self.home.path()).args(["--kill", "all"]).output();
    }
}

/// A source and its key as resources, written where apt finds them. Apt reads `Signed-By` from the machine's root, so that
/// it names the whole path here.
fn write(host: &Host, name: &str, source: &AptSource) -> Vec<Resource> {
    source.check(name).expect("is right");
    let key_path = source.key_path(name).expect("a path").to_string();
    let list_path = AptSource::list_path(name).expect("a path").to_string();
    let whole = host.path(key_path.trim_start_matches('/')).display().to_string();
    let list = source.list_text(name).expect("a text").replace(&key_path, &whole);
    let key = String::from_utf8(source.key_bytes().expect("a key")).expect("armored");
    host.make("etc/apt/keyrings");
    let resources = [(key_path, key), (list_path, list)].map(|(path, text)| {
        host.write(path.trim_start_matches('/'), &text);
        Resource { kind: Kind::AptSource, name: ObjectName::parse(name).expect("a name"), ..file(&path, &text) }
    });
    resources.to_vec()
}

/// What gpgv says, or sqv on younger Debians.
fn is_unsigned(text: &str) -> bool {
    text.contains("NO_PUBKEY") || text.contains("Missing key")
}

#[test]
fn real_a_source_is_fetched_under_its_own_key_before_its_packages() {
    let Some(mut packages) = Packages::new() else { return };
    packages.host.write("etc/apt/sources.list", "");
    packages.publish("hello", "1.0", "", "");
    let (own, other) = (Key::new(), Key::new());
    own.sign(&packages.host);
    let source = AptSource {
        uris: vec![format!("file:{}", packages.host.path("repository").display())],
        suites: vec!["./".to_owned()],
        key: own.armored(),
        fingerprints: vec![lampas_shared::host::Fingerprint::parse(own.fingerprint()).expect("digits")],
        ..AptSource::default()
    };
    let mut wanted = write(&packages.host, "test", &source);
    wanted.push(package("hello", "{}"));
    packages.apply(&wanted).expect("fetches and installs");
    assert_eq!(packages.version("hello").as_deref(), Some("1.0"));
    assert!(!packages.plan(&wanted).has_work(), "it is fetched once");
    // It went and came back as it was: apt may have dropped its lists meanwhile.
    write(&packages.host, "test", &source);
    std::fs::copy(list_of(&packages.host), packages.host.path("copy")).expect("copies");
    std::fs::rename(packages.host.path("copy"), list_of(&packages.host)).expect("renames");
    assert!(packages.plan(&wanted).has_work(), "it is fetched again");
    packages.apply(&wanted).expect("fetches");
    assert!(!packages.plan(&wanted).has_work());

    // Signed by somebody else: told in apt's words, and others go on.
    packages.publish("friend", "1.0", "", "");
    other.sign(&packages.host);
    let changed = AptSource { uris: vec![format!("{}/", source.uris[0])], ..source.clone() };
    let mut wanted = write(&packages.host, "test", &changed);
    let list = wanted[1].target.clone();
    wanted.push(package("hello", r#"{"held": true}"#));
    let why = packages.apply(&wanted).expect_err("is not signed by its key");
    assert!(why.contains("source test") && is_unsigned(&why), "{why}");
    let plan = packages.plan(&wanted);
    let fault = plan.unfetched(&list).expect("the source says so");
    assert!(fault.code == "apt.not_fetched" && is_unsigned(&fault.message), "{fault:?}");
    let status = packages.host.text("var/lib/dpkg/status").expect("a database");
    assert!(status.contains("hold ok installed"), "the rest was done: {status}");

    own.sign(&packages.host);
    packages.apt.forget();
    packages.apply(&wanted).expect("it is tried again");
    assert!(packages.plan(&wanted).unfetched(&list).is_none());
    let known = packages.plan(&[package("friend", "{}")]);
    assert!(!known.plan.items[0].notes.iter().any(|n| n.contains("lists")), "its lists are there: {known:?}");
}

fn list_of(host: &Host) -> std::path::PathBuf {
    host.path("etc/apt/sources.list.d/test.sources")
}

#[test]
fn real_a_source_that_is_not_on_the_disk_is_not_fetched() {
    let Some(mut packages) = Packages::new() else { return };
    packages.host.write("etc/apt/sources.list", "");
    packages.publish("hello", "1.0", "", "");
    let own = Key::new();
    own.sign(&packages.host);
    let source = AptSource {
        uris: vec![format!("file:{}", packages.host.path("repository").display())],
        suites: vec!["./".to_owned()],
        key: own.armored(),
        ..AptSource::default()
    };
    let wanted = write(&packages.host, "test", &source);
    let list = list_of(&packages.host);
    let text = std::fs::read_to_string(&list).expect("a list");
    let fetched = packages.host.path("var/lib/lampas/agent/packages/sources.json");
    let is_known = |packages: &Packages| {
        let plan = packages.host.with_inputs(&wanted, |i| plan_packages(&packages.host.root, i, &packages.apt));
        std::fs::read_to_string(&fetched).is_ok_and(|t| t.contains("test")) && plan.is_none_or(|p| !p.has_work())
    };
    // apt itself says that all is well with a list that isn't there.
    for wrong in [None, Some(text.replace("./", "other/"))] {
        match &wrong {
            None => std::fs::remove_file(&list).expect("removes"),
            Some(text) => std::fs::write(&list, text).expect("writes"),
        }
        let why = packages.apply(&wanted).expect_err("it is another");
        assert!(why.starts_with("apt.not_there") && why.contains("/etc/apt/sources.list.d/test.sources"), "{why}");
        assert!(!is_known(&packages), "nothing is put down: {wrong:?}");
        packages.apt.forget();
    }
    // Held as it is on the node: nothing waits to be fetched.
    packages.host.held.insert(wanted[1].target.clone());
    let none = packages.host.with_inputs(&wanted, |i| plan_packages(&packages.host.root, i, &packages.apt));
    assert!(none.is_none(), "{none:?}");
    packages.host.held.clear();
    std::fs::write(&list, text).expect("writes");
    packages.apply(&wanted).expect("fetches");
    assert!(is_known(&packages));
}

#[test]
fn the_directory_of_keys_is_made_where_it_is_missing() {
    let mut host = Host::new();
    host.make("etc/apt/sources.list.d");
    host.apply(&[file("/etc/apt/keyrings/test.asc", "key\n")]);
    assert_eq!(host.text("etc/apt/keyrings/test.asc").as_deref(), Some("key\n"));
}

#[test]
fn real_units_take_up_a_package_when_its_version_is_another() {
    let Some(mut packages) = Packages::new() else { return };
    assert!(is_root());
    packages.publish("hello", "1.0", "", "");
    let due = |packages: &Packages| -> Vec<String> {
        let due = changed_packages(&packages.host.root).expect("told");
        due.iter().flat_map(|c| &c.on_change).map(ToString::to_string).collect()
    };
    let mut wanted = package("hello", r#"{"on_change": ["restart app"]}"#);
    wanted.on_change = vec!["restart app".parse().expect("a reaction")];
    note_follows(&packages.host.root, &packages.plan(std::slice::from_ref(&wanted))).expect("put down");
    assert!(due(&packages).is_empty(), "nothing changed yet");
    packages.apply(std::slice::from_ref(&wanted)).expect("installs");
    assert_eq!(due(&packages), ["restart app.service"]);
    // What a unit did not take up is still known to a later life.
    followed(&packages.host.root, &BTreeSet::from([wanted.target.clone()])).expect("kept");
    assert_eq!(due(&packages), ["restart app.service"]);
    followed(&packages.host.root, &BTreeSet::new()).expect("forgotten");
    assert!(due(&packages).is_empty());

    // A transaction that changes no version makes nothing due; one that does, does.
    let mut held = Resource { on_change: wanted.on_change.clone(), ..package("hello", r#"{"held": true}"#) };
    note_follows(&packages.host.root, &packages.plan(std::slice::from_ref(&held))).expect("put down");
    packages.apply(std::slice::from_ref(&held)).expect("holds");
    assert!(due(&packages).is_empty());
    // What did not come then is not due when it comes by another hand.
    followed(&packages.host.root, &BTreeSet::new()).expect("forgotten");
    let follows = packages.host.path("var/lib/lampas/agent/packages/follow.json");
    assert!(!follows.exists(), "{:?}", std::fs::read_to_string(&follows));
    packages.publish("hello", "2.0", "", "");
    packages.update();
    held = Resource { on_change: wanted.on_change, ..package("hello", r#"{"version": "2.0"}"#) };
    note_follows(&packages.host.root, &packages.plan(std::slice::from_ref(&held))).expect("put down");
    packages.apply(std::slice::from_ref(&held)).expect("upgrades");
    assert_eq!(due(&packages), ["restart app.service"]);
}
