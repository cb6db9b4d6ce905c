//! `[retention]`: how long things are kept. Revisions, changes and the audit are kept for ever.

use serde::{Deserialize, Serialize};

use super::Mistakes;

/// How long things are kept, in days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Events; a stream that resumes from an older one is told to begin anew.
    pub events_days: u32,
    /// Runs of jobs with their output.
    pub runs_days: u32,
    /// Drift findings that are over.
    pub drift_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events_days: 90, runs_days: 90, drift_days: 365 }
    }
}

impl Retention {
    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        let all = [("events_days", self.events_days), ("runs_days", self.runs_days), ("drift_days", self.drift_days)];
        for (key, value) in all {
            if !(1..=36_500).contains(&value) {
                mistakes.add(&format!("retention.{key}"), "must be 1 to 36500");
            }
        }
    }
}
