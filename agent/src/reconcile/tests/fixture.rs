//! A node with a virtual controller.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use lampas_runtime::Tasks;
use lampas_shared::{
    desired::{Content, ContentHash, Generation, NodeDesired, Provenance, Resource, Spec},
    error::Fault,
    fleet::Scope,
    host::{FileMode, GroupName, ManagedPath, UserName, Validator},
    id::{NodeId, ObjectId, SecretValueId},
    object::{DriftPolicy, Kind, ObjectName, Target},
    report::{DriftReport, GenerationReport, Phase},
    time::UnixMs,
};
use lampas_wire::Report;
use tokio::sync::Notify;

use crate::{
    config::{self, Paths},
    host::Tools,
    journal::Journal,
    reconcile::{Handle, Settings, Status, Upstream, open},
    system::sandbox::Helper,
};

/// Which content is given only when the test says so, that it was asked for, and that it may go.
pub(super) type Held = (ContentHash, Arc<Notify>, Arc<Notify>);

/// A controller that is reached or not: by a switch, and not while the node's `/etc/cut` says `yes`.
#[derive(Default)]
pub(super) struct Controller {
    /// A pass that goes on when its test is over has its disk until it ends.
    _dir: Option<Arc<tempfile::TempDir>>,
    pub(super) is_away: AtomicBool,
    pub(super) probes: AtomicU64,
    pub(super) blobs: Mutex<BTreeMap<ContentHash, Vec<u8>>>,
    pub(super) gate: Mutex<Option<Held>>,
    secrets: Mutex<BTreeMap<SecretValueId, String>>,
    /// How many values were fetched.
    pub(super) fetched: AtomicU64,
    /// Values are waited for without an end, as on a link that does not come up.
    pub(super) is_silent: AtomicBool,
    /// How many values were waited for so.
    pub(super) waited_for: AtomicU64,
    root: PathBuf,
}

impl Controller {
    pub(super) fn put_secret(&self, value: SecretValueId, text: &str) {
        self.secrets.lock().expect("not poisoned").insert(value, text.to_owned());
    }

    fn check(&self) -> Result<(), Fault> {
        let is_cut = fs::read_to_string(self.root.join("etc/cut")).is_ok_and(|t| t.starts_with("yes"));
        if is_cut || self.is_away.load(Ordering::SeqCst) {
            return Err(Fault::passing("link.unreachable", "nobody answers"));
        }
        Ok(())
    }
}

impl Upstream for Controller {
    fn fetch_blob(&self, hash: ContentHash) -> BoxFuture<'_, Result<Vec<u8>, Fault>> {
        Box::pin(async move {
            let gate = self.gate.lock().expect("not poisoned").clone().filter(|(held, ..)| *held == hash);
            if let Some((_, asked, may_go)) = gate {
                asked.notify_one();
                may_go.notified().await;
            }
            self.check()?;
            let missing = || Fault::passing("blob.none", "no such content");
            self.blobs.lock().expect("not poisoned").get(&hash).cloned().ok_or_else(missing)
        })
    }

    fn fetch_secret(&self, value: SecretValueId, key: [u8; 32]) -> BoxFuture<'_, Result<Vec<u8>, Fault>> {
        Box::pin(async move {
            if self.is_silent.load(Ordering::SeqCst) {
                self.waited_for.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            self.check()?;
            self.fetched.fetch_add(1, Ordering::SeqCst);
            let missing = || Fault::lasting("secret.missing", "no such value");
            let text = self.secrets.lock().expect("not poisoned").get(&value).cloned().ok_or_else(missing)?;
            let bound = format!("node {} value {value}", node_id());
            Ok(lampas_runtime::seal::seal(&key, bound.as_bytes(), text.as_bytes()).expect("sealed"))
        })
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            self.probes.fetch_add(1, Ordering::SeqCst);
            self.check()
        })
    }
}

pub(super) struct Node {
    pub(super) dir: Arc<tempfile::TempDir>,
    pub(super) id: NodeId,
    pub(super) handle: Handle,
    pub(super) journal: Journal,
    pub(super) controller: Arc<Controller>,
    tasks: Tasks,
}

