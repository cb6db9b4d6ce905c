//! Identity providers, and the identities that users have there.

use lampas_api::{
    Identities, Identity, IdentityLink, InvitationCreate, InvitationCreated, Provider, ProviderCheck, ProviderPut,
    ProviderSpec,
};
use lampas_shared::access::{GroupMapping, Login, Preset, UserGroupName};
use reqwest::Method;

use super::{CommandError, Context, confirm};
use crate::{
    cli::{ProviderCommand, ProviderSetArgs},
    client::encode,
    output::{self, ago, now},
    profile::read_secret,
};

/// Runs `lampasctl provider …`.
pub(super) async fn run(context: &Context, command: ProviderCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    match command {
        ProviderCommand::List => {
            let all: Vec<Provider> = client.pages("/providers", &[], None).await?.items;
            list(context, &all);
        }
        ProviderCommand::Show { name } => {
            show(context, &client.get(&format!("/providers/{}", encode(name.as_str())), &[]).await?);
        }
        ProviderCommand::Set(args) => return set(context, *args).await,
        ProviderCommand::Remove { name, sure } => {
            let path = format!("/providers/{}", encode(name.as_str()));
            let provider: Provider = client.get(&path, &[]).await?;
            let users = provider.identities;
            confirm(&sure, &format!("remove the provider {name}, and the identities that {users} users have there?"))?;
            client.act(Method::DELETE, &path).await?;
            output::note(format!("the provider {name} is removed"));
        }
        ProviderCommand::Check { name } => {
            let path = format!("/providers/{}/check", encode(name.as_str()));
            let found: ProviderCheck = client.send_json(Method::POST, &path, &serde_json::json!({})).await?;
            if context.is_json() {
                output::json(&found);
            } else {
                found.findings.iter().for_each(output::line);
            }
            return Ok(u8::from(!found.is_good));
        }
        ProviderCommand::Identities { login } => {
            let path = match &login {
                Some(login) => of_user(login, "identities"),
                None => "/session/identities".to_owned(),
            };
            identities(context, &client.get(&path, &[]).await?);
        }
        ProviderCommand::Link { login, provider, subject } => {
            let request = IdentityLink { provider: provider.to_string(), subject };
            let made: Identity = client.send_json(Method::POST, &of_user(&login, "identities"), &request).await?;
            if context.is_json() {
                output::json(&made);
            } else {
                output::note(format!("{login} signs in with {provider}"));
            }
        }
        ProviderCommand::Invite { login, provider, ttl, quiet } => {
            let request = InvitationCreate { provider: provider.to_string(), ttl_secs: ttl };
            let made: InvitationCreated =
                client.send_json(Method::POST, &of_user(&login, "invitations"), &request).await?;
            if context.is_json() {
                output::json(&made);
                return Ok(0);
            }
            if !quiet {
                let until = output::time(made.expires_at);
                output::note(format!(
                    "give this link to {login} alone: whoever opens it becomes {login}; until {until}"
                ));
            }
            output::line(&made.link);
        }
        ProviderCommand::Unlink { login, id } => {
            client.act(Method::DELETE, &of_user(&login, &format!("identities/{}", encode(&id)))).await?;
            output::note("the identity is unlinked");
        }
    }
    Ok(0)
}

fn of_user(login: &Login, what: &str) -> String {
    format!("/users/{}/{what}", encode(login.as_str()))
}

async fn set(context: &Context, args: ProviderSetArgs) -> Result<u8, CommandError> {
    let client = &context.client;
    let path = format!("/providers/{}", encode(args.name.as_str()));
    let before = match client.get::<Provider>(&path, &[]).await {
        Ok(provider) => Some(provider.spec),
        Err(error) if error.code() == "not_found" => None,
        Err(error) => return Err(error.into()),
    };
    let mut spec = match (before, &args.issuer, &args.client_id) {
        (Some(spec), ..) => spec,
        (None, Some(issuer), Some(client_id)) => fresh(issuer, client_id)?,
        (None, ..) => {
            let why = format!("there is no provider {} yet: give --issuer and --client-id to make it", args.name);
            return Err(CommandError::Usage(why));
        }
    };
    let client_secret = match &args.client_secret_file {
        Some(file) => Some(read_secret(file)?),
        None => args.no_client_secret.then(String::new),
    };
    change(&mut spec, args)?;
    let request = ProviderPut { spec, client_secret };
    show(context, &client.send_json(Method::PUT, &path, &request).await?);
    Ok(0)
}

/// Returns a provider with the API's own defaults.
fn fresh(issuer: &str, client_id: &str) -> Result<ProviderSpec, CommandError> {
    let spec = serde_json::json!({"issuer": issuer, "client_id": client_id});
    serde_json::from_value(spec).map_err(|e| CommandError::Usage(e.to_string()))
}

