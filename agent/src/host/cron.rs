//! Cron: a file of its own for a system job, a block in a user's crontab, and a file with the job for the wrapper.

use std::{cell::OnceCell, collections::BTreeMap};

use lampas_render::crontab::{self, BlockJob, Severity};
use lampas_shared::{
    desired::{Resource, Spec},
    error::Fault,
    host::{CronJob, CronTable, UserName},
};

use super::{
    Facts,
    plan::{Planner, Put, Shared, Whole},
};
use crate::{
    job::JobFile,
    system::{
        Accounts, Modified, Root, Seen,
        run::{self, Program},
    },
};

/// Where users' crontabs are.
pub(super) const SPOOL: &str = "/var/spool/cron/crontabs";
const CRONTAB: &str = "/usr/bin/crontab";
const DAEMONS: [&str; 3] = ["/usr/sbin/cron", "/usr/sbin/crond", "/usr/bin/crond"];

/// Returns the user whose crontab a path is.
pub(super) fn user_of(path: &str) -> Option<&str> {
    path.strip_prefix(SPOOL)?.strip_prefix('/')
}

/// Says why a job can't stand on this node, whatever the disk looks like.
pub(super) fn fault(planner: &Planner<'_>, job: &CronJob) -> Option<Fault> {
    let root = planner.root;
    if planner.accounts.user(job.user.as_str()).is_none() {
        let what = format!(
            "user {} is not known on this node; cron would ignore the whole file. Create the user, or name another",
            job.user
        );
        return Some(Fault::lasting("cron.user_unknown", what));
    }
    if root.is_system() && !DAEMONS.iter().any(|d| std::path::Path::new(d).exists()) {
        return Some(Fault::lasting(
            "cron.missing",
            "this node has no cron; install it (apt install cron) and it goes on by itself",
        ));
    }
    if job.table == CronTable::User && root.is_system() && !std::path::Path::new(CRONTAB).exists() {
        return Some(Fault::lasting(
            "cron.missing",
            format!("this node has no {CRONTAB}, which users' crontabs are installed with"),
        ));
    }
    None
}

/// Plans the file that the wrapper reads.
pub(super) fn plan_job_file(planner: &mut Planner<'_>, resource: &Resource, job: &CronJob, is_refused: bool) {
    let path = crate::job::job_path(resource.object);
    let account = planner.accounts.user(job.user.as_str());
    let (Some(account), false) = (account, is_refused) else { return planner.leave(&path) };
    let file = JobFile::new(resource.object, resource.name.clone(), job.clone(), planner.zone.name().clone());
    let put = Put::File {
        bytes: file.to_bytes(),
        uid: planner.root.euid(),
        gid: account.gid,
        mode: 0o640,
        xattrs: BTreeMap::new(),
        modified: Modified::Now,
    };
    let notes = Vec::new();
    planner.whole(Whole { resource, path, put, owner: 0, is_inner: true, is_single: false, notes });
}

/// Where cron reads files that may have one name alone.
pub const DIRECTORY: &str = "/etc/cron.d/";

/// Plans a file in `/etc/cron.d`.
pub(super) fn plan_system(planner: &mut Planner<'_>, resource: &Resource, job: &CronJob, fault: Option<Fault>) {
    let path = format!("{DIRECTORY}{}", crontab::file_name(&resource.name));
    let Facts { wrapper, root_argument, .. } = planner.inputs.facts;
    let zone = planner.zone.clone();
    let shown = &without_secrets(planner, resource, job);
    let text = crontab::render_system(shown, &resource.name, resource.object, wrapper, &zone, root_argument.as_deref());
    let text = text.map_err(|e| Fault::lasting("cron.line", e.to_string())).and_then(|text| acceptable(&path, text));
    match (fault, text) {
        (Some(fault), _) | (None, Err(fault)) => planner.refuse(resource, &path, fault),
        (None, Ok(text)) => {
            let put = Put::File {
                bytes: text.into_bytes(),
                uid: 0,
                gid: 0,
                mode: 0o644,
                xattrs: BTreeMap::new(),
                modified: Modified::Now,
            };
            let mut notes = notes_of(job);
            if !planner.root.is_privileged() {
                notes.push("not root: owner root:root not set".to_owned());
            }
            planner.whole(Whole { resource, path, put, owner: 0, is_inner: false, is_single: true, notes });
        }
    }
}

/// The job without the variables that hold secrets: everybody may read cron's file, and the wrapper sets them.
fn without_secrets(planner: &Planner<'_>, resource: &Resource, job: &CronJob) -> CronJob {
    let mut job = job.clone();
    if let Some(variables) = planner.inputs.secrets.and_then(|s| s.variables(&resource.target)) {
        job.environment.retain(|name, _| !variables.contains(name.as_str()));
    }
    job
}

