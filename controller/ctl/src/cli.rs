//! The arguments.

mod access;
mod approval;
mod change;
mod factor;
mod fleet;
mod grant;
mod mail;
mod operation;
mod provider;
mod signing;
mod source;
mod takeover;
mod value;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lampas_shared::time::UnixMs;

pub(crate) use access::{
    ApiTokenCommand, AuditArgs, AuditCommand, AuditFilter, EventsArgs, JobCommand, LoginArgs, ProveArgs, SetupArgs,
    UserCommand,
};
pub(crate) use approval::{ApprovalCommand, ControlArgs, FreezeCommand, ProtectArgs, ProtectionCommand};
pub(crate) use change::{
    ApplyArgs, ChangeCommand, Conflicts, DiffArgs, DriftCommand, ExportArgs, HistoryArgs, ObjectCommand, PastDiffArgs,
    RolloutCommand, RolloutOrderArgs, SetArgs,
};
pub(crate) use factor::FactorCommand;
pub(crate) use fleet::{NodeCommand, RoleCommand, TokenCommand};
pub(crate) use grant::{GrantCommand, GroupCommand};
pub(crate) use mail::{MailCommand, MailSetArgs};
pub(crate) use operation::{RunArgs, RunCommand, StartArgs};
pub(crate) use provider::{ProviderCommand, ProviderSetArgs};
pub(crate) use signing::{ScriptCommand, SignArgs};
pub(crate) use source::{SourceCommand, SourceSetArgs};
pub(crate) use takeover::{EjectArgs, ImportArgs};
pub(crate) use value::{
    SecretCommand, SecretPurgeArgs, SecretSetArgs, ValueDeleteArgs, ValueHow, VarCommand, VarSetArgs,
};

