//! Nodes, roles and the overview.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
};

use lampas_api::{
    Activity, Change, ChangeCreate, Node, NodeEdit, NodePatch, NodeRemoval, NodeResource, NodeSummary, NodeUpdate,
    ObjectSummary, Overview, OverviewCounts, PolicyOfNode, Reason, RevokedNode, Role,
};
use lampas_shared::{
    change::Cause,
    fleet::{LabelKey, LabelValue, NodeState, RoleName},
    report::{ResourceState, UNDONE},
    rollout::Strategy,
};
use reqwest::Method;
use serde::Serialize;

use super::{CommandError, Context, confirm, listed, show};
use crate::{
    cli::{ListArgs, NodeCommand, RoleCommand},
    client::encode,
    output::{self, ago, count, now, state},
};

/// Runs `lampasctl node …`.
pub(super) async fn run(context: &Context, command: NodeCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    match command {
        NodeCommand::List { query, role, state, config, halted, label, list } => {
            let role = role.map(|r| r.to_string());
            let query = [
                ("query", query.as_deref()),
                ("role", role.as_deref()),
                ("state", state.as_deref()),
                ("config", config.as_deref()),
                ("halted", halted.then_some("true")),
                ("label", label.as_deref()),
            ];
            show(context, &list, async || {
                let page = client.pages::<NodeSummary>("/nodes", &query, list.max).await?;
                listed(context, &page, "no nodes; enrol one with: lampasctl token create --role app", nodes);
                Ok(())
            })
            .await
        }
        NodeCommand::Show { node, at: Some(at) } => super::past::one(context, &node, at).await,
        NodeCommand::Show { node, at: None } => one(context, &node).await,
        NodeCommand::Set { node, name, role, label, address, plan, reason, override_reason } => {
            let path = format!("/nodes/{}", encode(&node));
            let roles = role.map(|roles| {
                roles.iter().filter(|r| !r.is_empty()).map(|r| RoleName::from_str(r)).collect::<Result<Vec<_>, _>>()
            });
            let mut update = NodeUpdate { name, roles: roles.transpose()?, labels: None, address };
            if !label.is_empty() {
                let current: Node = client.get(&path, &[]).await?;
                let mut labels = current.summary.labels;
                for term in &label {
                    let Some((key, value)) = term.split_once('=') else {
                        return Err(CommandError::Usage(format!(
                            "label {term:?}: write key=value, or key= to take it away"
                        )));
                    };
                    let key = LabelKey::parse(key)?;
                    if value.is_empty() {
                        labels.remove(&key);
                    } else {
                        labels.insert(key, LabelValue::parse(value)?);
                    }
                }
                update.labels = Some(labels);
            }
            if plan {
                let edit = NodeEdit { node, set: update, base: None };
                let request = ChangeCreate {
                    drafts: Vec::new(),
                    node_edits: vec![edit],
                    reason,
                    apply: false,
                    // An edit of a node that is to wait for somebody is made so.
                    only_look: false,
                    allow_unplanned: true,
                    rollout: Strategy::default(),
                    set: None,
                };
                let key = uuid::Uuid::new_v4().to_string();
                let made: Change = client.post_once("/changes", &key, &request).await?;
                return super::change::shown_plan(context, &made);
            }
            let patch = NodePatch { override_reason, ..update.into() };
            let node: Node = client.send_json(Method::PATCH, &path, &patch).await?;
            if context.is_json() {
                output::json(&node);
            } else {
                nodes(std::slice::from_ref(&node.summary));
            }
            Ok(0)
        }
        NodeCommand::Activity { node, list } => {
            let path = format!("/nodes/{}/activity", encode(&node));
            show(context, &list, async || {
                let page = client.pages::<Activity>(&path, &[], list.max.or(Some(50))).await?;
                if context.is_json() {
                    output::json(&page);
                } else {
                    activity(&page.items);
                }
                Ok(())
            })
            .await
        }
        NodeCommand::Retry { node } => {
            client.act(Method::POST, &format!("/nodes/{}/retry", encode(&node))).await?;
            output::note(format!("{node} tries again; follow it with: lampasctl node show {node}"));
            Ok(0)
        }
        NodeCommand::Policy { node, list } => policies(context, node.as_deref(), &list).await,
        NodeCommand::Sign { node, how } => super::signing::node(context, &node, &how).await,
        NodeCommand::Manage { node, plan, reason, override_reason, sure } => {
            let only_plan = plan;
            super::takeover::manage(context, &node, only_plan, (reason, override_reason), &sure).await
        }
        NodeCommand::Revoke { node, sure } => {
            let asked = format!(
                "revoke the certificate of {node}? It can come back only with a new token; generated lines of other nodes name \
                 it no more, except where those are protected or frozen"
            );
            confirm(&sure, &asked)?;
            let path = format!("/nodes/{}/revoke", encode(&node));
            let revoked: RevokedNode = client.send_json(Method::POST, &path, &Reason::default()).await?;
            output::note(format!("{node} is revoked"));
            if !revoked.named_on.is_empty() {
                output::note(format!(
                    "  generated lines go on naming it on {}: those are protected, frozen or not yours to manage; lampasctl node \
                     remove {node} takes the lines away",
                    revoked.named_on.join(", ")
                ));
            }
            Ok(0)
        }
        NodeCommand::Remove { node, override_reason, sure } => {
            let asked = format!(
                "take {node} out of the fleet? What LAMPAS wrote stays on it, and generated lines of other nodes name it no more"
            );
            confirm(&sure, &asked)?;
            let removal = NodeRemoval { reason: String::new(), override_reason };
            client.send_empty(Method::DELETE, &format!("/nodes/{}", encode(&node)), &removal).await?;
            output::note(format!("{node} is removed"));
            Ok(0)
        }
    }
}

