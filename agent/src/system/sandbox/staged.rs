//! A check by a program that wants files in its hands: `nginx -t -c FILE`, `systemd-analyze verify UNIT`.
//!
//! Two steps, each a process of its own. [`enter`] takes namespaces of mounts, processes and network, puts what is to be
//! checked into memory below `/tmp`, lays empty memory over the few places that such programs write to ([`SCRATCH`]), makes
//! everything else read-only, and waits. [`become_checker`] runs as the first process of that namespace, so that nothing
//! outlives it: it becomes `nobody`, gives up what it could gain, and then is the program. What it may read is what
//! everybody may read on the node, and no private key of root's: what it says travels to the controller, and the program is
//! an operator's choice.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd::{Gid, Uid, setgroups},
};
use serde::{Deserialize, Serialize};

use super::{Helper, LIMIT, NOBODY, SandboxError, exec, failed, make_read_only};
use crate::system::run::{Output, Program, RunError, run};

/// What goes before the program on the command line of the first step, and of the second.
pub(super) const STAGED: &str = "--staged";
pub(super) const SCRATCH_STEP: &str = "--scratch";
/// Where the files stand for the program.
const STAGE: &str = "/tmp/check";
/// What programs write to while they check: their own pid files and logs. Empty memory, gone afterwards.
const SCRATCH: [&str; 6] = ["/tmp", "/var/tmp", "/run", "/var/log", "/var/lib/nginx", "/var/cache/nginx"];
const ROOM: &str = "mode=0755,size=16m,nr_inodes=4k";
/// How many directories of such a place are there for the program, and how deep.
const MAX_DIRECTORIES: usize = 512;
const MAX_DEPTH: usize = 3;
/// A content has at most 1 MiB; in JSON a byte may take four letters.
const MAX_INPUT: u64 = 16 << 20;

/// What a program shall check.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Staged {
    /// Files by their path below the stage: `nginx.conf`, `app.service.d/lampas.conf`.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Staged {
    /// Returns the path of a file, as the program sees it.
    pub(crate) fn path(name: &str) -> String {
        format!("{STAGE}/{name}")
    }
}

/// Runs a program over staged files.
pub(crate) fn check(helper: &Helper, staged: &Staged, program: &[String]) -> Result<Output, RunError> {
    let input = serde_json::to_vec(staged).expect("texts and bytes have a JSON form");
    let mut command =
        Program::new(&helper.path).args(helper.args.iter()).args([STAGED]).args(program).stdin(input).limit(LIMIT);
    for (name, value) in &helper.env {
        command = command.env(name, value);
    }
    run(&command)
}

/// The first step. Returns the program's exit status.
pub(super) fn enter(program: &[String]) -> Result<i32, SandboxError> {
    if !Uid::effective().is_root() {
        return Err(failed("only root can lay out what a program shall check")(nix::Error::EPERM));
    }
    let mut input = Vec::new();
    let read = std::io::stdin().take(MAX_INPUT).read_to_end(&mut input);
    let staged = read.ok().and_then(|_| serde_json::from_slice::<Staged>(&input).ok());
    let staged = staged.ok_or_else(|| failed("what shall be checked can't be read")(nix::Error::EINVAL))?;
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).map_err(failed("no signal at the agent's end"))?;
    let flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWPID;
    unshare(flags).map_err(failed("no namespaces"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(failed("mounts stay shared"))?;
    let places: Vec<&str> = SCRATCH.into_iter().filter(|place| Path::new(place).is_dir()).collect();
    let trees: Vec<Vec<String>> = places.iter().map(|place| directories(place)).collect();
    for (place, tree) in places.iter().zip(trees) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), *place, Some("tmpfs"), flags, Some(ROOM)).map_err(failed("no memory to write to"))?;
        open_up(place);
        for directory in tree {
            if fs::create_dir(&directory).is_ok() {
                open_up(&directory);
            }
        }
    }
    lay_out(&staged).map_err(|e| failed("no place for what shall be checked")(errno(&e)))?;
    // Programs that listen while they check find their addresses; this network leads nowhere.
    for (setting, value) in
        [("ipv4/ip_unprivileged_port_start", "0"), ("ipv4/ip_nonlocal_bind", "1"), ("ipv6/ip_nonlocal_bind", "1")]
    {
        let _ = fs::write(format!("/proc/sys/net/{setting}"), value);
    }
    make_read_only(&places).map_err(failed("mounts can't be made read-only"))?;
    let before = std::env::args().skip(1).take_while(|argument| argument != STAGED);
    let status = Command::new("/proc/self/exe")
        .args(before)
        .arg(SCRATCH_STEP)
        .args(program)
        .stdin(std::process::Stdio::null())
        .status()
        .map_err(|e| failed("the second step can't be started")(errno(&e)))?;
    use std::os::unix::process::ExitStatusExt as _;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// The second step: becomes the program. Returns only when it can't.
pub(super) fn become_checker(program: &[String]) -> SandboxError {
    match give_up() {
        Ok(()) => exec(program),
        Err(error) => error,
    }
}

fn give_up() -> Result<(), SandboxError> {
    if !Uid::effective().is_root() || nix::unistd::getpid().as_raw() != 1 {
        return Err(failed("this step comes after another")(nix::Error::EPERM));
    }
    prctl::set_no_new_privs().map_err(failed("no_new_privs"))?;
    let limits = [
        (Resource::RLIMIT_CPU, 20),
        (Resource::RLIMIT_AS, 4 << 30),
        (Resource::RLIMIT_FSIZE, 4 << 20),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, 1024),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, limit, limit).map_err(failed("limits"))?;
    }
    setgroups(&[]).map_err(failed("groups"))?;
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    nix::unistd::setresgid(gid, gid, gid).map_err(failed("group"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(failed("user"))?;
    // Threads and a few helpers; all end with this process, which is the first of its name space.
    setrlimit(Resource::RLIMIT_NPROC, 512, 512).map_err(failed("limits"))?;
    // The change of user took it away.
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).map_err(failed("no signal at the agent's end"))
}

/// Returns the directories below a place, those above before those below.
fn directories(place: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut level = vec![place.to_owned()];
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for directory in &level {
            let Ok(list) = fs::read_dir(directory) else { continue };
            let below = list.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            next.extend(below.filter_map(|e| e.path().to_str().map(str::to_owned)));
        }
        next.sort();
        found.extend(next.iter().cloned());
        level = next;
        if found.len() > MAX_DIRECTORIES {
            found.truncate(MAX_DIRECTORIES);
            break;
        }
    }
    found
}

fn open_up(directory: &str) {
    // A program that can't write there says so.
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o1777));
}

/// Writes what shall be checked. The names are the agent's own; none leads out all the same.
fn lay_out(staged: &Staged) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o755);
    builder.create(STAGE)?;
    for (name, bytes) in &staged.files {
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let path = format!("{STAGE}/{name}");
        if let Some((directory, _)) = path.rsplit_once('/') {
            builder.create(directory)?;
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.set_permissions(fs::Permissions::from_mode(0o444))?;
    }
    fs::set_permissions(STAGE, fs::Permissions::from_mode(0o755))
}

fn errno(error: &std::io::Error) -> nix::Error {
    error.raw_os_error().map_or(nix::Error::EIO, nix::Error::from_raw)
}
