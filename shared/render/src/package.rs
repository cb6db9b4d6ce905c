//! What dpkg and apt say of packages: the status file, a package's state as a small text, and what a rehearsal would do.

use std::collections::BTreeMap;

/// How far a package is on a node (dpkg(1), "Package states").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Installed and configured.
    Installed,
    /// Removed; its configuration is left.
    ConfigFiles,
    /// Something in between, after an installation that failed or was cut off.
    Broken,
}

/// A package on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// How far it is.
    pub stage: Stage,
    /// Its version.
    pub version: String,
    /// Whether upgrades pass it over.
    pub is_held: bool,
    /// Whether the system doesn't work without it.
    pub is_essential: bool,
}

impl Package {
    /// Returns its state as a text, without what doesn't change: two looks are compared by it.
    pub fn to_text(&self) -> String {
        let stage = match self.stage {
            Stage::Installed => "installed",
            Stage::ConfigFiles => "removed, configuration left, was",
            Stage::Broken => "half installed",
        };
        let held = if self.is_held { "held\n" } else { "" };
        format!("{stage} {}\n{held}", self.version)
    }

    /// Reads the text of an installed package: its version, and whether it is held.
    pub fn parse_text(text: &str) -> Option<(String, bool)> {
        let mut lines = text.lines();
        let version = lines.next()?.strip_prefix("installed ")?;
        Some((version.to_owned(), lines.any(|line| line == "held")))
    }
}

/// Reads dpkg's status file: packages by name, those of a foreign architecture as `name:architecture`. Those that are not
/// installed and left nothing are left out.
pub fn status(text: &str, native: &str) -> BTreeMap<String, Package> {
    paragraphs(text).filter_map(|paragraph| entry(paragraph, native)).collect()
}

/// Returns the architecture of dpkg itself: the node's own.
pub fn native_architecture(status: &str) -> Option<&str> {
    paragraphs(status).find(|p| field(p, "Package") == Some("dpkg")).and_then(|p| field(p, "Architecture"))
}

/// Returns the names that apt notes as automatically installed.
pub fn automatic(extended_states: &str) -> std::collections::BTreeSet<String> {
    let is_automatic = |p: &&str| field(p, "Auto-Installed") == Some("1");
    paragraphs(extended_states).filter(is_automatic).filter_map(|p| field(p, "Package")).map(str::to_owned).collect()
}

fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").filter(|p| !p.trim().is_empty())
}

fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    paragraph.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

fn entry(paragraph: &str, native: &str) -> Option<(String, Package)> {
    let (name, architecture) = (field(paragraph, "Package")?, field(paragraph, "Architecture").unwrap_or("all"));
    let words: Vec<&str> = field(paragraph, "Status")?.split_whitespace().collect();
    let [want, flag, state] = words[..] else { return None };
    let stage = match (state, flag) {
        ("not-installed", _) => return None,
        ("config-files", _) => Stage::ConfigFiles,
        // Its own configuration is done; what waits are others' triggers.
        ("installed" | "triggers-awaited" | "triggers-pending", "ok") => Stage::Installed,
        _ => Stage::Broken,
    };
    let name = if architecture == native || architecture == "all" {
        name.to_owned()
    } else {
        format!("{name}:{architecture}")
    };
    let package = Package {
        stage,
        version: field(paragraph, "Version").unwrap_or_default().to_owned(),
        is_held: want == "hold",
        is_essential: field(paragraph, "Essential") == Some("yes"),
    };
    Some((name, package))
}

/// What `apt-get --simulate` says that it would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// What would come, with the version before, if any, and the version after.
    pub installs: BTreeMap<String, (Option<String>, String)>,
    /// What would go, with its version.
    pub removals: BTreeMap<String, String>,
}

