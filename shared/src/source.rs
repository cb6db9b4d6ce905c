//! Sources: git repositories whose manifests the controller reads by itself. Names, addresses and what is done with them.
//!
//! Whatever is here reaches the command line of `git` or of `ssh`, and was typed by somebody: building a value is the
//! check that it is what it says, and no option.

use serde::{Deserialize, Serialize};

use crate::{
    TextError, deceptive_char,
    text::{check_name, text_newtype},
};

text_newtype!(
    /// A source's name: 1 to 64 of `a-z 0-9 . _ -`, starting with a letter.
    SourceName,
    |text| check_name(
        "name",
        text,
        64,
        |i, c| c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || "._-".contains(c))),
        "use lower-case letters, digits, '.', '_' and '-', starting with a letter",
    )
);

text_newtype!(
    /// Where a repository is: `https://HOST/PATH`, `ssh://USER@HOST/PATH` or `file:///PATH`. It holds no secret.
    SourceUrl,
    |text| parts(text).map(drop)
);

text_newtype!(
    /// A branch or a tag, as `git check-ref-format` has it.
    GitName,
    check_git_name
);

text_newtype!(
    /// A folder of a repository, without a slash at either end; empty for the whole repository.
    GitFolder,
    check_folder
);

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// By HTTPS.
    Https,
    /// By ssh.
    Ssh,
    /// As a directory of the controller's machine.
    File,
}

impl Scheme {
    /// Returns the word, as git knows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }
}

/// The parts of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// How.
    pub scheme: Scheme,
    /// As whom; of ssh only.
    pub user: Option<&'a str>,
    /// Where; empty for a directory. An IPv6 address is without its brackets.
    pub host: &'a str,
    /// The port, if it says one.
    pub port: Option<u16>,
    /// The path, with the slash in front.
    pub path: &'a str,
}

impl UrlParts<'_> {
    /// Returns the port that is connected to.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(if self.scheme == Scheme::Ssh { 22 } else { 443 })
    }
}

impl SourceUrl {
    /// Returns its parts.
    pub fn parts(&self) -> UrlParts<'_> {
        parts(self.as_str()).expect("the address was checked when it was made")
    }
}

fn parts(text: &str) -> Result<UrlParts<'_>, TextError> {
    let wrong = |why: &str| TextError::new("url", text, why);
    if text.len() > 1000 {
        return Err(wrong("is longer than 1000 characters"));
    }
    if deceptive_char(text).is_some() || text.chars().any(|c| c.is_whitespace() || !c.is_ascii()) {
        return Err(wrong("has characters that no address has"));
    }
    let (scheme, rest) =
        text.split_once("://").ok_or_else(|| wrong("write https://HOST/PATH, ssh://USER@HOST/PATH or file:///PATH"))?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "ssh" => Scheme::Ssh,
        "file" => Scheme::File,
        "http" | "git" => return Err(wrong("is not protected on its way: use https or ssh")),
        _ => return Err(wrong("write https://HOST/PATH, ssh://USER@HOST/PATH or file:///PATH")),
    };
    let slash = rest.find('/').ok_or_else(|| wrong("has no path"))?;
    let (authority, path) = rest.split_at(slash);
    if path.len() < 2 || path.split('/').any(|part| part == ".." || part == ".") {
        return Err(wrong("must have a path without \".\" and \"..\""));
    }
    if path.contains(['?', '#', '\\', '\'', '"', '`', '$', '%', ';', '|', '&', '<', '>', '(', ')', '*']) {
        return Err(wrong("has characters in its path that no repository needs"));
    }
    if scheme == Scheme::File {
        return match authority {
            "" => Ok(UrlParts { scheme, user: None, host: "", port: None, path }),
            _ => Err(wrong("a directory is written with three slashes: file:///srv/git/fleet.git")),
        };
    }
    let (user, place) = match authority.rsplit_once('@') {
        None => (None, authority),
        Some(_) if scheme == Scheme::Https => {
            return Err(wrong("must not hold a user or a token: those are given apart, and sealed"));
        }
        Some((user, place)) => (Some(user), place),
    };
    let is_word = |t: &str, more: &str| {
        !t.is_empty() && !t.starts_with('-') && t.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if user.is_some_and(|u| !is_word(u, "._-") || u.len() > 64) {
        return Err(wrong(
            "has a user of other than letters, digits, '.', '_' and '-'; a password can't be part of it",
        ));
    }
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(|| wrong("a bracket is not closed"))?;
            let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
            if !is_address || !(after.is_empty() || after.starts_with(':')) {
                return Err(wrong("has no IPv6 address within its brackets"));
            }
            (host, after.strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if !place.starts_with('[') && (!is_word(host, ".-") || host.len() > 253) {
        return Err(wrong("has no host name"));
    }
    let port = port.map(str::parse::<u16>).transpose().ok().filter(|p| *p != Some(0));
    let port = port.ok_or_else(|| wrong("has a port that is none"))?;
    Ok(UrlParts { scheme, user, host, port, path })
}

fn check_git_name(text: &str) -> Result<(), TextError> {
    let wrong = |why: &str| Err(TextError::new("branch or tag", text, why));
    if text.is_empty() || text.len() > 200 {
        return wrong("must have 1 to 200 characters");
    }
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    if text.chars().any(is_odd) || deceptive_char(text).is_some() {
        return wrong("has characters that no branch has");
    }
    let is_bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.strip_suffix(".lock").is_some();
    if text.starts_with('-') || text.ends_with('.') || text.contains("..") || text.contains("@{") || text == "@" {
        return wrong("is no name of a branch or tag");
    }
    if text.split('/').any(is_bad_part) {
        return wrong("has a part that is empty, begins with a dot or ends with .lock");
    }
    Ok(())
}

fn check_folder(text: &str) -> Result<(), TextError> {
    let wrong = |why: &str| Err(TextError::new("folder", text, why));
    if text.is_empty() {
        return Ok(());
    }
    if text.len() > 500 || deceptive_char(text).is_some() || text.contains(['\\', ':', '\t']) {
        return wrong("is no folder");
    }
    if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return wrong("is written without slashes at its ends, and without \".\" and \"..\": fleet/web");
    }
    Ok(())
}

