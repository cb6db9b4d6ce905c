//! Checks contents before anything lands; what executes while it checks runs in the sandbox.

use std::collections::BTreeMap;

use lampas_shared::{error::Fault, host::Validator, object::Target};

use super::{HostPlan, plan::Check};
use crate::system::sandbox::{self, Helper, NOT_MADE};

/// What checks are made with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// How the sandbox is started.
    pub sandbox: Helper,
}

/// Checks every content of the plan that would be written and says what is wrong, by target; empty when all pass.
pub fn validate(plan: &HostPlan, tools: &Tools) -> BTreeMap<Target, Fault> {
    let is_written =
        |c: &&Check| plan.items.iter().any(|i| i.target == c.target && i.verb.is_some() && i.fault.is_none());
    let checked = plan.checks.iter().filter(is_written);
    let mut faults: BTreeMap<Target, Fault> =
        checked.filter_map(|c| check(c, tools).err().map(|fault| (c.target.clone(), fault))).collect();
    for (target, fault) in super::sudoers::validate(plan, tools) {
        faults.entry(target).or_insert(fault);
    }
    faults
}

fn check(check: &Check, tools: &Tools) -> Result<(), Fault> {
    let wrong = |what: &str, why: String| Err(Fault::lasting("file.invalid", format!("{}: {what}: {why}", check.path)));
    match check.validator {
        Validator::Json => match serde_json::from_slice::<serde::de::IgnoredAny>(&check.bytes) {
            Ok(_) => Ok(()),
            Err(error) => wrong("not JSON", error.to_string()),
        },
        Validator::Toml => match std::str::from_utf8(&check.bytes).map(toml::from_str::<toml::Table>) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => wrong("not TOML", error.message().to_owned()),
            Err(_) => wrong("not TOML", "it is not UTF-8".to_owned()),
        },
        Validator::Sudoers => run(check, tools, &["/usr/sbin/visudo", "-c", "-f", "-"]),
        Validator::Script => match checker_of(&check.bytes) {
            Some(checker) => run(check, tools, &checker),
            None => Ok(()),
        },
    }
}

/// Returns the checker for a script by its first line; `None` for interpreters that have none.
fn checker_of(bytes: &[u8]) -> Option<Vec<&'static str>> {
    let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(first).into_owned();
    let mut words = line.strip_prefix("#!")?.split_whitespace().peekable();
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut name = base(words.next()?);
    if name == "env" {
        name = base(words.find(|w| !w.starts_with('-') && !w.contains('='))?);
    }
    match name.as_str() {
        "sh" | "dash" => Some(vec!["/bin/sh", "-n"]),
        "bash" => Some(vec!["/bin/bash", "-n"]),
        // Taint mode must stand on the command line too when the first line asks for it (perlrun).
        "perl" if words.any(|w| w.starts_with('-') && w.contains('T')) => Some(vec!["/usr/bin/perl", "-T", "-c", "-"]),
        "perl" => Some(vec!["/usr/bin/perl", "-c", "-"]),
        _ => None,
    }
}

fn run(check: &Check, tools: &Tools, checker: &[&str]) -> Result<(), Fault> {
    if !std::path::Path::new(checker[0]).exists() {
        let what = format!("{}: it can't be checked, since this node has no {}", check.path, checker[0]);
        return Err(Fault::lasting("file.checker_missing", what));
    }
    let output = sandbox::check(&tools.sandbox, checker, check.bytes.clone());
    let output = output.map_err(|e| {
        Fault::passing("file.check_failed", format!("{}: {}", check.path, lampas_shared::error::Chain(&e)))
    })?;
    if output.is_success() {
        return Ok(());
    }
    if output.status.and_then(|s| s.code()) == Some(i32::from(NOT_MADE)) {
        return Err(Fault::lasting("file.no_sandbox", format!("{}: {}", check.path, output.describe())));
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let said: Vec<String> =
        text.lines().take(5).map(|l| l.chars().filter(|c| !c.is_control()).take(200).collect()).collect();
    let how = if said.is_empty() { output.describe() } else { said.join("; ") };
    Err(Fault::lasting("file.invalid", format!("{}: {} says: {how}", check.path, checker.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_checker() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(
                checker_of(format!("{line}\n1\n").as_bytes()).map(|c| c.join(" ")).as_deref(),
                expected,
                "{line}"
            );
        };
        check("#!/bin/sh -e", Some("/bin/sh -n"));
        check("#!/usr/bin/env -S bash -x", Some("/bin/bash -n"));
        check("#!/usr/bin/perl -wT", Some("/usr/bin/perl -T -c -"));
        check("#! /usr/local/bin/perl", Some("/usr/bin/perl -c -"));
        check("#!/usr/bin/python3", None);
        check("echo", None);
    }
}
