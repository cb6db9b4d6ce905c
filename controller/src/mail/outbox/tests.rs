use std::slice::from_ref;

use lampas_api::{MailServer, MorningMail, RolloutMail};
use lampas_runtime::random;

use super::*;
use crate::{
    access::{UserRow, insert_user},
    db::{Db, testing},
    mail::store::*,
};

testing::on_both!(
    a_message_is_made_once_and_taken_by_one,
    what_failed_is_told_until_something_was_sent,
    what_waits_goes_to_who_it_was_for,
    events_are_read_by_one,
    too_much_is_given_up_and_seen,
    a_user_who_goes_takes_their_mail_along
);

async fn user(db: &Db, login: &str) -> UserId {
    let row = &UserRow::fresh(login);
    db.write(|mut tx: Tx| async move {
        insert_user(&mut tx, row).await?;
        let (user, login) = (row.id, row.login.clone());
        let account = Account {
            user,
            login,
            preset: row.preset,
            address: Some("a@example.com".into()),
            rollouts: RolloutMail::Mine,
            approvals: true,
            morning: false,
        };
        put_account(&mut tx, &account, UnixMs(1)).await?;
        Ok::<_, DbError>(tx.done(user))
    })
    .await
    .expect("a user")
}

fn message(user: UserId, key: &str) -> NewMessage {
    NewMessage {
        id: random::new_id(),
        key: key.into(),
        kind: MailKind::Rollout,
        user: Some(user),
        address: "a@example.com".into(),
        subject: "s".into(),
        text: "t".into(),
        html: "h".into(),
    }
}

async fn put(db: &Db, messages: &[NewMessage], now: UnixMs) -> u64 {
    db.write(|mut tx: Tx| async move {
        let new = enqueue(&mut tx, messages, now).await?;
        Ok::<_, DbError>(tx.done(new))
    })
    .await
    .expect("enqueued")
}

async fn take(db: &Db, id: MailId, by: &str, now: i64) -> Option<Outgoing> {
    db.write(|mut tx: Tx| async move {
        let taken = claim(&mut tx, id, by, (UnixMs(now), UnixMs(now + 100))).await?;
        Ok::<_, DbError>(tx.done(taken))
    })
    .await
    .expect("asked")
}

async fn end(db: &Db, id: MailId, by: &str, state: MailState, due: i64, now: i64) -> bool {
    db.write(|mut tx: Tx| async move {
        let end = (state == MailState::Abandoned).then_some(End::Refused);
        let outcome = Outcome { state, answer: "250 ok".into(), end, due: UnixMs(due) };
        let done = settle(&mut tx, (id, by), &outcome, UnixMs(now)).await?;
        Ok::<_, DbError>(tx.done(done))
    })
    .await
    .expect("settled")
}

async fn a_message_is_made_once_and_taken_by_one(db: Db) {
    let user = user(&db, "anna").await;
    let one = message(user, "rollout:1:anna");
    assert_eq!(put(&db, &[one.clone(), message(user, "rollout:1:anna")], UnixMs(10)).await, 1, "of a key there is one");
    assert_eq!(put(&db, &[message(user, "rollout:1:anna")], UnixMs(20)).await, 0);
    // Two controllers at the same moment.
    let (a, b) = tokio::join!(take(&db, one.id, "a/1", 30), take(&db, one.id, "b/1", 30));
    assert_eq!(usize::from(a.is_some()) + usize::from(b.is_some()), 1, "one of them has it");
    let (holder, other) = if a.is_some() { ("a/1", "b/1") } else { ("b/1", "a/1") };
    assert!(take(&db, one.id, other, 100).await.is_none(), "the claim stands");
    let again = take(&db, one.id, other, 131).await.expect("the claim is over");
    assert_eq!((again.text.as_str(), again.attempts), ("t", 0));
    assert!(!end(&db, one.id, holder, MailState::Sent, 0, 132).await, "who lost it says nothing of it");
    assert!(end(&db, one.id, other, MailState::Failed, 500, 133).await);
    assert!(take(&db, one.id, "c/1", 400).await.is_none(), "is not due");
    assert_eq!(take(&db, one.id, "c/1", 500).await.expect("is due").attempts, 1);
    assert!(end(&db, one.id, "c/1", MailState::Sent, 501, 501).await);
    assert!(take(&db, one.id, "d/1", 9000).await.is_none(), "is over");
    let log = db
        .read(|mut tx: Tx| async move {
            let log = list(&mut tx, (None, "~"), 10).await?;
            assert_eq!(list(&mut tx, (Some(MailState::Failed), "~"), 10).await?.len(), 0);
            assert_eq!(figures(&mut tx, UnixMs(0)).await?, (0, 1, 0));
            Ok::<_, DbError>(tx.done(log))
        })
        .await
        .expect("read");
    assert_eq!((log.len(), log[0].login.as_str(), log[0].attempts), (1, "anna", 2));
    assert_eq!((log[0].state, log[0].next_at), (MailState::Sent, None));
}

