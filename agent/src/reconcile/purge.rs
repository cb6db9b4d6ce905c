//! Lets go of values of secrets that are destroyed: sealed ones, and copies in which one may stand.
//!
//! What is in force is not touched: a value that the state kept true needs, or the one before it until the newer is confirmed, a
//! place that LAMPAS filled with it, a run that has it. What copies go is named in the log. The answer names what is left, so that whoever asked asks again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
    time::{Duration, Instant},
};

use lampas_shared::{error::Fault, id::SecretValueId, secret::StillHeld};
use tracing::{info, warn};

use super::{Bench, Handle, secret};
use crate::{
    host::{self, Undo},
    job, operation,
};

/// Longer than a value can be on its way; a store that was restored may give it anew later.
pub(super) const ON_ITS_WAY: Duration = Duration::from_secs(600);
/// What is named of each value.
const MAX_NAMED: usize = 4;

impl Handle {
    /// Lets go of values of secrets. Returns those that are still here, and why.
    ///
    /// # Errors
    /// When an apply that was cut off is not undone yet, or a copy can't be removed; asking again goes on from there.
    pub async fn purge(&self, values: BTreeSet<SecretValueId>) -> Result<Vec<StillHeld>, Fault> {
        self.blocking(move |bench| purge(bench, &values)).await
    }
}

fn purge(bench: &Bench, values: &BTreeSet<SecretValueId>) -> Result<Vec<StillHeld>, Fault> {
    // No pass keeps a copy meanwhile.
    let _passing = bench.passing.lock().unwrap_or_else(PoisonError::into_inner);
    // From here on nothing that is on its way is put down.
    bench.remember_purged(values);
    let (journal, goal, on_trial, ownership, intent) = {
        let book = bench.book();
        (book.journal.clone(), book.goal()?, book.on_trial()?, book.ownership.clone(), book.journal.intent()?)
    };
    if intent.is_some() {
        let text = "an apply was cut off on this node and is not undone yet; its copies are needed until then";
        return Err(Fault::passing("agent.busy", text));
    }
    let mut held: BTreeMap<SecretValueId, BTreeSet<String>> = BTreeMap::new();
    let mut hold = |value: SecretValueId, why: String| {
        held.entry(value).or_default().insert(why);
    };
    for (path, owned) in &ownership.places {
        for value in owned.values.intersection(values) {
            hold(*value, format!("{} is in force with it", place(path)));
        }
    }
    let resources = goal.iter().flat_map(|goal| goal.state.resources());
    let mut needed = BTreeSet::new();
    for resource in resources {
        for value in secret::of_resource(resource).intersection(values) {
            needed.insert(*value);
            hold(*value, format!("{} is to have it", resource.target));
        }
    }
    // Who is cut off by what was just written must get back to what stood before.
    for resource in on_trial.iter().flat_map(lampas_shared::desired::NodeDesired::resources) {
        for value in secret::of_resource(resource).intersection(values) {
            if needed.insert(*value) {
                hold(
                    *value,
                    format!("{} may be put back with it until the state in force is confirmed", resource.target),
                );
            }
        }
    }
    for (value, run) in operation::values_in_use(&bench.paths, values)? {
        hold(value, format!("run {run} is under way with it"));
    }
    let undos: [&Undo; 0] = [];
    let copies = host::purge(&bench.root, &ownership, &undos, values, &mut |name| {
        info!(copy = name, "a kept copy in which a purged value may stand is removed");
    });
    for (path, value) in copies.map_err(|e| e.to_fault())? {
        hold(value, format!("a copy of what stood at {} before comes back when its object goes", place(&path)));
    }
    let gone: BTreeSet<SecretValueId> = values.difference(&needed).copied().collect();
    journal.forget_values(&gone)?;
    let held: Vec<StillHeld> = held.into_iter().map(|(value, whys)| StillHeld { value, why: listed(&whys) }).collect();
    info!(values = values.len(), held = held.len(), "purged values of secrets were let go of");
    Ok(held)
}

fn place(path: &str) -> String {
    if path.starts_with(job::JOBS_DIRECTORY) { "a job".to_owned() } else { path.to_owned() }
}

fn listed(whys: &BTreeSet<String>) -> String {
    let mut text = whys.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join("; ");
    if let Some(more) = whys.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

impl Bench {
    fn remember_purged(&self, values: &BTreeSet<SecretValueId>) {
        let mut purged = self.purged.lock().unwrap_or_else(PoisonError::into_inner);
        purged.retain(|_, at| at.elapsed() < ON_ITS_WAY);
        let now = Instant::now();
        purged.extend(values.iter().map(|value| (*value, now)));
    }

    /// Seals what an earlier agent kept in plain.
    pub(super) fn seal_earlier(&self) {
        let (ownership, intent) = {
            let book = self.book();
            (book.ownership.clone(), book.journal.intent())
        };
        let sealed = intent.map_err(Fault::from).and_then(|intent| {
            let undos: Vec<&Undo> = intent.iter().map(|intent| &intent.undo).collect();
            host::seal_earlier(&self.root, &ownership, &undos).map_err(|e| e.to_fault())
        });
        if let Err(fault) = sealed {
            warn!(error = %fault, "copies that an earlier agent kept in plain could not all be sealed; the next start goes on");
        }
    }

    /// Lets go of all that may hold values of secrets, and of the key: the node is managed no more.
    pub(super) fn forget_secrets(&self) -> Result<(), Fault> {
        let journal = self.book().journal.clone();
        journal.forget_values(&journal.values()?)?;
        host::forget_sealed(&self.root).map_err(|e| e.to_fault())?;
        match std::fs::remove_file(self.paths.secret_key()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Fault::passing("secret.key", format!("{}: {error}", self.paths.secret_key().display())))
            }
            _ => Ok(()),
        }
    }
}
