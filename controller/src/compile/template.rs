//! Templates put together for a node: variables and facts as text, secrets as references to their values.
//!
//! Which variable or secret a name stands for follows the same precedence as everything else. A name that stands for
//! nothing on a node is a [`Problem`], and the resource is blocked there: it is neither written nor taken away.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    check_line,
    desired::{Content, Resource, Spec},
    fleet::NodeName,
    host::{CronJob, Encoding, HostName},
    id::{ObjectId, SecretValueId},
    object::{Body, Kind, ObjectKey, ObjectName},
    template::{Fact, Part, Piece, Sealed, Source, Template, Use},
};

use super::{NodeInput, ObjectInput};

/// What rides along in a state at most, in bytes.
const MAX_SEALED_BYTES: usize = 56 << 10;
/// The longest file, in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// A name that stands for nothing where it is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Who uses it.
    pub object: ObjectId,
    /// The same, for people.
    pub key: ObjectKey,
    /// The field that it stands in.
    pub field: &'static str,
    /// The variable or secret that is meant, if one is.
    pub wanted: Option<(Kind, ObjectName)>,
    /// A node on which it stands for nothing.
    pub node: NodeName,
    /// What is wrong, with the line.
    pub why: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}: {}", self.key, self.node, self.why)
    }
}

/// The names that a class of nodes knows.
#[derive(Default)]
pub(super) struct Names<'a> {
    vars: BTreeMap<&'a ObjectName, (ObjectId, &'a str)>,
    secrets: BTreeMap<&'a ObjectName, (ObjectId, Option<SecretValueId>)>,
}

impl<'a> Names<'a> {
    /// Takes an object in that won its name. Returns whether it is one that has a name.
    pub(super) fn take(&mut self, object: &'a ObjectInput) -> bool {
        match &object.spec.body {
            Body::Var(var) => drop(self.vars.insert(&object.spec.name, (object.id, var.value.as_str()))),
            Body::Secret(secret) => drop(self.secrets.insert(&object.spec.name, (object.id, secret.value))),
            _ => return false,
        }
        true
    }
}

/// What a template became on a node.
pub(super) struct Rendered {
    pub(super) spec: Spec,
    /// A content that is too long to ride along.
    pub(super) blob: Option<Vec<u8>>,
    /// The variables and secrets in it.
    pub(super) uses: BTreeSet<ObjectId>,
    pub(super) problems: Vec<Problem>,
}

/// Returns the templates of an object with their fields; nothing when it has none.
fn templates(body: &Body) -> Vec<(&'static str, &str, &str)> {
    match body {
        Body::File(file) if file.template => vec![("content", Sealed::CONTENT, file.content.as_str())],
        Body::Script(script) if script.template => vec![("content", Sealed::CONTENT, script.content.as_str())],
        Body::Cron(job) if job.template => {
            job.environment.iter().map(|(name, value)| ("environment", name.as_str(), value.as_str())).collect()
        }
        Body::User(user) => {
            let password = user.managed_password().filter(|p| p.secret().is_some());
            password.map(|p| ("password", Sealed::PASSWORD, p.as_str())).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the names in an object's templates.
pub(crate) fn uses(body: &Body) -> BTreeSet<Source> {
    let read = templates(body).into_iter().filter_map(|(_, _, text)| Template::parse(text).ok());
    read.flat_map(|t| t.uses().map(|u| u.source.clone()).collect::<Vec<_>>()).collect()
}

/// So many names of an object are told that nothing fills in; who has more of them means the braces.
const NAMES: usize = 20;

/// A name that stands where nothing puts a value in, and is written as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfilled {
    /// The field that it stands in.
    pub(crate) field: &'static str,
    /// The line of the field.
    pub(crate) line: usize,
    source: Source,
    advice: &'static str,
}

impl std::fmt::Display for Unfilled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { field, source, advice, .. } = self;
        write!(f, "{field} holds {{{{{source}}}}}, which is written as it stands: {advice}")
    }
}

