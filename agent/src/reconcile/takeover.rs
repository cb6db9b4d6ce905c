//! The beginning and the end of managing a node: scans, taking over, ejecting.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::{Arc, PoisonError},
};

use lampas_shared::{
    desired::{NodeDesired, Resource, Spec},
    error::Fault,
    object::{Kind, Target},
    report::{ResourceReport, ResourceState},
    scan::{Ejected, EjectedPlace, Scan, ScanRequest},
};
use lampas_wire::feature;
use tracing::{info, warn};

use super::{Bench, Handle, book::Book, manifest};
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
        feature::SCANS | feature::APPROVALS | observes
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
        self.eject_and(std::future::ready(())).await
    }

    /// Ejects as [`Handle::eject`] does, and does something else before the agent stops.
    ///
    /// # Errors
    /// As there.
    pub async fn eject_and(&self, then: impl Future<Output = ()> + Send) -> Result<Ejected, Fault> {
        self.blocking(|bench| {
            let ruling = bench.ruling();
            if ruling.owner_observes() || ruling.is_malformed() {
                let text = "the node's own policy forbids writing; root can eject it there: lampas-agent eject";
                return Err(Fault::lasting("policy.observe", text));
            }
            Ok(())
        })
        .await?;
        let was_observing = self.observe().await?;
        let ejected = match self.pass().await {
            Err(fault) if !self.bench.over.is_cancelled() => Err(Unejected::Back(fault)),
            // Who asks once more, since the answer was lost, gets one: no pass is left to wait for.
            _ => self.blocking(|bench| Ok(eject(bench))).await?,
        };
        let ejected = self.or_go_on(ejected, was_observing).await?;
        then.await;
        self.bench.ejected.send_replace(true);
        Ok(ejected)
    }

    /// Ejects where no pass runs: offline, as the node's owner's right, whatever its policy says.
    ///
    /// # Errors
    /// When a file can't be written; then what was written is put back.
    pub async fn eject_now(&self) -> Result<Ejected, Fault> {
        let was_observing = self.observe().await?;
        let ejected = self.blocking(|bench| Ok(eject(bench))).await?;
        let ejected = self.or_go_on(ejected, was_observing).await?;
        self.bench.ejected.send_replace(true);
        Ok(ejected)
    }

    /// Begins to observe: from the first write of an ejection to the identity's end nothing is managed, also by an agent that
    /// starts in between. Returns whether the node observed already.
    async fn observe(&self) -> Result<bool, Fault> {
        self.blocking(|bench| {
            let was_on = observe::is_on(&bench.paths);
            observe::begin(&bench.paths).map_err(|e| unwritten(&bench.paths.observe().display().to_string(), &e))?;
            Ok(was_on)
        })
        .await
    }

    /// Goes on managing when nothing came of an ejection. Once its files stand, only another one or an operator ends
    /// observing: managing anew what stands as plain files would double it.
    async fn or_go_on(&self, ejected: Result<Ejected, Unejected>, was_observing: bool) -> Result<Ejected, Fault> {
        let fault = match ejected {
            Ok(ejected) => return Ok(ejected),
            Err(Unejected::Stands(fault)) => return Err(fault),
            Err(Unejected::Back(fault)) => fault,
        };
        if !was_observing {
            self.blocking(|bench| {
                observe::end(&bench.paths).map_err(|e| unwritten(&bench.paths.observe().display().to_string(), &e))
            })
            .await?;
        }
        Err(fault)
    }

    /// Waits until the node is ejected.
    pub async fn ejected(&self) {
        // The sender lives as long as this handle.
        let _ = self.bench.ejected.subscribe().wait_for(|is_ejected| *is_ejected).await;
    }
}

/// Why a node was not ejected.
enum Unejected {
    /// Nothing was written, or it was put back: the node goes on as before.
    Back(Fault),
    /// What was written stands, or a part of it, and nobody manages it. Ejecting once more goes on from there.
    Stands(Fault),
}

impl From<Fault> for Unejected {
    fn from(fault: Fault) -> Self {
        Self::Back(fault)
    }
}

