//! `lampas-agent run-step RUN`: becomes the program, as its user. A process of its own, so that nothing needs code between
//! `fork` and `exec`.

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
};

use lampas_shared::{
    check::ScriptDraft,
    error::Fault,
    id::RunId,
    operation::{ProbeOrder, RunOrder},
    probe::Found,
};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Gid, Uid, execve, getgrouplist, getppid, initgroups, setgroups, setresgid, setresuid},
};

use super::{judge, spool::Entry, unshared};
use crate::{
    config::Paths,
    policy::Ruling,
    system::{Account, Root},
};

/// The exit status when the program did not start; why stands in the spool.
pub(super) const NOT_STARTED: i32 = 125;
/// Where programs without a path are looked for.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the node itself.
    Node,
    /// In the copy of a rehearsal that the step before made.
    Copy,
}

/// Becomes the program of a run; returns only when it can't, or when it watched over a rehearsal, with the exit status.
pub fn become_program(paths: &Paths, run: RunId, place: Place) -> i32 {
    let entry = Entry::of(paths, run);
    if place == Place::Node && entry.order().is_some_and(|order| order.rehearse) {
        return match unshared::rehearse(paths, &entry) {
            Ok(status) => status,
            Err(fault) => {
                let written = serde_json::to_vec(&fault).expect("plain values have a JSON form");
                let _ = std::fs::write(entry.dir.join("refused"), written);
                NOT_STARTED
            }
        };
    }
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(entry.dir.join("refused"));
    // Opened before root is given up; it closes when the program begins.
    let Ok(mut refused) = opened else { return NOT_STARTED };
    let asked = entry.order().and_then(|order| order.probe).map(|probe| ask(paths, &entry, &probe));
    let fault = match asked.unwrap_or_else(|| go(paths, &entry).map(|never| match never {})) {
        Ok(status) => return status,
        Err(fault) => fault,
    };
    let _ = serde_json::to_writer(&mut refused, &fault);
    let _ = refused.flush();
    NOT_STARTED
}

/// Asks in place of a program; leaves what was found for the record. Returns 0 when it holds, else 1.
fn ask(paths: &Paths, entry: &Entry, order: &ProbeOrder) -> Result<i32, Fault> {
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).map_err(|e| start(format!("no signal at the shim's end: {e}")))?;
    // Opened before root is given up.
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(entry.dir.join("found"));
    let mut file = opened.map_err(|e| start(format!("what is found can't be put down: {e}")))?;
    let answer = crate::probe::ask(order, paths, &mut std::io::stdout())?;
    let found = serde_json::to_vec(&answer.found).expect("plain values have a JSON form");
    file.write_all(&found).map_err(|e| start(format!("what was found can't be put down: {e}")))?;
    Ok(i32::from(!answer.holds))
}

/// Returns what a probe found. It was written by a process without power, which outside input went through.
pub(super) fn found(entry: &Entry) -> Option<Found> {
    let mut text = Vec::new();
    File::open(entry.dir.join("found")).ok()?.take(64 << 10).read_to_end(&mut text).ok()?;
    let found: Found = serde_json::from_slice(&text).ok()?;
    Some(Found::new(&found.text, found.value))
}

/// Returns why the program did not start, if it didn't.
pub(super) fn failure(entry: &Entry) -> Option<Fault> {
    let mut text = Vec::new();
    File::open(entry.dir.join("refused")).ok()?.take(64 << 10).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn go(paths: &Paths, entry: &Entry) -> Result<std::convert::Infallible, Fault> {
    let order = entry.order().ok_or_else(|| start("the order can't be read"))?;
    let root = Root::open(paths.root()).map_err(|e| e.to_fault())?;
    let user = account(&root, &order)?;
    let values = super::secret::of_run(paths, entry, &order)?;
    // Read while the policy can be.
    let gains_nothing = judge::gains_nothing(&Ruling::of(paths), &root, order.user.as_str(), &user);
    // A draft stands in memory: nobody but this process and what it becomes reaches it, also in the copy of a rehearsal.
    let draft = order.program.as_ref().map(in_memory).transpose()?;
    let program = match &draft {
        Some(file) => format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)),
        None => program(&root, &order)?,
    };
    // A run that nobody watches over must not go on; and the shim may be gone already.
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).map_err(|e| start(format!("no signal at the shim's end: {e}")))?;
    let shim = getppid();
    if order.rehearse {
        unshared::enter(entry)?;
    }
    std::env::set_current_dir(paths.root()).map_err(|e| start(format!("can't change to the root directory: {e}")))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    if order.rehearse {
        unshared::give_up_power()?;
    }
    become_user(&root, &order, &user)?;
    if gains_nothing {
        prctl::set_no_new_privs().map_err(|e| start(format!("no_new_privs: {}", e.desc())))?;
    }
    // The change of user took the first one away.
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).map_err(|e| start(format!("no signal at the shim's end: {e}")))?;
    if getppid() != shim {
        return Err(start("the shim is gone"));
    }
    let text = |t: &str| CString::new(t).map_err(|_| start("a NUL byte"));
    let mut argv = vec![text(&program)?];
    for word in &order.argv[1..] {
        argv.push(text(word)?);
    }
    let mut env = Vec::new();
    for (name, value) in environment(&order, &user) {
        env.push(text(&format!("{name}={value}"))?);
    }
    for (name, _, value) in &values.0 {
        env.push(text(&format!("{name}={}", value.as_str()))?);
    }
    let path = argv[0].clone();
    let Err(errno) = execve(&path, &argv, &env);
    Err(Fault::lasting("operation.exec", format!("{program} can't be executed: {}", errno.desc())))
}

