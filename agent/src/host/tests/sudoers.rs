//! Rules for sudo: the merged set, and the last administrator.

use lampas_shared::{
    desired::{ContentHash, Resource, Spec},
    object::{Kind, Target},
    report::{ResourceState, Verb},
};

use super::fixture::{Host, file_of, resource, sudoers};
use crate::{
    host::{HostPlan, Tools, foresee, validate},
    system::sandbox::Helper,
};

/// A root with sudo's own file, in which ann is an administrator by a file of her own.
fn host() -> Host {
    let host = Host::new();
    host.make("etc/sudoers.d");
    host.write(
        "etc/sudoers",
        "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
    );
    let groups = host.text("etc/group").expect("groups");
    host.write("etc/group", &format!("{groups}sudo:x:27:\n"));
    host.write("etc/sudoers.d/ann", "ann ALL=(ALL) ALL\n");
    host
}

/// Without sudo there is nothing to be tested: the fault says so.
fn has_sudo() -> bool {
    std::path::Path::new("/usr/sbin/visudo").exists()
}

fn said(plan: &HostPlan, target: &Target) -> (String, String) {
    let fault = plan.item(target).and_then(|i| i.fault.clone()).expect("a fault");
    (fault.code, fault.message)
}

#[test]
fn rules_land_with_mode_0440_are_proven_and_go_again() {
    if !has_sudo() {
        let code = host().fault(&sudoers("ops", "%ops ALL=(ALL) ALL\n"));
        assert_eq!(code.as_deref(), Some("sudoers.rules"));
        return;
    }
    let mut host = host();
    let before = host.picture();
    let rules = sudoers("ops", "ann ALL=(root) NOPASSWD: /usr/bin/id\n");
    let planned = host.plan(std::slice::from_ref(&rules));
    assert_eq!(planned.item(&rules.target).and_then(|i| i.verb), Some(Verb::Create));
    host.apply(std::slice::from_ref(&rules));
    let mode = host.picture()["etc/sudoers.d/ops"].0;
    assert_eq!(mode & 0o7777, 0o440);
    let reports = host.prove(std::slice::from_ref(&rules));
    assert_eq!(reports[0].state, ResourceState::Converged, "{reports:?}");
    host.apply(&[]);
    assert_eq!(host.picture(), before);
}

#[test]
fn an_alias_that_another_file_defines_names_that_file() {
    if !has_sudo() {
        return;
    }
    let host = host();
    host.write("etc/sudoers.d/first", "# mine\nUser_Alias OPS = ann\n");
    let rules = sudoers("second", "User_Alias OPS = bob\nOPS ALL=(ALL) /bin/ls\n");
    let (code, message) = said(&host.plan(std::slice::from_ref(&rules)), &rules.target);
    assert_eq!(code, "sudoers.clash");
    assert!(message.contains("/etc/sudoers.d/first:2") && message.contains("/etc/sudoers.d/second:1"), "{message}");
}

/// Runs checkers as they are: there is nobody to be kept from.
fn tools() -> Tools {
    Tools { sandbox: Helper { path: "/usr/bin/env".into(), args: Vec::new(), env: Vec::new() } }
}

#[test]
fn a_clash_is_told_of_what_clashes_and_a_syntax_error_of_what_has_it() {
    if !has_sudo() {
        return;
    }
    let host = host();
    host.write("etc/sudoers.d/first", "User_Alias OPS = ann\n");
    let clashing = sudoers("second", "User_Alias OPS = bob\nOPS ALL=(ALL) /bin/ls\n");
    let bad = sudoers("bad", "deploy ALL=(ALL NOPASSWD: ALL\n");
    let good = sudoers("good", "ann ALL=(root) /usr/bin/id\n");
    let mut planned = host.plan(&[clashing.clone(), bad.clone(), good.clone()]);
    assert_eq!(said(&planned, &clashing.target).0, "sudoers.clash");
    let found = validate(&planned, &tools());
    assert_eq!(found.keys().collect::<Vec<_>>(), [&bad.target], "{found:?}");
    foresee(&mut planned, &tools());
    let (code, message) = said(&planned, &bad.target);
    assert!(code == "file.invalid" && message.contains("syntax error"), "{code}: {message}");
    let rest = planned.item(&good.target).expect("planned");
    assert!(rest.fault.is_none() && rest.verb == Some(Verb::Create), "{rest:?}");
    assert_eq!(planned.actions().iter().filter(|a| a.fault.is_some()).count(), 2);
}

