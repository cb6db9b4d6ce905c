//! Who sits there: what the controller asks in the middle of a command, before root code comes or goes. The answer serves
//! for ten minutes; it is kept beside the credentials meanwhile, so that one proof covers a night's work.

use std::io::IsTerminal as _;

use futures_util::future::BoxFuture;
use lampas_api::{
    ApiTokenCreate, ApiTokenCreated, DevicePurpose, DeviceSession, Identities, Problem, Session, SignInRequest,
};
use lampas_shared::{id::TokenId, time::UnixMs};
use reqwest::Method;

use super::{CommandError, Context, device};
use crate::{
    cli::ProveArgs,
    client::{Client, Prover, encode},
    output,
    profile::{KeptProof, Profile, ask, read_secret},
};

/// How long a proof serves.
pub(super) const PROOF_SECS: u64 = 600;
/// How often somebody is asked.
const ATTEMPTS: u32 = 3;

/// Asks on the terminal, or in the dashboard; nobody where there is no terminal.
pub(super) struct Asking {
    server: String,
    token: String,
}

impl Asking {
    /// Asks for who holds the profile's token; nobody can be asked without one.
    pub(super) fn of(profile: &Profile) -> Option<Self> {
        Some(Self { server: profile.server.clone(), token: profile.token.clone()? })
    }
}

impl Prover for Asking {
    fn kept(&self) -> Option<String> {
        KeptProof::load(&self.server, &self.token, output::now()).map(|kept| kept.secret)
    }

    fn ask<'a>(&'a self, client: &'a Client, refused: &'a Problem) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move {
            if !std::io::stdin().is_terminal() {
                return None;
            }
            output::note(&refused.detail);
            match shown(client, None).await {
                Ok(proof) => {
                    keep(&self.server, &self.token, &proof);
                    Some(proof.secret)
                }
                Err(error) => {
                    output::note(lampas_shared::error::Chain(&error).to_string());
                    None
                }
            }
        })
    }
}

/// Runs `lampasctl prove`.
pub(super) async fn prove(context: &Context, profile: &Profile, args: ProveArgs) -> Result<u8, CommandError> {
    let Some(token) = &profile.token else {
        return Err(CommandError::Usage("nobody is signed in: lampasctl login".into()));
    };
    forget(&context.client).await;
    let password = match &args.password_file {
        Some(file) => Some((read_secret(file)?, args.code_file.as_deref().map(read_secret).transpose()?)),
        None => None,
    };
    let proof = shown(&context.client, password).await?;
    keep(&profile.server, token, &proof);
    output::note(format!(
        "it is you, until {}: root code is applied and run without asking",
        output::time(proof.until)
    ));
    Ok(0)
}

/// What was shown, and serves for a while.
pub(super) struct Proof {
    secret: String,
    id: TokenId,
    until: UnixMs,
}

/// Has whoever is signed in show who they are: in the dashboard, or by password and code.
async fn shown(client: &Client, given: Option<(String, Option<String>)>) -> Result<Proof, CommandError> {
    let is_asked = given.is_none();
    if is_asked && client.is_machine() {
        return by_dashboard(client).await;
    }
    let held: Session = client.get("/session", &[]).await?;
    if is_asked {
        // A terminal can ask neither a provider nor a security key.
        let own: Option<Identities> = client.get("/session/identities", &[]).await.ok();
        if own.is_some_and(|o| !o.may_use_password) || (held.has_security_key && !held.has_authenticator) {
            return by_dashboard(client).await;
        }
    }
    let (cookie, session) = match given {
        Some((password, code)) => {
            let request = SignInRequest { login: held.login.to_string(), password, code, key: None };
            client.without_token().sign_in("/session", &request).await?
        }
        None => {
            output::note(format!("show once more that you are {}", held.login));
            sign_in_again(client, &held).await?
        }
    };
    let own = client.with_session(&cookie, &session.csrf_token);
    let proof = of_session(&own, &session).await;
    // The session ends by itself too.
    let _ = own.act(Method::DELETE, "/session").await;
    proof
}

/// Asks whoever is signed in for password and code, as often as sudo does, and opens a session of its own.
pub(super) async fn sign_in_again(client: &Client, held: &Session) -> Result<(String, Session), CommandError> {
    for attempt in 1..=ATTEMPTS {
        let password = ask("Password: ")?;
        let code = match (held.has_second_factor, held.has_authenticator) {
            (false, _) => None,
            (true, true) => Some(ask("Code of your authenticator, or a recovery code: ")?),
            (true, false) => Some(ask("Recovery code: ")?),
        };
        let request = SignInRequest { login: held.login.to_string(), password, code, key: None };
        match client.without_token().sign_in("/session", &request).await {
            Err(error) if matches!(error.code(), "sign_in_failed" | "second_factor.wrong") => {
                let what = if error.code() == "sign_in_failed" { "password" } else { "code" };
                let again = if attempt < ATTEMPTS { "; try again" } else { "" };
                output::note(format!("the {what} is wrong{again}"));
            }
            done => return Ok(done?),
        }
    }
    Err(CommandError::Usage(format!("{ATTEMPTS} wrong attempts; it was not shown that you are {}", held.login)))
}

async fn by_dashboard(client: &Client) -> Result<Proof, CommandError> {
    let DeviceSession { id, secret, expires_at, .. } =
        device::confirmed(client, DevicePurpose::Proof, PROOF_SECS).await?;
    Ok(Proof { secret, id, until: expires_at })
}

/// Makes a proof of a session that was just opened: a token for ten minutes.
pub(super) async fn of_session(client: &Client, session: &Session) -> Result<Proof, CommandError> {
    let name: String = format!("proof for lampasctl on {}", device::machine()).chars().take(64).collect();
    let request = ApiTokenCreate {
        name,
        preset: session.level,
        ttl_secs: PROOF_SECS,
        cidr: None,
        permissions: None,
        scope: None,
        is_grave: true,
    };
    let made: ApiTokenCreated = client.send_json(Method::POST, "/tokens", &request).await?;
    Ok(Proof { secret: made.secret, id: made.token.id, until: made.token.expires_at })
}

/// Keeps a proof for whoever holds a token. Where nothing can be kept, the next command asks again.
pub(super) fn keep(server: &str, token: &str, proof: &Proof) {
    let kept = KeptProof::new((server, token), proof.secret.clone(), proof.id.to_string(), proof.until);
    if let Err(error) = kept.save() {
        output::note(format!("the proof can't be kept: {}", lampas_shared::error::Chain(&error)));
    }
}

/// Forgets a proof, and withdraws it; it ends by itself too.
pub(super) async fn forget(client: &Client) {
    let Some(kept) = KeptProof::take() else { return };
    let own = client.with_token(&kept.secret);
    let _ = if own.is_machine() {
        own.act(Method::DELETE, "/session").await
    } else {
        own.act(Method::DELETE, &format!("/tokens/{}", encode(&kept.id))).await
    };
}
