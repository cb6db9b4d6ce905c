//! What a node puts together itself, since secrets are in it.
//!
//! The controller has put variables and facts in; secrets stand as references to their values, so that neither a compiled
//! state nor a hash, a plan or a report holds a value or anything that could be compared with a guess.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Escape;
use crate::{
    desired::{Content, Spec},
    error::Fault,
    host::{EnvName, PasswordHash, PasswordWant},
    id::SecretValueId,
    object::ObjectName,
};

/// A file, a job or a password with secrets in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// What it is without them: a file with nothing in it, a job without these variables, a password without its hash.
    pub base: Box<Spec>,
    /// Its texts: [`Sealed::CONTENT`] of a file, [`Sealed::PASSWORD`] of an account, the variables of a job by their names.
    pub texts: BTreeMap<String, Vec<Part>>,
    /// Why it can't be put together, if it can't: then the node leaves what stands there.
    pub fault: Option<String>,
}

/// A part of such a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What stands there as it is.
    Text(String),
    /// A secret's value.
    Secret {
        /// The secret.
        name: ObjectName,
        /// Which of its values.
        value: SecretValueId,
        /// How it is written.
        escape: Escape,
    },
}

impl Sealed {
    /// The one text of a file.
    pub const CONTENT: &str = "content";
    /// The one text of a password.
    pub const PASSWORD: &str = "password";

    /// Returns the values that it needs.
    pub fn values(&self) -> BTreeSet<SecretValueId> {
        let value = |part: &Part| if let Part::Secret { value, .. } = part { Some(*value) } else { None };
        self.texts.values().flatten().filter_map(value).collect()
    }

    /// Puts it together. `value` returns a secret's value.
    ///
    /// # Errors
    /// When a value can't be had, or can't stand where it is used.
    pub fn fill(&self, value: &dyn Fn(SecretValueId) -> Result<String, Fault>) -> Result<Spec, Fault> {
        if let Some(why) = &self.fault {
            return Err(Fault::lasting("template.unknown", why.clone()));
        }
        let mut texts = BTreeMap::new();
        for (field, parts) in &self.texts {
            let mut text = String::new();
            for part in parts {
                match part {
                    Part::Text(plain) => text.push_str(plain),
                    Part::Secret { value: id, escape, .. } => text.push_str(&escape.apply(&value(*id)?)),
                }
            }
            texts.insert(field.as_str(), text);
        }
        let wrong = |why: String| Fault::lasting("template.value", why);
        match (&*self.base, texts.remove(Self::CONTENT)) {
            (Spec::File { path, owner, group, mode, validate, .. }, Some(text)) => {
                let bytes = text.into_bytes();
                let mut content = Content::of(&bytes);
                content.inline = Some(bytes);
                let (path, owner, group) = (path.clone(), owner.clone(), group.clone());
                Ok(Spec::File { path, content, owner, group, mode: *mode, validate: validate.clone() })
            }
            (Spec::Password { user, want: PasswordWant::Hash { is_locked, .. } }, None) => {
                let name = self.texts.values().flatten().find_map(|part| match part {
                    Part::Secret { name, .. } => Some(name.as_str()),
                    Part::Text(_) => None,
                });
                let text = texts.remove(Self::PASSWORD).unwrap_or_default();
                let hash = PasswordHash::parse(&text).map_err(|why| {
                    Fault::lasting("user.password", format!("secret {}: {why}", name.unwrap_or("of the password")))
                })?;
                let want = PasswordWant::Hash { hash: Some(hash), is_locked: *is_locked };
                Ok(Spec::Password { user: user.clone(), want })
            }
            (Spec::Cron(job), None) => {
                let mut job = job.clone();
                for (name, text) in texts {
                    // The value itself is never told.
                    if crate::check_line("environment", &text, 4096).is_err() {
                        let why = format!("the value of {name} is not one line of at most 4,096 bytes");
                        return Err(wrong(why));
                    }
                    let name = EnvName::parse(name).map_err(|e| wrong(e.to_string()))?;
                    job.environment.insert(name, text);
                }
                Ok(Spec::Cron(job))
            }
            _ => Err(wrong("holds secrets where none can be".to_owned())),
        }
    }

    /// Returns its text again as a template, with the secrets by their names.
    pub fn template(&self, field: &str) -> Option<String> {
        Some(self.texts.get(field)?.iter().map(Part::source).collect())
    }
}

impl Part {
    /// Writes it as a template does: a text as it is, a secret by its name.
    pub fn source(&self) -> String {
        match self {
            Self::Text(plain) => super::Template::escape(plain),
            Self::Secret { name, escape, .. } => {
                let how = match escape {
                    Escape::Raw => "",
                    Escape::Shell => " | shell",
                    Escape::Quoted => " | json",
                    Escape::Base64 => " | base64",
                };
                format!("{{{{secret.{name}{how}}}}}")
            }
        }
    }
}
