//! Signatures over root code: what is to be signed is put together here, from what is shown here, so that a taken
//! controller can't have something else signed than what its operator read.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use lampas_api::{Operation, Signature, SignatureCreate, Signing};
use lampas_shared::{
    desired::{Content, ContentHash, Resource, Spec},
    fleet::NodeName,
    operation::{RunOrder, Work},
    signature::{Grant, NAMESPACE, Part, Signed, Statement},
};
use reqwest::Method;

use super::{CommandError, Context, confirm};
use crate::{
    cli::SignArgs,
    client::encode,
    output::{self, count, now, time},
};

/// A statement that is in force for longer would outlive whoever signed it.
const MAX_LIFE_SECS: u64 = 90 * 86_400;
/// Serials are times in milliseconds; one that is further ahead than this would lock everybody out who comes after.
const MAX_AHEAD_MS: u64 = 86_400_000;

/// Runs `lampasctl change sign`.
pub(super) async fn change(context: &Context, change: &str, args: &SignArgs) -> Result<u8, CommandError> {
    sign(context, ("change", change), Some(change), args).await
}

/// Runs `lampasctl node sign`.
pub(super) async fn node(context: &Context, node: &str, args: &SignArgs) -> Result<u8, CommandError> {
    sign(context, ("node", node), None, args).await
}

/// What became of a signature over an operation.
pub(super) enum Given {
    /// It is there; the operation starts.
    Given(Box<Operation>),
    /// Only the text was shown.
    Shown,
}

/// Signs an operation that waits for it.
pub(super) async fn operation(context: &Context, which: &str, args: &SignArgs) -> Result<Given, CommandError> {
    let path = format!("/operations/{}", encode(which));
    let signed = match read(args)? {
        Some(signed) => signed,
        None => {
            let wanted: Signing = context.client.get(&format!("{path}/signing"), &[]).await?;
            match put_together(context, &wanted, args)? {
                Some(signed) => signed,
                None => return Ok(Given::Shown),
            }
        }
    };
    signed.check()?;
    let operation: Operation = context.client.send_json(Method::POST, &format!("{path}/sign"), &signed).await?;
    Ok(Given::Given(Box::new(operation)))
}

/// Reads a signature that was made elsewhere, if one is given.
fn read(args: &SignArgs) -> Result<Option<Signed>, CommandError> {
    let (Some(signature), Some(text)) = (&args.signature, &args.text) else { return Ok(None) };
    let read =
        |path: &Path| fs::read_to_string(path).map_err(|e| CommandError::Io(format!("read {}", path.display()), e));
    Ok(Some(Signed { text: read(text)?, signature: read(signature)? }))
}

async fn sign(
    context: &Context,
    (what, which): (&str, &str),
    change: Option<&str>,
    args: &SignArgs,
) -> Result<u8, CommandError> {
    if let Some(signed) = read(args)? {
        return give(context, signed, change).await;
    }
    let wanted: Signing = context.client.get("/signing", &[(what, Some(which))]).await?;
    if wanted.parts.is_empty() {
        output::note(format!("nothing of {what} {which} needs a signature"));
        return Ok(0);
    }
    match put_together(context, &wanted, args)? {
        Some(signed) => give(context, signed, change).await,
        None => Ok(0),
    }
}

/// Puts the statement together, shows what it is over, and signs it; nothing when it was only to be shown.
fn put_together(context: &Context, wanted: &Signing, args: &SignArgs) -> Result<Option<Signed>, CommandError> {
    if args.expires > MAX_LIFE_SECS {
        return Err(CommandError::Usage("--expires: at most 90d".into()));
    }
    let resources = resources(wanted)?;
    let runs = runs(wanted)?;
    let statement = statement(wanted, (&resources, &runs), args.expires)?;
    let text = statement.to_text();
    if args.print {
        // To the byte: this is what is signed.
        std::io::stdout().write_all(text.as_bytes()).map_err(|e| CommandError::Io("print the text".into(), e))?;
        return Ok(None);
    }
    if context.is_json() && args.key.is_none() && !args.agent {
        output::json(&serde_json::json!({ "signing": wanted, "text": text }));
        return Ok(None);
    }
    show(wanted, &resources, &runs, &statement);
    if args.key.is_none() && !args.agent {
        return Err(CommandError::Usage(
            "say who signs: --key FILE or --agent; or sign elsewhere: --print, and then --text FILE --signature FILE"
                .into(),
        ));
    }
    let nodes = count(statement.nodes().count() as u64, "node");
    confirm(&args.sure, &format!("sign this for {nodes}?"))?;
    let signature = ssh_sign(args, &text)?;
    Ok(Some(Signed { text, signature }))
}

/// Something that would be run, as it was read.
struct Run<'a> {
    order: RunOrder,
    script: Option<&'a str>,
}

