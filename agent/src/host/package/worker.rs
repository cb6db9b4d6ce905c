//! Orders transactions, one at a time, waits for their ends, and remembers what apt answered between passes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use lampas_render::package::{Known, Rehearsal, known, rehearsal};
use lampas_shared::error::Fault;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{PackagePlan, Standing, Work, apt, shim};
use crate::system::{PathError, Root, sandbox::Helper};

/// How many answers of apt are remembered; a plan asks for a few.
const MAX_ANSWERS: usize = 64;
/// How long the process that runs apt has to begin; a machine under load starts a process within seconds.
const BEGIN: Duration = Duration::from_secs(45);
/// How often it is looked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";

/// Has apt run, and remembers.
pub struct Apt {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
    helper: Helper,
    /// How long one of apt's or dpkg's programs may take.
    pub(in crate::host) limit: Duration,
}

#[derive(Default)]
struct State {
    /// The plan whose transaction runs.
    running: Option<PackagePlan>,
    /// A transaction of an earlier life of the agent runs.
    is_under_way: bool,
    /// The transaction that failed last, and why.
    failed: Option<(Work, Fault)>,
    /// What apt answered, as long as nothing changed that it goes by.
    stamp: Vec<(i64, i64, u64, u64)>,
    answers: BTreeMap<String, Result<String, Fault>>,
}

impl fmt::Debug for Apt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apt").field("is_busy", &self.is_busy()).finish_non_exhaustive()
    }
}

impl Apt {
    /// Begins; `wake` is told when a transaction ended, `helper` is the process that outlives the agent: `lampas-agent
    /// --root DIR packages`. Takes up the transaction of an earlier life, and clears away what a death left of it.
    pub fn new(root: &Root, wake: Arc<Notify>, helper: Helper) -> Self {
        let apt = Self { state: Arc::default(), wake, helper, limit: apt::LIMIT };
        match shim::state(root) {
            Ok(shim::State::UnderWay) => apt.take_up(root),
            Ok(shim::State::Ended(ended)) => apt.state().failed = ended.fault.map(|fault| (ended.work, fault)),
            Ok(shim::State::None | shim::State::Ordered(_) | shim::State::CutOff(_)) => {}
            Err(error) => warn!(%error, "it can't be told whether packages are being changed"),
        }
        if let Err(error) = shim::clear(root) {
            warn!(%error, "policy-rc.d can't be put back as it was: services of packages don't start by themselves");
        }
        apt
    }

