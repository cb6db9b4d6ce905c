//! Rollouts step by step, and what holds however they go.

use proptest::{prelude::*, strategy::Strategy as Generator};

use super::{Strategy, *};
use crate::fleet::{Labels, NodeName};

fn node(n: u128) -> NodeId {
    NodeId::from_uuid(uuid::Uuid::from_u128(n))
}

fn strategy(waves: &[&str], max_failures: &str) -> Strategy {
    Strategy {
        waves: waves.iter().map(|w| w.parse().expect("a wave")).collect(),
        max_failures: max_failures.parse().expect("an amount"),
        ..Strategy::default()
    }
}

fn gate() -> Gate {
    serde_json::from_str(r#"{"command": ["/usr/local/sbin/check"]}"#).expect("a gate")
}

/// One that compares with what was before.
fn comparing() -> Gate {
    let probe =
        r#"{"what": {"kind": "measure", "measure": "load_per_core", "bound": {"compare": "<=", "worse_percent": 10}}}"#;
    Gate::probe(serde_json::from_str(probe).expect("a probe"))
}

/// A rollout over nodes 0 to `count`, waves of the given sizes.
fn begin(strategy: Strategy, waves: &[u128]) -> Rollout {
    let waves = sized(waves);
    begin_limited(strategy, waves, 0)
}

/// Waves of the given sizes over nodes from 0.
fn sized(waves: &[u128]) -> Vec<Vec<NodeId>> {
    let mut next = 0;
    let wave = |count: &u128| {
        next += count;
        (next - count..next).map(node).collect()
    };
    waves.iter().map(wave).collect()
}

/// A rollout over such waves, so many of them within its limit.
fn begin_limited(mut strategy: Strategy, waves: Vec<Vec<NodeId>>, limited: usize) -> Rollout {
    if limited > 0 {
        strategy.limit = Some("role:app".parse().expect("a scope"));
    }
    let first = if strategy.needs_before() { Act::AskGates(0, 1) } else { Act::Release(0) };
    let (rollout, acts) = Rollout::begin(strategy, Division { waves, limited }, UnixMs(0)).expect("nodes");
    assert_eq!(acts, [first]);
    rollout
}

fn all(states: &[NodeSeen]) -> BTreeMap<NodeId, NodeSeen> {
    states.iter().zip(0..).map(|(s, n)| (node(n), *s)).collect()
}

use NodeSeen::{Away, Failed, Gone, Moving, Proven};

#[test]
fn waves_are_divided_by_count_share_and_label_and_the_connected_go_first() {
    let check = |waves: &[&str], away: &[u128], expected: &[&[u128]]| {
        let names: Vec<NodeName> = (0..8).map(|n| NodeName::parse(format!("web-{n}")).expect("a name")).collect();
        let label = |n: usize| -> Labels {
            let zone = if n < 2 { "a" } else { "b" };
            [("zone".parse().expect("a key"), zone.parse().expect("a value"))].into()
        };
        let labels: Vec<Labels> = (0..8).map(label).collect();
        let candidates = (0..8_usize).map(|n| Candidate {
            id: node(n as u128),
            name: &names[n],
            labels: &labels[n],
            is_online: !away.contains(&(n as u128)),
            is_within: true,
        });
        let Division { waves: found, limited } = strategy(waves, "0").divide(candidates.collect());
        assert_eq!(limited, 0, "nobody is beyond");
        let expected: Vec<Vec<NodeId>> = expected.iter().map(|w| w.iter().copied().map(node).collect()).collect();
        assert_eq!(found, expected, "{waves:?}");
    };
    check(&[], &[], &[&[0, 1, 2, 3, 4, 5, 6, 7]]);
    check(&["1", "50%"], &[], &[&[0], &[1, 2, 3], &[4, 5, 6, 7]]);
    check(&["1", "50%"], &[0], &[&[1], &[2, 3, 4], &[5, 6, 7, 0]]);
    check(&["label:zone=a", "3"], &[], &[&[0, 1], &[2, 3, 4], &[5, 6, 7]]);
    check(&["label:zone=c", "100%", "5"], &[], &[&[0, 1, 2, 3, 4, 5, 6, 7]]);
}

#[test]
fn texts_out_of_range_are_refused_by_name() {
    for bad in ["0", "0%", "101%", "-1", "x", "label:zone", "100001", ""] {
        assert!(bad.parse::<Wave>().is_err(), "{bad}");
    }
    assert_eq!("25%".parse::<Wave>().expect("a wave").to_string(), "25%");
    let check = |change: fn(&mut Strategy), field: &str| {
        let mut strategy = Strategy { gates: vec![comparing()], ..Strategy::default() };
        change(&mut strategy);
        assert!(strategy.check().expect_err(field).to_string().starts_with(field));
    };
    check(|s| s.deadline_secs = 9, "stage deadline");
    check(|s| s.soak_secs = 86_401, "soak");
    check(|s| s.waves = vec!["1".parse().expect("a wave"); 21], "waves");
    check(|s| s.gates = vec![Gate { command: vec!["check".to_owned()], ..gate() }], "gate");
    check(|s| s.gates = vec![Gate { command: Vec::new(), ..gate() }], "gate");
    check(|s| s.gates = vec![Gate { timeout_secs: 0, ..gate() }], "gate");
    check(|s| s.gates = vec![Gate { command: gate().command, ..comparing() }], "gate");
    check(|s| s.limit = Some(crate::fleet::Scope::Fleet), "limit");
    check(|s| s.gates[0].probe.as_mut().expect("a probe").every_secs = 0, "every");
}

#[test]
fn the_next_wave_begins_when_the_last_one_is_proven() {
    let mut rollout = begin(strategy(&["1"], "0"), &[1, 2]);
    assert_eq!(rollout.step(&all(&[Moving]), &Verdict::Open, UnixMs(1)), []);
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(2)), [Act::Release(1)]);
    assert_eq!(rollout.step(&all(&[Proven, Proven, Moving]), &Verdict::Open, UnixMs(3)), []);
    assert_eq!(rollout.step(&all(&[Proven, Proven, Proven]), &Verdict::Open, UnixMs(4)), []);
    assert_eq!(rollout.state, State::Done);
}

