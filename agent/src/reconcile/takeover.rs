//! The beginning and the end of managing a node: scans, taking over, ejecting.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lampas_shared::{
    desired::{Resource, Spec},
    error::Fault,
    scan::{Ejected, EjectedPlace, Scan, ScanRequest},
};
use lampas_wire::feature;
use tracing::info;

use super::{Bench, Handle, manifest};
use crate::{
    host::{self, EjectedJob, Ownership},
    journal::Transaction,
    observe,
    scan::{self, Means},
    system::{Modified, NewFile},
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

    /// Makes plain files of what is managed, leaves manifests, and forgets who this node is. A pass that is under way ends
    /// first, and no other writes from then on.
    ///
    /// # Errors
    /// When the node's owner forbids it, or a file can't be written; then what was written is put back and the node goes on.
    pub async fn eject(&self) -> Result<Ejected, Fault> {
        let was_observing = self
            .blocking(|bench| {
                let ruling = bench.ruling();
                if ruling.owner_observes() || ruling.is_malformed() {
                    let text = "the node's own policy forbids writing; root can eject it there: lampas-agent eject";
                    return Err(Fault::lasting("policy.observe", text));
                }
                let was_on = observe::is_on(&bench.paths);
                observe::begin(&bench.paths)
                    .map_err(|e| unwritten(&bench.paths.observe().display().to_string(), &e))?;
                Ok(was_on)
            })
            .await?;
        let ended = self.pass().await;
        let ejected = match ended {
            Ok(()) => self.eject_now().await,
            Err(fault) => Err(fault),
        };
        if ejected.is_err() && !was_observing {
            self.blocking(|bench| {
                observe::end(&bench.paths).map_err(|e| unwritten(&bench.paths.observe().display().to_string(), &e))
            })
            .await?;
        }
        ejected
    }

    /// Ejects where no pass runs: offline, as the node's owner's right, whatever its policy says.
    ///
    /// # Errors
    /// When a file can't be written; then what was written is put back.
    pub async fn eject_now(&self) -> Result<Ejected, Fault> {
        let ejected = self.blocking(eject).await?;
        self.bench.ejected.send_replace(true);
        Ok(ejected)
    }

    /// Waits until the node is ejected.
    pub async fn ejected(&self) {
        // The sender lives as long as this handle.
        let _ = self.bench.ejected.subscribe().wait_for(|is_ejected| *is_ejected).await;
    }
}

fn eject(bench: &Bench) -> Result<Ejected, Fault> {
    let (owned, state, journal) = {
        let book = bench.book();
        (book.ownership.clone(), book.goal()?.map(|goal| goal.state), book.journal.clone())
    };
    let resources: Vec<Resource> = state.iter().flat_map(|s| s.resources().cloned()).collect();
    let job = |r: &Resource| {
        let (spec, secrets) = match &r.spec {
            Spec::Sealed(sealed) => (&*sealed.base, sealed.texts.keys().cloned().collect()),
            spec => (spec, BTreeSet::new()),
        };
        let Spec::Cron(job) = spec else { return None };
        Some((r.object, EjectedJob { name: r.name.clone(), job: job.clone(), secrets }))
    };
    let jobs = resources.iter().filter_map(job).collect();
    let directory = "/var/lib/lampas/ejected";
    let ejection = host::eject(&bench.root, &owned, &jobs, &bench.facts().time_zone, directory)?;
    bench.root.make_directories(directory, 0o755).map_err(|e| e.to_fault())?;
    let none = BTreeMap::new();
    let write = |path: &str, text: &str, (uid, mode): (u32, u32)| {
        let file = NewFile { bytes: text.as_bytes(), uid, gid: 0, mode, xattrs: &none, modified: Modified::Now };
        bench.root.write(path, &file).map_err(|e| e.to_fault())
    };
    let mut manifests = Vec::new();
    for (kind, text) in manifest::of(&resources, &|hash| journal.blob(hash).ok().flatten()) {
        let path = format!("{directory}/{kind}.toml");
        write(&path, &text, (0, 0o600))?;
        manifests.push(path);
    }
    let accounts = bench.root.accounts();
    for (path, script) in &ejection.scripts {
        let owner = script.of.as_ref().map(|user| accounts.user(user.as_str()).map_or(0, |a| a.uid));
        write(path, &script.text, owner.map_or((0, 0o755), |uid| (uid, 0o400)))?;
    }
    let result = host::apply(&bench.root, &ejection.plan, &mut |record: &host::Record| {
        let mut transaction = Transaction::new();
        transaction.ownership(&owned, &record.ownership);
        journal.commit(transaction).map(drop).map_err(Fault::from)
    });
    if let Err(error) = result {
        host::roll_back(&bench.root, &error.record.undo, &mut |record: &host::Record| {
            let mut transaction = Transaction::new();
            transaction.ownership(&owned, &record.ownership);
            journal.commit(transaction).map(drop).map_err(Fault::from)
        })?;
        for path in ejection.scripts.keys() {
            bench.root.remove(path, 0).map_err(|e| e.to_fault())?;
        }
        return Err(error.fault);
    }
    bench.book().ownership = Arc::default();
    host::keep_ownership(&bench.root, &Ownership::default()).map_err(|e| e.to_fault())?;
    let identity = bench.paths.identity();
    match std::fs::remove_dir_all(&identity) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(unwritten(&identity.display().to_string(), &error));
        }
        _ => {}
    }
    info!(places = ejection.places.len(), "ejected: what LAMPAS wrote stands as plain files, and the identity is gone");
    let mut places = ejection.places;
    // As many as one answer tells; all of them stand on the node.
    let more = places.len().saturating_sub(900);
    if more > 0 {
        places.truncate(900);
        places.push(EjectedPlace { path: format!("and {more} more"), what: "as they stand".to_owned() });
    }
    Ok(Ejected { places, manifests })
}

fn unwritten(path: &str, error: &std::io::Error) -> Fault {
    Fault::passing("eject.file", format!("{path}: {error}"))
}
