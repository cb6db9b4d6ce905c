//! Objects of a fleet compiled to what each node must be. Pure.
//!
//! Nodes that are in the same scopes get the same resources, so the work is done once for each such *class* of nodes:
//! a fleet of thousands has a handful. Within a class each *target* (path, cron name, host name and family) goes to the
//! object of the most specific level; the whole object replaces, except that a hosts entry keeps those of its names
//! that it wins. A tie on one level is reported, for the caller to refuse; what is compiled then is the object with the
//! smaller id, so that the result depends on nothing but the input's values.

mod resolve;
pub(crate) mod template;
mod unit;
pub(crate) mod values;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use lampas_shared::{
    desired::{ContentHash, Generation, Group, NodeDesired, Provenance, Resource, Spec},
    fleet::{Labels, Level, NodeName, RoleName, Scope},
    id::{NodeId, ObjectId, SecretValueId},
    object::{Kind, ObjectKey, ObjectSpec, Target},
};

pub use template::Problem;

/// A node as the compiler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInput {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its roles.
    pub roles: BTreeSet<RoleName>,
    /// Its labels.
    pub labels: Labels,
    /// The address that an operator set.
    pub address: Option<IpAddr>,
    /// What it says of itself and doesn't change from one day to the next.
    pub facts: StableFacts,
}

/// What a node says of itself, as far as it may stand in texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StableFacts {
    /// Its host name; empty when it is not known.
    pub hostname: String,
    /// The name of its operating system's release: `bookworm`.
    pub codename: String,
    /// Its architecture: `x86_64`.
    pub architecture: String,
}

/// An object as the compiler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInput {
    /// Its id.
    pub id: ObjectId,
    /// What it says; node scopes hold names.
    pub spec: Arc<ObjectSpec>,
    /// Who made it so.
    pub provenance: Provenance,
}

/// What every node of a fleet must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    classes: Vec<Class>,
    class_of: HashMap<NodeId, usize>,
    /// The contents that are too long to ride along.
    pub blobs: BTreeMap<ContentHash, Arc<Vec<u8>>>,
    /// Targets that two objects of one level claim.
    pub ties: Vec<Tie>,
    /// Names in templates that stand for nothing where they are used.
    pub problems: Vec<Problem>,
    /// Whether some nodes don't have everything yet: then a class says less of a newcomer than its scopes do.
    pub is_held: bool,
}

/// Nodes that are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Its nodes, by id.
    pub nodes: Vec<NodeId>,
    /// What they must be, by target.
    pub resources: Vec<Arc<Resource>>,
    /// The hash of that.
    pub hash: ContentHash,
    /// Which claims lost to a more specific object.
    pub lost: Vec<Lost>,
    /// Which objects use which variables and secrets.
    pub uses: BTreeSet<Usage>,
    /// Whether facts of single nodes are in it: then a newcomer is like nobody.
    is_personal: bool,
}

/// An object that uses a variable or a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usage {
    /// The variable or secret.
    pub value: ObjectId,
    /// Who uses it.
    pub user: ObjectId,
}

/// A claim that a more specific object took.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// Who lost.
    pub object: ObjectId,
    /// What.
    pub target: Target,
    /// To whom.
    pub winner: ObjectId,
}

/// Two objects of one level that claim one target on one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tie {
    /// What both claim.
    pub target: Target,
    /// The one, with the smaller id.
    pub first: (ObjectId, ObjectKey),
    /// The other.
    pub second: (ObjectId, ObjectKey),
    /// A node that both are for; absent when they have the same scope and no node is in it.
    pub node: Option<NodeName>,
}

impl std::fmt::Display for Tie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, second) = (&self.first.1, &self.second.1);
        if let Some(user) = self.target.crontab_user() {
            let (job, file) = if first.kind == Kind::Cron { (first, second) } else { (second, first) };
            if job.kind == Kind::Cron {
                let on = self.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
                return write!(
                    f,
                    "{file} is the whole crontab of {user}, and {job} has its lines in it{on}; give the job table = \"system\", \
                     or make jobs of the file's lines and remove the file"
                );
            }
        }
        write!(f, "{first} and {second} both claim {}", self.target)?;
        match &self.node {
            Some(node) => write!(f, " on {node}, and neither scope is more specific; change one's scope or target"),
            None => write!(f, "; remove one or give it another target"),
        }
    }
}

/// What some nodes don't have yet of a change that rolls out: on them these objects are as they were before it.
///
/// No object stands in two of them for one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hold {
    /// Who waits for the change.
    pub nodes: BTreeSet<NodeId>,
    /// What they have instead; nothing where the change made the object.
    pub before: BTreeMap<ObjectId, Option<ObjectInput>>,
}

/// Compiles a fleet in which no change is rolling out. The order of the input doesn't matter.
pub fn compile(nodes: &[NodeInput], objects: &[ObjectInput]) -> Compiled {
    compile_held(nodes, &[], objects, &[])
}