#[test]
fn a_failing_canary_puts_back_what_stood_before() {
    let mut rollout = begin(strategy(&["1"], "0"), &[1, 9]);
    let acts = rollout.step(&all(&[Failed]), &Verdict::Open, UnixMs(1));
    assert_eq!(acts, [Act::Revert("wave 1 of 2: 1 node failed, 0 may".to_owned())]);
    assert_eq!(rollout.state, State::Reverted);
}

#[test]
fn a_gate_that_says_no_or_nothing_stops_the_wave() {
    let gated = Strategy { gates: vec![gate()], ..strategy(&["1"], "0") };
    let mut rollout = begin(gated.clone(), &[1, 1]);
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(1)), [Act::AskGates(0, 1)]);
    let acts = rollout.step(&all(&[Proven]), &Verdict::Fail("exit 3".to_owned()), UnixMs(2));
    assert_eq!(acts, [Act::Revert("wave 1 of 2: a gate says no: exit 3".to_owned())]);

    let mut rollout = begin(Strategy { on_failure: OnFailure::Pause, ..gated }, &[1, 1]);
    rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(1));
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(599_999)), []);
    let acts = rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(600_000));
    assert_eq!(acts, [Act::Page("wave 1 of 2: a gate gave no answer by the deadline".to_owned())]);
    // Who resumes asks again; the answer to the first question is none to the second.
    let acts = rollout.order(Order::Resume, "ann", UnixMs(700_000)).expect("resumed");
    assert_eq!((acts, rollout.attempt), (vec![Act::AskGates(0, 2)], 2));
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Pass, UnixMs(700_001)), [Act::Release(1)]);
}

