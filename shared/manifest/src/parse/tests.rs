//! Mistakes as an operator sees them, and manifests that are right.

use lampas_shared::{host::Encoding, object::Target};

use super::*;

fn read(text: &str) -> Result<Vec<ManifestEntry>, ManifestErrors> {
    parse(&[ManifestFile { name: "hello.toml", text }], &NoSources)
}

fn check(text: &str, expected: &[&str]) {
    let errors = read(text).expect_err(text);
    let lines: Vec<_> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(lines, expected, "{text}");
}

const HELLO: &str = r#"[[cron]]
name     = "hello"
scope    = "role:app"
schedule = "*/5 * * * *"
user     = "www-data"
command  = "date +%F\\ %T >> /var/log/hello.log"
"#;

#[test]
fn a_manifest_is_read_with_its_places_and_defaults() {
    let entries = read(&format!("# mine\n{HELLO}")).expect("right");
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.line, entry.key.to_string().as_str()), (2, "cron hello (role:app)"));
    let Some(Body::Cron(job)) = entry.spec.as_ref().map(|spec| &spec.body) else { panic!("{entry:?}") };
    assert_eq!(job.command, "date +%F\\ %T >> /var/log/hello.log");
    assert!(job.enabled && job.environment.is_empty());
}

#[test]
fn a_mistake_says_where_and_what() {
    check(
        &HELLO.replace("*/5 * * * *", "*/5 * * *"),
        &["hello.toml:4: schedule \"*/5 * * *\": 4 fields, cron needs 5 (minute hour day month weekday)"],
    );
}

#[test]
fn all_mistakes_are_reported_together() {
    check(
        r#"[[cron]]
name = "he llo"
shedule = "* * * * *"
user = 5
time_zone = "Europe/Berlln"
environment = { "A-B" = "x", C = 1 }
command = "true"

[[file]]
name = "motd"
scope = "rolle:app"
path = "etc/motd"
mode = 644
content = "x"
source = "../y"
drift = "fix"

[[hosts]]
name = "db"
scope = "fleet"
address = "10.0.0"
names = ["ok", "a!", 3]
"#,
        &[
            "hello.toml:1: scope: is missing; say which nodes it is for: \"fleet\", \"role:NAME\", \"node:NAME\" or \
             \"label:KEY=VALUE\"",
            "hello.toml:1: schedule: is missing; say when it runs, as in \"*/5 * * * *\"",
            "hello.toml:2: name \"he llo\": ' ' is not allowed; use letters, digits, '.', '_' and '-', starting with a \
             letter or digit",
            "hello.toml:3: field \"shedule\": is unknown to a cron; did you mean schedule?",
            "hello.toml:4: user \"5\": write a string in quotes",
            "hello.toml:5: time_zone \"Europe/Berlln\": is not a time zone; did you mean Europe/Berlin?",
            "hello.toml:6: environment \"A-B\": '-' is not allowed; use letters, digits and '_', not starting with a digit",
            "hello.toml:6: environment \"1\": write C as a string in quotes",
            "hello.toml:11: scope \"rolle:app\": write fleet, role:NAME, node:NAME or label:KEY=VALUE",
            "hello.toml:12: path \"etc/motd\": must begin with '/'",
            "hello.toml:13: mode \"644\": write it as a string, in octal: \"0644\"",
            "hello.toml:15: source: give either content or source",
            "hello.toml:16: drift \"fix\": is none of \"hold\", \"report\", \"repair\"",
            "hello.toml:21: address \"10.0.0\": is not an IPv4 or IPv6 address",
            "hello.toml:22: names \"a!\": '!' is not allowed; use letters, digits, '-', '_' and '.'",
            "hello.toml:22: names \"3\": write a string in quotes",
        ],
    );
}

#[test]
fn rules_between_fields_are_checked() {
    check(
        "[[hosts]]\nname = \"x\"\nscope = \"fleet\"\n",
        &["hello.toml:1: address: is missing: give either address and names, or nodes"],
    );
    check(
        &HELLO.replace("\"hello\"", "\"hello.sh\""),
        &[
            "hello.toml:2: name \"hello.sh\": '.' is not allowed; a cron job's name has letters, digits, '_' and '-' only, \
           since cron ignores other files",
        ],
    );
    check(
        "[[script]]\nname = \"x\"\nscope = \"fleet\"\ncontent = \"true\"\n",
        &["hello.toml:4: content \"true\": the first line must name the interpreter, as in #!/bin/sh"],
    );
}

#[test]
fn tables_that_are_unknown_reserved_or_single_are_refused() {
    check("[[crom]]\nname = \"x\"\n", &["hello.toml:1: table \"crom\": is unknown; did you mean [[cron]]?"]);
    check("\n[[node]]\nname = \"x\"\n", &["hello.toml:2: [[node]] can't be managed by a manifest yet"]);
    check("[[role]]\n", &["hello.toml:1: [[role]] can't be managed by a manifest yet"]);
    check("[cron]\nname = \"x\"\n", &["hello.toml:1: write [[cron]] with two brackets: there can be several"]);
    check("cron = [1]\n", &["hello.toml:1: write each cron as a table: [[cron]]"]);
    check(
        "name = \"x\"\n",
        &["hello.toml:1: field \"name\": stands outside of a table; begin with [[cron]], [[file]] and the like"],
    );
}

