//! Passwords of accounts: what an object says of one, and what crypt(5) makes of it.
//!
//! A password never stands in an object. An account names a secret, and that secret holds no password either, but its hash
//! in the format of crypt(5): whoever reads it has something to guess at, and the node puts it into shadow(5) as it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    TextError,
    object::ObjectName,
    template::{Escape, Piece, Source, Template},
    text::text_newtype,
};

/// What is told to who writes something else.
const RULE: &str = "write \"{{secret.NAME}}\", \"locked\" or \"unmanaged\"; the secret holds a hash, as mkpasswd(1) \
                    prints it, and never a password";

text_newtype!(
    /// What an account's password shall be: `{{secret.NAME}}` for the hash that a secret holds, `locked` for none that lets
    /// anybody in, `unmanaged` for whatever stands on the node.
    Password,
    |text| {
        if matches!(text, "locked" | "unmanaged") || secret_in(text).is_some() {
            return Ok(());
        }
        // Somebody may have written the password itself: it is not repeated.
        Err(TextError::new("password", "…", RULE))
    }
);

impl Password {
    /// Returns the secret that holds the hash, if one does.
    pub fn secret(&self) -> Option<ObjectName> {
        secret_in(&self.0)
    }

    /// Returns whether no password shall let anybody in.
    pub fn is_locked(&self) -> bool {
        self.0 == "locked"
    }
}

fn secret_in(text: &str) -> Option<ObjectName> {
    let template = Template::parse(text).ok()?;
    match template.pieces() {
        [Piece::Use(found)] if found.escape == Escape::Raw => match &found.source {
            Source::Secret(name) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The hash of a password, as crypt(5) writes it. It is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash(String);

/// What a node makes of an account's password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordWant {
    /// No password lets anybody in; what stood is kept behind the lock.
    Locked,
    /// The hash of a secret's value.
    Hash {
        /// The hash; `None` until the node has put it there.
        hash: Option<PasswordHash>,
        /// Whether the account is locked as a whole, and its password with it.
        is_locked: bool,
    },
}

/// Letters of the last part, and how many it has, by the prefix: crypt(5). What is weaker than these is guessed in hours.
const METHODS: [(&str, usize); 8] =
    [("$y$", 43), ("$gy$", 43), ("$7$", 43), ("$2b$", 53), ("$2y$", 53), ("$2a$", 53), ("$6$", 86), ("$5$", 43)];

impl PasswordHash {
    /// Reads what a secret holds. What is wrong is told without it.
    ///
    /// # Errors
    /// With what is wrong and what to do, when it is no hash that a password can be checked by.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let is_plain = |c: char| c.is_ascii_graphic() && !":*!;\\".contains(c);
        if text.len() > 384 || !text.chars().all(is_plain) || !text.starts_with('$') {
            return Err(
                "it holds no hash of a password but something else, perhaps the password itself; make a hash by \
                        mkpasswd -m yescrypt (package whois), and set the secret to that",
            );
        }
        if ["$1$", "$md5", "$sha1$", "$3$"].iter().any(|weak| text.starts_with(weak)) {
            return Err("its hash is of a kind that is guessed quickly; make another by mkpasswd -m yescrypt");
        }
        let unknown = "its hash is of no kind that this agent knows ($y$, $gy$, $7$, $2b$, $6$, $5$); make one by mkpasswd \
                       -m yescrypt";
        let (_, length) = METHODS.iter().find(|(prefix, _)| text.starts_with(prefix)).ok_or(unknown)?;
        let last = text.rsplit('$').next().unwrap_or_default();
        let is_word = last.chars().all(|c| c.is_ascii_alphanumeric() || "./".contains(c));
        if last.len() != *length || !is_word || text.matches('$').count() < 3 {
            return Err("its hash is cut off or damaged; set the secret to the whole line that mkpasswd printed");
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns it, for shadow(5).
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(redacted)")
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text)
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> Self {
        hash.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_secrets_name_or_one_of_two_words() {
        let check = |text: &str, secret: Option<&str>| {
            let found = Password::parse(text).expect(text).secret();
            assert_eq!(found.as_ref().map(ObjectName::as_str), secret, "{text}");
        };
        check("locked", None);
        check("unmanaged", None);
        check("{{secret.ann}}", Some("ann"));
        check("{{ secret.ann }}", Some("ann"));
        for bad in
            ["hunter2", "", "$6$x$y", "{{secret.ann}}x", "{{secret.ann | shell}}", "{{var.ann}}", "{{fact.node}}"]
        {
            let error = Password::parse(bad).expect_err(bad).to_string();
            assert!(bad.is_empty() || !error.contains(bad), "what may be a password is not repeated: {error}");
            assert!(error.contains("mkpasswd"), "{error}");
        }
    }

    #[test]
    fn only_a_whole_hash_of_a_strong_kind_is_one() {
        let check = |text: &str, wrong: Option<&str>| match (PasswordHash::parse(text), wrong) {
            (Ok(_), None) => {}
            (Err(why), Some(part)) => assert!(why.contains(part), "{text}: {why}"),
            (got, _) => panic!("{text}: {got:?}"),
        };
        let last = |n: usize| "a".repeat(n);
        check(&format!("$y$j9T$abcdefgh${}", last(43)), None);
        check(&format!("$y$j9T$abcdefgh${}\n", last(43)), None);
        check(&format!("$6$rounds=5000$salt${}", last(86)), None);
        check(&format!("$5$salt${}", last(43)), None);
        check(&format!("$2b$12${}", last(53)), None);
        check(&format!("$6$salt${}", last(85)), Some("cut off"));
        check(&format!("$6${}", last(86)), Some("cut off"));
        check(&format!("$1$salt${}", last(22)), Some("guessed quickly"));
        check(&format!("$9$salt${}", last(43)), Some("no kind"));
        check("hunter2", Some("mkpasswd"));
        check("$hunter2", Some("no kind"));
        check("!", Some("mkpasswd"));
        check(&format!("$6$salt${}\nroot::", last(86)), Some("mkpasswd"));
        check(&format!("$6$sa:lt${}", last(86)), Some("mkpasswd"));
        assert!(!format!("{:?}", PasswordHash::parse(&format!("$5$salt${}", last(43)))).contains("salt"));
    }
}
