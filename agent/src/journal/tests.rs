//! What the journal promises, under `kill -9`, a full disk and damage.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::FileExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use lampas_runtime::{clock, random};
use lampas_shared::{
    desired::Generation,
    id::NodeId,
    report::{DriftOutcome, DriftReport, GenerationReport, JobRun, LostReports, Phase, ResourceState, RunOutcome},
};

use super::*;

fn job_run(n: u64) -> Report {
    Report::Job(JobRun {
        run: random::new_id(),
        object: random::new_id(),
        user: "root".into(),
        slot: None,
        started_at: clock::now(),
        ended_at: None,
        outcome: RunOutcome::Exited(0),
        output: format!("run {n}"),
        output_bytes: n,
        times: 1,
    })
}

/// Opens what a journal wrote, behind its back. sled lets go of its file a moment after it was closed.
fn opened(db: &Path) -> sled::Db {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        match sled::open(db) {
            Ok(db) => return db,
            Err(error) => assert!(Instant::now() < limit, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn received(counter: u64) -> Report {
    Report::Generation(GenerationReport {
        generation: Generation { epoch: 1, counter },
        hash: ContentHash::of(b"x"),
        phase: Phase::Received,
        state: ResourceState::Waiting,
        took_ms: 0,
        resources: Vec::new(),
        at: clock::now(),
    })
}

fn accepted(node: NodeId, counter: u64) -> Accepted {
    let state = NodeDesired::new(node, Generation { epoch: 1, counter }, Vec::new());
    Accepted { state, received_at: clock::now(), progress: Progress::Received, resources: Vec::new(), applied_at: None }
}

fn numbers(journal: &Journal) -> Vec<u64> {
    let pending = journal.outbox().pending(0, usize::MAX).expect("read");
    pending
        .into_iter()
        .filter_map(|(_, report)| match report {
            Report::Job(run) => Some(run.output_bytes),
            _ => None,
        })
        .collect()
}

/// The process that is killed: commits a state, a content and a report each round and says so on standard output.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("LAMPAS_TEST_JOURNAL") else { return };
    let journal = Journal::open(Path::new(&dir)).expect("opens");
    let node = NodeId::from_uuid(uuid::Uuid::nil());
    let mut n = journal.current().expect("read").map_or(0, |c| c.state.generation.counter);
    let mut out = io::stdout();
    loop {
        n += 1;
        let mut transaction = Transaction::new();
        transaction.current(&accepted(node, n));
        transaction.report(job_run(n));
        transaction.blob(vec![n as u8; if n.is_multiple_of(5) { 40_000 } else { 700 }]);
        journal.commit(transaction).expect("committed");
        writeln!(out, "committed {n}").and_then(|()| out.flush()).expect("the parent listens");
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal_dir = dir.path().join("journal");
    let mut acknowledged = 0;
    for round in 0..8_u64 {
        let mut process = Command::new(std::env::current_exe().expect("a test binary"))
            .args(["journal::tests::child", "--exact", "--nocapture", "--test-threads=1"])
            .env("LAMPAS_TEST_JOURNAL", &journal_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut last = acknowledged;
        // Killed in the middle of a commit: right after hearing of one, the next is under way.
        while last < acknowledged + 3 + round * 2 {
            let line = lines.next().expect("the child lives").expect("text");
            if let Some(n) = line.rsplit_once("committed ").and_then(|(_, n)| n.parse().ok()) {
                last = n;
            }
        }
        process.kill().expect("killed");
        process.wait().expect("reaped");
        // What was said before it died was acknowledged as well.
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.rsplit_once("committed ").and_then(|(_, n)| n.parse().ok()) {
                last = n;
            }
        }
        let journal = Journal::open(&journal_dir).expect("opens");
        assert_eq!(journal.moved_aside(), None);
        let current = journal.current().expect("read").expect("there").state.generation.counter;
        assert!(current == last || current == last + 1, "acknowledged {last}, the journal has {current}");
        assert_eq!(numbers(&journal), (1..=current).collect::<Vec<_>>(), "all reports, each once, in order");
        for n in 1..=last {
            let bytes = vec![n as u8; if n.is_multiple_of(5) { 40_000 } else { 700 }];
            assert_eq!(journal.blob(&ContentHash::of(&bytes)).expect("read"), Some(bytes));
        }
        acknowledged = current;
    }
}

#[test]
fn epochs_grow_and_what_waits_is_numbered_from_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(dir.path()).expect("opens");
    let outbox = journal.outbox();
    let mut woken = outbox.subscribe();
    assert_eq!(
        [outbox.push(job_run(1)), outbox.push(job_run(2)), outbox.push(job_run(3))].map(Result::unwrap),
        [1, 2, 3]
    );
    assert!(woken.has_changed().expect("open") && *woken.borrow_and_update() == 3);
    outbox.acked(1).expect("done");
    assert_eq!(outbox.pending(0, 10).expect("read").iter().map(|(s, _)| *s).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(outbox.pending(2, 10).expect("read").len(), 1);
    let epoch = outbox.epoch();
    drop((journal, outbox));
    let journal = Journal::open(dir.path()).expect("opens again");
    assert!(journal.outbox().epoch() > epoch);
    assert_eq!(numbers(&journal), [2, 3]);
    assert_eq!(journal.outbox().pending(0, 1).expect("read")[0].0, 1);
}

#[test]
fn a_second_process_is_told_that_an_agent_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let _journal = Journal::open(dir.path()).expect("opens");
    let error = Journal::open(dir.path()).expect_err("locked");
    assert!(matches!(error, JournalError::Locked { .. }), "{error}");
}

fn standing(path: &str, counter: u64) -> Report {
    Report::Drift(DriftReport {
        target: Target::path(path),
        object: random::new_id(),
        generation: Generation { epoch: 1, counter },
        outcome: DriftOutcome::Standing,
        path: path.into(),
        diff: String::new(),
        observed: None,
        at: clock::now(),
    })
}

#[test]
fn stale_reports_go_first_and_results_never() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(dir.path()).expect("opens");
    let outbox = journal.outbox();
    let mut transaction = Transaction::new();
    (1..=3).for_each(|n| transaction.report(received(n)));
    (1..=2).for_each(|n| transaction.report(standing("/etc/motd", n)));
    (0..763).for_each(|n| transaction.report(standing(&format!("/etc/{n}"), 1)));
    (0..3072).for_each(|n| transaction.report(job_run(n)));
    journal.commit(transaction).expect("fits");
    assert_eq!(outbox.counts(), (3840, 0));
    for n in 0..3 {
        outbox.push(standing(&format!("/etc/new{n}"), 1)).expect("something stale gives way");
    }
    // The fourth gave its place to what tells of them.
    assert_eq!(outbox.counts(), (3840, 4));
    let lost = |journal: &Journal| {
        let all = journal.outbox().pending(0, usize::MAX).expect("read");
        let lost = all.iter().filter_map(|(_, r)| if let Report::Lost(lost) = r { Some(*lost) } else { None });
        lost.collect::<Vec<_>>()
    };
    let told = lost(&journal);
    assert!(matches!(told[..], [LostReports { count: 4, from, until }] if from <= until), "{told:?}");
    let left = outbox.pending(0, 3).expect("read");
    assert!(
        matches!(&left[0].1, Report::Drift(d) if d.generation.counter == 2),
        "the latest word on a drift stays: {left:?}"
    );
    for more in [job_run(6000), standing("/etc/more", 1)] {
        let error = outbox.push(more).expect_err("nothing may go");
        assert!(matches!(error, JournalError::Full { len: 3840 }), "{error}");
    }
    outbox.acked(left[0].0).expect("done");
    outbox.push(standing("/etc/more", 1)).expect("there is room again");
    drop((outbox, journal));
    let journal = Journal::open(dir.path()).expect("opens again");
    assert_eq!(lost(&journal), told, "it outlives the agent until it was told");
    assert!(journal.outbox().push(standing("/etc/7", 2)).is_ok(), "what was said of it before gives way");
    assert!(journal.outbox().push(standing("/etc/last", 1)).is_err(), "it is full");
    journal.outbox().acked(u64::MAX).expect("all are told");
    assert_eq!((journal.outbox().counts().0, lost(&journal)), (0, Vec::new()));
}

#[test]
fn what_became_of_a_generation_can_always_be_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(dir.path()).expect("opens");
    let outbox = journal.outbox();
    let mut transaction = Transaction::new();
    (0..3072).for_each(|n| transaction.report(job_run(n)));
    journal.commit(transaction).expect("fits");
    assert!(outbox.push(job_run(6000)).is_err(), "runs stay where they are");
    let mut transaction = Transaction::new();
    (0..768).for_each(|n| transaction.report(standing(&format!("/etc/{n}"), 1)));
    journal.commit(transaction).expect("fits");
    assert!(outbox.push(standing("/etc/more", 1)).is_err(), "drifts are found again");
    let said = |n| {
        let Report::Generation(report) = received(1) else { panic!("made so") };
        Report::Generation(GenerationReport { phase: Phase::Applied, took_ms: n, ..report })
    };
    for n in 0..1000 {
        outbox.push(said(n)).expect("a later word takes the place of an earlier one");
    }
    assert_eq!(outbox.counts().0, 4096);
    let all = outbox.pending(0, usize::MAX).expect("read");
    assert!(
        all.iter().rev().any(|(_, r)| matches!(r, Report::Generation(r) if r.took_ms == 999)),
        "the last word is there"
    );
}

