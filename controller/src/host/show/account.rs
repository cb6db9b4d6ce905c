//! Accounts, groups, packages and their sources in one line.

use lampas_shared::host::{AptSource, Ensure, Group, Package, PackageEnsure, User};

pub(super) fn user(user: &User) -> String {
    if user.ensure == Ensure::Absent {
        return if user.remove_home { "gone, with its home".to_owned() } else { "gone".to_owned() };
    }
    let mut said = Vec::new();
    said.extend(user.uid.map(|uid| format!("uid {uid}")));
    said.extend(user.group.as_ref().map(|group| format!("group {group}")));
    if let Some(groups) = user.groups.as_ref().filter(|g| !g.is_empty()) {
        said.push(format!("in {}", groups.iter().map(|g| g.as_str()).collect::<Vec<_>>().join(" ")));
    }
    said.extend(user.shell.as_ref().map(ToString::to_string));
    said.extend((user.locked == Some(true)).then(|| "locked".to_owned()));
    said.extend(user.expires.as_ref().map(|day| format!("expires {day}")));
    if let Some(password) = user.managed_password() {
        said.push(match password.secret() {
            Some(secret) => format!("password from secret {secret}"),
            None => "password locked".to_owned(),
        });
    }
    if let Some(keys) = &user.authorized_keys {
        let only = if user.exclusive_keys { ", no others" } else { "" };
        said.push(format!("{} {}{only}", keys.len(), if keys.len() == 1 { "key" } else { "keys" }));
    }
    if said.is_empty() { "an account".to_owned() } else { said.join(", ") }
}

pub(super) fn group(group: &Group) -> String {
    if group.ensure == Ensure::Absent {
        return "gone".to_owned();
    }
    let mut said = Vec::new();
    said.extend(group.gid.map(|gid| format!("gid {gid}")));
    if let Some(members) = &group.members {
        let names: Vec<&str> = members.iter().map(|m| m.as_str()).collect();
        said.push(if names.is_empty() { "no members".to_owned() } else { format!("members {}", names.join(" ")) });
    }
    if said.is_empty() { "a group".to_owned() } else { said.join(", ") }
}

pub(super) fn package(package: &Package, name: &str) -> String {
    let name = package.package.as_ref().map_or(name, |p| p.as_str());
    let what = match (package.ensure, &package.version) {
        (PackageEnsure::Absent, _) => "not installed".to_owned(),
        (PackageEnsure::Purged, _) => "purged".to_owned(),
        (PackageEnsure::Present, Some(version)) => version.to_string(),
        (PackageEnsure::Present, None) => "installed".to_owned(),
    };
    let held = if package.held == Some(true) { ", held" } else { "" };
    format!("{name} {what}{held}")
}

pub(super) fn apt_source(source: &AptSource) -> String {
    let mut words = vec![source.uris.join(" "), source.suites.join(" ")];
    words.extend((!source.components.is_empty()).then(|| source.components.join(" ")));
    let key = source.key_fingerprints().map_or_else(|_| "no key".to_owned(), |keys| format!("key {}", keys.join(" ")));
    format!("{}, {key}", words.join(" "))
}
