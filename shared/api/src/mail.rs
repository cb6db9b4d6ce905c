//! Mail: the server that it goes out by, who gets which, and what became of each message.

use lampas_shared::{access::Login, host::TimeZoneName, id::MailId, time::UnixMs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailSecurity {
    /// It begins in the clear and must turn to TLS before anything is said (port 587, RFC 3207).
    #[default]
    Starttls,
    /// TLS from the first byte (port 465, RFC 8314).
    Tls,
    /// None: only to a server on this machine, unless `allow_plain` says otherwise.
    None,
}

impl MailSecurity {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starttls => "starttls",
            Self::Tls => "tls",
            Self::None => "none",
        }
    }

    /// Returns the port that servers use for it.
    pub fn usual_port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

impl std::str::FromStr for MailSecurity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Starttls, Self::Tls, Self::None].into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| "is none of starttls, tls and none".to_owned())
    }
}

/// The server that mail goes out by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailServer {
    /// A host name or an address.
    pub host: String,
    /// The port: 587 for STARTTLS, 465 for TLS, 25 for none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub security: MailSecurity,
    /// With `none`: also to another machine, where everybody on the way can read along.
    #[serde(default)]
    pub allow_plain: bool,
    /// The only authorities that the server's certificate may come from (PEM); those of the system when empty.
    #[serde(default)]
    pub ca: String,
    /// Who signs in there; nobody does when empty.
    #[serde(default)]
    pub user: String,
    /// The sender: `lampas@example.com` or `LAMPAS <lampas@example.com>`.
    pub from: String,
}

impl MailServer {
    /// Returns the port that is used.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or_else(|| self.security.usual_port())
    }
}

/// The mail of the morning: what ran, what needs somebody, what is about to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MorningMail {
    /// Whether it is sent at all.
    #[serde(default)]
    pub is_on: bool,
    /// When, as `HH:MM`; `07:00` by default.
    #[serde(default = "seven")]
    pub at: String,
    /// In which time zone; UTC by default.
    #[serde(default = "utc")]
    pub time_zone: TimeZoneName,
    /// The users who get it, by name; empty for everybody who has an address. Who switched it off gets none either way.
    #[serde(default)]
    pub recipients: Vec<Login>,
}

fn seven() -> String {
    "07:00".to_owned()
}

fn utc() -> TimeZoneName {
    TimeZoneName::parse("UTC").expect("UTC is a valid name")
}

impl Default for MorningMail {
    fn default() -> Self {
        Self { is_on: false, at: seven(), time_zone: utc(), recipients: Vec::new() }
    }
}

/// `GET /api/v1/mail`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Mail {
    /// The server; absent until one is set.
    pub server: Option<MailServer>,
    /// Whether a password is stored. It goes in and never comes out.
    pub has_password: bool,
    /// The morning mail.
    pub morning: MorningMail,
    /// When it is sent next; absent when it is not.
    pub next_morning_at: Option<UnixMs>,
    /// Since when it stands so.
    pub updated_at: Option<UnixMs>,
    /// Another one with each setting; 0 until a server is set.
    pub revision: u64,
    /// How many messages wait, those that failed before among them.
    pub waiting: u32,
    /// How many were sent in the last 24 hours.
    pub sent: u32,
    /// How many were given up in the last 24 hours.
    pub abandoned: u32,
    /// Why mail can't be delivered, as the last attempt says; absent when the last one was well.
    pub trouble: Option<MailTrouble>,
}

/// Why mail can't be delivered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MailTrouble {
    /// Since when.
    pub since: UnixMs,
    /// In words.
    pub reason: String,
}

