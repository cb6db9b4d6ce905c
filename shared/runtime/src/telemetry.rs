//! Logging: `tracing` to standard error, for a person on a terminal, as JSON by choice.

use std::io::{IsTerminal as _, stderr};

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt};

/// What log lines look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For a person; coloured on a terminal, without time under journald, which adds its own.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `RUST_LOG` rules over `level` (`info`, or directives as in `RUST_LOG`). A second call changes nothing.
pub fn init(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(stderr).with_target(false);
    let journald = std::env::var_os("JOURNAL_STREAM").is_some();
    // An error means that a subscriber is there already, as in tests: it stays.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Human if journald => builder.without_time().with_ansi(false).try_init(),
        LogFormat::Human => builder.with_ansi(colour()).try_init(),
    };
}

fn colour() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}
