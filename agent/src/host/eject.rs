//! Gives everything back: what LAMPAS wrote becomes plain files that nobody manages.
//!
//! Cron's lines get the command in the place of the wrapper, blocks lose their markers and keep their lines, files stay
//! as they are. It is a plan like any other, so that it is journalled, written in order (the line first, the job's file
//! afterwards) and put back when something fails.

use std::collections::{BTreeMap, BTreeSet};

use lampas_render::{
    block,
    crontab::{plain_lines, plain_system},
};
use lampas_shared::{
    desired::ContentHash,
    error::Fault,
    host::{CronJob, CronTable, UserName},
    id::ObjectId,
    object::{Kind, ObjectName},
    scan::EjectedPlace,
};

use super::{
    HostPlan, Owned, Ownership, cron,
    plan::{Put, Step, fingerprint},
};
use crate::{
    job::{JOBS_DIRECTORY, JobFile, job_path},
    system::{Modified, Root, Seen},
};

/// What an ejection would do.
pub struct Ejection {
    /// The writes; afterwards nothing is owned.
    pub plan: HostPlan,
    /// What is left, by path.
    pub places: Vec<EjectedPlace>,
    /// Commands that can't stand in a line of cron: by path, to be written before.
    pub scripts: BTreeMap<String, EjectedScript>,
}

/// A command that can't stand in a line of cron.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EjectedScript {
    /// The shell's text.
    pub text: String,
    /// Who alone may read it, since it holds values of secrets; everybody when nobody is named.
    pub of: Option<UserName>,
}

/// A job of the state that is ejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EjectedJob {
    /// The object's name.
    pub name: ObjectName,
    /// The job, without values of secrets.
    pub job: CronJob,
    /// The variables that hold secrets.
    pub secrets: BTreeSet<String>,
}

/// Plans an ejection. `jobs` are those of the state; `scripts` is the directory for long commands.
///
/// # Errors
/// When a place can't be looked at.
pub fn eject(
    root: &Root,
    owned: &Ownership,
    jobs: &BTreeMap<ObjectId, EjectedJob>,
    zone: &str,
    scripts: &str,
) -> Result<Ejection, Fault> {
    let mut ejecting =
        Ejecting { root, owned, jobs, zone, directory: scripts, places: Vec::new(), scripts: BTreeMap::new() };
    let mut steps = Vec::new();
    for (path, place) in &owned.places {
        steps.push(ejecting.step(path, place)?);
    }
    let plan = HostPlan {
        items: Vec::new(),
        observed: ContentHash::of(&[]),
        steps,
        checks: Vec::new(),
        sudoers: None,
        secret_paths: BTreeSet::new(),
        ownership: owned.clone(),
    };
    Ok(Ejection { plan, places: ejecting.places, scripts: ejecting.scripts })
}

struct Ejecting<'a> {
    root: &'a Root,
    owned: &'a Ownership,
    jobs: &'a BTreeMap<ObjectId, EjectedJob>,
    zone: &'a str,
    directory: &'a str,
    places: Vec<EjectedPlace>,
    scripts: BTreeMap<String, EjectedScript>,
}

/// A job as cron's line shall run it.
struct PlainJob {
    name: ObjectName,
    job: CronJob,
    /// What the operator should know.
    note: Option<String>,
}

