//! What would change about accounts: decides, and writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use lampas_render::account::{Account, Login, group_text, members_text};
use lampas_shared::{
    desired::{Resource, Spec},
    error::Fault,
    host::{Ensure, GroupName, PasswordWant, User, UserName},
    object::Target,
};

use super::{
    Databases, GROUP, MEMBERS, Place, USER,
    change::renumbered,
    keys::{self, Keys},
    of_place, password,
};
use crate::{
    host::{
        Before,
        plan::{Planner, Put, Whole},
    },
    system::{
        Modified, Root, Seen,
        run::{Program, run},
    },
};

/// Accounts that this plan makes, which later parts of it build on.
#[derive(Debug, Default)]
pub(super) struct Coming {
    /// Users whose home is made.
    pub(super) homes: BTreeSet<String>,
    /// Numbers that are taken.
    numbers: BTreeSet<u32>,
    /// Groups whose members an object lists.
    listed: BTreeSet<String>,
}

type Refused<'a> = &'a dyn Fn(&Resource) -> Option<Fault>;

/// Plans all accounts: groups, then users, then who is in which group, then keys. Later resources of the plan see them.
pub(in crate::host) fn plan(planner: &mut Planner<'_>, resources: &[Resource], refused: Refused<'_>) {
    let is_account = |r: &&Resource| {
        matches!(
            r.spec,
            Spec::User { .. } | Spec::Keys { .. } | Spec::Password { .. } | Spec::Group { .. } | Spec::Members { .. }
        )
    };
    let resources: Vec<&Resource> = resources.iter().filter(is_account).collect();
    if !resources.is_empty() {
        match Databases::read(planner.root) {
            Ok(databases) => plan_all(planner, &resources, &databases, refused),
            Err(fault) => {
                for resource in resources {
                    planner.refuse(resource, resource.target.as_str(), fault.clone());
                }
            }
        }
    }
    keys::plan_leftovers(planner);
}

fn plan_all(planner: &mut Planner<'_>, resources: &[&Resource], databases: &Databases, refused: Refused<'_>) {
    let mut coming = Coming::default();
    for resource in resources {
        if let Spec::Members { group, .. } = &resource.spec {
            coming.listed.insert(group.to_string());
        }
    }
    for resource in resources {
        if let Spec::Group { name, ensure, gid, system } = &resource.spec {
            let wanted = (*ensure, *gid, *system);
            plan_group(planner, resource, name, wanted, databases, &mut coming, refused(resource));
        }
    }
    for resource in resources {
        if let Spec::User { name, want } = &resource.spec {
            plan_user(planner, resource, name, want, databases, &mut coming, refused(resource));
        }
    }
    for resource in resources {
        if let Spec::Members { group, users } = &resource.spec {
            plan_members(planner, resource, group, users, refused(resource));
        }
    }
    for resource in resources {
        if let Spec::Password { user, want } = &resource.spec {
            password::plan(planner, resource, user, want, databases, refused(resource));
        }
    }
    for resource in resources {
        if let Spec::Keys { user, home, keys, exclusive } = &resource.spec {
            let want = Keys { user: user.as_str(), home: home.as_ref(), keys, is_exclusive: *exclusive };
            keys::plan(planner, resource, &want, &coming, refused(resource));
        }
    }
}

pub(super) fn text_put(text: String) -> Put {
    Put::File {
        bytes: text.into_bytes(),
        uid: 0,
        gid: 0,
        mode: 0o644,
        xattrs: BTreeMap::new(),
        modified: Modified::Now,
    }
}

/// Plans such a place; what goes by an object's own word doesn't come back with the object's end.
pub(super) fn enter(planner: &mut Planner<'_>, resource: &Resource, path: String, put: Put, notes: Vec<String>) {
    let goes = matches!(put, Put::Gone | Put::GoneWithHome);
    planner.whole(Whole { resource, path: path.clone(), put, owner: 0, is_inner: false, is_single: false, notes });
    if !goes {
        return;
    }
    if let Some(item) = planner.items.iter_mut().find(|i| i.target == resource.target) {
        item.notes.retain(|note| !note.contains("comes back when this object goes"));
    }
    for step in planner.steps.iter_mut().filter(|s| s.path == path) {
        if let Some(owned) = &mut step.owned {
            owned.before = Before::Absent;
        }
    }
    // A record that says so already is no step.
    let owned = planner.inputs.owned.places.get(&path);
    planner.steps.retain(|s| s.path != path || s.put != Put::Keep || s.owned.as_ref() != owned);
}

