//! Packages of Debian, as apt(8) and dpkg(1) know them.

use serde::{Deserialize, Serialize};

use super::Reaction;
use crate::{
    TextError,
    text::{check_line, check_name, text_newtype},
};

text_newtype!(
    /// The name of a package (Debian policy, section 5.6.1): `nginx`, `g++`, or with an architecture, `libc6:i386`.
    PackageName,
    |text| {
        let (name, architecture) = text.split_once(':').unwrap_or((text, "all"));
        let rule = "use small letters, digits, '+', '-' and '.', starting with a letter or digit";
        let is_small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        check_name("package", name, 100, |i, c| is_small(c) || (i > 0 && "+-.".contains(c)), rule)?;
        check_name("architecture", architecture, 30, |i, c| is_small(c) || (i > 0 && c == '-'), rule)?;
        // apt takes a minus at the end for an order to remove, and a plus for one to install.
        if name.len() < 2 || name.ends_with('-') {
            return Err(TextError::new("package", text, "is not the name of a package"));
        }
        Ok(())
    }
);

text_newtype!(
    /// A version, as in deb-version(7), or `latest`.
    PackageVersion,
    |text| {
        let rule = "write a version as in 1.22.1-9+deb12u1, or \"latest\"";
        check_name("version", text, 200, |_, c| c.is_ascii_alphanumeric() || ".+-~:".contains(c), rule)?;
        if text != "latest" && !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(TextError::new("version", text, rule));
        }
        Ok(())
    }
);

impl PackageVersion {
    /// Returns the exact version; `None` for the latest.
    pub fn exact(&self) -> Option<&str> {
        Some(self.as_str()).filter(|v| *v != "latest")
    }
}

/// What of a package shall be on the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PackageEnsure {
    /// It shall be installed.
    #[default]
    Present,
    /// It shall not be installed; its configuration may stay.
    Absent,
    /// Neither it nor its configuration shall be there.
    Purged,
}

/// A package. Unlike files, packages can't be undone: what an installation changed besides stays changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name; the object's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageName>,
    /// What shall be there of it; `present` by default.
    #[serde(default)]
    pub ensure: PackageEnsure,
    /// An exact version, also an older one; or `latest`, the newest that the node's package lists know whenever they are
    /// read. Any version will do when left out, and none is upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<PackageVersion>,
    /// Whether it is held, so that upgrades pass it over; left alone when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<bool>,
    /// Whether recommended packages come along, as is apt's way; `true` by default.
    #[serde(default = "yes")]
    pub recommends: bool,
    /// Whether other packages may go for it; `false` by default, and essential ones never may.
    #[serde(default)]
    pub allow_removals: bool,
    /// What is reloaded or restarted once when its version changed, and when it was installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_change: Vec<Reaction>,
}

fn yes() -> bool {
    true
}

impl Default for Package {
    fn default() -> Self {
        Self {
            package: None,
            ensure: PackageEnsure::Present,
            version: None,
            held: None,
            recommends: true,
            allow_removals: false,
            on_change: Vec::new(),
        }
    }
}

impl Package {
    /// Returns the package's name.
    ///
    /// # Errors
    /// When none is given and the object's is no package's.
    pub fn name_of(&self, name: &str) -> Result<PackageName, TextError> {
        self.package.clone().map_or_else(|| PackageName::parse(name), Ok)
    }

    /// Checks the name and the rules between the fields.
    ///
    /// # Errors
    /// When the package can't be had so.
    pub fn check(&self, name: &str) -> Result<(), TextError> {
        check_line("package", self.name_of(name)?.as_str(), 200)?;
        Reaction::check_all(&self.on_change)?;
        if self.ensure == PackageEnsure::Present {
            return Ok(());
        }
        let rest = Self {
            package: self.package.clone(),
            ensure: self.ensure,
            allow_removals: self.allow_removals,
            ..Self::default()
        };
        if *self != rest {
            let reason = "a package that goes has no other field than package and allow_removals";
            return Err(TextError::new("ensure", "absent", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_apt_reads_as_orders_are_refused() {
        let check = |text: &str, is_good: bool| assert_eq!(PackageName::parse(text).is_ok(), is_good, "{text}");
        for good in ["nginx", "g++", "libstdc++6", "0ad", "libc6:i386", "python3.11", "linux-image-6.1.0-13-amd64"] {
            check(good, true);
        }
        for bad in
            ["nginx-", "-nginx", "+x", "x", "", "Nginx", "nginx=1", "nginx/stable", "nginx^", "a*b", "a b", "./x"]
        {
            check(bad, false);
        }
    }

    #[test]
    fn a_version_is_exact_or_the_latest() {
        let exact = |text: &str| PackageVersion::parse(text).ok().map(|v| v.exact().map(str::to_owned));
        assert_eq!(exact("1:1.22.1-9+deb12u1~x"), Some(Some("1:1.22.1-9+deb12u1~x".to_owned())));
        assert_eq!(exact("latest"), Some(None));
        assert_eq!(exact("newest"), None);
        assert_eq!(exact("1 2"), None);
        assert_eq!(exact("1=2"), None);
    }

    #[test]
    fn a_package_that_goes_has_no_version() {
        let package = |json: &str| serde_json::from_str::<Package>(json).expect("a package").check("nginx");
        assert!(package(r#"{"version": "latest", "held": true}"#).is_ok());
        assert!(package(r#"{"ensure": "purged", "allow_removals": true}"#).is_ok());
        assert!(package(r#"{"ensure": "absent", "version": "1"}"#).is_err());
        assert!(serde_json::from_str::<Package>("{}").expect("a package").check("Not-A-Package").is_err());
    }
}
