//! Calls apt and dpkg, noninteractively and by argument vectors, and reads what became of it.

use std::{path::Path, time::Duration};

use lampas_shared::error::{Chain, Fault};

use super::Work;
use crate::system::{
    Root,
    run::{Output, Program, run},
};

const APT_GET: &str = "/usr/bin/apt-get";
const APT_CACHE: &str = "/usr/bin/apt-cache";
const DPKG: &str = "/usr/bin/dpkg";
/// Rehearsals compute alone.
const REHEARSAL_LIMIT: Duration = Duration::from_secs(60);
/// Lists of a few mirrors, some of which don't answer.
const UPDATE_LIMIT: Duration = Duration::from_secs(300);
/// A large upgrade on a slow disk.
pub(super) const LIMIT: Duration = Duration::from_secs(1800);
/// What dpkg says of a large upgrade.
const MAX_OUTPUT: usize = 8 << 20;
/// How long another's lock is waited for.
const LOCK_SECS: u32 = 60;
/// How much of the output is told.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: usize = 1200;

/// Says whether there is an apt.
///
/// # Errors
/// When there is none.
pub(super) fn is_there() -> Result<(), Fault> {
    for program in [APT_GET, APT_CACHE, DPKG] {
        if !Path::new(program).exists() {
            let text = format!("this node has no {program}: packages are managed on Debian and its kin alone");
            return Err(Fault::lasting("package.no_apt", text));
        }
    }
    Ok(())
}

fn program(root: &Root, path: &str, limit: Duration) -> Program {
    let mut program = Program::new(path)
        .limit(limit)
        .max_output(MAX_OUTPUT)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBCONF_NONINTERACTIVE_SEEN", "true")
        .env("APT_LISTCHANGES_FRONTEND", "none")
        // Says what should be restarted, and restarts nothing.
        .env("NEEDRESTART_MODE", "l")
        .env("UCF_FORCE_CONFFOLD", "1")
        .env("HOME", "/root");
    if root.is_system() || path == DPKG {
        if !root.is_system() {
            program = program.args([format!("--root={}", root.path().display())]);
        }
        return program;
    }
    let below = root.path().display();
    for option in [
        format!("Dir={below}/"),
        format!("Dir::State::status={below}/var/lib/dpkg/status"),
        format!("DPkg::Options::=--root={below}"),
    ] {
        program = program.args(["-o".to_owned(), option]);
    }
    program
}

/// Asks which versions the lists know.
///
/// # Errors
/// When apt can't say.
pub(super) fn policy(root: &Root, names: &[String]) -> Result<String, Fault> {
    let output = run(&program(root, APT_CACHE, REHEARSAL_LIMIT).args(["policy"]).args(names.iter().cloned()));
    answer("apt-cache", output)
}

fn options(work: &Work) -> Vec<String> {
    let mut options = vec!["--quiet".to_owned(), "--assume-yes".to_owned()];
    options.extend((!work.recommends).then(|| "--no-install-recommends".to_owned()));
    options.extend(work.downgrades.then(|| "--allow-downgrades".to_owned()));
    options.extend((!work.holds.is_empty()).then(|| "--allow-change-held-packages".to_owned()));
    // Whatever came in between: nothing goes that was not in the plan.
    options.extend(work.may_go.is_empty().then(|| "--no-remove".to_owned()));
    options
}

fn names(work: &Work) -> impl Iterator<Item = String> {
    work.installs.iter().cloned().chain(work.removals.iter().map(|name| format!("{name}-")))
}

/// Rehearses a transaction.
///
/// # Errors
/// When apt says that it can't be done.
pub(super) fn simulate(root: &Root, work: &Work) -> Result<String, Fault> {
    let mut options = options(&Work { may_go: work.removals.clone(), ..work.clone() });
    // What else would go is told, and judged by the plan.
    options.retain(|o| o != "--no-remove" && o != "--assume-yes");
    let command = program(root, APT_GET, REHEARSAL_LIMIT).args(["--simulate"]).args(options).args(["install"]);
    answer("apt-get --simulate", run(&command.args(names(work))))
}

/// Ends what an installation left half done.
pub(super) fn configure(root: &Root, limit: Duration) -> Result<String, Fault> {
    answer(
        "dpkg --configure",
        run(&program(root, DPKG, limit).args(["--force-confdef", "--force-confold", "--configure", "-a"])),
    )
}

/// Fetches the lists.
pub(super) fn update(root: &Root) -> Result<String, Fault> {
    let lock = format!("DPkg::Lock::Timeout={LOCK_SECS}");
    let command =
        program(root, APT_GET, UPDATE_LIMIT).args(["--quiet", "-o", &lock, "-o", "Acquire::Retries=2", "update"]);
    answer("apt-get update", run(&command))
}

/// Fetches the lists of one source alone. What can't be fetched is a failure, also where old lists would do.
pub(super) fn update_source(root: &Root, list: &str) -> Result<String, Fault> {
    let list = root.path().join(list.trim_start_matches('/'));
    let options = [
        format!("DPkg::Lock::Timeout={LOCK_SECS}"),
        "Acquire::Retries=2".to_owned(),
        format!("Dir::Etc::sourcelist={}", list.display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        // The lists of the others stay.
        "APT::Get::List-Cleanup=0".to_owned(),
        "APT::Update::Error-Mode=any".to_owned(),
    ];
    let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]);
    answer(
        "apt-get update",
        run(&program(root, APT_GET, UPDATE_LIMIT).args(["--quiet"]).args(options).args(["update"])),
    )
}

