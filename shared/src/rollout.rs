//! Rollouts: how an applied change reaches its nodes wave by wave. A state machine without I/O.
//!
//! Each step takes what the nodes and gates say and the time, and returns what is to be done; the caller stores the
//! rollout and does it in one transaction, so that a controller may die between any two steps. It is level-triggered:
//! stepping twice with the same input does nothing the second time.
//!
//! A wave is *measuring* while values are taken that gates compare with afterwards, *applying* until none of its nodes is on its way, *gating* until its gates have answered, *soaking* until
//! it has stayed well long enough. Nodes that failed or are away count against the budget in every phase. A wave of
//! which no node is proven proves nothing: it waits for one until its deadline. One of which no node is left (they are out
//! of the fleet, or the change does nothing there any more) can't be proven by any time: nothing failed that would have to
//! be put back, so that it pauses, unless the strategy goes on whatever happens. Every rollout ends: each phase has a
//! deadline, and who pauses one must come back within [`PAUSE_LIMIT_MS`].
//!
//! A rollout with a *limit* is held when the waves within it are through: nobody beyond it gets the change before somebody
//! resumes or promotes. Nobody does within [`PAUSE_LIMIT_MS`]: what the strategy says of a failed wave is done, so that a
//! fleet isn't left in two parts without a word.

mod limit;
mod strategy;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use limit::{LimitStand, Limited};
pub use strategy::{Amount, Candidate, Division, Gate, OnFailure, Strategy, Wave};

use crate::{id::NodeId, time::UnixMs};

/// How long a rollout may stay paused; then it is aborted. A day: long enough for whoever is called in the night, short
/// enough that a fleet doesn't stay in two parts.
pub const PAUSE_LIMIT_MS: i64 = 24 * 3_600_000;

/// One rollout, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// How.
    pub strategy: Strategy,
    /// Who, wave by wave.
    pub waves: Vec<Vec<NodeId>>,
    /// The wave that is under way, from 0.
    pub stage: usize,
    /// How far it is.
    pub phase: Phase,
    /// When the phase began.
    pub since: UnixMs,
    /// When the wave must be through with applying and gating; while soaking, when that is over.
    pub deadline: UnixMs,
    /// The first wave whose failures count: who promotes a wave takes those before it as they are.
    pub counted_from: usize,
    /// How often the gates of this wave were asked, from 1; an answer to an older question doesn't count.
    pub attempt: u32,
    /// How it stands as a whole.
    pub state: State,
    /// Why it stands so, in words; empty while it runs and nothing holds it.
    pub reason: String,
    /// While a freeze lets no further wave begin: how much of the phase's time was left when it came, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_ms: Option<i64>,
    /// Where it is held by its limit; absent without one, and when nobody is beyond it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited: Option<Limited>,
    /// Who took waves as they were, by the wave from 0: they were not found well, or had not stayed so for long enough.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub promoted: BTreeMap<usize, String>,
}

/// Who takes a failed wave as it is where the strategy says so.
const BY_STRATEGY: &str = "its strategy";

/// How far a wave is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = RolloutPhase))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// What gates compare with is measured, before the change reaches the wave.
    Measuring,
    /// Nodes are on their way.
    Applying,
    /// Gates are asked.
    Gating,
    /// It must stay well for a while.
    Soaking,
}

/// How a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = RolloutState))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It moves by itself.
    Running,
    /// It waits for somebody.
    Paused,
    /// Every wave is through.
    Done,
    /// It was ended; who didn't have the change doesn't get it.
    Aborted,
    /// What stood before was put back.
    Reverted,
}

impl State {
    /// Returns whether it is over.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Aborted | Self::Reverted)
    }

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Aborted => "aborted",
            Self::Reverted => "reverted",
        }
    }
}

/// How a node that the rollout has reached stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeSeen {
    /// Not there yet.
    Moving,
    /// In force.
    Proven,
    /// Failed, blocked or quarantined.
    Failed,
    /// Not connected, or connected and silent.
    Away,
    /// Out of the fleet, or no more of those on which the change does something.
    Gone,
}

/// What the gates of the current wave say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No answer yet.
    Open,
    /// All hold.
    Pass,
    /// One doesn't, in words.
    Fail(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Let this wave have the change.
    Release(usize),
    /// Ask the gates on the nodes of this wave, or measure there what they compare with; the attempt is part of the
    /// question's identity.
    AskGates(usize, u32),
    /// Put back what stood before, everywhere and at once.
    Revert(String),
    /// Tell people that it waits for them.
    Page(String),
}

