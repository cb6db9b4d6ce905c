//! Runs a checker that may execute what it checks: `perl -c` runs `BEGIN` blocks.
//!
//! The agent starts its own binary as `lampas-agent sandbox PROGRAM ARG…`. [`enter`] runs there, in a process of its own:
//! it gives up root, the network and the power to write, and then becomes the checker. So nothing of it needs code
//! between `fork` and `exec`.

pub(crate) mod staged;

use std::{ffi::CString, time::Duration};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::resource::{Resource, setrlimit},
    unistd::{Gid, Uid, execve, setgroups},
};
use thiserror::Error;

use super::run::{Output, Program, RunError, run};

/// `nobody` and `nogroup` on every distribution that LAMPAS runs on.
const NOBODY: u32 = 65534;
/// The exit status when the sandbox could not be made: the checker did not run.
pub const NOT_MADE: u8 = 125;
/// How long a check may take.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How to start the sandbox: `lampas-agent` by absolute path, what goes before the checker, and variables.
#[derive(Debug, Clone)]
pub struct Helper {
    /// The absolute path of the binary.
    pub path: String,
    /// The arguments before the checker's path: `["sandbox"]`.
    pub args: Vec<String>,
    /// Variables that the binary needs; the checker does not get them.
    pub env: Vec<(String, String)>,
}

/// Runs the step of the sandbox that the arguments name, which `lampas-agent sandbox` got. Returns its exit status.
pub fn step(arguments: &[String]) -> u8 {
    let error = match arguments.split_first() {
        Some((first, program)) if first == staged::STAGED => match staged::enter(program) {
            Ok(status) => return u8::try_from(status).unwrap_or(1),
            Err(error) => error,
        },
        Some((first, program)) if first == staged::SCRATCH_STEP => staged::become_checker(program),
        _ => enter(arguments),
    };
    eprintln!("{error}");
    NOT_MADE
}

/// Runs a checker in the sandbox with this on its standard input.
pub fn check(helper: &Helper, checker: &[&str], stdin: Vec<u8>) -> Result<Output, RunError> {
    let mut program =
        Program::new(&helper.path).args(helper.args.iter()).args(checker.iter().copied()).stdin(stdin).limit(LIMIT);
    for (name, value) in &helper.env {
        program = program.env(name, value);
    }
    run(&program)
}

/// Why the sandbox could not be made.
#[derive(Debug, Error)]
#[error("the sandbox can't be made: {what}: {errno}")]
pub struct SandboxError {
    what: &'static str,
    errno: nix::Error,
}

/// Gives up all power and becomes the checker. Returns only when it can't, and then nothing has been executed.
///
/// As root it takes a network and a mount namespace of its own, every mount read-only, and becomes `nobody`; otherwise it
/// takes a user and a network namespace. In both cases it can create no file with content, no process and no privilege.
pub fn enter(checker: &[String]) -> SandboxError {
    match prepare() {
        Ok(()) => exec(checker),
        Err(error) => error,
    }
}

fn failed(what: &'static str) -> impl Fn(nix::Error) -> SandboxError {
    move |errno| SandboxError { what, errno }
}

fn prepare() -> Result<(), SandboxError> {
    let is_root = Uid::effective().is_root();
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
    if is_root {
        unshare(flags).map_err(failed("no namespaces"))?;
        make_read_only(&[]).map_err(failed("mounts can't be made read-only"))?;
    } else {
        unshare(flags | CloneFlags::CLONE_NEWUSER)
            .map_err(failed("no user namespaces for ordinary users on this machine"))?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(failed("no_new_privs"))?;
    become_nobody(10, 0)
}

/// Gives up all power but to talk over the network, for a process that goes on with its own code: as root it takes a mount
/// namespace of its own, every mount read-only, and becomes `nobody`. Files that are open stay so, for a few KiB.
pub(crate) fn keep_the_network() -> Result<(), SandboxError> {
    if Uid::effective().is_root() {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC).map_err(failed("no namespaces"))?;
        make_read_only(&[]).map_err(failed("mounts can't be made read-only"))?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(failed("no_new_privs"))?;
    become_nobody(300, 64 << 10)
}

/// Sets limits, of processor seconds and of the bytes of a file among them, and as root becomes `nobody`.
fn become_nobody(cpu_secs: u64, file_bytes: u64) -> Result<(), SandboxError> {
    let is_root = Uid::effective().is_root();
    let limits = [
        (Resource::RLIMIT_CPU, cpu_secs),
        (Resource::RLIMIT_AS, 1 << 30),
        (Resource::RLIMIT_FSIZE, file_bytes),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, 64),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, limit, limit).map_err(failed("limits"))?;
    }
    if is_root {
        setgroups(&[]).map_err(failed("groups"))?;
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        nix::unistd::setresgid(gid, gid, gid).map_err(failed("group"))?;
        nix::unistd::setresuid(uid, uid, uid).map_err(failed("user"))?;
    }
    // After the change of user: a limit that is exceeded at that moment would forbid the exec.
    setrlimit(Resource::RLIMIT_NPROC, 0, 0).map_err(failed("limits"))
}

