//! Users of a node: accounts as in passwd(5), and the keys that they sign in with.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{Ensure, GroupName, ManagedPath, Password, UserName};
use crate::{
    TextError,
    text::{check_line, text_newtype},
};

/// The number that no account may have: setting an owner to it means "as it is" (chown(2)).
const NO_ID: u32 = u32::MAX;
/// Accounts of a busy team share no more.
const MAX_LIST: usize = 500;
/// Sorts of keys that sshd(8) takes; DSA is not among them.
const KEY_SORTS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

text_newtype!(
    /// A line of an `authorized_keys` file, as in sshd(8): options if any, the sort, the key, a comment.
    AuthorizedKey,
    check_key
);

text_newtype!(
    /// When an account expires: a day (`2027-01-31`), or `never`.
    Expiry,
    |text| {
        if text == "never" || days(text).is_some() {
            return Ok(());
        }
        Err(TextError::new("expires", text, "write a day after 1970, as in 2027-01-31, or \"never\""))
    }
);

impl Expiry {
    /// Returns the day as shadow(5) counts it: since 1970-01-01; `None` for never.
    pub fn days(&self) -> Option<u32> {
        days(self.as_str())
    }

    /// Returns the expiry of a day as shadow(5) counts it.
    pub fn of_days(days: Option<u32>) -> Self {
        let Some(days) = days else { return Self("never".to_owned()) };
        let (year, month, day) = civil(days);
        Self(format!("{year:04}-{month:02}-{day:02}"))
    }
}

/// An account. The object's name is the user's. What is left out is left as it is on the node, and as Debian's useradd(8)
/// has it in a new account; that has no password then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = OsUser))]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Whether the account shall be there; `present` by default. `absent` removes it whoever made it.
    #[serde(default)]
    pub ensure: Ensure,
    /// The number; the next free one when left out. An account that has another is not renumbered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The primary group; one of the user's own name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// All supplementary groups, but for those whose members an object of kind `group` lists; left alone when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupName>>,
    /// The home directory; `/home/NAME` for a new account when left out. What stands in an earlier one stays there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<ManagedPath>,
    /// Whether a new account gets its home directory made; by default unless it is a system account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_home: Option<bool>,
    /// The login shell; `/bin/bash` for a new account when left out, `/usr/sbin/nologin` for a system account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<ManagedPath>,
    /// Who it is, in words (GECOS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether nobody can sign in: the password is locked and the account expired, so that keys don't work either; left
    /// alone when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// The day from which nobody can sign in, or `never`; left alone when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expiry>,
    /// The password: `{{secret.NAME}}` of a secret that holds its hash as crypt(5) writes it, `locked`, or `unmanaged`, which
    /// is the default and leaves it alone. When it is managed no longer, what stood there before comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Whether a new account gets a number of the system's (below 1000); `false` by default.
    #[serde(default)]
    pub system: bool,
    /// The keys that the user may sign in with; the file is left alone when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorized_keys: Option<Vec<AuthorizedKey>>,
    /// Whether these keys are the only ones: `false` keeps those that others put there; `false` by default.
    #[serde(default)]
    pub exclusive_keys: bool,
    /// With `ensure = "absent"`: whether the home directory goes too, for good; `false` by default.
    #[serde(default)]
    pub remove_home: bool,
}

impl User {
    /// Returns the user's name.
    ///
    /// # Errors
    /// When the object's name is no user's.
    pub fn name_of(name: &str) -> Result<UserName, TextError> {
        UserName::parse(name)
    }

    /// Returns the password if it is managed.
    pub fn managed_password(&self) -> Option<&Password> {
        self.password.as_ref().filter(|p| p.is_locked() || p.secret().is_some())
    }

    /// Returns whether a new account gets a home directory.
    pub fn makes_home(&self) -> bool {
        self.create_home.unwrap_or(!self.system)
    }

