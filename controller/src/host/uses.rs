//! Who uses a script: nodes, cron jobs, operations.

use axum::extract::State;
use lampas_api::{OperationSummary, ScriptJob, ScriptUses};
use lampas_shared::{id::ObjectId, object::Body, operation::Work};

use crate::{
    api::{
        App,
        extract::{Path, param},
        problem::{Answer, Refusal},
    },
    change::View,
};

/// How many of the last operations are looked at, and how many are shown.
const LOOKED_AT: u32 = 200;
const SHOWN: usize = 20;

pub(super) async fn uses(State(app): State<App>, Path(id): Path<String>) -> Answer<axum::Json<ScriptUses>> {
    let id: ObjectId = param("object", &id)?;
    let view = app.desired.view().await?;
    let missing = || Refusal::new("not_found", format!("there is no script {id}"));
    let stored = view.all.objects.get(&id).ok_or_else(missing)?;
    let Body::Script(script) = &stored.spec.body else { return Err(missing()) };
    let name = stored.spec.name.as_str();
    let path = script.path_for(name).map_err(|e| Refusal::text("/path", &e))?.to_string();
    let filter = crate::operation::Filter::default();
    let page = app.operations.list(&filter, None, LOOKED_AT).await?;
    let mut operations: Vec<OperationSummary> = Vec::new();
    for summary in page.items {
        if operations.len() == SHOWN {
            break;
        }
        let row = app.operations.find(&summary.id.to_string()).await?;
        let runs_it = match &row.spec.work {
            Work::Script { name: ran, .. } => ran.as_str() == name,
            Work::Command { argv } => argv.first().is_some_and(|program| *program == path || program == name),
            Work::Draft { .. } | Work::Probe { .. } => false,
        };
        if runs_it {
            operations.push(summary);
        }
    }
    Ok(axum::Json(ScriptUses { nodes: nodes(&view, id), jobs: jobs(&view, &path, name), path, operations }))
}

fn nodes(view: &View, id: ObjectId) -> Vec<lampas_api::NodeRef> {
    let names = view.members().iter().map(|m| (m.id, m.name.clone())).collect();
    let has = |class: &&crate::compile::Class| class.resources.iter().any(|r| r.object == id);
    let found = view.compiled.classes().iter().filter(has).flat_map(|class| class.nodes.iter().copied());
    crate::change::refs(found, &names)
}

fn jobs(view: &View, path: &str, name: &str) -> Vec<ScriptJob> {
    let mut jobs: Vec<ScriptJob> = view
        .all
        .objects
        .values()
        .filter_map(|stored| match &stored.spec.body {
            Body::Cron(job) if names(&job.command, path, name) => Some(ScriptJob {
                object: stored.id,
                name: stored.spec.name.to_string(),
                scope: stored.spec.scope.to_string(),
                command: job.command.clone(),
            }),
            _ => None,
        })
        .collect();
    jobs.sort_by(|a, b| (&a.name, &a.scope).cmp(&(&b.name, &b.scope)));
    jobs
}

/// Whether a command names a script: its path as a whole word anywhere, or its name where a program stands.
fn names(command: &str, path: &str, name: &str) -> bool {
    let is_edge = |c: char| !(c.is_ascii_alphanumeric() || "._-/".contains(c));
    let mut starts = true;
    command.split(is_edge).any(|word| {
        let is_first = starts && !word.is_empty();
        starts = starts && word.is_empty();
        word == path || (is_first && word == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_whole_word() {
        for (command, expected) in [
            ("/usr/local/bin/rotate --all", true),
            ("test -x /usr/local/bin/rotate && /usr/local/bin/rotate", true),
            ("'/usr/local/bin/rotate'", true),
            ("rotate now", true),
            ("/usr/local/bin/rotate-keys", false),
            ("/opt/usr/local/bin/rotate", false),
            ("echo rotate", false),
        ] {
            assert_eq!(names(command, "/usr/local/bin/rotate", "rotate"), expected, "{command}");
        }
    }
}
