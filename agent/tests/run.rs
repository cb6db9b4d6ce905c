//! The real `lampas-agent` on a root of its own, without any controller: what it promises alone, and what an operator on
//! the node can ask of it.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use lampas_agent::{
    config::{self, Paths},
    host::Tools,
    journal::Journal,
    reconcile::{Settings, open},
    system::sandbox::Helper,
};
use lampas_runtime::{
    clock,
    identity::{Identity, PrivateKey, Subject, Trust},
    random,
};
use lampas_shared::{
    desired::{Content, Generation, NodeDesired, Provenance, Resource, Spec},
    fleet::Scope,
    host::{FileMode, GroupName, ManagedPath, UserName},
    id::{FleetId, NodeId},
    object::{DriftPolicy, Kind, ObjectName, Target},
    time::UnixMs,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

const AGENT: &str = env!("CARGO_BIN_EXE_lampas-agent");

struct Node {
    dir: tempfile::TempDir,
    id: NodeId,
}

impl Node {
    /// Makes a root with an identity; its controller's address answers nobody.
    fn enrolled() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        for directory in ["etc/lampas", "var/lib/lampas/agent/identity"] {
            fs::create_dir_all(dir.path().join(directory)).expect("made");
        }
        fs::write(dir.path().join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("written");
        fs::write(dir.path().join("etc/group"), "root:x:0:\n").expect("written");
        fs::write(dir.path().join("etc/lampas/agent.toml"), "[link]\ncontrollers = [\"127.0.0.1:9\"]\n")
            .expect("written");
        let (fleet, id): (FleetId, NodeId) = (random::new_id(), random::new_id());
        let (identity, trust) = identity(fleet, id);
        let paths = Paths::new(dir.path());
        identity.store(&paths.identity().join(lampas_agent::link::IDENTITY_FILE)).expect("stored");
        trust.store(&paths.identity().join(lampas_agent::link::TRUST_FILE)).expect("stored");
        Self { dir, id }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Leaves a state in the journal, as if it had arrived right before the agent stopped.
    fn journal(&self, resources: Vec<Resource>) {
        let paths = Paths::new(self.dir.path());
        fs::create_dir_all(paths.journal()).expect("made");
        let journal = Journal::open(&paths.journal()).expect("opens");
        let settings = Settings {
            node: self.id,
            paths,
            times: config::Reconcile::default(),
            wrapper: AGENT.into(),
            tools: Tools { sandbox: Helper { path: AGENT.into(), args: vec!["sandbox".into()], env: Vec::new() } },
        };
        let (handle, _reconciler) = open(settings, journal).expect("opens");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let state = NodeDesired::new(self.id, Generation { epoch: 1, counter: 1 }, resources);
        runtime.block_on(handle.desired(state)).expect("journalled");
    }

    fn run(&self) -> Running {
        let log = fs::File::create(self.path("agent.log")).expect("made");
        let process = Command::new(AGENT)
            .args(["run", "--root"])
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("started");
        let mut running = Running(process);
        wait_for("the agent's socket", || {
            assert!(running.0.try_wait().expect("known").is_none(), "ended: {}", self.log());
            self.ask(&["status"]).status.code().is_some_and(|c| c != 1)
        });
        running
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    fn ask(&self, args: &[&str]) -> Output {
        Command::new(AGENT).args(args).arg("--root").arg(self.dir.path()).output().expect("runs")
    }

    fn text_of(&self, args: &[&str], code: i32) -> String {
        let output = self.ask(args);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}\n{}", self.log());
        text
    }
}

struct Running(Child);

impl Running {
    fn stop(&mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("told");
        self.0.wait().expect("reaped").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Stopped already, unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn identity(fleet: FleetId, node: NodeId) -> (Identity, Trust) {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut root = CertificateParams::new(Vec::new()).expect("parameters");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = root.self_signed(&key).expect("signed").der().clone();
    let issuer = Issuer::from_ca_cert_der(&root, key).expect("an issuer");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    let at = |t: UnixMs| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(t.0 as u64);
    let day = 24 * 3600 * 1000;
    (params.not_before, params.not_after) = (at(clock::now().plus_ms(-day)), at(clock::now().plus_ms(30 * day)));
    let subject = Subject::node(fleet, node);
    params.subject_alt_names = vec![SanType::URI(subject.to_string().try_into().expect("a URI"))];
    let own = PrivateKey::generate().expect("a key");
    let certificate = params.signed_by(own.signing(), &issuer).expect("signed").der().clone();
    (Identity::new(own, vec![certificate]).expect("ours"), Trust { fleet, roots: vec![root] })
}

fn file(path: &str, text: &str) -> Resource {
    Resource {
        target: Target::path(path),
        object: random::new_id(),
        kind: Kind::File,
        name: ObjectName::parse("greeting").expect("a name"),
        scope: Scope::Fleet,
        drift: DriftPolicy::Hold,
        provenance: Provenance {
            revision: 2,
            author: "ann".into(),
            at: UnixMs(0),
            reason: "be kind\u{1b}[2J".into(),
            change: 7,
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

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < Duration::from_secs(60), "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[test]
fn without_a_controller_it_makes_true_what_it_journalled_and_answers_on_the_node() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: files of root can be made by root alone");
        return;
    }
    let node = Node::enrolled();
    node.journal(vec![file("/etc/motd", "hello\n")]);
    let motd = node.path("etc/motd");
    let mut agent = node.run();
    wait_for("the file", || read(&motd).is_some_and(|t| t == "hello\n"));

    let status = node.text_of(&["status"], 0);
    assert!(status.contains("not connected") && status.contains("1.1") && status.contains("1 in force"), "{status}");
    let json: serde_json::Value =
        serde_json::from_slice(&node.ask(&["status", "--output", "json"]).stdout).expect("JSON");
    assert_eq!(json["node"]["resources"][0]["state"], "converged");
    assert!(node.text_of(&["plan"], 0).contains("nothing to do"));
    let why = node.text_of(&["why", "/etc/motd:1"], 0);
    assert!(
        why.contains("file greeting (fleet), revision 2, by ann") && why.contains("lampasctl change revert 7"),
        "{why}"
    );
    assert!(!why.contains('\u{1b}'), "a terminal would obey {why:?}");
    assert!(node.text_of(&["why", "/etc/passwd"], 1).contains("is not LAMPAS's"));

    let socket = fs::metadata(node.path("run/lampas/agent.sock")).expect("there");
    assert!(socket.file_type().is_socket() && socket.permissions().mode() & 0o777 == 0o600);
    let second = node.ask(&["run"]);
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && text.contains("an agent is running already"), "{text}");

    assert!(node.text_of(&["pause", "--for", "2h", "--reason", "disk swap"], 0).contains("paused until"));
    assert!(node.text_of(&["status"], 0).contains("disk swap"));
    node.text_of(&["resume"], 0);
    node.text_of(&["undo"], 0);
    assert_eq!(read(&motd), None, "before the first generation there was nothing");
    node.text_of(&["resume"], 0);
    wait_for("the file again", || read(&motd).is_some_and(|t| t == "hello\n"));

    let rss = memory(agent.0.id(), "VmRSS:");
    println!(
        "an idle agent holds {} KiB, of which its own {} KiB",
        rss / 1024,
        memory(agent.0.id(), "RssAnon:") / 1024
    );
    assert!(rss < 64 << 20, "an idle agent holds {rss} bytes");
    assert_eq!(agent.stop(), Some(0), "{}", node.log());
    assert!(!node.path("run/lampas/agent.sock").exists());
    assert!(node.text_of(&["status"], 1).contains("no agent runs here"));
    assert!(node.text_of(&["why", "/etc/motd"], 0).contains("by ann"), "works without the agent");
}

#[test]
fn a_node_that_is_not_enrolled_is_told_how_to_join() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(AGENT).args(["run", "--root"]).arg(dir.path()).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("lampas-agent enrol --controller"), "{text}");
}

#[test]
fn mistakes_in_the_configuration_are_told_with_their_place() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("etc/lampas")).expect("made");
    fs::write(dir.path().join("etc/lampas/agent.toml"), "[reconcile]\nconfirm_sec = 3\nretry_secs = 0\n")
        .expect("written");
    let check = || Command::new(AGENT).args(["config", "check", "--root"]).arg(dir.path()).output().expect("runs");
    let text = String::from_utf8_lossy(&check().stderr).into_owned();
    assert!(text.contains("line 2: reconcile.confirm_sec") && text.contains("reconcile.retry_secs"), "{text}");
    fs::write(dir.path().join("etc/lampas/agent.toml"), "").expect("written");
    assert!(check().status.success());
}

fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("read");
    let line = status.lines().find_map(|l| l.strip_prefix(field)).expect("there");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}
