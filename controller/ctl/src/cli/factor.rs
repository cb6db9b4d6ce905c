//! Arguments about second factors.

use clap::Subcommand;
use lampas_shared::access::Login;

use super::Sure;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum FactorCommand {
    /// Show the authenticator, the recovery codes that are left, and the security keys
    List {
        /// The security keys of this user, for administrators
        #[arg(long)]
        user: Option<Login>,
    },
    /// Say where a security key is registered: it takes a browser
    Add,
    /// Rename one of your security keys
    Rename {
        /// Its name or its id
        key: String,
        /// What to call it, 1 to 64 characters
        name: String,
    },
    /// Remove a security key
    Remove {
        /// Its name or its id
        key: String,
        /// Of this user, for administrators; ends that user's sessions
        #[arg(long)]
        user: Option<Login>,
        #[command(flatten)]
        sure: Sure,
    },
}