/// Returns the names in an object that nothing puts a value in for, each once a field: braces may be meant, but seldom are.
pub(crate) fn unfilled(body: &Body) -> Vec<Unfilled> {
    const SET: &str = "set template = true to fill it in";
    const COMMAND: &str = "no value is put into a command; set a variable of environment to it, with template = true";
    const UNIT: &str = "no value is put into a unit; name a file by EnvironmentFile= that has template = true";
    let texts: Vec<(&'static str, &str, &'static str)> = match body {
        Body::File(file) if !file.template && file.encoding == Encoding::Utf8 => vec![("content", &file.content, SET)],
        Body::Script(script) if !script.template => vec![("content", &script.content, SET)],
        Body::Cron(job) => {
            let plain = job.environment.values().filter(|_| !job.template);
            let command = ("command", job.command.as_str(), COMMAND);
            std::iter::once(command).chain(plain.map(|value| ("environment", value.as_str(), SET))).collect()
        }
        Body::Service(service) => {
            let texts = [("unit", &service.unit), ("override", &service.drop_in)];
            texts.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?, UNIT))).collect()
        }
        _ => Vec::new(),
    };
    let mut found: Vec<Unfilled> = Vec::new();
    for (field, text, advice) in texts {
        for Use { source, line, .. } in Template::names(text) {
            if found.len() < NAMES && !found.iter().any(|u| u.field == field && u.source == source) {
                found.push(Unfilled { field, line, source, advice });
            }
        }
    }
    found
}

/// Returns the facts in an object's templates; `None` when it has no template.
pub(super) fn facts(body: &Body) -> Option<BTreeSet<Fact>> {
    let found = templates(body);
    if found.is_empty() {
        return None;
    }
    let fact = |source| if let Source::Fact(fact) = source { Some(fact) } else { None };
    Some(uses(body).into_iter().filter_map(fact).collect())
}

/// Returns whether a part of an object is the one that its templates make.
pub(super) fn has_text(spec: &Spec) -> bool {
    !matches!(spec, Spec::User { .. } | Spec::Keys { .. })
}

/// Returns a fact of a node, if it is known and is what it should be.
pub(super) fn fact(node: &NodeInput, fact: Fact) -> Option<String> {
    let word = |text: &str| {
        let is_word = !text.is_empty() && text.len() <= 64;
        let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        (is_word && is_plain).then(|| text.to_owned())
    };
    match fact {
        Fact::Node => Some(node.name.to_string()),
        Fact::Id => Some(node.id.to_string()),
        Fact::Address => node.address.map(|a| a.to_string()),
        Fact::Hostname => HostName::parse(node.facts.hostname.as_str()).ok().map(|name| name.to_string()),
        Fact::Codename => word(&node.facts.codename),
        Fact::Architecture => word(&node.facts.architecture),
    }
}

/// Puts an object's templates together for a node. `all` are the objects of the fleet, for messages.
pub(super) fn render(
    resource: &Resource,
    object: &ObjectInput,
    names: &Names<'_>,
    node: &NodeInput,
    all: &dyn Fn(Kind, &ObjectName) -> Vec<String>,
) -> Rendered {
    let mut maker = Maker { object, names, node, all, uses: BTreeSet::new(), problems: Vec::new() };
    let mut texts: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for (field, name, text) in templates(&object.spec.body) {
        if let Ok(template) = Template::parse(text) {
            texts.insert(name.to_owned(), maker.parts(&template, field));
        }
    }
    let (spec, blob) = maker.finish(resource, texts);
    Rendered { spec, blob, uses: maker.uses, problems: maker.problems }
}

struct Maker<'a> {
    object: &'a ObjectInput,
    names: &'a Names<'a>,
    node: &'a NodeInput,
    all: &'a dyn Fn(Kind, &ObjectName) -> Vec<String>,
    uses: BTreeSet<ObjectId>,
    problems: Vec<Problem>,
}

