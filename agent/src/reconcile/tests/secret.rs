//! Files with secrets in them: what stands there, and where nothing of it stands.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path, sync::atomic::Ordering};

use lampas_shared::{
    desired::{Resource, Spec},
    host::{FileMode, Validator},
    id::SecretValueId,
    object::{DriftPolicy, ObjectName, Target},
    report::{DriftOutcome, Phase, ResourceState},
    template::{Escape, Part, Sealed},
};

use super::fixture::{Node, file};

const CANARY: &str = "canary-0f-the-vault";
const NEXT: &str = "canary-after-rotation";

fn value(number: u128) -> SecretValueId {
    SecretValueId::from_uuid(uuid::Uuid::from_u128(number))
}

/// A file with a secret in its second line.
fn with_secret(path: &str, number: u128, mode: u32, validate: Option<Validator>) -> Resource {
    let mut resource = file(path, "");
    if let Spec::File { mode: own, validate: check, .. } = &mut resource.spec {
        *own = FileMode::new(mode).expect("a mode");
        *check = validate;
    }
    let secret =
        Part::Secret { name: ObjectName::parse("pw").expect("a name"), value: value(number), escape: Escape::Raw };
    let parts = vec![Part::Text("user=app\npassword=".into()), secret, Part::Text("\n".into())];
    let texts = BTreeMap::from([(Sealed::CONTENT.to_owned(), parts)]);
    Resource { spec: Spec::Sealed(Sealed { base: Box::new(resource.spec.clone()), texts, fault: None }), ..resource }
}

/// Sends a state and waits until it is in force. A pass that was under way when it came may lack its values first.
async fn land(node: &Node, counter: u64, resources: Vec<Resource>) {
    node.send(counter, resources).await;
    node.wait("it is in force", || node.report(counter, |r| r.state == ResourceState::Converged)).await;
}

/// Waits until a state is the last good one: until then the one before it may be put back.
async fn confirmed(node: &Node, counter: u64) {
    node.wait("it is confirmed", || node.report(counter, |r| r.phase == Phase::Confirmed)).await;
}

/// Reads everything below a directory.
fn everything(below: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            everything(&path, into);
        } else {
            into.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
}

fn assert_nowhere(node: &Node, texts: &[String]) {
    let mut found = Vec::new();
    everything(&node.path("/var/lib/lampas"), &mut found);
    assert!(found.iter().any(|(path, _)| path.contains("journal")), "the journal is there");
    found.extend(node.reports().iter().map(|r| ("a report".to_owned(), format!("{r:?}").into_bytes())));
    found.extend(texts.iter().map(|t| ("an answer".to_owned(), t.clone().into_bytes())));
    for (what, bytes) in &found {
        for secret in [CANARY, NEXT] {
            let plain = lampas_shared::desired::ContentHash::of(format!("user=app\npassword={secret}\n").as_bytes());
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} stands in {what}");
            if what != "a report" && what != "an answer" {
                continue;
            }
            let digest = plain.to_string();
            assert!(!String::from_utf8_lossy(bytes).contains(&digest), "the digest of {secret} stands in {what}");
            assert!(!String::from_utf8_lossy(bytes).contains(&digest[..8]), "digits of {secret}'s stand in {what}");
        }
    }
}

