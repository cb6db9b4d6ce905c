//! The arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lampas_shared::{
    access::{Login, Preset},
    fleet::{NodeName, RoleName},
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
    /// Sign in and store an API token for this user on this machine
    Login(LoginArgs),
    /// Forget the stored token, and withdraw it
    Logout,
    /// Show who is signed in, and where
    Whoami,
    /// What needs attention now
    Overview,
    /// Nodes: list, show, name, roles, labels, address, revoke
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
    /// Show what manifests would change; exit code 10 when there is something
    Diff(DiffArgs),
    /// Write manifests of what the controller holds, for `apply`
    Export(ExportArgs),
    /// Objects: list, show, history, compare, restore, delete
    #[command(subcommand)]
    Object(ObjectCommand),
    /// Changes: list, show, apply, abandon, revert, wait
    #[command(subcommand)]
    Change(ChangeCommand),
    /// Changes by hand: list, show, revert, adopt
    #[command(subcommand)]
    Drift(DriftCommand),
    /// Runs of cron jobs: list, show; the next runs of a schedule
    #[command(subcommand)]
    Job(JobCommand),
    /// Users: list, create, update, remove
    #[command(subcommand)]
    User(UserCommand),
    /// API tokens: list, create, withdraw
    #[command(subcommand)]
    ApiToken(ApiTokenCommand),
    /// Who did what: list, verify
    Audit(AuditArgs),
    /// What happened, as it happens
    Events(EventsArgs),
    /// Print a completion script: `lampasctl completion bash > /etc/bash_completion.d/lampasctl`
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// A file with the set-up link, or `-` for standard input
    #[arg(long)]
    pub(crate) link_file: PathBuf,
    /// The administrator's name
    #[arg(long, default_value = "admin")]
    pub(crate) login: Login,
    /// A file with the password (10 to 256 characters), or `-` for standard input
    #[arg(long)]
    pub(crate) password_file: PathBuf,
    /// What the fleet is called
    #[arg(long, default_value = "")]
    pub(crate) fleet: String,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The user's name
    #[arg(long, default_value = "admin")]
    pub(crate) login: String,
    /// A file with the password, or `-` for standard input
    #[arg(long)]
    pub(crate) password_file: PathBuf,
    /// How long the stored token lives: 30d, 12h, 15m
    #[arg(long, default_value = "30d", value_parser = duration_secs)]
    pub(crate) ttl: u64,
}