/// Shows what the nodes' own policies allow, each as its agent said last.
async fn policies(context: &Context, node: Option<&str>, list: &ListArgs) -> Result<u8, CommandError> {
    show(context, list, async || {
        let mut all: Vec<PolicyOfNode> = context.client.get("/policies", &[]).await?;
        if let Some(node) = node {
            all.retain(|p| p.node.name == node || p.node.id.to_string() == node);
            if all.is_empty() {
                return Err(CommandError::Usage(format!("there is no node {node}")));
            }
        }
        if context.is_json() {
            output::json(&all);
            return Ok(());
        }
        let row = |p: &PolicyOfNode| {
            let said = p.policy.as_ref();
            let yes = |is: Option<bool>| is.map_or("?", |is| if is { "yes" } else { "no" }).to_owned();
            vec![
                p.node.name.clone(),
                yes(said.map(|p| !p.observe)),
                match said {
                    Some(p) if !p.malformed.is_empty() => "stopped: the policy can't be followed".to_owned(),
                    Some(p) if p.root_code && p.require_signature => "with a signature".to_owned(),
                    said => yes(said.map(|p| p.root_code)),
                },
                said.map(|p| p.deny_paths.join(" ")).unwrap_or_default(),
                said.map(|p| p.signers.join(" ")).unwrap_or_default(),
                if p.differs { "differs from most".to_owned() } else { String::new() },
            ]
        };
        output::table(&["NODE", "WRITES", "ROOT CODE", "DENIES", "SIGNERS", ""], all.iter().map(row).collect());
        for p in all.iter().filter(|p| p.policy.as_ref().is_some_and(|p| !p.malformed.is_empty())) {
            let why = p.policy.as_ref().map(|p| p.malformed.as_str()).unwrap_or_default();
            output::note(format!("{}: {why}", p.node.name));
        }
        Ok(())
    })
    .await
}

