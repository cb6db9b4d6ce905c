//! Mail: the server, the morning mail, the log of deliveries, and which mail one gets.

use std::fs;

use lampas_api::{
    Mail, MailAccount, MailAccountPut, MailDelivery, MailPut, MailServer, MailState, MailTest, MorningPreview,
};
use reqwest::Method;

use super::{CommandError, Context, confirm, show};
use crate::{
    cli::{MailCommand, MailSetArgs},
    output::{self, ago, now},
    profile::read_secret,
};

/// Runs `lampasctl mail …`.
pub(super) async fn run(context: &Context, command: MailCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    match command {
        MailCommand::Show => shown(context, &client.get("/mail", &[]).await?),
        MailCommand::Set(args) => return set(context, *args).await,
        MailCommand::Unset { sure } => {
            confirm(&sure, "switch mail off, and forget the server and its password?")?;
            client.act(Method::DELETE, "/mail").await?;
            output::note("mail is off");
        }
        MailCommand::Test { to } => {
            let sent: MailDelivery = client.send_json(Method::POST, "/mail/test", &MailTest { to }).await?;
            let is_sent = sent.state == MailState::Sent;
            if context.is_json() {
                output::json(&sent);
            } else if is_sent {
                output::line(format!("the server took a test for {}: {}", sent.address, sent.answer));
            } else {
                output::line(format!("the test for {} was not taken: {}", sent.address, sent.answer));
            }
            return Ok(if is_sent { 0 } else { 2 });
        }
        MailCommand::Log { state, list } => {
            let once = async || {
                let query = [("state", state.as_deref())];
                let found = client.pages::<MailDelivery>("/mail/deliveries", &query, list.max).await?.items;
                listed(context, &found);
                Ok(())
            };
            return show(context, &list, once).await;
        }
        MailCommand::Morning { preview: true } => {
            let mail: MorningPreview = client.get("/session/mail/morning", &[]).await?;
            if context.is_json() {
                output::json(&mail);
            } else {
                output::line(format!("Subject: {}\n", mail.subject));
                mail.text.lines().for_each(output::line);
            }
        }
        MailCommand::Morning { preview: false } => {
            client.act(Method::POST, "/session/mail/morning").await?;
            let account: MailAccount = client.get("/session/mail", &[]).await?;
            output::note(format!("the morning mail is on its way to {}", account.address.unwrap_or_default()));
        }
        MailCommand::Account { address, rollouts, approvals, morning } => {
            let wanted = MailAccountPut { address, rollouts, approvals, morning };
            let is_asked = wanted.address.is_none() && rollouts.is_none() && approvals.is_none() && morning.is_none();
            let found: MailAccount = if is_asked {
                client.get("/session/mail", &[]).await?
            } else {
                client.send_json(Method::PUT, "/session/mail", &wanted).await?
            };
            account(context, &found);
        }
    }
    Ok(0)
}

async fn set(context: &Context, args: MailSetArgs) -> Result<u8, CommandError> {
    fn put<T>(into: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *into = value;
        }
    }
    let client = &context.client;
    let before: Mail = client.get("/mail", &[]).await?;
    let mut server = match (before.server, &args.host, &args.from) {
        (Some(server), ..) => server,
        (None, Some(host), Some(from)) => {
            MailServer { host: host.clone(), from: from.clone(), ..MailServer::default() }
        }
        (None, ..) => {
            return Err(CommandError::Usage("no mail server is set yet: give --host and --from".into()));
        }
    };
    put(&mut server.host, args.host);
    put(&mut server.from, args.from);
    put(&mut server.user, args.user);
    put(&mut server.security, args.security);
    put(&mut server.allow_plain, args.allow_plain);
    if args.port.is_some() || args.security.is_some() {
        server.port = args.port;
    }
    if let Some(file) = &args.ca_file {
        let failed = |e| CommandError::Io(format!("read {}", file.display()), e);
        server.ca = fs::read_to_string(file).map_err(failed)?;
    } else if args.system_authorities {
        server.ca.clear();
    }
    let password = match &args.password_file {
        Some(file) => Some(read_secret(file)?),
        // Of nobody there is none.
        None => server.user.is_empty().then(String::new),
    };
    let mut morning = before.morning;
    match args.morning.as_deref() {
        Some("off") => morning.is_on = false,
        Some(at) => (morning.is_on, morning.at) = (true, at.to_owned()),
        None => {}
    }
    put(&mut morning.time_zone, args.zone);
    if args.everybody || !args.recipients.is_empty() {
        morning.recipients = args.recipients;
    }
    let wanted = MailPut { server, password, morning: Some(morning), revision: Some(before.revision) };
    shown(context, &client.send_json(Method::PUT, "/mail", &wanted).await?);
    Ok(0)
}

