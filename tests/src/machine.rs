//! A machine of its own: mount, process and host-name namespaces with a copy-on-write copy of this system as `/`.
//!
//! What runs in there sees the real `/`, manages it without `--root`, and leaves nothing behind: all writes go to a file
//! system in memory. The network is this machine's, or one of its own that nothing but a test's cable leads into.

mod systemd;

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{binary, wait_for};

const IP: &str = "/usr/sbin/ip";

/// Makes the new root and becomes its first process, which reaps and waits. The machine's own cron tables are taken
/// away, so that nothing but what a test puts there runs.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755,size=512m tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --rbind /dev dev
rm -rf etc/cron.d var/spool/cron/crontabs var/lib/lampas etc/lampas etc/cron.allow etc/cron.deny
mkdir -m 755 etc/cron.d
install -d -m 1730 -g crontab var/spool/cron/crontabs 2>/dev/null || mkdir -p -m 1730 var/spool/cron/crontabs
: > etc/crontab
printf '#!/bin/sh\nexec cat >> /run/mail\n' > usr/sbin/sendmail.lampas
chmod 755 usr/sbin/sendmail.lampas
mv usr/sbin/sendmail.lampas usr/sbin/sendmail
: > run/mail
chmod 666 run/mail
cp "$2" usr/bin/lampas-agent
chmod 755 usr/bin/lampas-agent
hostname "$3"
echo "$3" > etc/hostname
mkdir run/old
pivot_root . run/old
umount -l run/old
rmdir run/old
exec 0</dev/null
: > /run/booted
exec sleep infinity
"#;

/// A machine; everything in it ends with its owner.
#[derive(Debug)]
pub struct Machine {
    directory: TempDir,
    unshare: Child,
    /// Its first process, as this system numbers it.
    init: u32,
    has_network: bool,
    /// Last, so that it goes when all in it has ended.
    group: Option<systemd::ControlGroup>,
}

/// A program that was left running in a machine.
#[derive(Debug)]
pub struct Service {
    name: String,
    child: Child,
}

impl Machine {
    /// Boots a machine; `None`, with a loud line, where that takes more power than the tests have.
    pub fn boot(name: &str) -> Result<Option<Self>> {
        Self::boot_with(name, &[])
    }

