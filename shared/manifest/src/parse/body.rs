//! Reading the fields of each kind.

use std::net::IpAddr;

use lampas_render::Zone;
use lampas_shared::{
    TextError,
    host::{
        CheckCommand, CronJob, CronTable, Directory, Encoding, FileMode, GroupName, HostsEntry, Link, ManagedFile,
        Script, Service, Sudoers, Sysctl, TimeZoneName, UserName, Validator,
    },
    object::{Body, DriftPolicy, Kind},
    operation::Parameter,
    secret::{Secret, Var},
};
use toml::de::DeValue;

use super::{Sources, account, check_source_path, table::TableReader};

pub(super) const DRIFT: [(&str, DriftPolicy); 3] =
    [("hold", DriftPolicy::Hold), ("report", DriftPolicy::Report), ("repair", DriftPolicy::Repair)];

pub(crate) const VALIDATORS: [(&str, Validator); 4] = [
    ("script", Validator::Script),
    ("json", Validator::Json),
    ("toml", Validator::Toml),
    ("sudoers", Validator::Sudoers),
];

/// Returns the fields of a kind, in the order in which they are written.
pub(super) fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Cron => &[
            "schedule",
            "user",
            "command",
            "environment",
            "mailto",
            "time_zone",
            "table",
            "timeout_secs",
            "enabled",
            "template",
        ],
        Kind::Hosts => &["address", "names", "nodes", "domain", "comment"],
        Kind::Script => &["path", "content", "source", "owner", "group", "mode", "parameters", "on_change", "template"],
        Kind::File => {
            &["path", "content", "source", "encoding", "owner", "group", "mode", "validate", "on_change", "template"]
        }
        Kind::Directory => &["path", "owner", "group", "mode"],
        Kind::Link => &["path", "target", "on_change"],
        Kind::Sudoers => &["content", "source"],
        Kind::Sysctl => &["key", "value"],
        Kind::Service => &["unit_name", "enabled", "running", "masked", "unit", "override", "on_change"],
        Kind::Var => &["value", "description"],
        Kind::Secret => &["value", "description"],
        Kind::User => &account::USER,
        Kind::Group => &account::GROUP,
        Kind::Package => &account::PACKAGE,
        Kind::AptSource => &account::APT_SOURCE,
        Kind::Unsupported => &[],
    }
}

/// Reads the body; `None` when something that it needs is missing or wrong, which is noted.
pub(super) fn read(kind: Kind, reader: &mut TableReader<'_>, sources: &dyn Sources) -> Option<Body> {
    match kind {
        Kind::Cron => cron(reader).map(Body::Cron),
        Kind::Hosts => Some(Body::Hosts(hosts(reader))),
        Kind::Script => script(reader, sources).map(Body::Script),
        Kind::File => file(reader, sources).map(Body::File),
        Kind::Directory => {
            let path = reader.required("path", PATH_HINT);
            let (owner, group, mode) = access(reader, 0o755);
            Some(Body::Directory(Directory { path: path?, owner, group, mode }))
        }
        Kind::Link => {
            let path = reader.required("path", PATH_HINT);
            let target = reader.text("target");
            if !reader.has("target") {
                reader.mistake_at("target", "target: is missing; say what the link points to".into());
            }
            let on_change = reader.list("on_change").unwrap_or_default();
            Some(Body::Link(Link { path: path?, target: target?, on_change }))
        }
        Kind::Sudoers => text_content(reader, sources).map(|content| Body::Sudoers(Sudoers { content })),
        Kind::Sysctl => {
            let key = reader.required("key", "say which setting, as in \"net.ipv4.ip_forward\"");
            let value = reader.text("value");
            if !reader.has("value") {
                reader.mistake_at("value", "value: is missing; write it as text, as in \"1\"".into());
            }
            Some(Body::Sysctl(Sysctl { key: key?, value: value? }))
        }
        Kind::Service => Some(Body::Service(service(reader))),
        Kind::Var => {
            let value = reader.text("value");
            if !reader.has("value") {
                reader.mistake_at("value", "value: is missing; write it as text".into());
            }
            let description = reader.text("description").unwrap_or_default();
            Some(Body::Var(Var { value: value?, description }))
        }
        Kind::Secret => {
            if reader.has("value") {
                let message = "value: a secret's value stands in no manifest; set it with: lampasctl secret set NAME";
                reader.mistake_at("value", message.into());
            }
            let description = reader.text("description").unwrap_or_default();
            Some(Body::Secret(Secret { description, value: None }))
        }
        Kind::User => Some(Body::User(account::user(reader))),
        Kind::Group => Some(Body::Group(account::group(reader))),
        Kind::Package => Some(Body::Package(account::package(reader))),
        Kind::AptSource => account::apt_source(reader).map(Body::AptSource),
        Kind::Unsupported => None,
    }
}

