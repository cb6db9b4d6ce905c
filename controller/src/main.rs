//! `lampas-controller`: arguments, then [`lampas_controller::cli`].

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    if let Some(failed) = lampas_controller::source::become_ssh() {
        return failed;
    }
    lampas_controller::cli::run(lampas_controller::cli::Arguments::parse())
}