/// Runs a transaction.
pub(super) fn install(root: &Root, work: &Work, limit: Duration) -> Result<String, Fault> {
    let lock = format!("DPkg::Lock::Timeout={LOCK_SECS}");
    let command = program(root, APT_GET, limit)
        .args(["-o", &lock, "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=2"])
        .args(["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"])
        .args(options(work))
        .args(["install"])
        .args(names(work));
    answer("apt-get install", run(&command))
}

/// Removes what removed packages left.
pub(super) fn purge(root: &Root, names: &[String], limit: Duration) -> Result<String, Fault> {
    answer("dpkg --purge", run(&program(root, DPKG, limit).args(["--purge"]).args(names.iter().cloned())))
}

/// Holds packages, and lets them go.
pub(super) fn select(root: &Root, selections: &str) -> Result<String, Fault> {
    let command = program(root, DPKG, REHEARSAL_LIMIT).args(["--set-selections"]);
    answer("dpkg --set-selections", run(&command.stdin(selections.as_bytes().to_vec())))
}

fn answer(what: &str, result: Result<Output, crate::system::run::RunError>) -> Result<String, Fault> {
    let output = result.map_err(|e| Fault::passing("package.not_run", Chain(&e).to_string()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    // apt-get update ends well when a mirror does not answer.
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.is_success() {
        return Ok(stdout);
    }
    let all = format!("{stdout}\n{stderr}");
    let (code, hint) = match output.status {
        None => {
            ("package.timed_out", "it took too long and was ended; what it left half done is mended first next time")
        }
        Some(_) => classify(&all),
    };
    Err(Fault::passing(code, format!("{what}: {hint}: {}", tail(&all))))
}

/// Tells common failures apart by what apt and dpkg say in English (the locale is C).
fn classify(output: &str) -> (&'static str, &'static str) {
    let says = |words: &[&str]| words.iter().any(|w| output.contains(w));
    // Not debconf's, which goes on without its own.
    if says(&["Could not get lock", "dpkg frontend lock", "dpkg frontend is locked", "status database is locked"]) {
        ("package.locked", "another program works on packages; it is tried again")
    } else if says(&["No space left on device", "You don't have enough free space"]) {
        ("package.disk_full", "the disk is full")
    } else if says(&["error processing package", "dpkg returned an error code", "dpkg was interrupted"]) {
        ("package.broken", "a package's own script or files failed; the next version, or its removal, mends it")
    } else if says(&[
        "Could not resolve",
        "Temporary failure resolving",
        "Failed to fetch",
        "Unable to fetch",
        "Could not connect",
    ]) {
        ("package.no_network", "a mirror can't be reached")
    } else if says(&["Unable to locate package", "has no installation candidate", "was not found"]) {
        ("package.unknown", "no list of packages knows it")
    } else if says(&["unmet dependencies", "held broken packages", "Unable to correct problems"]) {
        ("package.unsatisfiable", "its dependencies can't be met")
    } else {
        ("package.failed", "it failed")
    }
}

/// Returns the last lines of an output, bounded.
pub(super) fn tail(output: &str) -> String {
    let is_plain =
        |line: &&str| !line.trim().is_empty() && !line.starts_with("WARNING: apt does not have a stable CLI");
    let lines: Vec<&str> = output.lines().filter(is_plain).collect();
    let last: Vec<String> = lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| without_passwords(&line.chars().filter(|c| !c.is_control()).collect::<String>()))
        .collect();
    let text = last.join(" | ");
    let from = text.len().saturating_sub(TAIL_BYTES);
    text[text.ceil_char_boundary(from)..].to_owned()
}

/// Takes names and passwords out of addresses: a source may have them, and apt repeats it.
fn without_passwords(line: &str) -> String {
    let mut words = line.split("://");
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let end = word.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(word.len());
        let from = word[..end].rfind('@').map_or(0, |at| at + 1);
        out.push_str("://");
        out.push_str(&word[from..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let check = |output: &str, expected: &str| assert_eq!(classify(output).0, expected, "{output}");
        check("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1 (apt)", "package.locked");
        check("dpkg: error: dpkg frontend lock was locked by another process with pid 7", "package.locked");
        check("dpkg: error processing package broken (--configure):\n E: Sub-process", "package.broken");
        check(
            "debconf: DbDriver \"config\": config.dat is locked by another process\ndpkg: error processing package x",
            "package.broken",
        );
        check("E: Failed to fetch http://x/y  Could not connect", "package.no_network");
        check("E: You don't have enough free space in /var/cache/apt/archives/.", "package.disk_full");
        check("E: Unable to locate package nope", "package.unknown");
        check("E: Version '9' for 'hello' was not found", "package.unknown");
        check("The following packages have unmet dependencies:\n x", "package.unsatisfiable");
        check("?", "package.failed");
    }

    #[test]
    fn the_end_of_an_output_is_told() {
        let output = (0..100).map(|n| format!("line {n} é\u{7}\n\n")).collect::<Vec<_>>().concat();
        let told = tail(&output);
        assert!(told.ends_with("line 99 é") && told.contains("line 88") && !told.contains("line 87"), "{told}");
        assert!(tail(&"é".repeat(5000)).len() <= TAIL_BYTES);
        let failed = "Err:1 https://ann:hunter2@mirror/x InRelease http://b@c/d ftp://plain/e@f";
        assert_eq!(tail(failed), "Err:1 https://mirror/x InRelease http://c/d ftp://plain/e@f");
    }
}