    /// Waits for the end of what an earlier life of the agent began.
    fn take_up(&self, root: &Root) {
        info!("packages are still being changed by what the agent began before its end");
        let Ok(root) = Root::open(root.path()) else { return };
        self.state().is_under_way = true;
        let (shared, wake) = (self.state.clone(), self.wake.clone());
        let waiting = thread::Builder::new().name("packages".to_owned()).spawn(move || {
            let result = shim::wait(&root).map_err(|fault| (None, fault)).and_then(|()| outcome(&root));
            end(&shared, &wake, result);
        });
        if let Err(error) = waiting {
            warn!(%error, "there can be no thread that waits for apt");
            self.state().is_under_way = false;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a transaction runs.
    pub fn is_busy(&self) -> bool {
        let state = self.state();
        state.running.is_some() || state.is_under_way
    }

    /// Returns the plan whose transaction runs: until it ends nothing else is looked at.
    pub fn running(&self) -> Option<PackagePlan> {
        self.state().running.clone()
    }

    /// Forgets what failed and what apt answered, so that the next pass tries again.
    pub fn forget(&self) {
        let mut state = self.state();
        state.failed = None;
        state.answers.clear();
    }

    /// Says how a plan's transaction stands, and whether it is to be started: what failed is tried again by a thorough pass
    /// alone, that is at the next time for a retry.
    pub fn standing(&self, plan: &PackagePlan, is_thorough: bool) -> (Standing, bool) {
        let state = self.state();
        if state.running.is_some() || state.is_under_way {
            return (Standing::Applying, false);
        }
        match (&plan.work, &state.failed) {
            (Some(work), Some((failed, fault))) if work == failed && !is_thorough => {
                (Standing::Failed(fault.clone()), false)
            }
            (Some(_), _) => (Standing::Applying, true),
            (None, _) => (Standing::Applying, false),
        }
    }

    /// Starts the transaction of a plan, in a process that the agent's end does not end.
    ///
    /// # Errors
    /// When it can't be put down, or there can be no thread that waits for it.
    pub fn start(&self, root: &Root, plan: &PackagePlan) -> Result<(), Fault> {
        let Some(work) = plan.work.clone() else { return Ok(()) };
        let fault = |error: PathError| error.to_fault();
        let root = Root::open(root.path()).map_err(fault)?;
        let is_retry = self.state().failed.as_ref().is_some_and(|(failed, _)| *failed == work);
        info!(installs = work.installs.len(), removals = work.removals.len(), is_retry, "packages are being changed");
        let ordered = shim::order(&root, &shim::Order { work: work.clone(), limit_secs: self.limit.as_secs() });
        if let Err(fault) = ordered {
            self.state().failed = Some((work, fault.clone()));
            return Err(fault);
        }
        // While a retry runs the resource stays failed, and doesn't flicker.
        let mut shown = plan.clone();
        shown.plan.steps.clear();
        self.state().running = Some(shown);
        let (shared, wake, helper) = (self.state.clone(), self.wake.clone(), self.helper.clone());
        let waiting = thread::Builder::new().name("packages".to_owned()).spawn(move || {
            let result = run(&root, &helper).and_then(|()| outcome(&root));
            // What says why it failed needs what was to be done.
            let result = result.map_err(|(known, fault)| (known.or(Some(work)), fault));
            end(&shared, &wake, result);
        });
        waiting.map(drop).map_err(|error| {
            self.state().running = None;
            Fault::passing("package.not_run", format!("there can be no thread for apt: {error}"))
        })
    }

    /// Asks which versions the lists know.
    pub(super) fn known(&self, root: &Root, names: &BTreeSet<String>) -> Result<BTreeMap<String, Known>, Fault> {
        let names: Vec<String> = names.iter().cloned().collect();
        let key = format!("policy {}", names.join(" "));
        self.answer(root, key, || apt::policy(root, &names)).map(|text| known(&text))
    }

    /// Rehearses a transaction.
    pub(super) fn rehearse(&self, root: &Root, work: &Work) -> Result<Rehearsal, Fault> {
        if work.installs.is_empty() && work.removals.is_empty() {
            return Ok(Rehearsal::default());
        }
        let key = format!("rehearse {work:?}");
        self.answer(root, key, || apt::simulate(root, work)).map(|text| rehearsal(&text))
    }

    fn answer(&self, root: &Root, key: String, ask: impl FnOnce() -> Result<String, Fault>) -> Result<String, Fault> {
        let stamp = stamp(root);
        {
            let mut state = self.state();
            if state.stamp != stamp || state.answers.len() >= MAX_ANSWERS {
                state.stamp.clone_from(&stamp);
                state.answers.clear();
            }
            if let Some(answer) = state.answers.get(&key) {
                return answer.clone();
            }
        }
        let answer = ask();
        let mut state = self.state();
        // What it could not say this time it may say the next.
        let is_of_the_moment =
            |fault: &Fault| matches!(fault.code.as_str(), "package.timed_out" | "package.not_run" | "package.locked");
        if state.stamp == stamp && !answer.as_ref().is_err_and(is_of_the_moment) {
            state.answers.insert(key, answer.clone());
        }
        answer
    }
}

/// Why a transaction failed, and which, where that is known.
type Failed = (Option<Work>, Fault);

/// Notes the end of a transaction.
fn end(shared: &Mutex<State>, wake: &Notify, result: Result<(), Failed>) {
    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
    (state.running, state.is_under_way) = (None, false);
    state.answers.clear();
    state.failed = match result {
        Ok(()) => {
            info!("packages are changed");
            None
        }
        Err((work, fault)) => {
            warn!(error = %fault, "packages could not be changed");
            work.map(|work| (work, fault))
        }
    };
    drop(state);
    wake.notify_one();
}

/// Starts the process that does what is ordered, and waits for its end.
fn run(root: &Root, helper: &Helper) -> Result<(), Failed> {
    let not_run = |why: String| (None, Fault::passing("package.not_run", format!("apt can't be started: {why}")));
    let mut child = start(root, helper).map_err(|e| not_run(e.to_string()))?;
    let until = Instant::now() + BEGIN;
    while shim::is_waiting(root) {
        let has_ended = child.try_wait().ok().flatten();
        let failed = has_ended.filter(|status| !status.success());
        if failed.is_some() || Instant::now() >= until {
            let how = failed.map_or_else(|| "it does not begin".to_owned(), |status| status.to_string());
            // What begins later finds nothing to do.
            shim::clear(root).map_err(|f| (None, f))?;
            return Err(not_run(how));
        }
        thread::sleep(LOOK_EVERY);
    }
    let waited = shim::wait(root).map_err(|f| (None, f));
    // It has let go of its lock, and is about to end.
    let _ = child.wait();
    waited
}

/// A unit of its own where systemd is the init, since what ends the agent's unit ends all that is in it.
fn start(root: &Root, helper: &Helper) -> io::Result<std::process::Child> {
    let is_unit = root.is_system() && Path::new("/run/systemd/system").is_dir() && Path::new(SYSTEMD_RUN).exists();
    let mut command = if is_unit {
        let mut command = Command::new(SYSTEMD_RUN);
        command
            // A name of its own: the one before may not be cleared away yet.
            .arg(format!("--unit=lampas-packages-{}", lampas_runtime::clock::now().0))
            .args(["--collect", "--quiet", "--no-ask-password"])
            .arg("--description=LAMPAS packages")
            // A shutdown waits for dpkg as long as it does for its own upgrades.
            .args(["-p", "KillMode=mixed", "-p", "TimeoutStopSec=300", "-p", "OOMPolicy=continue", "--"])
            .arg(&helper.path);
        command
    } else {
        Command::new(&helper.path)
    };
    command
        .args(&helper.args)
        .env_clear()
        .envs(helper.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Reads what came of a transaction of which nobody does anything any more.
fn outcome(root: &Root) -> Result<(), Failed> {
    match shim::state(root).map_err(|f| (None, f))? {
        shim::State::Ended(shim::Ended { fault: None, .. }) => Ok(()),
        shim::State::Ended(shim::Ended { work, fault: Some(fault) }) => Err((Some(work), fault)),
        shim::State::CutOff(order) => {
            let text = "what ran apt was ended in the middle; what it left half done is mended first next time";
            if let Err(fault) = shim::clear(root) {
                warn!(error = %fault, "what it left can't be cleared away yet");
            }
            Err((Some(order.work), Fault::passing("package.cut_off", text)))
        }
        shim::State::None | shim::State::Ordered(_) | shim::State::UnderWay => {
            Err((None, Fault::passing("package.not_run", "nothing is known of what ran apt")))
        }
    }
}

/// What apt's answers go by: when any of it was touched last.
fn stamp(root: &Root) -> Vec<(i64, i64, u64, u64)> {
    let look = |path: &Path| {
        let meta = std::fs::symlink_metadata(path).ok();
        meta.map_or((0, 0, 0, 0), |m| (m.ctime(), m.ctime_nsec(), m.ino(), m.size()))
    };
    let mut found = Vec::new();
    for place in ["var/lib/dpkg/status", "var/lib/apt/lists", "var/lib/apt/extended_states"] {
        found.push(look(&root.path().join(place)));
    }
    // An editor that writes into a file leaves its directory as it was.
    for directory in DIRECTORIES {
        found.push(look(&root.path().join(directory)));
        let names = root.list(&format!("/{directory}"), MAX_FILES).ok().flatten().unwrap_or_default();
        found.extend(names.iter().map(|name| look(&root.path().join(directory).join(name))));
    }
    found
}

/// Where apt's configuration and sources are.
const DIRECTORIES: [&str; 4] = ["etc/apt", "etc/apt/preferences.d", "etc/apt/apt.conf.d", "etc/apt/sources.list.d"];
const MAX_FILES: usize = 1000;