#[tokio::test]
async fn a_secret_stands_in_its_file_and_nowhere_else() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    node.controller.put_secret(value(2), NEXT);
    let planned =
        node.handle.plan(node.state(1, vec![with_secret("/etc/app", 1, 0o640, None)])).await.expect("planned");
    assert!(planned.actions[0].diff.contains("the content holds secrets and is not shown"), "{planned:?}");
    land(&node, 1, vec![with_secret("/etc/app", 1, 0o640, None)]).await;
    assert_eq!(node.text("/etc/app").as_deref(), Some(&*format!("user=app\npassword={CANARY}\n")));
    assert_eq!(fs::metadata(node.path("/etc/app")).expect("there").permissions().mode() & 0o777, 0o640);
    let mut told = vec![format!("{planned:?}")];

    // Rotation: another value, another state, one more apply.
    let rotated = vec![with_secret("/etc/app", 2, 0o640, None)];
    let planned = node.handle.plan(node.state(2, rotated.clone())).await.expect("planned");
    assert_eq!(planned.actions.len(), 1);
    told.push(format!("{planned:?}"));
    land(&node, 2, rotated).await;
    assert_eq!(node.text("/etc/app").as_deref(), Some(&*format!("user=app\npassword={NEXT}\n")));

    // A change by hand is told with what was edited beside the secrets, and their names.
    let sketch = Some(b"user=eve\npassword={{secret.pw}}\n".to_vec());
    node.edit("/etc/app", &format!("user=eve\npassword={NEXT}\n"));
    let drift = node.wait("the drift", || node.drifts().pop()).await;
    assert_eq!(
        (drift.outcome, drift.observed.as_ref().and_then(|o| o.content.clone())),
        (DriftOutcome::Standing, sketch.clone())
    );
    assert!(drift.diff.contains("not shown"), "{drift:?}");
    let read = node.handle.read(Target::path("/etc/app")).await.expect("read").expect("there");
    assert_eq!(read.content, sketch, "no more to who asks for it");
    told.push(format!("{read:?}"));
    node.handle.revert(Target::path("/etc/app")).await.expect("reverted");
    assert_eq!(node.text("/etc/app").as_deref(), Some(&*format!("user=app\npassword={NEXT}\n")));

    // When it goes, what stood there is still not told.
    let planned = node.handle.plan(node.state(3, Vec::new())).await.expect("planned");
    told.push(format!("{planned:?}"));
    assert!(planned.actions[0].diff.contains("not shown"), "{planned:?}");
    told.push(format!("{:?}", node.status().await));
    assert_nowhere(&node, &told);
}

/// A file with a secret that LAMPAS puts back when somebody edits it.
fn repaired(path: &str, number: u128) -> Resource {
    super::fixture::with_policy(with_secret(path, number, 0o600, None), DriftPolicy::Repair)
}

fn by_hand(node: &Node) -> Vec<String> {
    let root = crate::system::Root::open(node.dir.path()).expect("opens");
    crate::host::copies(&root).expect("listed").into_iter().map(|copy| copy.name).collect()
}

#[tokio::test]
async fn copies_of_what_was_edited_are_sealed_open_on_the_node_and_go_with_a_purge() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    node.controller.put_secret(value(2), NEXT);
    node.edit("/etc/app", &format!("the way it was copied: {CANARY}\n"));
    land(&node, 1, vec![repaired("/etc/app", 1), repaired("/etc/other", 1)]).await;
    let written = format!("user=app\npassword={CANARY}\n");
    let edited = format!("user=eve\npassword={CANARY}\n");
    node.edit("/etc/app", &edited);
    node.wait("the repair", || (node.text("/etc/app").as_deref() == Some(&*written)).then_some(())).await;
    node.wait("the copy", || (by_hand(&node).len() == 1).then_some(())).await;
    let root = crate::system::Root::open(node.dir.path()).expect("opens");
    let copy = crate::host::copy(&root, &by_hand(&node)[0]).expect("read").expect("opens");
    assert_eq!(String::from_utf8(copy).expect("text"), edited, "as it was, for who is root here");
    assert_nowhere(&node, &[]);

    // While it is in force a purge says so, and takes only copies.
    confirmed(&node, 1).await;
    let held = node.handle.purge([value(1), value(3)].into()).await.expect("answered");
    assert_eq!(held.iter().map(|h| h.value).collect::<Vec<_>>(), [value(1)]);
    assert!(held[0].why.contains("/etc/app is in force with it") && !held[0].why.contains(CANARY), "{held:?}");
    assert_eq!(by_hand(&node), [""; 0]);
    assert!(node.journal.sealed_value(value(1)).expect("read").is_some(), "what is in force can be put back");

    // Rotated, with an undo in reach that would need the value again.
    land(&node, 2, vec![repaired("/etc/app", 2), repaired("/etc/other", 2)]).await;
    confirmed(&node, 2).await;
    assert!(node.journal.sealed_value(value(1)).expect("read").is_some(), "the state before has it");
    assert_eq!(node.handle.purge([value(1)].into()).await.expect("answered"), []);
    assert!(node.journal.sealed_value(value(1)).expect("read").is_none());
    assert_nowhere(&node, &[]);
    assert_eq!(node.handle.purge([value(1)].into()).await.expect("once more"), []);

    // What stood before LAMPAS comes back all the same, out of its sealed copy.
    node.send(3, Vec::new()).await;
    assert_eq!(node.text("/etc/app"), Some(format!("the way it was copied: {CANARY}\n")));
}