fn service(reader: &mut TableReader<'_>) -> Service {
    Service {
        unit_name: reader.optional("unit_name"),
        enabled: reader.boolean("enabled"),
        running: reader.boolean("running"),
        masked: reader.boolean("masked"),
        unit: reader.text("unit"),
        drop_in: reader.text("override"),
        on_change: reader.list("on_change").unwrap_or_default(),
    }
}

/// Reads a check: a word for one that LAMPAS brings, or the words of a program.
fn validator(reader: &mut TableReader<'_>) -> Option<Validator> {
    if !reader.is_list("validate") {
        return reader.choice("validate", &VALIDATORS.each_ref().map(|(word, v)| (*word, v))).cloned();
    }
    let words = reader.list::<Word>("validate")?.into_iter().map(|word| word.0).collect::<Vec<_>>();
    match CheckCommand::new(words) {
        Ok(command) => Some(Validator::Command(command)),
        Err(error) => {
            reader.wrong("validate", &error.value, error.reason);
            None
        }
    }
}

/// A word of a list as it stands.
struct Word(String);

impl std::str::FromStr for Word {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        Ok(Self(text.to_owned()))
    }
}

const PATH_HINT: &str = "say where it stands on the node";

fn cron(reader: &mut TableReader<'_>) -> Option<CronJob> {
    let schedule = reader.required("schedule", "say when it runs, as in \"*/5 * * * *\"");
    let command = reader.text("command");
    if !reader.has("command") {
        reader.mistake_at("command", "command: is missing; say what it runs".into());
    }
    let time_zone: Option<TimeZoneName> = reader.optional("time_zone");
    if let Some(name) = &time_zone
        && let Err(error) = Zone::parse(name)
    {
        reader.wrong("time_zone", name.as_str(), error.reason);
    }
    let user = reader.or("user", UserName::root());
    let environment = reader.map("environment");
    let mailto = reader.text("mailto");
    let table = reader.choice("table", &[("system", CronTable::System), ("user", CronTable::User)]);
    let timeout_secs = reader.number("timeout_secs");
    let enabled = reader.boolean("enabled").unwrap_or(true);
    let template = reader.boolean("template").unwrap_or_default();
    Some(CronJob {
        schedule: schedule?,
        user,
        command: command?,
        environment,
        mailto,
        time_zone,
        table: table.unwrap_or_default(),
        timeout_secs,
        enabled,
        template,
    })
}

fn hosts(reader: &mut TableReader<'_>) -> HostsEntry {
    let address = reader.text("address").and_then(|text| {
        let address = text.parse::<IpAddr>().ok();
        if address.is_none() {
            reader.wrong("address", &text, "is not an IPv4 or IPv6 address");
        }
        address
    });
    HostsEntry {
        address,
        names: reader.list("names").unwrap_or_default(),
        nodes: reader.optional("nodes"),
        domain: reader.optional("domain"),
        comment: reader.text("comment").unwrap_or_default(),
    }
}

fn script(reader: &mut TableReader<'_>, sources: &dyn Sources) -> Option<Script> {
    let path = reader.optional("path");
    let (owner, group, mode) = access(reader, 0o755);
    let parameters = parameters(reader);
    let on_change = reader.list("on_change").unwrap_or_default();
    let template = reader.boolean("template").unwrap_or_default();
    let content = text_content(reader, sources)?;
    Some(Script { path, content, template, owner, group, mode, parameters, on_change })
}

