//! Searching, exporting and checking the audit, on both databases and over the API.

use lampas_api::{AuditFormat, AuditRecord};
use lampas_shared::time::UnixMs;
use serde_json::json;

use super::{Entry, Principal, Query, list, records, verify};
use crate::{
    api::testing::{Controller, answer},
    db::{Db, DbError, testing},
};

testing::on_both!(filters_find_what_they_say, a_break_is_placed_and_named);

async fn fill(db: &Db) {
    for (principal, act, object, why) in [
        ("user:anna", "node.update", "Web-1", "100% sure"),
        ("user:ben", "change.apply", "change 7", "because of web-1"),
        ("system", "node.update", "db_1", "nightly"),
        ("user:anna", "change.revert", "change 7", "1000 nodes"),
    ] {
        db.write(|mut tx| async move {
            tx.audit(Entry::done(&Principal::new(principal, "10.0.0.1"), act, object).because(why));
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("an entry");
    }
}

async fn filters_find_what_they_say(db: Db) {
    fill(&db).await;
    let find = |query: Query| {
        let db = db.clone();
        async move {
            db.read(|mut tx| {
                let query = query.clone();
                async move {
                    let newest = list(&mut tx, &query, 100).await?;
                    let oldest = records(&mut tx, &query, 0, 100).await?;
                    let mut seqs: Vec<u64> = newest.iter().map(|e| e.seq).collect();
                    seqs.reverse();
                    assert_eq!(seqs, oldest.iter().map(|r| r.seq).collect::<Vec<_>>(), "both find the same");
                    Ok::<_, DbError>(tx.done(seqs))
                }
            })
            .await
            .expect("entries")
        }
    };
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(find(Query::default()).await, [1, 2, 3, 4]);
    assert_eq!(find(Query { object: text("web-1"), ..Query::default() }).await, [1], "whatever its case");
    assert_eq!(find(Query { text: text("WEB-1"), ..Query::default() }).await, [1, 2]);
    assert_eq!(find(Query { text: text("100%"), ..Query::default() }).await, [1], "% is itself");
    assert_eq!(find(Query { object: text("b_1"), ..Query::default() }).await, [3], "_ is itself");
    assert_eq!(find(Query { text: text("!"), ..Query::default() }).await, [0; 0]);
    assert_eq!(find(Query { act: text("change."), principal: text("user:anna"), ..Query::default() }).await, [4]);
    assert_eq!(find(Query { since: Some(UnixMs(i64::MAX)), ..Query::default() }).await, [0; 0]);
    assert_eq!(
        find(Query { until: Some(UnixMs(i64::MAX)), since: Some(UnixMs(0)), ..Query::default() }).await.len(),
        4
    );
}

async fn a_break_is_placed_and_named(db: Db) {
    fill(&db).await;
    for (sql, at, how) in [
        ("UPDATE audit SET reason = '' WHERE seq = 3", 3, "altered"),
        ("DELETE FROM audit WHERE seq = 2", 2, "missing"),
        ("DELETE FROM audit WHERE seq > 0", 1, "missing, with all"),
    ] {
        db.write(|mut tx| async move {
            sqlx::query(sql).execute(tx.conn()).await?;
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
        let found =
            db.read(|mut tx| async move { verify(&mut tx).await.map(|v| tx.done(v)) }).await.expect("a verdict");
        assert_eq!(found.broken_at, Some(at), "{sql}");
        assert!(found.broken_how.as_deref().is_some_and(|h| h.contains(how)), "{sql}: {:?}", found.broken_how);
    }
}

#[tokio::test]
async fn an_export_is_whole_in_both_forms_however_long() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    let many = 1_200;
    controller
        .app
        .db
        .write(|mut tx| async move {
            for n in 0..many {
                tx.audit(Entry::done(&Principal::system(), "test.fill", format!("{n}, \"quoted\"\n")));
            }
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("entries");
    let get = async |path: &str| {
        let answer = admin.request("GET", path).send().await.expect("answers");
        assert_eq!(answer.status(), 200);
        assert!(answer.headers()["content-disposition"].to_str().is_ok_and(|d| d.starts_with("attachment")));
        answer.text().await.expect("text")
    };
    let text = get("/api/v1/audit/export").await;
    let rows: Vec<AuditRecord> = text.lines().map(|l| serde_json::from_str(l).expect("a record")).collect();
    assert!(rows.len() > many, "{}", rows.len());
    let mut prev = String::new();
    for (row, seq) in rows.iter().zip(1..) {
        assert_eq!((row.seq, &row.prev_hash, &row.hash), (seq, &prev, &row.expected_hash()));
        prev.clone_from(&row.hash);
    }
    let csv = get("/api/v1/audit/export?format=csv&act=test.fill").await;
    let filled: Vec<AuditRecord> = rows.into_iter().filter(|r| r.act == "test.fill").collect();
    assert_eq!(csv, super::export::csv_head() + &super::export::lines(&filled, AuditFormat::Csv));
    assert_eq!(admin.get("/api/v1/audit/export?format=xml").await.0, 422);
    admin.make("operator").await;
    let operator = controller.sign_in("operator").await;
    let refused = answer(operator.request("GET", "/api/v1/audit/export")).await;
    assert_eq!((refused.0, &refused.1["code"]), (403, &json!("forbidden")));
}
