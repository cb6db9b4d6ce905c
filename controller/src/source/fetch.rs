//! Fetching: the head of a branch or tag into a bare repository, and whether it is what it should be.
//!
//! The order is that of trust: the address is pinned, the host proves its key, the head is fetched within limits, it
//! must be signed where that is asked for, and follow on the head that was accepted before.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::digest;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use lampas_api::{HostKey, SourceCommit};
use lampas_runtime::files;
use lampas_shared::{
    source::{Scheme, SourceUrl},
    time::UnixMs,
};
use zeroize::Zeroizing;

use super::{
    Trouble,
    run::{Output, RunError, Runner, Stop, clean},
    ssh,
};

/// The ref that the head is kept under.
const HEAD: &str = "refs/lampas/head";
/// What a host is called in the file of known hosts, whatever its name and port.
const HOST_ALIAS: &str = "lampas-source";

/// What is fetched, and with what.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) url: SourceUrl,
    /// `refs/heads/…` or `refs/tags/…`.
    pub(super) reference: String,
    /// Where the host is; none for a directory.
    pub(super) address: Option<SocketAddr>,
    /// The directory, when it is one: within those that are allowed.
    pub(super) directory: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) secret: Option<Zeroizing<String>>,
    pub(super) host_keys: Vec<String>,
    pub(super) allowed_signers: String,
    /// The head that was accepted last.
    pub(super) accepted: Option<String>,
    /// A head that somebody accepted although it doesn't follow on that one.
    pub(super) pardoned: Option<String>,
    /// Authorities beside those of the system.
    pub(super) ca_file: Option<PathBuf>,
    /// Where bare repositories are kept.
    pub(super) root: PathBuf,
    /// The name of this source's repository there.
    pub(super) name: String,
    pub(super) disk: u64,
    /// What each program may take.
    pub(super) time: Duration,
}

