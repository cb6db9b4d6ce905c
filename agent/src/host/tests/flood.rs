//! What a user fills a file of theirs with costs nobody else anything.

use std::time::{Duration, Instant};

use lampas_shared::{
    desired::{Resource, Spec},
    host::{AuthorizedKey, UserName},
    object::{Kind, Target},
};

use super::fixture::{Host, ann, file, file_of, resource};
use crate::host::eject;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrpNzIH4o8yMYp2yuhPq0w5vPDJzbKpWEHSyMjRvAhQ bo@desk";
const PATH: &str = "home/ann/.ssh/authorized_keys";
/// What each of these takes is far below, and was far above before lines were looked at once.
const LIMIT: Duration = Duration::from_secs(20);

fn host() -> Host {
    let host = Host::new();
    host.make("home/ann/.ssh");
    give(&host);
    host
}

/// Makes ann's what is in her home.
fn give(host: &Host) {
    for path in ["home/ann", "home/ann/.ssh", PATH].map(|p| host.path(p)).iter().filter(|p| p.exists()) {
        std::os::unix::fs::chown(path, Some(ann()), Some(ann())).expect("chown");
    }
}

fn fill(host: &Host, text: &str) {
    host.write(PATH, text);
    give(host);
}

fn keys() -> Resource {
    let user = UserName::parse("ann").expect("a name");
    let keys = vec![AuthorizedKey::parse(KEY).expect("a key")];
    resource(Target::keys(&user), Kind::User, "ann", Spec::Keys { user, home: None, keys, exclusive: false })
}

fn floods() -> [String; 4] {
    const MIB: usize = 1 << 20;
    let markers = "# BEGIN LAMPAS\n# END LAMPAS\n";
    let same = format!("{KEY}\n");
    [
        markers.repeat(MIB / markers.len()),
        "\n".repeat(MIB),
        format!("# BEGIN LAMPAS\n{}# END LAMPAS\n", "\n".repeat(MIB - 64)),
        same.repeat(MIB / same.len()),
    ]
}

#[test]
fn a_mebibyte_of_anything_is_looked_through_at_once() {
    for flood in floods() {
        let mut host = host();
        fill(&host, &flood);
        let started = Instant::now();
        host.apply(&[keys()]);
        assert!(host.text(PATH).is_some_and(|t| t.matches(KEY).count() == 1), "the key stands once");
        // By hand: the block's line goes, and the rest of the file is filled with something else.
        fill(&host, &"\n".repeat(1 << 20));
        host.apply(&[]);
        assert!(host.owned.places.is_empty());
        assert!(started.elapsed() < LIMIT, "{:?} for {:?}", started.elapsed(), &flood[..32]);
    }
}

#[test]
fn a_file_beyond_that_fails_alone_and_keeps_no_agent_on_the_node() {
    let mut host = host();
    host.apply(&[keys()]);
    let larger = format!("{}{}", host.text(PATH).expect("keys"), "y\n".repeat(1 << 20));
    fill(&host, &larger);
    assert_eq!(host.fault(&keys()).as_deref(), Some("file.too_large"));
    host.try_apply(&[keys(), file("/etc/motd", "hello\n")]).expect("the rest goes on");
    assert_eq!(host.text("etc/motd").as_deref(), Some("hello\n"));
    let ejection =
        eject(&host.root, &host.owned, &Default::default(), "UTC", "/var/lib/lampas/ejected").expect("plans");
    let place = ejection.places.iter().find(|p| p.path.ends_with("authorized_keys")).expect("it is told");
    assert!(place.what.contains("with its markers"), "{place:?}");
    fill(&host, &larger[..larger.len() / 4]);
    let ejection =
        eject(&host.root, &host.owned, &Default::default(), "UTC", "/var/lib/lampas/ejected").expect("plans");
    let place = ejection.places.iter().find(|p| p.path.ends_with("authorized_keys")).expect("it is told");
    assert_eq!(place.what, "1 lines, without markers");
}

#[test]
fn a_managed_file_in_a_home_is_compared_within_bounds() {
    let mut host = host();
    let wanted = [file_of("/home/ann/profile", b"a\nb\n", "ann", 0o644)];
    host.apply(&wanted);
    host.write("home/ann/profile", &"x\ny\n".repeat(100_000));
    let started = Instant::now();
    let plan = host.plan(&wanted);
    assert!(plan.items[0].is_drifted && !plan.items[0].drift_diff.is_empty());
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
}
