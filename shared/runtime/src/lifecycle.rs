//! From start to end of a process: signals, and what systemd is told.

use std::{io, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::Tasks;

/// Begins the soft stop on SIGTERM or SIGINT, and tells systemd so.
///
/// # Errors
/// When a signal handler can't be installed.
pub fn stop_on_signals(tasks: &Tasks) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let owner = tasks.clone();
    tasks.spawn("signals", async move {
        let stopping = owner.stopping();
        // Each arm is cancel-safe: a signal that is not taken stays pending in its stream.
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = stopping.cancelled() => return,
        };
        info!(signal = name, "stopping");
        tell(&[NotifyState::Stopping]);
        owner.stop();
    });
    Ok(())
}

/// Returns the stream of SIGHUPs: each asks for the configuration to be read again.
///
/// # Errors
/// When the signal handler can't be installed.
pub fn reload_signals() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Tells systemd that start-up is done, and from then on answers its watchdog while `tasks` run.
pub fn ready(tasks: &Tasks, status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let stopping = tasks.stopping();
    tasks.spawn("watchdog", async move {
        // A third of the limit: one late beat doesn't kill the process.
        let mut beat = interval((limit / 3).max(Duration::from_millis(100)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Both arms are cancel-safe: a tick that is not taken comes at the next call.
            tokio::select! {
                _ = beat.tick() => tell(&[NotifyState::Watchdog]),
                () = stopping.cancelled() => return,
            }
        }
    });
}

/// Tells systemd one line about what the process is at.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd could not be told");
    }
}