#[test]
fn the_away_count_against_the_budget_and_hold_a_wave_until_its_deadline() {
    let mut rollout = begin(strategy(&["2"], "1"), &[2, 1]);
    assert_eq!(rollout.step(&all(&[Proven, Away]), &Verdict::Open, UnixMs(1)), [Act::Release(1)]);
    let mut rollout = begin(strategy(&["2"], "2"), &[2, 1]);
    assert_eq!(rollout.step(&all(&[Away, Away]), &Verdict::Open, UnixMs(1)), [], "nothing is proven");
    let acts = rollout.step(&all(&[Away, Away]), &Verdict::Open, UnixMs(600_000));
    assert_eq!(acts, [Act::Revert("wave 1 of 2: no node of the wave was proven by the deadline".to_owned())]);
    let mut rollout = begin(strategy(&["2"], "0"), &[2, 1]);
    assert_eq!(rollout.step(&all(&[Proven, Away]), &Verdict::Open, UnixMs(1)), []);
    assert_eq!(rollout.step(&all(&[Proven, Proven]), &Verdict::Open, UnixMs(2)), [Act::Release(1)], "it came back");
}

#[test]
fn a_wave_of_which_nobody_is_left_proves_nothing() {
    let left = |on_failure, waves: &[u128]| begin(Strategy { on_failure, ..strategy(&["1"], "0") }, waves);
    for on_failure in [OnFailure::Revert, OnFailure::Pause] {
        for waves in [&[1_u128, 1][..], &[1]] {
            let mut rollout = left(on_failure, waves);
            let acts = rollout.step(&all(&[Gone]), &Verdict::Open, UnixMs(2));
            assert!(matches!(&acts[..], [Act::Page(why)] if why.contains("none of its nodes is left")), "{acts:?}");
            assert_eq!(rollout.state, State::Paused, "nothing failed that would have to be put back");
            // Whoever lets it go on says so.
            rollout.order(Order::Resume, "ann", UnixMs(3)).expect("resumed");
            assert!(matches!(rollout.step(&all(&[Gone]), &Verdict::Open, UnixMs(4))[..], [Act::Page(_)]));
            rollout.order(Order::Promote, "ann", UnixMs(5)).expect("promoted");
            assert_eq!(rollout.state == State::Done, waves.len() == 1);
        }
    }
    let mut rollout = left(OnFailure::Promote, &[1, 1]);
    let acts = rollout.step(&all(&[Gone]), &Verdict::Open, UnixMs(2));
    assert!(matches!(acts[..], [Act::Page(_), Act::Release(1)]), "it goes on, and says so: {acts:?}");
    // One that leaves while its gates are asked, or while the wave soaks, proved nothing that would last.
    let gated = Strategy { gates: vec![gate()], soak_secs: 60, ..strategy(&["1"], "0") };
    let mut rollout = begin(gated, &[1, 1]);
    rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(1));
    let mut soaking = rollout.clone();
    assert!(matches!(rollout.step(&all(&[Gone]), &Verdict::Pass, UnixMs(2))[..], [Act::Page(_)]));
    soaking.step(&all(&[Proven]), &Verdict::Pass, UnixMs(2));
    assert_eq!(soaking.phase, Phase::Soaking);
    assert!(matches!(soaking.step(&all(&[Gone]), &Verdict::Pass, UnixMs(60_002))[..], [Act::Page(_)]));
    // Of two one is left, and proves it.
    let mut rollout = begin(strategy(&["2"], "0"), &[2, 1]);
    assert_eq!(rollout.step(&all(&[Gone, Proven]), &Verdict::Open, UnixMs(2)), [Act::Release(1)]);
}

