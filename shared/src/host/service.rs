//! Units of systemd: services, timers and what else starts work.

use serde::{Deserialize, Serialize};

use super::{ManagedPath, Reaction};
use crate::{
    TextError,
    text::{check_name, text_newtype},
};

/// Units are a few lines; this is more than any distribution ships.
const MAX_BYTES: usize = 64 << 10;
/// Where what an administrator says of units stands, systemd.unit(5).
const DIRECTORY: &str = "/etc/systemd/system";
/// The sorts of units that can be managed: those that start work. Slices, scopes, devices and targets group others.
const SORTS: [&str; 5] = ["service", "timer", "socket", "path", "mount"];
/// What LAMPAS itself runs as. Without it nobody could put back what it was told.
const OWN: [&str; 3] = ["lampas-agent.service", "lampas-controller.service", "lampas-signer.service"];
/// What ends the node's work when it starts.
const ENDS: [&str; 12] = [
    "debug-shell.service",
    "emergency.service",
    "rescue.service",
    "systemd-halt.service",
    "systemd-hibernate.service",
    "systemd-hybrid-sleep.service",
    "systemd-kexec.service",
    "systemd-poweroff.service",
    "systemd-reboot.service",
    "systemd-soft-reboot.service",
    "systemd-suspend.service",
    "systemd-suspend-then-hibernate.service",
];

text_newtype!(
    /// The name of a unit, as systemd has it: `nginx.service`, `backup.timer`, `getty@tty1.service`.
    UnitName,
    |text| {
        let rule = "use letters, digits and \":-_.@\\\", as in nginx.service";
        check_name("unit", text, 200, |i, c| c.is_ascii_alphanumeric() || (i > 0 && ":-_.@\\".contains(c)), rule)?;
        let wrong = |reason: String| Err(TextError::new("unit", text, reason));
        let Some((stem, sort)) = text.rsplit_once('.').filter(|(_, sort)| SORTS.contains(sort)) else {
            return wrong(format!("ends in none of .{}", SORTS.join(", .")));
        };
        if stem.is_empty() || stem.starts_with('@') || stem.contains("..") || stem.matches('@').count() > 1 {
            return wrong(format!("is not the name of a {sort}"));
        }
        Ok(())
    }
);

impl UnitName {
    /// Reads a name that may lack its suffix: `nginx` is `nginx.service`, as systemctl(1) has it.
    ///
    /// # Errors
    /// When it is not the name of a unit.
    pub fn of(text: &str) -> Result<Self, TextError> {
        let has_sort = text.rsplit_once('.').is_some_and(|(_, sort)| SORTS.contains(&sort));
        Self::parse(if has_sort { text.to_owned() } else { format!("{text}.service") })
    }

    /// Returns whether it is a template, of which instances run: `getty@.service`.
    pub fn is_template(&self) -> bool {
        self.0.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with('@'))
    }

    /// Returns the template of an instance: `getty@.service` of `getty@tty1.service`.
    pub fn template(&self) -> Option<String> {
        let (stem, sort) = self.0.rsplit_once('.')?;
        let (name, instance) = stem.split_once('@')?;
        (!instance.is_empty()).then(|| format!("{name}@.{sort}"))
    }

    /// Returns whether LAMPAS runs as this unit.
    pub fn is_own(&self) -> bool {
        OWN.contains(&self.as_str())
    }

    /// Returns whether it is a way in for administrators.
    pub fn is_way_in(&self) -> bool {
        ["ssh.service", "sshd.service", "ssh.socket", "sshd.socket"].contains(&self.as_str())
    }

    /// Says why it must not be started, if it must not.
    pub(crate) fn ends_the_node(&self) -> Option<&'static str> {
        ENDS.contains(&self.as_str()).then_some("it ends what the node does, or opens it to everybody")
    }

    /// Returns where the unit's whole file stands.
    ///
    /// # Errors
    /// When no file can have this name.
    pub fn file_path(&self) -> Result<ManagedPath, TextError> {
        ManagedPath::parse(format!("{DIRECTORY}/{self}"))
    }

    /// Returns where what is changed about the unit stands.
    ///
    /// # Errors
    /// When no directory can have this name.
    pub fn override_path(&self) -> Result<ManagedPath, TextError> {
        ManagedPath::parse(format!("{DIRECTORY}/{self}.d/lampas.conf"))
    }
}

