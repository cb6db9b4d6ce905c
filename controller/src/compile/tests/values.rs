//! Variables, secrets and templates: who gets what.

use lampas_shared::{
    id::SecretValueId,
    template::{Part, Sealed},
};

use super::*;

fn named(number: u128, name: &str, scope: &str, body: serde_json::Value) -> ObjectInput {
    let mut object = object(number, scope, body);
    let mut spec = ObjectSpec::clone(&object.spec);
    spec.name = name.parse().expect("a name");
    object.spec = Arc::new(spec);
    object
}

fn var(number: u128, name: &str, scope: &str, value: &str) -> ObjectInput {
    named(number, name, scope, serde_json::json!({ "kind": "var", "value": value }))
}

fn value(number: u128) -> SecretValueId {
    SecretValueId::from_uuid(uuid::Uuid::from_u128(number))
}

fn secret(number: u128, name: &str, scope: &str) -> ObjectInput {
    named(number, name, scope, serde_json::json!({ "kind": "secret", "value": value(number) }))
}

fn template(number: u128, scope: &str, path: &str, content: &str) -> ObjectInput {
    let body = serde_json::json!({ "kind": "file", "path": path, "content": content, "template": true });
    object(number, scope, body)
}

fn content(compiled: &Compiled, node: &NodeInput) -> String {
    let state = desired(compiled, node);
    let resource = state.resources().next().expect("one resource");
    match &resource.spec {
        Spec::File { content, .. } => String::from_utf8(content.inline.clone().expect("short")).expect("text"),
        Spec::Sealed(sealed) => sealed.template(Sealed::CONTENT).expect("a file"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_variable_s_most_specific_value_is_put_in() {
    let (web, db) = (node(1, "web-1", &["app"], &[], None), node(2, "db-1", &[], &[], None));
    let objects = [
        var(1, "greeting", "fleet", "hi"),
        var(2, "greeting", "role:app", "it's"),
        template(3, "fleet", "/etc/motd", "say {{var.greeting | shell}} on {{fact.node}}\n"),
    ];
    let compiled = compile(&[web.clone(), db.clone()], &objects);
    assert!(compiled.problems.is_empty() && compiled.ties.is_empty(), "{:?}", compiled.problems);
    assert_eq!(content(&compiled, &web), "say 'it'\\''s' on web-1\n");
    assert_eq!(content(&compiled, &db), "say 'hi' on db-1\n");
    let state = desired(&compiled, &web);
    assert_eq!(state.hash, state.compute_hash(), "the shared hash is the state's own");
    assert_eq!(compiled.effective_on(objects[0].id), [db.id]);
    assert_eq!(compiled.effective_on(objects[1].id), [web.id]);
    assert_eq!(compiled.users(objects[1].id), BTreeMap::from([(objects[2].id, vec![web.id])]));
    let same = [var(1, "a", "fleet", "1"), var(2, "a", "fleet", "2")];
    assert_eq!(compile(&[], &same).ties.len(), 1, "two values of one name and scope");
    assert!(compile(&[web], &[var(1, "a", "fleet", "1"), secret(2, "a", "fleet")]).ties.is_empty(), "apart");
}

#[test]
fn a_secret_stands_as_a_reference_and_only_where_it_is_used() {
    let (web, db) = (node(1, "web-1", &["app"], &[], None), node(2, "db-1", &[], &[], None));
    let objects = [
        secret(1, "pw", "fleet"),
        var(2, "user", "fleet", "app"),
        template(3, "role:app", "/etc/app", "user={{var.user}}\npassword={{secret.pw}}\n"),
    ];
    let compiled = compile(&[web.clone(), db.clone()], &objects);
    assert!(compiled.needs(web.id, value(1)) && !compiled.needs(db.id, value(1)));
    let state = desired(&compiled, &web);
    let Spec::Sealed(sealed) = &state.resources().next().expect("one").spec else { panic!("is sealed") };
    let expected = [
        Part::Text("user=app\npassword=".into()),
        Part::Secret { name: "pw".parse().expect("a name"), value: value(1), escape: Default::default() },
        Part::Text("\n".into()),
    ];
    assert_eq!(sealed.texts[Sealed::CONTENT], expected);
    let before = state.hash;
    let mut rotated = objects.to_vec();
    rotated[0] = named(1, "pw", "fleet", serde_json::json!({ "kind": "secret", "value": value(9) }));
    let after = compile(&[web.clone(), db.clone()], &rotated);
    assert_ne!(after.hash(web.id), Some(before), "a new value is a new state");
    assert_eq!(after.hash(db.id), compiled.hash(db.id), "of who uses it alone");
}

#[test]
fn who_is_not_entitled_is_told_where_and_gets_nothing() {
    let (web, db) = (node(1, "web-1", &["app"], &[], None), node(2, "db-1", &["database"], &[], None));
    let objects = [
        secret(1, "pw", "role:database"),
        secret(2, "other", "fleet"),
        template(3, "fleet", "/etc/app", "{{secret.other}}\n{{secret.pw}}\n"),
        template(4, "role:database", "/etc/none", "{{var.missing}}"),
        template(5, "role:app", "/etc/here", "{{fact.address}} {{fact.codename}}"),
    ];
    let compiled = compile(&[web.clone(), db.clone()], &objects);
    let told: Vec<String> = compiled.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "{told:#?}");
    let expected = "file o3 (fleet) on web-1: line 2 of its content: secret.pw is used, and this node is not entitled \
                    to it: secret pw is for role:database";
    assert!(told.contains(&expected.to_owned()), "{told:#?}");
    assert!(
        told.iter().any(|t| t.contains("there is no var missing; make it: lampasctl var set missing")),
        "{told:#?}"
    );
    assert!(told.iter().any(|t| t.contains("this node has no address")), "{told:#?}");
    assert!(told.iter().any(|t| t.contains("fact.codename of this node is not known yet")), "{told:#?}");
    assert!(!compiled.needs(web.id, value(1)), "it is not entitled");
    assert!(!compiled.needs(web.id, value(2)), "nor does it get the rest of what is blocked");
    assert!(compiled.needs(db.id, value(1)) && compiled.needs(db.id, value(2)));
    let state = desired(&compiled, &web);
    let blocked = state.resources().filter(|r| matches!(&r.spec, Spec::Sealed(s) if s.fault.is_some())).count();
    assert_eq!(blocked, 2, "blocked, and not taken away");
}

#[test]
fn a_password_is_a_part_of_its_account_that_alone_waits_for_its_secret() {
    let (web, db) = (node(1, "web-1", &["app"], &[], None), node(2, "db-1", &[], &[], None));
    let account = |password: &str| {
        named(2, "ann", "fleet", serde_json::json!({ "kind": "user", "shell": "/bin/sh", "password": password }))
    };
    let objects = [secret(1, "pw", "role:app"), account("{{secret.pw}}")];
    let compiled = compile(&[web.clone(), db.clone()], &objects);
    assert!(compiled.needs(web.id, value(1)) && !compiled.needs(db.id, value(1)));
    let part = |node: &NodeInput, compiled: &Compiled| {
        let state = desired(compiled, node);
        let targets: Vec<String> = state.resources().map(|r| r.target.to_string()).collect();
        assert_eq!(targets, ["password:ann", "user:ann"]);
        assert_eq!(state.hash, state.compute_hash(), "the shared hash is the state's own");
        state.resources().next().expect("the password").spec.clone()
    };
    let Spec::Sealed(sealed) = part(&web, &compiled) else { panic!("is sealed") };
    assert_eq!(sealed.template(Sealed::PASSWORD).as_deref(), Some("{{secret.pw}}"));
    let Spec::Sealed(blocked) = part(&db, &compiled) else { panic!("is sealed") };
    assert!(blocked.fault.as_ref().is_some_and(|why| why.contains("its password")), "{blocked:?}");
    let told: Vec<String> = compiled.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "told once, not for each part: {told:#?}");
    let locked = compile(std::slice::from_ref(&web), &[account("locked")]);
    assert!(matches!(part(&web, &locked), Spec::Password { .. }));
    let left = compile(std::slice::from_ref(&web), &[account("unmanaged")]);
    assert_eq!(desired(&left, &web).resources().count(), 1);
}

#[test]
fn a_source_of_packages_is_two_files() {
    let web = node(1, "web-1", &[], &[], None);
    let body = serde_json::json!({
        "kind": "apt_source", "uris": ["https://deb.example.org/debian"], "suites": ["bookworm"], "components": ["main"],
        "key": include_str!("../../../../shared/src/host/apt/test-key.asc"),
    });
    let compiled = compile(std::slice::from_ref(&web), &[named(1, "example", "fleet", body)]);
    let state = desired(&compiled, &web);
    let targets: Vec<String> = state.resources().map(|r| r.target.to_string()).collect();
    let expected = ["path:/etc/apt/keyrings/example.asc", "path:/etc/apt/sources.list.d/example.sources"];
    assert_eq!(targets, expected);
    assert_eq!(state.hash, state.compute_hash(), "the shared hash is the state's own");
}

#[test]
fn the_environment_of_a_job_is_a_template_where_it_says_so() {
    let web = node(1, "web-1", &[], &[], None);
    let job = |template: bool| {
        let environment = serde_json::json!({ "A": "{{var.a}}", "B": "x{{secret.pw}}", "C": "plain" });
        let mut body = serde_json::json!({ "kind": "cron", "schedule": "@daily", "command": "echo {{x}}" });
        body["environment"] = if template { environment } else { serde_json::json!({ "A": "{{var.a}}" }) };
        body["template"] = template.into();
        object(3, "fleet", body)
    };
    let values = [var(1, "a", "fleet", "one"), secret(2, "pw", "fleet")];
    let compiled = compile(std::slice::from_ref(&web), &[values.to_vec(), vec![job(true)]].concat());
    let state = desired(&compiled, &web);
    let Spec::Sealed(sealed) = &state.resources().next().expect("one").spec else { panic!("is sealed") };
    let Spec::Cron(base) = &*sealed.base else { panic!("is a job") };
    let standing: Vec<_> = base.environment.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(
        (standing, base.command.as_str(), base.template),
        (vec!["A=one".into(), "C=plain".into()], "echo {{x}}", false)
    );
    assert_eq!(sealed.texts.keys().collect::<Vec<_>>(), ["B"]);
    let compiled = compile(std::slice::from_ref(&web), &[values.to_vec(), vec![job(false)]].concat());
    let state = desired(&compiled, &web);
    let Spec::Cron(job) = &state.resources().next().expect("one").spec else { panic!("is a job") };
    assert_eq!(job.environment.values().collect::<Vec<_>>(), ["{{var.a}}"], "what says nothing means nothing");
    let compiled = compile(
        std::slice::from_ref(&web),
        &[var(1, "a", "fleet", "two\nlines"), values[1].clone(), {
            let mut body =
                serde_json::json!({ "kind": "cron", "schedule": "@daily", "command": "true", "template": true });
            body["environment"] = serde_json::json!({ "A": "{{var.a}}" });
            object(3, "fleet", body)
        }],
    );
    assert!(compiled.problems[0].to_string().contains("is not one line"), "{:?}", compiled.problems);
}

#[test]
fn long_templates_become_blobs_and_too_long_ones_with_secrets_are_refused() {
    let web = node(1, "web-1", &[], &[], None);
    let long = "x".repeat(10_000);
    let objects = [var(1, "a", "fleet", &long), template(2, "fleet", "/etc/a", "{{var.a}}!")];
    let compiled = compile(std::slice::from_ref(&web), &objects);
    let bytes = format!("{long}!").into_bytes();
    assert_eq!(compiled.blob(web.id, ContentHash::of(&bytes)), Some(bytes));
    let many = "{{var.a}}".repeat(6);
    let objects = [
        var(1, "a", "fleet", &long),
        secret(2, "s", "fleet"),
        template(3, "fleet", "/etc/a", &format!("{many}{{{{secret.s}}}}")),
    ];
    let compiled = compile(std::slice::from_ref(&web), &objects);
    assert!(compiled.problems[0].to_string().contains("longer than 56 KiB"), "{:?}", compiled.problems);
    assert!(!compiled.needs(web.id, value(2)));
}

fn any_values() -> impl Strategy<Value = (Vec<NodeInput>, Vec<ObjectInput>)> {
    let nodes = prop::collection::vec(prop::sample::subsequence(vec!["app", "db"], 0..=2), 1..5);
    let scope = || prop::sample::select(vec!["fleet", "role:app", "role:db", "node:n0", "node:n1"]);
    let secrets = prop::collection::vec((scope(), 0..3_u8), 0..6);
    let files = prop::collection::vec((scope(), 0..3_u8, 0..3_u8, any::<bool>()), 0..6);
    (nodes, secrets, files).prop_map(|(nodes, secrets, files)| {
        let nodes =
            nodes.iter().enumerate().map(|(i, r)| node(i as u128 + 1, &format!("n{i}"), r, &[], None)).collect();
        let mut objects = Vec::new();
        for (scope, name) in secrets {
            let number = objects.len() as u128 + 1;
            objects.push(secret(number, &format!("s{name}"), scope));
        }
        for (scope, path, name, has_fact) in files {
            let number = objects.len() as u128 + 1;
            let fact = if has_fact { "{{fact.node}}" } else { "" };
            objects.push(template(number, scope, &format!("/etc/f{path}"), &format!("{fact}{{{{secret.s{name}}}}}")));
        }
        (nodes, objects)
    })
}

proptest! {
    #[test]
    fn nobody_gets_a_secret_that_is_not_for_it((nodes, objects) in any_values()) {
        let compiled = compile(&nodes, &objects);
        let is_in = |o: &ObjectInput, n: &NodeInput| o.spec.scope.contains(&n.name, &n.roles, &n.labels);
        for node in &nodes {
            let state = desired(&compiled, node);
            prop_assert_eq!(state.hash, state.compute_hash());
            for object in &objects {
                let lampas_shared::object::Body::Secret(secret) = &object.spec.body else { continue };
                let id = secret.value.expect("has one");
                let uses = format!("{{{{secret.{}}}}}", object.spec.name);
                let is_used = objects.iter().any(|o| matches!(&o.spec.body,
                    lampas_shared::object::Body::File(f) if f.content.contains(&uses) && is_in(o, node)));
                if compiled.needs(node.id, id) {
                    prop_assert!(is_in(object, node) && is_used);
                    prop_assert!(compiled.effective_on(object.id).contains(&node.id));
                }
            }
        }
    }

    #[test]
    fn the_order_of_values_and_templates_does_not_matter((nodes, objects) in any_values()) {
        let mut other = objects.clone();
        other.reverse();
        let (one, two) = (compile(&nodes, &objects), compile(&nodes, &other));
        for node in &nodes {
            prop_assert_eq!(desired(&one, node), desired(&two, node));
        }
        prop_assert_eq!(one.problems, two.problems);
    }

    #[test]
    fn who_joins_gets_the_templates_of_its_own_facts((nodes, objects) in any_values()) {
        let (newcomer, others) = nodes.split_last().expect("one at least");
        let mut joined = compile(others, &objects);
        if joined.join(newcomer, others, &objects) {
            let whole = compile(&nodes, &objects);
            for node in &nodes {
                prop_assert_eq!(desired(&joined, node), desired(&whole, node));
            }
        }
    }
}
