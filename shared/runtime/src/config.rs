//! Configuration: one TOML file per binary into a typed section, with all mistakes reported together.
//!
//! A file is read once at start. Unknown keys are refused (sections carry `deny_unknown_fields`), and each mistake
//! names its line and its key path, so that an operator mends a file in one go.

use std::{fmt, io, ops::Range, path::Path};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// The longest configuration file that is read: far above any real one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most mistakes that are reported of one file; more help nobody.
const MISTAKES_MAX: usize = 32;

/// A typed configuration. Its fields carry defaults; [`Section::check`] judges what types cannot.
pub trait Section: DeserializeOwned + Default {
    /// Reports what is wrong with the values, each with its key path.
    fn check(&self, mistakes: &mut Mistakes) {
        let _ = mistakes;
    }
}

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("reading the configuration {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file was read and is wrong.
    #[error("the configuration {path} has mistakes:\n{mistakes}")]
    Invalid {
        /// The file.
        path: String,
        /// All of them.
        mistakes: Mistakes,
    },
}

/// One mistake: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, counted from 1, when it is known.
    pub line: Option<usize>,
    /// The key path, `link.listen`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

/// The mistakes of one file, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Adds a mistake of a value that was understood but is wrong.
    pub fn add(&mut self, key: &str, message: impl fmt::Display) {
        self.0.push(Mistake { line: None, key: key.to_owned(), message: message.to_string() });
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns them.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            f.write_str("  ")?;
            if let Some(line) = mistake.line {
                write!(f, "line {line}: ")?;
            }
            if !mistake.key.is_empty() {
                write!(f, "{}: ", mistake.key)?;
            }
            f.write_str(&mistake.message)?;
        }
        Ok(())
    }
}

/// Loads a file.
///
/// # Errors
/// When it can't be read, or holds mistakes.
pub fn load<T: Section>(path: &Path) -> Result<T, ConfigError> {
    let name = || path.display().to_string();
    let text = read(path).map_err(|source| ConfigError::Read { path: name(), source })?;
    parse(&text).map_err(|mistakes| ConfigError::Invalid { path: name(), mistakes })
}

/// Loads a file, or returns the defaults when there is none.
///
/// # Errors
/// When it is there and can't be read, or holds mistakes.
pub fn load_or_default<T: Section>(path: &Path) -> Result<T, ConfigError> {
    match load(path) {
        Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        loaded => loaded,
    }
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is longer than 1 MiB"));
    }
    Ok(text)
}

/// Parses a text.
///
/// After a value of a wrong type or an unknown key has been reported, that entry is left out and the rest is looked at
/// again: serde stops at the first mistake, an operator wants all of them.
///
/// # Errors
/// All mistakes.
pub fn parse<T: Section>(text: &str) -> Result<T, Mistakes> {
    let mut mistakes = Mistakes::default();
    let (mut table, syntax) = DeTable::parse_recoverable(text);
    for error in syntax.iter().take(MISTAKES_MAX) {
        mistakes.0.push(mistake(text, String::new(), error));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    loop {
        match T::deserialize(toml::de::Deserializer::from(table.clone())) {
            Ok(section) => {
                section.check(&mut mistakes);
                return if mistakes.is_empty() { Ok(section) } else { Err(mistakes) };
            }
            Err(error) => {
                let mut path = Vec::new();
                let excised = error.span().is_some_and(|span| excise(table.get_mut(), &span, &mut path));
                mistakes.0.push(mistake(text, path.join("."), &error));
                if !excised || mistakes.0.len() >= MISTAKES_MAX {
                    return Err(mistakes);
                }
            }
        }
    }
}

fn mistake(text: &str, key: String, error: &toml::de::Error) -> Mistake {
    let line = error.span().map(|span| text.get(..span.start).unwrap_or(text).matches('\n').count() + 1);
    Mistake { line, key, message: error.message().trim().replace('\n', ", ") }
}

/// Removes the innermost entry that a span points at. Returns whether there was one, and leaves its path.
fn excise(table: &mut DeTable<'_>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    // A table's own span may cover its header alone, so that what is below is looked at first.
    for (key, value) in table.iter_mut() {
        path.push(key.get_ref().to_string());
        let found = match value.get_mut() {
            DeValue::Table(inner) => excise(inner, span, path),
            DeValue::Array(items) => items.iter_mut().any(|item| match item.get_mut() {
                DeValue::Table(inner) => excise(inner, span, path),
                _ => false,
            }),
            _ => false,
        };
        if found {
            return true;
        }
        path.pop();
    }
    let own = table.iter().find(|(key, value)| holds(key.span()) || holds(value.span())).map(|(key, _)| key.clone());
    let Some(own) = own else { return false };
    table.remove(&own);
    path.push(own.get_ref().to_string());
    true
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        name: String,
        link: Link,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Link {
        port: u16,
        limit: u32,
    }

    impl Section for Sample {
        fn check(&self, mistakes: &mut Mistakes) {
            if self.link.limit > 100 {
                mistakes.add("link.limit", "is above 100");
            }
        }
    }

    #[test]
    fn a_good_file_is_taken_with_defaults() {
        let sample: Sample = parse("[link]\nport = 8443\n").expect("parses");
        assert_eq!(sample, Sample { name: String::new(), link: Link { port: 8443, limit: 0 } });
    }

    #[test]
    fn all_mistakes_are_reported_with_line_and_key() {
        let text = "name = 3\ncolour = 1\n[link]\nport = \"x\"\nlimt = 1\nlimit = 200\n";
        let mistakes = parse::<Sample>(text).expect_err("is wrong");
        let mut found: Vec<_> = mistakes.iter().map(|m| (m.line, m.key.as_str())).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                (None, "link.limit"),
                (Some(1), "name"),
                (Some(2), "colour"),
                (Some(4), "link.port"),
                (Some(5), "link.limt")
            ],
            "{mistakes}"
        );
    }

    #[test]
    fn a_missing_file_gives_defaults_and_a_broken_one_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lampas.toml");
        assert_eq!(load_or_default::<Sample>(&path).expect("defaults"), Sample::default());
        std::fs::write(&path, "name = \n").expect("written");
        assert!(matches!(load_or_default::<Sample>(&path), Err(ConfigError::Invalid { .. })));
    }
}
