//! The thread that runs apt, one transaction at a time, and what is remembered between passes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    os::unix::fs::MetadataExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lampas_render::package::{Known, Rehearsal, known, rehearsal};
use lampas_shared::error::Fault;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{PackagePlan, Standing, Work, apt, shield};
use crate::system::{PathError, Root};

/// How many answers of apt are remembered; a plan asks for a few.
const MAX_ANSWERS: usize = 64;

/// Runs apt, and remembers.
pub struct Apt {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// The plan whose transaction runs.
    running: Option<PackagePlan>,
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
    /// Begins; `wake` is told when a transaction ended. Takes down a shield that a death left.
    pub fn new(root: &Root, wake: Arc<Notify>) -> Self {
        if let Err(error) = shield::lower(root.path()) {
            warn!(%error, "policy-rc.d can't be put back as it was: services of packages don't start by themselves");
        }
        Self { state: Arc::default(), wake }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a transaction runs.
    pub fn is_busy(&self) -> bool {
        self.state().running.is_some()
    }

    /// Returns the plan whose transaction runs: until it ends nothing else is looked at.
    pub fn running(&self) -> Option<PackagePlan> {
        self.state().running.clone()
    }

    /// Forgets what failed, so that the next pass tries again.
    pub fn forget(&self) {
        self.state().failed = None;
    }

    /// Says how a plan's transaction stands, and whether it is to be started: what failed is tried again by a thorough pass
    /// alone, that is at the next time for a retry.
    pub fn standing(&self, plan: &PackagePlan, is_thorough: bool) -> (Standing, bool) {
        let state = self.state();
        if state.running.is_some() {
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

    /// Starts the transaction of a plan on a thread of its own.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(&self, root: &Root, plan: &PackagePlan) -> Result<(), Fault> {
        let Some(work) = plan.work.clone() else { return Ok(()) };
        let fault = |error: PathError| error.to_fault();
        let root = Root::open(root.path()).map_err(fault)?;
        let (shared, wake) = (self.state.clone(), self.wake.clone());
        let is_retry = {
            let mut state = self.state();
            let is_retry = state.failed.as_ref().is_some_and(|(failed, _)| *failed == work);
            // While a retry runs the resource stays failed, and doesn't flicker.
            let mut shown = plan.clone();
            shown.plan.steps.clear();
            state.running = Some(shown);
            is_retry
        };
        info!(installs = work.installs.len(), removals = work.removals.len(), is_retry, "packages are being changed");
        let thread = std::thread::Builder::new().name("packages".to_owned()).spawn(move || {
            let result = carry_out(&root, &work);
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = None;
            state.answers.clear();
            state.failed = match result {
                Ok(()) => {
                    info!("packages are changed");
                    None
                }
                Err(fault) => {
                    warn!(error = %fault, "packages could not be changed");
                    Some((work, fault))
                }
            };
            drop(state);
            wake.notify_one();
        });
        thread.map(drop).map_err(|error| {
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
        if state.stamp == stamp {
            state.answers.insert(key, answer.clone());
        }
        answer
    }
}

/// What apt's answers go by: when any of it was touched last.
fn stamp(root: &Root) -> Vec<(i64, i64, u64, u64)> {
    let places = [
        "var/lib/dpkg/status",
        "var/lib/apt/lists",
        "var/lib/apt/extended_states",
        "etc/apt",
        "etc/apt/preferences.d",
        "etc/apt/apt.conf.d",
        "etc/apt/sources.list",
        "etc/apt/sources.list.d",
    ];
    let look = |place: &str| {
        let meta = std::fs::symlink_metadata(root.path().join(place)).ok();
        meta.map_or((0, 0, 0, 0), |m| (m.ctime(), m.ctime_nsec(), m.ino(), m.size()))
    };
    places.into_iter().map(look).collect()
}

/// Carries a transaction out, under the shield.
fn carry_out(root: &Root, work: &Work) -> Result<(), Fault> {
    let shielded = |error: std::io::Error| {
        Fault::passing(
            "package.no_shield",
            format!("policy-rc.d, which keeps new services from starting, can't be written: {error}"),
        )
    };
    shield::raise(root.path()).map_err(shielded)?;
    let result = transact(root, work);
    let lowered = shield::lower(root.path()).map_err(shielded);
    result.and(lowered)
}

fn transact(root: &Root, work: &Work) -> Result<(), Fault> {
    if work.repairs
        && let Err(fault) = apt::configure(root)
    {
        // What can't be configured may be mended by what is installed now.
        warn!(error = %fault, "what an installation left half done can't be ended");
    }
    let holds = |word: &str, only: &dyn Fn(bool) -> bool| {
        let chosen = work.holds.iter().filter(|(_, held)| only(**held));
        chosen.map(|(name, _)| format!("{name} {word}\n")).collect::<Vec<_>>().concat()
    };
    if !work.installs.is_empty() || !work.removals.is_empty() {
        if work.refreshes || has_no_lists(root) {
            apt::update(root)?;
        }
        // The node may have changed since the plan, and its lists just did: nothing else goes than was shown.
        let found = rehearsal(&apt::simulate(root, work)?);
        let plain = |name: &str| name.split(':').next().unwrap_or(name).to_owned();
        let other = found.removals.keys().find(|n| !work.may_go.contains(*n) && !work.may_go.contains(&plain(n)));
        if let Some(other) = other {
            let text = format!("{other} would go as well, which the plan did not show; it is planned again");
            return Err(Fault::passing("package.moved", text));
        }
        apt::install(root, work)?;
    }
    if !work.purges.is_empty() {
        apt::purge(root, &work.purges.iter().cloned().collect::<Vec<_>>())?;
    }
    let selections = format!("{}{}", holds("hold", &|held| held), holds("install", &|held| !held));
    if !selections.is_empty() {
        apt::select(root, &selections)?;
    }
    Ok(())
}

/// A node that was just made has no lists yet.
fn has_no_lists(root: &Root) -> bool {
    let lists = std::fs::read_dir(root.path().join("var/lib/apt/lists"));
    let is_list = |name: &str| name.contains("Packages");
    !lists.is_ok_and(|entries| entries.flatten().any(|e| e.file_name().to_str().is_some_and(is_list)))
}