/// Makes all mounts read-only but these.
fn make_read_only(keep: &[&str]) -> nix::Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(none, "/", none, flags, none)?;
    for line in mounts.lines() {
        if let Some(at) = line.split(' ').nth(1).filter(|at| *at != "/" && *at != "/dev" && !keep.contains(at)) {
            // Some can't be remounted (hidden below another): what is writable there is bounded by the file size limit.
            let _ = mount(none, at.replace("\\040", " ").as_str(), none, flags, none);
        }
    }
    Ok(())
}

/// Becomes the checker.
fn exec(checker: &[String]) -> SandboxError {
    let wrong = SandboxError { what: "the checker's arguments", errno: nix::Error::EINVAL };
    let Ok(args) = checker.iter().map(|a| CString::new(a.as_str())).collect::<Result<Vec<_>, _>>() else {
        return wrong;
    };
    let Some(path) = args.first().filter(|p| p.as_bytes().starts_with(b"/")) else { return wrong };
    let env = [c"PATH=/usr/local/bin:/usr/bin:/bin", c"LC_ALL=C.UTF-8", c"HOME=/nonexistent"];
    match execve(path, &args, &env) {
        Ok(never) => match never {},
        Err(errno) => SandboxError { what: "the checker can't be started", errno },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A helper that is this test binary: `entry` below is what runs in it.
    pub(crate) fn helper(checker: &[&str]) -> Helper {
        let path = std::env::current_exe().expect("a test binary").display().to_string();
        let args = ["system::sandbox::tests::entry", "--exact", "--nocapture", "--test-threads=1"];
        let env = vec![("LAMPAS_TEST_SANDBOX".to_owned(), checker.join("\n"))];
        Helper { path, args: args.map(str::to_owned).to_vec(), env }
    }

    /// The process inside of the sandbox; as a test of its own it has nothing to enter.
    #[test]
    fn entry() {
        if let Ok(checker) = std::env::var("LAMPAS_TEST_SANDBOX") {
            let checker: Vec<String> = checker.split('\n').map(str::to_owned).collect();
            panic!("{}", enter(&checker));
        }
        assert_eq!(enter(&["relative".to_owned()]).to_string().split(':').next(), Some("the sandbox can't be made"));
    }

    fn perl(code: &str) -> Output {
        let checker = ["/usr/bin/perl", "-c", "-"];
        check(&helper(&checker), &[], code.as_bytes().to_vec()).expect("runs")
    }

    #[test]
    fn perl_in_the_sandbox_has_no_power() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let code = r#"BEGIN {
            print STDERR "uid=$>\n";
            print STDERR "wrote\n" if open(my $f, '>', '/tmp/lampas-sandbox-test') && print $f "x" x 10;
            print STDERR "forked\n" if defined(fork);
            use Socket;
            socket(my $s, PF_INET, SOCK_DGRAM, 0);
            print STDERR "network\n" if connect($s, sockaddr_in(53, inet_aton("192.0.2.1")));
        }"#;
        let output = perl(code);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("uid=65534"), "{said}");
        assert!(!said.contains("wrote") && !said.contains("forked") && !said.contains("network"), "{said}");
    }

    #[test]
    fn a_syntax_error_is_told() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let output = perl("my $x = ;\n");
        assert!(!output.is_success() && output.describe().contains("exit status 255"), "{}", output.describe());
        assert!(perl("print 1;\n").is_success());
    }
}
