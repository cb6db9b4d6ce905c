//! `lampas-agent packages`: carries one transaction out, in a process of its own that the agent's end does not end.
//!
//! dpkg that is cut off leaves packages half done, and apt that goes on without its shield starts services. So whoever
//! runs apt raises the shield, drains apt's output and lowers the shield, while agents may come and go: also when the
//! transaction is what upgrades the agent. Where systemd is the init it is a unit of its own.
//!
//! What is to be done stands in a file that becomes another as it is begun, so that nothing is done twice; who does it
//! has a lock; and what came of it is a third file ([`State`]).

use std::{collections::BTreeMap, fs::File, time::Duration};

use lampas_render::package::rehearsal;
use lampas_shared::error::{Chain, Fault};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::signal::{SigSet, Signal},
};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::warn;

use super::{Work, apt, shield, source};
use crate::system::{Modified, NewFile, Root, Seen};

const DIRECTORY: &str = "/var/lib/lampas/agent/packages";
const LOCK: &str = "/var/lib/lampas/agent/packages/lock";
const ORDER: &str = "/var/lib/lampas/agent/packages/order.json";
const BEGUN: &str = "/var/lib/lampas/agent/packages/begun.json";
const RESULT: &str = "/var/lib/lampas/agent/packages/result.json";
/// Some ten thousand names.
const MAX_BYTES: u64 = 4 << 20;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) work: Work,
    /// How long each of dpkg's and apt's programs may take.
    pub(super) limit_secs: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) work: Work,
    pub(super) fault: Option<Fault>,
}

/// How the transaction stands that was ordered last.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is none, or nobody has asked for another since.
    None,
    /// It is ordered, and nobody does it.
    Ordered(Order),
    /// Somebody does it.
    UnderWay,
    /// Whoever did it was ended with it.
    CutOff(Order),
    /// It is over.
    Ended(Ended),
}

/// Says how the transaction stands.
///
/// # Errors
/// When the files can't be read.
pub(super) fn state(root: &Root) -> Result<State, Fault> {
    match lock(root, FlockArg::LockExclusiveNonblock)? {
        Held::Missing => Ok(State::None),
        Held::ByOther => Ok(State::UnderWay),
        Held::Ours(_lock) => {
            if let Some(ended) = read(root, RESULT)? {
                return Ok(State::Ended(ended));
            }
            if let Some(order) = read(root, BEGUN)? {
                return Ok(State::CutOff(order));
            }
            Ok(read(root, ORDER)?.map_or(State::None, State::Ordered))
        }
    }
}

/// Waits until nobody does anything.
///
/// # Errors
/// When the files can't be read.
pub(super) fn wait(root: &Root) -> Result<(), Fault> {
    lock(root, FlockArg::LockExclusive).map(drop)
}

/// Puts down what is to be done, in the stead of all that was.
///
/// # Errors
/// When it can't be written, or another transaction is under way.
pub(super) fn order(root: &Root, order: &Order) -> Result<(), Fault> {
    root.make_directories(DIRECTORY, 0o700).map_err(|e| e.to_fault())?;
    if root.read(LOCK, 0).map_err(|e| e.to_fault())?.is_none() {
        write(root, LOCK, b"")?;
    }
    let Held::Ours(_lock) = lock(root, FlockArg::LockExclusiveNonblock)? else {
        return Err(Fault::passing("package.under_way", "an earlier transaction of packages is not over yet"));
    };
    forget(root)?;
    write(root, ORDER, &serde_json::to_vec(order).expect("an order has text keys"))
}

/// Returns whether what was put down was not begun yet.
pub(super) fn is_waiting(root: &Root) -> bool {
    root.look(ORDER, 0).is_ok_and(|seen| seen != Seen::Absent)
}

/// Removes what was put down, unless somebody does it; the shield of a transaction that was cut off goes down.
///
/// # Errors
/// When it can't be removed.
pub(super) fn clear(root: &Root) -> Result<(), Fault> {
    match lock(root, FlockArg::LockExclusiveNonblock)? {
        Held::ByOther => Ok(()),
        Held::Ours(_lock) => forget(root),
        // As an agent of before leaves it.
        Held::Missing => shield::lower(root).map_err(|e| e.to_fault()),
    }
}

fn forget(root: &Root) -> Result<(), Fault> {
    shield::lower(root).map_err(|e| e.to_fault())?;
    [ORDER, BEGUN, RESULT].into_iter().try_for_each(|path| root.remove(path, 0)).map_err(|e| e.to_fault())
}

