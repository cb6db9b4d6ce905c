//! What the agent does about runs: begins them, finds them again, tells how they ended, lets them go.

use std::{
    io,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lampas_runtime::clock;
use lampas_shared::{
    desired::ContentHash,
    error::Fault,
    id::{FleetId, NodeId, OperationId, RunId},
    operation::{OperationRun, OutputChunk, RunEnd, RunOrder, RunStatus},
    time::UnixMs,
};
use lampas_wire::Report;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    judge::{judge, observed},
    output,
    secret::{self, SealedValues, Values},
    spool::{Entry, Spool},
    used::Used,
};
use crate::{
    config::Paths,
    journal::{JournalError, Outbox},
    policy::Ruling,
    reconcile::Upstream,
    signature::{self, Verifier},
    system::{Account, Root, Seen},
};

/// How many runs may be under way at once on one node.
const MAX_RUNS: usize = 32;
/// What must stay free on the disk beside what a run may write.
const FREE_BYTES: u64 = 8 << 20;
/// How often runs that are under way are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often old ones are cleared away.
const SWEEP: Duration = Duration::from_secs(3600);
/// How long a shim has to begin; a machine under load starts a process within seconds.
const BEGIN_MS: i64 = 45_000;
/// How long it is remembered that a run was there: longer than a controller asks for one to begin.
const REMEMBER_MS: i64 = 8 * 86_400_000;
/// How long the output of a run waits for a controller.
const KEEP_MS: i64 = 7 * 86_400_000;

/// How shims are started.
#[derive(Debug, Clone)]
pub struct Starter {
    /// `lampas-agent` by absolute path.
    pub program: PathBuf,
    /// `systemd-run` by absolute path, where systemd is the init.
    pub systemd_run: Option<PathBuf>,
}

impl Starter {
    /// Starts shims of this binary: in transient units on a machine with systemd, else detached.
    pub fn new(program: PathBuf, paths: &Paths) -> Self {
        let is_systemd = paths.is_real_root() && std::path::Path::new("/run/systemd/system").is_dir();
        let tool = PathBuf::from("/usr/bin/systemd-run");
        Self { program, systemd_run: (is_systemd && tool.exists()).then_some(tool) }
    }

    async fn start(&self, paths: &Paths, run: RunId) -> io::Result<()> {
        let shim = ["--root".into(), paths.root().as_os_str().to_owned(), "run-shim".into(), run.to_string().into()];
        let mut command = match &self.systemd_run {
            Some(tool) => {
                let mut command = tokio::process::Command::new(tool);
                command
                    .arg(format!("--unit=lampas-run-{run}"))
                    .args(["--collect", "--quiet", "--no-ask-password", "--description=LAMPAS operation"])
                    // What a program leaves running on purpose stays; the shim ends the rest itself.
                    .args(["-p", "KillMode=process", "-p", "OOMPolicy=continue", "--"])
                    .arg(&self.program);
                command
            }
            None => tokio::process::Command::new(&self.program),
        };
        let mut child = command
            .args(shim)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(false)
            .spawn()?;
        if self.systemd_run.is_some() {
            let status = child.wait().await?;
            if !status.success() {
                return Err(io::Error::other(format!("systemd-run ended with {status}")));
            }
        }
        // A detached one is reaped by the runtime, whenever it ends.
        Ok(())
    }
}

/// What signed orders and secrets need.
pub struct Trust {
    /// The fleet; unknown only when the identity can't be read.
    pub fleet: Option<FleetId>,
    /// This node.
    pub node: NodeId,
    /// Checks signatures.
    pub verifier: Verifier,
    /// Where values of secrets come from.
    pub upstream: Arc<dyn Upstream>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trust({})", self.node)
    }
}

/// The runs of this node.
#[derive(Debug)]
pub struct Runs {
    paths: Paths,
    spool: Spool,
    starter: Starter,
    outbox: Outbox,
    trust: Trust,
    wake: Notify,
    /// Whoever adds or removes runs has it.
    turn: Mutex<()>,
}

impl Runs {
    /// Looks after the runs below a root; results go into the outbox.
    pub fn new(paths: Paths, starter: Starter, outbox: Outbox, trust: Trust) -> Arc<Self> {
        let spool = Spool::at(&paths);
        Arc::new(Self { paths, spool, starter, outbox, trust, wake: Notify::new(), turn: Mutex::default() })
    }

