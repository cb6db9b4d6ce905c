//! Sources: git repositories whose manifests the controller reads by itself, and how the fleet differs from them.

use lampas_shared::{
    fleet::Scope,
    id::{ObjectId, SourceId},
    object::ObjectKey,
    rollout::Strategy,
    secret::SecretText,
    source::{GitFolder, GitName, SourceMode, SourceName, SourceState, SourceUrl},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /api/v1/sources`: a new source. What it does is done with the rights of whoever sets it up, in its scope.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceCreate {
    /// What it is called.
    pub name: SourceName,
    /// The repository: `https://HOST/PATH`, `ssh://USER@HOST/PATH`, or `file:///PATH` within `sources.directories`.
    pub url: SourceUrl,
    /// The branch that is followed; `main` when neither branch nor tag is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<GitName>,
    /// The tag that is followed, instead of a branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<GitName>,
    /// The folder with the manifests, and all below it; the whole repository when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<GitFolder>,
    /// What its manifests may touch: objects of this scope, and of nodes within it.
    pub scope: Scope,
    /// What is done with what it says.
    #[serde(default)]
    pub mode: SourceMode,
    /// Whether objects that it brought go when git has them no longer.
    #[serde(default)]
    pub prune: bool,
    /// How often it is looked at, in seconds: 60 to 86,400; 300 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_secs: Option<u32>,
    /// With `apply`: goes on although some nodes could not be asked; they get it when they return.
    #[serde(default)]
    pub allow_unplanned: bool,
    /// With `apply`: in which waves.
    #[serde(default)]
    pub rollout: Strategy,
    /// What the repository is opened with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SourceCredential>,
    /// The host's keys, of ssh: `ssh-ed25519 AAAA…`, or lines of known_hosts. Without one nothing is fetched.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// Who may sign, as `allowed_signers` of ssh-keygen has it. Not empty: the head must be signed by one of them.
    #[serde(default)]
    pub allowed_signers: String,
    /// Why, up to 500 characters.
    #[serde(default)]
    pub reason: String,
}

/// What a repository is opened with. It goes in and never comes out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceCredential {
    /// Of https: the user that the token belongs to; `git` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Of https a token, of ssh a private key without a passphrase.
    pub secret: SecretText,
}

/// `PATCH /api/v1/sources/{source}`: what is left out stays. Who changes a source is from then on who set it up.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceUpdate {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SourceName>,
    /// Another repository. What was read of the other one is forgotten, and so is its credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<SourceUrl>,
    /// Another branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<GitName>,
    /// A tag instead of a branch, or another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<GitName>,
    /// Another folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<GitFolder>,
    /// What its manifests may touch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// What is done with what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<SourceMode>,
    /// Whether objects that it brought go when git has them no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<bool>,
    /// How often it is looked at, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_secs: Option<u32>,
    /// Whether to go on although some nodes could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_unplanned: Option<bool>,
    /// In which waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Strategy>,
    /// Another credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SourceCredential>,
    /// Forgets the credential.
    #[serde(default)]
    pub forget_credential: bool,
    /// The host's keys; all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_keys: Option<Vec<String>>,
    /// Who may sign; empty: anybody, and nobody needs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_signers: Option<String>,
    /// Why, up to 500 characters.
    #[serde(default)]
    pub reason: String,
}

/// `POST /api/v1/sources/{source}/sync`: looks now.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSync {
    /// Whether all that differs is brought, also what was changed in the fleet since git last said something of it.
    #[serde(default)]
    pub all: bool,
    /// Why, up to 500 characters.
    #[serde(default)]
    pub reason: String,
}

/// `POST /api/v1/sources/{source}/accept`: takes a head that doesn't follow on the one before.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceAccept {
    /// The commit that was seen, whole; refused when the head is another by now.
    pub commit: String,
    /// Why, up to 500 characters.
    #[serde(default)]
    pub reason: String,
}

/// A commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceCommit {
    /// Its id, whole.
    pub id: String,
    /// Its first line.
    pub subject: String,
    /// Who wrote it, as it says itself.
    pub author: String,
    /// When, as it says itself.
    pub at: UnixMs,
    /// Who signed it, as the allowed signers name them; empty when no signature is asked for.
    #[serde(default)]
    pub signed_by: String,
}

