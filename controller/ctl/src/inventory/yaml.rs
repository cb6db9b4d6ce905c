//! The YAML form: groups with `hosts`, `children` and `vars`, nested.
//!
//! The parser's events are read into a small tree with a limit of its own: aliases are not followed, so that a few lines
//! can't stand for millions of nodes.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

use super::{InventoryError, Raw, expand, is_plain};

/// How deep groups may be nested.
const MAX_DEPTH: usize = 64;

#[derive(Debug)]
enum Value {
    Text(String),
    Map(Vec<(String, Value, usize)>),
    List,
    /// What only Ansible can know: an alias, a vault.
    Unknown,
}

pub(super) fn read(text: &str) -> Result<Raw, InventoryError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), line: 1 };
    let mut raw = Raw::default();
    let mut is_first = true;
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(raw),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event if is_first => {
                is_first = false;
                match reader.value(event, 0)? {
                    Value::Map(groups) => {
                        for (name, group, line) in groups {
                            take(&mut raw, &name, group, line)?;
                        }
                    }
                    Value::Text(text) if text.is_empty() || text == "~" => {}
                    _ => return Err(InventoryError::Line(1, "an inventory is a mapping of groups".into())),
                }
            }
            _ => {
                raw.note(format!("line {}: only the first document is read", reader.line));
                return Ok(raw);
            }
        }
    }
}

fn take(raw: &mut Raw, name: &str, group: Value, line: usize) -> Result<(), InventoryError> {
    raw.groups.entry(name.to_owned()).or_default();
    let parts = match group {
        Value::Map(parts) => parts,
        Value::Text(text) if text.is_empty() || text == "~" || text == "null" => return Ok(()),
        _ => {
            raw.note(format!("line {line}: group {name} is no mapping; left out"));
            return Ok(());
        }
    };
    for (part, value, line) in parts {
        match (part.as_str(), value) {
            ("hosts", Value::Map(hosts)) => {
                for (pattern, vars, line) in hosts {
                    let vars = variables(raw, vars);
                    for host in expand(&pattern).map_err(|why| InventoryError::Line(line, why))? {
                        raw.host(name, &host, &vars)?;
                    }
                }
            }
            ("children", Value::Map(children)) => {
                for (child, group, line) in children {
                    raw.groups.entry(name.to_owned()).or_default().children.insert(child.clone());
                    take(raw, &child, group, line)?;
                }
            }
            ("vars", vars @ Value::Map(_)) => {
                let vars = variables(raw, vars);
                raw.groups.entry(name.to_owned()).or_default().vars.extend(vars);
            }
            (_, Value::Text(text)) if text.is_empty() || text == "~" || text == "null" => {}
            (part, _) => raw.note(format!("line {line}: {part} of group {name} is not read")),
        }
    }
    Ok(())
}

fn variables(raw: &mut Raw, vars: Value) -> BTreeMap<String, String> {
    let Value::Map(vars) = vars else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for (name, value, at) in vars {
        match value {
            Value::Text(value) if is_plain(&value) => drop(found.insert(name, value)),
            Value::Text(_) | Value::Unknown => {
                raw.note(format!("line {at}: the value of {name} needs Ansible; left out"));
            }
            Value::Map(_) | Value::List => raw.note(format!("line {at}: {name} is no single value; left out")),
        }
    }
    found
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, InventoryError> {
        match self.parser.next_event() {
            None => Ok(Event::StreamEnd),
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => Err(InventoryError::Line(error.marker().line(), error.info().to_owned())),
        }
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Value, InventoryError> {
        if depth > MAX_DEPTH {
            return Err(InventoryError::Line(self.line, format!("it is nested deeper than {MAX_DEPTH}")));
        }
        Ok(match event {
            Event::Scalar(text, _, _, tag) => match tag {
                Some(tag) if tag.handle == "!" => Value::Unknown,
                _ => Value::Text(text.into_owned()),
            },
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd | Event::StreamEnd => return Ok(Value::Map(entries)),
                        key => key,
                    };
                    let line = self.line;
                    let key = self.value(key, depth + 1)?;
                    let next = self.next()?;
                    let value = self.value(next, depth + 1)?;
                    if let Value::Text(key) = key {
                        entries.push((key, value, line));
                    }
                }
            }
            Event::SequenceStart(..) => loop {
                match self.next()? {
                    Event::SequenceEnd | Event::StreamEnd => return Ok(Value::List),
                    event => drop(self.value(event, depth + 1)?),
                }
            },
            _ => Value::Unknown,
        })
    }
}
