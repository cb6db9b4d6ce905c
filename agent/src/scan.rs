//! What stands on this node that nobody manages: read, bounded, and not interpreted.
//!
//! The agent is root and the files are others', so nothing here follows a link, opens what is no regular file, or reads
//! more than its limits say; contents travel as bytes, and the controller, which has no power here, reads what they mean.
//! Only account files and dpkg's own records are looked into, and dpkg's program runs in the sandbox.
//!
//! What LAMPAS manages is left out and counted; of `/etc/hosts` and of crontabs the lines outside of its block are shown.

mod directory;
mod package;

use std::collections::BTreeSet;

use lampas_render::block;
use lampas_runtime::{clock, config::load_or_default};
use lampas_shared::{
    deceptive_char,
    desired::ContentHash,
    error::Fault,
    host::{FileMode, ManagedPath},
    report::ObservedFile,
    scan::{ForeignFile, HumanUser, MAX_CONTENT_BYTES, MAX_FILES, MAX_NOTES, MAX_USERS, Place, Scan, ScanRequest},
    time::UnixMs,
};

use crate::{
    config::{Config, Paths},
    host::{FileMeta, Ownership, Tools},
    policy::Ruling,
    system::{Accounts, Root, Seen},
};

/// Directories whose files are looked at, each file by itself and nothing below.
const DIRECTORIES: [(&str, Place); 8] = [
    ("/etc/cron.d", Place::Cron),
    ("/etc/cron.hourly", Place::CronScript),
    ("/etc/cron.daily", Place::CronScript),
    ("/etc/cron.weekly", Place::CronScript),
    ("/etc/cron.monthly", Place::CronScript),
    ("/usr/local/bin", Place::Script),
    ("/usr/local/sbin", Place::Script),
    ("/etc/sudoers.d", Place::Sudoers),
];
const FILES: [(&str, Place); 3] =
    [("/etc/crontab", Place::Cron), ("/etc/hosts", Place::Hosts), ("/etc/sudoers", Place::Sudoers)];
const CRONTABS: &str = "/var/spool/cron/crontabs";

/// What is never read for a scan: whoever asks is an operator, but keys and passwords are no configuration.
const SECRETS: [&str; 6] =
    ["/etc/shadow", "/etc/gshadow", "/etc/shadow-", "/etc/gshadow-", "/etc/ssl/private", "/etc/krb5.keytab"];

/// What a scan is made with.
pub struct Means<'a> {
    /// The root.
    pub root: &'a Root,
    /// Where the agent's configuration is.
    pub paths: &'a Paths,
    /// What LAMPAS owns.
    pub owned: &'a Ownership,
    /// The node's own policy.
    pub ruling: &'a Ruling,
    /// For programs.
    pub tools: &'a Tools,
}

/// Looks. Blocking; writes nothing.
///
/// # Errors
/// When a path is asked for that can't be one.
pub fn scan(means: &Means<'_>, ask: &ScanRequest) -> Result<Scan, Fault> {
    let mut looker = Looker {
        means,
        accounts: means.root.accounts(),
        scan: Scan { at: clock::now(), ..Scan::default() },
        room: MAX_CONTENT_BYTES,
        seen: BTreeSet::new(),
    };
    if ask.paths.is_empty() {
        looker.usual_places();
        looker.scan.users = users(&looker.accounts);
        match package::packages(means.root, means.paths, means.tools) {
            Ok(packages) => looker.scan.packages = packages,
            Err(why) => looker.note(why),
        }
        let owned = &means.owned.places;
        let before = looker.scan.users.len() + looker.scan.packages.len();
        looker.scan.users.retain(|u| !owned.contains_key(&format!("user:{}", u.name)));
        looker.scan.packages.retain(|p| !owned.contains_key(&format!("package:{}", p.name)));
        let left = looker.scan.users.len() + looker.scan.packages.len();
        looker.scan.managed += u32::try_from(before - left).unwrap_or(u32::MAX);
    } else {
        for path in &ask.paths {
            let path = ManagedPath::parse(path.as_str())
                .map_err(|e| Fault::lasting("scan.path", e.to_string()))?
                .as_str()
                .to_owned();
            looker.file(place_of(&path), &path);
        }
    }
    looker.scan.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(looker.scan)
}

struct Looker<'a> {
    means: &'a Means<'a>,
    accounts: Accounts,
    scan: Scan,
    /// How many bytes of contents may still be taken.
    room: usize,
    seen: BTreeSet<String>,
}

