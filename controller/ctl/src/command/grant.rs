//! Groups of users, grants, and what users may by them.

use lampas_api::{Grant, GrantCreate, HeldRight, MayAnswer, UserGroup, UserGroupCreate, UserGroupUpdate, UserRights};
use lampas_shared::{
    access::{Login, Permission, Subject},
    fleet::Scope,
};
use reqwest::Method;

use super::{CommandError, Context, confirm};
use crate::{
    cli::{GrantCommand, GroupCommand},
    client::encode,
    output::{self, ago, now},
};

/// Runs `lampasctl group …`.
pub(super) async fn group(context: &Context, command: GroupCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    let shown: Vec<UserGroup> = match command {
        GroupCommand::List => client.pages("/user-groups", &[], None).await?.items,
        GroupCommand::Create { name, note, members } => {
            let request = UserGroupCreate { name, note, members };
            vec![client.send_json(Method::POST, "/user-groups", &request).await?]
        }
        GroupCommand::Set { name, rename, note, add, remove } => {
            let request = UserGroupUpdate { name: rename, note, add, remove };
            let path = format!("/user-groups/{}", encode(name.as_str()));
            vec![client.send_json(Method::PATCH, &path, &request).await?]
        }
        GroupCommand::Remove { name, sure } => {
            confirm(&sure, &format!("remove the group {name} with all its grants?"))?;
            client.act(Method::DELETE, &format!("/user-groups/{}", encode(name.as_str()))).await?;
            output::note(format!("the group {name} is removed"));
            return Ok(0);
        }
    };
    if context.is_json() {
        output::json(&shown);
        return Ok(0);
    }
    let row = |g: &UserGroup| {
        let members: Vec<&str> = g.members.iter().map(Login::as_str).collect();
        vec![g.name.to_string(), members.join(" "), g.grants.to_string(), g.note.clone()]
    };
    output::table(&["GROUP", "MEMBERS", "GRANTS", "NOTE"], shown.iter().map(row).collect());
    Ok(0)
}

/// Runs `lampasctl grant …`.
pub(super) async fn grant(context: &Context, command: GrantCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    let shown: Vec<Grant> = match command {
        GrantCommand::List { to } => {
            let to = to.as_ref().map(Subject::to_string);
            client.pages("/grants", &[("subject", to.as_deref())], None).await?.items
        }
        GrantCommand::Add { subject, actions, scope, ttl, reason } => {
            let request = GrantCreate { subject, actions, scope, ttl_secs: ttl, reason };
            vec![client.send_json(Method::POST, "/grants", &request).await?]
        }
        GrantCommand::Remove { id } => {
            client.act(Method::DELETE, &format!("/grants/{}", encode(&id))).await?;
            output::note("the grant is taken away");
            return Ok(0);
        }
    };
    if context.is_json() {
        output::json(&shown);
        return Ok(0);
    }
    let row = |g: &Grant| {
        vec![
            g.subject.to_string(),
            g.actions.to_string(),
            g.scope.to_string(),
            g.nodes.to_string(),
            g.expires_at.map_or_else(|| "never".to_owned(), |t| ago(Some(t), now())),
            g.author.clone(),
            g.id.to_string(),
        ]
    };
    output::table(&["TO", "MAY", "ON", "NODES", "ENDS", "BY", "ID"], shown.iter().map(row).collect());
    Ok(0)
}

/// Shows what a user may, and by what.
pub(super) async fn rights(context: &Context, login: &Login) -> Result<u8, CommandError> {
    let found: UserRights = context.client.get(&format!("/users/{}/rights", encode(login.as_str())), &[]).await?;
    if context.is_json() {
        output::json(&found);
        return Ok(0);
    }
    if found.is_disabled {
        output::note(format!("{login} may not sign in, so nothing of this counts"));
    }
    let row = |held: &HeldRight| {
        let permissions: Vec<&str> = held.permissions.iter().map(|p| p.as_str()).collect();
        vec![permissions.join(" "), on(held), held.via.clone()]
    };
    output::table(&["MAY", "ON", "BY"], found.rights.iter().map(row).collect());
    Ok(0)
}

/// Says whether a user may do something somewhere, and why. Exits with 1 when not.
pub(super) async fn can(
    context: &Context,
    login: &Login,
    action: Permission,
    scope: &Scope,
) -> Result<u8, CommandError> {
    let scope = scope.to_string();
    let query = [("action", Some(action.as_str())), ("scope", Some(scope.as_str()))];
    let answer: MayAnswer = context.client.get(&format!("/users/{}/may", encode(login.as_str())), &query).await?;
    if context.is_json() {
        output::json(&answer);
    } else {
        output::line(&answer.text);
    }
    Ok(u8::from(!answer.may))
}

fn on(held: &HeldRight) -> String {
    held.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}
