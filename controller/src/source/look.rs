//! One look at a source: fetch, read, store what it says, settle.

use std::{collections::BTreeMap, time::Duration};

use lampas_api::SourceProblem;
use lampas_manifest::ManifestEntry;
use lampas_runtime::clock;
use lampas_shared::{
    access::Preset,
    access::{Permission, Right, Rights, Via},
    event::EventKind,
    fleet::Scope,
    id::SourceId,
    object::ObjectKey,
    source::{Scheme, SourceState},
    time::UnixMs,
};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::{
    SourceError, Sources, Trouble, compare, fetch,
    fetch::Order,
    run::Stop,
    service::{brings, host_address, principal},
    settle::Settled,
    store::{self, SourceRow},
    tree,
};
use crate::{
    access::{self, reach::finder},
    audit::{Entry, Principal},
    compile::NodeInput,
    event::NewEvent,
    fleet,
    host::Stored,
};

/// How long a claim holds without being renewed.
pub(super) const CLAIM_MS: i64 = 45_000;
const RENEW: Duration = Duration::from_secs(10);
/// How soon a source is looked at again whose change waits; the repository is not asked for that.
const WAITING_MS: i64 = 10_000;
/// How many mistakes are told.
const MISTAKES: usize = 100;

impl Sources {
    /// Looks at a source, unless somebody else does.
    pub(super) async fn look(&self, id: SourceId, claim: &str) -> Result<(), SourceError> {
        let now = clock::now();
        let taken = self
            .db()
            .write(|mut tx| async move {
                let names = fleet::names(&mut tx, None).await?;
                let is_mine = store::claim(&mut tx, id, claim, (now, now.plus_ms(CLAIM_MS))).await?;
                let row = if is_mine { store::get(&mut tx, id, &names).await? } else { None };
                Ok::<_, SourceError>(tx.done(row))
            })
            .await?;
        let Some(mut row) = taken else { return Ok(()) };
        let outcome = tokio::select! {
            // Dropping the look ends its programs, and what it had not stored is looked at anew.
            outcome = self.look_at(&mut row, claim) => outcome,
            lost = self.renew(id, claim) => lost,
        };
        let soon = clock::now().plus_ms(WAITING_MS);
        let fetch_at = row.status.fetch_at.unwrap_or(soon);
        let due = if row.state == SourceState::Waiting || outcome.is_err() { fetch_at.min(soon) } else { fetch_at };
        let row = &row;
        self.db()
            .write(|mut tx| async move {
                store::release(&mut tx, row, claim, due).await?;
                Ok::<_, SourceError>(tx.done(()))
            })
            .await?;
        outcome
    }

    /// Keeps the claim; ends when it is lost.
    async fn renew(&self, id: SourceId, claim: &str) -> Result<(), SourceError> {
        loop {
            tokio::time::sleep(RENEW).await;
            let now = clock::now();
            let held = self
                .db()
                .write(|mut tx| async move {
                    let held = store::claim(&mut tx, id, claim, (UnixMs(0), now.plus_ms(CLAIM_MS))).await?;
                    Ok::<_, SourceError>(tx.done(held))
                })
                .await?;
            if !held {
                return Err(SourceError::Unfit("another controller looks at the source".into()));
            }
        }
    }

