//! Properties of the compiler.

use lampas_shared::{
    desired::{Generation, NodeDesired, Spec},
    time::UnixMs,
};
use proptest::prelude::*;

use super::*;

mod values;

fn node(number: u128, name: &str, roles: &[&str], labels: &[(&str, &str)], address: Option<&str>) -> NodeInput {
    NodeInput {
        id: NodeId::from_uuid(uuid::Uuid::from_u128(number)),
        name: NodeName::parse(name).expect("a name"),
        roles: roles.iter().map(|r| RoleName::parse(*r).expect("a role")).collect(),
        labels: labels.iter().map(|(k, v)| (k.parse().expect("a key"), v.parse().expect("a value"))).collect(),
        facts: StableFacts::default(),
        address: address.map(|a| a.parse().expect("an address")),
    }
}

fn object(number: u128, scope: &str, body: serde_json::Value) -> ObjectInput {
    let spec = serde_json::json!({ "name": format!("o{number}"), "scope": scope, "body": body });
    ObjectInput {
        id: ObjectId::from_uuid(uuid::Uuid::from_u128(number)),
        spec: Arc::new(serde_json::from_value(spec).expect("a spec")),
        provenance: Provenance {
            revision: 1,
            author: "admin".into(),
            at: UnixMs(1),
            reason: String::new(),
            change: 1,
            approval: lampas_shared::desired::Approval::Unknown,
        },
    }
}

fn file(number: u128, scope: &str, path: &str, content: &str) -> ObjectInput {
    object(number, scope, serde_json::json!({ "kind": "file", "path": path, "content": content }))
}

fn hosts(number: u128, scope: &str, address: &str, names: &[&str]) -> ObjectInput {
    object(number, scope, serde_json::json!({ "kind": "hosts", "address": address, "names": names }))
}

fn desired(compiled: &Compiled, node: &NodeInput) -> NodeDesired {
    compiled.desired(node.id, Generation { epoch: 1, counter: 1 }).expect("every node has a state")
}

#[test]
fn a_kernel_setting_is_won_whole_its_file_and_its_value() {
    let web = node(1, "web-1", &["app"], &[], None);
    let setting = |number, scope: &str, key: &str, value: &str| {
        object(number, scope, serde_json::json!({ "kind": "sysctl", "key": key, "value": value }))
    };
    // Another name, so another file; another spelling of the same setting.
    let objects = [
        setting(1, "fleet", "net.ipv4.ip_forward", "0"),
        setting(2, "node:web-1", "net/ipv4/ip_forward", "1"),
        setting(3, "fleet", "vm.swappiness", "10"),
    ];
    let compiled = compile(std::slice::from_ref(&web), &objects);
    assert!(compiled.ties.is_empty());
    let state = desired(&compiled, &web);
    assert_eq!(state.hash, state.compute_hash(), "the shared hash is the state's own");
    let targets: Vec<&str> = state.resources().map(|r| r.target.as_str()).collect();
    assert_eq!(
        targets,
        [
            "kernel:net/ipv4/ip_forward",
            "kernel:vm/swappiness",
            "path:/etc/sysctl.d/60-lampas-o2.conf",
            "path:/etc/sysctl.d/60-lampas-o3.conf"
        ]
    );
    let same = [setting(1, "fleet", "vm.swappiness", "1"), setting(2, "fleet", "vm/swappiness", "2")];
    assert_eq!(compile(&[web], &same).ties.len(), 1, "one setting, two objects of one scope");
}

#[test]
fn the_most_specific_scope_wins_each_target() {
    let web = node(1, "web-1", &["app"], &[("env", "prod")], None);
    let other = node(2, "web-2", &[], &[], None);
    let objects = [
        file(1, "fleet", "/etc/motd", "fleet"),
        file(2, "label:env=prod", "/etc/motd", "selector"),
        file(3, "role:app", "/etc/motd", "role"),
        file(4, "node:web-1", "/etc/motd", "node"),
    ];
    for upto in 1..=4 {
        let compiled = compile(&[web.clone(), other.clone()], &objects[..upto]);
        assert!(compiled.ties.is_empty());
        let state = desired(&compiled, &web);
        let resources: Vec<_> = state.resources().collect();
        assert_eq!(resources.len(), 1);
        assert_eq!(resources[0].object, objects[upto - 1].id);
        assert_eq!(state.hash, state.compute_hash(), "the shared hash is the state's own");
        assert_eq!(desired(&compiled, &other).resources().next().map(|r| r.object), Some(objects[0].id));
        assert_eq!(compiled.overridden_on(objects[0].id).len(), usize::from(upto > 1));
    }
}

