//! Runs of cron jobs, as nodes report them.
