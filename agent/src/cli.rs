//! What an operator types on the node, and what cron and systemd call.
//!
//! Data goes to standard output, messages to standard error. Exit codes: 0 done, 1 an error, 2 something on the node is
//! not as it should be; `plan` says 10 for "there is something to do".

mod ask;
mod eject;
mod jobs;
mod run;
mod show;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use lampas_runtime::{Tasks, config::load_or_default, lifecycle, telemetry};
use lampas_shared::id::{ObjectId, RunId};

use crate::{
    check,
    config::{Config, Paths},
    enrol, simulate,
};

pub use show::{clean, parse_length};
use show::{put, say};

/// The privileged agent on every node of a LAMPAS fleet.
#[derive(Debug, Parser)]
#[command(name = "lampas-agent", version, about)]
struct Cli {
    /// Prefix every managed path with this directory, as `dpkg --root` does.
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// How results are printed.
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join a fleet: make a key here and get a certificate for it with a token.
    Enrol(enrol::Args),
    /// Keep this node as its controller wants it, until told to stop.
    Run,
    /// What the agent knows of itself and of each resource. Exits with 2 when something is not converged.
    Status,
    /// Find out why the controller can't be reached: UDP, MTU, NAT, DNS, clock and trust apart.
    Check(check::Args),
    /// What the agent would do to the disk. Exits with 10 when there is something.
    Plan,
    /// Who is behind a file or a line of it: object, author, reason, and how to undo it. Works offline.
    Why {
        /// FILE or FILE:LINE, as the node sees it.
        #[arg(value_name = "FILE[:LINE]")]
        place: String,
    },
    /// The heads of the controller's audit that this node keeps, signed: compare them with `lampasctl audit verify FILE
    /// --heads`. Works offline.
    Heads,
    /// Copies of what people changed by hand before LAMPAS wrote over it: list them, or print one as it was. Works offline.
    Kept {
        /// The name of one, as the list shows it; all are listed when left out.
        name: Option<String>,
    },
    /// Put the last good state back, and stay there until `resume` or a newer generation.
    Undo,
    /// Write nothing for a while; changes by hand are still reported.
    Pause {
        /// For how long, as in 90s, 30m, 2h, 1d; until `resume` when left out.
        #[arg(long = "for", value_name = "LENGTH", value_parser = parse_length)]
        length: Option<Duration>,
        /// Why, for those who will wonder.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a pause or an undo.
    Resume,
    /// Try again at once what failed or is quarantined.
    Retry,
    /// Leave plain files and manifests behind, forget this node's identity, and stop. Works offline.
    Eject {
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
    /// Cron's jobs.
    #[command(subcommand)]
    Job(JobCommand),
    /// Many agents in one process, without disks, to try a controller.
    Simulate(simulate::Args),
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Watch over a run of an operation; the agent calls this.
    #[command(hide = true)]
    RunShim {
        /// The run.
        run: RunId,
    },
    /// Become the program of a run; the shim calls this.
    #[command(hide = true)]
    RunStep {
        /// The run.
        run: RunId,
        /// In the copy that the step before made.
        #[arg(long)]
        inside: bool,
    },
    /// Have apt do what the agent put down, whether the agent lives on or not; the agent calls this.
    #[command(hide = true)]
    Packages,
    /// Become a checker without any power; the agent calls this.
    #[command(hide = true)]
    Sandbox {
        /// The checker by absolute path, and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        checker: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// Run a job as cron's line does: the wrapper that cron calls.
    Run {
        /// The job.
        id: ObjectId,
        /// Run it although it is not its time.
        #[arg(long)]
        now: bool,
    },
    /// The jobs of this node.
    List,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum ConfigCommand {
    /// Say what is wrong with the configuration and with the policy.
    Check,
    /// Print the configuration with all defaults.
    Dump,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Names what was given, and is the same wherever the agent is called from.
    let root = match std::path::absolute(&cli.root) {
        Ok(root) => root,
        Err(error) => return fail(&anyhow::anyhow!("--root {}: {error}", cli.root.display())),
    };
    let paths = Paths::new(root);
    match dispatch(cli.command, cli.output, &paths) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn dispatch(command: Command, output: Output, paths: &Paths) -> anyhow::Result<ExitCode> {
    match command {
        // Neither logs nor threads: cron starts it thousands of times a day.
        Command::Job(JobCommand::Run { id, now }) => Ok(run_job(paths, id, now)),
        Command::Job(JobCommand::List) => ask::jobs(paths, output),
        Command::Sandbox { checker } => Ok(ExitCode::from(crate::system::sandbox::step(&checker))),
        Command::Packages => change_packages(paths),
        Command::RunShim { run } => {
            crate::operation::watch_over(paths, run).context("watching over a run")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::RunStep { run, inside } => {
            use crate::operation::Place;
            let place = if inside { Place::Copy } else { Place::Node };
            Ok(ExitCode::from(u8::try_from(crate::operation::become_program(paths, run, place)).unwrap_or(1)))
        }
        Command::Config(command) => config(command, paths),
        Command::Run => run::run(paths),
        Command::Status => ask::status(paths, output),
        Command::Plan => ask::plan(paths, output),
        Command::Why { place } => ask::why(paths, &place, output),
        Command::Heads => ask::heads(paths),
        Command::Kept { name } => ask::kept(paths, name.as_deref(), output),
        Command::Undo => ask::undo(paths),
        Command::Pause { length, reason } => ask::pause(paths, length, reason),
        Command::Resume => ask::resume(paths),
        Command::Retry => ask::retry(paths),
        Command::Eject { yes } => eject::run(paths, yes, output),
        Command::Enrol(args) => join_fleet(paths, &args),
        Command::Check(args) => look_for_controllers(paths, &args),
        Command::Simulate(args) => pretend(args),
    }
}

fn run_job(paths: &Paths, id: ObjectId, now: bool) -> ExitCode {
    let start = if now { crate::job::Start::ByHand } else { crate::job::Start::Cron };
    let status = crate::job::run(paths.root(), id, start, std::io::stdout(), std::io::stderr());
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

fn join_fleet(paths: &Paths, args: &enrol::Args) -> anyhow::Result<ExitCode> {
    let outcome = small_runtime()?.block_on(enrol::run(args, paths))?;
    say(format!("enrolled as {}; the certificate is good until {} and renews itself", outcome.name, outcome.until));
    if outcome.wrote_config {
        say(format!("wrote {}", paths.config().display()));
    }
    if outcome.observe {
        say("this node observes: nothing is written until an operator takes it over");
    }
    say("start the agent with: systemctl enable --now lampas-agent");
    Ok(ExitCode::SUCCESS)
}

fn look_for_controllers(paths: &Paths, args: &check::Args) -> anyhow::Result<ExitCode> {
    let reports = small_runtime()?.block_on(check::run(args, paths));
    for report in &reports {
        say(report.to_string());
    }
    if reports.is_empty() {
        anyhow::bail!("no controller is known: enrol this node, or name one with --controller HOST:PORT");
    }
    let is_good = reports.iter().any(check::Report::is_good);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(ask::NOT_CONVERGED) })
}

fn pretend(args: simulate::Args) -> anyhow::Result<ExitCode> {
    telemetry::init(telemetry::LogFormat::Human, "warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")?;
    let tasks = Tasks::new();
    runtime.block_on(async {
        lifecycle::stop_on_signals(&tasks)?;
        simulate::run(args, &tasks).await?;
        tasks.finish(Duration::from_secs(30)).await;
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn small_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")
}

fn config(command: ConfigCommand, paths: &Paths) -> anyhow::Result<ExitCode> {
    let config: Config = load_or_default(&paths.config())?;
    match command {
        ConfigCommand::Dump => put(&toml::to_string(&config)?),
        ConfigCommand::Check => {
            if let crate::policy::Ruling::Malformed { why, .. } = crate::policy::Ruling::read(&paths.policy()) {
                anyhow::bail!(
                    "the policy can't be followed: until it is mended root code is stopped, and the last one that could be \
                     followed holds; without one nothing is written: {why}"
                );
            }
            say(format!("{}: ok\n{}: ok", paths.config().display(), paths.policy().display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn change_packages(paths: &Paths) -> anyhow::Result<ExitCode> {
    telemetry::init(telemetry::LogFormat::Human, "info");
    clean_umask();
    let root = crate::system::Root::open(paths.root())?;
    crate::host::serve_packages(&root).map_err(|fault| anyhow::anyhow!("{fault}"))?;
    Ok(ExitCode::SUCCESS)
}

/// What programs of the system make is made with the system's own umask, whatever the shell's is that started the agent.
fn clean_umask() {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("lampas-agent: {}", clean(&format!("{error:#}")));
    ExitCode::FAILURE
}
