//! Changes by hand: seen, held, put back, never lost.

use lampas_shared::report::ResourceState;

use super::fixture::{Host, cron, file, hosts};

fn kept_by_hand(host: &Host) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(host.path("var/lib/lampas/agent/kept/by-hand")) else { return Vec::new() };
    entries.flatten().map(|e| String::from_utf8_lossy(&std::fs::read(e.path()).expect("reads")).into_owned()).collect()
}

#[test]
fn a_change_by_hand_is_drift_and_a_change_of_the_object_is_not() {
    let mut host = Host::new();
    host.apply(&[file("/etc/motd", "one\n")]);
    assert!(!host.plan(&[file("/etc/motd", "two\n")]).items[0].is_drifted);
    host.write("etc/motd", "by hand\n");
    let planned = host.plan(&[file("/etc/motd", "one\n")]);
    let item = &planned.items[0];
    assert!(item.is_drifted && item.verb.is_some() && item.drift_diff.contains("+by hand"), "{item:?}");
    assert_eq!(item.observed.as_ref().and_then(|o| o.content.as_deref()), Some(&b"by hand\n"[..]));
    assert_eq!(host.prove(&[file("/etc/motd", "one\n")])[0].state, ResourceState::Drifted);
    std::fs::remove_file(host.path("etc/motd")).expect("removes");
    assert!(host.plan(&[file("/etc/motd", "one\n")]).items[0].is_drifted, "gone is changed too");
}

#[test]
fn what_becomes_the_desired_state_by_hand_is_no_drift() {
    let mut host = Host::new();
    host.apply(&[file("/etc/motd", "one\n")]);
    host.write("etc/motd", "two\n");
    let item = host.plan(&[file("/etc/motd", "two\n")]).items.remove(0);
    assert!(!item.is_drifted && item.verb.is_none(), "{item:?}");
}

#[test]
fn a_held_drift_stays_through_later_generations() {
    let mut host = Host::new();
    host.apply(&[file("/etc/motd", "one\n"), file("/etc/other", "1\n")]);
    host.write("etc/motd", "by hand\n");
    host.held.insert(file("/etc/motd", "").target);
    let next = [file("/etc/motd", "two\n"), file("/etc/other", "2\n")];
    host.apply(&next);
    assert_eq!(host.text("etc/motd").as_deref(), Some("by hand\n"));
    assert_eq!(host.text("etc/other").as_deref(), Some("2\n"));
    assert_eq!(host.prove(&next)[0].state, ResourceState::Drifted);
    host.held.clear();
    host.apply(&next);
    assert_eq!(host.text("etc/motd").as_deref(), Some("two\n"));
    assert_eq!(kept_by_hand(&host), ["by hand\n"]);
}

#[test]
fn removing_what_was_changed_by_hand_keeps_a_copy_and_says_so() {
    let mut host = Host::new();
    host.apply(&[file("/etc/motd", "one\n")]);
    host.write("etc/motd", "by hand\n");
    let planned = host.plan(&[]);
    assert!(planned.actions()[0].notes.iter().any(|n| n.contains("kept/by-hand")), "{:?}", planned.actions());
    host.apply(&[]);
    assert_eq!(host.text("etc/motd"), None);
    assert_eq!(kept_by_hand(&host), ["by hand\n"]);
}

#[test]
fn a_line_that_is_changed_in_the_block_is_its_own_drift() {
    let mut host = Host::new();
    let resources = [hosts("10.0.0.5", "db-1"), hosts("10.0.0.6", "db-2")];
    host.apply(&resources);
    let text = host.text("etc/hosts").expect("hosts").replace("10.0.0.6", "10.9.9.9");
    host.write("etc/hosts", &text);
    let planned = host.plan(&resources);
    assert_eq!([planned.items[0].is_drifted, planned.items[1].is_drifted], [false, true]);
    assert!(planned.items[1].drift_diff.contains("+10.9.9.9\tdb-2"), "{}", planned.items[1].drift_diff);

    host.held.insert(resources[1].target.clone());
    let more = [hosts("10.0.0.7", "db-1"), hosts("10.0.0.6", "db-2"), hosts("10.0.0.8", "db-3")];
    host.apply(&more);
    let text = host.text("etc/hosts").expect("hosts");
    assert!(text.contains("10.9.9.9\tdb-2") && !text.contains("10.0.0.6"), "the held line stays: {text}");
    assert!(text.contains("10.0.0.7\tdb-1") && text.contains("10.0.0.8\tdb-3"), "the others go on: {text}");
    assert!(host.plan(&more).items[1].is_held);

    host.held.clear();
    host.apply(&more);
    let text = host.text("etc/hosts").expect("hosts");
    assert!(text.contains("10.0.0.6\tdb-2") && !text.contains("10.9.9.9"), "{text}");
    assert!(kept_by_hand(&host)[0].contains("10.9.9.9\tdb-2"));
}

#[test]
fn a_line_that_is_added_in_the_block_is_drift_once_and_outside_it_is_nobodys() {
    let mut host = Host::new();
    let resources = [hosts("10.0.0.5", "db-1"), hosts("10.0.0.6", "db-2")];
    host.apply(&resources);
    let text = host.text("etc/hosts").expect("hosts");
    host.write("etc/hosts", &format!("1.2.3.4 foreign\n{text}5.6.7.8 foreign-too\n"));
    assert!(host.plan(&resources).is_empty());
    host.write("etc/hosts", &text.replace("10.0.0.6", "1.1.1.1\textra\n10.0.0.6"));
    let drifted = host.plan(&resources).items.iter().filter(|i| i.is_drifted).count();
    assert_eq!(drifted, 1);
    host.apply(&resources);
    assert_eq!(host.text("etc/hosts"), Some(text));
}

#[test]
fn a_block_that_is_deleted_is_drift_of_all_its_lines() {
    let mut host = Host::new();
    let resources =
        [cron("a", r#"{"user": "ann", "table": "user"}"#), cron("b", r#"{"user": "ann", "table": "user"}"#)];
    host.apply(&resources);
    host.write("var/spool/cron/crontabs/ann", "1 1 * * * mine\n");
    assert!(host.plan(&resources).items.iter().all(|i| i.is_drifted && i.observed.is_none()));
    host.apply(&resources);
    let text = host.text("var/spool/cron/crontabs/ann").expect("crontab");
    assert!(text.starts_with("1 1 * * * mine\n# BEGIN LAMPAS"), "{text}");
}

#[test]
fn an_interrupted_apply_is_no_drift() {
    let mut host = Host::new();
    host.write("etc/b", "foreign\n");
    host.apply(&[file("/etc/a", "1\n")]);
    let next = [file("/etc/a", "2\n"), file("/etc/b", "2\n")];
    let planned = host.plan(&next);
    let mut intent = None;
    let stopped = crate::host::apply(&host.root, &planned, &mut |record| {
        intent.get_or_insert_with(|| record.clone());
        Err(lampas_shared::error::Fault::passing("test.stop", "stopped"))
    });
    assert!(stopped.is_err());
    host.owned = intent.expect("journalled").ownership;
    let again = host.plan(&next);
    assert!(again.items.iter().all(|i| !i.is_drifted && i.verb.is_some()), "{:?}", again.items);
    host.apply(&next);
    host.apply(&[]);
    assert_eq!(host.text("etc/b").as_deref(), Some("foreign\n"), "what stood before the interrupted apply comes back");
}
