//! Users and API tokens.

use lampas_api::{ApiToken, ApiTokenCreate, ApiTokenCreated, User, UserCreate, UserUpdate};
use lampas_shared::access::Login;
use reqwest::Method;

use super::{CommandError, Context, confirm};
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
        UserCommand::List => client.pages::<User>("/users", &[], None).await?.items,
        UserCommand::Create { login, preset, password_file } => {
            let request = UserCreate { login, preset, password: read_secret(&password_file)? };
            vec![client.send_json(Method::POST, "/users", &request).await?]
        }
        UserCommand::Set { login, preset, disabled, password_file } => {
            let id = find(context, &login).await?.id;
            let password = password_file.as_deref().map(read_secret).transpose()?;
            let request = UserUpdate { preset, is_disabled: disabled, password };
            vec![client.send_json(Method::PATCH, &format!("/users/{id}"), &request).await?]
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
        vec![u.login.to_string(), u.preset.as_str().into(), ago(u.last_sign_in_at, now()), state.into()]
    };
    output::table(&["USER", "PRESET", "LAST SIGN-IN", ""], shown.iter().map(row).collect());
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
                    t.preset.as_str().into(),
                    cidr,
                    ago(t.last_used_at, now()),
                    ago(Some(t.expires_at), now()),
                    t.id.to_string(),
                ]
            };
            output::table(
                &["TOKEN", "OWNER", "PRESET", "FROM", "USED", "ENDS", "ID"],
                page.items.iter().map(row).collect(),
            );
        }
        ApiTokenCommand::Create { name, preset, ttl, cidr, quiet } => {
            let request = ApiTokenCreate { name, preset, ttl_secs: ttl, cidr };
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
