//! Accounts and groups as small texts, and out of the files that hold them: passwd(5), group(5), shadow(5).
//!
//! A text says everything that can be managed of an account, one field a line, so that two looks at it can be compared and
//! shown beside each other. Passwords are no part of it: of them only whether they are locked.

use std::collections::BTreeSet;

use lampas_shared::host::Expiry;

/// Whether somebody can sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Nothing is locked. There need not be a password.
    Open,
    /// The password is locked; keys work.
    PasswordLocked,
    /// The password is locked and the account expired: nobody gets in.
    Locked,
}

/// An account as its text says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The number.
    pub uid: u32,
    /// The primary group by name, or its number where it has none.
    pub group: String,
    /// The primary group's number.
    pub gid: u32,
    /// The supplementary groups, sorted.
    pub groups: Vec<String>,
    /// The home directory.
    pub home: String,
    /// The login shell.
    pub shell: String,
    /// Who it is, in words.
    pub comment: String,
    /// Whether somebody can sign in.
    pub login: Login,
    /// The day of expiry, as shadow(5) counts it; always `None` when locked.
    pub expires: Option<u32>,
}

impl Account {
    /// Returns the text.
    pub fn to_text(&self) -> String {
        let login = match self.login {
            Login::Open => "open",
            Login::PasswordLocked => "password locked",
            Login::Locked => "locked",
        };
        format!(
            "uid {}\ngroup {} {}\ngroups {}\nhome {}\nshell {}\ncomment {}\nlogin {login}\nexpires {}\n",
            self.uid,
            self.group,
            self.gid,
            self.groups.join(","),
            self.home,
            self.shell,
            self.comment,
            Expiry::of_days(self.expires),
        )
    }

    /// Reads a text back; `None` when it is none of an account.
    pub fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').or(Some("").filter(|_| line == name)))
        };
        let (group, gid) = field("group")?.rsplit_once(' ')?;
        Some(Self {
            uid: field("uid")?.parse().ok()?,
            group: group.to_owned(),
            gid: gid.parse().ok()?,
            groups: list(field("groups")?),
            home: field("home")?.to_owned(),
            shell: field("shell")?.to_owned(),
            comment: field("comment")?.to_owned(),
            login: match field("login")? {
                "open" => Login::Open,
                "password locked" => Login::PasswordLocked,
                "locked" => Login::Locked,
                _ => return None,
            },
            expires: Expiry::parse(field("expires")?).ok()?.days(),
        })
    }
}

/// Returns the text of a group.
pub fn group_text(gid: u32) -> String {
    format!("gid {gid}\n")
}

/// Reads the text of a group.
pub fn parse_group(text: &str) -> Option<u32> {
    text.trim_end().strip_prefix("gid ")?.parse().ok()
}

/// Returns the text of a group's members: sorted, one a line.
pub fn members_text<'a>(members: impl IntoIterator<Item = &'a str>) -> String {
    let sorted: BTreeSet<&str> = members.into_iter().collect();
    sorted.into_iter().flat_map(|m| [m, "\n"]).collect()
}

/// Reads the text of a group's members.
pub fn parse_members(text: &str) -> Vec<String> {
    text.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

/// The files that hold accounts, as text.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// passwd(5).
    pub passwd: &'a str,
    /// group(5).
    pub group: &'a str,
    /// shadow(5); empty where there is none.
    pub shadow: &'a str,
}

