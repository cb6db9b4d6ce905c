//! What the node says of itself. Below `--root DIR` its files are read below DIR, so that each of many agents on one
//! machine has a name of its own.

use std::{fs, path::Path};

use lampas_shared::{desired::ContentHash, fleet::NodeFacts};

use crate::config::Paths;

/// The longest file that is read for a fact.
const MAX_BYTES: u64 = 64 << 10;

/// Looks. What can't be found out is empty or 0. Blocking.
pub fn gather(paths: &Paths) -> NodeFacts {
    let uname = rustix::system::uname();
    let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
    NodeFacts {
        hostname: host_name(paths),
        os: os(paths),
        kernel: text(uname.release()),
        architecture: text(uname.machine()),
        cpus: std::thread::available_parallelism().map_or(0, |n| n.get() as u32),
        memory_bytes: memory(),
        time_zone: time_zone(paths),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: machine(paths),
        root: paths.root().display().to_string(),
        addresses: addresses(),
        policy: Some(crate::signature::node_policy(paths, &crate::policy::Ruling::of(paths))),
        // The journal says the rest, where there is one.
        pause: None,
        undone_since: None,
    }
}

/// Returns the node's host name: below a root the one in its `/etc/hostname`, else the kernel's.
pub fn host_name(paths: &Paths) -> String {
    let own = (!paths.is_real_root()).then(|| read(&paths.below("/etc/hostname"))).flatten();
    let own = own
        .and_then(|text| text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned));
    let name = own.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    bounded(&name, 253)
}

/// Returns the IANA name of the node's time zone: where `/etc/localtime` points to, what `/etc/timezone` says, or `UTC`.
pub fn time_zone(paths: &Paths) -> String {
    let link = fs::read_link(paths.below("/etc/localtime")).ok();
    let linked = link.and_then(|to| Some(to.to_str()?.split_once("zoneinfo/")?.1.to_owned()));
    let linked = linked.map(|z| z.trim_start_matches("posix/").trim_start_matches("right/").to_owned());
    let named = || read(&paths.below("/etc/timezone")).map(|text| text.trim().to_owned());
    let zone = linked.or_else(named).filter(|z| !z.is_empty() && z.len() <= 64);
    let sane = |z: &String| z.chars().all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c));
    zone.filter(sane).unwrap_or_else(|| "UTC".to_owned())
}

fn os(paths: &Paths) -> String {
    let release = |p: &Path| read(&p.join("etc/os-release")).or_else(|| read(&p.join("usr/lib/os-release")));
    let text = release(paths.root()).or_else(|| release(Path::new("/"))).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    bounded(name.unwrap_or_default().trim_matches(['"', '\'']), 200)
}

fn memory() -> u64 {
    let info = read(Path::new("/proc/meminfo")).unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|t| t.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Hashes the machine-id, which machine-id(5) asks not to send as it is; with the root, so that agents under several
/// roots of one machine don't look like clones.
fn machine(paths: &Paths) -> String {
    let id = read(&paths.below("/etc/machine-id")).or_else(|| read(Path::new("/etc/machine-id"))).unwrap_or_default();
    let id = id.trim();
    if id.is_empty() {
        return String::new();
    }
    let root = if paths.is_real_root() { String::new() } else { paths.root().display().to_string() };
    ContentHash::of(format!("lampas machine/v1\n{id}\n{root}").as_bytes()).to_string()
}

fn addresses() -> Vec<String> {
    let mut found: Vec<std::net::IpAddr> = nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|i| {
            let address = i.address?;
            let v4 = address.as_sockaddr_in().map(|a| std::net::IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| std::net::IpAddr::V6(a.ip())))
        })
        .filter(|a| !a.is_loopback() && !matches!(a, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    found.sort();
    found.dedup();
    found.truncate(32);
    found.iter().map(ToString::to_string).collect()
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn bounded(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_a_root_its_own_files_speak() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path());
        fs::create_dir(dir.path().join("etc")).expect("made");
        fs::write(dir.path().join("etc/hostname"), "# the name\nweb-7\n").expect("written");
        fs::write(dir.path().join("etc/os-release"), "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n").expect("written");
        std::os::unix::fs::symlink("/usr/share/zoneinfo/Europe/Berlin", dir.path().join("etc/localtime"))
            .expect("linked");
        let facts = gather(&paths);
        assert_eq!((facts.hostname.as_str(), facts.os.as_str()), ("web-7", "Debian GNU/Linux 12"));
        assert_eq!(facts.time_zone, "Europe/Berlin");
        assert!(facts.memory_bytes > 0 && facts.cpus > 0 && !facts.kernel.is_empty());
    }

    #[test]
    fn a_hostile_time_zone_is_not_repeated() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("etc")).expect("made");
        fs::write(dir.path().join("etc/timezone"), "Europe/\u{1b}[31mBerlin\n").expect("written");
        assert_eq!(time_zone(&Paths::new(dir.path())), "UTC");
    }
}
