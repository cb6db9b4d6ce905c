//! The audit and the stream of events.

mod check;

use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use futures_util::StreamExt as _;
use lampas_api::{AuditEntry, AuditHead, AuditVerification};

use super::{CommandError, Context, show};
use crate::{
    cli::{AuditArgs, AuditCommand, AuditFilter, EventsArgs},
    output::{self, time},
};

/// Runs `lampasctl audit`.
pub(super) async fn list(context: &Context, args: AuditArgs) -> Result<u8, CommandError> {
    match args.command {
        Some(AuditCommand::Export { filter, format, to }) => {
            return export(context, &filter, &format, to.as_deref()).await;
        }
        Some(AuditCommand::Heads { to }) => return heads(context, to.as_deref()).await,
        Some(AuditCommand::Verify { file: Some(file), filtered, head, heads }) => {
            return check::file(context, &file, filtered, head.as_deref(), heads);
        }
        Some(AuditCommand::Verify { file: None, filtered, head, heads })
            if filtered || head.is_some() || !heads.is_empty() =>
        {
            return Err(CommandError::Usage("--filtered, --head and --heads are about a FILE".into()));
        }
        _ => {}
    }
    if args.verify || args.command.is_some() {
        let verification: AuditVerification = context.client.get("/audit/verification", &[]).await?;
        let broken = verification.broken_at;
        if context.is_json() {
            output::json(&verification);
        } else {
            match broken {
                None => output::line(format!(
                    "{} entries, whole, with {} signed by nodes; head {}",
                    verification.entries,
                    output::count(verification.countersigned, "head"),
                    verification.head
                )),
                Some(seq) => {
                    let how = verification.broken_how.as_deref().unwrap_or("it or one before it was altered");
                    output::line(format!("the chain is broken at entry {seq}: {how}"));
                }
            }
        }
        verification.rewritten.iter().for_each(|why| output::note(format!("rewritten: {why}")));
        return Ok(u8::from(broken.is_some() || !verification.rewritten.is_empty()));
    }
    let query = args.filter.query();
    show(context, &args.list, async || {
        let page = context.client.pages::<AuditEntry>("/audit", &query, args.list.max.or(Some(50))).await?;
        if context.is_json() {
            output::json(&page);
        } else {
            let row = |e: &AuditEntry| {
                vec![
                    e.seq.to_string(),
                    time(e.at),
                    e.principal.clone(),
                    e.from.clone(),
                    e.act.clone(),
                    e.object.clone(),
                    e.result.clone(),
                    e.reason.clone(),
                ]
            };
            let heads = [">SEQ", "WHEN", "WHO", "FROM", "ACT", "ON", "RESULT", "WHY"];
            output::table(&heads, page.items.iter().map(row).collect());
        }
        Ok(())
    })
    .await
}

/// Writes an export as it arrives. One that breaks off leaves no file.
async fn export(context: &Context, filter: &AuditFilter, format: &str, to: Option<&Path>) -> Result<u8, CommandError> {
    let mut query = filter.query().to_vec();
    query.push(("format", Some(format)));
    let mut bytes = context.client.download("/audit/export", &query).await?;
    let Some(path) = to else {
        while let Some(chunk) = bytes.next().await {
            std::io::stdout().write_all(&chunk?).map_err(|e| CommandError::Io("write the export".into(), e))?;
        }
        return Ok(0);
    };
    let failed = |e| CommandError::Io(format!("write {}", path.display()), e);
    if path.exists() {
        return Err(CommandError::Usage(format!("{} is there already", path.display())));
    }
    let beside = path.with_extension("part");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(failed)?;
    let mut done = Ok(());
    while let Some(chunk) = bytes.next().await {
        done = chunk.map_err(CommandError::from).and_then(|c| file.write_all(&c).map_err(failed));
        if done.is_err() {
            break;
        }
    }
    let done = done.and_then(|()| file.sync_all().and_then(|()| std::fs::rename(&beside, path)).map_err(failed));
    if done.is_err() {
        // What failed matters more than the leftover.
        let _ = std::fs::remove_file(&beside);
    }
    done?;
    let heads = check::beside(path);
    write_heads(&signed_heads(context).await?, &heads)?;
    output::note(format!("{}; check it anywhere with: lampasctl audit verify {0}", path.display()));
    Ok(0)
}

async fn signed_heads(context: &Context) -> Result<Vec<AuditHead>, CommandError> {
    Ok(context.client.get("/audit/heads", &[]).await?)
}

fn write_heads(heads: &[AuditHead], path: &Path) -> Result<(), CommandError> {
    let failed = |e| CommandError::Io(format!("write {}", path.display()), e);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    for head in heads {
        let line = serde_json::to_string(head).expect("a head is JSON");
        writeln!(file, "{line}").map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}

/// Prints the heads that nodes signed, or writes them.
async fn heads(context: &Context, to: Option<&Path>) -> Result<u8, CommandError> {
    let heads = signed_heads(context).await?;
    if let Some(path) = to {
        write_heads(&heads, path)?;
        output::note(format!(
            "{}; compare an export with them: lampasctl audit verify EXPORT --heads {0}",
            path.display()
        ));
        return Ok(0);
    }
    if context.is_json() {
        output::json(&heads);
        return Ok(0);
    }
    let row = |h: &AuditHead| {
        let told = h.contradicts_seq.map(|seq| format!("contradicts entry {seq}, which it was shown before"));
        let at = time(lampas_shared::time::UnixMs(h.at_ms));
        vec![h.name.clone(), h.seq.to_string(), at, h.hash.clone(), told.unwrap_or_default()]
    };
    output::table(&["NODE", ">SEQ", "SIGNED", "HASH", ""], heads.iter().map(row).collect());
    Ok(0)
}

/// Runs `lampasctl events`: until interrupted; goes on where it was when the connection breaks.
pub(super) async fn events(context: &Context, args: EventsArgs) -> Result<u8, CommandError> {
    let mut after = args.after;
    let mut was_connected = false;
    loop {
        let Some(mut events) = super::connected(context, after, &mut was_connected).await? else { continue };
        while let Some(event) = events.next().await {
            let event = event?;
            after = Some(event.seq);
            if context.is_json() {
                output::line(serde_json::to_string(&event).unwrap_or_default());
            } else {
                let details: Vec<String> = event.details.iter().map(|(k, v)| format!("{k}={v}")).collect();
                output::line(format!(
                    "{}  {:>6}  {}  {}",
                    time(event.at),
                    event.seq,
                    event.kind.as_str(),
                    details.join(" ")
                ));
            }
        }
        output::note("the connection to the controller was lost; trying again");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
