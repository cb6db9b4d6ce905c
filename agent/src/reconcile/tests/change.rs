//! From a desired state to a changed node.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::atomic::Ordering};

use lampas_shared::{
    desired::{ContentHash, Generation, Spec},
    host::{CheckCommand, Validator},
    object::Target,
    report::{Phase, ResourceState, Verb},
};
use lampas_wire::Report;

use super::fixture::{Node, file, json};
use crate::reconcile::{explain, read_snapshot};

#[tokio::test]
async fn a_state_is_received_applied_and_confirmed_and_a_second_time_changes_nothing() {
    let node = Node::start();
    let resources = vec![file("/etc/motd", "hello\n"), file("/opt/tool", "x\n")];
    node.send(1, resources.clone()).await;
    let report = node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    assert_eq!(report.state, ResourceState::Converged, "{report:?}");
    assert_eq!(report.resources.len(), 2);
    assert_eq!((node.text("/etc/motd").as_deref(), node.text("/opt/tool").as_deref()), (Some("hello\n"), Some("x\n")));
    let phases: Vec<Phase> = node
        .reports()
        .iter()
        .filter_map(|r| if let Report::Generation(g) = r { Some(g.phase) } else { None })
        .collect();
    assert_eq!(phases, [Phase::Received, Phase::Applied, Phase::Confirmed]);

    let written = fs::metadata(node.path("/etc/motd")).expect("there").modified().expect("known");
    let reports = node.reports().len();
    node.handle.desired(node.state(1, resources.clone())).await.expect("an equal one is fine");
    node.handle.pass().await.expect("passes");
    assert_eq!(node.reports().len(), reports, "an equal generation is not told again");
    let probes = node.controller.probes.load(Ordering::SeqCst);
    let report = node.send(2, resources).await;
    assert_eq!(report.phase, Phase::Confirmed, "a generation that changes nothing needs no handshake");
    assert_eq!(node.controller.probes.load(Ordering::SeqCst), probes);
    assert_eq!(fs::metadata(node.path("/etc/motd")).expect("there").modified().expect("known"), written);
}

#[tokio::test]
async fn what_is_not_for_this_node_or_not_newer_is_refused() {
    let node = Node::start();
    node.send(5, vec![file("/etc/motd", "five\n")]).await;
    let check = |result: Result<(), lampas_shared::error::Fault>, code: &str| {
        assert_eq!(result.expect_err("refused").code, code);
    };
    check(node.handle.desired(node.state(4, Vec::new())).await, "desired.older");
    check(node.handle.desired(node.state(5, Vec::new())).await, "desired.generation_reused");
    let mut other = node.state(6, Vec::new());
    other.node = lampas_runtime::random::new_id();
    check(node.handle.desired(other).await, "desired.other_node");
    let mut forged = node.state(6, vec![file("/etc/motd", "six\n")]);
    forged.hash = ContentHash::of(b"else");
    check(node.handle.desired(forged).await, "desired.hash");
    let mut swapped = node.state(6, vec![file("/etc/motd", "six\n")]);
    if let Spec::File { content, .. } = &mut swapped.groups[0].resources[0].spec {
        content.inline = Some(b"sex\n".to_vec());
    }
    check(node.handle.desired(swapped).await, "desired.content");
    let mut restored = node.state(1, vec![file("/etc/motd", "restored\n")]);
    restored.generation = Generation { epoch: 2, counter: 1 };
    node.handle.desired(restored).await.expect("a new epoch is newer");
    node.wait("the new epoch", || (node.text("/etc/motd")? == "restored\n").then_some(())).await;
}

#[tokio::test]
async fn a_failed_check_changes_nothing_in_the_group_and_names_the_culprit() {
    let node = Node::start();
    node.send(1, vec![file("/etc/motd", "old\n")]).await;
    let report = node.send(2, vec![file("/etc/motd", "new\n"), json("/opt/app.json", "{\"a\": }")]).await;
    assert_eq!((report.phase, report.state), (Phase::Applied, ResourceState::Failed));
    let code = |path: &str| {
        let found = report.resources.iter().find(|r| r.target == Target::path(path)).expect("reported");
        found.fault.as_ref().expect("has a fault").code.clone()
    };
    assert_eq!((code("/opt/app.json").as_str(), code("/etc/motd").as_str()), ("file.invalid", "group.held_back"));
    assert_eq!((node.text("/etc/motd").as_deref(), node.text("/opt/app.json")), (Some("old\n"), None));
    let report = node.send(3, vec![file("/etc/motd", "new\n"), json("/opt/app.json", "{}")]).await;
    assert_eq!(report.state, ResourceState::Converged, "{report:?}");
    assert_eq!(node.text("/etc/motd").as_deref(), Some("new\n"));
}

