//! A machine whose first process is a real systemd: Debian's, from a base that is made once.
//!
//! A capsule (`unshare`) lays a file system in memory over the base and boots it by `systemd-nspawn`, in a control group of
//! its own in every hierarchy. It shares this machine's network. The capsule's death ends everything in it.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

use super::Machine;
use crate::{binary, wait_within};

/// What the base holds besides the essential packages.
const PACKAGES: &str = "systemd,systemd-sysv,dbus";
const SUITE: &str = "bookworm";
const NSPAWN: &str = "/usr/bin/systemd-nspawn";
const MMDEBSTRAP: &str = "/usr/bin/mmdebstrap";
/// Packages come over the network, once.
const BASE_LIMIT: &str = "900";
/// A boot takes some two seconds; on a loaded machine more.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// `$1`: where the machine is made, `$2`: the base, `$3`: the agent, `$4`: the host's name, `$5`: the control group.
const BOOT: &str = r#"
set -e
for h in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -e "$h/cgroup.procs" ] || continue
  mkdir "$h/$5" 2>/dev/null || continue
  if [ -e "$h/$5/cpuset.cpus" ] && [ -e "$h/cpuset.cpus" ]; then
    cat "$h/cpuset.cpus" > "$h/$5/cpuset.cpus"
    cat "$h/cpuset.mems" > "$h/$5/cpuset.mems"
  fi
  echo $$ > "$h/$5/cgroup.procs" || true
done
mount --make-rprivate /
mount -t tmpfs -o mode=0755,size=768m tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
cp "$3" "$1/root/usr/bin/lampas-agent"
chmod 755 "$1/root/usr/bin/lampas-agent"
echo "$4" > "$1/root/etc/hostname"
: > "$1/root/etc/machine-id"
SYSTEMD_NSPAWN_API_VFS_WRITABLE=network exec systemd-nspawn --quiet --settings=no --register=no --keep-unit --boot \
  -D "$1/root" --machine="$4" --hostname="$4" --link-journal=no --resolv-conf=off --timezone=off --console=read-only
"#;

/// A control group of a machine, in every hierarchy; its directories go with it.
#[derive(Debug)]
pub(super) struct ControlGroup(String);

impl Machine {
    /// Boots a machine under systemd; `None`, with a loud line, where that takes more power than the tests have, or what it
    /// is made of can't be had.
    pub fn boot_systemd(name: &str) -> Result<Option<Self>> {
        let skip = |why: &str| {
            eprintln!("SKIP: {why}; NOTHING WAS TESTED on a real systemd");
            Ok(None)
        };
        if !nix::unistd::geteuid().is_root() {
            return skip("a machine under systemd needs root");
        }
        if let Some(missing) = [NSPAWN, MMDEBSTRAP].into_iter().find(|p| !Path::new(p).exists()) {
            return skip(&format!("there is no {missing}: scripts/test installs systemd-container and mmdebstrap"));
        }
        let namespaces = Command::new("/usr/bin/unshare").args(["--mount", "--pid", "--fork", "/bin/true"]).status()?;
        if !namespaces.success() {
            return skip("this machine permits no namespaces");
        }
        let base = match base() {
            Ok(base) => base,
            Err(error) => return skip(&format!("the base can't be made: {error:#}")),
        };
        let directory = tempfile::tempdir()?;
        let log = fs::File::create(directory.path().join("boot.log"))?;
        let top = directory.path().join("top");
        fs::create_dir(&top)?;
        let group = format!("lampas-{}", directory.path().file_name().unwrap_or_default().to_string_lossy());
        let mut unshare = Command::new("/usr/bin/unshare")
            .args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"])
            .args(["/bin/sh", "-c", BOOT, "sh"])
            .args([&top, &base, &binary("lampas-agent")?])
            .args([name, &group])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let said = || fs::read_to_string(directory.path().join("boot.log")).unwrap_or_default();
        let capsule = unshare.id();
        let init = wait_within(BOOT_LIMIT, "systemd to boot", || {
            if !matches!(unshare.try_wait(), Ok(None)) {
                return Ok(None);
            }
            // The capsule's shell became nspawn, whose child is the machine's first process.
            let init = child(capsule).and_then(child).filter(|init| is_up(*init));
            init.map(Some).ok_or_else(said)
        });
        let group = Some(ControlGroup(group));
        let Some(init) = init else {
            return skip(&format!("systemd does not boot here: {}", said().trim()));
        };
        Ok(Some(Self { directory, unshare, init, has_network: false, group }))
    }
}

/// Returns whether systemd has started what it starts.
fn is_up(init: u32) -> bool {
    let ask = Command::new("/usr/bin/nsenter")
        .args(["--mount", "--pid", "--uts", "--ipc", "--root", "--wd", "--target", &init.to_string(), "--"])
        .args(["/usr/bin/systemctl", "is-system-running"])
        .output();
    ask.is_ok_and(|o| matches!(String::from_utf8_lossy(&o.stdout).trim(), "running" | "degraded"))
}

fn child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Returns the base's directory, below `target/`; makes it first, if need be.
fn base() -> Result<PathBuf> {
    let agent = binary("lampas-agent")?;
    let target = agent.ancestors().nth(2).context("a target directory")?;
    let lab = target.join("lab");
    fs::create_dir_all(&lab)?;
    // One name for each list: another list is another base.
    let key = format!("{SUITE}-{}", PACKAGES.replace(',', "+"));
    let base = lab.join(&key);
    let lock = fs::File::create(lab.join("lock"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    if base.join("usr/bin/systemctl").exists() {
        return Ok(base);
    }
    let made = lab.join(format!("{key}.new"));
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    let log = fs::File::create(lab.join("mmdebstrap.log"))?;
    let status = Command::new("/usr/bin/timeout")
        .args([BASE_LIMIT, MMDEBSTRAP, "--variant=minbase", "--mode=root"])
        .arg(format!("--include={PACKAGES}"))
        .args(["--aptopt=Acquire::Languages \"none\"", "--aptopt=DPkg::Lock::Timeout \"600\""])
        .args(["doc", "man", "locale", "info"].map(|d| format!("--dpkgopt=path-exclude=/usr/share/{d}/*")))
        .arg(SUITE)
        .arg(&made)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.as_fd().try_clone_to_owned()?)
        .status()?;
    ensure!(status.success(), "mmdebstrap ended with {status}; see target/lab/mmdebstrap.log");
    for name in ["etc/machine-id", "var/lib/dbus/machine-id", "etc/resolv.conf"] {
        let _ = fs::remove_file(made.join(name));
    }
    fs::rename(&made, &base)?;
    Ok(base)
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Those below first; a directory goes when its last process does.
        let script = r#"for h in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -d "$h/$0" ] || continue
  n=0
  while [ -d "$h/$0" ] && [ $n -lt 100 ]; do
    find "$h/$0" -depth -type d -exec rmdir {} + 2>/dev/null
    [ -d "$h/$0" ] && sleep 0.1
    n=$((n + 1))
  done
done"#;
        let _ = Command::new("/bin/sh").args(["-c", script, &self.0]).status();
    }
}
