//! What of a state holds secrets: put together in memory for a plan, and told of nowhere else.
//!
//! A plan works on files and jobs as they shall stand. What of them holds a secret is known by its place, so that no diff,
//! no observation and no message of a check shows it, and that what is told of its content is a keyed digest.

use std::collections::{BTreeMap, BTreeSet};

use lampas_render::merge::{Filled, sketch};
use lampas_shared::{
    desired::{ContentHash, Resource, Spec},
    error::Fault,
    id::SecretValueId,
    object::{ObjectName, Target},
    template::{Escape, Part, Sealed},
};

/// What of the resources of a plan holds secrets.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// The files, by path.
    paths: BTreeSet<String>,
    /// The values that stand in a place, by path.
    values: BTreeMap<String, BTreeSet<SecretValueId>>,
    /// What files were put together of, by path.
    parts: BTreeMap<String, Vec<Filled>>,
    /// The variables of jobs.
    variables: BTreeMap<Target, BTreeSet<String>>,
    /// What could not be put together.
    faults: BTreeMap<Target, Fault>,
    /// What holds a value that could become code where it stands, with the secret's name.
    loose: BTreeMap<Target, ObjectName>,
    digests: Digests,
}

/// Makes digests that nobody can compare with a guess: under a key of this node.
#[derive(Clone, Copy, Default)]
pub struct Digests([u8; 32]);

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digests(redacted)")
    }
}

impl Digests {
    /// Takes the key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Returns the digest that stands for a hash.
    pub fn of(&self, hash: &ContentHash) -> ContentHash {
        ContentHash::from_bytes(*blake3::keyed_hash(&self.0, hash.as_bytes()).as_bytes())
    }
}

impl Secrets {
    /// Puts together what holds secrets among the resources. What can't be becomes its base, which is not to be written:
    /// [`Secrets::fault`] says why.
    pub fn fill(
        resources: &mut [Resource],
        digests: Digests,
        value: &dyn Fn(SecretValueId) -> Result<String, Fault>,
    ) -> Self {
        let mut secrets = Self { digests, ..Self::default() };
        for resource in resources {
            let Spec::Sealed(sealed) = &resource.spec else { continue };
            match &*sealed.base {
                Spec::Cron(_) => {
                    let path = crate::job::job_path(resource.object);
                    secrets.values.insert(path.clone(), sealed.values());
                    secrets.paths.insert(path);
                    secrets.variables.insert(resource.target.clone(), sealed.texts.keys().cloned().collect());
                }
                Spec::File { path, .. } => {
                    secrets.values.insert(path.to_string(), sealed.values());
                    secrets.paths.insert(path.to_string());
                    secrets.parts.extend(filled(sealed, value).map(|parts| (path.to_string(), parts)));
                }
                // Masked whatever it comes from.
                _ => drop(secrets.values.insert(resource.target.to_string(), sealed.values())),
            }
            if let Some(name) = loose(sealed, value) {
                secrets.loose.insert(resource.target.clone(), name);
            }
            resource.spec = match sealed.fill(value) {
                Ok(spec) => spec,
                Err(fault) => {
                    secrets.faults.insert(resource.target.clone(), fault);
                    Spec::clone(&sealed.base)
                }
            };
        }
        secrets
    }

    /// Returns why a resource can't be put together.
    pub(super) fn fault(&self, target: &Target) -> Option<Fault> {
        self.faults.get(target).cloned()
    }

    /// Returns a secret in a resource whose value could become code where it stands.
    pub(crate) fn loose(&self, target: &Target) -> Option<&ObjectName> {
        self.loose.get(target)
    }

    /// Returns whether what stands there holds secrets.
    pub(super) fn holds(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Returns the values that stand in a place, as the plan has it.
    pub(super) fn values(&self, path: &str) -> BTreeSet<SecretValueId> {
        self.values.get(path).cloned().unwrap_or_default()
    }

    /// Writes what stands in a file that holds secrets without them: as a template, with what may be one left out. `None` when
    /// it isn't known what the file was made of, or it is no text.
    pub(super) fn sketch(&self, path: &str, standing: &[u8]) -> Option<Vec<u8>> {
        sketch(self.parts.get(path)?, standing).map(String::into_bytes)
    }

    /// Returns the variables of a job that hold secrets.
    pub(super) fn variables(&self, target: &Target) -> Option<&BTreeSet<String>> {
        self.variables.get(target)
    }

    /// Returns the digest that stands for a hash.
    pub(super) fn digest(&self, hash: &ContentHash) -> ContentHash {
        self.digests.of(hash)
    }
}

/// Returns the parts of a file with their values; `None` when it can't be put together.
fn filled(sealed: &Sealed, value: &dyn Fn(SecretValueId) -> Result<String, Fault>) -> Option<Vec<Filled>> {
    let part = |part: &Part| match part {
        Part::Text(_) => Some(Filled::new(part.clone(), String::new())),
        Part::Secret { value: id, .. } => Some(Filled::new(part.clone(), value(*id).ok()?)),
    };
    sealed.texts.get(Sealed::CONTENT).filter(|_| sealed.fault.is_none())?.iter().map(part).collect()
}

/// Finds a secret whose value is neither inert nor written as base64.
fn loose(sealed: &Sealed, value: &dyn Fn(SecretValueId) -> Result<String, Fault>) -> Option<ObjectName> {
    sealed.texts.values().flatten().find_map(|part| match part {
        Part::Secret { name, value: id, escape } if *escape != Escape::Base64 => {
            let is_loose = value(*id).is_ok_and(|value| !crate::signature::is_inert(&value));
            is_loose.then(|| name.clone())
        }
        _ => None,
    })
}

/// Leaves of a diff only what says nothing of the content: the lines about owner and mode.
pub(super) fn masked_diff(path: &str, diff: &str) -> String {
    if diff.is_empty() {
        return String::new();
    }
    let is_meta = |l: &&str| l.starts_with("- mode ") || l.starts_with("+ mode ");
    let tail: Vec<&str> = diff.lines().rev().take_while(is_meta).collect();
    let has_content = diff.lines().count() > tail.len();
    let mut out = String::new();
    if has_content {
        out.push_str(&format!("--- {path}\n+++ {path}\n(the content holds secrets and is not shown)\n"));
    }
    tail.iter().rev().for_each(|line| out.push_str(&format!("{line}\n")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_diff_says_nothing_of_the_content() {
        let diff = "--- /a\n+++ /a\n@@ -1 +1 @@\n-old\n+ mode of canary\n+hunter2\n- mode 0644, owner 0:0\n+ mode 0600, owner 0:0\n";
        let masked = masked_diff("/a", diff);
        assert!(!masked.contains("hunter2") && !masked.contains("canary"), "{masked}");
        assert!(masked.ends_with("- mode 0644, owner 0:0\n+ mode 0600, owner 0:0\n"), "{masked}");
        assert_eq!(masked_diff("/a", "- mode 0644, owner 0:0\n+ mode 0600, owner 0:0\n").lines().count(), 2);
        assert_eq!(masked_diff("/a", ""), "");
    }
}
