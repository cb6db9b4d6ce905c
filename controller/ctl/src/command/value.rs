//! Variables and secrets.

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _},
    path::Path,
};

use lampas_api::{
    Change, ChangeCreate, Draft, DraftAct, Object, ObjectSummary, Page, PurgeReach, Revision, SecretPurge,
    SecretPurged, SecretSet, SecretValue, ValueUse,
};
use lampas_shared::{
    fleet::Scope,
    object::{Body, DriftPolicy, Kind, ObjectName, ObjectSpec},
    rollout::Strategy,
    secret::{SecretText, Var},
};
use reqwest::Method;

use super::{CommandError, Context, approval, change, confirm, listed, object, plan, show};
use crate::{
    cli::{
        ObjectCommand, SecretCommand, SecretPurgeArgs, SecretSetArgs, ValueDeleteArgs, ValueHow, VarCommand, VarSetArgs,
    },
    output::{self, ago, count, now},
};

/// Runs `lampasctl secret …`.
pub(super) async fn secret(context: &Context, command: SecretCommand) -> Result<u8, CommandError> {
    match command {
        SecretCommand::List { scope, list } => {
            show(context, &list, async || values(context, Kind::Secret, scope.as_deref(), list.max).await).await
        }
        SecretCommand::Show { secret } => shown(context, Kind::Secret, &secret).await,
        SecretCommand::Set(args) => set_secret(context, *args).await,
        SecretCommand::Purge(args) => purge(context, args).await,
        SecretCommand::Delete(args) => delete(context, Kind::Secret, args).await,
    }
}

/// Runs `lampasctl var …`.
pub(super) async fn var(context: &Context, command: VarCommand) -> Result<u8, CommandError> {
    match command {
        VarCommand::List { scope, list } => {
            show(context, &list, async || values(context, Kind::Var, scope.as_deref(), list.max).await).await
        }
        VarCommand::Show { var } => shown(context, Kind::Var, &var).await,
        VarCommand::Set(args) => set_var(context, *args).await,
        VarCommand::Delete(args) => delete(context, Kind::Var, args).await,
    }
}

async fn values(context: &Context, kind: Kind, scope: Option<&str>, max: Option<usize>) -> Result<(), CommandError> {
    let query = [("kind", Some(kind.as_str())), ("scope", scope)];
    let page: Page<ObjectSummary> = context.client.pages("/objects", &query, max).await?;
    let none = if kind == Kind::Secret {
        "no secrets; make one with: lampasctl secret set NAME --scope SCOPE < FILE"
    } else {
        "no variables; make one with: lampasctl var set NAME VALUE --scope SCOPE"
    };
    listed(context, &page, none, object::objects);
    Ok(())
}

/// Finds a variable or a secret by its name, SCOPE/NAME or its id.
async fn find(context: &Context, kind: Kind, text: &str) -> Result<Object, CommandError> {
    let is_id = lampas_shared::id::ObjectId::parse(text).is_ok();
    let text = if is_id { text.to_owned() } else { format!("{kind}/{text}") };
    object::find(context, &text).await
}

async fn shown(context: &Context, kind: Kind, text: &str) -> Result<u8, CommandError> {
    let client = &context.client;
    let found = find(context, kind, text).await?;
    let about = &found.about;
    let uses: Vec<ValueUse> = client.get(&format!("/objects/{}/uses", about.id), &[]).await?;
    let revisions: Page<Revision> = client.pages(&format!("/objects/{}/revisions", about.id), &[], Some(10)).await?;
    let values: Vec<SecretValue> = client.get(&format!("/objects/{}/values", about.id), &[]).await?;
    if context.is_json() {
        output::json(
            &serde_json::json!({ "object": found, "uses": uses, "revisions": revisions.items, "values": values }),
        );
        return Ok(0);
    }
    output::line(lampas_manifest::export(std::slice::from_ref(&found.spec)).trim_end());
    output::line("");
    if kind == Kind::Secret {
        output::line(format!(
            "# {}, {} by {}; the value is shown nowhere",
            if about.revision > 1 { "set anew" } else { "set" },
            ago(Some(about.updated_at), now()),
            about.author
        ));
    }
    for reach in values.iter().filter_map(|value| value.nodes.as_ref()).filter(|reach| reach.confirmed < reach.total) {
        let names: Vec<&str> = reach.open.iter().take(10).map(|open| open.node.as_str()).collect();
        let why = "lampasctl secret purge NAME --plan says why the others have not let go of it";
        output::line(format!("# a purged value is {}; open: {}; {why}", reached(reach), names.join(", ")));
    }
    if uses.is_empty() {
        output::line(format!("# nothing uses it; write {{{{{kind}.{}}}}} in a template", about.name));
    }
    for user in &uses {
        let names: Vec<&str> = user.nodes.iter().take(10).map(|n| n.name.as_str()).collect();
        let more = user.nodes.len().saturating_sub(10);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (kind, name, scope) = (user.user.kind, &user.user.name, &user.user.scope);
        output::line(format!("# used by {kind} {name} ({scope}) on {}{more}", names.join(", ")));
    }
    for other in &found.overridden_on {
        output::line(format!("# not on {}: {} wins there", other.node.name, other.by_text));
    }
    let row = |r: &Revision| {
        let what = if r.is_deletion { "deleted" } else { "" };
        let when = ago(Some(r.at), now());
        vec![r.revision.to_string(), when, r.author.clone(), r.change.to_string(), what.into(), r.reason.clone()]
    };
    output::line("");
    output::table(&[">REVISION", "WHEN", "AUTHOR", ">CHANGE", "", "WHY"], revisions.items.iter().map(row).collect());
    Ok(0)
}