/// Compiles a fleet in which some nodes don't have everything yet. Who `left` it gets nothing, and is still named in generated
/// lines.
pub fn compile_held(nodes: &[NodeInput], left: &[NodeInput], objects: &[ObjectInput], holds: &[Hold]) -> Compiled {
    let named: Vec<&NodeInput> = nodes.iter().chain(left).collect();
    let mut compiled = Compiled { is_held: !holds.is_empty(), ..Compiled::default() };
    let mut ties = Vec::new();
    // Nodes that wait for the same changes see the same objects.
    let mut waiting: BTreeMap<Vec<usize>, Vec<&NodeInput>> = BTreeMap::new();
    for node in nodes {
        let held = holds.iter().zip(0..).filter(|(h, _)| h.nodes.contains(&node.id)).map(|(_, index)| index);
        waiting.entry(held.collect()).or_default().push(node);
    }
    // Also without any node: ties between objects show all the same.
    waiting.entry(Vec::new()).or_default();
    for (held, members) in waiting {
        let before: BTreeMap<ObjectId, &Option<ObjectInput>> =
            held.iter().flat_map(|h| &holds[*h].before).map(|(id, before)| (*id, before)).collect();
        if before.is_empty() {
            compile_alike(&named, &members, objects, &mut compiled, &mut ties);
            continue;
        }
        let standing = objects.iter().filter(|o| !before.contains_key(&o.id)).cloned();
        let seen: Vec<ObjectInput> = standing.chain(before.values().filter_map(|b| b.as_ref()).cloned()).collect();
        compile_alike(&named, &members, &seen, &mut compiled, &mut ties);
    }
    // One pair of objects is told once, with a node where there is one.
    let mut told = BTreeSet::new();
    ties.sort_by(|a, b| (b.node.is_some(), a).cmp(&(a.node.is_some(), b)));
    ties.retain(|t| told.insert((t.first.0, t.second.0)));
    compiled.ties = ties;
    compiled
}

/// Compiles nodes that see the same objects. Generated lines name all of `named`.
fn compile_alike(
    named: &[&NodeInput],
    members: &[&NodeInput],
    objects: &[ObjectInput],
    compiled: &mut Compiled,
    ties: &mut Vec<Tie>,
) {
    let units = unit::Units::build(named, objects);
    let scopes = Scopes::build(objects);
    let mut classes: BTreeMap<Vec<usize>, Vec<&NodeInput>> = BTreeMap::new();
    for node in members {
        classes.entry(scopes.of(node)).or_default().push(node);
    }
    compiled.blobs.extend(units.blobs.iter().map(|(hash, bytes)| (*hash, bytes.clone())));
    let mut resolver = resolve::Resolver::new(&units);
    ties.extend(resolve::static_ties(&units));
    let mut problems = BTreeSet::new();
    for (scopes, mut members) in classes {
        members.sort_by_key(|n| n.id);
        let scopes: BTreeSet<usize> = scopes.into_iter().collect();
        let resolved = resolver.resolve(&|scope| scopes.contains(&scope), &members);
        for class in resolved.classes {
            for node in &class.nodes {
                compiled.class_of.insert(*node, compiled.classes.len());
            }
            compiled.classes.push(class);
        }
        compiled.blobs.extend(resolved.blobs);
        problems.extend(resolved.problems);
        ties.extend(resolved.ties);
    }
    compiled.problems.extend(problems);
}

impl Compiled {
    /// Returns the class of a node.
    pub fn class(&self, node: NodeId) -> Option<&Class> {
        self.class_of.get(&node).map(|c| &self.classes[*c])
    }

    /// Returns all classes.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Returns the hash of what a node must be.
    pub fn hash(&self, node: NodeId) -> Option<ContentHash> {
        self.class(node).map(|c| c.hash)
    }

    /// Returns what a node must be, as a generation.
    pub fn desired(&self, node: NodeId, generation: Generation) -> Option<NodeDesired> {
        let class = self.class(node)?;
        let resources = class.resources.iter().map(|r| Resource::clone(r)).collect();
        Some(NodeDesired { node, generation, hash: class.hash, groups: Group::split(resources) })
    }

    /// Returns a content that is too long to ride along, if what this node must be names it.
    pub fn blob(&self, node: NodeId, hash: ContentHash) -> Option<Vec<u8>> {
        let names = |r: &Arc<Resource>| matches!(&r.spec, Spec::File { content, .. } if content.hash == hash);
        let class = self.class(node)?;
        class.resources.iter().any(names).then(|| self.blobs.get(&hash))?.map(|b| b.as_ref().clone())
    }

    /// Returns whether any node has this content, too long to ride along.
    pub(crate) fn has_blob(&self, hash: ContentHash) -> bool {
        self.blobs.contains_key(&hash)
    }