impl Files<'_> {
    /// Finds an account by name.
    pub fn account(&self, name: &str) -> Option<Account> {
        let entry = fields(self.passwd, name)?;
        let [_, password, uid, gid, comment, home, shell] = entry[..] else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        let shadow = fields(self.shadow, name).unwrap_or_default();
        let password = shadow.get(1).copied().unwrap_or(password);
        let expires: Option<u32> = shadow.get(7).and_then(|day| day.parse().ok());
        // A lone "!" or "*" is an account without a password.
        let is_locked = password.starts_with('!');
        let has_password = password.trim_start_matches('!').len() > 1;
        let is_over = expires.is_some_and(|day| day <= 1);
        let login = match (is_locked, is_over) {
            (true, true) => Login::Locked,
            (true, false) if has_password => Login::PasswordLocked,
            _ => Login::Open,
        };
        Some(Account {
            uid,
            group: self.group_name(gid).map_or_else(|| gid.to_string(), str::to_owned),
            gid,
            groups: self.groups_of(name),
            home: home.to_owned(),
            shell: shell.to_owned(),
            comment: comment.to_owned(),
            login,
            expires: expires.filter(|_| login != Login::Locked),
        })
    }

    /// Returns the groups that list a user, sorted.
    pub fn groups_of(&self, user: &str) -> Vec<String> {
        let lists = |line: &str| {
            let [group, _, _, members] = line.split(':').collect::<Vec<_>>()[..] else { return None };
            members.split(',').any(|m| m == user).then(|| group.to_owned())
        };
        self.group.lines().filter_map(lists).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Finds a group's number.
    pub fn gid(&self, name: &str) -> Option<u32> {
        fields(self.group, name)?.get(2)?.parse().ok()
    }

    /// Finds a group's name.
    pub fn group_name(&self, gid: u32) -> Option<&str> {
        let is_it = |line: &&str| line.split(':').nth(2).and_then(|n| n.parse().ok()) == Some(gid);
        self.group.lines().find(is_it)?.split(':').next()
    }

    /// Returns the members that a group lists; `None` when there is no such group.
    pub fn members(&self, name: &str) -> Option<Vec<String>> {
        let entry = fields(self.group, name)?;
        Some(list(entry.get(3).copied().unwrap_or_default()))
    }

    /// Returns the users whose primary group it is.
    pub fn with_primary(&self, gid: u32) -> Vec<String> {
        let is_in = |line: &&str| line.split(':').nth(3).and_then(|n| n.parse().ok()) == Some(gid);
        self.passwd.lines().filter(is_in).filter_map(|l| l.split(':').next()).map(str::to_owned).collect()
    }

    /// Returns the name of the user that has a number.
    pub fn user_name(&self, uid: u32) -> Option<&str> {
        let is_it = |line: &&str| line.split(':').nth(2).and_then(|n| n.parse().ok()) == Some(uid);
        self.passwd.lines().find(is_it)?.split(':').next()
    }

    /// Returns the line of an account in shadow(5), whole: with its password.
    pub fn shadow_password(&self, name: &str) -> Option<&str> {
        self.shadow.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split(':').next())
    }

    /// Returns the number that a new user gets, one that no group has either; as useradd(8) chooses it, that is after the
    /// highest in use, or for the system's own below the lowest. `taken` are numbers that others of the same plan get.
    pub fn free_uid(&self, defaults: &Defaults, system: bool, taken: &BTreeSet<u32>) -> Option<u32> {
        let mut used = numbers(self.passwd);
        used.extend(numbers(self.group));
        used.extend(taken);
        free(&used, if system { defaults.system_uids } else { defaults.uids }, system)
    }

    /// Returns the number that a new group gets.
    pub fn free_gid(&self, defaults: &Defaults, system: bool, taken: &BTreeSet<u32>) -> Option<u32> {
        let mut used = numbers(self.group);
        used.extend(taken);
        free(&used, if system { defaults.system_gids } else { defaults.gids }, system)
    }
}

fn numbers(text: &str) -> BTreeSet<u32> {
    text.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect()
}

fn free(used: &BTreeSet<u32>, (from, to): (u32, u32), is_down: bool) -> Option<u32> {
    if from > to {
        return None;
    }
    if is_down {
        let next = used.range(from..=to).next().map_or(to, |lowest| lowest.saturating_sub(1));
        return if next >= from { Some(next) } else { (from..=to).rev().find(|n| !used.contains(n)) };
    }
    let next = used.range(from..=to).next_back().map_or(from, |highest| highest + 1);
    if next <= to { Some(next) } else { (from..=to).find(|n| !used.contains(n)) }
}

/// What login.defs(5) and useradd's own defaults say of new accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    uids: (u32, u32),
    system_uids: (u32, u32),
    gids: (u32, u32),
    system_gids: (u32, u32),
}

impl Defaults {
    /// Reads login.defs(5); what it doesn't say is as Debian has it.
    pub fn parse(login_defs: &str) -> Self {
        let number = |name: &str, default: u32| {
            let value = |line: &str| {
                let mut words = line.split_whitespace();
                let is_it = words.next()? == name;
                words.next().filter(|_| is_it)?.parse().ok()
            };
            login_defs.lines().find_map(value).unwrap_or(default)
        };
        let range =
            |sort: &str, from: u32, to: u32| (number(&format!("{sort}_MIN"), from), number(&format!("{sort}_MAX"), to));
        Self {
            uids: range("UID", 1000, 60_000),
            system_uids: range("SYS_UID", 100, 999),
            gids: range("GID", 1000, 60_000),
            system_gids: range("SYS_GID", 100, 999),
        }
    }