#[test]
fn a_promoted_wave_is_taken_as_it_is() {
    let mut rollout = begin(Strategy { on_failure: OnFailure::Pause, ..strategy(&["1"], "0") }, &[1, 1]);
    assert!(matches!(rollout.step(&all(&[Failed]), &Verdict::Open, UnixMs(1))[..], [Act::Page(_)]));
    assert_eq!(rollout.order(Order::Promote, "ann", UnixMs(2)).expect("promoted"), [Act::Release(1)]);
    rollout.step(&all(&[Failed, Proven]), &Verdict::Open, UnixMs(3));
    assert_eq!(rollout.state, State::Done);
    assert_eq!(rollout.promoted, BTreeMap::from([(0, "ann".to_owned())]), "the second wave was found well");
    let refused = rollout.order(Order::Abort, "ann", UnixMs(4)).expect_err("over");
    assert_eq!(refused.to_string(), "the rollout is done, it can't be told to abort");
}

#[test]
fn who_cut_short_that_a_wave_stays_well_is_noted() {
    let soaks = |on_failure| {
        let mut rollout = begin(Strategy { soak_secs: 60, on_failure, ..strategy(&["1"], "0") }, &[1, 1]);
        rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(1));
        assert_eq!((rollout.phase, rollout.promoted.len()), (Phase::Soaking, 0));
        rollout
    };
    let mut rollout = soaks(OnFailure::Pause);
    rollout.order(Order::Promote, "ann", UnixMs(2)).expect("promoted");
    assert_eq!(rollout.promoted, BTreeMap::from([(0, "ann".to_owned())]));
    let mut rollout = soaks(OnFailure::Promote);
    rollout.step(&all(&[Failed]), &Verdict::Open, UnixMs(2));
    assert_eq!(rollout.promoted, BTreeMap::from([(0, BY_STRATEGY.to_owned())]));
    let mut rollout = soaks(OnFailure::Pause);
    rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(60_001));
    assert_eq!((rollout.stage, rollout.promoted.len()), (1, 0), "it stayed well for its time");
}

#[test]
fn a_pause_that_nobody_ends_aborts() {
    let mut rollout = begin(strategy(&["1"], "0"), &[1, 1]);
    rollout.order(Order::Pause, "ann", UnixMs(5)).expect("paused");
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(PAUSE_LIMIT_MS)), []);
    assert_eq!(rollout.state, State::Paused);
    rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(PAUSE_LIMIT_MS + 5));
    assert_eq!(rollout.state, State::Aborted);
}

#[test]
fn a_limit_comes_before_the_waves_and_both_sides_go_by_them() {
    let check = |waves: &[&str], within: &[u128], expected: &[&[u128]], limited: usize| {
        let names: Vec<NodeName> = (0..6).map(|n| NodeName::parse(format!("web-{n}")).expect("a name")).collect();
        let labels = Labels::new();
        let candidates: Vec<Candidate<'_>> = (0..6_usize)
            .map(|n| Candidate {
                id: node(n as u128),
                name: &names[n],
                labels: &labels,
                is_online: true,
                is_within: within.contains(&(n as u128)),
            })
            .collect();
        let limit = Some("role:app".parse().expect("a scope"));
        let strategy = Strategy { limit, ..strategy(waves, "0") };
        assert_eq!(strategy.empty_first(candidates.clone()), None);
        let waves = expected.iter().map(|w| w.iter().copied().map(node).collect()).collect();
        assert_eq!(strategy.divide(candidates), Division { waves, limited });
    };
    check(&[], &[1, 4], &[&[1, 4], &[0, 2, 3, 5]], 1);
    check(&["1"], &[1, 4], &[&[1], &[4], &[0], &[2, 3, 5]], 2);
    check(&["50%"], &[0, 1, 2, 3], &[&[0, 1], &[2, 3], &[4], &[5]], 2);
    check(&["1"], &[0, 1, 2, 3, 4, 5], &[&[0], &[1, 2, 3, 4, 5]], 0);
}

