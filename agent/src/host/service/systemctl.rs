//! Asks systemd, and tells it: systemctl(1) by absolute path, with argument vectors.

use std::{path::Path, time::Duration};

use lampas_shared::{
    error::{Chain, Fault},
    host::UnitName,
};

use crate::system::{
    Root,
    run::{Output, Program, run},
};

const SYSTEMCTL: &str = "/usr/bin/systemctl";
const JOURNALCTL: &str = "/usr/bin/journalctl";
/// That systemd is the init, sd_booted(3).
const BOOTED: &str = "/run/systemd/system";
/// A unit may take systemd's own 90 seconds to start or to stop, and be killed after that.
const ACT_LIMIT: Duration = Duration::from_secs(200);
/// How many of its last lines are told, and how much of each.
const LAST_LINES: usize = 5;
const LINE_CHARS: usize = 200;
const WANTED: &str = "--property=LoadState,ActiveState,SubState,Result,Type,RemainAfterExit,NRestarts,CanReload";

/// Where to ask: the running systemd, or the files below another root.
#[derive(Debug)]
pub(in crate::host) struct Manager {
    /// `--root=DIR` for files alone.
    offline: Option<String>,
}

/// What systemd knows of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::host) struct Unit {
    pub(in crate::host) load: String,
    pub(in crate::host) active: String,
    sub: String,
    result: String,
    sort: String,
    remains: bool,
    pub(in crate::host) restarts: u64,
    pub(in crate::host) can_reload: bool,
}

impl Unit {
    fn read(text: &str) -> Self {
        let mut unit = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let value = value.trim();
            match name {
                "LoadState" => value.clone_into(&mut unit.load),
                "ActiveState" => value.clone_into(&mut unit.active),
                "SubState" => value.clone_into(&mut unit.sub),
                "Result" => value.clone_into(&mut unit.result),
                "Type" => value.clone_into(&mut unit.sort),
                "RemainAfterExit" => unit.remains = value == "yes",
                "NRestarts" => unit.restarts = value.parse().unwrap_or_default(),
                "CanReload" => unit.can_reload = value == "yes",
                _ => {}
            }
        }
        unit
    }

    /// Returns the word for what it does; `None` when there is no such unit.
    pub(in crate::host) fn running(&self) -> Option<String> {
        let word = match (self.active.as_str(), self.sub.as_str()) {
            // It ended and is about to be started again.
            ("activating", "auto-restart" | "auto-restart-queued") | ("failed", _) => "failed",
            ("active" | "reloading" | "refreshing" | "activating", _) => "running",
            _ if !self.is_there() => return None,
            _ => "stopped",
        };
        Some(word.to_owned())
    }

    pub(in crate::host) fn is_there(&self) -> bool {
        self.load != "not-found"
    }

    /// Whether it does its work and ends.
    pub(in crate::host) fn is_passing(&self) -> bool {
        self.sort == "oneshot" && !self.remains
    }
}

impl Manager {
    /// Returns where to ask about a root.
    ///
    /// # Errors
    /// When there is no systemctl.
    pub(in crate::host) fn of(root: &Root) -> Result<Self, Fault> {
        if !Path::new(SYSTEMCTL).exists() {
            let text = format!("this node has no {SYSTEMCTL}, so that its units can't be looked at");
            return Err(Fault::lasting("service.no_systemctl", text));
        }
        let is_online = root.is_system() && Self::is_booted();
        Ok(Self { offline: (!is_online).then(|| format!("--root={}", root.path().display())) })
    }

    /// Returns whether systemd is this machine's init.
    pub(in crate::host) fn is_booted() -> bool {
        Path::new(BOOTED).is_dir()
    }

