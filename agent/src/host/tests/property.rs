//! Any sequence of desired states ends where it should, and the last removal leaves what was there first.

use lampas_shared::desired::Resource;
use proptest::prelude::*;

use super::fixture::{Host, cron, file_of, hosts, link};

fn resources() -> impl Strategy<Value = Vec<Resource>> {
    let files =
        proptest::collection::btree_map(0..4_u8, (0..3_u8, prop_oneof![Just(0o644), Just(0o600), Just(0o755)]), 0..4);
    let lines = proptest::collection::btree_map(0..4_u8, 0..3_u8, 0..4);
    let jobs = proptest::collection::btree_map((0..3_u8, any::<bool>()), 0..60_u8, 0..4);
    (files, lines, jobs, any::<bool>()).prop_map(|(files, lines, jobs, has_link)| {
        let mut all: Vec<Resource> = Vec::new();
        all.extend(files.iter().map(|(n, (text, mode))| {
            file_of(&format!("/etc/f{n}"), format!("text {text}\n").as_bytes(), "root", *mode)
        }));
        all.extend(lines.iter().map(|(n, a)| hosts(&format!("10.0.0.{a}"), &format!("h{n}"))));
        all.extend(jobs.iter().map(|((n, is_user), minute)| {
            let table = if *is_user { r#", "user": "ann", "table": "user""# } else { "" };
            cron(&format!("j{n}"), &format!(r#"{{"schedule": "{minute} * * * *"{table}}}"#))
        }));
        if has_link {
            all.push(link("/etc/l", "f0"));
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn states_come_and_go(
        states in proptest::collection::vec(resources(), 1..4),
        foreign_hosts in "([a-z0-9# .\t]{0,20}\n){0,3}[a-z]{0,5}",
        foreign_file in proptest::option::of("[a-z\n]{0,20}"),
    ) {
        let mut host = Host::new();
        host.write("etc/hosts", &foreign_hosts);
        host.write("var/spool/cron/crontabs/ann", "# mine\n");
        if let Some(text) = &foreign_file {
            host.write("etc/f0", text);
        }
        let before = host.picture();
        for state in &states {
            host.apply(state);
            let record = host.try_apply(&[]).expect("removes");
            let mut gone = host.picture();
            for shared in ["etc/hosts", "var/spool/cron/crontabs/ann"] {
                gone.get_mut(shared).expect("stands").4 = before[shared].4;
            }
            prop_assert_eq!(&gone, &before);
            host.roll_back(&record);
            prop_assert!(host.plan(state).is_empty());
        }
    }
}
