//! Arguments about taking over existing servers and giving them back.

use clap::Args;
use lampas_shared::fleet::{NodeName, RoleName, Scope};

use super::{Sure, WaitArgs};

/// `lampasctl import SOURCE [WHAT]…`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lampasctl import node:web-9 --scope role:app --plan         everything that stands on web-9, as a plan
  lampasctl import node:web-9 /etc/cron.d/backup --scope role:app
  lampasctl import node:web-9 cron hosts --scope role:app --as-jobs
  lampasctl import crontab /etc/cron.d --scope role:app > jobs.toml
  lampasctl import ansible hosts.ini --tokens                 one `token create` for each host")]
pub(crate) struct ImportArgs {
    /// Where from: node:NAME, crontab or ansible
    pub(crate) source: String,
    /// Of a node: paths, kinds (cron, cron_script, crontab, hosts, script, sudoers, file) or hosts:NAME; all of these when left
    /// out, and besides, when they are named, packages, users, package:NAME and user:NAME. Of crontab and ansible: the file or
    /// directory, - for standard input
    pub(crate) what: Vec<String>,
    /// The scope of the objects: role:app, node:web-9, fleet, label:env=prod
    #[arg(long)]
    pub(crate) scope: Option<Scope>,
    /// Stop at the plan, and print its id
    #[arg(long)]
    pub(crate) plan: bool,
    /// Make cron jobs of the lines of crontabs; the lines go from their files in the same change
    #[arg(long)]
    pub(crate) as_jobs: bool,
    /// Of crontab: the user whose own table it is
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Of ansible: print one `token create` for each host
    #[arg(long)]
    pub(crate) tokens: bool,
    /// Of ansible: give nodes of these names their roles and labels; of crontab: apply the jobs
    #[arg(long)]
    pub(crate) apply: bool,
    /// Of ansible: variables that become labels
    #[arg(long, value_delimiter = ',')]
    pub(crate) labels: Vec<String>,
    /// Why, for the history
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) sure: Sure,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `lampasctl eject`.
#[derive(Debug, Args)]
pub(crate) struct EjectArgs {
    /// The node; repeat for several
    #[arg(long, required_unless_present = "role")]
    pub(crate) node: Vec<NodeName>,
    /// All nodes of a role
    #[arg(long)]
    pub(crate) role: Option<RoleName>,
    /// Why, for the history
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Administrators: go on where it, or who names it in a generated line, is protected or frozen, for this reason
    #[arg(long = "override", value_name = "REASON")]
    pub(crate) override_reason: Option<String>,
    #[command(flatten)]
    pub(crate) sure: Sure,
}
