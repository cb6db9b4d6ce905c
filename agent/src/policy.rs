//! The node's own policy, `/etc/lampas/policy.toml`: its owner's word over any controller.
//!
//! ```toml
//! observe = false            # true: nothing is written at all
//! root_code = true           # false: nothing that root, or everybody's login, would execute
//! deny_paths = ["/etc/ssh"]  # neither these nor what is below them
//! require_signature = false  # true: root_code needs an operator's signature
//! signed_secrets = false     # true: with require_signature, also root code that holds values of secrets
//! ```
//!
//! Without the file everything is allowed that a [`lampas_shared::host::ManagedPath`] can name. It judges
//! effect, not kind: a plain file below `/etc/cron.d` is root code. A policy that can't be read, or that others than root
//! could have written, stops root code until it is mended; the rest goes by the last one that could be followed, which the
//! agent keeps beside its journal. Without that nothing is written. A file that says nothing can't be followed either:
//! an editor on a full disk leaves such a one, and removing it is the way to have none.
//!
//! Who is as good as root on the node, by number or by a group, has root code in jobs, runs, keys, the account and the
//! home. That goes by passwd(5) and group(5) and by what the state makes of them: who has a rule of their own in sudoers,
//! or is in such a group by a directory service alone, isn't found.
//!
//! A signature covers root code with secrets by reference: the text around them, the names of the secrets, and which of
//! their values. The values come from the controller, and whoever took it could send others. So `signed_secrets = true`
//! takes only values that can't become code where they stand: letters, digits and `_ . + / = - @`, not beginning with a
//! dash, or any value that is written `| base64`. Everything else stays refused.

mod account;
mod powerful;

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use lampas_runtime::config::{Mistakes, Section};
use lampas_shared::{
    desired::{NodeDesired, Resource, Spec},
    error::Fault,
    host::CronTable,
    object::Kind,
    root_code::{PACKAGE, Powerful, UNIT, above, is_below, removed_account, removed_setting, root_code, sensitive},
};
use serde::{Deserialize, Serialize};

pub(crate) use self::powerful::why as why_powerful;
use crate::host::Removal;

/// How long a policy must be gone before there is none: an editor's two renames are within milliseconds.
const GONE: Duration = Duration::from_millis(200);

/// The policy as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Nothing is written; plans and drift are still told. `false` by default.
    pub observe: bool,
    /// Whether changes are allowed whose content root executes. `true` by default.
    pub root_code: bool,
    /// Absolute paths that are not touched, with what is below them. None by default.
    pub deny_paths: Vec<String>,
    /// Whether root code needs an operator's signature. `false` by default.
    pub require_signature: bool,
    /// Whether a signature also covers root code that holds values of secrets, by reference. `false` by default.
    pub signed_secrets: bool,
    /// Who is as good as root on this node, and why: as the accounts stand, not as the file says.
    #[serde(skip)]
    pub powerful: Powerful,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            observe: false,
            root_code: true,
            deny_paths: Vec::new(),
            require_signature: false,
            signed_secrets: false,
            powerful: Powerful::default(),
        }
    }
}

impl Section for Policy {
    fn check(&self, mistakes: &mut Mistakes) {
        for path in &self.deny_paths {
            // Normal form, so that a prefix is a directory above and nothing else.
            let normal =
                path == "/" || (path.starts_with('/') && path[1..].split('/').all(|p| !matches!(p, "" | "." | "..")));
            if !normal {
                mistakes.add(
                    "deny_paths",
                    format!("{path:?} is not an absolute path without \"..\", \"//\" or a trailing slash"),
                );
            }
        }
    }
}

/// What the agent found: the policy, or why it can't be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Read, or absent and the default.
    Known(Policy),
    /// There is a file, and it can't be trusted or understood: no root code comes or goes.
    Malformed {
        /// Why.
        why: String,
        /// The last policy that could be followed, by which the rest goes; without one nothing is written.
        last: Option<Box<Policy>>,
    },
    /// The node was enrolled to observe: whatever the policy allows, nothing is written. Plans go by the policy, so that
    /// they show what taking over would do.
    Observing(Box<Self>),
}

impl Ruling {
    /// Reads the policy. Blocking.
    pub fn read(path: &Path) -> Self {
        Self::from_text(path, read_trusted(path))
    }