/// Refuses what cron would ignore: the last look before the disk.
fn acceptable(path: &str, text: String) -> Result<String, Fault> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let refused = |what: String| Err(Fault::lasting("cron.refused", format!("{path}: cron would ignore it: {what}")));
    if let Some(what) = crontab::lint_file_name(name) {
        return refused(what);
    }
    match crontab::lint(&text, CronTable::System).into_iter().find(|f| f.severity == Severity::Error) {
        Some(finding) => refused(finding.to_string()),
        None => Ok(text),
    }
}

/// Plans LAMPAS's block in a user's crontab.
pub(super) fn plan_user(planner: &mut Planner<'_>, user: &str, jobs: &[(&Resource, Option<Fault>)]) {
    let account = planner.accounts.user(user);
    let group = planner.accounts.group("crontab");
    let Facts { wrapper, root_argument, .. } = planner.inputs.facts;
    let zone = planner.zone.clone();
    let mut parts = Vec::new();
    for (resource, fault) in jobs {
        let Spec::Cron(job) = &resource.spec else { continue };
        let block = [BlockJob { job, name: &resource.name, object: resource.object }];
        let text = crontab::render_user_block(&block, wrapper, &zone, root_argument.as_deref());
        let lines = match (fault, text) {
            (Some(fault), _) => Err(fault.clone()),
            (None, Err(error)) => Err(Fault::lasting("cron.line", error.to_string())),
            (None, Ok(text)) => Ok(text.lines().map(str::to_owned).collect()),
        };
        parts.push((*resource, lines, notes_of(job)));
    }
    let uid = account.as_ref().map_or(0, |a| a.uid);
    let gid = group.or(account.map(|a| a.gid)).unwrap_or(0);
    planner.shared(Shared {
        path: format!("{SPOOL}/{user}"),
        owner: 0,
        subject: format!("crontab:{user}"),
        fresh: (uid, gid, 0o600),
        crontab_of: Some(user.to_owned()),
        same: None,
        parts,
    });
}

fn notes_of(job: &CronJob) -> Vec<String> {
    if job.enabled { Vec::new() } else { vec!["the job is disabled: its line stands as a comment".to_owned()] }
}

/// Installs a user's crontab. The header that `crontab` puts in front is taken off, since it puts it there again.
pub(super) fn install_crontab(user: &str, bytes: &[u8]) -> Result<(), Fault> {
    checked(user)?;
    call(&Program::new(CRONTAB).args(["-u", user, "-"]).stdin(without_header(bytes).to_vec()))
}

/// Removes a user's crontab.
pub(super) fn remove_crontab(user: &str) -> Result<(), Fault> {
    checked(user)?;
    call(&Program::new(CRONTAB).args(["-u", user, "-r"]))
}

fn checked(user: &str) -> Result<(), Fault> {
    UserName::parse(user).map(drop).map_err(|e| Fault::lasting("cron.user_unknown", e.to_string()))
}

fn call(program: &Program) -> Result<(), Fault> {
    let output =
        run::run(program).map_err(|e| Fault::passing("cron.crontab", lampas_shared::error::Chain(&e).to_string()))?;
    if output.is_success() {
        return Ok(());
    }
    Err(Fault::lasting("cron.crontab", format!("{CRONTAB} refused the crontab: {}", output.describe())))
}

/// Takes off the up to three comment lines that crontab(1) writes in front of what it installs.
pub(super) fn without_header(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    for start in ["# DO NOT EDIT THIS FILE", "# (", "# (Cron version"] {
        if !rest.starts_with(start.as_bytes()) {
            break;
        }
        rest = rest.iter().position(|b| *b == b'\n').map_or(&[][..], |at| &rest[at + 1..]);
    }
    rest
}

/// What the effects of many jobs have in common, looked up once.
pub(super) struct Effects<'a> {
    pub(super) root: &'a Root,
    accounts: Accounts,
    is_running: OnceCell<bool>,
    shadow: OnceCell<String>,
}

