//! Somebody who gets mail, as the API would know them: what a mail tells is what they could read there.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use lampas_api::MailKind;
use lampas_runtime::{clock, random};
use lampas_shared::{access::Permission, time::UnixMs};

use super::{outbox::NewMessage, store::Account, text::Letter};
use crate::{
    access::{self, Reach},
    api::{
        App,
        guard::{Caller, Credential, Identity},
        problem::Answer,
    },
    db::{DbError, Tx},
};

/// A user with an address.
pub(super) struct Person {
    pub(super) account: Account,
    pub(super) address: String,
    /// What they may, and nothing else: no call is made with it.
    pub(super) caller: Caller,
    /// What they may see.
    pub(super) reach: Reach,
}

impl Person {
    /// Returns how somebody stands now; nothing for who has no address.
    pub(super) async fn of(app: &App, account: Account) -> Answer<Option<Self>> {
        let Some(address) = account.address.clone() else { return Ok(None) };
        let (user, preset, now) = (account.user, account.preset, clock::now());
        let rights = app
            .db
            .read(|mut tx: Tx| async move {
                let rights = access::rights(&mut tx, user, preset, now).await?;
                Ok::<_, DbError>(tx.done(rights))
            })
            .await?;
        let identity = Identity {
            user,
            login: account.login.clone(),
            preset,
            level: rights.level(),
            rights: Arc::new(rights),
            by: Credential::Session {
                id: random::new_id(),
                csrf: String::new(),
                expires_at: now,
                proven_at: UnixMs(0),
                must_enrol: false,
            },
        };
        let caller = Caller {
            identity: Some(identity),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            agent: "mail".to_owned(),
            request: String::new(),
            reason: String::new(),
        };
        let reach = Reach::of(app, &caller, Permission::View).await?;
        Ok(Some(Self { account, address, caller, reach }))
    }

    /// Returns everybody who gets mail.
    pub(super) async fn all(app: &App) -> Answer<Vec<Self>> {
        let accounts = app
            .db
            .read(|mut tx: Tx| async move {
                let accounts = super::store::accounts(&mut tx).await?;
                Ok::<_, DbError>(tx.done(accounts))
            })
            .await?;
        let mut people = Vec::with_capacity(accounts.len());
        for account in accounts {
            people.extend(Self::of(app, account).await?);
        }
        people.retain(|p| p.caller.may_somewhere(Permission::View));
        Ok(people)
    }

    /// Addresses a letter to them.
    pub(super) fn message(&self, kind: MailKind, key: &str, letter: &Letter) -> NewMessage {
        NewMessage {
            id: random::new_id(),
            key: format!("{key}:{}", self.account.user),
            kind,
            user: Some(self.account.user),
            address: self.address.clone(),
            subject: letter.subject().to_owned(),
            text: letter.text(),
            html: letter.html(),
        }
    }
}