    fn from_text(path: &Path, text: io::Result<Option<String>>) -> Self {
        match text {
            // Cut off by a full disk, an editor or a lost supply: it must not count as one that allows all.
            Ok(Some(text)) if text.lines().all(|l| l.trim().is_empty() || l.trim().starts_with('#')) => {
                Self::malformed(format!("{} says nothing; remove it to have no policy", path.display()))
            }
            Ok(Some(text)) => match lampas_runtime::config::parse(&text) {
                Ok(policy) => Self::Known(policy),
                Err(mistakes) => Self::malformed(format!("{}: {}", path.display(), mistakes.to_string().trim())),
            },
            Ok(None) => Self::Known(Policy::default()),
            Err(error) => Self::malformed(format!("{}: {error}", path.display())),
        }
    }

    fn malformed(why: String) -> Self {
        Self::Malformed { why, last: None }
    }

    /// Keeps the policy for the day on which the file can't be followed. It needs no root to be read and says nothing
    /// that the file doesn't. Blocking.
    pub(crate) fn keep(&self, paths: &crate::config::Paths) {
        let place = paths.kept_policy();
        let kept = match self {
            // One that was read counts, though it may be gone a moment later.
            Self::Known(policy) if *policy != Policy::default() || fs::symlink_metadata(paths.policy()).is_ok() => {
                policy
            }
            // Without a file there is no policy to go back to.
            Self::Known(_) => return drop(fs::remove_file(&place)),
            Self::Observing(inner) => return inner.keep(paths),
            Self::Malformed { .. } => return,
        };
        let bytes = serde_json::to_vec(kept).expect("a policy has no failing serialisers");
        if fs::read(&place).is_ok_and(|before| before == bytes) {
            return;
        }
        if let Err(error) = lampas_runtime::files::replace(&place, &bytes, 0o600) {
            tracing::warn!(path = %place.display(), %error, "the node's policy can't be kept beside the journal");
        }
    }

    /// Reads the policy, and whether the node observes. Blocking.
    pub fn of(paths: &crate::config::Paths) -> Self {
        Self::of_patiently(paths, || std::thread::sleep(GONE))
    }

