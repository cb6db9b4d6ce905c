//! `lampas-controller`: arguments, then [`lampas_controller::cli`].

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    lampas_controller::cli::run(lampas_controller::cli::Arguments::parse())
}
