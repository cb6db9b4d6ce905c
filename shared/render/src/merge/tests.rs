//! Tests of the merge.

use std::collections::BTreeMap;

use lampas_shared::{
    id::SecretValueId,
    template::{Part, Source, Use},
};
use proptest::prelude::*;

use super::*;

const VALUE: &str = "hunter2";

struct Values(BTreeMap<&'static str, String>);

impl Values {
    fn new(a: &str, b: &str) -> Self {
        Self(BTreeMap::from([("a", a.to_owned()), ("b", b.to_owned())]))
    }

    fn resolve(&self, found: &Use) -> Result<Part, String> {
        match &found.source {
            Source::Var(name) => {
                let value = self.0.get(name.as_str()).ok_or_else(|| format!("there is no variable {name}"))?;
                Ok(Part::Text(found.escape.apply(value)))
            }
            Source::Secret(name) => {
                let value = SecretValueId::parse("0190a000-0000-7000-8000-000000000001").expect("an id");
                Ok(Part::Secret { name: name.clone(), value, escape: found.escape })
            }
            Source::Fact(_) => Ok(Part::Text("web-1".to_owned())),
        }
    }

    /// The parts as a node has them, with the values of secrets.
    fn filled(&self, template: &str, secret: &str) -> Vec<Filled> {
        let template = Template::parse(template).expect("a template");
        let part = |piece: &lampas_shared::template::Piece| match piece {
            lampas_shared::template::Piece::Text(text) => Filled::new(Part::Text(text.clone()), String::new()),
            lampas_shared::template::Piece::Use(found) => {
                let part = self.resolve(found).expect("known");
                let value = if matches!(part, Part::Secret { .. }) { secret.to_owned() } else { String::new() };
                Filled::new(part, value)
            }
        };
        template.pieces().iter().map(part).collect()
    }

    /// The file on the node.
    fn file(&self, template: &str, secret: &str) -> String {
        let written = |f: &Filled| match sketch_part(f) {
            (Part::Text(text), _) => text,
            (Part::Secret { escape, .. }, value) => escape.apply(&value),
        };
        self.filled(template, secret).iter().map(written).collect()
    }

    fn merge(&self, base: &str, ours: &str, standing: &str) -> Merge {
        let theirs = sketch(&self.filled(base, VALUE), standing.as_bytes()).expect("a text");
        merge(base, ours, &theirs, &|found| self.resolve(found)).expect("merges")
    }
}

fn sketch_part(filled: &Filled) -> (Part, String) {
    filled.clone().into_inner()
}

fn shown(merge: &Merge) -> Vec<String> {
    let part = |part: &MergePart| match part {
        MergePart::Kept(_) => "kept".to_owned(),
        MergePart::Taken { template, node } => format!("taken {template:?} {node:?}"),
        MergePart::Conflict { template, node, why } => format!("{why:?} {template:?} {node:?}"),
    };
    merge.parts.iter().map(part).collect()
}

#[test]
fn an_edit_beside_names_goes_into_the_template() {
    let values = Values::new("db-1", "x");
    let base = "# own\nhost={{var.a}}\nport=5432\npassword={{secret.pw}}\nend\n";
    let merged = values.merge(base, base, "# own\nhost=db-1\nport=6432\ndebug={{1}}\npassword=hunter2\nend\nlast\n");
    assert_eq!(
        merged.text(None).as_deref(),
        Some("# own\nhost={{var.a}}\nport=6432\ndebug={{{{1}}\npassword={{secret.pw}}\nend\nlast\n")
    );
}

#[test]
fn an_edit_of_a_name_is_a_conflict_and_a_value_is_never_shown() {
    let values = Values::new("db-1", "x");
    let base = "host={{var.a}}\npassword={{secret.pw}}\nend\n";
    let merged = values.merge(base, base, "host=db-2\npassword=hunter2\nend\n");
    assert_eq!(shown(&merged), [r#"Name "host={{var.a}}\n" "host=db-2\n""#, "kept"]);
    assert_eq!(merged.text(None), None);
    assert_eq!(merged.text(Some(Side::Node)).as_deref(), Some("host=db-2\npassword={{secret.pw}}\nend\n"));
    assert_eq!(merged.text(Some(Side::Template)).as_deref(), Some(base));
    // Lines that are edited side by side are decided about one by one.
    let side = "host={{var.a}}\nport=1\npassword={{secret.pw}}\nend\n";
    let merged = values.merge(side, side, "host=db-2\nport=2\npassword=other\nend\n");
    assert_eq!(
        shown(&merged),
        [
            r#"Name "host={{var.a}}\n" "host=db-2\n""#,
            r#"taken "port=1\n" "port=2\n""#,
            r#"Hidden "password={{secret.pw}}\n" "{{hidden}}\n""#,
            "kept"
        ]
    );
    let merged = values.merge(base, base, "host=db-1\npassword=correct horse\nend\n#Password = another\n");
    assert_eq!(
        shown(&merged),
        ["kept", r#"Hidden "password={{secret.pw}}\n" "{{hidden}}\n""#, "kept", r#"Hidden "" "{{hidden}}\n""#]
    );
    assert_eq!(merged.text(Some(Side::Node)), None);
    assert!(
        merged
            .marked("web-1")
            .contains("<<<<<<< template\npassword={{secret.pw}}\n=======\n{{hidden}}\n>>>>>>> web-1\n")
    );
}

#[test]
fn what_the_template_became_since_is_merged_or_in_conflict() {
    let values = Values::new("db-1", "x");
    let base = "a=1\nb=2\nhost={{var.a}}\nmid\nc=3\n";
    let ours = "a=10\nb=2\nhost={{var.a}}:5432\nmid\nc=3\n";
    let merged = values.merge(base, ours, "a=1\nb=2\nhost=db-1\nmid\nc=30\n");
    assert_eq!(merged.text(None).as_deref(), Some("a=10\nb=2\nhost={{var.a}}:5432\nmid\nc=30\n"));
    let merged = values.merge(base, ours, "a=11\nb=2\nhost=db-1\nmid\nc=3\n");
    assert_eq!(shown(&merged)[0], r#"Both "a=10\n" "a=11\n""#);
    let merged = values.merge(base, ours, "a=10\nb=2\nhost=db-1\nmid\nc=3\n");
    assert_eq!(merged.text(None).as_deref(), Some(ours));
    // Edits of both sides that touch are not told apart.
    let merged = values.merge(base, ours, "a=1\nb=2\nhost=db-1\nMID\nc=3\n");
    assert_eq!(shown(&merged)[1..], ["kept", r#"Both "host={{var.a}}:5432\nmid\n" "host={{var.a}}\nMID\n""#, "kept"]);
}

#[test]
fn a_key_over_several_lines_stays_hidden_in_parts_too() {
    let values = Values::new("a", "b");
    let template = "begin\n{{secret.key}}\nend\n";
    let key = "first-line\nsecond-line\nthird-line";
    let filled = values.filled(template, key);
    let sketched = |text: &str| sketch(&filled, text.as_bytes()).expect("a text");
    assert_eq!(sketched(&values.file(template, key)), template);
    for (standing, expected) in [
        ("begin\nfirst-line\nsecond-line\nother\nend\n", "begin\n{{hidden}}\nend\n"),
        ("begin\nfirst-line\nsecond-line\nthird-line\nfourth-line\nend\n", "begin\n{{secret.key}}\n{{hidden}}\nend\n"),
        ("begin\nend\nfree\n# second-line\n", "begin\nend\nfree\n{{hidden}}\n"),
        ("begin\nother\nend", "begin\n{{hidden}}\n{{hidden}}"),
    ] {
        let got = sketched(standing);
        assert!(got == expected || !got.contains("other"), "{standing:?}: {got:?}");
        assert!(!key.lines().any(|line| got.contains(line)), "{standing:?}: {got:?}");
    }
    assert_eq!(
        sketched("begin\nfirst-line\nsecond-line\nthird-line\nfourth-line\nend\n"),
        "begin\n{{secret.key}}\n{{hidden}}\nend\n"
    );
}

#[test]
fn what_looks_like_a_line_with_a_secret_is_hidden_wherever_it_stands() {
    let values = Values::new("a", "b");
    let template = "one\nexport DB_PASS={{secret.pw}}\ntwo\n";
    let filled = values.filled(template, VALUE);
    for line in ["DB_PASS=other", "  export X=1", "#db_pass: other", "x='hunter2'", "y=aHVudGVyMg=="] {
        let standing = format!("{line}\n{}", values.file(template, VALUE));
        let got = sketch(&filled, standing.as_bytes()).expect("a text");
        assert_eq!(got, format!("{HIDDEN}\n{template}"), "{line}");
    }
    let standing = format!("free=1\n{}", values.file(template, VALUE));
    assert_eq!(sketch(&filled, standing.as_bytes()), Some(format!("free=1\n{template}")));
}

#[test]
fn what_is_no_text_is_not_sketched() {
    let values = Values::new("a", "b");
    assert_eq!(sketch(&values.filled("a\n", VALUE), b"\xff"), None);
    assert_eq!(sketch(&values.filled("a\n", VALUE), b"a\0"), None);
    let error = merge("{{var.c}}\n", "{{var.c}}\n", "x\n", &|found| values.resolve(found)).expect_err("unknown");
    assert!(error.contains("no variable c"), "{error}");
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-c{} =]{0,3}".prop_map(|text| Template::escape(&text)),
        2 => "[a-c=]{0,2}\\{\\{var\\.[ab]\\}\\}[a-c]{0,2}",
        1 => "[a-c=]{0,2}\\{\\{secret\\.pw( \\| (shell|json|base64))?\\}\\}",
    ]
}

fn template() -> impl Strategy<Value = String> {
    (prop::collection::vec(line(), 0..8), any::<bool>()).prop_map(|(lines, ends)| {
        let text = lines.join("\n");
        if ends && !text.is_empty() { format!("{text}\n") } else { text }
    })
}

/// Edits of lines: what is put before a line, and whether the line goes.
fn edited(text: &str, edits: &[(usize, Option<String>, bool)]) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for (at, put, goes) in edits {
        let at = at % (lines.len() + 1);
        if *goes && at < lines.len() {
            lines.remove(at);
        }
        if let Some(put) = put {
            lines.insert(at, format!("{put}\n"));
        }
    }
    lines.concat()
}

fn edits() -> impl Strategy<Value = Vec<(usize, Option<String>, bool)>> {
    prop::collection::vec((any::<usize>(), prop::option::of("[a-d{} ]{0,4}"), any::<bool>()), 0..4)
}

fn value() -> impl Strategy<Value = String> {
    "[a-c{}\n]{0,4}"
}

proptest! {
    #[test]
    fn without_an_edit_the_template_stays(template in template(), a in value(), b in value()) {
        let values = Values::new(&a, &b);
        let standing = values.file(&template, VALUE);
        let merged = values.merge(&template, &template, &standing);
        prop_assert_eq!(merged.text(None), Some(template));
    }

    #[test]
    fn what_merges_by_itself_is_what_stands_on_the_node(
        template in template(), a in value(), b in value(), edits in edits(),
    ) {
        let values = Values::new(&a, &b);
        let standing = edited(&values.file(&template, VALUE), &edits);
        let merged = values.merge(&template, &template, &standing);
        if let Some(text) = merged.text(None).or_else(|| merged.text(Some(Side::Node))) {
            prop_assert_eq!(values.file(&text, VALUE), standing);
        }
    }

    #[test]
    fn edits_outside_of_names_make_no_conflict(
        names in prop::collection::vec(0..3_usize, 1..8), at in any::<usize>(), put in "[d-g]{1,5}",
    ) {
        // Lines that differ, each second one plain: which line was edited is beyond doubt.
        let line = |(index, sort): (usize, &usize)| match sort {
            0 => format!("plain{index}\nfix{index}={{{{var.a}}}}\n"),
            1 => format!("plain{index}\nfix{index}={{{{secret.pw}}}}\n"),
            _ => format!("plain{index}\nfix{index}\n"),
        };
        let template: String = names.iter().enumerate().map(line).collect();
        let values = Values::new("one\ntwo", "b");
        let at = at % names.len();
        let standing = values.file(&template, VALUE).replace(&format!("plain{at}\n"), &format!("{put}\n"));
        let merged = values.merge(&template, &template, &standing);
        let expected = template.replace(&format!("plain{at}\n"), &format!("{put}\n"));
        prop_assert_eq!(merged.text(None), Some(expected));
    }

    #[test]
    fn a_sketch_never_holds_the_value(template in template(), edits in edits(), cut in any::<usize>()) {
        let values = Values::new("a", "b");
        let file = values.file(&template, VALUE);
        // Lines are also copied about.
        let lines: Vec<&str> = file.split_inclusive('\n').collect();
        let copied = lines.get(cut % (lines.len() + 1)).copied().unwrap_or_default();
        let standing = format!("{copied}# {copied}{}", edited(&file, &edits));
        let got = sketch(&values.filled(&template, VALUE), standing.as_bytes()).expect("a text");
        prop_assert!(!got.contains(VALUE), "{}", got);
        prop_assert!(!got.contains("aHVudGVyMg=="), "{}", got);
    }

    #[test]
    fn merging_with_a_template_that_moved_never_panics(
        base in template(), ours in template(), edits in edits(),
    ) {
        let values = Values::new("a", "b\nc");
        let standing = edited(&values.file(&base, VALUE), &edits);
        let merged = values.merge(&base, &ours, &standing);
        let template = |part: &MergePart| match part {
            MergePart::Kept(text) => text.clone(),
            MergePart::Taken { template, .. } | MergePart::Conflict { template, .. } => template.clone(),
        };
        // The template's side of all pieces is the template.
        let kept: String = merged.parts.iter().map(template).collect();
        prop_assert_eq!(kept, ours);
    }
}

#[test]
fn a_text_that_says_hidden_itself_hides_nothing() {
    let values = Values::new("A", "B");
    let merge = values.merge("one\ntwo\n", "one\ntwo\n", "one\n{{hidden}}\nx {{hidden}}\n");
    assert_eq!(merge.conflicts(), 0, "{:?}", shown(&merge));
    let text = merge.text(None).expect("merges");
    assert_eq!(text, "one\n{{{{hidden}}\nx {{{{hidden}}\n");
    assert!(!hides(&text) && hides(&format!("one\n{HIDDEN}\n")));
}