#[tokio::test]
async fn a_held_edit_keeps_its_value_and_says_so_until_it_is_over() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    node.controller.put_secret(value(2), NEXT);
    land(&node, 1, vec![with_secret("/etc/app", 1, 0o600, None)]).await;
    node.edit("/etc/app", &format!("user=eve\npassword={CANARY}\n"));
    node.wait("the drift", || node.drifts().pop()).await;
    node.handle.desired(node.state(2, vec![with_secret("/etc/app", 2, 0o600, None)])).await.expect("accepted");
    node.wait("the drift stands", || node.report(2, |r| r.state == ResourceState::Drifted)).await;
    confirmed(&node, 2).await;
    let held = node.handle.purge([value(1)].into()).await.expect("answered");
    assert!(held.len() == 1 && held[0].why.contains("/etc/app"), "{held:?}");
    assert_eq!(node.text("/etc/app"), Some(format!("user=eve\npassword={CANARY}\n")), "a purge touches no file");
    node.handle.revert(Target::path("/etc/app")).await.expect("reverted");
    assert_eq!(node.handle.purge([value(1)].into()).await.expect("answered"), []);
    assert_eq!(node.text("/etc/app"), Some(format!("user=app\npassword={NEXT}\n")));
    assert_nowhere(&node, &[]);
}

#[tokio::test]
async fn what_may_be_put_back_keeps_its_value_until_the_newer_one_is_confirmed() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    node.controller.put_secret(value(2), NEXT);
    land(&node, 1, vec![with_secret("/etc/app", 1, 0o600, None)]).await;
    confirmed(&node, 1).await;
    // What is rolled out cuts the node off, with the value that comes with it. The purge finds the old one before that is known,
    // or while it is put back: it stays either way.
    let cut = file("/etc/cut", "yes\n");
    node.handle
        .desired(node.state(2, vec![with_secret("/etc/app", 2, 0o600, None), cut.clone()]))
        .await
        .expect("accepted");
    node.wait("it is written", || {
        (node.text("/etc/app") == Some(format!("user=app\npassword={NEXT}\n"))).then_some(())
    })
    .await;
    let held = node.handle.purge([value(1)].into()).await.expect("answered");
    assert_eq!(held.iter().map(|h| h.value).collect::<Vec<_>>(), [value(1)]);
    assert!(held[0].why.contains("/etc/app"), "{held:?}");
    node.wait("the quarantine", || node.report(2, |r| r.phase == Phase::Quarantined)).await;
    assert_eq!(node.text("/etc/app"), Some(format!("user=app\npassword={CANARY}\n")), "and it comes back");
    // Once another is confirmed nobody goes back to it.
    land(&node, 3, vec![with_secret("/etc/app", 2, 0o600, None)]).await;
    confirmed(&node, 3).await;
    assert_eq!(node.handle.purge([value(1)].into()).await.expect("answered"), []);
    assert!(node.journal.sealed_value(value(1)).expect("read").is_none());
    assert_nowhere(&node, &[]);
}

#[tokio::test]
async fn a_kill_before_and_after_a_purge_brings_nothing_back() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    node.controller.put_secret(value(2), NEXT);
    land(&node, 1, vec![repaired("/etc/app", 1)]).await;
    node.edit("/etc/app", &format!("{CANARY}\n"));
    node.wait("the copy", || (by_hand(&node).len() == 1).then_some(())).await;
    land(&node, 2, vec![repaired("/etc/app", 2)]).await;
    confirmed(&node, 2).await;
    // The agent that comes back was told nothing yet.
    let node = node.restart(|_| ()).await;
    assert_eq!(by_hand(&node).len(), 1);
    assert_eq!(node.handle.purge([value(1)].into()).await.expect("answered"), []);
    // One that was told, and whose answer was lost, is asked again.
    let node = node.restart(|_| ()).await;
    assert_eq!(by_hand(&node), [""; 0]);
    assert!(node.journal.sealed_value(value(1)).expect("read").is_none());
    assert_eq!(node.handle.purge([value(1)].into()).await.expect("answered"), []);
    assert_eq!(node.text("/etc/app"), Some(format!("user=app\npassword={NEXT}\n")));
    assert_nowhere(&node, &[]);
}

