//! What comes, and what goes without a trace.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use lampas_shared::report::{ResourceState, Verb};

use super::fixture::{Host, ann, cron, directory, file, file_of, hosts, is_root, link};

#[test]
fn every_kind_comes_and_goes_without_a_trace() {
    let mut host = Host::new();
    host.write("etc/hosts", "127.0.0.1\tlocalhost\n# mine, no newline at the end");
    host.write("etc/motd", "welcome\n");
    std::fs::set_permissions(host.path("etc/motd"), std::fs::Permissions::from_mode(0o600)).expect("chmod");
    std::os::unix::fs::symlink("/nowhere", host.path("etc/link")).expect("symlink");
    host.write("var/spool/cron/crontabs/ann", "MAILTO=x\n5 4 * * * mine\n");
    let before = host.picture();
    let resources = [
        file("/etc/motd", "managed\n"),
        file_of("/etc/secret", b"s", "ann", 0o640),
        directory("/opt/app", 0o750),
        file("/opt/app/run", "#!/bin/sh\n"),
        link("/etc/link", "../etc/motd"),
        hosts("10.0.0.5", "db-1"),
        hosts("fd00::5", "db-1"),
        cron("hello", "{}"),
        cron("mine", r#"{"user": "ann", "table": "user"}"#),
    ];
    host.apply(&resources);
    assert_eq!(host.text("etc/motd").as_deref(), Some("managed\n"));
    assert_eq!(std::fs::metadata(host.path("etc/motd")).expect("stat").mode() & 0o7777, 0o644);
    let text = host.text("etc/hosts").expect("hosts");
    assert!(text.starts_with("127.0.0.1\tlocalhost\n# mine, no newline at the end\n"), "{text}");
    assert!(text.contains("10.0.0.5\tdb-1\n") && text.contains("fd00::5\tdb-1\n"), "{text}");
    let text = host.text("etc/cron.d/lampas-hello").expect("cron");
    assert!(text.contains("*/5 * * * * root /usr/bin/lampas-agent --root "), "{text}");
    let table = host.text("var/spool/cron/crontabs/ann").expect("crontab");
    assert!(table.starts_with("MAILTO=x\n5 4 * * * mine\n") && table.contains("job run"), "{table}");
    if is_root() {
        assert_eq!(std::fs::metadata(host.path("etc/secret")).expect("stat").uid(), ann());
    }
    for report in host.prove(&resources) {
        assert_eq!((report.state, report.fault), (ResourceState::Converged, None), "{}", report.target);
    }
    host.apply(&[]);
    let mut after = host.picture();
    // Shared files keep their bytes, not their time.
    for shared in ["etc/hosts", "var/spool/cron/crontabs/ann"] {
        let time = before[shared].4;
        after.get_mut(shared).expect("stands").4 = time;
    }
    assert_eq!(after, before);
    assert!(host.owned.places.is_empty(), "{:?}", host.owned);
    assert_eq!(std::fs::read_dir(host.path("var/lib/lampas/agent/jobs")).expect("lists").count(), 0);
}

#[test]
fn a_roll_back_is_as_if_nothing_had_been() {
    let mut host = Host::new();
    host.write("etc/motd", "welcome\n");
    host.write("etc/hosts", "127.0.0.1 localhost\n");
    let first = [file("/etc/motd", "one\n"), hosts("10.0.0.5", "db-1")];
    host.apply(&first);
    let (before, owned) = (host.picture(), host.owned.clone());
    let second =
        [file("/etc/motd", "two\n"), hosts("10.0.0.6", "db-1"), directory("/opt/x", 0o755), file("/opt/x/y", "z")];
    let record = host.apply(&second);
    host.write("etc/hosts", &format!("{}# added meanwhile\n", host.text("etc/hosts").expect("hosts")));
    host.roll_back(&record);
    assert_eq!(host.owned, owned);
    assert!(host.text("etc/hosts").expect("hosts").ends_with("# added meanwhile\n"));
    let mut after = host.picture();
    after.insert("etc/hosts".into(), before["etc/hosts"].clone());
    assert_eq!(after, before);
    assert!(host.plan(&first).is_empty());
    host.roll_back(&record);
}

#[test]
fn removals_come_before_additions() {
    let mut host = Host::new();
    host.apply(&[directory("/opt/a", 0o755), file("/opt/a/b", "1")]);
    host.apply(&[file("/opt/a", "now a file")]);
    assert_eq!(host.text("opt/a").as_deref(), Some("now a file"));
}

#[test]
fn a_directory_that_others_use_stays() {
    let mut host = Host::new();
    host.apply(&[directory("/opt/a", 0o755)]);
    host.write("opt/a/foreign", "x");
    host.apply(&[]);
    assert_eq!(host.text("opt/a/foreign").as_deref(), Some("x"));
}

#[test]
fn the_time_of_a_cron_file_moves_by_a_second_at_least() {
    let mut host = Host::new();
    let mut last = 0;
    for minute in 0..4 {
        host.apply(&[cron("hello", &format!(r#"{{"schedule": "{minute} * * * *"}}"#))]);
        let seconds = std::fs::metadata(host.path("etc/cron.d/lampas-hello")).expect("stat").mtime();
        assert!(seconds > last, "{seconds} is not after {last}");
        last = seconds;
    }
}

#[test]
fn a_second_hard_link_of_a_cron_file_is_mended() {
    let mut host = Host::new();
    host.apply(&[cron("hello", "{}")]);
    std::fs::hard_link(host.path("etc/cron.d/lampas-hello"), host.path("opt/second")).expect("links");
    assert!(host.plan(&[cron("hello", "{}")]).items[0].is_drifted);
    host.apply(&[cron("hello", "{}")]);
    assert_eq!(std::fs::metadata(host.path("etc/cron.d/lampas-hello")).expect("stat").nlink(), 1);
}

#[test]
fn what_cron_would_ignore_is_refused() {
    let host = Host::new();
    assert_eq!(host.fault(&cron("hello", r#"{"user": "bob"}"#)).as_deref(), Some("cron.user_unknown"));
    assert_eq!(host.fault(&cron("with.dot", "{}")).as_deref(), Some("cron.refused"));
}

#[test]
fn a_refused_resource_keeps_what_it_has() {
    let mut host = Host::new();
    host.apply(&[cron("hello", "{}"), hosts("10.0.0.5", "db-1")]);
    let before = host.picture();
    let owned = host.owned.clone();
    let resources = [cron("hello", r#"{"user": "bob"}"#), hosts("10.0.0.5", "db-1")];
    host.apply(&resources);
    assert_eq!((host.picture(), &host.owned), (before, &owned));
    assert_eq!(host.prove(&resources)[0].state, ResourceState::Blocked);
}

#[test]
fn a_content_that_did_not_arrive_is_waited_for() {
    let mut host = Host::new();
    let mut resource = file("/etc/motd", "text");
    let lampas_shared::desired::Spec::File { content, .. } = &mut resource.spec else { panic!("a file") };
    content.inline = None;
    let hash = content.hash;
    assert_eq!(host.fault(&resource).as_deref(), Some("file.content_missing"));
    host.contents.insert(hash, b"another".to_vec());
    assert_eq!(host.fault(&resource).as_deref(), Some("file.content_damaged"));
    host.contents.insert(hash, b"text".to_vec());
    host.apply(&[resource]);
    assert_eq!(host.text("etc/motd").as_deref(), Some("text"));
}

#[test]
fn what_is_already_as_desired_is_taken_over_and_left_in_the_end() {
    let mut host = Host::new();
    host.write("etc/motd", "same\n");
    std::fs::set_permissions(host.path("etc/motd"), std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let before = host.picture();
    let planned = host.plan(&[file("/etc/motd", "same\n")]);
    assert!(planned.actions().is_empty() && !planned.is_empty(), "only the record changes");
    host.apply(&[file("/etc/motd", "same\n")]);
    assert_eq!(host.picture(), before);
    host.apply(&[file("/etc/motd", "other\n")]);
    host.apply(&[]);
    assert_eq!(host.picture(), before);
}

#[test]
fn a_diff_of_what_is_not_for_everybody_shows_hashes_only() {
    let mut host = Host::new();
    host.apply(&[file_of("/etc/secret", b"old password\n", "root", 0o600)]);
    let planned = host.plan(&[file_of("/etc/secret", b"new password\n", "root", 0o600)]);
    let action = &planned.actions()[0];
    assert_eq!(action.verb, Verb::Update);
    assert!(!action.diff.is_empty() && !action.diff.contains("password"), "{}", action.diff);
}

#[test]
fn a_foreign_line_that_wins_is_told() {
    let host = Host::new();
    host.write("etc/hosts", "10.9.9.9 DB-1\n");
    let planned = host.plan(&[hosts("10.0.0.5", "db-1"), hosts("fd00::5", "db-1")]);
    let notes: Vec<String> = planned.items.iter().map(|i| i.notes.join("; ")).collect();
    assert!(notes[0].contains("line 1") && notes[0].contains("10.9.9.9"), "{notes:?}");
    assert!(!notes[1].contains("10.9.9.9"), "{notes:?}");
}

#[test]
fn the_plan_says_when_somebody_changed_something_since() {
    let mut host = Host::new();
    let resources = [file("/etc/motd", "one\n")];
    host.apply(&resources);
    let observed = host.plan(&resources).observed;
    assert_eq!(host.plan(&resources).observed, observed);
    host.write("etc/motd", "two\n");
    assert_ne!(host.plan(&resources).observed, observed);
}

#[test]
fn a_failing_journal_means_that_nothing_is_written() {
    let mut host = Host::new();
    let before = host.picture();
    let planned = host.plan(&[file("/etc/motd", "x")]);
    let full = lampas_shared::error::Fault::passing("journal.full", "no space");
    let error = crate::host::apply(&host.root, &planned, &mut |_| Err(full.clone())).expect_err("stops");
    assert_eq!(error.fault, full);
    assert!(error.record.undo.steps.is_empty());
    assert_eq!(host.picture(), before);
    host.apply(&[file("/etc/motd", "x")]);
}

#[test]
fn an_apply_that_began_nothing_takes_nothing_from_the_record() {
    let mut host = Host::new();
    let standing = file("/etc/a", "1");
    host.apply(std::slice::from_ref(&standing));
    let owned = host.owned.clone();
    let wanted = [standing, file("/etc/b", "2")];
    host.write("etc/b", "stood before\n");

    let full = lampas_shared::error::Fault::passing("journal.full", "no space");
    let planned = host.plan(&wanted);
    let error = crate::host::apply(&host.root, &planned, &mut |_| Err(full.clone())).expect_err("stops");
    host.roll_back(&error.record);
    assert_eq!(host.owned, owned, "the journal said no");

    // There is no room for the copy of what stands there.
    std::fs::remove_dir_all(host.path("var/lib/lampas/agent/kept")).expect("removed");
    host.write("var/lib/lampas/agent/kept", "");
    let error = host.try_apply(&wanted).expect_err("stops");
    host.roll_back(&error.record);
    assert_eq!(host.owned, owned, "the original could not be kept");
    assert_eq!(host.text("etc/b").as_deref(), Some("stood before\n"));
}

#[test]
fn originals_that_nobody_needs_are_swept() {
    let mut host = Host::new();
    host.write("etc/motd", "first\n");
    host.apply(&[file("/etc/motd", "one\n")]);
    let record = host.apply(&[file("/etc/motd", "two\n")]);
    let kept = |host: &Host| {
        std::fs::read_dir(host.path("var/lib/lampas/agent/kept"))
            .expect("lists")
            .flatten()
            .filter(|e| e.path().is_file())
            .count()
    };
    crate::host::sweep(&host.root, &host.owned, &[&record.undo]).expect("sweeps");
    assert_eq!(kept(&host), 2, "what stood first, and what the undo needs");
    crate::host::sweep(&host.root, &host.owned, &[]).expect("sweeps");
    assert_eq!(kept(&host), 1);
    host.apply(&[]);
    assert_eq!(host.text("etc/motd").as_deref(), Some("first\n"));
}

#[test]
fn what_the_policy_keeps_stays_whole_and_is_told() {
    let mut host = Host::new();
    let system = cron("system", "{}");
    let own = cron("own", r#"{"table": "user", "user": "root"}"#);
    let other = cron("other", r#"{"table": "user", "user": "ann"}"#);
    host.apply(&[system.clone(), own.clone(), other.clone(), file("/etc/motd", "x")]);
    let table = host.text("var/spool/cron/crontabs/root");
    host.keeps = Some(|removal| {
        let refused = lampas_shared::error::Fault::lasting("policy.root_code", "no");
        removal.jobs_of.iter().any(|user| user == "root").then_some(refused)
    });
    let record = host.try_apply(&[]).expect("applies");
    assert_eq!(host.text("etc/motd"), None);
    assert_eq!(host.text("var/spool/cron/crontabs/ann"), None);
    assert_eq!(host.text("var/spool/cron/crontabs/root"), table);
    assert!(host.text("etc/cron.d/lampas-system").is_some());
    for job in [&system, &own] {
        assert!(host.text(&format!("var/lib/lampas/agent/jobs/{}.json", job.object)).is_some(), "cron still calls it");
    }
    assert!(host.text(&format!("var/lib/lampas/agent/jobs/{}.json", other.object)).is_none());
    assert!(host.plan(&[]).is_empty(), "{:?}", record.ownership.places.keys());
    let told: Vec<_> = host.prove(&[]).into_iter().filter_map(|r| r.fault).map(|f| f.code).collect();
    assert_eq!(told, ["policy.root_code", "policy.root_code"]);
    host.keeps = None;
    host.apply(&[]);
    assert!(host.owned.places.is_empty());
}

#[test]
fn a_line_that_says_the_same_leaves_for_the_managed_one_and_comes_back_where_it_was() {
    let mut host = Host::new();
    let text = "127.0.0.1\tlocalhost\n10.0.0.5   db-1  # by hand\n10.0.0.6 db-2\n# end\n";
    host.write("etc/hosts", text);
    let plan = host.plan(&[hosts("10.0.0.5", "db-1")]);
    let item = &plan.items[0];
    assert!(item.diff.contains("-10.0.0.5   db-1  # by hand\n+10.0.0.5\tdb-1\n"), "{}", item.diff);
    assert!(item.notes.iter().any(|n| n.contains("comes back")), "{:?}", item.notes);
    let record = host.apply(&[hosts("10.0.0.5", "db-1")]);
    let managed = host.text("etc/hosts").expect("hosts");
    assert_eq!(managed.matches("db-1").count(), 1, "{managed}");
    assert!(managed.starts_with("127.0.0.1\tlocalhost\n10.0.0.6 db-2\n# end\n"), "{managed}");
    assert!(host.plan(&[hosts("10.0.0.5", "db-1")]).is_empty(), "applying twice changes nothing");

    // A change that is undone is as if nothing had been, also when somebody added a line meanwhile.
    host.roll_back(&record);
    assert_eq!(host.text("etc/hosts").as_deref(), Some(text));
    let record = host.apply(&[hosts("10.0.0.5", "db-1")]);
    host.write("etc/hosts", &format!("{}# added\n", host.text("etc/hosts").expect("hosts")));
    host.roll_back(&record);
    let back = host.text("etc/hosts").expect("hosts");
    assert!(back.contains("10.0.0.5   db-1  # by hand\n") && back.contains("# added\n"), "{back}");

    // It comes back when the object goes, and a later line of somebody's is left alone.
    host.write("etc/hosts", text);
    host.apply(&[hosts("10.0.0.5", "db-1"), hosts("10.0.0.6", "db-2")]);
    host.apply(&[hosts("10.0.0.6", "db-2")]);
    host.apply(&[]);
    assert_eq!(host.text("etc/hosts").as_deref(), Some(text));
    host.apply(&[hosts("10.0.0.7", "db-3")]);
    host.write("etc/hosts", &format!("{}10.0.0.7 db-3\n", host.text("etc/hosts").expect("hosts")));
    assert!(host.plan(&[hosts("10.0.0.7", "db-3")]).is_empty());
}
