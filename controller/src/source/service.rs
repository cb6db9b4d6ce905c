//! The service behind sources: what handlers call.

mod check;
mod show;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use lampas_api::{Source, SourceCreate, SourceUpdate};
use lampas_runtime::{clock, random};
use lampas_shared::{
    TextError,
    access::Permission,
    event::EventKind,
    fleet::Scope,
    id::{SourceId, UserId},
    source::{GitFolder, SourceMode, SourceName, SourceState, SourceUrl},
    time::UnixMs,
};
use tokio::sync::Notify;

pub(super) use check::host_address;
use check::reference;
use show::shown;

use super::{
    SourceError,
    store::{self, Settings, SourceRow, Status},
};
use crate::{
    access::reach::finder,
    audit::{Entry, Principal},
    change::{Changes, set},
    config::Config,
    db::{Db, Tx},
    egress::Egress,
    event::NewEvent,
    fleet,
    vault::Vault,
};

/// How many there may be.
const MAX: usize = 200;

/// The service behind sources. Clones are the same service.
#[derive(Debug, Clone)]
pub(crate) struct Sources(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    changes: Changes,
    vault: Vault,
    egress: Egress,
    rules: crate::config::Sources,
    ca_file: Option<PathBuf>,
    root: PathBuf,
    woken: Notify,
}

/// Who sets up a source.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) by: Principal,
    pub(crate) user: UserId,
    pub(crate) login: String,
}

impl Sources {
    /// Makes the service over a store, by the configuration.
    pub(crate) fn new(changes: Changes, egress: Egress, config: &Config) -> Self {
        Self(Arc::new(Parts {
            changes,
            egress,
            vault: Vault::new(&config.data_dir, "source-key", "source/1"),
            rules: config.sources.clone(),
            ca_file: config.egress.ca_file.clone(),
            root: config.data_dir.join("sources"),
            woken: Notify::new(),
        }))
    }

    pub(super) fn changes(&self) -> &Changes {
        &self.0.changes
    }

    pub(super) fn db(&self) -> &Db {
        self.0.changes.desired().db()
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.0.vault
    }

    pub(super) fn egress(&self) -> &Egress {
        &self.0.egress
    }

    pub(super) fn ca_file(&self) -> Option<&PathBuf> {
        self.0.ca_file.as_ref()
    }

    pub(super) fn root(&self) -> &PathBuf {
        &self.0.root
    }

    pub(super) fn disk(&self) -> u64 {
        u64::from(self.0.rules.disk_mb) << 20
    }