    /// Moves the calling thread, and what it starts from now on, into a network of its own (`10.77.0.1`), and boots a
    /// machine with another (`10.77.0.2`, on the device `cable`) that a cable leads to. Nobody else's network is touched.
    pub fn boot_apart(name: &str) -> Result<Option<Self>> {
        if !nix::unistd::geteuid().is_root() {
            return Self::boot(name);
        }
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
        let Some(machine) = Self::boot_with(name, &["--net"])? else { return Ok(None) };
        let init = machine.init.to_string();
        for line in [
            &["link", "set", "lo", "up"][..],
            &["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &init],
            &["address", "add", "10.77.0.1/24", "dev", "cable"],
            &["link", "set", "cable", "up"],
        ] {
            let output = Command::new(IP).args(line).output()?;
            ensure!(output.status.success(), "ip {line:?} gave {output:?}");
        }
        for line in [
            &[IP, "link", "set", "lo", "up"][..],
            &[IP, "address", "add", "10.77.0.2/24", "dev", "cable"],
            &[IP, "link", "set", "cable", "up"],
        ] {
            machine.run_ok(line, "")?;
        }
        Ok(Some(machine))
    }

    fn boot_with(name: &str, more: &[&str]) -> Result<Option<Self>> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIP: a machine in namespaces of its own needs root; nothing was tested");
            return Ok(None);
        }
        let directory = tempfile::tempdir()?;
        let log = fs::File::create(directory.path().join("boot.log"))?;
        let top = directory.path().join("top");
        fs::create_dir(&top)?;
        let mut unshare = Command::new("/usr/bin/unshare")
            .args(["--mount", "--pid", "--uts", "--fork", "--kill-child"])
            .args(more)
            .args(["/bin/sh", "-c", BOOT, "sh"])
            .arg(&top)
            .arg(binary("lampas-agent")?)
            .arg(name)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let said = || fs::read_to_string(directory.path().join("boot.log")).unwrap_or_default();
        let init = wait_for("the machine to boot", || {
            if !matches!(unshare.try_wait(), Ok(None)) {
                return Ok(None);
            }
            let init = fs::read_to_string(&children).unwrap_or_default().trim().parse::<u32>().unwrap_or(0);
            let is_up = init > 0 && Path::new(&format!("/proc/{init}/root/run/booted")).exists();
            if is_up { Ok(Some(init)) } else { Err(said()) }
        });
        let init = init.with_context(|| format!("the machine did not boot: {}", said()))?;
        Ok(Some(Self { directory, unshare, init, has_network: more.contains(&"--net"), group: None }))
    }

    /// Returns where a file of the machine is seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Reads a file of the machine.
    pub fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.path(path)).with_context(|| path.to_owned())
    }

    /// Writes a file of the machine.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        fs::write(self.path(path), text).with_context(|| path.to_owned())
    }

    /// Returns whether something stands there.
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    fn command(&self, argv: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command.args(["--mount", "--pid", "--uts", "--root", "--wd", "--target", &self.init.to_string()]);
        command.args(self.has_network.then_some("--net"));
        // Under systemd whoever comes in belongs to it.
        command.args(self.group.as_ref().map(|_| "--ipc")).arg("--");
        command.args(argv).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a program in the machine.
    pub fn run(&self, argv: &[&str], input: &str) -> Result<Output> {
        let mut command = self.command(argv);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // A program that does not read its input is no error.
        let _ = child.stdin.take().context("a pipe")?.write_all(input.as_bytes());
        Ok(child.wait_with_output()?)
    }

    /// Runs a program in the machine and returns what it printed; fails unless it exits with 0.
    pub fn run_ok(&self, argv: &[&str], input: &str) -> Result<String> {
        let output = self.run(argv, input)?;
        ensure!(output.status.success(), "{argv:?} gave {output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts a program in the machine and leaves it running; its output goes to `NAME.log`.
    pub fn start(&self, name: &str, argv: &[&str]) -> Result<Service> {
        let log = fs::File::options().create(true).append(true).open(self.log(name))?;
        let script = "echo $$ > /run/lampas-test-$0.pid; exec \"$@\"";
        let line = [&["/bin/sh", "-c", script, name], argv].concat();
        let child = self.command(&line).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Service { name: name.to_owned(), child })
    }

    /// Kills a program that was left running, as a power cut would.
    pub fn kill(&self, mut service: Service) -> Result<()> {
        let pid = wait_for("the number of a process", || {
            let text = self.read(&format!("/run/lampas-test-{}.pid", service.name)).unwrap_or_default();
            if text.ends_with('\n') { Ok(text.trim().to_owned()) } else { Err(text) }
        });
        self.run_ok(&["/bin/kill", "-9", &pid], "")?;
        service.child.wait()?;
        fs::remove_file(self.path(&format!("/run/lampas-test-{}.pid", service.name)))?;
        Ok(())
    }

    /// Returns what a program that was left running has said.
    pub fn log_text(&self, name: &str) -> String {
        fs::read_to_string(self.log(name)).unwrap_or_default()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }

    /// Lists everything below a directory: kind, mode, owner, time of files, and content.
    pub fn listing(&self, below: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut waiting = vec![below.to_owned()];
        while let Some(path) = waiting.pop() {
            let at = self.path(&path);
            let meta = fs::symlink_metadata(&at)?;
            let about = format!("{path} {:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
            if meta.is_dir() {
                for entry in fs::read_dir(&at)? {
                    waiting.push(format!("{path}/{}", entry?.file_name().to_string_lossy()));
                }
                lines.push(about);
            } else if meta.is_file() {
                let content = fs::read(&at)?;
                lines.push(format!("{about} {} {:?}", meta.len(), String::from_utf8_lossy(&content)));
            } else {
                lines.push(format!("{about} {:?}", fs::read_link(&at).ok()));
            }
        }
        lines.sort();
        Ok(lines)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let journal = ["/usr/bin/journalctl", "--no-pager", "--lines=120"];
            for line in [&["/bin/ps", "ax"][..], &["/usr/bin/lampas-agent", "status"], &journal] {
                eprintln!(
                    "--- {line:?}\n{:?}",
                    self.run(line, "").map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
                );
            }
        }
        // Its first process dies with it, and with that everything in the machine.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        if std::thread::panicking() {
            for name in ["boot", "agent", "cron"] {
                let text = fs::read_to_string(self.log(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("--- {name}\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
            }
        }
    }
}
