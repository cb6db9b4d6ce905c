//! The commands, one file a noun.

mod access;
mod ansible;
mod apply;
mod approval;
mod audit;
mod change;
mod checkout;
mod controller;
mod crontab;
mod device;
mod drift;
mod factor;
mod grant;
mod job;
mod mail;
mod node;
mod object;
mod operation;
mod past;
mod plan;
mod progress;
mod proof;
mod provider;
mod rollout;
mod script;
mod session;
mod signing;
mod source;
mod takeover;
mod token;
mod value;
mod waiter;

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::Arc,
};

use futures_util::{Stream, StreamExt as _};
use lampas_api::Page;
use lampas_shared::{TextError, event::Event};
use serde::Serialize;
use thiserror::Error;

use crate::{
    cli::{Cli, Command, Format, ListArgs, LoginArgs, Sure},
    client::{CallError, Client, Prover},
    output,
    profile::Profile,
};

/// A command that did not do what it should.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    /// The controller refused it, or could not be reached.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The arguments, or what they name, are wrong.
    #[error("{0}")]
    Usage(String),
    /// A value is wrong.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A manifest is wrong; every mistake with its file and line.
    #[error(transparent)]
    Manifest(#[from] lampas_manifest::ManifestErrors),
    /// The controller is away for longer than was to be waited; what it has accepted goes on.
    #[error("{0}")]
    Away(String),
    /// Something on this machine failed.
    #[error("could not {0}")]
    Io(String, #[source] io::Error),
}

impl CommandError {
    /// Returns 3 for what goes on, 4 for what is denied or waits for an approval, 1 for the rest.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Call(error)
                if error.is_denied()
                    || matches!(error.code(), "approval.needed" | "change.frozen" | "node.guarded") =>
            {
                4
            }
            Self::Away(_) => 3,
            _ => 1,
        }
    }
}

/// What every command needs.
pub(crate) struct Context {
    client: Client,
    output: Format,
}

impl Context {
    fn is_json(&self) -> bool {
        self.output == Format::Json
    }
}

/// Runs a command; returns its exit code.
pub(crate) async fn run(cli: Cli) -> Result<u8, CommandError> {
    if let Command::Completion { shell } = cli.command {
        let mut command = <Cli as clap::CommandFactory>::command();
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "lampasctl", &mut script);
        output::raw(&script);
        return Ok(0);
    }
    let mut global = cli.global;
    if let Command::Login(LoginArgs { url: Some(url), .. }) = &cli.command {
        global.server = Some(url.clone());
    }
    let profile = Profile::resolve(&global)?;
    let context = &Context { client: Client::new(&profile)?, output: global.output };
    match cli.command {
        Command::Setup(args) => session::setup(context, &profile, args).await,
        Command::Login(args) => session::login(context, &profile, args).await,
        Command::Logout => session::logout(context).await,
        Command::Prove(args) => proof::prove(context, &profile, args).await,
        command => acts(context, &profile, command).await,
    }
}

