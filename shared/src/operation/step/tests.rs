//! Operations over nodes that come, go, fail and fall silent, and a controller that dies between any two actions.

use proptest::{prelude::*, strategy::Strategy as _};

use super::{Strategy, *};

const SECOND: i64 = 1000;

/// How a node behaves.
#[derive(Debug, Clone)]
struct Nature {
    /// Moments at which its connection turns on or off, in seconds; it begins connected or not.
    turns: Vec<u16>,
    begins_connected: bool,
    /// How long its run takes, in seconds; never, when `None`.
    takes: Option<u16>,
    fails: bool,
    /// Whether what it says is heard at all.
    is_mute: bool,
}

impl Nature {
    fn is_connected(&self, at: i64) -> bool {
        let turned = self.turns.iter().filter(|t| i64::from(**t) * SECOND <= at).count();
        self.begins_connected ^ (turned % 2 == 1)
    }
}

/// A node in the world: what really happens there.
#[derive(Debug, Clone, Default)]
struct Real {
    /// How often it was told, and how often it really began.
    told: u32,
    begun: u32,
    began_at: i64,
    is_cancelled: bool,
}

fn nature() -> impl proptest::strategy::Strategy<Value = Nature> {
    (
        proptest::collection::vec(0_u16..400, 0..4),
        any::<bool>(),
        proptest::option::weighted(0.8, 0_u16..200),
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(turns, begins_connected, takes, fails, is_mute)| Nature {
            turns,
            begins_connected,
            takes,
            fails,
            is_mute,
        })
}

fn away() -> impl proptest::strategy::Strategy<Value = Away> {
    prop_oneof![
        Just(Away::Skip),
        Just(Away::Expire),
        (1_i64..600).prop_map(|secs| Away::Queue { until: UnixMs(secs * SECOND) })
    ]
}

