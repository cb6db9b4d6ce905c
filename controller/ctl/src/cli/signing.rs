//! Arguments about signatures over root code, and about drafts of scripts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Sure, duration_secs};

/// How a statement is signed.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The SSH key that signs: a private key, or a public one whose private half the SSH agent holds; FIDO keys too
    #[arg(long, value_name = "FILE", env = "LAMPAS_SIGNING_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// Sign with the first key of the SSH agent
    #[arg(long, conflicts_with = "key")]
    pub(crate) agent: bool,
    /// Print the text that is to be signed, for signing it elsewhere: ssh-keygen -Y sign -n lampas-root-code -f KEY FILE
    #[arg(long, conflicts_with_all = ["key", "agent", "signature"])]
    pub(crate) print: bool,
    /// The signature that was made elsewhere, with --text
    #[arg(long, value_name = "FILE", requires = "text")]
    pub(crate) signature: Option<PathBuf>,
    /// The text that it is over, as --print gave it
    #[arg(long, value_name = "FILE", requires = "signature")]
    pub(crate) text: Option<PathBuf>,
    /// How long it holds: after that it begins nothing any more
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration_secs)]
    pub(crate) expires: u64,
    #[command(flatten)]
    pub(crate) sure: Sure,
}

impl SignArgs {
    /// Signs with a key, or with the first of the SSH agent, if either is given.
    pub(crate) fn with(key: Option<PathBuf>, agent: bool, sure: Sure) -> Option<Self> {
        let is_given = key.is_some() || agent;
        is_given.then_some(Self { key, agent, print: false, signature: None, text: None, expires: 7 * 86_400, sure })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScriptCommand {
    /// Try a draft on one node: in a copy of its files and without a network, unless --really
    Try {
        /// The script
        file: PathBuf,
        /// The node
        #[arg(long)]
        node: String,
        /// A value that it reads as PARAM_NAME: NAME=VALUE
        #[arg(long = "param", value_name = "NAME=VALUE")]
        parameters: Vec<String>,
        /// As whom
        #[arg(long, default_value = "root")]
        user: String,
        /// End it after this long
        #[arg(long, default_value = "10m", value_parser = duration_secs)]
        time_limit: u64,
        /// On the node itself: what it does is done
        #[arg(long)]
        really: bool,
        /// Arguments of the script
        #[arg(last = true, value_name = "ARGUMENT")]
        argv: Vec<String>,
    },
    /// Let a node's tools look at a draft: shellcheck, sh -n, perl -c. Exits with 10 when they find something, with 1
    /// when a tool did not come to its end
    Check {
        /// The script
        file: PathBuf,
        /// The node
        #[arg(long)]
        node: String,
    },
    /// Who uses a script: nodes, cron jobs, operations
    Uses {
        /// Its name
        name: String,
        /// Its scope: fleet, role:app, node:web-1
        #[arg(long)]
        scope: Option<String>,
    },
    /// Give a node's own script to its role: a planned change
    Promote {
        /// Its name
        name: String,
        /// The node that has it
        #[arg(long)]
        node: String,
        /// For whom: role:app, fleet
        #[arg(long, value_name = "SCOPE")]
        to: String,
        /// Why, for the history
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
    },
}