/// What is done with what git says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SourceMode {
    /// Shows the difference, and does nothing.
    #[default]
    Watch,
    /// Makes a planned change of what a commit brings; somebody applies it.
    Propose,
    /// Applies what a commit brings, in the ordinary way: plan, approvals, freezes, waves.
    Apply,
}

impl SourceMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Watch, Self::Propose, Self::Apply];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Propose => "propose",
            Self::Apply => "apply",
        }
    }
}

impl std::str::FromStr for SourceMode {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let found = Self::ALL.into_iter().find(|m| m.as_str() == text);
        found.ok_or_else(|| TextError::new("mode", text, "is none of watch, propose and apply"))
    }
}

/// How a source stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// It was never read.
    #[default]
    New,
    /// The fleet is as git says.
    Synced,
    /// The fleet differs from what git says.
    Differs,
    /// A change of it waits: for somebody, or for the end of a freeze.
    Waiting,
    /// The head doesn't follow on the one before: somebody has to accept that.
    Rewritten,
    /// It could not be read, or not applied.
    Failed,
}

impl SourceState {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::New, Self::Synced, Self::Differs, Self::Waiting, Self::Rewritten, Self::Failed];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Synced => "synced",
            Self::Differs => "differs",
            Self::Waiting => "waiting",
            Self::Rewritten => "rewritten",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for SourceState {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let found = Self::ALL.into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| TextError::new("state", text, "is no state of a source"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_say_and_no_options() {
        let good = [
            ("https://git.example.org/fleet.git", Scheme::Https, None, "git.example.org", None),
            ("https://[2001:db8::1]:8443/a/b", Scheme::Https, None, "2001:db8::1", Some(8443)),
            ("ssh://git@git.example.org:2222/fleet.git", Scheme::Ssh, Some("git"), "git.example.org", Some(2222)),
            ("file:///srv/git/fleet.git", Scheme::File, None, "", None),
        ];
        for (text, scheme, user, host, port) in good {
            let url = SourceUrl::parse(text).expect(text);
            let parts = url.parts();
            assert_eq!((parts.scheme, parts.user, parts.host, parts.port), (scheme, user, host, port), "{text}");
        }
        for bad in [
            "",
            "-oProxyCommand=x",
            "--upload-pack=touch /tmp/x",
            "git@example.org:fleet.git",
            "ssh://-oProxyCommand=x/y",
            "ssh://-u@host/y",
            "ssh://user:secret@host/y",
            "https://user:secret@host/y",
            "https://token@host/y",
            "https://host",
            "https://host/",
            "https://host/../x",
            "https://host/a?b=c",
            "https://host:0/a",
            "https://host:99999/a",
            "http://host/a",
            "git://host/a",
            "ext::sh -c touch% /tmp/x",
            "file://host/a",
            "file:///a/../etc",
            "file:///a/%2e%2e/b",
            "https://ho st/a",
            "https://host/a\n",
            "https://host/\u{202e}a",
        ] {
            assert!(SourceUrl::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn branches_and_folders_are_checked() {
        for good in ["main", "release/1.2", "v1.0", "a-b_c"] {
            GitName::parse(good).expect(good);
        }
        for bad in ["", "-x", "a..b", "a b", "a:b", "x.lock", "/a", "a/", "a//b", ".a", "a/.b", "@", "a@{1}", "a^"] {
            assert!(GitName::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["", "fleet", "fleet/web"] {
            GitFolder::parse(good).expect("a folder");
        }
        for bad in ["/", "/a", "a/", "..", "a/../b", "a:b", "./a"] {
            assert!(GitFolder::parse(bad).is_err(), "{bad:?}");
        }
    }
}
