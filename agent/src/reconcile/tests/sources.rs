//! What apt goes by: written before the rest of a state, and a group of its own.

use std::fs;

use lampas_shared::{
    desired::{Resource, Spec},
    host::FileMode,
    object::{DriftPolicy, Target},
    report::{DriftOutcome, GenerationReport, Phase, ResourceState},
};

use super::fixture::{Node, file, json, with_policy};
use crate::host::{HostPlan, plan};

const PINS: &str = "/etc/apt/preferences.d/pins";

fn node() -> Node {
    let node = Node::start();
    for directory in ["etc/apt/preferences.d", "etc/apt/sources.list.d"] {
        fs::create_dir_all(node.path(directory)).expect("made");
    }
    node
}

fn of<'a>(report: &'a GenerationReport, path: &str) -> (ResourceState, &'a str) {
    let found = report.resources.iter().find(|r| r.target == Target::path(path)).expect("reported");
    (found.state, found.fault.as_ref().map_or("", |fault| fault.code.as_str()))
}

#[tokio::test]
async fn what_apt_goes_by_stands_although_the_rest_is_refused_and_goes_with_its_object() {
    let node = node();
    node.edit(PINS, "mine\n");
    let bad = || json("/etc/bad.json", "{");
    let wanted = vec![file(PINS, "one\n"), file("/etc/motd", "hello\n"), bad()];
    node.handle.desired(node.state(1, wanted)).await.expect("accepted");
    let report = node.wait("the refusal", || node.report(1, |r| r.state == ResourceState::Failed)).await;
    assert_eq!(of(&report, PINS), (ResourceState::Converged, ""));
    assert_eq!(of(&report, "/etc/bad.json"), (ResourceState::Failed, "file.invalid"));
    assert_eq!(of(&report, "/etc/motd"), (ResourceState::Failed, "group.held_back"));
    assert_eq!((node.text(PINS).as_deref(), node.text("/etc/motd")), (Some("one\n"), None));
    assert!(node.journal.intent().expect("read").is_none());
    // Each by itself: one goes, another comes, and the rest is refused as before.
    let other = "/etc/apt/sources.list.d/other.list";
    node.handle.desired(node.state(2, vec![file(other, "deb\n"), bad()])).await.expect("accepted");
    node.wait("the refusal", || node.report(2, |r| r.state == ResourceState::Failed)).await;
    assert_eq!((node.text(PINS).as_deref(), node.text(other).as_deref()), (Some("mine\n"), Some("deb\n")));
    assert!(node.drifts().is_empty(), "nothing of it is taken for somebody's");
}

#[tokio::test]
async fn what_apt_goes_by_comes_first_and_without_it_nothing_is_written() {
    let node = node();
    node.send(1, vec![file(PINS, "one\n"), file("/etc/motd", "one\n")]).await;
    let wanted = vec![json(PINS, "{"), file("/etc/apt/other", "x\n"), file("/etc/motd", "two\n")];
    let report = node.send(2, wanted).await;
    assert_eq!((report.state, of(&report, PINS)), (ResourceState::Failed, (ResourceState::Failed, "file.invalid")));
    for path in ["/etc/apt/other", "/etc/motd"] {
        assert_eq!(of(&report, path), (ResourceState::Failed, "group.held_back"));
    }
    let motd = report.resources.iter().find(|r| r.target == Target::path("/etc/motd")).expect("reported");
    let why = &motd.fault.as_ref().expect("why").message;
    assert!(why.contains("apt goes by comes first") && why.contains(PINS), "{why}");
    let texts = [PINS, "/etc/motd", "/etc/apt/other"].map(|path| node.text(path));
    assert_eq!(texts, [Some("one\n".to_owned()), Some("one\n".to_owned()), None]);
}

