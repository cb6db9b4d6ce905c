//! `lampasctl`, the command line of LAMPAS: everything that the dashboard can do, with the same checks.
//!
//! Data goes to standard output, messages to standard error. Exit codes: 0 done (for commands that change nodes: all
//! applied), 1 usage or internal, 2 some nodes failed or could not be reached, 3 timed out and still converging, or kept
//! from nodes by a rollout, 4 denied; `apply --plan` without a plan's id and `diff`: 0 nothing to do, 10 changes, 1 error.

mod cli;
mod client;
mod command;
mod inventory;
mod output;
mod profile;

use clap::Parser as _;
use lampas_shared::error::Chain;

fn main() -> std::process::ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { 1.into() } else { 0.into() };
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(command::run(cli)),
        Err(error) => Err(command::CommandError::Io("start".into(), error)),
    };
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("{}", output::clean(&Chain(&error).to_string()));
            error.exit_code().into()
        }
    }
}
