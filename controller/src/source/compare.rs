//! What git says beside what stands. Pure.
//!
//! A commit brings what it says anew; what was changed in the fleet since is a difference that stands until somebody
//! decides. So each object carries a mark: whether git's word of it is still to be brought.

use std::collections::{BTreeMap, BTreeSet};

use lampas_api::{Difference, Draft, DraftAct, SourceCounts};
use lampas_manifest::ManifestEntry;
use lampas_shared::object::{Body, ObjectKey, ObjectName, ObjectSpec};

use crate::host::Stored;

/// What git wants of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    /// It shall be so.
    Present(Box<ObjectSpec>),
    /// It shall not be there.
    Absent,
    /// The source brought it, and git has it no longer.
    Gone,
}

/// How far git's word of an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It was brought, or somebody decided against it.
    Done,
    /// The next change brings it.
    Pending,
    /// The open change brings it.
    Under,
}

/// What git says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) key: ObjectKey,
    pub(super) want: Want,
    pub(super) previous_name: Option<ObjectName>,
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) mark: Mark,
    /// Whether the source made it so, or found it so.
    pub(super) brought: bool,
}

/// A word that the fleet differs from.
#[derive(Debug, Clone)]
pub(super) struct Differing<'w, 's> {
    pub(super) word: &'w Word,
    pub(super) what: Difference,
    pub(super) standing: Option<&'s Stored>,
}

/// Puts what a commit says in place of what the one before said.
pub(super) fn merge(before: Vec<Word>, entries: Vec<ManifestEntry>) -> Vec<Word> {
    let mut before: BTreeMap<ObjectKey, Word> = before.into_iter().map(|w| (w.key.clone(), w)).collect();
    let mut words = Vec::with_capacity(entries.len());
    let mut renamed = BTreeSet::new();
    for entry in entries {
        let want = entry.spec.map_or(Want::Absent, |spec| Want::Present(Box::new(spec)));
        let old = before.remove(&entry.key);
        let is_same = old.as_ref().is_some_and(|o| o.want == want);
        renamed.extend(entry.previous_name.iter().map(|name| ObjectKey { name: name.clone(), ..entry.key.clone() }));
        words.push(Word {
            mark: old.as_ref().filter(|_| is_same).map_or(Mark::Pending, |o| o.mark),
            brought: old.as_ref().is_some_and(|o| o.brought),
            key: entry.key,
            want,
            previous_name: entry.previous_name,
            file: entry.file,
            line: u32::try_from(entry.line).unwrap_or(u32::MAX),
        });
    }
    let named: BTreeSet<ObjectKey> = words.iter().map(|w| w.key.clone()).collect();
    for (key, old) in before {
        if !old.brought || old.want == Want::Absent || renamed.contains(&key) || named.contains(&key) {
            continue;
        }
        let mark = if old.want == Want::Gone { old.mark } else { Mark::Pending };
        words.push(Word { want: Want::Gone, mark, previous_name: None, ..old });
    }
    words.sort_by(|a, b| a.key.cmp(&b.key));
    words
}

/// Says how an object differs from what git says of it; nothing when it doesn't.
pub(super) fn differs<'w, 's>(word: &'w Word, standing: &BTreeMap<ObjectKey, &'s Stored>) -> Option<Differing<'w, 's>> {
    let own = standing.get(&word.key).copied();
    let (what, standing) = match &word.want {
        Want::Absent | Want::Gone => (Difference::Gone, Some(own?)),
        Want::Present(spec) => {
            let former = word.previous_name.clone().map(|name| ObjectKey { name, ..word.key.clone() });
            match own.or_else(|| standing.get(&former?).copied()) {
                None => (Difference::Missing, None),
                Some(found) if is_same(spec, &found.spec) => return None,
                Some(found) => (Difference::Edited, Some(found)),
            }
        }
    };
    Some(Differing { word, what, standing })
}

/// Whether two say the same; a manifest says nothing of which value a secret has.
fn is_same(git: &ObjectSpec, fleet: &ObjectSpec) -> bool {
    match (&git.body, &fleet.body) {
        (Body::Secret(a), Body::Secret(b)) if a.value.is_none() => {
            (&git.name, &git.scope, git.drift, &a.description)
                == (&fleet.name, &fleet.scope, fleet.drift, &b.description)
        }
        _ => git == fleet,
    }
}

/// Counts how the fleet stands.
pub(super) fn count(words: &[Word], standing: &BTreeMap<ObjectKey, &Stored>) -> SourceCounts {
    let mut counts = SourceCounts::default();
    for word in words {
        match differs(word, standing).map(|d| d.what) {
            None => counts.same += u32::from(matches!(word.want, Want::Present(_))),
            Some(Difference::Edited) => counts.edited += 1,
            Some(Difference::Missing) => counts.missing += 1,
            Some(Difference::Gone) => counts.gone += 1,
        }
    }
    counts
}

/// Takes the marks off what is as git says, and drops what is gone on both sides. Returns whether anything changed.
pub(super) fn settle(words: &mut Vec<Word>, standing: &BTreeMap<ObjectKey, &Stored>, may_bring: bool) -> bool {
    let mut is_changed = false;
    words.retain_mut(|word| {
        if differs(word, standing).is_some() {
            return true;
        }
        if word.want == Want::Gone {
            is_changed = true;
            return false;
        }
        let brought = word.brought || (may_bring && matches!(word.want, Want::Present(_)));
        is_changed |= word.mark != Mark::Done || brought != word.brought;
        (word.mark, word.brought) = (Mark::Done, brought);
        true
    });
    is_changed
}

