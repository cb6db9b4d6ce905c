//! `kill -9` in the middle of applies: files are old or new, and the next start brings all of them to one state.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use lampas_runtime::Tasks;
use lampas_shared::desired::{Generation, NodeDesired, Resource};

use super::fixture::{Controller, file, node_id, open_node, prepare};
use crate::reconcile::Upstream;

const FILES: usize = 12;

fn text(counter: u64, n: usize) -> String {
    format!("generation {counter} of file {n}\n").repeat(100)
}

/// A part of them is what apt goes by, which is a group of its own.
fn path(n: usize) -> String {
    format!("{}/file-{n}", if n.is_multiple_of(3) { "/etc/apt/preferences.d" } else { "/opt" })
}

fn state(counter: u64) -> NodeDesired {
    let resources: Vec<Resource> = (0..FILES).map(|n| file(&path(n), &text(counter, n))).collect();
    NodeDesired::new(node_id(), Generation { epoch: 1, counter }, resources)
}

/// The process that is killed: takes one generation after the other and says what it was given and what it has journalled.
#[tokio::test]
async fn child() {
    let Some(root) = std::env::var_os("LAMPAS_TEST_RECONCILE") else { return };
    let (handle, reconciler, _journal) = open_node(Path::new(&root));
    let (tasks, upstream): (_, Arc<dyn Upstream>) = (Tasks::new(), Arc::new(Controller::default()));
    let owner = tasks.clone();
    tasks.spawn("reconcile", async move { reconciler.run(upstream, &owner).await });
    let mut out = std::io::stdout();
    let mut say = |what: String| writeln!(out, "{what}").and_then(|()| out.flush()).expect("the parent listens");
    let mut counter = handle.current().map_or(0, |(g, _)| g.counter);
    loop {
        counter += 1;
        handle.desired(state(counter)).await.expect("accepted");
        say(format!("journalled {counter}"));
        handle.pass().await.expect("passes");
        say(format!("passed {counter}"));
    }
}

#[tokio::test]
async fn a_kill_at_any_instant_restarts_into_the_right_state() {
    let dir = tempfile::tempdir().expect("a directory");
    prepare(dir.path());
    fs::create_dir_all(dir.path().join("etc/apt/preferences.d")).expect("made");
    let mut journalled = 0;
    for round in 0..10_u64 {
        let mut process = Command::new(std::env::current_exe().expect("a test binary"))
            .args(["reconcile::tests::crash::child", "--exact", "--nocapture", "--test-threads=1"])
            .env("LAMPAS_TEST_RECONCILE", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let number = |line: &str, word: &str| line.rsplit_once(word).and_then(|(_, n)| n.trim().parse::<u64>().ok());
        // Killed while files are being written: that begins when a generation is journalled.
        let until = journalled + 2 + round % 3;
        while journalled < until {
            let line = lines.next().expect("the child lives").expect("text");
            journalled = number(&line, "journalled ").unwrap_or(journalled);
        }
        // From nothing at all to several files into the apply.
        for _ in 0..round * 20_000 {
            std::hint::spin_loop();
        }
        process.kill().expect("killed");
        process.wait().expect("reaped");
        for line in lines.map_while(Result::ok) {
            journalled = number(&line, "journalled ").unwrap_or(journalled);
        }
        for n in 0..FILES {
            let found = fs::read_to_string(dir.path().join(path(n).trim_start_matches('/'))).unwrap_or_default();
            let is_whole = found.is_empty() || (1..=journalled + 1).any(|counter| found == text(counter, n));
            assert!(is_whole, "file {n} is torn: {} bytes", found.len());
        }
    }
    let (handle, reconciler, journal) = open_node(dir.path());
    let current = handle.current().expect("known").0.counter;
    assert!(current == journalled || current == journalled + 1, "journalled {journalled}, found {current}");
    let (tasks, upstream): (_, Arc<dyn Upstream>) = (Tasks::new(), Arc::new(Controller::default()));
    let owner = tasks.clone();
    tasks.spawn("reconcile", async move { reconciler.run(upstream, &owner).await });
    handle.pass().await.expect("passes");
    for n in 0..FILES {
        let found = fs::read_to_string(dir.path().join(path(n).trim_start_matches('/'))).expect("there");
        assert_eq!(found, text(current, n), "file {n}");
    }
    let count = |directory: &str| fs::read_dir(dir.path().join(directory)).expect("listed").count();
    assert_eq!(count("opt") + count("etc/apt/preferences.d"), FILES, "nothing is left beside them");
    assert!(journal.intent().expect("read").is_none());
    assert!(handle.status().await.expect("told").drifts.is_empty(), "its own writes are not taken for somebody's");
    tasks.stop();
}
