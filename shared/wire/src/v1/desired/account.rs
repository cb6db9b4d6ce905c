//! The layouts of users and groups, in `Spec::Other`: the account or the group itself, and what it leads to.

use lampas_shared::{
    TextError, desired,
    host::{self, AuthorizedKey, Ensure, Expiry, GroupName, ManagedPath, UserName},
    object::{Body, Kind, ObjectName},
};
use serde::{Deserialize, Serialize};

use super::{Text, checked};
use crate::v1::bounded_list;

/// The most groups, members and keys of one object, with room above what its own check allows.
const MAX_LIST: usize = 1000;

/// A part of an object of kind `user`.
#[derive(Serialize, Deserialize)]
pub(super) enum UserPart {
    Account(Box<User>),
    Keys { home: Option<Text>, keys: Vec<Text>, is_exclusive: bool },
}

#[derive(Serialize, Deserialize)]
pub(super) struct User {
    is_absent: bool,
    uid: Option<u32>,
    group: Option<Text>,
    groups: Option<Vec<Text>>,
    home: Option<Text>,
    create_home: Option<bool>,
    shell: Option<Text>,
    comment: Option<Text>,
    locked: Option<bool>,
    expires: Option<Text>,
    system: bool,
    remove_home: bool,
}

/// A part of an object of kind `group`.
#[derive(Serialize, Deserialize)]
pub(super) enum GroupPart {
    Group { is_absent: bool, gid: Option<u32>, system: bool },
    Members(Vec<Text>),
}

fn texts<T: AsRef<str>>(list: impl IntoIterator<Item = T>) -> Vec<Text> {
    list.into_iter().map(|item| item.as_ref().into()).collect()
}

fn parsed<T>(
    what: &'static str,
    list: Vec<Text>,
    parse: fn(String) -> Result<T, TextError>,
) -> Result<Vec<T>, TextError> {
    bounded_list(what, list.len(), MAX_LIST)?;
    list.into_iter().map(|text| parse(text.0)).collect()
}

fn ensure(is_absent: bool) -> Ensure {
    if is_absent { Ensure::Absent } else { Ensure::Present }
}

/// Returns what stands on the wire for a part of a user; `None` for another kind's.
pub(super) fn user_to_wire(spec: &desired::Spec) -> Option<UserPart> {
    Some(match spec {
        desired::Spec::User { want, .. } => UserPart::Account(Box::new(User {
            is_absent: want.ensure == Ensure::Absent,
            uid: want.uid,
            group: want.group.as_ref().map(|g| g.as_str().into()),
            groups: want.groups.as_ref().map(|list| texts(list.iter().map(GroupName::as_str))),
            home: want.home.as_ref().map(|p| p.as_str().into()),
            create_home: want.create_home,
            shell: want.shell.as_ref().map(|p| p.as_str().into()),
            comment: want.comment.as_deref().map(Text::from),
            locked: want.locked,
            expires: want.expires.as_ref().map(|e| e.as_str().into()),
            system: want.system,
            remove_home: want.remove_home,
        })),
        desired::Spec::Keys { home, keys, exclusive, .. } => UserPart::Keys {
            home: home.as_ref().map(|p| p.as_str().into()),
            keys: texts(keys.iter().map(AuthorizedKey::as_str)),
            is_exclusive: *exclusive,
        },
        _ => return None,
    })
}

/// Reads a part of a user, through the checks of the object that it came from.
pub(super) fn user_from_wire(part: UserPart, name: &ObjectName) -> Result<(Kind, desired::Spec), TextError> {
    let user = host::User::name_of(name.as_str())?;
    let path = |text: Option<Text>| text.map(|t| ManagedPath::parse(t.0)).transpose();
    let spec = match part {
        UserPart::Account(from) => {
            let want = host::User {
                ensure: ensure(from.is_absent),
                uid: from.uid,
                group: from.group.map(|g| GroupName::parse(g.0)).transpose()?,
                groups: from.groups.map(|list| parsed("groups", list, GroupName::parse)).transpose()?,
                home: path(from.home)?,
                create_home: from.create_home,
                shell: path(from.shell)?,
                comment: from.comment.map(|c| c.0),
                locked: from.locked,
                expires: from.expires.map(|e| Expiry::parse(e.0)).transpose()?,
                // A resource of its own.
                password: None,
                system: from.system,
                authorized_keys: None,
                exclusive_keys: false,
                remove_home: from.remove_home,
            };
            checked(name, Body::User(want.clone()))?;
            desired::Spec::User { name: user, want }
        }
        UserPart::Keys { home, keys, is_exclusive } => {
            let keys = parsed("authorized_keys", keys, AuthorizedKey::parse)?;
            desired::Spec::Keys { user, home: path(home)?, keys, exclusive: is_exclusive }
        }
    };
    Ok((Kind::User, spec))
}

/// Returns what stands on the wire for a part of a group; `None` for another kind's.
pub(super) fn group_to_wire(spec: &desired::Spec) -> Option<GroupPart> {
    Some(match spec {
        desired::Spec::Group { ensure, gid, system, .. } => {
            GroupPart::Group { is_absent: *ensure == Ensure::Absent, gid: *gid, system: *system }
        }
        desired::Spec::Members { users, .. } => GroupPart::Members(texts(users.iter().map(UserName::as_str))),
        _ => return None,
    })
}

/// Reads a part of a group, through the checks of the object that it came from.
pub(super) fn group_from_wire(part: GroupPart, name: &ObjectName) -> Result<(Kind, desired::Spec), TextError> {
    let group = host::Group::name_of(name.as_str())?;
    let spec = match part {
        GroupPart::Group { is_absent, gid, system } => {
            let want = host::Group { ensure: ensure(is_absent), gid, system, members: None };
            checked(name, Body::Group(want.clone()))?;
            desired::Spec::Group { name: group, ensure: want.ensure, gid, system }
        }
        GroupPart::Members(users) => {
            desired::Spec::Members { group, users: parsed("members", users, UserName::parse)? }
        }
    };
    Ok((Kind::Group, spec))
}