/// A unit of systemd: whether it starts with the node, whether it runs, whether it may, and what is changed about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The unit, where it is not the object's name: `getty@tty1.service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_name: Option<UnitName>,
    /// Whether it starts with the node; left as it is when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether it runs; left as it is when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<bool>,
    /// Whether it is masked, so that nothing starts it; left as it is when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked: Option<bool>,
    /// The whole unit, where it is the fleet's own: `/etc/systemd/system/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What is changed about it: `/etc/systemd/system/NAME.d/lampas.conf`.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub drop_in: Option<String>,
    /// What is reloaded or restarted when `unit` or `override` changed, in this order; nothing by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_change: Vec<Reaction>,
}

/// One thing that is true of a unit or not. Each is a resource of its own: it drifts, is kept and comes back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// Nothing can start it.
    Masked,
    /// It starts with the node.
    Enabled,
    /// It runs.
    Running,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Masked, Self::Enabled, Self::Running];

    /// Returns the word for it, as in targets.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Enabled => "enabled",
            Self::Running => "running",
        }
    }

    /// Returns whether this ends what a unit does, or keeps it from doing it after the next boot.
    pub fn is_end(self, is_so: bool) -> bool {
        is_so == (self == Self::Masked)
    }

    /// Returns the word for whether it is so, as it shows in a plan.
    pub fn word(self, is_so: bool) -> &'static str {
        match (self, is_so) {
            (Self::Masked, true) => "masked",
            (Self::Masked, false) => "not masked",
            (Self::Enabled, true) => "enabled",
            (Self::Enabled, false) => "disabled",
            (Self::Running, true) => "running",
            (Self::Running, false) => "stopped",
        }
    }
}

impl Service {
    /// Returns the unit.
    ///
    /// # Errors
    /// When the object's name is not one.
    pub fn unit(&self, name: &str) -> Result<UnitName, TextError> {
        match &self.unit_name {
            Some(unit) => Ok(unit.clone()),
            None => UnitName::of(name),
        }
    }

    /// Returns what is managed of it, with what it shall be.
    pub fn aspects(&self) -> Vec<(Aspect, bool)> {
        let all = [(Aspect::Masked, self.masked), (Aspect::Enabled, self.enabled), (Aspect::Running, self.running)];
        all.into_iter().filter_map(|(aspect, wanted)| Some((aspect, wanted?))).collect()
    }

    /// Checks the name, the texts, and what goes together.
    ///
    /// # Errors
    /// When systemd could not have it so, or LAMPAS would end itself.
    pub fn check(&self, name: &str) -> Result<(), TextError> {
        let unit = self.unit(name)?;
        let wrong = |what: &'static str, value: &str, reason: &str| Err(TextError::new(what, value, reason));
        let aspects = self.aspects();
        if aspects.is_empty() && self.unit.is_none() && self.drop_in.is_none() {
            let reason = "says nothing; give enabled, running, masked, override or unit";
            return wrong("service", unit.as_str(), reason);
        }
        if unit.is_template() && !aspects.is_empty() {
            return wrong(
                "unit",
                unit.as_str(),
                "is a template: give enabled, running and masked for an instance of it",
            );
        }
        if self.masked == Some(true) {
            if self.unit.is_some() {
                return wrong("masked", "true", "does not go with unit: the mask stands where the unit's file would");
            }
            if self.enabled == Some(true) || self.running == Some(true) {
                return wrong("masked", "true", "does not go with enabled or running: nothing can start a masked unit");
            }
        }
        if unit.is_own() && (self.unit.is_some() || aspects.iter().any(|(aspect, is_so)| aspect.is_end(*is_so))) {
            let reason = "LAMPAS runs as it; stop, disable, mask or replace it on the node itself";
            return wrong("service", unit.as_str(), reason);
        }
        if self.running == Some(true)
            && let Some(reason) = unit.ends_the_node()
        {
            return wrong("running", "true", reason);
        }
        for (what, text) in [("unit", &self.unit), ("override", &self.drop_in)] {
            if let Some(text) = text {
                check_text(what, text)?;
            }
        }
        if !self.on_change.is_empty() && self.unit.is_none() && self.drop_in.is_none() {
            let reason = "goes with unit or override: only their change is followed by anything";
            return wrong("on_change", &self.on_change[0].to_string(), reason);
        }
        Reaction::check_all(&self.on_change)
    }
}

/// Why no secret stands in a unit. Its file is 0644, and whatever its mode were, `systemctl show` and D-Bus tell everybody
/// what is in it (systemd.exec(5), "Environment=").
const SECRET: &str = "no secret can stand in a unit: everybody on the node can read it, by systemctl cat and by D-Bus; put \
                      it into a file with template = true and mode 0600, and name that file here by EnvironmentFile= or \
                      LoadCredential=";