#[tokio::test]
async fn what_was_on_its_way_while_it_was_purged_stays_out() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    assert_eq!(node.handle.purge([value(1)].into()).await.expect("answered"), []);
    let planned = node.handle.plan(node.state(1, vec![with_secret("/etc/app", 1, 0o600, None)])).await;
    assert_eq!(planned.expect_err("has no value").code, "secret.purged");
    assert!(node.journal.sealed_value(value(1)).expect("read").is_none());
}

#[tokio::test]
async fn an_ejected_node_keeps_what_is_in_force_and_nothing_else() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    land(&node, 1, vec![repaired("/etc/app", 1)]).await;
    node.edit("/etc/app", &format!("{CANARY}\n"));
    node.wait("the copy", || (by_hand(&node).len() == 1).then_some(())).await;
    let written = format!("user=app\npassword={CANARY}\n");
    node.wait("the repair", || (node.text("/etc/app").as_deref() == Some(&*written)).then_some(())).await;
    node.handle.eject().await.expect("ejected");
    assert_eq!(node.text("/etc/app"), Some(written));
    assert_eq!(by_hand(&node), [""; 0]);
    assert!(node.journal.sealed_value(value(1)).expect("read").is_none());
    assert!(!node.path("/var/lib/lampas/agent/secret-key").exists(), "what sealed bytes are left nobody opens");
}

#[tokio::test]
async fn a_stop_waits_for_no_value() {
    let node = Node::start();
    node.controller.is_silent.store(true, Ordering::SeqCst);
    node.handle.desired(node.state(1, vec![with_secret("/etc/app", 1, 0o600, None)])).await.expect("accepted");
    let waits = || (node.controller.waited_for.load(Ordering::SeqCst) > 0).then_some(());
    node.wait("the value to be waited for", waits).await;
    node.stop().await;
}

#[tokio::test]
async fn no_pass_begins_after_an_ejection() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    land(&node, 1, vec![with_secret("/etc/app", 1, 0o600, None)]).await;
    confirmed(&node, 1).await;
    node.controller.is_silent.store(true, Ordering::SeqCst);
    let ejected = node.handle.eject().await.expect("ejected");
    assert!(!ejected.places.is_empty(), "{ejected:?}");
    node.handle.wake();
    // The agent lives on for a moment, in which its values are gone and nobody is asked for them.
    node.wait("the end of passes", || node.handle.passes.is_closed().then_some(())).await;
    assert_eq!(node.handle.pass().await.expect_err("there is none").code, "agent.stopping");
    assert_eq!(node.controller.waited_for.load(Ordering::SeqCst), 0);
    let again = node.handle.eject().await.expect("whose answer was lost");
    assert_eq!(again.places, []);
    node.stop().await;
}

#[tokio::test]
async fn the_journal_opens_without_a_controller_and_a_lost_key_fetches_again() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    let state = vec![with_secret("/etc/app", 1, 0o600, None)];
    land(&node, 1, state).await;
    let fetched = node.controller.fetched.load(Ordering::SeqCst);
    node.controller.is_away.store(true, Ordering::SeqCst);
    let node = node.restart(|root| fs::remove_file(root.join("etc/app")).expect("removed")).await;
    node.handle.revert(Target::path("/etc/app")).await.ok();
    node.wait("the drift", || node.drifts().pop()).await;
    node.handle.revert(Target::path("/etc/app")).await.expect("reverted without a controller");
    assert_eq!(node.text("/etc/app").as_deref(), Some(&*format!("user=app\npassword={CANARY}\n")));
    assert_eq!(node.controller.fetched.load(Ordering::SeqCst), fetched, "the journal had it");

    node.controller.is_away.store(false, Ordering::SeqCst);
    let node =
        node.restart(|root| fs::remove_file(root.join("var/lib/lampas/agent/secret-key")).expect("removed")).await;
    land(&node, 2, vec![with_secret("/etc/app", 1, 0o640, None)]).await;
    assert!(node.controller.fetched.load(Ordering::SeqCst) > fetched, "sealed to the new key");
}

