//! What the terminal shows: tables, JSON, relative times, states with their shapes, and nothing that a node could use
//! to play tricks on it.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{CellAlignment, ContentArrangement, Table};
use lampas_shared::{deceptive_char, time::UnixMs};
use serde::Serialize;

/// Replaces control characters and characters that reorder or hide text by visible escapes; keeps newlines and tabs.
pub(crate) fn clean(text: &str) -> String {
    if text.chars().all(|c| c == '\n' || deceptive_char(c.encode_utf8(&mut [0; 4])).is_none()) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c.to_string(),
            c if deceptive_char(c.encode_utf8(&mut [0; 4])).is_some() => format!("\\u{{{:x}}}", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

/// Prints a line of data. A closed pipe ends the program quietly, as `head` expects.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{}", clean(text.as_ref())).is_err() {
        std::process::exit(0);
    }
}

/// Prints an answer as JSON.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) {
    let text = serde_json::to_string_pretty(value).expect("answers are JSON");
    raw(format!("{}\n", escaped(&text)).as_bytes());
}

/// Escapes in JSON what a terminal obeys or what hides text, which JSON itself lets stand: it says the same.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() || deceptive_char(c.encode_utf8(&mut [0; 4])).is_none() {
            text.push(c);
        } else {
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

/// Prints bytes as they are.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints a message for people, on standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    eprintln!("{}", clean(text.as_ref()));
}

/// Prints rows under heads; a head that begins with `>` aligns its column to the right.
pub(crate) fn table(heads: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().map(|h| h.trim_start_matches('>')).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.iter().map(|c| clean(c).replace(['\n', '\t'], " ")).collect::<Vec<_>>());
    }
    for (i, head) in heads.iter().enumerate() {
        let Some(column) = table.column_mut(i) else { continue };
        column.set_padding((0, 2));
        if head.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for text in table.lines() {
        line(text.trim_end());
    }
}

/// Returns a state's shape and word, as in the dashboard.
pub(crate) fn state(word: &str) -> String {
    let shape = match word {
        "online" | "converged" | "done" | "connected" | "used" => '●',
        "applying" | "rolling" => '◐',
        "waiting" | "planned" | "draft" | "approved" => '◌',
        "drifted" | "standing" => '◆',
        "stale" | "blocked" | "unreachable" => '▲',
        "failed" => '■',
        "paused" => '‖',
        "reverted" => '↶',
        "aborted" => '×',
        "observing" => '◎',
        "ejected" => '⏏',
        _ => '○',
    };
    format!("{shape} {word}")
}

/// Returns the lines of a unified diff without its two heads. What comes later and looks like one is a line of the text.
pub(crate) fn diff_lines(diff: &str) -> impl Iterator<Item = &str> {
    diff.lines().skip_while(|line| line.starts_with("--- ") || line.starts_with("+++ "))
}

/// Prints a unified diff, coloured on a terminal.
pub(crate) fn diff(text: &str, indent: &str) {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let mut out = io::stdout().lock();
    for row in text.lines() {
        let row = clean(row);
        let sgr = match row.as_bytes().first() {
            Some(b'+') => 32,
            Some(b'-') => 31,
            Some(b'@') => 36,
            _ => 0,
        };
        let written = if colour && sgr != 0 {
            writeln!(out, "{indent}\x1b[{sgr}m{row}\x1b[0m")
        } else {
            writeln!(out, "{indent}{row}")
        };
        if written.is_err() {
            std::process::exit(0);
        }
    }
}

/// Returns the time of day.
#[expect(clippy::disallowed_methods, reason = "a command shows ages; nothing is decided by them")]
pub(crate) fn now() -> UnixMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixMs(since.map_or(0, |d| d.as_millis() as i64))
}

/// Returns how long ago a time is: `now`, `12 s ago`, `3 m ago`, `in 5 d`.
pub(crate) fn ago(time: Option<UnixMs>, now: UnixMs) -> String {
    let Some(time) = time else { return "–".into() };
    let ms = now.since(time);
    // What lies ahead is rounded, so that an hour from the start is not called 59 minutes.
    let secs = if ms < 0 { ms.unsigned_abs().div_ceil(1000) } else { ms.unsigned_abs() / 1000 };
    let amount = match secs {
        0..=1 => return "now".into(),
        2..=119 => format!("{secs} s"),
        120..=7199 => format!("{} m", secs / 60),
        7200..=172_799 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86_400),
    };
    if ms >= 0 { format!("{amount} ago") } else { format!("in {amount}") }
}

/// Returns a time to the second, for lists.
pub(crate) fn time(time: UnixMs) -> String {
    time.to_string().get(..19).map_or_else(|| time.to_string(), |t| format!("{}Z", t.replace('T', " ")))
}

/// Returns `1 node`, `2 nodes`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_sent_cannot_move_the_cursor_or_hide() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}c\td\n"), "a\\u{1b}[2Jb\\u{202e}c\td\n");
    }

    #[test]
    fn a_line_of_the_text_that_looks_like_a_head_is_shown() {
        let diff = "--- /etc/x\n+++ /etc/x\n@@ -0,0 +1,2 @@\n+first\n+++ second\n";
        assert_eq!(diff_lines(diff).collect::<Vec<_>>(), ["@@ -0,0 +1,2 @@", "+first", "+++ second"]);
        assert_eq!(diff_lines("@@ -1 +0,0 @@\n--- gone\n").count(), 2, "without heads");
    }

    #[test]
    fn json_says_the_same_without_what_a_terminal_obeys() {
        let said = serde_json::json!({"output": "a\u{9b}2Jb\u{202e}c\x1b[0m\n grün"});
        let text = escaped(&serde_json::to_string_pretty(&said).expect("is JSON"));
        assert!(!text.contains(['\u{9b}', '\u{202e}', '\x1b']), "{text}");
        assert!(text.contains("\\u009b") && text.contains("grün"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("is JSON"), said);
    }

    #[test]
    fn times_are_relative() {
        let now = UnixMs(10_000_000);
        for (ms, expected) in [(500, "now"), (45_000, "45 s ago"), (600_000, "10 m ago"), (-300_000, "in 5 m")] {
            assert_eq!(ago(Some(now.plus_ms(-ms)), now), expected);
        }
    }
}
