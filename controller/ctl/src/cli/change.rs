//! Arguments about manifests, objects, changes and drift.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ListArgs, Sure, WaitArgs, duration_secs};

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
        /// Only those that edit this scope: fleet, role:app, node:web-1
        #[arg(long)]
        scope: Option<String>,
        /// Only those that edit this kind: cron, hosts, script, file, directory, link
        #[arg(long)]
        kind: Option<String>,
        /// Only those of this user
        #[arg(long)]
        author: Option<String>,
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
