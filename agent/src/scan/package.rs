//! Packages that somebody asked for, as dpkg and apt recorded them.

use std::collections::BTreeSet;

use lampas_render::package::automatic;
use lampas_shared::{
    check_line,
    error::Chain,
    scan::{ForeignPackage, MAX_PACKAGES},
};

use crate::{
    config::Paths,
    host::Tools,
    system::{
        Root,
        run::{Program, run},
    },
};

const DPKG_QUERY: &str = "/usr/bin/dpkg-query";
/// dpkg's own database.
const STATUS: &str = "/var/lib/dpkg/status";
/// Where apt notes what came along with something else.
const EXTENDED_STATES: &str = "/var/lib/apt/extended_states";
/// The most that is read of either: some 50,000 packages.
const MAX_BYTES: usize = 4 << 20;

/// Lists the packages that are installed and not marked as automatic; none where there is no dpkg.
///
/// # Errors
/// With a sentence when they can't be listed.
pub(super) fn packages(root: &Root, paths: &Paths, tools: &Tools) -> Result<Vec<ForeignPackage>, String> {
    if !paths.below(STATUS).exists() || !std::path::Path::new(DPKG_QUERY).exists() {
        return Ok(Vec::new());
    }
    let states = root.read(EXTENDED_STATES, MAX_BYTES as u64).ok().flatten().unwrap_or_default();
    let automatic = automatic(&String::from_utf8_lossy(&states));
    let admin = format!("--admindir={}", paths.below("/var/lib/dpkg").display());
    let query = [DPKG_QUERY, &admin, "--show", "--showformat=${binary:Package} ${Version} ${db:Status-Abbrev}\\n"];
    let helper = &tools.sandbox;
    let mut program = Program::new(&helper.path).args(helper.args.iter()).args(query).max_output(MAX_BYTES);
    for (name, value) in &helper.env {
        program = program.env(name, value);
    }
    let output = run(&program).map_err(|e| format!("the packages can't be listed: {}", Chain(&e)))?;
    if !output.is_success() {
        return Err(format!("the packages can't be listed: dpkg-query: {}", output.describe()));
    }
    Ok(packages_of(&String::from_utf8_lossy(&output.stdout), &automatic))
}

fn packages_of(listing: &str, automatic: &BTreeSet<String>) -> Vec<ForeignPackage> {
    let mut found: Vec<ForeignPackage> = listing
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, version, status) = (words.next()?, words.next()?, words.next()?);
            let plain = name.split(':').next()?;
            let is_sound = check_line("package", name, 256).is_ok() && check_line("version", version, 256).is_ok();
            (status == "ii" && is_sound && !automatic.contains(plain))
                .then(|| ForeignPackage { name: plain.to_owned(), version: version.to_owned() })
        })
        .take(MAX_PACKAGES)
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_asked_for_is_told_from_what_came_along() {
        let automatic = BTreeSet::from(["libc6".to_owned()]);
        let listing = "libc6:amd64 2.36-9 ii \nvim 9.0 ii \nold 1 rc \nodd\nnginx:amd64 1.22.1-9 ii \n";
        let names: Vec<String> = packages_of(listing, &automatic).into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["nginx", "vim"]);
    }
}
