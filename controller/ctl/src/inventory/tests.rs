use proptest::prelude::*;

use super::*;

const INI: &str = "\
# comment
mail ansible_host=10.0.0.9

[web]
web[01:03].example ansible_user=deploy env=prod
web-x:2222 note=\"two words\"

[db]
db-[a:b]

[app:children]
web
db

[app:vars]
dc = fra
env=staging
secret={{ lookup('x') }}
";

const YAML: &str = "\
all:
  vars:
    ntp: pool
  hosts:
    mail: {ansible_host: 10.0.0.9}
  children:
    app:
      vars: {dc: fra, env: staging, secret: !vault 'x'}
      children:
        web:
          hosts:
            web[01:03].example:
              env: prod
        db:
          hosts: {'db-[a:b]': ~}
";

#[test]
fn both_forms_say_the_same() {
    let ini = parse("hosts", INI).expect("reads");
    let yaml = parse("hosts.yml", YAML).expect("reads");
    for inventory in [&ini, &yaml] {
        let web = &inventory.hosts["web02.example"];
        assert_eq!(web.groups.iter().map(String::as_str).collect::<Vec<_>>(), ["app", "web"]);
        assert_eq!((web.vars["env"].as_str(), web.vars["dc"].as_str()), ("prod", "fra"), "a host's own wins");
        assert_eq!(inventory.hosts["db-b"].vars["env"], "staging");
        assert!(inventory.hosts["mail"].groups.is_empty());
        assert_eq!(inventory.notes.len(), 1, "{:?}", inventory.notes);
    }
    assert_eq!(ini.hosts["web-x"].vars["note"], "two words");
    assert_eq!(yaml.hosts["db-a"].vars["ntp"], "pool");
}

#[test]
fn ranges_count_zeros_letters_and_steps() {
    let check = |pattern: &str, expected: &[&str]| {
        assert_eq!(expand(pattern).expect("expands"), expected);
    };
    check("web[08:10]", &["web08", "web09", "web10"]);
    check("r[1:2]n[a:b]", &["r1na", "r1nb", "r2na", "r2nb"]);
    check("x[1:9:4].y", &["x1.y", "x5.y", "x9.y"]);
    check("plain", &["plain"]);
    for bad in ["x[", "x[1]", "x[9:1]", "x[a:Z]", "x[1:999999999]", "x[1:9:0]", "x[1:9999][1:9999]", "x[::]"] {
        assert!(expand(bad).is_err(), "{bad}");
    }
}

#[test]
fn odd_files_are_named_and_end() {
    assert_eq!(parse("x", "[a:children]\nb\n[b:children]\na\n"), Err(InventoryError::Cycle("a".into())));
    assert!(matches!(parse("x", "[a:odd]\n"), Err(InventoryError::Line(1, _))));
    assert!(matches!(parse("x", "h 'open\n"), Err(InventoryError::Line(1, _))));
    assert!(matches!(parse("x.yml", "all: [\n"), Err(InventoryError::Line(..))));
    assert!(matches!(parse("x.yml", "- a\n"), Err(InventoryError::Line(..))));
    assert_eq!(parse("x", &"#".repeat(5 << 20)), Err(InventoryError::TooLong));
    let bomb = "a: &a [x,x]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]\n";
    assert!(parse("x.yml", bomb).expect("ends").hosts.is_empty());
    let deep = format!("all: {}", "{children: {a: ".repeat(100));
    assert!(parse("x.yml", &deep).is_err());
    assert_eq!(parse("x", "").expect("reads"), Inventory::default());
}

proptest! {
    #[test]
    fn any_text_ends(text in "([a-z\\[\\]:0-9= #\"'{}&*!-]{0,40}\n){0,20}") {
        let _ = parse("hosts", &text);
        let _ = parse("hosts.yml", &text);
    }

    #[test]
    fn each_host_of_a_group_has_the_group(names in proptest::collection::btree_set("[a-z]{1,8}", 1..10)) {
        let text = format!("[g]\n{}\n", names.iter().cloned().collect::<Vec<_>>().join("\n"));
        let inventory = parse("hosts", &text).expect("reads");
        prop_assert_eq!(inventory.hosts.keys().cloned().collect::<BTreeSet<_>>(), names);
        prop_assert!(inventory.hosts.values().all(|h| h.groups.contains("g")));
    }
}
