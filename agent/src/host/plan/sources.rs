//! What apt goes by: a group of its own, written and proven before anything else of a state.
//!
//! A package that is installed without its pin, or from another source, can't be put back. So packages wait for these
//! places, and for nothing else of the host group: a check of that group may want the very package that is to come.

use lampas_shared::{desired::Resource, error::Fault, host::Validator, object::Target};

use super::{HostPlan, How, Item, Put, Step, WAITS};
use crate::host::account;

/// Where apt has its sources, pins and settings, and where it and Debian have the keys of sources (sources.list(5)).
const PLACES: [&str; 2] = ["/etc/apt", "/usr/share/keyrings"];
/// What the node's owner decided: who may not write there has the node's packages by its own sources.
const OWNERS_WORD: [&str; 2] = ["policy.denied_path", "policy.root_code"];
/// What begins the code of a fault of a unit: its program may be that of a package.
const OF_UNITS: [&str; 2] = ["on_change.", "service."];

/// Returns whether apt goes by what stands in a place.
pub(crate) fn is_source(path: &str) -> bool {
    PLACES.iter().any(|place| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

impl HostPlan {
    /// Returns what is written before the rest; `None` when nothing is. What needs something else of the plan is not among
    /// it: a directory or an account that comes along, a unit that takes it up.
    pub(crate) fn sources(&self) -> Option<Self> {
        let makes_accounts = self.steps.iter().any(|s| !s.is_removal && account::of_place(&s.path).is_some());
        let is_roots = |put: &Put| match put {
            Put::File { uid, gid, .. } | Put::Directory { uid, gid, .. } => (*uid, *gid) == (0, 0),
            _ => true,
        };
        let is_below = |step: &Step, above: &Step| {
            let rest = step.path.strip_prefix(&above.path);
            !is_source(&above.path) && rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let is_free = |step: &&Step| {
            is_source(&step.path)
                && !self.is_followed(step)
                && (!makes_accounts || is_roots(&step.put))
                && !self.steps.iter().any(|above| is_below(step, above))
        };
        let steps: Vec<Step> = self.steps.iter().filter(is_free).cloned().collect();
        if steps.iter().all(|s| s.put == Put::Keep) {
            return None;
        }
        let is_among = |target: &Target| steps.iter().any(|s| s.targets.contains(target));
        let items = self.items.iter().filter(|i| is_among(&i.target)).cloned().collect();
        let checks = self.checks.iter().filter(|c| is_among(&c.target)).cloned().collect();
        Some(Self { items, checks, steps, sudoers: None, ..self.clone() })
    }

    /// Whether a unit takes up what a step changes.
    fn is_followed(&self, step: &Step) -> bool {
        let place = step.owned.as_ref().or_else(|| self.ownership.places.get(&step.path));
        place.is_some_and(|place| place.claims.values().any(|claim| !claim.on_change.is_empty()))
    }

    /// Returns what apt goes by and doesn't stand as desired, where that isn't somebody's decision on the node; what can't be
    /// written is among it, but for what waits for a package itself. `is_written` says that all that can be was written.
    pub(crate) fn missing_sources<'a>(&'a self, wanted: &'a [Resource], is_written: bool) -> Vec<&'a Item> {
        let is_missing = |item: &&Item| match &item.fault {
            None => item.verb.is_some() && !is_written,
            Some(fault) if fault.code == WAITS || OWNERS_WORD.contains(&fault.code.as_str()) => false,
            Some(_) => wanted.iter().any(|r| r.target == item.target),
        };
        self.items.iter().filter(|i| is_source(&i.path)).filter(is_missing).collect()
    }

    /// Returns whether a group that was refused for these faults may be taken once packages are there, or newer.
    pub(crate) fn may_be_mended(&self, faults: &[(Option<Target>, Fault)]) -> bool {
        let by_program = |target: &Target| {
            let is_program = |how: &How| !matches!(how, How::Validator(Validator::Json | Validator::Toml));
            self.checks.iter().any(|c| c.target == *target && is_program(&c.how))
        };
        !faults.is_empty()
            && faults.iter().all(|(target, fault)| {
                OF_UNITS.iter().any(|sort| fault.code.starts_with(sort))
                    || fault.code == "file.checker_missing"
                    || (fault.code == "file.invalid" && target.as_ref().is_some_and(by_program))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::is_source;

    #[test]
    fn apt_goes_by_what_is_below_its_directories() {
        let check = |path: &str, expected: bool| assert_eq!(is_source(path), expected, "{path}");
        check("/etc/apt", true);
        check("/etc/apt/preferences.d/pins", true);
        check("/etc/apt/sources.list", true);
        check("/usr/share/keyrings/vendor.gpg", true);
        check("/etc/apt-cacher-ng/acng.conf", false);
        check("/etc/aptitude", false);
        check("package:apt", false);
    }
}