/// `PUT /api/v1/mail`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailPut {
    /// The server.
    pub server: MailServer,
    /// The password. Left out it stays, as long as it goes to the same server in the same way; empty it is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The morning mail; it stays when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub morning: Option<MorningMail>,
    /// The revision that this goes by: refused when somebody set mail since. Left out, nothing is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// `POST /api/v1/mail/test`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailTest {
    /// Where to; the caller's own address when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailKind {
    /// A rollout stopped, was ended or put back.
    Rollout,
    /// Nodes undid a change that cut them off.
    Quarantine,
    /// A plan waits for an approval.
    Approval,
    /// The mail of the morning.
    Morning,
    /// A test.
    Test,
    /// Where somebody gets mail was changed.
    Account,
}

impl MailKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Rollout, Self::Quarantine, Self::Approval, Self::Morning, Self::Test, Self::Account];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::Quarantine => "quarantine",
            Self::Approval => "approval",
            Self::Morning => "morning",
            Self::Test => "test",
            Self::Account => "account",
        }
    }
}

impl std::str::FromStr for MailKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|k| k.as_str() == text).ok_or_else(|| format!("{text:?} is no kind of mail"))
    }
}

/// How a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailState {
    /// It was not tried yet.
    Queued,
    /// It was tried, and will be again.
    Failed,
    /// The server took it.
    Sent,
    /// It was given up.
    Abandoned,
}

impl MailState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Failed, Self::Sent, Self::Abandoned];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Failed => "failed",
            Self::Sent => "sent",
            Self::Abandoned => "abandoned",
        }
    }
}

impl std::str::FromStr for MailState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| "is none of queued, failed, sent and abandoned".to_owned())
    }
}

/// One message, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MailDelivery {
    /// Names it; the left half of its `Message-ID`.
    pub id: MailId,
    /// What it is about.
    pub kind: MailKind,
    /// Whom it is for, by name; empty when the user is gone, or a test went elsewhere.
    pub login: String,
    /// The address.
    pub address: String,
    /// Its subject.
    pub subject: String,
    /// How it stands.
    pub state: MailState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was written.
    pub created_at: UnixMs,
    /// When it was tried last.
    pub tried_at: Option<UnixMs>,
    /// When it is tried next; absent when it is over.
    pub next_at: Option<UnixMs>,
    /// What the server answered, or why it could not be reached.
    pub answer: String,
}

/// `GET /api/v1/mail/deliveries`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MailQuery {
    /// Go on after this message.
    pub after: Option<String>,
    /// At most so many: 1 to 200.
    pub limit: Option<u32>,
    /// Only those that stand so: `queued`, `failed`, `sent` or `abandoned`.
    pub state: Option<String>,
}

/// Which mails about rollouts somebody wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutMail {
    /// None.
    Off,
    /// Those of changes that they made or applied.
    #[default]
    Mine,
    /// Those of all changes that they may see.
    All,
}

impl RolloutMail {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Mine => "mine",
            Self::All => "all",
        }
    }
}

impl std::str::FromStr for RolloutMail {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Off, Self::Mine, Self::All].into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| "is none of off, mine and all".to_owned())
    }
}

/// `GET /api/v1/session/mail`: which mail the caller gets.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MailAccount {
    /// Where to; absent until one is given: then no mail is sent.
    pub address: Option<String>,
    /// The address that an identity provider told, if there is none yet.
    pub suggested: Option<String>,
    /// About rollouts that stop and nodes that undo a change.
    pub rollouts: RolloutMail,
    /// About plans that the caller may approve.
    pub approvals: bool,
    /// The morning mail.
    pub morning: bool,
    /// Whether a mail server is set.
    pub is_set_up: bool,
    /// When the caller's next morning mail is sent; absent when none is.
    pub next_morning_at: Option<UnixMs>,
}

/// `PUT /api/v1/session/mail`. What is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailAccountPut {
    /// Where to; empty for nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// About rollouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollouts: Option<RolloutMail>,
    /// About plans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<bool>,
    /// The morning mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub morning: Option<bool>,
}

/// `GET /api/v1/session/mail/morning`: the morning mail as the caller would get it now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MorningPreview {
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub text: String,
}
