//! Operators' signatures over root code, as the node holds and judges them.
//!
//! With `require_signature` in its policy a node takes root code only when an operator signed it: a [`Statement`] that
//! names this fleet, this node, and the very hash. Whose signatures count stands in `/etc/lampas/allowed_signers`, which
//! no controller can write; `ssh-keygen` decides about them, in the sandbox. What was signed once and came into force
//! stays allowed as long as it is part of the node's state, so that repairs and restarts need nobody; what replaced it, or
//! took it away, ends that. A statement that is older than one that was used begins nothing: the serial never goes back.
//! Going back to the last good state, which the agent decides by itself, needs no signature.

mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use lampas_shared::{
    desired::{ContentHash, NodeDesired, Resource, Spec},
    error::Fault,
    fleet::NodePolicy,
    id::{FleetId, NodeId},
    object::{ObjectName, Target},
    signature::{Grant, MAX_HELD, Signed, Statement},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};

pub use verify::{Verifier, signers};

use crate::{
    config::Paths,
    host::{Removal, Secrets},
    policy::Ruling,
};

/// The most resources whose admission is remembered; a state has at most 10,000.
const MAX_ADMITTED: usize = 20_000;

/// What the journal keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The greatest serial that was used.
    pub high: u64,
    /// What the controller told last.
    pub statements: Vec<Signed>,
    /// What came into force under a signature.
    pub admitted: Vec<Admitted>,
}

/// A resource that came into force under a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// What it claims.
    pub target: Target,
    /// Its hash.
    pub hash: ContentHash,
    /// The statement's serial.
    pub serial: u64,
    /// Who signed.
    pub by: String,
    /// When, by the node's clock.
    pub at: UnixMs,
    /// Whether it was replaced or went since: then only a way back may bring it again.
    pub is_past: bool,
}

/// Who judges, and when.
#[derive(Debug, Clone, Copy)]
pub struct Judge {
    /// The fleet; unknown only when the identity can't be read.
    pub fleet: Option<FleetId>,
    /// This node.
    pub node: NodeId,
    /// The node's clock.
    pub now: UnixMs,
    /// Whether the agent goes back by itself.
    pub goes_back: bool,
}

/// What is signed, for one pass or plan.
#[derive(Debug)]
pub struct Consent {
    judge: Judge,
    ledger: Ledger,
    live: Vec<Live>,
    /// Why there can be none.
    trouble: Option<String>,
    /// The greatest serial under which something goes.
    removes: Mutex<u64>,
    /// What the state says of each target: with values of secrets filled in, a resource is no longer what is signed.
    hashes: BTreeMap<Target, ContentHash>,
    /// Whether a signature covers secrets by reference.
    takes_secrets: bool,
}

#[derive(Debug)]
struct Live {
    statement: Result<Statement, String>,
    /// Who signed, or why that does not count.
    signer: Result<String, String>,
}

/// Where the keys are whose signatures count.
pub fn allowed_signers(paths: &Paths) -> PathBuf {
    paths.below("/etc/lampas/allowed_signers")
}

impl Ledger {
    /// Adds what stands on the disk without a signature as what the agent may go back to, and as nothing else.
    pub fn remember(&mut self, standing: &BTreeSet<(Target, ContentHash)>, at: UnixMs) {
        for (target, hash) in standing {
            if self.admitted.len() < MAX_ADMITTED
                && !self.admitted.iter().any(|a| (&a.target, &a.hash) == (target, hash))
            {
                let by = "stood before".to_owned();
                let (target, hash) = (target.clone(), *hash);
                self.admitted.push(Admitted { target, hash, serial: 0, by, at, is_past: true });
            }
        }
    }
}

impl Consent {
    /// Judges what the ledger holds, if the policy wants signatures. Blocking: each new signature is checked once.
    pub fn read(
        judge: Judge,
        ruling: &Ruling,
        (ledger, state): (Ledger, &NodeDesired),
        paths: &Paths,
        verifier: &Verifier,
    ) -> Self {
        let (live, hashes) = (Vec::new(), BTreeMap::new());
        let takes_secrets = ruling.takes_signed_secrets();
        let mut this = Self { judge, ledger, live, trouble: None, removes: Mutex::new(0), hashes, takes_secrets };
        if !ruling.wants_signatures() {
            return this;
        }
        this.hashes = state.resources().map(|r| (r.target.clone(), r.compute_hash())).collect();
        this.look(paths, verifier);
        this
    }

    /// Judges one statement alone, that came with a run. Blocking.
    pub fn over(judge: Judge, signed: &Signed, paths: &Paths, verifier: &Verifier) -> Self {
        let ledger = Ledger { statements: vec![signed.clone()], ..Ledger::default() };
        let (live, hashes) = (Vec::new(), BTreeMap::new());
        let takes_secrets = false;
        let mut this = Self { judge, ledger, live, trouble: None, removes: Mutex::new(0), hashes, takes_secrets };
        this.look(paths, verifier);
        this
    }

