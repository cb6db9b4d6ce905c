//! Packages beside a host group that was refused.

use std::fs;

use lampas_shared::{
    desired::{Resource, Spec},
    host::{CheckCommand, Package, PackageName, Validator},
    object::{Kind, Target},
    report::{ResourceReport, ResourceState},
};

use super::fixture::{Node, file, json};

/// What apt takes for a pin.
const PIN: &str = "Package: lampas-none\nPin: version 1.0\nPin-Priority: 1\n";
const INSTALLED: &str = "Package: lampas-none\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0\n\n";

fn package(name: &str, want: &str) -> Resource {
    let name = PackageName::parse(name).expect("a name");
    let want: Package = serde_json::from_str(want).expect("a package");
    let target = Target::package(&name);
    Resource { target, kind: Kind::Package, spec: Spec::Package { name, want }, ..file("/none", "") }
}

/// A file that is checked by a program which this node lacks.
fn checked(path: &str) -> Resource {
    let mut resource = file(path, "text\n");
    if let Spec::File { validate, .. } = &mut resource.spec {
        let command = CheckCommand::new(vec!["/nonexistent/check".into(), "%s".into()]).expect("a command");
        *validate = Some(Validator::Command(command));
    }
    resource
}

/// A node whose dpkg knows this of before.
fn node(status: &str) -> Node {
    let node = Node::start();
    for directory in ["etc/apt/preferences.d", "var/lib/dpkg", "var/lib/apt/lists/partial"] {
        fs::create_dir_all(node.path(directory)).expect("made");
    }
    fs::write(node.path("var/lib/dpkg/status"), status).expect("written");
    node
}

fn has_apt() -> bool {
    fs::exists("/usr/bin/apt-get").unwrap_or_default()
}

/// Returns how the package stands once something beside it was refused.
async fn beside(node: &Node, wanted: Resource, others: Vec<Resource>) -> ResourceReport {
    let target = wanted.target.clone();
    node.handle.desired(node.state(1, [vec![wanted], others].concat())).await.expect("accepted");
    let is_told = |r: &ResourceReport| r.target == target && r.state != ResourceState::Applying;
    let has_failed = |r: &ResourceReport| r.target != target && r.state == ResourceState::Failed;
    let report = node
        .wait("the refusal", || {
            node.report(1, |r| r.resources.iter().any(has_failed) && r.resources.iter().any(is_told))
        })
        .await;
    report.resources.into_iter().find(|r| r.target == target).expect("told")
}

#[tokio::test]
async fn packages_wait_for_sources_and_pins_that_were_refused_whatever_a_package_might_mend() {
    if !has_apt() {
        return;
    }
    let (pins, other) = ("/etc/apt/preferences.d/pins", "/etc/apt/preferences.d/other");
    for refused in [json(pins, "{"), checked(pins)] {
        let node = node("");
        let waits = beside(&node, package("lampas-none", "{}"), vec![refused, file(other, "x\n")]).await;
        let fault = waits.fault.expect("why");
        assert_eq!((waits.state, fault.code.as_str()), (ResourceState::Waiting, "package.waits"));
        assert!(fault.message.contains(pins) && fault.message.contains(other), "{fault:?}");
        assert_eq!((node.text(pins), node.text(other)), (None, None));
    }
    // What can't be written at all is no less missing; the rest of the state goes on.
    let node = node("");
    fs::create_dir(node.path(pins)).expect("made");
    let others = vec![file(pins, "text\n"), json("/etc/bad.json", "{")];
    let waits = beside(&node, package("lampas-none", "{}"), others).await;
    let fault = waits.fault.expect("why");
    assert_eq!((waits.state, fault.code.as_str()), (ResourceState::Waiting, "package.waits"), "{fault:?}");
    assert!(fault.message.contains("a directory stands where a file shall be"), "{fault:?}");
}

#[tokio::test]
async fn packages_go_on_beside_a_refused_group_whose_sources_and_pins_stand() {
    if !has_apt() {
        return;
    }
    let pins = "/etc/apt/preferences.d/pins";
    // The check may be that of the version which stands, and pass with the one that is to come; there is nothing here that
    // could install it.
    for (status, want) in [("", "{}"), (INSTALLED, r#"{"version": "2.0"}"#), (INSTALLED, r#"{"ensure": "absent"}"#)] {
        let node = node(status);
        let others = vec![file(pins, PIN), json("/etc/bad.json", "{")];
        let goes = beside(&node, package("lampas-none", want), others).await;
        let fault = goes.fault.expect("why");
        assert_eq!((goes.state, fault.code.as_str()), (ResourceState::Failed, "package.not_run"), "{want}: {fault:?}");
        assert_eq!(node.text(pins).as_deref(), Some(PIN), "the pin stood before");
    }
}

#[tokio::test]
async fn what_the_nodes_owner_forbids_keeps_no_package() {
    if !has_apt() {
        return;
    }
    let node = node("");
    fs::create_dir_all(node.path("etc/lampas")).expect("made");
    fs::write(node.path("etc/lampas/policy.toml"), "deny_paths = [\"/etc/apt\"]\n").expect("written");
    let others = vec![file("/etc/apt/preferences.d/pins", "text\n"), json("/etc/bad.json", "{")];
    let goes = beside(&node, package("lampas-none", "{}"), others).await;
    assert_eq!(goes.fault.expect("why").code, "package.not_run");
}

#[tokio::test]
async fn a_check_that_a_package_may_mend_waits_while_that_is_under_way() {
    if !has_apt() {
        return;
    }
    let told = |node: &Node, path: &str| -> Vec<ResourceState> {
        let of = |report| match report {
            lampas_wire::Report::Generation(r) => r.resources.into_iter().find(|r| r.target == Target::path(path)),
            _ => None,
        };
        let mut states: Vec<ResourceState> = node.reports().into_iter().filter_map(of).map(|r| r.state).collect();
        states.dedup();
        states
    };
    let path = "/etc/app.conf";
    let waited = node("");
    beside(&waited, package("lampas-none", "{}"), vec![checked(path), file("/etc/motd", "x\n")]).await;
    for path in [path, "/etc/motd"] {
        assert_eq!(told(&waited, path), [ResourceState::Waiting, ResourceState::Failed], "{path}");
    }
    // What no package mends has failed at once.
    let failed = node("");
    beside(&failed, package("lampas-none", "{}"), vec![checked(path), json("/etc/bad.json", "{")]).await;
    assert_eq!(told(&failed, path), [ResourceState::Failed]);
}
