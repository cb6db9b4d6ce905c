//! Checks before anything lands, by the real `lampas-agent sandbox` and the real interpreters.

use std::collections::{BTreeMap, BTreeSet};

use lampas_agent::{
    host::{Facts, Inputs, Ownership, Tools, plan, validate},
    system::{Root, sandbox::Helper},
};
use lampas_shared::{
    desired::{Content, Provenance, Resource, Spec},
    error::Fault,
    fleet::Scope,
    host::{FileMode, GroupName, ManagedPath, UserName, Validator},
    object::{DriftPolicy, Kind, ObjectName, Target},
    time::UnixMs,
};

fn file(path: &str, text: &str, validator: Validator) -> Resource {
    let spec = Spec::File {
        path: ManagedPath::parse(path).expect("a path"),
        content: Content::of(text.as_bytes()),
        owner: UserName::root(),
        group: GroupName::root(),
        mode: FileMode::new(0o755).expect("a mode"),
        validate: Some(validator),
    };
    Resource {
        target: Target::path(path),
        object: lampas_runtime::random::new_id(),
        kind: Kind::File,
        name: ObjectName::parse("file").expect("a name"),
        scope: Scope::Fleet,
        drift: DriftPolicy::Hold,
        provenance: Provenance { revision: 1, author: "ann".into(), at: UnixMs(0), reason: String::new(), change: 1 },
        spec,
        on_change: Vec::new(),
    }
}

fn check(resources: &[Resource]) -> BTreeMap<String, Fault> {
    check_beside(&[], resources)
}

/// Checks on a node where these files stand already.
fn check_beside(standing: &[(&str, &str)], resources: &[Resource]) -> BTreeMap<String, Fault> {
    let directory = tempfile::tempdir().expect("a directory");
    for (path, text) in standing {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        std::fs::write(path, text).expect("writes");
    }
    let root = Root::open(directory.path()).expect("opens");
    std::fs::create_dir_all(directory.path().join("opt")).expect("mkdir");
    let facts = Facts {
        time_zone: "UTC".into(),
        host_name: "web-1".into(),
        wrapper: "/usr/bin/lampas-agent".into(),
        root_argument: None,
    };
    let (owned, held) = (Ownership::default(), BTreeSet::new());
    let inputs = Inputs {
        resources,
        content: &|_| None,
        owned: &owned,
        held: &held,
        facts: &facts,
        judge: &|_| None,
        judge_removal: &|_| None,
        looks: None,
        secrets: None,
    };
    let helper =
        Helper { path: env!("CARGO_BIN_EXE_lampas-agent").into(), args: vec!["sandbox".into()], env: Vec::new() };
    let faults = validate(&plan(&root, &inputs), &Tools { sandbox: helper });
    assert_eq!(std::fs::read_dir(directory.path().join("opt")).expect("lists").count(), 0, "a check writes nothing");
    faults.into_iter().map(|(t, f)| (t.as_str().trim_start_matches("path:/opt/").to_owned(), f)).collect()
}

#[test]
fn sudoers_are_checked_by_visudo_and_never_land_when_it_refuses() {
    if !std::path::Path::new("/usr/sbin/visudo").exists() {
        let faults = check(&[file("/opt/ops", "x\n", Validator::Sudoers)]);
        assert_eq!(faults["ops"].code, "file.checker_missing");
        return;
    }
    let faults = check(&[
        file("/opt/good", "%ops ALL=(root) NOPASSWD: /usr/bin/systemctl restart app\n", Validator::Sudoers),
        file("/opt/bad", "%ops ALL=(root NOPASSWD /usr/bin/systemctl\n", Validator::Sudoers),
    ]);
    assert_eq!(faults.keys().collect::<Vec<_>>(), ["bad"], "{faults:#?}");
    assert!(faults["bad"].code == "file.invalid" && faults["bad"].message.contains("syntax error"), "{faults:#?}");
}

#[test]
fn the_merged_set_of_sudo_is_checked_and_the_file_that_breaks_it_is_named() {
    if !std::path::Path::new("/usr/sbin/visudo").exists() {
        return;
    }
    let rules = |text| {
        let mut rules = file("/etc/sudoers.d/ops", text, Validator::Sudoers);
        (rules.kind, rules.name) = (Kind::Sudoers, ObjectName::parse("ops").expect("a name"));
        [rules]
    };
    let main = ("etc/sudoers", "# sudo\nroot ALL=(ALL:ALL) ALL\nUser_Alias OPS = ann\n@includedir /etc/sudoers.d\n");
    let good = ("etc/sudoers.d/bob", "bob ALL=(ALL) /bin/ls \\\n");
    let faults = check_beside(&[main, good], &rules("# by an alias of the main file\nOPS ALL=(root) /usr/bin/id\n"));
    assert!(faults.is_empty(), "{faults:#?}");
    let bad = ("etc/sudoers.d/zz", "\nbob ALL=(ALL NOPASSWD ls\n");
    let faults = check_beside(&[main, bad], &rules("OPS ALL=(root) /usr/bin/id\n"));
    let fault = faults.values().next().expect("a fault");
    assert_eq!(fault.code, "sudoers.invalid");
    assert!(fault.message.contains("/etc/sudoers.d/zz:2:"), "{fault:?}");
}

#[test]
fn what_is_wrong_is_named_and_what_is_right_passes() {
    let faults = check(&[
        file("/opt/good.sh", "#!/bin/sh\nif true; then echo; fi\n", Validator::Script),
        file("/opt/bad.sh", "#!/bin/sh\nif true; then echo\n", Validator::Script),
        file("/opt/good.bash", "#!/usr/bin/env bash\na=(1 2)\n", Validator::Script),
        file("/opt/bad.bash", "#!/bin/bash\na=(1 2\n", Validator::Script),
        file("/opt/good.pl", "#!/usr/bin/perl\nuse strict; my $x = 1;\n", Validator::Script),
        file("/opt/bad.pl", "#!/usr/bin/perl\nuse strict; $x = 1;\n", Validator::Script),
        file(
            "/opt/begin.pl",
            "#!/usr/bin/perl\nBEGIN { open(my $f, '>', '/tmp/lampas-begin') or die \"no power\\n\"; print $f 'x' or die; close $f or die \"no power\\n\"; }\n",
            Validator::Script,
        ),
        file("/opt/other.py", "#!/usr/bin/python3\n(\n", Validator::Script),
        file("/opt/good.json", "{\"a\": [1]}\n", Validator::Json),
        file("/opt/bad.json", "{\"a\": [1}\n", Validator::Json),
        file("/opt/good.toml", "a = 1\n", Validator::Toml),
        file("/opt/bad.toml", "a = \n", Validator::Toml),
    ]);
    let names: Vec<&str> = faults.keys().map(String::as_str).collect();
    assert_eq!(names, ["bad.bash", "bad.json", "bad.pl", "bad.sh", "bad.toml", "begin.pl"], "{faults:#?}");
    assert!(faults.values().all(|f| f.code == "file.invalid" && !f.retry), "{faults:#?}");
    assert!(faults["bad.pl"].message.contains("Global symbol \"$x\""), "{}", faults["bad.pl"].message);
}

#[test]
fn a_sandbox_that_cannot_be_made_is_told_apart() {
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_lampas-agent"))
        .args(["sandbox", "relative"])
        .output()
        .expect("starts");
    assert_eq!(status.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&status.stderr).contains("the sandbox can't be made"));
}
