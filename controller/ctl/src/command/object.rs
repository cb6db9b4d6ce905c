//! Objects and their history.

use lampas_api::{
    Change, ChangeCreate, Draft, DraftAct, DraftVerb, History, HistoryItem, Object, ObjectSet, ObjectSource,
    ObjectSummary, Revision, RevisionDiff,
};
use lampas_shared::{id::ObjectId, object::ObjectKey, rollout::Strategy};

use super::{CommandError, Context, confirm, listed, plan, progress, show};
use crate::{
    cli::{HistoryArgs, ObjectCommand, Sure, WaitArgs},
    client::encode,
    output::{self, ago, count, now},
};

/// Runs `lampasctl object …`.
pub(super) async fn run(context: &Context, command: ObjectCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    match command {
        ObjectCommand::List { query, kind, scope, set, list } => {
            show(context, &list, async || {
                let query = [
                    ("query", query.as_deref()),
                    ("kind", kind.as_deref()),
                    ("scope", scope.as_deref()),
                    ("set", set.as_deref()),
                ];
                let page = client.pages::<ObjectSummary>("/objects", &query, list.max).await?;
                listed(context, &page, "no objects; make some with: lampasctl apply -f FILE", objects);
                Ok(())
            })
            .await
        }
        ObjectCommand::Sets => {
            let sets: Vec<ObjectSet> = client.get("/sets", &[]).await?;
            if context.is_json() {
                output::json(&sets);
            } else if sets.is_empty() {
                output::note("no sets; manifests become one with: lampasctl apply -f DIR --set NAME");
            } else {
                let row =
                    |s: &ObjectSet| vec![s.name.to_string(), s.objects.to_string(), ago(Some(s.updated_at), now())];
                output::table(&["NAME", ">OBJECTS", "CHANGED"], sets.iter().map(row).collect());
            }
            Ok(0)
        }
        ObjectCommand::Deleted { kind, scope, name, list } => {
            show(context, &list, async || {
                let query = [("kind", kind.as_deref()), ("scope", scope.as_deref()), ("name", name.as_deref())];
                let page = client.pages::<ObjectSummary>("/objects/deleted", &query, list.max).await?;
                listed(context, &page, "no object was deleted", gone);
                Ok(())
            })
            .await
        }
        ObjectCommand::Show { object } => {
            let object = find(context, &object).await?;
            if context.is_json() {
                output::json(&object);
                return Ok(0);
            }
            output::line(lampas_manifest::export(std::slice::from_ref(&object.spec)).trim_end());
            output::line("");
            let about = &object.about;
            output::line(format!(
                "# revision {} by {}, {}",
                about.revision,
                about.author,
                ago(Some(about.updated_at), now())
            ));
            let names: Vec<&str> = object.effective_on.iter().take(10).map(|n| n.name.as_str()).collect();
            let more = object.effective_on.len().saturating_sub(10);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            output::line(format!(
                "# on {}: {}{more}",
                count(object.effective_on.len() as u64, "node"),
                names.join(", ")
            ));
            let path = format!("/objects/{}/sources", about.id);
            let sources =
                if object.is_deleted { Vec::new() } else { client.get::<Vec<ObjectSource>>(&path, &[]).await? };
            sources.iter().for_each(from_source);
            if let Some(set) = &about.set {
                output::line(format!("# of the set of manifests {set}: lampasctl object list --set {set}"));
            }
            for other in &object.overridden_on {
                output::line(format!("# not on {}: {} wins there", other.node.name, other.by_text));
            }
            Ok(0)
        }
        ObjectCommand::History { object } => {
            let id = ever(context, &object).await?.about.id;
            let page = client.pages::<Revision>(&format!("/objects/{id}/revisions"), &[], None).await?;
            if context.is_json() {
                output::json(&page);
                return Ok(0);
            }
            let row = |r: &Revision| {
                let what = if r.is_deletion { "deleted" } else { "" };
                vec![
                    r.revision.to_string(),
                    ago(Some(r.at), now()),
                    r.author.clone(),
                    r.change.to_string(),
                    what.into(),
                    r.reason.clone(),
                ]
            };
            output::table(&[">REVISION", "WHEN", "AUTHOR", ">CHANGE", "", "WHY"], page.items.iter().map(row).collect());
            Ok(0)
        }
        ObjectCommand::Compare { object, from, to } => {
            let about = ever(context, &object).await?.about;
            let to = to.unwrap_or(about.revision);
            let (from, to) = (from.unwrap_or(to.saturating_sub(1)).to_string(), to.to_string());
            let query = [("from", Some(from.as_str())), ("to", Some(to.as_str()))];
            let diff: RevisionDiff = client.get(&format!("/objects/{}/diff", about.id), &query).await?;
            if context.is_json() {
                output::json(&diff);
            } else if diff.diff.is_empty() {
                output::note("the revisions are equal");
            } else {
                output::diff(&diff.diff, "");
            }
            Ok(0)
        }
        ObjectCommand::Restore { object, revision, reason, wait } => {
            let object = ever(context, &object).await?;
            let path = format!("/objects/{}/revisions/{revision}", object.about.id);
            let old: Revision = client.get(&path, &[]).await?;
            let Some(spec) = old.spec.filter(|_| !old.is_deletion) else {
                return Err(CommandError::Usage(format!(
                    "revision {revision} is a deletion; restore the one before it"
                )));
            };
            let reason = if reason.is_empty() { format!("restore revision {revision}") } else { reason };
            let base = (!object.is_deleted).then_some(object.about.revision);
            save(context, Draft { act: DraftAct::Put(spec), base, previous_name: None }, reason, &wait).await
        }
        ObjectCommand::Delete { object, reason, sure, wait } => {
            let object = ever(context, &object).await?;
            let key = object.spec.key();
            if object.is_deleted {
                return delete_there(context, key, reason, &sure, &wait).await;
            }
            confirm(&sure, &format!("delete {key}, in force on {}?", count(object.effective_on.len() as u64, "node")))?;
            let draft = Draft { act: DraftAct::Delete(key), base: Some(object.about.revision), previous_name: None };
            save(context, draft, reason, &wait).await
        }
    }
}

