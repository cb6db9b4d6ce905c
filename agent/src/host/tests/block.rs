//! A managed block that somebody deleted whole.

use lampas_shared::{
    desired::{Resource, Spec},
    host::{AuthorizedKey, UserName},
    object::{Kind, Target},
    report::ResourceState,
};

use super::fixture::{Host, ann, cron, file, hosts};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrpNzIH4o8yMYp2yuhPq0w5vPDJzbKpWEHSyMjRvAhQ bo@desk";

fn keys() -> Resource {
    let user = UserName::parse("ann").expect("user");
    let target = Target::keys(&user);
    let keys = vec![AuthorizedKey::parse(KEY).expect("key")];
    super::fixture::resource(target, Kind::User, "ann", Spec::Keys { user, home: None, keys, exclusive: false })
}

fn with_home() -> Host {
    let host = Host::new();
    host.make("home/ann");
    if super::fixture::is_root() {
        std::os::unix::fs::chown(host.path("home/ann"), Some(ann()), Some(ann())).expect("chown");
    }
    host
}

/// Each kind of block, with two resources where it takes them: the path, and what stands there of others.
fn blocks() -> [(&'static str, &'static str, Vec<Resource>); 3] {
    let job = |name| cron(name, r#"{"user": "ann", "table": "user"}"#);
    [
        ("etc/hosts", "127.0.0.1\tlocalhost\n", vec![hosts("10.0.0.5", "db-1"), hosts("10.0.0.6", "db-2")]),
        ("var/spool/cron/crontabs/ann", "1 1 * * * mine\n", vec![job("a"), job("b")]),
        ("home/ann/.ssh/authorized_keys", "# mine\n", vec![keys()]),
    ]
}

fn state_of(host: &Host, resources: &[Resource], of: &Resource) -> ResourceState {
    let reports = host.prove(resources);
    reports.iter().find(|r| r.target == of.target).expect("reported").state
}

#[test]
fn a_block_that_is_gone_is_held_and_stops_nothing_else() {
    for (path, foreign, block) in blocks() {
        // All of the file gone, as `crontab -r` does it, and the block alone.
        for left in [None, Some(foreign)] {
            let mut host = with_home();
            host.apply(&block);
            let stood = host.text(path).expect("there");
            match left {
                Some(text) => host.write(path, text),
                None => std::fs::remove_file(host.path(path)).expect("removed"),
            }
            let planned = host.plan(&block);
            assert!(planned.items.iter().all(|i| i.is_drifted && !i.is_held), "{path}: {:?}", planned.items);
            host.held.extend(block.iter().map(|r| r.target.clone()));

            // Another generation is written beside it, twice.
            for content in ["1", "2"] {
                let mut next = block.clone();
                next.push(file("/etc/motd", content));
                host.apply(&next);
                assert_eq!(host.text("etc/motd").as_deref(), Some(content));
                assert_eq!(host.text(path).as_deref(), left, "{path}: what was held stays");
                for resource in &block {
                    assert_eq!(state_of(&host, &next, resource), ResourceState::Drifted, "{path}");
                }
            }
            // What is no longer wanted is forgotten, and what is put back stands as it did.
            let last = &block[block.len() - 1..];
            host.apply(last);
            assert_eq!(state_of(&host, last, &last[0]), ResourceState::Drifted);
            host.held.clear();
            host.apply(&block);
            let back = host.text(path).expect("there");
            let extract = |text: &str| lampas_render::block::extract(text.as_bytes()).expect("a block").to_vec();
            assert_eq!(extract(&back), extract(&stood), "{path}");
            assert!(back.starts_with(left.unwrap_or_default()), "{back}");
            host.apply(&[]);
            assert_eq!(host.text(path).as_deref(), left, "{path}: nothing of LAMPAS is left");
        }
    }
}

#[test]
fn of_a_block_that_is_gone_what_is_not_held_comes_back() {
    let mut host = Host::new();
    host.write("etc/hosts", "127.0.0.1\tlocalhost\n");
    let [one, two, three] = [hosts("10.0.0.5", "db-1"), hosts("10.0.0.6", "db-2"), hosts("10.0.0.7", "db-3")];
    host.apply(&[one.clone(), two.clone()]);
    host.write("etc/hosts", "127.0.0.1\tlocalhost\n");
    host.held.insert(one.target.clone());
    // One is held, one repaired, one comes.
    let all = [one.clone(), two, three];
    host.apply(&all);
    let text = host.text("etc/hosts").expect("there");
    assert!(text.contains("db-2") && text.contains("db-3") && !text.contains("db-1"), "{text}");
    assert_eq!(state_of(&host, &all, &one), ResourceState::Drifted);
    host.held.clear();
    host.apply(&all);
    assert!(host.text("etc/hosts").expect("there").contains("10.0.0.5\tdb-1"));
}

#[test]
fn a_line_that_left_for_a_block_comes_back_though_the_block_is_gone() {
    let mut host = Host::new();
    host.write("etc/hosts", "127.0.0.1\tlocalhost\n10.0.0.5 db-1\n");
    let both = [hosts("10.0.0.5", "db-1"), hosts("10.0.0.6", "db-2")];
    host.apply(&both);
    host.write("etc/hosts", "127.0.0.1\tlocalhost\n");
    host.held.insert(both[1].target.clone());
    host.apply(&both[1..]);
    assert_eq!(host.text("etc/hosts").as_deref(), Some("127.0.0.1\tlocalhost\n10.0.0.5 db-1\n"));
    assert_eq!(state_of(&host, &both[1..], &both[1]), ResourceState::Drifted);
}

#[test]
fn what_becomes_of_a_line_is_no_news_of_its_neighbours() {
    let mut host = Host::new();
    let lines = [hosts("10.0.0.5", "db-1"), hosts("10.0.0.6", "db-2"), hosts("10.0.0.7", "db-3")];
    host.apply(&lines);
    let text = host.text("etc/hosts").expect("there").replace("10.0.0.", "10.9.9.");
    host.write("etc/hosts", &text);
    let marks = |host: &Host| host.plan(&lines).items.iter().map(|i| i.mark).collect::<Vec<_>>();
    let before = marks(&host);
    host.held.extend(lines[1..].iter().map(|r| r.target.clone()));
    host.apply(&lines);
    assert!(host.text("etc/hosts").expect("there").contains("10.0.0.5\tdb-1"));
    let after = marks(&host);
    assert_eq!(after[1..], before[1..], "the first was put back alone");
    assert_ne!(after[0], before[0]);
    let text = host.text("etc/hosts").expect("there").replace("10.9.9.7", "10.8.8.7");
    host.write("etc/hosts", &text);
    assert_ne!(marks(&host)[2], before[2], "and this is news");
}
