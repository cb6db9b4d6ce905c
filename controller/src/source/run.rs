//! Runs `git`, `ssh-keyscan` and the like within limits: by absolute path and argument vectors, in an environment of
//! their own, in a process group that is killed as a whole. Every call blocks.
//!
//! `timeout` ends what outlives a controller that was killed; `prlimit` bounds memory and the length of files.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use thiserror::Error;

const TIMEOUT: &str = "/usr/bin/timeout";
const PRLIMIT: &str = "/usr/bin/prlimit";
const GIT: &str = "/usr/bin/git";

/// The most memory of one program. Git maps its packs, so this is well above the limit of the disk.
const MEMORY: u64 = 4 << 30;
/// What a program says of its failure is cut here.
const STDERR: usize = 64 << 10;

/// Why a program gave nothing.
#[derive(Debug, Error)]
pub(super) enum RunError {
    /// It can't be started.
    #[error("{program} can't be run: {source}; install the Debian package {package}")]
    Start {
        /// The program.
        program: String,
        /// What brings it.
        package: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("no end after {0} s")]
    Timeout(u64),
    /// It wrote too much to the disk.
    #[error("the repository is larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    /// It said too much.
    #[error("more than {0} bytes came out")]
    TooLong(usize),
    /// The controller stops.
    #[error("the controller is stopping")]
    Stopping,
    /// Pipes failed.
    #[error("talk to {0}")]
    Pipe(&'static str, #[source] io::Error),
}

/// What a program said.
#[derive(Debug)]
pub(super) struct Output {
    /// Its exit code; `None` when it was killed.
    pub(super) code: Option<i32>,
    pub(super) out: Vec<u8>,
    pub(super) err: String,
}

impl Output {
    pub(super) fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Returns the line that says what is wrong, without what can't be seen, and not too long.
    pub(super) fn complaint(&self) -> String {
        let lines = self.err.lines().map(str::trim).filter(|l| !l.is_empty());
        let told = |l: &&str| l.starts_with("fatal:") || l.starts_with("error:") || l.starts_with("remote:");
        let best = lines.clone().find(told).or_else(|| lines.clone().next_back()).unwrap_or("it said nothing");
        clean(best.trim_start_matches("fatal: ").trim_start_matches("error: "), 400)
    }
}

/// Returns a text as one line without what can't be seen.
pub(super) fn clean(text: &str, most: usize) -> String {
    let seen = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    seen.filter(|c| lampas_shared::deceptive_char(c.encode_utf8(&mut [0; 4])).is_none()).take(most).collect()
}

/// Told when work shall end; it says so when the one who waits for it is dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns what sets it when it goes.
    pub(super) fn guard(&self) -> StopGuard {
        StopGuard(self.clone())
    }
}

/// Sets a [`Stop`] when it is dropped.
#[derive(Debug)]
pub(super) struct StopGuard(Stop);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// What all programs of one look at a repository share.
#[derive(Debug)]
pub(super) struct Runner {
    /// The bare repository.
    pub(super) repository: PathBuf,
    /// A private directory that goes with the look.
    pub(super) room: PathBuf,
    /// Beside the plain ones.
    pub(super) environment: BTreeMap<String, String>,
    /// What git is told, as `-c` would.
    pub(super) settings: Vec<(String, String)>,
    pub(super) time: Duration,
    pub(super) disk: u64,
    pub(super) stop: Stop,
}

impl Runner {
    /// Runs git on the repository.
    pub(super) fn git(&self, args: &[&str], most: usize) -> Result<Output, RunError> {
        self.run(GIT, "git", args, most)
    }