/// What somebody wants of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = RolloutOrder))]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Release no further wave.
    Pause,
    /// Go on; the wave's time begins anew and its gates are asked again.
    Resume,
    /// Take the current wave as it is and begin the next.
    Promote,
    /// End it here: who has the change keeps it, nobody else gets it.
    Abort,
    /// Put back what stood before.
    Revert,
}

impl Rollout {
    /// Begins a rollout; its first wave is to be released, unless something is measured there before. Nothing when there is
    /// no node.
    pub fn begin(strategy: Strategy, division: Division, now: UnixMs) -> Option<(Self, Vec<Act>)> {
        let Division { waves, limited } = division;
        if waves.is_empty() {
            return None;
        }
        let limited =
            (1..waves.len()).contains(&limited).then_some(Limited { waves: limited, stand: LimitStand::Ahead });
        let mut rollout = Self {
            strategy,
            waves,
            stage: 0,
            phase: Phase::Applying,
            since: now,
            deadline: now,
            counted_from: 0,
            attempt: 1,
            state: State::Running,
            reason: String::new(),
            frozen_ms: None,
            limited,
            promoted: BTreeMap::new(),
        };
        let acts = rollout.enter_wave(now);
        Some((rollout, acts))
    }

    /// Moves on by at most one phase. `seen` holds the nodes of the waves that were released; who is missing is gone.
    pub fn step(&mut self, seen: &BTreeMap<NodeId, NodeSeen>, gates: &Verdict, now: UnixMs) -> Vec<Act> {
        match self.state {
            State::Running => {}
            State::Paused if now >= self.deadline && self.is_held() => return self.held_too_long(now),
            State::Paused if now >= self.deadline => {
                self.end(State::Aborted, format!("nobody decided within a day ({})", self.reason));
                return Vec::new();
            }
            _ => return Vec::new(),
        }
        let count = Count::of(self.waves[self.counted_from..=self.stage].iter().flatten(), seen);
        let wave = Count::of(self.waves[self.stage].iter(), seen);
        let allowed = self.strategy.max_failures.of(self.waves.iter().map(Vec::len).sum());
        if count.failed > allowed {
            return self.fail(format!("{} failed, {allowed} may", nodes(count.failed)), now);
        }
        let is_late = now >= self.deadline;
        // A wave that is measured first is not reached yet.
        if self.phase != Phase::Measuring && wave.gone == self.waves[self.stage].len() {
            return self.nobody_left(now);
        }
        match self.phase {
            // What could not be measured fails its gate afterwards: there is nothing to compare with.
            Phase::Measuring if self.frozen_ms.is_none() && (is_late || *gates != Verdict::Open) => self.release(now),
            Phase::Measuring => Vec::new(),
            Phase::Applying => {
                let bad = count.failed + count.away;
                let has_proof = wave.proven > 0;
                if wave.moving == 0 && bad <= allowed && has_proof {
                    return self.pass_applying(now);
                }
                if !is_late {
                    return Vec::new();
                }
                let late = bad + wave.moving;
                if late > allowed {
                    let why = format!(
                        "{} not in force by the deadline ({} away, {} on their way, {} failed), {allowed} may be missing",
                        nodes(late),
                        count.away,
                        wave.moving,
                        count.failed
                    );
                    return self.fail(why, now);
                }
                if !has_proof {
                    return self.fail("no node of the wave was proven by the deadline".to_owned(), now);
                }
                self.pass_applying(now)
            }
            Phase::Gating => match gates {
                Verdict::Pass => self.pass_gating(now),
                Verdict::Fail(why) => self.fail(format!("a gate says no: {why}"), now),
                Verdict::Open if is_late => self.fail("a gate gave no answer by the deadline".to_owned(), now),
                Verdict::Open => Vec::new(),
            },
            Phase::Soaking if count.failed + count.away > allowed && is_late => {
                self.fail(format!("{} away after soaking, {allowed} may", nodes(count.failed + count.away)), now)
            }
            Phase::Soaking if is_late => self.next(now),
            Phase::Soaking => Vec::new(),
        }
    }