async fn one(context: &Context, name: &str) -> Result<u8, CommandError> {
    #[derive(Serialize)]
    struct Shown {
        #[serde(flatten)]
        node: Node,
        resource_list: Vec<NodeResource>,
    }
    let path = format!("/nodes/{}", encode(name));
    let node: Node = context.client.get(&path, &[]).await?;
    let resources = context.client.pages::<NodeResource>(&format!("{path}/resources"), &[], None).await?.items;
    if context.is_json() {
        output::json(&Shown { node, resource_list: resources });
        return Ok(0);
    }
    nodes(std::slice::from_ref(&node.summary));
    let facts = &node.facts;
    output::line("");
    output::line(format!("  id           {}", node.summary.id));
    output::line(format!("  system       {}, {}, {}", facts.os, facts.kernel, facts.architecture));
    let memory = facts.memory_bytes / (1 << 20);
    output::line(format!("  machine      {}, {memory} MiB, {}", count(u64::from(facts.cpus), "core"), facts.time_zone));
    output::line(format!("  agent        {} under {}", facts.agent_version, facts.root));
    let address = node.summary.address.as_deref().unwrap_or("not set");
    let seen = node.observed_address.as_deref().unwrap_or("–");
    output::line(format!("  address      {address} (connects from {seen})"));
    if let Some(expires) = node.certificate_expires_at {
        output::line(format!("  certificate  ends {}", ago(Some(expires), now())));
    }
    if let Some(since) = node.summary.undone_since {
        output::line(format!(
            "  undone       by somebody on the node, {}: what stood before the generation stands there",
            ago(Some(since), now())
        ));
        output::line("               a newer change ends that, or on the node: lampas-agent resume");
    }
    if let Some(pause) = &node.summary.pause {
        let until =
            pause.until.map_or("until somebody resumes it".to_owned(), |u| format!("until {}", output::time(u)));
        output::line(format!("  paused       on the node {until}: {}", pause.reason));
        output::line("               nothing is written there; end it on the node: lampas-agent resume");
    }
    if node.is_confirmed == Some(false) {
        output::line("  confirmed    not yet: the agent has not reached a controller since its last change");
    }
    if let Some(refusal) = &node.refusal {
        let since = ago(Some(refusal.since), now());
        output::line(format!(
            "  attention    does not take its state since {since}: {} ({})",
            refusal.message, refusal.code
        ));
        output::line(format!("               {}", refusal.remedy));
    }
    if let Some(generation) = node.quarantined {
        output::line(format!(
            "  quarantined  generation {generation} cut the node off and was undone; lampasctl node retry {name}"
        ));
    }
    output::line("");
    let rows = resources
        .iter()
        .map(|r| {
            let fault = r.fault.as_ref().map(|f| f.message.clone());
            let note = fault.or_else(|| r.notes.first().cloned()).unwrap_or_default();
            vec![state(r.state.as_str()), format!("{} {}", r.kind, r.name), r.scope.clone(), r.target.to_string(), note]
        })
        .collect();
    output::table(&["STATE", "OBJECT", "SCOPE", "TARGET", ""], rows);
    Ok(0)
}

/// Says on which nodes objects of a change are undone by somebody there, though nothing is to be applied. Returns whether there
/// are any.
pub(super) async fn undone(context: &Context, change: &Change) -> Result<bool, CommandError> {
    let halted = context.client.pages::<NodeSummary>("/nodes", &[("halted", Some("true"))], None).await?.items;
    let mut has_any = false;
    for node in halted.iter().filter(|n| n.undone_since.is_some() && !n.is_revoked) {
        let path = format!("/nodes/{}/resources", encode(node.name.as_str()));
        let resources = context.client.pages::<NodeResource>(&path, &[], None).await?.items;
        let is_undone = |r: &&NodeResource| r.fault.as_ref().is_some_and(|f| f.code == UNDONE);
        let is_named = |r: &&NodeResource| {
            change
                .drafts
                .iter()
                .map(|d| &d.key)
                .any(|k| k.kind == r.kind && k.name == r.name && k.scope.to_string() == r.scope)
        };
        let objects: BTreeSet<String> =
            resources.iter().filter(is_undone).filter(is_named).map(|r| format!("{} {}", r.kind, r.name)).collect();
        if objects.is_empty() {
            continue;
        }
        if !has_any && !context.is_json() {
            output::line("  nothing to apply: all is as it is wanted, but not everywhere in force");
        }
        has_any = true;
        if !context.is_json() {
            let objects = objects.into_iter().collect::<Vec<_>>().join(", ");
            output::line(format!(
                "    {}: undone by somebody on the node, {}: {objects}",
                node.name,
                ago(node.undone_since, now())
            ));
        }
    }
    if has_any {
        output::note("  a newer change brings it back, or on the node: lampas-agent resume");
    }
    Ok(has_any)
}

/// Runs `lampasctl role …`.
pub(super) async fn role(context: &Context, command: RoleCommand) -> Result<u8, CommandError> {
    let client = &context.client;
    match command {
        RoleCommand::List { list } => {
            show(context, &list, async || {
                let page = client.pages::<Role>("/roles", &[], list.max).await?;
                listed(context, &page, "no roles yet; a role comes with its first node or object", |items| {
                    let number = |n: u32| n.to_string();
                    let row = |r: &Role| {
                        let counts = [r.nodes, r.online, r.converged, r.drifted, r.failed, r.objects];
                        std::iter::once(r.name.to_string()).chain(counts.map(number)).collect()
                    };
                    let heads = ["ROLE", ">NODES", ">ONLINE", ">CONVERGED", ">DRIFTED", ">FAILED", ">OBJECTS"];
                    output::table(&heads, items.iter().map(row).collect());
                });
                Ok(())
            })
            .await
        }
        RoleCommand::Compare { role, all } => super::takeover::compare(context, &role, all).await,
        RoleCommand::Show { role, at: Some(at) } => super::past::role(context, &role, at).await,
        RoleCommand::Show { role, at: None } => {
            let shown: Role = client.get(&format!("/roles/{role}"), &[]).await?;
            let members = client.pages::<NodeSummary>("/nodes", &[("role", Some(role.as_str()))], None).await?.items;
            let scope = format!("role:{role}");
            let objects = client.pages::<ObjectSummary>("/objects", &[("scope", Some(&scope))], None).await?.items;
            if context.is_json() {
                output::json(&serde_json::json!({ "role": shown, "nodes": members, "objects": objects }));
                return Ok(0);
            }
            nodes(&members);
            output::line("");
            super::object::objects(&objects);
            Ok(0)
        }
    }
}