#[test]
fn a_limit_holds_the_rest_until_somebody_says_so() {
    let limited = |on_failure| {
        let strategy = Strategy { on_failure, ..strategy(&[], "0") };
        let mut rollout = begin_limited(strategy, sized(&[1, 2]), 1);
        assert_eq!(rollout.next_wave(), None, "a freeze of the rest holds nothing back");
        let acts = rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(1));
        assert_eq!(acts, [Act::Page("limited to role:app: 2 nodes don't have it yet".to_owned())]);
        assert!(rollout.is_held());
        assert_eq!(rollout.next_wave(), Some(&[node(1), node(2)][..]), "which one would let go on");
        assert_eq!(rollout.step(&all(&[Away]), &Verdict::Open, UnixMs(PAUSE_LIMIT_MS)), [], "it waits");
        rollout
    };
    // Who promotes takes it as it is.
    let mut rollout = limited(OnFailure::Revert);
    assert_eq!(rollout.order(Order::Promote, "ann", UnixMs(2)).expect("promoted"), [Act::Release(1)]);
    assert!(rollout.promoted.is_empty(), "the limit was lifted, the wave was found well");
    rollout.order(Order::Pause, "ann", UnixMs(2)).expect("paused");
    assert!(!rollout.is_held(), "a pause of a later wave is no limit");
    rollout.order(Order::Resume, "ann", UnixMs(2)).expect("resumed");
    rollout.step(&all(&[Failed, Proven, Proven]), &Verdict::Open, UnixMs(3));
    assert_eq!(rollout.state, State::Done);
    // Who resumes has it looked at once more.
    let mut rollout = limited(OnFailure::Revert);
    assert_eq!(rollout.order(Order::Resume, "ann", UnixMs(2)).expect("resumed"), []);
    assert_eq!(rollout.step(&all(&[Away]), &Verdict::Open, UnixMs(3)), []);
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(4)), [Act::Release(1)]);
    // Nobody says anything.
    let late = UnixMs(PAUSE_LIMIT_MS + 1);
    let mut rollout = limited(OnFailure::Revert);
    assert!(matches!(rollout.step(&all(&[Proven]), &Verdict::Open, late)[..], [Act::Revert(_)]));
    let mut rollout = limited(OnFailure::Pause);
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, late), []);
    assert_eq!(rollout.state, State::Aborted);
    let mut rollout = limited(OnFailure::Promote);
    assert!(matches!(rollout.step(&all(&[Proven]), &Verdict::Open, late)[..], [Act::Page(_)]));
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, late), [Act::Release(1)]);
    // The wave is taken as it is: that alone doesn't lead beyond the limit.
    let mut rollout = begin_limited(strategy(&[], "0"), sized(&[1, 2]), 1);
    assert!(matches!(rollout.order(Order::Promote, "ann", UnixMs(1)).expect("promoted")[..], [Act::Page(_)]));
    assert!(rollout.is_held());
}

#[test]
fn a_limit_asks_its_gates_anew_before_it_goes_on() {
    let gated = Strategy { gates: vec![gate()], ..strategy(&[], "0") };
    let mut rollout = begin_limited(gated, sized(&[1, 1]), 1);
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(1)), [Act::AskGates(0, 1)]);
    assert!(matches!(rollout.step(&all(&[Proven]), &Verdict::Pass, UnixMs(2))[..], [Act::Page(_)]));
    rollout.order(Order::Resume, "ann", UnixMs(3)).expect("resumed");
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(4)), [Act::AskGates(0, 2)]);
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Pass, UnixMs(5)), [Act::Release(1)]);
}