impl Node {
    /// Starts a node on a new root.
    pub(super) fn start() -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a directory"));
        prepare(dir.path());
        let controller = Controller { root: dir.path().to_owned(), _dir: Some(dir.clone()), ..Controller::default() };
        Self::start_on(dir, Arc::new(controller))
    }

    fn start_on(dir: Arc<tempfile::TempDir>, controller: Arc<Controller>) -> Self {
        let (handle, reconciler, journal) = open_node(dir.path());
        let tasks = Tasks::new();
        let (upstream, owner): (Arc<dyn Upstream>, _) = (controller.clone(), tasks.clone());
        tasks.spawn("reconcile", async move { reconciler.run(upstream, &owner).await });
        Self { dir, id: node_id(), handle, journal, controller, tasks }
    }

    /// Stops the agent.
    pub(super) async fn stop(self) -> (Arc<tempfile::TempDir>, Arc<Controller>) {
        let Self { dir, handle, journal, controller, tasks, .. } = self;
        assert!(tasks.finish(Duration::from_secs(30)).await, "stops in time");
        drop((handle, journal));
        (dir, controller)
    }

    /// Stops the agent, lets something happen, and starts it again on the same disk.
    pub(super) async fn restart(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let (dir, controller) = self.stop().await;
        meanwhile(dir.path());
        Self::start_on(dir, controller)
    }

    pub(super) fn state(&self, counter: u64, resources: Vec<Resource>) -> NodeDesired {
        NodeDesired::new(self.id, Generation { epoch: 1, counter }, resources)
    }

    /// Sends a state and waits until the agent has said what became of it.
    pub(super) async fn send(&self, counter: u64, resources: Vec<Resource>) -> GenerationReport {
        self.handle.desired(self.state(counter, resources)).await.expect("accepted");
        self.wait("the outcome", || self.report(counter, |r| r.phase != Phase::Received)).await
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// Replaces a file in one step, so that no pass can meet it half written.
    pub(super) fn edit(&self, path: &str, text: &str) {
        let (file, beside) = (self.path(path), self.dir.path().join("edited"));
        fs::write(&beside, text).expect("written");
        fs::rename(beside, file).expect("renamed");
    }

    pub(super) fn reports(&self) -> Vec<Report> {
        self.journal.outbox().pending(0, usize::MAX).expect("read").into_iter().map(|(_, r)| r).collect()
    }

    /// Returns the last report of a generation that fits.
    pub(super) fn report(&self, counter: u64, fits: impl Fn(&GenerationReport) -> bool) -> Option<GenerationReport> {
        self.reports().into_iter().rev().find_map(|report| match report {
            Report::Generation(r) if r.generation.counter == counter && fits(&r) => Some(r),
            _ => None,
        })
    }

    pub(super) fn drifts(&self) -> Vec<DriftReport> {
        let drift = |report| match report {
            Report::Drift(drift) => Some(drift),
            _ => None,
        };
        self.reports().into_iter().filter_map(drift).collect()
    }

    pub(super) async fn status(&self) -> Status {
        self.handle.status().await.expect("told")
    }

    /// Waits for a state.
    pub(super) async fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let limit = tokio::time::Instant::now() + Duration::from_secs(60);
        let mut changed = self.journal.outbox().subscribe();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let in_time = tokio::time::Instant::now() < limit;
            assert!(in_time, "waited for {what} in vain; reports: {:#?}", self.reports());
            let _ = tokio::time::timeout(Duration::from_millis(20), changed.changed()).await;
        }
    }
}

pub(super) fn node_id() -> NodeId {
    NodeId::from_uuid(uuid::Uuid::from_u128(7))
}

/// Makes what a root needs.
pub(super) fn prepare(root: &Path) {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("chmod");
    for directory in ["etc", "opt", "var/lib/lampas/agent"] {
        fs::create_dir_all(root.join(directory)).expect("made");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("written");
    fs::write(root.join("etc/group"), "root:x:0:\n").expect("written");
}

/// Opens journal and reconciler, with a minute of confirmation that is a second long.
pub(super) fn open_node(root: &Path) -> (Handle, crate::reconcile::Reconciler, Journal) {
    let paths = Paths::new(root);
    // The store lets go of its file in threads of its own, a moment after the last agent of this root dropped it.
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    let journal = loop {
        match Journal::open(&paths.journal()) {
            Err(error) if format!("{error:?}").contains("WouldBlock") && std::time::Instant::now() < limit => {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => break opened.expect("opens"),
        }
    };
    let settings = Settings {
        node: node_id(),
        paths,
        times: config::Reconcile { confirm_secs: 1, full_look_secs: 600, retry_secs: 1 },
        wrapper: "/usr/bin/lampas-agent".into(),
        tools: Tools { sandbox: Helper { path: "/nonexistent".into(), args: Vec::new(), env: Vec::new() } },
    };
    let (handle, reconciler) = open(settings, journal.clone()).expect("opens");
    (handle, reconciler, journal)
}

pub(super) fn file(path: &str, text: &str) -> Resource {
    let seed = ContentHash::of(path.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&seed.as_bytes()[..16]);
    Resource {
        target: Target::path(path),
        object: ObjectId::from_uuid(uuid::Uuid::from_bytes(id)),
        kind: Kind::File,
        name: ObjectName::parse(path.rsplit('/').next().expect("a name")).expect("a name"),
        scope: Scope::Fleet,
        drift: DriftPolicy::Hold,
        provenance: Provenance {
            revision: 3,
            author: "ann".into(),
            at: UnixMs(0),
            reason: "tidy".into(),
            change: 118,
            approval: lampas_shared::desired::Approval::Unknown,
        },
        on_change: Vec::new(),
        spec: Spec::File {
            path: ManagedPath::parse(path).expect("a path"),
            content: Content::of(text.as_bytes()),
            owner: UserName::root(),
            group: GroupName::root(),
            mode: FileMode::new(0o644).expect("a mode"),
            validate: None,
        },
    }
}

pub(super) fn with_policy(resource: Resource, drift: DriftPolicy) -> Resource {
    Resource { drift, ..resource }
}

pub(super) fn json(path: &str, text: &str) -> Resource {
    let mut resource = file(path, text);
    if let Spec::File { validate, .. } = &mut resource.spec {
        *validate = Some(Validator::Json);
    }
    resource
}