impl Looker<'_> {
    fn usual_places(&mut self) {
        for (path, place) in FILES {
            self.file(place, path);
        }
        for (path, place) in DIRECTORIES {
            self.directory(place, path);
        }
        self.directory(Place::Crontab, CRONTABS);
        let config: Config = match load_or_default(&self.means.paths.config()) {
            Ok(config) => config,
            Err(error) => {
                self.note(format!("agent.toml can't be read, so that its [scan] directories are left out: {error}"));
                return;
            }
        };
        for path in config.scan.directories {
            self.directory(Place::File, path.trim_end_matches('/'));
        }
    }

    fn directory(&mut self, place: Place, path: &str) {
        match directory::list(self.means.root, path) {
            Ok(None) => {}
            Ok(Some(listing)) => {
                if listing.left_off > 0 {
                    self.note(format!(
                        "{path}: {} of its {} names are left off: more than a scan takes, or not UTF-8",
                        listing.left_off,
                        listing.left_off + listing.names.len()
                    ));
                }
                for name in listing.names {
                    self.file(place, &format!("{path}/{name}"));
                }
            }
            Err(error) => self.note(error.to_string()),
        }
    }

    fn file(&mut self, place: Place, path: &str) {
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        if self.scan.files.len() >= MAX_FILES {
            self.note(format!("{path} and others are left off: a scan takes {MAX_FILES} files"));
            return;
        }
        let is_shared = matches!(place, Place::Hosts | Place::Crontab);
        if self.means.owned.places.contains_key(path) {
            self.scan.managed += 1;
            if !is_shared {
                return;
            }
        }
        if let Some(why) = self.refused(path) {
            return self.fault(place, path, why);
        }
        // What the configuration or an operator names may be a user's, and then that user's directories hold it.
        let owner = match place {
            Place::File => {
                use std::os::unix::fs::MetadataExt as _;
                std::fs::symlink_metadata(self.means.paths.below(path)).map_or(0, |m| m.uid())
            }
            _ => 0,
        };
        let looked = self.means.root.place(path, owner).and_then(|at| {
            let limit = ObservedFile::MAX_BYTES as u64;
            self.means.root.look_bounded(&at, limit)
        });
        match looked {
            Ok(Seen::File { bytes, meta, .. }) => {
                let bytes = if is_shared { block::foreign(&bytes) } else { bytes };
                if is_shared && bytes.trim_ascii().is_empty() {
                    return;
                }
                let file = self.describe(bytes, &meta);
                self.scan.files.push(ForeignFile {
                    place,
                    path: path.to_owned(),
                    file: Some(file),
                    link: None,
                    fault: String::new(),
                });
            }
            Ok(Seen::Link { to, .. }) => self.scan.files.push(ForeignFile {
                place,
                path: path.to_owned(),
                file: None,
                link: Some(to),
                fault: String::new(),
            }),
            Ok(Seen::Absent | Seen::Directory { .. }) => {}
            Err(error) => {
                if !matches!(error.problem, crate::system::root::PathProblem::Missing(_)) {
                    self.fault(place, path, error.to_string());
                }
            }
        }
    }

    fn refused(&self, path: &str) -> Option<String> {
        let is_below = |above: &str| path == above || path.strip_prefix(above).is_some_and(|r| r.starts_with('/'));
        if let Some(denied) = self.means.ruling.denied(path) {
            return Some(format!("the node's policy denies {denied} and what is below it"));
        }
        let is_key =
            path.starts_with("/etc/ssh/ssh_host_") && path.strip_suffix(".pub").is_none() || path.contains("/.ssh/id_");
        (is_key || SECRETS.iter().any(|s| is_below(s))).then(|| "it holds secrets, and is not read".to_owned())
    }

    fn describe(&mut self, bytes: Vec<u8>, meta: &FileMeta) -> ObservedFile {
        let hash = ContentHash::of(&bytes);
        let content = (bytes.len() <= self.room).then_some(bytes);
        match &content {
            Some(bytes) => self.room -= bytes.len(),
            None => {
                self.note("some contents are left out: a scan takes 8 MiB of them; ask for these files by path".into());
            }
        }
        let FileMeta { uid, gid, mode, modified_ns, .. } = meta;
        let is_writable_by_others = (self.means.root.is_privileged() && *uid != 0)
            || mode & 0o002 != 0
            || (mode & 0o020 != 0 && *gid != 0 && !self.accounts.is_group_harmless(*gid, 0));
        ObservedFile {
            content,
            hash,
            owner: self.accounts.user_name(*uid),
            group: self.accounts.group_name(*gid),
            mode: FileMode::new(mode & 0o7777).expect("twelve bits are a mode"),
            modified_at: UnixMs(modified_ns / 1_000_000),
            is_writable_by_others,
        }
    }

    fn fault(&mut self, place: Place, path: &str, fault: String) {
        self.scan.files.push(ForeignFile { place, path: path.to_owned(), file: None, link: None, fault });
    }

    /// Notes something once.
    fn note(&mut self, note: String) {
        if self.scan.notes.len() < MAX_NOTES && !self.scan.notes.contains(&note) {
            self.scan.notes.push(note);
        }
    }
}

/// What a file that was asked for by path is there for.
fn place_of(path: &str) -> Place {
    let listed = FILES.iter().find(|(p, _)| *p == path).map(|(_, place)| *place);
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let within = || DIRECTORIES.iter().find(|(d, _)| *d == parent).map(|(_, place)| *place);
    let crontab = || (parent == CRONTABS).then_some(Place::Crontab);
    listed.or_else(within).or_else(crontab).unwrap_or(Place::File)
}

/// The users that people sign in as: uid 1000 and above, but nobody; and whoever may become root by sudo's group.
fn users(accounts: &Accounts) -> Vec<HumanUser> {
    let is_plain = |text: &str| deceptive_char(text).is_none() && text.len() <= 256;
    let mut found: Vec<HumanUser> = accounts
        .users()
        .filter(|(name, account)| {
            let is_person = account.uid >= 1000 && account.uid < 65_534;
            let is_admin = account.uid != 0 && accounts.groups_of(name, account.gid).iter().any(|g| g == "sudo");
            (is_person || is_admin) && is_plain(name)
        })
        .map(|(name, account)| HumanUser {
            name: name.to_owned(),
            uid: account.uid,
            groups: accounts.groups_of(name, account.gid).into_iter().filter(|g| is_plain(g)).take(200).collect(),
            home: if is_plain(&account.home) { account.home.clone() } else { String::new() },
        })
        .take(MAX_USERS)
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests;
