//! Asks `ssh-keygen` whether a signature holds: in the sandbox, since what it parses comes from a controller.
//!
//! `ssh-keygen` and not a library: the file of keys has its rules (principals, namespaces, validity, certificates of an
//! authority, FIDO keys), and whoever maintains a node knows them from there.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use lampas_runtime::random;
use lampas_shared::{
    desired::ContentHash,
    signature::{NAMESPACE, Signed},
};
use tracing::warn;

use crate::system::{
    run::Output,
    sandbox::{self, Helper, NOT_MADE},
};

const PROGRAM: &str = "/usr/bin/ssh-keygen";
/// The most answers that are remembered.
const MAX_KNOWN: usize = 1024;

/// Checks signatures, each once as long as the keys stay the same.
#[derive(Debug)]
pub struct Verifier {
    sandbox: Helper,
    known: Mutex<BTreeMap<ContentHash, Result<String, String>>>,
}

impl Verifier {
    /// Checks in this sandbox.
    pub fn new(sandbox: Helper) -> Self {
        Self { sandbox, known: Mutex::default() }
    }

    /// Returns who signed, by the keys that count. Blocking.
    ///
    /// # Errors
    /// Why it does not count, in words.
    pub fn verify(&self, signed: &Signed, keys: &str) -> Result<String, String> {
        let parts = [keys, signed.text.as_str(), signed.signature.as_str()].map(|p| ContentHash::of(p.as_bytes()));
        let of = ContentHash::of(format!("{parts:?}").as_bytes());
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&of) {
            return known.clone();
        }
        signed.check().map_err(|e| e.to_string())?;
        let answer = self.ask(signed, keys);
        if let Ok(answer) = &answer {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(of, answer.clone());
        }
        // What could not be asked is asked again.
        answer.unwrap_or_else(Err)
    }

    /// Asks. What could not be asked is the outer error.
    fn ask(&self, signed: &Signed, keys: &str) -> Result<Result<String, String>, String> {
        if !Path::new(PROGRAM).exists() {
            return Err(format!("this node has no {PROGRAM}; install openssh-client"));
        }
        let staged = Staged::new(signed, keys).map_err(|e| format!("it can't be put down to be checked: {e}"))?;
        let (signature, keys) = (staged.path("signature"), staged.path("allowed_signers"));
        let found = self.run(&["-Y", "find-principals", "-s", &signature, "-f", &keys], Vec::new())?;
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        let principal = said.lines().next().and_then(|line| line.split(',').next()).map(str::trim).unwrap_or_default();
        if !found.is_success() || principal.is_empty() || principal.starts_with('-') {
            return Ok(Err("its key is not in /etc/lampas/allowed_signers".to_owned()));
        }
        let arguments = ["-Y", "verify", "-f", &keys, "-I", principal, "-n", NAMESPACE, "-s", &signature];
        let verified = self.run(&arguments, signed.text.clone().into_bytes())?;
        if verified.is_success() {
            return Ok(Ok(principal.chars().filter(|c| !c.is_control()).take(200).collect()));
        }
        Ok(Err(format!("ssh-keygen says no: {}", verified.describe())))
    }

    fn run(&self, arguments: &[&str], stdin: Vec<u8>) -> Result<Output, String> {
        let checker: Vec<&str> = std::iter::once(PROGRAM).chain(arguments.iter().copied()).collect();
        let output = sandbox::check(&self.sandbox, &checker, stdin)
            .map_err(|e| format!("it can't be checked: {}", lampas_shared::error::Chain(&e)))?;
        match output.status.map(|s| s.code()) {
            Some(Some(code)) if code == i32::from(NOT_MADE) => {
                Err(format!("it can't be checked without the sandbox: {}", output.describe()))
            }
            None => Err("ssh-keygen ran out of time".to_owned()),
            _ => Ok(output),
        }
    }
}

/// The files that `ssh-keygen` reads, where `nobody` can: none of them is secret.
struct Staged(PathBuf);

impl Staged {
    fn new(signed: &Signed, keys: &str) -> std::io::Result<Self> {
        let name = format!("{:032x}", u128::from_le_bytes(random::bytes()));
        let dir = std::env::temp_dir().join(format!("lampas-verify-{name}"));
        // It must not be there: nobody else's directory is used.
        fs::DirBuilder::new().mode(0o755).create(&dir)?;
        let staged = Self(dir);
        fs::set_permissions(&staged.0, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        for (name, text) in [("signature", &signed.signature), ("allowed_signers", &keys.to_owned())] {
            let mut file = fs::File::options().write(true).create_new(true).mode(0o644).open(staged.0.join(name))?;
            file.write_all(text.as_bytes())?;
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        }
        Ok(staged)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            warn!(path = %self.0.display(), %error, "what was put down to check a signature could not be removed");
        }
    }
}

/// Returns the principals of a file of keys, for people.
pub fn signers(keys: &str) -> Vec<String> {
    let lines = keys.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let principals = lines.filter_map(|line| match line.strip_prefix('"') {
        Some(rest) => rest.split('"').next(),
        None => line.split_whitespace().next(),
    });
    principals.map(|p| p.chars().filter(|c| !c.is_control()).take(200).collect()).collect()
}