#[tokio::test]
async fn a_failed_write_puts_back_what_was_written() {
    let node = Node::start();
    let none: Option<&str> = None;
    let small = node.path("/opt/small");
    fs::create_dir(&small).expect("made");
    let flags = nix::mount::MsFlags::empty();
    if let Err(errno) = nix::mount::mount(none, &small, Some("tmpfs"), flags, Some("size=64k,mode=0755")) {
        eprintln!("SKIP: a failing write can't be tried here, mounting a tmpfs says {errno}");
        return;
    }
    node.send(1, vec![file("/etc/motd", "old\n")]).await;
    let big = "x".repeat(200_000);
    node.controller
        .blobs
        .lock()
        .expect("not poisoned")
        .insert(ContentHash::of(big.as_bytes()), big.clone().into_bytes());
    let report =
        node.send(2, vec![file("/etc/a", "a\n"), file("/etc/motd", "new\n"), file("/opt/small/big", &big)]).await;
    let left = fs::read_dir(&small).expect("listed").count();
    nix::mount::umount2(&small, nix::mount::MntFlags::MNT_DETACH).expect("unmounted");
    assert_eq!(report.state, ResourceState::Failed, "{report:?}");
    assert_eq!((node.text("/etc/motd").as_deref(), node.text("/etc/a"), left), (Some("old\n"), None, 0));
    assert!(node.journal.intent().expect("read").is_none(), "nothing is left half done");
    // It may fail again and again, over what somebody edits each time.
    let kept = fs::read_dir(node.path("/var/lib/lampas/agent/kept")).expect("listed").flatten();
    assert_eq!(kept.filter(|e| e.file_name().len() == 64).count(), 0, "what only the way back needed is gone with it");
}

#[tokio::test]
async fn large_contents_are_fetched_and_waited_for() {
    let node = Node::start();
    let big = "0123456789\n".repeat(10_000);
    node.controller.is_away.store(true, Ordering::SeqCst);
    node.handle.desired(node.state(1, vec![file("/opt/big", &big)])).await.expect("accepted");
    let waiting = node.wait("word of the wait", || node.report(1, |r| !r.resources.is_empty())).await;
    assert_eq!((waiting.phase, waiting.state), (Phase::Received, ResourceState::Waiting), "{waiting:?}");
    node.controller
        .blobs
        .lock()
        .expect("not poisoned")
        .insert(ContentHash::of(big.as_bytes()), big.clone().into_bytes());
    node.controller.is_away.store(false, Ordering::SeqCst);
    node.wait("the file", || (node.text("/opt/big")? == big).then_some(())).await;
}

#[tokio::test]
async fn what_stood_before_comes_back_when_the_object_goes() {
    let node = Node::start();
    node.edit("/etc/motd", "the owner's own\n");
    fs::set_permissions(node.path("/etc/motd"), fs::Permissions::from_mode(0o640)).expect("set");
    node.send(1, vec![file("/etc/motd", "managed\n"), file("/etc/new", "x\n")]).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("managed\n"));
    node.send(2, Vec::new()).await;
    assert_eq!((node.text("/etc/motd").as_deref(), node.text("/etc/new")), (Some("the owner's own\n"), None));
    assert_eq!(fs::metadata(node.path("/etc/motd")).expect("there").permissions().mode() & 0o7777, 0o640);
}

#[tokio::test]
async fn a_plan_reads_and_tells_when_the_disk_has_moved() {
    let node = Node::start();
    node.edit("/etc/motd", "one\ntwo\n");
    let state = node.state(1, vec![file("/etc/motd", "one\n2\n")]);
    let plan = node.handle.plan(state.clone()).await.expect("planned");
    let [action] = plan.actions.as_slice() else { panic!("{plan:?}") };
    assert_eq!((action.verb, plan.desired), (Verb::Update, state.hash));
    assert!(action.diff.contains("-two\n") && action.diff.contains("+2\n"), "{}", action.diff);
    assert_eq!(node.text("/etc/motd").as_deref(), Some("one\ntwo\n"));
    assert_eq!(node.handle.plan(state.clone()).await.expect("planned").observed, plan.observed);
    node.edit("/etc/motd", "one\nthree\n");
    assert_ne!(node.handle.plan(state).await.expect("planned").observed, plan.observed);
    assert!(node.handle.current().is_none(), "a plan is not a state");
}

