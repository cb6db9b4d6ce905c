//! Variables and secrets: values with names, which templates use.
//!
//! A secret says which of its values stands, never the value: values are set apart from the object, kept sealed, and given
//! to the nodes that use them alone. So an object of a secret can be shown, compared and exported like any other.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{TextError, check_line, id::SecretValueId, template::check_value_name};

/// The longest value of a variable, in bytes.
const MAX_VAR_BYTES: usize = 16 << 10;
/// The longest value of a secret, in bytes: a key with its chain of certificates fits.
pub const MAX_SECRET_BYTES: usize = 32 << 10;

/// A variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Var {
    /// The value: text of at most 16 KiB.
    pub value: String,
    /// What it is for; one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl Var {
    pub(crate) fn check(&self, name: &str) -> Result<(), TextError> {
        check_value_name(name)?;
        check_line("description", &self.description, 500)?;
        if self.value.len() > MAX_VAR_BYTES {
            let reason = format!("{} bytes, at most {MAX_VAR_BYTES} are allowed", self.value.len());
            return Err(TextError::new("value", "…", reason));
        }
        if self.value.contains('\0') {
            return Err(TextError::new("value", &self.value, "contains a NUL byte"));
        }
        Ok(())
    }
}

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// What it is for; one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Which of its values stands; a draft without one keeps that which stands.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "value_id")]
    pub value: Option<SecretValueId>,
}

/// Reads which value stands. Somebody may write the value itself there: what is wrong is not repeated.
fn value_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretValueId>, D::Error> {
    let wrong = || D::Error::custom("is not the id of a value; a value comes by itself: lampasctl secret set NAME");
    let text = Option::<String>::deserialize(deserializer).map_err(|_| wrong())?;
    text.map(|t| SecretValueId::parse(&t)).transpose().map_err(|_| wrong())
}

impl Secret {
    pub(crate) fn check(&self, name: &str) -> Result<(), TextError> {
        check_value_name(name)?;
        check_line("description", &self.description, 500)
    }
}

/// A value that is to go from a node's disk and has not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillHeld {
    /// Which.
    pub value: SecretValueId,
    /// Why, in words that name the place and say nothing of the value.
    pub why: String,
}

/// The value of a secret on its way in. It is never shown, also not when it is wrong.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Checks and wraps a value: text of 1 byte to 32 KiB without NUL.
    ///
    /// # Errors
    /// With a reason that says nothing of the value.
    pub fn parse(text: String) -> Result<Self, TextError> {
        let wrong = |reason: String| Err(TextError::new("value", "", reason));
        match text.len() {
            0 => wrong("is empty".to_owned()),
            n if n > MAX_SECRET_BYTES => wrong(format!("{n} bytes, at most {MAX_SECRET_BYTES} are allowed")),
            _ if text.contains('\0') => wrong("contains a NUL byte".to_owned()),
            _ => Ok(Self(text)),
        }
    }

    /// Returns the value, for whoever seals it or puts it where it belongs.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(redacted)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own words would repeat what was given.
        let text = String::deserialize(deserializer).map_err(|_| serde::de::Error::custom("value: must be text"))?;
        Self::parse(text).map_err(|e| serde::de::Error::custom(format!("value: {}", e.reason)))
    }
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for SecretText {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::schema::SchemaFormat::KnownFormat(
                utoipa::openapi::schema::KnownFormat::Password,
            )))
            .into()
    }
}
#[cfg(feature = "schema")]
impl utoipa::ToSchema for SecretText {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_repeated() {
        let value = SecretText::parse("hunter2".into()).expect("a value");
        assert!(!format!("{value:?}").contains("hunter2"));
        for wrong in ["\"a\\u0000canary\"", "123456", "[\"canary\"]", "\"\""] {
            let error = serde_json::from_str::<SecretText>(wrong).expect_err(wrong).to_string();
            assert!(!error.contains("canary") && !error.contains("123456"), "{error}");
        }
        for wrong in ["\"canary\"", "123456", "[\"canary\"]"] {
            let body = format!("{{\"value\":{wrong}}}");
            let error = serde_json::from_str::<Secret>(&body).expect_err(wrong).to_string();
            assert!(!error.contains("canary") && !error.contains("123456"), "{error}");
        }
    }
}