fn start(why: impl Into<String>) -> Fault {
    Fault::lasting("operation.start", why)
}

fn account(root: &Root, order: &RunOrder) -> Result<Account, Fault> {
    let name = order.user.as_str();
    root.accounts().user(name).ok_or_else(|| {
        Fault::lasting("operation.user_unknown", format!("there is no user {name} on this node; choose another"))
    })
}

/// Puts a draft into a file of memory that stays open over the exec: the interpreter reads it by its descriptor.
fn in_memory(draft: &ScriptDraft) -> Result<File, Fault> {
    let failed = |what: &str, error: &dyn std::fmt::Display| start(format!("the draft can't be {what}: {error}"));
    draft.check().map_err(|e| failed("run", &e))?;
    let made = rustix::fs::memfd_create("draft", rustix::fs::MemfdFlags::empty());
    let mut file = File::from(made.map_err(|e| failed("put into memory", &e))?);
    file.write_all(draft.content.as_bytes()).map_err(|e| failed("put into memory", &e))?;
    Ok(file)
}

/// Finds the program. A script stands below the agent's root; a command is the machine's own.
fn program(root: &Root, order: &RunOrder) -> Result<String, Fault> {
    let given = order.argv.first().map(String::as_str).unwrap_or_default();
    if order.expect.is_some() {
        return Ok(root.path().join(given.trim_start_matches('/')).display().to_string());
    }
    find(given).ok_or_else(|| {
        let text = format!("there is no program {given} in {PATH}; install it, or give its absolute path");
        Fault::lasting("operation.program_unknown", text)
    })
}

pub(super) fn find(given: &str) -> Option<String> {
    if given.starts_with('/') {
        return Some(given.to_owned());
    }
    let is_program =
        |path: &String| std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    PATH.split(':').map(|dir| format!("{dir}/{given}")).find(is_program)
}

fn become_user(root: &Root, order: &RunOrder, user: &Account) -> Result<(), Fault> {
    if !Uid::effective().is_root() {
        if user.uid == Uid::effective().as_raw() {
            return Ok(());
        }
        let text = format!("this agent is not root and can't run anything as {}", order.user);
        return Err(Fault::lasting("operation.user_denied", text));
    }
    let denied =
        |what: &str, errno: nix::Error| start(format!("can't take {what} of {}: {}", order.user, errno.desc()));
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let name = CString::new(order.user.as_str()).map_err(|_| start("a NUL byte"))?;
    // Below another root the machine's groups say nothing of its users.
    if root.is_system() && getgrouplist(&name, gid).is_ok() {
        initgroups(&name, gid).map_err(|e| denied("the groups", e))?;
    } else {
        setgroups(&[gid]).map_err(|e| denied("the groups", e))?;
    }
    setresgid(gid, gid, gid).map_err(|e| denied("the group", e))?;
    setresuid(uid, uid, uid).map_err(|e| denied("the user", e))
}

fn environment(order: &RunOrder, user: &Account) -> Vec<(String, String)> {
    let name = order.user.to_string();
    let standard = [
        ("PATH", PATH.to_owned()),
        ("HOME", user.home.clone()),
        ("USER", name.clone()),
        ("LOGNAME", name),
        ("SHELL", "/bin/sh".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("LAMPAS_RUN", order.run.to_string()),
        ("LAMPAS_OPERATION", order.operation.to_string()),
        ("LAMPAS_BY", order.by.clone()),
    ];
    let given = order.environment.iter().map(|(n, v)| (n.to_string(), v.clone()));
    standard.into_iter().map(|(n, v)| (n.to_owned(), v)).chain(given).collect()
}