/// Returns the scope that was given, or that of the one object of this name.
async fn scope(context: &Context, kind: Kind, name: &str, given: Option<&str>) -> Result<Scope, CommandError> {
    if let Some(given) = given {
        return Ok(given.parse()?);
    }
    let query = [("kind", Some(kind.as_str())), ("query", Some(name))];
    let page: Page<ObjectSummary> = context.client.pages("/objects", &query, None).await?;
    let found: Vec<&str> = page.items.iter().filter(|o| o.name.as_str() == name).map(|o| o.scope.as_str()).collect();
    match found[..] {
        [one] => Ok(one.parse()?),
        [] => {
            let why =
                format!("there is no {kind} {name} yet; say which nodes it is for with --scope fleet, role:NAME …");
            Err(CommandError::Usage(why))
        }
        _ => Err(CommandError::Usage(format!("{name} is there for {}; say which with --scope", found.join(", ")))),
    }
}

async fn set_secret(context: &Context, args: SecretSetArgs) -> Result<u8, CommandError> {
    let name = ObjectName::parse(args.name)?;
    let scope = scope(context, Kind::Secret, name.as_str(), args.scope.as_deref()).await?;
    let value = read_value(args.file.as_deref(), args.exact)?;
    let request = SecretSet {
        name,
        scope,
        value,
        description: args.how.description.clone(),
        base: None,
        reason: args.how.apply.reason.clone(),
        apply: false,
        only_look: args.how.plan,
        allow_unplanned: args.how.apply.allow_unplanned,
        rollout: Strategy::default(),
    };
    let made: Change = context.client.send_json(Method::POST, "/secrets", &request).await?;
    go_on(context, &made, args.how).await
}

