//! Set-up, signing in and out.

use lampas_api::{
    ApiTokenCreate, ApiTokenCreated, DevicePurpose, DeviceSession, Identities, Session, SetupRequest, SignInRequest,
};
use reqwest::Method;
use std::{io::IsTerminal as _, path::PathBuf};

use super::{CommandError, Context, device, proof};
use crate::{
    cli::{LoginArgs, SetupArgs},
    client::{Client, encode},
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

/// Signs in: by what is confirmed in the dashboard, or by password.
pub(super) async fn login(context: &Context, profile: &Profile, args: LoginArgs) -> Result<u8, CommandError> {
    if args.login.is_none() && args.password_file.is_none() && args.code_file.is_none() {
        return by_dashboard(context, profile, &args).await;
    }
    let password = match &args.password_file {
        Some(file) => read_secret(file)?,
        None => ask("Password: ")?,
    };
    let code = args.code_file.as_deref().map(read_secret).transpose()?;
    let mut request = SignInRequest { login: args.login.unwrap_or_else(|| "admin".into()), password, code, key: None };
    let (cookie, session): (String, Session) = match context.client.sign_in("/session", &request).await {
        Err(error) if error.code() == "second_factor.needed" && std::io::stdin().is_terminal() => {
            output::note(error.to_string());
            request.code = Some(ask("Code of your authenticator, or a recovery code: ")?);
            context.client.sign_in("/session", &request).await?
        }
        Err(error) if error.code() == "second_factor.needed" => {
            let why = "a code is needed too: give --code-file FILE, or sign in on a terminal (who has a security key alone leaves \
                       --login and --password-file out, and confirms in the dashboard)";
            return Err(CommandError::Usage(why.into()));
        }
        other => other?,
    };
    store(context, profile, &cookie, &session, args.ttl, args.grave).await
}

/// Signs in by what somebody confirms in the dashboard, and stores the session.
async fn by_dashboard(context: &Context, profile: &Profile, args: &LoginArgs) -> Result<u8, CommandError> {
    if args.grave {
        let why = "who confirms in the dashboard is asked there again before each grave command: leave --grave out, or sign in \
                   by password with --login";
        return Err(CommandError::Usage(why.into()));
    }
    let client = context.client.without_token();
    let session = device::confirmed(&client, DevicePurpose::SignIn, args.ttl).await?;
    proof::forget(&client).await;
    let path = stored(profile, &client, &session.secret, &session.id.to_string())?;
    output::note(format!(
        "signed in as {} at {}, until {}; kept in {}\nnext: lampasctl overview",
        session.login,
        client.server(),
        output::time(session.expires_at),
        path.display(),
    ));
    Ok(0)
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
    if context.client.is_machine() {
        return by_dashboard_proven(context, run).await;
    }
    if !std::io::stdin().is_terminal() {
        return Err(refused.into());
    }
    let held: Session = context.client.get("/session", &[]).await?;
    // A terminal can ask neither a provider nor a security key.
    let own: Option<Identities> = context.client.get("/session/identities", &[]).await.ok();
    if own.is_some_and(|o| !o.may_use_password) || (held.has_security_key && !held.has_authenticator) {
        return by_dashboard_proven(context, run).await;
    }
    output::note(format!("this is grave: sign in once more as {}", held.login));
    let (cookie, session) = proof::sign_in_again(&context.client, &held).await?;
    let client = context.client.with_session(&cookie, &session.csrf_token);
    let own = Context { client, output: context.output };
    let done = run(&own).await;
    // The session ends by itself too; what the command did matters more.
    let _ = own.client.act(Method::DELETE, "/session").await;
    done
}

/// Runs a command in a session of its own, which somebody confirms in the dashboard, and which ends with it.
async fn by_dashboard_proven(
    context: &Context,
    run: impl AsyncFn(&Context) -> Result<u8, CommandError>,
) -> Result<u8, CommandError> {
    let proven: DeviceSession = device::confirmed(&context.client, DevicePurpose::Proof, proof::PROOF_SECS).await?;
    let own = Context { client: context.client.with_token(&proven.secret), output: context.output };
    let done = run(&own).await;
    // It ends by itself too; what the command did matters more.
    let _ = own.client.act(Method::DELETE, "/session").await;
    done
}

fn stored(profile: &Profile, client: &Client, token: &str, id: &str) -> Result<PathBuf, CommandError> {
    let stored = Stored {
        server: client.server().to_owned(),
        token: token.to_owned(),
        token_id: id.to_owned(),
        ca: profile.ca.as_deref().map(|ca| String::from_utf8_lossy(ca).into_owned()).unwrap_or_default(),
    };
    stored.save()
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
    let name: String = format!("lampasctl on {}", device::machine()).chars().take(64).collect();
    let request =
        ApiTokenCreate { name, preset: session.level, ttl_secs, cidr: None, permissions: None, scope: None, is_grave };
    let created: ApiTokenCreated = client.send_json(Method::POST, "/tokens", &request).await?;
    proof::forget(&client).await;
    if !is_grave {
        // Who signs in has just shown who it is.
        let proof = proof::of_session(&client, session).await?;
        proof::keep(client.server(), &created.secret, &proof);
    }
    client.act(Method::DELETE, "/session").await?;
    let path = stored(profile, &client, &created.secret, &created.token.id.to_string())?;
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
    proof::forget(&context.client).await;
    let withdrawn = if context.client.is_machine() {
        context.client.act(Method::DELETE, "/session").await
    } else {
        context.client.act(Method::DELETE, &format!("/tokens/{}", encode(&stored.token_id))).await
    };
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
