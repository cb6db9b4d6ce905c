//! Reading users, groups and packages.

use lampas_shared::host::{Ensure, Group, Package, PackageEnsure, User};

use super::table::TableReader;

pub(super) const USER: [&str; 14] = [
    "ensure",
    "uid",
    "group",
    "groups",
    "home",
    "create_home",
    "shell",
    "comment",
    "locked",
    "expires",
    "system",
    "authorized_keys",
    "exclusive_keys",
    "remove_home",
];
pub(super) const GROUP: [&str; 4] = ["ensure", "gid", "system", "members"];
pub(super) const PACKAGE: [&str; 6] = ["package", "ensure", "version", "held", "recommends", "allow_removals"];

const ENSURE: [(&str, Ensure); 2] = [("present", Ensure::Present), ("absent", Ensure::Absent)];
const PACKAGE_ENSURE: [(&str, PackageEnsure); 3] =
    [("present", PackageEnsure::Present), ("absent", PackageEnsure::Absent), ("purged", PackageEnsure::Purged)];

pub(super) fn user(reader: &mut TableReader<'_>) -> User {
    User {
        ensure: reader.choice("ensure", &ENSURE).unwrap_or_default(),
        uid: reader.number("uid"),
        group: reader.optional("group"),
        groups: reader.list("groups"),
        home: reader.optional("home"),
        create_home: reader.boolean("create_home"),
        shell: reader.optional("shell"),
        comment: reader.text("comment"),
        locked: reader.boolean("locked"),
        expires: reader.optional("expires"),
        system: reader.boolean("system").unwrap_or(false),
        authorized_keys: reader.list("authorized_keys"),
        exclusive_keys: reader.boolean("exclusive_keys").unwrap_or(false),
        remove_home: reader.boolean("remove_home").unwrap_or(false),
    }
}

pub(super) fn group(reader: &mut TableReader<'_>) -> Group {
    Group {
        ensure: reader.choice("ensure", &ENSURE).unwrap_or_default(),
        gid: reader.number("gid"),
        system: reader.boolean("system").unwrap_or(false),
        members: reader.list("members"),
    }
}

pub(super) fn package(reader: &mut TableReader<'_>) -> Package {
    Package {
        package: reader.optional("package"),
        ensure: reader.choice("ensure", &PACKAGE_ENSURE).unwrap_or_default(),
        version: reader.optional("version"),
        held: reader.boolean("held"),
        recommends: reader.boolean("recommends").unwrap_or(true),
        allow_removals: reader.boolean("allow_removals").unwrap_or(false),
    }
}
