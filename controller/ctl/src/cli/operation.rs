//! Arguments about operations.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ListArgs, SignArgs, Sure, duration_secs};

/// `lampasctl run …`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct RunArgs {
    #[command(subcommand)]
    pub(crate) command: Option<RunCommand>,
    #[command(flatten)]
    pub(crate) start: StartArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// A script by its object's name; without one, the command after `--` runs
    pub(crate) script: Option<String>,
    /// Where: role:app, node:web-1, label:env=prod, fleet; repeat for several
    #[arg(long, value_name = "SCOPE", required = true)]
    pub(crate) on: Vec<String>,
    /// A parameter of the script: NAME=VALUE
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub(crate) parameters: Vec<String>,
    /// A parameter whose value is that of a secret: NAME=secret/SECRET. The program reads it as PARAM_NAME
    #[arg(long = "param-secret", value_name = "NAME=secret/SECRET")]
    pub(crate) secrets: Vec<String>,
    /// As whom
    #[arg(long, default_value = "root")]
    pub(crate) user: String,
    /// End it on a node after this long
    #[arg(long, default_value = "10m", value_parser = duration_secs)]
    pub(crate) time_limit: u64,
    /// Keep so much output of each node: 64k, 1m, 16m
    #[arg(long, default_value = "1m", value_parser = bytes)]
    pub(crate) output_limit: u64,
    /// At most so many nodes at once
    #[arg(long, default_value_t = 100)]
    pub(crate) concurrency: u32,
    /// First on so many nodes alone; goes on when one succeeds and none fails
    #[arg(long, value_name = "NODES")]
    pub(crate) canary: Option<u32>,
    /// Then in waves of so many nodes: 50%
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) then: Option<u32>,
    /// Start nothing more after so many failures; 0 for never
    #[arg(long, value_name = "N")]
    pub(crate) max_failures: Option<u32>,
    /// Wait so long for nodes that are away
    #[arg(long, value_name = "TIME", value_parser = duration_secs, conflicts_with = "expire")]
    pub(crate) queue: Option<u64>,
    /// Wait for nodes that are away as long as others are at work
    #[arg(long)]
    pub(crate) expire: bool,
    /// Why, for the history
    #[arg(long, short = 'm', default_value = "")]
    pub(crate) reason: String,
    /// Only try: in a copy of each node's files, without a network, and say what would change
    #[arg(long)]
    pub(crate) rehearse: bool,
    /// Only say where it would run
    #[arg(long)]
    pub(crate) plan: bool,
    /// Sign it with this SSH key, for nodes whose policy wants an operator's signature
    #[arg(long, value_name = "KEY")]
    pub(crate) sign: Option<PathBuf>,
    /// Sign it with the first key of the SSH agent
    #[arg(long, conflicts_with = "sign")]
    pub(crate) agent: bool,
    #[command(flatten)]
    pub(crate) sure: Sure,
    /// Return once it is on its way
    #[arg(long)]
    pub(crate) detach: bool,
    /// Print equal outputs once, at the end, instead of lines as they come
    #[arg(long)]
    pub(crate) group: bool,
    /// The command and its arguments, or the arguments of the script
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) argv: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// List operations, the newest first
    List {
        /// Only those that are here: running, succeeded, failed, cancelled
        #[arg(long)]
        state: Option<String>,
        /// Only those that ran on this node
        #[arg(long)]
        node: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show an operation with its nodes
    Show {
        /// Its number
        operation: String,
    },
    /// Print what it wrote; follows one that is under way
    Output {
        /// Its number
        operation: String,
        /// Only on this node
        #[arg(long)]
        node: Option<String>,
        /// Equal outputs once
        #[arg(long)]
        group: bool,
    },
    /// Sign an operation that waits for an operator's signature, and start it
    Sign {
        /// Its number
        operation: String,
        #[command(flatten)]
        sign: Box<SignArgs>,
        /// Return once it is on its way
        #[arg(long)]
        detach: bool,
    },
    /// End it on all nodes
    Cancel {
        /// Its number
        operation: String,
    },
    /// Run the same again on the nodes where it did not succeed
    Again {
        /// Its number
        operation: String,
        /// Return once it is on its way
        #[arg(long)]
        detach: bool,
    },
}

fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<u32>().ok();
    number.filter(|n| (1..=100).contains(n)).ok_or_else(|| "write it as 50%, 1% to 100%".into())
}

fn bytes(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        _ => (text, 1),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(|| "write it as 65536, 64k or 1m".into())
}