/// Pages and watching, for every list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// At most this many rows; all by default
    #[arg(long)]
    pub(crate) max: Option<usize>,
    /// Print again whenever something changes, until interrupted
    #[arg(long, short)]
    pub(crate) watch: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List nodes
    List {
        /// Part of a name or an address
        query: Option<String>,
        /// Only nodes of this role
        #[arg(long)]
        role: Option<RoleName>,
        /// Only nodes in this state: online, stale, offline
        #[arg(long)]
        state: Option<String>,
        /// Only nodes whose configuration is in this state: converged, drifted, failed …
        #[arg(long)]
        config: Option<String>,
        /// Only nodes with this label: env=prod
        #[arg(long)]
        label: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one node with its resources
    Show {
        /// Name or id
        node: String,
    },
    /// Change a node's name, roles, labels or address
    Set {
        /// Name or id
        node: String,
        /// A new name
        #[arg(long)]
        name: Option<NodeName>,
        /// All of its roles; repeat or join with ','. `--role ''` takes all away
        #[arg(long, value_delimiter = ',')]
        role: Option<Vec<String>>,
        /// A label to set (key=value) or to take away (key=)
        #[arg(long)]
        label: Vec<String>,
        /// The address by which other nodes know it; '' takes it away
        #[arg(long)]
        address: Option<String>,
    },
    /// What happened on a node
    Activity {
        /// Name or id
        node: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Try again what failed or was quarantined
    Retry {
        /// Name or id
        node: String,
    },
    /// Revoke a node's certificate; its connection ends at once
    Revoke {
        /// Name or id
        node: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// Take a node out of the fleet; what it holds stays on it
    Remove {
        /// Name or id
        node: String,
        #[command(flatten)]
        sure: Sure,
    },
}

/// Confirmation of what can't be undone.
#[derive(Debug, Args)]
pub(crate) struct Sure {
    /// Don't ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// List roles
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a role: its nodes and objects
    Show {
        /// Its name
        role: RoleName,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print the one command for the new node
    Create {
        /// A role of the node; repeat for several
        #[arg(long)]
        role: Vec<RoleName>,
        /// The node's name; its host name when left out
        #[arg(long)]
        node: Option<NodeName>,
        /// A label of the node: env=prod
        #[arg(long)]
        label: Vec<String>,
        /// Only from this network: 10.0.0.0/8
        #[arg(long)]
        cidr: Option<String>,
        /// How long it lives: 1h, 30m, 7d
        #[arg(long, default_value = "1h", value_parser = duration_secs)]
        ttl: u64,
        /// How many nodes may use it
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// Print the token alone, for scripts
        #[arg(long)]
        quiet: bool,
        /// Wait until the node is connected
        #[arg(long)]
        wait: bool,
    },
    /// List tokens
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Withdraw a token
    Withdraw {
        /// Its id
        id: String,
    },
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

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A manifest or a directory of manifests; repeat for several; `-` for standard input
    #[arg(short, long = "file")]
    pub(crate) file: Vec<PathBuf>,
    /// Only plan; or, with a plan's id and no file, apply that plan
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    pub(crate) plan: Option<String>,
    /// Why, for the history
    #[arg(long, short = 'm', default_value = "")]
    pub(crate) reason: String,
    /// Delete objects of the manifests' scopes and kinds that the manifests don't name
    #[arg(long)]
    pub(crate) prune: bool,
    /// Go on although some nodes could not be asked; they get it when they return
    #[arg(long)]
    pub(crate) allow_unplanned: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A manifest or a directory of manifests; repeat for several; `-` for standard input
    #[arg(short, long = "file", required = true)]
    pub(crate) file: Vec<PathBuf>,
    /// Also show what `apply --prune` would delete
    #[arg(long)]
    pub(crate) prune: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Only this scope: fleet, role:app, node:web-1
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// Only this kind: cron, hosts, script, file, directory, link
    #[arg(long)]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectCommand {
    /// List objects
    List {
        /// Part of a name
        query: Option<String>,
        /// Only this kind
        #[arg(long)]
        kind: Option<String>,
        /// Only this scope
        #[arg(long)]
        scope: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show an object as a manifest, with where it is in force
    Show {
        /// Id, or KIND/NAME, or KIND/SCOPE/NAME
        object: String,
    },
    /// List its revisions
    History {
        /// Id, or KIND/NAME, or KIND/SCOPE/NAME
        object: String,
    },
    /// Compare two revisions; the last two by default
    Compare {
        /// Id, or KIND/NAME, or KIND/SCOPE/NAME
        object: String,
        /// The older one
        #[arg(long)]
        from: Option<u64>,
        /// The newer one
        #[arg(long)]
        to: Option<u64>,
    },
    /// Bring back a revision, as a new one
    Restore {
        /// Id, or KIND/NAME, or KIND/SCOPE/NAME
        object: String,
        /// The revision
        #[arg(long)]
        revision: u64,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Delete an object; on the nodes, what stood before it comes back
    Delete {
        /// Id, or KIND/NAME, or KIND/SCOPE/NAME
        object: String,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChangeCommand {
    /// List changes, the newest first
    List {
        /// Only in this state: draft, planned, approved, rolling, done, abandoned
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a change: drafts, plan, nodes
    Show {
        /// Its number or id
        change: String,
    },
    /// Plan it again
    Plan {
        /// Its number or id
        change: String,
    },
    /// Apply its current plan
    Apply {
        /// Its number or id
        change: String,
        /// Refuse unless this is still the plan
        #[arg(long)]
        plan: Option<String>,
        /// Go on although some nodes could not be asked
        #[arg(long)]
        allow_unplanned: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Drop it before it is applied
    Abandon {
        /// Its number or id
        change: String,
    },
    /// Undo it by a new change
    Revert {
        /// Its number or id
        change: String,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Wait until every node is done
    Wait {
        /// Its number or id
        change: String,
        /// Give up waiting after this long
        #[arg(long, default_value = "5m", value_parser = duration_secs)]
        timeout: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DriftCommand {
    /// List what stands; with --all what ended, too
    List {
        /// Only on this node
        #[arg(long)]
        node: Option<String>,
        /// Also what ended
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one with its diff
    Show {
        /// Its id, or NODE:PATH
        drift: String,
    },
    /// Put the desired state back on the node
    Revert {
        /// Its id, or NODE:PATH
        drift: String,
    },
    /// Make it the desired state of the object's scope: opens a change and shows its plan
    Adopt {
        /// Its id, or NODE:PATH
        drift: String,
        /// For this scope instead of the object's own
        #[arg(long)]
        scope: Option<String>,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        /// Apply the plan at once
        #[arg(long)]
        apply: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// List recorded runs, the newest first
    List {
        /// Only of this job: its name or id
        job: Option<String>,
        /// Only on this node
        #[arg(long)]
        node: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one run with its output
    Show {
        /// The run's id
        run: String,
    },
    /// The next five runs of a schedule, clock changes included
    Next {
        /// Five fields or a nickname: '30 2 * * *'
        schedule: String,
        /// The zone: Europe/Berlin
        #[arg(long, default_value = "UTC")]
        time_zone: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// List users
    List,
    /// Make a user
    Create {
        /// The name to sign in with
        login: Login,
        /// viewer, operator or administrator
        #[arg(long, default_value = "viewer")]
        preset: Preset,
        /// A file with the password, or `-` for standard input
        #[arg(long)]
        password_file: PathBuf,
    },
    /// Change a user
    Set {
        /// The name
        login: Login,
        /// viewer, operator or administrator
        #[arg(long)]
        preset: Option<Preset>,
        /// Bar or allow signing in
        #[arg(long)]
        disabled: Option<bool>,
        /// A file with a new password, or `-` for standard input
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Remove a user
    Remove {
        /// The name
        login: Login,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApiTokenCommand {
    /// List tokens
    List {
        /// Everybody's
        #[arg(long)]
        all: bool,
    },
    /// Make a token; prints its secret once
    Create {
        /// What it is for
        name: String,
        /// At most what this preset may
        #[arg(long, default_value = "viewer")]
        preset: Preset,
        /// How long it lives
        #[arg(long, default_value = "90d", value_parser = duration_secs)]
        ttl: u64,
        /// Only from this network
        #[arg(long)]
        cidr: Option<String>,
        /// Print the secret alone, for scripts
        #[arg(long)]
        quiet: bool,
    },
    /// Withdraw a token
    Withdraw {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Check the chain from its beginning
    #[arg(long)]
    pub(crate) verify: bool,
    /// Only this principal: user:admin
    #[arg(long)]
    pub(crate) principal: Option<String>,
    /// Only this act: change.apply
    #[arg(long)]
    pub(crate) act: Option<String>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Begin after this sequence number instead of now
    #[arg(long)]
    pub(crate) after: Option<u64>,
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