    /// Checks the statements by the keys that count.
    fn look(&mut self, paths: &Paths, verifier: &Verifier) {
        let file = allowed_signers(paths);
        match crate::policy::read_trusted(&file) {
            Ok(Some(keys)) => {
                let live = |signed: &Signed| Live {
                    statement: signed.check().map_err(|e| e.to_string()),
                    signer: verifier.verify(signed, &keys),
                };
                self.live = self.ledger.statements.iter().take(MAX_HELD).map(live).collect();
            }
            Ok(None) => self.trouble = Some(format!("there is no {} on this node", file.display())),
            Err(error) => self.trouble = Some(format!("{} can't be used: {error}", file.display())),
        }
    }

    /// Returns why a resource is refused, if it is: by the policy, for want of a signature, or because the value of a
    /// secret that was put into it could become code there.
    pub fn judge_filled(&self, ruling: &Ruling, resource: &Resource, secrets: &Secrets) -> Option<Fault> {
        let refused = self.judge(ruling, resource);
        if refused.is_some() || self.judge.goes_back {
            return refused;
        }
        let name = secrets.loose(&resource.target)?;
        let fault = ruling.judge(resource).filter(|f| f.code == SIGNATURE)?;
        Some(Fault { message: format!("{}: {}", fault.message, loose_text(name)), ..fault })
    }

    /// Returns why a resource is refused, if it is: by the policy, or for want of a signature.
    pub fn judge(&self, ruling: &Ruling, resource: &Resource) -> Option<Fault> {
        let fault = ruling.judge(resource)?;
        Self::unless(fault, || self.of_resource(resource).map(drop))
    }

    /// The same for what goes.
    pub fn judge_removal(&self, ruling: &Ruling, removal: &Removal<'_>) -> Option<Fault> {
        let fault = ruling.judge_removal(removal)?;
        Self::unless(fault, || {
            if self.judge.goes_back {
                return Ok(());
            }
            let (serial, _) = self.live_grant(
                |g| matches!(g, Grant::Remove { kind, path } if *kind == removal.kind && *path == removal.path),
                |_| false,
            )?;
            let mut used = self.removes.lock().unwrap_or_else(PoisonError::into_inner);
            *used = serial.max(*used);
            Ok(())
        })
    }

    /// Returns the serial of the statement that covers a run. That each starts it once is seen to by whoever begins runs.
    ///
    /// # Errors
    /// Why no signature covers it.
    pub fn of_run(&self, program: ContentHash) -> Result<u64, String> {
        let (serial, _) = self.live_grant(
            |g| matches!(g, Grant::Run { hash, .. } if *hash == program),
            |g| matches!(g, Grant::Run { .. }),
        )?;
        Ok(serial)
    }

    /// Returns the ledger as it is once this state is written, if that changes it. `kept` are the resources of the states
    /// that the agent may go back to.
    pub fn admit(
        &self,
        ruling: &Ruling,
        state: &NodeDesired,
        kept: &BTreeSet<(Target, ContentHash)>,
    ) -> Option<Ledger> {
        if self.judge.goes_back || !ruling.wants_signatures() {
            return None;
        }
        let mut next = self.ledger.clone();
        let wanted: BTreeMap<&Target, ContentHash> = state.resources().map(|r| (&r.target, r.compute_hash())).collect();
        for admitted in &mut next.admitted {
            admitted.is_past |= wanted.get(&admitted.target) != Some(&admitted.hash);
        }
        for resource in state.resources() {
            let needs = ruling.judge(resource).is_some_and(|f| f.code == SIGNATURE);
            if let (true, Ok(Some((serial, by)))) = (needs, self.of_resource(resource)) {
                let (target, hash) = (resource.target.clone(), resource.compute_hash());
                next.admitted.retain(|a| (&a.target, &a.hash) != (&target, &hash));
                next.admitted.push(Admitted { target, hash, serial, by, at: self.judge.now, is_past: false });
                next.high = next.high.max(serial);
            }
        }
        next.high = next.high.max(*self.removes.lock().unwrap_or_else(PoisonError::into_inner));
        next.admitted.retain(|a| !a.is_past || kept.contains(&(a.target.clone(), a.hash)));
        next.admitted.truncate(MAX_ADMITTED);
        (next != self.ledger).then_some(next)
    }

    /// Lets a fault stand unless it is about the signature alone and there is one.
    fn unless(fault: Fault, covered: impl FnOnce() -> Result<(), String>) -> Option<Fault> {
        if fault.code != SIGNATURE {
            return Some(fault);
        }
        let why = covered().err()?;
        Some(Fault { message: format!("{}: {why}", fault.message), ..fault })
    }

