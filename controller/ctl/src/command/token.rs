//! Enrolment tokens.

use std::{io::IsTerminal, time::Duration};

use lampas_api::{EnrolToken, EnrolTokenCreate, EnrolTokenCreated};
use lampas_shared::fleet::{LabelKey, LabelValue};
use reqwest::Method;

use super::{CommandError, Context, listed, show};
use crate::{
    cli::TokenCommand,
    client::encode,
    output::{self, ago, now, state},
};

/// Runs `lampasctl token …`.
pub(super) async fn run(context: &Context, command: TokenCommand) -> Result<u8, CommandError> {
    match command {
        TokenCommand::Create { role, node, label, cidr, ttl, uses, observe, quiet, wait } => {
            let labels = label.iter().map(|term| match term.split_once('=') {
                Some((key, value)) => Ok((LabelKey::parse(key)?, LabelValue::parse(value)?)),
                None => Err(CommandError::Usage(format!("label {term:?}: write key=value"))),
            });
            let labels = labels.collect::<Result<_, _>>()?;
            let request = EnrolTokenCreate { roles: role, labels, node, cidr, ttl_secs: ttl, uses, observe };
            let created: EnrolTokenCreated =
                context.client.send_json(Method::POST, "/enrolment-tokens", &request).await?;
            if context.is_json() {
                output::json(&created);
            } else if quiet {
                output::line(&created.secret);
            } else {
                output::note("On the new node, as root, with the package lampas-agent installed:");
                output::line(format!("  {}", created.command.replace('\n', "\n  ")));
                output::note("then paste the token, which is shown this once:");
                output::line(format!("  {}", created.secret));
                if observe {
                    output::note("The node will only observe. Compare it, import from it, then take it over:");
                    output::note(
                        "  lampasctl role compare ROLE · lampasctl import node:NAME · lampasctl node manage NAME",
                    );
                }
                output::note(format!(
                    "The token ends {}. See the nodes: lampasctl node list",
                    ago(Some(created.token.expires_at), now())
                ));
            }
            // Who sits at a terminal wants to see the node arrive; Ctrl-C ends the wait, and the token lives on.
            let is_watched = !quiet && !context.is_json() && std::io::stdout().is_terminal();
            if wait || is_watched { arrival(context, &created.token).await } else { Ok(0) }
        }
        TokenCommand::List { list } => {
            show(context, &list, async || {
                let page = context.client.pages::<EnrolToken>("/enrolment-tokens", &[], list.max).await?;
                listed(
                    context,
                    &page,
                    "no enrolment tokens; make one with: lampasctl token create --role app",
                    |items| {
                        let row = |t: &EnrolToken| {
                            let roles = t.roles.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(", ");
                            let nodes = t.enrolled.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ");
                            let name = t.node.as_ref().map(|n| n.to_string()).unwrap_or_default();
                            let ends = ago(Some(t.expires_at), now());
                            vec![
                                t.id.to_string(),
                                state(&t.state),
                                roles,
                                name,
                                t.uses_left.to_string(),
                                ends,
                                t.author.clone(),
                                nodes,
                            ]
                        };
                        let heads = ["TOKEN", "STATE", "ROLES", "NODE", ">USES LEFT", "ENDS", "AUTHOR", "ENROLLED"];
                        output::table(&heads, items.iter().map(row).collect());
                    },
                );
                Ok(())
            })
            .await
        }
        TokenCommand::Withdraw { id } => {
            context.client.act(Method::DELETE, &format!("/enrolment-tokens/{}", encode(&id))).await?;
            output::note("the token is withdrawn");
            Ok(0)
        }
    }
}

/// Waits until the token's node is connected, or the token ended.
async fn arrival(context: &Context, token: &EnrolToken) -> Result<u8, CommandError> {
    output::note("waiting … (Ctrl-C ends the wait; the token stays)");
    loop {
        let token: EnrolToken = context.client.get(&format!("/enrolment-tokens/{}", token.id), &[]).await?;
        if let Some(node) = token.enrolled.iter().find(|n| n.is_connected) {
            let observing = if token.observe { ", observing: nothing is written there" } else { "" };
            output::note(format!("{} connected ({}){observing}", node.name, node.about));
            let name = &node.name;
            output::note(match token.roles.first() {
                Some(role) if token.observe => {
                    format!("next: lampasctl import node:{name} --scope role:{role} --plan")
                }
                _ => format!("next: lampasctl node show {name}"),
            });
            return Ok(0);
        }
        if token.enrolled.is_empty() && token.state != "waiting" {
            return Err(CommandError::Usage(format!("the token is {}; make another", token.state)));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
