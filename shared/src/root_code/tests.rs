//! Who becomes as good as root by what a node shall be. What resources are root code is tested where policies are judged.

use super::*;
use crate::{
    host::{GroupName, User},
    object::Target,
    testing,
};

fn resource(kind: Kind, spec: Spec) -> Resource {
    testing::resource(Target::path("/x"), kind, "x", spec)
}

fn user(name: &str, groups: &[&str], uid: Option<u32>) -> Resource {
    let groups = groups.iter().map(|g| GroupName::parse(*g).expect("a group")).collect();
    let want = User { groups: Some(groups), uid, ..User::default() };
    resource(Kind::User, Spec::User { name: UserName::parse(name).expect("a user"), want })
}

fn cron(user: &str) -> Resource {
    resource(Kind::Cron, Spec::Cron(testing::cron_job(user)))
}

#[test]
fn who_is_led_into_a_group_of_roots_is_as_good_as_root() {
    let members = Spec::Members {
        group: GroupName::parse("docker").expect("a group"),
        users: vec![UserName::parse("eve").expect("a user")],
    };
    let resources =
        [user("ann", &["app"], None), user("ben", &["app", "sudo"], None), user("toor", &[], Some(0)), cron("ann")];
    let members = resource(Kind::Group, members);
    let found = powerful(resources.iter().chain([&members]));
    let found: Vec<_> = found.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
    let expected =
        [("ben", "who is in the group sudo"), ("eve", "who is in the group docker"), ("toor", "who is root by number")];
    assert_eq!(found, expected);
}

#[test]
fn jobs_of_the_powerful_are_root_code() {
    let powerful = powerful(&[user("ben", &["sudo"], None)]);
    for (of, expected) in [("ann", None), ("ben", Some("a cron job of ben, who is in the group sudo"))] {
        let cron = cron(of);
        assert_eq!(root_code(&cron).or_else(|| job(&powerful, &cron.spec)).as_deref(), expected);
    }
    assert_eq!(root_code(&cron("root")).as_deref(), Some("a cron job of root"));
}