/// Reads the value: never from the arguments, which everybody on this machine can see.
fn read_value(file: Option<&Path>, is_exact: bool) -> Result<SecretText, CommandError> {
    let limit = lampas_shared::secret::MAX_SECRET_BYTES as u64 + 2;
    let mut bytes = Vec::new();
    match file.filter(|f| *f != Path::new("-")) {
        Some(file) => {
            let failed = |e| CommandError::Io(format!("read {}", file.display()), e);
            fs::File::open(file).and_then(|f| f.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
        }
        None => {
            if io::stdin().is_terminal() {
                output::note("type the value, then Ctrl-D; it is better given by a file or a pipe");
            }
            let failed = |e| CommandError::Io("read standard input".into(), e);
            io::stdin().take(limit).read_to_end(&mut bytes).map_err(failed)?;
        }
    }
    let wrong =
        || CommandError::Usage("the value is not UTF-8; encode it, as in: base64 FILE | lampasctl secret set".into());
    let mut text = String::from_utf8(bytes).map_err(|_| wrong())?;
    if !is_exact && text.ends_with('\n') {
        text.pop();
    }
    Ok(SecretText::parse(text)?)
}

async fn set_var(context: &Context, args: VarSetArgs) -> Result<u8, CommandError> {
    let name = ObjectName::parse(args.name)?;
    let scope = scope(context, Kind::Var, name.as_str(), args.scope.as_deref()).await?;
    let description = match &args.how.description {
        Some(given) => given.clone(),
        None => standing_description(context, &name, &scope).await?,
    };
    let body = Body::Var(Var { value: args.value, description });
    let spec = ObjectSpec { name, scope, drift: DriftPolicy::default(), body };
    let draft = Draft { act: DraftAct::Put(spec), base: None, previous_name: None };
    let (apply, reason) = (false, args.how.apply.reason.clone());
    let request = ChangeCreate {
        drafts: vec![draft],
        node_edits: Vec::new(),
        reason,
        apply,
        only_look: args.how.plan,
        allow_unplanned: false,
        rollout: Strategy::default(),
        set: None,
    };
    let key = uuid::Uuid::new_v4().to_string();
    let made: Change = context.client.post_once("/changes", &key, &request).await?;
    go_on(context, &made, args.how).await
}

async fn standing_description(context: &Context, name: &ObjectName, scope: &Scope) -> Result<String, CommandError> {
    let scope = scope.to_string();
    let query = [("kind", Some("var")), ("scope", Some(scope.as_str())), ("query", Some(name.as_str()))];
    let page: Page<ObjectSummary> = context.client.pages("/objects", &query, None).await?;
    let Some(found) = page.items.iter().find(|o| o.name == *name) else { return Ok(String::new()) };
    let found: Object = context.client.get(&format!("/objects/{}", found.id), &[]).await?;
    match found.spec.body {
        Body::Var(var) => Ok(var.description),
        _ => Ok(String::new()),
    }
}

/// Shows who gets the value, and applies it unless only the plan is wanted.
async fn go_on(context: &Context, made: &Change, how: ValueHow) -> Result<u8, CommandError> {
    let strategy = how.apply.rollout.strategy().map_err(CommandError::Usage)?;
    let Some(current) = made.plan.as_ref().filter(|_| !how.plan) else { return change::shown_plan(context, made) };
    if !context.is_json() {
        plan::print(made);
    }
    if (!current.unplanned.is_empty() && !how.apply.allow_unplanned) || !current.blockers.is_empty() {
        plan::not_applied(context, made);
        return Ok(2);
    }
    let wanted = approval::How::new(how.apply.allow_unplanned, strategy, &how.apply.control, &how.apply.reason)?;
    approval::apply(context, &made.summary.number.to_string(), &current.id, wanted, &how.apply.wait).await
}

/// Shows the values of a secret, and destroys the earlier ones.
async fn purge(context: &Context, args: SecretPurgeArgs) -> Result<u8, CommandError> {
    let found = find(context, Kind::Secret, &args.secret).await?;
    let path = format!("/objects/{}", found.about.id);
    let values: Vec<SecretValue> = context.client.get(&format!("{path}/values"), &[]).await?;
    if args.plan {
        if context.is_json() {
            output::json(&values);
        } else {
            print_values(&values);
            print_reach(&values);
        }
        return Ok(0);
    }
    let earlier = values.iter().filter(|v| !v.is_current && v.purged_at.is_none()).count();
    let gone = earlier.saturating_sub(args.keep as usize);
    if gone == 0 {
        output::note(format!("secret {} has no earlier value to purge", found.about.name));
        print_reach(&values);
        return Ok(0);
    }
    if !context.is_json() {
        print_values(&values);
    }
    let what = count(gone as u64, "earlier value");
    confirm(&args.sure, &format!("destroy {what} of secret {}? they don't come back", found.about.name))?;
    let request = SecretPurge { keep: args.keep, force: args.force, reason: args.reason };
    let done: SecretPurged = context.client.send_json(Method::POST, &format!("{path}/purge"), &request).await?;
    if context.is_json() {
        output::json(&done);
    } else {
        output::line(format!("{} destroyed", count(u64::from(done.purged), "value")));
        print_reach(&done.values);
    }
    Ok(0)
}

/// Says how far purges are on nodes, and names those that are open.
fn print_reach(values: &[SecretValue]) {
    for value in values {
        let Some(reach) = value.nodes.as_ref().filter(|reach| reach.confirmed < reach.total) else { continue };
        output::line(format!("the value of {}: {}", ago(Some(value.at), now()), reached(reach)));
        for open in &reach.open {
            output::line(format!("  {}: {}", open.node, open.why));
        }
        if reach.more > 0 {
            output::line(format!("  and {}", count(u64::from(reach.more), "more node")));
        }
    }
}

fn reached(reach: &PurgeReach) -> String {
    match (reach.confirmed, reach.total) {
        (_, 0) => "no node had it".to_owned(),
        (confirmed, total) if confirmed == total => format!("gone from {}", count(u64::from(total), "node")),
        (confirmed, total) => format!("gone from {confirmed} of {}", count(u64::from(total), "node")),
    }
}

fn print_values(values: &[SecretValue]) {
    let row = |value: &SecretValue| {
        let state = match (value.is_current, value.purged_at) {
            (true, _) => "stands".to_owned(),
            (_, Some(at)) => format!("purged {}", ago(Some(at), now())),
            (false, None) if value.uses.is_empty() => "earlier".to_owned(),
            (false, None) => "earlier, needed".to_owned(),
        };
        let nodes = value.nodes.as_ref().map(reached).unwrap_or_default();
        vec![ago(Some(value.at), now()), value.author.clone(), state, nodes, value.uses.join("; ")]
    };
    output::table(&["SET", "BY", "STATE", "ON NODES", "NEEDED BY"], values.iter().map(row).collect());
}

async fn delete(context: &Context, kind: Kind, args: ValueDeleteArgs) -> Result<u8, CommandError> {
    let found = find(context, kind, &args.name).await?;
    let uses: Vec<ValueUse> = context.client.get(&format!("/objects/{}/uses", found.about.id), &[]).await?;
    if !uses.is_empty() && !context.is_json() {
        output::note(format!("it is used by {}", count(uses.len() as u64, "object")));
    }
    let object = found.about.id.to_string();
    let command = ObjectCommand::Delete { object, reason: args.reason, sure: args.sure, wait: args.wait };
    object::run(context, command).await
}