#[test]
fn what_gates_compare_with_is_measured_before_a_wave_has_the_change() {
    let comparing = Strategy { gates: vec![comparing()], ..strategy(&["1"], "0") };
    let mut rollout = begin(comparing.clone(), &[1, 1]);
    assert_eq!(rollout.next_wave(), Some(&[node(0)][..]), "a freeze of the first wave holds it back");
    assert_eq!(rollout.step(&all(&[]), &Verdict::Open, UnixMs(1)), []);
    assert_eq!(rollout.step(&all(&[]), &Verdict::Pass, UnixMs(2)), [Act::Release(0)]);
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(3)), [Act::AskGates(0, 1)]);
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Pass, UnixMs(4)), [Act::AskGates(1, 1)]);
    assert_eq!((rollout.phase, rollout.stage), (Phase::Measuring, 1));
    // Who promotes doesn't wait for it, and skips nobody; nor does the deadline.
    assert_eq!(rollout.clone().order(Order::Promote, "ann", UnixMs(5)).expect("promoted"), [Act::Release(1)]);
    assert_eq!(rollout.step(&all(&[Proven]), &Verdict::Open, UnixMs(600_004)), [Act::Release(1)]);

    let mut rollout = begin(comparing, &[1]);
    rollout.freeze("frozen", UnixMs(100), UnixMs(1));
    assert_eq!(rollout.step(&all(&[]), &Verdict::Pass, UnixMs(2)), []);
    rollout.thaw(UnixMs(100));
    assert_eq!(rollout.step(&all(&[]), &Verdict::Pass, UnixMs(101)), [Act::Release(0)]);
}

fn seen() -> impl Generator<Value = NodeSeen> {
    prop_oneof![Just(Moving), Just(Proven), Just(Failed), Just(Away), Just(Gone)]
}

fn verdict() -> impl Generator<Value = Verdict> {
    prop_oneof![Just(Verdict::Open), Just(Verdict::Pass), Just(Verdict::Fail("no".to_owned()))]
}

fn any_strategy() -> impl Generator<Value = Strategy> {
    let on_failure = prop_oneof![Just(OnFailure::Revert), Just(OnFailure::Pause), Just(OnFailure::Promote)];
    (0_u32..4, 0_usize..3, any::<bool>(), 0_u32..100, 10_u32..1000, on_failure).prop_map(
        |(failures, gates, is_comparing, soak_secs, deadline_secs, on_failure)| Strategy {
            limit: None,
            waves: Vec::new(),
            max_failures: Amount::Count(failures),
            gates: [gate(), comparing()].into_iter().cycle().skip(usize::from(is_comparing)).take(gates).collect(),
            soak_secs,
            deadline_secs,
            on_failure,
        },
    )
}

type Moment = (Vec<NodeSeen>, Verdict, i64, Option<Order>);

fn moments() -> impl Generator<Value = Vec<Moment>> {
    let order = prop_oneof![
        8 => Just(None),
        1 => Just(Some(Order::Pause)),
        1 => Just(Some(Order::Resume)),
        1 => Just(Some(Order::Promote)),
    ];
    let moment = (prop::collection::vec(seen(), 9), verdict(), 0_i64..300_000, order);
    prop::collection::vec(moment, 0..60)
}