fn eject(bench: &Bench) -> Result<Ejected, Unejected> {
    // What files lose here is no change by hand: no pass looks meanwhile.
    let _passing = bench.passing.lock().unwrap_or_else(PoisonError::into_inner);
    let (owned, goal, standing, journal) = {
        let book = bench.book();
        let goal = book.goal().map_err(Fault::from)?.map(|goal| goal.state);
        (book.ownership.clone(), goal, in_force(&book)?, book.journal.clone())
    };
    let job = |r: &Resource| {
        let (spec, secrets) = match &r.spec {
            Spec::Sealed(sealed) => (&*sealed.base, sealed.texts.keys().cloned().collect()),
            spec => (spec, BTreeSet::new()),
        };
        let Spec::Cron(job) = spec else { return None };
        Some((r.object, EjectedJob { name: r.name.clone(), job: job.clone(), secrets }))
    };
    let jobs = goal.iter().flat_map(|state| state.resources()).filter_map(job).collect();
    let directory = "/var/lib/lampas/ejected";
    let ejection = host::eject(&bench.root, &owned, &jobs, &bench.facts().time_zone, directory)?;
    bench.root.make_directories(directory, 0o755).map_err(|e| e.to_fault())?;
    let none = BTreeMap::new();
    let write = |path: &str, text: &str, (uid, mode): (u32, u32)| {
        let file = NewFile { bytes: text.as_bytes(), uid, gid: 0, mode, xattrs: &none, modified: Modified::Now };
        bench.root.write(path, &file).map_err(|e| e.to_fault())
    };
    let mut manifests = Vec::new();
    for (kind, text) in manifest::of(&standing, &|hash| journal.blob(hash).ok().flatten()) {
        let path = format!("{directory}/{kind}.toml");
        write(&path, &text, (0, 0o600))?;
        manifests.push(path);
    }
    let accounts = bench.root.accounts();
    let written = ejection.scripts.iter().try_for_each(|(path, script)| {
        let owner = script.of.as_ref().map(|user| accounts.user(user.as_str()).map_or(0, |a| a.uid));
        write(path, &script.text, owner.map_or((0, 0o755), |uid| (uid, 0o400)))
    });
    if let Err(fault) = written {
        sweep(bench, &owned, ejection.scripts.keys());
        return Err(Unejected::Back(fault));
    }
    let mut journalled = Ownership::clone(&owned);
    let mut record = |record: &host::Record| {
        let mut transaction = Transaction::new();
        transaction.ownership(&journalled, &record.ownership);
        journal.commit(transaction).map_err(Fault::from)?;
        journalled = record.ownership.clone();
        Ok(())
    };
    let result = host::apply(&bench.root, &ejection.plan, &mut record);
    if let Err(error) = result {
        let back = host::roll_back(&bench.root, &error.record.undo, &mut record);
        sweep(bench, &owned, ejection.scripts.keys());
        return Err(match back {
            Ok(_) => Unejected::Back(error.fault),
            Err(fault) => {
                let text = format!(
                    "{}; and what was written could not be put back ({fault}): the node only observes until it is \
                     ejected, or taken over by lampasctl node manage",
                    error.fault.message
                );
                Unejected::Stands(Fault { message: text, ..error.fault })
            }
        });
    }
    bench.book().ownership = Arc::default();
    // On a full disk it can be removed all the same.
    if let Err(error) = host::keep_ownership(&bench.root, &Ownership::default())
        && let Err(unremoved) = host::forget_ownership(&bench.root)
    {
        warn!(%error, %unremoved, "the copy of what LAMPAS owned stays; nothing of it is managed");
    }
    forget_identity(&bench.paths.identity()).map_err(Unejected::Stands)?;
    bench.over.cancel();
    // What stands keeps its values; nothing else does.
    if let Err(error) = bench.forget_secrets() {
        warn!(%error, "sealed values of secrets, or copies with them, stay below /var/lib/lampas/agent: remove them by hand");
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

/// Returns what is in force: of the state that is kept true what was reported so, and of the one before it what LAMPAS still
/// owns. What was only observed, or waits, never stood here.
fn in_force(book: &Book) -> Result<Vec<Resource>, Fault> {
    let mut found = BTreeMap::new();
    let before = if let Some(current) = book.current.as_ref().filter(|_| book.follows()) {
        let is_in_force = |r: &&ResourceReport| matches!(r.state, ResourceState::Converged | ResourceState::Drifted);
        let reported: BTreeSet<&Target> = current.resources.iter().filter(is_in_force).map(|r| &r.target).collect();
        let resources = current.state.resources().filter(|r| reported.contains(&r.target));
        found.extend(resources.map(|r| (r.target.clone(), r.clone())));
        book.journal.good()?.filter(|good| good.node == current.state.node)
    } else {
        book.goal()?.map(|goal| NodeDesired::clone(&goal.state))
    };
    let owned: BTreeSet<&Target> = book.ownership.places.values().flat_map(|place| place.claims.keys()).collect();
    for resource in before.iter().flat_map(NodeDesired::resources).filter(|r| owned.contains(&r.target)) {
        found.entry(resource.target.clone()).or_insert_with(|| resource.clone());
    }
    Ok(found.into_values().collect())
}

/// Removes the scripts of an ejection that did not come about, but for those that a line calls all the same.
fn sweep<'a>(bench: &Bench, owned: &Ownership, scripts: impl Iterator<Item = &'a String>) {
    let of_cron = owned.places.iter().filter(|(_, place)| place.claims.values().any(|c| c.kind == Kind::Cron));
    let standing: Vec<Vec<u8>> =
        of_cron.filter_map(|(path, _)| bench.root.read(path, 64 << 20).ok().flatten()).collect();
    let is_called = |path: &str| standing.iter().any(|bytes| String::from_utf8_lossy(bytes).contains(path));
    for path in scripts.filter(|path| !is_called(path)) {
        if let Err(error) = bench.root.remove(path, 0) {
            warn!(path, %error, "a script of the ejection stays");
        }
    }
}

/// Removes the identity: in one step, so that no half of it is taken for one.
fn forget_identity(identity: &Path) -> Result<(), Fault> {
    let gone = identity.with_extension("gone");
    let renamed = remove(&gone).and_then(|()| match fs::rename(identity, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    });
    renamed.map_err(|error| {
        let text = format!(
            "{}: {error}; what LAMPAS wrote stands as plain files and is not managed any more: eject once more",
            identity.display()
        );
        Fault::passing("eject.file", text)
    })?;
    if let Err(error) = remove(&gone) {
        warn!(path = %gone.display(), %error, "the identity that is gone leaves files behind");
    }
    Ok(())
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn unwritten(path: &str, error: &io::Error) -> Fault {
    Fault::passing("eject.file", format!("{path}: {error}"))
}
