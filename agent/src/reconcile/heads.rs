//! Heads of the audit that controllers showed: the last ones are kept, so that a chain that was rewritten later can be told
//! by what this node holds.

use lampas_runtime::clock;
use lampas_shared::audit::Head;
use tracing::{error, info};

use crate::journal::{Journal, JournalError, SeenHead, Transaction};

/// How many are kept: with one in five minutes at most the last five hours, in a quiet fleet months.
const KEEP: usize = 64;

/// Keeps a head; returns the earlier one that it contradicts, if it does. Such a one is kept as well: what stood before is
/// the evidence.
pub(super) fn keep(journal: &Journal, head: Head) -> Result<Option<Head>, JournalError> {
    let mut seen = journal.heads()?;
    let contradicts =
        seen.iter().map(|s| &s.head).filter(|h| h.is_contradicted_by(&head)).max_by_key(|h| (h.epoch, h.seq));
    let contradicts = contradicts.cloned();
    if seen.iter().any(|s| s.head == head) {
        return Ok(contradicts);
    }
    if let Some(earlier) = &contradicts {
        error!(
            earlier.epoch,
            earlier.seq,
            epoch = head.epoch,
            seq = head.seq,
            "the controller's audit is not the one that was here before: entries were taken away or replaced"
        );
    } else if seen.last().is_some_and(|last| last.head.epoch < head.epoch) {
        info!(epoch = head.epoch, seq = head.seq, "the controller's store was restored; its audit begins a new epoch");
    }
    seen.push(SeenHead { head, at: clock::now() });
    let excess = seen.len().saturating_sub(KEEP);
    seen.drain(..excess);
    let mut transaction = Transaction::new();
    transaction.heads(&seen);
    journal.commit(transaction)?;
    Ok(contradicts)
}

#[cfg(test)]
mod tests {
    use lampas_shared::desired::ContentHash;

    use super::*;

    #[test]
    fn a_head_that_goes_back_is_told_and_a_new_epoch_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(dir.path()).expect("opens");
        let head = |epoch, seq, text: &str| Head { epoch, seq, hash: ContentHash::of(text.as_bytes()) };
        let check = |new: Head, expected: Option<Head>| {
            assert_eq!(keep(&journal, new.clone()).expect("kept"), expected, "{new:?}");
        };
        check(head(1, 5, "five"), None);
        check(head(1, 5, "five"), None);
        check(head(1, 9, "nine"), None);
        check(head(1, 5, "five"), Some(head(1, 9, "nine")));
        check(head(1, 9, "other"), Some(head(1, 9, "nine")));
        check(head(2, 3, "three"), None);
        check(head(1, 20, "twenty"), Some(head(2, 3, "three")));
        for seq in 10..200 {
            check(head(3, seq, "more"), None);
        }
        let kept = journal.heads().expect("read");
        assert_eq!((kept.len(), kept[KEEP - 1].head.seq), (KEEP, 199));
    }
}
