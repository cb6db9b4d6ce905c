//! Users, groups and their keys below a root, by Debian's own programs.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use lampas_shared::{
    desired::{Resource, Spec},
    host::{self, AuthorizedKey, Ensure, GroupName, UserName},
    object::{Kind, Target},
    report::{ResourceState, Verb},
};

use super::fixture::{Host, file_of, is_root, resource};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrpNzIH4o8yMYp2yuhPq0w5vPDJzbKpWEHSyMjRvAhQ bo@desk";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJgr0UUyLVaaRa5xUsFNvO8jYbPJJ2ZHBmbbrN1K9UzF other";

/// A root with what accounts need; `None` where the tester is not root, who alone may give homes away.
fn host() -> Option<Host> {
    if !is_root() {
        return None;
    }
    let host = Host::new();
    host.make("home");
    host.make("bin");
    host.write("bin/zsh", "");
    host.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    host.write("etc/group", "root:x:0:\nsudo:x:27:\nadm:x:4:\n");
    host.write("etc/shadow", "root:*:19000:0:99999:7:::\n");
    Some(host)
}

fn user(name: &str, json: &str) -> Resource {
    let want: host::User = serde_json::from_str(json).expect("a user");
    want.check(name).expect("is right");
    let user = UserName::parse(name).expect("a name");
    resource(Target::user(&user), Kind::User, name, Spec::User { name: user, want })
}

fn keys(name: &str, keys: &[&str], exclusive: bool) -> Resource {
    let user = UserName::parse(name).expect("a name");
    let keys = keys.iter().map(|k| AuthorizedKey::parse(*k).expect("a key")).collect();
    resource(Target::keys(&user), Kind::User, name, Spec::Keys { user, home: None, keys, exclusive })
}

fn group(name: &str, gid: Option<u32>, ensure: Ensure) -> Resource {
    let group = GroupName::parse(name).expect("a name");
    let target = Target::group(&group);
    resource(target, Kind::Group, name, Spec::Group { name: group, ensure, gid, system: false })
}

fn members(name: &str, users: &[&str]) -> Resource {
    let group = GroupName::parse(name).expect("a name");
    let users = users.iter().map(|u| UserName::parse(*u).expect("a name")).collect();
    resource(Target::members(&group), Kind::Group, name, Spec::Members { group, users })
}

fn line(host: &Host, file: &str, name: &str) -> Option<String> {
    let text = host.text(file)?;
    text.lines().find(|l| l.starts_with(&format!("{name}:"))).map(str::to_owned)
}

