//! Tests of what a batch of reports means.

use lampas_runtime::random;

use super::*;

fn current() -> Current {
    Current {
        generation: Generation { epoch: 1, counter: 4 },
        hash: ContentHash::of(b"state"),
        change: None,
        state: ResourceState::Waiting,
        phase: String::new(),
        reported: (Generation { epoch: 0, counter: 0 }, String::new()),
        took_ms: 0,
        converged: 0,
        total: 2,
        resources: "{}".to_owned(),
        told_ms: None,
        effect: Arc::default(),
        settling: BTreeSet::new(),
    }
}

fn applied(states: &[(&str, ResourceState)]) -> Report {
    let resource = |(path, state): &(&str, ResourceState)| ResourceReport {
        target: Target::path(path),
        object: random::new_id(),
        state: *state,
        fault: None,
        notes: Vec::new(),
    };
    Report::Generation(GenerationReport {
        generation: Generation { epoch: 1, counter: 4 },
        hash: ContentHash::of(b"state"),
        phase: Phase::Applied,
        state: states.iter().map(|(_, s)| *s).max().expect("some"),
        took_ms: 3,
        resources: states.iter().map(resource).collect(),
        at: UnixMs(1),
    })
}

#[test]
fn a_state_that_stays_keeps_its_time() {
    use ResourceState::{Converged, Failed};
    let since = |config: &Current, path: &str| told(&config.resources)[&Target::path(path)].since().map(|s| s.0);
    let next = |before: &Current, states: &[(&str, ResourceState)], now: i64| {
        let outcome = fold(random::new_id(), Some(before), vec![applied(states)], UnixMs(now));
        outcome.config.expect("a report changes the row")
    };
    let first = next(&current(), &[("/etc/a", Converged), ("/etc/b", Failed)], 100);
    assert_eq!((since(&first, "/etc/a"), since(&first, "/etc/b")), (Some(100), Some(100)));
    let second = next(&first, &[("/etc/a", Converged), ("/etc/b", Converged)], 200);
    assert_eq!((since(&second, "/etc/a"), since(&second, "/etc/b")), (Some(100), Some(200)));

    // A row of an earlier version has one time for all.
    let old = Current { resources: r#"{"path:/etc/a":"converged"}"#.to_owned(), told_ms: Some(50), ..current() };
    let third = next(&old, &[("/etc/a", Converged), ("/etc/b", Converged)], 300);
    assert_eq!((since(&third, "/etc/a"), since(&third, "/etc/b")), (Some(50), Some(300)));
}

#[test]
fn what_is_not_on_the_disk_is_not_in_force() {
    use ResourceState::{Applying, Converged, Drifted, Failed, Paused};
    let step = |states: &[(&str, ResourceState)], edits: Option<usize>| {
        let report = applied(states);
        let Report::Generation(said) = &report else { unreachable!("applied() reports a generation") };
        let effect = Arc::new(Effect::of(edits.map(|at| said.resources[at].object)));
        let before = Current { change: Some(random::new_id()), effect, ..current() };
        let step = fold(random::new_id(), Some(&before), vec![report], UnixMs(5)).step.expect("a step of the change");
        (step.state, step.fault.map(|f| f.code))
    };
    assert_eq!(step(&[("/etc/a", Converged), ("/etc/b", Converged)], Some(0)), ("converged", None));
    assert_eq!(step(&[("/etc/a", Paused), ("/etc/b", Converged)], Some(0)), ("applying", None), "who is paused waits");
    assert_eq!(step(&[("/etc/a", Applying), ("/etc/b", Drifted)], None), ("applying", None));
    let held = ("failed", Some("drift.held".into()));
    assert_eq!(step(&[("/etc/a", Converged), ("/etc/b", Drifted)], Some(1)), held, "its own file is held");
    assert_eq!(step(&[("/etc/a", Paused), ("/etc/b", Drifted)], Some(1)), held);
    assert_eq!(step(&[("/etc/a", Converged), ("/etc/b", Drifted)], Some(0)), ("converged", None), "another's is");
    assert_eq!(step(&[("/etc/a", Failed), ("/etc/b", Drifted)], Some(1)).0, "failed");
}

#[test]
fn what_fails_that_the_change_leaves_as_it_is_is_told_so() {
    use ResourceState::{Blocked, Failed};
    let said = |faults: [&str; 2], own: usize| {
        let Report::Generation(mut told) = applied(&[("/etc/a", Failed), ("/etc/b", Blocked)]) else {
            unreachable!("applied() reports a generation")
        };
        for (resource, code) in told.resources.iter_mut().zip(faults) {
            resource.fault = Some(Fault::lasting(code, "refused"));
        }
        let effect = Arc::new(Effect::of([told.resources[own].object]));
        let before = Current { change: Some(random::new_id()), effect, ..current() };
        let step = fold(random::new_id(), Some(&before), vec![Report::Generation(told)], UnixMs(5)).step;
        step.and_then(|s| s.fault).expect("a fault").message
    };
    let other = |path: &str| format!("{}, which this change leaves as it is: refused", Target::path(path));
    assert_eq!(said(["file.syntax", "file.syntax"], 0), "refused");
    assert_eq!(said(["file.syntax", "file.syntax"], 1), "refused", "its own comes first");
    assert_eq!(said(["file.syntax", "group.held_back"], 1), other("/etc/a"), "what is held back is not the cause");
}
