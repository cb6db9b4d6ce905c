//! What the node's tools say of a draft of a script: `shellcheck`, `sh -n`, `bash -n`, `perl -c`.
//!
//! Only when somebody asks: `perl -c` executes `BEGIN` blocks. All of them run in the sandbox.

use lampas_shared::{
    check::{Checked, FindingLevel, MAX_FINDINGS, ScriptDraft, ToolFinding},
    error::{Chain, Fault},
};
use serde::Deserialize;

use crate::{
    host::{Tools, checker_of},
    system::{
        run::Output,
        sandbox::{self, LIMIT, NOT_MADE},
    },
};

const SHELLCHECK: &str = "/usr/bin/shellcheck";

/// Checks a draft. Blocking.
///
/// # Errors
/// When it is no script, the sandbox can't be made, or a tool did not come to its end and the others found nothing: that is
/// no pass.
pub fn check(tools: &Tools, draft: &ScriptDraft) -> Result<Checked, Fault> {
    draft.check().map_err(|e| Fault::lasting("check.draft", e.to_string()))?;
    let mut checked = Checked { tools: Vec::new(), notes: Vec::new(), findings: Vec::new() };
    let mut unended = Vec::new();
    let Some(checker) = checker_of(draft.content.as_bytes()) else {
        let line = draft.content.lines().next().unwrap_or_default();
        checked.notes.push(format!("no tool here checks scripts of {}", line.chars().take(100).collect::<String>()));
        return Ok(checked);
    };
    let name = checker[0].rsplit('/').next().unwrap_or_default().to_owned();
    if std::path::Path::new(checker[0]).exists() {
        let output = run(tools, &checker, draft)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if let Some(why) = why_unended(&name, &output) {
            unended.push(why);
        } else {
            checked.tools.push(checker.join(" "));
            if !output.is_success() {
                checked.findings.extend(syntax(&name, &said));
            } else if name == "perl" {
                checked.findings.extend(warnings(&said));
            }
        }
    } else {
        checked.notes.push(format!("this node has no {}", checker[0]));
    }
    if name != "perl" {
        if std::path::Path::new(SHELLCHECK).exists() {
            let output = run(tools, &[SHELLCHECK, "-f", "json1", "-"], draft)?;
            match (why_unended("shellcheck", &output), shellcheck(&output.stdout)) {
                (Some(why), _) => unended.push(why),
                (None, Some(found)) => {
                    checked.tools.push("shellcheck".to_owned());
                    checked.findings.extend(found);
                }
                (None, None) => checked.notes.push(format!("shellcheck could not say anything: {}", output.describe())),
            }
        } else {
            checked.notes.push("this node has no shellcheck; on Debian: apt install shellcheck".to_owned());
        }
    }
    checked.findings.sort_by_key(|a| (a.line, a.column, a.level));
    checked.findings.truncate(MAX_FINDINGS);
    told(checked, unended)
}

/// Returns what is said of a tool that did not come to its end: it has said nothing of the script.
fn why_unended(tool: &str, output: &Output) -> Option<String> {
    let how = match output.status {
        None => format!("{tool} did not end within {} s", LIMIT.as_secs()),
        Some(status) if status.code().is_none() => format!("{tool} did not end by itself ({})", output.describe()),
        Some(_) => return None,
    };
    let why = "; while it compiles, perl runs BEGIN blocks and what `use` loads, which can start no program here";
    Some(if tool == "perl" { format!("{how}{why}") } else { how })
}

/// Adds what did not come to its end to what was found; by itself it is no answer.
fn told(mut checked: Checked, unended: Vec<String>) -> Result<Checked, Fault> {
    if !checked.findings.is_empty() || unended.is_empty() {
        checked.notes.extend(unended);
        return Ok(checked);
    }
    let rest = match &*checked.tools {
        [] => "nothing is known of this script".to_owned(),
        tools => format!("nothing was found by {}", tools.join(", ")),
    };
    Err(Fault::lasting("check.unended", format!("the check did not come to its end, {rest}: {}", unended.join("; "))))
}

fn run(tools: &Tools, checker: &[&str], draft: &ScriptDraft) -> Result<Output, Fault> {
    let stdin = draft.content.clone().into_bytes();
    let output = sandbox::check(&tools.sandbox, checker, stdin)
        .map_err(|e| Fault::passing("check.failed", Chain(&e).to_string()))?;
    if output.status.and_then(|s| s.code()) == Some(i32::from(NOT_MADE)) {
        return Err(Fault::lasting("check.no_sandbox", output.describe()));
    }
    Ok(output)
}

#[derive(Deserialize)]
struct Json1 {
    comments: Vec<Comment>,
}

#[derive(Deserialize)]
struct Comment {
    line: u32,
    column: u32,
    #[serde(rename = "endLine")]
    end_line: u32,
    #[serde(rename = "endColumn")]
    end_column: u32,
    level: String,
    code: u32,
    message: String,
}

