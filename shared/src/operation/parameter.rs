//! Parameters of scripts: declared beside the script, filled in by whoever runs it, checked before anything starts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    TextError, check_line,
    host::EnvName,
    text::{check_name, text_newtype},
};

/// The longest value, in bytes.
const MAX_VALUE: usize = 32 << 10;
/// The longest pattern, and the most memory of its compiled form.
const MAX_PATTERN: usize = 500;
const MAX_PATTERN_MEMORY: usize = 256 << 10;
/// What to do about a secret's value that is given as it is.
const BY_NAME: &str = "is a secret; name the secret that holds it, as in --param-secret NAME=secret/SECRET";
/// The most parameters of a script, and the most choices of one.
const MAX_PARAMETERS: usize = 64;

text_newtype!(
    /// A parameter's name: 1 to 32 of `a-z 0-9 _`, starting with a letter. The script reads it as `PARAM_` and the name
    /// in capitals.
    ParameterName,
    |text| check_name(
        "parameter name",
        text,
        32,
        |i, c| c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || c == '_')),
        "use a-z, 0-9 and '_', starting with a letter",
    )
);

impl ParameterName {
    /// Returns the name of the variable in which the script finds the value.
    ///
    /// # Panics
    /// Never: each name of a parameter makes one of a variable.
    pub fn variable(&self) -> EnvName {
        EnvName::parse(format!("PARAM_{}", self.as_str().to_ascii_uppercase())).expect("letters, digits and '_'")
    }
}

/// What a value may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// One line of text.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of `choices`.
    Choice,
    /// The value of a secret, given by the secret's name; it stands in no request, no list and no audit.
    Secret,
}

/// One parameter as a script declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its name.
    pub name: ParameterName,
    /// What a value may be; `text` by default.
    #[serde(rename = "type", default)]
    pub kind: ParameterKind,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// Whether it must be given; `false` by default. One that is neither given nor has a default is not set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The value when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// For text: a regular expression that the whole value must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// For a choice: the values there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// For an integer: the smallest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// For an integer: the greatest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
}

