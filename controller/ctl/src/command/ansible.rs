//! `import ansible`: hosts of an inventory as nodes with roles and labels.

use std::{collections::BTreeMap, fs, io, io::Read as _};

use lampas_api::{Node, NodeSummary, NodeUpdate};
use lampas_shared::fleet::{LabelKey, LabelValue, Labels, NodeName, RoleName};
use reqwest::Method;
use serde::Serialize;

use super::{CommandError, Context, confirm};
use crate::{
    cli::ImportArgs,
    client::encode,
    inventory::{self, Inventory, MAX_BYTES},
    output::{self, count},
};

/// A host as a node.
#[derive(Debug, Serialize)]
struct Expected {
    name: NodeName,
    roles: Vec<RoleName>,
    labels: BTreeMap<String, String>,
}

/// What an inventory means for the fleet.
#[derive(Debug, Default, Serialize)]
struct Meaning {
    nodes: Vec<Expected>,
    /// What can't be taken over.
    left: Vec<String>,
}

/// Runs `lampasctl import ansible INVENTORY`.
pub(super) async fn import(context: &Context, args: &ImportArgs) -> Result<u8, CommandError> {
    let [from] = args.what.as_slice() else {
        return Err(CommandError::Usage("give one inventory file, or - for standard input".into()));
    };
    let failed = |e| CommandError::Io(format!("read {from}"), e);
    let limit = MAX_BYTES as u64 + 1;
    let mut text = String::new();
    if from == "-" {
        io::stdin().take(limit).read_to_string(&mut text).map_err(failed)?;
    } else {
        fs::File::open(from).and_then(|f| f.take(limit).read_to_string(&mut text)).map_err(failed)?;
    }
    let read = inventory::parse(from, &text).map_err(|e| CommandError::Usage(format!("{from}: {e}")))?;
    let meaning = mean(&read, &args.labels);
    for left in &meaning.left {
        output::note(format!("not taken: {left}"));
    }
    if context.is_json() && !args.apply {
        output::json(&meaning);
        return Ok(0);
    }
    if args.tokens {
        meaning.nodes.iter().for_each(|node| output::line(command(node)));
        return Ok(0);
    }
    if args.apply {
        return apply(context, &meaning.nodes, args).await;
    }
    table(&meaning.nodes);
    output::note(format!(
        "{}; make their tokens with --tokens, or give nodes that are there roles and labels with --apply",
        count(meaning.nodes.len() as u64, "node")
    ));
    Ok(0)
}

fn mean(inventory: &Inventory, labels: &[String]) -> Meaning {
    let mut meaning = Meaning { left: inventory.notes.clone(), ..Meaning::default() };
    let mut vars: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, host) in &inventory.hosts {
        let node = match NodeName::parse(name.to_ascii_lowercase()) {
            Ok(node) => node,
            Err(error) => {
                meaning.left.push(error.to_string());
                continue;
            }
        };
        let mut roles = Vec::new();
        for group in &host.groups {
            match RoleName::parse(role_of(group)) {
                Ok(role) => roles.push(role),
                Err(error) => meaning.left.push(format!("group {group} of {name}: {error}")),
            }
        }
        let mut taken = BTreeMap::new();
        for (var, value) in &host.vars {
            if !labels.iter().any(|l| l == var) {
                *vars.entry(var).or_default() += 1;
                continue;
            }
            match (LabelKey::parse(var.replace('_', "-")), LabelValue::parse(value.as_str())) {
                (Ok(key), Ok(value)) => drop(taken.insert(key.to_string(), value.to_string())),
                (Err(error), _) | (_, Err(error)) => meaning.left.push(format!("variable {var} of {name}: {error}")),
            }
        }
        roles.sort();
        roles.dedup();
        meaning.nodes.push(Expected { name: node, roles, labels: taken });
    }
    for (var, hosts) in vars {
        let hosts = count(hosts as u64, "host");
        meaning.left.push(format!("variable {var} ({hosts}); with --labels {var} it becomes a label"));
    }
    meaning
}

/// Roles have no underscores, which are common in the names of groups.
fn role_of(group: &str) -> String {
    group.to_ascii_lowercase().replace(['_', '.'], "-")
}

fn command(node: &Expected) -> String {
    let mut command = format!("lampasctl token create --node {}", node.name);
    node.roles.iter().for_each(|role| command.push_str(&format!(" --role {role}")));
    node.labels.iter().for_each(|(key, value)| command.push_str(&format!(" --label {key}={value}")));
    command
}

fn table(nodes: &[Expected]) {
    let row = |node: &Expected| {
        let roles: Vec<&str> = node.roles.iter().map(|r| r.as_str()).collect();
        let labels: Vec<String> = node.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        vec![node.name.to_string(), roles.join(", "), labels.join(", ")]
    };
    output::table(&["NODE", "ROLES", "LABELS"], nodes.iter().map(row).collect());
}

/// Adds roles and labels to nodes of these names; those that they have stay.
async fn apply(context: &Context, wanted: &[Expected], args: &ImportArgs) -> Result<u8, CommandError> {
    let there = context.client.pages::<NodeSummary>("/nodes", &[], None).await?.items;
    let there: BTreeMap<&str, &NodeSummary> = there.iter().map(|n| (n.name.as_str(), n)).collect();
    let mut updates = Vec::new();
    let mut absent = 0_u64;
    for node in wanted {
        let Some(found) = there.get(node.name.as_str()) else {
            absent += 1;
            continue;
        };
        let mut roles = found.roles.clone();
        roles.extend(node.roles.iter().filter(|r| !found.roles.contains(r)).cloned());
        roles.sort();
        let mut labels: Labels = found.labels.clone();
        for (key, value) in &node.labels {
            labels.insert(LabelKey::parse(key.as_str())?, LabelValue::parse(value.as_str())?);
        }
        let (new_roles, new_labels) = (roles != found.roles, labels != found.labels);
        if new_roles || new_labels {
            let update = NodeUpdate { roles: Some(roles), labels: Some(labels), ..NodeUpdate::default() };
            updates.push((node.name.to_string(), update));
        }
    }
    if absent > 0 {
        output::note(format!("{} not enrolled yet: make their tokens with --tokens", count(absent, "node")));
    }
    if updates.is_empty() {
        output::note("nothing to do: the nodes that are there have these roles and labels");
        return Ok(0);
    }
    for (name, update) in &updates {
        let roles: Vec<&str> = update.roles.iter().flatten().map(|r| r.as_str()).collect();
        output::line(format!("  ~ {name}   roles {}", roles.join(", ")));
    }
    confirm(&args.sure, &format!("change {}?", count(updates.len() as u64, "node")))?;
    for (name, update) in &updates {
        let path = format!("/nodes/{}", encode(name));
        let _: Node = context.client.send_json(Method::PATCH, &path, update).await?;
    }
    output::note(format!("{} changed", count(updates.len() as u64, "node")));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_becomes_tokens() {
        let text = "[web_servers]\nWeb-[1:2] env=prod secret=x\nbad_name!\n";
        let read = inventory::parse("hosts", text).expect("reads");
        let meaning = mean(&read, &["env".to_owned()]);
        let commands: Vec<String> = meaning.nodes.iter().map(command).collect();
        assert_eq!(commands[0], "lampasctl token create --node web-1 --role web-servers --label env=prod");
        assert_eq!(commands.len(), 2);
        assert!(
            meaning.left.iter().any(|l| l.contains("bad_name!")) && meaning.left.iter().any(|l| l.contains("secret"))
        );
    }
}