/// Reads the parameters of a script: a list of tables. Numbers and truth values may stand without quotes.
fn parameters(reader: &mut TableReader<'_>) -> Vec<Parameter> {
    reader.tables("parameters", "write a list of tables: [{ name = \"days\", type = \"integer\" }]", |table| {
        let mut plain = toml::Table::new();
        for (key, value) in table {
            let (name, value) = (key.get_ref().to_string(), value.get_ref());
            let as_text = |value: &DeValue<'_>| match value {
                DeValue::Integer(number) => Some(toml::Value::String(number.as_str().to_owned())),
                DeValue::Boolean(boolean) => Some(toml::Value::String(boolean.to_string())),
                DeValue::String(text) => Some(toml::Value::String(text.to_string())),
                _ => None,
            };
            let read = match (name.as_str(), value) {
                ("default", value) => as_text(value),
                ("choices", DeValue::Array(items)) => {
                    items.iter().map(|i| as_text(i.get_ref())).collect::<Option<_>>().map(toml::Value::Array)
                }
                (_, DeValue::String(text)) => Some(toml::Value::String(text.to_string())),
                (_, DeValue::Boolean(boolean)) => Some(toml::Value::Boolean(*boolean)),
                (_, DeValue::Integer(number)) => {
                    i64::from_str_radix(number.as_str(), number.radix()).ok().map(toml::Value::Integer)
                }
                _ => None,
            };
            plain.insert(name.clone(), read.ok_or_else(|| format!("{name} can't be this"))?);
        }
        let parameter = toml::Value::Table(plain).try_into::<Parameter>();
        parameter.map_err(|e| e.message().trim().to_owned())
    })
}

fn file(reader: &mut TableReader<'_>, sources: &dyn Sources) -> Option<ManagedFile> {
    let path = reader.required("path", PATH_HINT);
    let (owner, group, mode) = access(reader, 0o644);
    let validate = validator(reader);
    let on_change = reader.list("on_change").unwrap_or_default();
    let template = reader.boolean("template").unwrap_or_default();
    let encoding = reader.choice("encoding", &[("utf8", Encoding::Utf8), ("base64", Encoding::Base64)]);
    if encoding.is_some() && reader.has("source") {
        reader.mistake_at("encoding", "encoding: goes with content, not with source".into());
    }
    let bytes = content(reader, sources)?;
    let (content, encoding) = if reader.has("source") {
        ManagedFile::encode(&bytes)
    } else {
        (String::from_utf8(bytes).ok()?, encoding.unwrap_or_default())
    };
    Some(ManagedFile { path: path?, content, encoding, template, owner, group, mode, validate, on_change })
}

/// Reads a content that must be text.
fn text_content(reader: &mut TableReader<'_>, sources: &dyn Sources) -> Option<String> {
    let bytes = content(reader, sources)?;
    let text = String::from_utf8(bytes);
    if text.is_err() {
        let source = reader.text("source").unwrap_or_default();
        reader.wrong("source", &source, "is not UTF-8, as it must be");
    }
    text.ok()
}

/// Reads `content`, or the bytes of `source`.
fn content(reader: &mut TableReader<'_>, sources: &dyn Sources) -> Option<Vec<u8>> {
    match (reader.has("content"), reader.has("source")) {
        (true, false) => reader.text("content").map(String::into_bytes),
        (false, true) => {
            let source = reader.text("source")?;
            let read = check_source_path(&source).and_then(|()| sources.read(reader.file(), &source));
            match read {
                Ok(bytes) => Some(bytes),
                Err(reason) => {
                    reader.wrong("source", &source, reason);
                    None
                }
            }
        }
        (true, true) => {
            reader.mistake_at("source", "source: give either content or source".into());
            None
        }
        (false, false) => {
            reader.mistake_at("content", "content: is missing; give content, or source = \"FILE\"".into());
            None
        }
    }
}

fn access(reader: &mut TableReader<'_>, default_mode: u32) -> (UserName, GroupName, FileMode) {
    let default_mode = FileMode::new(default_mode).expect("a constant mode");
    (reader.or("owner", UserName::root()), reader.or("group", GroupName::root()), reader.or("mode", default_mode))
}