    /// Returns under which statement a resource may come; nothing when it is in force under an earlier one.
    fn of_resource(&self, resource: &Resource) -> Result<Option<(u64, String)>, String> {
        let own = resource.compute_hash();
        let hash = self.hashes.get(&resource.target).copied().unwrap_or(own);
        let has_secrets = own != hash || matches!(resource.spec, Spec::Sealed(_));
        let is_covered = self.takes_secrets || !has_secrets;
        let known = |a: &&Admitted| a.target == resource.target && a.hash == hash;
        let mut admitted = self.ledger.admitted.iter().filter(known);
        if admitted.any(|a| self.judge.goes_back || (!a.is_past && is_covered)) {
            return Ok(None);
        }
        if !is_covered {
            return Err(NO_SECRETS.to_owned());
        }
        // What is signed is the text with references; the values were put in here.
        let wanted = Grant::Put { kind: resource.kind, hash, target: resource.target.clone() };
        self.live_grant(
            |grant| *grant == wanted,
            |grant| matches!(grant, Grant::Put { target, .. } if *target == resource.target),
        )
        .map(Some)
    }

    /// Finds the newest statement that grants something to this node, or says what comes nearest and why it does not count.
    fn live_grant(
        &self,
        is_it: impl Fn(&Grant) -> bool,
        is_near: impl Fn(&Grant) -> bool,
    ) -> Result<(u64, String), String> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        let mut nearest: Option<(u8, String)> = None;
        let mut near = |rank: u8, why: String| {
            if nearest.as_ref().is_none_or(|(best, _)| rank > *best) {
                nearest = Some((rank, why));
            }
        };
        for live in &self.live {
            let statement = match &live.statement {
                Ok(statement) => statement,
                Err(why) => {
                    near(1, format!("a statement can't be read: {why}"));
                    continue;
                }
            };
            let serial = statement.serial;
            let Some(grants) = statement.for_node(self.judge.node) else {
                if statement.parts.iter().flat_map(|p| &p.grants).any(&is_it) {
                    near(3, format!("the statement {serial} is for other nodes"));
                }
                continue;
            };
            if !grants.iter().any(|g| is_it(g)) {
                if grants.iter().any(|g| is_near(g)) {
                    near(2, format!("the statement {serial} is over something else than this"));
                }
                continue;
            }
            let signer = match &live.signer {
                _ if Some(statement.fleet) != self.judge.fleet => {
                    near(4, format!("the statement {serial} is for another fleet"));
                    continue;
                }
                Err(why) => {
                    near(5, format!("the signature of statement {serial} does not count here: {why}"));
                    continue;
                }
                Ok(_) if statement.expires <= self.judge.now => {
                    near(6, format!("the statement {serial} ended at {}", statement.expires));
                    continue;
                }
                Ok(_) if serial < self.ledger.high => {
                    let high = self.ledger.high;
                    near(7, format!("the statement {serial} is older than {high}, which was used here: sign it anew"));
                    continue;
                }
                Ok(signer) => signer.clone(),
            };
            return Ok((serial, signer));
        }
        Err(nearest.map_or_else(
            || {
                "no signature covers it; sign it with: lampasctl change sign CHANGE, or: lampasctl node sign NODE"
                    .into()
            },
            |(_, why)| why,
        ))
    }
}

/// Returns what the node's policy allows, as the controller is told.
pub fn node_policy(paths: &Paths, ruling: &Ruling) -> NodePolicy {
    let signers = match crate::policy::read_trusted(&allowed_signers(paths)) {
        Ok(Some(keys)) => signers(&keys),
        Ok(None) | Err(_) => Vec::new(),
    };
    let has_file = std::fs::symlink_metadata(paths.policy()).is_ok();
    let base = NodePolicy { has_file, signers, ..NodePolicy::default() };
    match ruling {
        Ruling::Observing(inner) => node_policy(paths, inner),
        Ruling::Malformed { why, last: None } => NodePolicy {
            malformed: format!("{why}; none before it was followed, so that nothing is written until it is mended"),
            observe: true,
            ..base
        },
        Ruling::Malformed { why, last: Some(last) } => NodePolicy {
            malformed: format!("{why}; the last one that could be followed holds, without root code"),
            observe: last.observe,
            deny_paths: last.deny_paths.clone(),
            ..base
        },
        Ruling::Known(policy) => NodePolicy {
            observe: policy.observe,
            root_code: policy.root_code,
            require_signature: policy.require_signature,
            signed_secrets: policy.signed_secrets,
            deny_paths: policy.deny_paths.clone(),
            ..base
        },
    }
}

/// Returns whether a value of a secret stays a value wherever it stands: it has nothing that ends a word, a string or a
/// line, and can't be taken for an option.
pub fn is_inert(value: &str) -> bool {
    !value.starts_with('-') && value.chars().all(|c| c.is_ascii_alphanumeric() || "_.+/=-@".contains(c))
}

/// Returns what to do about a secret whose value could become code.
pub(crate) fn loose_text(name: &ObjectName) -> String {
    format!(
        "the value of secret {name} has other characters than letters, digits and _ . + / = - @, so that it could become \
         code; keep it in base64, or use it in a file that root does not execute"
    )
}

/// Why root code with secrets in it is refused.
pub(crate) const NO_SECRETS: &str = "it holds values of secrets, which a signature covers only by reference, and only where \
                                     the node's policy says signed_secrets = true; or keep the secret in a file of its \
                                     own, which root does not execute";

/// The code of what only a signature is missing for.
pub const SIGNATURE: &str = "policy.signature";

#[cfg(test)]
mod tests;
