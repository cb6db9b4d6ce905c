//! What sends: makes messages of what was committed and of the time, and hands over what is due.

use std::time::Duration;

use lampas_api::{MailKind, MailState};
use lampas_runtime::{Tasks, clock, random};
use lampas_shared::{
    error::Chain,
    id::{ControllerId, MailId},
    time::UnixMs,
};
use tokio::time::Instant;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::{
    Mails, derive, message,
    message::Written,
    morning,
    outbox::{self, End, Outcome, Outgoing},
    smtp::{self, Failed, Server},
    store::{self, Setting},
};
use crate::{
    api::App,
    db::{DbError, Tx},
};

/// Between two looks at what time alone makes due, and at what other controllers committed.
const BEAT: Duration = Duration::from_secs(5);
/// After a commit, to take what others of the same burst commit in one look.
const GATHER: Duration = Duration::from_millis(100);
/// While a gate's output is on its way.
const SOON: Duration = Duration::from_millis(500);
/// For how long a message is one controller's: longer than a delivery can take.
const CLAIM_MS: i64 = 180_000;
/// How many are looked at at once.
const AT_ONCE: u32 = 50;
/// The first pause after a failure; it doubles.
const FIRST_MS: i64 = 5_000;
/// The longest pause.
const LONGEST_MS: i64 = 30 * 60_000;
/// A message is given up after so many attempts: with the pauses above that takes longer than [`outbox::GIVE_UP_MS`].
const MOST_ATTEMPTS: u32 = 60;

/// Starts the tasks.
pub(crate) fn start(app: App, controller: ControllerId, tasks: &Tasks) {
    let (makes, stopping) = (app.clone(), tasks.stopping());
    let mut committed = app.db.committed();
    tasks.spawn("mail maker", async move {
        let mut looked = 0;
        let mut mornings_at: Option<Instant> = None;
        loop {
            committed.borrow_and_update();
            let is_waiting = match derive::pass(&makes, &mut looked).await {
                Ok(is_waiting) => is_waiting,
                Err(error) => {
                    warn!(error = %error.detail, "mail could not be made of what was committed; it will be");
                    false
                }
            };
            // Time alone makes it due, not what is committed.
            if mornings_at.is_none_or(|at| at.elapsed() >= BEAT) {
                mornings_at = Some(Instant::now());
                if let Err(error) = mornings(&makes).await {
                    warn!(error = %error.detail, "the morning mail could not be written; it will be tried again");
                }
            }
            makes.mail.woken.notify_one();
            // All arms are cancel-safe: nothing is taken that would be lost.
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(if is_waiting { SOON } else { BEAT }) => {}
                _ = committed.changed() => tokio::time::sleep(GATHER).await,
            }
        }
    });
    let stopping = tasks.stopping();
    tasks.spawn("mail", async move {
        let mail = &app.mail;
        if let Err(error) = mail.forget_claims(controller).await {
            warn!(error = %Chain(&error), "claims on messages were left; they end by themselves");
        }
        loop {
            // A delivery that is dropped ends its connection; its claim ends, and it is tried anew.
            tokio::select! {
                () = stopping.cancelled() => return,
                sent = mail.send_due(controller) => if let Err(error) = sent {
                    warn!(error = %Chain(&error), "the outbox of mail could not be looked at; it will be again");
                },
            }
            // All arms are cancel-safe: what is not taken is due at the next pass.
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(BEAT) => {}
                () = mail.woken.notified() => {}
            }
        }
    });
}

async fn mornings(app: &App) -> crate::api::problem::Answer<()> {
    match app.mail.setting().await? {
        Some(setting) => morning::pass(app, &setting).await,
        None => Ok(()),
    }
}

