//! Waiting for what goes on by itself, also while the controller is away: it is asked again until it is back, or until
//! the limit is over. Only what may be asked twice goes through here, and only an outage is waited for: a refusal ends
//! the wait at once.

use std::time::Duration;

use lampas_api::Page;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::{CommandError, Context};
use crate::{
    client::{CallError, Client},
    output,
};

/// How long the controller is left alone after the first call that it did not answer; doubled with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest of these pauses: a controller that is back is seen soon, and is not hindered from starting.
const PAUSE_CAP: Duration = Duration::from_secs(5);

/// Asks for what is waited for.
pub(super) struct Waiter<'a> {
    client: &'a Client,
    /// What goes on meanwhile: `change 4 goes on`.
    what: String,
    /// The command that goes on waiting.
    command: String,
    /// When the wait ends; nothing waits for ever.
    until: Option<Instant>,
    /// What is drawn meanwhile, and must not be torn by a message.
    bar: indicatif::ProgressBar,
    /// Whether the controller has answered: who never reached it may have the wrong address, and is told at once.
    has_answered: bool,
    is_away: bool,
}

impl<'a> Waiter<'a> {
    /// Waits for what the controller has accepted.
    pub(super) fn new(context: &'a Context, what: String, command: String, limit: Option<Duration>) -> Self {
        Self {
            client: &context.client,
            what,
            command,
            until: limit.and_then(|limit| Instant::now().checked_add(limit)),
            bar: indicatif::ProgressBar::hidden(),
            has_answered: true,
            is_away: false,
        }
    }

    /// The same for what the controller has not been asked about yet, unless `has_answered`.
    pub(super) fn which_answered(self, has_answered: bool) -> Self {
        Self { has_answered, ..self }
    }

    /// Keeps a progress bar whole.
    pub(super) fn beside(self, bar: indicatif::ProgressBar) -> Self {
        Self { bar, ..self }
    }

    /// Calls with GET.
    pub(super) async fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: &[(&str, Option<&str>)],
    ) -> Result<T, CommandError> {
        let client = self.client;
        self.ask(async || client.get(path, query).await).await
    }

    /// Collects the pages of a list.
    pub(super) async fn pages<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: &[(&str, Option<&str>)],
    ) -> Result<Page<T>, CommandError> {
        let client = self.client;
        self.ask(async || client.pages(path, query, None).await).await
    }

    /// Asks until there is an answer. What `call` does must be harmless when it is done twice.
    ///
    /// # Errors
    /// At once when the controller refused it; [`CommandError::Away`] when it is away until the end of the wait.
    pub(super) async fn ask<T, F>(&mut self, mut call: F) -> Result<T, CommandError>
    where
        F: AsyncFnMut() -> Result<T, CallError>,
    {
        let mut pause = PAUSE_FIRST;
        loop {
            let error = match call().await {
                Ok(answer) => {
                    if let Some(back) = self.answered() {
                        self.bar.suspend(|| output::note(back));
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
            if let Some(away) = self.failed(error, left)? {
                self.bar.suspend(|| output::note(away));
            }
            sleep(jittered(pause).min(left.unwrap_or(Duration::MAX))).await;
            pause = (pause * 2).min(PAUSE_CAP);
        }
    }

    /// Returns what is to be said of an answer: that the controller is back.
    fn answered(&mut self) -> Option<String> {
        self.has_answered = true;
        std::mem::take(&mut self.is_away).then(|| format!("  the controller is back; {}", self.what))
    }

    /// Returns what is to be said of a call that failed, the first time; `left` is how long the wait may last.
    fn failed(&mut self, error: CallError, left: Option<Duration>) -> Result<Option<String>, CommandError> {
        if !self.has_answered || !error.is_outage() {
            return Err(error.into());
        }
        if left.is_some_and(|left| left.is_zero()) {
            let (what, command) = (&self.what, &self.command);
            return Err(CommandError::Away(format!("{error}\n  {what}; wait for it with: {command}")));
        }
        let is_told = std::mem::replace(&mut self.is_away, true);
        Ok((!is_told).then(|| format!("  the controller is away; {}; waiting until it is back", self.what)))
    }
}

/// Takes up to half of a pause away, so that many who wait don't ask at the same moment.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(uuid::Uuid::new_v4().as_u128() >> 96).unwrap_or_default();
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use lampas_api::Problem;

    use super::*;
    use crate::{cli::Format, profile::Profile};

    fn context() -> Context {
        let profile = Profile { server: "https://fleet".into(), token: None, ca: None };
        Context { client: Client::new(&profile).expect("a client"), output: Format::Table }
    }

    fn waiter(context: &Context) -> Waiter<'_> {
        Waiter::new(context, "change 4 goes on".into(), "lampasctl change wait 4".into(), None)
    }

    fn outage() -> CallError {
        CallError::Unreachable { server: "https://fleet".into(), why: "Connection refused".into() }
    }

    fn refused(status: u16) -> CallError {
        let problem = serde_json::json!({"type": "x", "title": "no", "status": status, "detail": "no", "code": "x"});
        CallError::Refused(Box::new(serde_json::from_value::<Problem>(problem).expect("a problem")))
    }

    #[test]
    fn an_outage_is_said_once_and_so_is_its_end() {
        let context = context();
        let mut waiter = waiter(&context);
        assert_eq!(waiter.answered(), None, "nothing was amiss");
        for _ in 0..2 {
            let said = waiter.failed(outage(), None).expect("it is waited for");
            assert_eq!(said.as_deref(), Some("  the controller is away; change 4 goes on; waiting until it is back"));
            assert_eq!(waiter.failed(refused(503), None).expect("it is waited for"), None);
            assert_eq!(waiter.answered().as_deref(), Some("  the controller is back; change 4 goes on"));
            assert_eq!(waiter.answered(), None);
        }
    }

    #[test]
    fn who_waited_in_vain_is_told_how_to_go_on_with_the_code_of_what_converges() {
        let context = context();
        let error = waiter(&context).failed(outage(), Some(Duration::ZERO)).expect_err("the wait is over");
        assert_eq!(error.exit_code(), 3);
        assert_eq!(
            error.to_string(),
            "https://fleet can't be reached: Connection refused\n  change 4 goes on; wait for it with: lampasctl change wait 4"
        );
    }

    #[test]
    fn only_an_outage_of_who_has_answered_is_waited_for() {
        let context = context();
        for status in [401, 403, 404, 409, 500] {
            assert!(waiter(&context).failed(refused(status), None).is_err(), "{status}");
        }
        let untrusted = CallError::Untrusted { server: "https://fleet".into(), why: "UnknownIssuer".into() };
        assert!(waiter(&context).failed(untrusted, None).is_err(), "another one answers there");
        let mut first = waiter(&context).which_answered(false);
        assert_eq!(first.failed(outage(), None).expect_err("it never answered").exit_code(), 1);
    }
}