    /// Begins a run, unless it was begun before. Returns where it is.
    ///
    /// # Errors
    /// Why it does not begin: the policy, another user, no room.
    ///
    /// # Cancellation
    /// A run that was put down begins when it is asked for again.
    pub async fn start(self: &Arc<Self>, order: RunOrder) -> Result<RunStatus, Fault> {
        let (run, by) = (order.run, order.by.clone());
        let title = order.argv.first().cloned().unwrap_or_default();
        let sealed = if !order.secrets.is_empty() && self.status(run).await? == RunStatus::Unknown {
            Some(secret::fetch(&self.paths, &self.trust, &order).await?)
        } else {
            None
        };
        let this = Arc::clone(self);
        let known = blocking(move || this.admit(&order, sealed.as_ref())).await?;
        if let Some(status) = known {
            return Ok(status);
        }
        info!(run.id = %run, by, program = title, "beginning a run");
        if let Err(error) = self.starter.start(&self.paths, run).await {
            let this = Arc::clone(self);
            let text = format!("nothing can be started: {error}");
            blocking(move || this.give_up(run, RunEnd::NotStarted(Fault::lasting("operation.start", text)))).await?;
        }
        self.wake.notify_one();
        self.status(run).await
    }

    /// Returns what is known of a run.
    ///
    /// # Errors
    /// When the spool can't be read.
    pub async fn status(self: &Arc<Self>, run: RunId) -> Result<RunStatus, Fault> {
        let this = Arc::clone(self);
        blocking(move || Ok(this.look(run))).await
    }

    /// Asks a run to end. One that was never begun will not begin.
    ///
    /// # Errors
    /// When the spool can't be written.
    pub async fn cancel(self: &Arc<Self>, run: RunId) -> Result<RunStatus, Fault> {
        let this = Arc::clone(self);
        let status = blocking(move || this.cancel_now(run)).await;
        self.wake.notify_one();
        status
    }

    /// Lets go of what a run wrote.
    ///
    /// # Errors
    /// When it is under way, or the spool can't be written.
    pub async fn forget(self: &Arc<Self>, run: RunId) -> Result<(), Fault> {
        let this = Arc::clone(self);
        blocking(move || {
            let _turn = this.turn();
            let Some(entry) = this.spool.entry(run) else { return Ok(()) };
            match entry.end() {
                Some(ended) if entry.is_told() => this.spool.forget(&entry, &ended).map_err(spool_fault),
                _ => Err(Fault::passing("operation.under_way", "the run is not over, or was not told of")),
            }
        })
        .await
    }

    /// Returns output from an offset on, and how much there is in all once the run is over and nothing more comes.
    ///
    /// # Errors
    /// When there is no such run, or its output can't be read.
    pub async fn output(
        self: &Arc<Self>,
        run: RunId,
        offset: u64,
        most: usize,
    ) -> Result<(Vec<OutputChunk>, Option<u64>), Fault> {
        let this = Arc::clone(self);
        blocking(move || {
            let Some(entry) = this.spool.entry(run) else {
                return match this.spool.mark(run) {
                    Some(ended) => Ok((Vec::new(), Some(ended.output_bytes))),
                    None => Err(Fault::lasting("operation.unknown", "this node knows no such run")),
                };
            };
            // The end first: what was written before it is seen after it.
            let ended = entry.end();
            let chunks = output::read(&entry.dir, offset, most).map_err(spool_fault)?;
            let total = ended.filter(|_| chunks.is_empty()).map(|e| e.output_bytes);
            Ok((chunks, total))
        })
        .await
    }

