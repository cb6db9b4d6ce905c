//! The service behind sources: what handlers call.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use lampas_api::{ObjectSource, Source, SourceCreate, SourceCredential, SourceDetail, SourceDifference, SourceUpdate};
use lampas_runtime::{clock, random};
use lampas_shared::{
    TextError,
    access::Permission,
    event::EventKind,
    fleet::Scope,
    id::{SourceId, UserId},
    object::{ObjectKey, ObjectSpec},
    source::{GitFolder, GitName, Scheme, SourceMode, SourceState, SourceUrl},
    time::UnixMs,
};
use tokio::sync::Notify;

use super::{
    SourceError, compare,
    compare::{Want, Word},
    fetch::host_key,
    store::{self, Settings, SourceRow, Status},
};
use crate::{
    access::reach::finder,
    audit::{Entry, Principal},
    change::{Changes, View},
    config::Config,
    db::{Db, Tx},
    egress::Egress,
    event::NewEvent,
    fleet,
    host::{self, Stored},
    vault::Vault,
};

/// How many there may be.
const MAX: usize = 200;
/// How many differences are shown.
const SHOWN: usize = 500;
const INTERVAL: std::ops::RangeInclusive<u32> = 60..=86_400;

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

    /// Returns all sources.
    pub(crate) async fn list(&self) -> Result<Vec<Source>, SourceError> {
        let rows = self
            .db()
            .read(|mut tx| async move {
                let names = fleet::names(&mut tx, None).await?;
                let rows = store::all(&mut tx, &names).await?;
                Ok::<_, SourceError>(tx.done(rows))
            })
            .await?;
        let mut list = Vec::with_capacity(rows.len());
        for row in &rows {
            let change = self.open_change(row).await?;
            list.push(shown(row, change));
        }
        Ok(list)
    }

    async fn open_change(&self, row: &SourceRow) -> Result<Option<u64>, SourceError> {
        let Some(change) = row.change else { return Ok(None) };
        let found = self.changes().find(&change.to_string()).await?;
        Ok(found.state.is_open().then_some(found.number))
    }

    /// Returns a source with the objects that differ; those that may be seen, as far as they may be read.
    pub(crate) async fn show(
        &self,
        which: &str,
        view: &View,
        sees: &(dyn Fn(&Scope) -> bool + Sync),
        veil: &(dyn Fn(&mut ObjectSpec) + Sync),
    ) -> Result<SourceDetail, SourceError> {
        let row = self.found(which).await?;
        let words = self
            .db()
            .read(|mut tx| async move {
                let names = fleet::names(&mut tx, None).await?;
                let words = store::words(&mut tx, row.id, &names).await?;
                Ok::<_, SourceError>(tx.done(words))
            })
            .await?;
        let standing: BTreeMap<ObjectKey, &Stored> = view.all.objects.values().map(|o| (o.spec.key(), o)).collect();
        let change = self.open_change(&row).await?;
        let mut source = shown(&row, change);
        source.counts = compare::count(&words, &standing);
        let differing = words.iter().filter(|w| sees(&w.key.scope)).filter_map(|w| compare::differs(w, &standing));
        let differences = differing.take(SHOWN).map(|d| {
            let mut sides = [
                d.standing.map(|s| ObjectSpec::clone(&s.spec)),
                match &d.word.want {
                    Want::Present(spec) => Some((**spec).clone()),
                    Want::Absent | Want::Gone => None,
                },
            ];
            sides.iter_mut().flatten().for_each(veil);
            SourceDifference {
                key: d.word.key.clone(),
                object: d.standing.map(|s| s.id),
                what: d.what,
                file: d.word.file.clone(),
                line: d.word.line,
                is_pending: d.word.mark != compare::Mark::Done && (source.prune || d.word.want != Want::Gone),
                by: d.standing.map(|s| s.author.clone()).unwrap_or_default(),
                at: d.standing.map(|s| s.updated_at),
                diff: host::diff(sides[0].as_ref(), sides[1].as_ref()),
            }
        });
        let differences = differences.collect();
        Ok(SourceDetail { source, differences })
    }

    /// Returns which sources speak of an object.
    pub(crate) async fn of_object(&self, key: &ObjectKey, view: &View) -> Result<Vec<ObjectSource>, SourceError> {
        let standing: BTreeMap<ObjectKey, &Stored> = view.all.objects.values().map(|o| (o.spec.key(), o)).collect();
        let (found, rows) = self
            .db()
            .read(|mut tx| async move {
                let names = fleet::names(&mut tx, None).await?;
                let found = store::of_object(&mut tx, key, &names).await?;
                let rows = if found.is_empty() { Vec::new() } else { store::all(&mut tx, &names).await? };
                Ok::<_, SourceError>(tx.done((found, rows)))
            })
            .await?;
        let one = |(id, word): &(SourceId, Word)| {
            let row = rows.iter().find(|r| r.id == *id)?;
            Some(ObjectSource {
                id: *id,
                name: row.name.clone(),
                mode: row.settings.mode,
                file: word.file.clone(),
                line: word.line,
                commit: row.commit.clone().unwrap_or_default(),
                what: compare::differs(word, &standing).map(|d| d.what),
            })
        };
        Ok(found.iter().filter_map(one).collect())
    }

    async fn seal(
        &self,
        id: SourceId,
        settings: &mut Settings,
        credential: &SourceCredential,
    ) -> Result<String, SourceError> {
        let secret = credential.secret.reveal();
        let wrong =
            |pointer, what, why: &str| Err(SourceError::Field { pointer, wrong: TextError::new(what, "", why) });
        match settings.url.parts().scheme {
            Scheme::File => return wrong("/credential", "credential", "is of no use: a directory is opened as it is"),
            Scheme::Ssh if !secret.trim_start().starts_with("-----BEGIN ") => {
                return wrong("/credential/secret", "key", "is no private key: it begins with -----BEGIN");
            }
            Scheme::Ssh if secret.contains("ENCRYPTED") => {
                return wrong(
                    "/credential/secret",
                    "key",
                    "has a passphrase, which nobody could enter: make one without",
                );
            }
            Scheme::Https if secret.trim().chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) => {
                return wrong("/credential/secret", "token", "has characters that no token has");
            }
            Scheme::Ssh | Scheme::Https => {}
        }
        if let Some(user) = &credential.user {
            let is_word = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
            if user.is_empty() || user.len() > 200 || !user.chars().all(is_word) {
                return wrong("/credential/user", "user", "has characters that no user has");
            }
        }
        settings.user.clone_from(&credential.user);
        let (vault, secret) = (self.0.vault.clone(), credential.secret.clone());
        let sealed = tokio::task::spawn_blocking(move || vault.seal(&id, secret.reveal().as_bytes())).await;
        sealed.map_err(|_| SourceError::Unfit("the credential can't be sealed".into()))?.map_err(SourceError::Vault)
    }

    /// Checks what fields can't by themselves, and brings keys into one form.
    fn check(&self, settings: &mut Settings) -> Result<(), SourceError> {
        let wrong = |pointer, what, value: &str, why: &str| {
            Err(SourceError::Field { pointer, wrong: TextError::new(what, value, why) })
        };
        if !INTERVAL.contains(&settings.interval_secs) {
            let value = settings.interval_secs.to_string();
            return wrong("/interval_secs", "interval", &value, "must be 60 to 86400 seconds: a minute to a day");
        }
        settings.rollout.check().map_err(|wrong| SourceError::Field { pointer: "/rollout", wrong })?;
        if settings.host_keys.len() > 20 {
            return wrong("/host_keys", "host key", "", "20 are the most");
        }
        for key in &mut settings.host_keys {
            match host_key(key) {
                Some(found) => *key = found.key,
                None => {
                    let why = "is no key of a host: write ssh-ed25519 AAAA…, or a line of known_hosts";
                    return wrong("/host_keys", "host key", key, why);
                }
            }
        }
        signers(&settings.allowed_signers)?;
        let parts = settings.url.parts();
        let refused = |wrong: TextError| SourceError::Field { pointer: "/url", wrong };
        match parts.scheme {
            Scheme::File => drop(self.directory(&settings.url).map_err(refused)?),
            Scheme::Https | Scheme::Ssh => {
                // As far as it can be told without asking for the name.
                if let Err(error) = self.0.egress.check(&probe(&settings.url)) {
                    return wrong("/url", "url", settings.url.as_str(), &error.to_string());
                }
            }
        }
        if parts.scheme != Scheme::Ssh && !settings.host_keys.is_empty() {
            return wrong("/host_keys", "host key", "", "is of ssh alone; https proves its host by its certificate");
        }
        Ok(())
    }
}

