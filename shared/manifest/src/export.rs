//! From objects to text that [`crate::parse`] reads as the same objects.

mod account;

use std::fmt::Write;

use lampas_shared::{
    host::{CronJob, CronTable, Encoding, FileMode, GroupName, HostsEntry, Reaction, Service, UserName, Validator},
    object::{Body, DriftPolicy, ObjectSpec},
    operation::{Parameter, ParameterKind},
};

/// Returns a manifest with these objects, in their order. What has its default is left out; contents of several lines
/// stand as multi-line strings.
pub fn export(objects: &[ObjectSpec]) -> String {
    let mut out = String::new();
    for (i, object) in objects.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        write_object(&mut out, object);
    }
    out
}

fn write_object(out: &mut String, object: &ObjectSpec) {
    out.push_str(&format!("[[{}]]\n", object.body.kind()));
    text(out, "name", object.name.as_str());
    text(out, "scope", &object.scope.to_string());
    match object.drift {
        DriftPolicy::Hold => {}
        DriftPolicy::Report => text(out, "drift", "report"),
        DriftPolicy::Repair => text(out, "drift", "repair"),
    }
    match &object.body {
        Body::Cron(job) => write_cron(out, job),
        Body::Hosts(entry) => write_hosts(out, entry),
        Body::Script(script) => {
            if let Some(path) = &script.path {
                text(out, "path", path.as_str());
            }
            write_access(out, &script.owner, &script.group, script.mode, 0o755);
            write_parameters(out, &script.parameters);
            write_reactions(out, &script.on_change);
            write_template(out, script.template);
            text(out, "content", &script.content);
        }
        Body::File(file) => {
            text(out, "path", file.path.as_str());
            write_access(out, &file.owner, &file.group, file.mode, 0o644);
            write_validator(out, file.validate.as_ref());
            write_reactions(out, &file.on_change);
            write_template(out, file.template);
            if file.encoding == Encoding::Base64 {
                text(out, "encoding", "base64");
            }
            text(out, "content", &file.content);
        }
        Body::Directory(directory) => {
            text(out, "path", directory.path.as_str());
            write_access(out, &directory.owner, &directory.group, directory.mode, 0o755);
        }
        Body::Link(link) => {
            text(out, "path", link.path.as_str());
            text(out, "target", &link.target);
            write_reactions(out, &link.on_change);
        }
        Body::Sysctl(sysctl) => {
            text(out, "key", sysctl.key.as_str());
            text(out, "value", &sysctl.value);
        }
        Body::Service(service) => write_service(out, service),
        Body::User(user) => account::write_user(out, user),
        Body::Group(group) => account::write_group(out, group),
        Body::Package(package) => account::write_package(out, package),
        Body::AptSource(source) => account::write_apt_source(out, source),
        Body::Sudoers(sudoers) => text(out, "content", &sudoers.content),
        Body::Var(var) => {
            write_description(out, &var.description);
            text(out, "value", &var.value);
        }
        // Without its value, which whoever applies this keeps.
        Body::Secret(secret) => write_description(out, &secret.description),
    }
}

fn write_template(out: &mut String, is_template: bool) {
    if is_template {
        out.push_str("template = true\n");
    }
}

fn write_description(out: &mut String, description: &str) {
    if !description.is_empty() {
        text(out, "description", description);
    }
}

fn write_cron(out: &mut String, job: &CronJob) {
    text(out, "schedule", job.schedule.as_str());
    if let Some(zone) = &job.time_zone {
        text(out, "time_zone", zone.as_str());
    }
    text(out, "user", job.user.as_str());
    text(out, "command", &job.command);
    if let Some(mailto) = &job.mailto {
        text(out, "mailto", mailto);
    }
    if job.table == CronTable::User {
        text(out, "table", "user");
    }
    if let Some(secs) = job.timeout_secs {
        out.push_str(&format!("timeout_secs = {secs}\n"));
    }
    if !job.enabled {
        out.push_str("enabled = false\n");
    }
    write_template(out, job.template);
    // A sub-table ends the fields of its object, so it comes last.
    if !job.environment.is_empty() {
        out.push_str("[cron.environment]\n");
        for (name, value) in &job.environment {
            text(out, name.as_str(), value);
        }
    }
}

