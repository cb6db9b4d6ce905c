//! An ejection that does not come to its end, and one of what is not in force.

use std::{fs, path::Path};

use lampas_shared::{
    desired::{Resource, Spec},
    host::HostName,
    object::{Kind, Target},
    report::{Phase, ResourceState},
};

use super::fixture::{Node, file};

fn hosts(name: &str, address: &str) -> Resource {
    let address: std::net::IpAddr = address.parse().expect("an address");
    let spec = Spec::Hosts { address, names: vec![HostName::parse(name).expect("a name")], comment: String::new() };
    Resource { target: Target::host_name(name, false), kind: Kind::Hosts, spec, ..file("/etc/unused", "") }
}

/// Makes a directory one that can't be renamed; `false` where that can't be done.
fn pin(directory: &Path) -> bool {
    let none: Option<&str> = None;
    let pinned = nix::mount::mount(none, directory, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=64k"));
    if let Err(errno) = &pinned {
        eprintln!("SKIP: an identity that stays can't be tried here, mounting a tmpfs says {errno}");
    }
    pinned.is_ok()
}

#[tokio::test]
async fn an_identity_that_stays_leaves_nothing_managed_and_the_next_ejection_ends_it() {
    let node = Node::start();
    node.edit("/etc/hosts", "127.0.0.1 localhost\n");
    let identity = node.path("/var/lib/lampas/agent/identity");
    fs::create_dir_all(&identity).expect("made");
    node.send(1, vec![hosts("db-1", "10.0.0.5")]).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    if !pin(&identity) {
        return;
    }
    let refused = node.handle.eject().await;
    let plain = node.text("/etc/hosts").expect("there");
    node.handle.pass().await.expect("passes");
    let then = node.text("/etc/hosts").expect("there");
    nix::mount::umount2(&identity, nix::mount::MntFlags::MNT_DETACH).expect("unmounted");
    let fault = refused.expect_err("the identity is busy");
    assert_eq!(fault.code, "eject.file");
    assert!(fault.message.contains("eject once more"), "{fault}");
    assert_eq!(plain.matches("10.0.0.5").count(), 1, "{plain}");
    assert!(!plain.contains("LAMPAS"), "{plain}");
    assert_eq!(then, plain, "nobody manages it any more");

    let node = node.restart(|_| ()).await;
    node.handle.pass().await.expect("passes");
    assert_eq!(node.text("/etc/hosts").as_deref(), Some(plain.as_str()), "also after a restart");
    node.handle.eject().await.expect("ejected");
    assert!(!identity.exists());
    assert_eq!(node.text("/etc/hosts").as_deref(), Some(plain.as_str()));
}

#[tokio::test]
async fn an_ejection_that_is_put_back_goes_on_managing() {
    let node = Node::start();
    node.edit("/etc/hosts", "127.0.0.1 localhost\n");
    node.send(1, vec![hosts("db-1", "10.0.0.5"), file("/etc/motd", "one\n")]).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    // There is no place for the manifests.
    fs::write(node.path("/var/lib/lampas/ejected"), "").expect("written");
    node.handle.eject().await.expect_err("no directory");
    assert!(node.text("/etc/hosts").expect("there").contains("LAMPAS"));
    node.send(2, vec![file("/etc/motd", "two\n")]).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("two\n"));
}

#[tokio::test]
async fn what_was_only_observed_stands_in_no_manifest() {
    let node = Node::start();
    crate::observe::begin(&node.handle.bench.paths).expect("observes");
    let told = node.send(1, vec![file("/etc/motd", "one\n")]).await;
    assert_eq!(told.state, ResourceState::Paused);
    assert_eq!(node.status().await.applied_at, None, "it is not in force");
    let ejected = node.handle.eject().await.expect("ejected");
    assert_eq!(ejected.manifests, [""; 0]);
    assert!(!node.path("/var/lib/lampas/ejected/file.toml").exists());
}

#[tokio::test]
async fn a_manifest_says_what_is_in_force_and_not_what_waits() {
    let node = Node::start();
    let first = ["/etc/motd", "/etc/issue", "/etc/old"].map(|path| file(path, "one\n"));
    node.send(1, first.to_vec()).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.handle.pause(None, "disk swap".into()).await.expect("paused");
    let next = vec![file("/etc/issue", "one\n"), file("/etc/motd", "two\n"), file("/etc/new", "three\n")];
    assert_eq!(node.send(2, next).await.state, ResourceState::Paused);
    node.handle.eject().await.expect("ejected");
    let manifest = node.text("/var/lib/lampas/ejected/file.toml").expect("written");
    for (path, is_there) in [("/etc/motd", true), ("/etc/issue", true), ("/etc/old", true), ("/etc/new", false)] {
        assert_eq!(manifest.contains(path), is_there, "{path}: {manifest}");
    }
    assert_eq!(manifest.matches("'''\none\n'''").count(), 3, "{manifest}");
    assert!(!manifest.contains("two"), "{manifest}");
}
