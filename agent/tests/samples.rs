//! The shipped samples say what the defaults are.

use lampas_agent::{config::Config, policy::Policy};

#[test]
fn the_sample_configuration_is_the_default() {
    let text = include_str!("../../packaging/sample/agent.toml");
    assert_eq!(lampas_runtime::config::parse::<Config>(text).expect("the sample is valid"), Config::default());
}

#[test]
fn the_sample_policy_is_the_default() {
    let text = include_str!("../../packaging/sample/policy.toml");
    assert_eq!(lampas_runtime::config::parse::<Policy>(text).expect("the sample is valid"), Policy::default());
}
