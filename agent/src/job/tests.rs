//! Jobs that really run, on a root in a temporary directory; hostile spools.

use std::{
    io::Write,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lampas_shared::{
    id::ObjectId,
    report::{JobRun, RunOutcome},
    time::UnixMs,
};

use super::{
    Collected, SPOOL_DIRECTORY, Start, collect,
    collect::running,
    run,
    spool::{self, Process, Started},
};
use crate::host::tests::fixture::{Host, ann, cron, is_root};

const WRAPPER: &str = "LAMPAS_TEST_JOB";

/// What a job wrote, as cron would have got it.
#[derive(Clone, Default)]
struct Caught(Arc<Mutex<Vec<u8>>>);

impl Write for Caught {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Caught {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned()
    }
}

/// A host with one job, applied.
fn with_job(more: &str) -> (Host, ObjectId) {
    let mut host = Host::new();
    let job = cron("job", more);
    host.apply(std::slice::from_ref(&job));
    (host, job.object)
}

fn own_user() -> &'static str {
    if is_root() { "root" } else { "ann" }
}

fn run_now(more: &str) -> (Host, i32, Caught, Caught) {
    let mut job: serde_json::Value = serde_json::from_str(more).expect("JSON");
    job["user"] = own_user().into();
    let (host, object) = with_job(&job.to_string());
    let (out, err) = (Caught::default(), Caught::default());
    let status = run(host.dir.path(), object, Start::ByHand, out.clone(), err.clone());
    (host, status, out, err)
}

fn only(host: &Host) -> Collected {
    let mut found = collect(&host.root).expect("collects");
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn spool(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.path(&SPOOL_DIRECTORY[1..])).expect("lists");
    entries.flatten().map(|e| e.file_name().display().to_string()).collect()
}

#[test]
fn output_goes_on_as_it_comes_and_is_recorded() {
    let command = r#"{"command": "echo out; echo err >&2; printf 'x\\377'; echo $FOO-$PATH | cut -c1-14; exit 3", "environment": {"FOO": "b%r"}}"#;
    let (host, status, out, err) = run_now(command);
    assert_eq!(status, 3);
    assert_eq!(out.0.lock().expect("not poisoned").as_slice(), b"out\nx\xffb%r-/usr/local\n");
    assert_eq!(err.text(), "err\n");
    let found = only(&host);
    let run = &found.run;
    assert_eq!((run.outcome, run.user.as_str(), run.slot), (RunOutcome::Exited(3), own_user(), None));
    // The two streams meet in the order in which they happen to arrive.
    for part in ["x\u{fffd}", "b%r-/usr/local\n", "err\n"] {
        assert!(run.output.contains(part), "{:?}", run.output);
    }
    assert_eq!(run.output_bytes, 25);
    assert!(run.ended_at.is_some_and(|e| e >= run.started_at));
    found.discard(&host.root).expect("discards");
    assert_eq!(spool(&host), Vec::<String>::new());
}

