//! Checks contents before anything lands; what executes while it checks runs in the sandbox.

use std::collections::BTreeMap;

use lampas_shared::{
    error::Fault,
    host::{UnitName, Validator},
    object::Target,
};

use super::{
    HostPlan,
    plan::{Check, How},
};
use crate::system::{
    run::{Output, RunError},
    sandbox::{self, Helper, NOT_MADE, staged::Staged},
};

/// What systemd makes of a unit, without starting anything.
const ANALYZE: &str = "/usr/bin/systemd-analyze";
/// The step of the sandbox that waits for a checker says 128 and the signal that ended it.
const KILLED: i32 = 128;
/// What is said where a checker could not read something.
const NOBODY_READS: &str =
    " (a check runs as nobody: it reads what everybody may read on the node, and no private key)";

/// What checks are made with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// How the sandbox is started.
    pub sandbox: Helper,
}

/// Checks every content of the plan that would be written and says what is wrong, by target; empty when all pass.
pub fn validate(plan: &HostPlan, tools: &Tools) -> BTreeMap<Target, Fault> {
    validate_by(plan, tools, |_| true)
}

/// Says in a plan what an apply would be refused for, as far as reading tells: nothing that an operator gave is run, nor
/// what executes while it checks. What may pass by itself is left to the apply.
pub fn foresee(plan: &mut HostPlan, tools: &Tools) {
    let reads = |how: &How| matches!(how, How::Validator(Validator::Json | Validator::Toml | Validator::Sudoers));
    for (target, fault) in validate_by(plan, tools, reads).into_iter().filter(|(_, fault)| !fault.retry) {
        let written = plan.items.iter_mut().filter(|i| i.target == target && i.verb.is_some());
        written.for_each(|item| item.fault = item.fault.take().or_else(|| Some(fault.clone())));
    }
}

fn validate_by(plan: &HostPlan, tools: &Tools, is_asked: impl Fn(&How) -> bool) -> BTreeMap<Target, Fault> {
    let is_written =
        |c: &&Check| plan.items.iter().any(|i| i.target == c.target && i.verb.is_some() && i.fault.is_none());
    let checked = plan.checks.iter().filter(|c| is_asked(&c.how)).filter(is_written);
    let mut faults: BTreeMap<Target, Fault> =
        checked.filter_map(|c| check(c, tools).err().map(|fault| (c.target.clone(), fault))).collect();
    for (target, fault) in super::sudoers::validate(plan, tools) {
        faults.entry(target).or_insert(fault);
    }
    // What a checker says repeats parts of what it read.
    for (target, fault) in &mut faults {
        let path = plan.item(target).map(|i| i.path.as_str()).filter(|p| plan.secret_paths.contains(*p));
        if let Some(path) = path
            && matches!(fault.code.as_str(), "file.invalid" | "file.check_failed")
        {
            fault.message = format!("{path}: the check refused it; what it says is not shown, since secrets are in it");
        }
    }
    faults
}

fn check(check: &Check, tools: &Tools) -> Result<(), Fault> {
    let wrong = |what: &str, why: String| Err(Fault::lasting("file.invalid", format!("{}: {what}: {why}", check.path)));
    let validator = match &check.how {
        How::Validator(validator) => validator,
        How::Unit { unit, base } => return check_unit(check, tools, unit, base.as_deref()),
    };
    match validator {
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
        Validator::Command(command) => {
            let name = check.path.rsplit('/').next().unwrap_or("content").to_owned();
            let program = command.at(&Staged::path(&name));
            run_staged(check, tools, vec![(name, check.bytes.clone())], &program)
                .and_then(|output| judge(check, &program, &output))
        }
    }
}

/// Returns the checker for a script by its first line; `None` for interpreters that have none.
pub(crate) fn checker_of(bytes: &[u8]) -> Option<Vec<&'static str>> {
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

