//! Operations: commands and scripts on a selection, their output as it comes, and the exit code that follows.

mod follow;

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
};

use lampas_api::{Operation, OperationNode, OperationPreview, OperationSummary, OutputGroup};
use lampas_shared::{
    object::ObjectName,
    operation::{Away, Limits, OperationSpec, OperationState, ParameterName, RunState, Strategy, Work},
};
use reqwest::Method;

use self::follow::{Shown, follow, plain};
use super::{
    CommandError, Context, listed, show,
    signing::{self, Given},
    waiter::Waiter,
};
use crate::{
    cli::{RunArgs, RunCommand, SignArgs, StartArgs},
    client::{CallError, encode},
    output::{self, count, time},
};

/// Runs `lampasctl run …`.
pub(super) async fn run(context: &Context, args: RunArgs) -> Result<u8, CommandError> {
    let client = &context.client;
    match args.command {
        None => start(context, args.start).await,
        Some(RunCommand::List { state, node, list }) => {
            show(context, &list, async || {
                let query = [("state", state.as_deref()), ("node", node.as_deref())];
                let page = client.pages::<OperationSummary>("/operations", &query, list.max.or(Some(50))).await?;
                listed(context, &page, "nothing was run yet; try: lampasctl run --on fleet -- uptime", |items| {
                    let rows = items.iter().map(row).collect();
                    output::table(&[">RUN", "STARTED", "STATE", "NODES", "BY", "WHAT"], rows);
                });
                Ok(())
            })
            .await
        }
        Some(RunCommand::Show { operation }) => {
            let (operation, nodes) = both(context, &operation).await?;
            if context.is_json() {
                output::json(&serde_json::json!({ "operation": operation, "nodes": nodes }));
            } else {
                describe(context, &operation, &nodes);
            }
            Ok(0)
        }
        Some(RunCommand::Output { operation, node, group }) => {
            let (operation, nodes) = both(context, &operation).await?;
            let only = match &node {
                None => None,
                Some(name) => {
                    let found = nodes.iter().find(|n| n.node.name == *name || n.node.id.to_string() == *name);
                    Some(found.ok_or_else(|| CommandError::Usage(format!("it does not run on {name}")))?.run)
                }
            };
            let mut waiter = waiter(context, operation.summary.number);
            if group {
                follow(&mut waiter, &operation, &nodes, only, Shown::Nothing).await?;
                print_groups(context, &mut waiter, &operation).await?;
            } else {
                follow(&mut waiter, &operation, &nodes, only, Shown::Lines).await?;
            }
            Ok(0)
        }
        Some(RunCommand::Sign { operation, sign, detach }) => {
            match signing::operation(context, &operation, &sign).await? {
                Given::Given(signed) => after_start(context, *signed, detach, false).await,
                Given::Shown => Ok(0),
            }
        }
        Some(RunCommand::Cancel { operation }) => {
            client.act(Method::POST, &format!("/operations/{}/cancel", encode(&operation))).await?;
            output::note(format!("operation {operation} is being ended; see: lampasctl run show {operation}"));
            Ok(0)
        }
        Some(RunCommand::Again { operation, detach }) => {
            let key = uuid::Uuid::new_v4().to_string();
            let path = format!("/operations/{}/again", encode(&operation));
            let begun: Operation = client.post_once(&path, &key, &()).await?;
            after_start(context, begun, detach, false).await
        }
    }
}

/// Starts an operation and follows it to its end.
pub(super) async fn begin(context: &Context, spec: &OperationSpec) -> Result<u8, CommandError> {
    let key = uuid::Uuid::new_v4().to_string();
    let begun: Operation = context.client.post_once("/operations", &key, spec).await?;
    after_start(context, begun, false, false).await
}

async fn start(context: &Context, args: StartArgs) -> Result<u8, CommandError> {
    let (detach, group, plan) = (args.detach, args.group, args.plan);
    let sign = SignArgs::with(args.sign.clone(), args.agent, args.sure.clone());
    let spec = spec(args)?;
    if plan {
        let preview: OperationPreview = context.client.send_json(Method::POST, "/operations/preview", &spec).await?;
        return Ok(print_preview(context, &preview));
    }
    let key = uuid::Uuid::new_v4().to_string();
    let mut begun: Operation = context.client.post_once("/operations", &key, &spec).await?;
    if is_waiting(&begun)
        && let Some(sign) = sign
    {
        let number = begun.summary.number.to_string();
        match signing::operation(context, &number, &sign).await {
            Ok(Given::Given(signed)) => begun = *signed,
            Ok(Given::Shown) => return Ok(0),
            Err(error) => {
                output::note(format!(
                    "run {number} waits; sign it with: lampasctl run sign {number} --key FILE, or end it with: lampasctl run cancel {number}"
                ));
                return Err(error);
            }
        }
    }
    after_start(context, begun, detach, group).await
}