/// Brings a deletion to the nodes that a rollout left out of it.
async fn delete_there(
    context: &Context,
    key: ObjectKey,
    reason: String,
    sure: &Sure,
    wait: &WaitArgs,
) -> Result<u8, CommandError> {
    let draft = Draft { act: DraftAct::Delete(key.clone()), base: Some(0), previous_name: None };
    let change = made(context, draft, reason).await?;
    let Some(current) = change.plan.as_ref().filter(|_| plan::has_work(&change)) else {
        super::apply::drop_change(context, &change).await?;
        if plan::is_awaited(&change) {
            return super::change::shown_plan(context, &change);
        }
        let why = format!("{key} is deleted already, on all nodes; see: lampasctl object deleted");
        return Err(CommandError::Usage(why));
    };
    if !context.is_json() {
        plan::print(&change);
    }
    let left: u64 = current.held.iter().map(|h| u64::from(h.count)).sum();
    confirm(sure, &format!("{key} is deleted; delete it on {} that were left out, too?", count(left, "node")))?;
    progress::apply(context, &change.summary.number.to_string(), &current.id, (true, Strategy::default()), wait).await
}

/// Prints where an object comes from, and what an edit here would be.
fn from_source(source: &ObjectSource) {
    let commit = source.commit.get(..12).map(|c| format!(" at commit {c}")).unwrap_or_default();
    output::line(format!("# from git source {}: {}:{}{commit}", source.name, source.file, source.line));
    output::line(match source.what {
        None => "#   it is as git says; an edit here is shown as drift between git and fleet: better change it in git"
            .into(),
        Some(what) => format!("#   {} since git said it; see: lampasctl source diff {}", what.as_str(), source.name),
    });
}

/// Saves one draft: a change of one, planned, shown and applied.
async fn save(context: &Context, draft: Draft, reason: String, wait: &WaitArgs) -> Result<u8, CommandError> {
    let change = made(context, draft, reason).await?;
    if !context.is_json() {
        plan::print(&change);
    }
    match &change.plan {
        Some(current) => {
            progress::apply(context, &change.summary.number.to_string(), &current.id, (true, Strategy::default()), wait)
                .await
        }
        None => super::change::shown_plan(context, &change),
    }
}

/// Makes a planned change of one draft.
async fn made(context: &Context, draft: Draft, reason: String) -> Result<Change, CommandError> {
    let request = ChangeCreate {
        drafts: vec![draft],
        node_edits: Vec::new(),
        reason,
        apply: false,
        only_look: false,
        allow_unplanned: true,
        rollout: Strategy::default(),
        set: None,
    };
    let key = uuid::Uuid::new_v4().to_string();
    Ok(context.client.post_once("/changes", &key, &request).await?)
}

/// Finds an object by its id, by KIND/NAME or by KIND/SCOPE/NAME.
pub(super) async fn find(context: &Context, text: &str) -> Result<Object, CommandError> {
    match named(context, text, false).await? {
        Some(object) => Ok(object),
        None => Err(CommandError::Usage(format!("there is no {text}; see: lampasctl object list"))),
    }
}