    async fn look_at(&self, row: &mut SourceRow, claim: &str) -> Result<(), SourceError> {
        let now = clock::now();
        let before = (row.state, row.status.clone());
        let by = match self.may(row).await? {
            Ok(by) => by,
            Err(trouble) => {
                row.status.fetch_at = Some(now.plus_ms(i64::from(row.settings.interval_secs) * 1000));
                return self.tell(row, claim, &before, Some(trouble)).await;
            }
        };
        let is_due = row.due.0 <= 0 || row.status.fetch_at.is_none_or(|at| at <= now);
        if is_due {
            row.status.fetch_at = Some(now.plus_ms(i64::from(row.settings.interval_secs) * 1000));
            match self.read(row).await {
                Ok(None) => {}
                Ok(Some(content)) => {
                    if let Some(trouble) = self.take(row, claim, content, &by).await? {
                        return self.tell(row, claim, &before, Some(trouble)).await;
                    }
                }
                Err(trouble) if trouble.is_stop => return Ok(()),
                Err(trouble) => return self.tell(row, claim, &before, Some(trouble)).await,
            }
            row.status.synced_at = Some(clock::now());
            (row.status.problem, row.status.refused, row.status.offered_keys) = (None, None, Vec::new());
        } else if row.status.problem.as_ref().is_some_and(|p| p.code != "change") {
            // What stands was read before; the trouble with reading anew stands too.
            let settled = self.settle(row, claim, &by).await?;
            row.status.why = settled.why;
            return self.tell(row, claim, &before, None).await;
        }
        // What stood in the way of the change is looked at anew.
        row.status.problem = None;
        let Settled { state, why, trouble } = self.settle(row, claim, &by).await?;
        (row.state, row.status.why) = (state, why);
        self.tell(row, claim, &before, trouble).await
    }

    /// Asks what whoever set the source up may by now.
    async fn may(&self, row: &SourceRow) -> Result<Result<Principal, Trouble>, SourceError> {
        let now = clock::now();
        let (has, members) = self
            .db()
            .read(|mut tx| async move {
                let has = access::permitted(&mut tx, (row.user, None), now).await?;
                let members = fleet::members(&mut tx).await?;
                Ok::<_, SourceError>(tx.done((has, members)))
            })
            .await?;
        let owner = &row.settings.owner;
        let remedy = format!("somebody who may takes it over: lampasctl source set {} --mine", row.name);
        let Some(has) = has else {
            let text = format!("{owner}, who set it up, is gone or was disabled");
            return Ok(Err(Trouble::new("rights", text, remedy)));
        };
        let by = principal(row).with_rights(has.held_to(&row.permissions, &row.scope));
        if by.must_on_scopes(Permission::Change, [&row.scope], &members).is_err() {
            let text = format!("{owner}, who set it up, may change {} no longer", row.scope);
            return Ok(Err(Trouble::new("rights", text, remedy)));
        }
        Ok(Ok(by))
    }

    /// Fetches the head and reads what it says; nothing when that was read before.
    async fn read(&self, row: &SourceRow) -> Result<Option<tree::Content>, Trouble> {
        let settings = &row.settings;
        let (mut address, mut directory) = (None, None);
        match settings.url.parts().scheme {
            Scheme::File => {
                let found = self.directory(&settings.url);
                directory = Some(found.map_err(|e| Trouble::new("fetch", e.to_string(), "see sources.directories"))?);
            }
            Scheme::Https | Scheme::Ssh => {
                let pinned = self.egress().pin(&host_address(&settings.url)).await;
                let remedy = "see egress.allow in controller.toml, or whether the name is right";
                let pinned = pinned.map_err(|e| Trouble::new("fetch", e.to_string(), remedy))?;
                address = pinned.addresses.first().copied();
            }
        }
        let (vault, id, sealed) = (self.vault().clone(), row.id, row.sealed.clone());
        let reference = match (&settings.branch, &settings.tag) {
            (_, Some(tag)) => format!("refs/tags/{tag}"),
            (Some(branch), None) => format!("refs/heads/{branch}"),
            (None, None) => "refs/heads/main".to_owned(),
        };
        let mut order = Order {
            url: settings.url.clone(),
            reference,
            address,
            directory,
            user: settings.user.clone(),
            secret: None,
            host_keys: settings.host_keys.clone(),
            allowed_signers: settings.allowed_signers.clone(),
            accepted: row.commit.clone(),
            pardoned: row.status.pardoned.clone(),
            ca_file: self.ca_file().cloned(),
            root: self.root().clone(),
            name: row.id.to_string(),
            disk: self.disk(),
            time: self.time(),
        };
        let known = row.status.commit.as_ref().filter(|_| row.status.problem.is_none()).map(|c| c.id.clone());
        let folder = settings.folder.clone();
        let stop = Stop::default();
        let _guard = stop.guard();
        let work = tokio::task::spawn_blocking(move || {
            if let Some(sealed) = sealed {
                let opened = vault.open(&id, &sealed);
                let remedy = "give the credential again: lampasctl source set NAME --credential FILE";
                let opened = opened.map_err(|e| Trouble::new("fetch", e.to_string(), remedy))?;
                let text = String::from_utf8(opened.to_vec());
                order.secret = Some(Zeroizing::new(text.map_err(|_| Trouble::fetch("the credential is no text"))?));
            }
            let checkout = fetch::fetch(&order, &stop)?;
            if known.as_deref() == Some(checkout.commit.id.as_str()) {
                return Ok(None);
            }
            tree::read(&checkout, &folder).map(Some)
        });
        work.await.unwrap_or_else(|_| Err(Trouble::fetch("the look failed inside; the controller's log says more")))
    }

