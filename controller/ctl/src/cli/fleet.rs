//! Arguments about nodes, roles and enrolment.

use clap::Subcommand;
use lampas_shared::{
    fleet::{NodeName, RoleName},
    time::UnixMs,
};

use super::{ListArgs, SignArgs, Sure, duration_secs};

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
        /// Only nodes that are paused, or whose generation is undone, by somebody on them
        #[arg(long)]
        halted: bool,
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
        /// As it stood at this moment: 2026-01-31T09:30:00Z, or how long ago: 90m, 2d
        #[arg(long, value_name = "TIME", value_parser = super::moment)]
        at: Option<UnixMs>,
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
        /// Only plan: make a change of it, to be looked at, approved, scheduled; exit code 10 when it does something
        #[arg(long)]
        plan: bool,
        /// Why, for the history of the change
        #[arg(long, short = 'm', default_value = "", requires = "plan")]
        reason: String,
        /// Administrators: go on where it is protected or frozen, for this reason
        #[arg(long = "override", value_name = "REASON", conflicts_with = "plan")]
        override_reason: Option<String>,
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
    /// What the nodes' own policies allow, and who differs
    Policy {
        /// Name or id; all nodes without one
        node: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Sign the root code of what a node shall be already: after its policy began to want it, or when it was away
    Sign {
        /// Name or id
        node: String,
        #[command(flatten)]
        how: Box<SignArgs>,
    },
    /// Take over a node that observes: shows its plan first
    Manage {
        /// Name or id
        node: String,
        /// Show what would be written, and stop
        #[arg(long)]
        plan: bool,
        /// Why, for the history
        #[arg(long, default_value = "")]
        reason: String,
        /// Administrators: go on where it is protected or frozen, for this reason
        #[arg(long = "override", value_name = "REASON", conflicts_with = "plan")]
        override_reason: Option<String>,
        #[command(flatten)]
        sure: Sure,
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
        /// Administrators: go on where nodes that name it in a generated line are protected or frozen, for this reason
        #[arg(long = "override", value_name = "REASON")]
        override_reason: Option<String>,
        #[command(flatten)]
        sure: Sure,
    },
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
        /// As it stood at this moment: 2026-01-31T09:30:00Z, or how long ago: 90m, 2d
        #[arg(long, value_name = "TIME", value_parser = super::moment)]
        at: Option<UnixMs>,
    },
    /// Put its nodes beside each other: what stands there that nobody manages; exit code 10 when they differ
    Compare {
        /// Its name
        role: RoleName,
        /// Show also what is equal on all nodes
        #[arg(long)]
        all: bool,
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
        /// The node only observes until you take it over: nothing is written there
        #[arg(long)]
        observe: bool,
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
