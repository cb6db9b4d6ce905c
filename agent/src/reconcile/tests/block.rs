//! Changes by hand of a block in a file of others.

use std::net::IpAddr;

use lampas_shared::{
    desired::{Resource, Spec},
    host::HostName,
    object::{DriftPolicy, Kind, ObjectName, Target},
    report::{DriftOutcome, Phase, ResourceState},
};

use super::fixture::{Node, file, with_policy};

const FOREIGN: &str = "127.0.0.1\tlocalhost\n";

fn hosts(address: &str, name: &str) -> Resource {
    let address: IpAddr = address.parse().expect("an address");
    let names = vec![HostName::parse(name).expect("a name")];
    Resource {
        target: Target::host_name(name, address.is_ipv6()),
        kind: Kind::Hosts,
        name: ObjectName::parse(name).expect("a name"),
        spec: Spec::Hosts { address, names, comment: String::new() },
        ..file(&format!("/{name}"), "")
    }
}

fn three() -> Vec<Resource> {
    vec![hosts("10.0.0.1", "db-1"), hosts("10.0.0.2", "db-2"), hosts("10.0.0.3", "db-3")]
}

async fn with_hosts(resources: Vec<Resource>) -> Node {
    let node = Node::start();
    node.edit("/etc/hosts", FOREIGN);
    node.send(1, resources).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.handle.pass().await.expect("passes");
    node
}

impl Node {
    /// Waits until this many changes by hand stand.
    async fn wait_standing(&self, count: usize) {
        let standing = || self.drifts().iter().filter(|d| d.outcome == DriftOutcome::Standing).count();
        self.wait("the drifts", || (standing() >= count).then_some(())).await;
    }
}

#[tokio::test]
async fn a_block_that_somebody_deleted_is_held_while_all_else_goes_on() {
    let node = with_hosts(three()).await;
    let stood = node.text("/etc/hosts").expect("there");
    node.edit("/etc/hosts", FOREIGN);
    node.wait_standing(3).await;
    let report = node.wait("the state", || node.report(1, |r| r.state == ResourceState::Drifted)).await;
    assert!(report.resources.iter().all(|r| r.state == ResourceState::Drifted && r.fault.is_none()), "{report:?}");

    let mut next = three();
    next.push(file("/etc/motd", "newer\n"));
    let report = node.send(2, next).await;
    assert_eq!((report.phase, report.state), (Phase::Applied, ResourceState::Drifted), "{report:?}");
    assert_eq!(
        (node.text("/etc/motd").as_deref(), node.text("/etc/hosts").as_deref()),
        (Some("newer\n"), Some(FOREIGN))
    );
    let node = node.restart(|_| ()).await;
    node.handle.pass().await.expect("passes");
    assert_eq!(node.text("/etc/hosts").as_deref(), Some(FOREIGN), "it is held over a restart");
    assert_eq!(node.status().await.drifts.len(), 3);

    for resource in three() {
        node.handle.revert(resource.target).await.expect("reverted");
    }
    assert_eq!(node.text("/etc/hosts"), Some(stood));
    assert!(node.status().await.drifts.is_empty());
    let report = node.report(2, |r| r.state == ResourceState::Converged);
    assert!(report.is_some(), "{:?}", node.reports());
}

#[tokio::test]
async fn a_block_that_somebody_deleted_is_written_again_where_that_is_the_policy() {
    let repaired = three().into_iter().map(|r| with_policy(r, DriftPolicy::Repair)).collect();
    let node = with_hosts(repaired).await;
    let stood = node.text("/etc/hosts").expect("there");
    std::fs::remove_file(node.path("/etc/hosts")).expect("removed");
    let back = || node.text("/etc/hosts").filter(|text| text.contains("db-3"));
    let back = node.wait("the repair", back).await;
    assert_eq!(format!("{FOREIGN}{back}"), stood, "what others had in it is not LAMPAS's to bring back");
}

#[tokio::test]
async fn a_block_that_somebody_deleted_stands_as_told_until_the_object_changes() {
    let told = |resources: Vec<Resource>| resources.into_iter().map(|r| with_policy(r, DriftPolicy::Report)).collect();
    let node = with_hosts(told(three())).await;
    node.edit("/etc/hosts", FOREIGN);
    node.wait_standing(3).await;
    let mut next = three();
    next[0] = hosts("10.9.9.9", "db-1");
    node.send(2, told(next)).await;
    let text = node.text("/etc/hosts").expect("there");
    assert!(text.contains("10.9.9.9\tdb-1") && !text.contains("db-2"), "{text}");
}

#[tokio::test]
async fn lines_of_one_block_are_reverted_one_after_the_other() {
    let node = with_hosts(three()).await;
    let stood = node.text("/etc/hosts").expect("there");
    node.edit("/etc/hosts", &stood.replace("10.0.0.", "10.9.9."));
    node.wait_standing(3).await;
    for (at, resource) in three().into_iter().enumerate() {
        let reverted = node.handle.revert(resource.target.clone()).await;
        assert!(reverted.is_ok(), "{}: {reverted:?}", resource.target);
        let text = node.text("/etc/hosts").expect("there");
        assert!(text.contains(&format!("10.0.0.{}\tdb-{}", at + 1, at + 1)), "{text}");
    }
    assert_eq!(node.text("/etc/hosts"), Some(stood));
    let standing = node.drifts().iter().filter(|d| d.outcome == DriftOutcome::Standing).count();
    assert_eq!(standing, 3, "what becomes of a neighbour is no news");
}
