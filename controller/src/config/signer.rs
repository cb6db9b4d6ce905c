//! `[signer]`: where the signing keys are.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Mistakes;

/// The signer, a process of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signer {
    /// The socket of a signer that runs by itself, under a user of its own. Left out: the controller starts one, with
    /// its keys under `DATA/signer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
}

impl Signer {
    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        if self.socket.as_ref().is_some_and(|s| s.is_relative()) {
            mistakes.add("signer.socket", "must be an absolute path");
        }
    }
}
