//! From text to objects.

mod account;
mod body;
mod table;

use std::collections::BTreeMap;

use lampas_render::nearest;
use lampas_shared::object::{Body, Kind, ObjectKey, ObjectName, ObjectSpec};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::error::{ManifestError, ManifestErrors, wrong_object, wrong_value};
use table::TableReader;

/// The longest manifest, in bytes: ten of the longest contents.
pub const MAX_MANIFEST_BYTES: usize = 10 << 20;

/// The most objects in one set of manifests; twenty times what a large fleet of the plan has.
pub const MAX_ENTRIES: usize = 10_000;

/// Kinds that a manifest may have one day; naming one is not a typing error.
const RESERVED: [&str; 6] = ["node", "role", "service", "balancer", "proxy", "app"];

/// One manifest.
#[derive(Debug, Clone, Copy)]
pub struct ManifestFile<'a> {
    /// Its name for messages and for [`Sources`].
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Reads what `source = "…"` names.
pub trait Sources {
    /// Reads a file beside a manifest. `source` is relative and has no `..`; refuse symbolic links that lead elsewhere.
    ///
    /// # Errors
    /// Why it can't be read, in the operator's words.
    fn read(&self, manifest: &str, source: &str) -> Result<Vec<u8>, String>;
}

impl<F: Fn(&str, &str) -> Result<Vec<u8>, String>> Sources for F {
    fn read(&self, manifest: &str, source: &str) -> Result<Vec<u8>, String> {
        self(manifest, source)
    }
}

/// For texts without a directory, as from an editor: every `source` is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSources;

impl Sources for NoSources {
    fn read(&self, _: &str, _: &str) -> Result<Vec<u8>, String> {
        Err("can't be read here; write the content into the manifest".to_owned())
    }
}

/// Whether an object shall be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It shall be as the manifest says.
    #[default]
    Present,
    /// It shall be deleted.
    Absent,
}

/// One object of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Which object.
    pub key: ObjectKey,
    /// What it shall be; `None` exactly when it shall be absent.
    pub spec: Option<ObjectSpec>,
    /// The name that it had, when it was renamed.
    pub previous_name: Option<ObjectName>,
    /// The manifest that it stands in.
    pub file: String,
    /// The line of its `[[kind]]`, from 1.
    pub line: usize,
}

impl ManifestEntry {
    /// Returns whether it shall be there.
    pub fn state(&self) -> State {
        if self.spec.is_some() { State::Present } else { State::Absent }
    }
}

/// Reads a set of manifests, in the order of files and lines.
///
/// Two objects with the same kind, scope and name are refused, as are two of one scope that claim the same target
/// (whether two roles meet on a node is the controller's to see).
///
/// # Errors
/// All mistakes of all files.
pub fn parse(files: &[ManifestFile<'_>], sources: &dyn Sources) -> Result<Vec<ManifestEntry>, ManifestErrors> {
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    for file in files {
        parse_file(file, sources, &mut entries, &mut errors);
        if entries.len() > MAX_ENTRIES {
            let message = format!("there are more than {MAX_ENTRIES} objects; apply them in several parts");
            errors.push(ManifestError { file: file.name.to_owned(), line: 1, message });
            break;
        }
    }
    find_duplicates(&entries, &mut errors);
    if errors.is_empty() {
        return Ok(entries);
    }
    let order = |name: &str| files.iter().position(|f| f.name == name);
    errors.sort_by_key(|error| (order(&error.file), error.line));
    Err(ManifestErrors(errors))
}

/// Says why a path can't be a `source`: it must stay below the manifest's directory.
///
/// # Errors
/// The reason, in the operator's words.
pub fn check_source_path(source: &str) -> Result<(), String> {
    if source.starts_with('/') {
        return Err("must be relative to the manifest".into());
    }
    if source.contains('\0') || source.len() > 1024 {
        return Err("is not a path".into());
    }
    if source.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("must not have \".\", \"..\" or empty parts: it stays below the manifest's directory".into());
    }
    Ok(())
}

