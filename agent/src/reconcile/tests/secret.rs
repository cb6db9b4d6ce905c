//! Files with secrets in them: what stands there, and where nothing of it stands.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path, sync::atomic::Ordering};

use lampas_shared::{
    desired::{Resource, Spec},
    host::{FileMode, Validator},
    id::SecretValueId,
    object::{ObjectName, Target},
    report::{DriftOutcome, ResourceState},
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
            // Copies that are kept for undoing are root's alone, as the file is, and go with the next apply.
            if what.contains("/kept/") {
                continue;
            }
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

    // A change by hand is told without what stands there.
    node.edit("/etc/app", &format!("user=eve\npassword={NEXT}\n"));
    let drift = node.wait("the drift", || node.drifts().pop()).await;
    assert_eq!(
        (drift.outcome, drift.observed.as_ref().and_then(|o| o.content.clone())),
        (DriftOutcome::Standing, None)
    );
    assert!(drift.diff.contains("not shown"), "{drift:?}");
    let read = node.handle.read(Target::path("/etc/app")).await.expect("read").expect("there");
    assert_eq!(read.content, None, "nor to who asks for it");
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
