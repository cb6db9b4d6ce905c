//! The command line of `lampas-controller`.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use lampas_api::ApiTokenCreate;
use lampas_runtime::{
    Tasks, files, lifecycle,
    telemetry::{self, LogFormat},
};
use lampas_shared::{access::Preset, fleet::NodeName};

use crate::{
    access::Access,
    api::openapi,
    audit::Principal,
    backup::{self, KeyPair, PublicKey, RecoveryKey},
    config::{Config, Overrides},
    db::Db,
    serve, setup, signer,
};

/// The Management Console of LAMPAS.
#[derive(Debug, Parser)]
#[command(name = "lampas-controller", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller.
    Serve(Common),
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Make tokens on the controller's own machine.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// The fleet's certificate authorities.
    Ca {
        #[command(subcommand)]
        command: CaCommand,
    },
    /// Write a backup while the controller runs.
    #[command(args_conflicts_with_subcommands = true)]
    Backup {
        #[command(flatten)]
        common: Common,
        /// Where to.
        #[arg(long)]
        to: Option<PathBuf>,
        /// The file that holds the public key.
        #[arg(long)]
        key_file: Option<PathBuf>,
        #[command(subcommand)]
        command: Option<BackupCommand>,
    },
    /// Carry the keys of sealed values to another controller on the same store.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Restore a backup into an empty data directory and an empty store.
    Restore {
        #[command(flatten)]
        common: Common,
        /// The backup.
        #[arg(long)]
        from: PathBuf,
        /// The file that holds the recovery key.
        #[arg(long)]
        key_file: PathBuf,
    },
    /// Run the signer alone, which holds the signing keys.
    Signer(SignerArguments),
    /// Print the OpenAPI document.
    #[command(hide = true)]
    Openapi,
}

