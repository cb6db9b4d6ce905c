//! Units below a root, where systemctl works on files, by the real systemctl; and the order of an apply.

use lampas_shared::{
    desired::{Resource, Spec},
    host::{Aspect, UnitName},
    object::{Kind, Target},
    report::{ResourceState, Verb},
};

use super::fixture::{Host, file, file_of, is_root, resource};
use crate::host::Due;

const UNIT: &str = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";

fn unit(name: &str, aspect: Aspect, is_so: bool) -> Resource {
    let unit = UnitName::of(name).expect("a unit");
    let target = Target::unit(&unit, aspect);
    resource(target, Kind::Service, name, Spec::Unit { unit, aspect, is_so })
}

fn unit_file(name: &str, text: &str) -> Resource {
    let mut file = file_of(&format!("/etc/systemd/system/{name}"), text.as_bytes(), "root", 0o644);
    file.kind = Kind::Service;
    file
}

fn host() -> Option<Host> {
    if !is_root() || !std::path::Path::new("/usr/bin/systemctl").exists() {
        eprintln!("SKIP: no systemctl, or not root; units were not tested");
        return None;
    }
    let host = Host::new();
    host.make("etc/systemd/system");
    host.make("usr/lib/systemd/system");
    for name in ["app", "static"] {
        let text = if name == "static" { "[Service]\nExecStart=/bin/true\n" } else { UNIT };
        host.write(&format!("usr/lib/systemd/system/{name}.service"), text);
    }
    Some(host)
}

fn is_enabled(host: &Host, name: &str) -> bool {
    host.path(&format!("etc/systemd/system/multi-user.target.wants/{name}")).symlink_metadata().is_ok()
}

#[test]
fn below_a_root_units_are_enabled_and_masked_and_go_back() {
    let Some(mut host) = host() else { return };
    let before = host.picture();
    let wanted = [
        unit("app", Aspect::Enabled, true),
        unit("app", Aspect::Running, true),
        unit("junk", Aspect::Masked, true),
        unit_file("own.service", UNIT),
        unit("own", Aspect::Enabled, true),
        unit_file("app.service.d/lampas.conf", "[Service]\nRestart=always\n"),
    ];
    host.apply(&wanted);
    assert!(host.text("etc/systemd/system/app.service.d/lampas.conf").is_some(), "its directory came with it");
    assert!(is_enabled(&host, "app.service") && is_enabled(&host, "own.service"));
    let mask = std::fs::read_link(host.path("etc/systemd/system/junk.service")).expect("a link");
    assert_eq!(mask.as_os_str(), "/dev/null");
    let reports = host.prove(&wanted);
    assert!(reports.iter().all(|r| r.state == ResourceState::Converged), "{reports:?}");
    let running = reports.iter().find(|r| r.target.as_str().ends_with("app.service/running")).expect("a report");
    assert!(running.notes[0].starts_with("not proven: below --root"), "{running:?}");

    // Disabled by hand.
    std::fs::remove_file(host.path("etc/systemd/system/multi-user.target.wants/app.service")).expect("removed");
    let item = host.plan(&wanted).items.into_iter().find(|i| i.path == "unit:app.service/enabled").expect("an item");
    assert!(item.is_drifted && item.drift_diff.contains("-enabled\n+disabled"), "{item:?}");
    assert_eq!(item.verb, Some(Verb::Update));

    host.apply(&wanted);
    host.apply(&[]);
    assert_eq!(host.picture(), before);
}

#[test]
fn what_cannot_be_is_told() {
    let Some(host) = host() else { return };
    assert_eq!(host.fault(&unit("nothing", Aspect::Enabled, true)).as_deref(), Some("service.unknown"));
    assert_eq!(host.fault(&unit("static", Aspect::Enabled, true)).as_deref(), Some("service.not_enableable"));
    assert_eq!(host.fault(&unit("static", Aspect::Enabled, false)), None);
    assert_eq!(host.fault(&unit("nothing", Aspect::Enabled, false)), None);
    assert_eq!(host.fault(&unit("lampas-agent", Aspect::Enabled, false)).as_deref(), Some("service.own"));
    assert_eq!(host.fault(&unit("lampas-agent", Aspect::Masked, true)).as_deref(), Some("service.own"));
    let own = unit_file("lampas-agent.service", UNIT);
    assert_eq!(host.fault(&own).as_deref(), Some("service.own"));
    let ssh = unit("ssh", Aspect::Masked, true);
    let item = host.plan(std::slice::from_ref(&ssh)).items.remove(0);
    assert!(item.fault.is_none() && item.notes[0].contains("a way in for administrators"), "{item:?}");
}

#[test]
fn a_rolled_back_apply_leaves_units_as_they_were() {
    let Some(mut host) = host() else { return };
    let before = host.picture();
    let record = host.apply(&[unit("app", Aspect::Enabled, true), unit("junk", Aspect::Masked, true)]);
    host.roll_back(&record);
    assert_eq!(host.picture(), before);
}

#[test]
fn a_change_names_what_follows_it_and_so_does_its_going() {
    let mut host = Host::new();
    host.make("etc");
    let follow = |path: &str, text: &str, reactions: &[&str]| {
        let on_change = reactions.iter().map(|r| r.parse().expect("a reaction")).collect();
        Resource { on_change, ..file(path, text) }
    };
    let due = |host: &Host, wanted: &[Resource]| {
        let list = Due::of(&host.plan(wanted)).list();
        list.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let both = [
        follow("/etc/a", "1\n", &["reload web", "reload db"]),
        follow("/etc/b", "1\n", &["restart db.service", "reload web"]),
    ];
    let plan = host.plan(&both);
    assert!(plan.items[0].notes.iter().any(|n| n == "then reloads web.service, reloads db.service"), "{plan:?}");
    assert_eq!(due(&host, &both), ["reload web.service", "restart db.service"]);
    host.apply(&both);
    assert!(due(&host, &both).is_empty(), "nothing changes, nothing follows");
    // Another list alone changes no file.
    let other = [follow("/etc/a", "1\n", &["restart web"]), both[1].clone()];
    assert!(due(&host, &other).is_empty());
    host.apply(&other);
    assert_eq!(due(&host, &[both[1].clone()]), ["restart web.service"]);
}
