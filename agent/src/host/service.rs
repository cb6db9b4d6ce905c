//! Units of systemd: whether each is masked, enabled and running.
//!
//! Each of these is a place of its own (`unit:nginx.service/running`) that reads and is written as one word, so that plan,
//! drift, what stood before and the way back are those of files. Their files (`/etc/systemd/system/NAME`, `NAME.d`) are
//! files. Within an apply what ends a unit's work comes before the files that go, what begins it after the files that
//! come, and systemd reads the files anew in between, once ([`order`], [`Reload`]).
//!
//! Below `--root DIR` systemctl(1) enables and masks in DIR's files; nothing runs there, and that is said.

mod systemctl;

use std::{
    collections::{BTreeMap, BTreeSet},
    thread::sleep,
    time::{Duration, Instant},
};

use lampas_shared::{
    desired::{Resource, Spec},
    error::Fault,
    host::{Aspect, UnitName},
    object::Kind,
};

pub(super) use systemctl::{Manager, Unit};

use super::{
    plan::{How, Planner, Put, Step, Whole},
    state,
};
use crate::system::{Modified, Root, Seen};

/// What the path of such a place begins with.
const UNIT: &str = "unit:";
/// How long a unit that was started is watched: a program that can't read its configuration ends within moments.
const SETTLE: Duration = Duration::from_millis(2_000);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Where systemd looks for units, systemd.unit(5); the first that has a file of a name wins it.
const DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The longest unit that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Returns the place of something that is true of a unit or not.
pub(super) fn place(unit: &UnitName, aspect: Aspect) -> String {
    format!("{UNIT}{unit}/{}", aspect.as_str())
}

/// Reads the path of such a place; `None` for others.
pub(super) fn of_place(path: &str) -> Option<(UnitName, Aspect)> {
    let (unit, word) = path.strip_prefix(UNIT)?.rsplit_once('/')?;
    let aspect = Aspect::ALL.into_iter().find(|a| a.as_str() == word)?;
    Some((UnitName::parse(unit).ok()?, aspect))
}

/// Plans one thing about a unit.
pub(super) fn plan(
    planner: &mut Planner<'_>,
    resource: &Resource,
    unit: &UnitName,
    (aspect, is_so): (Aspect, bool),
    refused: Option<Fault>,
) {
    let path = place(unit, aspect);
    if let Some(fault) = refused.or_else(|| forbidden(unit, aspect, is_so)) {
        return planner.refuse(resource, &path, fault);
    }
    if aspect == Aspect::Running && !planner.root.is_system() {
        let note = "not proven: below --root nothing runs, and no unit is started or stopped";
        return planner.enter_note(resource, &path, note);
    }
    let seen = match state::look(planner.root, &path, 0) {
        Ok(seen) => seen,
        Err(fault) => return planner.refuse(resource, &path, fault),
    };
    let mut notes = Vec::new();
    let mut wanted = aspect.word(is_so).to_owned();
    match (&seen, aspect) {
        (Seen::Absent, Aspect::Enabled | Aspect::Running) if !is_coming(planner, unit) => {
            if !is_so {
                return planner.enter_note(resource, &path, &format!("this node has no {unit}"));
            }
            return planner.refuse(resource, &path, unknown(unit));
        }
        (Seen::File { bytes, .. }, Aspect::Enabled) => match word(bytes).as_str() {
            "enabled" | "disabled" => {}
            // Nothing starts it with the node by itself, which is what is wanted.
            other if !is_so => other.clone_into(&mut wanted),
            other if is_coming(planner, unit) => notes.push(format!("it is {other} until its own file stands")),
            other => {
                let text = format!(
                    "{unit} is {other}: it has no [Install] section that could be enabled; what needs it starts it"
                );
                return planner.refuse(resource, &path, Fault::lasting("service.not_enableable", text));
            }
        },
        (Seen::File { .. }, Aspect::Running) if is_so && !is_coming(planner, unit) => {
            if let Some(fault) =
                Manager::of(planner.root).and_then(|m| m.show(unit)).ok().and_then(|u| wont_stay(unit, &u))
            {
                return planner.refuse(resource, &path, fault);
            }
        }
        _ => {}
    }
    if unit.is_way_in() && aspect.is_end(is_so) {
        notes.push(format!("{unit} is a way in for administrators: without it this node is reached by LAMPAS alone"));
    }
    let is_met = matches!(&seen, Seen::File { bytes, .. } if word(bytes) == wanted);
    let has_failed = matches!(&seen, Seen::File { bytes, .. } if word(bytes) == "failed");
    if has_failed && !is_met && aspect == Aspect::Running {
        let said = Manager::of(planner.root).map(|m| m.last_words(unit)).unwrap_or_default();
        notes.extend((!said.is_empty()).then(|| format!("its last words: {said}")));
    }
    let bytes = format!("{wanted}\n").into_bytes();
    let put = Put::File { bytes, uid: 0, gid: 0, mode: 0o644, xattrs: BTreeMap::new(), modified: Modified::Now };
    planner.whole(Whole { resource, path, put, owner: 0, is_inner: false, is_single: false, notes });
}