#[test]
fn what_belongs_together_is_made_in_one_apply_and_goes_with_its_objects() {
    let Some(mut host) = host() else { return };
    let wanted = [
        user("bo", r#"{"groups": ["adm"], "shell": "/bin/zsh", "comment": "Bo É", "expires": "2040-01-31"}"#),
        keys("bo", &[KEY], false),
        group("ops", Some(1500), Ensure::Present),
        members("ops", &["bo"]),
        file_of("/home/bo/notes", b"hello\n", "bo", 0o600),
    ];
    host.try_apply(&wanted).expect("applies");
    // The membership that came last shows in the account's text from the next look on.
    host.apply(&wanted);
    assert_eq!(line(&host, "etc/passwd", "bo").as_deref(), Some("bo:x:1501:1501:Bo É:/home/bo:/bin/zsh"));
    assert_eq!(line(&host, "etc/group", "ops").as_deref(), Some("ops:x:1500:bo"));
    assert_eq!(line(&host, "etc/group", "adm").as_deref(), Some("adm:x:4:bo"));
    assert!(line(&host, "etc/shadow", "bo").expect("an account").ends_with(":25597:"), "{:?}", host.text("etc/shadow"));
    let file = host.path("home/bo/.ssh/authorized_keys").metadata().expect("keys");
    assert_eq!((file.mode() & 0o7777, file.uid(), file.gid()), (0o600, 1501, 1501));
    let directory = host.path("home/bo/.ssh").metadata().expect("a directory");
    assert_eq!((directory.mode() & 0o7777, directory.uid()), (0o700, 1501));
    assert_eq!(host.path("home/bo/notes").metadata().expect("a file").uid(), 1501);
    assert!(host.text("home/bo/.ssh/authorized_keys").expect("keys").contains(KEY));
    let reports = host.prove(&wanted);
    assert!(reports.iter().all(|r| r.state == ResourceState::Converged), "{reports:?}");
    assert!(reports[0].notes.iter().any(|n| n.starts_with("not proven by getent")), "{reports:?}");

    host.try_apply(&[]).expect("applies");
    assert_eq!(line(&host, "etc/passwd", "bo"), None);
    assert_eq!(line(&host, "etc/group", "bo"), None, "the user's own group goes with the user");
    assert_eq!(line(&host, "etc/group", "ops"), None);
    assert_eq!(line(&host, "etc/group", "adm").as_deref(), Some("adm:x:4:"));
    assert!(host.path("home/bo").is_dir(), "the home stays");
    assert!(!host.path("home/bo/.ssh").exists());
    assert!(host.owned.places.is_empty(), "{:?}", host.owned);
}

#[test]
fn what_stood_before_comes_back_and_a_failed_apply_leaves_nothing() {
    let Some(mut host) = host() else { return };
    let account = "ann:x:1001:1001:Ann:/srv/ann:/bin/sh";
    host.write("etc/passwd", &format!("root:x:0:0:root:/root:/bin/sh\n{account}\n"));
    host.write("etc/group", "root:x:0:\nsudo:x:27:\nadm:x:4:ann\nann:x:1001:\n");
    host.write("etc/shadow", "root:*:19000:0:99999:7:::\nann:$6$abc$def:19000:0:99999:7:::\n");
    let texts = |host: &Host| ["etc/passwd", "etc/group", "etc/shadow"].map(|f| host.text(f));
    let before = texts(&host);
    let wanted = [user("ann", r#"{"groups": ["sudo"], "comment": "", "locked": true}"#)];
    let record = host.apply(&wanted);
    assert_eq!(line(&host, "etc/passwd", "ann").as_deref(), Some("ann:x:1001:1001::/srv/ann:/bin/sh"));
    assert_eq!(line(&host, "etc/group", "adm").as_deref(), Some("adm:x:4:"));
    assert_eq!(line(&host, "etc/shadow", "ann").as_deref(), Some("ann:!$6$abc$def:19000:0:99999:7::1:"));
    host.roll_back(&record);
    assert_eq!(texts(&host), before);
    host.apply(&wanted);
    host.apply(&[]);
    assert_eq!(texts(&host), before, "as before, when the object goes");

    let gone = [user("ann", r#"{"ensure": "absent"}"#)];
    let record = host.apply(&gone);
    assert_eq!(line(&host, "etc/passwd", "ann"), None);
    host.roll_back(&record);
    assert_eq!(line(&host, "etc/passwd", "ann").as_deref(), Some(account));
    let shadow = line(&host, "etc/shadow", "ann").expect("an account");
    assert!(shadow.starts_with("ann:$6$abc$def:"), "with its password: {shadow}");
    host.apply(&gone);
    host.apply(&[]);
    assert_eq!(line(&host, "etc/passwd", "ann"), None, "who was removed on purpose does not come back");
}

#[test]
fn a_change_by_hand_is_drift_and_what_is_left_out_is_not() {
    let Some(mut host) = host() else { return };
    let wanted = [user("bo", r#"{"shell": "/bin/zsh"}"#)];
    host.apply(&wanted);
    let passwd = host.text("etc/passwd").expect("accounts");
    host.write("etc/passwd", &passwd.replace("::/home/bo:", ":Bo by hand:/home/bo:"));
    let plan = host.plan(&wanted);
    assert!(!plan.items[0].is_drifted && plan.items[0].verb.is_none(), "{plan:?}");
    host.apply(&wanted);
    host.write("etc/passwd", &passwd.replace("/bin/zsh", "/bin/sh"));
    let item = host.plan(&wanted).items.remove(0);
    assert!(item.is_drifted && item.verb == Some(Verb::Update), "{item:?}");
    assert!(item.drift_diff.contains("-shell /bin/zsh\n+shell /bin/sh\n"), "{}", item.drift_diff);
}

#[test]
fn what_would_lock_somebody_out_or_leave_files_behind_is_refused() {
    let Some(mut host) = host() else { return };
    let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1001:1001::/home/ann:/bin/sh\n";
    host.write("etc/passwd", passwd);
    host.write("etc/group", "root:x:0:\nsudo:x:27:\nadm:x:4:\nann:x:1001:\n");
    let refused = |host: &Host, resource: &Resource| host.fault(resource).unwrap_or_default();
    assert_eq!(refused(&host, &user("ann", r#"{"uid": 1002}"#)), "account.renumbered");
    assert_eq!(refused(&host, &user("bo", r#"{"uid": 1001}"#)), "account.number_taken");
    assert_eq!(refused(&host, &user("bo", r#"{"groups": ["nobody-has-it"]}"#)), "account.group_unknown");
    assert_eq!(refused(&host, &user("bo", r#"{"shell": "/bin/fish"}"#)), "user.no_shell");
    assert_eq!(refused(&host, &group("ann", None, Ensure::Absent)), "group.is_primary");
    assert_eq!(refused(&host, &group("ann", Some(7), Ensure::Present)), "account.renumbered");
    assert_eq!(refused(&host, &members("adm", &["nobody-has-it"])), "members.user_unknown");
    assert_eq!(refused(&host, &keys("ann", &[KEY], false)), "keys.no_home");
    host.write("etc/passwd", &format!("{passwd}toor:x:0:0::/root:/bin/sh\n"));
    assert_eq!(refused(&host, &user("toor", r#"{"ensure": "absent"}"#)), "user.is_root");
    let both = [members("adm", &["ann"]), user("ann", r#"{"groups": ["adm"]}"#)];
    let plan = host.plan(&both);
    assert_eq!(plan.items.iter().find_map(|i| i.fault.as_ref()).map(|f| f.code.as_str()), Some("user.group_listed"));
    host.apply(&[members("adm", &["ann"])]);
    assert_eq!(host.text("etc/passwd").as_deref(), Some(format!("{passwd}toor:x:0:0::/root:/bin/sh\n").as_str()));
}

#[test]
fn keys_of_others_stay_unless_there_shall_be_no_others() {
    let Some(mut host) = host() else { return };
    let account = user("bo", "{}");
    host.apply(std::slice::from_ref(&account));
    host.make("home/bo/.ssh");
    let path = "home/bo/.ssh/authorized_keys";
    host.write(path, &format!("# by hand\n{OTHER}\n{KEY}\n"));
    for path in ["home/bo/.ssh", path] {
        std::os::unix::fs::chown(host.path(path), Some(1000), Some(1000)).expect("chown");
    }
    let before = host.text(path);
    let kept = [account.clone(), keys("bo", &[KEY], false)];
    host.apply(&kept);
    let text = host.text(path).expect("keys");
    assert!(text.contains(OTHER) && text.contains("# by hand"), "{text}");
    assert_eq!(text.matches(KEY).count(), 1, "the same key by hand gave way: {text}");
    assert_eq!(host.path("home/bo/.ssh").metadata().expect("a directory").permissions().mode() & 0o7777, 0o700);
    host.apply(std::slice::from_ref(&account));
    assert_eq!(host.text(path), before, "all as it was");

    let only = [account.clone(), keys("bo", &[KEY], true)];
    host.apply(&only);
    assert_eq!(host.text(path).as_deref(), Some(format!("{KEY}\n").as_str()));
    // Both ways in one apply, and all as it was at the end.
    let record = host.apply(&kept);
    let text = host.text(path).expect("keys");
    assert!(text.contains(OTHER) && text.contains("# by hand") && text.matches(KEY).count() == 1, "{text}");
    host.roll_back(&record);
    assert_eq!(host.text(path).as_deref(), Some(format!("{KEY}\n").as_str()));
    host.apply(&kept);
    host.apply(&only);
    assert_eq!(host.text(path).as_deref(), Some(format!("{KEY}\n").as_str()));
    crate::host::sweep(&host.root, &host.owned, &[]).expect("swept");
    host.write(path, &format!("{KEY}\n{OTHER}\n"));
    std::os::unix::fs::chown(host.path(path), Some(1000), Some(1000)).expect("chown");
    let wanted = keys("bo", &[KEY], false);
    assert_eq!(host.fault(&wanted).as_deref(), Some("keys.form"), "what was changed by hand is looked at first");
    host.apply(&only);
    host.apply(std::slice::from_ref(&account));
    assert_eq!(host.text(path), before);
}

#[test]
fn who_gets_keys_is_not_told_of_a_password() {
    let Some(host) = host() else { return };
    let account = user("bo", "{}");
    let is_told = |wanted: &[Resource]| {
        let plan = host.plan(wanted);
        let item = plan.item(&account.target).expect("it is planned");
        item.notes.iter().any(|n| n.contains("has no password"))
    };
    assert!(is_told(std::slice::from_ref(&account)));
    assert!(is_told(&[account.clone(), keys("bo", &[], true)]), "none is no way in");
    assert!(!is_told(&[account.clone(), keys("bo", &[KEY], false)]));
}

#[test]
fn no_link_in_a_home_is_followed() {
    let Some(mut host) = host() else { return };
    let account = user("bo", "{}");
    host.apply(std::slice::from_ref(&account));
    host.make("root/.ssh");
    host.write("root/.ssh/authorized_keys", "root's\n");
    let made = std::os::unix::fs::symlink(host.path("root/.ssh"), host.path("home/bo/.ssh"));
    made.expect("a link");
    for exclusive in [false, true] {
        let wanted = [account.clone(), keys("bo", &[KEY], exclusive)];
        let plan = host.plan(&wanted);
        assert!(plan.item(&wanted[1].target).and_then(|i| i.fault.as_ref()).is_some(), "{plan:?}");
        host.try_apply(&wanted).expect("the rest applies");
    }
    assert_eq!(host.text("root/.ssh/authorized_keys").as_deref(), Some("root's\n"));
}

#[test]
fn a_home_goes_only_when_the_object_says_so() {
    let Some(mut host) = host() else { return };
    host.apply(&[user("bo", "{}")]);
    host.write("home/bo/x", "x");
    host.apply(&[user("bo", r#"{"ensure": "absent"}"#)]);
    assert!(host.path("home/bo/x").exists());
    host.apply(&[]);
    host.apply(&[user("bo", r#"{"uid": 1000}"#)]);
    host.apply(&[user("bo", r#"{"ensure": "absent", "remove_home": true}"#)]);
    assert!(!host.path("home/bo").exists());
}
