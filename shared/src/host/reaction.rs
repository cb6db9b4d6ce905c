//! What follows a change of a file: a unit of systemd takes it up.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::UnitName;
use crate::TextError;

/// The most reactions of one object; more is a mistake.
const MAX_REACTIONS: usize = 16;

/// A unit that is reloaded or restarted after a change, once per apply, when all files of the group stand:
/// `reload nginx.service`. A unit that does not run is left alone: what it reads when it starts is the new content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reaction {
    /// What is done.
    pub verb: ReactionVerb,
    /// To which unit.
    pub unit: UnitName,
}

crate::text::string_schema!(Reaction, "reload nginx.service");

/// What is done to a unit after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReactionVerb {
    /// It reads its configuration again and runs on.
    Reload,
    /// It ends and starts again.
    Restart,
}

impl ReactionVerb {
    /// Returns the word, as in manifests; systemctl(1) has the same.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Restart => "restart",
        }
    }
}

impl Reaction {
    /// Checks the reactions of one object.
    ///
    /// # Errors
    /// When there are too many, or one names what can't be reloaded or is the agent itself.
    pub fn check_all(reactions: &[Self]) -> Result<(), TextError> {
        if reactions.len() > MAX_REACTIONS {
            let reason = format!("{} units, at most {MAX_REACTIONS} are allowed", reactions.len());
            return Err(TextError::new("on_change", "…", reason));
        }
        reactions.iter().try_for_each(Self::check)
    }

    fn check(&self) -> Result<(), TextError> {
        let wrong = |reason: &str| Err(TextError::new("on_change", &self.to_string(), reason));
        if self.unit.is_template() {
            return wrong("a template has nothing that runs; name an instance of it");
        }
        if self.unit.as_str() == "lampas-agent.service" {
            return wrong("the agent does not restart itself in the middle of its own work");
        }
        if let Some(reason) = self.unit.ends_the_node() {
            return wrong(reason);
        }
        Ok(())
    }

    /// Says what is done, for people: `reloads nginx.service`.
    pub fn describe(&self) -> String {
        format!("{}s {}", self.verb.as_str(), self.unit)
    }
}

impl fmt::Display for Reaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb.as_str(), self.unit)
    }
}

impl FromStr for Reaction {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let wrong = || TextError::new("on_change", text, "write it as \"reload UNIT\" or \"restart UNIT\"");
        let (verb, unit) = text.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
        let verb = match verb {
            "reload" => ReactionVerb::Reload,
            "restart" => ReactionVerb::Restart,
            _ => return Err(wrong()),
        };
        Ok(Self { verb, unit: UnitName::of(unit.trim())? })
    }
}

impl TryFrom<String> for Reaction {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<Reaction> for String {
    fn from(reaction: Reaction) -> Self {
        reaction.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_is_a_verb_and_a_unit() {
        let check = |text: &str, expected: Option<&str>| {
            let read = text.parse::<Reaction>().ok().filter(|r| r.check().is_ok());
            assert_eq!(read.map(|r| r.to_string()).as_deref(), expected, "{text}");
        };
        check("reload nginx.service", Some("reload nginx.service"));
        check("restart nginx", Some("restart nginx.service"));
        check("restart app@1", Some("restart app@1.service"));
        check("reload", None);
        check("start nginx", None);
        check("reload nginx; rm -rf /", None);
        check("reload a.service b.service", None);
        check("restart lampas-agent", None);
        check("restart app@.service", None);
        check("restart systemd-poweroff", None);
    }
}
