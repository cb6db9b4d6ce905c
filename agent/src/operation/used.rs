//! Which statements of operators started which runs here: each starts one, whoever asks again, and whatever was restarted.
//!
//! It stands in the spool, in a file that is synced before its run begins. A run that could not begin afterwards has used
//! its statement up all the same.

use std::{fs, io, path::Path};

use lampas_runtime::files;
use lampas_shared::{desired::ContentHash, id::RunId};
use serde::{Deserialize, Serialize};

const FILE: &str = "signed.json";
/// The most that are remembered; of what is older nothing begins any more.
const MAX: usize = 2000;

/// What was used.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Used {
    /// Statements up to this serial begin nothing.
    floor: u64,
    runs: Vec<Use>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Use {
    serial: u64,
    /// What ran: a statement may be over several programs.
    program: ContentHash,
    run: RunId,
}

impl Used {
    /// Reads what was used. When that can't be told, nothing may begin.
    pub(super) fn read(spool: &Path) -> Result<Self, String> {
        let path = spool.join(FILE);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("which statements were used can't be read from {}: {error}", path.display())),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| format!("which statements were used can't be read from {}: {error}", path.display())),
        }
    }

    /// Returns why a statement can't start this any more.
    pub(super) fn why_not(&self, serial: u64, program: ContentHash) -> Option<String> {
        if let Some(used) = self.runs.iter().find(|u| u.serial == serial && u.program == program) {
            return Some(format!(
                "the statement {serial} started run {} here, and starts nothing twice; sign it anew",
                used.run
            ));
        }
        let is_old = serial <= self.floor;
        is_old.then(|| format!("the statement {serial} is older than those that this node remembers; sign it anew"))
    }

    /// Puts down that a statement started a run, durably.
    pub(super) fn put(mut self, spool: &Path, serial: u64, program: ContentHash, run: RunId) -> io::Result<()> {
        self.runs.push(Use { serial, program, run });
        if self.runs.len() > MAX {
            self.runs.sort_by_key(|u| u.serial);
            let oldest = self.runs.remove(0);
            self.floor = self.floor.max(oldest.serial);
        }
        files::private_dir(spool)?;
        files::replace(&spool.join(FILE), &serde_json::to_vec(&self).map_err(io::Error::other)?, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_statement_starts_each_of_its_programs_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let (df, du) = (ContentHash::of(b"df"), ContentHash::of(b"du"));
        let run = RunId::from_uuid(Uuid::from_u128(1));
        let read = || Used::read(dir.path()).expect("read");
        assert_eq!(read().why_not(7, df), None);
        read().put(dir.path(), 7, df, run).expect("put");
        assert!(read().why_not(7, df).expect("used").contains("starts nothing twice"));
        assert_eq!(read().why_not(7, du), None);
        assert_eq!(read().why_not(6, df), None, "another statement, signed before");
        for serial in 100..100 + MAX as u64 {
            read().put(dir.path(), serial, df, run).expect("put");
        }
        assert!(read().why_not(7, df).is_some() && read().why_not(6, df).is_some(), "what is forgotten is over");
        assert_eq!(read().why_not(9, df), None);
        fs::write(dir.path().join(FILE), b"{").expect("damaged");
        assert!(Used::read(dir.path()).is_err(), "nothing begins when it can't be told");
    }
}
