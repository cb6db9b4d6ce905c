//! Scripts as they are written: tried and checked on a node before an object holds them, and given to a role.

use std::{collections::BTreeMap, fs, path::Path};

use lampas_api::{Change, Draft, DraftAct, Object, ObjectSummary, ScriptUses};
use lampas_shared::{
    check::{Checked, FindingLevel, ScriptDraft},
    fleet::Scope,
    object::{Kind, ObjectName, ObjectSpec},
    operation::{Away, Limits, OperationSpec, ParameterName, Strategy, Work},
};
use reqwest::Method;

use super::{CommandError, Context, change, operation};
use crate::{
    cli::ScriptCommand,
    client::encode,
    output::{self, count, time},
};

/// Runs `lampasctl script …`.
pub(super) async fn run(context: &Context, command: ScriptCommand) -> Result<u8, CommandError> {
    match command {
        ScriptCommand::Try { file, node, parameters, user, time_limit, really, argv } => {
            let mut values = BTreeMap::new();
            for parameter in &parameters {
                let (name, value) = parameter
                    .split_once('=')
                    .ok_or_else(|| CommandError::Usage(format!("--param {parameter}: write it as NAME=VALUE")))?;
                values.insert(ParameterName::parse(name)?, value.to_owned());
            }
            let draft = read(&file)?;
            let spec = OperationSpec {
                work: Work::Draft { name: name_of(&file)?, draft, arguments: argv, parameters: values },
                on: vec![format!("node:{node}").parse()?],
                user: user.parse()?,
                limits: Limits { timeout_secs: u32::try_from(time_limit).unwrap_or(u32::MAX), ..Limits::default() },
                strategy: Strategy::default(),
                away: Away::Skip,
                reason: String::new(),
                rehearse: !really,
                secrets: BTreeMap::new(),
                sign: false,
            };
            operation::begin(context, &spec).await
        }
        ScriptCommand::Check { file, node } => check(context, &file, &node).await,
        ScriptCommand::Uses { name, scope } => uses(context, &name, scope.as_deref()).await,
        ScriptCommand::Promote { name, node, to, reason } => promote(context, &name, &node, &to, &reason).await,
    }
}

fn read(path: &Path) -> Result<ScriptDraft, CommandError> {
    let content = fs::read_to_string(path).map_err(|e| CommandError::Io(format!("read {}", path.display()), e))?;
    let draft = ScriptDraft { content };
    draft.check()?;
    Ok(draft)
}

fn name_of(path: &Path) -> Result<ObjectName, CommandError> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("draft");
    Ok(ObjectName::parse(name).or_else(|_| ObjectName::parse("draft"))?)
}

async fn check(context: &Context, file: &Path, node: &str) -> Result<u8, CommandError> {
    let draft = read(file)?;
    let path = format!("/nodes/{}/check", encode(node));
    let checked: Checked = context.client.send_json(Method::POST, &path, &draft).await?;
    if context.is_json() {
        output::json(&checked);
    } else {
        for finding in &checked.findings {
            let level = match finding.level {
                FindingLevel::Error => "error",
                FindingLevel::Warning => "warning",
                FindingLevel::Info => "info",
                FindingLevel::Style => "style",
            };
            let column = if finding.column > 0 { format!(":{}", finding.column) } else { String::new() };
            let code = if finding.code.is_empty() { &finding.tool } else { &finding.code };
            output::line(format!("{}:{}{column}: {level}: {} [{code}]", file.display(), finding.line, finding.message));
        }
        checked.notes.iter().for_each(output::note);
        let tools = if checked.tools.is_empty() { "no tool".to_owned() } else { checked.tools.join(", ") };
        output::note(format!("{}; looked at by {tools} on {node}", count(checked.findings.len() as u64, "finding")));
    }
    Ok(if checked.findings.is_empty() { 0 } else { 10 })
}

async fn find(context: &Context, name: &str, scope: Option<&str>) -> Result<ObjectSummary, CommandError> {
    let query = [("kind", Some("script")), ("query", Some(name)), ("scope", scope)];
    let page = context.client.pages::<ObjectSummary>("/objects", &query, None).await?;
    let mut found: Vec<ObjectSummary> = page.items.into_iter().filter(|o| o.name.as_str() == name).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(CommandError::Usage(format!("there is no script {name}; see: lampasctl object list --kind script"))),
        _ => {
            let scopes: Vec<String> = found.iter().map(|o| o.scope.clone()).collect();
            Err(CommandError::Usage(format!("there are {} of them; give --scope: {}", found.len(), scopes.join(", "))))
        }
    }
}

async fn uses(context: &Context, name: &str, scope: Option<&str>) -> Result<u8, CommandError> {
    let object = find(context, name, scope).await?;
    let path = format!("/objects/{}/script-uses", encode(&object.id.to_string()));
    let uses: ScriptUses = context.client.get(&path, &[]).await?;
    if context.is_json() {
        output::json(&uses);
        return Ok(0);
    }
    let names: Vec<&str> = uses.nodes.iter().map(|n| n.name.as_str()).collect();
    output::line(format!("{} on {}: {}", uses.path, count(names.len() as u64, "node"), names.join(", ")));
    for job in &uses.jobs {
        output::line(format!("  cron {} ({}): {}", job.name, job.scope, job.command));
    }
    for run in &uses.operations {
        output::line(format!("  run {} by {}, {}: {}", run.number, run.author, time(run.created_at), run.title));
    }
    if uses.jobs.is_empty() && uses.operations.is_empty() {
        output::note("no cron job names it, and no operation of the last ones ran it");
    }
    Ok(0)
}

/// Makes the change that gives a node's script to more nodes: the object of the wider scope, without the node's own.
async fn promote(context: &Context, name: &str, node: &str, to: &str, reason: &str) -> Result<u8, CommandError> {
    let scope: Scope = to.parse()?;
    if matches!(scope, Scope::Node(_)) {
        return Err(CommandError::Usage("--to: a role, a selection or the fleet".into()));
    }
    let own = find(context, name, Some(&format!("node:{node}"))).await?;
    let object: Object = context.client.get(&format!("/objects/{}", encode(&own.id.to_string())), &[]).await?;
    if object.is_masked {
        return Err(CommandError::Usage("you may not read this script's content, and so can't give it on".into()));
    }
    let spec = ObjectSpec { scope: scope.clone(), ..object.spec.clone() };
    let page = context
        .client
        .pages::<ObjectSummary>("/objects", &[("kind", Some("script")), ("scope", Some(to))], None)
        .await?;
    let standing =
        page.items.iter().find(|o| o.name == spec.name && o.scope == scope.to_string() && o.kind == Kind::Script);
    let drafts = [
        Draft { act: DraftAct::Put(spec), base: Some(standing.map_or(0, |o| o.revision)), previous_name: None },
        Draft { act: DraftAct::Delete(object.spec.key()), base: Some(own.revision), previous_name: None },
    ];
    let reason = if reason.is_empty() { format!("promote {name} from {node} to {to}") } else { reason.to_owned() };
    let body = serde_json::json!({ "drafts": drafts, "reason": reason });
    let made: Change = context.client.send_json(Method::POST, "/changes", &body).await?;
    let path = format!("/changes/{}/plan", made.summary.number);
    let planned: Change = context.client.send_json(Method::POST, &path, &()).await?;
    change::shown_plan(context, &planned)
}
