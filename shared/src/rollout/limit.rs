//! The limit of a rollout: the waves within it come first, and nobody else gets the change before somebody says so.

use serde::{Deserialize, Serialize};

use super::{Act, OnFailure, Phase, Rollout, State, nodes};
use crate::time::UnixMs;

/// A limit of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// How many of the waves are within it, from 1.
    pub waves: usize,
    /// Whether the rollout is there.
    pub stand: LimitStand,
}

/// How a rollout stands to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LimitStand {
    /// The waves within it are under way.
    Ahead,
    /// They are through, and nobody else gets it before somebody says so.
    Reached,
    /// Somebody let it go on to the rest.
    Lifted,
}

impl Rollout {
    /// Returns whether it stands at its limit.
    pub fn is_held(&self) -> bool {
        self.state == State::Paused && self.limited.is_some_and(|l| l.stand == LimitStand::Reached)
    }

    /// Returns how many nodes are beyond the limit.
    pub fn beyond(&self) -> usize {
        self.limited.map_or(0, |l| self.waves[l.waves..].iter().map(Vec::len).sum())
    }

    /// Whether the next wave is the first beyond the limit.
    pub(super) fn must_hold(&self) -> bool {
        self.limited.is_some_and(|l| l.stand == LimitStand::Ahead && l.waves == self.stage + 1)
    }

    pub(super) fn hold(&mut self, now: UnixMs) -> Vec<Act> {
        self.stand(LimitStand::Reached);
        let rest = self.beyond();
        let scope = self.strategy.limit.as_ref().map_or_else(|| "its limit".to_owned(), ToString::to_string);
        let verb = if rest == 1 { "doesn't" } else { "don't" };
        let why = format!("limited to {scope}: {} {verb} have it yet", nodes(rest));
        self.pause(why.clone(), now);
        vec![Act::Page(why)]
    }

    pub(super) fn stand(&mut self, stand: LimitStand) {
        self.limited = self.limited.map(|l| Limited { stand, ..l });
    }

    /// Lets it go on to the rest once the last wave within the limit is found well again.
    pub(super) fn lift(&mut self, now: UnixMs) {
        self.stand(LimitStand::Lifted);
        (self.state, self.reason) = (State::Running, String::new());
        self.attempt += 1;
        self.promoted.remove(&self.stage);
        self.enter(Phase::Applying, now);
    }

    /// Nobody decided about the nodes beyond the limit.
    pub(super) fn held_too_long(&mut self, now: UnixMs) -> Vec<Act> {
        let why = format!("nobody decided within a day ({})", self.reason);
        match self.strategy.on_failure {
            OnFailure::Revert => self.revert(why),
            OnFailure::Promote => {
                self.lift(now);
                vec![Act::Page(why)]
            }
            OnFailure::Pause => {
                self.end(State::Aborted, why);
                Vec::new()
            }
        }
    }
}