fn order() -> impl proptest::strategy::Strategy<Value = Strategy> {
    (1_u32..5, 0_u32..3, 1_u32..=100, proptest::option::of(0_u32..4)).prop_map(
        |(concurrency, canary, then_percent, stop_after)| Strategy { concurrency, canary, then_percent, stop_after },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn operations_keep_their_limits_end_in_time_and_start_nobody_twice(
        natures in proptest::collection::vec(nature(), 1..9),
        away in away(),
        strategy in order(),
        timeout_secs in 1_u32..120,
        cancel_at in proptest::option::weighted(0.3, 0_i64..300),
        deaths in proptest::collection::vec((0_i64..300, 0_usize..4), 0..4),
    ) {
        let mut operation = OperationView {
            started_at: UnixMs(0), heard_since: UnixMs(0), timeout_secs, strategy, away, is_cancelled: false,
        };
        // What is stored; `real` is what the nodes did.
        let mut stored: Vec<NodeView> = natures.iter().map(|n| NodeView {
            state: RunState::Queued, is_connected: n.begins_connected, is_heard: n.begins_connected && !n.is_mute,
            told_at: UnixMs(0), has_begun: false,
        }).collect();
        let mut real = vec![Real::default(); natures.len()];
        let mut ended_at = None;
        let mut now = 0;
        while ended_at.is_none() {
            // Seconds while something moves, leaps once nothing in the world does.
            now += if now < 1000 * SECOND { SECOND } else { 600 * SECOND };
            prop_assert!(UnixMs(now) <= deadline(&operation).plus_ms(1200 * SECOND), "over its deadline");
            if cancel_at.is_some_and(|at| now >= at * SECOND) {
                operation.is_cancelled = true;
            }
            let death = deaths.iter().find(|(at, _)| at * SECOND == now);
            if death.is_some() {
                operation.heard_since = UnixMs(now);
            }
            for (at, nature) in natures.iter().enumerate() {
                let connected = nature.is_connected(now);
                (stored[at].is_connected, stored[at].is_heard) = (connected, connected && !nature.is_mute);
                let view = &mut stored[at];
                // The node's result, if its run is over, and if it can be said.
                if connected && !nature.is_mute && real[at].begun > 0 && matches!(view.state, RunState::Running | RunState::Lost) {
                    let ran = now - real[at].began_at;
                    view.has_begun = true;
                    if real[at].is_cancelled {
                        view.state = RunState::Cancelled;
                    } else if nature.takes.is_some_and(|t| i64::from(t) * SECOND <= ran && u32::from(t) <= timeout_secs) {
                        view.state = if nature.fails { RunState::Failed } else { RunState::Succeeded };
                    } else if ran >= i64::from(timeout_secs) * SECOND {
                        view.state = RunState::TimedOut;
                    }
                }
            }
            let failed_before = stored.iter().filter(|n| n.state.is_failure()).count();
            let actions = step(&operation, &stored, UnixMs(now));
            // A controller that dies has done only some of them.
            let done = death.map_or(actions.len(), |(_, n)| (*n).min(actions.len()));
            for action in &actions[..done] {
                match *action {
                    Action::Start(at) => {
                        prop_assert_eq!(stored[at].state, RunState::Queued);
                        prop_assert!(stored[at].is_connected && !operation.is_cancelled);
                        if let Some(most) = strategy.failures_allowed() {
                            prop_assert!(failed_before < most, "started after enough failures");
                        }
                        stored[at].state = RunState::Running;
                        stored[at].told_at = UnixMs(now);
                        real[at].told += 1;
                    }
                    Action::Cancel(at) => {
                        prop_assert_eq!(stored[at].state, RunState::Running);
                        real[at].is_cancelled |= stored[at].is_connected;
                    }
                    Action::Settle(at, state, _) => {
                        prop_assert!(!stored[at].state.is_final() && state.is_final());
                        stored[at].state = state;
                    }
                    Action::End => {
                        prop_assert!(stored.iter().all(|n| n.state.is_final()));
                        ended_at = Some(now);
                    }
                }
                let running = stored.iter().filter(|n| n.state == RunState::Running).count();
                prop_assert!(running <= strategy.concurrency as usize, "{} at once", running);
            }
            // Who was told begins, once, as soon as the word gets through; the driver tells again until then.
            for (at, node) in stored.iter_mut().enumerate() {
                if node.state == RunState::Running && node.is_connected && !node.has_begun && real[at].begun == 0 {
                    real[at].begun = 1;
                    real[at].began_at = now;
                    node.has_begun = !natures[at].is_mute;
                }
            }
        }
        for (at, node) in stored.iter().enumerate() {
            prop_assert!(real[at].told <= 1, "told to start once in the store's eyes");
            if node.state == RunState::Succeeded {
                prop_assert_eq!(real[at].begun, 1);
            }
        }
    }

    #[test]
    fn asking_again_after_everything_was_done_starts_nothing_new(
        natures in proptest::collection::vec(nature(), 1..9), strategy in order(),
    ) {
        let operation = OperationView {
            started_at: UnixMs(0), heard_since: UnixMs(0), timeout_secs: 60, strategy, away: Away::Skip, is_cancelled: false,
        };
        let mut nodes: Vec<NodeView> = natures.iter().map(|n| NodeView {
            state: RunState::Queued, is_connected: n.begins_connected, is_heard: true, told_at: UnixMs(0), has_begun: true,
        }).collect();
        for action in step(&operation, &nodes, UnixMs(1)) {
            match action {
                Action::Start(at) => (nodes[at].state, nodes[at].told_at) = (RunState::Running, UnixMs(1)),
                Action::Settle(at, state, _) => nodes[at].state = state,
                Action::Cancel(_) | Action::End => {}
            }
        }
        let again = step(&operation, &nodes, UnixMs(2));
        prop_assert!(again.iter().all(|a| !matches!(a, Action::Start(_))), "{:?}", again);
    }
}

fn nodes(states: &[RunState]) -> Vec<NodeView> {
    states
        .iter()
        .map(|state| NodeView {
            state: *state,
            is_connected: true,
            is_heard: true,
            told_at: UnixMs(0),
            has_begun: true,
        })
        .collect()
}

fn plain(strategy: Strategy) -> OperationView {
    OperationView {
        started_at: UnixMs(0),
        heard_since: UnixMs(0),
        timeout_secs: 600,
        strategy,
        away: Away::Skip,
        is_cancelled: false,
    }
}

#[test]
fn the_canary_goes_first_and_its_failure_stops_the_rest() {
    use RunState::{Failed, Queued, Succeeded};
    let operation = plain(Strategy { canary: 1, then_percent: 50, ..Strategy::default() });
    let first = step(&operation, &nodes(&[Queued; 5]), UnixMs(1));
    assert_eq!(first, [Action::Start(0)]);
    let second = step(&operation, &nodes(&[Succeeded, Queued, Queued, Queued, Queued]), UnixMs(2));
    assert_eq!(second, [1, 2, 3].map(Action::Start));
    let stopped = step(&operation, &nodes(&[Failed, Queued, Queued]), UnixMs(2));
    assert_eq!(stopped, [1, 2].map(|at| Action::Settle(at, RunState::Skipped, Cause::Stopped)));
}

#[test]
fn who_is_away_is_skipped_waited_for_or_given_up() {
    let mut both = nodes(&[RunState::Queued, RunState::Queued]);
    both[1].is_connected = false;
    let skip = plain(Strategy::default());
    let gone = |state, cause| Action::Settle(1, state, cause);
    assert_eq!(step(&skip, &both, UnixMs(1)), [gone(RunState::Skipped, Cause::Away), Action::Start(0)]);
    let queue = OperationView { away: Away::Queue { until: UnixMs(5000) }, ..skip.clone() };
    assert_eq!(step(&queue, &both, UnixMs(1)), [Action::Start(0)]);
    let late = step(&queue, &both, UnixMs(5000));
    assert_eq!(late, [gone(RunState::Expired, Cause::NotBack), Action::Start(0)]);
    let expire = OperationView { away: Away::Expire, ..skip.clone() };
    assert_eq!(step(&expire, &both, UnixMs(1)), [Action::Start(0)]);
    both[0].state = RunState::Succeeded;
    assert_eq!(step(&expire, &both, UnixMs(1)), [gone(RunState::Expired, Cause::NotBack)]);
    // Who is silent is told nothing where the operator said how long to wait.
    both[0].state = RunState::Queued;
    (both[1].is_connected, both[1].is_heard) = (true, false);
    assert_eq!(step(&queue, &both, UnixMs(1)), [Action::Start(0)]);
    assert_eq!(step(&queue, &both, UnixMs(5000)), [gone(RunState::Expired, Cause::NotBack), Action::Start(0)]);
    both[1].is_connected = false;
    both[0].state = RunState::Succeeded;
    // After a restart nobody is away before the nodes had time to come back.
    let restarted = OperationView { heard_since: UnixMs(100_000), ..skip };
    assert_eq!(step(&restarted, &both, UnixMs(101_000)), []);
}

#[test]
fn who_was_told_and_is_heard_no_more_is_given_up_by_the_operators_bound() {
    let check = |away: Away, is_heard: bool, until: i64, cause: Cause| {
        let operation = OperationView { away, ..plain(Strategy::default()) };
        let mut told = nodes(&[RunState::Running]);
        (told[0].has_begun, told[0].is_heard) = (false, is_heard);
        assert_eq!(step(&operation, &told, UnixMs(until - 1)), [], "{away:?}");
        let lost = [Action::Settle(0, RunState::Lost, cause)];
        assert_eq!(step(&operation, &told, UnixMs(until)), lost, "{away:?}");
        // What has begun is waited for.
        told[0].has_begun = true;
        assert_eq!(step(&operation, &told, UnixMs(until)), [], "{away:?}");
    };
    let queue = |secs: i64| Away::Queue { until: UnixMs(secs * SECOND) };
    for away in [Away::Skip, Away::Expire, queue(4)] {
        check(away, true, START_MS, Cause::NoAnswer);
    }
    check(Away::Skip, false, RETURN_MS, Cause::NotHeard);
    check(Away::Expire, false, RETURN_MS, Cause::NotHeard);
    check(queue(4), false, 4 * SECOND, Cause::NotHeard);
    check(queue(1), false, SILENCE_MS, Cause::NotHeard);
    check(queue(600), false, START_MS, Cause::NotHeard);
}