fn write_parameters(out: &mut String, parameters: &[Parameter]) {
    if parameters.is_empty() {
        return;
    }
    out.push_str("parameters = [\n");
    for parameter in parameters {
        let mut fields = vec![format!("name = {}", basic(parameter.name.as_str()))];
        match parameter.kind {
            ParameterKind::Text => {}
            ParameterKind::Integer => fields.push("type = \"integer\"".into()),
            ParameterKind::Boolean => fields.push("type = \"boolean\"".into()),
            ParameterKind::Choice => fields.push("type = \"choice\"".into()),
            ParameterKind::Secret => fields.push("type = \"secret\"".into()),
        }
        if !parameter.choices.is_empty() {
            let choices: Vec<_> = parameter.choices.iter().map(|c| basic(c)).collect();
            fields.push(format!("choices = [{}]", choices.join(", ")));
        }
        fields.extend(parameter.min.map(|n| format!("min = {n}")));
        fields.extend(parameter.max.map(|n| format!("max = {n}")));
        fields.extend(parameter.pattern.as_deref().map(|p| format!("pattern = {}", basic(p))));
        fields.extend(parameter.default.as_deref().map(|d| format!("default = {}", basic(d))));
        if parameter.required {
            fields.push("required = true".into());
        }
        if !parameter.help.is_empty() {
            fields.push(format!("help = {}", basic(&parameter.help)));
        }
        out.push_str(&format!("    {{ {} }},\n", fields.join(", ")));
    }
    out.push_str("]\n");
}

fn write_hosts(out: &mut String, entry: &HostsEntry) {
    if let Some(address) = entry.address {
        text(out, "address", &address.to_string());
    }
    if !entry.names.is_empty() {
        let names: Vec<_> = entry.names.iter().map(|name| basic(name.as_str())).collect();
        out.push_str(&format!("names = [{}]\n", names.join(", ")));
    }
    if let Some(nodes) = &entry.nodes {
        text(out, "nodes", &nodes.to_string());
    }
    if let Some(domain) = &entry.domain {
        text(out, "domain", domain.as_str());
    }
    if !entry.comment.is_empty() {
        text(out, "comment", &entry.comment);
    }
}

fn write_access(out: &mut String, owner: &UserName, group: &GroupName, mode: FileMode, default_mode: u32) {
    if *owner != UserName::root() {
        text(out, "owner", owner.as_str());
    }
    if *group != GroupName::root() {
        text(out, "group", group.as_str());
    }
    if mode.bits() != default_mode {
        text(out, "mode", &mode.to_string());
    }
}

fn write_service(out: &mut String, service: &Service) {
    if let Some(unit) = &service.unit_name {
        text(out, "unit_name", unit.as_str());
    }
    let flags = [("enabled", service.enabled), ("running", service.running), ("masked", service.masked)];
    for (field, value) in flags {
        if let Some(value) = value {
            out.push_str(&format!("{field} = {value}\n"));
        }
    }
    write_reactions(out, &service.on_change);
    for (field, value) in [("unit", &service.unit), ("override", &service.drop_in)] {
        if let Some(value) = value {
            text(out, field, value);
        }
    }
}

fn write_reactions(out: &mut String, reactions: &[Reaction]) {
    if !reactions.is_empty() {
        let reactions: Vec<_> = reactions.iter().map(|r| basic(&r.to_string())).collect();
        out.push_str(&format!("on_change = [{}]\n", reactions.join(", ")));
    }
}

fn write_validator(out: &mut String, validator: Option<&Validator>) {
    let word = match validator {
        None => return,
        Some(Validator::Script) => "script",
        Some(Validator::Json) => "json",
        Some(Validator::Toml) => "toml",
        Some(Validator::Sudoers) => "sudoers",
        Some(Validator::Command(command)) => {
            let words: Vec<_> = command.words().iter().map(|word| basic(word)).collect();
            out.push_str(&format!("validate = [{}]\n", words.join(", ")));
            return;
        }
    };
    text(out, "validate", word);
}

/// Writes a field in the form that reads best: as it is in `'''` where TOML allows, escaped where it doesn't.
fn text(out: &mut String, field: &str, value: &str) {
    let is_verbatim = |c: char| c == '\n' || c == '\t' || !c.is_control();
    if !value.contains('\n') {
        let is_literal = value.contains(['"', '\\']) && !value.contains('\'') && value.chars().all(is_verbatim);
        let value = if is_literal { format!("'{value}'") } else { basic(value) };
        out.push_str(&format!("{field} = {value}\n"));
    } else if value.chars().all(is_verbatim) && !value.contains("'''") && !value.ends_with('\'') {
        out.push_str(&format!("{field} = '''\n{value}'''\n"));
    } else {
        let lines: Vec<_> = value.split('\n').map(escaped).collect();
        out.push_str(&format!("{field} = \"\"\"\n{}\"\"\"\n", lines.join("\n")));
    }
}

fn basic(value: &str) -> String {
    format!("\"{}\"", escaped(value))
}

/// Escapes one line for a basic string (TOML 1.0, "String").
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => write!(out, "\\u{:04X}", u32::from(c)).expect("writing to a string"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