fn plan_group(
    planner: &mut Planner<'_>,
    resource: &Resource,
    name: &GroupName,
    (ensure, wanted, system): (Ensure, Option<u32>, bool),
    databases: &Databases,
    coming: &mut Coming,
    refused: Option<Fault>,
) {
    let path = format!("{GROUP}{name}");
    let files = databases.files();
    let standing = files.gid(name.as_str());
    let decided = refused.map_or(Ok(()), Err).and_then(|()| {
        if ensure == Ensure::Absent {
            return match standing.and_then(|_| group_stays(databases, name.as_str())) {
                Some(fault) => Err(fault),
                None => Ok(None),
            };
        }
        match (standing, wanted) {
            (Some(standing), Some(wanted)) if standing != wanted => {
                Err(renumbered("group", name.as_str(), standing, wanted))
            }
            (Some(standing), _) => Ok(Some(standing)),
            (None, _) if planner.accounts.group(name.as_str()).is_some() => Err(elsewhere("group", name.as_str())),
            (None, Some(wanted)) => match files.group_name(wanted) {
                Some(other) => Err(taken("gid", wanted, other)),
                None => Ok(Some(wanted)),
            },
            (None, None) => {
                files.free_gid(&databases.defaults, system, &coming.numbers).map(Some).ok_or_else(no_number)
            }
        }
    });
    match decided {
        Ok(Some(gid)) => {
            coming.numbers.insert(gid);
            planner.accounts.expect_group(name.as_str(), gid);
            enter(planner, resource, path, text_put(group_text(gid)), Vec::new());
        }
        Ok(None) => {
            planner.accounts.expect_no_group(name.as_str());
            enter(planner, resource, path, Put::Gone, Vec::new());
        }
        Err(fault) => planner.refuse(resource, &path, fault),
    }
}

fn plan_user(
    planner: &mut Planner<'_>,
    resource: &Resource,
    name: &UserName,
    want: &User,
    databases: &Databases,
    coming: &mut Coming,
    refused: Option<Fault>,
) {
    let path = format!("{USER}{name}");
    if let Some(fault) = refused {
        return planner.refuse(resource, &path, fault);
    }
    let standing = databases.files().account(name.as_str());
    if want.ensure == Ensure::Absent {
        if let Some(fault) = standing.as_ref().and_then(|a| user_stays(planner.root, name.as_str(), a)) {
            return planner.refuse(resource, &path, fault);
        }
        let put = if want.remove_home { Put::GoneWithHome } else { Put::Gone };
        let notes = standing.map(|a| gone_note(&a, want.remove_home)).into_iter().collect();
        planner.accounts.expect_no_user(name.as_str());
        return enter(planner, resource, path, put, notes);
    }
    match wanted_account(planner, name, want, standing.as_ref(), databases, coming) {
        Ok((account, notes)) => {
            let is_new = standing.is_none();
            let makes_home = is_new && want.makes_home();
            if makes_home {
                coming.homes.insert(name.to_string());
            }
            if is_new {
                coming.numbers.insert(account.uid);
                coming.numbers.insert(account.gid);
            }
            planner.accounts.expect_group(&account.group, account.gid);
            planner.accounts.expect_user(name.as_str(), account.uid, account.gid, &account.home, &account.shell);
            let put = Put::Account { bytes: account.to_text().into_bytes(), makes_home };
            enter(planner, resource, path, put, notes);
        }
        Err(fault) => planner.refuse(resource, &path, fault),
    }
}

