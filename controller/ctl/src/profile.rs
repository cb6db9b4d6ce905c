//! Where the controller is and what to show it: arguments and environment first, then what `login` stored in
//! `$XDG_CONFIG_HOME/lampas/credentials.toml` (0600).

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use lampas_shared::{desired::ContentHash, time::UnixMs};
use serde::{Deserialize, Serialize};

use crate::{cli::Global, command::CommandError};

/// What `login` stores.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored {
    /// The controller's URL.
    pub(crate) server: String,
    /// The API token's secret.
    pub(crate) token: String,
    /// The API token's id, so that `logout` can withdraw it.
    pub(crate) token_id: String,
    /// The authority of the controller's certificate, PEM; empty for the system's.
    #[serde(default)]
    pub(crate) ca: String,
}

/// A proof of who sits there, kept for the ten minutes that it serves.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptProof {
    /// The hash of the controller's URL and the token that it was asked for: it serves for no other.
    held_by: String,
    /// The bearer's secret.
    pub(crate) secret: String,
    /// Its id, so that it can be withdrawn.
    pub(crate) id: String,
    /// When it is over.
    until: UnixMs,
}

impl KeptProof {
    /// A proof for who holds a token at a server.
    pub(crate) fn new((server, token): (&str, &str), secret: String, id: String, until: UnixMs) -> Self {
        Self { held_by: held_by(server, token), secret, id, until }
    }

    fn path() -> Result<PathBuf, CommandError> {
        Ok(Stored::path()?.with_file_name("proof.toml"))
    }

    fn read() -> Option<Self> {
        toml::from_str(&fs::read_to_string(Self::path().ok()?).ok()?).ok()
    }

    /// Reads what is kept for who holds a token at a server, if it still serves.
    pub(crate) fn load(server: &str, token: &str, now: UnixMs) -> Option<Self> {
        Self::read().filter(|kept| kept.held_by == held_by(server, token) && now < kept.until)
    }

    /// Takes what is kept away.
    pub(crate) fn take() -> Option<Self> {
        let kept = Self::read();
        let _ = fs::remove_file(Self::path().ok()?);
        kept
    }

    /// Writes it, readable by its owner only.
    pub(crate) fn save(&self) -> Result<(), CommandError> {
        write_own(&Self::path()?, &toml::to_string(self).expect("strings and numbers are TOML"))
    }
}

fn held_by(server: &str, token: &str) -> String {
    ContentHash::of(format!("{server}\n{token}").as_bytes()).to_string()
}

/// Writes a file that only its owner can read.
fn write_own(path: &Path, text: &str) -> Result<(), CommandError> {
    let io = |e| CommandError::Io(format!("write {}", path.display()), e);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(io)?;
    }
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&beside, path).map_err(io)
}

/// Where to connect and with what.
pub(crate) struct Profile {
    /// `https://HOST:PORT[/PREFIX]`, without a trailing slash.
    pub(crate) server: String,
    /// The API token's secret.
    pub(crate) token: Option<String>,
    /// The authority, PEM; the system's when absent.
    pub(crate) ca: Option<Vec<u8>>,
}

impl Profile {
    /// Puts arguments, environment and stored credentials together. A stored token goes to its own server only.
    pub(crate) fn resolve(global: &Global) -> Result<Self, CommandError> {
        let stored = Stored::load()?;
        let server = match (&global.server, &stored) {
            (Some(server), _) => normal_url(server),
            (None, Some(stored)) => stored.server.clone(),
            (None, None) => {
                return Err(CommandError::Usage(
                    "no controller is known: set LAMPAS_SERVER and LAMPAS_TOKEN_FILE, or run: lampasctl login HOST:8443".into(),
                ));
            }
        };
        let stored = stored.filter(|s| s.server == server);
        let token = match (&global.token_file, std::env::var("LAMPAS_TOKEN")) {
            (Some(file), _) => Some(read_secret(file)?),
            (None, Ok(token)) if !token.is_empty() => Some(token),
            _ => stored.as_ref().map(|s| s.token.clone()),
        };
        let ca = match &global.ca {
            Some(file) => Some(fs::read(file).map_err(|e| CommandError::Io(format!("read {}", file.display()), e))?),
            None => stored.map(|s| s.ca.into_bytes()).filter(|ca| !ca.is_empty()),
        };
        Ok(Self { server, token, ca })
    }
}

impl Stored {
    fn path() -> Result<PathBuf, CommandError> {
        let base = std::env::var_os("XDG_CONFIG_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
        let base = base.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
        let base = base.ok_or_else(|| CommandError::Usage("neither XDG_CONFIG_HOME nor HOME is set".into()))?;
        Ok(base.join("lampas/credentials.toml"))
    }

    /// Reads what is stored; `None` when nobody signed in.
    pub(crate) fn load() -> Result<Option<Self>, CommandError> {
        let Ok(path) = Self::path() else { return Ok(None) };
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(|e| {
                CommandError::Usage(format!("{} can't be read ({}); sign in again", path.display(), e.message()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CommandError::Io(format!("read {}", path.display()), error)),
        }
    }

    /// Writes it, readable by its owner only.
    pub(crate) fn save(&self) -> Result<PathBuf, CommandError> {
        let path = Self::path()?;
        write_own(&path, &toml::to_string(self).expect("strings are TOML"))?;
        Ok(path)
    }

    /// Forgets it.
    pub(crate) fn remove() -> Result<(), CommandError> {
        let path = Self::path()?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CommandError::Io(format!("remove {}", path.display()), error))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a secret from a file or, by `-`, from standard input; one trailing newline is not part of it.
pub(crate) fn read_secret(file: &Path) -> Result<String, CommandError> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().take(64 << 10).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|f| f.take(64 << 10).read_to_string(&mut text))
    };
    read.map_err(|e| CommandError::Io(format!("read {}", file.display()), e))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks for a secret on the terminal, without showing it. What was typed before the question is no answer to it: of lines
/// that were pasted together the next would be sent as a password.
pub(crate) fn ask(what: &str) -> Result<String, CommandError> {
    if !io::stdin().is_terminal() {
        let why = "there is no terminal to ask on: give --password-file FILE, or - for standard input";
        return Err(CommandError::Usage(why.into()));
    }
    // Where the questions are asked, and answered.
    if let Ok(terminal) = fs::File::open("/dev/tty") {
        let _ = nix::sys::termios::tcflush(&terminal, nix::sys::termios::FlushArg::TCIFLUSH);
    }
    rpassword::prompt_password(what).map_err(|e| CommandError::Io("read from the terminal".into(), e))
}

/// Makes a URL of `HOST`, `HOST:PORT` or a URL.
pub(crate) fn normal_url(server: &str) -> String {
    let server = server.trim_end_matches('/');
    if server.contains("://") {
        return server.to_owned();
    }
    let has_port = server
        .rsplit_once(':')
        .is_some_and(|(host, port)| port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')));
    if has_port { format!("https://{server}") } else { format!("https://{server}:8443") }
}

#[cfg(test)]
mod tests {
    use super::normal_url;

    #[test]
    fn servers_are_hosts_ports_or_urls() {
        for (given, expected) in [
            ("fleet.example", "https://fleet.example:8443"),
            ("fleet.example:9000", "https://fleet.example:9000"),
            ("[::1]:9000", "https://[::1]:9000"),
            ("[::1]", "https://[::1]:8443"),
            ("https://fleet.example/lampas/", "https://fleet.example/lampas"),
        ] {
            assert_eq!(normal_url(given), expected);
        }
    }
}