/// Does what is ordered, if nobody else does. This is the process that outlives the agent.
///
/// # Errors
/// When the files can't be read or written; then nothing was done.
pub fn serve(root: &Root) -> Result<(), Fault> {
    let mut asked = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        asked.add(signal);
    }
    // dpkg ends what it began; it has a limit of its own. Programs that are started have an empty mask by std.
    asked.thread_block().map_err(|e| Fault::lasting("package.not_run", format!("signals can't be held back: {e}")))?;
    // Who comes second finds that there is nothing to do any more.
    let Held::Ours(_lock) = lock(root, FlockArg::LockExclusive)? else { return Ok(()) };
    let Some(order) = read::<Order>(root, ORDER)? else { return Ok(()) };
    write(root, BEGUN, &serde_json::to_vec(&order).expect("an order has text keys"))?;
    root.remove(ORDER, 0).map_err(|e| e.to_fault())?;
    let fault = carry_out(root, &order).err();
    let ended = Ended { work: order.work, fault };
    write(root, RESULT, &serde_json::to_vec(&ended).expect("an end has text keys"))?;
    root.remove(BEGUN, 0).map_err(|e| e.to_fault())
}

enum Held {
    Ours(Flock<File>),
    ByOther,
    /// There is no lock: nothing was ever ordered here.
    Missing,
}

