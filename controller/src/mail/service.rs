//! Settings of mail, accounts, tests.

use std::net::IpAddr;

use lampas_api::{
    FieldProblem, Mail, MailAccount, MailAccountPut, MailDelivery, MailKind, MailPut, MailSecurity, MailServer,
    MailState, MailTrouble, MorningMail,
};
use lampas_runtime::{clock, random};
use lampas_shared::{
    check_line,
    event::EventKind,
    id::{MailId, UserId},
    time::UnixMs,
};
use thiserror::Error;

use super::{
    DAY_MS, Mails, message, morning,
    outbox::{self, NewMessage, Outgoing},
    smtp,
    store::{self, Account, Setting},
    text::Letter,
};
use crate::{
    access,
    api::{
        guard::Caller,
        problem::{Answer, Refusal},
    },
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
};

/// The longest PEM of authorities.
const MOST_CA: usize = 64 << 10;

/// Why an act on mail is refused.
#[derive(Debug, Error)]
enum MailError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] DbError),
    /// It can be said to the caller as it is.
    #[error("{}", .0.detail)]
    Refused(Refusal),
}

crate::store_error!(MailError);

impl From<access::AccessError> for MailError {
    fn from(error: access::AccessError) -> Self {
        match error {
            access::AccessError::Store(error) => Self::Store(error),
            access::AccessError::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

impl From<MailError> for Refusal {
    fn from(error: MailError) -> Self {
        match error {
            MailError::Store(error) => Self::internal(&error),
            MailError::Refused(refusal) => refusal,
        }
    }
}

impl Mails {
    /// Returns how mail is set and how it goes.
    pub(super) async fn shown(&self) -> Answer<Mail> {
        let now = clock::now();
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let setting = store::setting(&mut tx).await?;
                let figures = outbox::figures(&mut tx, now.plus_ms(-DAY_MS)).await?;
                let trouble = outbox::trouble(&mut tx, now.plus_ms(-DAY_MS)).await?;
                Ok::<_, DbError>(tx.done((setting, figures, trouble)))
            })
            .await?;
        let (setting, (waiting, sent, abandoned), trouble) = found;
        let morning = setting.as_ref().map(|s| s.morning.clone()).unwrap_or_default();
        Ok(Mail {
            next_morning_at: next_morning(setting.as_ref(), now),
            has_password: setting.as_ref().is_some_and(|s| s.sealed.is_some()),
            updated_at: setting.as_ref().map(|s| s.updated_at),
            revision: setting.as_ref().map_or(0, |s| s.revision),
            server: setting.map(|s| s.server),
            morning,
            waiting,
            sent,
            abandoned,
            trouble: trouble.map(|(since, reason)| MailTrouble { since, reason }),
        })
    }

    /// Sets the server, the password and the morning mail.
    pub(super) async fn put(&self, by: &Principal, reason: &str, wanted: &MailPut) -> Answer<Mail> {
        let server = &checked(&wanted.server, wanted.password.as_deref())?;
        if let Some(morning) = &wanted.morning {
            check_morning(morning)?;
        }
        let sealed = match wanted.password.as_deref() {
            Some(password) if !password.is_empty() => {
                self.vault.settle(&self.db).await.map_err(|e| Refusal::new("mail.vault", e.to_string()))?;
                Some(self.vault.seal(&"server", password.as_bytes()).map_err(|e| Refusal::internal(&e))?)
            }
            _ => None,
        };
        let (sealed, now) = (&sealed, clock::now());
        self.db
            .write(|mut tx: Tx| async move {
                let refused = |pointer: &str, why: String| Err(MailError::Refused(Refusal::field(pointer, why)));
                let before = store::setting_to_change(&mut tx).await?;
                let revision = before.as_ref().map_or(0, |b| b.revision);
                if wanted.revision.is_some_and(|r| r != revision) {
                    let why = "somebody else set mail meanwhile; look at it again";
                    return Err(MailError::Refused(Refusal::new("conflict", why)));
                }
                let kept = before.as_ref().and_then(|b| b.sealed.clone());
                let sealed = match (&wanted.password, kept) {
                    (Some(_), _) => sealed.clone(),
                    (None, Some(kept)) => {
                        // Who may set the server doesn't learn the password by having it sent elsewhere.
                        if before.as_ref().is_some_and(|b| !is_same_place(&b.server, server)) {
                            let why = "give the password again: it would go to another server, or in another way";
                            return refused("/password", why.to_owned());
                        }
                        Some(kept)
                    }
                    (None, None) => None,
                };
                if server.user.is_empty() != sealed.is_none() {
                    let (pointer, why) = match sealed {
                        None => ("/password", "give the password of the user"),
                        Some(_) => ("/server/user", "a password is stored: say whose it is, or forget it"),
                    };
                    return refused(pointer, why.to_owned());
                }
                let morning =
                    wanted.morning.clone().or_else(|| before.as_ref().map(|b| b.morning.clone())).unwrap_or_default();
                for (i, login) in morning.recipients.iter().enumerate() {
                    if access::user_by_login(&mut tx, login.as_str()).await?.is_none() {
                        return refused(&format!("/morning/recipients/{i}"), format!("there is no user {login}"));
                    }
                }
                let is_same_morning = before.as_ref().is_some_and(|b| b.morning == morning);
                let row = Setting {
                    morning_at: before.as_ref().filter(|_| is_same_morning).map_or(now, |b| b.morning_at),
                    server: server.clone(),
                    morning,
                    sealed,
                    // One that no earlier setting had, also none that was removed.
                    revision: if revision == 0 { now.0 as u64 } else { revision + 1 },
                    seen: crate::event::last_seq(&mut tx).await?,
                    updated_at: now,
                };
                store::put_setting(&mut tx, &row).await?;
                outbox::hurry(&mut tx, now).await?;
                let password = match &wanted.password {
                    None => "",
                    Some(p) if p.is_empty() => ", without a password",
                    Some(_) => ", another password",
                };
                tx.audit(Entry::done(by, "mail.update", format!("{}{password}", described(&row))).because(reason));
                tx.event(NewEvent::new(EventKind::MailChanged).with("verb", "set"));
                Ok::<_, MailError>(tx.done(()))
            })
            .await?;
        self.woken.notify_one();
        self.shown().await
    }

    /// Switches mail off: the server and its password are forgotten, and what waits is given up.
    pub(super) async fn remove(&self, by: &Principal, reason: &str) -> Answer<()> {
        self.db
            .write(|mut tx: Tx| async move {
                let Some(before) = store::setting(&mut tx).await? else {
                    return Err(MailError::Refused(Refusal::new("not_found", "no mail server is set")));
                };
                store::delete_setting(&mut tx).await?;
                let given_up = outbox::give_up(&mut tx, "not sent: mail was switched off").await?;
                let object = format!("{}; {given_up} messages that waited are given up", described(&before));
                tx.audit(Entry::done(by, "mail.remove", object).because(reason));
                tx.event(NewEvent::new(EventKind::MailChanged).with("verb", "switched off"));
                Ok::<_, MailError>(tx.done(()))
            })
            .await?;
        Ok(())
    }

    /// Sends a test at once, and says what the server answered.
    pub(super) async fn test(&self, by: &Principal, user: UserId, to: Option<&str>) -> Answer<MailDelivery> {
        let Some(setting) = self.setting().await? else {
            return Err(Refusal::new("mail.unset", "no mail server is set: set one first"));
        };
        let own = self.account(user).await?.address;
        let is_own = to.is_none() || to == own.as_deref();
        let Some(address) = to.map(str::to_owned).or(own) else {
            return Err(Refusal::field("/to", "say where to: your account has no address"));
        };
        message::address(&address).map_err(|e| Refusal::text("/to", &e))?;
        let letter = Letter::new("LAMPAS: a test")
            .line("This is a test of the mail server that is set in LAMPAS. That you read it says that it works.")
            .link("Mail", &self.page("/mail"));
        let (now, id) = (clock::now(), random::new_id());
        let message = &NewMessage {
            id,
            key: format!("test:{id}"),
            kind: MailKind::Test,
            user: is_own.then_some(user),
            address: address.clone(),
            subject: letter.subject().to_owned(),
            text: letter.text(),
            html: letter.html(),
        };
        let outgoing = Outgoing {
            id,
            kind: MailKind::Test,
            address: address.clone(),
            subject: message.subject.clone(),
            text: message.text.clone(),
            html: message.html.clone(),
            attempts: 0,
            created_at: now,
            over: None,
        };
        let outcome = self.hand_over(&setting, &outgoing).await;
        let (state, answer) = match &outcome {
            Ok(answer) => (MailState::Sent, answer.as_str()),
            Err(failed) => (MailState::Abandoned, failed.why.as_str()),
        };
        let object = &format!("to {address}: {}", state.as_str());
        let logged = &NewMessage { text: String::new(), html: String::new(), ..message.clone() };
        let log = self
            .db
            .write(|mut tx: Tx| async move {
                outbox::insert(&mut tx, logged, (state, answer), now).await?;
                outbox::tried(&mut tx, id, clock::now()).await?;
                tx.audit(Entry::done(by, "mail.test", object.as_str()));
                tx.event(NewEvent::new(EventKind::MailMoved).with("state", state.as_str()));
                let log = outbox::one(&mut tx, id).await?;
                Ok::<_, DbError>(tx.done(log))
            })
            .await?;
        log.ok_or_else(|| Refusal::new("internal", "the test is not in the log"))
    }

    /// Returns messages, the newest first.
    pub(super) async fn deliveries(
        &self,
        state: Option<MailState>,
        before: &str,
        limit: u32,
    ) -> Answer<Vec<MailDelivery>> {
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let found = outbox::list(&mut tx, (state, before), limit).await?;
                Ok::<_, DbError>(tx.done(found))
            })
            .await?;
        Ok(found)
    }

    pub(super) async fn account(&self, user: UserId) -> Answer<Account> {
        let found = self
            .db
            .read(|mut tx: Tx| async move {
                let found = store::account(&mut tx, user).await?;
                Ok::<_, DbError>(tx.done(found))
            })
            .await?;
        found.ok_or_else(|| Refusal::not_found("user", user))
    }

    /// Returns which mail a user gets.
    pub(super) async fn shown_account(&self, user: UserId) -> Answer<MailAccount> {
        let account = self.account(user).await?;
        let (setting, now) = (self.setting().await?, clock::now());
        let suggested = self
            .db
            .read(|mut tx: Tx| async move {
                let suggested = store::suggested(&mut tx, user).await?;
                Ok::<_, DbError>(tx.done(suggested))
            })
            .await?;
        let suggested = suggested.filter(|s| message::address(s).is_ok());
        let gets =
            account.address.is_some() && setting.as_ref().is_some_and(|s| morning::is_wanted(&s.morning, &account));
        Ok(MailAccount {
            suggested: suggested.filter(|_| account.address.is_none()),
            address: account.address,
            rollouts: account.rollouts,
            approvals: account.approvals,
            morning: account.morning,
            is_set_up: setting.is_some(),
            next_morning_at: next_morning(setting.as_ref(), now).filter(|_| gets),
        })
    }

    /// Says where the caller gets mail, and which.
    ///
    /// What is sent there is what the user may see, not what the caller may: so nobody says it who acts with a part of
    /// the user's rights. Another address is as grave as another password, and the one before hears of it.
    pub(super) async fn put_account(&self, caller: &Caller, wanted: &MailAccountPut) -> Answer<MailAccount> {
        let (user, by, now) = (caller.identity()?.user, &caller.as_principal(), clock::now());
        let address = wanted.address.as_deref().map(str::trim);
        if let Some(address) = address.filter(|a| !a.is_empty()) {
            message::address(address).map_err(|e| Refusal::text("/address", &e))?;
        }
        let to = &self.page("/account");
        self.db
            .write(|mut tx: Tx| async move {
                let before = store::account(&mut tx, user).await?;
                let before = before.ok_or_else(|| MailError::Refused(Refusal::not_found("user", user)))?;
                access::must_be_whole(&mut tx, by, (user, before.preset), "say which mail its owner gets").await?;
                let old = before.address.clone();
                let row = Account {
                    address: match address {
                        None => before.address.clone(),
                        Some(address) => Some(address.to_owned()).filter(|a| !a.is_empty()),
                    },
                    rollouts: wanted.rollouts.unwrap_or(before.rollouts),
                    approvals: wanted.approvals.unwrap_or(before.approvals),
                    morning: wanted.morning.unwrap_or(before.morning),
                    ..before
                };
                if row.address != old {
                    if row.address.is_some() {
                        caller.grave(now).map_err(MailError::Refused)?;
                    }
                    if let Some(old) = old.filter(|_| row.address.is_some())
                        && store::setting(&mut tx).await?.is_some()
                    {
                        outbox::enqueue(&mut tx, &[moved(&row, old, &by.name, to)], now).await?;
                    }
                }
                store::put_account(&mut tx, &row, now).await?;
                let on = |is_on: bool| if is_on { "on" } else { "off" };
                let object = format!(
                    "{}: {}, rollouts {}, approvals {}, morning {}",
                    row.login,
                    row.address.as_deref().unwrap_or("no address"),
                    row.rollouts.as_str(),
                    on(row.approvals),
                    on(row.morning)
                );
                tx.audit(Entry::done(by, "mail.account", object));
                Ok::<_, MailError>(tx.done(()))
            })
            .await?;
        self.woken.notify_one();
        self.shown_account(user).await
    }

    /// Refuses who acts with a part of a user's rights what would tell of all of them.
    pub(super) async fn must_be_whole(&self, caller: &Caller, act: &'static str) -> Answer<()> {
        let (user, by) = (caller.identity()?.user, &caller.as_principal());
        self.db
            .read(|mut tx: Tx| async move {
                let Some(account) = store::account(&mut tx, user).await? else { return Ok(tx.done(())) };
                access::must_be_whole(&mut tx, by, (user, account.preset), act).await?;
                Ok::<_, MailError>(tx.done(()))
            })
            .await?;
        Ok(())
    }
}

