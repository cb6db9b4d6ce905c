//! The store by itself: transactions, counters, schemas, the audit's chain.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::event::EventKind;

use super::{Db, DbError, migrate, testing};
use crate::{
    audit::{self, Entry, Principal},
    event::{self, NewEvent},
};

testing::on_both!(
    a_failed_closure_writes_nothing,
    sequences_have_no_gaps,
    a_changed_audit_shows,
    texts_compare_by_bytes
);

async fn put_meta(db: &Db, name: &str, fails: bool) -> Result<(), DbError> {
    db.write(|mut tx| async move {
        sqlx::query("INSERT INTO meta (name, value) VALUES (?, 'x')").bind(name).execute(tx.conn()).await?;
        tx.event(NewEvent::new(EventKind::NodeChanged));
        if fails {
            return Err(DbError::Address("on purpose".into()));
        }
        Ok(tx.done(()))
    })
    .await
}

async fn metas(db: &Db) -> i64 {
    db.read(|mut tx| async move {
        let row = sqlx::query("SELECT COUNT(*) AS n FROM meta WHERE value = 'x'").fetch_one(tx.conn()).await?;
        let n = super::row::Reader::new("meta", &row).int("n")?;
        Ok::<_, DbError>(tx.done(n))
    })
    .await
    .expect("a count")
}

async fn a_failed_closure_writes_nothing(db: Db) {
    put_meta(&db, "a", true).await.expect_err("it fails");
    assert_eq!(metas(&db).await, 0);
    put_meta(&db, "a", false).await.expect("it works afterwards");
    let again = put_meta(&db, "a", false).await.expect_err("the name is taken");
    assert!(again.is_duplicate(), "{again}");
    assert_eq!(metas(&db).await, 1);
    assert_eq!(*db.committed().borrow(), 1, "one event was committed");
}

async fn sequences_have_no_gaps(db: Db) {
    let names: Vec<String> = (0..24).map(|i| format!("n{i}")).collect();
    let writes = names.iter().map(|name| put_meta(&db, name, false));
    for done in futures_util::future::join_all(writes).await {
        done.expect("busy stores are asked again");
    }
    let events =
        db.read(|mut tx| async move { event::tail(&mut tx, 0, 100).await.map(|e| tx.done(e)) }).await.expect("events");
    let seqs: Vec<u64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=24).collect::<Vec<u64>>());
}

async fn a_changed_audit_shows(db: Db) {
    for act in ["node.update", "change.apply", "change.revert"] {
        db.write(|mut tx| async move {
            tx.audit(Entry::done(&Principal::new("user:admin", "10.0.0.1"), act, "web-1").because("umlaut ä and 漢"));
            tx.audit(Entry::refused(&Principal::system(), act, "web-2", "not allowed"));
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("entries");
    }
    let verify = || async {
        db.read(|mut tx| async move { audit::verify(&mut tx).await.map(|v| tx.done(v)) }).await.expect("a verdict")
    };
    let whole = verify().await;
    assert_eq!((whole.entries, whole.broken_at), (6, None));
    let change = |sql: &'static str| {
        let db = db.clone();
        async move {
            db.write(|mut tx| async move {
                sqlx::query(sql).execute(tx.conn()).await?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await
            .expect("a write");
        }
    };
    change("UPDATE audit SET object = 'web-9' WHERE seq = 3").await;
    assert_eq!(verify().await.broken_at, Some(3));
    change("UPDATE audit SET object = 'web-1' WHERE seq = 3").await;
    assert_eq!(verify().await.broken_at, None);
    change("DELETE FROM audit WHERE seq = 6").await;
    assert_eq!(verify().await.broken_at, Some(6), "a chain cut at its end shows too");
}

async fn texts_compare_by_bytes(db: Db) {
    for name in ["a", "A", "ä"] {
        put_meta(&db, name, false).await.expect("different bytes are different names");
    }
    assert_eq!(metas(&db).await, 3);
}

#[test]
fn both_folders_have_the_same_numbers_and_what_is_on_the_disk() {
    let embedded = |m: &sqlx::migrate::Migrator| {
        m.iter().map(|m| (m.version, m.description.to_string())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(embedded(&migrate::SQLITE), embedded(&migrate::MYSQL));
    for folder in ["sqlite", "mysql"] {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
        let files = std::fs::read_dir(dir).expect("the folder").count();
        assert_eq!(files, migrate::SQLITE.iter().count(), "{folder}: the binary embeds what stands there");
    }
    for migration in migrate::MYSQL.iter() {
        let code = migration.sql.as_str().lines().filter(|l| !l.starts_with("--"));
        let statements = code.map(|l| l.matches(';').count()).sum::<usize>();
        assert_eq!(
            statements, 1,
            "MySQL's DDL is not transactional: {} has {statements} statements",
            migration.version
        );
    }
}

/// The columns of all tables, with types as both call them.
type Schema = BTreeMap<String, BTreeMap<String, (String, bool)>>;

async fn schema(db: &Db) -> Schema {
    let is_sqlite = db.dialect() == super::Dialect::Sqlite;
    db.read(|mut tx| async move {
        let sql = if is_sqlite {
            "SELECT m.name AS t, c.name AS c, UPPER(c.type) AS y, CASE WHEN c.\"notnull\" = 1 THEN 'NO' ELSE 'YES' END AS n \
             FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' \
             AND m.name NOT LIKE '!_sqlx%' ESCAPE '!'"
        } else {
            "SELECT CAST(table_name AS CHAR) AS t, CAST(column_name AS CHAR) AS c, CAST(UPPER(column_type) AS CHAR) AS y, \
             CAST(is_nullable AS CHAR) AS n FROM information_schema.columns WHERE table_schema = DATABASE() \
             AND table_name <> '_sqlx_migrations'"
        };
        let mut found = Schema::new();
        for row in &sqlx::query(sql).fetch_all(tx.conn()).await? {
            let r = super::row::Reader::new("columns", row);
            let kind = r.text("y")?.replace("BIGINT(20)", "BIGINT").replace("LONG", "").replace("MEDIUM", "");
            found.entry(r.text("t")?).or_default().insert(r.text("c")?, (kind, r.text("n")? == "YES"));
        }
        Ok::<_, DbError>(tx.done(found))
    })
    .await
    .expect("a schema")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_schemas_are_the_same() {
    let sqlite = testing::sqlite().await;
    let server = testing::MariaDb::start();
    let mysql = server.fresh("schema_test").await;
    let (ours, theirs) = (schema(&sqlite.db).await, schema(&mysql).await);
    assert!(ours.len() > 20, "{:?}", ours.keys().collect::<BTreeSet<_>>());
    assert_eq!(ours, theirs);
}
