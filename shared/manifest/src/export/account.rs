//! Writing users, groups, packages and their sources.

use lampas_shared::host::{AptSource, Ensure, Group, Package, PackageEnsure, User};

use super::{basic, text};

pub(super) fn write_user(out: &mut String, user: &User) {
    write_ensure(out, user.ensure);
    write_number(out, "uid", user.uid);
    write_text(out, "group", user.group.as_ref().map(|g| g.as_str()));
    if let Some(groups) = &user.groups {
        write_list(out, "groups", groups.iter().map(|g| g.as_str()));
    }
    write_text(out, "home", user.home.as_ref().map(|p| p.as_str()));
    write_switch(out, "create_home", user.create_home);
    write_text(out, "shell", user.shell.as_ref().map(|p| p.as_str()));
    write_text(out, "comment", user.comment.as_deref());
    write_switch(out, "locked", user.locked);
    write_text(out, "expires", user.expires.as_ref().map(|e| e.as_str()));
    write_text(out, "password", user.password.as_ref().map(|p| p.as_str()));
    write_switch(out, "system", user.system.then_some(true));
    if let Some(keys) = &user.authorized_keys {
        write_lines(out, "authorized_keys", keys.iter().map(|k| k.as_str()));
    }
    write_switch(out, "exclusive_keys", user.exclusive_keys.then_some(true));
    write_switch(out, "remove_home", user.remove_home.then_some(true));
}

pub(super) fn write_group(out: &mut String, group: &Group) {
    write_ensure(out, group.ensure);
    write_number(out, "gid", group.gid);
    write_switch(out, "system", group.system.then_some(true));
    if let Some(members) = &group.members {
        write_list(out, "members", members.iter().map(|m| m.as_str()));
    }
}

pub(super) fn write_package(out: &mut String, package: &Package) {
    write_text(out, "package", package.package.as_ref().map(|p| p.as_str()));
    match package.ensure {
        PackageEnsure::Present => {}
        PackageEnsure::Absent => text(out, "ensure", "absent"),
        PackageEnsure::Purged => text(out, "ensure", "purged"),
    }
    write_text(out, "version", package.version.as_ref().map(|v| v.as_str()));
    write_switch(out, "held", package.held);
    write_switch(out, "recommends", (!package.recommends).then_some(false));
    write_switch(out, "allow_removals", package.allow_removals.then_some(true));
    if !package.on_change.is_empty() {
        let reactions: Vec<String> = package.on_change.iter().map(ToString::to_string).collect();
        write_list(out, "on_change", reactions.iter().map(String::as_str));
    }
}

pub(super) fn write_apt_source(out: &mut String, source: &AptSource) {
    let fields = [("uris", &source.uris), ("suites", &source.suites)];
    let more = [("components", &source.components), ("architectures", &source.architectures)];
    for (field, words) in fields.into_iter().chain(more.into_iter().filter(|(_, words)| !words.is_empty())) {
        write_list(out, field, words.iter().map(String::as_str));
    }
    text(out, "key", &source.key);
    if !source.fingerprints.is_empty() {
        write_list(out, "fingerprints", source.fingerprints.iter().map(|f| f.as_str()));
    }
}

fn write_ensure(out: &mut String, ensure: Ensure) {
    if ensure == Ensure::Absent {
        text(out, "ensure", "absent");
    }
}

fn write_text(out: &mut String, field: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, field, value);
    }
}

fn write_number(out: &mut String, field: &str, value: Option<u32>) {
    if let Some(value) = value {
        out.push_str(&format!("{field} = {value}\n"));
    }
}

fn write_switch(out: &mut String, field: &str, value: Option<bool>) {
    if let Some(value) = value {
        out.push_str(&format!("{field} = {value}\n"));
    }
}

fn write_list<'a>(out: &mut String, field: &str, items: impl Iterator<Item = &'a str>) {
    let items: Vec<_> = items.map(basic).collect();
    out.push_str(&format!("{field} = [{}]\n", items.join(", ")));
}

/// Keys are long: each has a line of its own.
fn write_lines<'a>(out: &mut String, field: &str, items: impl Iterator<Item = &'a str>) {
    let items: Vec<_> = items.map(|item| format!("    {},\n", basic(item))).collect();
    match items.as_slice() {
        [] => out.push_str(&format!("{field} = []\n")),
        items => out.push_str(&format!("{field} = [\n{}]\n", items.concat())),
    }
}
