//! Arguments about mail.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lampas_api::{MailSecurity, RolloutMail};
use lampas_shared::{access::Login, host::TimeZoneName};

use super::{ListArgs, Sure};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum MailCommand {
    /// Show the mail server, the morning mail, and how mail goes
    Show,
    /// Set the mail server or the morning mail, or change them; what is left out stays
    #[command(after_help = "Examples:
  lampasctl mail set --host smtp.example.com --from 'LAMPAS <lampas@example.com>' --user lampas --password-file -
  lampasctl mail set --morning 07:00 --zone Europe/Berlin
  lampasctl mail test")]
    Set(Box<MailSetArgs>),
    /// Switch mail off: the server and its password are forgotten, and what waits is given up
    Unset {
        #[command(flatten)]
        sure: Sure,
    },
    /// Send a test, and show what the server answers; exits with 2 when it was not taken
    Test {
        /// Where to; your own address without it
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
    },
    /// List messages and what became of them, the newest first
    Log {
        /// Only those that stand so: queued, failed, sent, abandoned
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Send the morning mail to yourself now, or show it
    Morning {
        /// Show it, and send nothing
        #[arg(long)]
        preview: bool,
    },
    /// Show which mail you get, or choose it
    Account {
        /// Where to; "" for nowhere
        #[arg(long)]
        address: Option<String>,
        /// About rollouts that stop and nodes that undo a change: off, mine, all
        #[arg(long)]
        rollouts: Option<RolloutMail>,
        /// About plans that you may approve
        #[arg(long, value_name = "true|false")]
        approvals: Option<bool>,
        /// The morning mail
        #[arg(long, value_name = "true|false")]
        morning: Option<bool>,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct MailSetArgs {
    /// The mail server: a host name or an address
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Its port  [default: 587 for starttls, 465 for tls, 25 for none]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// starttls, tls, or none (to this machine alone)  [default: starttls]
    #[arg(long)]
    pub(crate) security: Option<MailSecurity>,
    /// With none: also to another machine, where everybody on the way can read along
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    pub(crate) allow_plain: Option<bool>,
    /// The only authorities that the server's certificate may come from: a file in PEM
    #[arg(long, value_name = "FILE", conflicts_with = "system_authorities")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Take the authorities of the controller's system
    #[arg(long)]
    pub(crate) system_authorities: bool,
    /// Who signs in there; "" for nobody
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// A file with the password; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// The sender: lampas@example.com, or 'LAMPAS <lampas@example.com>'
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Send the morning mail at this time: 07:00; or off
    #[arg(long, value_name = "HH:MM|off")]
    pub(crate) morning: Option<String>,
    /// The time zone of that time  [default: UTC]
    #[arg(long)]
    pub(crate) zone: Option<TimeZoneName>,
    /// A user who gets the morning mail; repeat for several
    #[arg(long = "recipient", value_name = "USER", conflicts_with = "everybody")]
    pub(crate) recipients: Vec<Login>,
    /// The morning mail goes to everybody who has an address
    #[arg(long)]
    pub(crate) everybody: bool,
}
