//! Who lets root code out is asked who they are, as for other grave acts: whoever sits down at a desk that somebody left, or
//! finds an API token, gets no root on the fleet by it.
//!
//! It goes by what an act would have as its effect, which only its service knows, in its transaction: so the principal
//! carries whether there is a proof, and the service asks once it knows that root code comes or goes
//! (`lampas_shared::root_code`). Drafts and plans stay free.

use lampas_api::FieldProblem;
use lampas_shared::time::UnixMs;
use thiserror::Error;

use crate::{
    api::{
        guard::{Caller, Credential, PROVEN_MS},
        problem::Refusal,
    },
    audit::Principal,
};

/// Whether who acts has lately shown who they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Proof {
    /// Nobody is asked: the controller acts, or a schedule or a source, and whoever set those up was asked then.
    #[default]
    NotAsked,
    /// There is one.
    Given,
    /// There is none; what to say to who acts.
    Missing(String),
}

/// Root code would come or go, and who lets it has not lately shown who they are.
#[derive(Debug, Error)]
#[error("this is root code ({}): {how}", listed(.effects))]
pub struct Unproven {
    /// What it is, at most a hundred.
    pub effects: Vec<String>,
    /// What to do.
    pub how: String,
}

/// How many are named in a sentence.
const NAMED: usize = 3;
/// How many are listed beside it.
const SHOWN: usize = 20;

fn listed(effects: &[String]) -> String {
    let more = effects.len().saturating_sub(NAMED);
    let first = effects.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    if more == 0 { first } else { format!("{first}; and {more} more") }
}

impl From<&Unproven> for Refusal {
    fn from(error: &Unproven) -> Self {
        let told = |effect: &String| FieldProblem { pointer: String::new(), detail: effect.clone() };
        let fields = error.effects.iter().take(SHOWN).map(told).collect();
        Self { fields, ..Self::new("reauthentication.root_code", error.to_string()) }
    }
}

impl Principal {
    /// Returns whether a proof is missing, should there be root code.
    pub(crate) fn is_unproven(&self) -> bool {
        matches!(self.proof, Proof::Missing(_))
    }

    /// Wants a proof if there is root code; what there is of it is only looked at where a proof is missing.
    ///
    /// # Errors
    /// With what is root code, and what to do.
    pub(crate) fn must_be_proven(&self, effects: impl FnOnce() -> Vec<String>) -> Result<(), Unproven> {
        let Proof::Missing(how) = &self.proof else { return Ok(()) };
        let effects = effects();
        if effects.is_empty() { Ok(()) } else { Err(Unproven { effects, how: how.clone() }) }
    }
}

impl Caller {
    /// Says whether who calls has lately shown who they are. To have been signed in on a machine is such a proof for a
    /// while: somebody confirmed it, and showed who they are for it.
    pub(super) fn proof(&self, now: UnixMs) -> Proof {
        let Some(identity) = &self.identity else { return Proof::Missing("sign in first".to_owned()) };
        let (at, how) = match &identity.by {
            Credential::Session { proven_at, .. } => {
                (*proven_at, "show once more that it is you, with password and code".to_owned())
            }
            Credential::Machine { proven_at, opened_at, .. } => {
                (*proven_at.max(opened_at), "confirm in the dashboard that it is you".to_owned())
            }
            Credential::Token { is_grave: true, .. } => return Proof::Given,
            Credential::Token { name, .. } => {
                return Proof::Missing(format!("the API token {name} was made without the right to grave calls"));
            }
        };
        if now.since(at) < PROVEN_MS { Proof::Given } else { Proof::Missing(how) }
    }
}

#[cfg(test)]
mod tests;