    /// Checks the name and the rules between the fields.
    ///
    /// # Errors
    /// When the account can't be made so.
    pub fn check(&self, name: &str) -> Result<(), TextError> {
        let user = Self::name_of(name)?;
        let wrong = |what: &'static str, value: &str, reason: &str| Err(TextError::new(what, value, reason));
        if user == UserName::root() {
            return self.check_root();
        }
        match self.uid {
            Some(0) => return wrong("uid", "0", "is root's own; a second root is an account without a trace"),
            Some(NO_ID) => return wrong("uid", &NO_ID.to_string(), "is no number of an account"),
            _ => {}
        }
        if self.ensure == Ensure::Absent {
            let is_bare = Self { ensure: Ensure::Absent, remove_home: self.remove_home, ..Self::default() };
            if *self != is_bare {
                return wrong("ensure", "absent", "an account that goes has no other field than remove_home");
            }
            return Ok(());
        }
        if self.remove_home {
            return wrong("remove_home", "true", "goes with ensure = \"absent\"");
        }
        if self.locked == Some(true) && self.expires.is_some() {
            return wrong("expires", "", "is part of locked = true; give one of them");
        }
        if self.locked == Some(false) && self.password.as_ref().is_some_and(Password::is_locked) {
            let reason = "contradicts locked = false, which unlocks it; leave locked out: keys sign in all the same";
            return wrong("password", "locked", reason);
        }
        check_list("groups", self.groups.as_deref().unwrap_or_default())?;
        if let Some(comment) = &self.comment {
            check_line("comment", comment, 200)?;
            if comment.contains(':') || comment.contains(['\t', '\\']) || comment.trim() != comment {
                return wrong("comment", comment, "must not have ':', tabs or backslashes, nor blanks at its ends");
            }
        }
        for (what, path) in [("home", &self.home), ("shell", &self.shell)] {
            if let Some(path) = path.as_ref().filter(|p| p.as_str().contains(':')) {
                return wrong(what, path.as_str(), "must not have ':'");
            }
        }
        self.check_keys()
    }

    /// Of root the password, the keys, the shell and the comment can be managed: everything else about it is the system's.
    fn check_root(&self) -> Result<(), TextError> {
        let rest = Self {
            shell: self.shell.clone(),
            comment: self.comment.clone(),
            password: self.password.clone(),
            authorized_keys: self.authorized_keys.clone(),
            exclusive_keys: self.exclusive_keys,
            ..Self::default()
        };
        if *self != rest {
            let reason = "of root only shell, comment, password, authorized_keys and exclusive_keys can be managed";
            return Err(TextError::new("name", "root", reason));
        }
        self.check_keys()
    }

    fn check_keys(&self) -> Result<(), TextError> {
        let Some(keys) = &self.authorized_keys else {
            if self.exclusive_keys {
                return Err(TextError::new("exclusive_keys", "true", "needs authorized_keys (an empty list is one)"));
            }
            return Ok(());
        };
        check_list("authorized_keys", keys)
    }
}

/// Refuses lists that are too long or name something twice.
pub(super) fn check_list<T: Ord + std::fmt::Display>(what: &'static str, list: &[T]) -> Result<(), TextError> {
    if list.len() > MAX_LIST {
        return Err(TextError::new(what, &list.len().to_string(), format!("at most {MAX_LIST} are allowed")));
    }
    let mut seen = std::collections::BTreeSet::new();
    match list.iter().find(|item| !seen.insert(*item)) {
        Some(twice) => Err(TextError::new(what, &twice.to_string(), "stands twice")),
        None => Ok(()),
    }
}

/// Whether a number can be an account's or a group's.
pub(super) fn is_usable(id: u32) -> bool {
    id != NO_ID
}

fn check_key(text: &str) -> Result<(), TextError> {
    let wrong = |reason: &str| Err(TextError::new("authorized_keys", text, reason));
    check_line("authorized_keys", text, 16 << 10)?;
    if text.trim() != text || text.is_empty() || text.starts_with('#') {
        return wrong("write a key as it stands in its .pub file");
    }
    let words = words_outside_quotes(text);
    let Some(at) = words.iter().position(|w| KEY_SORTS.contains(w)).filter(|at| *at <= 1) else {
        return wrong("names no sort of key that sshd takes, as in \"ssh-ed25519 AAAA… ann@desk\"");
    };
    let Some(blob) = words.get(at + 1).and_then(|key| STANDARD.decode(key).ok()) else {
        return wrong("the key behind its sort is damaged: not base64");
    };
    // RFC 4253, section 6.6: the blob begins with the sort, its length before it.
    let named = blob.split_at_checked(4).and_then(|(length, rest)| {
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
        rest.get(..length)
    });
    if named != Some(words[at].as_bytes()) {
        return wrong("the key is of another sort than it says, or cut off");
    }
    Ok(())
}

