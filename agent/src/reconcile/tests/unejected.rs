//! An ejection that does not come to its end.

use std::{fs, path::Path};

use lampas_shared::{
    desired::{Resource, Spec},
    host::HostName,
    object::{Kind, Target},
    report::Phase,
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