/// Runs a command of who is signed in. What is grave by itself asks who sits there each time, and is run in a session of its own;
/// what is so by what it does goes on in the middle of it.
async fn acts(plain: &Context, profile: &Profile, command: Command) -> Result<u8, CommandError> {
    let asking = proof::Asking::of(profile).map(|asking| Arc::new(asking) as Arc<dyn Prover>);
    let context = &Context { client: plain.client.proving(asking), output: plain.output };
    match command {
        Command::Whoami => session::whoami(context).await,
        Command::Controller => controller::show(context).await,
        Command::Overview { at: Some(at) } => past::fleet(context, at).await,
        Command::Overview { at: None } => node::overview(context).await,
        Command::Node(command) => node::run(context, command).await,
        Command::Role(command) => node::role(context, command).await,
        Command::Token(command) => token::run(context, command).await,
        Command::Apply(args) => apply::apply(context, args).await,
        Command::Diff(args) => apply::diff(context, args).await,
        Command::Export(args) => apply::export(context, args).await,
        Command::History(args) => object::history(context, args).await,
        Command::Object(command) => object::run(context, command).await,
        Command::Secret(command) => value::secret(context, command).await,
        Command::Var(command) => value::var(context, command).await,
        Command::Change(command) => change::run(context, command).await,
        Command::Approval(command) => approval::run(context, command).await,
        Command::Protect(args) => approval::protect(context, args).await,
        Command::Protection(command) => approval::protection(context, command).await,
        Command::Freeze(command) => approval::freeze(context, command).await,
        Command::Rollout(command) => rollout::run(context, command).await,
        Command::Source(command) => session::proven(plain, async |c| source::run(c, command.clone()).await).await,
        Command::Import(args) => takeover::import(context, args).await,
        Command::Eject(args) => takeover::eject(context, &args).await,
        Command::Drift(command) => drift::run(context, command).await,
        Command::Job(command) => job::run(context, command).await,
        Command::Script(command) => script::run(context, command).await,
        Command::Run(args) => operation::run(context, *args).await,
        Command::User(command) => session::proven(plain, async |c| access::user(c, command.clone()).await).await,
        Command::Factor(command) => session::proven(plain, async |c| factor::run(c, command.clone()).await).await,
        Command::Provider(command) => session::proven(plain, async |c| provider::run(c, command.clone()).await).await,
        Command::Mail(command) => session::proven(plain, async |c| mail::run(c, command.clone()).await).await,
        Command::Group(command) => session::proven(plain, async |c| grant::group(c, command.clone()).await).await,
        Command::Grant(command) => session::proven(plain, async |c| grant::grant(c, command.clone()).await).await,
        Command::ApiToken(command) => {
            session::proven(plain, async |c| access::api_token(c, command.clone()).await).await
        }
        Command::Audit(args) => audit::list(context, args).await,
        Command::Events(args) => audit::events(context, args).await,
        Command::Completion { .. } | Command::Setup(_) | Command::Login(_) | Command::Logout | Command::Prove(_) => {
            Ok(0)
        }
    }
}

/// Shows a list once, or again after every event while it is watched.
async fn show<F>(context: &Context, args: &ListArgs, mut once: F) -> Result<u8, CommandError>
where
    F: AsyncFnMut() -> Result<(), CommandError>,
{
    once().await?;
    if !args.watch {
        return Ok(0);
    }
    let mut was_connected = false;
    loop {
        let Some(mut events) = connected(context, None, &mut was_connected).await? else { continue };
        while let Some(event) = events.next().await {
            event?;
            // One print for a burst: whatever else is there already belongs to it.
            while let Ok(Some(_)) = tokio::time::timeout(std::time::Duration::from_millis(200), events.next()).await {}
            if !context.is_json() {
                output::line("");
            }
            once().await?;
        }
        output::note("the connection to the controller was lost; trying again");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

/// Prints a list: as JSON, as a table, or what to do where there is nothing.
fn listed<T: Serialize>(context: &Context, page: &Page<T>, none: &str, table: impl FnOnce(&[T])) {
    if context.is_json() {
        output::json(page);
    } else if page.items.is_empty() {
        output::note(none);
    } else {
        table(&page.items);
    }
}

/// Connects to the stream of events. Once it was connected, a controller that can't be reached is waited for: `None` says
/// to try again, which comes after two seconds.
async fn connected(
    context: &Context,
    after: Option<u64>,
    was_connected: &mut bool,
) -> Result<Option<impl Stream<Item = Result<Event, CallError>> + Unpin + use<>>, CommandError> {
    match context.client.events(after).await {
        Ok(events) => {
            *was_connected = true;
            Ok(Some(events))
        }
        Err(error) if *was_connected && error.is_outage() => {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks before what can't be undone; refuses without a terminal unless `--yes` was given.
fn confirm(sure: &Sure, what: &str) -> Result<(), CommandError> {
    if sure.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(CommandError::Usage(format!("{what}: give --yes to do this without a terminal")));
    }
    eprint!("{} [y/N] ", output::clean(what));
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|e| CommandError::Io("read the answer".into(), e))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(CommandError::Usage("nothing was done".into()))
    }
}