fn shown(row: &SourceRow, change: Option<u64>) -> Source {
    let (settings, status) = (&row.settings, &row.status);
    let now = clock::now();
    Source {
        id: row.id,
        name: row.name.clone(),
        url: settings.url.clone(),
        branch: settings.branch.clone(),
        tag: settings.tag.clone(),
        folder: settings.folder.clone(),
        scope: row.scope.clone(),
        mode: settings.mode,
        prune: settings.prune,
        interval_secs: settings.interval_secs,
        allow_unplanned: settings.allow_unplanned,
        rollout: settings.rollout.clone(),
        has_credential: row.sealed.is_some(),
        host_keys: settings.host_keys.iter().filter_map(|k| host_key(k)).collect(),
        allowed_signers: settings.allowed_signers.clone(),
        owner: settings.owner.clone(),
        created_at: row.created_at,
        updated_at: row.updated_at,
        state: row.state,
        why: status.why.clone(),
        is_syncing: row.due.0 <= 0 || row.claim.as_ref().is_some_and(|(_, until)| *until > now),
        commit: status.commit.clone(),
        refused: status.refused.clone(),
        synced_at: status.synced_at,
        due_at: status.fetch_at.unwrap_or(now),
        problem: status.problem.clone(),
        offered_keys: status.offered_keys.clone(),
        change,
        counts: status.counts,
        notes: status.notes.clone(),
    }
}