async fn what_failed_is_told_until_something_was_sent(db: Db) {
    let user = user(&db, "anna").await;
    let (one, two) = (message(user, "k1"), message(user, "k2"));
    put(&db, &[one.clone(), two.clone()], UnixMs(10)).await;
    let told = async |db: &Db| {
        db.read(|mut tx: Tx| async move {
            let told = trouble(&mut tx, UnixMs(0)).await?;
            Ok::<_, DbError>(tx.done(told))
        })
        .await
        .expect("read")
    };
    assert_eq!(told(&db).await, None, "nothing was tried");
    take(&db, one.id, "a/1", 20).await.expect("due");
    end(&db, one.id, "a/1", MailState::Failed, 500, 21).await;
    assert_eq!(told(&db).await, Some((UnixMs(10), "250 ok".into())));
    take(&db, two.id, "a/1", 30).await.expect("due");
    end(&db, two.id, "a/1", MailState::Sent, 31, 31).await;
    assert_eq!(told(&db).await, None, "one went through since");
    db.write(|mut tx: Tx| async move {
        hurry(&mut tx, UnixMs(40)).await?;
        Ok::<_, DbError>(tx.done(()))
    })
    .await
    .expect("hurried");
    take(&db, one.id, "a/1", 40).await.expect("is due at once");
    let given_up = db
        .write(|mut tx: Tx| async move {
            let n = give_up(&mut tx, "off").await?;
            Ok::<_, DbError>(tx.done(n))
        })
        .await
        .expect("given up");
    assert_eq!(given_up, 1);
    assert_eq!(told(&db).await, None, "what nobody wants any more is no trouble");

    // A mistyped address is its owner's matter, as long as others get theirs.
    let (three, four) = (message(user, "k3"), NewMessage { address: "b@example.com".into(), ..message(user, "k4") });
    put(&db, from_ref(&three), UnixMs(50)).await;
    take(&db, three.id, "a/1", 50).await.expect("due");
    end(&db, three.id, "a/1", MailState::Abandoned, 51, 51).await;
    let (_, why) = told(&db).await.expect("the only one is refused").clone();
    assert!(why.contains("a mail to a@example.com was refused"), "{why}");
    let three = NewMessage { address: "typo@example.com".into(), ..message(user, "k5") };
    put(&db, &[four.clone(), three.clone()], UnixMs(60)).await;
    take(&db, four.id, "a/1", 60).await.expect("due");
    end(&db, four.id, "a/1", MailState::Sent, 61, 61).await;
    take(&db, three.id, "a/1", 62).await.expect("due");
    end(&db, three.id, "a/1", MailState::Abandoned, 63, 63).await;
    assert_eq!(told(&db).await, None, "others get theirs");
}

