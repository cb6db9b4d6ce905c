//! Users and API tokens.

use lampas_api::{ApiToken, ApiTokenCreate, ApiTokenCreated, OpenSession, SignInRules, User, UserCreate, UserUpdate};
use lampas_shared::access::{Login, Preset};
use reqwest::Method;

use super::{CommandError, Context, confirm, grant};
use crate::{
    cli::{ApiTokenCommand, UserCommand},
    client::encode,
    output::{self, ago, now},
    profile::read_secret,
};

/// Runs `lampasctl user …`.
pub(super) async fn user(context: &Context, command: UserCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    let shown = match command {
        UserCommand::Show { login } => return grant::rights(context, &login).await,
        UserCommand::Can { login, action, scope } => return grant::can(context, &login, action, &scope).await,
        UserCommand::List => client.pages::<User>("/users", &[], None).await?.items,
        UserCommand::Create { login, preset, password_file, no_password: _ } => {
            let password = password_file.as_deref().map(read_secret).transpose()?.unwrap_or_default();
            let request = UserCreate { login, preset, password };
            vec![client.send_json(Method::POST, "/users", &request).await?]
        }
        UserCommand::Set { login, preset, disabled, password_file } => {
            let id = find(context, &login).await?.id;
            let password = password_file.as_deref().map(read_secret).transpose()?;
            let request = UserUpdate { preset, is_disabled: disabled, password };
            vec![client.send_json(Method::PATCH, &format!("/users/{id}"), &request).await?]
        }
        UserCommand::SecondFactorOff { login, sure } => {
            let id = find(context, &login).await?.id;
            confirm(&sure, &format!("take the second factor off {login}, and end the user's sessions?"))?;
            client.act(Method::DELETE, &format!("/users/{id}/second-factor")).await?;
            output::note(format!("{login} signs in with the password alone, until a second factor is set up again"));
            return Ok(0);
        }
        UserCommand::Rules { second_factor_for } => return rules(context, &second_factor_for).await,
        UserCommand::Sessions { login } => return sessions(context, login.as_ref()).await,
        UserCommand::EndSession { id, user } => {
            match (id, user) {
                (_, Some(login)) => {
                    let id = find(context, &login).await?.id;
                    client.act(Method::DELETE, &format!("/users/{id}/sessions")).await?;
                    output::note(format!("all sessions of {login} are over"));
                }
                (Some(id), None) => {
                    client.act(Method::DELETE, &format!("/sessions/{}", encode(&id))).await?;
                    output::note("the session is over");
                }
                (None, None) => return Err(CommandError::Usage("name a session, or a user with --user".into())),
            }
            return Ok(0);
        }
        UserCommand::Remove { login, sure } => {
            let id = find(context, &login).await?.id;
            confirm(&sure, &format!("remove the user {login} with all sessions and tokens?"))?;
            client.act(Method::DELETE, &format!("/users/{id}")).await?;
            output::note(format!("{login} is removed"));
            return Ok(0);
        }
    };
    if context.is_json() {
        output::json(&shown);
        return Ok(0);
    }
    let row = |u: &User| {
        let state = if u.is_disabled { "disabled" } else { "" };
        let second = if u.has_second_factor { "yes" } else { "no" };
        let groups: Vec<&str> = u.groups.iter().map(|g| g.as_str()).collect();
        vec![
            u.login.to_string(),
            u.preset.as_str().into(),
            u.grants.to_string(),
            groups.join(" "),
            second.into(),
            ago(u.last_sign_in_at, now()),
            state.into(),
        ]
    };
    output::table(
        &["USER", "PRESET", "GRANTS", "GROUPS", "SECOND FACTOR", "LAST SIGN-IN", ""],
        shown.iter().map(row).collect(),
    );
    Ok(0)
}

