//! Changes by hand: revert or adopt.

use lampas_api::{AdoptRequest, Adopted, Change, Drift};
use lampas_shared::{id::DriftId, report::DriftOutcome, rollout::Strategy};
use reqwest::Method;

use super::{CommandError, Context, plan, progress, show};
use crate::{
    cli::DriftCommand,
    client::encode,
    output::{self, ago, now, state},
};

/// Runs `lampasctl drift …`.
pub(super) async fn run(context: &Context, command: DriftCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    match command {
        DriftCommand::List { node, all, list } => {
            show(context, &list, async || {
                let query = [("node", node.as_deref()), ("standing", (!all).then_some("true"))];
                let page = client.pages::<Drift>("/drift", &query, list.max).await?;
                if context.is_json() {
                    output::json(&page);
                } else if page.items.is_empty() {
                    output::note("nothing has drifted");
                } else {
                    let row = |d: &Drift| {
                        let word = match d.outcome {
                            DriftOutcome::Standing => "standing",
                            DriftOutcome::Repaired => "repaired",
                            DriftOutcome::Resolved => "resolved",
                        };
                        let object = format!("{} {} ({})", d.kind, d.name, d.scope);
                        let owner = d.owner.clone().unwrap_or_else(|| "gone".into());
                        vec![
                            format!("{}:{}", d.node.name, d.path),
                            state(word),
                            object,
                            owner,
                            ago(Some(d.found_at), now()),
                            d.id.to_string(),
                        ]
                    };
                    output::table(
                        &["WHERE", "STATE", "OBJECT", "OWNER", "FOUND", "ID"],
                        page.items.iter().map(row).collect(),
                    );
                }
                Ok(())
            })
            .await
        }
        DriftCommand::Show { drift } => {
            let drift = find(context, &drift).await?;
            if context.is_json() {
                output::json(&drift);
                return Ok(0);
            }
            output::line(format!(
                "{} {} ({}) on {}: {}",
                drift.kind, drift.name, drift.scope, drift.node.name, drift.path
            ));
            match (&drift.owner, &drift.mode) {
                (Some(owner), Some(mode)) => output::line(format!(
                    "  owned by {owner}, mode {mode}, written {}, noticed {}",
                    ago(drift.modified_at, now()),
                    ago(Some(drift.found_at), now())
                )),
                _ => output::line(format!("  removed; noticed {}", ago(Some(drift.found_at), now()))),
            }
            output::diff(&drift.diff, "  ");
            if drift.outcome == DriftOutcome::Standing {
                output::note(format!("put it back:  lampasctl drift revert {}", drift.id));
                if drift.adopt_refusal.is_empty() {
                    output::note(format!(
                        "keep it for {} ({}):  lampasctl drift adopt {}",
                        drift.scope,
                        output::count(u64::from(drift.scope_nodes), "node"),
                        drift.id
                    ));
                } else {
                    output::note(format!("it can't be adopted: {}", drift.adopt_refusal));
                }
            }
            Ok(0)
        }
        DriftCommand::Revert { drift } => {
            let drift = find(context, &drift).await?;
            client.act(Method::POST, &format!("/drift/{}/revert", drift.id)).await?;
            output::note(format!("{} on {} is as desired again", drift.path, drift.node.name));
            Ok(0)
        }
        DriftCommand::Adopt { drift, scope, reason, apply, wait } => {
            let drift = find(context, &drift).await?;
            let request = AdoptRequest { scope, reason };
            let path = format!("/drift/{}/adopt", drift.id);
            let adopted: Adopted = client.send_json(Method::POST, &path, &request).await?;
            let change: Change = client.get(&format!("/changes/{}", adopted.number), &[]).await?;
            match &change.plan {
                Some(current) if apply || wait.wait => {
                    if !context.is_json() {
                        plan::print(&change);
                    }
                    progress::apply(
                        context,
                        &adopted.number.to_string(),
                        &current.id,
                        (true, Strategy::default()),
                        &wait,
                    )
                    .await
                }
                _ => super::change::shown_plan(context, &change),
            }
        }
    }
}

/// Finds a drift by its id, or the standing one by NODE:PATH.
async fn find(context: &Context, text: &str) -> Result<Drift, CommandError> {
    if DriftId::parse(text).is_ok() {
        return Ok(context.client.get(&format!("/drift/{}", encode(text)), &[]).await?);
    }
    let Some((node, path)) = text.split_once(':') else {
        return Err(CommandError::Usage(format!("{text:?} is neither an id nor NODE:PATH")));
    };
    let query = [("node", Some(node)), ("standing", Some("true"))];
    let standing = context.client.pages::<Drift>("/drift", &query, None).await?.items;
    let found = standing.into_iter().find(|d| d.path == path);
    found.ok_or_else(|| CommandError::Usage(format!("{path} has not drifted on {node}; see: lampasctl drift list")))
}
