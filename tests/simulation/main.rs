//! Both machines of the link on a virtual clock, over a virtual link that delays, reorders across streams, loses and
//! breaks; agents and controllers crash. Nothing here waits, and every run is repeated exactly by its seed.

mod misbehaviour;
mod world;

use proptest::prelude::*;
use world::{Faults, World};

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_link_converges_once_the_faults_end(seed in any::<u64>(), faults in faults()) {
        let mut world = World::new(seed, faults);
        world.run_with_faults(120_000);
        world.run_to_quiet();
        world.check_converged();
    }
}

fn faults() -> impl Strategy<Value = Faults> {
    (1_u64..3000, 0_u64..30, 0_u64..30, 0_u64..10, 0_u64..10, 0_u64..40).prop_map(
        |(delay_ms, loss_percent, breaks, agent_crashes, controller_crashes, stale_states)| Faults {
            delay_ms,
            loss_percent,
            breaks,
            agent_crashes,
            controller_crashes,
            stale_states,
        },
    )
}

#[test]
fn without_faults_everything_arrives_at_once_and_in_order() {
    let faults =
        Faults { delay_ms: 1, loss_percent: 0, breaks: 0, agent_crashes: 0, controller_crashes: 0, stale_states: 0 };
    let mut world = World::new(1, faults);
    world.run_with_faults(10_000);
    world.run_to_quiet();
    world.check_converged();
    assert_eq!(world.connections(), 1, "nothing gave a reason to connect again");
}
