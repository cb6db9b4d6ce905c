//! Commit-confirmed: a change that cuts the node off undoes itself (architecture, invariant 3).
//!
//! Sans-I/O: told the time and how attempts to reach a controller went, it says what to do. Attempts are fresh handshakes
//! from new sockets, so that an old connection that still works proves nothing.

use std::time::Duration;

use lampas_shared::desired::Generation;
use tokio::time::Instant;

/// The first pause between attempts; doubles up to [`MAX_PAUSE`], or [`MAX_LATE_PAUSE`] once nothing depends on it.
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(5);
const MAX_LATE_PAUSE: Duration = Duration::from_secs(30);

/// The trial of one generation.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) generation: Generation,
    limit: Duration,
    phase: Phase,
    attempt_at: Instant,
    pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Applied; a controller has to be reached until then.
    Applied { until: Instant },
    /// Undone; if a controller is reached until then, the generation was to blame.
    Undone { until: Instant },
    /// Innocent and applied again; a controller is looked for without haste.
    Late,
    /// Decided. The verdict is given again until it is in the journal, whatever the network does by then: a full disk is
    /// nobody's cut.
    Decided(Verdict),
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try again at the time that [`Trial::attempt_at`] says.
    Wait,
    /// The generation is confirmed.
    Confirm,
    /// Put the last good state back.
    Undo,
    /// The generation cut the node off: it stays undone.
    Quarantine,
    /// It was innocent: apply it again.
    Reapply,
}

impl Trial {
    /// Begins with a generation that has just been applied.
    pub(super) fn begin(generation: Generation, limit: Duration, now: Instant) -> Self {
        Self { generation, limit, phase: Phase::Applied { until: now + limit }, attempt_at: now, pause: MIN_PAUSE }
    }

    /// Begins with a generation that was found innocent before a restart.
    pub(super) fn begin_late(generation: Generation, limit: Duration, now: Instant) -> Self {
        Self { generation, limit, phase: Phase::Late, attempt_at: now, pause: MIN_PAUSE }
    }

    /// When to try to reach a controller next.
    pub(super) fn attempt_at(&self) -> Instant {
        self.attempt_at
    }

    /// How long an attempt that begins now may take.
    pub(super) fn attempt_limit(&self, now: Instant) -> Duration {
        let most = Duration::from_secs(15);
        match self.phase {
            Phase::Applied { until } | Phase::Undone { until } => {
                until.saturating_duration_since(now).clamp(Duration::from_millis(100), most)
            }
            Phase::Late | Phase::Decided(_) => most,
        }
    }

    /// Takes the end of an attempt.
    pub(super) fn handle_attempt(&mut self, is_reached: bool, now: Instant) -> Verdict {
        match (self.phase, is_reached) {
            (Phase::Applied { .. } | Phase::Late, true) => self.decide(Verdict::Confirm, now),
            (Phase::Undone { .. }, true) => self.decide(Verdict::Quarantine, now),
            (Phase::Decided(verdict), _) => self.decide(verdict, now),
            (Phase::Applied { until }, false) if now >= until => {
                self.enter(Phase::Undone { until: now + self.limit }, now);
                Verdict::Undo
            }
            (Phase::Undone { until }, false) if now >= until => {
                self.enter(Phase::Late, now);
                Verdict::Reapply
            }
            (phase, false) => {
                let (until, most) = match phase {
                    Phase::Applied { until } | Phase::Undone { until } => (Some(until), MAX_PAUSE),
                    Phase::Late | Phase::Decided(_) => (None, MAX_LATE_PAUSE),
                };
                let next = now + self.pause;
                // The last attempt is at the end of the time, so that the verdict is not late.
                self.attempt_at = until.map_or(next, |until| next.min(until));
                self.pause = (self.pause * 2).min(most);
                Verdict::Wait
            }
        }
    }

    fn decide(&mut self, verdict: Verdict, now: Instant) -> Verdict {
        self.phase = Phase::Decided(verdict);
        self.attempt_at = now + self.pause;
        self.pause = (self.pause * 2).min(MAX_LATE_PAUSE);
        verdict
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.attempt_at = now;
        self.pause = MIN_PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Plays a trial on a virtual clock; `reached(seconds, is_undone)` is the network.
    fn play(reached: impl Fn(u64, bool) -> bool) -> (Vec<Verdict>, u64) {
        let start = Instant::now();
        let mut trial = Trial::begin(Generation { epoch: 1, counter: 2 }, LIMIT, start);
        let (mut verdicts, mut is_undone, mut now) = (Vec::new(), false, start);
        for _ in 0..10_000 {
            now = now.max(trial.attempt_at());
            let seconds = (now - start).as_secs();
            match trial.handle_attempt(reached(seconds, is_undone), now) {
                Verdict::Wait => {}
                verdict => {
                    verdicts.push(verdict);
                    is_undone = verdict == Verdict::Undo;
                    if matches!(verdict, Verdict::Confirm | Verdict::Quarantine) {
                        return (verdicts, seconds);
                    }
                }
            }
        }
        (verdicts, (now - start).as_secs())
    }

    #[test]
    fn a_harmless_change_is_confirmed_at_once() {
        assert_eq!(play(|_, _| true), (vec![Verdict::Confirm], 0));
    }

    #[test]
    fn a_verdict_that_can_not_be_journalled_is_given_again_and_stays_the_same() {
        let start = Instant::now();
        let mut trial = Trial::begin(Generation { epoch: 1, counter: 2 }, LIMIT, start);
        assert_eq!(trial.handle_attempt(true, start), Verdict::Confirm);
        for (seconds, is_reached) in [(1, true), (30, false), (61, false), (7200, false)] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(trial.handle_attempt(is_reached, now), Verdict::Confirm, "{seconds}");
            assert!(trial.attempt_at() > now);
        }
    }

    #[test]
    fn a_short_outage_undoes_nothing() {
        let (verdicts, at) = play(|s, _| s >= 40);
        assert_eq!(verdicts, [Verdict::Confirm]);
        assert!((40..=46).contains(&at), "{at}");
    }

    #[test]
    fn a_change_that_cuts_the_node_off_is_undone_in_a_minute_and_quarantined() {
        let (verdicts, at) = play(|_, is_undone| is_undone);
        assert_eq!((verdicts.as_slice(), at), ([Verdict::Undo, Verdict::Quarantine].as_slice(), 60));
    }

    #[test]
    fn a_controller_that_is_away_for_an_hour_reverts_nobody_in_the_end() {
        let (verdicts, at) = play(|s, _| s >= 3600);
        assert_eq!(verdicts, [Verdict::Undo, Verdict::Reapply, Verdict::Confirm]);
        assert!(at <= 3631, "{at}");
    }
}
