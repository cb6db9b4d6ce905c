//! A backup and its restore, through the store and the files.

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

#[test]
fn files_of_a_backup_stay_in_their_place() {
    for wrong in ["/etc/passwd", "../x", "web/../../x", "lampas.db", "other/x", ""] {
        assert!(inside(wrong).is_err(), "{wrong}");
    }
    assert!(inside("web/ca.pem").is_ok());
}