/// Tells at the address that was that mail goes elsewhere.
fn moved(row: &Account, old: String, by: &str, page: &str) -> NewMessage {
    let login = row.login.as_str();
    let letter = Letter::new(&format!("LAMPAS: mail for {login} goes elsewhere"))
        .line(&format!("From now on, mail for the account {login} goes to another address. {by} said so."))
        .line("If that was not you, tell an administrator: end the account's sessions and API tokens, and set a password.")
        .link("Your account", page);
    let id: MailId = random::new_id();
    NewMessage {
        id,
        key: format!("account:{id}"),
        kind: MailKind::Account,
        user: Some(row.user),
        address: old,
        subject: letter.subject().to_owned(),
        text: letter.text(),
        html: letter.html(),
    }
}

/// Returns when the morning mail is sent next; nothing when it is not.
fn next_morning(setting: Option<&Setting>, now: UnixMs) -> Option<UnixMs> {
    let setting = setting.filter(|s| s.morning.is_on)?;
    morning::Clock::of(&setting.morning).ok()?.next(now)
}

/// Whether a password that was given for one goes to the other in the same way.
fn is_same_place(a: &MailServer, b: &MailServer) -> bool {
    (&a.host, a.port(), a.security, a.allow_plain, &a.ca, &a.user)
        == (&b.host, b.port(), b.security, b.allow_plain, &b.ca, &b.user)
}

