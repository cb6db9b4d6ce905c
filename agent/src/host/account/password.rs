//! Passwords of accounts: the field of shadow(5), compared and written as it is.
//!
//! What stands there is a hash. It is read for comparing, shown nowhere, and handed over by standard input. A lock is a
//! mark before the hash (usermod(8)), which the account's own place may set in the same apply.

use lampas_shared::{
    desired::{ContentHash, Resource},
    error::Fault,
    host::{PasswordWant, UserName},
};

use super::{
    Databases,
    change::set_password,
    password_place,
    plan::{enter, text_put},
};
use crate::{
    host::plan::{Planner, Put},
    system::{Root, Seen},
};

/// What useradd(8) gives an account without a password.
const NONE: &str = "!";

pub(super) fn plan(
    planner: &mut Planner<'_>,
    resource: &Resource,
    user: &UserName,
    want: &PasswordWant,
    databases: &Databases,
    refused: Option<Fault>,
) {
    let path = password_place(user.as_str());
    let unknown = || {
        let text = format!("there is no user {user} on this node, whose password this could be");
        Fault::lasting("password.user_unknown", text)
    };
    let no_shadow = || Fault::lasting("user.no_shadow", "there is no /etc/shadow: passwords have no safe place here");
    let fault = refused
        .or_else(|| planner.accounts.user(user.as_str()).is_none().then(unknown))
        .or_else(|| (!databases.has_shadow).then(no_shadow));
    if let Some(fault) = fault {
        return planner.refuse(resource, &path, fault);
    }
    let files = databases.files();
    let standing = files.shadow_password(user.as_str());
    let field = match want {
        PasswordWant::Locked => locked(standing),
        PasswordWant::Hash { hash: Some(hash), is_locked } => {
            format!("{}{}", if *is_locked { "!" } else { "" }, hash.as_str())
        }
        // Whoever plans has put it there.
        PasswordWant::Hash { hash: None, .. } => {
            let fault = Fault::passing("secret.missing", "the hash of the password has not arrived on this node yet");
            return planner.refuse(resource, &path, fault);
        }
    };
    let mut notes = Vec::new();
    if standing != Some(field.as_str()) {
        notes.push(match want {
            PasswordWant::Locked => format!("no password lets {user} in from then on; keys still do"),
            PasswordWant::Hash { .. } => format!("the password of {user} changes; its hash is shown nowhere"),
        });
    }
    enter(planner, resource, path, text_put(format!("{field}\n")), notes);
}

/// The field with a lock before what stands there.
fn locked(standing: Option<&str>) -> String {
    match standing {
        None => NONE.to_owned(),
        Some(field) if field.starts_with(['!', '*']) => field.to_owned(),
        Some(field) => format!("!{field}"),
    }
}

/// Puts a field in place; none where there was no account before.
///
/// # Errors
/// When chpasswd(8) says why not.
pub(super) fn put(root: &Root, databases: &Databases, name: &str, field: Option<&str>) -> Result<(), Fault> {
    let files = databases.files();
    let Some(standing) = files.shadow_password(name) else {
        // It went with its account.
        let gone = || Fault::passing("password.user_unknown", format!("there is no user {name} any more"));
        return field.map_or(Ok(()), |_| Err(gone()));
    };
    let field = field.unwrap_or(NONE);
    if field.contains(['\n', ':']) {
        return Err(Fault::lasting(
            "account.text",
            "what shall stand in shadow(5) is no field of it; this is a defect",
        ));
    }
    if standing == field { Ok(()) } else { set_password(root, name, field) }
}

/// Returns whether a field is neither what stood before an apply nor what the apply leaves, locks aside. Where its account is
/// gone there is nothing to put back either.
pub(in crate::host) fn is_others(root: &Root, seen: &Seen, before: &Put, left: &ContentHash) -> bool {
    let bare = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().trim_start_matches('!').to_owned();
    let Seen::File { bytes, .. } = seen else { return true };
    let field = bare(bytes);
    let stood = if let Put::File { bytes, .. } = before { bare(bytes) } else { String::new() };
    let is_left = ["", "!", "!!"].iter().any(|lock| text_put(format!("{lock}{field}\n")).fingerprint(root) == *left);
    field != stood && !is_left
}

/// Returns whether two looks differ only by what the same apply does before: the account is made, or locked.
pub(super) fn is_same(looked: &Seen, seen: &Seen) -> bool {
    let field = |seen: &Seen| match seen {
        Seen::File { bytes, .. } => Some(String::from_utf8_lossy(bytes).trim_end().trim_start_matches('!').to_owned()),
        _ => None,
    };
    field(looked).unwrap_or_default() == field(seen).unwrap_or_default()
}
