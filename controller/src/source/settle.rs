//! Settling: a change of what git says and the fleet doesn't have, as far as the source's mode goes.
//!
//! It goes by the store alone. A change is found again by the drafts that it is of, and what waits is looked at again.

use std::collections::BTreeMap;

use lampas_api::{Draft, DraftAct};
use lampas_runtime::clock;
use lampas_shared::{
    change::{ChangeState, Verdict},
    desired::ContentHash,
    error::Chain,
    id::ChangeId,
    object::ObjectKey,
    source::{SourceMode, SourceState},
};

use super::{
    SourceError, Sources, Trouble, compare,
    compare::{Mark, Word},
    look::commit_short,
    run::clean,
    service::brings,
    store::{self, SourceRow},
};
use crate::{
    audit::Principal,
    change::{Apply, ChangeError, ChangeRow, NewChange},
    db::{StoreError as _, row::to_json},
    fleet,
    host::Stored,
};

/// How long nodes that stood in the way, or were away, are left alone.
const AGAIN_MS: i64 = 60_000;

/// How the request keys of the changes begin that sources make.
pub(crate) const REQUEST_KEY: &str = "source/";

/// How a source stands beside the fleet.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) state: SourceState,
    pub(super) why: String,
    pub(super) trouble: Option<Trouble>,
}

impl Settled {
    fn waiting(why: impl Into<String>) -> Self {
        Self { state: SourceState::Waiting, why: why.into(), trouble: None }
    }

    fn failed(trouble: Trouble) -> Self {
        Self { state: SourceState::Failed, why: trouble.text.clone(), trouble: Some(trouble) }
    }
}

/// What is to be done with a change of the source.
enum Step {
    /// Look at the fleet once more: it was applied.
    Again,
    Done(Settled),
}

impl Sources {
    /// Puts what git says beside what stands, and takes its change a step further.
    pub(super) async fn settle(
        &self,
        row: &mut SourceRow,
        claim: &str,
        by: &Principal,
    ) -> Result<Settled, SourceError> {
        for _ in 0..4 {
            match self.step(row, claim, by).await? {
                Step::Again => {}
                Step::Done(settled) => return Ok(settled),
            }
        }
        Ok(Settled::waiting("the fleet moved while it was brought; it is looked at again"))
    }

    async fn step(&self, row: &mut SourceRow, claim: &str, by: &Principal) -> Result<Step, SourceError> {
        self.take_note(row, claim).await?;
        let view = self.changes().desired().view().await?;
        let standing: BTreeMap<ObjectKey, &Stored> = view.all.objects.values().map(|o| (o.spec.key(), o)).collect();
        let words = self.settled_words(row, claim, &standing).await?;
        row.status.counts = compare::count(&words, &standing);
        if !brings(row.settings.mode) {
            self.withdraw(row, claim, by).await?;
            return Ok(Step::Done(beside(row)));
        }
        let drafts = compare::drafts(&words, &standing, row.settings.prune);
        if drafts.is_empty() {
            self.withdraw(row, claim, by).await?;
            return Ok(Step::Done(beside(row)));
        }
        let key = draft_key(row, &drafts);
        if row.change.is_some() && row.draft_key.as_ref() != Some(&key) {
            self.withdraw(row, claim, by).await?;
        }
        let change = match row.change {
            Some(change) => change,
            None => match self.make(row, claim, drafts, key, by).await? {
                Ok(change) => change,
                Err(error) => return Ok(Step::Done(refused(row, &words, &error))),
            },
        };
        match self.advance(row, change, by).await {
            Ok(step) => Ok(step),
            Err(error) if error.store_error().is_some() => Err(error.into()),
            Err(error) => Ok(Step::Done(refused(row, &words, &error))),
        }
    }

    /// Takes note of what became of the source's change: it was applied, or dropped by somebody.
    async fn take_note(&self, row: &mut SourceRow, claim: &str) -> Result<(), SourceError> {
        let Some(change) = row.change else { return Ok(()) };
        let found = self.changes().find(&change.to_string()).await?;
        if found.state.is_open() {
            return Ok(());
        }
        (row.change, row.draft_key) = (None, None);
        row.status.round += 1;
        self.put_marks(row, claim, Mark::Done).await
    }

    /// Stores the row, and takes the marks of the open change back.
    async fn put_marks(&self, row: &SourceRow, claim: &str, to: Mark) -> Result<(), SourceError> {
        self.db()
            .write(|mut tx| async move {
                if !store::save(&mut tx, row, claim).await? {
                    return Err(SourceError::Unfit("the source was set up otherwise meanwhile".into()));
                }
                store::unmark(&mut tx, row.id, Mark::Under, to).await?;
                Ok::<_, SourceError>(tx.done(()))
            })
            .await
    }