/// Returns whether an operation waits for an operator's signature.
fn is_waiting(operation: &Operation) -> bool {
    let summary = &operation.summary;
    summary.state == OperationState::Running && summary.signing.as_ref().is_some_and(|s| s.signed_at.is_none())
}

/// Reads `NAME=secret/SECRET`.
fn secrets(given: &[String]) -> Result<BTreeMap<ParameterName, ObjectName>, CommandError> {
    let mut secrets = BTreeMap::new();
    for text in given {
        let parts = text.split_once('=').and_then(|(name, of)| Some((name, of.strip_prefix("secret/")?)));
        // What stands there may be the value itself: it is not repeated.
        let wrong =
            || CommandError::Usage("--param-secret: write it as NAME=secret/SECRET, with a secret's name".into());
        let (name, secret) = parts.ok_or_else(wrong)?;
        secrets.insert(ParameterName::parse(name)?, ObjectName::parse(secret).map_err(|_| wrong())?);
    }
    Ok(secrets)
}

fn spec(args: StartArgs) -> Result<OperationSpec, CommandError> {
    let secrets = secrets(&args.secrets)?;
    let work = match args.script {
        Some(name) => {
            let mut parameters = BTreeMap::new();
            for parameter in &args.parameters {
                let Some((name, value)) = parameter.split_once('=') else {
                    return Err(CommandError::Usage(format!("--param {parameter}: write it as NAME=VALUE")));
                };
                parameters.insert(ParameterName::parse(name)?, value.to_owned());
            }
            Work::Script { name: name.parse()?, arguments: args.argv, parameters }
        }
        None if args.argv.is_empty() => {
            let text =
                "say what to run: lampasctl run --on role:app -- df -h /var, or lampasctl run SCRIPT --on role:app";
            return Err(CommandError::Usage(text.into()));
        }
        None if !args.parameters.is_empty() => {
            return Err(CommandError::Usage("--param goes with a script; a command has its arguments".into()));
        }
        None => Work::Command { argv: args.argv },
    };
    let away = match (args.queue, args.expire) {
        (Some(secs), _) => {
            Away::Queue { until: output::now().plus_ms(i64::try_from(secs).unwrap_or(i64::MAX / 1000) * 1000) }
        }
        (None, true) => Away::Expire,
        (None, false) => Away::Skip,
    };
    Ok(OperationSpec {
        work,
        on: args.on.iter().map(|on| on.parse()).collect::<Result<_, _>>()?,
        user: args.user.parse()?,
        limits: Limits {
            timeout_secs: u32::try_from(args.time_limit).unwrap_or(u32::MAX),
            output_bytes: args.output_limit,
        },
        strategy: Strategy {
            concurrency: args.concurrency,
            canary: args.canary.unwrap_or(0),
            then_percent: args.then.unwrap_or(100),
            stop_after: args.max_failures,
        },
        away,
        reason: args.reason,
        rehearse: args.rehearse,
        secrets,
        sign: args.sign.is_some() || args.agent,
    })
}

async fn after_start(context: &Context, begun: Operation, detach: bool, group: bool) -> Result<u8, CommandError> {
    let number = begun.summary.number;
    if is_waiting(&begun) {
        if context.is_json() {
            output::json(&begun);
        } else {
            let until = begun.summary.signing.as_ref().map_or(begun.summary.created_at, |s| s.until);
            output::line(format!(
                "run {number} waits for an operator's signature until {} · {}",
                time(until),
                link(context, number)
            ));
            output::note(format!("sign it with: lampasctl run sign {number} --key FILE, or --agent"));
        }
        return Ok(2);
    }
    if detach {
        if context.is_json() {
            output::json(&begun);
        } else {
            let nodes = count(u64::from(begun.summary.runs.total), "node");
            output::line(format!("run {number} is on its way to {nodes} · {}", link(context, number)));
            output::note(format!("follow it with: lampasctl run output {number}"));
        }
        return Ok(0);
    }
    let mut waiter = waiter(context, number);
    let nodes = waiter.pages::<OperationNode>(&format!("/operations/{number}/nodes"), &[]).await?.items;
    let shown = if context.is_json() || group { Shown::Nothing } else { Shown::Lines };
    // Cancel-safe: what was not printed is asked for again.
    let ended = tokio::select! {
        followed = follow(&mut waiter, &begun, &nodes, None, shown) => { followed?; true }
        left = interrupted(context, number) => { left?; false }
    };
    if !ended {
        output::note(format!("run {number} goes on; follow it with: lampasctl run output {number}"));
        return Ok(3);
    }
    let (operation, nodes) = waiter.ask(async || both(context, &number.to_string()).await).await?;
    if context.is_json() {
        let groups: Vec<OutputGroup> = waiter.get(&format!("/operations/{number}/groups"), &[]).await?;
        output::json(&serde_json::json!({ "operation": operation, "nodes": nodes, "groups": groups }));
    } else {
        if group {
            print_groups(context, &mut waiter, &operation).await?;
        }
        conclude(context, &mut waiter, &operation, &nodes).await?;
    }
    Ok(exit_code(&operation))
}