/// Returns the drafts of what is still to be brought.
pub(super) fn drafts(words: &[Word], standing: &BTreeMap<ObjectKey, &Stored>, prune: bool) -> Vec<Draft> {
    let is_meant = |w: &&Word| w.mark != Mark::Done && (prune || w.want != Want::Gone);
    let differing = words.iter().filter(is_meant).filter_map(|w| differs(w, standing));
    differing
        .map(|d| {
            let base = Some(d.standing.map_or(0, |s| s.revision));
            match &d.word.want {
                Want::Present(spec) => Draft {
                    act: DraftAct::Put((**spec).clone()),
                    base,
                    previous_name: d.standing.map(|s| s.spec.name.clone()).filter(|n| *n != spec.name),
                },
                Want::Absent | Want::Gone => {
                    Draft { act: DraftAct::Delete(d.word.key.clone()), base, previous_name: None }
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lampas_manifest::{NoSources, parse};
    use lampas_shared::time::UnixMs;

    use super::*;

    fn entries(text: &str) -> Vec<ManifestEntry> {
        parse(&[ManifestFile { name: "a.toml", text }], &NoSources).expect("a manifest")
    }
    use lampas_manifest::ManifestFile;

    fn file(name: &str, content: &str) -> String {
        format!("[[file]]\nname = \"{name}\"\nscope = \"role:app\"\npath = \"/etc/{name}\"\ncontent = \"{content}\"\n")
    }

    fn stands(text: &str) -> Vec<Stored> {
        let stored = |entry: ManifestEntry| Stored {
            id: lampas_runtime::random::new_id(),
            spec: Arc::new(entry.spec.expect("present")),
            revision: 3,
            author: "anna".into(),
            reason: String::new(),
            change: None,
            change_number: 1,
            approval: lampas_shared::desired::Approval::NotRequired,
            created_at: UnixMs(0),
            updated_at: UnixMs(0),
        };
        entries(text).into_iter().map(stored).collect()
    }

    fn by_key(stands: &[Stored]) -> BTreeMap<ObjectKey, &Stored> {
        stands.iter().map(|s| (s.spec.key(), s)).collect()
    }

    #[test]
    fn a_commit_brings_what_it_says_anew_and_leaves_what_was_edited_since() {
        let both = file("a", "1") + &file("b", "1");
        let mut words = merge(Vec::new(), entries(&both));
        assert_eq!(drafts(&words, &BTreeMap::new(), false).len(), 2, "all is new");
        let fleet = stands(&both);
        assert!(settle(&mut words, &by_key(&fleet), true));
        assert!(words.iter().all(|w| w.brought && w.mark == Mark::Done));
        assert!(!settle(&mut words, &by_key(&fleet), true), "twice changes nothing");

        // Somebody edits b in the dashboard, then a commit says something new of a.
        let fleet = stands(&(file("a", "1") + &file("b", "by hand")));
        let mut words = merge(words, entries(&(file("a", "2") + &file("b", "1"))));
        settle(&mut words, &by_key(&fleet), true);
        let made = drafts(&words, &by_key(&fleet), false);
        assert_eq!(made.len(), 1, "{made:?}");
        assert!(matches!(&made[0].act, DraftAct::Put(spec) if spec.name.as_str() == "a") && made[0].base == Some(3));
        assert_eq!(count(&words, &by_key(&fleet)), SourceCounts { edited: 2, ..SourceCounts::default() });
    }

    #[test]
    fn only_what_the_source_brought_goes_with_git() {
        let fleet = stands(&(file("a", "1") + &file("foreign", "1")));
        let mut words = merge(Vec::new(), entries(&(file("a", "1") + &file("never", "1"))));
        settle(&mut words, &by_key(&fleet), true);
        let mut words = merge(words, entries(&file("b", "1")));
        settle(&mut words, &by_key(&fleet), true);
        let gone: Vec<&Word> = words.iter().filter(|w| w.want == Want::Gone).collect();
        assert_eq!(gone.len(), 1, "what was never there is forgotten: {words:?}");
        assert_eq!(drafts(&words, &by_key(&fleet), false).len(), 1, "without prune it stays");
        let made = drafts(&words, &by_key(&fleet), true);
        assert!(made.iter().any(|d| matches!(&d.act, DraftAct::Delete(key) if key.name.as_str() == "a")), "{made:?}");
        // Deleted, it is forgotten.
        settle(&mut words, &BTreeMap::new(), true);
        assert!(words.iter().all(|w| w.want != Want::Gone));
    }

    #[test]
    fn a_rename_is_one_object() {
        let fleet = stands(&file("a", "1"));
        let mut words = merge(Vec::new(), entries(&file("a", "1")));
        settle(&mut words, &by_key(&fleet), true);
        let renamed = file("b", "1").replace("/etc/b", "/etc/a") + "previous_name = \"a\"\n";
        let words = merge(words, entries(&renamed));
        assert_eq!(words.len(), 1, "{words:?}");
        let made = drafts(&words, &by_key(&fleet), true);
        assert_eq!(made[0].previous_name.as_ref().map(|n| n.as_str()), Some("a"));
    }

    #[test]
    fn what_watches_brings_nothing() {
        let fleet = stands(&file("a", "1"));
        let mut words = merge(Vec::new(), entries(&file("a", "1")));
        settle(&mut words, &by_key(&fleet), false);
        assert!(!words[0].brought);
        assert!(merge(words, entries(&file("b", "1"))).iter().all(|w| w.want != Want::Gone));
    }
}