proptest! {
    /// Waves are released once and in order, nothing happens after the end, a step is idempotent, and what is stored
    /// between any two steps is all there is to know.
    #[test]
    fn waves_go_in_order_and_an_end_is_an_end(
        strategy in any_strategy(),
        limited in 0_usize..3,
        moments in moments(),
    ) {
        let mut rollout = begin_limited(strategy, sized(&[1, 3, 5]), limited);
        let mut is_let_on = limited == 0;
        let (mut now, mut released) = (UnixMs(0), if rollout.phase == Phase::Measuring { vec![] } else { vec![0] });
        for (states, verdict, ms, order) in moments {
            now = now.plus_ms(ms);
            // The controller dies and starts again between any two steps.
            rollout = serde_json::from_str(&serde_json::to_string(&rollout).expect("stored")).expect("read");
            let (was_final, seen) = (rollout.state.is_final(), all(&states));
            let was_held = rollout.is_held();
            let ordered = order.and_then(|o| Some((o, rollout.order(o, "ann", now).ok()?)));
            is_let_on |= was_held && matches!(ordered, Some((Order::Promote | Order::Resume, _)));
            let is_overdue = rollout.is_held() && now >= rollout.deadline;
            is_let_on |= is_overdue && rollout.strategy.on_failure == OnFailure::Promote;
            let mut acts = ordered.map(|(_, acts)| acts).unwrap_or_default();
            let (before, more) = (rollout.clone(), rollout.step(&seen, &verdict, now));
            if more.is_empty() && before.phase == rollout.phase && before.state == rollout.state {
                prop_assert_eq!(&before, &rollout);
            }
            if before.state == State::Running && matches!(more[..], [Act::Release(_)]) {
                let mine: Vec<_> = before.waves[before.counted_from..=before.stage].iter().flatten().collect();
                let failed = mine.iter().filter(|n| seen.get(**n) == Some(&Failed)).count();
                prop_assert!(failed <= before.strategy.max_failures.of(9));
                // By itself, and without a word, it goes on only from a wave of which somebody is left.
                let is_left = |n: &NodeId| !matches!(seen.get(n), None | Some(Gone));
                prop_assert!(before.phase == Phase::Measuring || before.waves[before.stage].iter().any(is_left));
            }
            acts.extend(more);
            prop_assert!(!was_final || acts.is_empty());
            released.extend(acts.iter().filter_map(|a| match a { Act::Release(wave) => Some(*wave), _ => None }));
        }
        let reached = rollout.stage + usize::from(rollout.phase != Phase::Measuring);
        prop_assert_eq!(&released, &(0..reached).collect::<Vec<_>>());
        // Nobody beyond the limit has it before somebody said so, or the limit's time is over and it goes on by itself.
        prop_assert!(is_let_on || released.len() <= limited);
    }

    /// However its nodes and gates behave, a rollout ends within the sum of its deadlines and pauses.
    #[test]
    fn every_rollout_ends(
        strategy in any_strategy(),
        limited in 0_usize..3,
        states in prop::collection::vec(seen(), 9),
        verdict in verdict(),
    ) {
        let per_wave = i64::from(2 * strategy.deadline_secs + strategy.soak_secs) * 1000;
        let mut rollout = begin_limited(strategy, sized(&[1, 3, 5]), limited);
        let seen = all(&states);
        // The last wave within the limit is looked at twice.
        let (mut now, limit) = (UnixMs(0), UnixMs(4 * per_wave + 3 * PAUSE_LIMIT_MS));
        while !rollout.state.is_final() {
            prop_assert!(now <= limit, "still {rollout:?}");
            if rollout.step(&seen, &verdict, now).is_empty() {
                now = now.max(rollout.deadline.min(now.plus_ms(per_wave + PAUSE_LIMIT_MS)));
            }
        }
    }

    /// In a freeze no wave begins, whatever happens, and the phase's time stands still; afterwards as much of it is left.
    #[test]
    fn nothing_begins_in_a_freeze(
        strategy in any_strategy(),
        states in prop::collection::vec(seen(), 9),
        verdict in verdict(),
        waited in 2_i64..300_000_000,
    ) {
        let mut rollout = begin(strategy, &[1, 3, 5]);
        let seen = all(&states);
        rollout.step(&seen, &verdict, UnixMs(1));
        let (before, until) = (rollout.clone(), UnixMs(waited + 1));
        for now in [1, 2, waited] {
            rollout.freeze("frozen", until, UnixMs(now));
            let acts = rollout.step(&seen, &verdict, UnixMs(now));
            prop_assert!(!acts.iter().any(|a| matches!(a, Act::Release(_))));
        }
        prop_assert_eq!(rollout.stage, before.stage);
        if rollout.state == State::Running {
            prop_assert_eq!(rollout.reason.as_str(), "frozen");
            rollout.thaw(until);
            prop_assert_eq!(rollout.reason.as_str(), "");
            if rollout.phase == before.phase {
                prop_assert_eq!(rollout.deadline.since(until), before.deadline.since(UnixMs(1)));
            }
        }
    }
}
