//! Checks before anything lands, by the real `lampas-agent sandbox` and the real interpreters.

use std::collections::{BTreeMap, BTreeSet};

use lampas_agent::{
    host::{Facts, Inputs, Ownership, Tools, plan, validate},
    system::{Root, sandbox::Helper},
};
use lampas_shared::{
    desired::{Content, Resource, Spec},
    error::Fault,
    host::{CheckCommand, FileMode, GroupName, ManagedPath, UserName, Validator},
    object::{Kind, ObjectName, Target},
    testing,
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
    testing::resource(Target::path(path), Kind::File, "file", spec)
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
    for below in ["opt", "etc/systemd/system"] {
        std::fs::create_dir_all(directory.path().join(below)).expect("mkdir");
    }
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

/// A check by a program of the node, on what it is given and with what it may do.
#[test]
fn a_program_of_the_node_checks_without_any_power() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let by = |path: &str, text: &str, words: &[&str]| {
        let words = words.iter().map(|w| (*w).to_owned()).collect();
        file(path, text, Validator::Command(CheckCommand::new(words).expect("a command")))
    };
    let perl = |code: &str| vec!["/usr/bin/perl".to_owned(), "-e".to_owned(), code.to_owned(), "%s".to_owned()];
    let run = |path: &str, code: &str| {
        let words = perl(code);
        by(path, "listen 80\n", &words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let faults = check(&[
        by("/opt/good", "needle\n", &["/bin/grep", "-q", "needle", "%s"]),
        by("/opt/bad", "hay\n", &["/bin/grep", "-c", "needle", "%s"]),
        by("/opt/missing", "x\n", &["/usr/sbin/no-such-checker", "%s"]),
        by("/opt/named.conf", "x\n", &["/bin/sh", "-c", "case $1 in */named.conf) ;; *) exit 1;; esac", "sh", "%s"]),
        run("/opt/who", "die \"uid $>\\n\" if $> == 0; open(my $f, '<', $ARGV[0]) or die 'unread'"),
        run(
            "/opt/writes",
            "open(my $f, '>', '/etc/lampas-check') and die 'wrote'; open($f, '>', $ARGV[0]) and die 'wrote'",
        ),
        run("/opt/scratch", "open(my $f, '>', '/run/check.pid') or die 'no scratch'; print $f $$"),
        run(
            "/opt/network",
            "use Socket; socket(my $s, PF_INET, SOCK_DGRAM, 0); die 'network' if connect($s, sockaddr_in(53, inet_aton('192.0.2.1')))",
        ),
        run(
            "/opt/listens",
            "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); bind($s, sockaddr_in(80, INADDR_ANY)) or die $!",
        ),
        run(
            "/opt/first",
            "die \"pid $$\\n\" if $$ != 1; defined(my $p = fork) or die 'no fork'; exit if $p; sleep 600",
        ),
    ]);
    let names: Vec<&str> = faults.keys().map(String::as_str).collect();
    assert_eq!(names, ["bad", "missing"], "{faults:#?}");
    assert!(
        faults["bad"].code == "file.invalid" && faults["bad"].message.contains("/bin/grep -c needle"),
        "{faults:#?}"
    );
    assert_eq!(faults["missing"].code, "file.checker_missing");
    assert!(!std::path::Path::new("/run/check.pid").exists(), "scratch is gone");
}

/// The very check that the manual names, where nginx is installed.
#[test]
fn nginx_checks_its_configuration() {
    if !nix::unistd::geteuid().is_root() || !std::path::Path::new("/usr/sbin/nginx").exists() {
        return;
    }
    let conf = |path: &str, text: &str| {
        let words = ["/usr/sbin/nginx", "-t", "-c", "%s"].map(str::to_owned).to_vec();
        file(path, text, Validator::Command(CheckCommand::new(words).expect("a command")))
    };
    let good = "pid /run/nginx.pid;\nevents {}\nhttp { access_log /var/log/nginx/access.log; server { listen 80; } }\n";
    let faults =
        check(&[conf("/opt/good.conf", good), conf("/opt/bad.conf", "events {}\nhttp { sever { listen 80; } }\n")]);
    let names: Vec<&str> = faults.keys().map(String::as_str).collect();
    assert_eq!(names, ["bad.conf"], "{faults:#?}");
    assert!(faults["bad.conf"].message.contains("unknown directive \"sever\""), "{faults:#?}");
}

/// Units, and what is changed about them, as systemd itself reads them.
#[test]
fn units_are_checked_by_systemd_before_they_land() {
    if !nix::unistd::geteuid().is_root() || !std::path::Path::new("/usr/bin/systemd-analyze").exists() {
        return;
    }
    let unit = |path: &str, text: &str| {
        let mut unit = file(&format!("/etc/systemd/system/{path}"), text, Validator::Json);
        if let Spec::File { validate, .. } = &mut unit.spec {
            *validate = None;
        }
        unit.kind = Kind::Service;
        unit
    };
    let base = ("usr/lib/systemd/system/app.service", "[Service]\nExecStart=/opt/not-there-yet\n");
    let faults = check_beside(
        &[base],
        &[
            unit("app.service.d/lampas.conf", "[Service]\nRestart=sometimes\n"),
            unit("other.service.d/lampas.conf", "[Service]\nRestart=always\n"),
            unit("good.service", "[Service]\nExecStart=/opt/not-there-yet\n"),
            unit("good.timer", "[Timer]\nOnCalendar=daily\nUnit=good.service\n"),
            unit("bad.timer", "[Timer]\nOnCalendar=dayly\n"),
            unit("bad.service", "[Service]\nExecStart=/bin/true\nRestrat=always\n"),
        ],
    );
    let names: Vec<&str> = faults.keys().map(|k| k.rsplit_once("system/").map_or(k.as_str(), |(_, n)| n)).collect();
    assert_eq!(names, ["app.service.d/lampas.conf", "bad.service", "bad.timer"], "{faults:#?}");
    let all = format!("{faults:#?}");
    assert!(all.contains("lampas.conf:2: Failed to parse service restart specifier"), "{all}");
    assert!(all.contains("Unknown key 'Restrat'") && all.contains("dayly"), "{all}");
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
