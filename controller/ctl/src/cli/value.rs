//! Arguments about variables and secrets.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ListArgs, Sure, WaitArgs, change::ApplyHow};

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// List secrets; values are shown nowhere
    List {
        /// Only of this scope
        #[arg(long)]
        scope: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a secret: who uses it, where, and its history; never its value
    Show {
        /// The name, SCOPE/NAME or an id
        secret: String,
    },
    /// Give a secret a new value, from standard input or a file; everything that uses it is applied again
    Set(Box<SecretSetArgs>),
    /// Destroy earlier values of a secret, here and on the nodes that had them; the one that stands stays
    Purge(SecretPurgeArgs),
    /// Delete a secret that nothing uses
    Delete(ValueDeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SecretPurgeArgs {
    /// The name, SCOPE/NAME or an id
    pub(crate) secret: String,
    /// Keep so many of the earlier values, the newest
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep: u32,
    /// Also those that something still needs
    #[arg(long)]
    pub(crate) force: bool,
    /// Only show the values, what still needs each, and from which nodes a purged one is not gone yet
    #[arg(long)]
    pub(crate) plan: bool,
    /// Why, for the audit
    #[arg(long, short = 'm', default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) sure: Sure,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VarCommand {
    /// List variables
    List {
        /// Only of this scope
        #[arg(long)]
        scope: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a variable: its value, who uses it, where, and its history
    Show {
        /// The name, SCOPE/NAME or an id
        var: String,
    },
    /// Give a variable a value; everything that uses it is applied again
    Set(Box<VarSetArgs>),
    /// Delete a variable that nothing uses
    Delete(ValueDeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SecretSetArgs {
    /// The name: lower-case letters, digits, '_', '.' and '-'
    pub(crate) name: String,
    /// The nodes that it is for; that of the one secret of this name when left out
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// A file with the value; standard input by default. One newline at the end is not part of it
    #[arg(long, short)]
    pub(crate) file: Option<PathBuf>,
    /// Take the value byte for byte, with its last newline
    #[arg(long)]
    pub(crate) exact: bool,
    #[command(flatten)]
    pub(crate) how: ValueHow,
}

#[derive(Debug, Args)]
pub(crate) struct VarSetArgs {
    /// The name: lower-case letters, digits, '_', '.' and '-'
    pub(crate) name: String,
    /// The value
    pub(crate) value: String,
    /// The nodes that it is for; that of the one variable of this name when left out
    #[arg(long)]
    pub(crate) scope: Option<String>,
    #[command(flatten)]
    pub(crate) how: ValueHow,
}

/// How a value's change is applied.
#[derive(Debug, Args)]
pub(crate) struct ValueHow {
    /// What it is for; what stands, when left out
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Only plan: show who would get it
    #[arg(long)]
    pub(crate) plan: bool,
    #[command(flatten)]
    pub(crate) apply: ApplyHow,
}

#[derive(Debug, Args)]
pub(crate) struct ValueDeleteArgs {
    /// The name, SCOPE/NAME or an id
    pub(crate) name: String,
    /// Why, for the history
    #[arg(long, short = 'm', default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) sure: Sure,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}