    /// Reads what the source says, with the marks taken off what stands as git says.
    async fn settled_words(
        &self,
        row: &SourceRow,
        claim: &str,
        standing: &BTreeMap<ObjectKey, &Stored>,
    ) -> Result<Vec<Word>, SourceError> {
        let may_bring = brings(row.settings.mode);
        let read = || {
            self.db().read(|mut tx| async move {
                let names = fleet::names(&mut tx, None).await?;
                let words = store::words(&mut tx, row.id, &names).await?;
                Ok::<_, SourceError>(tx.done(words))
            })
        };
        let mut words = read().await?;
        if !compare::settle(&mut words, standing, may_bring) {
            return Ok(words);
        }
        self.db()
            .write(|mut tx| async move {
                if !store::save(&mut tx, row, claim).await? {
                    return Err(SourceError::Unfit("the source was set up otherwise meanwhile".into()));
                }
                let names = fleet::names(&mut tx, None).await?;
                // Read once more: somebody may have asked for all of it meanwhile.
                let mut words = store::words(&mut tx, row.id, &names).await?;
                compare::settle(&mut words, standing, may_bring);
                store::put_words(&mut tx, row.id, &words, &names).await?;
                Ok::<_, SourceError>(tx.done(words))
            })
            .await
    }

    /// Drops the source's open change: git says something else by now, or the fleet has it.
    async fn withdraw(&self, row: &mut SourceRow, claim: &str, by: &Principal) -> Result<(), SourceError> {
        let Some(change) = row.change.take() else { return Ok(()) };
        row.draft_key = None;
        row.status.round += 1;
        match self.changes().abandon(change, by).await {
            Ok(()) | Err(ChangeError::State { .. } | ChangeError::NotFound(_)) => {}
            // What it was of may lie outside by now: it stays, for somebody who may.
            Err(ChangeError::Outside(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.put_marks(row, claim, Mark::Pending).await
    }

    /// Makes the change that brings what git says.
    async fn make(
        &self,
        row: &mut SourceRow,
        claim: &str,
        drafts: Vec<Draft>,
        key: String,
        by: &Principal,
    ) -> Result<Result<ChangeId, ChangeError>, SourceError> {
        let keys: Vec<ObjectKey> = drafts
            .iter()
            .map(|d| match &d.act {
                DraftAct::Put(spec) => spec.key(),
                DraftAct::Delete(key) => key.clone(),
            })
            .collect();
        let new = NewChange {
            drafts,
            reason: reason(row),
            // A controller that died after this finds the same change.
            request_key: Some(format!("{REQUEST_KEY}{}/{}/{}", row.id, row.status.round, &key[..24])),
            ..NewChange::default()
        };
        let made = match self.changes().create(&new, by).await {
            Ok(made) => made,
            Err(error) if error.store_error().is_some() => return Err(error.into()),
            Err(error) => return Ok(Err(error)),
        };
        if !made.state.is_open() {
            // It was made by a look that died, and dropped by somebody since.
            row.status.round += 1;
            let why = format!("change {} brought the same before, and is {}", made.number, made.state.as_str());
            return Ok(Err(ChangeError::Unfit(why)));
        }
        (row.change, row.draft_key) = (Some(made.id), Some(key));
        let row = &*row;
        let keys = &keys;
        self.db()
            .write(|mut tx| async move {
                if !store::save(&mut tx, row, claim).await? {
                    return Err(SourceError::Unfit("the source was set up otherwise meanwhile".into()));
                }
                let names = fleet::names(&mut tx, None).await?;
                let mut words = store::words(&mut tx, row.id, &names).await?;
                for word in words.iter_mut().filter(|w| w.mark == Mark::Pending && keys.contains(&w.key)) {
                    word.mark = Mark::Under;
                }
                store::put_words(&mut tx, row.id, &words, &names).await?;
                Ok::<_, SourceError>(tx.done(()))
            })
            .await?;
        Ok(Ok(made.id))
    }

    /// Plans the change, and applies it if the source does that.
    async fn advance(&self, row: &mut SourceRow, change: ChangeId, by: &Principal) -> Result<Step, ChangeError> {
        let mut found = self.changes().find(&change.to_string()).await?;
        let number = found.number;
        if found.state == ChangeState::Draft {
            let approval = self.changes().brief(change).await?.control.approval;
            if let Some(declined) = approval.filter(|a| a.verdict == Verdict::Declined) {
                return Ok(Step::Done(Settled::waiting(format!("change {number} was {}", declined.note))));
            }
            self.changes().plan(change, by).await?;
            row.status.planned_at = Some(clock::now());
            found = self.changes().find(&change.to_string()).await?;
        }
        if row.settings.mode == SourceMode::Propose {
            let what = match found.state {
                ChangeState::Approved => "is approved and waits to be applied",
                _ => "waits for somebody to look at it and apply it",
            };
            return Ok(Step::Done(Settled::waiting(format!("change {number} {what}"))));
        }
        let (allow_unplanned, rollout) = (row.settings.allow_unplanned, row.settings.rollout.clone());
        let how = |plan: Option<String>| Apply { plan, allow_unplanned, rollout: rollout.clone(), ..Apply::default() };
        let waits = |error: &ChangeError| Step::Done(Settled::waiting(format!("change {number}: {error}")));
        // Nodes are not asked again and again while somebody thinks about it.
        let control = self.changes().brief(change).await?.control;
        if found.state == ChangeState::Planned && control.approval.is_some_and(|a| a.verdict == Verdict::Wanted) {
            let (needs, may) = (control.protections, control.approvers);
            return Ok(waits(&ChangeError::ApprovalNeeded { number, needs, may }));
        }
        let applied = match self.changes().apply(change, &how(found.plan_id.clone()), by).await {
            // Something moved since it was planned, or stood in the way then: once more, as it is by now.
            Err(ChangeError::Moved { .. }) => self.replan(row, change, &how, by).await,
            Err(ChangeError::Unplanned { .. } | ChangeError::Blocked(_))
                if row.status.planned_at.is_none_or(|at| clock::now().since(at) > AGAIN_MS) =>
            {
                self.replan(row, change, &how, by).await
            }
            other => other,
        };
        match applied {
            Ok(_) => Ok(Step::Again),
            Err(
                error @ (ChangeError::ApprovalNeeded { .. }
                | ChangeError::Frozen { .. }
                | ChangeError::Rolling { .. }
                | ChangeError::Unplanned { .. }
                | ChangeError::Moved { .. }),
            ) => Ok(waits(&error)),
            Err(error) => Err(error),
        }
    }

    async fn replan(
        &self,
        row: &mut SourceRow,
        change: ChangeId,
        how: &(dyn Fn(Option<String>) -> Apply + Sync),
        by: &Principal,
    ) -> Result<ChangeRow, ChangeError> {
        let plan = self.changes().plan(change, by).await?;
        row.status.planned_at = Some(clock::now());
        self.changes().apply(change, &how(Some(plan.digest)), by).await
    }
}

/// Says what stands in the way of a change, at the manifest that it comes from.
fn refused(row: &SourceRow, words: &[Word], error: &ChangeError) -> Settled {
    let text = clean(&Chain(error).to_string(), 1000);
    let named = match error {
        ChangeError::Field { key, .. } | ChangeError::Value { key, .. } => Some((**key).clone()),
        ChangeError::NoSuchNode { key, .. } | ChangeError::Twice(key) => Some(key.clone()),
        ChangeError::Template(problem) => Some(problem.key.clone()),
        _ => None,
    };
    let word = match &named {
        Some(key) => words.iter().find(|w| w.key == *key),
        None => words.iter().find(|w| text.contains(&w.key.to_string())),
    };
    let text = word.map_or_else(|| text.clone(), |w| format!("{}:{}: {text}", w.file, w.line));
    let commit = commit_short(row.commit.as_ref());
    let (code, remedy) = match error {
        ChangeError::Outside(_) => (
            "rights",
            format!(
                "{} may not do all that commit {commit} says: let somebody who may take the source over",
                row.settings.owner
            ),
        ),
        ChangeError::Unfit(_) => ("change", "bring all that differs: lampasctl source sync NAME --all".to_owned()),
        _ => ("change", format!("nothing of commit {commit} was brought: mend it and push")),
    };
    Settled::failed(Trouble { mistakes: vec![text.clone()], ..Trouble::new(code, text, remedy) })
}

/// How the fleet stands, when nothing is to be brought.
fn beside(row: &SourceRow) -> Settled {
    let counts = row.status.counts;
    let (state, why) = match counts.different() {
        0 if row.commit.is_none() => (SourceState::New, String::new()),
        0 => (SourceState::Synced, format!("the fleet is as commit {} says", commit_short(row.commit.as_ref()))),
        n => {
            let verb = if n == 1 { "object differs" } else { "objects differ" };
            (SourceState::Differs, format!("{n} {verb} from commit {}", commit_short(row.commit.as_ref())))
        }
    };
    Settled { state, why, trouble: None }
}

/// Names the drafts of a change: what they say, and what they were made from.
fn draft_key(row: &SourceRow, drafts: &[Draft]) -> String {
    let text = to_json(&(row.settings.mode, &row.commit, row.revision, drafts));
    ContentHash::of(text.as_bytes()).to_string()
}

/// Says where a change comes from, for the history.
fn reason(row: &SourceRow) -> String {
    let commit = row.status.commit.clone().unwrap_or_default();
    let signed = if commit.signed_by.is_empty() { String::new() } else { format!(", signed by {}", commit.signed_by) };
    let text = format!(
        "source {}: commit {} by {}{signed}: {}",
        row.name,
        commit_short(row.commit.as_ref()),
        commit.author,
        commit.subject
    );
    clean(&text, 500)
}
