//! The values of secrets on their way to a run: fetched sealed to this node's key, kept sealed in the spool, and opened in
//! the memory of the process that becomes the program, and of the one that watches what it writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_runtime::{files, seal::SealKey};
use lampas_shared::{
    error::{Chain, Fault},
    host::EnvName,
    id::{NodeId, RunId, SecretValueId},
    object::ObjectName,
    operation::RunOrder,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    mask::Patterns,
    runs::Trust,
    spool::{Entry, Spool},
};
use crate::config::Paths;

/// The file in the spool.
const FILE: &str = "secrets.json";

/// The values of one run, as they came.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SealedValues {
    node: NodeId,
    /// By variable: the secret's name, what the value is bound to, and the sealed bytes in base64.
    values: BTreeMap<EnvName, (ObjectName, String, String)>,
}

/// The values, opened.
#[derive(Default)]
pub(super) struct Values(pub(super) Vec<(EnvName, ObjectName, Zeroizing<String>)>);

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Values({})", self.0.len())
    }
}

impl Values {
    /// Returns the first secret whose value could become code where it is used.
    pub(super) fn loose(&self) -> Option<&ObjectName> {
        self.0.iter().find(|(_, _, value)| !crate::signature::is_inert(value)).map(|(_, name, _)| name)
    }

    /// Returns what is taken out of the output.
    pub(super) fn patterns(&self) -> Patterns {
        Patterns::new(self.0.iter().map(|(_, name, value)| (name.as_str(), value.as_str())))
    }
}

/// Fetches the values that an order names.
pub(super) async fn fetch(paths: &Paths, trust: &Trust, order: &RunOrder) -> Result<SealedValues, Fault> {
    let path = paths.secret_key();
    let key = tokio::task::spawn_blocking(move || SealKey::open_or_make(&path)).await;
    let key = key.map_err(|e| Fault::passing("agent.panicked", e.to_string()))?;
    let key = key.map_err(|e| Fault::lasting("secret.key", Chain(&e).to_string()))?;
    let mut values = BTreeMap::new();
    for (variable, used) in &order.secrets {
        let sealed = trust.upstream.fetch_secret(used.value, key.public()).await?;
        let bound = format!("node {} value {}", trust.node, used.value);
        values.insert(variable.clone(), (used.name.clone(), bound, STANDARD.encode(sealed)));
    }
    let sealed = SealedValues { node: trust.node, values };
    sealed.open(&key).map(|_| sealed)
}

impl SealedValues {
    /// Opens them. Blocking.
    pub(super) fn opened(&self, paths: &Paths) -> Result<Values, Fault> {
        let key = SealKey::open_or_make(&paths.secret_key());
        self.open(&key.map_err(|e| Fault::lasting("secret.key", Chain(&e).to_string()))?)
    }

    fn open(&self, key: &SealKey) -> Result<Values, Fault> {
        let wrong = |name: &ObjectName, why: &str| Fault::passing("secret.sealed", format!("secret {name}: {why}"));
        let mut opened = Vec::new();
        for (variable, (name, bound, sealed)) in &self.values {
            let sealed = STANDARD.decode(sealed).map_err(|_| wrong(name, "what came is damaged"))?;
            let bytes = key.open(bound.as_bytes(), &sealed).map_err(|e| wrong(name, &Chain(&e).to_string()))?;
            let text = std::str::from_utf8(&bytes).ok().filter(|t| !t.contains('\0'));
            let text = text.ok_or_else(|| wrong(name, "the value is no text"))?;
            opened.push((variable.clone(), name.clone(), Zeroizing::new(text.to_owned())));
        }
        Ok(Values(opened))
    }

    /// Puts them down beside an order.
    pub(super) fn put(&self, dir: &std::path::Path) -> io::Result<()> {
        files::replace(&dir.join(FILE), &serde_json::to_vec(self).map_err(io::Error::other)?, 0o600)
    }
}

/// Returns the values of a run; none when its order names none. Blocking.
pub(super) fn of_run(paths: &Paths, entry: &Entry, order: &RunOrder) -> Result<Values, Fault> {
    if order.secrets.is_empty() {
        return Ok(Values::default());
    }
    let lost = |why: String| Fault::lasting("operation.start", format!("the values of its secrets are lost: {why}"));
    let bytes = files::read_private(&entry.dir.join(FILE), 8 << 20).map_err(|e| lost(e.to_string()))?;
    let sealed: SealedValues = serde_json::from_slice(&bytes).map_err(|e| lost(e.to_string()))?;
    sealed.opened(paths)
}

/// Returns which of these values runs that are not over have. What one that is over left behind goes. Blocking.
///
/// # Errors
/// When the spool can't be listed.
pub(crate) fn values_in_use(
    paths: &Paths,
    values: &BTreeSet<SecretValueId>,
) -> Result<Vec<(SecretValueId, RunId)>, Fault> {
    let entries = Spool::at(paths).entries();
    let entries = entries.map_err(|e| Fault::passing("operation.spool", format!("the runs of this node: {e}")))?;
    let mut in_use = Vec::new();
    for entry in entries {
        if entry.end().is_some() {
            remove(&entry);
            continue;
        }
        let used = entry.order().map(|order| order.secrets.into_values().map(|used| used.value)).into_iter().flatten();
        in_use.extend(used.filter(|value| values.contains(value)).map(|value| (value, entry.run)));
    }
    Ok(in_use)
}

/// Removes them; the run is over.
pub(super) fn remove(entry: &Entry) {
    // They are sealed, and go with the directory at the latest.
    let _ = fs::remove_file(entry.dir.join(FILE));
}
