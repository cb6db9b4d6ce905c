//! Arguments about identity providers, and the identities that users have there.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lampas_shared::access::{Login, Preset, ProviderName};

use super::{Sure, duration_secs};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ProviderCommand {
    /// List identity providers
    List,
    /// Show all of one, with the redirect URI to register there
    Show {
        /// Its name
        name: ProviderName,
    },
    /// Make a provider, or change it; what is left out stays
    Set(Box<ProviderSetArgs>),
    /// Remove a provider with its identities; users without a password can't sign in then
    Remove {
        /// Its name
        name: ProviderName,
        #[command(flatten)]
        sure: Sure,
    },
    /// Ask a provider whether people can sign in; exits with 1 when not
    Check {
        /// Its name
        name: ProviderName,
    },
    /// Show with what a user signs in
    Identities {
        /// The user; yourself without it
        login: Option<Login>,
    },
    /// Link an identity to a user, by what the provider knows the user by
    Link {
        /// The user
        login: Login,
        /// The provider
        provider: ProviderName,
        /// What the provider gives as `sub`
        subject: String,
    },
    /// Invite a user to sign in with a provider; prints a link, once. Whoever opens it becomes that user
    Invite {
        /// The user
        login: Login,
        /// The provider
        provider: ProviderName,
        /// For how long: 7d, 12h
        #[arg(long = "for", default_value = "7d", value_parser = duration_secs)]
        ttl: u64,
        /// Print the link alone
        #[arg(long)]
        quiet: bool,
    },
    /// Unlink an identity, or withdraw an invitation
    Unlink {
        /// The user
        login: Login,
        /// The identity's id, as `identities` shows it
        id: String,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ProviderSetArgs {
    /// Its name
    pub(crate) name: ProviderName,
    /// The issuer, exactly as its discovery document names it: `https://id.example.com/realms/main`
    #[arg(long)]
    pub(crate) issuer: Option<String>,
    /// The client id that the provider knows this controller by
    #[arg(long)]
    pub(crate) client_id: Option<String>,
    /// A file with the client secret, or `-` for standard input
    #[arg(long)]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Take the client secret away: PKCE alone protects the code
    #[arg(long, conflicts_with = "client_secret_file")]
    pub(crate) no_client_secret: bool,
    /// What the button of the sign-in page says
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// A scope to ask for beside openid; repeat it. `none` for no other
    #[arg(long = "scope")]
    pub(crate) scopes: Vec<String>,
    /// The claim that accounts are named by
    #[arg(long)]
    pub(crate) user_claim: Option<String>,
    /// The claim that lists a user's groups; empty: none
    #[arg(long)]
    pub(crate) groups_claim: Option<String>,
    /// What a group means here: admins=group:web-team, ops=preset:operator; repeat it. All stand instead of those before;
    /// `none` for none
    #[arg(long = "map")]
    pub(crate) map: Vec<String>,
    /// Whether whoever signs in there gets an account
    #[arg(long)]
    pub(crate) make_accounts: Option<bool>,
    /// The preset of such accounts where no mapping gives one
    #[arg(long)]
    pub(crate) default_preset: Option<Preset>,
    /// A value of acr or amr that stands for a second factor there; repeat it. `none` for none
    #[arg(long = "second-factor-value")]
    pub(crate) second_factor_values: Vec<String>,
    /// Whether users with an identity there may sign in by password too
    #[arg(long)]
    pub(crate) allow_password: Option<bool>,
    /// Whether it is offered
    #[arg(long)]
    pub(crate) enabled: Option<bool>,
}