    /// Stores what a commit says, once all of it may be.
    async fn take(
        &self,
        row: &mut SourceRow,
        claim: &str,
        content: tree::Content,
        by: &Principal,
    ) -> Result<Option<Trouble>, SourceError> {
        let view = self.changes().desired().view().await?;
        if let Some(trouble) = outside(&content.entries, row, view.members()) {
            return Ok(Some(trouble));
        }
        let standing: BTreeMap<ObjectKey, &Stored> = view.all.objects.values().map(|o| (o.spec.key(), o)).collect();
        let mut after = row.clone();
        let commit = &content.commit;
        after.commit = Some(commit.id.clone());
        after.status.commit = Some(commit.clone());
        after.status.pardoned = None;
        after.status.notes.clone_from(&content.notes);
        let (after_ref, entries, standing) = (&after, &content.entries, &standing);
        let (may_bring, is_news) = (brings(row.settings.mode), row.commit != after.commit);
        let clash = self
            .db()
            .write(|mut tx| async move {
                let names = fleet::names(&mut tx, None).await?;
                if !store::save(&mut tx, after_ref, claim).await? {
                    return Err(SourceError::Unfit("the source was set up otherwise meanwhile".into()));
                }
                let old = store::words(&mut tx, after_ref.id, &names).await?;
                let mut words = compare::merge(old, entries.clone());
                compare::settle(&mut words, standing, may_bring);
                store::put_words(&mut tx, after_ref.id, &words, &names).await?;
                let others = store::claimed_elsewhere(&mut tx, after_ref.id).await?;
                let clash = others.into_iter().find(|(_, _, mode)| may_bring && brings(*mode));
                if let Some((key, other, _)) = clash {
                    // Nothing of it is stored: two sources would undo each other.
                    let key = crate::host::unmap_key(&key, &names);
                    let place = words.iter().find(|w| w.key == key).map(|w| format!("{}:{}: ", w.file, w.line));
                    return Err(SourceError::Unfit(format!(
                        "{}{key} is brought by the source {other} too",
                        place.unwrap_or_default()
                    )));
                }
                if is_news {
                    let entry = Entry::done(by, "source.sync", format!("source {}", after_ref.name)).because(format!(
                        "commit {} by {}: {}",
                        commit_short(after_ref.commit.as_ref()),
                        after_ref.status.commit.as_ref().map(|c| c.author.as_str()).unwrap_or_default(),
                        after_ref.status.commit.as_ref().map(|c| c.subject.as_str()).unwrap_or_default(),
                    ));
                    tx.audit(entry.with_details(&serde_json::json!({
                        "commit": after_ref.status.commit, "objects": entries.len(),
                    })));
                }
                Ok::<_, SourceError>(tx.done(()))
            })
            .await;
        match clash {
            Ok(()) => {
                info!(source.name = %row.name, commit = commit.id, "a commit of a source was read");
                *row = after;
                Ok(None)
            }
            Err(SourceError::Unfit(why)) if why.contains("is brought by the source") => {
                let remedy = "let one of the two have it: take it out of one repository, or set one source to watch";
                Ok(Some(Trouble { mistakes: vec![why.clone()], ..Trouble::new("scope", why, remedy) }))
            }
            Err(error) => Err(error),
        }
    }