impl Maker<'_> {
    fn parts(&mut self, template: &Template, field: &'static str) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for piece in template.pieces() {
            let part = match piece {
                Piece::Text(text) => Part::Text(text.clone()),
                Piece::Use(found) => self.part(found, field),
            };
            match (parts.last_mut(), part) {
                (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
                (_, part) => parts.push(part),
            }
        }
        parts
    }

    fn part(&mut self, found: &Use, field: &'static str) -> Part {
        let names = self.names;
        match &found.source {
            Source::Var(name) => {
                if let Some((id, value)) = names.vars.get(name) {
                    self.uses.insert(*id);
                    return Part::Text(found.escape.apply(value));
                }
                self.unknown(found, field, Kind::Var, name);
            }
            Source::Secret(name) => match names.secrets.get(name) {
                Some((id, Some(value))) => {
                    self.uses.insert(*id);
                    return Part::Secret { name: name.clone(), value: *value, escape: found.escape };
                }
                Some((_, None)) => {
                    let why = format!("secret.{name} has no value yet; set it with: lampasctl secret set {name}");
                    self.problem(found.line, field, Some((Kind::Secret, name.clone())), &why);
                }
                None => self.unknown(found, field, Kind::Secret, name),
            },
            Source::Fact(wanted) => {
                if let Some(value) = fact(self.node, *wanted) {
                    return Part::Text(found.escape.apply(&value));
                }
                let why = match wanted {
                    Fact::Address => "this node has no address; give it one: lampasctl node set NODE --address".into(),
                    other => format!("fact.{} of this node is not known yet", other.as_str()),
                };
                self.problem(found.line, field, None, &why);
            }
        }
        Part::Text(String::new())
    }

    fn unknown(&mut self, found: &Use, field: &'static str, kind: Kind, name: &ObjectName) {
        let scopes = (self.all)(kind, name);
        let why = if scopes.is_empty() {
            format!("{} is used, and there is no {kind} {name}; make it: lampasctl {kind} set {name}", found.source)
        } else {
            let scopes = scopes.join(" and for ");
            format!("{} is used, and this node is not entitled to it: {kind} {name} is for {scopes}", found.source)
        };
        self.problem(found.line, field, Some((kind, name.clone())), &why);
    }

    fn problem(&mut self, line: usize, field: &'static str, wanted: Option<(Kind, ObjectName)>, why: &str) {
        let place = if field == "content" { format!("line {line} of its content") } else { format!("its {field}") };
        self.problems.push(Problem {
            object: self.object.id,
            key: self.object.spec.key(),
            field,
            wanted,
            node: self.node.name.clone(),
            why: format!("{place}: {why}"),
        });
    }

    fn finish(&mut self, resource: &Resource, texts: BTreeMap<String, Vec<Part>>) -> (Spec, Option<Vec<u8>>) {
        let plain = |parts: &[Part]| match parts {
            [] => Some(String::new()),
            [Part::Text(text)] => Some(text.clone()),
            _ => None,
        };
        let spec = match &resource.spec {
            Spec::File { path, owner, group, mode, validate, .. } => {
                let file = |content| Spec::File {
                    path: path.clone(),
                    content,
                    owner: owner.clone(),
                    group: group.clone(),
                    mode: *mode,
                    validate: validate.clone(),
                };
                let whole = texts.get(Sealed::CONTENT).and_then(|parts| plain(parts)).map(String::into_bytes);
                match whole.filter(|_| self.problems.is_empty()) {
                    Some(bytes) if bytes.len() <= MAX_FILE_BYTES => {
                        let content = Content::of(&bytes);
                        let blob = content.inline.is_none().then_some(bytes);
                        return (file(content), blob);
                    }
                    Some(_) => {
                        self.problem(1, "content", None, "with its values it is longer than 1 MiB");
                        file(Content::of(b""))
                    }
                    None => file(Content::of(b"")),
                }
            }
            Spec::Cron(job) => {
                let mut job = CronJob { template: false, environment: BTreeMap::new(), ..job.clone() };
                let Body::Cron(own) = &self.object.spec.body else { return (resource.spec.clone(), None) };
                let mut sealed = BTreeMap::new();
                for name in own.environment.keys() {
                    let Some(parts) = texts.get(name.as_str()) else { continue };
                    match plain(parts) {
                        Some(value) if check_line("environment", &value, 4096).is_err() => {
                            let why = format!("the value of {name} is not one line of at most 4,096 bytes");
                            self.problem(1, "environment", None, &why);
                        }
                        Some(value) => drop(job.environment.insert(name.clone(), value)),
                        None => drop(sealed.insert(name.to_string(), parts.clone())),
                    }
                }
                if sealed.is_empty() && self.problems.is_empty() {
                    return (Spec::Cron(job), None);
                }
                return (self.sealed(Spec::Cron(job), sealed), None);
            }
            Spec::Password { .. } => resource.spec.clone(),
            other => return (other.clone(), None),
        };
        (self.sealed(spec, texts), None)
    }

    fn sealed(&mut self, base: Spec, mut texts: BTreeMap<String, Vec<Part>>) -> Spec {
        let length = |part: &Part| match part {
            Part::Text(text) => text.len() + 8,
            Part::Secret { name, .. } => name.as_str().len() + 32,
        };
        if texts.values().flatten().map(length).sum::<usize>() > MAX_SEALED_BYTES {
            self.problem(
                1,
                "content",
                None,
                "with its values it is longer than 56 KiB, which is the most with secrets",
            );
        }
        let fault = self.problems.first().map(|p| p.why.clone());
        if fault.is_some() {
            // Who isn't entitled to one part gets no other.
            texts.clear();
            match base {
                Spec::File { .. } => drop(texts.insert(Sealed::CONTENT.to_owned(), Vec::new())),
                Spec::Password { .. } => drop(texts.insert(Sealed::PASSWORD.to_owned(), Vec::new())),
                _ => {}
            }
        }
        Spec::Sealed(Sealed { base: Box::new(base), texts, fault })
    }
}