fn parse_file(
    file: &ManifestFile<'_>,
    sources: &dyn Sources,
    entries: &mut Vec<ManifestEntry>,
    errors: &mut Vec<ManifestError>,
) {
    let lines = Lines::of(file.text);
    let mut report = |line: usize, message: String| {
        errors.push(ManifestError { file: file.name.to_owned(), line, message });
    };
    if file.text.len() > MAX_MANIFEST_BYTES {
        return report(1, format!("{} bytes, a manifest has at most {MAX_MANIFEST_BYTES}", file.text.len()));
    }
    let (document, mistakes) = DeTable::parse_recoverable(file.text);
    if !mistakes.is_empty() {
        for mistake in mistakes {
            let line = lines.at(mistake.span().map_or(0, |span| span.start));
            report(line, format!("is not TOML: {}", mistake.message().replace('\n', ", ")));
        }
        return;
    }
    let mut tables: Vec<(Kind, usize, &DeTable<'_>)> = Vec::new();
    for (key, value) in document.get_ref() {
        let (name, line) = (key.get_ref().as_ref(), lines.at(key.span().start));
        match name.parse::<Kind>() {
            Ok(kind) => objects_of(kind, value, line, &lines, &mut tables, &mut report),
            Err(_) => report(line, unknown_table(name, value)),
        }
    }
    tables.sort_by_key(|(_, line, _)| *line);
    for (kind, line, table) in tables.into_iter().take(MAX_ENTRIES + 1) {
        let mut reader = TableReader::new(file.name, &lines, table, line);
        if let Some(entry) = read_entry(kind, &mut reader, sources) {
            entries.push(entry);
        }
        for (line, message) in reader.into_mistakes() {
            report(line, message);
        }
    }
}

fn objects_of<'a, 'i>(
    kind: Kind,
    value: &'a Spanned<DeValue<'i>>,
    line: usize,
    lines: &Lines,
    tables: &mut Vec<(Kind, usize, &'a DeTable<'i>)>,
    report: &mut impl FnMut(usize, String),
) {
    let Some(array) = value.get_ref().as_array() else {
        return report(line, format!("write [[{kind}]] with two brackets: there can be several"));
    };
    for element in array {
        match element.get_ref().as_table() {
            Some(table) => tables.push((kind, lines.at(element.span().start), table)),
            None => report(lines.at(element.span().start), format!("write each {kind} as a table: [[{kind}]]")),
        }
    }
}

fn unknown_table(name: &str, value: &Spanned<DeValue<'_>>) -> String {
    if RESERVED.contains(&name) {
        return format!("[[{name}]] can't be managed by a manifest yet");
    }
    let kinds = Kind::ALL.map(Kind::as_str);
    if value.get_ref().is_array() || value.get_ref().is_table() {
        return match nearest(name, kinds) {
            Some(other) => wrong_value("table", name, format!("is unknown; did you mean [[{other}]]?")),
            None => wrong_value("table", name, format!("is unknown; there are [[{}]]", kinds.join("]], [["))),
        };
    }
    wrong_value("field", name, "stands outside of a table; begin with [[cron]], [[file]] and the like")
}

fn read_entry(kind: Kind, reader: &mut TableReader<'_>, sources: &dyn Sources) -> Option<ManifestEntry> {
    let name: Option<ObjectName> = reader.required("name", "every object needs one");
    let scope = reader
        .required("scope", "say which nodes it is for: \"fleet\", \"role:NAME\", \"node:NAME\" or \"label:KEY=VALUE\"");
    let previous_name = reader.optional("previous_name");
    let drift = reader.choice("drift", &body::DRIFT).unwrap_or_default();
    let state = reader.choice("state", &[("present", State::Present), ("absent", State::Absent)]).unwrap_or_default();
    reader.refuse_unknown(kind, body::fields(kind));
    let body: Option<Body> = (state == State::Present).then(|| body::read(kind, reader, sources)).flatten();
    if reader.has_mistakes() {
        return None;
    }
    let key = ObjectKey { kind, scope: scope?, name: name? };
    let spec = match state {
        State::Absent => None,
        State::Present => {
            let spec = ObjectSpec { name: key.name.clone(), scope: key.scope.clone(), drift, body: body? };
            if let Err(error) = spec.check() {
                reader.mistake_at(error.what, wrong_object(&error));
                return None;
            }
            Some(spec)
        }
    };
    Some(ManifestEntry { key, spec, previous_name, file: reader.file().to_owned(), line: reader.line() })
}

fn find_duplicates(entries: &[ManifestEntry], errors: &mut Vec<ManifestError>) {
    let mut keys: BTreeMap<&ObjectKey, &ManifestEntry> = BTreeMap::new();
    let mut targets = BTreeMap::new();
    for entry in entries {
        let mut report = |message| errors.push(ManifestError { file: entry.file.clone(), line: entry.line, message });
        if let Some(first) = keys.insert(&entry.key, entry) {
            report(format!("{} stands twice; first at {}:{}", entry.key, first.file, first.line));
            continue;
        }
        for target in entry.spec.iter().flat_map(|spec| spec.targets().unwrap_or_default()) {
            if let Some(first) = targets.insert((&entry.key.scope, target.clone()), entry) {
                report(format!(
                    "{} claims {target}, as {} does at {}:{}; on one scope a target belongs to one object",
                    entry.key, first.key, first.file, first.line
                ));
            }
        }
    }
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at).collect())
    }

    /// Returns the line of a byte, from 1.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}

#[cfg(test)]
mod tests;