#[test]
fn a_damaged_journal_is_moved_aside_and_the_agent_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = random::new_id();
    {
        let journal = Journal::open(dir.path()).expect("opens");
        for n in 1..200 {
            let mut transaction = Transaction::new();
            transaction.current(&accepted(node, n));
            transaction.report(job_run(n));
            journal.commit(transaction).expect("committed");
        }
    }
    // Every kind of damage ends in an open journal that either has the state or says that it was damaged.
    let db = dir.path().join("db/db");
    let whole = fs::read(&db).expect("read");
    let file = fs::File::options().write(true).open(&db).expect("opened");
    file.write_all_at(&vec![0x5a; whole.len()], 0).expect("written");
    drop(file);
    let journal = Journal::open(dir.path()).expect("goes on");
    let has_state = journal.current().expect("read").is_some();
    assert!(!has_state);
    journal.outbox().push(job_run(1)).expect("works");
    drop(journal);
    let journal = Journal::open(dir.path()).expect("opens");
    assert_eq!(journal.moved_aside(), None, "once is enough");
    assert_eq!(numbers(&journal), [1]);
}

#[test]
fn a_snapshot_that_a_kill_left_unfinished_is_no_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = random::new_id();
    {
        let journal = Journal::open(dir.path()).expect("opens");
        let mut transaction = Transaction::new();
        transaction.current(&accepted(node, 7));
        journal.commit(transaction).expect("committed");
    }
    // Killed as it was made, in the middle of it, and before it was renamed over an older one.
    for (name, bytes) in [("snap.0000000000000F00.generating", ""), ("snap.FFFFFFFFFFFFFF00.generating", "half of it")]
    {
        fs::write(dir.path().join("db").join(name), bytes).expect("written");
        let journal = Journal::open(dir.path()).expect("opens");
        assert_eq!(journal.moved_aside(), None, "{name}");
        assert!(journal.current().expect("read").is_some(), "{name}");
        drop(journal);
        assert!(!dir.path().join("db").join(name).exists());
    }
}

