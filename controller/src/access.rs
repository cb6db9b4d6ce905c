//! Users, sessions, tokens and the rule of who may do what.
//!
//! A password is checked here once, at sign-in; from then on a session's secret or an API token speaks for the user.
//! Both stand in the store as hashes only. What somebody may is the union of the own preset, over the whole fleet, and of
//! grants over scopes, to the user or to a group ([`grant`], [`group`]). What a token may do is bounded by its preset, by
//! what its owner may at that moment, and by its network; its owner may hold it to fewer permissions and to one scope. Who has a second factor is asked
//! for a code too, and grave calls want a session whose owner was there within the last ten minutes.

pub mod api;
mod device;
mod factor;
pub(crate) mod grant;
pub(crate) mod group;
mod oidc;
mod password;
mod proof;
pub(crate) mod reach;
pub mod secret;
mod session;
mod store;
#[cfg(test)]
mod tests;
mod throttle;
mod token;
mod user;
mod webauthn;

use lampas_shared::error::Chain;
use thiserror::Error;
use tracing::warn;

use crate::{
    api::{guard::Caller, problem::Refusal},
    audit::{Entry, Principal},
    config::Config,
    db::{Db, DbError},
};

pub(crate) use factor::check_factors;
#[cfg(test)]
pub(crate) use factor::code_at;
pub(crate) use grant::store::{everybody, rights};
pub use password::Passwords;
pub use proof::{Proof, Unproven};
pub(crate) use reach::{Outside, Reach};
pub use session::Opened;
#[cfg(test)]
pub(crate) use store::UserRow;
pub(crate) use store::{insert_user, permitted, user_by_login};
pub use throttle::Throttle;
pub(crate) use token::must_be_whole;

/// The service behind sign-in, users and tokens.
#[derive(Debug)]
pub struct Access {
    db: Db,
    passwords: Passwords,
    throttle: Throttle,
    factors: factor::Factors,
    place: webauthn::Place,
    oidc: oidc::Oidc,
    session_idle_ms: i64,
    session_ms: i64,
}

/// Why an act on users, sessions or tokens is refused.
#[derive(Debug, Error)]
pub enum AccessError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] DbError),
    /// It can be said to the caller as it is.
    #[error("{}", .0.detail)]
    Refused(Refusal),
}

crate::store_error!(AccessError);

impl From<Refusal> for AccessError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Store(error) => Self::internal(&error),
            AccessError::Refused(refusal) => refusal,
        }
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        Self::internal(&error)
    }
}

impl Access {
    /// Makes the service over a store.
    pub fn new(db: Db, config: &Config) -> Self {
        Self {
            db,
            passwords: Passwords::new(config.limits.password_hashes),
            throttle: Throttle::default(),
            factors: factor::Factors::new(&config.data_dir),
            place: webauthn::Place::of(&config.dashboard_url(config.listen.port())),
            oidc: oidc::Oidc::new(config),
            session_idle_ms: (config.limits.session_idle_secs * 1000) as i64,
            session_ms: (config.limits.session_secs * 1000) as i64,
        }
    }

    /// Says where the dashboard is reached, when the port was chosen at the start.
    #[must_use]
    pub(crate) fn at(self, url: &str) -> Self {
        Self { place: webauthn::Place::of(url), oidc: self.oidc.at(url), ..self }
    }

    /// Audits an act that was refused before, or by, its handler.
    pub async fn audit_refused(&self, caller: &Caller, act: &'static str, why: &str) -> Result<(), DbError> {
        let why = why.strip_prefix("refused: ").unwrap_or(why);
        self.note(Entry::refused(&caller.as_principal(), act, "", why).because(caller.reason.clone())).await
    }

    /// Audits an act that changed nothing in the store.
    pub async fn audit_done(&self, caller: &Caller, act: &'static str, object: &str) -> Result<(), DbError> {
        self.note(Entry::done(&caller.as_principal(), act, object).because(caller.reason.clone())).await
    }

    async fn note(&self, entry: Entry) -> Result<(), DbError> {
        self.db
            .write(|mut tx| {
                let entry = entry.clone();
                async move {
                    tx.audit(entry);
                    Ok(tx.done(()))
                }
            })
            .await
    }
}

/// When a credential was last used can't be noted: its owner still gets to look, as on a full disk.
fn pass_over(touched: Result<(), DbError>) {
    if let Err(error) = touched {
        warn!(error = %Chain(&error), "the last use of a credential was not noted");
    }
}

impl Caller {
    /// Returns who acts, for services and the audit.
    pub fn as_principal(&self) -> Principal {
        let proof = self.proof(lampas_runtime::clock::now());
        let principal = Principal { proof, ..Principal::new(self.principal(), self.address.to_string()) };
        match &self.identity {
            Some(identity) => Principal { rights: Some(identity.rights.clone()), ..principal },
            // A stranger may nothing; what is open to everybody asks for no right.
            None => principal.with_rights(lampas_shared::access::Rights::default()),
        }
    }
}