fn described(row: &Setting) -> String {
    let server = &row.server;
    let user = if server.user.is_empty() { String::new() } else { format!(" as {}", server.user) };
    let ca = if server.ca.is_empty() { "" } else { ", own authority" };
    let plain = if server.allow_plain { ", in the clear elsewhere too" } else { "" };
    let morning = if row.morning.is_on {
        format!("morning mail at {} {}", row.morning.at, row.morning.time_zone)
    } else {
        "no morning mail".to_owned()
    };
    format!(
        "{}:{} {}{plain}{ca}{user}, from {}, {morning}",
        server.host,
        server.port(),
        server.security.as_str(),
        server.from
    )
}

/// Checks a server, all of it at once.
fn checked(wanted: &MailServer, password: Option<&str>) -> Answer<MailServer> {
    let mut server = wanted.clone();
    let mut wrong = Vec::new();
    let mut add = |pointer: &str, detail: String| wrong.push(FieldProblem { pointer: pointer.to_owned(), detail });
    server.host = server.host.trim().trim_matches(['[', ']']).to_ascii_lowercase();
    let is_name =
        |h: &str| h.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) && !h.starts_with(['-', '.']);
    let address = server.host.parse::<IpAddr>().ok();
    if server.host.is_empty() || server.host.len() > 253 || (address.is_none() && !is_name(&server.host)) {
        add("/server/host", "write a host name or an address, such as smtp.example.com".into());
    }
    if server.port == Some(0) {
        add("/server/port", "a port is 1 to 65535".into());
    }
    if server.security != MailSecurity::None {
        server.allow_plain = false;
    } else if address.is_none() && server.host != "localhost" && !server.allow_plain {
        let why = "without TLS mail goes to this machine alone; use starttls or tls, or allow it in the clear";
        add("/server/security", why.into());
    }
    if let Some(Err(why)) = address.map(|a| smtp::judged(&server, a)) {
        add("/server/host", why);
    }
    server.ca = server.ca.trim().to_owned();
    if server.ca.len() > MOST_CA {
        add("/server/ca", format!("at most {MOST_CA} bytes"));
    } else if let (false, Err(why)) = (server.ca.is_empty(), smtp::authorities(&server.ca)) {
        add("/server/ca", why);
    }
    server.user = server.user.trim().to_owned();
    if let Err(e) = check_line("user", &server.user, 255) {
        add("/server/user", e.to_string());
    }
    server.from = server.from.trim().to_owned();
    if let Err(e) = message::sender(&server.from) {
        add("/server/from", e.to_string());
    }
    if password.is_some_and(|p| p.len() > 1024 || p.chars().any(char::is_control)) {
        add("/password", "a password is one line of at most 1,024 bytes".into());
    }
    if wrong.is_empty() { Ok(server) } else { Err(Refusal::fields(wrong)) }
}

fn check_morning(morning: &MorningMail) -> Answer<()> {
    if let Err(e) = morning::Clock::of(morning) {
        let pointer = if e.what == "time of day" { "/morning/at" } else { "/morning/time_zone" };
        return Err(Refusal::text(pointer, &e));
    }
    if morning.recipients.len() > 200 {
        return Err(Refusal::field(
            "/morning/recipients",
            "at most 200; leave it empty for everybody who has an address",
        ));
    }
    Ok(())
}
