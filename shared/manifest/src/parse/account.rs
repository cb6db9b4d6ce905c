//! Reading users, groups, packages and their sources.

use lampas_shared::{
    TextError,
    host::{AptSource, Ensure, Group, Package, PackageEnsure, Password, User},
};

use super::table::TableReader;

pub(super) const USER: [&str; 15] = [
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
    "password",
    "system",
    "authorized_keys",
    "exclusive_keys",
    "remove_home",
];
pub(super) const GROUP: [&str; 4] = ["ensure", "gid", "system", "members"];
pub(super) const PACKAGE: [&str; 7] =
    ["package", "ensure", "version", "held", "recommends", "allow_removals", "on_change"];
pub(super) const APT_SOURCE: [&str; 6] = ["uris", "suites", "components", "architectures", "key", "fingerprints"];

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
        password: password(reader),
        system: reader.boolean("system").unwrap_or(false),
        authorized_keys: reader.list("authorized_keys"),
        exclusive_keys: reader.boolean("exclusive_keys").unwrap_or(false),
        remove_home: reader.boolean("remove_home").unwrap_or(false),
    }
}

/// Somebody may have written the password itself: what is wrong is not repeated.
fn password(reader: &mut TableReader<'_>) -> Option<Password> {
    let text = reader.text("password")?;
    Password::parse(text).map_err(|error| reader.wrong("password", "…", error.reason)).ok()
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
        on_change: reader.list("on_change").unwrap_or_default(),
    }
}

pub(super) fn apt_source(reader: &mut TableReader<'_>) -> Option<AptSource> {
    let key = reader.text("key");
    if !reader.has("key") {
        let message = "key: is missing; write what gpg --armor --export prints, between \"\"\" and \"\"\"";
        reader.mistake_at("key", message.into());
    }
    Some(AptSource {
        uris: words(reader, "uris"),
        suites: words(reader, "suites"),
        components: words(reader, "components"),
        architectures: words(reader, "architectures"),
        key: key?,
        fingerprints: reader.list("fingerprints").unwrap_or_default(),
    })
}

/// A text of a list that the object's own check judges.
struct Word(String);

impl std::str::FromStr for Word {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        Ok(Self(text.to_owned()))
    }
}

fn words(reader: &mut TableReader<'_>, field: &'static str) -> Vec<String> {
    reader.list(field).unwrap_or_default().into_iter().map(|Word(text)| text).collect()
}