/// Checks a unit, or what is changed about one, by what systemd itself makes of it. Nothing of it is started.
fn check_unit(check: &Check, tools: &Tools, unit: &UnitName, base: Option<&[u8]>) -> Result<(), Fault> {
    if !std::path::Path::new(ANALYZE).exists() {
        return Ok(());
    }
    let mut files = vec![(unit.to_string(), base.unwrap_or(&check.bytes).to_vec())];
    let mut ours = Staged::path(unit.as_str());
    if base.is_some() {
        files.push((format!("{unit}.d/lampas.conf"), check.bytes.clone()));
        ours = Staged::path(&format!("{unit}.d/lampas.conf"));
    }
    let program = [ANALYZE, "verify", "--man=no", &Staged::path(unit.as_str())].map(str::to_owned);
    let output = run_staged(check, tools, files, &program)?;
    if output.status.and_then(|s| s.code()).is_none_or(|code| code >= KILLED) {
        return Err(not_told(check, ANALYZE, &output));
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = format!("{unit}: ");
    // Of other units it may say things as well. What a program of this very state is missing from comes with it.
    let is_ours = |l: &&str| {
        l.starts_with(&ours)
            || (l.starts_with(&refused) && !l.contains("is not executable"))
            || l.contains("bad unit file")
    };
    let said: Vec<String> =
        text.lines().filter(is_ours).take(5).map(|l| shown(&l.replace(&Staged::path(""), ""))).collect();
    if said.is_empty() {
        return Ok(());
    }
    Err(Fault::lasting("file.invalid", format!("{}: systemd-analyze says: {}", check.path, said.join("; "))))
}

fn run_staged(
    check: &Check,
    tools: &Tools,
    files: Vec<(String, Vec<u8>)>,
    program: &[String],
) -> Result<Output, Fault> {
    let words: Vec<&str> = program.iter().map(String::as_str).collect();
    must_exist(check, &words)?;
    let output = sandbox::staged::check(&tools.sandbox, &Staged { files }, program);
    let output = output.map_err(|e| failed(check, &e))?;
    if output.status.and_then(|s| s.code()) == Some(i32::from(NOT_MADE)) {
        return Err(Fault::lasting("file.no_sandbox", format!("{}: {}", check.path, output.describe())));
    }
    Ok(output)
}

/// What a program that was given by an operator says: by its exit status.
fn judge(check: &Check, program: &[String], output: &Output) -> Result<(), Fault> {
    if output.is_success() {
        return Ok(());
    }
    if output.status.is_none() {
        return Err(not_told(check, &program[0], output));
    }
    let text = [output.stderr.as_slice(), output.stdout.as_slice()].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let said: Vec<String> = text.lines().filter(|l| !l.trim().is_empty()).take(8).map(shown).collect();
    let how = if said.is_empty() { output.describe() } else { said.join("; ") };
    let hint = if text.contains("Permission denied") { NOBODY_READS } else { "" };
    Err(Fault::lasting("file.invalid", format!("{}: {} says: {how}{hint}", check.path, program.join(" "))))
}

/// A checker that was ended from outside said nothing of the content: it is asked again.
fn not_told(check: &Check, checker: &str, output: &Output) -> Fault {
    let text = format!("{}: {checker} came to no end: {}; it is asked again", check.path, output.describe());
    Fault::passing("file.check_failed", text)
}

fn shown(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn must_exist(check: &Check, checker: &[&str]) -> Result<(), Fault> {
    if std::path::Path::new(checker[0]).exists() {
        return Ok(());
    }
    let what = format!(
        "{}: it can't be checked, since this node has no {}: install it there, or leave validate out",
        check.path, checker[0]
    );
    Err(Fault::lasting("file.checker_missing", what))
}

fn failed(check: &Check, error: &RunError) -> Fault {
    Fault::passing("file.check_failed", format!("{}: {}", check.path, lampas_shared::error::Chain(error)))
}

fn run(check: &Check, tools: &Tools, checker: &[&str]) -> Result<(), Fault> {
    must_exist(check, checker)?;
    let output = sandbox::check(&tools.sandbox, checker, check.bytes.clone()).map_err(|e| failed(check, &e))?;
    if output.is_success() {
        return Ok(());
    }
    if output.status.is_none() {
        return Err(not_told(check, checker[0], &output));
    }
    if output.status.and_then(|s| s.code()) == Some(i32::from(NOT_MADE)) {
        return Err(Fault::lasting("file.no_sandbox", format!("{}: {}", check.path, output.describe())));
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let said: Vec<String> = text.lines().take(5).map(shown).collect();
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

    #[test]
    fn a_checker_that_was_killed_passes_nothing() {
        if !std::path::Path::new(ANALYZE).exists() {
            return;
        }
        let asked = |script: &str| {
            let args = vec!["-c".to_owned(), script.to_owned()];
            let tools = Tools { sandbox: Helper { path: "/bin/sh".into(), args, env: Vec::new() } };
            let check = Check {
                target: Target::path("/etc/systemd/system/app.service"),
                path: "/etc/systemd/system/app.service".into(),
                how: How::Unit { unit: UnitName::parse("app.service").expect("a unit"), base: None },
                bytes: b"[Service]\nExecStart=/bin/true\n".to_vec(),
            };
            super::check(&check, &tools).map_err(|fault| (fault.code, fault.retry))
        };
        assert_eq!(asked("exit 0"), Ok(()));
        let unknown = Err(("file.check_failed".to_owned(), true));
        assert_eq!(asked("kill -9 $$"), unknown);
        assert_eq!(asked("exit 137"), unknown, "the step that waits for it says so");
    }
}
