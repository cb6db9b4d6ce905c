//! Users who can make themselves root on this node, by their number or by a group that they are in: what runs as one of
//! them is root code, as a run of theirs is.

use lampas_shared::root_code::{Powerful, leads_to_root};

use crate::{
    config::Paths,
    system::{Account, Accounts, Root},
};

/// Returns why a user is as good as root; `None` when nothing says so.
pub(crate) fn why(accounts: &Accounts, name: &str, account: &Account) -> Option<String> {
    if account.uid == 0 || account.gid == 0 {
        return Some("who is root by number".to_owned());
    }
    let groups = accounts.memberships(name, account.gid);
    groups.iter().find(|(group, _)| leads_to_root(group)).map(|(group, _)| format!("who is in the group {group}"))
}

/// Returns those among the users of a root; anybody may be one when its accounts can't be read. Blocking.
pub(super) fn of(paths: &Paths) -> Powerful {
    let unknown = || Powerful { unknown: Some(UNKNOWN.to_owned()), ..Powerful::default() };
    let Ok(root) = Root::open(paths.root()) else { return unknown() };
    let accounts = root.accounts();
    if accounts.users().next().is_none() {
        return unknown();
    }
    let mut found = Powerful::default();
    for (name, account) in accounts.users() {
        if let Some(why) = why(&accounts, name, account) {
            found.users.insert(name.to_owned(), why);
            found.homes.insert(account.home.clone(), name.to_owned());
        }
    }
    found
}

const UNKNOWN: &str = "who may be as good as root, as the node's accounts can't be read";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_as_good_as_root_is_found_by_number_and_group() {
        let dir = tempfile::tempdir().expect("a directory");
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).expect("made");
        let passwd = "root:x:0:0::/root:/bin/sh\ntoor:x:0:7::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n\
                      ben:x:1001:1001::/home/ben:/bin/sh\neve:x:1002:998::/home/eve:/bin/sh\n";
        std::fs::write(etc.join("passwd"), passwd).expect("written");
        std::fs::write(etc.join("group"), "root:x:0:\nann:x:1000:\nben:x:1001:\ndocker:x:998:\nsudo:x:27:ben\n")
            .expect("written");
        let found = of(&Paths::new(dir.path()));
        let homes: Vec<_> = found.homes.keys().map(String::as_str).collect();
        assert_eq!(homes, ["/home/ben", "/home/eve", "/root"]);
        let found: Vec<_> = found.users.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
        assert_eq!(
            found,
            [
                ("ben", "who is in the group sudo"),
                ("eve", "who is in the group docker"),
                ("root", "who is root by number"),
                ("toor", "who is root by number"),
            ]
        );
    }

    #[test]
    fn anybody_may_be_one_where_accounts_cannot_be_read() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("etc")).expect("made");
        std::fs::write(dir.path().join("etc/passwd"), "").expect("written");
        let found = of(&Paths::new(dir.path()));
        assert!(found.job_of("www-data").is_some() && found.removed("/home/ann/.profile").is_some());
        assert_eq!(found.removed("/srv/app"), None);
    }
}
