//! Looking for what must stand nowhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// Texts by where they stand: files, logs, and what was answered.
#[derive(Debug, Default)]
pub struct Texts(Vec<(String, Vec<u8>)>);

impl Texts {
    /// Adds a text.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Vec<u8>>) {
        self.0.push((name.into(), text.into()));
    }

    /// Adds every file below a directory.
    pub fn add_files(&mut self, below: &Path) -> Result<()> {
        for path in files(below) {
            let text = fs::read(&path)?;
            self.add(path.display().to_string(), text);
        }
        Ok(())
    }

    /// Returns where a secret stands.
    pub fn with(&self, secret: &str) -> Vec<&str> {
        let has = |text: &[u8]| text.windows(secret.len()).any(|w| w == secret.as_bytes());
        self.0.iter().filter(|(_, text)| has(text)).map(|(name, _)| name.as_str()).collect()
    }

    /// Returns the names of all of them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// Returns every file below a directory.
fn files(below: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![below.to_owned()]);
    while let Some(dir) = open.pop() {
        for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}
