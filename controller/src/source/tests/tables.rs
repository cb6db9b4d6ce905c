//! The tables of sources: who looks, and what a commit said.

use std::collections::BTreeMap;

use lampas_runtime::random;
use lampas_shared::{
    id::{SourceId, UserId},
    source::SourceState,
    time::UnixMs,
};
use serde_json::json;

use crate::{
    db::{Db, DbError, Tx, testing},
    source::{
        compare::{self, Mark, Want},
        store::{self, Settings, SourceRow, Status},
    },
};

testing::on_both!(who_claims_a_source_looks_alone, words_come_back_as_they_went);

fn row() -> SourceRow {
    let settings = json!({
        "url": "https://git.example.org/fleet.git", "branch": "main", "folder": "", "mode": "apply", "prune": true,
        "interval_secs": 300, "allow_unplanned": false, "rollout": {}, "host_keys": [], "allowed_signers": "",
        "owner": "anna",
    });
    SourceRow {
        id: random::new_id(),
        name: "fleet".parse().expect("a name"),
        scope: "role:app".parse().expect("a scope"),
        settings: serde_json::from_value::<Settings>(settings).expect("settings"),
        sealed: None,
        user: random::new_id::<UserId>(),
        permissions: [lampas_shared::access::Permission::Change].into(),
        revision: 1,
        created_at: UnixMs(1),
        updated_at: UnixMs(1),
        state: SourceState::New,
        status: Status::default(),
        commit: None,
        change: None,
        draft_key: None,
        due: UnixMs(0),
        claim: None,
    }
}

async fn put(db: &Db, row: &SourceRow) {
    let put = db.write(|mut tx: Tx| async move {
        store::put(&mut tx, row, &BTreeMap::new(), true).await?;
        Ok::<_, DbError>(tx.done(()))
    });
    put.await.expect("stored");
}

async fn claim(db: &Db, id: SourceId, who: &str, now: i64) -> bool {
    let taken = db.write(|mut tx: Tx| async move {
        let taken = store::claim(&mut tx, id, who, (UnixMs(now), UnixMs(now + 100))).await?;
        Ok::<_, DbError>(tx.done(taken))
    });
    taken.await.expect("asked")
}

async fn who_claims_a_source_looks_alone(db: Db) {
    let row = &row();
    put(&db, row).await;
    assert!(claim(&db, row.id, "a/1", 1000).await);
    assert!(!claim(&db, row.id, "b/1", 1050).await, "somebody has it");
    assert!(claim(&db, row.id, "a/1", 1060).await, "who has it renews it");
    assert!(claim(&db, row.id, "b/1", 2000).await, "a claim ends by itself");
    let save = |who: &'static str, revision: u64| {
        let changed = SourceRow { state: SourceState::Synced, revision, ..row.clone() };
        let db = db.clone();
        async move {
            let changed = &changed;
            let saved = db.write(|mut tx: Tx| async move {
                let saved = store::save(&mut tx, changed, who).await?;
                Ok::<_, DbError>(tx.done(saved))
            });
            saved.await.expect("asked")
        }
    };
    assert!(!save("a/1", 1).await, "who lost it writes nothing");
    assert!(!save("b/1", 2).await, "nor who read it as it was set up otherwise");
    assert!(save("b/1", 1).await);
    assert!(save("b/1", 1).await, "the same twice is no loss");
    let due = db.read(|mut tx| async move {
        let due = store::due(&mut tx, UnixMs(2050)).await?;
        Ok::<_, DbError>(tx.done(due))
    });
    assert!(due.await.expect("read").is_empty());
    let forgotten = db.write(|mut tx: Tx| async move {
        store::forget_claims(&mut tx, "b").await?;
        let due = store::due(&mut tx, UnixMs(2050)).await?;
        Ok::<_, DbError>(tx.done(due))
    });
    assert_eq!(forgotten.await.expect("written"), [row.id], "a controller that came back looks at once");
}

async fn words_come_back_as_they_went(db: Db) {
    let row = &row();
    put(&db, row).await;
    let text = "[[file]]\nname = \"a\"\nscope = \"role:app\"\npath = \"/etc/a\"\ncontent = \"x\"\n\
                [[cron]]\nname = \"b\"\nscope = \"role:app\"\nstate = \"absent\"\n";
    let files = [lampas_manifest::ManifestFile { name: "dir/a.toml", text }];
    let entries = lampas_manifest::parse(&files, &lampas_manifest::NoSources).expect("a manifest");
    let mut words = compare::merge(Vec::new(), entries);
    words[0].mark = Mark::Under;
    words[0].brought = true;
    let words = &words;
    let found = db.write(|mut tx: Tx| async move {
        store::put_words(&mut tx, row.id, words, &BTreeMap::new()).await?;
        let found = store::words(&mut tx, row.id, &BTreeMap::new()).await?;
        store::unmark(&mut tx, row.id, Mark::Under, Mark::Done).await?;
        let after = store::words(&mut tx, row.id, &BTreeMap::new()).await?;
        let of = store::of_object(&mut tx, &words[1].key, &BTreeMap::new()).await?;
        Ok::<_, DbError>(tx.done((found, after, of)))
    });
    let (found, after, of) = found.await.expect("written");
    let by_key = |all: &[compare::Word]| {
        let mut all = all.to_vec();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    };
    assert_eq!(by_key(&found), by_key(words));
    assert!(after.iter().all(|w| w.mark != Mark::Under));
    assert_eq!(of.len(), 1);
    assert!(found.iter().any(|w| w.want == Want::Absent && w.line == 6), "{found:?}");
}