fn lock(root: &Root, how: FlockArg) -> Result<Held, Fault> {
    let failed = |why: String| Fault::passing("package.lock", format!("{LOCK}: {why}"));
    if root.read(LOCK, 0).map_err(|e| e.to_fault())?.is_none() {
        return Ok(Held::Missing);
    }
    let place = root.place(LOCK, 0).map_err(|e| e.to_fault())?;
    let file = File::from(place.open(OFlags::RDONLY | OFlags::NONBLOCK).map_err(|e| e.to_fault())?);
    match Flock::lock(file, how) {
        Ok(lock) => Ok(Held::Ours(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(Held::ByOther),
        Err((_, errno)) => Err(failed(errno.desc().to_owned())),
    }
}

fn read<T: DeserializeOwned>(root: &Root, path: &str) -> Result<Option<T>, Fault> {
    let Some(bytes) = root.read(path, MAX_BYTES).map_err(|e| e.to_fault())? else { return Ok(None) };
    // What can't be read is of another build: nothing goes by it.
    Ok(serde_json::from_slice(&bytes).inspect_err(|e| warn!(path, error = %Chain(e), "left alone")).ok())
}

fn write(root: &Root, path: &str, bytes: &[u8]) -> Result<(), Fault> {
    let xattrs = BTreeMap::new();
    let file = NewFile { bytes, uid: root.euid(), gid: 0, mode: 0o600, xattrs: &xattrs, modified: Modified::Now };
    root.write(path, &file).map_err(|e| e.to_fault())
}

/// Carries a transaction out, under the shield.
fn carry_out(root: &Root, order: &Order) -> Result<(), Fault> {
    let shielded = |error: crate::system::PathError| {
        Fault::passing(
            "package.no_shield",
            format!("policy-rc.d, which keeps new services from starting, can't be written: {error}"),
        )
    };
    shield::raise(root).map_err(shielded)?;
    let result = transact(root, &order.work, Duration::from_secs(order.limit_secs));
    let lowered = shield::lower(root).map_err(shielded);
    result.and(lowered)
}

fn transact(root: &Root, work: &Work, limit: Duration) -> Result<(), Fault> {
    if work.repairs
        && let Err(fault) = apt::configure(root, limit)
    {
        // What can't be configured may be mended by what is installed now. apt does nothing while dpkg has notes that it
        // did not bring in; whatever dpkg writes brings them in.
        warn!(error = %fault, "what an installation left half done can't be ended");
        apt::select(root, "")?;
    }
    // A source that can't be fetched holds up nothing that others have; it is told at the end.
    let unfetched = if work.sources.is_empty() { None } else { source::fetch(root, &work.sources) };
    let holds = |word: &str, only: &dyn Fn(bool) -> bool| {
        let chosen = work.holds.iter().filter(|(_, held)| only(**held));
        chosen.map(|(name, _)| format!("{name} {word}\n")).collect::<Vec<_>>().concat()
    };
    if !work.installs.is_empty() || !work.removals.is_empty() {
        if work.refreshes || has_no_lists(root) {
            match apt::update(root) {
                Err(fault) if unfetched.is_none() => return Err(fault),
                _ => {}
            }
            must_be_known(root, work)?;
        }
        // The node may have changed since the plan, and its lists just did: nothing else goes than was shown.
        let found = rehearsal(&apt::simulate(root, work)?);
        let plain = |name: &str| name.split(':').next().unwrap_or(name).to_owned();
        let other = found.removals.keys().find(|n| !work.may_go.contains(*n) && !work.may_go.contains(&plain(n)));
        if let Some(other) = other {
            let text = format!("{other} would go as well, which the plan did not show; it is planned again");
            return Err(Fault::passing("package.moved", text));
        }
        apt::install(root, work, limit)?;
    }
    if !work.purges.is_empty() {
        apt::purge(root, &work.purges.iter().cloned().collect::<Vec<_>>(), limit)?;
    }
    let selections = format!("{}{}", holds("hold", &|held| held), holds("install", &|held| !held));
    if !selections.is_empty() {
        apt::select(root, &selections)?;
    }
    unfetched.map_or(Ok(()), Err)
}

/// Refuses what no list knows: apt-get takes such a name for a pattern, and installs whatever matches it (apt-get(8)).
fn must_be_known(root: &Root, work: &Work) -> Result<(), Fault> {
    let name_of = |install: &String| install.split('=').next().unwrap_or(install).to_owned();
    let names: Vec<String> = work.installs.iter().map(name_of).collect();
    if names.is_empty() {
        return Ok(());
    }
    let known = lampas_render::package::known(&apt::policy(root, &names)?);
    let unknown: Vec<String> = names.into_iter().filter(|name| !known.contains_key(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let text = format!(
        "no list of packages on this node knows {}: is the name misspelt, or is a source missing in /etc/apt?",
        unknown.join(", ")
    );
    Err(Fault::passing("package.unknown", text))
}

/// A node that was just made has no lists yet.
fn has_no_lists(root: &Root) -> bool {
    let lists = root.list("/var/lib/apt/lists", 100_000).ok().flatten().unwrap_or_default();
    !lists.iter().any(|name| name.contains("Packages"))
}

#[cfg(test)]
pub(in crate::host) mod tests {
    use super::*;
    use crate::system::sandbox::Helper;

    const ROOT: &str = "LAMPAS_TEST_PACKAGES_ROOT";

    /// A helper that is this test binary: `entry` below is what runs in it.
    pub(in crate::host) fn helper(root: &Root) -> Helper {
        let path = std::env::current_exe().expect("a test binary").display().to_string();
        let args = ["host::package::shim::tests::entry", "--exact", "--nocapture", "--test-threads=1"];
        let env = vec![(ROOT.to_owned(), root.path().display().to_string())];
        Helper { path, args: args.map(str::to_owned).to_vec(), env }
    }

    /// The process that outlives the agent; as a test of its own it has nothing to do.
    #[test]
    fn entry() {
        let own = tempfile::tempdir().expect("a directory");
        let path = std::env::var(ROOT).map_or_else(|_| own.path().to_owned(), Into::into);
        let root = Root::open(&path).expect("opens");
        serve(&root).expect("served");
    }

    #[test]
    fn what_is_ordered_is_done_once_and_by_one() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
        let root = Root::open(dir.path()).expect("opens");
        assert_eq!(state(&root), Ok(State::None));
        // Nothing to install: no program is run.
        let wanted = Order { work: Work::default(), limit_secs: 1 };
        order(&root, &wanted).expect("ordered");
        assert_eq!(state(&root), Ok(State::Ordered(wanted.clone())));
        {
            let Held::Ours(_other) = lock(&root, FlockArg::LockExclusiveNonblock).expect("tried") else {
                panic!("free")
            };
            assert_eq!(state(&root), Ok(State::UnderWay));
            assert_eq!(order(&root, &wanted).map_err(|f| f.code), Err("package.under_way".to_owned()));
            clear(&root).expect("what is under way stays");
        }
        assert_eq!(state(&root), Ok(State::Ordered(wanted.clone())));
        write(&root, BEGUN, &serde_json::to_vec(&wanted).expect("serialises")).expect("written");
        assert_eq!(state(&root), Ok(State::CutOff(wanted.clone())));
        order(&root, &wanted).expect("ordered again");
        serve(&root).expect("done");
        serve(&root).expect("who comes second leaves");
        assert_eq!(state(&root), Ok(State::Ended(Ended { work: Work::default(), fault: None })));
        clear(&root).expect("forgotten");
        assert_eq!(state(&root), Ok(State::None));
    }
}
