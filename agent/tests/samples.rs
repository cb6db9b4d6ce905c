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

#[test]
fn output_that_cannot_be_written_is_no_success() {
    let root = tempfile::tempdir().expect("a directory");
    let dump = |stdout: std::process::Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lampas-agent"));
        command.arg("--root").arg(root.path()).args(["config", "dump"]).stdout(stdout).output().expect("runs")
    };
    assert!(dump(std::process::Stdio::piped()).status.success());
    let full = std::fs::File::options().write(true).open("/dev/full").expect("opens");
    let output = dump(full.into());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("can't write the output"), "{output:?}");
}