/// Runs a fleet of application servers from the command line.
#[derive(Debug, Parser)]
#[command(name = "lampasctl", version, about, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The controller: `fleet.example:8443` or a URL [default: what `login` stored]
    #[arg(long, global = true, env = "LAMPAS_SERVER", help_heading = "Connection")]
    pub(crate) server: Option<String>,
    /// A file with the API token; LAMPAS_TOKEN holds the token itself
    #[arg(long, global = true, env = "LAMPAS_TOKEN_FILE", help_heading = "Connection")]
    pub(crate) token_file: Option<PathBuf>,
    /// A PEM file with the certificate authority of the controller's HTTPS certificate
    #[arg(long, global = true, env = "LAMPAS_CA", help_heading = "Connection")]
    pub(crate) ca: Option<PathBuf>,
    /// How answers are printed
    #[arg(long, short, global = true, value_enum, default_value = "table", help_heading = "Output")]
    pub(crate) output: Format,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: what the API said.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the first administrator with the set-up link of a new controller
    Setup(SetupArgs),
    /// Sign in on this machine: by a code that you confirm in the dashboard, or by name and password
    ///
    /// Without --login or --password-file a link and a short code are printed; open the link anywhere, compare the code, and
    /// confirm. That works with whatever you sign in to the dashboard: a provider, a security key, a password. With --login or
    /// --password-file name and password are asked here.
    Login(LoginArgs),
    /// Sign out on this machine
    Logout,
    /// Show once more that it is you: for ten minutes, root code is applied and run without asking
    ///
    /// On a terminal, commands ask by themselves. Who signed in by the dashboard confirms there; else password and code are asked.
    Prove(ProveArgs),
    /// Show who is signed in, and where
    Whoami,
    /// How the controller that answers stands: version, and the keys of sealed values
    Controller,
    /// What needs attention now, or how the fleet stood
    Overview {
        /// As it stood at this moment: 2026-01-31T09:30:00Z, or how long ago: 90m, 2d
        #[arg(long, value_name = "TIME", value_parser = moment)]
        at: Option<UnixMs>,
    },
    /// Nodes: list, show, set, take over, revoke, remove
    #[command(subcommand)]
    Node(NodeCommand),
    /// Roles: list, show
    #[command(subcommand)]
    Role(RoleCommand),
    /// Enrolment tokens: create, list, withdraw
    #[command(subcommand)]
    Token(TokenCommand),
    /// Plan and apply manifests, or apply a plan that was made before
    Apply(ApplyArgs),
    /// Show what manifests would change, or what changed between two moments; exit code 10 when there is something
    Diff(DiffArgs),
    /// Write manifests of what the controller holds, for `apply`
    Export(ExportArgs),
    /// What became of the objects between two moments
    History(HistoryArgs),
    /// Objects: list, show, history, compare, restore, delete
    #[command(subcommand)]
    Object(ObjectCommand),
    /// Secrets: list, show, set, delete; a value goes in and never comes out
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Variables: list, show, set, delete
    #[command(subcommand)]
    Var(VarCommand),
    /// Changes: list, show, approve, decline, apply, schedule, abandon, revert, wait
    #[command(subcommand)]
    Change(ChangeCommand),
    /// Plans that wait for an approval: list
    #[command(subcommand)]
    Approval(ApprovalCommand),
    /// Let changes on a scope need an approval
    Protect(ProtectArgs),
    /// Protected scopes: list, remove
    #[command(subcommand)]
    Protection(ProtectionCommand),
    /// Freezes, in which nothing is changed: add, list, end
    #[command(subcommand)]
    Freeze(FreezeCommand),
    /// Rollouts: list, show, pause, resume, promote, abort, revert
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Git sources: list, show, diff, set, sync, accept, remove
    #[command(subcommand)]
    Source(SourceCommand),
    /// Take over what stands on a node, a directory of crontabs, or an Ansible inventory
    Import(ImportArgs),
    /// Leave plain files and manifests on nodes, and take LAMPAS off them
    Eject(EjectArgs),
    /// Changes by hand: list, show, revert, adopt
    #[command(subcommand)]
    Drift(DriftCommand),
    /// Runs of cron jobs: list, show; the next runs of a schedule
    #[command(subcommand)]
    Job(JobCommand),
    /// Scripts as they are written: try, check, uses, promote
    #[command(subcommand)]
    Script(ScriptCommand),
    /// Run a command or a script on a selection; list, show, output, cancel, again
    Run(Box<RunArgs>),
    /// Users: list, show, create, update, remove; what they may
    #[command(subcommand)]
    User(UserCommand),
    /// Second factors: list, remove; where security keys are registered
    #[command(subcommand)]
    Factor(FactorCommand),
    /// Identity providers to sign in with: list, set, check, remove; identities of users: link, invite, unlink
    #[command(subcommand)]
    Provider(ProviderCommand),
    /// Mail: show, set, unset, test, log, morning; which you get: account
    #[command(subcommand)]
    Mail(MailCommand),
    /// Groups of users: list, create, set, remove
    #[command(subcommand)]
    Group(GroupCommand),
    /// Who may do what beside the presets, and where: list, add, remove
    #[command(subcommand)]
    Grant(GrantCommand),
    /// API tokens: list, create, withdraw
    #[command(subcommand)]
    ApiToken(ApiTokenCommand),
    /// Who did what, when and why; also: export, verify, heads
    Audit(AuditArgs),
    /// What happened, as it happens
    Events(EventsArgs),
    /// Print a completion script: `lampasctl completion bash > /etc/bash_completion.d/lampasctl`
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Pages and watching, for every list.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// At most this many rows; all by default
    #[arg(long)]
    pub(crate) max: Option<usize>,
    /// Print again whenever something changes, until interrupted
    #[arg(long, short)]
    pub(crate) watch: bool,
}

/// Confirmation of what can't be undone.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sure {
    /// Don't ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// How to go on after an apply.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait until every node is done, showing each
    #[arg(long, conflicts_with = "detach")]
    pub(crate) wait: bool,
    /// Return once it is committed (the default)
    #[arg(long)]
    pub(crate) detach: bool,
    /// With --wait: give up waiting after this long; the change goes on
    #[arg(long, default_value = "5m", value_parser = duration_secs)]
    pub(crate) timeout: u64,
}

/// Reads a moment: RFC 3339, or how long ago (`90m`, `2d`).
fn moment(text: &str) -> Result<UnixMs, String> {
    if let Ok(secs) = duration_secs(text) {
        return Ok(crate::output::now().plus_ms(-i64::try_from(secs).unwrap_or(i64::MAX / 1000).saturating_mul(1000)));
    }
    text.parse().map_err(|_| "write it as 2026-01-31T09:30:00Z, or how long ago: 90m, 2d".into())
}

/// Reads `90s`, `15m`, `12h`, `30d`.
fn duration_secs(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("write it as 90s, 15m, 12h or 30d".into()),
    };
    let number: u64 = number.parse().map_err(|_| "write it as 90s, 15m, 12h or 30d")?;
    number.checked_mul(factor).filter(|s| *s > 0).ok_or_else(|| "is out of range".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration_secs("15m"), Ok(900));
        assert_eq!(duration_secs("30d"), Ok(2_592_000));
        for bad in ["", "5", "m", "-1h", "0s", "1w", "99999999999999999999d"] {
            assert!(duration_secs(bad).is_err(), "{bad}");
        }
    }
}