/// Whether a line holds a name that stands for a secret in templates.
fn names_secret(line: &str) -> bool {
    line.split("{{").skip(1).any(|rest| rest.trim_start().starts_with("secret."))
}

/// Checks a text that systemd shall read, as far as that goes without systemd.
fn check_text(what: &'static str, text: &str) -> Result<(), TextError> {
    let wrong = |value: &str, reason: String| Err(TextError::new(what, value, reason));
    if text.len() > MAX_BYTES {
        return wrong("…", format!("{} bytes, at most {MAX_BYTES} are allowed", text.len()));
    }
    if text.contains('\0') {
        return wrong("…", "contains a NUL byte".into());
    }
    if let Some(line) = text.lines().find(|l| names_secret(l)) {
        return wrong(line, SECRET.into());
    }
    let first = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with(['#', ';']));
    match first {
        Some(line) if line.starts_with('[') && line.ends_with(']') => Ok(()),
        Some(line) => wrong(line, "begins outside of a section; begin with one, as in [Service]".into()),
        None => wrong("", "is empty; write a section with what shall be, as in [Service]".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_a_name_that_systemd_takes() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(UnitName::of(text).ok().map(|u| u.to_string()).as_deref(), expected, "{text}");
        };
        check("nginx", Some("nginx.service"));
        check("backup.timer", Some("backup.timer"));
        check("getty@tty1.service", Some("getty@tty1.service"));
        check("my.app", Some("my.app.service"));
        check("system.slice", Some("system.slice.service"));
        check("../x", None);
        check("a b", None);
        check("-.mount", None);
        check("@x.service", None);
        check(".service", None);
        check("a@b@c.service", None);
        check("a..b.service", None);
        let unit = |text: &str| UnitName::of(text).expect("a unit");
        assert!(unit("app@.service").is_template() && !unit("app@1.service").is_template());
        assert_eq!(unit("app@1.service").template().as_deref(), Some("app@.service"));
        assert_eq!(unit("app.service").template(), None);
    }

    #[test]
    fn a_secret_in_a_unit_is_refused_with_what_to_do() {
        for (field, text) in [
            ("unit", "[Service]\nExecStart=/bin/app\nEnvironment=PW={{secret.pw}}\n"),
            ("override", "[Service]\nSetCredential=pw:{{ secret.pw | base64 }}\n"),
        ] {
            let error = service(serde_json::json!({ field: text })).check("app").expect_err("refused").to_string();
            assert!(error.contains("EnvironmentFile=") && error.contains("LoadCredential="), "{error}");
        }
        let plain = "[Service]\nExecStart=/usr/bin/docker ps --format {{.ID}}\nEnvironmentFile=/etc/app/env\n";
        service(serde_json::json!({ "unit": plain })).check("app").expect("braces alone are none");
    }

    fn service(json: serde_json::Value) -> Service {
        serde_json::from_value(json).expect("a service")
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let check = |name: &str, json: serde_json::Value, expected: Option<&str>| {
            let found = service(json).check(name).err().map(|e| e.to_string());
            match expected {
                None => assert_eq!(found, None, "{name}"),
                Some(part) => assert!(found.as_deref().is_some_and(|f| f.contains(part)), "{name}: {found:?}"),
            }
        };
        use serde_json::json;
        check("nginx", json!({"enabled": true, "running": true, "masked": false}), None);
        check("nginx", json!({"override": "[Service]\nRestart=always\n", "on_change": ["restart nginx"]}), None);
        check("backup.timer", json!({"unit": "# ours\n[Timer]\nOnCalendar=daily\n", "enabled": true}), None);
        check("nginx", json!({}), Some("says nothing"));
        check("nginx", json!({"masked": true, "running": true}), Some("masked"));
        check("nginx", json!({"masked": true, "unit": "[Service]\n"}), Some("where the unit's file"));
        check("app@.service", json!({"enabled": true}), Some("template"));
        check("lampas-agent", json!({"running": false}), Some("LAMPAS runs as it"));
        check("lampas-agent", json!({"masked": true}), Some("LAMPAS runs as it"));
        check("lampas-agent", json!({"enabled": true, "override": "[Service]\nNice=5\n"}), None);
        check("systemd-poweroff", json!({"running": true}), Some("ends what the node does"));
        check("nginx", json!({"override": "Restart=always\n"}), Some("outside of a section"));
        check("nginx", json!({"override": "\n"}), Some("is empty"));
        check("nginx", json!({"enabled": true, "on_change": ["reload nginx"]}), Some("goes with"));
    }
}