    /// Returns whether a number is one of the system's.
    pub fn is_system(&self, uid: u32) -> bool {
        uid < self.uids.0
    }
}

fn fields<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))?;
    Some(line.split(':').collect())
}

fn list(text: &str) -> Vec<String> {
    let sorted: BTreeSet<&str> = text.split(',').filter(|item| !item.is_empty()).collect();
    sorted.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILES: Files<'_> = Files {
        passwd: "root:x:0:0:root:/root:/bin/bash\nann:x:1500:1500:Ann É, desk:/home/ann:/bin/zsh\nbob:x:1501:27::/srv/b:\n\
                 cy:x:1502:1502::/:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
        group: "root:x:0:\nsudo:x:27:ann,bob\nann:x:1500:\nadm:x:4:ann\nops:x:1600:\n",
        shadow: "root:*:1:0:99999:7:::\nann:$6$x$y:1:0:99999:7:::\nbob:!$6$x:1:0:99999:7::20819:\ncy:!:1:0:99999:7::1:\n",
    };

    #[test]
    fn an_account_is_read_from_its_files() {
        let ann = FILES.account("ann").expect("an account");
        assert_eq!(
            ann.to_text(),
            "uid 1500\ngroup ann 1500\ngroups adm,sudo\nhome /home/ann\nshell /bin/zsh\ncomment Ann É, desk\nlogin open\n\
             expires never\n"
        );
        let bob = FILES.account("bob").expect("an account");
        assert_eq!((bob.group.as_str(), bob.login, bob.expires), ("sudo", Login::PasswordLocked, Some(20_819)));
        let cy = FILES.account("cy").expect("an account");
        assert_eq!((cy.group.as_str(), cy.login, cy.expires), ("1502", Login::Locked, None));
        assert_eq!(FILES.account("root").map(|r| r.login), Some(Login::Open), "no password is no lock");
        assert_eq!(FILES.account("an"), None);
        assert_eq!(FILES.members("sudo"), Some(vec!["ann".to_owned(), "bob".to_owned()]));
        assert_eq!(FILES.members("none"), None);
        assert_eq!(FILES.with_primary(27), ["bob"]);
        assert_eq!(FILES.shadow_password("ann"), Some("$6$x$y"));
    }

    #[test]
    fn free_numbers_are_chosen_as_useradd_chooses_them() {
        let defaults = Defaults::parse("# UID_MIN 5\nUID_MAX 60000\nSYS_UID_MIN\t\t  100\n");
        let none = BTreeSet::new();
        assert_eq!(FILES.free_uid(&defaults, false, &none), Some(1601), "no group has it either");
        assert_eq!(FILES.free_uid(&defaults, true, &none), Some(999));
        assert_eq!(FILES.free_uid(&defaults, true, &BTreeSet::from([999])), Some(998));
        assert_eq!(FILES.free_gid(&defaults, false, &BTreeSet::from([1601])), Some(1602));
        let full = Defaults::parse("UID_MIN 1600\nUID_MAX 1601\n");
        assert_eq!(FILES.free_uid(&full, false, &none), Some(1601));
        assert_eq!(FILES.free_uid(&full, false, &BTreeSet::from([1601])), None);
        assert!(defaults.is_system(999) && !defaults.is_system(1000));
    }

    proptest! {
        #[test]
        fn a_text_reads_back_as_the_account(
            uid in 0..70_000_u32,
            names in prop::collection::btree_set("[a-z]{1,5}", 0..4),
            comment in "([!-9;-~][ -9;-~]{0,9}[!-9;-~])?",
            login in prop::sample::select(vec![Login::Open, Login::PasswordLocked, Login::Locked]),
            expires in prop::option::of(2..90_000_u32),
        ) {
            let account = Account {
                uid,
                group: "users".into(),
                gid: 100,
                groups: names.into_iter().collect(),
                home: "/home/x y".into(),
                shell: String::new(),
                comment,
                login,
                expires,
            };
            prop_assert_eq!(Account::parse(&account.to_text()), Some(account));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n]{0,200}") {
            let _ = Account::parse(&text);
            let files = Files { passwd: &text, group: &text, shadow: &text };
            let _ = files.account("a");
        }
    }
}
