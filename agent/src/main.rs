//! `lampas-agent`: see `lampas_agent::cli`.

fn main() -> std::process::ExitCode {
    lampas_agent::cli::main()
}
