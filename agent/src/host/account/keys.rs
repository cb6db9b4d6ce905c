//! The keys that a user may sign in with: `~/.ssh/authorized_keys`.
//!
//! The home is the user's, and so is what leads there: nothing is followed, and what is made is made the user's. Keys of
//! others stay where they are unless the object says that its own are the only ones.

use std::collections::BTreeMap;

use lampas_shared::{
    desired::{Resource, Spec},
    error::Fault,
    host::{AuthorizedKey, ManagedPath},
    object::Kind,
};

use super::plan::Coming;
use crate::{
    host::{
        Owned,
        plan::{Planner, Put, Reform, Shared, Whole},
    },
    system::{Modified, Seen},
};

const FILE: &str = "/.ssh/authorized_keys";

/// What is wanted of a user's keys.
pub(super) struct Keys<'a> {
    pub(super) user: &'a str,
    pub(super) home: Option<&'a ManagedPath>,
    pub(super) keys: &'a [AuthorizedKey],
    pub(super) is_exclusive: bool,
}

/// Returns whether a place is a file of keys of which LAMPAS owns a block.
pub(in crate::host) fn is_block(path: &str, owned: &Owned) -> bool {
    path.ends_with(FILE) && owned.claims.values().any(|c| c.kind == Kind::User && !c.lines.is_empty())
}

pub(super) fn plan(
    planner: &mut Planner<'_>,
    resource: &Resource,
    want: &Keys<'_>,
    coming: &Coming,
    refused: Option<Fault>,
) {
    let account = planner.accounts.user(want.user);
    let home = want.home.map(ToString::to_string).or_else(|| account.as_ref().map(|a| a.home.clone()));
    let path = format!("{}{FILE}", home.as_deref().unwrap_or("~"));
    let account = account.ok_or_else(|| {
        let text = format!("there is no user {} on this node, whose keys these could be", want.user);
        Fault::lasting("keys.user_unknown", text)
    });
    let account = match refused.map_or(account, Err) {
        Ok(account) => account,
        Err(fault) => return planner.refuse(resource, &path, fault),
    };
    let home = home.unwrap_or_default();
    if let Some(fault) = fault(planner, want, &path, &home, account.uid, coming) {
        return planner.refuse(resource, &path, fault);
    }
    let (uid, gid) = (account.uid, account.gid);
    let before = planner.items.len();
    plan_directory(planner, resource, &format!("{home}/.ssh"), uid, gid);
    let directory = planner.items.split_off(before).pop();
    let lines = want.keys.iter().map(|k| k.as_str().to_owned()).collect::<Vec<_>>();
    if changes_form(planner, &path, want.is_exclusive) {
        let fresh = (uid, gid, 0o600);
        let is_shared = !want.is_exclusive;
        let reform = Reform { resource, path: path.clone(), owner: uid, fresh, lines, is_shared, same };
        if let Err(fault) = planner.reform(reform) {
            planner.refuse(resource, &path, fault);
        }
    } else if want.is_exclusive {
        let bytes = lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect::<String>().into_bytes();
        let put = Put::File { bytes, uid, gid, mode: 0o600, xattrs: BTreeMap::new(), modified: Modified::Now };
        planner.whole(Whole { resource, path, put, owner: uid, is_inner: false, is_single: false, notes: Vec::new() });
    } else {
        let subject = path.clone();
        planner.shared(Shared {
            path,
            owner: uid,
            fresh: (uid, gid, 0o600),
            crontab_of: None,
            subject,
            same: Some(same),
            parts: vec![(resource, Ok(lines), Vec::new())],
        });
    }
    let (Some(directory), Some(item)) = (directory, planner.items.get_mut(before)) else { return };
    item.notes.extend(directory.notes);
    item.fault = item.fault.take().or(directory.fault);
    if item.verb.is_none() && !item.is_held && directory.verb.is_some() {
        item.verb = directory.verb;
        item.diff = directory.diff;
    }
    item.is_drifted |= directory.is_drifted;
}

/// The same key by hand and by LAMPAS: then LAMPAS's line stands, so that it goes with its object.
fn same(line: &str) -> Option<String> {
    let is_plain = line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("sk-");
    line.split_whitespace().find(|w| is_plain && w.starts_with("AAAA")).map(str::to_owned)
}

fn plan_directory(planner: &mut Planner<'_>, resource: &Resource, path: &str, uid: u32, gid: u32) {
    let put = Put::Directory { uid, gid, mode: 0o700 };
    let path = path.to_owned();
    planner.whole(Whole { resource, path, put, owner: uid, is_inner: false, is_single: false, notes: Vec::new() });
}

/// Says why these keys can't stand there.
fn fault(planner: &Planner<'_>, want: &Keys<'_>, path: &str, home: &str, uid: u32, coming: &Coming) -> Option<Fault> {
    if ManagedPath::parse(path).is_err() {
        return Some(Fault::lasting("keys.home", format!("{home} is no home that keys could stand in")));
    }
    let is_other = |r: &&Resource| matches!(&r.spec, Spec::File { path: other, .. } if other.as_str() == path);
    if let Some(other) = planner.inputs.resources.iter().find(is_other) {
        let text = format!("{path} is managed by the {} {} already; leave one of them out", other.kind, other.name);
        return Some(Fault::lasting("keys.managed_twice", text));
    }
    if coming.homes.contains(want.user) {
        return None;
    }
    match planner.root.look(home, uid) {
        Ok(Seen::Directory { .. }) => {}
        Ok(Seen::Absent) => {
            let text = format!("{home}, the home of {}, is not there; manage it as a directory, or make it", want.user);
            return Some(Fault::lasting("keys.no_home", text));
        }
        Ok(_) => return Some(Fault::lasting("keys.no_home", format!("{home} is no directory"))),
        Err(error) => return Some(error.to_fault()),
    }
    None
}

/// Whether the file that stands is of the other form.
fn changes_form(planner: &Planner<'_>, path: &str, is_exclusive: bool) -> bool {
    let owned = planner.inputs.owned.places.get(path);
    owned.is_some_and(|owned| !owned.claims.is_empty() && is_block(path, owned) == is_exclusive)
}

/// Plans the end of blocks of keys whose object went.
pub(super) fn plan_leftovers(planner: &mut Planner<'_>) {
    let owned = planner.inputs.owned;
    let blocks = owned.places.iter().filter(|(path, owned)| is_block(path, owned));
    for (path, _) in blocks.filter(|(path, _)| !planner.visited.contains(*path)).collect::<Vec<_>>() {
        let uid = planner.root.accounts().home_owner(path).unwrap_or(0);
        planner.shared(Shared {
            path: path.clone(),
            owner: uid,
            fresh: (uid, 0, 0o600),
            crontab_of: None,
            subject: path.clone(),
            same: Some(same),
            parts: Vec::new(),
        });
    }
}