/// A private directory that goes with its owner.
#[derive(Debug)]
struct Room(PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A repository whose head is known.
#[derive(Debug)]
pub(super) struct Checkout {
    pub(super) runner: Runner,
    pub(super) commit: SourceCommit,
    _room: Room,
}

/// Fetches the head. Blocking.
pub(super) fn fetch(order: &Order, stop: &Stop) -> Result<Checkout, Trouble> {
    let local = |what: &'static str| move |e: std::io::Error| Trouble::local(what, &e);
    files::private_dir(&order.root).map_err(local("make the directory of repositories"))?;
    let nonce = u64::from_le_bytes(lampas_runtime::random::bytes());
    let room = Room(order.root.join(format!("room-{nonce:016x}")));
    files::private_dir(&room.0).map_err(local("make a directory"))?;
    let mut runner = Runner {
        repository: order.root.join(format!("{}.git", order.name)),
        room: room.0.clone(),
        environment: [("GIT_ALLOW_PROTOCOL".to_owned(), order.url.parts().scheme.as_str().to_owned())].into(),
        settings: settings(order),
        time: order.time,
        disk: order.disk,
        stop: stop.clone(),
    };
    match order.url.parts().scheme {
        Scheme::Ssh => prepare_ssh(order, &mut runner)?,
        Scheme::Https => prepare_https(order, &mut runner)?,
        Scheme::File => {
            // A directory may belong to somebody else, whom the configuration trusts; git would refuse it otherwise.
            let file = runner.room.join("gitconfig");
            fs::write(&file, "[safe]\n\tdirectory = *\n").map_err(local("write git's settings"))?;
            runner.environment.insert("GIT_CONFIG_GLOBAL".to_owned(), file.display().to_string());
        }
    }
    let is_fresh = !runner.repository.exists();
    let fetched = load(order, &runner);
    // What a killed git left, or a repository that grew too large with what was rewritten: it is only a copy.
    let fetched = match fetched {
        Err(Trouble { is_own: true, .. }) if !is_fresh => {
            let _ = fs::remove_dir_all(&runner.repository);
            load(order, &runner)
        }
        other => other,
    };
    let id = match fetched {
        Ok(id) => id,
        Err(trouble) => {
            if trouble.is_own {
                let _ = fs::remove_dir_all(&runner.repository);
            }
            return Err(trouble);
        }
    };
    let mut commit = describe(&runner, &id)?;
    if !order.allowed_signers.trim().is_empty() {
        commit.signed_by = verify(&mut runner, &order.allowed_signers, &commit)?;
    }
    follows(order, &runner, &commit)?;
    Ok(Checkout { runner, commit, _room: room })
}

fn settings(order: &Order) -> Vec<(String, String)> {
    let scheme = order.url.parts().scheme.as_str();
    let fixed = [
        ("protocol.allow", "never"),
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.attributesFile", "/dev/null"),
        ("core.askPass", "/bin/false"),
        ("credential.helper", ""),
        ("transfer.fsckObjects", "true"),
        ("fetch.fsckObjects", "true"),
        ("fetch.recurseSubmodules", "false"),
        ("submodule.recurse", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("pack.threads", "1"),
        ("log.showSignature", "false"),
        ("http.followRedirects", "false"),
        ("http.sslVerify", "true"),
        ("http.proxy", ""),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", "30"),
        ("gpg.program", "/bin/false"),
        ("gpg.x509.program", "/bin/false"),
        ("gpg.format", "ssh"),
        ("gpg.ssh.program", "/usr/bin/ssh-keygen"),
        ("gpg.minTrustLevel", "fully"),
    ];
    let mut all: Vec<(String, String)> = fixed.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    all.push((format!("protocol.{scheme}.allow"), "always".to_owned()));
    all
}

fn prepare_https(order: &Order, runner: &mut Runner) -> Result<(), Trouble> {
    let parts = order.url.parts();
    if let Some(address) = order.address {
        let ip = match address.ip() {
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            std::net::IpAddr::V4(ip) => ip.to_string(),
        };
        let pinned = format!("{}:{}:{ip}", parts.host, parts.port_or_default());
        runner.settings.push(("http.curloptResolve".to_owned(), pinned));
    }
    if let Some(secret) = &order.secret {
        let user = order.user.as_deref().unwrap_or("git");
        let pair = Zeroizing::new(format!("{user}:{}", secret.trim_end()));
        let header = format!("Authorization: Basic {}", STANDARD.encode(pair.as_bytes()));
        runner.settings.push(("http.extraHeader".to_owned(), header));
    }
    if let Some(own) = &order.ca_file {
        // Curl takes one file: both sets are put together.
        let mut pem = fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
        pem.push(b'\n');
        pem.extend(fs::read(own).map_err(|e| Trouble::local("read egress.ca_file", &e))?);
        let file = runner.room.join("authorities.pem");
        fs::write(&file, pem).map_err(|e| Trouble::local("write the authorities", &e))?;
        runner.settings.push(("http.sslCAInfo".to_owned(), file.display().to_string()));
    }
    Ok(())
}

fn prepare_ssh(order: &Order, runner: &mut Runner) -> Result<(), Trouble> {
    if order.host_keys.is_empty() {
        return Err(unpinned(order, runner, "no key of the host is pinned"));
    }
    let local = |what: &'static str| move |e: std::io::Error| Trouble::local(what, &e);
    let known = order.host_keys.iter().fold(String::new(), |known, key| known + HOST_ALIAS + " " + key + "\n");
    let (known_file, key_file) = (runner.room.join("known_hosts"), runner.room.join("key"));
    files::replace(&known_file, known.as_bytes(), 0o600).map_err(local("write the host's keys"))?;
    let mut config = format!(
        "Host *\n  HostKeyAlias {HOST_ALIAS}\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  \
         StrictHostKeyChecking yes\n  UpdateHostKeys no\n  BatchMode yes\n  PreferredAuthentications publickey\n  \
         PasswordAuthentication no\n  KbdInteractiveAuthentication no\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
         ConnectTimeout 10\n  ServerAliveInterval 10\n  ServerAliveCountMax 3\n  ForwardAgent no\n  ForwardX11 no\n  \
         ClearAllForwardings yes\n  PermitLocalCommand no\n  ProxyCommand none\n  ControlMaster no\n  ControlPath none\n  \
         CanonicalizeHostname no\n  RequestTTY no\n  LogLevel ERROR\n",
        quoted(&known_file)
    );
    if let Some(address) = order.address {
        config.push_str(&format!("  HostName {}\n", address.ip()));
    }
    if let Some(secret) = &order.secret {
        let text = Zeroizing::new(format!("{}\n", secret.trim_end()));
        files::replace(&key_file, text.as_bytes(), 0o600).map_err(local("write the key"))?;
        config.push_str(&format!("  IdentityFile {}\n", quoted(&key_file)));
    }
    let config_file = runner.room.join("ssh_config");
    files::replace(&config_file, config.as_bytes(), 0o600).map_err(local("write ssh's settings"))?;
    let program = ssh::link(&runner.room).map_err(local("make the way to ssh"))?;
    let environment = [
        ("GIT_SSH", program.display().to_string()),
        ("GIT_SSH_VARIANT", "ssh".to_owned()),
        (ssh::CONFIG, config_file.display().to_string()),
    ];
    runner.environment.extend(environment.map(|(k, v)| (k.to_owned(), v)));
    Ok(())
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// Asks the host for its keys, so that somebody can compare them.
fn unpinned(order: &Order, runner: &Runner, why: &str) -> Trouble {
    let offered = scan(order, runner);
    let shown: Vec<&str> = offered.iter().map(|k| k.fingerprint.as_str()).collect();
    let host = order.url.parts().host;
    let text = match offered.as_slice() {
        [] => format!("{why}, and {host} showed none"),
        _ => format!("{why}; {host} shows {}", shown.join(", ")),
    };
    let remedy = "compare the fingerprint with what the host's administrator says, then pin the key: the source's page, or \
                  lampasctl source set NAME --host-key 'ssh-ed25519 AAAA…'";
    Trouble { offered, ..Trouble::new("host_key", text, remedy) }
}

fn scan(order: &Order, runner: &Runner) -> Vec<HostKey> {
    let Some(address) = order.address else { return Vec::new() };
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let args = ["-T", "10", "-t", "ed25519,ecdsa,rsa", "-p", &port, "--", &ip];
    let Ok(output) = runner.run("/usr/bin/ssh-keyscan", "openssh-client", &args, 64 << 10) else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.out).into_owned();
    let keys = text.lines().filter(|l| !l.starts_with('#')).filter_map(host_key).take(10);
    keys.filter(|k| !order.host_keys.contains(&k.key)).collect()
}

/// Reads a host's key: alone, or a line of known_hosts.
pub(super) fn host_key(text: &str) -> Option<HostKey> {
    const KINDS: [&str; 5] =
        ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];
    let mut words = text.split_whitespace().skip_while(|w| !KINDS.contains(w));
    let (kind, blob) = (words.next()?, words.next()?);
    let bytes = STANDARD.decode(blob).ok().filter(|b| b.len() > 30 && b.len() < 4096)?;
    // The key says its kind itself (RFC 4253, section 6.6).
    let named = bytes.get(4..4 + kind.len())?;
    if named != kind.as_bytes() {
        return None;
    }
    let hash = digest::digest(&digest::SHA256, &bytes);
    Some(HostKey {
        key: format!("{kind} {blob}"),
        fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(hash.as_ref())),
    })
}

