//! Ansible inventories, read: hosts with their groups and variables. Pure.
//!
//! Both static forms are read, INI and YAML; a file is YAML when its name or its first line says so. Nothing is executed and
//! nothing is templated: what needs Ansible to be known (dynamic inventories, `{{ … }}`, vaults) is named and left out.
//! Everything is bounded, so that a range or an alias can't fill the memory.

mod ini;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

/// The most hosts of one inventory.
pub(crate) const MAX_HOSTS: usize = 20_000;
/// The longest inventory, in bytes.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// What an inventory says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    /// The hosts by name.
    pub(crate) hosts: BTreeMap<String, Host>,
    /// What could not be read, with its place.
    pub(crate) notes: Vec<String>,
}

/// One host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Host {
    /// Its groups, with the groups that these are children of; not `all` and `ungrouped`.
    pub(crate) groups: BTreeSet<String>,
    /// Its variables, those of its groups among them: a host's own win, then those of a group nearer to it.
    pub(crate) vars: BTreeMap<String, String>,
}

/// Why an inventory can't be read at all.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum InventoryError {
    /// A line.
    #[error("line {0}: {1}")]
    Line(usize, String),
    /// Too much.
    #[error("it names more than {MAX_HOSTS} hosts")]
    TooMany,
    /// Too long.
    #[error("it has more than {} MiB", MAX_BYTES >> 20)]
    TooLong,
    /// A group that is its own child.
    #[error("group {0} is a child of itself")]
    Cycle(String),
}

/// Reads an inventory. `name` is the file's, for its form.
pub(crate) fn parse(name: &str, text: &str) -> Result<Inventory, InventoryError> {
    if text.len() > MAX_BYTES {
        return Err(InventoryError::TooLong);
    }
    let is_yaml = [".yml", ".yaml"].iter().any(|e| name.to_ascii_lowercase().ends_with(e))
        || text.trim_start().starts_with("---")
        || text.trim_start().starts_with("all:");
    let raw = if is_yaml { yaml::read(text)? } else { ini::read(text)? };
    raw.resolve()
}

/// What stands in the file, before groups are followed.
#[derive(Debug, Default)]
struct Raw {
    hosts: BTreeMap<String, BTreeMap<String, String>>,
    groups: BTreeMap<String, Group>,
    notes: Vec<String>,
}

#[derive(Debug, Default)]
struct Group {
    hosts: BTreeSet<String>,
    children: BTreeSet<String>,
    vars: BTreeMap<String, String>,
}

impl Raw {
    fn host(&mut self, group: &str, name: &str, vars: &BTreeMap<String, String>) -> Result<(), InventoryError> {
        self.hosts.entry(name.to_owned()).or_default().extend(vars.clone());
        if self.hosts.len() > MAX_HOSTS {
            return Err(InventoryError::TooMany);
        }
        self.groups.entry(group.to_owned()).or_default().hosts.insert(name.to_owned());
        Ok(())
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < 200 {
            self.notes.push(note);
        }
    }

    fn resolve(self) -> Result<Inventory, InventoryError> {
        let mut parents: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, group) in &self.groups {
            for child in &group.children {
                parents.entry(child).or_default().insert(name);
            }
        }
        let mut inventory = Inventory { notes: self.notes.clone(), ..Inventory::default() };
        for name in self.hosts.keys() {
            inventory.hosts.insert(name.clone(), Host::default());
        }
        // Each group with its ancestors, the nearest first.
        let mut above: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for group in self.groups.keys() {
            let (mut order, mut next): (Vec<&str>, Vec<&str>) = (vec![group], vec![group]);
            while !next.is_empty() {
                let mut further = Vec::new();
                for parent in next.iter().filter_map(|g| parents.get(g)).flatten() {
                    if *parent == group {
                        return Err(InventoryError::Cycle(group.clone()));
                    }
                    if !order.contains(parent) {
                        order.push(parent);
                        further.push(*parent);
                    }
                }
                next = further;
            }
            above.insert(group, order);
        }
        let all = self.groups.get("all").map(|g| g.vars.clone()).unwrap_or_default();
        // From afar to near, so that what is nearer is written over the rest.
        for (group, order) in &above {
            for host in &self.groups[*group].hosts {
                let Some(found) = inventory.hosts.get_mut(host) else { continue };
                found
                    .groups
                    .extend(order.iter().filter(|g| !matches!(**g, "all" | "ungrouped")).map(|g| (*g).to_owned()));
            }
        }
        for (name, own) in self.hosts {
            let Some(found) = inventory.hosts.get_mut(&name) else { continue };
            found.vars.extend(all.clone());
            let direct: Vec<&Vec<&str>> =
                above.iter().filter(|(g, _)| self.groups[**g].hosts.contains(&name)).map(|(_, order)| order).collect();
            let depth = direct.iter().map(|o| o.len()).max().unwrap_or(0);
            for level in (0..depth).rev() {
                for group in direct.iter().filter_map(|order| order.get(level)) {
                    found.vars.extend(self.groups[*group].vars.clone());
                }
            }
            found.vars.extend(own);
        }
        Ok(inventory)
    }
}

/// Expands `web[01:20].example`, `db-[a:f]`, `x[1:9:2]`, several in one name.
fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let Some(open) = pattern.find('[') else { return Ok(vec![pattern.to_owned()]) };
    let Some(close) = pattern[open..].find(']').map(|c| open + c) else {
        return Err(format!("{pattern:?}: a range has no ']'"));
    };
    let (before, range, after) = (&pattern[..open], &pattern[open + 1..close], &pattern[close + 1..]);
    let steps = range_of(range).ok_or_else(|| format!("{range:?} is no range: write 01:20, a:f or 1:9:2"))?;
    let rest = expand(after)?;
    if steps.len().saturating_mul(rest.len()) > MAX_HOSTS {
        return Err(format!("{pattern:?} is more than {MAX_HOSTS} hosts"));
    }
    Ok(steps.iter().flat_map(|s| rest.iter().map(move |r| format!("{before}{s}{r}"))).collect())
}

fn range_of(range: &str) -> Option<Vec<String>> {
    let parts: Vec<&str> = range.split(':').collect();
    let ([from, to] | [from, to, _]) = parts.as_slice() else { return None };
    let step: usize = parts.get(2).map_or(Some(1), |s| s.parse().ok()).filter(|s| *s > 0)?;
    if let (Ok(first), Ok(last)) = (from.parse::<u64>(), to.parse::<u64>()) {
        let is_sane = last >= first && last - first < 10 * MAX_HOSTS as u64 && from.len() <= 18;
        // Leading zeros count: 01 to 20 are two digits each.
        let width = if from.starts_with('0') { from.len() } else { 0 };
        return is_sane.then(|| (first..=last).step_by(step).map(|n| format!("{n:0width$}")).collect());
    }
    let letter = |s: &str| s.chars().next().filter(|c| c.is_ascii_alphabetic() && s.len() == 1);
    let (first, last) = (letter(from)?, letter(to)?);
    let is_sane = first <= last && first.is_ascii_lowercase() == last.is_ascii_lowercase();
    is_sane.then(|| (first..=last).step_by(step).map(String::from).collect())
}

/// Whether a value can be known without Ansible.
fn is_plain(value: &str) -> bool {
    !value.contains("{{") && !value.contains("$ANSIBLE_VAULT") && value.len() <= 4096
}

#[cfg(test)]
mod tests;
