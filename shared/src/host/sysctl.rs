//! Kernel settings, as sysctl(8) knows them.

use serde::{Deserialize, Serialize};

use super::ManagedPath;
use crate::{
    TextError,
    text::{check_line, check_name, text_newtype},
};

text_newtype!(
    /// The name of a kernel setting, as in sysctl.d(5): `net.ipv4.ip_forward`, or with slashes where a part has a dot
    /// (`net/ipv4/conf/eth0.5/forwarding`). The first separator says which.
    SysctlKey,
    |text| {
        let wrong = |reason: &str| Err(TextError::new("key", text, reason));
        check_line("key", text, 200)?;
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:@".contains(c)) {
            return wrong("use letters, digits, '_', '-', '.' and '/'");
        }
        let parts = parts_of(text);
        if parts.len() < 2 {
            return wrong("name the setting in full, as in net.ipv4.ip_forward");
        }
        if parts.iter().any(|part| matches!(part.as_str(), "" | "." | "..") || part.contains('/')) {
            return wrong("has an empty part, or one that leads elsewhere");
        }
        Ok(())
    }
);

/// Where dots separate, a slash stands for a dot within a part; and the other way round (sysctl.d(5)).
fn parts_of(text: &str) -> Vec<String> {
    if text.find('/').is_some_and(|slash| text.find('.').is_none_or(|dot| slash < dot)) {
        return text.split('/').map(str::to_owned).collect();
    }
    text.split('.').map(|part| part.replace('/', ".")).collect()
}

impl SysctlKey {
    /// Returns the path below `/proc/sys`.
    pub fn proc_path(&self) -> String {
        format!("/proc/sys/{}", parts_of(self.as_str()).join("/"))
    }

    /// Returns why setting it makes root execute something; `None` when it doesn't.
    pub fn root_code(&self) -> Option<String> {
        let path = self.proc_path();
        let name = path.trim_start_matches("/proc/sys/");
        let runs = ["kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "kernel/poweroff_cmd"];
        let guards = ["kernel/", "fs/protected_", "fs/suid_dumpable", "fs/binfmt_misc/", "vm/mmap_min_addr"];
        if runs.contains(&name) {
            return Some(format!("{self} names what the kernel runs as root"));
        }
        guards.iter().any(|g| name.starts_with(g)).then(|| format!("{self} decides how the kernel guards root"))
    }
}

/// A kernel setting: a file of `/etc/sysctl.d` for the next boot, and the running kernel's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    /// Which.
    pub key: SysctlKey,
    /// The value: one line; several numbers are separated by blanks.
    pub value: String,
}

impl Sysctl {
    /// Returns where the setting of this name stands for the next boot.
    ///
    /// # Errors
    /// When the name can't be a file's.
    pub fn path_for(name: &str) -> Result<ManagedPath, TextError> {
        let rule = "use letters, digits, '.', '_' and '-'";
        check_name("name", name, 64, |_, c| c.is_ascii_alphanumeric() || "._-".contains(c), rule)?;
        ManagedPath::parse(format!("/etc/sysctl.d/60-lampas-{name}.conf"))
    }

    /// Returns the line of that file.
    pub fn line(&self) -> String {
        format!("{} = {}\n", self.key, self.plain_value())
    }

    /// Returns the value with one blank where there are several, as two values are compared.
    pub fn plain_value(&self) -> String {
        self.value.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Checks the name and the value.
    ///
    /// # Errors
    /// When either can't stand in a file of `/etc/sysctl.d`.
    pub fn check(&self, name: &str) -> Result<(), TextError> {
        Self::path_for(name)?;
        check_line("value", &self.value, 512)?;
        if self.value.trim().is_empty() {
            return Err(TextError::new("value", &self.value, "is empty"));
        }
        if !self.value.chars().all(|c| c == '\t' || (' '..='~').contains(&c)) {
            return Err(TextError::new("value", &self.value, "has characters that no kernel setting has"));
        }
        Ok(())
    }
}

/// Returns what a file of `/etc/sysctl.d` sets, as sysctl.d(5) reads it, in its order: keys and values as they stand there.
#[must_use]
pub fn assigned(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            return None;
        }
        let (key, value) = line.split_once('=')?;
        // A minus tells sysctl to go on when the kernel refuses.
        let key = key.trim().strip_prefix('-').unwrap_or(key.trim()).trim();
        Some((key.to_owned(), value.trim().to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_skipped_and_blanks_do_not_count() {
        let text =
            "# a = 1\n;b=2\n\n net.ipv4.ip_forward = 1 \n-vm.swappiness=10\nkernel.core_pattern = |/x %e = y\nno\n";
        let pairs = [("net.ipv4.ip_forward", "1"), ("vm.swappiness", "10"), ("kernel.core_pattern", "|/x %e = y")];
        assert_eq!(assigned(text), pairs.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn a_key_leads_to_its_file_and_nowhere_else() {
        let check = |text: &str, expected: Option<&str>| {
            let path = SysctlKey::parse(text).ok().map(|k| k.proc_path());
            assert_eq!(path.as_deref(), expected, "{text}");
        };
        check("net.ipv4.ip_forward", Some("/proc/sys/net/ipv4/ip_forward"));
        check("net/ipv4/conf/eth0.5/forwarding", Some("/proc/sys/net/ipv4/conf/eth0.5/forwarding"));
        check("net.ipv4.conf.eth0/5.forwarding", Some("/proc/sys/net/ipv4/conf/eth0.5/forwarding"));
        check("vm", None);
        check("net..ipv4", None);
        check("net/../../etc/passwd", None);
        check("kernel.//.x", None);
        check("/kernel/x", None);
        check("-kernel.x y", None);
    }

    #[test]
    fn what_root_runs_is_told_from_the_rest() {
        let is_root = |key: &str| SysctlKey::parse(key).expect("a key").root_code().is_some();
        assert!(is_root("kernel.core_pattern") && is_root("kernel/modprobe") && is_root("fs.suid_dumpable"));
        assert!(!is_root("net.ipv4.ip_forward") && !is_root("vm.swappiness"));
    }
}
