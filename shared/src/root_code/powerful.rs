//! Users who are as good as root on a node: what runs as one of them, lets somebody in as one, or stands in the home of
//! one, is root code too.

use std::collections::BTreeMap;

use super::is_below;
use crate::{
    desired::{Resource, Spec},
    host::{PasswordWant, UserName},
};

/// Who is as good as root, and where they live. A node goes by its accounts as well, the controller by objects alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Powerful {
    /// Why each of them is, by the user's name.
    pub users: BTreeMap<String, String>,
    /// Whose each of their homes is, by its path.
    pub homes: BTreeMap<String, String>,
    /// Why it can't be told who they are: then anybody may be one.
    pub unknown: Option<String>,
}

impl Powerful {
    /// Returns those whom a node's resources make as good as root.
    pub fn of<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Self {
        let resources: Vec<&Resource> = resources.into_iter().collect();
        let users = super::powerful(resources.iter().copied());
        let mut homes = BTreeMap::new();
        for name in users.keys() {
            homes.insert(format!("/home/{name}"), name.clone());
        }
        for resource in resources {
            let home = match base(&resource.spec) {
                Spec::User { name, want } => want.home.as_ref().map(|home| (name, home)),
                Spec::Keys { user, home, .. } => home.as_ref().map(|home| (user, home)),
                _ => None,
            };
            if let Some((name, home)) = home.filter(|(name, _)| users.contains_key(name.as_str())) {
                homes.insert(home.to_string(), name.to_string());
            }
        }
        Self { users, homes, unknown: None }
    }

    /// Takes others in.
    pub fn extend(&mut self, others: Self) {
        for (name, why) in others.users {
            self.users.entry(name).or_insert(why);
        }
        for (home, name) in others.homes {
            self.homes.entry(home).or_insert(name);
        }
        self.unknown = self.unknown.take().or(others.unknown);
    }

    /// Returns why a user is as good as root; `None` when nothing says so.
    #[must_use]
    pub fn why(&self, user: &str) -> Option<&str> {
        if user == "root" {
            return Some("who is root");
        }
        self.users.get(user).or(self.unknown.as_ref()).map(String::as_str)
    }

    /// Returns why a resource is root code by whom it is for: a job, keys, an account, a lock, a file in a home.
    #[must_use]
    pub fn root_code(&self, spec: &Spec) -> Option<String> {
        let of = |what: &str, user: &UserName| self.why(user.as_str()).map(|why| format!("{what} of {user}, {why}"));
        match base(spec) {
            Spec::Cron(job) => self.job_of(job.user.as_str()),
            Spec::Keys { user, home, .. } => {
                of("keys", user).or_else(|| home.as_ref().and_then(|home| self.in_home(home.as_str())))
            }
            Spec::User { name, want } => {
                of("the account", name).or_else(|| want.home.as_ref().and_then(|home| self.in_home(home.as_str())))
            }
            Spec::Password { user, want: PasswordWant::Locked } => of("the password", user),
            Spec::File { path, .. } | Spec::Directory { path, .. } | Spec::Link { path, .. } => {
                self.in_home(path.as_str())
            }
            _ => None,
        }
    }

    /// Returns why a job of a user is root code.
    #[must_use]
    pub fn job_of(&self, user: &str) -> Option<String> {
        super::job_of(&self.users, user).or_else(|| self.why(user).map(|why| format!("a cron job of {user}, {why}")))
    }

    /// Returns why root's ways change when what was managed of such a user's goes: a place of the account, or a file.
    #[must_use]
    pub fn removed(&self, place: &str) -> Option<String> {
        let whose = ["user:", "password:"].iter().find_map(|sort| place.strip_prefix(sort));
        match whose {
            Some(user) => self.why(user).map(|why| format!("the account of {user}, {why}")),
            None => self.in_home(place),
        }
    }

    /// Why a path is in, or above, the home of such a user.
    fn in_home(&self, path: &str) -> Option<String> {
        let is_in = |home: &str| match home {
            // A home that is the whole system: what logins read stands there directly, by names that begin with a dot.
            "/" => path.starts_with("/."),
            home => is_below(path, home) || is_below(home, path),
        };
        let found = self.homes.iter().find(|(home, _)| home.starts_with('/') && is_in(home));
        let known = found.map(|(home, user)| {
            format!("{home} is the home of {user}, {}", self.why(user).unwrap_or("who is as good as root"))
        });
        let anybody = || self.unknown.as_ref().filter(|_| is_below(path, "/home"));
        known.or_else(|| anybody().map(|why| format!("it is in the home of somebody, {why}")))
    }
}

fn base(spec: &Spec) -> &Spec {
    match spec {
        Spec::Sealed(sealed) => base(&sealed.base),
        spec => spec,
    }
}