#[test]
fn a_percent_sign_reaches_the_shell() {
    let (_, status, out, _) = run_now(r#"{"command": "echo 50% 60\\%"}"#);
    assert_eq!((status, out.text().as_str()), (0, "50% 60%\n"));
}

#[test]
fn a_job_that_runs_too_long_is_ended_with_all_it_started() {
    let begun = Instant::now();
    let (host, status, out, _) = run_now(r#"{"command": "echo begun; sleep 600 & sleep 600", "timeout_secs": 1}"#);
    assert_eq!((status, out.text().as_str()), (124, "begun\n"));
    assert_eq!(only(&host).run.outcome, RunOutcome::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_job_that_ignores_the_request_to_end_is_killed() {
    let (host, status, ..) = run_now(r#"{"command": "trap '' TERM; while :; do sleep 1; done", "timeout_secs": 1}"#);
    assert_eq!(status, 124);
    assert_eq!(only(&host).run.outcome, RunOutcome::TimedOut);
}

#[test]
fn a_job_that_dies_of_a_signal_says_so() {
    let (host, status, ..) = run_now(r#"{"command": "kill -9 $$"}"#);
    assert_eq!(status, 137);
    assert_eq!(only(&host).run.outcome, RunOutcome::Signalled(9));
}

#[test]
fn much_output_passes_and_its_end_is_kept() {
    let (host, _, out, _) = run_now(r#"{"command": "seq 1 100000; echo end"}"#);
    assert!(out.text().starts_with("1\n2\n") && out.text().ends_with("100000\nend\n"));
    let run = only(&host).run;
    assert!(run.output.len() <= 64 << 10 && run.output.ends_with("100000\nend\n"));
    assert_eq!(run.output_bytes, out.text().len() as u64);
}

#[test]
fn cron_starts_each_slot_once() {
    let more = format!(r#"{{"command": "echo ran", "schedule": "* * * * *", "user": "{}"}}"#, own_user());
    let (host, object) = with_job(&more);
    let out = Caught::default();
    for _ in 0..2 {
        assert_eq!(run(host.dir.path(), object, Start::Cron, out.clone(), Caught::default()), 0);
    }
    let runs: Vec<JobRun> = collect(&host.root).expect("collects").into_iter().map(|c| c.run).collect();
    let slots: Vec<UnixMs> = runs.iter().filter_map(|r| r.slot).collect();
    assert!(slots.iter().all(|s| s.0 % 60_000 == 0), "{slots:?}");
    // The second start is another slot only if a minute began between the two.
    assert!(runs.len() == 1 || slots[0] != slots[1], "{runs:?}");
    assert_eq!(out.text().matches("ran").count(), runs.len());
}

#[test]
fn an_unknown_job_and_an_untrusted_file_do_not_run() {
    let (host, object) = with_job(&format!(r#"{{"command": "echo ran", "user": "{}"}}"#, own_user()));
    let out = Caught::default();
    let other = ObjectId::parse("00000000-0000-7000-8000-000000000000").expect("an id");
    assert_eq!(run(host.dir.path(), other, Start::ByHand, out.clone(), Caught::default()), 125);
    let path = host.path(&format!("var/lib/lampas/agent/jobs/{object}.json"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
    assert_eq!(run(host.dir.path(), object, Start::ByHand, out.clone(), Caught::default()), 125);
    assert_eq!(out.text(), "");
}

/// The wrapper in a process of its own, for tests that need another user or kill it.
#[test]
fn wrapper() {
    let Ok(call) = std::env::var(WRAPPER) else { return };
    let (root, object) = call.split_once(' ').expect("ROOT ID");
    let object = object.parse().expect("an id");
    std::process::exit(run(root.as_ref(), object, Start::ByHand, std::io::stdout(), std::io::stderr()));
}

fn wrapper_of(host: &Host, object: ObjectId) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test binary"));
    command.args(["job::tests::wrapper", "--exact", "--nocapture"]);
    command.env(WRAPPER, format!("{} {object}", host.dir.path().display())).stdout(Stdio::piped());
    command
}

#[test]
fn a_job_runs_and_is_recorded_as_its_user() {
    if !is_root() {
        return;
    }
    let (host, object) = with_job(r#"{"command": "id -u", "user": "ann"}"#);
    let output = wrapper_of(&host, object).uid(ann()).gid(ann()).output().expect("runs");
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("{}\n", ann())), "{output:?}");
    let found = only(&host);
    assert_eq!((found.run.user.as_str(), found.run.outcome), ("ann", RunOutcome::Exited(0)));
    let jobs = host.path("var/lib/lampas/agent/jobs");
    let file = std::fs::metadata(jobs.join(format!("{object}.json"))).expect("stat");
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (0, ann(), 0o640));
    let spool = std::fs::metadata(host.path(&SPOOL_DIRECTORY[1..])).expect("stat");
    assert_eq!((spool.uid(), spool.mode() & 0o7777), (0, 0o1733));
}

#[test]
fn a_run_whose_wrapper_is_killed_is_lost_and_not_before() {
    let (host, object) = with_job(&format!(r#"{{"command": "echo begun; sleep 600", "user": "{}"}}"#, own_user()));
    let mut child = wrapper_of(&host, object).process_group(0).spawn().expect("starts");
    let mut said = Vec::new();
    let mut stdout = child.stdout.take().expect("piped");
    while !said.windows(5).any(|w| w == b"begun") {
        let mut byte = [0];
        assert_eq!(
            std::io::Read::read(&mut stdout, &mut byte).expect("reads"),
            1,
            "{}",
            String::from_utf8_lossy(&said)
        );
        said.push(byte[0]);
    }
    assert!(collect(&host.root).expect("collects").is_empty(), "it runs");
    child.kill().expect("kills");
    child.wait().expect("ends");
    let found = only(&host);
    assert_eq!((found.run.outcome, found.run.ended_at), (RunOutcome::Lost, None));
    found.discard(&host.root).expect("discards");
    assert!(collect(&host.root).expect("collects").is_empty());
}

/// Puts a record into the spool as a user.
fn forge(host: &Host, name: &str, run: &JobRun, uid: u32) {
    let path = host.path(&format!("{}/{name}", &SPOOL_DIRECTORY[1..]));
    std::fs::write(&path, serde_json::to_vec(run).expect("serialises")).expect("writes");
    std::os::unix::fs::chown(&path, Some(uid), Some(uid)).expect("chown");
}

#[test]
fn a_forged_record_is_refused_and_removed() {
    let (host, object) = with_job(&format!(r#"{{"command": "true", "user": "{}"}}"#, own_user()));
    let run_id = lampas_runtime::random::new_id();
    let record = JobRun {
        run: run_id,
        object,
        user: own_user().to_owned(),
        slot: None,
        started_at: UnixMs(0),
        ended_at: Some(UnixMs(1)),
        outcome: RunOutcome::Exited(0),
        output: String::new(),
        output_bytes: 0,
        times: 1,
    };
    let name = format!("{run_id}.end");
    let me = nix::unistd::geteuid().as_raw();
    let refused = |what: &str| {
        assert!(collect(&host.root).expect("collects").is_empty(), "{what}");
        assert_eq!(spool(&host), Vec::<String>::new(), "{what}");
    };
    if is_root() {
        forge(&host, &name, &record, ann());
        refused("another user's file");
    }
    forge(&host, &name, &JobRun { user: "ann2".into(), ..record.clone() }, me);
    refused("another user's name");
    forge(&host, &name, &JobRun { object: lampas_runtime::random::new_id(), ..record.clone() }, me);
    refused("a job that isn't there");
    forge(&host, &format!("{}.end", lampas_runtime::random::new_id::<lampas_shared::id::RunId>()), &record, me);
    refused("another run's name");
    forge(&host, "anything", &record, me);
    refused("a name of no record");
    forge(&host, &name, &JobRun { output: "x".repeat(600 << 10), ..record.clone() }, me);
    refused("too large");
    forge(&host, &name, &JobRun { outcome: RunOutcome::Missed, ..record.clone() }, me);
    refused("what the agent alone tells");
    forge(&host, &name, &JobRun { times: 9, ..record.clone() }, me);
    refused("more than one");

    let at = |name: &str| host.path(&format!("{}/{name}", &SPOOL_DIRECTORY[1..]));
    nix::unistd::mkfifo(&at(&name), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    refused("a named pipe");
    std::os::unix::fs::symlink("/etc/passwd", at(&name)).expect("symlink");
    refused("a symbolic link");
    std::fs::create_dir(at(&name)).expect("mkdir");
    refused("a directory");
    std::fs::write(at(&name), "{").expect("writes");
    refused("no JSON");

    forge(&host, &name, &record, me);
    std::fs::hard_link(at(&name), host.path("opt/second")).expect("links");
    refused("a second hard link");
    std::fs::remove_file(host.path("opt/second")).expect("removes");

    forge(&host, &name, &record, me);
    assert_eq!(only(&host).run, record, "the honest one is taken");
}

#[test]
fn a_record_outlives_its_job_and_the_jobs_user() {
    let (mut host, object) = with_job(&format!(r#"{{"command": "echo last", "user": "{}"}}"#, own_user()));
    assert_eq!(run(host.dir.path(), object, Start::ByHand, Caught::default(), Caught::default()), 0);
    host.apply(&[]);
    assert!(host.text(&format!("var/lib/lampas/agent/jobs/{object}.json")).is_none());
    let found = only(&host);
    assert_eq!(
        (found.run.object, found.run.output.as_str()),
        (object, "last\n"),
        "the job is gone, its last run is told"
    );

    if is_root() {
        let job = |user: &str| cron("job", &format!(r#"{{"command": "true", "user": "{user}"}}"#));
        host.apply(&[job("root")]);
        host.apply(&[job("ann")]);
        assert_eq!(only(&host).run.user, "root", "it was root's when it ran");
    }
}

#[test]
fn a_user_who_drops_thousands_of_records_hides_nobodys_runs() {
    if !is_root() {
        return;
    }
    let (host, object) = with_job(r#"{"command": "true", "user": "root", "schedule": "0 * * * *"}"#);
    let started = |slot| Started {
        run: JobRun {
            run: lampas_runtime::random::new_id(),
            object,
            user: "root".to_owned(),
            slot: Some(slot),
            started_at: slot,
            ended_at: None,
            outcome: RunOutcome::Lost,
            output: String::new(),
            output_bytes: 0,
            times: 1,
        },
        wrapper: Process::this(),
    };
    for _ in 0..1200 {
        let name = lampas_runtime::random::new_id::<lampas_shared::id::RunId>();
        let path = host.path(&format!("{}/{name}.start", &SPOOL_DIRECTORY[1..]));
        std::fs::write(&path, "{").expect("writes");
        std::os::unix::fs::chown(&path, Some(ann()), Some(ann())).expect("chown");
    }
    let slot = UnixMs(3_600_000);
    let own = started(slot);
    spool::drop_started(&host.root, &own).expect("dropped");
    assert_eq!(running(&host.root).expect("told"), [(object, slot)]);
    let left = spool(&host);
    assert_eq!(left.len(), 1001, "what is beyond measure is gone");
    assert!(left.contains(&format!("{}.start", own.run.run)));
}
