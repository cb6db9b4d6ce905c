//! Signing in with a code that somebody confirms in the dashboard (RFC 8628): for who has no password, and for the proof before
//! grave calls.

use std::time::Duration;

use lampas_api::{DeviceAsk, DeviceBegin, DeviceBegun, DevicePurpose, DeviceSession};
use reqwest::Method;
use tokio::time::{Instant, sleep, timeout_at};

use super::CommandError;
use crate::{
    client::{CallError, Client},
    output,
};

/// By how much longer to wait when the controller says so, or can't be reached (RFC 8628, section 3.5).
const LONGER: Duration = Duration::from_secs(5);
/// The longest wait between questions.
const LONGEST: Duration = Duration::from_secs(60);
/// How long to wait at all; the controller ends it after ten minutes.
const LIMIT: Duration = Duration::from_secs(660);

/// Asks for a session, shows code and link, and waits until somebody confirmed it. `client` is who asks: for a proof, whoever is
/// signed in.
pub(super) async fn confirmed(
    client: &Client,
    purpose: DevicePurpose,
    ttl_secs: u64,
) -> Result<DeviceSession, CommandError> {
    let request = DeviceBegin { purpose, machine: machine(), ttl_secs };
    let begun: DeviceBegun = client.send_json(Method::POST, "/device", &request).await?;
    output::note(match purpose {
        DevicePurpose::SignIn => "open this page, on this or any other device, and confirm that it is you:",
        DevicePurpose::Proof => "this is grave: open this page, and confirm once more that it is you:",
    });
    output::note(format!("  {}", begun.url_with_code));
    output::note(format!("compare the code: {}", begun.user_code));
    output::note("waiting … (Ctrl-C ends the wait; the code is over in ten minutes)");
    match timeout_at(Instant::now() + LIMIT, asked(&client.without_token(), &begun)).await {
        Ok(session) => session,
        Err(_) => Err(over()),
    }
}

async fn asked(client: &Client, begun: &DeviceBegun) -> Result<DeviceSession, CommandError> {
    let ask = DeviceAsk { device_code: begun.device_code.clone() };
    let mut wait = Duration::from_secs(begun.interval_secs.clamp(1, 60));
    loop {
        sleep(wait).await;
        let error = match client.send_json(Method::POST, "/device/session", &ask).await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        match (&error, error.code()) {
            (_, "authorization_pending") => {}
            (CallError::Unreachable { .. }, _) | (_, "slow_down" | "throttled" | "busy" | "unavailable") => {
                wait = (wait + LONGER).min(LONGEST);
            }
            (_, "access_denied") => {
                return Err(CommandError::Usage("it was refused in the dashboard: nobody is signed in".into()));
            }
            (_, "expired_token") => return Err(over()),
            _ => return Err(error.into()),
        }
    }
}

fn over() -> CommandError {
    CommandError::Usage("nobody confirmed it within ten minutes; begin anew".into())
}

/// Returns what this machine is called.
pub(super) fn machine() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = host.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "a machine without a name".to_owned() } else { name }
}
