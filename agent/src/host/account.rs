//! Users and groups, through Debian's own programs.
//!
//! An account is a place that is no file: it reads as a small text (`lampas_render::account`), so that plan, drift, what
//! stood before and the way back are those of files. What an object leaves out follows what stands. A group's members are a
//! place of their own, since they come after the users and go before them; keys are a file in the user's home, and
//! a password is the field of shadow(5), of which nothing is shown.
//!
//! Numbers of new accounts are chosen while planning, as useradd(8) would: the plan shows them, and files that belong to
//! the new account are planned with them. Nothing is ever renumbered, and no home goes unless the object says so.
//!
//! Below `--root DIR` the programs work on DIR's files by `--prefix`; whether the running system knows an account is only
//! proven where DIR is `/`.

mod change;
mod keys;
mod password;
mod plan;

use lampas_render::account::{Account, Defaults, Files, group_text, members_text};
use lampas_shared::error::Fault;

pub(super) use change::put;
pub(super) use keys::is_block as is_key_block;
pub(super) use password::is_others as is_others_password;
pub(super) use plan::{Instead, keep_instead, plan, prove};

use super::{
    plan::{Put, Step},
    state,
};
use crate::system::{Root, Seen};

const USER: &str = "user:";
const GROUP: &str = "group:";
const MEMBERS: &str = "members:";
const PASSWORD: &str = "password:";
/// The largest account file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// A place that is an account, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// An account by its user's name.
    User(&'a str),
    /// A group by its name.
    Group(&'a str),
    /// The members of a group, by its name.
    Members(&'a str),
    /// The password of an account, by its user's name.
    Password(&'a str),
}

/// Reads the path of such a place; `None` for others.
pub(super) fn of_place(path: &str) -> Option<Place<'_>> {
    let user = path.strip_prefix(USER).map(Place::User);
    user.or_else(|| path.strip_prefix(GROUP).map(Place::Group))
        .or_else(|| path.strip_prefix(MEMBERS).map(Place::Members))
        .or_else(|| path.strip_prefix(PASSWORD).map(Place::Password))
}

/// Returns whether a place is a password, of which nothing is ever shown.
pub(super) fn is_password(path: &str) -> bool {
    path.starts_with(PASSWORD)
}

/// Returns the place of a user's password.
pub(super) fn password_place(name: &str) -> String {
    format!("{PASSWORD}{name}")
}

/// The files that say what follows from such places: what to watch for changes by hand.
pub const WATCHED: [&str; 3] = ["/etc/passwd", "/etc/group", "/etc/shadow"];

/// The account files of a root.
pub(super) struct Databases {
    passwd: String,
    group: String,
    shadow: String,
    pub(super) defaults: Defaults,
    /// Whether passwords have a file of their own: without it nothing expires.
    pub(super) has_shadow: bool,
}

impl Databases {
    /// Reads them.
    ///
    /// # Errors
    /// When there is no passwd(5), or it can't be read.
    pub(super) fn read(root: &Root) -> Result<Self, Fault> {
        let text = |path: &str| {
            let bytes = root.read(path, MAX_BYTES).map_err(|e| e.to_fault())?;
            Ok::<_, Fault>(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
        };
        let none = || Fault::lasting("account.no_files", "there is no /etc/passwd: accounts can't be managed here");
        // Whoever isn't root can't read it, and sees no locks.
        let shadow = text("/etc/shadow").unwrap_or_default();
        Ok(Self {
            passwd: text("/etc/passwd")?.ok_or_else(none)?,
            group: text("/etc/group")?.unwrap_or_default(),
            has_shadow: shadow.is_some(),
            shadow: shadow.unwrap_or_default(),
            defaults: Defaults::parse(&text("/etc/login.defs")?.unwrap_or_default()),
        })
    }

    pub(super) fn files(&self) -> Files<'_> {
        Files { passwd: &self.passwd, group: &self.group, shadow: &self.shadow }
    }
}

/// Looks at such a place.
///
/// # Errors
/// When the account files can't be read.
pub(super) fn look(root: &Root, place: Place<'_>) -> Result<Seen, Fault> {
    let databases = Databases::read(root)?;
    Ok(see(&databases, place))
}

fn see(databases: &Databases, place: Place<'_>) -> Seen {
    let files = databases.files();
    let text = match place {
        Place::User(name) => files.account(name).map(|a| a.to_text()),
        Place::Group(name) => files.gid(name).map(group_text),
        Place::Password(name) => files.shadow_password(name).map(|field| format!("{field}\n")),
        Place::Members(name) => files.members(name).map(|m| members_text(m.iter().map(String::as_str))),
    };
    text.map_or(Seen::Absent, |text| state::seen(&text))
}

/// Returns whether two looks differ only by what the same apply does before: a group that was just made has no members,
/// and who is in which group changed with the groups' own steps.
pub(super) fn is_same(path: &str, looked: &Seen, seen: &Seen) -> bool {
    match (of_place(path), looked, seen) {
        (Some(Place::Members(_)), Seen::File { bytes, .. }, Seen::Absent) => bytes.is_empty(),
        (Some(Place::Password(_)), looked, seen) => password::is_same(looked, seen),
        (Some(Place::User(_)), Seen::File { bytes: looked, .. }, Seen::File { bytes: seen, .. }) => {
            let rest = |bytes: &[u8]| {
                let account = Account::parse(&String::from_utf8_lossy(bytes))?;
                Some(Account { groups: Vec::new(), ..account })
            };
            rest(looked).is_some() && rest(looked) == rest(seen)
        }
        _ => false,
    }
}

/// Orders the steps of accounts among those of an apply: groups, users, members, before the directories and files that
/// are theirs; then users and groups that go, after the files that went.
pub(super) fn phase(step: &Step) -> Option<(u8, u8)> {
    let goes = matches!(step.put, Put::Gone | Put::GoneWithHome);
    let rank = match of_place(&step.path)? {
        Place::Group(_) if !goes => 1,
        Place::User(_) if !goes => 2,
        Place::Members(_) | Place::Password(_) => 3,
        Place::User(_) => 4,
        Place::Group(_) => 5,
    };
    Some((3, rank))
}
