//! Rollouts whose controller dies, or whose store fails, at every commit in turn: whatever is hit, the next controller on
//! the same store brings the same rollout to the same end, and each act is recorded once.
//!
//! What is played is the fleet alone ([`fleet`]). Driver, gates, operations, reports and store are the real ones, and a
//! life of a controller ([`life`]) ends by dropping its runtime with all that runs in it, as a `SIGKILL` would.

mod fleet;
mod life;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use lampas_shared::rollout::{Order, Phase, State};

use self::life::{Outcome, Stage};
use crate::db::testing::{MariaDb, Strike};

/// Says whether it is time.
type When = fn(&lampas_api::RolloutView) -> bool;

/// One way that a rollout goes.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    /// How it is asked for.
    strategy: &'static str,
    /// Who is not connected.
    away: &'static [&'static str],
    /// Who can't take the change.
    failing: &'static [&'static str],
    /// Whose gate says no.
    says_no: &'static [&'static str],
    /// What an operator wants, one after the other, each as soon as it is time.
    orders: &'static [(Order, When)],
    /// Whether the operator brings the same once more when it was aborted.
    is_again: bool,
    /// How it must end.
    ends: State,
    /// Who has the change then, of the four.
    have_it: &'static [&'static str],
}

const WELL: Scenario = Scenario {
    strategy: r#"{"waves": ["1", "1"]}"#,
    away: &[],
    failing: &[],
    says_no: &[],
    orders: &[],
    is_again: false,
    ends: State::Done,
    have_it: &["web-1", "web-2", "web-3", "web-4"],
};

const GATED: Scenario = Scenario { strategy: r#"{"waves": ["1"], "gates": [{"command": ["/bin/true"]}]}"#, ..WELL };

const GATE_FAILS: Scenario = Scenario { says_no: &["web-1"], ends: State::Reverted, have_it: &[], ..GATED };

const CANARY_FAILS: Scenario = Scenario { failing: &["web-1"], ends: State::Reverted, have_it: &[], ..WELL };

const ONE_IS_AWAY: Scenario = Scenario { away: &["web-4"], ends: State::Reverted, have_it: &[], ..WELL };

const PAUSED: Scenario = Scenario {
    orders: &[
        (Order::Pause, |shown| shown.wave == 1 && shown.phase == Phase::Applying),
        (Order::Resume, |shown| shown.waves[0].progress.converged == 1),
    ],
    ..WELL
};

const ABORTED: Scenario = Scenario {
    orders: &[(Order::Abort, |shown| shown.wave == 2)],
    ends: State::Aborted,
    have_it: &["web-1", "web-2"],
    ..WELL
};

const AGAIN: Scenario = Scenario { is_again: true, have_it: &["web-1", "web-2", "web-3", "web-4"], ..ABORTED };

/// Plays a scenario with nothing in its way, then with each of its commits struck in turn, until a walk comes through
/// without having met the strike.
fn walk(scenario: Scenario, strikes: &[Strike]) {
    let stage = Stage::sqlite(scenario);
    let untouched = stage.play(Arc::new(|| None));
    untouched.check(&scenario);
    for strike in strikes {
        let mut walked = 0;
        loop {
            let (commits, hit) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
            let (met, strike) = (hit.clone(), *strike);
            let found = stage.play(Arc::new(move || {
                let is_hit = commits.fetch_add(1, Ordering::SeqCst) == walked;
                is_hit.then(|| met.fetch_add(1, Ordering::SeqCst)).map(|_| strike)
            }));
            assert_same(&untouched, &found, &format!("{strike:?} at commit {walked}"));
            walked += 1;
            if hit.load(Ordering::SeqCst) == 0 {
                break;
            }
        }
        assert!(walked > 5, "{strike:?}: a rollout has more than {walked} commits");
    }
}

/// Plays a scenario in which controllers get hardly anywhere: of each seven commits one is lost with the controller, and
/// after another one the controller dies. A life has two that go well: one of them clears away old operations, each time.
fn stumble(stage: &Stage<'_>, scenario: &Scenario) {
    let untouched = stage.play(Arc::new(|| None));
    untouched.check(scenario);
    let commits = AtomicUsize::new(0);
    let found = stage.play(Arc::new(move || match commits.fetch_add(1, Ordering::SeqCst) % 7 {
        3 => Some(Strike::DieBefore),
        6 => Some(Strike::DieAfter),
        _ => None,
    }));
    assert_same(&untouched, &found, "death after death");
    assert!(found.lives > 2, "{} lives", found.lives);
}

fn assert_same(expected: &Outcome, found: &Outcome, what: &str) {
    assert_eq!(expected.lines(), found.lines(), "{what}");
}

const DEATHS: &[Strike] = &[Strike::DieBefore, Strike::DieAfter];
const FAILURES: &[Strike] = &[Strike::Fail, Strike::LoseAnswer];

#[test]
fn a_rollout_survives_each_death() {
    walk(WELL, DEATHS);
}

#[test]
fn a_rollout_survives_each_failure_of_the_store() {
    walk(WELL, FAILURES);
}

#[test]
fn a_failing_canary_is_put_back_once_whatever_dies() {
    walk(CANARY_FAILS, DEATHS);
    walk(CANARY_FAILS, FAILURES);
}

#[test]
fn slow_who_is_away_ends_it_by_the_deadline_whatever_dies() {
    walk(ONE_IS_AWAY, DEATHS);
    walk(ONE_IS_AWAY, FAILURES);
}

#[test]
fn slow_a_pause_holds_whatever_dies() {
    walk(PAUSED, DEATHS);
    walk(PAUSED, FAILURES);
}

#[test]
fn slow_an_abort_stands_whatever_dies() {
    walk(ABORTED, DEATHS);
    walk(ABORTED, FAILURES);
}

#[test]
fn slow_who_was_left_out_gets_it_with_the_next_apply_whatever_dies() {
    walk(AGAIN, DEATHS);
    walk(AGAIN, FAILURES);
}

#[test]
fn slow_gates_are_asked_once_whatever_dies() {
    walk(GATED, DEATHS);
    walk(GATED, FAILURES);
}

#[test]
fn slow_a_gate_that_says_no_is_heard_whatever_dies() {
    walk(GATE_FAILS, DEATHS);
    walk(GATE_FAILS, FAILURES);
}

#[test]
fn all_end_as_they_should_with_one_death_after_the_other() {
    for scenario in [WELL, CANARY_FAILS] {
        stumble(&Stage::sqlite(scenario), &scenario);
    }
}

#[test]
fn slow_all_end_so_on_mariadb_too() {
    let server = MariaDb::start();
    for (number, scenario) in [WELL, CANARY_FAILS, PAUSED].into_iter().enumerate() {
        stumble(&Stage::mariadb(scenario, &server, &format!("killed_{number}")), &scenario);
    }
}
