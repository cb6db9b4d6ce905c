//! The output of an operation as it comes, line by line.

use std::collections::BTreeMap;

use lampas_api::{Operation, OperationNode, OperationOutput, OutputPiece};
use lampas_shared::{id::RunId, operation::OutputStream};

use crate::{
    command::{CommandError, waiter::Waiter},
    output,
};

/// How long one call waits for news.
const WAIT_SECS: &str = "20";

/// What is printed while an operation is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Lines,
    Nothing,
}

/// Follows the output until nothing more comes.
pub(super) async fn follow(
    waiter: &mut Waiter<'_>,
    operation: &Operation,
    nodes: &[OperationNode],
    only: Option<RunId>,
    shown: Shown,
) -> Result<(), CommandError> {
    let names: BTreeMap<RunId, &str> = nodes.iter().map(|n| (n.run, n.node.name.as_str())).collect();
    let width = names.values().map(|n| n.chars().count()).max().unwrap_or(0);
    let mut lines = Lines { names, width: if only.is_some() { 0 } else { width }, open: BTreeMap::new() };
    let path = format!("/operations/{}/output", operation.summary.id);
    let run = only.map(|r| r.to_string());
    let (mut after, mut seen) = (0_u64, None::<u64>);
    loop {
        let (after_text, seen_text) = (after.to_string(), seen.map(|s| s.to_string()));
        let query = [
            ("after", Some(after_text.as_str())),
            ("run", run.as_deref()),
            ("wait", Some(WAIT_SECS)),
            ("seen", seen_text.as_deref()),
        ];
        let answer: OperationOutput = waiter.get(&path, &query).await?;
        if shown == Shown::Lines {
            answer.pieces.iter().for_each(|piece| lines.take(piece));
        }
        let is_idle = answer.pieces.is_empty();
        after = answer.next;
        seen = Some(answer.seen);
        if answer.is_complete && is_idle {
            if shown == Shown::Lines {
                lines.finish();
            }
            return Ok(());
        }
    }
}

/// Lines of many nodes: each is printed when it is whole, with the node's name before it.
struct Lines<'a> {
    names: BTreeMap<RunId, &'a str>,
    width: usize,
    open: BTreeMap<RunId, Open>,
}

/// What a node has written of a line, per stream, and up to where it was heard.
#[derive(Default)]
struct Open {
    at: u64,
    partial: BTreeMap<OutputStream, Vec<u8>>,
}

impl Lines<'_> {
    fn take(&mut self, piece: &OutputPiece) {
        let Some(bytes) = decode(&piece.data) else { return };
        let at = self.open.entry(piece.run).or_default().at;
        if piece.start > at {
            self.print(piece.run, OutputStream::Agent, &format!("… {} bytes are left out here …", piece.start - at));
        }
        let open = self.open.entry(piece.run).or_default();
        open.at = piece.start + bytes.len() as u64;
        let partial = open.partial.entry(piece.stream).or_default();
        partial.extend_from_slice(&bytes);
        let mut whole = Vec::new();
        while let Some(end) = partial.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = partial.drain(..=end).collect();
            whole.push(String::from_utf8_lossy(&line).into_owned());
        }
        // A line without an end must not fill the memory.
        if partial.len() > 64 << 10 {
            whole.push(String::from_utf8_lossy(&std::mem::take(partial)).into_owned());
        }
        for line in whole {
            self.print(piece.run, piece.stream, &line);
        }
    }

    fn finish(&mut self) {
        for (run, open) in std::mem::take(&mut self.open) {
            for (stream, partial) in open.partial {
                if !partial.is_empty() {
                    self.print(run, stream, &String::from_utf8_lossy(&partial));
                }
            }
        }
    }

    fn print(&self, run: RunId, stream: OutputStream, line: &str) {
        let text = plain(line);
        if self.width == 0 {
            output::line(text);
            return;
        }
        let name = self.names.get(&run).copied().unwrap_or("?");
        let mark = match stream {
            OutputStream::Stdout => '│',
            OutputStream::Stderr => '┆',
            OutputStream::Agent => '·',
        };
        output::line(format!("{name:<width$} {mark} {text}", width = self.width));
    }
}

fn decode(data: &str) -> Option<Vec<u8>> {
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).ok()
}

/// Takes terminal sequences and the end of the line out; of what a carriage return overwrote the last stays.
pub(super) fn plain(line: &str) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    let line = line.rsplit('\r').next().unwrap_or_default();
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            out.push(c);
            continue;
        }
        match chars.next() {
            // CSI: parameters, then one final byte (ECMA-48, 5.4).
            Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
            // OSC: to its terminator.
            Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_of_a_node_do_not_reach_the_terminal() {
        for (line, expected) in [
            ("\u{1b}[31mred\u{1b}[0m\n", "red"),
            ("10%\r50%\r100%\n", "100%"),
            ("a\u{1b}]0;title\u{7}b", "ab"),
            ("dos\r\n", "dos"),
            ("cut \u{1b}[3", "cut "),
        ] {
            assert_eq!(plain(line), expected, "{line:?}");
        }
    }
}
