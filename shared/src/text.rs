//! Checked text: the macro behind every newtype over a string, and the rules they share.

use thiserror::Error;

/// Says why a text is not what it should be. The message reads well after `field "value": `.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {value:?}: {reason}")]
pub struct TextError {
    /// What was being read, in the words of the manifest: `schedule`, `path`, `host name`.
    pub what: &'static str,
    /// The value as given, shortened to 120 characters.
    pub value: String,
    /// What is wrong with it and what would be right.
    pub reason: String,
}

impl TextError {
    /// Builds an error, shortening the value so that hostile input can't flood a log or a screen.
    pub fn new(what: &'static str, value: &str, reason: impl Into<String>) -> Self {
        let mut value: String = value.chars().take(121).collect();
        if value.chars().count() > 120 {
            value = value.chars().take(119).chain(['…']).collect();
        }
        Self { what, value, reason: reason.into() }
    }
}

/// Returns the first character that must not stand in a single line: a control character, or one that reorders or
/// hides text (Unicode bidirectional controls, zero-width characters and tags, as in CVE-2021-42574).
pub fn deceptive_char(text: &str) -> Option<char> {
    text.chars().find(|&c| {
        (c.is_control() && c != '\t')
            || matches!(
                c,
                '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
            )
            || matches!(c, '\u{E0000}'..='\u{E007F}')
    })
}

/// Refuses text that can't stand in one line.
pub fn check_line(what: &'static str, text: &str, max_bytes: usize) -> Result<(), TextError> {
    if text.len() > max_bytes {
        return Err(TextError::new(what, text, format!("{} bytes, at most {max_bytes} are allowed", text.len())));
    }
    match deceptive_char(text) {
        Some('\n' | '\r') => Err(TextError::new(what, text, "must be a single line")),
        Some(c) => Err(TextError::new(
            what,
            text,
            format!("contains the character U+{:04X}, which can't be seen", u32::from(c)),
        )),
        None => Ok(()),
    }
}

/// Refuses a name that is empty, too long or has characters outside `allowed`.
pub(crate) fn check_name(
    what: &'static str,
    text: &str,
    max: usize,
    allowed: impl Fn(usize, char) -> bool,
    rule: &str,
) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::new(what, text, "is empty"));
    }
    if text.len() > max {
        return Err(TextError::new(
            what,
            text,
            format!("{} characters, at most {max} are allowed", text.chars().count()),
        ));
    }
    match text.chars().enumerate().find(|&(i, c)| !allowed(i, c)) {
        Some((_, c)) => Err(TextError::new(what, text, format!("{c:?} is not allowed; {rule}"))),
        None => Ok(()),
    }
}

/// Declares a newtype over a checked string: parsing is the check, serde goes through it.
macro_rules! text_newtype {
    ($(#[$meta:meta])* $name:ident, $check:expr) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps the text.
            pub fn parse(text: impl Into<String>) -> Result<Self, $crate::TextError> {
                let text = text.into();
                let check: fn(&str) -> Result<(), $crate::TextError> = $check;
                check(&text)?;
                Ok(Self(text))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::TextError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::TextError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}
pub(crate) use text_newtype;

/// Declares that a type stands as a string in the OpenAPI document.
macro_rules! string_schema {
    ($name:ident, $example:literal) => {
        #[cfg(feature = "schema")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .examples([$example])
                    .into()
            }
        }
        #[cfg(feature = "schema")]
        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use string_schema;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_text_round_is_found() {
        for hidden in ['\n', '\u{1b}', '\u{85}', '\u{61c}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{e0041}']
        {
            assert_eq!(deceptive_char(&format!("a{hidden}b")), Some(hidden), "U+{:04X}", u32::from(hidden));
        }
        assert_eq!(deceptive_char("tab\t, ä, 漢, עברית, e\u{301}"), None);
    }
}
