//! Changes by hand: revert or adopt.

use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use lampas_api::{AdoptRequest, Adopted, Change, Drift, DriftMerge, MergeSide};
use lampas_shared::{id::DriftId, report::DriftOutcome, rollout::Strategy};
use reqwest::Method;

use super::{CommandError, Context, listed, plan, progress, show};
use crate::{
    cli::{Conflicts, DriftCommand},
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
                listed(context, &page, "nothing has drifted", |items| {
                    let row = |d: &Drift| {
                        let word = match d.outcome {
                            DriftOutcome::Standing => "standing",
                            DriftOutcome::Repaired => "repaired",
                            DriftOutcome::Resolved => "resolved",
                        };
                        let object = format!("{} {} ({})", d.kind, d.name, d.scope);
                        let owner = d.owner.clone().unwrap_or_else(|| "gone".into());
                        // What was put back is told from what was merely gone again.
                        let cause = d.cause.map(|c| format!(" ({})", c.as_str())).unwrap_or_default();
                        vec![
                            format!("{}:{}", d.node.name, d.path),
                            format!("{}{cause}", state(word)),
                            object,
                            owner,
                            ago(Some(d.found_at), now()),
                            d.id.to_string(),
                        ]
                    };
                    output::table(
                        &["WHERE", "STATE", "OBJECT", "OWNER", "FOUND", "ID"],
                        items.iter().map(row).collect(),
                    );
                });
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
                    if drift.merges {
                        output::note(format!(
                            "a template made it: see what it becomes:  lampasctl drift adopt {} --merge -",
                            drift.id
                        ));
                    }
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
        DriftCommand::Adopt { drift, merge: Some(to), .. } => merge(context, &find(context, &drift).await?, &to).await,
        DriftCommand::Adopt { drift, scope, reason, merge: None, resolved, merge_id, conflicts, apply, wait } => {
            let drift = find(context, &drift).await?;
            let (content, merge) = match resolved {
                None => (None, None),
                Some(file) => {
                    let text = std::fs::read_to_string(&file)
                        .map_err(|e| CommandError::Io(format!("read {}", file.display()), e))?;
                    (Some(text), merge_id)
                }
            };
            let conflicts = conflicts.map(|side| match side {
                Conflicts::Template => MergeSide::Template,
                Conflicts::Node => MergeSide::Node,
            });
            let request = AdoptRequest { scope, reason, conflicts, content, merge };
            let path = format!("/drift/{}/adopt", drift.id);
            let adopted: Adopted = match client.send_json(Method::POST, &path, &request).await {
                Err(error) if error.code() == "drift.conflicts" => {
                    output::note(format!(
                        "see them:  lampasctl drift adopt {} --merge FILE\nor take one side:  lampasctl drift adopt {} --conflicts \
                         template|node",
                        drift.id, drift.id
                    ));
                    return Err(error.into());
                }
                other => other?,
            };
            match adopted.differs {
                Some(0) => output::note(format!("{} stays as it stands on {}", drift.path, drift.node.name)),
                Some(lines) => output::note(format!(
                    "on {} the file shall be otherwise than it stands, in {}: the node takes that with the change, unless the file is \
                     edited again before",
                    drift.node.name,
                    output::count(u64::from(lines), "line")
                )),
                None => {}
            }
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

async fn merged(context: &Context, drift: &Drift) -> Result<DriftMerge, CommandError> {
    Ok(context.client.get(&format!("/drift/{}/merge", drift.id), &[]).await?)
}

/// Writes a merge with its conflicts marked; 10 says that there are some.
async fn merge(context: &Context, drift: &Drift, to: &Path) -> Result<u8, CommandError> {
    let merge = merged(context, drift).await?;
    let code = if merge.conflicts == 0 { 0 } else { 10 };
    if context.is_json() {
        output::json(&merge);
        return Ok(code);
    }
    let is_stdout = to == Path::new("-");
    if is_stdout {
        merge.marked.lines().for_each(output::line);
    } else {
        // What stands on a node isn't for everybody here.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to);
        file.and_then(|mut file| file.write_all(merge.marked.as_bytes()))
            .map_err(|e| CommandError::Io(format!("write {}", to.display()), e))?;
    }
    if merge.conflicts == 0 {
        output::note(format!("no conflict; adopt it:  lampasctl drift adopt {}", drift.id));
    } else {
        let file = if is_stdout { "FILE".to_owned() } else { to.display().to_string() };
        output::note(format!(
            "{}; decide in {file}, and adopt it:  lampasctl drift adopt {} --resolved {file} --merge-id {}",
            output::count(u64::from(merge.conflicts), "conflict"),
            drift.id,
            merge.id
        ));
    }
    Ok(code)
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
