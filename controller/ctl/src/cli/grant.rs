//! Arguments about groups of users and grants.

use clap::Subcommand;
use lampas_shared::{
    access::{Actions, Login, Subject, UserGroupName},
    fleet::Scope,
};

use super::{Sure, duration_secs};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum GroupCommand {
    /// List groups of users with their members
    List,
    /// Make a group
    Create {
        /// Its name
        name: UserGroupName,
        /// What it is for
        #[arg(long, default_value = "")]
        note: String,
        /// Who is in it from the beginning; repeat it
        #[arg(long = "member")]
        members: Vec<Login>,
    },
    /// Change a group
    Set {
        /// The group
        name: UserGroupName,
        /// Another name
        #[arg(long)]
        rename: Option<UserGroupName>,
        /// What it is for
        #[arg(long)]
        note: Option<String>,
        /// Who joins; repeat it
        #[arg(long)]
        add: Vec<Login>,
        /// Who leaves; repeat it
        #[arg(long)]
        remove: Vec<Login>,
    },
    /// Remove a group with its grants; its members stay
    Remove {
        /// The group
        name: UserGroupName,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum GrantCommand {
    /// List grants, the newest first
    List {
        /// Only to this subject: user:eve, group:web-team
        #[arg(long)]
        to: Option<Subject>,
    },
    /// Let a user or a group do something in a scope
    Add {
        /// Who: user:eve, group:web-team
        subject: Subject,
        /// What: viewer, operator, administrator, or permissions joined with commas: view,run
        actions: Actions,
        /// Where: fleet, role:app, node:web-1, label:env=prod
        scope: Scope,
        /// For how long: 8h, 30d; for ever without it
        #[arg(long = "for", value_parser = duration_secs)]
        ttl: Option<u64>,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a grant away
    Remove {
        /// Its id
        id: String,
    },
}