    /// Returns what systemd knows of a unit.
    ///
    /// # Errors
    /// When no systemd runs here, or it does not answer.
    pub(in crate::host) fn show(&self, unit: &UnitName) -> Result<Unit, Fault> {
        self.must_run(unit)?;
        let output = self.ask(["show", WANTED, "--", unit.as_str()])?;
        if !output.is_success() {
            return Err(Fault::passing(
                "service.unreadable",
                format!("systemd tells nothing of {unit}: {}", output.describe()),
            ));
        }
        Ok(Unit::read(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Returns whether a unit starts with the node, in one word; `None` when there is no such unit.
    ///
    /// # Errors
    /// When it can't be told.
    pub(in crate::host) fn enablement(&self, unit: &UnitName) -> Result<Option<String>, Fault> {
        let output = self.ask(["is-enabled", "--", unit.as_str()])?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let word = match said.as_str() {
            "enabled" | "alias" => "enabled",
            "disabled" | "linked" | "linked-runtime" | "enabled-runtime" | "masked" | "masked-runtime" => "disabled",
            "not-found" => return Ok(None),
            "" if String::from_utf8_lossy(&output.stderr).contains("No such file or directory") => return Ok(None),
            "" => {
                let text = format!("it can't be told whether {unit} is enabled: {}", output.describe());
                return Err(Fault::lasting("service.unreadable", text));
            }
            other => other,
        };
        Ok(Some(word.to_owned()))
    }

    /// Enables, masks, starts and so on.
    ///
    /// # Errors
    /// When systemd refuses, or the unit fails, with its last lines.
    pub(in crate::host) fn act(&self, verb: &str, unit: &UnitName) -> Result<(), Fault> {
        let is_about_work = matches!(verb, "start" | "stop" | "restart" | "reload");
        if is_about_work {
            self.must_run(unit)?;
            if verb == "start" || verb == "restart" {
                // What failed often in a short time is not started any more; whoever asks for it wants it tried.
                let _ = self.ask(["reset-failed", "--", unit.as_str()]);
            }
        }
        let output = self.ask([verb, "--", unit.as_str()])?;
        if output.is_success() {
            return Ok(());
        }
        let mut text = format!("systemctl {verb} {unit}: {}", output.describe());
        if is_about_work {
            let said = self.last_words(unit);
            if !said.is_empty() {
                text.push_str(&format!("; its last words: {said}"));
            }
        }
        Err(Fault::lasting("service.failed", text))
    }

    /// Has systemd read its files anew.
    ///
    /// # Errors
    /// When it can't.
    pub(in crate::host) fn read_anew(&self) -> Result<(), Fault> {
        if self.offline.is_some() {
            return Ok(());
        }
        let output = self.ask(["daemon-reload"])?;
        let failed =
            || Fault::lasting("service.daemon_reload", format!("systemctl daemon-reload: {}", output.describe()));
        output.is_success().then_some(()).ok_or_else(failed)
    }

    /// Says why a unit that was started does not run.
    pub(in crate::host) fn did_not_stay(&self, unit: &UnitName, found: &Unit) -> Fault {
        let how = match (found.result.as_str(), found.active.as_str()) {
            _ if found.is_passing() && found.active == "inactive" => {
                "it did its work and ended (Type=oneshot); leave running out".to_owned()
            }
            ("" | "success", active) => format!("it is {active}"),
            (result, active) => format!("it is {active} ({result})"),
        };
        let said = self.last_words(unit);
        let said = if said.is_empty() { String::new() } else { format!("; its last words: {said}") };
        Fault::lasting("service.did_not_stay", format!("{unit} was started and did not stay: {how}{said}"))
    }

    /// Returns the last lines that a unit wrote to the journal, in one.
    pub(in crate::host) fn last_words(&self, unit: &UnitName) -> String {
        if self.offline.is_some() || !Path::new(JOURNALCTL).exists() {
            return String::new();
        }
        let lines = format!("--lines={LAST_LINES}");
        let unit = format!("--unit={unit}");
        let program = Program::new(JOURNALCTL).args(["--quiet", "--no-pager", "--output=cat", &lines, &unit]);
        let Ok(output) = run(&program) else { return String::new() };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().map(|l| l.chars().filter(|c| !c.is_control()).take(LINE_CHARS).collect::<String>());
        lines.collect::<Vec<_>>().join(" | ")
    }

    fn must_run(&self, unit: &UnitName) -> Result<(), Fault> {
        if self.offline.is_none() {
            return Ok(());
        }
        let text = format!(
            "systemd does not run here, so that nothing starts or stops {unit}; its files, and whether it is enabled or masked, are managed all the same"
        );
        Err(Fault::lasting("service.no_systemd", text))
    }

    fn ask<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<Output, Fault> {
        // Not `--quiet`, which hides words that are asked for.
        let program = Program::new(SYSTEMCTL)
            .args(self.offline.clone())
            .args(["--no-pager", "--no-ask-password"])
            .args(words)
            .limit(ACT_LIMIT);
        run(&program).map_err(|e| Fault::passing("service.no_systemctl", Chain(&e).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_is_one_word() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Unit::read(text).running().as_deref(), expected, "{text}");
        };
        check("LoadState=loaded\nActiveState=active\nSubState=running\n", Some("running"));
        check("LoadState=loaded\nActiveState=inactive\nSubState=dead\n", Some("stopped"));
        check("LoadState=loaded\nActiveState=failed\nSubState=failed\n", Some("failed"));
        check("LoadState=loaded\nActiveState=activating\nSubState=auto-restart\n", Some("failed"));
        check("LoadState=loaded\nActiveState=activating\nSubState=start\n", Some("running"));
        check("LoadState=masked\nActiveState=inactive\n", Some("stopped"));
        check("LoadState=not-found\nActiveState=inactive\n", None);
        // Removed while it runs.
        check("LoadState=not-found\nActiveState=active\n", Some("running"));
        assert!(Unit::read("Type=oneshot\nRemainAfterExit=no\n").is_passing());
        assert!(!Unit::read("Type=oneshot\nRemainAfterExit=yes\n").is_passing());
    }
}
