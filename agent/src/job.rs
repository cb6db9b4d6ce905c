//! Runs cron's jobs and records them.
