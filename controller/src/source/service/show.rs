//! Sources as they are shown, with what differs.

use std::collections::BTreeMap;

use lampas_api::{ObjectSource, Source, SourceDetail, SourceDifference};
use lampas_runtime::clock;
use lampas_shared::{
    fleet::Scope,
    id::SourceId,
    object::{ObjectKey, ObjectSpec},
};

use super::Sources;
use crate::{
    change::{self, View},
    fleet,
    host::{self, Stored},
    source::{
        SourceError, compare,
        compare::{Want, Word},
        fetch::host_key,
        store::{self, SourceRow},
    },
};

/// How many differences are shown.
const SHOWN: usize = 500;

impl Sources {
    /// Returns all sources.
    pub(crate) async fn list(&self) -> Result<Vec<Source>, SourceError> {
        self.db()
            .read(|mut tx| async move {
                let names = fleet::names(&mut tx, None).await?;
                let rows = store::all(&mut tx, &names).await?;
                let changes = change::open(&mut tx, rows.iter().filter_map(|r| r.change)).await?;
                let list = rows.iter().map(|row| shown(row, row.change.and_then(|c| changes.get(&c).copied())));
                Ok::<_, SourceError>(tx.done(list.collect()))
            })
            .await
    }

    /// Returns a source with the objects that differ; those that may be seen, as far as they may be read.
    pub(crate) async fn show(
        &self,
        which: &str,
        view: &View,
        sees: &(dyn Fn(&Scope) -> bool + Sync),
        veil: &(dyn Fn(&mut ObjectSpec) + Sync),
    ) -> Result<SourceDetail, SourceError> {
        let (row, words, change) = self
            .db()
            .read(|mut tx| async move {
                let names = fleet::names(&mut tx, None).await?;
                let missing = || SourceError::NotFound(which.chars().take(80).collect());
                let row = store::find(&mut tx, which, &names).await?.ok_or_else(missing)?;
                let words = store::words(&mut tx, row.id, &names).await?;
                let change = change::open(&mut tx, row.change.into_iter()).await?.into_values().next();
                Ok::<_, SourceError>(tx.done((row, words, change)))
            })
            .await?;
        let standing: BTreeMap<ObjectKey, &Stored> = view.all.objects.values().map(|o| (o.spec.key(), o)).collect();
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
}

pub(super) fn shown(row: &SourceRow, change: Option<u64>) -> Source {
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
