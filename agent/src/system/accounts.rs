//! Users and groups as a root knows them: from its own `passwd` and `group`, and from NSS when it is the machine's own.
//!
//! A root without these files (a bare `--root` directory) takes the machine's.

use std::collections::{BTreeMap, BTreeSet};

use super::Root;

/// The largest account file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The number.
    pub uid: u32,
    /// The number of the primary group.
    pub gid: u32,
    /// The home directory.
    pub home: String,
    /// The shell; empty for the system's own.
    pub shell: String,
}

/// The users and groups of a root, read once.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: BTreeMap<String, Account>,
    groups: BTreeMap<String, (u32, Vec<String>)>,
    is_machines: bool,
    gone: BTreeSet<String>,
    gone_groups: BTreeSet<String>,
}

impl Accounts {
    pub(super) fn load(root: &Root) -> Self {
        // Without the ancestor checks, which ask for accounts themselves; an unreadable file counts as none.
        let read = |name: &str| root.read_unchecked(name, MAX_BYTES).map(|b| String::from_utf8_lossy(&b).into_owned());
        let (passwd, is_own) = match read("etc/passwd") {
            Some(text) => (text, true),
            None => (machine("/etc/passwd"), false),
        };
        let group = if is_own { read("etc/group").unwrap_or_default() } else { machine("/etc/group") };
        Self::parse(&passwd, &group, root.is_system() || !is_own)
    }

    fn parse(passwd: &str, group: &str, is_machines: bool) -> Self {
        let mut accounts = Self { is_machines, ..Self::default() };
        for line in passwd.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [name, _, uid, gid, _, home, shell] = fields[..]
                && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
            {
                let account = Account { uid, gid, home: home.to_owned(), shell: shell.to_owned() };
                accounts.users.entry(name.to_owned()).or_insert(account);
            }
        }
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [name, _, gid, members] = fields[..]
                && let Ok(gid) = gid.parse()
            {
                let members = members.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
                accounts.groups.entry(name.to_owned()).or_insert((gid, members));
            }
        }
        accounts
    }

    /// Finds a user by name.
    pub fn user(&self, name: &str) -> Option<Account> {
        if let Some(account) = self.users.get(name) {
            return Some(account.clone());
        }
        let is_asked = self.is_machines && !self.gone.contains(name);
        let user = is_asked.then(|| nix::unistd::User::from_name(name).ok().flatten()).flatten()?;
        Some(Account {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir.display().to_string(),
            shell: user.shell.display().to_string(),
        })
    }

    /// Finds a group's number by name.
    pub fn group(&self, name: &str) -> Option<u32> {
        if let Some((gid, _)) = self.groups.get(name) {
            return Some(*gid);
        }
        let is_asked = self.is_machines && !self.gone_groups.contains(name);
        let group = is_asked.then(|| nix::unistd::Group::from_name(name).ok().flatten()).flatten()?;
        Some(group.gid.as_raw())
    }

    /// Takes in a user that is about to be made.
    pub(crate) fn expect_user(&mut self, name: &str, uid: u32, gid: u32, home: &str, shell: &str) {
        let account = Account { uid, gid, home: home.to_owned(), shell: shell.to_owned() };
        self.users.insert(name.to_owned(), account);
    }

    /// Takes in a group that is about to be made.
    pub(crate) fn expect_group(&mut self, name: &str, gid: u32) {
        self.groups.entry(name.to_owned()).or_insert((gid, Vec::new()));
    }

    /// Forgets a user that is about to go.
    pub(crate) fn expect_no_user(&mut self, name: &str) {
        self.users.remove(name);
        self.gone.insert(name.to_owned());
    }

    /// Forgets a group that is about to go.
    pub(crate) fn expect_no_group(&mut self, name: &str) {
        self.groups.remove(name);
        self.gone_groups.insert(name.to_owned());
    }

    /// Returns the users of the files, by name.
    pub fn users(&self) -> impl Iterator<Item = (&str, &Account)> {
        self.users.iter().map(|(name, account)| (name.as_str(), account))
    }

    /// Returns the groups of the files, by name and number.
    pub fn groups(&self) -> Vec<(String, u32)> {
        self.groups.iter().map(|(name, (gid, _))| (name.clone(), *gid)).collect()
    }

    /// Returns the names of a user's groups, the primary one first.
    pub fn groups_of(&self, user: &str, primary: u32) -> Vec<String> {
        let is_member = |(gid, members): &(u32, Vec<String>)| *gid != primary && members.iter().any(|m| m == user);
        let others = self.groups.iter().filter(|(_, group)| is_member(group)).map(|(name, _)| name.clone());
        std::iter::once(self.group_name(primary)).chain(others).collect()
    }

    /// Returns the groups that a user is in, by name and number, the primary one with them.
    pub fn memberships(&self, name: &str, primary: u32) -> Vec<(String, u32)> {
        let is_in = |gid: u32, members: &[String]| gid == primary || members.iter().any(|m| m == name);
        let named = self.groups.iter().filter(|(_, (gid, members))| is_in(*gid, members));
        let mut groups: Vec<(String, u32)> = named.map(|(n, (gid, _))| (n.clone(), *gid)).collect();
        if groups.iter().all(|(_, gid)| *gid != primary) {
            groups.push((primary.to_string(), primary));
        }
        groups
    }

    /// Returns a user's name, or the number when it has none.
    pub fn user_name(&self, uid: u32) -> String {
        self.users.iter().find(|(_, a)| a.uid == uid).map_or_else(|| uid.to_string(), |(n, _)| n.clone())
    }

    /// Returns a group's name, or the number when it has none.
    pub fn group_name(&self, gid: u32) -> String {
        self.groups.iter().find(|(_, (g, _))| *g == gid).map_or_else(|| gid.to_string(), |(n, _)| n.clone())
    }

    /// Returns the user whose home directory a path is in.
    pub fn home_owner(&self, path: &str) -> Option<u32> {
        let holds = |home: &str| home.len() > 1 && path.strip_prefix(home).is_some_and(|rest| rest.starts_with('/'));
        self.users.values().filter(|a| holds(&a.home)).max_by_key(|a| a.home.len()).map(|a| a.uid)
    }

    /// Returns whether nobody but root and `owner` is in the group: then its write permission gives nobody anything.
    pub fn is_group_harmless(&self, gid: u32, owner: u32) -> bool {
        let is_ours = |uid: u32| uid == 0 || uid == owner;
        let members = self.groups.values().filter(|(g, _)| *g == gid).flat_map(|(_, members)| members);
        let is_known = self.groups.values().any(|(g, _)| *g == gid);
        is_known
            && members.map(|m| self.user(m)).all(|a| a.is_none_or(|a| is_ours(a.uid)))
            && self.users.values().filter(|a| a.gid == gid).all(|a| is_ours(a.uid))
    }
}

fn machine(path: &str) -> String {
    std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_harmless_only_without_users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        let accounts = Accounts::parse(passwd, "root:x:0:\nstaff:x:50:\nann:x:1000:\nops:x:60:ann\n", false);
        let harmless: Vec<bool> = [50, 60, 1000, 999].into_iter().map(|g| accounts.is_group_harmless(g, 0)).collect();
        assert_eq!(harmless, [true, false, false, false]);
        assert!(accounts.is_group_harmless(1000, 1000), "a user's own group gives the user nothing new");
        assert_eq!(accounts.user("bob"), None);
    }
}
