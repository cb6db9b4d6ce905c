//! Who has full rights, by the rules of sudoers(5).

use proptest::prelude::*;

use super::*;

fn person(name: &str, uid: u32, groups: &[(&str, u32)]) -> Person {
    Person { name: name.into(), uid, groups: groups.iter().map(|(n, g)| ((*n).to_owned(), *g)).collect() }
}

fn file(path: &str, text: &str) -> SudoersFile {
    SudoersFile { path: path.into(), text: text.into() }
}

fn admins(text: &str) -> Vec<String> {
    let people = [
        person("root", 0, &[("root", 0)]),
        person("ann", 1000, &[("ann", 1000), ("sudo", 27)]),
        person("bob", 1001, &[("bob", 1001)]),
    ];
    administrators(&[file("/etc/sudoers", text)], &people, "web-1.example").into_iter().collect()
}

#[test]
fn who_may_run_everything_as_root_is_found() {
    let check = |text: &str, expected: &[&str]| assert_eq!(admins(text), expected, "{text}");
    check("root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n", &["ann"]);
    check("bob ALL=(ALL) NOPASSWD: ALL\n", &["bob"]);
    check("bob ALL=(ALL) NOPASSWD:SETENV: ALL\n", &["bob"]);
    check("bob ALL = ALL", &["bob"]);
    check("#1001 ALL=(root) ALL # the second\n", &["bob"]);
    check("%#27 ALL=(ALL) ALL", &["ann"]);
    check("ann, bob ALL=(ALL) ALL", &["ann", "bob"]);
    check("ann , bob ALL=(ALL) ALL", &["ann", "bob"]);
    check("ALL, !ann ALL=(ALL) ALL", &["bob"]);
    check("ALL,!bob ALL=(ALL) ALL", &["ann"]);
    check("User_Alias ADMINS = ann, \\\n  bob : OTHERS = x\nADMINS ALL=(ALL) ALL", &["ann", "bob"]);
    check("Runas_Alias R = root\nCmnd_Alias C = ALL\nbob ALL=(R) C", &["bob"]);
    check("bob web-1=(ALL) ALL", &["bob"]);
    check("bob web-2=(ALL) ALL", &[]);
    check("bob web-2=(ALL) ALL : web-1=(ALL) ALL", &["bob"]);
    check("bob ALL=(www-data) ALL", &[]);
    check("bob ALL=(www-data) /bin/ls, (root) ALL", &["bob"]);
    check("bob ALL=(ALL) /bin/sh, /bin/ls", &[]);
    check("bob ALL=(ALL) ALL, !/bin/su", &["bob"]);
    check("bob ALL=(ALL) ALL\nbob ALL=(ALL) !ALL", &[]);
    check("bob ALL=(ALL) CWD=/tmp TIMEOUT=5m NOPASSWD: ALL", &["bob"]);
    check("# bob ALL=(ALL) ALL\nDefaults:bob !requiretty\n", &[]);
    check("%ldap-admins ALL=(ALL) ALL\n+net ALL=(ALL) ALL", &["%ldap-admins", "+net"]);
    check("User_Alias A = B\nUser_Alias B = A\nA ALL=(ALL) ALL", &[]);
    check("this is = not : a (rule", &[]);
}

#[test]
fn what_is_taken_in_is_found() {
    let found =
        includes("@includedir /etc/sudoers.d\n# include x\n#include \"/etc/a b\"\n  @include c\\ d\n#includes\n");
    let found: Vec<_> = found.into_iter().map(|i| (i.line, i.path, i.is_directory)).collect();
    let expected = [(0, "/etc/sudoers.d", true), (2, "/etc/a b", false), (3, "c d", false)];
    assert_eq!(found, expected.map(|(l, p, d)| (l, p.to_owned(), d)));
    assert_eq!(["admins", "a.conf", "a~"].map(is_read), [true, false, false]);
}

#[test]
fn an_alias_that_two_files_define_names_both() {
    let files = [
        file("/etc/sudoers.d/a", "# x\nUser_Alias OPS = ann\nHost_Alias OPS = web\n"),
        file("/etc/sudoers.d/b", "User_Alias X = c : OPS = bob\n"),
    ];
    let expected = vec!["/etc/sudoers.d/a:2".to_owned(), "/etc/sudoers.d/b:1".to_owned()];
    assert_eq!(clashes(&files), BTreeMap::from([("OPS".to_owned(), expected)]));
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "[ -~\\n\\tä]{0,200}") {
        admins(&text);
        includes(&text);
        clashes(&[file("/a", &text), file("/b", &text)]);
    }

    #[test]
    fn comments_and_continued_lines_change_nothing(name in "[a-z]{3}", tag in "(NOPASSWD: )?") {
        let people = [person(&name, 1000, &[])];
        let plain = format!("{name} ALL=(ALL) {tag}ALL\n");
        let broken = format!("# {name}\n{name} \\\n\tALL=(ALL) \\\n {tag}ALL # all\n\n");
        let of = |text: &str| administrators(&[file("/a", text)], &people, "h");
        prop_assert_eq!(of(&plain), of(&broken));
        prop_assert_eq!(of(&plain).len(), 1);
    }
}
