//! `apply`, `diff` and `export`: manifests.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use lampas_api::{AbandonRequest, Change, ChangeCreate, ChangeSummary, Draft, DraftAct, Export, ManifestSet, Problem};
use lampas_manifest::{ManifestEntry, ManifestFile};
use lampas_shared::rollout::Strategy;

use super::{CommandError, Context, approval, change, checkout, node, past, plan};
use crate::{
    cli::{ApplyArgs, DiffArgs, ExportArgs, SetArgs},
    client::CallError,
    output,
};

/// Runs `lampasctl apply`.
pub(super) async fn apply(context: &Context, args: ApplyArgs) -> Result<u8, CommandError> {
    let strategy = args.how.rollout.strategy().map_err(CommandError::Usage)?;
    let limited = Strategy { limit: strategy.limit.clone(), ..Strategy::default() };
    let how = approval::How::new(args.how.allow_unplanned, strategy, &args.how.control, &args.how.reason)?;
    match (args.file.is_empty(), args.plan.as_deref()) {
        (true, None | Some("")) => Err(CommandError::Usage(
            "give manifests with -f FILE, or a plan that was made before with --plan ID".into(),
        )),
        (true, Some(id)) => {
            let found = context.client.pages::<ChangeSummary>("/changes", &[("plan", Some(id))], Some(2)).await?.items;
            match found.as_slice() {
                [one] => approval::apply(context, &one.number.to_string(), id, how, &args.how.wait).await,
                [] => Err(CommandError::Usage(format!(
                    "there is no plan {id}; plans end when anything moves: plan again"
                ))),
                _ => Err(CommandError::Usage(format!("more than one plan begins with {id}; give more digits"))),
            }
        }
        (false, Some(id)) if !id.is_empty() => {
            Err(CommandError::Usage("give either manifests with -f, or a plan's id with --plan, not both".into()))
        }
        (false, only_plan) => {
            let reason = match args.source {
                false => args.how.reason,
                true if args.how.reason.is_empty() => checkout::commit(&args.file)?,
                true => format!("{} ({})", args.how.reason, checkout::commit(&args.file)?),
            };
            let reason = reason.chars().take(500).collect();
            let only_look = only_plan.is_some() || args.markdown;
            let made = match create(context, &args.file, args.set.wanted(), limited, (reason, only_look)).await {
                Err(CommandError::Call(error)) if is_gone(&args.set, &error) => {
                    output::line(format!("  nothing to do: {error}"));
                    return Ok(0);
                }
                made => made?,
            };
            if args.markdown {
                let has_work = plan::has_work(&made);
                let differs = has_work || plan::is_awaited(&made);
                if !has_work {
                    drop_change(context, &made).await?;
                }
                output::line(checkout::markdown(&made, context.client.server()).trim_end());
                return Ok(if differs { 10 } else { 0 });
            }
            if !plan::has_work(&made) {
                drop_change(context, &made).await?;
                if !plan::is_awaited(&made) && node::undone(context, &made).await? {
                    if context.is_json() {
                        output::json(&made);
                    }
                    return Ok(if only_plan.is_none() { 2 } else { 10 });
                }
                let code = change::shown_plan(context, &made)?;
                // Nothing is to do here, and yet not all is so: what is on its way goes on without this.
                return Ok(if code != 0 && only_plan.is_none() { 3 } else { code });
            }
            if only_plan.is_some() {
                return change::shown_plan(context, &made);
            }
            let Some(current) = &made.plan else { return change::shown_plan(context, &made) };
            if !context.is_json() {
                plan::print(&made);
            }
            let is_refused = !current.unplanned.is_empty() && !args.how.allow_unplanned;
            if is_refused || !current.blockers.is_empty() {
                plan::not_applied(context, &made);
                if is_refused && current.blockers.is_empty() {
                    output::note(format!(
                        "  some nodes could not be asked; to go on, so that they get it when they return: \
                         lampasctl apply --plan {} --allow-unplanned --wait",
                        current.id
                    ));
                }
                return Ok(2);
            }
            approval::apply(context, &made.summary.number.to_string(), &current.id, how, &args.how.wait).await
        }
    }
}

/// Runs `lampasctl diff`.
pub(super) async fn diff(context: &Context, args: DiffArgs) -> Result<u8, CommandError> {
    if let Some(from) = args.past.from {
        return past::diff(context, from, &args.past).await;
    }
    let about = (String::new(), true);
    let made = match create(context, &args.file, args.set.wanted(), Strategy::default(), about).await {
        Err(CommandError::Call(error)) if is_gone(&args.set, &error) => {
            output::line(format!("  nothing to do: {error}"));
            return Ok(0);
        }
        made => made?,
    };
    drop_change(context, &made).await?;
    if !plan::has_work(&made) && !plan::is_awaited(&made) && node::undone(context, &made).await? {
        if context.is_json() {
            output::json(&made);
        }
        return Ok(10);
    }
    change::shown_compared(context, &made)
}

/// Returns whether all of a set was to go and is gone: a pipeline that says so again changes nothing.
fn is_gone(set: &SetArgs, error: &CallError) -> bool {
    set.allow_empty && error.code() == "set.empty"
}