impl Mails {
    async fn forget_claims(&self, controller: ControllerId) -> Result<(), DbError> {
        let of = controller.to_string();
        let of = of.as_str();
        self.db
            .write(|mut tx: Tx| async move {
                outbox::forget_claims(&mut tx, of).await?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await
    }

    pub(super) async fn setting(&self) -> Result<Option<Setting>, DbError> {
        self.db
            .read(|mut tx: Tx| async move {
                let setting = store::setting(&mut tx).await?;
                Ok::<_, DbError>(tx.done(setting))
            })
            .await
    }

    /// Tries all that is due, one after the other. When the server itself fails, the rest waits for the next pass.
    pub(super) async fn send_due(&self, controller: ControllerId) -> Result<(), DbError> {
        let Some(setting) = self.setting().await? else { return Ok(()) };
        let now = clock::now();
        let due = self
            .db
            .read(|mut tx: Tx| async move {
                let due = outbox::due(&mut tx, now, AT_ONCE).await?;
                Ok::<_, DbError>(tx.done(due))
            })
            .await?;
        for id in due {
            if !self.try_one(&setting, controller, id).await? {
                break;
            }
        }
        Ok(())
    }

    /// Tries one message. Returns whether the server can be asked for the next.
    async fn try_one(&self, setting: &Setting, controller: ControllerId, id: MailId) -> Result<bool, DbError> {
        let claim = format!("{controller}/{:016x}", u64::from_le_bytes(random::bytes()));
        let (claim, now) = (claim.as_str(), clock::now());
        let taken = self
            .db
            .write(|mut tx: Tx| async move {
                let taken = outbox::claim(&mut tx, id, claim, (now, now.plus_ms(CLAIM_MS))).await?;
                Ok::<_, DbError>(tx.done(taken))
            })
            .await?;
        let Some(outgoing) = taken else { return Ok(true) };
        let handed = match outgoing.over {
            Some(_) => Ok(String::new()),
            None => self.hand_over(setting, &outgoing).await,
        };
        let now = clock::now();
        let outcome = match (outgoing.over, &handed) {
            (Some(why), _) => {
                Outcome { state: MailState::Abandoned, answer: why.to_owned(), end: Some(End::Withdrawn), due: now }
            }
            (None, Ok(answer)) => Outcome { state: MailState::Sent, answer: answer.clone(), end: None, due: now },
            (None, Err(failed)) => judge(&outgoing, failed, now, random::bytes()),
        };
        let (kind, answer) = (outgoing.kind.as_str(), outcome.answer.as_str());
        match outcome.state {
            MailState::Sent => info!(mail.id = %id, kind, "a mail was sent"),
            MailState::Abandoned => warn!(mail.id = %id, kind, answer, "a mail was given up"),
            _ => {
                warn!(mail.id = %id, kind, answer, attempt = outgoing.attempts + 1, "a mail was not taken; again later");
            }
        }
        let outcome = &outcome;
        self.db
            .write(|mut tx: Tx| async move {
                outbox::settle(&mut tx, (id, claim), outcome, now).await?;
                Ok::<_, DbError>(tx.done(()))
            })
            .await?;
        Ok(handed.map_or_else(|failed| failed.is_final, |_| true))
    }

    /// Hands a message to the server that is set.
    pub(super) async fn hand_over(&self, setting: &Setting, outgoing: &Outgoing) -> Result<String, Failed> {
        let broken = |why: String| Failed { is_final: false, why };
        let password = match &setting.sealed {
            Some(sealed) => {
                let opened = self.vault.open(&"server", sealed).map_err(|e| broken(Chain(&e).to_string()))?;
                let text = String::from_utf8(opened.to_vec());
                Some(Zeroizing::new(text.map_err(|_| broken("the stored password is no text".to_owned()))?))
            }
            None => None,
        };
        let from = message::sender(&setting.server.from).map_err(|e| broken(e.to_string()))?;
        let to = message::address(&outgoing.address).map_err(|e| Failed { is_final: true, why: e.to_string() })?;
        let host = self.host();
        let written = Written {
            id: outgoing.id,
            kind: outgoing.kind,
            subject: &outgoing.subject,
            text: &outgoing.text,
            html: &outgoing.html,
            at: outgoing.created_at,
            host: &host,
        };
        let bytes = written.bytes(&from, &to).map_err(|why| Failed { is_final: true, why })?;
        let hello =
            if host.parse::<std::net::IpAddr>().is_ok() || !host.is_ascii() { "localhost".to_owned() } else { host };
        let server = Server { at: setting.server.clone(), password, hello };
        smtp::deliver(&server, &from.email, &to, &bytes).await
    }
}

/// Says what becomes of a message that was not taken. `dice` spreads the attempts of many.
fn judge(outgoing: &Outgoing, failed: &Failed, now: UnixMs, dice: [u8; 8]) -> Outcome {
    let attempt = outgoing.attempts + 1;
    let is_old = now.since(outgoing.created_at) >= outbox::GIVE_UP_MS || attempt >= MOST_ATTEMPTS;
    if failed.is_final || is_old || outgoing.kind == MailKind::Test {
        let why = if failed.is_final { String::new() } else { format!("given up after {attempt} attempts: ") };
        let end = if failed.is_final { End::Refused } else { End::Exhausted };
        let answer = format!("{why}{}", failed.why);
        return Outcome { state: MailState::Abandoned, answer, end: Some(end), due: now };
    }
    let pause = (FIRST_MS << outgoing.attempts.min(20)).min(LONGEST_MS);
    // Three to five quarters of it.
    let spread = i64::try_from(u64::from_le_bytes(dice) % (pause as u64 / 2)).unwrap_or_default();
    let due = now.plus_ms(pause - pause / 4 + spread);
    Outcome { state: MailState::Failed, answer: failed.why.clone(), end: None, due }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(attempts: u32) -> Outgoing {
        Outgoing {
            id: random::new_id(),
            kind: MailKind::Rollout,
            address: "a@x.org".into(),
            subject: "s".into(),
            text: "t".into(),
            html: "h".into(),
            attempts,
            created_at: UnixMs(0),
            over: None,
        }
    }

    #[test]
    fn pauses_double_are_spread_and_end() {
        let failed = Failed { is_final: false, why: "away".into() };
        let pause = |attempts, dice: u64| judge(&outgoing(attempts), &failed, UnixMs(0), dice.to_le_bytes()).due.0;
        assert_eq!(pause(0, 0), FIRST_MS * 3 / 4);
        assert_eq!(pause(1, 0), FIRST_MS * 3 / 2);
        assert_eq!(pause(40, 0), LONGEST_MS * 3 / 4);
        for dice in [1, 7_777_777, u64::MAX] {
            assert!((FIRST_MS * 3 / 4..FIRST_MS * 5 / 4).contains(&pause(0, dice)), "{dice}");
        }
        let judged = |attempts, at, is_final| {
            let failed = Failed { is_final, ..failed.clone() };
            let outcome = judge(&outgoing(attempts), &failed, UnixMs(at), [0; 8]);
            (outcome.state, outcome.end)
        };
        assert_eq!(judged(3, 1000, false), (MailState::Failed, None));
        assert_eq!(judged(0, 1000, true), (MailState::Abandoned, Some(End::Refused)), "the server refuses it");
        let exhausted = (MailState::Abandoned, Some(End::Exhausted));
        assert_eq!(judged(3, outbox::GIVE_UP_MS, false), exhausted, "too old");
        assert_eq!(judged(MOST_ATTEMPTS, 1000, false), exhausted, "too often");
    }
}