    /// Stores how the source stands, and tells when that is news.
    async fn tell(
        &self,
        row: &mut SourceRow,
        claim: &str,
        before: &(SourceState, store::Status),
        trouble: Option<Trouble>,
    ) -> Result<(), SourceError> {
        if let Some(trouble) = &trouble {
            row.state = match trouble.code {
                "rewritten" => SourceState::Rewritten,
                _ => SourceState::Failed,
            };
            row.status.why.clone_from(&trouble.text);
            row.status.refused.clone_from(&trouble.refused);
            row.status.offered_keys.clone_from(&trouble.offered);
            let same = before.1.problem.as_ref().filter(|p| p.text == trouble.text && p.code == trouble.code);
            row.status.problem = Some(SourceProblem {
                code: trouble.code.to_owned(),
                text: trouble.text.clone(),
                remedy: trouble.remedy.replace("NAME", row.name.as_str()),
                mistakes: trouble.mistakes.clone(),
                at: same.map_or_else(clock::now, |p| p.at),
            });
            if same.is_none() {
                warn!(source.name = %row.name, code = trouble.code, error = trouble.text, "a source could not be read");
            }
        }
        let is_news = (before.0, &before.1.why, before.1.commit.as_ref().map(|c| &c.id))
            != (row.state, &row.status.why, row.status.commit.as_ref().map(|c| &c.id));
        let is_new_trouble = trouble.is_some() && before.1.problem != row.status.problem;
        let row = &*row;
        let saved = self
            .db()
            .write(|mut tx| async move {
                let saved = store::save(&mut tx, row, claim).await?;
                if saved && is_news {
                    let event = NewEvent::new(EventKind::SourceMoved).with("source", &row.name);
                    let event = event.with("state", row.state.as_str()).with("why", &row.status.why);
                    tx.event(event.with("commit", commit_short(row.commit.as_ref())));
                }
                if saved && is_new_trouble {
                    let by = principal(row);
                    tx.audit(Entry::refused(&by, "source.sync", format!("source {}", row.name), &row.status.why));
                }
                Ok::<_, SourceError>(tx.done(saved))
            })
            .await?;
        debug!(source.name = %row.name, state = row.state.as_str(), saved, "a source was looked at");
        Ok(())
    }
}

/// Returns the first digits of a commit's id.
pub(super) fn commit_short(commit: Option<&String>) -> String {
    commit.map(String::as_str).unwrap_or_default().chars().take(12).collect()
}

/// Finds objects that lie outside of what the source may touch.
fn outside(entries: &[ManifestEntry], row: &SourceRow, members: &[NodeInput]) -> Option<Trouble> {
    let bound = Right::new([Permission::Change].into(), row.scope.clone(), Via::Preset(Preset::None));
    let rights = Rights(vec![bound]);
    let find = finder(members);
    let is_within = |scope: &Scope| rights.on_scope(Permission::Change, scope, &find);
    let mut out = entries.iter().filter(|e| !is_within(&e.key.scope)).peekable();
    let first = out.peek()?;
    let text = format!(
        "{}:{}: scope \"{}\": this source may touch {} alone",
        first.file, first.line, first.key.scope, row.scope
    );
    let line =
        |e: &ManifestEntry| format!("{}:{}: scope \"{}\": lies outside of {}", e.file, e.line, e.key.scope, row.scope);
    let mistakes: Vec<String> = out.take(MISTAKES).map(line).collect();
    let more = mistakes.len() - 1;
    let text = if more == 0 { text } else { format!("{text} (and {more} more)") };
    let remedy = "nothing of this commit is taken: move the objects to another source, or widen the scope of this one";
    Some(Trouble { mistakes, ..Trouble::new("scope", text, remedy) })
}