    fn of_patiently(paths: &crate::config::Paths, wait: impl FnOnce()) -> Self {
        let mut text = read_trusted(&paths.policy());
        if matches!(text, Ok(None)) && paths.kept_policy().exists() {
            // Editors move the old one away before the new one comes.
            wait();
            text = read_trusted(&paths.policy());
        }
        let mut ruling = Self::from_text(&paths.policy(), text);
        if let Self::Malformed { last, .. } = &mut ruling {
            let kept = fs::read(paths.kept_policy()).ok();
            *last = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).map(Box::new);
        }
        ruling.count_powerful(|| powerful::of(paths));
        if crate::observe::is_on(paths) { Self::Observing(Box::new(ruling)) } else { ruling }
    }

    /// Counts those as powerful, too, whom the resources of a state make so: what comes with them in one state is judged
    /// as it will be once they are.
    #[must_use]
    pub(crate) fn with_state(mut self, state: &NodeDesired) -> Self {
        self.count_powerful(|| Powerful::of(state.resources()));
        self
    }

    fn count_powerful(&mut self, who: impl Fn() -> Powerful) {
        if !self.guards_root_code() {
            return;
        }
        match self {
            Self::Known(policy) => policy.powerful.extend(who()),
            Self::Malformed { last, .. } => last.iter_mut().for_each(|policy| policy.powerful.extend(who())),
            Self::Observing(inner) => inner.count_powerful(who),
        }
    }

    /// Returns whether nothing may be written at all.
    pub fn observes(&self) -> bool {
        matches!(self, Self::Observing(_)) || self.owner_observes()
    }

    /// Returns whether the node's owner forbids every write, which no controller can end.
    pub fn owner_observes(&self) -> bool {
        match self {
            Self::Known(policy) => policy.observe,
            Self::Malformed { last, .. } => last.as_ref().is_none_or(|policy| policy.observe),
            Self::Observing(inner) => inner.owner_observes(),
        }
    }

    /// Returns whether root code needs an operator's signature.
    pub fn wants_signatures(&self) -> bool {
        match self {
            Self::Known(policy) => policy.require_signature,
            Self::Malformed { .. } => false,
            Self::Observing(inner) => inner.wants_signatures(),
        }
    }

    /// Returns whether not everybody's root code is taken: none is, or what is signed alone.
    pub fn guards_root_code(&self) -> bool {
        match self {
            Self::Known(policy) => !policy.root_code || policy.require_signature,
            Self::Malformed { .. } => true,
            Self::Observing(inner) => inner.guards_root_code(),
        }
    }

    /// Returns whether a signature also covers root code that holds values of secrets.
    pub fn takes_signed_secrets(&self) -> bool {
        match self {
            Self::Known(policy) => policy.signed_secrets,
            Self::Malformed { .. } => false,
            Self::Observing(inner) => inner.takes_signed_secrets(),
        }
    }

    /// Returns whether the policy can't be followed.
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::Malformed { .. } => true,
            Self::Known(_) => false,
            Self::Observing(inner) => inner.is_malformed(),
        }
    }

    /// Returns the denied path that a path is, or is below.
    pub fn denied(&self, path: &str) -> Option<&str> {
        match self {
            Self::Known(policy) => policy.deny_paths.iter().find(|d| is_below(path, d)).map(String::as_str),
            Self::Malformed { last, .. } => {
                let mut denied = last.iter().flat_map(|policy| &policy.deny_paths);
                denied.find(|d| is_below(path, d)).map(String::as_str)
            }
            Self::Observing(inner) => inner.denied(path),
        }
    }

    /// Returns why a resource is refused, if it is.
    pub fn judge(&self, resource: &Resource) -> Option<Fault> {
        let policy = match self {
            Self::Known(policy) => policy,
            Self::Observing(inner) => return inner.judge(resource),
            Self::Malformed { why, last } => {
                let Some(policy) = last else { return Some(unread(why)) };
                if let Some(effect) = effect_of(policy, resource) {
                    let text = format!(
                        "this is root code ({effect}), and the node's policy can't be followed; mend it: {why}"
                    );
                    return Some(Fault::lasting("policy.malformed", text));
                }
                &**policy
            }
        };
        if policy.observe {
            return Some(Fault::lasting("policy.observe", "the node only observes: its policy says observe = true"));
        }
        if let Some(denied) = places(resource).iter().find_map(|p| policy.deny_paths.iter().find(|d| is_below(p, d))) {
            return Some(Fault::lasting(
                "policy.denied_path",
                format!("the node's policy denies {denied} and what is below it"),
            ));
        }
        let effect = effect_of(policy, resource)?;
        if !policy.root_code {
            return Some(Fault::lasting(
                "policy.root_code",
                format!("the node's policy allows no root code, and this is: {effect}"),
            ));
        }
        policy.require_signature.then(|| unsigned(&effect))
    }

    /// Returns why something must not go, if it must not: who may not put root code on a node may not take it away either,
    /// since a job or a sudo rule that is gone changes what root does as well.
    pub fn judge_removal(&self, removal: &Removal<'_>) -> Option<Fault> {
        let policy = match self {
            Self::Known(policy) => policy,
            Self::Observing(inner) => return inner.judge_removal(removal),
            Self::Malformed { why, last } => {
                let text = |e| {
                    format!(
                        "taking it away changes root code ({e}), and the node's policy can't be followed; mend it: {why}"
                    )
                };
                let Some(policy) = last else { return Some(unread(why)) };
                if let Some(effect) = removed_root_code(removal, &policy.powerful) {
                    return Some(Fault::lasting("policy.malformed", text(effect)));
                }
                &**policy
            }
        };
        if policy.observe {
            return Some(Fault::lasting("policy.observe", "the node only observes: its policy says observe = true"));
        }
        if let Some(denied) = policy.deny_paths.iter().find(|d| is_below(removal.path, d)) {
            let text = format!("the node's policy denies {denied} and what is below it, so that it stays");
            return Some(Fault::lasting("policy.denied_path", text));
        }
        let effect = removed_root_code(removal, &policy.powerful)?;
        if !policy.root_code {
            let text = format!("the node's policy allows no change of root code, and this is: {effect}; it stays");
            return Some(Fault::lasting("policy.root_code", text));
        }
        policy.require_signature.then(|| unsigned(&effect))
    }
}