/// Waits for Ctrl-C, and asks what it means: the end of the operation, or of this program alone.
async fn interrupted(context: &Context, number: u64) -> Result<(), CommandError> {
    loop {
        if tokio::signal::ctrl_c().await.is_err() {
            return std::future::pending().await;
        }
        if !std::io::stdin().is_terminal() {
            return Ok(());
        }
        eprint!("\nrun {number} is under way: [c]ancel it on all nodes, [l]eave it alone, or Enter to go on? ");
        let _ = std::io::stderr().flush();
        let asked = tokio::task::spawn_blocking(|| {
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer).map(|_| answer)
        });
        // Cancel-safe: a second Ctrl-C leaves it alone.
        let answer = tokio::select! {
            answer = asked => answer.ok().and_then(Result::ok).unwrap_or_default(),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match answer.trim() {
            "c" | "C" => {
                context.client.act(Method::POST, &format!("/operations/{number}/cancel")).await?;
                output::note("cancelling …");
            }
            "l" | "L" => return Ok(()),
            _ => {}
        }
    }
}

/// Waits for an operation that the controller has accepted, as long as it takes.
fn waiter(context: &Context, number: u64) -> Waiter<'_> {
    Waiter::new(context, format!("run {number} goes on"), format!("lampasctl run output {number}"), None)
}

async fn both(context: &Context, which: &str) -> Result<(Operation, Vec<OperationNode>), CallError> {
    let path = format!("/operations/{}", encode(which));
    let operation: Operation = context.client.get(&path, &[]).await?;
    let nodes = context.client.pages::<OperationNode>(&format!("{path}/nodes"), &[], None).await?.items;
    Ok((operation, nodes))
}

async fn print_groups(context: &Context, waiter: &mut Waiter<'_>, operation: &Operation) -> Result<(), CommandError> {
    let path = format!("/operations/{}/groups", operation.summary.id);
    let groups: Vec<OutputGroup> = waiter.get(&path, &[]).await?;
    if context.is_json() {
        output::json(&groups);
        return Ok(());
    }
    for group in &groups {
        let names: Vec<&str> = group.nodes.iter().map(|n| n.name.as_str()).collect();
        let same = if names.len() > 1 { " (identical)" } else { "" };
        let detail = if group.detail.is_empty() { String::new() } else { format!(": {}", group.detail) };
        output::line(format!("{}{same}  {}{detail}", names.join(", "), run_state(group.state)));
        for line in group.text.as_deref().unwrap_or_default().lines() {
            output::line(format!("    {}", plain(line)));
        }
    }
    Ok(())
}