fn gone_note(account: &Account, with_home: bool) -> String {
    if with_home {
        format!("{} goes with all that is in it, and can't come back", account.home)
    } else {
        format!("{} stays, and belongs to the number {} from then on", account.home, account.uid)
    }
}

/// Decides what the account shall be: what the object leaves out follows what stands, or what Debian gives new accounts.
fn wanted_account(
    planner: &Planner<'_>,
    name: &UserName,
    want: &User,
    standing: Option<&Account>,
    databases: &Databases,
    coming: &Coming,
) -> Result<(Account, Vec<String>), Fault> {
    let files = databases.files();
    let mut notes = Vec::new();
    let uid = match (standing, want.uid) {
        (Some(standing), Some(uid)) if standing.uid != uid => {
            return Err(renumbered("user", name.as_str(), standing.uid, uid));
        }
        (Some(standing), _) => standing.uid,
        (None, _) if planner.accounts.user(name.as_str()).is_some() => return Err(elsewhere("user", name.as_str())),
        (None, Some(uid)) => match files.user_name(uid) {
            Some(other) => return Err(taken("uid", uid, other)),
            None => uid,
        },
        (None, None) => files.free_uid(&databases.defaults, want.system, &coming.numbers).ok_or_else(no_number)?,
    };
    // Its keys are a resource of their own.
    let has_keys = planner
        .inputs
        .resources
        .iter()
        .any(|r| matches!(&r.spec, Spec::Keys { user, keys, .. } if user == name && !keys.is_empty()));
    let has_password = planner.inputs.resources.iter().any(|r| match &r.spec {
        Spec::Password { user, want: PasswordWant::Hash { .. } } => user == name,
        _ => false,
    });
    if standing.is_none() && !has_keys && !has_password && want.locked != Some(true) {
        notes
            .push("a new account has no password: its user signs in with a key, or root sets one by passwd".to_owned());
    }
    let (group, gid) = primary_group(planner, name, want, standing, databases, coming, uid)?;
    let groups = supplementary(planner, name, want, standing, coming, &group)?;
    let home = match (&want.home, standing) {
        (Some(home), Some(account)) if home.as_str() != account.home => {
            notes.push(format!("what is in {} stays there", account.home));
            home.to_string()
        }
        (Some(home), _) => home.to_string(),
        (None, Some(account)) => account.home.clone(),
        (None, None) if want.makes_home() => format!("/home/{name}"),
        (None, None) => "/nonexistent".to_owned(),
    };
    let shell = match (&want.shell, standing) {
        (Some(shell), _) => {
            if matches!(planner.root.look(shell.as_str(), 0), Ok(Seen::Absent)) {
                let text = format!("there is no {shell} on this node: nobody could sign in with it");
                return Err(Fault::passing("user.no_shell", text));
            }
            shell.to_string()
        }
        (None, Some(account)) => account.shell.clone(),
        (None, None) if want.system => "/usr/sbin/nologin".to_owned(),
        (None, None) => "/bin/bash".to_owned(),
    };
    let (login, expires) = ways_in(want, standing);
    if !databases.has_shadow && (expires.is_some() || login == Login::Locked) {
        return Err(Fault::lasting("user.no_shadow", "there is no /etc/shadow: accounts can't expire here"));
    }
    let comment = want.comment.clone().or_else(|| standing.map(|a| a.comment.clone())).unwrap_or_default();
    Ok((Account { uid, group, gid, groups, home, shell, comment, login, expires }, notes))
}

fn primary_group(
    planner: &Planner<'_>,
    name: &UserName,
    want: &User,
    standing: Option<&Account>,
    databases: &Databases,
    coming: &Coming,
    uid: u32,
) -> Result<(String, u32), Fault> {
    if let Some(group) = &want.group {
        let gid = planner.accounts.group(group.as_str());
        return gid.map(|gid| (group.to_string(), gid)).ok_or_else(|| no_group(group.as_str()));
    }
    if let Some(account) = standing {
        return Ok((account.group.clone(), account.gid));
    }
    // One of the user's own, with the user's number if that is free.
    let own = name.to_string();
    if let Some(gid) = planner.accounts.group(&own) {
        return Ok((own, gid));
    }
    let is_free = databases.files().group_name(uid).is_none() && !coming.numbers.contains(&uid);
    if is_free {
        return Ok((own, uid));
    }
    let system = databases.defaults.is_system(uid);
    let gid = databases.files().free_gid(&databases.defaults, system, &coming.numbers).ok_or_else(no_number)?;
    Ok((own, gid))
}