/// What is wrong with a source, and what to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceProblem {
    /// A stable word: `fetch`, `host_key`, `signature`, `rewritten`, `manifest`, `scope`, `rights`, `change`.
    pub code: String,
    /// What happened.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
    /// Mistakes in manifests, as `FILE:LINE: what`; the first 100.
    #[serde(default)]
    pub mistakes: Vec<String>,
    /// When it was found.
    pub at: UnixMs,
}

/// A key that a host showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostKey {
    /// The key: `ssh-ed25519 AAAA…`.
    pub key: String,
    /// Its fingerprint, to be compared: `SHA256:…`.
    pub fingerprint: String,
}

/// How the fleet stands beside git, in numbers of objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceCounts {
    /// As git says.
    pub same: u32,
    /// Otherwise than git says.
    pub edited: u32,
    /// Only in git.
    pub missing: u32,
    /// Brought by this source, and in git no longer.
    pub gone: u32,
}

impl SourceCounts {
    /// Returns how many differ.
    #[must_use]
    pub const fn different(self) -> u32 {
        self.edited + self.missing + self.gone
    }
}

/// A row of `GET /api/v1/sources`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Source {
    /// The source.
    pub id: SourceId,
    /// Its name.
    pub name: SourceName,
    /// The repository.
    pub url: SourceUrl,
    /// The branch that is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<GitName>,
    /// The tag that is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<GitName>,
    /// The folder; empty for the whole repository.
    pub folder: GitFolder,
    /// What its manifests may touch.
    pub scope: Scope,
    /// What is done with what it says.
    pub mode: SourceMode,
    /// Whether what it brought goes when git has it no longer.
    pub prune: bool,
    /// How often it is looked at, in seconds.
    pub interval_secs: u32,
    /// Whether it goes on although some nodes could not be asked.
    pub allow_unplanned: bool,
    /// In which waves.
    pub rollout: Strategy,
    /// Whether it has a credential.
    pub has_credential: bool,
    /// The host's keys that are pinned.
    pub host_keys: Vec<HostKey>,
    /// Who may sign; empty when no signature is asked for.
    pub allowed_signers: String,
    /// Who set it up: what it does is done with that user's rights.
    pub owner: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it was set up as it is.
    pub updated_at: UnixMs,
    /// How it stands.
    pub state: SourceState,
    /// Why it stands so, in words.
    pub why: String,
    /// Whether it is being looked at.
    pub is_syncing: bool,
    /// The commit that was read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<SourceCommit>,
    /// The head that is not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<SourceCommit>,
    /// When it was last looked at with success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_at: Option<UnixMs>,
    /// When it is looked at next.
    pub due_at: UnixMs,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<SourceProblem>,
    /// Keys that the host showed and that are not pinned.
    #[serde(default)]
    pub offered_keys: Vec<HostKey>,
    /// The number of the change that brings what git says, while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<u64>,
    /// How the fleet stands beside it.
    pub counts: SourceCounts,
    /// What was passed over, and why.
    pub notes: Vec<String>,
}

/// How an object differs from what git says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It is otherwise than git says.
    Edited,
    /// Only git has it.
    Missing,
    /// The source brought it, and git has it no longer; or git wants it absent.
    Gone,
}

impl Difference {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Missing => "missing",
            Self::Gone => "gone",
        }
    }
}

/// One object that differs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SourceDifference {
    /// Its identity.
    pub key: ObjectKey,
    /// The object, if it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    /// How it differs.
    pub what: Difference,
    /// The manifest; where it stood last, when git has it no longer.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// Whether the next change of the source brings it. What was changed in the fleet since is left until somebody says so.
    pub is_pending: bool,
    /// Who saved what stands; empty when nothing does.
    pub by: String,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<UnixMs>,
    /// From what stands to what git says, as manifests.
    pub diff: String,
}

/// `GET /api/v1/sources/{source}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SourceDetail {
    /// What the list shows.
    #[serde(flatten)]
    pub source: Source,
    /// The objects that differ; the first 500.
    pub differences: Vec<SourceDifference>,
}

/// `GET /api/v1/objects/{object}/sources`: where an object comes from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ObjectSource {
    /// The source.
    pub id: SourceId,
    /// Its name.
    pub name: SourceName,
    /// What it does.
    pub mode: SourceMode,
    /// The manifest.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The commit that was read last.
    pub commit: String,
    /// How the object differs from what git says; absent when it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<Difference>,
}
