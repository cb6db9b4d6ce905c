//! The audit and the stream of events.

use futures_util::StreamExt as _;
use lampas_api::{AuditEntry, AuditVerification};

use super::{CommandError, Context, show};
use crate::{
    cli::{AuditArgs, EventsArgs},
    output::{self, time},
};

/// Runs `lampasctl audit`.
pub(super) async fn list(context: &Context, args: AuditArgs) -> Result<u8, CommandError> {
    if args.verify {
        let verification: AuditVerification = context.client.get("/audit/verification", &[]).await?;
        let broken = verification.broken_at;
        if context.is_json() {
            output::json(&verification);
        } else {
            match broken {
                None => output::line(format!("{} entries, whole; head {}", verification.entries, verification.head)),
                Some(seq) => {
                    output::line(format!("the chain is broken at entry {seq}: it or one before it was altered"));
                }
            }
        }
        return Ok(u8::from(broken.is_some()));
    }
    let query = [("principal", args.principal.as_deref()), ("act", args.act.as_deref())];
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
