//! Git sources: what the controller reads by itself.

use std::{
    fs,
    io::Read as _,
    path::Path,
    time::{Duration, Instant},
};

use lampas_api::{
    Reason, Source, SourceAccept, SourceCreate, SourceCredential, SourceDetail, SourceSync, SourceUpdate,
};
use lampas_shared::{
    rollout::Strategy,
    secret::{MAX_SECRET_BYTES, SecretText},
    source::SourceState,
};
use reqwest::Method;

use super::{CommandError, Context, confirm, show};
use crate::{
    cli::{SourceCommand, SourceSetArgs},
    client::encode,
    output::{self, ago, count, now},
};

/// Runs `lampasctl source …`.
pub(super) async fn run(context: &Context, command: SourceCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    match command {
        SourceCommand::List { list } => {
            let once = async || {
                let mut found: Vec<Source> = client.get("/sources", &[]).await?;
                found.truncate(list.max.unwrap_or(usize::MAX));
                listed(context, &found);
                Ok(())
            };
            show(context, &list, once).await
        }
        SourceCommand::Show { name } => {
            let found = detail(context, &name).await?;
            if context.is_json() {
                output::json(&found);
            } else {
                shown(context, &found.source);
                differences(&found, false);
            }
            Ok(0)
        }
        SourceCommand::Diff { name } => {
            let found = detail(context, &name).await?;
            if context.is_json() {
                output::json(&found.differences);
            } else {
                differences(&found, true);
            }
            Ok(if found.differences.is_empty() { 0 } else { 10 })
        }
        SourceCommand::Set(args) => set(context, *args).await,
        SourceCommand::Sync { name, all, reason, detach, timeout } => {
            let path = format!("/sources/{}/sync", encode(&name));
            let asked: Source = client.send_json(Method::POST, &path, &SourceSync { all, reason }).await?;
            let source = if detach { asked } else { settled(context, &name, Duration::from_secs(timeout)).await? };
            if context.is_json() {
                output::json(&source);
            } else {
                shown(context, &source);
            }
            Ok(code(&source))
        }
        SourceCommand::Accept { name, commit, reason, sure } => accept(context, &name, commit, reason, &sure).await,
        SourceCommand::Remove { name, reason, sure } => {
            confirm(&sure, &format!("forget the source {name}? The objects that it brought stay"))?;
            let path = format!("/sources/{}", encode(&name));
            client.send_empty(Method::DELETE, &path, &Reason { reason }).await?;
            output::note(format!("the source {name} is forgotten"));
            Ok(0)
        }
    }
}

async fn detail(context: &Context, name: &str) -> Result<SourceDetail, CommandError> {
    Ok(context.client.get(&format!("/sources/{}", encode(name)), &[]).await?)
}