#[tokio::test]
async fn the_nodes_policy_stops_what_it_forbids_and_nothing_else() {
    let node = Node::start();
    fs::create_dir(node.path("/etc/lampas")).expect("made");
    node.edit("/etc/lampas/policy.toml", "deny_paths = [\"/opt\"]\n");
    let report = node.send(1, vec![file("/etc/motd", "x\n"), file("/opt/tool", "x\n")]).await;
    assert_eq!(report.state, ResourceState::Blocked);
    assert_eq!((node.text("/etc/motd").is_some(), node.text("/opt/tool").is_some()), (true, false));
    node.edit("/etc/lampas/policy.toml", "observe = true\n");
    node.send(2, vec![file("/etc/motd", "y\n")]).await;
    assert_eq!(node.text("/etc/motd").as_deref(), Some("x\n"));
}

#[tokio::test]
async fn a_policy_that_is_edited_is_followed_at_once() {
    let node = Node::start();
    node.send(1, vec![file("/etc/motd", "x\n"), file("/opt/tool", "x\n")]).await;
    node.wait("all of it", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    // Nobody asks for a pass from here on, and the next full look is ten minutes away.
    fs::create_dir(node.path("/etc/lampas")).expect("made");
    node.edit("/etc/lampas/policy.toml", "deny_paths = [\"/opt\"]\n");
    let blocked = node.wait("the policy", || node.report(1, |r| r.state == ResourceState::Blocked)).await;
    let fault = blocked.resources.iter().find_map(|r| r.fault.clone()).expect("says why");
    assert_eq!(fault.code, "policy.denied_path");
    node.edit("/etc/lampas/policy.toml", "deny_paths = []\n");
    node.wait("that it is lifted", || {
        node.reports()
            .iter()
            .rev()
            .find_map(|report| match report {
                Report::Generation(r) => Some(r.state == ResourceState::Converged),
                _ => None,
            })?
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn why_knows_the_author_also_from_the_copy() {
    let node = Node::start();
    node.send(1, vec![file("/etc/motd", "x\n")]).await;
    let status = node.status().await;
    let found = explain(&status, "/etc/motd", None).expect("known");
    assert_eq!((found.resources[0].provenance.author.as_str(), found.before.as_str()), ("ann", "nothing"));
    assert!(explain(&status, "/etc/passwd", None).is_none());
    let path = node.path("/var/lib/lampas/agent/state.json");
    let (_dir, _) = node.stop().await;
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let copy = read_snapshot(&path).expect("read");
    assert_eq!(explain(&copy, "/etc/motd", None).expect("known").resources[0].provenance.change, 118);
}

#[tokio::test]
async fn what_is_refused_by_its_content_is_so_in_the_plan_already() {
    let node = Node::start();
    let state = node.state(1, vec![file("/etc/motd", "new\n"), json("/opt/app.json", "{\"a\": }")]);
    let plan = node.handle.plan(state).await.expect("planned");
    let codes: Vec<_> =
        plan.actions.iter().map(|a| (a.path.as_str(), a.fault.as_ref().map(|f| f.code.as_str()))).collect();
    assert_eq!(codes, [("/etc/motd", None), ("/opt/app.json", Some("file.invalid"))]);
}

#[tokio::test]
async fn a_later_plan_says_what_failed_before_and_is_in_the_way() {
    let node = Node::start();
    // The node lacks the program, and a plan doesn't run it.
    let checked = |path| {
        let mut resource = file(path, "text\n");
        if let Spec::File { validate, .. } = &mut resource.spec {
            let command = CheckCommand::new(vec!["/nonexistent/check".into(), "%s".into()]).expect("a command");
            *validate = Some(Validator::Command(command));
        }
        resource
    };
    let plan = node.handle.plan(node.state(1, vec![checked("/etc/app")])).await.expect("planned");
    assert!(plan.actions[0].fault.is_none() && plan.actions[0].notes.is_empty(), "{plan:?}");
    let report = node.send(1, vec![checked("/etc/app"), file("/etc/other", "x\n")]).await;
    assert_eq!(report.state, ResourceState::Failed);

    let notes = async |resources| {
        let plan = node.handle.plan(node.state(2, resources)).await.expect("planned");
        plan.actions.into_iter().map(|a| (a.path, a.notes.join("\n"))).collect::<Vec<_>>()
    };
    let told = notes(vec![checked("/etc/app"), file("/etc/motd", "new\n"), file("/etc/other", "x\n")]).await;
    let paths: Vec<&str> = told.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/etc/app", "/etc/motd", "/etc/other"]);
    assert!(
        told[0].1.contains("in the way: file app of change 118") && told[0].1.contains("/nonexistent/check"),
        "{told:?}"
    );
    assert!(told[1].1.is_empty() && told[2].1.is_empty(), "what was only held back is in nobody's way: {told:?}");
    let mended = notes(vec![file("/etc/app", "text\n")]).await;
    assert_eq!(mended, [("/etc/app".to_owned(), String::new())]);
}