fn load(order: &Order, runner: &Runner) -> Result<String, Trouble> {
    if !runner.repository.exists() {
        let path = runner.repository.display().to_string();
        let made = runner.git(&["init", "--quiet", "--bare", "--template=", "--", &path], 4096)?;
        if !made.is_ok() {
            return Err(Trouble { is_own: true, ..Trouble::fetch(format!("git init: {}", made.complaint())) });
        }
    }
    let url = match &order.directory {
        Some(directory) => format!("file://{}", directory.display()),
        None => order.url.as_str().to_owned(),
    };
    let refspec = format!("+{}:{HEAD}", order.reference);
    let args =
        ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--", &url, &refspec];
    let fetched = runner.git(&args, 64 << 10)?;
    if !fetched.is_ok() {
        return Err(refused(order, runner, &fetched));
    }
    let wanted = format!("{HEAD}^{{commit}}");
    let found = runner.git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted], 4096)?;
    let id = String::from_utf8_lossy(&found.out).trim().to_owned();
    if !found.is_ok() || !is_id(&id) {
        return Err(Trouble::fetch(format!("{} names no commit", order.reference)));
    }
    Ok(id)
}

/// Says why git could not fetch.
fn refused(order: &Order, runner: &Runner, output: &Output) -> Trouble {
    let (said, complaint) = (&output.err, output.complaint());
    let has = |word: &str| said.contains(word);
    let parts = order.url.parts();
    let name = order.reference.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/");
    if has("couldn't find remote ref") {
        let what = if order.reference.starts_with("refs/tags/") { "tag" } else { "branch" };
        let text = format!("the repository has no {what} {name}");
        return Trouble::new("fetch", text, "name another with: lampasctl source set NAME --branch NAME");
    }
    if has("Host key verification failed") || has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return unpinned(order, runner, "the host showed another key than the one that is pinned");
    }
    if has("Permission denied") || has("Authentication failed") || has("could not read Username") || has("error: 403") {
        let text = format!("{} does not let the source in: {complaint}", parts.host);
        let remedy = "give it a key or token that may read the repository: lampasctl source set NAME --credential FILE";
        return Trouble::new("fetch", text, remedy);
    }
    if has(".lock") || has("File exists") || has("loose object") || has("bad object") || has("is corrupt") {
        return Trouble { is_own: true, ..Trouble::fetch(complaint) };
    }
    if has("fsck") {
        let remedy = "an object of the repository is malformed: git fsck there names it";
        return Trouble::new("fetch", format!("git refuses what it was sent: {complaint}"), remedy);
    }
    Trouble::fetch(complaint)
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn describe(runner: &Runner, id: &str) -> Result<SourceCommit, Trouble> {
    let args = ["show", "--no-patch", "--no-notes", "--encoding=UTF-8", "--format=%an%x00%ct%x00%s", id, "--"];
    let shown = runner.git(&args, 1 << 20)?;
    let text = String::from_utf8_lossy(&shown.out).into_owned();
    let parts: Vec<&str> = text.trim_end_matches('\n').splitn(3, '\0').collect();
    let [author, at, subject] = parts[..] else {
        return Err(Trouble::fetch(format!("commit {id} can't be read: {}", shown.complaint())));
    };
    let at = at.parse::<i64>().unwrap_or(0).clamp(0, 253_402_300_799);
    Ok(SourceCommit {
        id: id.to_owned(),
        subject: clean(subject, 200),
        author: clean(author, 100),
        at: UnixMs(at * 1000),
        signed_by: String::new(),
    })
}

