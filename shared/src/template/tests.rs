//! Tests of templates.

use proptest::prelude::*;

use super::*;
use crate::id::SecretValueId;

fn shown(text: &str) -> Result<Vec<String>, String> {
    let template = Template::parse(text).map_err(|e| e.reason)?;
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => format!("{text:?}"),
        Piece::Use(u) => format!("{} {:?} {}", u.source, u.escape, u.line),
    };
    Ok(template.pieces().iter().map(piece).collect())
}

#[test]
fn names_are_read_with_their_lines() {
    let found = shown("a\nb={{ var.db.host }} {{secret.pw | shell}}\n{{fact.hostname|json}}").expect("a template");
    assert_eq!(
        found,
        [r#""a\nb=""#, "var.db.host Raw 2", r#"" ""#, "secret.pw Shell 2", r#""\n""#, "fact.hostname Quoted 3"]
    );
    assert_eq!(shown("{{{{ x }} }}").expect("plain"), [r#""{{ x }} }}""#]);
    assert_eq!(shown("{{{var.a}}}").expect("in braces"), [r#""{""#, "var.a Raw 1", r#""}""#]);
    assert_eq!(shown("").expect("empty"), Vec::<String>::new());
}

#[test]
fn names_are_found_in_what_is_no_template() {
    let found = |text: &str| Template::names(text).map(|u| format!("{} {}", u.source, u.line)).collect::<Vec<_>>();
    assert_eq!(
        found("a\n{{x}} {{ secret.pw | shell }}{{{var.a}}}\n{{{{fact.node}}"),
        ["secret.pw 2", "var.a 2", "fact.node 3"]
    );
    assert_eq!(found("{{var.a {{var.b}}"), ["var.b 1"]);
    for text in ["", "{{", "}}", "{{var.a\n}}", "{{ .Values.x }}", "${{ secrets.A }}", "{% raw %}{{ a.b }}"] {
        assert_eq!(found(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_is_no_name_is_refused_with_its_line() {
    let check = |text: &str, part: &str| {
        let error = shown(text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    };
    check("a\n{{x}}", "line 2 of the template");
    check("{{var.}}", "is empty");
    check("{{var.A}}", "is not allowed");
    check("{{var.a b}}", "is not allowed");
    check("{{secret.x | upper}}", "no way to write a value");
    check("{{fact.uptime}}", "there is no fact uptime; there are node, id");
    check("{{node.name}}", "write it as var.NAME");
    check("{{var.a\n}}", "not closed on their line");
    check("{{var.a}} {{", "not closed");
    check(&"x".repeat(MAX_TEMPLATE_BYTES + 1), "a template has at most");
}

#[test]
fn values_are_written_for_their_place() {
    assert_eq!(Escape::Shell.apply("it's $HOME"), r"'it'\''s $HOME'");
    assert_eq!(Escape::Quoted.apply("a\"\\\n\u{7f}ä"), r#""a\"\\\n\u007fä""#);
    assert_eq!(Escape::Base64.apply("secret"), "c2VjcmV0");
    let read: String = serde_json::from_str(&Escape::Quoted.apply("a\"\\\n\t\u{1}")).expect("JSON");
    assert_eq!(read, "a\"\\\n\t\u{1}");
}

#[test]
fn a_sealed_text_is_put_together_and_says_nothing_of_values() {
    let id = SecretValueId::parse("0190a000-0000-7000-8000-000000000001").expect("an id");
    let base: crate::host::CronJob =
        serde_json::from_value(serde_json::json!({"schedule": "@daily", "command": "true"})).expect("a job");
    let part = Part::Secret { name: ObjectName::parse("pw").expect("a name"), value: id, escape: Escape::Raw };
    let texts = std::collections::BTreeMap::from([("PW".to_owned(), vec![Part::Text("x{{".into()), part])]);
    let sealed = Sealed { base: Box::new(crate::desired::Spec::Cron(base)), texts, fault: None };
    assert_eq!(sealed.template("PW").as_deref(), Some("x{{{{{{secret.pw}}"));
    let fill = |value: &str| sealed.fill(&|_| Ok(value.to_owned()));
    let Ok(crate::desired::Spec::Cron(job)) = fill("hunter2") else { panic!("a job") };
    assert_eq!(job.environment.values().next().map(String::as_str), Some("x{{hunter2"));
    for bad in ["two\nlines", "nul\0", &"x".repeat(5000)] {
        let fault = fill(bad).expect_err("can't stand in an environment");
        assert!(!fault.message.contains(bad) && fault.message.contains("PW"), "{fault:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "([{}| \n.]|var|secret|fact|[a-zä]){0,40}") {
        let _ = Template::parse(&text);
    }

    #[test]
    fn plain_text_comes_back_as_it_was(text in "[{}a \n]{0,40}") {
        let template = Template::parse(&Template::escape(&text)).expect("escaped text is a template");
        let back: String = template.pieces().iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Use(_) => panic!("no name was in it"),
        }).collect();
        prop_assert_eq!(back, text);
    }

    #[test]
    fn a_word_of_the_shell_is_one_word(value in "[ -~\n]{0,20}") {
        let word = Escape::Shell.apply(&value);
        let plain = word.replace(r"'\''", "\u{1}");
        prop_assert!(plain.starts_with('\'') && plain.ends_with('\''));
        prop_assert!(!plain[1..plain.len() - 1].contains('\''));
    }
}
