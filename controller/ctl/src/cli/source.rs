//! Arguments about git sources.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lampas_shared::{
    fleet::Scope,
    source::{GitFolder, GitName, SourceMode, SourceName, SourceUrl},
};

use super::{ListArgs, Sure, change::RolloutArgs, duration_secs};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SourceCommand {
    /// List git sources and how the fleet stands beside them
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a source: what was read, what is wrong, which objects differ
    Show {
        /// The source
        name: String,
    },
    /// Show what git says otherwise than the fleet; exit code 10 when there is something
    Diff {
        /// The source
        name: String,
    },
    /// Set up a source, or set it up otherwise; it acts with your rights in its scope
    Set(Box<SourceSetArgs>),
    /// Look at a source now, and wait for what comes of it
    Sync {
        /// The source
        name: String,
        /// Bring all that differs, also what was changed in the fleet since
        #[arg(long)]
        all: bool,
        /// Why, for the audit
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        /// Return at once
        #[arg(long)]
        detach: bool,
        /// Give up waiting after this long; the look goes on
        #[arg(long, default_value = "5m", value_parser = duration_secs)]
        timeout: u64,
    },
    /// Take a head whose history was rewritten, after you looked at why
    Accept {
        /// The source
        name: String,
        /// The commit that you looked at, whole; the one that is shown and asked about without it
        #[arg(long)]
        commit: Option<String>,
        /// Why, for the audit
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// Forget a source; the objects that it brought stay
    Remove {
        /// The source
        name: String,
        /// Why, for the audit
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SourceSetArgs {
    /// What it is called
    pub(crate) name: SourceName,
    /// The repository: https://HOST/PATH, ssh://USER@HOST/PATH, file:///PATH
    #[arg(long)]
    pub(crate) url: Option<SourceUrl>,
    /// The branch that is followed  [default: main]
    #[arg(long, conflicts_with = "tag")]
    pub(crate) branch: Option<GitName>,
    /// The tag that is followed, instead of a branch
    #[arg(long)]
    pub(crate) tag: Option<GitName>,
    /// The folder with the manifests, and all below it; "" for the whole repository
    #[arg(long)]
    pub(crate) folder: Option<GitFolder>,
    /// What its manifests may touch: fleet, role:app, node:web-1, label:env=prod
    #[arg(long)]
    pub(crate) scope: Option<Scope>,
    /// What is done: watch (only shows), propose (a planned change), apply  [default: watch]
    #[arg(long)]
    pub(crate) mode: Option<SourceMode>,
    /// Whether objects that it brought go when git has them no longer
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub(crate) prune: Option<bool>,
    /// How often it is looked at: 1m to 1d  [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = duration_secs)]
    pub(crate) interval: Option<u64>,
    /// With mode apply: go on although some nodes could not be asked
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub(crate) allow_unplanned: Option<bool>,
    /// A file with what opens the repository: a private key (ssh) or a token (https); `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) credential: Option<PathBuf>,
    /// Whom the token belongs to, of https  [default: git]
    #[arg(long, requires = "credential")]
    pub(crate) user: Option<String>,
    /// Forget what opens the repository
    #[arg(long, conflicts_with = "credential")]
    pub(crate) forget_credential: bool,
    /// A key of the host, of ssh: 'ssh-ed25519 AAAA…'; repeat for several
    #[arg(long = "host-key", value_name = "KEY")]
    pub(crate) host_keys: Vec<String>,
    /// Pin the key that the host showed with this fingerprint: SHA256:…
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "host_keys")]
    pub(crate) pin: Option<String>,
    /// Who may sign the head: a file as ssh-keygen(1) has it under ALLOWED SIGNERS
    #[arg(long, value_name = "FILE")]
    pub(crate) allowed_signers: Option<PathBuf>,
    /// Take heads that nobody signed, too
    #[arg(long, conflicts_with = "allowed_signers")]
    pub(crate) no_signatures: bool,
    /// Take it over as it is: it acts with your rights from then on
    #[arg(long)]
    pub(crate) mine: bool,
    /// Why, for the audit
    #[arg(long, short = 'm', default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
}