/// Shows or sets what the fleet asks at sign-in.
async fn rules(context: &Context, wanted: &[String]) -> Result<u8, CommandError> {
    let rules: SignInRules = if wanted.is_empty() {
        context.client.get("/sign-in-rules", &[]).await?
    } else {
        let presets = wanted.iter().filter(|w| *w != "none").map(|w| w.parse::<Preset>());
        let request = SignInRules { second_factor_for: presets.collect::<Result<_, _>>()? };
        context.client.send_json(Method::PUT, "/sign-in-rules", &request).await?
    };
    if context.is_json() {
        output::json(&rules);
    } else {
        let words: Vec<&str> = rules.second_factor_for.iter().map(|p| p.as_str()).collect();
        let whom = if words.is_empty() { "nobody".to_owned() } else { words.join(", ") };
        output::line(format!("a second factor is needed by: {whom}"));
    }
    Ok(0)
}

/// Lists open sessions.
async fn sessions(context: &Context, login: Option<&Login>) -> Result<u8, CommandError> {
    let query = [("all", login.is_none().then_some("true")), ("user", login.map(Login::as_str))];
    let page = context.client.pages::<OpenSession>("/sessions", &query, None).await?;
    if context.is_json() {
        output::json(&page);
        return Ok(0);
    }
    let row = |s: &OpenSession| {
        vec![
            s.login.to_string(),
            s.from.clone(),
            ago(Some(s.created_at), now()),
            ago(Some(s.seen_at), now()),
            s.machine.as_ref().map_or_else(|| s.agent.clone(), |m| format!("lampasctl on {m}")),
            s.id.to_string(),
        ]
    };
    output::table(&["USER", "FROM", "OPENED", "SEEN", "WITH", "ID"], page.items.iter().map(row).collect());
    Ok(0)
}

async fn find(context: &Context, login: &Login) -> Result<User, CommandError> {
    let users = context.client.pages::<User>("/users", &[], None).await?.items;
    let found = users.into_iter().find(|u| u.login == *login);
    found.ok_or_else(|| CommandError::Usage(format!("there is no user {login}; see: lampasctl user list")))
}

/// Runs `lampasctl api-token …`.
pub(super) async fn api_token(context: &Context, command: ApiTokenCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    match command {
        ApiTokenCommand::List { all } => {
            let page = client.pages::<ApiToken>("/tokens", &[("all", all.then_some("true"))], None).await?;
            if context.is_json() {
                output::json(&page);
                return Ok(0);
            }
            let row = |t: &ApiToken| {
                let cidr = t.cidr.clone().unwrap_or_else(|| "anywhere".into());
                vec![
                    t.name.clone(),
                    t.owner.to_string(),
                    may(t),
                    cidr,
                    ago(t.last_used_at, now()),
                    ago(Some(t.expires_at), now()),
                    t.id.to_string(),
                ]
            };
            output::table(
                &["TOKEN", "OWNER", "MAY", "FROM", "USED", "ENDS", "ID"],
                page.items.iter().map(row).collect(),
            );
        }
        ApiTokenCommand::Create { name, preset, ttl, cidr, only, scope, grave, quiet } => {
            let permissions = Some(only).filter(|o| !o.is_empty());
            let request = ApiTokenCreate { name, preset, ttl_secs: ttl, cidr, permissions, scope, is_grave: grave };
            let created: ApiTokenCreated = client.send_json(Method::POST, "/tokens", &request).await?;
            if context.is_json() {
                output::json(&created);
            } else {
                if !quiet {
                    output::note(
                        "the secret is shown this once; keep it in a file and name that by LAMPAS_TOKEN_FILE:",
                    );
                }
                output::line(&created.secret);
            }
        }
        ApiTokenCommand::Withdraw { id } => {
            client.act(Method::DELETE, &format!("/tokens/{}", encode(&id))).await?;
            output::note("the token is withdrawn");
        }
    }
    Ok(0)
}

/// What a token may at most, in a few words.
fn may(token: &ApiToken) -> String {
    let mut text = match &token.permissions {
        None => token.preset.as_str().to_owned(),
        Some(only) => only.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(" "),
    };
    if let Some(scope) = &token.scope {
        text.push_str(&format!(" on {scope}"));
    }
    if token.is_grave {
        text.push_str(", grave");
    }
    text
}