/// Checks that a commit is signed by one of those who may, and returns who.
fn verify(runner: &mut Runner, allowed: &str, commit: &SourceCommit) -> Result<String, Trouble> {
    let file = runner.room.join("allowed_signers");
    files::replace(&file, allowed.as_bytes(), 0o600).map_err(|e| Trouble::local("write the allowed signers", &e))?;
    runner.settings.push(("gpg.ssh.allowedSignersFile".to_owned(), file.display().to_string()));
    let checked = runner.git(&["verify-commit", "--raw", &commit.id], 64 << 10)?;
    let said = format!("{}\n{}", checked.err, String::from_utf8_lossy(&checked.out));
    let mut good = said.lines().filter_map(|l| l.strip_prefix("Good \"git\" signature for ")?.split_once(" with "));
    if let (true, Some((signer, _))) = (checked.is_ok(), good.next()) {
        return Ok(clean(signer, 200));
    }
    let short = &commit.id[..commit.id.len().min(12)];
    let key = said.split_whitespace().find(|w| w.starts_with("SHA256:")).unwrap_or_default();
    let text = match () {
        () if said.trim().is_empty() => format!("commit {short} by {} is not signed", commit.author),
        () if said.contains("No principal matched") || said.starts_with("Good \"git\" signature with") => {
            format!("commit {short} is signed with a key that isn't among the allowed signers ({})", clean(key, 80))
        }
        () => format!("the signature of commit {short} doesn't hold: {}", checked.complaint()),
    };
    let remedy = "nothing of it is taken: let one of the allowed signers sign the head (git commit -S), or add the key with: \
                  lampasctl source set NAME --allowed-signers FILE";
    Err(Trouble::new("signature", text, remedy))
}

/// Checks that the head follows on the one that was accepted before.
fn follows(order: &Order, runner: &Runner, commit: &SourceCommit) -> Result<(), Trouble> {
    let Some(accepted) = order.accepted.as_deref().filter(|a| is_id(a) && **a != commit.id) else { return Ok(()) };
    // What follows on a head that somebody accepted is as good as that.
    for known in [Some(accepted), order.pardoned.as_deref().filter(|p| is_id(p))].into_iter().flatten() {
        let is_there = runner.git(&["cat-file", "-e", &format!("{known}^{{commit}}")], 4096)?.is_ok();
        if is_there && runner.git(&["merge-base", "--is-ancestor", known, &commit.id], 4096)?.is_ok() {
            return Ok(());
        }
    }
    let (from, to) = (&accepted[..accepted.len().min(12)], &commit.id[..commit.id.len().min(12)]);
    let text = format!("history was rewritten: {to} doesn't follow on {from}, which was read before");
    let remedy = "nothing of it is taken until somebody accepts it: the source's page, or lampasctl source accept NAME";
    Err(Trouble { refused: Some(commit.clone()), ..Trouble::new("rewritten", text, remedy) })
}

impl From<RunError> for Trouble {
    fn from(error: RunError) -> Self {
        let text = lampas_shared::error::Chain(&error).to_string();
        match error {
            RunError::Timeout(_) => {
                Self::new("fetch", text, "is the host slow, or does it not answer? It is tried again")
            }
            RunError::TooLarge(_) => Self {
                is_own: true,
                ..Self::new("fetch", text, "point the source at a smaller repository, or raise sources.disk_mb")
            },
            RunError::Stopping => Self { is_stop: true, ..Self::fetch(text) },
            RunError::Start { .. } | RunError::TooLong(_) | RunError::Pipe(..) => Self::fetch(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_keys_are_read_alone_and_out_of_known_hosts() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        let found = host_key(key).expect("a key");
        // As github.com publishes it.
        assert_eq!(found.fingerprint, "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        assert_eq!(host_key(&format!("github.com,140.82.121.4 {key} comment")).expect("a line"), found);
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            "-oX y",
        ] {
            assert!(host_key(bad).is_none(), "{bad}");
        }
    }
}
