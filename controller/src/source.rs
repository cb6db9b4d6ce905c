//! Git sources: repositories whose manifests the controller reads by itself.
//!
//! A look at a source has two halves. *Fetching* brings the head of a branch or tag into a bare repository below the data
//! directory, checks that it is signed and follows on the one before, reads the manifests out of its tree and stores what
//! they say of each object. *Settling* puts that beside what stands, and makes a change of what a commit brings: shown,
//! planned for somebody, or applied, by the ordinary machinery and never around it. Settling goes by the store alone, so
//! that a controller that is killed at any point, or another one, goes on where this one was. Who looks has a claim on
//! the source, and writes nothing once that is over.
//!
//! A source acts in its own name, with what whoever set it up may at that moment, and no more than that in its scope.

pub(crate) mod api;
mod compare;
mod driver;
mod fetch;
mod look;
mod run;
mod service;
mod settle;
mod ssh;
mod store;
#[cfg(test)]
mod tests;
mod tree;

use lampas_api::{HostKey, SourceCommit};
use lampas_shared::TextError;
use thiserror::Error;

pub(crate) use driver::start;
pub(crate) use service::Sources;
pub(crate) use settle::REQUEST_KEY;
pub use ssh::become_ssh;
pub(crate) use store::{brought, is_there};

use crate::{access::Outside, change::ChangeError, db::DbError, vault::VaultError};

/// Why something could not be done to a source.
#[derive(Debug, Error)]
pub enum SourceError {
    /// There is none of this name.
    #[error("there is no source {0:?}")]
    NotFound(String),
    /// There is one of this name already.
    #[error("there is a source {0} already")]
    Exists(String),
    /// A field is wrong.
    #[error("{wrong}")]
    Field {
        /// Which.
        pointer: &'static str,
        /// What is wrong.
        wrong: TextError,
    },
    /// It doesn't fit how the source stands.
    #[error("{0}")]
    Unfit(String),
    /// It lies outside of what somebody may.
    #[error(transparent)]
    Outside(#[from] Outside),
    /// The credential can't be sealed or opened.
    #[error("the credential of the source")]
    Vault(#[source] VaultError),
    /// A change.
    #[error(transparent)]
    Change(ChangeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

crate::store_error!(SourceError);

impl From<ChangeError> for SourceError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => Self::Store(error),
            other => Self::Change(other),
        }
    }
}

/// Why a look at a source gave nothing, and what to do.
#[derive(Debug, Clone, Default)]
struct Trouble {
    code: &'static str,
    text: String,
    remedy: String,
    mistakes: Vec<String>,
    /// The head that doesn't follow on the one before.
    refused: Option<SourceCommit>,
    /// Keys that the host showed.
    offered: Vec<HostKey>,
    /// Whether the copy of the repository is at fault: it is dropped.
    is_own: bool,
    /// Whether the controller only stops.
    is_stop: bool,
}

impl Trouble {
    fn new(code: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, text: text.into(), remedy: remedy.into(), ..Self::default() }
    }

    fn fetch(text: impl Into<String>) -> Self {
        Self::new("fetch", text, "it is tried again; lampasctl source sync NAME tries at once")
    }

    fn local(what: &str, error: &std::io::Error) -> Self {
        Self::fetch(format!("could not {what}: {error}"))
    }

    fn mistakes(mistakes: Vec<String>) -> Self {
        let first = mistakes.first().cloned().unwrap_or_default();
        let more = mistakes.len().saturating_sub(1);
        let text = if more == 0 { first } else { format!("{first} (and {more} more)") };
        let remedy = "nothing of this commit is taken: mend the manifests and push";
        Self { mistakes, ..Self::new("manifest", text, remedy) }
    }
}