    /// Does what somebody wants.
    ///
    /// # Errors
    /// When the rollout is over, or already stands so; says how it stands.
    pub fn order(&mut self, order: Order, by: &str, now: UnixMs) -> Result<Vec<Act>, Refused> {
        let refused = Err(Refused { state: self.state, order });
        match (self.state, order) {
            (state, _) if state.is_final() => refused,
            (State::Running, Order::Resume) | (State::Paused, Order::Pause) => refused,
            (_, Order::Pause) => {
                self.pause(format!("paused by {by}"), now);
                Ok(Vec::new())
            }
            (_, Order::Resume) if self.is_held() => {
                self.lift(now);
                Ok(Vec::new())
            }
            (_, Order::Resume) => {
                (self.state, self.reason) = (State::Running, String::new());
                let phase = self.phase;
                self.enter(phase, now);
                if matches!(phase, Phase::Gating | Phase::Measuring) { Ok(self.ask_again()) } else { Ok(Vec::new()) }
            }
            (_, Order::Promote) => {
                let was_held = self.is_held();
                (self.state, self.reason) = (State::Running, String::new());
                if was_held {
                    // The wave is through; what is lifted is the limit.
                    self.stand(LimitStand::Lifted);
                    return Ok(self.promote(now));
                }
                Ok(self.take_as_is(by, now))
            }
            (_, Order::Abort) => {
                self.end(State::Aborted, format!("aborted by {by}"));
                Ok(Vec::new())
            }
            (_, Order::Revert) => Ok(self.revert(format!("reverted by {by}"))),
        }
    }

    /// Returns the nodes of the wave that would get the change next: the one after the current one, unless that is still
    /// being measured. At the limit there is none before somebody says so.
    pub fn next_wave(&self) -> Option<&[NodeId]> {
        if self.phase != Phase::Measuring && self.must_hold() {
            return None;
        }
        let next = if self.phase == Phase::Measuring { self.stage } else { self.stage + 1 };
        self.waves.get(next).map(Vec::as_slice)
    }

    /// Holds back the next wave until a time; the phase's own time stands still meanwhile. Saying it again changes
    /// nothing, unless the time or the reason is another.
    pub fn freeze(&mut self, why: &str, until: UnixMs, now: UnixMs) {
        if self.state != State::Running || self.next_wave().is_none() {
            return;
        }
        let left = *self.frozen_ms.get_or_insert_with(|| self.deadline.since(now).max(0));
        (self.deadline, self.reason) = (until.plus_ms(left), why.to_owned());
    }

    /// Lets the phase's time go on.
    pub fn thaw(&mut self, now: UnixMs) {
        if let Some(left) = self.frozen_ms.take() {
            (self.deadline, self.reason) = (now.plus_ms(left), String::new());
        }
    }

    /// Notes that what stood before could not be put back by itself: somebody must decide.
    pub fn revert_failed(&mut self, why: &str, now: UnixMs) {
        self.pause(format!("{}; putting back what stood before failed: {why}", self.reason), now);
    }

    fn pass_applying(&mut self, now: UnixMs) -> Vec<Act> {
        if self.strategy.gates.is_empty() {
            return self.pass_gating(now);
        }
        self.phase = Phase::Gating;
        self.since = now;
        vec![Act::AskGates(self.stage, self.attempt)]
    }

    fn pass_gating(&mut self, now: UnixMs) -> Vec<Act> {
        if self.strategy.soak_secs == 0 {
            return self.next(now);
        }
        self.enter(Phase::Soaking, now);
        Vec::new()
    }

    fn next(&mut self, now: UnixMs) -> Vec<Act> {
        if self.stage + 1 == self.waves.len() {
            self.end(State::Done, String::new());
            return Vec::new();
        }
        if self.must_hold() {
            return self.hold(now);
        }
        if self.frozen_ms.is_some() {
            return Vec::new();
        }
        self.stage += 1;
        self.attempt = 1;
        self.enter_wave(now)
    }

    /// Begins with the wave: it is released, or measured first.
    fn enter_wave(&mut self, now: UnixMs) -> Vec<Act> {
        if self.strategy.needs_before() {
            self.enter(Phase::Measuring, now);
            return vec![Act::AskGates(self.stage, self.attempt)];
        }
        self.release(now)
    }

    fn release(&mut self, now: UnixMs) -> Vec<Act> {
        self.enter(Phase::Applying, now);
        vec![Act::Release(self.stage)]
    }

    /// Goes on although the wave is not found well, and notes by whose word.
    fn take_as_is(&mut self, by: &str, now: UnixMs) -> Vec<Act> {
        // A wave that is only measured yet is still to be judged.
        if self.phase != Phase::Measuring {
            self.promoted.insert(self.stage, by.to_owned());
        }
        self.promote(now)
    }