impl Parameter {
    /// Checks the declaration itself.
    fn check(&self) -> Result<(), TextError> {
        let wrong = |reason: &str| Err(TextError::new("parameter", self.name.as_str(), reason));
        check_line("help", &self.help, 500)?;
        if (self.kind == ParameterKind::Choice) == self.choices.is_empty() {
            return wrong("choices go with type \"choice\", which needs at least one");
        }
        if self.choices.len() > MAX_PARAMETERS {
            return wrong("has more than 64 choices");
        }
        if self.pattern.is_some() && self.kind != ParameterKind::Text {
            return wrong("a pattern goes with type \"text\"");
        }
        if (self.min.is_some() || self.max.is_some()) && self.kind != ParameterKind::Integer {
            return wrong("min and max go with type \"integer\"");
        }
        if self.kind == ParameterKind::Secret && self.default.is_some() {
            return wrong("a secret has no default: a value in a script is none");
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min > max
        {
            return wrong("min is greater than max");
        }
        self.regex()?;
        for choice in &self.choices {
            check_line("choice", choice, 200)?;
        }
        self.default.as_deref().map_or(Ok(()), |value| self.check_value(value))
    }

    fn regex(&self) -> Result<Option<regex_lite::Regex>, TextError> {
        let Some(pattern) = &self.pattern else { return Ok(None) };
        check_line("pattern", pattern, MAX_PATTERN)?;
        let whole = format!("^(?:{pattern})$");
        let regex = regex_lite::RegexBuilder::new(&whole).size_limit(MAX_PATTERN_MEMORY).build();
        regex.map(Some).map_err(|e| TextError::new("pattern", pattern, format!("is no regular expression: {e}")))
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Why it can't be this parameter's.
    pub fn check_value(&self, value: &str) -> Result<(), TextError> {
        let name = self.name.as_str();
        let wrong = |reason: String| Err(TextError::new("parameter", name, reason));
        // The value stands behind the name; of a secret's, which may be the secret itself, nothing is repeated.
        let shown: String = value.chars().take(60).collect();
        check_line("parameter", value, MAX_VALUE).or_else(|e| wrong(e.reason))?;
        match self.kind {
            ParameterKind::Text => match self.regex()? {
                Some(regex) if !regex.is_match(value) => {
                    wrong(format!("{shown:?} does not match {}", self.pattern.as_deref().unwrap_or_default()))
                }
                _ => Ok(()),
            },
            ParameterKind::Integer => match value.parse::<i64>() {
                Ok(number) => match (self.min, self.max) {
                    (Some(min), _) if number < min => wrong(format!("{number} is too small, the smallest is {min}")),
                    (_, Some(max)) if number > max => wrong(format!("{number} is too great, the greatest is {max}")),
                    _ => Ok(()),
                },
                Err(_) => wrong(format!("{shown:?} is no whole number")),
            },
            ParameterKind::Boolean if matches!(value, "true" | "false") => Ok(()),
            ParameterKind::Boolean => wrong(format!("{shown:?} is neither true nor false")),
            // Whoever gives a value itself may have typed the secret: it is not repeated.
            ParameterKind::Secret => wrong(BY_NAME.to_owned()),
            ParameterKind::Choice if self.choices.iter().any(|c| c == value) => Ok(()),
            ParameterKind::Choice => wrong(format!("{shown:?} is none of {}", self.choices.join(", "))),
        }
    }
}

/// Checks what a script declares.
///
/// # Errors
/// What is wrong first.
pub fn check_declarations(parameters: &[Parameter]) -> Result<(), TextError> {
    if parameters.len() > MAX_PARAMETERS {
        return Err(TextError::new("parameters", &parameters.len().to_string(), "at most 64 are allowed"));
    }
    let mut names = BTreeSet::new();
    for parameter in parameters {
        parameter.check()?;
        if !names.insert(&parameter.name) {
            return Err(TextError::new("parameter", parameter.name.as_str(), "is declared twice"));
        }
    }
    Ok(())
}

/// Returns the variables that a script gets for the values that were given.
///
/// # Errors
/// When one is missing, wrong or not declared.
pub fn fill(
    declared: &[Parameter],
    given: &BTreeMap<ParameterName, String>,
) -> Result<BTreeMap<EnvName, String>, TextError> {
    fill_with(declared, given, &BTreeSet::new())
}

/// The same, where the values of some parameters are those of secrets.
///
/// # Errors
/// When one is missing, wrong or not declared, or is a secret and should not be, or the other way round.
pub fn fill_with(
    declared: &[Parameter],
    given: &BTreeMap<ParameterName, String>,
    secrets: &BTreeSet<&ParameterName>,
) -> Result<BTreeMap<EnvName, String>, TextError> {
    let names = given.keys().chain(secrets.iter().copied());
    if let Some(name) = names.into_iter().find(|name| declared.iter().all(|p| p.name != **name)) {
        let names: Vec<&str> = declared.iter().map(|p| p.name.as_str()).collect();
        let has = if names.is_empty() { "it declares none".to_owned() } else { format!("it has {}", names.join(", ")) };
        return Err(TextError::new("parameter", name.as_str(), format!("is unknown to the script; {has}")));
    }
    let mut filled = BTreeMap::new();
    for parameter in declared {
        if secrets.contains(&parameter.name) {
            if parameter.kind != ParameterKind::Secret {
                let why = "is not declared as a secret: type = \"secret\"";
                return Err(TextError::new("parameter", parameter.name.as_str(), why));
            }
            continue;
        }
        match given.get(&parameter.name).or(parameter.default.as_ref()) {
            Some(value) => {
                parameter.check_value(value)?;
                filled.insert(parameter.name.variable(), value.clone());
            }
            None if parameter.required => {
                return Err(TextError::new("parameter", parameter.name.as_str(), "must be given"));
            }
            None => {}
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(json: &str) -> Parameter {
        serde_json::from_str(json).expect("a parameter")
    }

    #[test]
    fn declarations_that_contradict_themselves_are_refused() {
        for good in [
            r#"{"name":"days","type":"integer","default":"30","min":1,"max":365}"#,
            r#"{"name":"env","type":"choice","choices":["prod","test"],"default":"test"}"#,
            r#"{"name":"key","pattern":"[a-z]+(-[a-z]+)*","required":true}"#,
        ] {
            assert_eq!(check_declarations(&[declared(good)]), Ok(()), "{good}");
        }
        for bad in [
            r#"{"name":"days","type":"integer","default":"366","max":365}"#,
            r#"{"name":"days","type":"integer","min":2,"max":1}"#,
            r#"{"name":"env","type":"choice"}"#,
            r#"{"name":"env","choices":["a"]}"#,
            r#"{"name":"key","pattern":"("}"#,
            r#"{"name":"key","pattern":"(a{1000}){1000}"}"#,
            r#"{"name":"flag","type":"boolean","pattern":"x"}"#,
        ] {
            assert!(check_declarations(&[declared(bad)]).is_err(), "{bad}");
        }
        let twice = declared(r#"{"name":"a"}"#);
        assert!(check_declarations(&[twice.clone(), twice]).is_err());
    }

    #[test]
    fn values_are_checked_by_type_and_become_variables() {
        let all = [
            declared(r#"{"name":"days","type":"integer","default":"30","min":1}"#),
            declared(r#"{"name":"key_id","pattern":"[a-z]+","required":true}"#),
            declared(r#"{"name":"dry","type":"boolean"}"#),
        ];
        let given = |pairs: &[(&str, &str)]| -> Result<Vec<(String, String)>, String> {
            let given =
                pairs.iter().map(|(n, v)| (ParameterName::parse(*n).expect("a name"), (*v).to_owned())).collect();
            let filled = fill(&all, &given).map_err(|e| e.to_string())?;
            Ok(filled.into_iter().map(|(n, v)| (n.to_string(), v)).collect())
        };
        let expected = vec![("PARAM_DAYS".to_owned(), "30".to_owned()), ("PARAM_KEY_ID".to_owned(), "ab".to_owned())];
        assert_eq!(given(&[("key_id", "ab")]), Ok(expected));
        for bad in [
            &[][..],
            &[("key_id", "a-b")],
            &[("key_id", "ab\ncd")],
            &[("key_id", "ab"), ("days", "0")],
            &[("key_id", "ab"), ("dry", "yes")],
            &[("key_id", "ab"), ("other", "x")],
        ] {
            assert!(given(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_is_given_by_its_name_alone() {
        let all = [
            declared(r#"{"name":"password","type":"secret","required":true}"#),
            declared(r#"{"name":"days","type":"integer"}"#),
        ];
        assert_eq!(check_declarations(&all), Ok(()));
        assert!(check_declarations(&[declared(r#"{"name":"a","type":"secret","default":"x"}"#)]).is_err());
        let name = |text: &str| ParameterName::parse(text).expect("a name");
        let (password, days, other) = (name("password"), name("days"), name("other"));
        let none = BTreeMap::new();
        assert_eq!(fill_with(&all, &none, &[&password].into()), Ok(BTreeMap::new()));
        assert!(fill(&all, &none).is_err(), "it is required");
        assert!(fill_with(&all, &none, &[&password, &days].into()).is_err(), "is no secret");
        assert!(fill_with(&all, &none, &[&password, &other].into()).is_err(), "is not declared");
        let typed = [(password, "canary".to_owned())].into();
        let refused = fill(&all, &typed).expect_err("is a secret").to_string();
        assert!(!refused.contains("canary") && refused.contains("--param-secret"), "{refused}");
    }

    #[test]
    fn a_parameter_without_extras_stays_short() {
        let text = r#"{"name":"days","type":"integer"}"#;
        assert_eq!(serde_json::to_string(&declared(text)).expect("JSON"), text);
    }
}
