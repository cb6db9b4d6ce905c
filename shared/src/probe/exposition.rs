//! Reads the text that Prometheus endpoints serve, piece by piece, in bounded memory.
//!
//! The format is that of the Prometheus documentation ("Exposition formats", text version 0.0.4); what OpenMetrics adds
//! (exemplars after ` # `, timestamps) is skipped. Only lines of the series that is wanted are taken apart; one that is
//! longer than [`MAX_LINE`] is skipped without being held, unless it is of the wanted name: then it says so.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::TextError;

/// The longest line that is taken apart.
const MAX_LINE: usize = 64 << 10;
/// The most matchers.
const MAX_MATCHERS: usize = 20;

/// Which series are wanted: a name, and what their labels must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Series {
    name: String,
    matchers: Vec<Matcher>,
}

crate::text::string_schema!(Series, "node_load1");

#[derive(Debug, Clone, PartialEq, Eq)]
struct Matcher {
    label: String,
    is_equal: bool,
    value: String,
}

impl Series {
    /// Returns the metric's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn matches(&self, labels: &[(&str, String)]) -> bool {
        // A label that is not there is as good as an empty one.
        let value = |label: &str| labels.iter().find(|(l, _)| *l == label).map_or("", |(_, v)| v.as_str());
        self.matchers.iter().all(|m| (value(&m.label) == m.value) == m.is_equal)
    }
}

impl FromStr for Series {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let wrong = |reason: &str| TextError::new("series", text, reason);
        crate::check_line("series", text, 1000)?;
        let (name, rest) = text.split_at(text.find('{').unwrap_or(text.len()));
        if !is_name(name, true) {
            return Err(wrong(
                "must begin with a metric's name, as in node_load1 or http_requests_total{code=\"500\"}",
            ));
        }
        let mut matchers = Vec::new();
        if let Some(mut rest) = rest.strip_prefix('{') {
            loop {
                rest = rest.trim_start();
                if let Some(after) = rest.strip_prefix('}') {
                    if !after.trim().is_empty() {
                        return Err(wrong("has something after its labels"));
                    }
                    break;
                }
                let at = rest.find(['=', '!']).ok_or_else(|| wrong("write labels as code=\"500\" or code!=\"500\""))?;
                let (label, after) = (rest[..at].trim(), &rest[at..]);
                let is_equal = after.starts_with('=');
                let after = after.strip_prefix("!=").or_else(|| after.strip_prefix('=')).unwrap_or(after);
                let (value, after) =
                    quoted(after.trim_start()).ok_or_else(|| wrong("the value of a label stands in double quotes"))?;
                if !is_name(label, false) {
                    return Err(wrong("has a label whose name is none"));
                }
                matchers.push(Matcher { label: label.to_owned(), is_equal, value });
                if matchers.len() > MAX_MATCHERS {
                    return Err(wrong("has more than 20 labels"));
                }
                rest = after.trim_start();
                rest = match rest.strip_prefix(',') {
                    Some(after) => after,
                    None if rest.starts_with('}') => rest,
                    None => return Err(wrong("labels are divided by commas, and } ends them")),
                };
            }
        }
        Ok(Self { name: name.to_owned(), matchers })
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (index, matcher) in self.matchers.iter().enumerate() {
            let value = matcher.value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n");
            let sign = if matcher.is_equal { "=" } else { "!=" };
            write!(f, "{}{}{sign}\"{value}\"", if index == 0 { "{" } else { "," }, matcher.label)?;
        }
        if self.matchers.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

impl TryFrom<String> for Series {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<Series> for String {
    fn from(series: Series) -> Self {
        series.to_string()
    }
}

/// The values of all series that matched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// How many.
    pub count: u64,
    /// How many of them are NaN.
    pub nan: u64,
    /// The least of the others.
    pub least: f64,
    /// The greatest of them.
    pub greatest: f64,
}

/// Finds values while text comes in pieces of any size.
#[derive(Debug)]
pub struct Scanner<'a> {
    wanted: &'a Series,
    line: Vec<u8>,
    is_skipping: bool,
    values: Values,
    wrong: Option<String>,
}