    fn promote(&mut self, now: UnixMs) -> Vec<Act> {
        if self.phase == Phase::Measuring {
            // The wave before was the last one that anybody could take as it is.
            self.counted_from = self.stage;
            return self.release(now);
        }
        self.counted_from = self.stage + 1;
        self.next(now)
    }

    fn enter(&mut self, phase: Phase, now: UnixMs) {
        let secs = if phase == Phase::Soaking { self.strategy.soak_secs } else { self.strategy.deadline_secs };
        let left = i64::from(secs) * 1000;
        let until = self.frozen_ms.map(|was_left| self.deadline.plus_ms(-was_left));
        (self.phase, self.since, self.deadline) = (phase, now, until.unwrap_or(now).plus_ms(left));
        self.frozen_ms = self.frozen_ms.map(|_| left);
    }

    fn ask_again(&mut self) -> Vec<Act> {
        self.attempt += 1;
        vec![Act::AskGates(self.stage, self.attempt)]
    }

    fn fail(&mut self, why: String, now: UnixMs) -> Vec<Act> {
        let why = format!("wave {} of {}: {why}", self.stage + 1, self.waves.len());
        match self.strategy.on_failure {
            OnFailure::Revert => self.revert(why),
            // Nothing begins in a freeze; afterwards it fails again, or has come right.
            OnFailure::Promote if self.frozen_ms.is_some() => Vec::new(),
            OnFailure::Promote => {
                let mut acts = vec![Act::Page(why)];
                acts.extend(self.take_as_is(BY_STRATEGY, now));
                acts
            }
            OnFailure::Pause => {
                self.pause(why.clone(), now);
                vec![Act::Page(why)]
            }
        }
    }

    /// Nothing can prove the wave any more: that is no failure, and no proof either.
    fn nobody_left(&mut self, now: UnixMs) -> Vec<Act> {
        let why = format!(
            "wave {} of {}: none of its nodes is left, so that nothing proves the change: they are out of the fleet, or it \
             does nothing there any more; promote goes on without that",
            self.stage + 1,
            self.waves.len()
        );
        match self.strategy.on_failure {
            // Nothing begins in a freeze.
            OnFailure::Promote if self.frozen_ms.is_some() => Vec::new(),
            OnFailure::Promote => {
                let mut acts = vec![Act::Page(why)];
                acts.extend(self.take_as_is(BY_STRATEGY, now));
                acts
            }
            OnFailure::Pause | OnFailure::Revert => {
                self.pause(why.clone(), now);
                vec![Act::Page(why)]
            }
        }
    }

    fn revert(&mut self, why: String) -> Vec<Act> {
        self.end(State::Reverted, why.clone());
        vec![Act::Revert(why)]
    }

    fn pause(&mut self, why: String, now: UnixMs) {
        (self.state, self.reason, self.frozen_ms) = (State::Paused, why, None);
        self.deadline = now.plus_ms(PAUSE_LIMIT_MS);
    }

    fn end(&mut self, state: State, why: String) {
        (self.state, self.reason, self.frozen_ms) = (state, why, None);
    }
}

/// An order that can't be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rollout is {}, it can't be told to {}", .state.as_str(), order_word(.order))]
pub struct Refused {
    /// How it stands.
    pub state: State,
    /// What was wanted.
    pub order: Order,
}

fn order_word(order: &Order) -> &'static str {
    match order {
        Order::Pause => "pause",
        Order::Resume => "resume",
        Order::Promote => "promote",
        Order::Abort => "abort",
        Order::Revert => "revert",
    }
}

fn nodes(count: usize) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

#[derive(Default)]
struct Count {
    moving: usize,
    proven: usize,
    failed: usize,
    away: usize,
    gone: usize,
}

impl Count {
    fn of<'a>(ids: impl Iterator<Item = &'a NodeId>, seen: &BTreeMap<NodeId, NodeSeen>) -> Self {
        let mut count = Self::default();
        for id in ids {
            match seen.get(id).unwrap_or(&NodeSeen::Gone) {
                NodeSeen::Moving => count.moving += 1,
                NodeSeen::Proven => count.proven += 1,
                NodeSeen::Failed => count.failed += 1,
                NodeSeen::Away => count.away += 1,
                NodeSeen::Gone => count.gone += 1,
            }
        }
        count
    }
}

#[cfg(test)]
mod tests;
