//! Objects as people read them: one line, a text, and the difference of two texts.

mod account;

use lampas_shared::{
    host::{CronTable, HostsSource, Service},
    object::{Body, ObjectSpec},
};
use similar::TextDiff;

/// The longest difference that is shown.
const MAX_DIFF_BYTES: usize = 256 << 10;

/// Returns one line on what an object says, never a content.
pub fn summary(spec: &ObjectSpec) -> String {
    match &spec.body {
        Body::Cron(job) => {
            let table = if job.table == CronTable::User { " (crontab)" } else { "" };
            let off = if job.enabled { "" } else { "off: " };
            let command: String = job.command.chars().take(120).collect();
            format!("{off}{} {}{table} {command}", job.schedule, job.user)
        }
        Body::Hosts(entry) => match entry.source() {
            Ok(HostsSource::Line(address, names)) => {
                let names: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
                format!("{address} {}", names.join(" "))
            }
            Ok(HostsSource::Nodes(scope, domain)) => {
                format!("nodes of {scope}{}", domain.map(|d| format!(" under {d}")).unwrap_or_default())
            }
            Err(_) => String::new(),
        },
        Body::Script(script) => match script.path_for(spec.name.as_str()) {
            Ok(path) => format!("{path}, {} lines", script.content.lines().count()),
            Err(_) => String::new(),
        },
        Body::File(file) => format!("{} {}:{} {}", file.path, file.owner, file.group, file.mode),
        Body::Var(var) => {
            let value: String = var.value.chars().take(120).map(|c| if c == '\n' { '⏎' } else { c }).collect();
            if var.description.is_empty() { value } else { format!("{value} ({})", var.description) }
        }
        // Only whether there is a value, and what it is for.
        Body::Secret(secret) => {
            let has = if secret.value.is_some() { "a value is set" } else { "no value is set" };
            if secret.description.is_empty() { has.to_owned() } else { format!("{has} ({})", secret.description) }
        }
        Body::Directory(d) => format!("{} {}:{} {}", d.path, d.owner, d.group, d.mode),
        Body::Link(link) => format!("{} → {}", link.path, link.target),
        Body::Sysctl(sysctl) => sysctl.line().trim_end().to_owned(),
        Body::Service(service) => service_line(service, spec.name.as_str()),
        Body::User(user) => account::user(user),
        Body::Group(group) => account::group(group),
        Body::AptSource(source) => account::apt_source(source),
        Body::Package(package) => account::package(package, spec.name.as_str()),
        // Not a rule of it: the file is 0440 on the node.
        Body::Sudoers(sudoers) => {
            format!("/etc/sudoers.d/{}, {} lines", spec.name, sudoers.content.lines().count())
        }
    }
}

fn service_line(service: &Service, name: &str) -> String {
    let unit = service.unit(name).map_or_else(|_| name.to_owned(), |unit| unit.to_string());
    let mut said: Vec<&str> = service.aspects().into_iter().map(|(aspect, is_so)| aspect.word(is_so)).collect();
    said.extend(service.unit.is_some().then_some("a unit of its own"));
    said.extend(service.drop_in.is_some().then_some("with an override"));
    format!("{unit}: {}", said.join(", "))
}

/// Returns an object as TOML.
pub fn text(spec: &ObjectSpec) -> String {
    toml::to_string_pretty(spec).unwrap_or_else(|_| crate::db::row::to_json(spec))
}

/// Returns the unified difference of two states of an object; empty when they are equal.
pub fn diff(before: Option<&ObjectSpec>, after: Option<&ObjectSpec>) -> String {
    text_diff(&before.map(text).unwrap_or_default(), &after.map(text).unwrap_or_default())
}

/// Returns the unified difference of two texts; empty when they are equal.
pub fn text_diff(before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let mut diff = TextDiff::from_lines(before, after).unified_diff().context_radius(3).to_string();
    if diff.len() > MAX_DIFF_BYTES {
        let mut end = MAX_DIFF_BYTES;
        while !diff.is_char_boundary(end) {
            end -= 1;
        }
        diff.truncate(end);
        diff.push_str("\n… the rest is not shown\n");
    }
    diff
}