impl<'a> Effects<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, accounts: root.accounts(), is_running: OnceCell::new(), shadow: OnceCell::new() }
    }

    fn shadow(&self) -> &str {
        self.shadow.get_or_init(|| {
            let bytes = self.root.read("/etc/shadow", 4 << 20).ok().flatten().unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }
}

/// Looks whether cron runs the job: it runs itself, took the file, and may start programs as the user.
pub(super) fn prove(effects: &Effects<'_>, job: &CronJob, path: &str) -> Result<Vec<String>, Fault> {
    let root = effects.root;
    if !root.is_system() {
        return Ok(vec!["effect not proven under --root".to_owned()]);
    }
    if let Some(why) = account_fault(effects.shadow(), job.user.as_str()) {
        return Err(Fault::lasting("cron.account_expired", why));
    }
    if job.table == CronTable::User
        && let Some(why) = denied(root, job.user.as_str())
    {
        return Err(Fault::lasting("cron.denied", why));
    }
    if effects.accounts.user(job.user.as_str()).is_none() {
        return Err(Fault::lasting("cron.user_unknown", format!("user {} is not known on this node", job.user)));
    }
    if job.table == CronTable::System {
        took_file(root, path)?;
    }
    if !effects.is_running.get_or_init(is_running) {
        return Err(Fault::passing(
            "cron.not_running",
            "cron is installed but not running on this node: systemctl start cron",
        ));
    }
    Ok(Vec::new())
}

/// Looks at the file as cron does before it takes it (database.c: process_crontab).
fn took_file(root: &Root, path: &str) -> Result<(), Fault> {
    let ignored = |why: &str| Err(Fault::passing("cron.refused", format!("{path}: cron ignores it: {why}")));
    match root.look(path, 0).map_err(|e| e.to_fault())? {
        Seen::File { bytes, meta, links } => {
            if meta.uid != 0 {
                return ignored("it is not root's");
            }
            if meta.mode & 0o022 != 0 {
                return ignored("others can write it");
            }
            if links != 1 {
                return ignored("it has a second hard link");
            }
            if bytes.last() != Some(&b'\n') {
                return ignored("its last line has no newline");
            }
            Ok(())
        }
        _ => ignored("it is not a regular file"),
    }
}

/// Returns whether a cron daemon of root runs.
fn is_running() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.flatten().any(|entry| {
        let is_number = entry.file_name().to_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        is_number
            && entry.metadata().is_ok_and(|m| m.uid() == 0)
            && std::fs::read_to_string(entry.path().join("comm"))
                .is_ok_and(|comm| matches!(comm.trim_end(), "cron" | "crond"))
    })
}

/// Says why PAM would not let cron start programs as this user (shadow(5)).
fn account_fault(shadow: &str, user: &str) -> Option<String> {
    let today = lampas_runtime::clock::now().0.div_euclid(86_400_000);
    expiry(shadow, user, today)
}

fn expiry(shadow: &str, user: &str, today: i64) -> Option<String> {
    let line = shadow.lines().find(|l| l.split(':').next() == Some(user))?;
    let fields: Vec<&str> = line.split(':').collect();
    let day = |i: usize| fields.get(i).and_then(|f| f.parse::<i64>().ok());
    if day(7).is_some_and(|expires| expires >= 0 && today >= expires) {
        return Some(format!("the account {user} has expired; cron does not start its jobs (chage -E -1 {user})"));
    }
    let changed = day(2)?;
    if changed == 0 {
        return Some(format!(
            "{user} must change the password at the next login; until then cron does not start its jobs"
        ));
    }
    let is_old = day(4).is_some_and(|max| (0..99_999).contains(&max) && today > changed + max);
    is_old.then(|| format!("the password of {user} has expired; cron does not start its jobs (chage -M -1 {user})"))
}

/// Says why crontab(1) denies this user.
fn denied(root: &Root, user: &str) -> Option<String> {
    let lists = |path: &str| {
        let text = root.read(path, 1 << 20).ok().flatten()?;
        Some(String::from_utf8_lossy(&text).lines().any(|l| l.trim() == user))
    };
    match (lists("/etc/cron.allow"), lists("/etc/cron.deny")) {
        (Some(false), _) => Some(format!("/etc/cron.allow does not list {user}")),
        (None, Some(true)) => Some(format!("/etc/cron.deny lists {user}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_crontab_is_taken_off_once() {
        let installed = b"# DO NOT EDIT THIS FILE - edit the master and reinstall.\n# (- installed on Sat)\n# (Cron version -- $Id$)\n# (mine)\n* * * * * x\n";
        assert_eq!(without_header(installed), b"# (mine)\n* * * * * x\n");
        assert_eq!(without_header(b"# mine\n"), b"# mine\n");
    }

    #[test]
    fn accounts_that_pam_refuses_are_named() {
        let shadow = "a:*:19000:0:99999:7:::\nb:*:19000:0:99999:7::100:\nc:*:0:0:99999:7:::\nd:*:19000:0:90:7:::\n";
        let wrong = |user| expiry(shadow, user, 20_000).is_some();
        assert_eq!(["a", "b", "c", "d", "nobody"].map(wrong), [false, true, true, true, false]);
    }
}