fn change(spec: &mut ProviderSpec, args: ProviderSetArgs) -> Result<(), CommandError> {
    fn put<T>(into: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *into = value;
        }
    }
    put(&mut spec.issuer, args.issuer);
    put(&mut spec.client_id, args.client_id);
    put(&mut spec.title, args.title);
    put(&mut spec.user_claim, args.user_claim);
    put(&mut spec.groups_claim, args.groups_claim);
    put(&mut spec.makes_accounts, args.make_accounts);
    put(&mut spec.default_preset, args.default_preset);
    put(&mut spec.allows_password, args.allow_password);
    put(&mut spec.is_enabled, args.enabled);
    put(&mut spec.scopes, words(args.scopes));
    put(&mut spec.second_factor_values, words(args.second_factor_values));
    let mappings = words(args.map).map(|all| all.iter().map(|m| mapping(m)).collect::<Result<_, _>>()).transpose()?;
    put(&mut spec.mappings, mappings);
    Ok(())
}

/// Returns a list that was given; `none` is the empty one.
fn words(given: Vec<String>) -> Option<Vec<String>> {
    match given.as_slice() {
        [] => None,
        [one] if one == "none" => Some(Vec::new()),
        _ => Some(given),
    }
}

fn mapping(text: &str) -> Result<GroupMapping, CommandError> {
    let wrong = || CommandError::Usage(format!("{text:?}: write GROUP=group:NAME or GROUP=preset:NAME"));
    let (claim, means) = text.rsplit_once('=').ok_or_else(wrong)?;
    let (kind, name) = means.split_once(':').ok_or_else(wrong)?;
    let (mut group, mut preset) = (None, None);
    match kind {
        "group" => group = Some(UserGroupName::parse(name)?),
        "preset" => preset = Some(name.parse::<Preset>()?),
        _ => return Err(wrong()),
    }
    Ok(GroupMapping { claim: claim.to_owned(), group, preset })
}

fn list(context: &Context, all: &[Provider]) {
    if context.is_json() {
        output::json(&all);
        return;
    }
    let row = |p: &Provider| {
        let accounts = if p.spec.makes_accounts { "anybody there" } else { "invited" };
        let state = if p.spec.is_enabled { "" } else { "not offered" };
        vec![
            p.name.to_string(),
            p.spec.issuer.clone(),
            p.spec.client_id.clone(),
            p.identities.to_string(),
            accounts.to_owned(),
            state.to_owned(),
        ]
    };
    output::table(&["PROVIDER", "ISSUER", "CLIENT", "IDENTITIES", "ACCOUNTS FOR", ""], all.iter().map(row).collect());
}

fn show(context: &Context, provider: &Provider) {
    if context.is_json() {
        output::json(provider);
        return;
    }
    let spec = &provider.spec;
    let yes = |is: bool| if is { "yes" } else { "no" };
    let means = |m: &GroupMapping| {
        let group = m.group.as_ref().map(|g| format!("group:{g}"));
        let preset = m.preset.map(|p| format!("preset:{}", p.as_str()));
        format!("{}={}", m.claim, group.into_iter().chain(preset).collect::<Vec<_>>().join("+"))
    };
    let mappings: Vec<String> = spec.mappings.iter().map(means).collect();
    for (name, value) in [
        ("provider", provider.name.to_string()),
        ("issuer", spec.issuer.clone()),
        ("client id", spec.client_id.clone()),
        ("client secret", yes(provider.has_client_secret).to_owned()),
        ("redirect URI", provider.redirect_uri.clone()),
        ("logout URI", provider.logout_uri.clone()),
        ("scopes", format!("openid {}", spec.scopes.join(" ")).trim().to_owned()),
        ("names from", spec.user_claim.clone()),
        ("groups from", spec.groups_claim.clone()),
        ("mappings", mappings.join(", ")),
        ("makes accounts", format!("{} ({})", yes(spec.makes_accounts), spec.default_preset.as_str())),
        ("second factor by", spec.second_factor_values.join(", ")),
        ("passwords too", yes(spec.allows_password).to_owned()),
        ("offered", yes(spec.is_enabled).to_owned()),
    ] {
        output::line(format!("{name:<17} {value}").trim_end());
    }
}

fn identities(context: &Context, all: &Identities) {
    if context.is_json() {
        output::json(all);
        return;
    }
    let password = match (all.has_password, all.may_use_password) {
        (false, _) => "no password",
        (true, true) => "a password",
        (true, false) => "a password, which a provider forbids to use",
    };
    output::note(format!("{} has {password}", all.login));
    let row = |i: &Identity| {
        let who = i
            .subject
            .clone()
            .unwrap_or_else(|| format!("invited, until {}", i.invited_until.map(output::time).unwrap_or_default()));
        vec![i.provider.to_string(), who, i.shown.clone(), ago(i.last_used_at, now()), i.id.to_string()]
    };
    output::table(&["PROVIDER", "SUBJECT", "CALLED", "USED", "ID"], all.identities.iter().map(row).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read_and_wrong_ones_refused() {
        let read = |text: &str| mapping(text).map(|m| (m.claim, m.group.map(|g| g.to_string()), m.preset));
        assert_eq!(read("ops=preset:operator").expect("reads"), ("ops".into(), None, Some(Preset::Operator)));
        let dn = "cn=web,dc=example=group:web-team";
        assert_eq!(read(dn).expect("reads"), ("cn=web,dc=example".into(), Some("web-team".into()), None));
        for wrong in ["", "ops", "ops=operator", "ops=role:app", "ops=preset:king", "ops=group:"] {
            read(wrong).expect_err(wrong);
        }
    }
}
