//! Reading one table: fields by name, with every mistake kept and its line.

use std::{collections::BTreeMap, str::FromStr};

use lampas_render::nearest;
use lampas_shared::{TextError, object::Kind};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Lines;
use crate::error::wrong_value;

/// The fields that every object has.
const COMMON: [&str; 5] = ["name", "scope", "drift", "state", "previous_name"];

/// One table while it is read.
pub(super) struct TableReader<'a> {
    file: &'a str,
    lines: &'a Lines,
    table: &'a DeTable<'a>,
    line: usize,
    mistakes: Vec<(usize, String)>,
}

impl<'a> TableReader<'a> {
    pub(super) fn new<'i: 'a>(file: &'a str, lines: &'a Lines, table: &'a DeTable<'i>, line: usize) -> Self {
        Self { file, lines, table, line, mistakes: Vec::new() }
    }

    pub(super) fn file(&self) -> &'a str {
        self.file
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn has_mistakes(&self) -> bool {
        !self.mistakes.is_empty()
    }

    pub(super) fn into_mistakes(self) -> Vec<(usize, String)> {
        self.mistakes
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.table.contains_key(field)
    }

    /// Notes a mistake at a field's line, or at the table's when the field isn't there.
    pub(super) fn mistake_at(&mut self, field: &str, message: String) {
        let found = self.table.iter().find(|(key, _)| key.get_ref().as_ref() == field);
        let line = found.map_or(self.line, |(key, _)| self.lines.at(key.span().start));
        self.mistakes.push((line, message));
    }

    pub(super) fn wrong(&mut self, field: &'static str, value: &str, reason: impl Into<String>) {
        self.mistake_at(field, wrong_value(field, value, reason));
    }

    /// Reads a checked text that must be there.
    pub(super) fn required<T: FromStr<Err = TextError>>(&mut self, field: &'static str, hint: &str) -> Option<T> {
        if !self.has(field) {
            self.mistakes.push((self.line, format!("{field}: is missing; {hint}")));
            return None;
        }
        self.optional(field)
    }

    /// Reads a checked text; `None` when it isn't there or is wrong, which is noted.
    pub(super) fn optional<T: FromStr<Err = TextError>>(&mut self, field: &'static str) -> Option<T> {
        let text = self.text(field)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(field, &text, error.reason);
                None
            }
        }
    }

    /// Reads a checked text with a default.
    pub(super) fn or<T: FromStr<Err = TextError>>(&mut self, field: &'static str, default: T) -> T {
        self.optional(field).unwrap_or(default)
    }

    /// Reads a word of a closed list.
    pub(super) fn choice<T: Copy>(&mut self, field: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(field)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.wrong(field, &text, format!("is none of {}", words.join(", ")));
        None
    }

    /// Returns whether a field holds a list.
    pub(super) fn is_list(&self, field: &str) -> bool {
        self.value(field).is_some_and(|value| value.as_array().is_some())
    }

    /// Reads a text.
    pub(super) fn text(&mut self, field: &'static str) -> Option<String> {
        let value = self.value(field)?;
        if let Some(text) = value.as_str() {
            return Some(text.to_owned());
        }
        let hint =
            if field == "mode" { "write it as a string, in octal: \"0644\"" } else { "write a string in quotes" };
        self.wrong(field, &shown(value), hint);
        None
    }

    pub(super) fn boolean(&mut self, field: &'static str) -> Option<bool> {
        let value = self.value(field)?;
        let read = value.as_bool();
        if read.is_none() {
            self.wrong(field, &shown(value), "write true or false");
        }
        read
    }

    pub(super) fn number(&mut self, field: &'static str) -> Option<u32> {
        let value = self.value(field)?;
        let read = value.as_integer().and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
        if read.is_none() {
            self.wrong(field, &shown(value), "write a whole number from 0 to 4294967295");
        }
        read
    }

    /// Reads a list of checked texts.
    pub(super) fn list<T: FromStr<Err = TextError>>(&mut self, field: &'static str) -> Option<Vec<T>> {
        let value = self.value(field)?;
        let Some(array) = value.as_array() else {
            self.wrong(field, &shown(value), "write a list: [\"a\", \"b\"]");
            return None;
        };
        let mut items = Vec::new();
        for element in array {
            match element.get_ref().as_str().map(|text| (text, text.parse::<T>())) {
                Some((_, Ok(item))) => items.push(item),
                Some((text, Err(error))) => self.mistake_in(element, wrong_value(field, text, error.reason)),
                None => {
                    let message = wrong_value(field, &shown(element.get_ref()), "write a string in quotes");
                    self.mistake_in(element, message);
                }
            }
        }
        Some(items)
    }

    /// Reads a table of texts with checked names.
    pub(super) fn map<K: FromStr<Err = TextError> + Ord>(&mut self, field: &'static str) -> BTreeMap<K, String> {
        let mut map = BTreeMap::new();
        let Some(value) = self.value(field) else { return map };
        let Some(table) = value.as_table() else {
            self.wrong(field, &shown(value), "write a table: { NAME = \"value\" }");
            return map;
        };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match (name.parse(), value.get_ref().as_str()) {
                (Ok(name), Some(text)) => {
                    map.insert(name, text.to_owned());
                }
                (Err(error), _) => self.mistake_in(value, wrong_value(field, name, error.reason)),
                (Ok(_), None) => {
                    let message =
                        wrong_value(field, &shown(value.get_ref()), format!("write {name} as a string in quotes"));
                    self.mistake_in(value, message);
                }
            }
        }
        map
    }

    /// Reads a list of tables, each by `read`, which says what is wrong.
    pub(super) fn tables<T>(
        &mut self,
        field: &'static str,
        hint: &str,
        read: impl Fn(&DeTable<'_>) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = self.value(field) else { return Vec::new() };
        let Some(array) = value.as_array() else {
            self.wrong(field, &shown(value), hint);
            return Vec::new();
        };
        let mut items = Vec::new();
        for element in array {
            match element.get_ref().as_table().map(&read) {
                Some(Ok(item)) => items.push(item),
                Some(Err(why)) => self.mistake_in(element, format!("{field}: {why}")),
                None => self.mistake_in(element, wrong_value(field, &shown(element.get_ref()), hint)),
            }
        }
        items
    }

    /// Notes each field that this kind doesn't have.
    pub(super) fn refuse_unknown(&mut self, kind: Kind, fields: &[&'static str]) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            let known = || COMMON.iter().chain(fields).copied();
            if known().any(|field| field == name) {
                continue;
            }
            let hint = match nearest(name, known()) {
                Some(other) => format!("is unknown to a {kind}; did you mean {other}?"),
                None => format!("is unknown to a {kind}; it has {}", known().collect::<Vec<_>>().join(", ")),
            };
            self.mistakes.push((self.lines.at(key.span().start), wrong_value("field", name, hint)));
        }
    }

    fn value(&self, field: &str) -> Option<&'a DeValue<'a>> {
        self.table.get(field).map(Spanned::get_ref)
    }

    fn mistake_in(&mut self, value: &Spanned<DeValue<'_>>, message: String) {
        self.mistakes.push((self.lines.at(value.span().start), message));
    }
}

/// Returns a value of the wrong type as it may be shown.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "[…]".to_owned(),
        DeValue::Table(_) => "{…}".to_owned(),
    }
}