/// Returns the address by which a host is looked up and judged.
pub(super) fn probe(url: &SourceUrl) -> String {
    let parts = url.parts();
    let host = if parts.host.contains(':') { format!("[{}]", parts.host) } else { parts.host.to_owned() };
    format!("https://{host}:{}/", parts.port_or_default())
}

fn whole() -> GitFolder {
    GitFolder::parse("").expect("the whole repository is a folder")
}

fn reference(branch: Option<GitName>, tag: Option<GitName>) -> Result<(Option<GitName>, Option<GitName>), SourceError> {
    match (branch, tag) {
        (Some(_), Some(tag)) => Err(SourceError::Field {
            pointer: "/tag",
            wrong: TextError::new("tag", tag.as_str(), "can't be followed beside a branch: give one of them"),
        }),
        (None, None) => Ok((Some(GitName::parse("main").expect("main is a branch")), None)),
        either => Ok(either),
    }
}

/// Checks the text of allowed signers (ssh-keygen(1), ALLOWED SIGNERS): who, options, and a key.
fn signers(text: &str) -> Result<(), SourceError> {
    let wrong = |line: usize, why: &str| {
        let wrong = TextError::new("allowed_signers", &format!("line {line}"), why);
        Err(SourceError::Field { pointer: "/allowed_signers", wrong })
    };
    if text.len() > 64 << 10 {
        return wrong(1, "the text is longer than 64 KiB");
    }
    let mut keys = 0;
    for (at, line) in text.lines().enumerate() {
        let line_text = line.trim();
        if line_text.is_empty() || line_text.starts_with('#') {
            continue;
        }
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return wrong(at + 1, "has a control character");
        }
        let mut words = line_text.split_whitespace();
        let has_key = words.next().is_some() && words.clone().any(|w| w.starts_with("AAAA") && w.len() > 40);
        if !has_key {
            return wrong(at + 1, "is no signer: write ann@example.org ssh-ed25519 AAAA…");
        }
        keys += 1;
    }
    if keys == 0 && !text.trim().is_empty() { wrong(1, "names nobody, so nothing could ever be taken") } else { Ok(()) }
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
