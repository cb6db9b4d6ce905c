//! What a source's fields can't say by themselves: whether they fit together, and what opens a repository.

use lampas_api::SourceCredential;
use lampas_shared::{
    TextError,
    id::SourceId,
    source::{GitName, Scheme, SourceUrl},
};

use super::Sources;
use crate::{
    secret::CheckError,
    source::{SourceError, fetch::host_key, store::Settings},
};

const INTERVAL: std::ops::RangeInclusive<u32> = 60..=86_400;

impl Sources {
    pub(super) async fn seal(
        &self,
        id: SourceId,
        settings: &mut Settings,
        credential: &SourceCredential,
    ) -> Result<String, SourceError> {
        let secret = credential.secret.reveal();
        let wrong =
            |pointer, what, why: &str| Err(SourceError::Field { pointer, wrong: TextError::new(what, "", why) });
        match settings.url.parts().scheme {
            Scheme::File => return wrong("/credential", "credential", "is of no use: a directory is opened as it is"),
            Scheme::Ssh if !secret.trim_start().starts_with("-----BEGIN ") => {
                return wrong("/credential/secret", "key", "is no private key: it begins with -----BEGIN");
            }
            Scheme::Ssh if secret.contains("ENCRYPTED") => {
                return wrong(
                    "/credential/secret",
                    "key",
                    "has a passphrase, which nobody could enter: make one without",
                );
            }
            Scheme::Https if secret.trim().chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) => {
                return wrong("/credential/secret", "token", "has characters that no token has");
            }
            Scheme::Ssh | Scheme::Https => {}
        }
        if let Some(user) = &credential.user {
            let is_word = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
            if user.is_empty() || user.len() > 200 || !user.chars().all(is_word) {
                return wrong("/credential/user", "user", "has characters that no user has");
            }
        }
        settings.user.clone_from(&credential.user);
        self.0.vault.settle(self.db()).await.map_err(|error| match error {
            CheckError::Vault(error) => SourceError::Vault(error),
            CheckError::Store(error) => error.into(),
        })?;
        let (vault, secret) = (self.0.vault.clone(), credential.secret.clone());
        let sealed = tokio::task::spawn_blocking(move || vault.seal(&id, secret.reveal().as_bytes())).await;
        sealed.map_err(|_| SourceError::Unfit("the credential can't be sealed".into()))?.map_err(SourceError::Vault)
    }

    /// Checks what fields can't by themselves, and brings keys into one form.
    pub(super) fn check(&self, settings: &mut Settings) -> Result<(), SourceError> {
        let wrong = |pointer, what, value: &str, why: &str| {
            Err(SourceError::Field { pointer, wrong: TextError::new(what, value, why) })
        };
        if !INTERVAL.contains(&settings.interval_secs) {
            let value = settings.interval_secs.to_string();
            return wrong("/interval_secs", "interval", &value, "must be 60 to 86400 seconds: a minute to a day");
        }
        settings.rollout.check().map_err(|wrong| SourceError::Field { pointer: "/rollout", wrong })?;
        if let Some(limit) = &settings.rollout.limit {
            let why =
                "a source brings its changes to all of their nodes; make the scope of the source narrower instead";
            return wrong("/rollout/limit", "limit", &limit.to_string(), why);
        }
        if settings.host_keys.len() > 20 {
            return wrong("/host_keys", "host key", "", "20 are the most");
        }
        for key in &mut settings.host_keys {
            match host_key(key) {
                Some(found) => *key = found.key,
                None => {
                    let why = "is no key of a host: write ssh-ed25519 AAAA…, or a line of known_hosts";
                    return wrong("/host_keys", "host key", key, why);
                }
            }
        }
        signers(&settings.allowed_signers)?;
        let parts = settings.url.parts();
        let refused = |wrong: TextError| SourceError::Field { pointer: "/url", wrong };
        match parts.scheme {
            Scheme::File => drop(self.directory(&settings.url).map_err(refused)?),
            Scheme::Https | Scheme::Ssh => {
                // As far as it can be told without asking for the name.
                if let Err(error) = self.0.egress.check(&host_address(&settings.url)) {
                    return wrong("/url", "url", settings.url.as_str(), &error.to_string());
                }
            }
        }
        if parts.scheme != Scheme::Ssh && !settings.host_keys.is_empty() {
            return wrong("/host_keys", "host key", "", "is of ssh alone; https proves its host by its certificate");
        }
        Ok(())
    }
}

/// Returns the address by which a host is looked up and judged.
pub(in crate::source) fn host_address(url: &SourceUrl) -> String {
    let parts = url.parts();
    let host = if parts.host.contains(':') { format!("[{}]", parts.host) } else { parts.host.to_owned() };
    format!("https://{host}:{}/", parts.port_or_default())
}

pub(super) fn reference(
    branch: Option<GitName>,
    tag: Option<GitName>,
) -> Result<(Option<GitName>, Option<GitName>), SourceError> {
    match (branch, tag) {
        (Some(_), Some(tag)) => Err(SourceError::Field {
            pointer: "/tag",
            wrong: TextError::new("tag", tag.as_str(), "can't be followed beside a branch: give one of them"),
        }),
        (None, None) => Ok((Some(GitName::parse("main").expect("main is a branch")), None)),
        either => Ok(either),
    }
}

/// Checks the text of allowed signers (ssh-keygen(1), ALLOWED SIGNERS): who, options, and a key.
fn signers(text: &str) -> Result<(), SourceError> {
    let wrong = |line: usize, why: &str| {
        let wrong = TextError::new("allowed_signers", &format!("line {line}"), why);
        Err(SourceError::Field { pointer: "/allowed_signers", wrong })
    };
    if text.len() > 64 << 10 {
        return wrong(1, "the text is longer than 64 KiB");
    }
    let mut keys = 0;
    for (at, line) in text.lines().enumerate() {
        let line_text = line.trim();
        if line_text.is_empty() || line_text.starts_with('#') {
            continue;
        }
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return wrong(at + 1, "has a control character");
        }
        let mut words = line_text.split_whitespace();
        let has_key = words.next().is_some() && words.clone().any(|w| w.starts_with("AAAA") && w.len() > 40);
        if !has_key {
            return wrong(at + 1, "is no signer: write ann@example.org ssh-ed25519 AAAA…");
        }
        keys += 1;
    }
    if keys == 0 && !text.trim().is_empty() { wrong(1, "names nobody, so nothing could ever be taken") } else { Ok(()) }
}