    /// Returns whether what a node must be holds this value of a secret.
    pub fn needs(&self, node: NodeId, value: SecretValueId) -> bool {
        let holds = |r: &Arc<Resource>| matches!(&r.spec, Spec::Sealed(sealed) if sealed.values().contains(&value));
        self.class(node).is_some_and(|class| class.resources.iter().any(holds))
    }

    /// Returns who uses a variable or a secret, and where.
    pub fn users(&self, value: ObjectId) -> BTreeMap<ObjectId, Vec<NodeId>> {
        let mut users: BTreeMap<ObjectId, Vec<NodeId>> = BTreeMap::new();
        for class in &self.classes {
            for usage in class.uses.iter().filter(|u| u.value == value) {
                users.entry(usage.user).or_default().extend(&class.nodes);
            }
        }
        users
    }

    /// Takes a node in that is in the same scopes as one of `nodes`, which this was made of with `objects`: with thousands
    /// of them, compiling all for each newcomer would take most of an enrolment. Returns whether it could; otherwise all
    /// is to be compiled anew, as for a node that has an address, which generated lines may name.
    pub fn join(&mut self, node: &NodeInput, nodes: &[NodeInput], objects: &[ObjectInput]) -> bool {
        if self.is_held || node.address.is_some() || self.class_of.contains_key(&node.id) {
            return false;
        }
        let scopes = Scopes::build(objects);
        let wanted = scopes.of(node);
        let alike = nodes.iter().find(|n| n.roles == node.roles && n.labels == node.labels && scopes.of(n) == wanted);
        let alike = alike.or_else(|| nodes.iter().find(|n| scopes.of(n) == wanted));
        let Some(class) = alike.and_then(|n| self.class_of.get(&n.id).copied()) else { return false };
        if self.classes[class].is_personal {
            return false;
        }
        let members = &mut self.classes[class].nodes;
        let at = members.partition_point(|n| *n < node.id);
        members.insert(at, node.id);
        self.class_of.insert(node.id, class);
        true
    }

    /// Returns all nodes with the hash of what they must be.
    pub fn hashes(&self) -> impl Iterator<Item = (NodeId, ContentHash)> {
        self.classes.iter().flat_map(|c| c.nodes.iter().map(|n| (*n, c.hash)))
    }

    /// Returns the nodes on which an object is in force with at least one target.
    pub fn effective_on(&self, object: ObjectId) -> Vec<NodeId> {
        let has =
            |c: &&Class| c.resources.iter().any(|r| r.object == object) || c.uses.iter().any(|u| u.value == object);
        self.classes.iter().filter(has).flat_map(|c| c.nodes.iter().copied()).collect()
    }

    /// Returns the nodes on which another object took a target of this one, with that object.
    pub fn overridden_on(&self, object: ObjectId) -> Vec<(NodeId, ObjectId)> {
        let mut found = Vec::new();
        for class in &self.classes {
            if let Some(lost) = class.lost.iter().find(|l| l.object == object) {
                found.extend(class.nodes.iter().map(|n| (*n, lost.winner)));
            }
        }
        found
    }
}

/// The distinct scopes of the objects, and which of them a node is in.
struct Scopes<'a> {
    roles: HashMap<&'a RoleName, usize>,
    nodes: HashMap<&'a NodeName, usize>,
    selectors: Vec<(&'a Scope, usize)>,
    fleet: Option<usize>,
}

impl<'a> Scopes<'a> {
    fn build(objects: &'a [ObjectInput]) -> Self {
        let mut scopes = Self { roles: HashMap::new(), nodes: HashMap::new(), selectors: Vec::new(), fleet: None };
        for (scope, index) in distinct_scopes(objects) {
            match scope {
                Scope::Fleet => scopes.fleet = Some(index),
                Scope::Selector(_) => scopes.selectors.push((scope, index)),
                Scope::Role(role) => drop(scopes.roles.insert(role, index)),
                Scope::Node(name) => drop(scopes.nodes.insert(name, index)),
            }
        }
        scopes
    }

    fn of(&self, node: &NodeInput) -> Vec<usize> {
        let mut found: Vec<usize> = self.fleet.into_iter().collect();
        found.extend(node.roles.iter().filter_map(|r| self.roles.get(r)));
        found.extend(self.nodes.get(&node.name));
        let matching = |(scope, _): &&(&Scope, usize)| scope.contains(&node.name, &node.roles, &node.labels);
        found.extend(self.selectors.iter().filter(matching).map(|(_, index)| *index));
        found.sort_unstable();
        found
    }
}

/// Numbers the distinct scopes in their order.
fn distinct_scopes(objects: &[ObjectInput]) -> BTreeMap<&Scope, usize> {
    let scopes: BTreeSet<&Scope> = objects.iter().map(|o| &o.spec.scope).collect();
    scopes.into_iter().zip(0..).collect()
}

/// Returns how specific an object is.
fn level(object: &ObjectInput) -> Level {
    object.spec.scope.level()
}

#[cfg(test)]
mod tests;