impl Ejecting<'_> {
    fn step(&mut self, path: &str, place: &Owned) -> Result<Step, Fault> {
        let is_cron = place.claims.values().any(|c| c.kind == Kind::Cron);
        let is_inner = path.starts_with(JOBS_DIRECTORY);
        let crontab_of = cron::user_of(path).map(str::to_owned).filter(|_| is_cron);
        let is_keys = super::account::is_key_block(path, place);
        let is_shared = path == super::hosts::PATH || crontab_of.is_some() || is_keys;
        // Who owns a place decides which directories above it are trusted; nothing is written where it stays.
        let owner = match self.root.accounts().home_owner(path) {
            Some(owner) if is_keys || !is_cron && !is_shared => owner,
            _ => 0,
        };
        let needs_write = is_inner || is_shared || is_cron;
        let looked = if is_shared {
            super::state::look_shared(self.root, path, owner)
        } else {
            super::state::look(self.root, path, owner)
        };
        let mut stays = None;
        let seen = match looked {
            Ok(seen) => seen,
            Err(_) if !needs_write => Seen::Absent,
            // It is the user's: whatever it was made into must not keep LAMPAS on the node.
            Err(fault) if is_keys => {
                stays = Some(format!("as it stands, with its markers: {}", fault.message));
                Seen::Absent
            }
            Err(fault) => return Err(fault),
        };
        let (put, what) = match &seen {
            _ if stays.is_some() => (Put::Keep, stays),
            _ if is_inner => (if seen == Seen::Absent { Put::Keep } else { Put::Gone }, None),
            Seen::File { bytes, .. } if is_shared => {
                let (bytes, what) = self.released(bytes, crontab_of.is_some());
                (file(bytes, &seen), Some(what))
            }
            Seen::File { bytes, .. } if is_cron => {
                let is_known = place.known.contains(&fingerprint(self.root, &seen, true));
                let (bytes, what) = self.plain_file(bytes, place, is_known);
                (file(bytes, &seen), Some(what))
            }
            Seen::Absent => (Put::Keep, Some("as it stands".to_owned())),
            _ => (Put::Keep, Some("as it stands, byte for byte".to_owned())),
        };
        if let Some(what) = what {
            self.places.push(EjectedPlace { path: path.to_owned(), what });
        }
        Ok(Step {
            path: path.to_owned(),
            targets: place.claims.keys().cloned().collect(),
            leaves: if is_shared { ContentHash::of(&[]) } else { put.fingerprint(self.root) },
            put,
            seen,
            owner,
            owned: None,
            // With the removals, so that a job's line is plain before the job's file goes.
            is_removal: true,
            is_shared,
            crontab_of,
            by_hand: None,
            keeps: None,
        })
    }

    /// A file of others without LAMPAS's markers, its lines where they stood.
    fn released(&mut self, bytes: &[u8], is_crontab: bool) -> (Vec<u8>, String) {
        let Some(inner) = block::extract(bytes) else { return (bytes.to_vec(), "as it stands".to_owned()) };
        let text = String::from_utf8_lossy(inner).into_owned();
        if !is_crontab {
            let lines = text.lines().count();
            return (block::release(bytes, inner), format!("{lines} lines, without markers"));
        }
        let (plain, what) = self.plain_text(&text, CronTable::User);
        (block::release(bytes, plain.as_bytes()), what)
    }

    fn plain_file(&mut self, bytes: &[u8], place: &Owned, is_known: bool) -> (Vec<u8>, String) {
        let object = place.claims.values().map(|c| c.object).next();
        let job = object.and_then(|id| self.job(id));
        if let (true, Some(PlainJob { name, job, note })) = (is_known, &job) {
            let script = self.script_path(name);
            let plain = plain_system(job, name, self.zone, &script);
            if let Some(text) = plain.script {
                self.scripts.insert(script, EjectedScript { text, of: None });
            }
            let mut what = "runs its command itself".to_owned();
            for loss in plain.losses.iter().chain(note) {
                what.push_str(&format!("; {loss}"));
            }
            return (plain.text.into_bytes(), what);
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (plain, what) = self.plain_text(&text, CronTable::System);
        (plain.into_bytes(), format!("{what}; it had been changed by hand"))
    }

    fn plain_text(&mut self, text: &str, table: CronTable) -> (String, String) {
        let (mut jobs, mut notes) = (BTreeMap::new(), Vec::new());
        let (plain, losses, long) = plain_lines(text, table, self.zone, |id| {
            let PlainJob { name, job, note } = self.job(id)?;
            let path = self.script_path(&name);
            notes.extend(note);
            jobs.insert(id, path.clone());
            Some((job, path))
        });
        for (id, text) in long {
            if let Some(path) = jobs.remove(&id) {
                self.scripts.insert(path, EjectedScript { text, of: None });
            }
        }
        let mut what = "its lines run their commands themselves".to_owned();
        for loss in losses.iter().chain(&notes) {
            what.push_str(&format!("; {loss}"));
        }
        (plain, what)
    }

    /// A job as it is in force, or as the state has it. What holds secrets stands in a script that its user alone may read:
    /// cron's file is for everybody to read, and a line of cron for everybody to see while it runs.
    fn job(&mut self, id: ObjectId) -> Option<PlainJob> {
        let written = JobFile::read(self.root, id).ok().map(|f| (f.name, f.job));
        let known = self.jobs.get(&id);
        let (name, mut job) = written.or_else(|| known.map(|k| (k.name.clone(), k.job.clone())))?;
        let has_secrets = self.owned.places.get(&job_path(id)).is_some_and(|place| place.holds_secrets);
        let named = known.map(|k| k.secrets.clone()).unwrap_or_default();
        if !has_secrets && named.is_empty() {
            return Some(PlainJob { name, job, note: None });
        }
        let lost: Vec<String> =
            named.into_iter().filter(|n| !job.environment.keys().any(|has| has.as_str() == n)).collect();
        if !lost.is_empty() {
            let note = format!("the values of {} are not on this node: set them in its line", lost.join(", "));
            return Some(PlainJob { name, job, note: Some(note) });
        }
        let path = self.script_path(&name);
        let quoted = |value: &str| format!("'{}'", value.replace('\'', r"'\''"));
        let mut text = format!("# It holds values of secrets: {} alone may read it.\n", job.user);
        for (variable, value) in std::mem::take(&mut job.environment) {
            text.push_str(&format!("{variable}={}\nexport {variable}\n", quoted(&value)));
        }
        text.push_str(job.shell_command().trim());
        text.push('\n');
        job.command = format!("/bin/sh {path}");
        let note = format!("its variables, secrets among them, stand in {path}, which {} alone may read", job.user);
        self.scripts.insert(path, EjectedScript { text, of: Some(job.user.clone()) });
        Some(PlainJob { name, job, note: Some(note) })
    }

    fn script_path(&self, name: &ObjectName) -> String {
        format!("{}/{name}.sh", self.directory)
    }
}

fn file(bytes: Vec<u8>, seen: &Seen) -> Put {
    match seen {
        Seen::File { bytes: standing, .. } if *standing == bytes => Put::Keep,
        Seen::File { meta, .. } => Put::File {
            bytes,
            uid: meta.uid,
            gid: meta.gid,
            mode: meta.mode,
            xattrs: crate::system::write::kept_xattrs(meta, true),
            modified: Modified::After(meta.modified_ns),
        },
        _ => Put::Keep,
    }
}
