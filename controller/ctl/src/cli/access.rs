//! Arguments about sessions, users, tokens, the audit and runs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lampas_shared::{
    access::{Login, Permission, Preset},
    fleet::Scope,
};

use super::{ListArgs, Sure, duration_secs};

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
    /// Let the stored token make grave calls (users, tokens of others, root code), which otherwise ask who you are; by password only
    #[arg(long)]
    pub(crate) grave: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Who signs in with an identity provider has no password to give here: make an API token in the \
                        dashboard, under API tokens, keep it in a file, and name that by LAMPAS_TOKEN_FILE or --token-file."
)]
pub(crate) struct LoginArgs {
    /// The controller: `fleet.example:8443` or a URL [default: --server, or where you were signed in last]
    pub(crate) url: Option<String>,
    /// Sign in by password, as this user [default with --password-file: admin]
    #[arg(long)]
    pub(crate) login: Option<String>,
    /// A file with the password, or `-` for standard input; asked for on a terminal without it
    #[arg(long)]
    pub(crate) password_file: Option<PathBuf>,
    /// A file with the code of the second factor, or a recovery code; asked for on a terminal without it
    #[arg(long)]
    pub(crate) code_file: Option<PathBuf>,
    /// Let the stored token make grave calls (users, tokens of others, root code), which otherwise ask for the password
    #[arg(long)]
    pub(crate) grave: bool,
    /// How long to stay signed in: 30d, 12h, 15m; 90d at most when the dashboard confirms
    #[arg(long, default_value = "30d", value_parser = duration_secs)]
    pub(crate) ttl: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    /// A file with the password, or `-` for standard input; otherwise the dashboard or the terminal asks
    #[arg(long)]
    pub(crate) password_file: Option<PathBuf>,
    /// A file with the code of the second factor, or a recovery code
    #[arg(long, requires = "password_file")]
    pub(crate) code_file: Option<PathBuf>,
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

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum UserCommand {
    /// List users
    List,
    /// Show what a user may, where, and by what
    Show {
        /// The name
        login: Login,
    },
    /// Say whether a user may do something somewhere, and why; exits with 1 when not
    Can {
        /// The name
        login: Login,
        /// A permission: view, change, run, approve …
        action: Permission,
        /// Where: fleet, role:app, node:web-1
        scope: Scope,
    },
    /// Make a user
    Create {
        /// The name to sign in with
        login: Login,
        /// none, viewer, operator or administrator, over the whole fleet; `none` for who gets grants
        #[arg(long, default_value = "viewer")]
        preset: Preset,
        /// A file with the password, or `-` for standard input
        #[arg(long, required_unless_present = "no_password")]
        password_file: Option<PathBuf>,
        /// Without a password: the user signs in with an identity provider, once invited (`lampasctl provider invite`)
        #[arg(long, conflicts_with = "password_file")]
        no_password: bool,
    },
    /// Change a user
    Set {
        /// The name
        login: Login,
        /// none, viewer, operator or administrator
        #[arg(long)]
        preset: Option<Preset>,
        /// Bar or allow signing in
        #[arg(long)]
        disabled: Option<bool>,
        /// A file with a new password, or `-` for standard input
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Take the second factor off a user who lost it; ends the user's sessions
    SecondFactorOff {
        /// The name
        login: Login,
        #[command(flatten)]
        sure: Sure,
    },
    /// Show or say whose users need a second factor
    Rules {
        /// For users of this preset; repeat it. `none` for nobody
        #[arg(long = "second-factor-for")]
        second_factor_for: Vec<String>,
    },
    /// Open sessions of everybody, or of one user
    Sessions {
        /// Only of this user
        login: Option<Login>,
    },
    /// End a session by its id, or all of a user
    EndSession {
        /// The session's id
        #[arg(required_unless_present = "user")]
        id: Option<String>,
        /// All sessions of this user
        #[arg(long, conflicts_with = "id")]
        user: Option<Login>,
    },
    /// Remove a user
    Remove {
        /// The name
        login: Login,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Clone, Subcommand)]
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
        /// Only this permission of the preset; repeat it: view, change, run, manage_nodes …
        #[arg(long = "only")]
        only: Vec<Permission>,
        /// Only in this scope: role:app, node:web-1, label:env=prod
        #[arg(long)]
        scope: Option<Scope>,
        /// Let it make grave calls: users, tokens of others, and root code (root's cron jobs, scripts, units, packages, runs as root)
        #[arg(long)]
        grave: bool,
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
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: Option<AuditCommand>,
    /// Check the chain from its beginning
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) filter: AuditFilter,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Write entries, the oldest first, with all that their hashes cover
    Export {
        #[command(flatten)]
        filter: AuditFilter,
        /// jsonl or csv
        #[arg(long, default_value = "jsonl", value_parser = ["jsonl", "csv"])]
        format: String,
        /// Into this file, which must not be there; to standard output without it
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Check the chain: of an exported file, without any controller, or of the controller without one
    Verify {
        /// The file, JSON lines or CSV; `-` for standard input
        file: Option<PathBuf>,
        /// Entries may be left out, as by a filtered export
        #[arg(long)]
        filtered: bool,
        /// The hash that the last entry must have, as noted elsewhere
        #[arg(long)]
        head: Option<String>,
        /// Heads that nodes signed, or that `lampas-agent heads` printed on a node: the file must hold each of them. The
        /// file that `export --to` wrote beside the entries is taken without asking
        #[arg(long, value_name = "FILE")]
        heads: Vec<PathBuf>,
    },
    /// Print the heads of the chain that nodes keep and have signed
    Heads {
        /// As JSON lines into this file, which must not be there
        #[arg(long)]
        to: Option<PathBuf>,
    },
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct AuditFilter {
    /// Only this principal: user:admin
    #[arg(long)]
    pub(crate) principal: Option<String>,
    /// Only this act, change.apply, or area, change.
    #[arg(long)]
    pub(crate) act: Option<String>,
    /// Only on what holds this text
    #[arg(long)]
    pub(crate) object: Option<String>,
    /// Only where something holds this text
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// Not before this time: 2026-01-31T00:00:00Z
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Before this time
    #[arg(long)]
    pub(crate) until: Option<String>,
}

impl AuditFilter {
    /// Returns the parameters of a call.
    pub(crate) fn query(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("principal", self.principal.as_deref()),
            ("act", self.act.as_deref()),
            ("object", self.object.as_deref()),
            ("text", self.text.as_deref()),
            ("since", self.since.as_deref()),
            ("until", self.until.as_deref()),
        ]
    }
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Begin after this sequence number instead of now
    #[arg(long)]
    pub(crate) after: Option<u64>,
}
