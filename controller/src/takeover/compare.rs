//! The nodes of a role beside each other: what stands unmanaged, folded by what it is and what it says. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{ComparedItem, ComparedVersion, NodeRef};
use lampas_render::hosts;
use lampas_shared::{
    desired::ContentHash,
    scan::{ForeignFile, Place, Scan},
};
use similar::TextDiff;

use super::{
    import::own_lines,
    read::{about, count, is_public, refusal, show, show_line},
};

/// The longest diff that is shown, in bytes.
const MAX_DIFF: usize = 64 << 10;

/// One version of a thing, with the nodes that have it.
struct Version {
    nodes: Vec<NodeRef>,
    about: String,
    text: Option<String>,
    refusal: String,
    item: String,
    count: u32,
}

/// Folds scans. `may_read` says whether the caller may read what isn't world-readable on the nodes.
pub(super) fn compare(scans: &[(NodeRef, Scan)], may_read: bool) -> Vec<ComparedItem> {
    // By kind and name, then by what tells versions apart.
    let mut found: BTreeMap<(u8, String, String), BTreeMap<String, Version>> = BTreeMap::new();
    for (node, scan) in scans {
        for seen in things(scan, may_read) {
            let versions = found.entry((seen.order, seen.kind, seen.name)).or_default();
            let version = versions.entry(seen.print).or_insert_with(|| Version {
                nodes: Vec::new(),
                about: seen.about,
                text: seen.text,
                refusal: seen.refusal,
                item: seen.item,
                count: seen.count,
            });
            // A node that has two equal lines has them once.
            if version.nodes.last().is_none_or(|last| last.id != node.id) {
                version.nodes.push(node.clone());
            }
        }
    }
    found.into_iter().map(|((_, kind, name), versions)| fold(kind, name, versions, scans)).collect()
}

fn fold(kind: String, name: String, versions: BTreeMap<String, Version>, scans: &[(NodeRef, Scan)]) -> ComparedItem {
    let mut versions: Vec<Version> = versions.into_values().collect();
    // The version of most nodes first; among equals the one of the first node by name.
    versions.sort_by_key(|v| (std::cmp::Reverse(v.nodes.len()), v.nodes.first().map(|n| n.name.clone())));
    let have: BTreeSet<&str> = versions.iter().flat_map(|v| &v.nodes).map(|n| n.name.as_str()).collect();
    let missing: Vec<NodeRef> =
        scans.iter().map(|(node, _)| node).filter(|n| !have.contains(n.name.as_str())).cloned().collect();
    let is_equal = versions.len() == 1 && missing.is_empty();
    let count = versions.first().map_or(1, |v| v.count);
    let first = versions.first().and_then(|v| v.text.clone());
    let shown = versions
        .into_iter()
        .enumerate()
        .map(|(i, v)| ComparedVersion {
            diff: match (i, &first, &v.text) {
                (1.., Some(first), Some(text)) => diff(first, text),
                _ => String::new(),
            },
            content: v.text.filter(|_| i == 0),
            nodes: v.nodes,
            about: v.about,
            item: v.item,
            refusal: v.refusal,
        })
        .collect();
    ComparedItem { kind, name, versions: shown, missing, is_equal, count }
}

/// One thing on one node.
struct Seen {
    order: u8,
    kind: String,
    name: String,
    /// Equal prints are equal things.
    print: String,
    about: String,
    text: Option<String>,
    refusal: String,
    item: String,
    count: u32,
}

fn things(scan: &Scan, may_read: bool) -> Vec<Seen> {
    let mut seen = Vec::new();
    for file in &scan.files {
        if file.place == Place::Hosts {
            seen.extend(hosts_lines(file));
        } else {
            seen.push(file_seen(file, may_read));
        }
    }
    let plain = |order, kind: &str, name: &str, about: String| Seen {
        order,
        kind: kind.to_owned(),
        name: name.to_owned(),
        print: about.clone(),
        about,
        text: None,
        refusal: format!("{kind}s are not imported yet"),
        item: format!("{kind}:{name}"),
        count: 1,
    };
    seen.extend(scan.packages.iter().map(|p| plain(20, "package", &p.name, p.version.clone())));
    seen.extend(
        scan.users.iter().map(|u| {
            plain(21, "user", &u.name, format!("uid {}, groups {}, home {}", u.uid, u.groups.join(" "), u.home))
        }),
    );
    seen
}

fn file_seen(file: &ForeignFile, may_read: bool) -> Seen {
    let found = file.file.as_ref();
    let print = found.map_or_else(
        || format!("{:?} {}", file.link, file.fault),
        |f| format!("{} {} {} {}", f.hash, f.owner, f.group, f.mode),
    );
    let text = found.and_then(|f| f.content.as_deref()).filter(|_| may_read || is_public(file)).map(show);
    Seen {
        order: file.place as u8,
        kind: file.place.as_str().to_owned(),
        name: show_line(&file.path),
        print,
        about: about(file),
        text,
        refusal: refusal(file),
        item: file.path.clone(),
        count: count(file),
    }
}