/// Why a resource is root code on this node.
fn effect_of(policy: &Policy, resource: &Resource) -> Option<String> {
    root_code(resource).or_else(|| policy.powerful.root_code(&resource.spec))
}

fn unread(why: &str) -> Fault {
    let text = "the node's policy can't be followed, and none before it was, so that nothing is written; mend it";
    Fault::lasting("policy.malformed", format!("{text}: {why}"))
}

/// Whether there is a signature is judged apart: see [`crate::signature`].
fn unsigned(effect: &str) -> Fault {
    let text = format!("the node's policy wants an operator's signature for root code ({effect})");
    Fault::lasting(crate::signature::SIGNATURE, text)
}

/// Why root, or everybody's login, executes what goes or comes back.
fn removed_root_code(removal: &Removal<'_>, powerful: &Powerful) -> Option<String> {
    match removal.kind {
        Kind::Cron => return removal.jobs_of.iter().find_map(|user| powerful.job_of(user)),
        Kind::User | Kind::Group => return removed_account(removal.path).or_else(|| powerful.removed(removal.path)),
        Kind::Package => return Some(PACKAGE.to_owned()),
        Kind::Hosts => return None,
        // What is set back is judged as what was set; of a file only its line would tell.
        Kind::Sysctl => return removed_setting(removal.path),
        Kind::Service => return Some(UNIT.to_owned()),
        _ => {}
    }
    let leads = || above(removal.path).filter(|_| matches!(removal.kind, Kind::Directory | Kind::Link));
    sensitive(removal.path).or_else(leads).or_else(|| powerful.removed(removal.path)).or_else(|| {
        removal.files.iter().flatten().find_map(|(uid, gid, mode)| {
            let runs = mode & 0o111 != 0;
            match () {
                () if runs && mode & 0o4000 != 0 => Some(format!("set-uid {uid}")),
                () if runs && mode & 0o2000 != 0 => Some(format!("set-gid {gid}")),
                () if runs && (*uid == 0 || *gid == 0) => Some("an executable of root".to_owned()),
                () => None,
            }
        })
    })
}

/// The files that a resource writes.
fn places(resource: &Resource) -> Vec<String> {
    match &resource.spec {
        Spec::File { path, .. } | Spec::Directory { path, .. } | Spec::Link { path, .. } => vec![path.to_string()],
        Spec::Unit { unit, .. } => vec![format!("/etc/systemd/system/{unit}")],
        Spec::Sealed(sealed) => places(&Resource { spec: Spec::clone(&sealed.base), ..resource.clone() }),
        Spec::Unsupported { .. } => Vec::new(),
        Spec::Kernel { key, .. } => vec![key.proc_path()],
        Spec::User { .. }
        | Spec::Keys { .. }
        | Spec::Password { .. }
        | Spec::Group { .. }
        | Spec::Members { .. }
        | Spec::Package { .. } => account::places(&resource.spec),
        Spec::Hosts { .. } => vec!["/etc/hosts".to_owned()],
        Spec::Cron(job) => match job.table {
            CronTable::System => vec![format!("/etc/cron.d/lampas-{}", resource.name)],
            CronTable::User => vec![format!("/var/spool/cron/crontabs/{}", job.user)],
        },
    }
}

/// Reads a file that only root, or the agent's own user, can have written.
pub(crate) fn read_trusted(path: &Path) -> io::Result<Option<String>> {
    let opened = fs::File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path);
    let file = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let wrong = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let meta = file.metadata()?;
    if !meta.is_file() {
        return wrong("is not a regular file".into());
    }
    let me = nix::unistd::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != me {
        return wrong(format!("belongs to uid {}, not to root; chown root it", meta.uid()));
    }
    if meta.permissions().mode() & 0o133 != 0 {
        return wrong(format!("has mode {:04o}; chmod 644 it, or stricter", meta.permissions().mode() & 0o7777));
    }
    let mut text = String::new();
    file.take((1 << 20) + 1).read_to_string(&mut text)?;
    if text.len() > 1 << 20 {
        return wrong("is longer than 1 MiB".into());
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
