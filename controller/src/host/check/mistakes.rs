//! Every field of a spec that can't be read, by the name that it has in the spec.
//!
//! A body says its kind in a field, so it is read whole before its fields are looked at, and where it failed is lost;
//! and what refuses a text speaks of what it is (a user, a path), not of whose it is (owner, shell). So each part is
//! read by itself here, and again without the field that was wrong, until nothing is.

use lampas_api::{Finding, Severity};
use lampas_shared::{
    fleet::Scope,
    host::{
        AptSource, CronJob, Directory, Group, HostsEntry, Link, ManagedFile, Package, Script, Service, Sudoers, Sysctl,
        User,
    },
    object::{DriftPolicy, Kind, ObjectName},
    secret::{Secret, Var},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The most mistakes that are told.
const MOST: usize = 16;

/// Returns what is wrong with each field of a spec; nothing when each can be read, or it is no spec at all.
pub(super) fn mistakes(raw: &Value) -> Vec<Finding> {
    let Value::Object(spec) = raw else { return Vec::new() };
    let head = [field::<ObjectName>(spec, "name", true), field::<Scope>(spec, "scope", true)];
    let mut found: Vec<Finding> =
        head.into_iter().chain([field::<DriftPolicy>(spec, "drift", false)]).flatten().collect();
    match spec.get("body") {
        Some(Value::Object(body)) => found.extend(in_body(body)),
        Some(_) => found.push(finding("body", "is no body of an object")),
        None => found.push(finding("body", "missing field `body`")),
    }
    found.truncate(MOST);
    found
}

fn field<T: DeserializeOwned>(spec: &Map<String, Value>, name: &str, is_needed: bool) -> Option<Finding> {
    match spec.get(name) {
        Some(value) => T::deserialize(value).err().map(|e| finding(name, &e.to_string())),
        None => is_needed.then(|| finding(name, &format!("missing field `{name}`"))),
    }
}

fn in_body(body: &Map<String, Value>) -> Vec<Finding> {
    let mut body = body.clone();
    let Some(kind) = body.remove("kind") else { return vec![finding("kind", "missing field `kind`")] };
    let kind = match kind.as_str().map(str::parse::<Kind>) {
        Some(Ok(kind)) => kind,
        Some(Err(error)) => return vec![finding("kind", &error.to_string())],
        None => return vec![finding("kind", "is none of the kinds")],
    };
    let mut found = Vec::new();
    let mut gone: Vec<String> = Vec::new();
    while let Some((at, message)) = wrong(kind, &Value::Object(body.clone())) {
        let is_missing = message.starts_with("missing field `");
        let name = match (at.split(['.', '[']).next(), message.split('`').nth(1)) {
            (Some(name), _) if body.contains_key(name) => name.to_owned(),
            (_, Some(name)) => name.to_owned(),
            _ => String::new(),
        };
        // A field that was taken out because it was wrong is missed here, and by nobody else.
        if is_missing && gone.contains(&name) {
            break;
        }
        found.push(finding(&name, &message));
        if found.len() >= MOST || body.remove(&name).is_none() {
            break;
        }
        gone.push(name);
    }
    found
}

/// Returns where a body of a kind can't be read, and why.
fn wrong(kind: Kind, body: &Value) -> Option<(String, String)> {
    match kind {
        Kind::Hosts => read::<HostsEntry>(body),
        Kind::Cron => read::<CronJob>(body),
        Kind::Script => read::<Script>(body),
        Kind::File => read::<ManagedFile>(body),
        Kind::Directory => read::<Directory>(body),
        Kind::Link => read::<Link>(body),
        Kind::Sudoers => read::<Sudoers>(body),
        Kind::Sysctl => read::<Sysctl>(body),
        Kind::Service => read::<Service>(body),
        Kind::Var => read::<Var>(body),
        Kind::Secret => read::<Secret>(body),
        Kind::User => read::<User>(body),
        Kind::Group => read::<Group>(body),
        Kind::Package => read::<Package>(body),
        Kind::AptSource => read::<AptSource>(body),
        Kind::Unsupported => None,
    }
}

fn read<T: DeserializeOwned>(body: &Value) -> Option<(String, String)> {
    let error = serde_path_to_error::deserialize::<_, T>(body).err()?;
    Some((error.path().to_string(), error.inner().to_string()))
}

/// A text that was refused says `WHAT "value": why`; the field takes the place of what it is.
fn finding(field: &str, message: &str) -> Finding {
    let is_word = |c: char| c.is_ascii_lowercase() || matches!(c, ' ' | '_');
    let message = match message.split_once(" \"") {
        Some((what, rest)) if !field.is_empty() && !what.is_empty() && what.chars().all(is_word) => {
            // Of a scope it is said which part of it is wrong.
            if matches!(field, "scope" | "nodes") { message.to_owned() } else { format!("{field} \"{rest}") }
        }
        _ => message.to_owned(),
    };
    Finding { field: field.to_owned(), line: None, column: None, severity: Severity::Error, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_is_named_as_the_spec_names_it() {
        let check = |body: Value, expected: &[&str]| {
            let found = mistakes(&json!({"name": "x", "scope": "fleet", "body": body}));
            let mut fields: Vec<_> = found.iter().map(|f| f.field.as_str()).collect();
            fields.sort_unstable();
            assert_eq!(fields, expected, "{found:?}");
        };
        let job = json!({"kind": "cron", "schedule": "* * *", "command": "x", "environment": {"A B": "1"}, "user": "no body"});
        check(job, &["environment", "schedule", "user"]);
        check(
            json!({"kind": "file", "path": "/etc/x", "content": "", "owner": "no body", "mode": "9"}),
            &["mode", "owner"],
        );
        check(json!({"kind": "user", "shell": "bash", "home": "x", "uid": "12x"}), &["home", "shell", "uid"]);
        check(json!({"kind": "hosts", "address": "10.0.0.1", "names": ["a", "-b"]}), &["names"]);
        check(json!({"kind": "hosts", "nodes": "role:", "domain": "a b"}), &["domain", "nodes"]);
        check(json!({"kind": "group", "members": ["a b"]}), &["members"]);
        check(json!({"kind": "cron", "schedule": "@daily"}), &["command"]);
        check(json!({"kind": "link", "path": "/a", "target": "b", "more": 1}), &["more"]);
        check(json!({"kind": "link", "path": "/a", "target": "b"}), &[]);
        check(json!({"kind": "nothing"}), &["kind"]);
    }

    #[test]
    fn all_of_them_are_told_in_the_words_of_the_field() {
        let body = json!({"kind": "user", "shell": "bash"});
        let found = mistakes(&json!({"name": "a b", "scope": "role:", "body": body}));
        let fields: Vec<_> = found.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["name", "scope", "shell"]);
        assert!(found[2].message.starts_with("shell \"bash\": "), "{found:?}");
        assert!(found[1].message.starts_with("role \"\": "), "{found:?}");
    }
}