async fn what_waits_goes_to_who_it_was_for(db: Db) {
    let user = user(&db, "anna").await;
    let over = async |key: &str, now: i64| {
        let one = message(user, key);
        put(&db, from_ref(&one), UnixMs(10)).await;
        take(&db, one.id, "a/1", now).await.expect("is due").over
    };
    assert_eq!(over("k1", 20).await, None);
    assert!(over("k2", 10 + GIVE_UP_MS).await.expect("is over").contains("more than a day old"));
    let told = NewMessage { kind: MailKind::Account, address: "old@example.com".into(), ..message(user, "k3") };
    put(&db, from_ref(&told), UnixMs(10)).await;
    assert_eq!(take(&db, told.id, "a/1", 20).await.expect("is due").over, None, "it is for the address that was");
    let run = async |sql: &'static str| {
        let done = db.write(|mut tx: Tx| async move {
            sqlx::query(sql).execute(tx.conn()).await?;
            Ok::<_, DbError>(tx.done(()))
        });
        done.await.expect("written");
    };
    run("UPDATE mail_account SET address = 'b@example.com'").await;
    assert!(over("k4", 20).await.expect("is over").contains("another address"));
    run("UPDATE mail_account SET address = 'a@example.com'").await;
    run("UPDATE user_account SET preset = 'none'").await;
    assert!(over("k5", 20).await.expect("is over").contains("sees nothing"));
    run("UPDATE user_account SET preset = 'viewer', disabled_ms = 15").await;
    assert!(over("k6", 20).await.expect("is over").contains("barred"));
}

async fn events_are_read_by_one(db: Db) {
    let row = &Setting {
        server: MailServer { host: "m".into(), from: "l@m".into(), ..MailServer::default() },
        morning: MorningMail::default(),
        morning_at: UnixMs(0),
        sealed: None,
        revision: 1,
        seen: 5,
        updated_at: UnixMs(0),
    };
    db.write(|mut tx: Tx| async move {
        put_setting(&mut tx, row).await?;
        assert!(advance(&mut tx, 5, 9).await?);
        assert!(!advance(&mut tx, 5, 9).await?, "another was here");
        put_setting(&mut tx, &Setting { revision: 2, ..row.clone() }).await?;
        let found = setting(&mut tx).await?.expect("is set");
        assert_eq!((found.seen, found.revision), (9, 2), "what was read stays read");
        assert!(delete_setting(&mut tx).await? && setting(&mut tx).await?.is_none());
        Ok::<_, DbError>(tx.done(()))
    })
    .await
    .expect("written");
}

async fn too_much_is_given_up_and_seen(db: Db) {
    let user = user(&db, "anna").await;
    let many: Vec<NewMessage> = (0..MOST_AN_HOUR + 3).map(|i| message(user, &format!("k{i}"))).collect();
    put(&db, &many, UnixMs(HOUR_MS)).await;
    let figures = db
        .read(|mut tx: Tx| async move {
            let figures = figures(&mut tx, UnixMs(0)).await?;
            Ok::<_, DbError>(tx.done(figures))
        })
        .await
        .expect("read");
    assert_eq!(figures, (MOST_AN_HOUR as u32, 0, 3));
}

async fn a_user_who_goes_takes_their_mail_along(db: Db) {
    let user = user(&db, "anna").await;
    put(&db, &[message(user, "k")], UnixMs(10)).await;
    db.write(|mut tx: Tx| async move {
        assert_eq!(accounts(&mut tx).await?.len(), 1);
        forget(&mut tx, user).await?;
        assert!(accounts(&mut tx).await?.is_empty() && list(&mut tx, (None, "~"), 10).await?.is_empty());
        let left = account(&mut tx, user).await?.expect("the user is there");
        assert_eq!((left.address, left.morning), (None, true), "as it is from the start");
        assert_eq!(suggested(&mut tx, user).await?, None);
        assert_eq!(applied_by(&mut tx, 1).await?, None);
        assert_eq!(change_of(&mut tx, random::new_id(), (1, 2)).await?, None);
        assert!(events(&mut tx, 0, 10).await?.is_empty());
        assert_eq!(mornings_now(&mut tx, user, UnixMs(0)).await?, 0);
        assert!(crate::job::tally(&mut tx, UnixMs(0), false).await?.is_empty());
        Ok::<_, DbError>(tx.done(()))
    })
    .await
    .expect("forgotten");
}