impl<'a> Scanner<'a> {
    /// Looks for a series.
    pub fn new(wanted: &'a Series) -> Self {
        let values = Values { count: 0, nan: 0, least: f64::INFINITY, greatest: f64::NEG_INFINITY };
        Self { wanted, line: Vec::new(), is_skipping: false, values, wrong: None }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let mut lines = piece.split(|b| *b == b'\n');
        // What stands before the first end of a line continues what came before.
        let mut part = lines.next();
        while let Some(bytes) = part {
            if !self.is_skipping {
                let room = MAX_LINE - self.line.len();
                self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if bytes.len() > room {
                    self.is_skipping = true;
                    if self.is_of_name() {
                        self.wrong.get_or_insert_with(|| {
                            format!("a line of {} is longer than {MAX_LINE} bytes", self.wanted.name)
                        });
                    }
                    self.line.clear();
                }
            }
            part = lines.next();
            if part.is_some() {
                self.end_line();
            }
        }
    }

    /// Returns what was found.
    ///
    /// # Errors
    /// In words, when a line of the series could not be read: its values are not known then.
    pub fn finish(mut self) -> Result<Values, String> {
        self.end_line();
        self.wrong.map_or(Ok(self.values), Err)
    }

    fn end_line(&mut self) {
        if !self.is_skipping && self.is_of_name() {
            let line = std::mem::take(&mut self.line);
            match std::str::from_utf8(&line).ok().and_then(|line| self.read(line)) {
                Some(()) => {}
                None => {
                    let shown: String = String::from_utf8_lossy(&line).chars().take(120).collect();
                    self.wrong.get_or_insert_with(|| format!("this line can't be read: {shown}"));
                }
            }
        }
        self.line.clear();
        self.is_skipping = false;
    }

    fn is_of_name(&self) -> bool {
        let line = self.line.trim_ascii_start();
        line.strip_prefix(self.wanted.name.as_bytes())
            .is_some_and(|rest| rest.first().is_none_or(|b| matches!(b, b'{' | b' ' | b'\t')))
    }

    /// Reads a line of the wanted name; nothing when it is none.
    fn read(&mut self, line: &str) -> Option<()> {
        let mut rest = line.trim_start().strip_prefix(self.wanted.name.as_str())?.trim_start();
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner.trim_start();
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once('=')?;
                let label = label.trim();
                if !is_name(label, false) {
                    return None;
                }
                let (value, after) = quoted(after.trim_start())?;
                // Only those that are asked for are held.
                if self.wanted.matchers.iter().any(|m| m.label == label) {
                    labels.push((label, value));
                }
                rest = after.trim_start();
                rest = match rest.strip_prefix(',') {
                    Some(after) => after.trim_start(),
                    None if rest.starts_with('}') => rest,
                    None => return None,
                };
            }
            rest = rest[1..].trim_start();
        }
        let word = rest.split_whitespace().next()?;
        let value = number(word)?;
        if !self.wanted.matches(&labels) {
            return Some(());
        }
        self.values.count += 1;
        if value.is_nan() {
            self.values.nan += 1;
        } else {
            self.values.least = self.values.least.min(value);
            self.values.greatest = self.values.greatest.max(value);
        }
        Some(())
    }
}

/// Reads a value: what Go's `ParseFloat` takes, as far as exporters write it.
fn number(word: &str) -> Option<f64> {
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return word.parse().ok();
    }
    let is_negative = word.starts_with('-');
    match digits.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" | "infinity" => Some(if is_negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        _ => None,
    }
}

/// Reads a text in double quotes with its escapes; returns what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &inner[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                // As Prometheus has it: an unknown escape stands for itself.
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

fn is_name(text: &str, is_metric: bool) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphabetic() || b == b'_' || (is_metric && b == b':');
    text.bytes().enumerate().all(|(i, b)| is_letter(b) || (i > 0 && b.is_ascii_digit()))
        && (1..=200).contains(&text.len())
}
