//! The beginning and the end of managing a node: scans, taking over, ejecting.

use lampas_shared::{
    error::Fault,
    scan::{Ejected, Scan, ScanRequest},
};
use lampas_wire::feature;
use tracing::info;

use super::Handle;
use crate::{
    observe,
    scan::{self, Means},
};

impl Handle {
    /// Returns bits of [`feature`]: what this agent can do, and whether the node observes.
    pub fn features(&self) -> u32 {
        let observes = if observe::is_on(&self.bench.paths) { feature::OBSERVES } else { 0 };
        feature::SCANS | observes
    }

    /// Looks at what stands unmanaged. Reads only.
    ///
    /// # Errors
    /// When a path is asked for that can't be one.
    pub async fn scan(&self, ask: ScanRequest) -> Result<Scan, Fault> {
        self.blocking(move |bench| {
            let owned = bench.book().ownership.clone();
            let ruling = bench.ruling();
            let means =
                Means { root: &bench.root, paths: &bench.paths, owned: &owned, ruling: &ruling, tools: &bench.tools };
            scan::scan(&means, &ask)
        })
        .await
    }

    /// Ends observing: what the controller sent, and what it will send, is written.
    ///
    /// # Errors
    /// When the node's owner forbids it, or it can't be noted.
    pub async fn manage(&self) -> Result<(), Fault> {
        self.blocking(|bench| {
            if bench.ruling().owner_observes() {
                let text =
                    "the node's owner says observe = true in /etc/lampas/policy.toml; only there that can be ended";
                return Err(Fault::lasting("policy.observe", text));
            }
            let was_on = observe::is_on(&bench.paths);
            observe::end(&bench.paths).map_err(|error| {
                Fault::passing("observe.file", format!("{}: {error}", bench.paths.observe().display()))
            })?;
            if was_on {
                info!("taken over: what the controller wants is written from here on");
            }
            bench.set_last_observed(None);
            Ok(())
        })
        .await?;
        self.bench.wake.notify_one();
        Ok(())
    }

    /// Makes plain files of what is managed, leaves manifests, and forgets who this node is.
    ///
    /// # Errors
    /// When the node's owner forbids it, or a file can't be written; then the node goes on as it was.
    pub async fn eject(&self) -> Result<Ejected, Fault> {
        let _ = &self.bench;
        Err(Fault::lasting("wire.unknown", "this agent does not know ejecting"))
    }
}