#[tokio::test]
async fn what_can_t_be_put_together_is_blocked_and_stays_as_it_is() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    land(&node, 1, vec![with_secret("/etc/app", 1, 0o640, None)]).await;
    let mut blocked = with_secret("/etc/app", 1, 0o640, None);
    if let Spec::Sealed(sealed) = &mut blocked.spec {
        sealed.fault = Some("line 2 of its content: this node is not entitled to it".into());
    }
    let report = node.send(2, vec![blocked, file("/etc/motd", "hello\n")]).await;
    assert_eq!(report.state, ResourceState::Blocked, "{report:?}");
    let fault = report.resources.iter().find_map(|r| r.fault.clone()).expect("says why");
    assert!(fault.message.contains("not entitled"), "{fault:?}");
    assert_eq!(node.text("/etc/app").as_deref(), Some(&*format!("user=app\npassword={CANARY}\n")), "it stays");
    assert_eq!(node.text("/etc/motd").as_deref(), Some("hello\n"), "others go on");
}

#[tokio::test]
async fn a_check_that_refuses_it_repeats_nothing_of_it() {
    let node = Node::start();
    node.controller.put_secret(value(1), CANARY);
    node.send(1, vec![with_secret("/etc/app.json", 1, 0o644, Some(Validator::Json))]).await;
    let report = node.wait("the check", || node.report(1, |r| r.state == ResourceState::Failed)).await;
    let found = &report.resources[0];
    assert!(found.fault.as_ref().expect("says why").message.contains("is not shown"), "{found:?}");
    assert!(found.notes.iter().any(|n| n.contains("lets everybody have them")), "{found:?}");
    assert_nowhere(&node, &[]);
}

#[tokio::test]
async fn an_ejected_job_keeps_its_secret_and_nobody_else_reads_it() {
    let node = Node::start();
    node.controller.put_secret(value(1), "it's a canary");
    fs::create_dir_all(node.path("/etc/cron.d")).expect("made");
    let base = file("/etc/unused", "");
    let job: lampas_shared::host::CronJob = serde_json::from_str(
        r#"{"schedule": "@daily", "command": "backup --all", "user": "root", "environment": {"PLAIN": "told"}}"#,
    )
    .expect("a job");
    let secret = Part::Secret { name: ObjectName::parse("pw").expect("a name"), value: value(1), escape: Escape::Raw };
    let texts = BTreeMap::from([("PW".to_owned(), vec![secret])]);
    let spec = Spec::Sealed(Sealed { base: Box::new(Spec::Cron(job)), texts, fault: None });
    let resource = Resource {
        target: Target::parse("cron:backup").expect("a target"),
        kind: lampas_shared::object::Kind::Cron,
        name: ObjectName::parse("backup").expect("a name"),
        spec,
        ..base
    };
    land(&node, 1, vec![resource]).await;
    let line = |text: Option<String>| text.and_then(|t| t.lines().last().map(str::to_owned)).unwrap_or_default();
    assert!(line(node.text("/etc/cron.d/lampas-backup")).contains("job run"));

    let ejected = node.handle.eject().await.expect("ejected");
    let text = node.text("/etc/cron.d/lampas-backup").expect("stands");
    assert!(!text.contains("canary"), "everybody may read it: {text}");
    assert_eq!(line(Some(text)), "@daily root /bin/sh /var/lib/lampas/ejected/backup.sh");
    let script = node.path("/var/lib/lampas/ejected/backup.sh");
    assert_eq!(fs::metadata(&script).expect("there").permissions().mode() & 0o777, 0o400);
    let script = fs::read_to_string(script).expect("read");
    assert!(script.contains("PW='it'\\''s a canary'\nexport PW\n") && script.ends_with("\nbackup --all\n"), "{script}");
    let what = &ejected.places.iter().find(|p| p.path.ends_with("lampas-backup")).expect("told").what;
    assert!(what.contains("backup.sh") && what.contains("root alone"), "{what}");
}