#[derive(Debug, Clone, Default, Args)]
struct Common {
    /// The configuration [default: /etc/lampas/controller.toml when it is there].
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where store, CA and keys stand.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The address of HTTPS (TCP) and of the agents' link (UDP).
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// A file with the store's address, mysql://USER:PASSWORD@HOST/NAME.
    #[arg(long)]
    database_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Report all mistakes.
    Check(Common),
    /// Print what is in force.
    Dump(Common),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a set-up link for the first administrator.
    Setup(Common),
    /// Make an API token for a user.
    Api {
        #[command(flatten)]
        common: Common,
        /// The user.
        #[arg(long)]
        user: String,
        /// What it is for.
        #[arg(long)]
        name: String,
        /// At most what this preset may: viewer, operator, administrator.
        #[arg(long, default_value = "viewer")]
        preset: Preset,
        /// Its life in seconds.
        #[arg(long, default_value_t = 86_400)]
        ttl_secs: u64,
        /// Let it make grave calls: users, tokens of others, and root code.
        #[arg(long)]
        grave: bool,
    },
    /// Take the second factor off a user who lost it; ends the user's sessions.
    SecondFactorOff {
        #[command(flatten)]
        common: Common,
        /// The user.
        #[arg(long)]
        user: String,
    },
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Show the authorities.
    Show(Common),
    /// Make a new root; both are trusted until the old one is retired.
    Rotate(Common),
    /// End the trust in the old roots, once every node has said that it trusts the new one.
    Retire {
        #[command(flatten)]
        common: Common,
        /// Go on although nodes are behind: they need a new enrolment token then.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Make the pair of keys: the public one for the controller, the recovery one for the safe.
    Keygen {
        /// Where to write the recovery key; keep it apart from the controller.
        #[arg(long)]
        recovery_key: PathBuf,
        /// Where to write the public key.
        #[arg(long)]
        public_key: PathBuf,
    },
    /// Read a backup through: whether it is whole.
    Check {
        /// The backup.
        #[arg(long)]
        from: PathBuf,
        /// The file that holds the recovery key.
        #[arg(long)]
        key_file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Show how each key stands: whether it is the one that the store's values are sealed under.
    Show(Common),
    /// Write the keys that stand here into a file, sealed to a public key as a backup is.
    Export {
        #[command(flatten)]
        common: Common,
        /// Where to.
        #[arg(long)]
        to: PathBuf,
        /// The file that holds the public key, as `backup keygen` makes it.
        #[arg(long)]
        key_file: PathBuf,
    },
    /// Take the keys out of such a file, or out of a backup. A key here that is the store's is never replaced.
    Import {
        #[command(flatten)]
        common: Common,
        /// The file.
        #[arg(long)]
        from: PathBuf,
        /// The file that holds the recovery key.
        #[arg(long)]
        key_file: PathBuf,
    },
    /// Let the store forget a key whose file is lost for good; refused while anything is sealed under it.
    Forget {
        #[command(flatten)]
        common: Common,
        /// Its name, such as mail-key.
        name: String,
    },
}

#[derive(Debug, Args)]
struct SignerArguments {
    /// Where keys and log stand.
    #[arg(long)]
    dir: PathBuf,
    /// Where it listens.
    #[arg(long)]
    socket: PathBuf,
    /// Another user that may ask, by uid.
    #[arg(long)]
    allow_uid: Vec<u32>,
    /// End when standard input ends.
    #[arg(long)]
    lifeline: bool,
}

impl Common {
    fn load(&self) -> anyhow::Result<Config> {
        let overrides = Overrides {
            data_dir: self.data_dir.as_ref().map(std::path::absolute).transpose()?,
            listen: self.listen,
            database_file: self.database_file.clone(),
        };
        Ok(Config::load(self.config.as_deref(), &overrides)?)
    }
}

/// Runs a command; the process ends with what it returns.
pub fn run(arguments: Arguments) -> ExitCode {
    let level = std::env::var("LAMPAS_LOG").unwrap_or_else(|_| "info".to_owned());
    let level =
        if matches!(arguments.command, Command::Serve(_) | Command::Signer(_)) { level.as_str() } else { "warn" };
    telemetry::init(LogFormat::Human, level);
    // Every TLS connection of the process uses it; somebody may have installed it already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(execute(arguments.command));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "lampas-controller: {error:#}");
    ExitCode::FAILURE
}

async fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(common) => {
            let tasks = Tasks::new();
            lifecycle::stop_on_signals(&tasks)?;
            serve::run(common.load()?, &tasks).await
        }
        Command::Config { command: ConfigCommand::Check(common) } => {
            let config = common.load()?;
            config.database.url(&config.data_dir).map_err(anyhow::Error::msg)?;
            crate::secret::check_configured(&config).await?;
            say("the configuration is in order")
        }
        Command::Config { command: ConfigCommand::Dump(common) } => say(common.load()?.dump().trim_end()),
        Command::Token { command } => token(command).await,
        Command::Ca { command } => ca(command).await,
        Command::Backup { command: Some(command), .. } => backup_command(&command),
        Command::Backup { common, to: Some(to), key_file: Some(key_file), .. } => {
            let config = common.load()?;
            let key: PublicKey = read_line(&key_file)?.parse()?;
            let db = open(&config).await?;
            let done = backup::write(&db, &config.data_dir, &key, &to).await?;
            say(&format!("{}: {} rows, {} files", to.display(), done.rows, done.files))
        }
        Command::Backup { .. } => bail!("say where to: --to FILE --key-file FILE"),
        Command::Keys { command } => keys(command).await,
        Command::Restore { common, from, key_file } => {
            let config = common.load()?;
            let key: RecoveryKey = read_line(&key_file)?.parse()?;
            files::private_dir(&config.data_dir)?;
            let db = open(&config).await?;
            let done = backup::restore(&db, &config.data_dir, &key, &from).await?;
            say(&format!("restored {} rows and {} files of {}; start the controller", done.rows, done.files, done.at))?;
            say(&format!(
                "nodes that renewed their certificate since are known again when they renew; a node that was revoked or \
                 removed after {} is not known as such here: revoke or remove it again",
                done.at
            ))
        }
        Command::Signer(arguments) => {
            let tasks = Tasks::new();
            lifecycle::stop_on_signals(&tasks)?;
            let SignerArguments { dir, socket, allow_uid: allow_uids, lifeline } = arguments;
            Ok(signer::run(signer::SignerOptions { dir, socket, allow_uids, lifeline }, &tasks).await?)
        }
        Command::Openapi => say(&openapi::json()),
    }
}

async fn token(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Setup(common) => {
            let config = common.load()?;
            let db = open(&config).await?;
            let link = setup::renew(&db, &config.data_dir, &config.dashboard_url(config.listen.port())).await?;
            say(&link)
        }
        TokenCommand::SecondFactorOff { common, user } => {
            let config = common.load()?;
            let access = Access::new(open(&config).await?, &config);
            let done = access.take_second_factor_off(&Principal::system(), "", &user).await;
            done.map_err(|r| anyhow::Error::msg(r.detail))?;
            say(&format!("{user} signs in with the password alone, until a second factor is set up again"))
        }
        TokenCommand::Api { common, user, name, preset, ttl_secs, grave } => {
            let config = common.load()?;
            let access = Access::new(open(&config).await?, &config);
            let wanted =
                ApiTokenCreate { name, preset, ttl_secs, cidr: None, permissions: None, scope: None, is_grave: grave };
            let user = access.user(&user).await.map_err(|r| anyhow::Error::msg(r.detail))?;
            let made = access.make_token(user.id, Principal::system(), &wanted).await;
            say(&made.map_err(|r| anyhow::Error::msg(r.detail))?.secret)
        }
    }
}