#[test]
fn a_journal_of_a_newer_agent_that_cannot_be_read_is_refused_with_words_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(Journal::open(dir.path()).expect("opens"));
    let written_by = dir.path().join("written-by");
    assert_eq!(fs::read_to_string(&written_by).expect("read").trim(), env!("CARGO_PKG_VERSION"));
    fs::write(&written_by, "999.1.0\n").expect("written");
    drop(Journal::open(dir.path()).expect("what it can read it takes, whoever wrote it"));
    fs::write(&written_by, "999.1.0\n").expect("written");
    {
        let db = opened(&dir.path().join("db"));
        db.insert(key::STANCE, b"\x01\"a_stance_of_tomorrow\"".as_slice()).expect("written");
        db.flush().expect("flushed");
    }
    let refused = Journal::open(dir.path()).expect_err("is refused");
    let text = refused.to_string();
    assert!(matches!(refused, JournalError::Newer { .. }), "{text}");
    assert!(text.contains("written by lampas-agent 999.1.0") && text.contains("install 999.1.0 again"), "{text}");
    assert!(dir.path().join("db/db").exists() && !dir.path().join("db.damaged-1").exists(), "nothing was touched");
    fs::write(&written_by, env!("CARGO_PKG_VERSION")).expect("written");
    let journal = Journal::open(dir.path()).expect("its own, damaged, is moved aside");
    assert!(journal.moved_aside().is_some_and(|aside| aside.ends_with("db.damaged-1")));
}