#[test]
fn what_is_not_toml_is_reported_with_its_line() {
    let errors = read("[[cron]]\nname = \"x\nscope = fleet\n").expect_err("not TOML");
    assert_eq!(errors.0.iter().map(|e| e.line).collect::<Vec<_>>(), [2, 3]);
    assert!(errors.to_string().contains("hello.toml:2: is not TOML: "), "{errors}");
}

#[test]
fn duplicates_name_both_places() {
    check(&format!("{HELLO}\n{HELLO}"), &["hello.toml:8: cron hello (role:app) stands twice; first at hello.toml:1"]);
    let directory =
        |name: &str, scope: &str| format!("[[directory]]\nname = \"{name}\"\nscope = \"{scope}\"\npath = \"/srv/x\"\n");
    check(
        &(directory("a", "fleet") + &directory("b", "fleet")),
        &[
            "hello.toml:5: directory b (fleet) claims path:/srv/x, as directory a (fleet) does at hello.toml:1; on one scope \
           a target belongs to one object",
        ],
    );
    assert!(read(&(directory("a", "fleet") + &directory("a", "role:app"))).is_ok(), "levels override each other");
    let file = |name, text| ManifestFile { name, text };
    let errors = parse(&[file("a.toml", HELLO), file("b.toml", HELLO)], &NoSources).expect_err("twice");
    assert_eq!(errors.to_string(), "b.toml:1: cron hello (role:app) stands twice; first at a.toml:1");
}

#[test]
fn an_absent_object_needs_no_body() {
    let text = "[[cron]]\nname = \"old\"\nscope = \"fleet\"\nstate = \"absent\"\n";
    let entries = read(text).expect("right");
    assert_eq!((entries[0].state(), &entries[0].spec), (State::Absent, &None));
    let renamed = read(&format!("{HELLO}previous_name = \"hi\"\n")).expect("right");
    assert_eq!(renamed[0].previous_name.as_ref().map(ObjectName::as_str), Some("hi"));
}

#[test]
fn a_source_stays_below_the_manifest_s_directory() {
    let script = |source: &str| format!("[[script]]\nname = \"x\"\nscope = \"fleet\"\nsource = \"{source}\"\n");
    let sources = |manifest: &str, source: &str| match (manifest, source) {
        ("fleet/a.toml", "scripts/x") => Ok(b"#!/bin/sh\n".to_vec()),
        ("fleet/a.toml", "latin1") => Ok(vec![b'#', b'!', b'/', 0xe4]),
        _ => Err("there is no such file".to_owned()),
    };
    let read = |source: &str| {
        let text = script(source);
        parse(&[ManifestFile { name: "fleet/a.toml", text: &text }], &sources).map_err(|e| e.to_string())
    };
    assert!(read("scripts/x").is_ok());
    for (source, reason) in [
        ("missing", "source \"missing\": there is no such file"),
        ("/etc/shadow", "must be relative to the manifest"),
        ("../x", "must not have"),
        ("a/../../x", "must not have"),
        ("./x", "must not have"),
        ("latin1", "is not UTF-8, as it must be"),
    ] {
        let error = read(source).expect_err(source);
        assert!(error.starts_with("fleet/a.toml:4: source ") && error.contains(reason), "{error}");
    }
    let file = "[[file]]\nname = \"f\"\nscope = \"fleet\"\npath = \"/etc/f\"\nsource = \"latin1\"\n";
    let entries = parse(&[ManifestFile { name: "fleet/a.toml", text: file }], &sources).expect("right");
    let Some(Body::File(file)) = entries[0].spec.as_ref().map(|s| &s.body) else { panic!("a file") };
    assert_eq!((file.encoding, file.bytes().as_deref()), (Encoding::Base64, Ok(&b"#!/\xe4"[..])));
}

#[test]
fn what_is_too_large_is_refused() {
    let long = "x".repeat((1 << 20) + 1);
    let text = format!("[[file]]\nname = \"f\"\nscope = \"fleet\"\npath = \"/etc/f\"\ncontent = \"{long}\"\n");
    let error = read(&text).expect_err("too long").to_string();
    assert!(error.contains("hello.toml:5: content") && error.contains("at most 1048576"), "{error}");
    let error = read(&" ".repeat(MAX_MANIFEST_BYTES + 1)).expect_err("too long").to_string();
    assert!(error.contains("a manifest has at most"), "{error}");
    let mut many = String::new();
    for i in 0..=MAX_ENTRIES {
        many.push_str(&format!("[[directory]]\nname = \"d{i}\"\nscope = \"fleet\"\npath = \"/srv/d{i}\"\n"));
    }
    let error = read(&many).expect_err("too many").to_string();
    assert!(error.contains("more than 10000 objects"), "{error}");
}

#[test]
fn the_sample_fleet_is_right() {
    let directory = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/sample/fleet"));
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("the sample is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "toml") {
            texts.insert(path.display().to_string(), std::fs::read_to_string(&path).expect("text"));
        }
    }
    let files: Vec<_> = texts.iter().map(|(name, text)| ManifestFile { name, text }).collect();
    let sources = |_: &str, source: &str| std::fs::read(directory.join(source)).map_err(|e| e.to_string());
    let entries = parse(&files, &sources).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(entries.len(), 10);
    let targets: Vec<Target> =
        entries.iter().filter_map(|e| e.spec.as_ref()).flat_map(|s| s.targets().expect("checked")).collect();
    assert!(targets.contains(&Target::path("/etc/motd")));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "(\\[\\[(cron|file|hosts)\\]\\]\n|(name|scope|mode|names|content) = |[ -~\n\"]{0,12}){0,12}") {
        let _ = read(&text);
    }
}
