//! `kill -9` at any instant: every file is old or new, and what stood before is not lost.

use std::{
    collections::BTreeSet,
    io::Read as _,
    process::{Command, Stdio},
    time::Duration,
};

use super::fixture::{Host, cron, file, hosts};
use crate::host::{Facts, Inputs, Record, apply, plan};

const DIRECTORY: &str = "LAMPAS_TEST_CRASH_ROOT";

fn state(n: u32) -> Vec<lampas_shared::desired::Resource> {
    let text = format!("{n}\n").repeat(3000);
    vec![
        file("/etc/a", &text),
        file("/etc/b", &text),
        hosts(&format!("10.0.0.{}", n % 200 + 1), "db-1"),
        cron("hello", &format!(r#"{{"schedule": "{} * * * *"}}"#, n % 60)),
    ]
}

/// The process that is killed: applies one state after the other, with a journal that is a file.
#[test]
fn applying() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let root = crate::system::Root::open(directory.as_ref()).expect("opens");
    let journal = format!("{directory}/journal");
    let mut owned = journalled(&journal).ownership;
    println!("ready");
    for n in 0.. {
        let resources = state(n);
        let facts = Facts {
            time_zone: "UTC".into(),
            host_name: "web-1".into(),
            wrapper: "/usr/bin/lampas-agent".into(),
            root_argument: None,
        };
        let inputs = Inputs {
            resources: &resources,
            content: &|_| None,
            owned: &owned,
            held: &BTreeSet::new(),
            facts: &facts,
            judge: &|_| None,
            judge_removal: &|_| None,
            looks: None,
            secrets: None,
        };
        let planned = plan(&root, &inputs);
        assert!(planned.items.iter().all(|i| !i.is_drifted), "{:?}", planned.items);
        let done = apply(&root, &planned, &mut |record| {
            let beside = format!("{journal}.new");
            std::fs::write(&beside, serde_json::to_vec(record).expect("serialises")).expect("writes");
            std::fs::rename(&beside, &journal).expect("renames");
            Ok(())
        });
        owned = done.expect("applies").ownership;
    }
}

fn journalled(path: &str) -> Record {
    std::fs::read(path).map(|b| serde_json::from_slice(&b).expect("a record")).unwrap_or_default()
}

#[test]
fn a_killed_agent_leaves_files_old_or_new_and_loses_nothing() {
    let mut host = Host::new();
    host.write("etc/a", "original\n");
    host.write("etc/hosts", "127.0.0.1 localhost\n");
    let before = host.picture();
    let journal = host.path("journal").display().to_string();
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().expect("a test binary"))
            .args(["host::tests::crash::applying", "--exact", "--nocapture"])
            .env(DIRECTORY, host.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut stdout = child.stdout.take().expect("piped");
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(b"ready\n") && stdout.read(&mut byte).expect("reads") == 1 {
            said.push(byte[0]);
        }
        // A different instant each round; what is tested is that none matters.
        std::thread::sleep(Duration::from_micros(3_000 + round * 7_919));
        child.kill().expect("kills");
        let status = child.wait().expect("ends");
        assert_eq!(status.code(), None, "it was killed and did not fail: {}", String::from_utf8_lossy(&said));
        for path in ["etc/a", "etc/b"] {
            let Some(text) = host.text(path).filter(|t| t != "original\n") else { continue };
            let lines: BTreeSet<&str> = text.lines().collect();
            assert!(lines.len() == 1 && text.lines().count() == 3000, "{path} is torn: {} lines", text.lines().count());
        }
        let text = host.text("etc/hosts").expect("hosts");
        assert!(text.starts_with("127.0.0.1 localhost\n"), "{text}");
        if let Some(cron) = host.text("etc/cron.d/lampas-hello") {
            assert!(cron.ends_with('\n') && cron.contains("job run"), "{cron}");
        }
    }
    host.owned = journalled(&journal).ownership;
    let _ = std::fs::remove_file(&journal);
    let _ = std::fs::remove_file(host.path("journal.new"));
    host.apply(&state(7));
    host.apply(&[]);
    let mut after = host.picture();
    after.get_mut("etc/hosts").expect("stands").4 = before["etc/hosts"].4;
    assert_eq!(after, before);
}
