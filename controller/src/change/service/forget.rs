//! Changes that only served for looking, and of which nothing stays but the audit.

use lampas_api::DraftAct;
use lampas_shared::{access::Permission, event::EventKind, id::ChangeId};

use super::{Changes, author, must_be_open, within};
use crate::{
    audit::{Entry, Principal},
    change::{ChangeError, approval, desired, draft, node_edit, schedule, store},
    event::NewEvent,
};

impl Changes {
    /// Drops a change that only served for looking: nothing stays of it but the audit, which has what it was about.
    ///
    /// # Errors
    /// When it was applied or scheduled, somebody said something of its plan, or it is of somebody else.
    pub async fn forget(&self, id: ChangeId, by: &Principal) -> Result<(), ChangeError> {
        self.db()
            .write(|mut tx| async move {
                let row = store::get(&mut tx, id, true).await?.ok_or_else(|| ChangeError::NotFound(id.to_string()))?;
                if row.superseded.is_some() {
                    // It is no more what somebody waits for.
                    return Ok(tx.done(()));
                }
                must_be_open(&row, "forgotten")?;
                within(&mut tx, id, Permission::Change, by).await?;
                let refused = |act| ChangeError::State { number: row.number, state: row.state, act };
                if row.author != author(by) && by.name != Principal::system().name {
                    return Err(refused("forgotten: somebody else made it; abandon it"));
                }
                if schedule::view(&mut tx, id).await?.is_some() {
                    return Err(refused("forgotten: somebody scheduled it; abandon it"));
                }
                if approval::is_judged(&mut tx, id).await? {
                    return Err(refused("forgotten: somebody approved or declined it; abandon it"));
                }
                let view = desired::standing(&mut tx).await?;
                let mut about: Vec<String> = Vec::new();
                for stored in store::drafts(&mut tx, id, &view.all).await? {
                    let act = if matches!(stored.draft.act, DraftAct::Put(_)) { "put" } else { "delete" };
                    about.push(format!("{act} {}", draft::key_of(&stored.draft)));
                }
                let edited = node_edit::told(&mut tx, &[id]).await?.remove(&id).unwrap_or_default();
                about.extend(edited.iter().map(|node| format!("edit node {node}")));
                store::erase(&mut tx, id).await?;
                let event = NewEvent::new(EventKind::ChangeMoved).change(id);
                tx.event(event.with("number", row.number).with("state", "forgotten"));
                let entry = Entry::done(by, "change.forget", format!("change {}", row.number));
                tx.audit(entry.because(row.reason.clone()).with_details(&about));
                Ok::<_, ChangeError>(tx.done(()))
            })
            .await
    }
}
