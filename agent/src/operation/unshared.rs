//! Rehearsals: a run in a copy of the node's files and without a network, and what it would have changed.
//!
//! The copy is an overlay over the root file system and over each file system of disk or memory below it; what is
//! written goes to memory. Two steps make it. The outer one ([`rehearse`]) takes a mount and a process namespace, makes
//! the overlays, starts the inner one, waits, and compares what the overlays hold with what stands on the node. The inner
//! one ([`enter`]) makes the overlays its root, takes a network without interfaces, its own `/proc`, a bare `/dev` and an
//! empty `/run`, so that no socket leads out, and gives up what reaches past a file system: loading modules, mounting,
//! devices, the clock, tracing. It is a rehearsal, not a cage: what a program can do without writing a file or a network
//! is done.

mod changed;

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use lampas_shared::error::Fault;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal},
    unistd::pivot_root,
};
use rustix::thread::CapabilitySet;

use self::changed::{Layer, tell};
use super::spool::Entry;
use crate::config::Paths;

/// How much a rehearsal may write: it is in memory.
const ROOM: &str = "mode=0700,size=256m";
/// File systems whose content is files: overlaid. Of others (`proc`, `sysfs`, …) the copy has its own, or nothing.
const COPIED: [&str; 12] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "tmpfs", "overlay", "vfat", "nfs", "nfs4"];
/// Below these the copy has its own.
const OWN: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];
/// What would reach past the copy.
const POWERS: [CapabilitySet; 15] = [
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_BOOT,
    CapabilitySet::SYS_TIME,
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::SYS_CHROOT,
    CapabilitySet::SYSLOG,
    CapabilitySet::MKNOD,
    CapabilitySet::AUDIT_CONTROL,
    CapabilitySet::AUDIT_WRITE,
    CapabilitySet::MAC_ADMIN,
    CapabilitySet::MAC_OVERRIDE,
    CapabilitySet::WAKE_ALARM,
    CapabilitySet::BLOCK_SUSPEND,
];

/// Where the copy is made, below the run's directory.
fn copy_of(entry: &Entry) -> PathBuf {
    entry.dir.join("copy")
}

/// Makes the copy, runs the next step in it, and puts down what changed. Returns the program's exit status.
///
/// # Errors
/// When the kernel does not permit it: then nothing ran.
pub(super) fn rehearse(paths: &Paths, entry: &Entry) -> Result<i32, Fault> {
    let failed = |what: &str, errno: Errno| refused(&format!("{what}: {}", errno.desc()));
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).map_err(|e| failed("no signal at the shim's end", e))?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).map_err(|e| failed("no namespaces", e))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|e| failed("mounts stay shared", e))?;
    let copy = copy_of(entry);
    fs::create_dir_all(&copy).map_err(|e| refused(&format!("no place for the copy: {e}")))?;
    mount(Some("tmpfs"), &copy, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(ROOM))
        .map_err(|e| failed("no memory for the copy", e))?;
    let layers = overlay(&copy)?;
    let inner = std::env::current_exe().map_err(|e| refused(&format!("can't find this program: {e}")))?;
    let status = Command::new(inner)
        .arg("--root")
        .arg(paths.root())
        .args(["run-step", &entry.run.to_string(), "--inside"])
        .env_clear()
        .status()
        .map_err(|e| refused(&format!("can't start in the copy: {e}")))?;
    let mut told = tell(&layers, &entry.dir);
    if let Some(order) = entry.order() {
        told = match super::secret::of_run(paths, entry, &order) {
            Ok(values) => values.patterns().mask_text(&told),
            Err(fault) => format!("(not shown: {})\n", fault.message),
        };
    }
    // What can't be put down is not told; the run itself is.
    let _ = fs::write(entry.dir.join("changes"), told);
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// Overlays the root and the file systems below it.
fn overlay(copy: &Path) -> Result<Vec<Layer>, Fault> {
    let root = copy.join("root");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut points: Vec<String> = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (at, kind) = (fields.nth(1).unwrap_or_default(), fields.next().unwrap_or_default());
        let at = at.replace("\\040", " ");
        let is_own = OWN.iter().any(|own| at == *own || at.starts_with(&format!("{own}/")));
        if at != "/" && !is_own && !Path::new(&at).starts_with(copy) && COPIED.contains(&kind) && !points.contains(&at)
        {
            points.push(at);
        }
    }
    // Each above those below it.
    points.sort();
    let mut layers = vec![layer(copy, &root, "/", 0)?];
    for (number, at) in points.into_iter().enumerate() {
        if Path::new(&at).is_dir() {
            layers.push(layer(copy, &root, &at, number + 1)?);
        }
    }
    Ok(layers)
}