    /// Tells how runs ended, until the agent stops; finds those that began before it did.
    pub async fn keep(self: Arc<Self>, stopping: CancellationToken) {
        let mut is_failing = false;
        let mut swept = None;
        loop {
            let this = Arc::clone(&self);
            let is_due = swept.is_none_or(|at: tokio::time::Instant| at.elapsed() >= SWEEP);
            let looked = blocking(move || this.collect(is_due)).await;
            if is_due {
                swept = Some(tokio::time::Instant::now());
            }
            let under_way = match looked {
                Ok(under_way) => {
                    is_failing = false;
                    under_way
                }
                Err(error) => {
                    if !is_failing {
                        warn!(%error, "results of runs can't be collected; they stay in the spool");
                    }
                    is_failing = true;
                    1
                }
            };
            let pause = if under_way > 0 { LOOK } else { SWEEP };
            // All arms are cancel-safe: a notification that is not taken is kept.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    fn turn(&self) -> std::sync::MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a run down that may begin. Returns where it is when it began before.
    fn admit(&self, order: &RunOrder, sealed: Option<&SealedValues>) -> Result<Option<RunStatus>, Fault> {
        let _turn = self.turn();
        if let Some(entry) = self.spool.entry(order.run)
            && entry.begun().is_none()
            && entry.end().is_none()
            && !entry.is_cancelled()
        {
            // Put down, and perhaps not begun: a second shim leaves at once.
            return Ok(None);
        }
        match self.look(order.run) {
            RunStatus::Unknown => {}
            known => return Ok(Some(known)),
        }
        if order.probe.is_some() {
            return self.admit_probe(order);
        }
        let root = Root::open(self.paths.root()).map_err(|e| e.to_fault())?;
        let Some(account) = root.accounts().user(order.user.as_str()) else {
            let text = format!("there is no user {} on this node; choose another", order.user);
            return Err(Fault::lasting("operation.user_unknown", text));
        };
        if !root.is_privileged() && account.uid != root.euid() {
            let text = format!("this agent is not root and can't run anything as {}", order.user);
            return Err(Fault::lasting("operation.user_denied", text));
        }
        let values = match sealed {
            Some(sealed) => sealed.opened(&self.paths)?,
            None if order.secrets.is_empty() => Values::default(),
            // It was there a moment ago.
            None => return Err(Fault::passing("secret.missing", "the values of its secrets were not fetched")),
        };
        let serial = judge(&Ruling::of(&self.paths), &root, order, values.loose(), &|| self.signed(order))?;
        if order.rehearse && !root.is_privileged() {
            let text = "this agent is not root, and only root can make a copy of the node's files to rehearse in";
            return Err(Fault::lasting("operation.rehearse", text));
        }
        if let Some(expected) = order.expect {
            script(&root, &order.argv[0], expected, &account)?;
        }
        self.has_turn()?;
        self.has_room(order.output_bytes)?;
        if let Some(serial) = serial {
            let used = Used::read(self.spool.dir()).map_err(|why| Fault::lasting(signature::SIGNATURE, why))?;
            used.put(self.spool.dir(), serial, order.program_hash(), order.run).map_err(spool_fault)?;
            info!(run.id = %order.run, serial, "a run begins under an operator's signature");
        }
        self.spool.add(order, sealed).map_err(spool_fault)?;
        Ok(None)
    }

    /// Puts a question down. It runs nobody's program and as nobody: there is no user and no root code to judge.
    fn admit_probe(&self, order: &RunOrder) -> Result<Option<RunStatus>, Fault> {
        let ruling = Ruling::of(&self.paths);
        if ruling.observes() {
            return Err(Fault::lasting("policy.observe", observed(&ruling)));
        }
        self.has_turn()?;
        self.has_room(order.output_bytes)?;
        self.spool.add(order, None).map_err(spool_fault)?;
        Ok(None)
    }

    fn has_turn(&self) -> Result<(), Fault> {
        let under_way = self.spool.entries().map_err(spool_fault)?.iter().filter(|e| e.end().is_none()).count();
        if under_way >= MAX_RUNS {
            return Err(Fault::passing("operation.busy", format!("{MAX_RUNS} runs are under way on this node")));
        }
        Ok(())
    }

    /// Returns the serial of the statement that came with an order, if it covers the order and started nothing here yet.
    fn signed(&self, order: &RunOrder) -> Result<u64, String> {
        let Some(signed) = &order.signed else {
            return Err("none came with it; sign it with: lampasctl run sign OPERATION --key FILE".to_owned());
        };
        let judge =
            signature::Judge { fleet: self.trust.fleet, node: self.trust.node, now: clock::now(), goes_back: false };
        let program = order.program_hash();
        let serial = signature::Consent::over(judge, signed, &self.paths, &self.trust.verifier).of_run(program)?;
        match Used::read(self.spool.dir())?.why_not(serial, program) {
            Some(why) => Err(why),
            None => Ok(serial),
        }
    }

    fn has_room(&self, output_bytes: u64) -> Result<(), Fault> {
        lampas_runtime::files::private_dir(self.spool.dir()).map_err(spool_fault)?;
        let stat = rustix::fs::statvfs(self.spool.dir()).map_err(|e| spool_fault(e.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free >= FREE_BYTES + output_bytes {
            return Ok(());
        }
        let text = format!(
            "{} has {} KiB free, and a run that may write {} KiB needs {} KiB more than that",
            self.spool.dir().display(),
            free >> 10,
            output_bytes >> 10,
            FREE_BYTES >> 10
        );
        Err(Fault::lasting("operation.no_room", text))
    }

    fn look(&self, run: RunId) -> RunStatus {
        match self.spool.entry(run) {
            Some(entry) => entry.end().map_or(RunStatus::Running, |ended| RunStatus::Ended(Box::new(ended))),
            None => self.spool.mark(run).map_or(RunStatus::Unknown, |ended| RunStatus::Ended(Box::new(ended))),
        }
    }

    fn cancel_now(&self, run: RunId) -> Result<RunStatus, Fault> {
        let _turn = self.turn();
        let Some(entry) = self.spool.entry(run) else {
            if let RunStatus::Unknown = self.look(run) {
                let ended = never_begun(run, OperationId::from_uuid(Uuid::nil()), RunEnd::Cancelled);
                self.spool.put_mark(&ended).map_err(spool_fault)?;
            }
            return Ok(self.look(run));
        };
        if entry.end().is_none() && !entry.is_cancelled() {
            entry.put_cancel().map_err(spool_fault)?;
            info!(run.id = %run, "ending a run, as was asked");
        }
        if let Some(begun) = entry.begun()
            && entry.end().is_none()
            && begun.process.is_alive()
        {
            // Who ended meanwhile is who was meant.
            let _ = kill(Pid::from_raw(begun.process.pid), Signal::SIGTERM);
        }
        Ok(self.look(run))
    }

    /// Tells of runs that are over, and ends those that nobody watches over. Returns how many are under way.
    fn collect(&self, is_sweep: bool) -> Result<usize, Fault> {
        let _turn = self.turn();
        let now = clock::now();
        let mut under_way = 0;
        for entry in self.spool.entries().map_err(spool_fault)? {
            if let Some(ended) = entry.end() {
                if !entry.is_told() {
                    info!(run.id = %entry.run, state = ended.end.state().as_str(), "a run is over");
                    self.outbox.push(Report::Operation(ended)).map_err(|e: JournalError| Fault::from(e))?;
                    entry.put_told().map_err(spool_fault)?;
                } else if now.since(ended.ended_at) > KEEP_MS {
                    self.spool.forget(&entry, &ended).map_err(spool_fault)?;
                }
                continue;
            }
            under_way += 1;
            if let Some(why) = abandoned(&entry, now) {
                give_up(&entry, RunEnd::Lost(why)).map_err(spool_fault)?;
            }
        }
        if is_sweep {
            self.spool.prune(now.plus_ms(-REMEMBER_MS)).map_err(spool_fault)?;
        }
        Ok(under_way)
    }

    fn give_up(&self, run: RunId, end: RunEnd) -> Result<(), Fault> {
        match self.spool.entry(run) {
            Some(entry) => give_up(&entry, end).map_err(spool_fault),
            None => Ok(()),
        }
    }
}

/// Returns why nobody watches over a run, if that is so.
fn abandoned(entry: &Entry, now: UnixMs) -> Option<String> {
    match entry.begun() {
        Some(begun) if !begun.process.is_of_this_boot() => Some("the machine was restarted while it ran".to_owned()),
        Some(begun) if !begun.process.is_alive() => Some("what watched over it was killed".to_owned()),
        Some(_) => None,
        None => {
            // UUIDv7 holds the controller's clock; the directory's time is this machine's.
            let put = std::fs::metadata(entry.dir.join("order.json")).and_then(|m| m.modified()).ok()?;
            let put = UnixMs(put.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as i64);
            (now.since(put).abs() > BEGIN_MS).then(|| "it did not begin".to_owned())
        }
    }
}

/// Ends a run that has nobody, unless somebody has it after all.
fn give_up(entry: &Entry, end: RunEnd) -> io::Result<()> {
    let Some(_lock) = entry.lock()? else { return Ok(()) };
    if entry.end().is_some() {
        return Ok(());
    }
    let operation = entry.order().map_or(OperationId::from_uuid(Uuid::nil()), |o| o.operation);
    let begun = entry.begun();
    let mut ended = never_begun(entry.run, operation, end);
    ended.started_at = begun.map_or(ended.started_at, |b| b.at);
    ended.output_bytes = output::total(&entry.dir);
    entry.put_end(&ended)
}

fn never_begun(run: RunId, operation: OperationId, end: RunEnd) -> OperationRun {
    let now = clock::now();
    OperationRun {
        run,
        operation,
        started_at: now,
        ended_at: now,
        end,
        output_bytes: 0,
        output_hash: ContentHash::of(b""),
        found: None,
    }
}

/// Checks that a script is what the controller means, and that nobody but root and who runs it could change it before it
/// starts.
fn script(root: &Root, path: &str, expected: ContentHash, runs_as: &Account) -> Result<(), Fault> {
    let differs = |what: &str| {
        let text = format!("{path} {what}; converge the node, or decide about the drift, before running it");
        Fault::lasting("operation.script_differs", text)
    };
    match root.look(path, 0).map_err(|e| e.to_fault())? {
        Seen::File { bytes, .. } if ContentHash::of(&bytes) != expected => Err(differs("is not as its object says")),
        Seen::File { meta, .. } => {
            let is_owned = [0, root.euid(), runs_as.uid].contains(&meta.uid);
            // With an access list the bits of the group are its mask: somebody who is named there may write.
            let is_open = meta.xattrs.contains_key("system.posix_acl_access")
                || !root.accounts().is_group_harmless(meta.gid, runs_as.uid);
            let is_shared = meta.mode & 0o002 != 0 || (meta.mode & 0o020 != 0 && is_open);
            if is_owned && !is_shared {
                return Ok(());
            }
            let text = format!(
                "{path} can be changed by others than root and the user that it runs as (owner {}, group {}, mode {:04o}), \
                 also between this look and its start; let it belong to root, with mode 0755",
                meta.uid, meta.gid, meta.mode
            );
            Err(Fault::lasting("operation.script_loose", text))
        }
        Seen::Absent => Err(differs("is not there")),
        Seen::Directory { .. } | Seen::Link { .. } => Err(differs("is no file")),
    }
}

fn spool_fault(error: io::Error) -> Fault {
    Fault::passing("operation.spool", format!("the spool of runs can't be used: {error}"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Fault::passing("operation.spool", error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_script_that_others_could_change_is_not_run() {
        let dir = tempfile::tempdir().expect("a directory");
        for made in ["etc", "srv"] {
            fs::create_dir(dir.path().join(made)).expect("made");
        }
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:61001:61001::/home/ann:/bin/sh\n";
        fs::write(dir.path().join("etc/passwd"), passwd).expect("written");
        let groups = |members: &str| {
            fs::write(dir.path().join("etc/group"), format!("root:x:0:\nann:x:61001:{members}\n")).expect("written");
        };
        groups("");
        let tool = dir.path().join("srv/tool");
        fs::write(&tool, "#!/bin/sh\n").expect("written");
        let root = Root::open(dir.path()).expect("a root");
        let [as_root, as_ann] = ["root", "ann"].map(|name| root.accounts().user(name).expect("known"));
        let hash = ContentHash::of(b"#!/bin/sh\n");
        let said = |mode: u32, expected, runs_as: &Account| {
            fs::set_permissions(&tool, fs::Permissions::from_mode(mode)).expect("set");
            script(&root, "/srv/tool", expected, runs_as).map_err(|fault| fault.code)
        };
        assert_eq!(said(0o755, hash, &as_root), Ok(()));
        assert_eq!(said(0o755, ContentHash::of(b"else"), &as_root), Err("operation.script_differs".into()));
        assert_eq!(said(0o757, hash, &as_root), Err("operation.script_loose".into()), "everybody may write");
        if nix::unistd::geteuid().is_root() {
            let group = nix::unistd::Gid::from_raw(61001);
            nix::unistd::chown(&tool, None, Some(group)).expect("given");
            assert_eq!(said(0o755, hash, &as_root), Ok(()), "its group may only read");
            assert_eq!(said(0o775, hash, &as_root), Err("operation.script_loose".into()), "ann's group may write");
            assert_eq!(said(0o775, hash, &as_ann), Ok(()), "who runs it is ann");
            groups("root,ann,bob");
            assert_eq!(said(0o775, hash, &as_ann), Ok(()), "nobody who exists but root and ann");
            fs::write(dir.path().join("etc/passwd"), format!("{passwd}bob:x:61002:61002::/:/bin/sh\n"))
                .expect("written");
            assert_eq!(said(0o775, hash, &as_ann), Err("operation.script_loose".into()), "bob is in the group too");
            nix::unistd::chown(&tool, Some(nix::unistd::Uid::from_raw(61001)), None).expect("given");
            assert_eq!(said(0o755, hash, &as_root), Err("operation.script_loose".into()), "ann's, run by root");
            assert_eq!(said(0o755, hash, &as_ann), Ok(()), "ann's own");
        }
    }
}