#[test]
fn a_hosts_entry_keeps_the_names_that_it_wins() {
    let web = node(1, "web-1", &["app"], &[], None);
    let objects = [hosts(1, "fleet", "10.0.0.1", &["db", "cache"]), hosts(2, "role:app", "10.0.0.2", &["DB"])];
    let compiled = compile(std::slice::from_ref(&web), &objects);
    let state = desired(&compiled, &web);
    let lines: Vec<_> = state
        .resources()
        .map(|r| match &r.spec {
            Spec::Hosts { address, names, .. } => {
                format!("{address} {}", names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(" "))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lines, ["10.0.0.1 cache", "10.0.0.2 DB"]);
    assert_eq!(state.hash, state.compute_hash());
}

#[test]
fn generated_lines_are_those_of_nodes_with_an_address() {
    let nodes = [
        node(1, "db-1", &["database"], &[], Some("10.0.0.1")),
        node(2, "db-2", &["database"], &[], None),
        node(3, "web-1", &["app"], &[], Some("10.0.0.3")),
    ];
    let generated =
        object(1, "fleet", serde_json::json!({ "kind": "hosts", "nodes": "role:database", "domain": "example" }));
    let again = object(2, "fleet", serde_json::json!({ "kind": "hosts", "nodes": "fleet" }));
    let compiled = compile(&nodes, &[generated, again]);
    assert!(compiled.ties.is_empty(), "two lists that say the same of a node agree: {:?}", compiled.ties);
    let state = desired(&compiled, &nodes[2]);
    let targets: Vec<_> = state.resources().map(|r| r.target.to_string()).collect();
    assert_eq!(targets, ["host:db-1.example/inet", "host:web-1/inet"]);
}

#[test]
fn ties_name_both_objects_and_a_node() {
    let both = node(1, "web-1", &["app", "proxy"], &[], None);
    let objects = [file(1, "role:app", "/etc/motd", "a"), file(2, "role:proxy", "/etc/motd", "b")];
    assert!(compile(&[], &objects).ties.is_empty(), "no node has both roles");
    let tie = compile(&[both], &objects).ties.pop().expect("a tie");
    assert_eq!(tie.node.map(|n| n.to_string()).as_deref(), Some("web-1"));
    assert_eq!((tie.first.0, tie.second.0), (objects[0].id, objects[1].id));
    let same = [file(1, "fleet", "/etc/motd", "a"), file(2, "fleet", "/etc/motd", "b")];
    assert_eq!(compile(&[], &same).ties.len(), 1, "the same scope needs no node");
}

#[test]
fn long_contents_are_blobs() {
    let web = node(1, "web-1", &[], &[], None);
    let other = node(2, "web-2", &["app"], &[], None);
    let long = "x".repeat(10_000);
    let compiled = compile(&[web.clone(), other.clone()], &[file(1, "node:web-1", "/etc/long", &long)]);
    let hash = ContentHash::of(long.as_bytes());
    assert_eq!(compiled.blob(web.id, hash).as_deref(), Some(long.as_bytes()));
    assert_eq!(compiled.blob(other.id, hash), None, "nobody gets what is not for them");
}

fn any_fleet() -> impl Strategy<Value = (Vec<NodeInput>, Vec<ObjectInput>)> {
    let nodes =
        prop::collection::vec((prop::sample::subsequence(vec!["app", "db", "proxy"], 0..=2), any::<bool>()), 1..8);
    let scope = prop::sample::select(vec![
        "fleet",
        "label:env=prod",
        "role:app",
        "role:db",
        "role:proxy",
        "node:n0",
        "node:n1",
    ]);
    let objects = prop::collection::vec((scope, 0..4_u8, any::<bool>()), 0..12);
    (nodes, objects).prop_map(|(nodes, objects)| {
        let labels: &[(&str, &str)] = &[("env", "prod")];
        let nodes = nodes
            .iter()
            .enumerate()
            .map(|(i, (roles, prod))| {
                let address = format!("10.0.0.{}", i + 1);
                node(i as u128 + 1, &format!("n{i}"), roles, if *prod { labels } else { &[] }, Some(&address))
            })
            .collect();
        let objects = objects
            .iter()
            .enumerate()
            .map(|(i, (scope, target, is_file))| match is_file {
                true => file(i as u128 + 1, scope, &format!("/etc/f{target}"), &format!("{i}")),
                false => hosts(i as u128 + 1, scope, &format!("10.1.0.{}", i + 1), &[&format!("h{target}"), "shared"]),
            })
            .collect();
        (nodes, objects)
    })
}

proptest! {
    #[test]
    fn the_order_of_the_input_does_not_matter((nodes, objects) in any_fleet(), seed in any::<u64>()) {
        let (mut other_nodes, mut other_objects) = (nodes.clone(), objects.clone());
        other_nodes.rotate_left(seed as usize % nodes.len());
        other_objects.reverse();
        let (one, two) = (compile(&nodes, &objects), compile(&other_nodes, &other_objects));
        for node in &nodes {
            prop_assert_eq!(desired(&one, node), desired(&two, node));
        }
        prop_assert_eq!(one.ties, two.ties);
    }

    #[test]
    fn who_joins_gets_what_compiling_all_would_give((nodes, objects) in any_fleet()) {
        for (index, newcomer) in nodes.iter().enumerate() {
            let newcomer = &NodeInput { address: None, ..newcomer.clone() };
            let mut nodes = nodes.clone();
            nodes[index] = newcomer.clone();
            let mut others = nodes.clone();
            others.remove(index);
            let mut joined = compile(&others, &objects);
            let is_alike = |n: &NodeInput| n.roles == newcomer.roles && n.labels == newcomer.labels;
            if !joined.join(newcomer, &others, &objects) {
                let by_name = objects.iter().any(|o| o.spec.scope.to_string().starts_with("node:"));
                prop_assert!(newcomer.address.is_some() || by_name || !others.iter().any(is_alike));
                continue;
            }
            let whole = compile(&nodes, &objects);
            prop_assert!(!joined.join(newcomer, &others, &objects), "once");
            for node in &nodes {
                prop_assert_eq!(desired(&joined, node), desired(&whole, node));
                prop_assert_eq!(&joined.class(node.id).expect("a class").lost, &whole.class(node.id).expect("a class").lost);
                prop_assert_eq!(&joined.class(node.id).expect("a class").nodes, &whole.class(node.id).expect("a class").nodes);
            }
        }
    }

    #[test]
    fn each_target_goes_to_a_most_specific_claim((nodes, objects) in any_fleet()) {
        let compiled = compile(&nodes, &objects);
        for node in &nodes {
            let state = desired(&compiled, node);
            prop_assert_eq!(state.hash, state.compute_hash());
            let targets: Vec<_> = state.resources().map(|r| &r.target).collect();
            prop_assert!(targets.windows(2).all(|w| w[0] < w[1]), "sorted, each once");
            let in_scope = |o: &&ObjectInput| o.spec.scope.contains(&node.name, &node.roles, &node.labels);
            for resource in state.resources() {
                let claims = objects.iter().filter(in_scope).filter(|o| o.spec.targets().expect("usable").contains(&resource.target));
                let most = claims.map(level).max().expect("the winner claims it");
                prop_assert_eq!(resource.scope.level(), most);
            }
        }
    }
}

#[test]
fn a_users_crontab_is_a_files_or_its_jobs() {
    let web = node(1, "web-1", &["app"], &[], None);
    let job = |number: u128, scope: &str, user: &str, table: &str| {
        let body = serde_json::json!(
            { "kind": "cron", "schedule": "@daily", "command": "true", "user": user, "table": table }
        );
        object(number, scope, body)
    };
    let table = |number: u128, scope: &str| file(number, scope, "/var/spool/cron/crontabs/ann", "");
    let check = |objects: &[ObjectInput], ties: usize, expected: &[&str], lost: &[u128]| {
        for objects in [objects.to_vec(), objects.iter().rev().cloned().collect()] {
            let compiled = compile(std::slice::from_ref(&web), &objects);
            assert_eq!(compiled.ties.len(), ties, "{:?}", compiled.ties);
            if ties == 0 {
                let state = desired(&compiled, &web);
                let targets: Vec<&str> = state.resources().map(|r| r.target.as_str()).collect();
                assert_eq!(targets, expected);
                let losers: BTreeSet<u128> = compiled
                    .class(web.id)
                    .expect("a class")
                    .lost
                    .iter()
                    .map(|l| l.object.as_uuid().as_u128())
                    .collect();
                assert_eq!(losers, lost.iter().copied().collect());
            }
        }
    };
    let (whole, first, second, third) =
        ("path:/var/spool/cron/crontabs/ann", "crontab:ann:o1", "crontab:ann:o2", "crontab:ann:o3");
    // Jobs of all levels have it together.
    let jobs = [job(1, "fleet", "ann", "user"), job(2, "role:app", "ann", "user"), job(3, "fleet", "ann", "user")];
    check(&jobs, 0, &[first, second, third], &[]);
    // Another's table, and files of their own, are nobody's business.
    check(&[job(1, "fleet", "bob", "user"), table(2, "fleet")], 0, &["crontab:bob:o1", whole], &[]);
    check(&[job(1, "fleet", "ann", "system"), table(2, "fleet")], 0, &["cron:o1", whole], &[]);
    // On one level it is a tie, else the more specific one has it.
    check(&[job(1, "fleet", "ann", "user"), table(2, "fleet")], 1, &[], &[]);
    check(&[job(1, "role:app", "ann", "user"), job(3, "fleet", "ann", "user"), table(2, "role:app")], 1, &[], &[]);
    check(
        &[job(1, "fleet", "ann", "user"), job(3, "fleet", "ann", "user"), table(2, "role:app")],
        0,
        &[whole],
        &[1, 3],
    );
    check(&[job(1, "node:web-1", "ann", "user"), table(2, "role:app")], 0, &[first], &[2]);
    let mixed = [job(1, "fleet", "ann", "user"), table(2, "role:app"), job(3, "node:web-1", "ann", "user")];
    check(&mixed, 0, &[first, third], &[2]);
    let tie = &compile(std::slice::from_ref(&web), &[job(1, "fleet", "ann", "user"), table(2, "fleet")]).ties[0];
    let text = tie.to_string();
    assert!(text.contains("is the whole crontab of ann") && text.contains("table = \"system\""), "{text}");
}