/// Waits until a look that was asked for is over.
async fn settled(context: &Context, name: &str, limit: Duration) -> Result<Source, CommandError> {
    let end = Instant::now() + limit;
    loop {
        let found = detail(context, name).await?.source;
        if !found.is_syncing {
            return Ok(found);
        }
        if Instant::now() >= end {
            output::note(format!("  source {name} is still being looked at"));
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// 0: as git says, or only shown; 2: something is wrong; 3: still being looked at; 4: somebody has to decide.
fn code(source: &Source) -> u8 {
    match source.state {
        _ if source.is_syncing => 3,
        SourceState::Synced | SourceState::Differs | SourceState::New => 0,
        SourceState::Waiting | SourceState::Rewritten => 4,
        SourceState::Failed => 2,
    }
}

fn listed(context: &Context, found: &[Source]) {
    if context.is_json() {
        return output::json(found);
    }
    if found.is_empty() {
        return output::note(
            "no git sources; set one up with: lampasctl source set NAME --url URL --scope role:app, or apply manifests from \
             a checkout with: lampasctl apply -f DIR --source",
        );
    }
    let row = |s: &Source| {
        let commit = s.commit.as_ref().map_or_else(String::new, |c| c.id.chars().take(12).collect());
        vec![
            s.name.to_string(),
            output::state(s.state.as_str()),
            s.mode.as_str().to_owned(),
            s.scope.to_string(),
            commit,
            s.synced_at.map_or_else(|| "never".to_owned(), |t| ago(Some(t), now())),
            s.counts.different().to_string(),
            s.url.to_string(),
        ]
    };
    let heads = ["NAME", "STATE", "MODE", "SCOPE", "COMMIT", "READ", ">DIFFER", "REPOSITORY"];
    output::table(&heads, found.iter().map(row).collect());
}

fn shown(context: &Context, s: &Source) {
    let place = match (&s.branch, &s.tag) {
        (_, Some(tag)) => format!("tag {tag}"),
        (Some(branch), _) => format!("branch {branch}"),
        _ => String::new(),
    };
    let folder = if s.folder.as_str().is_empty() { String::new() } else { format!(", folder {}", s.folder) };
    output::line(format!("{}   {}   {place}{folder}", s.name, s.url));
    let prune = if s.prune { ", prunes" } else { "" };
    let signed = if s.allowed_signers.is_empty() { "" } else { ", signed heads only" };
    output::line(format!(
        "  {} on {}{prune}{signed} · every {} · with the rights of {}",
        s.mode.as_str(),
        s.scope,
        interval(s.interval_secs),
        s.owner
    ));
    if let Some(commit) = &s.commit {
        let by = if commit.signed_by.is_empty() { String::new() } else { format!(", signed by {}", commit.signed_by) };
        let short: String = commit.id.chars().take(12).collect();
        output::line(format!(
            "  commit {short} by {}{by}, {}: {}",
            commit.author,
            ago(Some(commit.at), now()),
            commit.subject
        ));
    }
    let read = s.synced_at.map_or_else(|| "never read".to_owned(), |t| format!("read {}", ago(Some(t), now())));
    let why = if s.why.is_empty() { String::new() } else { format!(": {}", s.why) };
    output::line(format!("  {} · {read}{why}", output::state(s.state.as_str())));
    if let Some(problem) = &s.problem {
        for mistake in problem.mistakes.iter().take(20) {
            output::line(format!("    {mistake}"));
        }
        output::note(format!("  {}", problem.remedy));
    }
    for key in &s.offered_keys {
        output::line(format!("    {}   {}", key.fingerprint, key.key.split(' ').next().unwrap_or_default()));
        output::note(format!("    pin it, once compared: lampasctl source set {} --pin {}", s.name, key.fingerprint));
    }
    for note in &s.notes {
        output::note(format!("  note: {note}"));
    }
    if let Some(change) = s.change {
        output::note(format!(
            "  change {change}: lampasctl change show {change} · {}/changes/{change}",
            context.client.server()
        ));
    }
    output::note(format!("  {}/sources/{}", context.client.server(), s.name));
}

fn interval(secs: u32) -> String {
    match secs {
        s if s % 3600 == 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

fn differences(found: &SourceDetail, with_diff: bool) {
    for d in &found.differences {
        let by = if d.by.is_empty() { String::new() } else { format!("   by {} {}", d.by, ago(d.at, now())) };
        let next = if d.is_pending { "" } else { "   stays until somebody decides" };
        let what = d.what.as_str();
        output::line(format!("  {what:8} {}   {}:{}{by}{next}", d.key, d.file, d.line));
        if with_diff {
            let changed: Vec<&str> = output::diff_lines(&d.diff).collect();
            output::diff(&changed.join("\n"), "      ");
        }
    }
    let counts = found.source.counts;
    let name = &found.source.name;
    if found.differences.is_empty() {
        output::note(format!("  nothing differs ({})", count(u64::from(counts.same), "object")));
    } else if with_diff {
        output::note(format!("  bring all of it: lampasctl source sync {name} --all"));
    } else {
        output::note(format!("  see how: lampasctl source diff {name}"));
    }
}

async fn set(context: &Context, args: SourceSetArgs) -> Result<u8, CommandError> {
    let client = &context.client;
    let strategy = args.rollout.strategy().map_err(CommandError::Usage)?;
    let rollout = Some(strategy).filter(|s| *s != Strategy::default());
    let before = match detail(context, args.name.as_str()).await {
        Ok(found) => Some(found.source),
        Err(CommandError::Call(error)) if error.code() == "not_found" => None,
        Err(error) => return Err(error),
    };
    let credential = match &args.credential {
        Some(file) => Some(SourceCredential { user: args.user.clone(), secret: secret(file)? }),
        None => None,
    };
    let signers = match &args.allowed_signers {
        Some(file) => {
            let failed = |e| CommandError::Io(format!("read {}", file.display()), e);
            Some(fs::read_to_string(file).map_err(failed)?)
        }
        None => args.no_signatures.then(String::new),
    };
    let interval_secs = args.interval.map(|s| u32::try_from(s).unwrap_or(u32::MAX));
    let mut host_keys = args.host_keys.clone();
    if let (Some(fingerprint), Some(before)) = (&args.pin, &before) {
        let known = before.offered_keys.iter().chain(&before.host_keys);
        let found = known.into_iter().find(|k| k.fingerprint == *fingerprint);
        let none = || {
            CommandError::Usage(format!(
                "the host showed no key {fingerprint}; look: lampasctl source show {}",
                args.name
            ))
        };
        host_keys = vec![found.ok_or_else(none)?.key.clone()];
    }
    let source: Source = match before {
        None => {
            let lack = |what: &str| CommandError::Usage(format!("there is no source {} yet: give {what}", args.name));
            let request = SourceCreate {
                name: args.name.clone(),
                url: args.url.ok_or_else(|| lack("--url"))?,
                branch: args.branch,
                tag: args.tag,
                folder: args.folder,
                scope: args.scope.ok_or_else(|| lack("--scope, what its manifests may touch"))?,
                mode: args.mode.unwrap_or_default(),
                prune: args.prune.unwrap_or(false),
                interval_secs,
                allow_unplanned: args.allow_unplanned.unwrap_or(false),
                rollout: rollout.unwrap_or_default(),
                credential,
                host_keys,
                allowed_signers: signers.unwrap_or_default(),
                reason: args.reason,
            };
            client.send_json(Method::POST, "/sources", &request).await?
        }
        Some(_) => {
            let request = SourceUpdate {
                name: None,
                url: args.url,
                branch: args.branch,
                tag: args.tag,
                folder: args.folder,
                scope: args.scope,
                mode: args.mode,
                prune: args.prune,
                interval_secs,
                allow_unplanned: args.allow_unplanned,
                rollout,
                credential,
                forget_credential: args.forget_credential,
                host_keys: Some(host_keys).filter(|k| !k.is_empty()),
                allowed_signers: signers,
                reason: args.reason,
            };
            if !args.mine && serde_json::to_value(&request).ok() == serde_json::to_value(SourceUpdate::default()).ok() {
                return Err(CommandError::Usage("nothing is to be set; --mine takes it over as it is".into()));
            }
            let path = format!("/sources/{}", encode(args.name.as_str()));
            client.send_json(Method::PATCH, &path, &request).await?
        }
    };
    if context.is_json() {
        output::json(&source);
    } else {
        shown(context, &source);
        output::note(format!("  it is being looked at: lampasctl source sync {} waits for it", source.name));
    }
    Ok(0)
}

/// Reads a credential: never from the arguments, which everybody on this machine can see.
fn secret(file: &Path) -> Result<SecretText, CommandError> {
    let failed = |e| CommandError::Io(format!("read {}", file.display()), e);
    let limit = MAX_SECRET_BYTES as u64 + 1;
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(limit).read_to_string(&mut text).map_err(failed)?;
    } else {
        fs::File::open(file).and_then(|f| f.take(limit).read_to_string(&mut text)).map_err(failed)?;
    }
    Ok(SecretText::parse(text)?)
}

async fn accept(
    context: &Context,
    name: &str,
    commit: Option<String>,
    reason: String,
    sure: &crate::cli::Sure,
) -> Result<u8, CommandError> {
    let found = detail(context, name).await?.source;
    let none =
        || CommandError::Usage(format!("the history of source {name} was not rewritten: there is nothing to accept"));
    let refused = found.refused.as_ref().ok_or_else(none)?;
    if commit.as_ref().is_some_and(|c| *c != refused.id) {
        return Err(CommandError::Usage(format!("the head that was refused is {} meanwhile", refused.id)));
    }
    let before = found.commit.as_ref().map(|c| c.id.clone()).unwrap_or_default();
    output::line(format!("  {} by {}: {}", refused.id, refused.author, refused.subject));
    confirm(sure, &format!("take it, although it doesn't follow on {before}?"))?;
    let request = SourceAccept { commit: refused.id.clone(), reason };
    let path = format!("/sources/{}/accept", encode(name));
    let _: Source = context.client.send_json(Method::POST, &path, &request).await?;
    let source = settled(context, name, Duration::from_secs(300)).await?;
    if context.is_json() {
        output::json(&source);
    } else {
        shown(context, &source);
    }
    Ok(code(&source))
}