/// What must not be done to a unit, whoever asks for it.
fn forbidden(unit: &UnitName, aspect: Aspect, is_so: bool) -> Option<Fault> {
    if !unit.is_own() || !aspect.is_end(is_so) {
        return None;
    }
    let text = format!("LAMPAS runs as {unit}; stop, disable or mask it on the node itself");
    Some(Fault::lasting("service.own", text))
}

fn unknown(unit: &UnitName) -> Fault {
    let text = format!("this node has no {unit}; is its package installed, or the name misspelt?");
    Fault::lasting("service.unknown", text)
}

/// A program that does its work and ends is never found running.
fn wont_stay(unit: &UnitName, found: &Unit) -> Option<Fault> {
    (found.is_passing()).then(|| {
        let text = format!("{unit} does its work and ends (Type=oneshot); leave running out, and start it by a timer");
        Fault::lasting("service.oneshot", text)
    })
}

/// Whether the unit's file is part of this state, so that it is there by the time that it is needed.
fn is_coming(planner: &Planner<'_>, unit: &UnitName) -> bool {
    let names: Vec<String> = [unit.to_string()].into_iter().chain(unit.template()).collect();
    planner.inputs.resources.iter().any(|r| match &r.spec {
        Spec::File { path, .. } => names.iter().any(|n| path.as_str() == format!("{}/{n}", DIRECTORIES[0])),
        _ => false,
    })
}

/// Looks at one thing about a unit.
///
/// # Errors
/// When it can't be told.
pub(super) fn look(root: &Root, unit: &UnitName, aspect: Aspect) -> Result<Seen, Fault> {
    let word = match aspect {
        Aspect::Masked => Some(aspect.word(is_masked(root, unit)?).to_owned()),
        Aspect::Enabled => Manager::of(root)?.enablement(unit)?,
        Aspect::Running => Manager::of(root)?.show(unit)?.running(),
    };
    Ok(word.map_or(Seen::Absent, |word| state::seen(&format!("{word}\n"))))
}

fn is_masked(root: &Root, unit: &UnitName) -> Result<bool, Fault> {
    match root.look(&format!("{}/{unit}", DIRECTORIES[0]), 0) {
        Ok(Seen::Link { to, .. }) => Ok(to == "/dev/null"),
        Ok(Seen::File { bytes, .. }) => Ok(bytes.is_empty()),
        Ok(Seen::Absent | Seen::Directory { .. }) => Ok(false),
        Err(error) => Err(error.to_fault()),
    }
}

/// Makes one thing true of a unit.
///
/// # Errors
/// When systemd refuses, or the unit does not start.
pub(super) fn put(root: &Root, unit: &UnitName, aspect: Aspect, put: &Put) -> Result<(), Fault> {
    let manager = Manager::of(root)?;
    let is_so = match put {
        Put::File { bytes, .. } => {
            let wanted = word(bytes);
            // What had failed, or could not be enabled, before LAMPAS does not come back: it is ended, as it was.
            aspect.word(true) == wanted
        }
        Put::Keep => return Ok(()),
        _ => false,
    };
    let verb = match (aspect, is_so) {
        (Aspect::Masked, true) => "mask",
        (Aspect::Masked, false) => "unmask",
        (Aspect::Enabled, true) => "enable",
        (Aspect::Enabled, false) => "disable",
        (Aspect::Running, true) => "start",
        (Aspect::Running, false) => "stop",
    };
    match manager.act(verb, unit) {
        // What is not there neither runs nor starts.
        Err(_) if !is_so && look(root, unit, aspect).is_ok_and(|seen| seen == Seen::Absent) => Ok(()),
        done => done,
    }
}

