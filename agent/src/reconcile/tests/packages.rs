//! Packages beside a host group that was refused.

use std::fs;

use lampas_shared::{
    desired::{Resource, Spec},
    host::{Package, PackageName},
    object::{Kind, Target},
    report::{ResourceReport, ResourceState},
};

use super::fixture::{Node, file, json};

const INSTALLED: &str = "Package: lampas-none\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0\n\n";

fn package(name: &str, want: &str) -> Resource {
    let name = PackageName::parse(name).expect("a name");
    let want: Package = serde_json::from_str(want).expect("a package");
    let target = Target::package(&name);
    Resource { target, kind: Kind::Package, spec: Spec::Package { name, want }, ..file("/none", "") }
}

/// Returns how the package stands once the group that is beside it was refused, where dpkg knows this of before.
async fn beside(more: Resource, status: &str, want: &str) -> Option<ResourceReport> {
    let node = Node::start();
    for directory in ["etc/apt/preferences.d", "var/lib/dpkg", "var/lib/apt/lists/partial"] {
        fs::create_dir_all(node.path(directory)).expect("made");
    }
    fs::write(node.path("var/lib/dpkg/status"), status).expect("written");
    let bad = json("/etc/bad.json", "{");
    let wanted = package("lampas-none", want);
    let target = wanted.target.clone();
    node.handle.desired(node.state(1, vec![wanted, more, bad])).await.expect("accepted");
    let is_told = |r: &ResourceReport| r.target == target && r.state != ResourceState::Applying;
    let has_failed = |r: &ResourceReport| r.target == Target::path("/etc/bad.json") && r.state == ResourceState::Failed;
    let report = node
        .wait("the refusal", || {
            node.report(1, |r| r.resources.iter().any(has_failed) && r.resources.iter().any(is_told))
        })
        .await;
    report.resources.into_iter().find(|r| r.target == target)
}

#[tokio::test]
async fn packages_wait_for_the_sources_and_pins_of_a_group_that_was_refused() {
    if !fs::exists("/usr/bin/apt-get").unwrap_or_default() {
        return;
    }
    let waits = beside(file("/etc/apt/preferences.d/pins", "text\n"), "", "{}").await.expect("told");
    let fault = waits.fault.expect("why");
    assert_eq!((waits.state, fault.code.as_str()), (ResourceState::Waiting, "package.waits"));
    assert!(fault.message.contains("/etc/bad.json") && fault.message.contains("pins"), "{fault:?}");
    // It may be what the refused file wants; there is nothing here that could install it.
    let goes = beside(file("/etc/other", "text\n"), "", "{}").await.expect("told");
    let fault = goes.fault.expect("why");
    assert_eq!((goes.state, fault.code.as_str()), (ResourceState::Failed, "package.not_run"));
}

#[tokio::test]
async fn what_is_installed_goes_on_beside_a_group_that_was_refused() {
    if !fs::exists("/usr/bin/apt-get").unwrap_or_default() {
        return;
    }
    // The check may be that of the version which stands, and pass with the one that is to come.
    for want in [r#"{"version": "2.0"}"#, r#"{"ensure": "absent"}"#] {
        let goes = beside(file("/etc/other", "text\n"), INSTALLED, want).await.expect("told");
        let fault = goes.fault.expect("why");
        assert_eq!((goes.state, fault.code.as_str()), (ResourceState::Failed, "package.not_run"), "{want}: {fault:?}");
    }
}
