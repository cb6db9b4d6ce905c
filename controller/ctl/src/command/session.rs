//! Set-up, signing in and out.

use lampas_api::{ApiTokenCreate, ApiTokenCreated, Session, SetupRequest, SignInRequest};
use reqwest::Method;
use std::io::IsTerminal as _;

use super::{CommandError, Context};
use crate::{
    cli::{LoginArgs, SetupArgs},
    client::encode,
    output,
    profile::{Profile, Stored, ask, read_secret},
};

/// Makes the first administrator, signed in afterwards.
pub(super) async fn setup(context: &Context, profile: &Profile, args: SetupArgs) -> Result<u8, CommandError> {
    let link = read_secret(&args.link_file)?;
    let token = link.trim().rsplit_once('#').map_or(link.trim(), |(_, token)| token).to_owned();
    let password = read_secret(&args.password_file)?;
    let request = SetupRequest { token, login: args.login, password, fleet_name: args.fleet };
    let (cookie, session): (String, Session) = context.client.sign_in("/setup", &request).await?;
    store(context, profile, &cookie, &session, 30 * 86_400, args.grave).await
}

/// Signs in and stores an API token.
pub(super) async fn login(context: &Context, profile: &Profile, args: LoginArgs) -> Result<u8, CommandError> {
    let password = match &args.password_file {
        Some(file) => read_secret(file)?,
        None => ask("Password: ")?,
    };
    let code = args.code_file.as_deref().map(read_secret).transpose()?;
    let mut request = SignInRequest { login: args.login, password, code, key: None };
    let (cookie, session): (String, Session) = match context.client.sign_in("/session", &request).await {
        Err(error) if error.code() == "second_factor.needed" && std::io::stdin().is_terminal() => {
            output::note(error.to_string());
            request.code = Some(ask("Code of your authenticator, or a recovery code: ")?);
            context.client.sign_in("/session", &request).await?
        }
        Err(error) if error.code() == "second_factor.needed" => {
            let why = "a code is needed too: give --code-file FILE, or sign in on a terminal (who has a security key alone gives \
                       a recovery code, or makes an API token in the dashboard)";
            return Err(CommandError::Usage(why.into()));
        }
        other => other?,
    };
    store(context, profile, &cookie, &session, args.ttl, args.grave).await
}

/// Runs a command; when what it does is grave and there is a terminal, asks who sits there and runs it again in a
/// session of its own, which ends with it.
pub(super) async fn proven(
    context: &Context,
    run: impl AsyncFn(&Context) -> Result<u8, CommandError>,
) -> Result<u8, CommandError> {
    let refused = match run(context).await {
        Err(CommandError::Call(error)) if error.code() == "reauthentication.needed" => error,
        done => return done,
    };
    if !std::io::stdin().is_terminal() {
        return Err(refused.into());
    }
    let held: Session = context.client.get("/session", &[]).await?;
    output::note(format!("this is grave: sign in once more as {}", held.login));
    let mut request =
        SignInRequest { login: held.login.to_string(), password: ask("Password: ")?, code: None, key: None };
    if held.has_second_factor {
        let what =
            if held.has_authenticator { "Code of your authenticator, or a recovery code: " } else { "Recovery code: " };
        request.code = Some(ask(what)?);
    }
    let (cookie, session): (String, Session) = context.client.sign_in("/session", &request).await?;
    let client = context.client.with_session(&cookie, &session.csrf_token);
    let own = Context { client, output: context.output };
    let done = run(&own).await;
    // The session ends by itself too; what the command did matters more.
    let _ = own.client.act(Method::DELETE, "/session").await;
    done
}

async fn store(
    context: &Context,
    profile: &Profile,
    cookie: &str,
    session: &Session,
    ttl_secs: u64,
    is_grave: bool,
) -> Result<u8, CommandError> {
    let client = context.client.with_session(cookie, &session.csrf_token);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = format!("lampasctl on {}", host.trim()).chars().take(64).collect();
    let request =
        ApiTokenCreate { name, preset: session.level, ttl_secs, cidr: None, permissions: None, scope: None, is_grave };
    let created: ApiTokenCreated = client.send_json(Method::POST, "/tokens", &request).await?;
    client.act(Method::DELETE, "/session").await?;
    let stored = Stored {
        server: client.server().to_owned(),
        token: created.secret,
        token_id: created.token.id.to_string(),
        ca: profile.ca.as_deref().map(|ca| String::from_utf8_lossy(ca).into_owned()).unwrap_or_default(),
    };
    let path = stored.save()?;
    output::note(format!(
        "signed in as {} ({}) at {}; token in {}, until {}\nnext: lampasctl overview",
        session.login,
        session.preset.as_str(),
        client.server(),
        path.display(),
        output::time(created.token.expires_at),
    ));
    Ok(0)
}

/// Withdraws the stored token and forgets it.
pub(super) async fn logout(context: &Context) -> Result<u8, CommandError> {
    let Some(stored) = Stored::load()? else {
        output::note("nobody is signed in on this machine");
        return Ok(0);
    };
    let withdrawn = context.client.act(Method::DELETE, &format!("/tokens/{}", encode(&stored.token_id))).await;
    Stored::remove()?;
    match withdrawn {
        Err(error) if error.code() != "not_found" && !error.is_denied() => {
            output::note(format!("the token is forgotten here, but it could not be withdrawn: {error}"));
            Ok(1)
        }
        _ => Ok(0),
    }
}

/// Shows who is signed in.
pub(super) async fn whoami(context: &Context) -> Result<u8, CommandError> {
    let session: Session = context.client.get("/session", &[]).await?;
    if context.is_json() {
        let mut value = serde_json::to_value(&session).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("csrf_token");
        }
        output::json(&value);
    } else {
        let fleet =
            if session.fleet_name.is_empty() { String::new() } else { format!(", fleet {}", session.fleet_name) };
        output::line(format!(
            "{} ({}) at {}{fleet}, controller {}",
            session.login,
            session.preset.as_str(),
            context.client.server(),
            session.version
        ));
    }
    Ok(0)
}