fn supplementary(
    planner: &Planner<'_>,
    name: &UserName,
    want: &User,
    standing: Option<&Account>,
    coming: &Coming,
    primary: &str,
) -> Result<Vec<String>, Fault> {
    let current: BTreeSet<String> = standing.into_iter().flat_map(|a| a.groups.iter().cloned()).collect();
    let Some(wanted) = &want.groups else { return Ok(current.into_iter().collect()) };
    // Who is in a group whose members an object lists is that object's to say.
    let mut groups: BTreeSet<String> = current.into_iter().filter(|g| coming.listed.contains(g)).collect();
    for group in wanted.iter().map(GroupName::as_str) {
        if coming.listed.contains(group) {
            let text =
                format!("the members of {group} are listed by its own object; name {name} there, and not {group} here");
            return Err(Fault::lasting("user.group_listed", text));
        }
        if planner.accounts.group(group).is_none() {
            return Err(no_group(group));
        }
        if group != primary {
            groups.insert(group.to_owned());
        }
    }
    Ok(groups.into_iter().collect())
}

fn ways_in(want: &User, standing: Option<&Account>) -> (Login, Option<u32>) {
    let before = standing.map_or(Login::Open, |a| a.login);
    let login = match want.locked {
        Some(true) => return (Login::Locked, None),
        Some(false) => Login::Open,
        // An account with a day of expiry is locked no further than by its password.
        None if want.expires.is_some() && before == Login::Locked => Login::PasswordLocked,
        None => before,
    };
    let expires = match &want.expires {
        Some(expiry) => expiry.days(),
        None if login == Login::Locked => None,
        None => standing.and_then(|a| a.expires),
    };
    (login, expires)
}

fn plan_members(
    planner: &mut Planner<'_>,
    resource: &Resource,
    group: &GroupName,
    users: &[UserName],
    refused: Option<Fault>,
) {
    let path = format!("{MEMBERS}{group}");
    let stranger = users.iter().find(|u| planner.accounts.user(u.as_str()).is_none()).map(|user| {
        let text = format!("there is no user {user} on this node, who could be in {group}; create it, or leave it out");
        Fault::lasting("members.user_unknown", text)
    });
    let unknown = || planner.accounts.group(group.as_str()).is_none().then(|| no_group(group.as_str()));
    if let Some(fault) = refused.or(stranger).or_else(unknown) {
        return planner.refuse(resource, &path, fault);
    }
    enter(planner, resource, path, text_put(members_text(users.iter().map(UserName::as_str))), Vec::new());
}

fn no_group(group: &str) -> Fault {
    Fault::lasting(
        "account.group_unknown",
        format!("there is no group {group} on this node; create it, or name another"),
    )
}

fn no_number() -> Fault {
    Fault::lasting("account.no_number", "no number is free in the range that /etc/login.defs gives")
}

fn taken(what: &str, number: u32, other: &str) -> Fault {
    Fault::lasting("account.number_taken", format!("the {what} {number} is {other}'s on this node; give another"))
}

fn elsewhere(sort: &str, name: &str) -> Fault {
    let text = format!(
        "the {sort} {name} comes to this node from elsewhere (LDAP, say) and is not in its own files; it is managed where it \
         comes from"
    );
    Fault::lasting("account.elsewhere", text)
}