#[test]
fn a_record_of_nonsense_is_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(Journal::open(dir.path()).expect("opens"));
    {
        let db = opened(&dir.path().join("db"));
        db.insert(key::CURRENT, b"\x01{\"state\":".as_slice()).expect("written");
        db.flush().expect("flushed");
    }
    let journal = Journal::open(dir.path()).expect("goes on");
    let aside = journal.moved_aside().expect("moved aside").to_owned();
    assert!(aside.join("db").exists(), "kept for those who want to look");
    assert!(journal.current().expect("read").is_none());
}

#[test]
fn a_damaged_content_counts_as_missing_and_what_nobody_needs_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(dir.path()).expect("opens");
    let (small, large) = (b"small".to_vec(), vec![7; 100_000]);
    let (small_hash, large_hash) = (ContentHash::of(&small), ContentHash::of(&large));
    let mut transaction = Transaction::new();
    transaction.blob(small.clone());
    transaction.blob(large.clone());
    journal.commit(transaction).expect("committed");
    assert_eq!(journal.blob(&small_hash).expect("read"), Some(small));
    assert_eq!(journal.blob(&large_hash).expect("read"), Some(large));
    let file = dir.path().join("blobs").join(large_hash.to_string());
    fs::write(&file, vec![8; 100_000]).expect("written");
    assert_eq!(journal.blob(&large_hash).expect("read"), None);
    journal.sweep(&[small_hash].into(), &Default::default()).expect("swept");
    assert!(!file.exists() && journal.has_blob(&small_hash).expect("read"));
    journal.sweep(&Default::default(), &Default::default()).expect("swept");
    assert!(!journal.has_blob(&small_hash).expect("read"));
}

/// A small file system of its own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(bytes: usize) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let options = format!("size={bytes}");
        let none: Option<&str> = None;
        match nix::mount::mount(none, dir.path(), Some("tmpfs"), nix::mount::MsFlags::empty(), Some(options.as_str())) {
            Ok(()) => Some(Self(dir)),
            Err(errno) => {
                eprintln!("SKIP: a full disk can't be tried here, mounting a tmpfs says {errno}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_loses_nothing_and_heals() {
    let Some(disk) = SmallDisk::mount(12 << 20) else { return };
    let dir = disk.0.path().join("journal");
    let journal = Journal::open(&dir).expect("opens");
    let filler = disk.0.path().join("filler");
    let mut acknowledged = Vec::new();
    let mut n = 0;
    let mut push = |journal: &Journal, acknowledged: &mut Vec<u64>| {
        n += 1;
        let mut run = job_run(n);
        if let Report::Job(run) = &mut run {
            run.output = "x".repeat(8 << 10);
        }
        let result = journal.outbox().push(run);
        if result.is_ok() {
            acknowledged.push(n);
        }
        result
    };
    for _ in 0..20 {
        push(&journal, &mut acknowledged).expect("there is room");
    }
    // Somebody else fills the disk.
    let mut file = fs::File::create(&filler).expect("made");
    while file.write_all(&vec![0; 64 << 10]).is_ok() {}
    while file.write_all(&[0; 1]).is_ok() {}
    drop(file);
    let refused = (0..400).any(|_| push(&journal, &mut acknowledged).is_err());
    assert!(refused, "the disk is full and 3 MiB were taken");
    for _ in 0..3 {
        let error = push(&journal, &mut acknowledged).expect_err("still full");
        assert!(matches!(error, JournalError::Unavailable { .. } | JournalError::Io { .. }), "{error}");
    }
    fs::remove_file(&filler).expect("removed");
    let since = Instant::now();
    let mut last = push(&journal, &mut acknowledged);
    while last.is_err() && since.elapsed() < Duration::from_secs(60) {
        std::thread::yield_now();
        last = push(&journal, &mut acknowledged);
    }
    assert!(last.is_ok(), "does not work again without a restart: {last:?}");
    assert_contains(&numbers(&journal), &acknowledged);
    drop(journal);
    let journal = Journal::open(&dir).expect("opens");
    assert_eq!(journal.moved_aside(), None);
    assert_contains(&numbers(&journal), &acknowledged);
}

/// What was refused may be there or not; what was acknowledged is there.
fn assert_contains(found: &[u64], acknowledged: &[u64]) {
    let missing: Vec<_> = acknowledged.iter().filter(|n| !found.contains(n)).collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
}