async fn ca(command: CaCommand) -> anyhow::Result<()> {
    let (CaCommand::Show(common) | CaCommand::Rotate(common) | CaCommand::Retire { common, .. }) = &command;
    let config = common.load()?;
    let db = open(&config).await?;
    let ca = serve::authorities(&config, &db).await?;
    let info = match &command {
        CaCommand::Show(_) => ca.show().await,
        CaCommand::Rotate(_) => ca.rotate().await,
        CaCommand::Retire { force, .. } => {
            let behind = ca.behind(&db).await.context("look at which nodes trust the new root")?;
            if !behind.is_empty() && !force {
                bail!(
                    "{} would lose their connection for good: they have not said yet that they trust the new root, or have no \
                     certificate under it. Connected nodes say so within minutes of `ca rotate`; with --force those that \
                     are left need a new enrolment token",
                    some_names(&behind)
                );
            }
            ca.retire().await
        }
    };
    let info = info.context("the controller must be running: its signer holds the keys")?;
    for root in &info.roots {
        let found = lampas_runtime::identity::inspect(root);
        let pin = lampas_runtime::identity::pin(&rustls::pki_types::CertificateDer::from(root.clone()));
        match found {
            Ok(found) => say(&format!("root {pin}  until {}", found.not_after))?,
            Err(_) => say(&format!("root {pin}"))?,
        }
    }
    Ok(())
}

async fn keys(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Show(common) => {
            let config = common.load()?;
            let db = open(&config).await?;
            let keys = crate::vault::sealing::status(&db, &config.data_dir).await?;
            for key in &keys {
                say(&format!("{:<28} {:<10} {}", key.file, key.state.as_str(), key.holds))?;
            }
            match keys.into_iter().find_map(|k| k.problem) {
                Some(problem) => bail!(problem),
                None => Ok(()),
            }
        }
        KeysCommand::Export { common, to, key_file } => {
            let config = common.load()?;
            let key: PublicKey = read_line(&key_file)?.parse()?;
            let db = open(&config).await?;
            let done = backup::export_keys(&db, &config.data_dir, &key, &to).await?;
            say(&format!("{}: {}", to.display(), done.join(", ")))?;
            say(
                "on the other controller: lampas-controller keys import --from FILE --key-file RECOVERY; then remove both files",
            )
        }
        KeysCommand::Import { common, from, key_file } => {
            let config = common.load()?;
            let key: RecoveryKey = read_line(&key_file)?.parse()?;
            files::private_dir(&config.data_dir)?;
            let db = open(&config).await?;
            for line in backup::import_keys(&db, &config.data_dir, &key, &from).await? {
                say(&line)?;
            }
            Ok(())
        }
        KeysCommand::Forget { common, name } => {
            let db = open(&common.load()?).await?;
            crate::vault::sealing::forget(&db, &name).await?;
            say(&format!(
                "{name} is forgotten: the next that is sealed makes another one, or takes the one that is here"
            ))
        }
    }
}

/// The first names of a list and how many there are.
fn some_names(names: &[NodeName]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(NodeName::as_str).collect();
    let rest = names.len().saturating_sub(SHOWN);
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{} node(s), {}{rest},", names.len(), shown.join(", "))
}

fn backup_command(command: &BackupCommand) -> anyhow::Result<()> {
    match command {
        BackupCommand::Keygen { recovery_key, public_key } => {
            for path in [recovery_key, public_key] {
                if path.exists() {
                    bail!("{} is there already; a lost recovery key can't be had again", path.display());
                }
            }
            let pair = KeyPair::generate()?;
            files::replace(recovery_key, format!("{}\n", pair.recovery.reveal().as_str()).as_bytes(), 0o600)?;
            files::replace(public_key, format!("{}\n", pair.public).as_bytes(), 0o644)?;
            say(&format!(
                "keep {} apart from this controller; without it no backup can be opened",
                recovery_key.display()
            ))
        }
        BackupCommand::Check { from, key_file } => {
            let found = backup::check(from, &read_line(key_file)?.parse()?)?;
            say(&format!("whole: of {}, {} rows, {} files", found.at, found.rows, found.files))
        }
    }
}

async fn open(config: &Config) -> anyhow::Result<Db> {
    let url = config.database.url(&config.data_dir).map_err(anyhow::Error::msg)?;
    Ok(Db::open(url.reveal(), config.database.max_connections).await?)
}

fn read_line(path: &Path) -> anyhow::Result<zeroize::Zeroizing<String>> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin().lock())?
    } else {
        std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?
    };
    Ok(zeroize::Zeroizing::new(text.trim().to_owned()))
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_written_or_one_is_looked_at() {
        use clap::CommandFactory as _;

        Arguments::command().debug_assert();
        let parse = |words: &[&str]| Arguments::try_parse_from([&["lampas-controller", "backup"], words].concat());
        let written = parse(&["--to", "b", "--key-file", "k", "--data-dir", "d"]).expect("is read");
        assert!(matches!(written.command, Command::Backup { to: Some(_), key_file: Some(_), command: None, .. }));
        let checked = parse(&["check", "--from", "b", "--key-file", "k"]).expect("is read");
        assert!(matches!(checked.command, Command::Backup { command: Some(BackupCommand::Check { .. }), .. }));
        assert!(parse(&["--to", "b", "check", "--from", "b", "--key-file", "k"]).is_err());
    }
}