/// What is done first within an apply: what ends a unit's work before files go, what begins it after files came.
pub(super) fn order(path: &str, put: &Put) -> Option<(bool, u8)> {
    let (_, aspect) = of_place(path)?;
    let is_so = matches!(put, Put::File { bytes, .. } if word(bytes) == aspect.word(true));
    let is_end = aspect.is_end(is_so);
    let rank = match (aspect, is_end) {
        (Aspect::Masked, false) | (Aspect::Running, true) => 0,
        (Aspect::Enabled, _) => 1,
        (Aspect::Running, false) | (Aspect::Masked, true) => 2,
    };
    Some((is_end, rank))
}

/// Has systemd read its files anew after some of them changed, once, before a unit is started.
#[derive(Debug, Default)]
pub(super) struct Reload {
    is_due: bool,
    started: BTreeSet<UnitName>,
}

impl Reload {
    /// Takes note of a place that was written.
    pub(super) fn wrote(&mut self, path: &str) {
        self.is_due |= DIRECTORIES.iter().any(|d| path.strip_prefix(d).is_some_and(|rest| rest.starts_with('/')));
    }

    /// Takes note of a unit that was started.
    pub(super) fn acted(&mut self, path: &str, put: &Put) {
        if let (Some((unit, Aspect::Running)), Some((false, _))) = (of_place(path), order(path, put)) {
            self.started.insert(unit);
        }
    }

    /// Has systemd read its files anew, if that is due.
    ///
    /// # Errors
    /// When systemd can't.
    pub(super) fn now(&mut self, root: &Root) -> Result<(), Fault> {
        if !std::mem::take(&mut self.is_due) {
            return Ok(());
        }
        match Manager::of(root) {
            Ok(manager) => manager.read_anew(),
            // Where no systemd runs, the next one reads what stands.
            Err(_) => Ok(()),
        }
    }

    /// Watches what was started for a moment, and returns it.
    ///
    /// # Errors
    /// When one of them did not stay.
    pub(super) fn settle(self, root: &Root) -> Result<BTreeSet<UnitName>, (UnitName, Fault)> {
        settle(root, &self.started)?;
        Ok(self.started)
    }
}

/// Watches units that were started for a moment.
///
/// # Errors
/// With the first that did not stay.
pub(super) fn settle(root: &Root, units: &BTreeSet<UnitName>) -> Result<(), (UnitName, Fault)> {
    if units.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    let mut restarts: BTreeMap<&UnitName, u64> = BTreeMap::new();
    loop {
        let is_last = started.elapsed() >= SETTLE;
        for unit in units {
            let fail = |fault| (unit.clone(), fault);
            let manager = Manager::of(root).map_err(fail)?;
            let found = manager.show(unit).map_err(fail)?;
            let first = *restarts.entry(unit).or_insert(found.restarts);
            if found.restarts > first || !matches!(found.running().as_deref(), Some("running")) {
                return Err((unit.clone(), manager.did_not_stay(unit, &found)));
            }
        }
        if is_last {
            return Ok(());
        }
        sleep(LOOK_EVERY);
    }
}

/// Says what a unit does, where it shall do something else.
pub(super) fn unlike(root: &Root, unit: &UnitName, aspect: Aspect, is_so: bool) -> Fault {
    let manager = Manager::of(root);
    if let (Aspect::Running, true, Ok(manager)) = (aspect, is_so, &manager)
        && let Ok(found) = manager.show(unit)
    {
        return manager.did_not_stay(unit, &found);
    }
    Fault::lasting("service.not_as_desired", format!("{unit} shall be {}, and is not", aspect.word(is_so)))
}

