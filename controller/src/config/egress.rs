//! `[egress]`: where the controller may go by itself, when it fetches something.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Mistakes, Network, is_host};

/// Where the controller may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Private, loopback and link-local networks that may be reached; all public addresses may. Addresses that clouds
    /// serve credentials on are reached only if an entry names that address alone.
    pub allow: Vec<Network>,
    /// Hosts that may be reached by plain http; all others by https alone.
    pub allow_http: Vec<String>,
    /// Certificates (PEM) of authorities that are trusted besides those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl Egress {
    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        for (i, host) in self.allow_http.iter().enumerate() {
            if !is_host(host) {
                let what = format!("{host:?} is neither a host name nor an address; leave scheme and port out");
                mistakes.add(&format!("egress.allow_http[{i}]"), what);
            }
        }
        if self.ca_file.as_ref().is_some_and(|f| f.is_relative()) {
            mistakes.add("egress.ca_file", "must be an absolute path");
        }
    }
}
