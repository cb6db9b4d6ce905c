//! A backup and its restore, through the store and the files.

use lampas_shared::id::SecretValueId;

use super::*;
use crate::api::testing::Controller;

async fn empty(dir: &Path) -> Db {
    Db::open(&format!("sqlite://{}", dir.join("lampas.db").display()), 4).await.expect("the store opens")
}

#[tokio::test]
async fn what_was_there_is_there_again_in_a_new_epoch() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    admin.make("viewer").await;
    let from = tempfile::tempdir().expect("a directory");
    let (file, pair) = (from.path().join("b"), KeyPair::generate().expect("a pair"));
    let data_dir = &controller.app.config.data_dir;
    let written = write(&controller.app.db, data_dir, &pair.public, &file).await.expect("writes");
    assert!(written.rows > 4 && written.files >= 4, "{written:?}");
    assert_eq!(check(&file, &pair.recovery).expect("is whole"), written);

    let to = tempfile::tempdir().expect("a directory");
    let db = empty(to.path()).await;
    restore(&db, to.path(), &pair.recovery, &file).await.expect("restores");
    let users = |db: Db| async move {
        db.read(|mut tx: Tx| async move {
            let rows = sqlx::query("SELECT u.login FROM user_account u ORDER BY u.login")
                .fetch_all(tx.conn())
                .await
                .map_err(DbError::from)?;
            let names: Vec<String> =
                rows.iter().map(|r| crate::db::row::Reader::new("u", r).text("login")).collect::<Result<_, _>>()?;
            let chain = crate::audit::verify(&mut tx).await?;
            Ok::<_, DbError>(tx.done((names, chain.broken_at)))
        })
        .await
        .expect("reads")
    };
    assert_eq!(
        users(db.clone()).await,
        (vec!["admin".to_owned(), "viewer".to_owned()], None),
        "the audit's chain is whole"
    );
    let epoch = db
        .write(|mut tx: Tx| async move {
            let epoch = store::next_epoch(&mut tx).await?;
            Ok::<_, DbError>(tx.done(epoch))
        })
        .await
        .expect("reads");
    assert!(epoch > 1_700_000_000, "{epoch}: two restores of one backup don't share an epoch");
    let ca = |dir: &Path| std::fs::read(dir.join("web/ca.pem")).expect("the file");
    assert_eq!(ca(to.path()), ca(data_dir));
    let again = restore(&db, to.path(), &pair.recovery, &file).await;
    assert!(matches!(again, Err(BackupError::NotEmpty(_))), "{again:?}");
}

/// Writes two values of secrets of which it is put down who has them; one of them is purged. Returns the one that isn't.
async fn values_of_secrets(db: &Db) -> SecretValueId {
    let [stands, purged]: [SecretValueId; 2] = [lampas_runtime::random::new_id(), lampas_runtime::random::new_id()];
    let object = lampas_runtime::random::new_id();
    db.write(|mut tx: Tx| async move {
        for value in [stands, purged] {
            crate::secret::store::insert(&mut tx, value, object, "sealed", "ann", UnixMs(1)).await?;
        }
        sqlx::query("UPDATE secret_value SET sealed = '', purged_ms = 2 WHERE id = ?")
            .bind(purged.to_string())
            .execute(tx.conn())
            .await?;
        Ok::<_, DbError>(tx.done(()))
    })
    .await
    .expect("writes");
    stands
}

/// Returns the values of which it is not put down who has them.
async fn untracked(db: &Db) -> Vec<SecretValueId> {
    db.read(|mut tx: Tx| async move {
        let rows = sqlx::query("SELECT v.id FROM secret_value v WHERE v.is_tracked = 0").fetch_all(tx.conn()).await?;
        let ids: Result<Vec<_>, DbError> =
            rows.iter().map(|r| crate::db::row::Reader::new("secret_value", r).parse("id")).collect();
        Ok::<_, DbError>(tx.done(ids?))
    })
    .await
    .expect("reads")
}

#[tokio::test]
async fn after_a_restore_a_purge_reaches_who_was_given_a_value_since_the_backup() {
    let controller = Controller::start().await;
    controller.set_up().await;
    let stands = values_of_secrets(&controller.app.db).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (file, pair) = (dir.path().join("b"), KeyPair::generate().expect("a pair"));
    write(&controller.app.db, &controller.app.config.data_dir, &pair.public, &file).await.expect("writes");
    assert_eq!(untracked(&controller.app.db).await, []);
    let to = tempfile::tempdir().expect("a directory");
    let db = empty(to.path()).await;
    restore(&db, to.path(), &pair.recovery, &file).await.expect("restores");
    // What was purged by then was given to nobody any more.
    assert_eq!(untracked(&db).await, [stands]);
}

#[test]
fn files_of_a_backup_stay_in_their_place() {
    for wrong in ["/etc/passwd", "../x", "web/../../x", "lampas.db", "other/x", ""] {
        assert!(inside(wrong).is_err(), "{wrong}");
    }
    assert!(inside("web/ca.pem").is_ok());
}
