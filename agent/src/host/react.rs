//! What follows a change: units that are reloaded or restarted, once, when all of the group stands.
//!
//! Each unit gets one: a restart takes in a reload, and what was started within the same apply has read everything
//! already. A unit that does not run is left so. Whoever calls journals first what is due ([`Reaction`]s), so that a death
//! in between leads to one more and never to none.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    error::Fault,
    host::{Reaction, ReactionVerb, UnitName},
    object::Target,
};

use super::{
    HostPlan,
    plan::{Put, Step},
    service::{self, Manager},
};
use crate::system::Root;

/// What is due after an apply: in order, each unit once, with the resources that ask for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// What is done, and for whom.
    pub reactions: Vec<(Reaction, BTreeSet<Target>)>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Reacted {
    /// What was done or left, in words, by resource.
    pub notes: BTreeMap<Target, Vec<String>>,
    /// What failed, by resource.
    pub faults: BTreeMap<Target, Fault>,
    /// What units were told, or need not be told since they don't run.
    pub done: BTreeMap<UnitName, ReactionVerb>,
}

impl Due {
    /// Returns what an apply of a plan makes due.
    pub fn of(plan: &HostPlan) -> Self {
        let mut due = Self::default();
        let is_written = |s: &&Step| s.put != Put::Keep;
        let started: BTreeSet<UnitName> = plan.steps.iter().filter_map(started_by).collect();
        for step in plan.steps.iter().filter(is_written) {
            let place = step.owned.as_ref().or_else(|| plan.ownership.places.get(&step.path));
            for (target, claim) in place.iter().flat_map(|p| &p.claims) {
                for reaction in claim.on_change.iter().filter(|r| !started.contains(&r.unit)) {
                    due.add(reaction, target);
                }
            }
        }
        due
    }

    /// Returns what is due by a record of it, of which it isn't known any more who asked for it.
    pub fn again(reactions: Vec<Reaction>) -> Self {
        Self { reactions: reactions.into_iter().map(|r| (r, BTreeSet::new())).collect() }
    }

    /// Returns whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.reactions.is_empty()
    }

    /// Returns what is done, in order.
    pub fn list(&self) -> Vec<Reaction> {
        self.reactions.iter().map(|(reaction, _)| reaction.clone()).collect()
    }

    /// Adds one for a resource; a unit that has one has the stronger of both.
    pub fn add(&mut self, reaction: &Reaction, target: &Target) {
        match self.reactions.iter_mut().find(|(known, _)| known.unit == reaction.unit) {
            Some((known, targets)) => {
                known.verb = known.verb.max(reaction.verb);
                targets.insert(target.clone());
            }
            None => self.reactions.push((reaction.clone(), BTreeSet::from([target.clone()]))),
        }
    }
}

/// Does what is due, in order; stops at what fails. Units are watched for a moment afterwards.
pub fn react(root: &Root, due: &Due) -> Reacted {
    react_until(root, due, true)
}

/// The same, and goes on after what fails: for what nobody takes back.
pub fn react_each(root: &Root, due: &Due) -> Reacted {
    react_until(root, due, false)
}

fn react_until(root: &Root, due: &Due, stops: bool) -> Reacted {
    let mut reacted = Reacted::default();
    let mut touched: BTreeMap<UnitName, &BTreeSet<Target>> = BTreeMap::new();
    for (reaction, targets) in &due.reactions {
        match one(root, reaction) {
            Ok(Done::Left(note)) => {
                reacted.note(targets, &note);
                reacted.done.insert(reaction.unit.clone(), reaction.verb);
            }
            Ok(Done::Done) => {
                tracing::info!(unit = %reaction.unit, verb = reaction.verb.as_str(), "a unit took up what changed");
                reacted.note(targets, &format!("{}ed {}", reaction.verb.as_str(), reaction.unit));
                touched.insert(reaction.unit.clone(), targets);
                reacted.done.insert(reaction.unit.clone(), reaction.verb);
            }
            Err(fault) => {
                reacted.fail(targets, &fault);
                if stops {
                    return reacted;
                }
            }
        }
    }
    let mut units: BTreeSet<UnitName> = touched.keys().cloned().collect();
    while let Err((unit, fault)) = service::settle(root, &units) {
        if let Some(targets) = touched.get(&unit) {
            reacted.fail(targets, &fault);
        }
        reacted.done.remove(&unit);
        if stops || !units.remove(&unit) {
            break;
        }
    }
    reacted
}

impl Reacted {
    fn note(&mut self, targets: &BTreeSet<Target>, note: &str) {
        for target in targets {
            self.notes.entry(target.clone()).or_default().push(note.to_owned());
        }
    }

    fn fail(&mut self, targets: &BTreeSet<Target>, fault: &Fault) {
        tracing::warn!(error = %fault, "what follows a change failed");
        for target in targets {
            self.faults.entry(target.clone()).or_insert_with(|| Fault {
                code: "on_change.failed".into(),
                message: fault.message.clone(),
                retry: false,
            });
        }
    }
}

enum Done {
    Done,
    /// Nothing was to be done, and why.
    Left(String),
}

fn one(root: &Root, reaction: &Reaction) -> Result<Done, Fault> {
    let Reaction { verb, unit } = reaction;
    let left = |why: &str| Ok(Done::Left(format!("{unit} was not {}ed: {why}", verb.as_str())));
    if !root.is_system() {
        return left("not proven, since below --root nothing runs");
    }
    if !Manager::is_booted() {
        return left("systemd does not run here");
    }
    let manager = Manager::of(root)?;
    let found = manager.show(unit)?;
    let is_up = found.running().as_deref() == Some("running");
    if !found.is_there() && !is_up {
        let text = format!("this node has no {unit} that could be {}ed; is the name misspelt?", verb.as_str());
        return Err(Fault::lasting("service.unknown", text));
    }
    match (verb, found.running().as_deref()) {
        (_, None | Some("stopped")) => return left("it does not run, and reads what changed when it starts"),
        (ReactionVerb::Reload, Some("failed")) => return left("it has failed; start it, or restart it on a change"),
        (ReactionVerb::Reload, _) if !found.can_reload => {
            let text = format!("{unit} can't be reloaded, since it has no ExecReload=; restart it instead");
            return Err(Fault::lasting("service.no_reload", text));
        }
        _ => {}
    }
    manager.act(verb.as_str(), unit)?;
    Ok(Done::Done)
}

/// The unit that a step starts.
fn started_by(step: &Step) -> Option<UnitName> {
    let (unit, aspect) = service::of_place(&step.path)?;
    let begins = service::order(&step.path, &step.put).is_some_and(|(is_end, _)| !is_end);
    (aspect == lampas_shared::host::Aspect::Running && begins && step.put != Put::Keep).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_done_once_and_a_restart_takes_in_a_reload() {
        let reaction = |text: &str| text.parse::<Reaction>().expect("a reaction");
        let mut due = Due::default();
        for (text, path) in
            [("reload a", "/etc/1"), ("reload b", "/etc/1"), ("restart a", "/etc/2"), ("reload a", "/etc/3")]
        {
            due.add(&reaction(text), &Target::path(path));
        }
        let list: Vec<String> = due.list().iter().map(ToString::to_string).collect();
        assert_eq!(list, ["restart a.service", "reload b.service"]);
        assert_eq!(due.reactions[0].1.len(), 3);
    }
}