/// Says what the operator should know of a unit's files that are going to be written.
pub(super) fn note_running(planner: &mut Planner<'_>, resource: &Resource) {
    let Spec::File { path, .. } = &resource.spec else { return };
    let Some(unit) = unit_of(path.as_str()) else { return };
    let is_followed = resource.on_change.iter().any(|r| r.unit == unit);
    let is_written = planner.items.last().is_some_and(|i| i.target == resource.target && i.verb.is_some());
    if resource.kind != Kind::Service || !is_written || is_followed || !planner.root.is_system() {
        return;
    }
    let found = Manager::of(planner.root).and_then(|m| m.show(&unit));
    if found.is_ok_and(|u| u.running().as_deref() == Some("running"))
        && let Some(item) = planner.items.last_mut()
    {
        item.notes.push(format!("{unit} runs on as it is until it is restarted: on_change = [\"restart {unit}\"]"));
    }
}

/// Refuses a whole file for what LAMPAS runs as; what is changed about it by an override is the operator's to say.
///
/// # Errors
/// For a unit of LAMPAS's own.
pub(super) fn may_write(path: &str) -> Result<(), Fault> {
    match unit_of(path).filter(|unit| unit.is_own() && !path.contains(".d/")) {
        None => Ok(()),
        Some(unit) => {
            let text = format!("LAMPAS runs as {unit}; replace its file on the node itself");
            Err(Fault::lasting("service.own", text))
        }
    }
}

/// Returns how a file of a unit is checked: together with the unit's own file, which may be part of this state.
pub(super) fn how(planner: &Planner<'_>, path: &str) -> Option<How> {
    let unit = unit_of(path)?;
    if !path.contains(".d/") {
        return Some(How::Unit { unit, base: None });
    }
    let own = unit.file_path().ok()?;
    let coming = planner.inputs.resources.iter().find_map(|r| match &r.spec {
        Spec::File { path, content, .. } if *path == own => {
            content.inline.clone().or_else(|| (planner.inputs.content)(&content.hash))
        }
        _ => None,
    });
    let base = coming.or_else(|| fragment(planner.root, &unit)).or_else(|| bare(&unit))?;
    Some(How::Unit { unit, base: Some(base) })
}

/// A unit that stands for one whose file isn't found: enough to read what is changed about it.
fn bare(unit: &UnitName) -> Option<Vec<u8>> {
    let (_, sort) = unit.as_str().rsplit_once('.')?;
    let text = match sort {
        "service" => "[Service]\nExecStart=/bin/true\n",
        "timer" => "[Timer]\nOnBootSec=1\n",
        "socket" => "[Socket]\nListenStream=/run/none\n",
        "path" => "[Path]\nPathExists=/\n",
        _ => return None,
    };
    Some(text.as_bytes().to_vec())
}

/// Returns the unit that a file of `/etc/systemd/system` is of, or says something about.
pub(super) fn unit_of(path: &str) -> Option<UnitName> {
    let rest = path.strip_prefix(DIRECTORIES[0])?.strip_prefix('/')?;
    UnitName::parse(rest.split_once(".d/").map_or(rest, |(unit, _)| unit)).ok()
}

/// Returns the directory of what is changed about a unit, which comes and goes with that.
pub(super) fn directory_of(path: &str) -> Option<&str> {
    let (directory, name) = path.rsplit_once('/')?;
    (name == "lampas.conf" && directory.strip_suffix(".d").is_some() && unit_of(path).is_some()).then_some(directory)
}

/// Returns the unit's own file, as the node has it.
pub(super) fn fragment(root: &Root, unit: &UnitName) -> Option<Vec<u8>> {
    let names: Vec<String> = [unit.to_string()].into_iter().chain(unit.template()).collect();
    let paths = names.iter().flat_map(|name| DIRECTORIES.iter().map(move |d| format!("{d}/{name}")));
    paths.into_iter().find_map(|path| root.read(&path, MAX_BYTES).ok().flatten()).filter(|bytes| !bytes.is_empty())
}

fn word(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Orders the steps of an apply: what ends units' work, removals, directories, files, what begins it.
pub(super) fn phase(step: &Step, plain: u8) -> (u8, u8) {
    match order(&step.path, &step.put) {
        None => (plain + 2, 0),
        Some((true, rank)) if step.is_removal => (1, rank),
        Some((true, rank)) => (u8::MAX - 1, rank),
        Some((false, rank)) => (u8::MAX, rank),
    }
}
