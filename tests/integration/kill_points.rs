//! `kill -9` at every write of the agent: before each writing system call of an apply, and of an undo, one agent dies.
//!
//! Debian's strace sends the signal when a thread enters its n-th call of a kind, for n = 1, 2, 3 … until a pass gets through
//! untouched. What stands then is old or new, file by file; the next start brings all of it to one state, without the
//! controller; with it, the generation is reported once. Every point that an untouched pass has must have been hit.

mod picture;
mod sweep;
mod trial;

use std::{collections::BTreeMap, fs, path::Path, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use lampas_tests::{Controller, Node, wait_for};
use serde_json::Value;

use picture::{Entry, Picture, check_torn, picture};
use sweep::{Sweep, points};
use trial::{STRACE, Traced, Trial, Undo, agent_status, is_through, left_status};

/// Every call that changes a file or a directory; a question mark lets strace pass over one that this machine hasn't got.
const CALLS: &[&str] = &[
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "?rename",
    "renameat",
    "renameat2",
    "?link",
    "linkat",
    "?unlink",
    "unlinkat",
    "?rmdir",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "fallocate",
    "?chmod",
    "fchmod",
    "fchmodat",
    "?chown",
    "fchown",
    "fchownat",
    "?symlink",
    "symlinkat",
    "?mkdir",
    "mkdirat",
    "utimensat",
    "fsetxattr",
];

const FOREIGN_HOSTS: &str = "127.0.0.1\tlocalhost\n# mine \t \n10.9.9.9   by-hand\n";
const FOREIGN_TABLE: &str = "# mine\nMAILTO=ann\n5 4 * * *   mine\n";
const FOREIGN_MOTD: &str = "written by hand";

const OLD: &str = r##"
[[cron]]
name = "changes"
scope = "role:app"
schedule = "1 * * * *"
command = "true"
[[cron]]
name = "goes"
scope = "role:app"
schedule = "2 * * * *"
command = "true"
[[cron]]
name = "own-table"
scope = "role:app"
schedule = "3 * * * *"
user = "www-data"
table = "user"
command = "true"
[[hosts]]
name = "db"
scope = "role:app"
address = "10.0.0.1"
names = ["db"]
[[file]]
name = "conf"
scope = "role:app"
path = "/srv/conf"
owner = "www-data"
group = "www-data"
mode = "0640"
content = "old\n"
[[file]]
name = "motd"
scope = "role:app"
path = "/etc/motd"
content = "LAMPAS's\n"
[[script]]
name = "tool"
scope = "role:app"
path = "/usr/local/bin/tool"
content = "#!/bin/sh\necho old\n"
[[link]]
name = "current"
scope = "role:app"
path = "/srv/current"
target = "/srv/one"
[[directory]]
name = "changes"
scope = "role:app"
path = "/srv/changes"
mode = "0755"
[[directory]]
name = "goes"
scope = "role:app"
path = "/srv/goes"
[[sudoers]]
name = "operators"
scope = "role:app"
content = "www-data ALL=(root) NOPASSWD: /usr/bin/id\n"
"##;

/// The same with everything changed, something new, and something gone.
fn new_manifest() -> String {
    let mut text = OLD.to_owned();
    for (old, new) in [
        ("schedule = \"1 ", "schedule = \"11 "),
        ("schedule = \"3 ", "schedule = \"33 "),
        ("10.0.0.1", "10.0.0.2"),
        ("content = \"old\\n\"", "content = \"new\\n\""),
        ("group = \"www-data\"\nmode = \"0640\"", "group = \"adm\"\nmode = \"0600\""),
        ("echo old", "echo new"),
        ("/srv/one", "/srv/two"),
        ("mode = \"0755\"", "mode = \"0750\"\ngroup = \"www-data\""),
        ("/usr/bin/id", "/usr/bin/who"),
        ("name = \"goes\"", "name = \"goes\"\nstate = \"absent\""),
        ("name = \"motd\"", "name = \"motd\"\nstate = \"absent\""),
    ] {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    text + "[[file]]\nname = \"more\"\nscope = \"role:app\"\npath = \"/srv/changes/new\"\ncontent = \"new\\n\"\n\
            [[directory]]\nname = \"more\"\nscope = \"role:app\"\npath = \"/srv/more\"\nmode = \"1777\"\n"
}

/// A fleet whose nodes have the new state in their journal and the old one on their disks; the controller is away.
struct Fleet {
    controller: Controller,
    nodes: Vec<Node>,
    /// The generation that was received.
    received: String,
    old: Picture,
    new: Picture,
    /// The first node, as it became when nobody killed it; and what it called meanwhile.
    whole: Trial,
}

impl Fleet {
    /// `None`, with a loud line, where that takes more power than the tests have.
    fn start(size: usize) -> Result<Option<Self>> {
        if !nix::unistd::geteuid().is_root() || !Path::new(STRACE).exists() {
            eprintln!("SKIP: killing at system calls needs root and Debian's strace; nothing was tested");
            return Ok(None);
        }
        let mut controller = Controller::start()?;
        let mut nodes = Vec::new();
        for n in 0..size {
            nodes.push(foreign_node(&controller, &format!("web-{n}"))?);
        }
        controller.apply(OLD)?;
        let received = receive_paused(&controller, &mut nodes)?;
        controller.kill();
        let snapshot = nodes[0].root();
        let old = picture(&snapshot)?;
        set_ahead(&snapshot, &old)?;
        let whole = Trial::begin(&snapshot, &CALLS.join(","), None, None)?;
        ensure!(whole.end()?.is_none(), "nobody kills it");
        let new = picture(&whole.root())?;
        for shown in [&old, &new] {
            let text = |path: &str| shown.get(path).and_then(Entry::text).unwrap_or_default();
            assert!(text("etc/hosts").starts_with(FOREIGN_HOSTS), "{}", text("etc/hosts"));
            assert!(text("var/spool/cron/crontabs/www-data").starts_with(FOREIGN_TABLE), "{shown:#?}");
        }
        assert_eq!(new["etc/motd"].text().as_deref(), Some(FOREIGN_MOTD), "what stood before is back");
        Ok(Some(Self { controller, nodes, received, old, new, whole }))
    }
}

/// Dates all files an hour ahead. A new file is to be newer than the one before, whose time is set for that where the clock
/// gives less: so it is for each of them, always, and not only where a pass follows another within a second.
fn set_ahead(root: &Path, shown: &Picture) -> Result<()> {
    for path in shown.keys().map(|p| root.join(p)).filter(|p| p.symlink_metadata().is_ok_and(|m| m.is_file())) {
        let file = fs::File::options().append(true).open(path)?;
        file.set_modified(file.metadata()?.modified()? + std::time::Duration::from_secs(3600))?;
    }
    Ok(())
}

#[test]
fn slow_agents_killed_at_every_write_of_an_apply_leave_files_old_or_new() -> Result<()> {
    let Some(mut fleet) = Fleet::start(6)? else { return Ok(()) };
    let (snapshot, old, new) = (fleet.nodes[0].root(), fleet.old.clone(), fleet.new.clone());
    let wanted = points(&fleet.whole.trace()?, &fleet.whole.root());
    assert!(wanted.iter().filter(|p| p.is_managed()).count() > 30, "{wanted:#?}");
    let sweep = Sweep::new("apply", &wanted);
    sweep.run(&|call, n, about| {
        let trial = Trial::begin(&snapshot, call, Some(n), about)?;
        let hit = trial.end()?;
        check_torn(&picture(&trial.root())?, &[&old, &new])?;
        trial.check_restart(&[("follow", &new)])?;
        Ok(hit)
    })?;
    sweep.print();
    reported_once(&mut fleet.controller, &mut fleet.nodes, &fleet.received, &new)
}

/// The way back on the node, from a new state that no controller has confirmed.
#[test]
fn slow_agents_killed_at_every_write_of_an_undo_leave_files_old_or_new() -> Result<()> {
    let Some(fleet) = Fleet::start(1)? else { return Ok(()) };
    let (applied, old, new) = (fleet.whole.root(), fleet.old.clone(), fleet.new.clone());
    let untouched = Undo::begin(&applied, &CALLS.join(","), None, None)?;
    ensure!(untouched.end()?.is_none(), "nobody kills it");
    assert_eq!(picture(&untouched.trial.root())?, old, "an undo leads back to what was");
    let wanted = points(&untouched.trial.trace()?, &untouched.trial.root());
    let sweep = Sweep::new("undo", &wanted);
    sweep.run(&|call, n, about| {
        let begun = Undo::begin(&applied, call, Some(n), about)?;
        let hit = begun.end()?;
        check_torn(&picture(&begun.trial.root())?, &[&old, &new])?;
        begun.trial.check_restart(&[("undone", &old), ("follow", &new)])?;
        Ok(hit)
    })?;
    sweep.print();
    Ok(())
}

/// A node whose files have lines of others.
fn foreign_node(controller: &Controller, name: &str) -> Result<Node> {
    let mut node = Node::prepare(name)?;
    for directory in ["etc/sudoers.d", "usr/local/sbin"] {
        fs::create_dir_all(node.root().join(directory))?;
    }
    fs::write(node.root().join("etc/sudoers"), "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n")?;
    node.write("/etc/hosts", FOREIGN_HOSTS)?;
    node.write("/etc/motd", FOREIGN_MOTD)?;
    node.write("/var/spool/cron/crontabs/www-data", FOREIGN_TABLE)?;
    controller.enrol(&node, "app")?;
    node.resume()?;
    controller.wait_online(name);
    Ok(node)
}

/// Has each node take the new state into its journal and die before it wrote anything; returns the generation.
fn receive_paused(controller: &Controller, nodes: &mut [Node]) -> Result<String> {
    for node in nodes.iter() {
        let (code, said) = node.agent(&["pause", "--reason", "test"])?;
        ensure!(code == 0, "{said}");
    }
    let before = agent_status(&nodes[0].root())?["node"]["generation"].clone();
    let applied = controller.ctl_with(&["apply", "-f", "-"], &new_manifest())?;
    ensure!(applied.code == 0, "{applied:#?}");
    let mut received = String::new();
    for node in nodes {
        received = wait_for("the new state to be journalled", || {
            let status = agent_status(&node.root()).map_err(|e| e.to_string())?;
            let generation = &status["node"]["generation"];
            if *generation == before {
                Err(status.to_string())
            } else {
                Ok(generation.as_str().unwrap_or("?").to_owned())
            }
        });
        // The pause is over when an agent starts again.
        let (code, said) = node.agent(&["pause", "--for", "1s", "--reason", "test"])?;
        ensure!(code == 0, "{said}");
        node.kill();
        ensure!(node.read("/srv/conf")? == "old\n", "it was killed before it went on");
        ensure!(node.read("/usr/local/bin/tool")?.contains("old"), "it was killed before it went on");
    }
    let ended = std::time::Instant::now();
    wait_for("the end of the last pause", || if ended.elapsed().as_secs() > 1 { Ok(()) } else { Err("not yet") });
    Ok(received)
}

/// Kills each node in the middle of its apply, starts it again, and looks at what the controller was told.
fn reported_once(controller: &mut Controller, nodes: &mut [Node], received: &str, new: &Picture) -> Result<()> {
    controller.resume()?;
    for (n, node) in nodes.iter_mut().enumerate() {
        let mut trace =
            Traced::start(&node.root(), node.root().parent().context("a parent")?, "renameat", Some(2 + 3 * n), None)?;
        let before = left_status(&node.root())["applied_at"].clone();
        ensure!(
            trace.settle(&node.root(), &is_through(before))?.is_some(),
            "{} was not killed at rename {}",
            node.name,
            2 + 3 * n
        );
        node.resume()?;
        wait_for("the state to be confirmed", || {
            let status = agent_status(&node.root()).map_err(|e| e.to_string())?;
            let is_done = status["node"]["progress"] == "confirmed" && status["node"]["waiting_reports"] == 0;
            if is_done { Ok(()) } else { Err(status.to_string()) }
        });
        assert_eq!(&picture(&node.root())?.without_name(), &new.without_name());
    }
    let mut told = BTreeMap::<(String, String), usize>::new();
    for event in events(controller)? {
        let (details, node) = (&event["details"], event["node"].as_str().unwrap_or("?"));
        if event["kind"] == "host.node.reported" && details["generation"] == received {
            let what =
                format!("{} {}", details["phase"].as_str().unwrap_or("?"), details["state"].as_str().unwrap_or("?"));
            *told.entry((node.to_owned(), what)).or_default() += 1;
        }
    }
    let count = |what: &str| told.iter().filter(|((_, w), _)| w == what).map(|(_, n)| *n).collect::<Vec<_>>();
    assert_eq!(count("applied converged"), [1; 6], "{told:#?}");
    assert_eq!(count("confirmed converged"), [1; 6], "{told:#?}");
    Ok(())
}

/// All events up to now.
fn events(controller: &Controller) -> Result<Vec<Value>> {
    // An act of its own ends the stream.
    controller.ctl_ok(&["group", "create", "the-end"])?;
    let mut command = controller.ctl_command(&["events", "--after", "0", "--output", "json"])?;
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().context("a pipe")?));
    let mut found = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line?)?;
        let is_end = event.to_string().contains("the-end");
        found.push(event);
        if is_end {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(found)
}
