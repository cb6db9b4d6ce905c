//! Labels on nodes (`env=prod`) and selectors over them (`env=prod,tier=web`).

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    TextError,
    text::{check_line, check_name, text_newtype},
};

text_newtype!(
    /// The key of a label: 1 to 63 of `a-z 0-9 . _ -`, starting with a letter.
    LabelKey,
    |text| check_name(
        "label",
        text,
        63,
        |i, c| c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || "._-".contains(c))),
        "use lower-case letters, digits, '.', '_' and '-', starting with a letter",
    )
);

text_newtype!(
    /// The value of a label: up to 128 bytes in one line, without `,` and `=`.
    LabelValue,
    |text| {
        check_line("label value", text, 128)?;
        match text.chars().find(|c| ",=".contains(*c)) {
            Some(c) => Err(TextError::new("label value", text, format!("{c:?} is not allowed"))),
            None => Ok(()),
        }
    }
);

/// The labels of one node.
pub type Labels = BTreeMap<LabelKey, LabelValue>;

/// Picks the nodes that carry all of the given labels; never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(BTreeMap<LabelKey, LabelValue>);

impl Selector {
    /// Returns whether a node with these labels is picked.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Returns whether all that it asks for is asked for by another, which then picks no node that this one doesn't.
    pub fn is_within(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl FromStr for Selector {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut terms = BTreeMap::new();
        for term in text.split(',') {
            let Some((key, value)) = term.split_once('=') else {
                return Err(TextError::new("selector", text, "write it as key=value, several joined with ','"));
            };
            if terms.insert(LabelKey::parse(key)?, LabelValue::parse(value)?).is_some() {
                return Err(TextError::new("selector", text, format!("the label {key} stands twice")));
            }
        }
        Ok(Self(terms))
    }
}

impl TryFrom<String> for Selector {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, value)) in self.0.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}