#[test]
fn what_visudo_says_of_the_set_is_told_of_the_file_that_it_names() {
    if !has_sudo() {
        return;
    }
    // A plain file has no check of its own.
    let bad = file_of("/etc/sudoers.d/bad", b"deploy ALL=(ALL NOPASSWD: ALL\n", "root", 0o440);
    let good = sudoers("good", "ann ALL=(root) /usr/bin/id\n");
    let found = validate(&host().plan(&[bad.clone(), good]), &tools());
    let codes: Vec<_> = found.iter().map(|(target, fault)| (target, fault.code.as_str())).collect();
    assert_eq!(codes, [(&bad.target, "sudoers.invalid")]);
}

#[test]
fn the_last_administrator_keeps_a_way_in() {
    if !has_sudo() {
        return;
    }
    let mut host = host();
    // A managed file of the same place, as somebody who means well would write it.
    let other = sudoers("ann", "ann ALL=(root) /usr/bin/id\n");
    let (code, message) = said(&host.plan(std::slice::from_ref(&other)), &other.target);
    assert_eq!(code, "sudoers.last_administrator");
    assert!(message.contains("ann has now"), "{message}");
    assert!(host.plan(std::slice::from_ref(&other)).is_empty(), "nothing of it would be written");
    // By effect, not by kind: a plain file in that place, and the main file without the directory.
    let file = file_of("/etc/sudoers.d/ann", b"# nobody\n", "root", 0o440);
    assert_eq!(host.fault(&file).as_deref(), Some("sudoers.last_administrator"));
    let main = file_of("/etc/sudoers", b"root ALL=(ALL:ALL) ALL\n", "root", 0o440);
    assert_eq!(host.fault(&main).as_deref(), Some("sudoers.last_administrator"));
    // A rule that came with LAMPAS may be the last one too: it stays until there is another.
    let late = sudoers("late", "ann ALL=(ALL:ALL) ALL\n");
    host.apply(std::slice::from_ref(&late));
    std::fs::remove_file(host.path("etc/sudoers.d/ann")).expect("removes");
    let (code, _) = said(&host.plan(&[]), &late.target);
    assert_eq!(code, "sudoers.last_administrator");
    host.write("etc/sudoers.d/ann", "ann ALL=(ALL) ALL\n");
    assert!(host.plan(&[]).item(&late.target).is_some_and(|i| i.fault.is_none()));
    // Somebody who can't log in is no administrator.
    let passwd = host.text("etc/passwd").expect("accounts");
    host.write("etc/passwd", &passwd.replace("/home/ann:/bin/sh", "/home/ann:/usr/sbin/nologin"));
    assert!(host.plan(&[]).item(&late.target).is_some_and(|i| i.fault.is_none()), "nobody had full rights before");
}

#[test]
fn rules_that_sudo_does_not_read_are_not_in_force() {
    if !has_sudo() {
        return;
    }
    let mut host = host();
    host.write("etc/sudoers", "root ALL=(ALL:ALL) ALL\n");
    let rules = sudoers("ops", "ann ALL=(root) /usr/bin/id\n");
    host.apply(std::slice::from_ref(&rules));
    let report = host.prove(std::slice::from_ref(&rules)).remove(0);
    assert_eq!(report.state, ResourceState::Blocked);
    assert_eq!(report.fault.expect("why").code, "sudoers.not_read");
}

#[test]
fn what_takes_in_other_files_is_refused_by_the_agent_too() {
    if !has_sudo() {
        return;
    }
    let host = host();
    for text in ["@include /tmp/x\n", "#includedir /home/ann\n"] {
        assert_eq!(host.fault(&sudoers("ops", text)).as_deref(), Some("sudoers.rules"), "{text}");
    }
}

#[test]
fn a_kind_of_a_later_build_is_blocked_and_stops_nobody() {
    let spec = Spec::Unsupported { kind: "balloon".to_owned(), hash: ContentHash::of(b"x") };
    let unknown: Resource = resource(Target::parse("balloon:red").expect("a target"), Kind::Unsupported, "red", spec);
    let mut host = host();
    let both = [unknown, super::fixture::file("/etc/motd", "hello\n")];
    host.apply(&both);
    assert_eq!(host.text("etc/motd").as_deref(), Some("hello\n"));
    let reports = host.prove(&both);
    assert_eq!(reports[0].state, ResourceState::Blocked);
    let fault = reports[0].fault.clone().expect("why");
    assert!(fault.code == "unsupported" && fault.message.contains("kind balloon"), "{fault:?}");
    assert_eq!(reports[1].state, ResourceState::Converged);
}