/// Reads the answer of `apt-get --simulate` (its lines `Inst` and `Remv`; `Conf` follows from them).
pub fn rehearsal(text: &str) -> Rehearsal {
    let mut found = Rehearsal::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(act), Some(name)) = (words.next(), words.next()) else { continue };
        let rest: Vec<&str> = words.collect();
        let bracketed = rest.first().and_then(|w| w.strip_prefix('[')?.strip_suffix(']'));
        match act {
            "Inst" => {
                let after = rest.iter().find_map(|w| w.strip_prefix('('));
                if let Some(after) = after {
                    let after = after.trim_end_matches(')').to_owned();
                    found.installs.insert(name.to_owned(), (bracketed.map(str::to_owned), after));
                }
            }
            "Remv" | "Purg" => {
                found.removals.insert(name.to_owned(), bracketed.unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
    found
}

/// What `apt-cache policy` knows of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The version that would be installed.
    pub candidate: Option<String>,
    /// All versions that there are.
    pub versions: Vec<String>,
}

/// Reads the answer of `apt-cache policy NAME…`: what no list knows is not in it.
pub fn known(text: &str) -> BTreeMap<String, Known> {
    let mut found: BTreeMap<String, Known> = BTreeMap::new();
    let mut name = None;
    let mut is_in_table = false;
    for line in text.lines() {
        if !line.starts_with(' ') {
            name = line.strip_suffix(':').map(str::to_owned);
            is_in_table = false;
            continue;
        }
        let Some(name) = &name else { continue };
        let line = line.trim_end();
        if line.trim() == "Version table:" {
            is_in_table = true;
        } else if let Some(candidate) = line.trim_start().strip_prefix("Candidate: ").filter(|_| !is_in_table) {
            let candidate = Some(candidate.to_owned()).filter(|c| c != "(none)");
            found.entry(name.clone()).or_default().candidate = candidate;
        } else if is_in_table && let Some(version) = table_version(line) {
            found.entry(name.clone()).or_default().versions.push(version.to_owned());
        }
    }
    found.retain(|_, known| known.candidate.is_some() || !known.versions.is_empty());
    found
}

/// A line of the table that begins a version: five characters of margin, where the installed one has three stars.
fn table_version(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(" *** ").or_else(|| line.strip_prefix("     "))?;
    let mut words = rest.split(' ');
    let version = words.next().filter(|v| !v.is_empty())?;
    words.next().and_then(|priority| priority.parse::<i32>().ok()).map(|_| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_file_is_read() {
        let text = "Package: dpkg\nEssential: yes\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21\n\n\
                    Package: hello\nStatus: hold ok installed\nArchitecture: all\nVersion: 2.0-1\nConffiles:\n /etc/x 1\n\n\
                    Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.36\n\n\
                    Package: old\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n\
                    Package: bad\nStatus: install ok half-configured\nArchitecture: amd64\nVersion: 1\n\n\
                    Package: reinst\nStatus: install reinstreq installed\nArchitecture: amd64\nVersion: 1\n\n\
                    Package: gone\nStatus: purge ok not-installed\nArchitecture: amd64\n";
        assert_eq!(native_architecture(text), Some("amd64"));
        let found = status(text, "amd64");
        let shown: Vec<String> =
            found.iter().map(|(n, p)| format!("{n}: {}", p.to_text().replace('\n', ";"))).collect();
        assert_eq!(
            shown,
            [
                "bad: half installed 1;",
                "dpkg: installed 1.21;",
                "hello: installed 2.0-1;held;",
                "libc6:i386: installed 2.36;",
                "old: removed, configuration left, was 1;",
                "reinst: half installed 1;",
            ]
        );
        assert!(found["dpkg"].is_essential && !found["hello"].is_essential);
        assert_eq!(Package::parse_text("installed 2.0-1\nheld\n"), Some(("2.0-1".to_owned(), true)));
        assert_eq!(Package::parse_text("half installed 1\n"), None);
    }

    #[test]
    fn a_rehearsal_says_what_comes_and_goes() {
        let text = "Reading package lists...\nThe following packages will be REMOVED:\n  hello\nRemv needs [1.0]\n\
                    Remv hello [1.0] [needs:amd64 ]\nInst rival (1.0 localhost [all])\n\
                    Inst libc6 [2.36-8] (2.36-9 Debian:12.1/stable [amd64]) []\nConf rival (1.0 localhost [all])\n";
        let found = rehearsal(text);
        assert_eq!(found.installs["rival"], (None, "1.0".to_owned()));
        assert_eq!(found.installs["libc6"], (Some("2.36-8".to_owned()), "2.36-9".to_owned()));
        assert_eq!(found.removals.keys().collect::<Vec<_>>(), ["hello", "needs"]);
    }

    #[test]
    fn what_apt_s_lists_know_is_read() {
        let text = "hello:\n  Installed: 1.0\n  Candidate: 2.0\n  Version table:\n     2.0 500\n        500 file:/tmp ./ Packages\n \
                    *** 1.0 500\n        500 file:/tmp ./ Packages\n        100 /var/lib/dpkg/status\nvirtual:\n  Installed: (none)\n  \
                    Candidate: (none)\n  Version table:\n";
        let found = known(text);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["hello"]);
        assert_eq!(found["hello"].candidate.as_deref(), Some("2.0"));
        assert_eq!(found["hello"].versions, ["2.0", "1.0"]);
    }

    #[test]
    fn what_came_along_is_told_from_what_was_asked_for() {
        let found =
            automatic("Package: libc6\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: vim\nAuto-Installed: 0\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["libc6"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[ -~\n]{0,300}") {
            let _ = (status(&text, "amd64"), rehearsal(&text), known(&text), automatic(&text));
        }
    }
}