fn layer(copy: &Path, root: &Path, at: &str, number: usize) -> Result<Layer, Fault> {
    let (upper, work) = (copy.join(format!("upper.{number}")), copy.join(format!("work.{number}")));
    let place = root.join(at.trim_start_matches('/'));
    for dir in [&upper, &work, &place] {
        fs::create_dir_all(dir).map_err(|e| refused(&format!("no place for the copy of {at}: {e}")))?;
    }
    // A directory that is written gets the mode of the one below it only when it is the overlay's own root.
    if let Ok(meta) = fs::metadata(at) {
        let _ = fs::set_permissions(&upper, fs::Permissions::from_mode(meta.mode() & 0o7777));
        let _ = std::os::unix::fs::chown(&upper, Some(meta.uid()), Some(meta.gid()));
    }
    if at.contains([',', ':', '\\']) {
        return Err(refused(&format!("the mount point {at} can't be overlaid")));
    }
    let options = format!("lowerdir={at},upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), &place, Some("overlay"), MsFlags::MS_NOSUID, Some(options.as_str()))
        .map_err(|e| refused(&format!("the kernel makes no overlay over {at}: {}", e.desc())))?;
    Ok(Layer { at: at.to_owned(), upper })
}

/// Makes the copy this process's root. What it knows of the spool it has read before.
///
/// # Errors
/// When the kernel does not permit it.
pub(super) fn enter(entry: &Entry) -> Result<(), Fault> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |errno: Errno| refused(&format!("{what}: {}", errno.desc()))
    };
    let flags =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    unshare(flags).map_err(failed("no namespaces"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(failed("mounts stay shared"))?;
    let root = copy_of(entry).join("root");
    let at = |name: &str| root.join(name);
    for name in ["proc", "sys", "dev", "run"] {
        fs::create_dir_all(at(name)).map_err(|e| refused(&format!("no place for /{name}: {e}")))?;
    }
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &at("proc"), Some("proc"), plain | MsFlags::MS_RDONLY, none).map_err(failed("no /proc"))?;
    mount(Some("sysfs"), &at("sys"), Some("sysfs"), plain | MsFlags::MS_RDONLY, none).map_err(failed("no /sys"))?;
    mount(Some("tmpfs"), &at("run"), Some("tmpfs"), plain, Some("mode=0755,size=16m")).map_err(failed("no /run"))?;
    let bare = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), &at("dev"), Some("tmpfs"), bare, Some("mode=0755,size=1m")).map_err(failed("no /dev"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let place = at("dev").join(name);
        let made = fs::write(&place, b"").is_ok();
        if made {
            let device = format!("/dev/{name}");
            mount(Some(device.as_str()), &place, none, MsFlags::MS_BIND, none).map_err(failed(&device))?;
        }
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        // A program that wants them says so.
        let _ = std::os::unix::fs::symlink(to, at("dev").join(name));
    }
    std::env::set_current_dir(&root).map_err(|e| refused(&format!("can't enter the copy: {e}")))?;
    fs::create_dir_all("run/old").map_err(|e| refused(&format!("no place for the old root: {e}")))?;
    pivot_root(".", "run/old").map_err(failed("the root can't be changed"))?;
    std::env::set_current_dir("/").map_err(|e| refused(&format!("can't enter the copy: {e}")))?;
    umount2("/run/old", MntFlags::MNT_DETACH).map_err(failed("the old root can't be left"))?;
    let _ = fs::remove_dir("/run/old");
    Ok(())
}

/// Gives up what reaches past the copy, for good.
///
/// # Errors
/// When the kernel does not let it go.
pub(super) fn give_up_power() -> Result<(), Fault> {
    for power in POWERS {
        match rustix::thread::remove_capability_from_bounding_set(power) {
            // One that this kernel does not know is no power here.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(errno) => return Err(refused(&format!("a capability can't be given up: {errno}"))),
        }
    }
    prctl::set_no_new_privs().map_err(|e| refused(&format!("no_new_privs: {}", e.desc())))
}

/// Returns what the run would have changed, as text.
pub(super) fn changes(entry: &Entry) -> Option<String> {
    fs::read_to_string(entry.dir.join("changes")).ok()
}

fn refused(why: &str) -> Fault {
    Fault::lasting("operation.rehearse", format!("this node can't rehearse: {why}"))
}
