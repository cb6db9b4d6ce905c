//! Passwords of accounts below a root, by Debian's own chpasswd(8).

use lampas_shared::{
    desired::{Resource, Spec},
    host::{self, PasswordHash, PasswordWant, UserName},
    object::{Kind, Target},
    report::Verb,
};

use super::fixture::{Host, is_root, resource};
use crate::host::{
    Before, Owned, Ownership,
    account::{self, Place},
    kept,
    plan::Put,
};

/// What `mkpasswd -m yescrypt` prints.
const HASH: &str = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";
const NEXT: &str = "$5$abcdefgh$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A root with an account that has a password; `None` where the tester is not root.
fn host() -> Option<Host> {
    if !is_root() {
        return None;
    }
    let host = Host::new();
    host.make("home");
    host.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nann:x:1001:1001:Ann:/srv/ann:/bin/sh\n");
    host.write("etc/group", "root:x:0:\nann:x:1001:\n");
    host.write("etc/shadow", "root:*:19000:0:99999:7:::\nann:$6$abc$def:19000:0:99999:7:::\n");
    Some(host)
}

fn user(name: &str, json: &str) -> Resource {
    let want: host::User = serde_json::from_str(json).expect("a user");
    let user = UserName::parse(name).expect("a name");
    resource(Target::user(&user), Kind::User, name, Spec::User { name: user, want })
}

fn password(name: &str, want: PasswordWant) -> Resource {
    let user = UserName::parse(name).expect("a name");
    resource(Target::password(&user), Kind::User, name, Spec::Password { user, want })
}

fn hash(text: &str, is_locked: bool) -> PasswordWant {
    PasswordWant::Hash { hash: Some(PasswordHash::parse(text).expect("a hash")), is_locked }
}

fn field(host: &Host, name: &str) -> Option<String> {
    let text = host.text("etc/shadow")?;
    let line = text.lines().find(|l| l.starts_with(&format!("{name}:")))?;
    line.split(':').nth(1).map(str::to_owned)
}

#[test]
fn a_password_is_set_rotated_and_comes_back_as_it_was() {
    let Some(mut host) = host() else { return };
    let first = [password("ann", hash(HASH, false))];
    let plan = host.plan(&first);
    let shown = format!("{:?}", plan.actions());
    assert!(!shown.contains("j9T") && !shown.contains("abc$def"), "{shown}");
    assert!(plan.items[0].diff.contains("not shown"), "{shown}");
    let record = host.apply(&first);
    assert_eq!(field(&host, "ann").as_deref(), Some(HASH));
    host.roll_back(&record);
    assert_eq!(field(&host, "ann").as_deref(), Some("$6$abc$def"));
    host.apply(&first);
    host.apply(&[password("ann", hash(NEXT, false))]);
    assert_eq!(field(&host, "ann").as_deref(), Some(NEXT), "rotated");
    host.apply(&[]);
    assert_eq!(field(&host, "ann").as_deref(), Some("$6$abc$def"), "what stood before comes back");
    assert!(host.owned.places.is_empty(), "{:?}", host.owned);
}

#[test]
fn a_locked_password_keeps_what_is_behind_the_lock() {
    let Some(mut host) = host() else { return };
    host.apply(&[password("ann", PasswordWant::Locked), password("root", PasswordWant::Locked)]);
    assert_eq!(field(&host, "ann").as_deref(), Some("!$6$abc$def"));
    assert_eq!(field(&host, "root").as_deref(), Some("*"), "there was none to lock");
    host.apply(&[]);
    assert_eq!(field(&host, "ann").as_deref(), Some("$6$abc$def"));

    // An account that is locked as a whole has its password behind the same lock.
    host.try_apply(&[user("ann", r#"{"locked": true}"#), password("ann", hash(HASH, true))]).expect("applies");
    assert_eq!(field(&host, "ann"), Some(format!("!{HASH}")));
    host.try_apply(&[user("ann", r#"{"locked": false}"#), password("ann", hash(HASH, false))]).expect("applies");
    assert_eq!(field(&host, "ann").as_deref(), Some(HASH));
}

#[test]
fn a_new_account_has_its_password_from_the_start_and_both_go() {
    let Some(mut host) = host() else { return };
    let wanted = [user("bo", "{}"), password("bo", hash(HASH, false))];
    let plan = host.plan(&wanted);
    let notes: Vec<&String> = plan.items.iter().flat_map(|i| &i.notes).collect();
    assert!(!notes.iter().any(|n| n.contains("has no password")), "{notes:?}");
    let record = host.try_apply(&wanted).expect("applies");
    assert_eq!(field(&host, "bo").as_deref(), Some(HASH));
    host.roll_back(&record);
    assert_eq!(field(&host, "bo"), None);
    host.try_apply(&wanted).expect("applies");
    host.apply(&wanted);
    host.try_apply(&[]).expect("applies");
    assert_eq!(field(&host, "bo"), None);
    assert_eq!(host.fault(&password("bo", PasswordWant::Locked)).as_deref(), Some("password.user_unknown"));
}

#[test]
fn a_password_that_somebody_set_is_drift_of_which_nothing_is_shown() {
    let Some(mut host) = host() else { return };
    let wanted = [password("ann", hash(HASH, false))];
    host.apply(&wanted);
    let shadow = host.text("etc/shadow").expect("read");
    host.write("etc/shadow", &shadow.replace(HASH, "$6$byhand$x"));
    let item = host.plan(&wanted).items.remove(0);
    assert!(item.is_drifted && item.verb == Some(Verb::Update), "{item:?}");
    assert!(!format!("{item:?}").contains("byhand"), "{item:?}");
    assert!(item.observed.expect("something stands there").content.is_none());
    host.apply(&wanted);
    assert_eq!(field(&host, "ann").as_deref(), Some(HASH));
    let kept = host.path("var/lib/lampas/agent/kept/by-hand");
    assert!(!kept.exists(), "no copy of a hash for people");
}

#[test]
fn a_password_that_goes_with_its_account_holds_what_was_set_here_and_no_more() {
    let value = |number| lampas_shared::id::SecretValueId::from_uuid(uuid::Uuid::from_u128(number));
    let owned = |number| Owned {
        claims: std::collections::BTreeMap::new(),
        known: std::collections::BTreeSet::new(),
        before: Before::Absent,
        holds_secrets: true,
        values: [value(number)].into(),
    };
    // Nobody's of LAMPAS, one with the value that is purged, one with another.
    for (password, goes) in [(None, false), (Some(1), true), (Some(2), false)] {
        let Some(host) = host() else { return };
        let places = password.map(|number| ("password:ann".to_owned(), owned(number)));
        let owns = Ownership { places: places.into_iter().collect() };
        account::put(&host.root, Place::User("ann"), &Put::Gone, &owns).expect("removed");
        assert_eq!(kept::note(&host.root, "password-ann").as_deref(), Some(&b"$6$abc$def"[..]));
        let mut removed = Vec::new();
        let mut tell = |name: &str| removed.push(name.to_owned());
        kept::purge(&host.root, &Ownership::default(), &[], &[value(1)].into(), &mut tell).expect("purged");
        assert_eq!(kept::note(&host.root, "password-ann").is_none(), goes, "{password:?}");
        assert_eq!(!removed.is_empty(), goes, "{removed:?}");
    }
}
