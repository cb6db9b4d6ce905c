//! What counts of accounts, groups and packages.

use super::{super::Spec, Encoder};
use crate::host::{Package, PackageName, PasswordWant, User};

pub(super) fn encode(out: &mut Encoder, spec: &Spec) {
    match spec {
        Spec::User { name, want } => {
            out.text("user");
            out.text(name.as_str());
            encode_user(out, want);
        }
        Spec::Keys { user, home, keys, exclusive } => {
            out.text("keys");
            out.text(user.as_str());
            out.optional(home.as_ref().map(|p| p.as_str()));
            out.count(keys.len());
            for key in keys {
                out.text(key.as_str());
            }
            out.text(switch(*exclusive));
        }
        // By which value of a secret, never by the hash that it holds.
        Spec::Password { user, want } => {
            out.text("password");
            out.text(user.as_str());
            match want {
                PasswordWant::Locked => out.text("locked"),
                PasswordWant::Hash { hash: _, is_locked } => {
                    out.text("hash");
                    out.text(switch(*is_locked));
                }
            }
        }
        Spec::Group { name, ensure, gid, system } => {
            out.text("group");
            out.text(name.as_str());
            out.text(&format!("{ensure:?}"));
            out.optional(gid.map(|n| n.to_string()).as_deref());
            out.text(switch(*system));
        }
        Spec::Members { group, users } => {
            out.text("members");
            out.text(group.as_str());
            out.count(users.len());
            for user in users {
                out.text(user.as_str());
            }
        }
        _ => {}
    }
}

fn encode_user(out: &mut Encoder, user: &User) {
    let User {
        ensure,
        uid,
        group,
        groups,
        home,
        create_home,
        shell,
        comment,
        locked,
        expires,
        system,
        // A resource of their own.
        authorized_keys: _,
        password: _,
        exclusive_keys: _,
        remove_home,
    } = user;
    out.text(&format!("{ensure:?}"));
    out.optional(uid.map(|n| n.to_string()).as_deref());
    out.optional(group.as_ref().map(|g| g.as_str()));
    out.count(usize::from(groups.is_some()));
    if let Some(groups) = groups {
        out.count(groups.len());
        for group in groups {
            out.text(group.as_str());
        }
    }
    out.optional(home.as_ref().map(|p| p.as_str()));
    out.optional(create_home.map(switch));
    out.optional(shell.as_ref().map(|p| p.as_str()));
    out.optional(comment.as_deref());
    out.optional(locked.map(switch));
    out.optional(expires.as_ref().map(|e| e.as_str()));
    out.text(switch(*system));
    out.text(switch(*remove_home));
}

pub(super) fn encode_package(out: &mut Encoder, name: &PackageName, want: &Package) {
    let Package { package: _, ensure, version, held, recommends, allow_removals, on_change: _ } = want;
    out.text("package");
    out.text(name.as_str());
    out.text(&format!("{ensure:?}"));
    out.optional(version.as_ref().map(|v| v.as_str()));
    out.optional(held.map(switch));
    out.text(switch(*recommends));
    out.text(switch(*allow_removals));
}

fn switch(is_on: bool) -> &'static str {
    if is_on { "yes" } else { "no" }
}