/// Drops a change that only served for looking: it waits for nobody, and stands in no list.
pub(super) async fn drop_change(context: &Context, change: &Change) -> Result<(), CommandError> {
    let path = format!("/changes/{}/abandon", change.summary.number);
    Ok(context.client.send_empty(reqwest::Method::POST, &path, &AbandonRequest { forget: true }).await?)
}

/// Runs `lampasctl export`.
pub(super) async fn export(context: &Context, args: ExportArgs) -> Result<u8, CommandError> {
    let at = args.at.map(|at| at.to_string());
    let query = [("scope", args.scope.as_deref()), ("kind", args.kind.as_deref()), ("at", at.as_deref())];
    let export: Export = context.client.get("/export", &query).await?;
    if context.is_json() {
        output::json(&export);
    } else {
        output::line(export.manifest.trim_end());
        output::note(format!("# {} objects", export.objects));
    }
    Ok(0)
}

/// Reads the manifests and makes a planned change of them.
async fn create(
    context: &Context,
    files: &[PathBuf],
    set: Option<ManifestSet>,
    rollout: Strategy,
    (reason, only_look): (String, bool),
) -> Result<Change, CommandError> {
    let allow_empty = set.as_ref().is_some_and(|s| s.allow_empty);
    let texts = read(files, allow_empty)?;
    let manifests: Vec<_> = texts.iter().map(|(name, text)| ManifestFile { name, text }).collect();
    let entries = lampas_manifest::parse(&manifests, &source_beside)?;
    let drafts: Vec<Draft> = entries.iter().map(draft).collect();
    if drafts.is_empty() && !allow_empty {
        let why = "the manifests hold no objects";
        return Err(CommandError::Usage(match &set {
            Some(set) if set.prune => {
                format!("{why}; to delete all of the set {}, say so with --allow-empty", set.name)
            }
            _ => why.to_owned(),
        }));
    }
    let request = ChangeCreate {
        drafts,
        node_edits: Vec::new(),
        reason,
        apply: false,
        only_look,
        allow_unplanned: false,
        rollout,
        set,
    };
    let key = uuid::Uuid::new_v4().to_string();
    let mut made = context.client.post_once("/changes", &key, &request).await;
    if let Err(CallError::Refused(problem)) = &mut made {
        place(problem, &entries);
    }
    Ok(made?)
}

/// Says of what is wrong with an object in which manifest and line it stands.
fn place(problem: &mut Problem, entries: &[ManifestEntry]) {
    for field in &mut problem.fields {
        let Some((name, field_name)) = field.pointer.strip_prefix("/drafts/").and_then(|p| p.rsplit_once('/')) else {
            continue;
        };
        let mut named = entries.iter().filter(|e| e.key.name.as_str() == name);
        let stands = |e: &&ManifestEntry| field.detail.contains(&e.key.to_string());
        let entry = named.clone().find(stands).or_else(|| named.next());
        if let Some(entry) = entry {
            field.pointer = format!("{}:{}: {field_name}", entry.file, entry.line);
        }
    }
}

fn draft(entry: &ManifestEntry) -> Draft {
    let act = match &entry.spec {
        Some(spec) => DraftAct::Put(spec.clone()),
        None => DraftAct::Delete(entry.key.clone()),
    };
    Draft { act, base: None, previous_name: entry.previous_name.clone() }
}

/// Reads files, directories (their `*.toml` by name, not below) and standard input.
fn read(files: &[PathBuf], allow_empty: bool) -> Result<Vec<(String, String)>, CommandError> {
    let mut manifests = Vec::new();
    for file in files {
        let io = |e| CommandError::Io(format!("read {}", file.display()), e);
        if file == Path::new("-") {
            let mut text = String::new();
            io::stdin().take(16 << 20).read_to_string(&mut text).map_err(io)?;
            manifests.push(("standard input".into(), text));
        } else if file.is_dir() {
            let mut found: Vec<PathBuf> = fs::read_dir(file)
                .map_err(io)?
                .map(|entry| entry.map(|e| e.path()))
                .collect::<Result<_, _>>()
                .map_err(io)?;
            found.retain(|p| p.extension().is_some_and(|e| e == "toml"));
            found.sort();
            if found.is_empty() && !allow_empty {
                return Err(CommandError::Usage(format!("{} holds no *.toml", file.display())));
            }
            for path in found {
                let text =
                    fs::read_to_string(&path).map_err(|e| CommandError::Io(format!("read {}", path.display()), e))?;
                manifests.push((path.display().to_string(), text));
            }
        } else {
            let text = fs::read_to_string(file).map_err(io)?;
            manifests.push((file.display().to_string(), text));
        }
    }
    Ok(manifests)
}

/// Reads what a manifest names by `source`, beside it; the path was checked not to leave the manifest's directory.
fn source_beside(manifest: &str, source: &str) -> Result<Vec<u8>, String> {
    let directory = Path::new(manifest).parent().unwrap_or(Path::new("."));
    let root = directory.canonicalize().map_err(|e| e.to_string())?;
    let path = root.join(source).canonicalize().map_err(|e| e.to_string())?;
    if !path.starts_with(&root) {
        return Err("leads out of the manifest's directory by a symbolic link".into());
    }
    let mut bytes = Vec::new();
    let read = fs::File::open(&path).and_then(|f| f.take((1 << 20) + 1).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|e| e.to_string())
}
