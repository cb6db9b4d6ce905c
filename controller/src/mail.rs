//! Mail: what people are told who aren't looking.
//!
//! The story of a message: something is committed, and its event with it. [`derive`] reads the events in their order, asks who
//! may see what they are about and wants to know, and puts a message for each into the outbox, in the transaction that
//! says how far the events were read: so a controller that is killed anywhere loses none and makes none twice, and of
//! two controllers one makes it. The morning mail ([`morning`]) has one key per day and user instead. [`driver`]
//! takes what is due under a claim, hands it to the server ([`smtp`]), and notes the answer: sent, tried again
//! later, or given up. The rows stay for a while as the log of deliveries.
//!
//! Mail is a channel: what a message says ([`text`]) knows nothing of how it goes out, and has a kind.

pub(crate) mod api;
mod derive;
mod driver;
mod message;
mod morning;
pub(crate) mod outbox;
mod person;
mod service;
mod smtp;
pub(crate) mod store;
mod text;

use std::{path::Path, sync::Arc};

use lampas_shared::time::UnixMs;
use tokio::sync::Notify;

pub(crate) use driver::start;

use crate::{
    db::{Db, DbError, Tx},
    vault::Vault,
};

/// Messages and their log are kept as long. Longer than a plan waits, so that who may approve is told of it once.
pub(crate) const KEEP_DAYS: u32 = 30;
const DAY_MS: i64 = 86_400_000;

/// What sending needs. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Mails {
    db: Db,
    vault: Vault,
    /// Where the dashboard is reached, without a slash at the end.
    url: String,
    woken: Arc<Notify>,
}

impl Mails {
    /// Makes it over a store.
    pub(crate) fn new(db: Db, data_dir: &Path, url: &str) -> Self {
        let vault = Vault::new(data_dir, "mail-key", "mail-password/1");
        Self { db, vault, url: url.trim_end_matches('/').to_owned(), woken: Arc::default() }
    }

    /// Returns the name of the dashboard's host.
    fn host(&self) -> String {
        let url = url::Url::parse(&self.url).ok();
        let host = url.and_then(|u| u.host_str().map(|h| h.trim_matches(['[', ']']).to_owned()));
        host.unwrap_or_else(|| "localhost".to_owned())
    }

    /// Returns the address of a page of the dashboard.
    fn page(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Returns why mail can't be delivered, and since when.
    ///
    /// # Errors
    /// When the store can't be read.
    pub(crate) async fn trouble(&self, now: UnixMs) -> Result<Option<(UnixMs, String)>, DbError> {
        self.db
            .read(|mut tx: Tx| async move {
                let found = outbox::trouble(&mut tx, now.plus_ms(-DAY_MS)).await?;
                Ok::<_, DbError>(tx.done(found))
            })
            .await
    }
}