#[tokio::test]
async fn a_generation_of_both_groups_is_on_trial_and_undone_as_one() {
    let node = node();
    let state = |text: &str, cut: &str| vec![file(PINS, text), file("/etc/cut", cut)];
    node.send(1, state("one\n", "no\n")).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.send(2, state("two\n", "yes\n")).await;
    node.wait("quarantine", || node.report(2, |r| r.phase == Phase::Quarantined)).await;
    node.handle.pass().await.expect("passes");
    assert_eq!((node.text(PINS).as_deref(), node.text("/etc/cut").as_deref()), (Some("one\n"), Some("no\n")));
    // What apt goes by alone is on trial as well.
    let report = node.send(3, state("three\n", "no\n")).await;
    assert_eq!(report.phase, Phase::Applied);
    node.wait("confirmation", || node.report(3, |r| r.phase == Phase::Confirmed)).await;
    node.handle.undo().await.expect("undone");
    assert_eq!(node.text(PINS).as_deref(), Some("one\n"));
    node.handle.resume().await.expect("resumed");
    node.wait("the state", || (node.text(PINS)? == "three\n").then_some(())).await;
    node.handle.pause(None, "by hand".into()).await.expect("paused");
    node.handle.desired(node.state(4, state("four\n", "no\n"))).await.expect("accepted");
    node.wait("the pause", || node.report(4, |r| r.state == ResourceState::Paused)).await;
    assert_eq!(node.text(PINS).as_deref(), Some("three\n"));
}

#[tokio::test]
async fn edits_by_hand_of_what_apt_goes_by_are_put_back_beside_a_group_that_is_refused() {
    let node = node();
    let source = "/etc/apt/sources.list.d/app.list";
    let wanted = |more: Vec<Resource>| {
        let all = [file(PINS, "one\n"), with_policy(file(source, "deb\n"), DriftPolicy::Repair)];
        all.into_iter().chain(more).collect::<Vec<_>>()
    };
    node.send(1, wanted(Vec::new())).await;
    node.wait("confirmation", || node.report(1, |r| r.phase == Phase::Confirmed)).await;
    node.handle.desired(node.state(2, wanted(vec![json("/etc/bad.json", "{")]))).await.expect("accepted");
    node.wait("the refusal", || node.report(2, |r| r.state == ResourceState::Failed)).await;
    let told = |outcome: DriftOutcome, path: &str| {
        node.drifts().iter().filter(|d| d.outcome == outcome && d.target == Target::path(path)).count()
    };
    node.edit(source, "by hand\n");
    node.wait("the repair", || (told(DriftOutcome::Repaired, source) == 1).then_some(())).await;
    assert_eq!(node.text(source).as_deref(), Some("deb\n"));
    node.edit(PINS, "by hand\n");
    node.wait("the edit", || (told(DriftOutcome::Standing, PINS) == 1).then_some(())).await;
    node.handle.pass().await.expect("passes");
    assert_eq!(node.text(PINS).as_deref(), Some("by hand\n"), "it is held");
    node.handle.revert(Target::path(PINS)).await.expect("reverted");
    assert_eq!(node.text(PINS).as_deref(), Some("one\n"));
    node.handle.pass().await.expect("passes");
    let counts = [DriftOutcome::Repaired, DriftOutcome::Resolved].map(|outcome| told(outcome, PINS));
    assert_eq!((counts, told(DriftOutcome::Resolved, source)), ([1, 0], 0), "each is told once");
    assert!(node.status().await.drifts.is_empty());
}

/// Plans for a new node, and returns what of the plan comes first.
async fn first(resources: Vec<Resource>) -> Vec<String> {
    let node = node();
    let state = node.state(1, resources);
    let bench = node.handle.bench.clone();
    let plan: HostPlan = bench.with_inputs(&state, |inputs| plan(&bench.root, inputs));
    let first = plan.sources().map(|s| s.items.into_iter().map(|i| i.path).collect());
    first.unwrap_or_default()
}

#[tokio::test]
async fn what_needs_the_rest_of_the_plan_comes_with_it() {
    let unit =
        |resource: Resource| Resource { on_change: vec!["restart app".parse().expect("a reaction")], ..resource };
    assert_eq!(first(vec![file(PINS, "x\n"), file("/etc/motd", "x\n")]).await, [PINS]);
    assert_eq!(first(vec![unit(file(PINS, "x\n")), file("/etc/apt/a", "x\n")]).await, ["/etc/apt/a"]);
    let mut below = file("/usr/share", "");
    let Spec::File { path, owner, group, .. } = below.spec.clone() else { unreachable!("a file") };
    below.spec = Spec::Directory { path, owner, group, mode: FileMode::new(0o755).expect("a mode") };
    let key = "/usr/share/keyrings/vendor.asc";
    assert_eq!(first(vec![below, file(key, "key\n"), file(PINS, "x\n")]).await, [PINS]);
}