    pub(super) fn time(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0.rules.fetch_secs.into())
    }

    /// Waits until somebody asks for a look.
    pub(super) async fn woken(&self) {
        self.0.woken.notified().await;
    }

    /// Returns the directory of a `file:///` address, if it lies within those that are allowed.
    pub(super) fn directory(&self, url: &SourceUrl) -> Result<PathBuf, TextError> {
        let wrong = |why: String| TextError::new("url", url.as_str(), why);
        let path = std::path::Path::new(url.parts().path);
        let allowed = &self.0.rules.directories;
        if allowed.is_empty() {
            return Err(wrong(
                "is a directory, and none is allowed: list it in sources.directories of controller.toml".into(),
            ));
        }
        let found = path.canonicalize().map_err(|e| wrong(format!("can't be looked at: {e}")))?;
        let is_within = |a: &PathBuf| a.canonicalize().is_ok_and(|a| found.starts_with(a));
        if allowed.iter().any(is_within) { Ok(found) } else { Err(wrong("lies outside of sources.directories".into())) }
    }

    /// Makes a source.
    ///
    /// # Errors
    /// When a field is wrong, or it lies outside of what somebody may.
    pub(crate) async fn create(&self, new: SourceCreate, owner: &Owner) -> Result<Source, SourceError> {
        let now = clock::now();
        let id: SourceId = random::new_id();
        let (branch, tag) = reference(new.branch, new.tag)?;
        let mut settings = Settings {
            url: new.url,
            branch,
            tag,
            folder: new.folder.unwrap_or_else(whole),
            mode: new.mode,
            prune: new.prune,
            interval_secs: new.interval_secs.unwrap_or(300),
            allow_unplanned: new.allow_unplanned,
            rollout: new.rollout,
            host_keys: new.host_keys,
            allowed_signers: new.allowed_signers,
            user: None,
            owner: owner.login.clone(),
        };
        let sealed = match &new.credential {
            Some(credential) => Some(self.seal(id, &mut settings, credential).await?),
            None => None,
        };
        self.check(&mut settings)?;
        let row = SourceRow {
            id,
            name: new.name,
            scope: new.scope,
            settings,
            sealed,
            user: owner.user,
            permissions: BTreeSet::new(),
            revision: 1,
            created_at: now,
            updated_at: now,
            state: SourceState::New,
            status: Status::default(),
            commit: None,
            change: None,
            draft_key: None,
            due: UnixMs(0),
            claim: None,
        };
        let (row, reason) = (&row, &new.reason);
        let made = self
            .db()
            .write(|mut tx| async move {
                let members = fleet::members(&mut tx).await?;
                let names = fleet::names(&mut tx, None).await?;
                let all = store::all(&mut tx, &names).await?;
                if all.iter().any(|s| s.name == row.name) {
                    return Err(SourceError::Exists(row.name.to_string()));
                }
                must_be_no_set(&mut tx, &row.name).await?;
                if all.len() >= MAX {
                    return Err(SourceError::Unfit(format!("there are {MAX} sources already")));
                }
                let row = SourceRow { permissions: held(owner, &row.scope, &members)?, ..row.clone() };
                must_have_node(&row.scope, &names)?;
                store::put(&mut tx, &row, &names, true).await?;
                note(&mut tx, &row, "source.create", "set up", reason, &owner.by);
                Ok(tx.done(row))
            })
            .await?;
        self.0.woken.notify_one();
        Ok(shown(&made, None))
    }

    /// Sets a source up anew; it is from then on of whoever does.
    ///
    /// # Errors
    /// When there is none, a field is wrong, or it lies outside of what somebody may.
    pub(crate) async fn update(&self, which: &str, wanted: SourceUpdate, owner: &Owner) -> Result<Source, SourceError> {
        let before = self.found(which).await?;
        let mut settings = before.settings.clone();
        let mut sealed = before.sealed.clone();
        if let Some(url) = wanted.url.filter(|u| *u != settings.url) {
            // What opens one repository is not shown to another.
            (sealed, settings.user, settings.host_keys) = (None, None, Vec::new());
            settings.url = url;
        }
        if wanted.branch.is_some() || wanted.tag.is_some() {
            (settings.branch, settings.tag) = reference(wanted.branch, wanted.tag)?;
        }
        settings.folder = wanted.folder.unwrap_or(settings.folder);
        settings.mode = wanted.mode.unwrap_or(settings.mode);
        settings.prune = wanted.prune.unwrap_or(settings.prune);
        settings.interval_secs = wanted.interval_secs.unwrap_or(settings.interval_secs);
        settings.allow_unplanned = wanted.allow_unplanned.unwrap_or(settings.allow_unplanned);
        settings.rollout = wanted.rollout.unwrap_or(settings.rollout);
        settings.host_keys = wanted.host_keys.unwrap_or(settings.host_keys);
        settings.allowed_signers = wanted.allowed_signers.unwrap_or(settings.allowed_signers);
        settings.owner.clone_from(&owner.login);
        if wanted.forget_credential {
            (sealed, settings.user) = (None, None);
        }
        if let Some(credential) = &wanted.credential {
            sealed = Some(self.seal(before.id, &mut settings, credential).await?);
        }
        self.check(&mut settings)?;
        let (settings, sealed, before) = (&settings, &sealed, &before);
        let (name, scope, reason) = (&wanted.name, &wanted.scope, &wanted.reason);
        let made = self
            .db()
            .write(|mut tx| async move {
                let members = fleet::members(&mut tx).await?;
                let names = fleet::names(&mut tx, None).await?;
                let missing = || SourceError::NotFound(before.name.to_string());
                let found = store::get(&mut tx, before.id, &names).await?.ok_or_else(missing)?;
                if found.revision != before.revision {
                    let why = format!("source {} was set up otherwise meanwhile; look again", before.name);
                    return Err(SourceError::Unfit(why));
                }
                held(owner, &found.scope, &members)?;
                let scope = scope.clone().unwrap_or_else(|| found.scope.clone());
                must_have_node(&scope, &names)?;
                let mut row = SourceRow {
                    name: name.clone().unwrap_or_else(|| found.name.clone()),
                    permissions: held(owner, &scope, &members)?,
                    user: owner.user,
                    settings: settings.clone(),
                    sealed: sealed.clone(),
                    revision: found.revision + 1,
                    updated_at: clock::now(),
                    due: UnixMs(0),
                    scope,
                    ..found.clone()
                };
                let taken = store::find(&mut tx, row.name.as_str(), &names).await?;
                if taken.is_some_and(|t| t.id != row.id) {
                    return Err(SourceError::Exists(row.name.to_string()));
                }
                if row.name != found.name {
                    must_be_no_set(&mut tx, &row.name).await?;
                }
                let point = |s: &Settings| (s.url.clone(), s.branch.clone(), s.tag.clone());
                if point(&row.settings) != point(&found.settings) {
                    // Another history: nothing of the one before follows from it.
                    row.commit = None;
                }
                // Read anew, whatever the head is.
                row.status = Status { synced_at: row.status.synced_at, counts: row.status.counts, ..Status::default() };
                row.state = SourceState::New;
                store::put(&mut tx, &row, &names, false).await?;
                note(&mut tx, &row, "source.update", "set up anew", reason, &owner.by);
                Ok::<_, SourceError>(tx.done(row))
            })
            .await?;
        self.0.woken.notify_one();
        Ok(shown(&made, None))
    }

    /// Forgets a source. The objects that it brought stay; an open change of it goes.
    ///
    /// # Errors
    /// When there is none, or it lies outside of what somebody may.
    pub(crate) async fn remove(&self, which: &str, reason: &str, by: &Principal) -> Result<(), SourceError> {
        let row = self.acted(which, "source.remove", "removed", reason, by, |tx, row| {
            Box::pin(async move { Ok(store::delete(tx, row.id).await?) })
        });
        let row = row.await?;
        if let Some(change) = row.change
            && self.changes().brief(change).await.is_ok_and(|c| c.summary.state.is_open())
        {
            self.changes().abandon(change, &by.unbound()).await?;
        }
        let _ = std::fs::remove_dir_all(self.root().join(format!("{}.git", row.id)));
        Ok(())
    }

    /// Asks for a look now; with `all` what was changed in the fleet is brought back too.
    ///
    /// # Errors
    /// When there is none, or it lies outside of what somebody may.
    pub(crate) async fn sync(
        &self,
        which: &str,
        all: bool,
        reason: &str,
        by: &Principal,
    ) -> Result<Source, SourceError> {
        let done = self.acted(which, "source.sync", "asked for", reason, by, move |tx, row| {
            Box::pin(async move {
                if all {
                    store::mark_all(tx, row.id).await?;
                }
                Ok(store::ask(tx, row.id).await?)
            })
        });
        let row = done.await?;
        self.0.woken.notify_one();
        Ok(shown(&SourceRow { due: UnixMs(0), ..row }, None))
    }

    /// Takes a head that doesn't follow on the one before.
    ///
    /// # Errors
    /// When it isn't the one that was refused.
    pub(crate) async fn accept(
        &self,
        which: &str,
        commit: &str,
        reason: &str,
        by: &Principal,
    ) -> Result<Source, SourceError> {
        let commit = commit.to_owned();
        let done = self.acted(which, "source.accept", "rewritten, which was accepted", reason, by, move |tx, row| {
            let commit = commit.clone();
            Box::pin(async move {
                let names = fleet::names(tx, None).await?;
                if row.status.refused.as_ref().is_none_or(|r| r.id != commit) {
                    let why = format!("commit {commit:?} is not the head that was refused; look again");
                    return Err(SourceError::Unfit(why.chars().take(200).collect()));
                }
                let mut row = row.clone();
                row.status.pardoned = Some(commit);
                row.revision += 1;
                row.due = UnixMs(0);
                Ok(store::put(tx, &row, &names, false).await?)
            })
        });
        let row = done.await?;
        self.0.woken.notify_one();
        Ok(shown(&SourceRow { due: UnixMs(0), ..row }, None))
    }

    /// Does something to a source that somebody may change things in the scope of.
    async fn acted<F>(
        &self,
        which: &str,
        act: &'static str,
        state: &str,
        reason: &str,
        by: &Principal,
        work: F,
    ) -> Result<SourceRow, SourceError>
    where
        F: for<'t> Fn(&'t mut Tx, &'t SourceRow) -> futures_util::future::BoxFuture<'t, Result<(), SourceError>>,
    {
        let work = &work;
        self.db()
            .write(|mut tx| async move {
                let names = fleet::names(&mut tx, None).await?;
                let members = fleet::members(&mut tx).await?;
                let missing = || SourceError::NotFound(which.chars().take(80).collect());
                let row = store::find(&mut tx, which, &names).await?.ok_or_else(missing)?;
                by.must_on_scopes(Permission::Change, [&row.scope], &members)?;
                work(&mut tx, &row).await?;
                note(&mut tx, &row, act, state, reason, by);
                Ok::<_, SourceError>(tx.done(row))
            })
            .await
    }

    pub(super) async fn found(&self, which: &str) -> Result<SourceRow, SourceError> {
        self.db()
            .read(|mut tx| async move {
                let names = fleet::names(&mut tx, None).await?;
                let missing = || SourceError::NotFound(which.chars().take(80).collect());
                let row = store::find(&mut tx, which, &names).await?.ok_or_else(missing)?;
                Ok::<_, SourceError>(tx.done(row))
            })
            .await
    }
}