/// The lines of `/etc/hosts` one by one: two nodes rarely have the same file, and often the same lines.
fn hosts_lines(file: &ForeignFile) -> Vec<Seen> {
    let refused = refusal(file);
    let Some(bytes) = file.file.as_ref().and_then(|f| f.content.as_deref()).filter(|_| refused.is_empty()) else {
        return vec![file_seen(file, false)];
    };
    let line = |line: hosts::HostsLine| {
        let name = line.names.first().map_or_else(String::new, ToString::to_string);
        let text = line.to_string();
        Seen {
            order: Place::Hosts as u8,
            kind: "hosts".to_owned(),
            item: format!("hosts:{name}"),
            print: ContentHash::of(text.as_bytes()).to_string(),
            about: line.address.to_string(),
            text: Some(show(format!("{text}\n").as_bytes())),
            refusal: String::new(),
            count: 1,
            name,
        }
    };
    own_lines(bytes).into_iter().map(line).collect()
}

fn diff(from: &str, to: &str) -> String {
    if from == to {
        return String::new();
    }
    let mut diff = TextDiff::from_lines(from, to).unified_diff().context_radius(3).to_string();
    if diff.len() > MAX_DIFF {
        diff.truncate(diff.floor_char_boundary(MAX_DIFF));
        diff.push_str("\n… the rest is not shown\n");
    }
    diff
}

#[cfg(test)]
mod tests {
    use lampas_shared::{
        host::FileMode,
        id::NodeId,
        report::ObservedFile,
        scan::{ForeignPackage, HumanUser},
        time::UnixMs,
    };

    use super::*;

    fn node(name: &str) -> NodeRef {
        NodeRef { id: lampas_runtime::random::new_id::<NodeId>(), name: name.to_owned() }
    }

    fn file(place: Place, path: &str, content: &str, mode: u32) -> ForeignFile {
        let found = ObservedFile {
            content: Some(content.as_bytes().to_vec()),
            hash: ContentHash::of(content.as_bytes()),
            owner: "root".to_owned(),
            group: "root".to_owned(),
            mode: FileMode::new(mode).expect("a mode"),
            modified_at: UnixMs(0),
            is_writable_by_others: false,
        };
        ForeignFile { place, path: path.to_owned(), file: Some(found), link: None, fault: String::new() }
    }

    fn scan(files: Vec<ForeignFile>) -> Scan {
        Scan { files, ..Scan::default() }
    }

    #[test]
    fn what_is_equal_everywhere_is_told_from_what_differs_and_what_is_only_here() {
        let cron = |text: &str| file(Place::Cron, "/etc/cron.d/backup", text, 0o644);
        let scans = [
            (
                node("web-1"),
                scan(vec![cron("0 3 * * * root a\n"), file(Place::Script, "/usr/local/bin/x", "#", 0o755)]),
            ),
            (
                node("web-2"),
                scan(vec![cron("0 3 * * * root a\n"), file(Place::Script, "/usr/local/bin/x", "#", 0o755)]),
            ),
            (
                node("web-3"),
                scan(vec![cron("0 4 * * * root a\n"), file(Place::Script, "/usr/local/bin/x", "#", 0o755)]),
            ),
        ];
        let items = compare(&scans, true);
        let [cron, script] = items.as_slice() else { panic!("{items:?}") };
        assert!(script.is_equal && script.versions[0].nodes.len() == 3);
        assert!(!cron.is_equal && cron.versions.len() == 2);
        assert_eq!(cron.versions[0].nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["web-1", "web-2"]);
        assert!(cron.versions[1].diff.contains("-0 3 * * * root a\n+0 4 * * * root a\n"));
    }

    #[test]
    fn hosts_are_compared_by_line_and_packages_and_users_by_name() {
        let hosts = |text: &str| file(Place::Hosts, "/etc/hosts", text, 0o644);
        let more = |mut scan: Scan, version: &str| {
            scan.packages.push(ForeignPackage { name: "nginx".into(), version: version.into() });
            let groups = vec!["ann".to_owned()];
            scan.users.push(HumanUser { name: "ann".into(), uid: 1000, groups, home: "/home/ann".into() });
            scan
        };
        let scans = [
            (node("a"), more(scan(vec![hosts("127.0.0.1 localhost\n127.0.1.1 a\n10.0.0.5 db-1\n")]), "1")),
            (node("b"), more(scan(vec![hosts("10.0.0.5   db-1\n10.0.0.6 db-2\n")]), "2")),
        ];
        let items = compare(&scans, true);
        let of = |name: &str| items.iter().find(|i| i.name == name).unwrap_or_else(|| panic!("{name}: {items:?}"));
        assert!(of("db-1").is_equal && !of("db-2").is_equal && of("db-2").missing[0].name == "a");
        assert_eq!((of("nginx").versions.len(), of("ann").is_equal), (2, true));
        assert!(!items.iter().any(|i| i.name == "localhost"), "the system's own lines are nobody's business");
    }

    #[test]
    fn contents_that_may_not_be_read_show_as_different_and_not_as_what() {
        let sudo = |text: &str| file(Place::Sudoers, "/etc/sudoers.d/ops", text, 0o440);
        let scans = [(node("a"), scan(vec![sudo("a\n")])), (node("b"), scan(vec![sudo("b\n")]))];
        let items = compare(&scans, false);
        assert_eq!(items[0].versions.len(), 2);
        assert!(items[0].versions.iter().all(|v| v.diff.is_empty() && v.content.is_none()));
    }
}
