//! Second factors: the authenticator and security keys, one's own or a user's.

use lampas_api::{SecondFactor, SecurityKey, SecurityKeyUpdate, SecurityKeys};
use lampas_shared::access::Login;
use reqwest::Method;

use super::{CommandError, Context, confirm};
use crate::{
    cli::FactorCommand,
    client::encode,
    output::{self, ago, now},
};

/// Runs `lampasctl factor …`.
pub(super) async fn run(context: &Context, command: FactorCommand) -> Result<u8, CommandError> {
    match command {
        FactorCommand::List { user } => list(context, user.as_ref()).await,
        FactorCommand::Add => add(context).await,
        FactorCommand::Rename { key, name } => {
            let keys: SecurityKeys = context.client.get(&place(None), &[]).await?;
            let found = find(&keys.items, &key, None)?;
            let path = format!("{}/{}", place(None), found.id);
            let renamed: SecurityKey =
                context.client.send_json(Method::PATCH, &path, &SecurityKeyUpdate { name }).await?;
            output::note(format!("the security key {} is called {}", found.name, renamed.name));
            Ok(0)
        }
        FactorCommand::Remove { key, user, sure } => {
            let place = place(user.as_ref());
            let keys: SecurityKeys = context.client.get(&place, &[]).await?;
            let found = find(&keys.items, &key, user.as_ref())?;
            let whose = user.as_ref().map_or_else(String::new, |login| format!(" of {login}, and end the sessions"));
            confirm(&sure, &format!("remove the security key {}{whose}?", found.name))?;
            context.client.act(Method::DELETE, &format!("{place}/{}", found.id)).await?;
            output::note(format!("the security key {} is removed", found.name));
            Ok(0)
        }
    }
}

fn place(user: Option<&Login>) -> String {
    match user {
        Some(login) => format!("/users/{}/security-keys", encode(login.as_str())),
        None => "/session/security-keys".to_owned(),
    }
}

fn find<'k>(keys: &'k [SecurityKey], which: &str, user: Option<&Login>) -> Result<&'k SecurityKey, CommandError> {
    let found: Vec<_> = keys.iter().filter(|k| k.name == which || k.id.to_string() == which).collect();
    let of = user.map_or_else(String::new, |login| format!(" --user {login}"));
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(CommandError::Usage(format!("there is no security key {which}; see: lampasctl factor list{of}"))),
        _ => Err(CommandError::Usage(format!(
            "{} keys are called {which}; name it by its id, from: lampasctl factor list{of}",
            found.len()
        ))),
    }
}

async fn list(context: &Context, user: Option<&Login>) -> Result<u8, CommandError> {
    let keys: SecurityKeys = context.client.get(&place(user), &[]).await?;
    let own: Option<SecondFactor> = match user {
        None => Some(context.client.get("/session/second-factor", &[]).await?),
        Some(_) => None,
    };
    if context.is_json() {
        output::json(&serde_json::json!({"second_factor": own, "security_keys": keys}));
        return Ok(0);
    }
    if let Some(own) = own {
        let since = own.since.map_or_else(|| "none".to_owned(), |_| format!("set up {}", ago(own.since, now())));
        output::line(format!("authenticator: {since}; recovery codes left: {}", own.recovery_codes_left));
    }
    let row = |k: &SecurityKey| {
        let note = match (&k.made_for, k.suspect_since) {
            (Some(name), _) => format!("made for {name}, does not work here"),
            (None, Some(at)) => format!("its counter went back {}", ago(Some(at), now())),
            (None, None) => String::new(),
        };
        let kind = if k.is_passkey { "passkey" } else { "second factor" };
        vec![
            k.name.clone(),
            kind.into(),
            ago(Some(k.created_at), now()),
            ago(k.last_used_at, now()),
            note,
            k.id.to_string(),
        ]
    };
    output::table(&["KEY", "KIND", "MADE", "USED", "", "ID"], keys.items.iter().map(row).collect());
    if let Some(why) = &keys.unavailable {
        output::note(why);
    }
    Ok(0)
}

async fn add(context: &Context) -> Result<u8, CommandError> {
    let keys: SecurityKeys = context.client.get(&place(None), &[]).await?;
    if let Some(why) = keys.unavailable {
        return Err(CommandError::Usage(why));
    }
    output::note("a security key is registered in a browser, which talks to it; open this address and sign in:");
    output::line(format!("{}account", keys.url));
    Ok(0)
}