fn shown(context: &Context, mail: &Mail) {
    if context.is_json() {
        return output::json(mail);
    }
    let Some(server) = &mail.server else {
        return output::note(
            "no mail server is set: lampasctl mail set --host smtp.example.com --from lampas@example.com --user NAME \
             --password-file FILE",
        );
    };
    let user = if server.user.is_empty() { String::new() } else { format!(" as {}", server.user) };
    let password = if mail.has_password { " (password stored)" } else { "" };
    let ca = if server.ca.is_empty() { "" } else { ", own authority" };
    output::line(format!("{}:{}   {}{ca}{user}{password}", server.host, server.port(), server.security.as_str()));
    output::line(format!("  from {}", server.from));
    let morning = &mail.morning;
    if morning.is_on {
        let to = if morning.recipients.is_empty() {
            "everybody who has an address".to_owned()
        } else {
            morning.recipients.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let next = mail.next_morning_at.map_or_else(String::new, |at| format!(", next {}", output::time(at)));
        output::line(format!("  morning mail at {} {} to {to}{next}", morning.at, morning.time_zone));
    } else {
        output::line("  no morning mail");
    }
    output::line(format!(
        "  {} waiting · in the last 24 h {} sent, {} given up",
        mail.waiting, mail.sent, mail.abandoned
    ));
    if let Some(trouble) = &mail.trouble {
        output::note(format!("  can't be delivered since {}: {}", output::time(trouble.since), trouble.reason));
        output::note("  see each message: lampasctl mail log");
    }
}

fn listed(context: &Context, found: &[MailDelivery]) {
    if context.is_json() {
        return output::json(found);
    }
    if found.is_empty() {
        return output::note("no messages yet");
    }
    let row = |d: &MailDelivery| {
        let to = if d.login.is_empty() { d.address.clone() } else { format!("{} <{}>", d.login, d.address) };
        vec![
            ago(Some(d.created_at), now()),
            output::state(d.state.as_str()),
            d.kind.as_str().to_owned(),
            to,
            d.subject.clone(),
            d.attempts.to_string(),
            d.answer.clone(),
        ]
    };
    let heads = ["WHEN", "STATE", "KIND", "TO", "SUBJECT", ">TRIES", "ANSWER"];
    output::table(&heads, found.iter().map(row).collect());
}

fn account(context: &Context, found: &MailAccount) {
    if context.is_json() {
        return output::json(found);
    }
    match (&found.address, &found.suggested) {
        (Some(address), _) => output::line(address),
        (None, Some(suggested)) => {
            output::line("no address: no mail is sent to you");
            output::note(format!(
                "  your identity provider says {suggested}: lampasctl mail account --address {suggested}"
            ));
        }
        (None, None) => {
            output::line("no address: no mail is sent to you");
            output::note("  give one: lampasctl mail account --address NAME@HOST");
        }
    }
    let on = |is_on: bool| if is_on { "on" } else { "off" };
    output::line(format!("  rollouts   {}", found.rollouts.as_str()));
    output::line(format!("  approvals  {}", on(found.approvals)));
    let next = found.next_morning_at.map_or_else(String::new, |at| format!(", next {}", output::time(at)));
    output::line(format!("  morning    {}{next}", on(found.morning)));
    if !found.is_set_up {
        output::note("  no mail server is set: an administrator sets one with lampasctl mail set");
    }
}