/// The last line: how many succeeded, and who wrote the same.
async fn conclude(
    context: &Context,
    waiter: &mut Waiter<'_>,
    operation: &Operation,
    nodes: &[OperationNode],
) -> Result<(), CommandError> {
    for node in nodes.iter().filter(|n| n.state != RunState::Succeeded) {
        let detail = if node.detail.is_empty() { String::new() } else { format!("   {}", node.detail) };
        output::line(format!("  {}  {}{detail}", node.node.name, run_state(node.state)));
    }
    let runs = operation.summary.runs;
    let mut parts = vec![count(u64::from(runs.total), "node"), format!("{} ok", runs.succeeded)];
    let others = [
        (runs.failed, "failed"),
        (runs.timed_out, "timed out"),
        (runs.cancelled, "cancelled"),
        (runs.skipped, "skipped"),
        (runs.expired, "expired"),
        (runs.refused, "refused"),
        (runs.lost, "lost"),
        (runs.queued + runs.running, "under way"),
    ];
    parts.extend(others.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")));
    if operation.may_read_output {
        let path = format!("/operations/{}/groups", operation.summary.id);
        let groups: Vec<OutputGroup> = waiter.get(&path, &[]).await?;
        for group in groups.iter().filter(|g| g.nodes.len() > 1 && g.output_bytes > 0) {
            let names: Vec<&str> = group.nodes.iter().take(8).map(|n| n.name.as_str()).collect();
            let more =
                if group.nodes.len() > 8 { format!(" and {} more", group.nodes.len() - 8) } else { String::new() };
            parts.push(format!("identical output on {}{more}", names.join(", ")));
        }
    }
    output::line(format!("  {} · {}", parts.join(" · "), link(context, operation.summary.number)));
    if exit_code(operation) == 2 {
        output::note(format!("  again where it did not succeed: lampasctl run again {}", operation.summary.number));
    }
    Ok(())
}

fn exit_code(operation: &Operation) -> u8 {
    let runs = operation.summary.runs;
    match operation.summary.state {
        OperationState::Running => 3,
        _ if runs.succeeded + runs.observing == runs.total => 0,
        _ => 2,
    }
}

fn link(context: &Context, number: u64) -> String {
    format!("{}/operations/{number}", context.client.server())
}

fn print_preview(context: &Context, preview: &OperationPreview) -> u8 {
    if context.is_json() {
        output::json(preview);
        return u8::from(!preview.problems.is_empty());
    }
    output::line(format!(
        "{}   {}, {} connected",
        preview.title,
        count(preview.total.into(), "node"),
        preview.connected
    ));
    for node in &preview.nodes {
        let state = output::state(if node.is_connected { "online" } else { "offline" });
        let problem = if node.problem.is_empty() { String::new() } else { format!("   {}", node.problem) };
        output::line(format!("  {}  {state}{problem}", node.node.name));
    }
    if !preview.want_signature.is_empty() {
        let nodes = count(preview.want_signature.len() as u64, "node");
        output::line(format!(
            "  waits for an operator's signature, which {nodes} want; give it with --sign KEY or --agent"
        ));
    }
    for parameter in &preview.parameters {
        let default = parameter.default.as_deref().map(|d| format!(" = {d}")).unwrap_or_default();
        let need = if parameter.required { " (required)" } else { "" };
        output::line(format!("  --param {}{default}{need}   {}", parameter.name, parameter.help));
    }
    for problem in &preview.problems {
        output::note(problem);
    }
    u8::from(!preview.problems.is_empty())
}

fn describe(context: &Context, operation: &Operation, nodes: &[OperationNode]) {
    let summary = &operation.summary;
    output::line(format!("run {}  {}  {}", summary.number, operation_state(summary.state), summary.title));
    output::line(format!(
        "  on {} as {}, by {} {}{}",
        summary.on.join(", "),
        summary.user,
        summary.author,
        time(summary.created_at),
        if summary.rehearse { ", as a rehearsal" } else { "" }
    ));
    if !summary.reason.is_empty() {
        output::line(format!("  {}", summary.reason));
    }
    if is_waiting(operation) {
        let number = summary.number;
        let until = summary.signing.as_ref().map_or(summary.created_at, |s| s.until);
        output::line(format!(
            "  waits for an operator's signature until {}: lampasctl run sign {number} --key FILE",
            time(until)
        ));
    }
    if let Some(by) = &operation.cancelled_by {
        output::line(format!("  cancelled by {by}"));
    }
    let row = |node: &OperationNode| {
        let took = node.started_at.zip(node.ended_at).map(|(s, e)| format!("{:.1} s", e.since(s) as f64 / 1000.0));
        vec![
            node.node.name.clone(),
            run_state(node.state),
            took.unwrap_or_default(),
            node.output_bytes.to_string(),
            node.detail.clone(),
        ]
    };
    output::table(&["NODE", "STATE", ">TOOK", ">BYTES", "DETAIL"], nodes.iter().map(row).collect());
    output::note(format!("output: lampasctl run output {} · {}", summary.number, link(context, summary.number)));
}

fn row(summary: &OperationSummary) -> Vec<String> {
    let runs = summary.runs;
    vec![
        summary.number.to_string(),
        time(summary.created_at),
        operation_state(summary.state),
        format!("{}/{}", runs.succeeded, runs.total),
        summary.author.clone(),
        match (&summary.signing, summary.rehearse) {
            (Some(s), _) if s.signed_at.is_none() && summary.state == OperationState::Running => {
                format!("{} (waits for a signature)", summary.title)
            }
            (_, true) => format!("{} (rehearsal)", summary.title),
            _ => summary.title.clone(),
        },
    ]
}

fn operation_state(state: OperationState) -> String {
    match state {
        OperationState::Running => "◐ running".into(),
        OperationState::Succeeded => "● succeeded".into(),
        OperationState::Failed => "■ failed".into(),
        OperationState::Cancelled => "○ cancelled".into(),
    }
}

fn run_state(state: RunState) -> String {
    let shape = match state {
        RunState::Queued => '◌',
        RunState::Running => '◐',
        RunState::Succeeded => '●',
        RunState::Failed | RunState::TimedOut => '■',
        RunState::Refused | RunState::Lost => '▲',
        RunState::Cancelled | RunState::Skipped | RunState::Expired => '○',
    };
    format!("{shape} {}", state.as_str().replace('_', " "))
}
