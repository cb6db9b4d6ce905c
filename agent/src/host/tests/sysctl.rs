//! Kernel settings below a root, and on the machine's own kernel as far as it lets itself be read.

use lampas_shared::{
    desired::{Resource, Spec},
    host::{Sysctl, SysctlKey},
    object::{Kind, ObjectName, Target},
    report::ResourceState,
};

use super::fixture::{Host, file_of, resource};

fn setting(name: &str, key: &str, value: &str) -> [Resource; 2] {
    let sysctl = Sysctl { key: SysctlKey::parse(key).expect("a key"), value: value.to_owned() };
    let path = Sysctl::path_for(name).expect("a path");
    let mut file = file_of(path.as_str(), sysctl.line().as_bytes(), "root", 0o644);
    (file.kind, file.name) = (Kind::Sysctl, ObjectName::parse(name).expect("a name"));
    let spec = Spec::Kernel { key: sysctl.key.clone(), value: sysctl.plain_value() };
    [file, resource(Target::kernel(&sysctl.key), Kind::Sysctl, name, spec)]
}

#[test]
fn below_a_root_the_file_stands_and_the_running_kernel_is_left_alone() {
    let mut host = Host::new();
    host.make("etc/sysctl.d");
    let before = host.picture();
    let wanted = setting("forward", "net.ipv4.ip_forward", "  1 ");
    host.apply(&wanted);
    assert_eq!(host.text("etc/sysctl.d/60-lampas-forward.conf").as_deref(), Some("net.ipv4.ip_forward = 1\n"));
    let reports = host.prove(&wanted);
    assert!(reports.iter().all(|r| r.state == ResourceState::Converged), "{reports:?}");
    assert!(reports[1].notes[0].starts_with("not proven: below --root"), "{reports:?}");
    host.apply(&[]);
    assert_eq!(host.picture(), before);
}

#[test]
fn files_that_win_at_the_next_boot_are_told() {
    let mut host = Host::new();
    host.make("etc/sysctl.d");
    host.make("usr/lib/sysctl.d");
    host.write("etc/sysctl.d/10-first.conf", "net.ipv4.tcp_rmem = 1 2 3\n");
    host.write("etc/sysctl.d/90-same.conf", "net/ipv4/tcp_rmem=4096\t87380  16777216\n");
    host.write("usr/lib/sysctl.d/99-late.conf", "-net.ipv4.tcp_rmem = 9 9 9\n");
    host.write("etc/sysctl.conf", "# net.ipv4.tcp_rmem = 0\nvm.swappiness = 1\n");
    let wanted = setting("rmem", "net.ipv4.tcp_rmem", "4096 87380 16777216");
    host.apply(&wanted);
    let notes = host.prove(&wanted).remove(0).notes;
    let told: Vec<&str> = notes.iter().map(String::as_str).filter(|n| n.starts_with("at the next boot")).collect();
    assert_eq!(told, ["at the next boot /usr/lib/sysctl.d/99-late.conf sets it to 9 9 9"]);
}