/// Finds an object that stands, or else one that did.
async fn ever(context: &Context, text: &str) -> Result<Object, CommandError> {
    if let Some(standing) = named(context, text, false).await? {
        return Ok(standing);
    }
    let why = || format!("there is no {text}, and was none; see: lampasctl object list, lampasctl object deleted");
    named(context, text, true).await?.ok_or_else(|| CommandError::Usage(why()))
}

/// Finds an object, or one that was deleted, if there is one of the name.
async fn named(context: &Context, text: &str, is_deleted: bool) -> Result<Option<Object>, CommandError> {
    let client = &context.client;
    if ObjectId::parse(text).is_ok() {
        return Ok(Some(client.get(&format!("/objects/{}", encode(text)), &[]).await?));
    }
    let (kind, scope, name) = match text.split('/').collect::<Vec<_>>()[..] {
        [kind, name] => (kind, None, name),
        [kind, scope, name] => (kind, Some(scope), name),
        _ => return Err(CommandError::Usage(format!("{text:?}: write an id, KIND/NAME or KIND/SCOPE/NAME"))),
    };
    let (path, by) = if is_deleted { ("/objects/deleted", "name") } else { ("/objects", "query") };
    let query = [(by, Some(name)), ("kind", Some(kind)), ("scope", scope)];
    let found = client.pages::<ObjectSummary>(path, &query, None).await?.items;
    let found: Vec<_> = found.iter().filter(|o| o.name.as_str() == name).collect();
    match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(client.get(&format!("/objects/{}", one.id), &[]).await?)),
        _ => {
            let mut all: Vec<String> = found.iter().map(|o| format!("{kind}/{}/{name}", o.scope)).collect();
            all.sort();
            // One that was made anew under the name of a deleted one is that one again; only moves leave two behind.
            if all.windows(2).any(|pair| pair[0] == pair[1]) {
                all = found.iter().map(|o| o.id.to_string()).collect();
            }
            Err(CommandError::Usage(format!("{text} is ambiguous: {}", all.join(", "))))
        }
    }
}

/// Prints deleted objects, one a line.
fn gone(items: &[ObjectSummary]) {
    let row = |o: &ObjectSummary| {
        let name = format!("{}/{}/{}", o.kind, o.scope, o.name);
        vec![name, o.revision.to_string(), ago(Some(o.updated_at), now()), o.author.clone(), o.id.to_string()]
    };
    output::table(&["OBJECT", ">LAST", "DELETED", "BY", "ID"], items.iter().map(row).collect());
    output::note("  bring one back with: lampasctl object restore KIND/NAME --revision N");
}

/// Prints objects, one a line.
pub(super) fn objects(items: &[ObjectSummary]) {
    let row = |o: &ObjectSummary| {
        let summary: String = o.summary.chars().take(60).collect();
        vec![
            o.kind.to_string(),
            o.name.to_string(),
            o.scope.clone(),
            o.revision.to_string(),
            o.nodes.to_string(),
            ago(Some(o.updated_at), now()),
            o.author.clone(),
            summary,
        ]
    };
    output::table(
        &["KIND", "NAME", "SCOPE", ">REVISION", ">NODES", "CHANGED", "BY", ""],
        items.iter().map(row).collect(),
    );
}

/// Runs `lampasctl history`.
pub(super) async fn history(context: &Context, args: HistoryArgs) -> Result<u8, CommandError> {
    let (from, to) = (args.from.to_string(), args.to.map(|to| to.to_string()));
    let query = [
        ("from", Some(from.as_str())),
        ("to", to.as_deref()),
        ("scope", args.scope.as_deref()),
        ("kind", args.kind.as_deref()),
    ];
    let found: History = context.client.get("/history", &query).await?;
    if context.is_json() {
        output::json(&found);
        return Ok(0);
    }
    history_items(&found.items);
    let more = if found.has_more { ", and more; narrow it with --scope or --kind" } else { "" };
    output::note(format!(
        "  {} changed between {} and {}, {} unchanged{more}",
        count(found.items.len() as u64, "object"),
        found.from,
        found.to,
        found.unchanged
    ));
    Ok(0)
}

/// Prints what became of objects.
pub(super) fn history_items(items: &[HistoryItem]) {
    for item in items {
        let sign = match item.verb {
            DraftVerb::Create => "+",
            DraftVerb::Delete => "-",
            _ => "~",
        };
        let why = if item.last.reason.is_empty() { String::new() } else { format!("  {}", item.last.reason) };
        output::line(format!(
            "  {sign} {} {}   {}   {} by {}, change {}{why}",
            item.key.kind, item.key.name, item.key.scope, item.last.at, item.last.author, item.last.change
        ));
        output::diff(&item.diff, "      ");
    }
}
