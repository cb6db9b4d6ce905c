//! The INI form: sections of hosts, of children and of variables.

use std::collections::BTreeMap;

use super::{InventoryError, Raw, expand, is_plain};

enum Section {
    Hosts(String),
    Children(String),
    Vars(String),
}

pub(super) fn read(text: &str) -> Result<Raw, InventoryError> {
    let mut raw = Raw::default();
    let mut section = Section::Hosts("ungrouped".to_owned());
    for (i, line) in text.lines().enumerate() {
        let number = i + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) =
            line.strip_prefix('[').filter(|l| l.split('#').next().is_some_and(|l| l.trim_end().ends_with(']')))
        {
            let name = name.split(']').next().unwrap_or_default().trim();
            section =
                section_of(name).ok_or_else(|| InventoryError::Line(number, format!("[{name}] is no section")))?;
            let (Section::Hosts(group) | Section::Children(group) | Section::Vars(group)) = &section;
            raw.groups.entry(group.clone()).or_default();
            continue;
        }
        match &section {
            Section::Hosts(group) => hosts(&mut raw, &group.clone(), line, number)?,
            Section::Children(group) => {
                let child = line.split('#').next().unwrap_or_default().trim().to_owned();
                raw.groups.entry(child.clone()).or_default();
                raw.groups.entry(group.clone()).or_default().children.insert(child);
            }
            Section::Vars(group) => {
                let group = group.clone();
                match variable(line) {
                    Some((name, value)) if is_plain(&value) => {
                        raw.groups.entry(group).or_default().vars.insert(name, value);
                    }
                    Some((name, _)) => raw.note(format!("line {number}: the value of {name} needs Ansible; left out")),
                    None => raw.note(format!("line {number}: no variable; left out")),
                }
            }
        }
    }
    Ok(raw)
}

fn section_of(name: &str) -> Option<Section> {
    let (group, kind) = name.split_once(':').unwrap_or((name, "hosts"));
    if group.is_empty() {
        return None;
    }
    match kind {
        "hosts" => Some(Section::Hosts(group.to_owned())),
        "children" => Some(Section::Children(group.to_owned())),
        "vars" => Some(Section::Vars(group.to_owned())),
        _ => None,
    }
}

fn hosts(raw: &mut Raw, group: &str, line: &str, number: usize) -> Result<(), InventoryError> {
    let wrong = |why: String| InventoryError::Line(number, why);
    let words = shlex::split(line).ok_or_else(|| wrong("a quote is not closed".to_owned()))?;
    let Some((pattern, rest)) = words.split_first() else { return Ok(()) };
    let mut vars = BTreeMap::new();
    for word in rest.iter().take_while(|w| !w.starts_with('#')) {
        match word.split_once('=') {
            Some((name, value)) if is_plain(value) => drop(vars.insert(name.to_owned(), value.to_owned())),
            Some((name, _)) => raw.note(format!("line {number}: the value of {name} needs Ansible; left out")),
            None => raw.note(format!("line {number}: {word:?} is no variable; left out")),
        }
    }
    for name in expand(pattern).map_err(wrong)? {
        // HOST:PORT, but not an IPv6 address and not what a range left.
        let name = match name.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') && port.parse::<u16>().is_ok() => host.to_owned(),
            _ => name,
        };
        raw.host(group, &name, &vars)?;
    }
    Ok(())
}

fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    Some((name.trim().to_owned(), value.to_owned()))
}