fn whole() -> GitFolder {
    GitFolder::parse("").expect("the whole repository is a folder")
}

/// Returns what somebody may do by a source in a scope.
fn held(
    owner: &Owner,
    scope: &Scope,
    members: &[crate::compile::NodeInput],
) -> Result<BTreeSet<Permission>, SourceError> {
    owner.by.must_on_scopes(Permission::Change, [scope], members)?;
    let has = |p: &Permission| owner.by.rights.as_ref().is_none_or(|r| r.on_scope(*p, scope, &finder(members)));
    Ok([Permission::Change, Permission::WriteSecret].into_iter().filter(has).collect())
}

/// Refuses the name of a set of manifests that holds something: a name is of one of both.
async fn must_be_no_set(tx: &mut Tx, name: &SourceName) -> Result<(), SourceError> {
    if set::store::is_there(tx, name).await? {
        let why = "is a set of manifests, which holds objects of its own: choose another name";
        return Err(SourceError::Field { pointer: "/name", wrong: TextError::new("source", name.as_str(), why) });
    }
    Ok(())
}

fn must_have_node(
    scope: &Scope,
    names: &BTreeMap<lampas_shared::id::NodeId, lampas_shared::fleet::NodeName>,
) -> Result<(), SourceError> {
    match scope {
        Scope::Node(name) if !names.values().any(|n| n == name) => Err(SourceError::Field {
            pointer: "/scope",
            wrong: TextError::new("scope", &scope.to_string(), "there is no such node"),
        }),
        _ => Ok(()),
    }
}

fn note(tx: &mut Tx, row: &SourceRow, act: &'static str, state: &str, reason: &str, by: &Principal) {
    tx.event(NewEvent::new(EventKind::SourceChanged).with("source", &row.name).with("state", state));
    let s = &row.settings;
    let entry = Entry::done(by, act, format!("source {}", row.name)).because(reason);
    tx.audit(entry.with_details(&serde_json::json!({
        "url": s.url, "branch": s.branch, "tag": s.tag, "folder": s.folder, "scope": row.scope, "mode": s.mode,
        "prune": s.prune, "signed": !s.allowed_signers.is_empty(), "owner": s.owner, "revision": row.revision,
    })));
}

/// The name under which a source acts.
pub(super) fn principal(row: &SourceRow) -> Principal {
    Principal::new(format!("source:{} of {}", row.name, row.settings.owner), "")
}

/// Whether a mode makes changes.
pub(super) fn brings(mode: SourceMode) -> bool {
    mode != SourceMode::Watch
}