fn shellcheck(json: &[u8]) -> Option<Vec<ToolFinding>> {
    let found: Json1 = serde_json::from_slice(json).ok()?;
    let finding = |c: Comment| ToolFinding {
        line: c.line.max(1),
        column: c.column,
        end_line: c.end_line.max(c.line.max(1)),
        end_column: c.end_column,
        level: match c.level.as_str() {
            "error" => FindingLevel::Error,
            "warning" => FindingLevel::Warning,
            "info" => FindingLevel::Info,
            _ => FindingLevel::Style,
        },
        code: format!("SC{}", c.code),
        message: plain(&c.message),
        tool: "shellcheck".to_owned(),
    };
    Some(found.comments.into_iter().map(finding).collect())
}

/// Finds the places in what an interpreter says of text that it can't read; without one the first line stands for all.
fn syntax(tool: &str, said: &str) -> Vec<ToolFinding> {
    let mut found: Vec<ToolFinding> = said.lines().filter_map(|line| place(tool, line, FindingLevel::Error)).collect();
    if found.is_empty() {
        let message = said.lines().find(|l| !l.trim().is_empty()).unwrap_or("it can't be read");
        found.push(finding(tool, 1, FindingLevel::Error, message));
    }
    found
}

/// What perl warns of although the syntax is right.
fn warnings(said: &str) -> Vec<ToolFinding> {
    said.lines().filter_map(|line| place("perl", line, FindingLevel::Warning)).collect()
}

/// `sh: 3: Syntax error: …`, `bash: line 3: syntax error …`, `… at - line 3, near …`.
fn place(tool: &str, line: &str, level: FindingLevel) -> Option<ToolFinding> {
    if tool == "perl" {
        let (_, rest) = line.rsplit_once(" at - line ")?;
        let number = rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()?;
        return Some(finding(tool, number, level, line));
    }
    let mut parts = line.splitn(3, ": ");
    let (_, second, message) = (parts.next()?, parts.next()?, parts.next()?);
    let number = second.strip_prefix("line ").unwrap_or(second).parse().ok()?;
    Some(finding(tool, number, level, message))
}

fn finding(tool: &str, line: u32, level: FindingLevel, message: &str) -> ToolFinding {
    let line = line.max(1);
    let code = String::new();
    ToolFinding {
        line,
        column: 0,
        end_line: line,
        end_column: 0,
        level,
        code,
        message: plain(message),
        tool: tool.to_owned(),
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(900).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::sandbox::Helper;

    #[test]
    fn tools_name_places() {
        let of =
            |tool: &str, said: &str| syntax(tool, said).into_iter().map(|f| (f.line, f.message)).collect::<Vec<_>>();
        assert_eq!(
            of("sh", "/bin/sh: 3: Syntax error: \"fi\" unexpected\n"),
            [(3, "Syntax error: \"fi\" unexpected".into())]
        );
        assert_eq!(of("bash", "/bin/bash: line 7: syntax error near `fi'\n")[0].0, 7);
        let perl = "syntax error at - line 2, near \"= ;\"\n- had compilation errors.\n";
        assert_eq!(of("perl", perl), [(2, "syntax error at - line 2, near \"= ;\"".into())]);
        assert_eq!(of("sh", "something else\n"), [(1, "something else".into())]);
        assert_eq!(warnings("Useless use of a constant in void context at - line 4.\n- syntax OK\n")[0].line, 4);
    }

    #[test]
    fn a_check_that_did_not_end_is_no_pass() {
        let killed = Helper { path: "/bin/sh".into(), args: vec!["-c".into(), "kill -9 $$".into()], env: Vec::new() };
        let draft = ScriptDraft { content: "#!/bin/sh\necho hello\n".into() };
        let fault = check(&Tools { sandbox: killed }, &draft).expect_err("nobody said anything");
        assert_eq!(fault.code, "check.unended");
        assert!(fault.message.contains("nothing is known of this script"), "{fault}");
        assert!(fault.message.contains("sh did not end by itself (signal 9)"), "{fault}");

        let late = Output { status: None, stdout: Vec::new(), stderr: Vec::new() };
        let why = why_unended("perl", &late).expect("told");
        assert!(why.starts_with("perl did not end within 20 s; ") && why.contains("BEGIN"), "{why}");
        let none = || Checked { tools: vec!["/bin/sh -n".into()], notes: Vec::new(), findings: Vec::new() };
        let fault = told(none(), vec!["shellcheck did not end within 20 s".into()]).expect_err("one of two");
        assert!(fault.message.contains("found by /bin/sh -n: shellcheck did not end"), "{fault}");
        let found = Checked { findings: vec![finding("sh", 1, FindingLevel::Error, "it")], ..none() };
        assert_eq!(told(found, vec![why.clone()]).expect("found something").notes, [why]);
        assert!(told(none(), Vec::new()).expect("all ended").notes.is_empty());
    }

    #[test]
    fn findings_of_shellcheck_are_read() {
        let json = br#"{"comments":[{"file":"-","line":2,"endLine":2,"column":6,"endColumn":8,"level":"info","code":2086,"message":"Double quote","fix":null}]}"#;
        let found = shellcheck(json).expect("JSON");
        assert_eq!(
            (found[0].line, found[0].column, found[0].code.as_str(), found[0].level),
            (2, 6, "SC2086", FindingLevel::Info)
        );
        assert_eq!(shellcheck(b""), None);
    }
}