/// Reads what would be run, and checks that a script is the one that its hash says.
fn runs(wanted: &Signing) -> Result<Vec<Run<'_>>, CommandError> {
    let odd = |why: String| CommandError::Usage(format!("the controller's answer is not sound: {why}"));
    let read = |run: &lampas_api::SigningRun| {
        let order: RunOrder = serde_json::from_str(&run.order).map_err(|e| odd(e.to_string()))?;
        Ok(Run { order, script: None })
    };
    let mut all: Vec<Run<'_>> = wanted.runs.iter().map(read).collect::<Result<_, CommandError>>()?;
    for (run, shown) in all.iter_mut().zip(&wanted.runs) {
        run.script = shown.script.as_deref();
        if run.order.expect != run.script.map(|text| ContentHash::of(text.as_bytes())) {
            return Err(odd("the script is not the one that its hash says".into()));
        }
    }
    Ok(all)
}

/// What runs, in one line, for who reads the statement.
fn title(order: &RunOrder) -> String {
    let RunOrder { argv, environment, secrets, user, timeout_secs, output_bytes, rehearse, .. } = order;
    let values = environment.iter().map(|(name, value)| format!("{name}={value}"));
    let secrets = secrets.iter().map(|(name, used)| format!("{name}=secret/{}", used.name));
    let work = Work::Command { argv: values.chain(secrets).chain(argv.iter().cloned()).collect() };
    let how = if *rehearse { ", as a rehearsal" } else { "" };
    let kib = output_bytes >> 10;
    let title = format!("{} (as {user}, at most {timeout_secs} s and {kib} KiB of output{how})", work.title());
    title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Reads the resources, and checks that each content is the one that its hash says.
fn resources(wanted: &Signing) -> Result<Vec<Resource>, CommandError> {
    let odd = |why: String| CommandError::Usage(format!("the controller's answer is not sound: {why}"));
    let read = |json: &String| {
        let resource: Resource = serde_json::from_str(json).map_err(|e| odd(e.to_string()))?;
        if let Spec::File { content, .. } = &resource.spec {
            let bytes = content.inline.as_ref().ok_or_else(|| odd(format!("{} has no content", resource.target)))?;
            if ContentHash::of(bytes) != content.hash || bytes.len() as u64 != content.size {
                return Err(odd(format!("the content of {} is not what its hash says", resource.target)));
            }
        }
        Ok(resource)
    };
    wanted.resources.iter().map(read).collect()
}

/// Puts the statement together: the hashes are computed from what was read.
fn statement(
    wanted: &Signing,
    (resources, runs): (&[Resource], &[Run<'_>]),
    expires: u64,
) -> Result<Statement, CommandError> {
    let at = now();
    let clock = u64::try_from(at.0).unwrap_or(0);
    let serial = clock.max(wanted.last_serial.saturating_add(1));
    if serial > clock + MAX_AHEAD_MS {
        let text = format!(
            "the last serial, {}, is more than a day ahead of this machine's clock: one of the two is wrong",
            wanted.last_serial
        );
        return Err(CommandError::Usage(text));
    }
    let mut parts = Vec::new();
    for part in &wanted.parts {
        let mut grants = BTreeSet::new();
        for place in &part.put {
            let resource = resources.get(*place).ok_or_else(|| CommandError::Usage("a resource is missing".into()))?;
            grants.insert(Grant::of(resource));
        }
        for removal in &part.remove {
            grants.insert(Grant::Remove { kind: removal.kind, path: removal.path.clone() });
        }
        for place in &part.run {
            let run = runs.get(*place).ok_or_else(|| CommandError::Usage("what would be run is missing".into()))?;
            grants.insert(Grant::Run { hash: run.order.program_hash(), title: title(&run.order) });
        }
        let nodes = part.nodes.iter().map(|n| Ok((n.id, NodeName::parse(n.name.clone())?)));
        parts.push(Part { nodes: nodes.collect::<Result<_, CommandError>>()?, grants });
    }
    let expires = at.plus_ms(i64::try_from(expires).unwrap_or(i64::MAX / 1000) * 1000);
    let statement = Statement { fleet: wanted.fleet, serial, expires, purpose: wanted.purpose.clone(), parts };
    // What a node couldn't read back is not signed.
    Statement::parse(&statement.to_text())?;
    Ok(statement)
}

fn show(wanted: &Signing, resources: &[Resource], runs: &[Run<'_>], statement: &Statement) {
    output::line(format!("{}, root code, until {}", wanted.purpose, time(statement.expires)));
    for part in &wanted.parts {
        let names: Vec<&str> = part.nodes.iter().map(|n| n.name.as_str()).take(8).collect();
        let more = part.nodes.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        output::line(format!("\non {}{more}:", names.join(", ")));
        for resource in part.put.iter().filter_map(|place| resources.get(*place)) {
            describe(resource);
        }
        for removal in &part.remove {
            output::line(format!("  - {} {} goes", removal.kind.as_str(), removal.path));
        }
        for run in part.run.iter().filter_map(|place| runs.get(*place)) {
            describe_run(run);
        }
    }
    output::line("");
}

/// Shows a resource whole: what isn't shown shall not be signed.
fn describe(resource: &Resource) {
    let (kind, name, hash) = (resource.kind.as_str(), &resource.name, resource.compute_hash());
    output::line(format!("  + {kind} {name} ({})", hash.short()));
    match &resource.spec {
        Spec::File { path, content, owner, group, mode, .. } => {
            output::line(format!("      {path}, {owner}:{group} {mode}"));
            body(content);
        }
        spec => {
            let text = serde_json::to_string_pretty(spec).unwrap_or_default();
            text.lines().for_each(|line| output::line(format!("      {line}")));
        }
    }
}

/// Shows what would be run, whole.
fn describe_run(run: &Run<'_>) {
    let order = &run.order;
    output::line(format!("  $ {} ({})", title(order), order.program_hash().short()));
    let words = |word: &String| serde_json::to_string(word).unwrap_or_default();
    output::line(format!("      words {}", order.argv.iter().map(words).collect::<Vec<_>>().join(" ")));
    for (name, value) in &order.environment {
        output::line(format!("      {name}={}", words(value)));
    }
    for (name, used) in &order.secrets {
        output::line(format!("      {name} is the value {} of secret {}", used.value, used.name));
    }
    let draft = order.program.as_ref().map(|draft| draft.content.as_str());
    for line in draft.or(run.script).unwrap_or_default().lines() {
        output::line(format!("      | {line}"));
    }
}

fn body(content: &Content) {
    match content.inline.as_deref().map(std::str::from_utf8) {
        Some(Ok(text)) => text.lines().for_each(|line| output::line(format!("      | {line}"))),
        _ => output::line(format!("      | {} bytes that are no text", content.size)),
    }
}

fn ssh_sign(args: &SignArgs, text: &str) -> Result<String, CommandError> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |e| CommandError::Io(what, e)
    };
    let mut of_agent = None;
    let key = match &args.key {
        Some(key) => key.clone(),
        None => {
            let listed = Command::new("ssh-add").arg("-L").output().map_err(io("run ssh-add"))?;
            let keys = String::from_utf8_lossy(&listed.stdout).into_owned();
            let first = keys.lines().find(|l| l.starts_with("ssh-") || l.starts_with("sk-") || l.starts_with("ecdsa-"));
            let first =
                first.ok_or_else(|| CommandError::Usage("the SSH agent holds no key; see: ssh-add -l".into()))?;
            let path = std::env::temp_dir().join(format!("lampas-{}.pub", uuid::Uuid::new_v4()));
            fs::write(&path, format!("{first}\n")).map_err(io("put the agent's public key down"))?;
            of_agent.insert(path).clone()
        }
    };
    let done = (|| {
        let mut child = Command::new("ssh-keygen")
            .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
            .arg(&key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io("run ssh-keygen"))?;
        child.stdin.take().expect("it is piped").write_all(text.as_bytes()).map_err(io("give ssh-keygen the text"))?;
        child.wait_with_output().map_err(io("wait for ssh-keygen"))
    })();
    if let Some(path) = of_agent {
        // A public key; what failed before matters more.
        let _ = fs::remove_file(path);
    }
    let done = done?;
    if !done.status.success() {
        return Err(CommandError::Usage(format!("ssh-keygen did not sign with {}", key.display())));
    }
    String::from_utf8(done.stdout).map_err(|_| CommandError::Usage("ssh-keygen gave no text".into()))
}

async fn give(context: &Context, signed: Signed, change: Option<&str>) -> Result<u8, CommandError> {
    signed.check()?;
    let body = SignatureCreate { signed, change: change.map(str::to_owned) };
    let given: Signature = context.client.send_json(Method::POST, "/signatures", &body).await?;
    if context.is_json() {
        output::json(&given);
        return Ok(if given.blockers.is_empty() { 0 } else { 2 });
    }
    let nodes = count(given.nodes.len() as u64, "node");
    output::line(format!("signed for {nodes}, until {}", time(given.expires_at)));
    match change {
        Some(change) if given.blockers.is_empty() => {
            output::note(format!("apply it with: lampasctl change apply {}", encode(change)));
        }
        _ => given.blockers.iter().for_each(|b| output::line(format!("  still in the way: {b}"))),
    }
    Ok(if given.blockers.is_empty() { 0 } else { 2 })
}