    /// Runs a program.
    pub(super) fn run(
        &self,
        program: &'static str,
        package: &'static str,
        args: &[&str],
        most: usize,
    ) -> Result<Output, RunError> {
        let mut child = self.start(program, package, args, Stdio::null())?;
        let (out, err) = (child.0.stdout.take(), child.0.stderr.take());
        std::thread::scope(|scope| {
            let out = scope.spawn(|| out.map_or(Ok((Vec::new(), false)), |pipe| read_up_to(pipe, most)));
            let err = scope.spawn(|| err.map_or(Ok((Vec::new(), false)), |pipe| read_up_to(pipe, STDERR)));
            let end = Instant::now() + self.time;
            let mut looked = Instant::now();
            let status = loop {
                if let Some(status) = child.0.try_wait().map_err(|e| RunError::Pipe(program, e))? {
                    break status;
                }
                let trouble = match () {
                    () if self.stop.is_set() => Some(RunError::Stopping),
                    () if Instant::now() > end => Some(RunError::Timeout(self.time.as_secs())),
                    () if looked.elapsed() > Duration::from_millis(200) => {
                        looked = Instant::now();
                        (size_of(&self.repository) > self.disk).then_some(RunError::TooLarge(self.disk))
                    }
                    () => None,
                };
                if let Some(trouble) = trouble {
                    child.kill();
                    return Err(trouble);
                }
                std::thread::sleep(Duration::from_millis(10));
            };
            // Whatever it left behind holds the pipes open.
            child.kill();
            let joined = |read: std::thread::ScopedJoinHandle<'_, io::Result<(Vec<u8>, bool)>>| {
                read.join().unwrap_or_else(|_| Err(io::Error::other("the reader failed")))
            };
            let (out, is_cut) = joined(out).map_err(|e| RunError::Pipe(program, e))?;
            let (err, _) = joined(err).map_err(|e| RunError::Pipe(program, e))?;
            if is_cut {
                return Err(RunError::TooLong(most));
            }
            // Killed by `timeout`, or for a file that grew too long.
            match status.signal() {
                Some(9) => return Err(RunError::Timeout(self.time.as_secs())),
                Some(25) => return Err(RunError::TooLarge(self.disk)),
                _ => {}
            }
            Ok(Output { code: status.code(), out, err: String::from_utf8_lossy(&err).into_owned() })
        })
    }

    /// Starts the reader of blobs.
    pub(super) fn blobs(&self) -> Result<Blobs, RunError> {
        let mut child = self.start(GIT, "git", &["cat-file", "--batch"], Stdio::piped())?;
        drop(child.0.stderr.take());
        let gone = || RunError::Pipe("git", io::ErrorKind::BrokenPipe.into());
        let (stdin, stdout) = (child.0.stdin.take().ok_or_else(gone)?, child.0.stdout.take().ok_or_else(gone)?);
        Ok(Blobs { stdin, stdout: BufReader::new(stdout), stop: self.stop.clone(), _child: child })
    }

    fn start(
        &self,
        program: &'static str,
        package: &'static str,
        args: &[&str],
        stdin: Stdio,
    ) -> Result<Group, RunError> {
        let failed = |source| RunError::Start { program: program.to_owned(), package, source };
        if !Path::new(program).exists() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        let mut command = Command::new(TIMEOUT);
        command
            .args(["--signal=KILL", &(self.time.as_secs() + 5).to_string(), PRLIMIT, "--core=0"])
            .args([format!("--fsize={}", self.disk), format!("--as={MEMORY}"), "--".to_owned()])
            .arg(program)
            .args(args)
            .env_clear()
            .envs(self.plain_environment())
            .envs(&self.environment)
            .current_dir(&self.room)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command.spawn().map(Group).map_err(failed)
    }

    /// Nothing of the machine's or of a user's configuration counts, and nothing asks.
    fn plain_environment(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = [
            ("PATH", "/usr/bin:/bin"),
            ("LC_ALL", "C.UTF-8"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "/bin/false"),
            ("SSH_ASKPASS", "/bin/false"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        all.insert("HOME".to_owned(), self.room.display().to_string());
        all.insert("GIT_DIR".to_owned(), self.repository.display().to_string());
        all.insert("GIT_CONFIG_COUNT".to_owned(), self.settings.len().to_string());
        // Not as arguments, which everybody on the machine can read.
        for (at, (key, value)) in self.settings.iter().enumerate() {
            all.insert(format!("GIT_CONFIG_KEY_{at}"), key.clone());
            all.insert(format!("GIT_CONFIG_VALUE_{at}"), value.clone());
        }
        all
    }
}

/// A program with all that it starts; killed when it is dropped.
#[derive(Debug)]
struct Group(Child);

impl Group {
    fn kill(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let _ = self.0.wait();
    }
}

/// Reads blobs one by one: `git cat-file --batch`.
#[derive(Debug)]
pub(super) struct Blobs {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stop: Stop,
    _child: Group,
}

impl Blobs {
    /// Reads a blob whose length is known from its tree.
    pub(super) fn read(&mut self, id: &str, length: u64) -> Result<Vec<u8>, RunError> {
        if self.stop.is_set() {
            return Err(RunError::Stopping);
        }
        let failed = |e| RunError::Pipe("git cat-file", e);
        let odd = || failed(io::ErrorKind::InvalidData.into());
        self.stdin.write_all(format!("{id}\n").as_bytes()).and_then(|()| self.stdin.flush()).map_err(failed)?;
        let mut head = String::new();
        (&mut self.stdout).take(200).read_line(&mut head).map_err(failed)?;
        let words: Vec<&str> = head.split_whitespace().collect();
        match words[..] {
            [found, "blob", size] if found == id && size.parse() == Ok(length) => {}
            _ => return Err(odd()),
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| odd())? + 1];
        self.stdout.read_exact(&mut bytes).map_err(failed)?;
        bytes.pop();
        Ok(bytes)
    }
}

/// Reads a pipe to its end; what is beyond the limit is read and dropped, so that the writer doesn't block.
fn read_up_to(pipe: impl Read, most: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let mut limited = pipe.take(most as u64 + 1);
    limited.read_to_end(&mut bytes)?;
    let is_cut = bytes.len() > most;
    bytes.truncate(most);
    io::copy(&mut limited.into_inner(), &mut io::sink())?;
    Ok((bytes, is_cut))
}

/// Returns how many bytes stand below a directory; what goes meanwhile counts nothing.
pub(super) fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |e: std::fs::DirEntry| match e.metadata() {
        Ok(m) if m.is_dir() => size_of(&e.path()),
        Ok(m) => m.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