/// Splits at blanks that are not within the quotes of an option.
fn words_outside_quotes(text: &str) -> Vec<&str> {
    let (mut words, mut from, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !is_escaped => is_quoted = !is_quoted,
            ' ' | '\t' if !is_quoted => {
                words.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    words.push(&text[from..]);
    words.retain(|w| !w.is_empty());
    words
}

/// Days since 1970-01-01 of a date; `None` when it is none, or not after that day.
fn days(text: &str) -> Option<u32> {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return None };
    let is_plain = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    if !is_plain(year, 4) || !is_plain(month, 2) || !is_plain(day, 2) {
        return None;
    }
    let (year, month, day) = (year.parse::<u32>().ok()?, month.parse::<u32>().ok()?, day.parse::<u32>().ok()?);
    let found = (1970..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1;
    let days = found.then(|| {
        // Counted from March, so that the leap day is a year's last.
        let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        (365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1).checked_sub(719_468)
    })??;
    // A day that the month does not have comes back as another.
    (civil(days) == (year, month, day) && days > 1).then_some(days)
}

fn civil(days: u32) -> (u32, u32, u32) {
    let days = days.saturating_add(719_468).min(3_652_424);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrpNzIH4o8yMYp2yuhPq0w5vPDJzbKpWEHSyMjRvAhQ ann@desk";

    fn user(json: &str) -> User {
        serde_json::from_str(json).expect("a user")
    }

    #[test]
    fn fields_that_contradict_each_other_are_refused() {
        let check = |name: &str, json: &str, is_good: bool| {
            let result = user(json).check(name);
            assert_eq!(result.is_ok(), is_good, "{name} {json}: {result:?}");
        };
        check("ann", "{}", true);
        check("ann", r#"{"uid": 1500, "groups": ["sudo", "adm"], "shell": "/bin/zsh"}"#, true);
        check("ann", r#"{"uid": 0}"#, false);
        check("ann", r#"{"uid": 4294967295}"#, false);
        check("ann", r#"{"groups": ["adm", "adm"]}"#, false);
        check("ann", r#"{"locked": true, "expires": "2027-01-31"}"#, false);
        check("ann", r#"{"comment": "Ann: the first"}"#, false);
        check("ann", r#"{"remove_home": true}"#, false);
        check("ann", r#"{"ensure": "absent", "remove_home": true}"#, true);
        check("ann", r#"{"ensure": "absent", "shell": "/bin/sh"}"#, false);
        check("ann", r#"{"exclusive_keys": true}"#, false);
        check("ann", r#"{"authorized_keys": [], "exclusive_keys": true}"#, true);
        check("ann:x", "{}", false);
        check("-ann", "{}", false);
        check("root", r#"{"ensure": "absent"}"#, false);
        check("root", r#"{"locked": true}"#, false);
        check("root", r#"{"password": "locked"}"#, true);
        check("ann", r#"{"password": "{{secret.ann}}", "locked": true}"#, true);
        check("ann", r#"{"ensure": "absent", "password": "locked"}"#, false);
        check("ann", r#"{"password": "locked", "locked": false}"#, false);
        check("ann", r#"{"password": "locked", "locked": true}"#, true);
        check("ann", r#"{"password": "{{secret.ann}}", "locked": false}"#, true);
        check("root", &format!(r#"{{"authorized_keys": ["{KEY}"]}}"#), true);
    }

    #[test]
    fn only_keys_that_sshd_takes_are_keys() {
        let check = |text: &str, is_good: bool| assert_eq!(AuthorizedKey::parse(text).is_ok(), is_good, "{text}");
        check(KEY, true);
        check(&format!("from=\"10.0.0.0/8, 10.1.0.0/16\",command=\"/bin/x \\\"a b\\\"\" {KEY}"), true);
        check(&format!("restrict {KEY}"), true);
        check(&KEY.replace("ssh-ed25519 AAAA", "ssh-rsa AAAA"), false);
        check("ssh-ed25519 AAAA", false);
        check("ssh-ed25519", false);
        check("ssh-dss AAAAB3NzaC1kc3MAAACBAP x", false);
        check(&format!("# {KEY}"), false);
        check(&format!("{KEY}\nssh-rsa x"), false);
        check("-----BEGIN OPENSSH PRIVATE KEY-----", false);
    }

    #[test]
    fn days_are_counted_as_shadow_counts_them() {
        let check = |text: &str, expected: Option<u32>| assert_eq!(days(text), expected, "{text}");
        check("2027-01-01", Some(20_819));
        check("2000-02-29", Some(11_016));
        check("1999-02-29", None);
        check("2027-04-31", None);
        check("1970-01-02", None);
        check("1970-01-03", Some(2));
        check("9999-12-31", Some(2_932_896));
        check("27-1-1", None);
        for day in (2..2_932_896).step_by(997) {
            let expiry = Expiry::of_days(Some(day));
            assert_eq!(expiry.days(), Some(day), "{expiry}");
        }
        assert_eq!(Expiry::of_days(None).days(), None);
    }
}