/// Says why an account must stay.
fn user_stays(root: &Root, name: &str, account: &Account) -> Option<Fault> {
    if name == "root" || account.uid == 0 {
        return Some(Fault::lasting("user.is_root", format!("{name} is root and never goes")));
    }
    if account.uid == root.euid() {
        return Some(Fault::lasting("user.is_own", format!("{name} is the account that the agent itself runs as")));
    }
    let processes = if root.is_system() { processes_of(account.uid) } else { Vec::new() };
    (!processes.is_empty()).then(|| {
        let text = format!("{name} has running processes ({}): end them first", processes.join(", "));
        Fault::passing("user.has_processes", text)
    })
}

/// Says why a group must stay.
fn group_stays(databases: &Databases, name: &str) -> Option<Fault> {
    let files = databases.files();
    let gid = files.gid(name)?;
    if gid == 0 {
        return Some(Fault::lasting("group.is_root", format!("{name} is root's group and never goes")));
    }
    let users = files.with_primary(gid);
    (!users.is_empty()).then(|| {
        let text = format!("{name} is the primary group of {}; give them another first", users.join(", "));
        Fault::passing("group.is_primary", text)
    })
}

/// The first few processes of a user, with their names.
fn processes_of(uid: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let uids = status.lines().find_map(|l| l.strip_prefix("Uid:")).unwrap_or_default();
        if uids.split_whitespace().any(|n| n.parse() == Ok(uid)) {
            let name = status.lines().next().and_then(|l| l.strip_prefix("Name:")).unwrap_or_default().trim();
            let name: String = name.chars().filter(|c| !c.is_control()).collect();
            found.push(format!("{pid} {name}"));
            if found.len() == 5 {
                break;
            }
        }
    }
    found
}

/// What becomes of such a place whose object went: `None` for what is always put back.
pub(in crate::host) enum Instead {
    /// It must stay, and this is why.
    Stay(Fault),
    /// LAMPAS lets go of it as it stands.
    LetGo(&'static str),
}

/// Decides about an account whose object went: what LAMPAS made goes unless it must stay, and nothing that somebody
/// removed is made again.
pub(in crate::host) fn keep_instead(root: &Root, path: &str, put: &Put, seen: &Seen) -> Option<Instead> {
    let place = of_place(path)?;
    if *seen == Seen::Absent {
        return Some(Instead::LetGo("somebody removed it, and it is not made again"));
    }
    if *put != Put::Gone {
        return None;
    }
    let databases = match Databases::read(root) {
        Ok(databases) => databases,
        Err(fault) => return Some(Instead::Stay(fault)),
    };
    let fault = match place {
        Place::User(name) => user_stays(root, name, &databases.files().account(name)?),
        Place::Group(name) => {
            // Users of the same plan go first; who stays keeps the group.
            let gid = databases.files().gid(name)?;
            (gid == 0).then(|| Fault::lasting("group.is_root", format!("{name} is root's group and never goes")))
        }
        Place::Members(_) | Place::Password(_) => None,
    };
    fault.map(Instead::Stay)
}

/// Shows that the running system knows an account as it stands in the files.
///
/// # Errors
/// When it says something else.
pub(in crate::host) fn prove(root: &Root, target: &Target, path: &str) -> Result<Vec<String>, Fault> {
    let (database, name) = match of_place(path) {
        Some(Place::User(name)) => ("passwd", name),
        Some(Place::Group(name) | Place::Members(name)) => ("group", name),
        Some(Place::Password(_)) | None => return Ok(Vec::new()),
    };
    if !root.is_system() {
        return Ok(vec!["not proven by getent: below --root no running system knows it".to_owned()]);
    }
    let databases = Databases::read(root)?;
    let files = databases.files();
    let expected = match database {
        "passwd" => files.account(name).map(|a| a.uid),
        _ => files.gid(name),
    };
    let output = run(&Program::new("/usr/bin/getent").args([database, name]))
        .map_err(|e| Fault::passing("account.no_getent", format!("{}", lampas_shared::error::Chain(&e))))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = said.lines().next().and_then(|line| line.split(':').nth(2)?.parse::<u32>().ok());
    if found == expected {
        return Ok(Vec::new());
    }
    let text = format!("getent {database} {name} shows {found:?} for {target}, and the files {expected:?}");
    Err(Fault::passing("account.not_resolved", text))
}
