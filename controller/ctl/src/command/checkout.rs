//! Where manifests of a checkout come from: its commit, for the history; and a plan as Markdown, for a merge request.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use lampas_api::{Change, DraftVerb, Plan};

use super::{CommandError, plan};

const GIT: &str = "/usr/bin/git";
/// How much of a difference stands in a comment; hosts cut long ones.
const DIFF_BYTES: usize = 4000;

/// Says which commit the manifests lie in: `commit 1a2b3c by Ann: subject`.
pub(super) fn commit(files: &[PathBuf]) -> Result<String, CommandError> {
    let first = files.iter().find(|f| f.as_path() != Path::new("-"));
    let none = || CommandError::Usage("--source takes the commit of a checkout: give its directory with -f".into());
    let first = first.ok_or_else(none)?;
    let dir = if first.is_dir() { first.as_path() } else { first.parent().unwrap_or(Path::new(".")) };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let told = git(dir, &["log", "-1", "--no-show-signature", "--format=commit %h by %an: %s", "--abbrev=12"])?;
    let changed = git(dir, &["status", "--porcelain", "--untracked-files=normal", "--", "."])?;
    let more = if changed.is_empty() { "" } else { " (with changes that are not committed)" };
    let line: String = told.chars().filter(|c| !c.is_control()).take(440).collect();
    Ok(format!("{line}{more}"))
}

fn git(dir: &Path, args: &[&str]) -> Result<String, CommandError> {
    let failed = |e| CommandError::Io(format!("run {GIT}; --source needs the Debian package git"), e);
    let output = Command::new(GIT)
        .arg("-C")
        .arg(dir)
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "log.showSignature=false"])
        .args(args)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it said nothing");
        return Err(CommandError::Usage(format!("{} is no checkout of git: {said}", dir.display())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes what a change would do as Markdown.
pub(super) fn markdown(change: &Change, server: &str) -> String {
    let mut out = String::from("### LAMPAS plan\n\n");
    if !plan::has_work(change) {
        match change.plan.iter().flat_map(|p| &p.held).find(|h| !h.state.is_final()) {
            Some(held) => out.push_str(&format!(
                "Nothing to apply: change {} keeps it from {} nodes yet, its rollout is {}.\n",
                held.change,
                held.count,
                held.state.as_str()
            )),
            None => out.push_str("Nothing to do: the fleet is already so.\n"),
        }
        for held in change.plan.iter().flat_map(|p| &p.held).filter(|h| h.stays) {
            out.push_str(&format!(
                "\n{} nodes stay left out by change {} ({}){}; `{}` brings it there.\n",
                held.count,
                held.change,
                held.state.as_str(),
                if held.is_deletion { ", and have yet what it deleted" } else { "" },
                cell(&plan::remedy(held))
            ));
        }
        return out;
    }
    out.push_str("| | object | scope |\n|---|---|---|\n");
    for draft in change.drafts.iter().filter(|d| d.verb != DraftVerb::None) {
        let key = &draft.key;
        let row = format!(
            "| {} | {} `{}` | `{}` |\n",
            draft.verb.as_str(),
            key.kind,
            cell(key.name.as_str()),
            cell(&key.scope.to_string())
        );
        out.push_str(&row);
    }
    let Some(plan) = &change.plan else { return out };
    for group in &plan.groups {
        let names: Vec<&str> = group.nodes.iter().take(10).map(|n| n.name.as_str()).collect();
        let more = group.nodes.len().saturating_sub(10);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let observes = if group.observes { " (only observing: nothing is written)" } else { "" };
        out.push_str(&format!("\n<details><summary>{}{more}{observes}</summary>\n", escaped(&names.join(", "))));
        for action in &group.actions {
            out.push_str(&format!("\n`{}`\n", cell(&action.path)));
            if let Some(fault) = &action.fault {
                out.push_str(&format!("\n**Can't be done**: {}\n", escaped(&fault.message)));
            }
            if !action.diff.is_empty() {
                let end = (0..=DIFF_BYTES.min(action.diff.len())).rev().find(|n| action.diff.is_char_boundary(*n));
                let shown = &action.diff[..end.unwrap_or(0)];
                // Longer than any run of backticks within, so that nothing ends the block.
                let fence = "`".repeat(longest_run(shown).max(2) + 1);
                let cut = if shown.len() < action.diff.len() { "\n…" } else { "" };
                out.push_str(&format!("\n{fence}diff\n{}{cut}\n{fence}\n", shown.trim_end()));
            }
        }
        out.push_str("\n</details>\n");
    }
    out.push_str(&footer(plan));
    let number = change.summary.number;
    out.push_str(&format!("\nPlan `{}` · [change {number}]({server}/changes/{number})\n", plan.id));
    out
}

fn footer(plan: &Plan) -> String {
    let mut out = String::new();
    for empty in &plan.empty_scopes {
        out.push_str(&format!("\n**Reaches nobody**: {}\n", escaped(&plan::nobody(empty))));
    }
    for warning in plan.warnings.iter().take(20) {
        out.push_str(&format!("\n**Warning**: {}\n", escaped(warning)));
    }
    for line in plan.limit.iter().flat_map(plan::limit_lines) {
        out.push_str(&format!("\n{}\n", escaped(line.trim())));
    }
    out.push_str(&format!("\n{}", plan::counts(plan)));
    if !plan.unplanned.is_empty() {
        let names: Vec<&str> = plan.unplanned.iter().take(10).map(|u| u.node.name.as_str()).collect();
        out.push_str(&format!(", {} could not be asked: {}", plan.unplanned.len(), escaped(&names.join(", "))));
    }
    out.push_str(".\n");
    for blocker in plan.blockers.iter().take(20) {
        out.push_str(&format!("\n**In the way**: {}\n", escaped(blocker)));
    }
    out
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Leaves nothing that Markdown or HTML would take as its own.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '@' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A text that stands between backticks, in a table.
fn cell(text: &str) -> String {
    text.chars().map(|c| if c == '`' || c == '|' || c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_plan_becomes_markup() {
        assert_eq!(escaped("<b>@all [x](y) `z`"), "&lt;b&gt;\\@all \\[x\\](y) \\`z\\`");
        assert_eq!(longest_run("a ``` b ` c"), 3);
        assert_eq!(cell("a|b`c"), "a?b?c");
    }
}