/// Runs `lampasctl overview`.
pub(super) async fn overview(context: &Context) -> Result<u8, CommandError> {
    let overview: Overview = context.client.get("/overview", &[]).await?;
    if context.is_json() {
        output::json(&overview);
        return Ok(0);
    }
    output::line(figures(&overview.counts));
    if overview.attention.is_empty() {
        output::line("nothing needs attention");
    }
    for item in &overview.attention {
        output::line(format!("{}  {}  {}", state(&item.kind), item.text, ago(item.since, now())));
    }
    if !overview.changes.is_empty() {
        output::line("");
        super::change::changes(&overview.changes);
    }
    if !overview.next_runs.is_empty() {
        output::line("");
        let row = |r: &lampas_api::UpcomingRun| {
            vec![ago(Some(r.at), now()), r.name.clone(), r.scope.clone(), count(u64::from(r.nodes), "node")]
        };
        output::table(&["NEXT RUN", "JOB", "SCOPE", ""], overview.next_runs.iter().map(row).collect());
    }
    Ok(0)
}

/// Puts the numbers of a fleet into a line.
pub(super) fn figures(c: &OverviewCounts) -> String {
    let mut facts = vec![count(u64::from(c.nodes), "node")];
    let counts = [
        (c.online, "online"),
        (c.stale, "stale"),
        (c.offline, "offline"),
        (c.drifted, "drifted"),
        (c.failed, "failed"),
    ];
    facts.extend(counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")));
    facts.push(count(u64::from(c.objects), "object"));
    facts.join(" · ")
}

/// Returns the word for whether a node is heard.
pub(super) fn heard(state: NodeState) -> &'static str {
    match state {
        NodeState::Online => "online",
        NodeState::Stale => "stale",
        NodeState::Offline => "offline",
    }
}

fn nodes(items: &[NodeSummary]) {
    let row = |n: &NodeSummary| {
        let roles = n.roles.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(", ");
        let labels: BTreeMap<_, _> = n.labels.iter().collect();
        let labels = labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
        let connection = if n.ejected_at.is_some() {
            "ejected"
        } else if n.is_revoked {
            "revoked"
        } else {
            heard(n.state)
        };
        let generation = match (n.desired, n.reported) {
            (None, _) => "–".into(),
            (Some(desired), Some(reported)) if desired == reported => desired.to_string(),
            (Some(desired), Some(reported)) => format!("{reported} → {desired}"),
            (Some(desired), None) => format!("– → {desired}"),
        };
        let seen = if n.state == NodeState::Online { "now".into() } else { ago(n.last_seen_at, now()) };
        let config = match n.config {
            ResourceState::Applying => format!("applying {}/{}", n.converged, n.resources),
            other => other.as_str().to_owned(),
        };
        let config = match (n.is_observing, n.resources) {
            (true, _) => state("observing"),
            (false, 0) => "–".into(),
            (false, _) => state(&config),
        };
        vec![n.name.to_string(), state(connection), config, roles, generation, seen, labels, n.attention.clone()]
    };
    output::table(
        &["NODE", "LINK", "CONFIG", "ROLES", "GENERATION", "SEEN", "LABELS", ""],
        items.iter().map(row).collect(),
    );
}

/// Prints what happened, the newest first.
pub(super) fn activity(items: &[Activity]) {
    let row = |a: &Activity| {
        let cause = a.cause.map_or("", Cause::as_str).to_owned();
        vec![output::time(a.at), a.kind.clone(), a.node_name.clone().unwrap_or_default(), cause, a.text.clone()]
    };
    output::table(&["WHEN", "EVENT", "NODE", "CAUSE", ""], items.iter().map(row).collect());
}
