//! What messages say: a letter of lines, lists and output, as text and as HTML.
//!
//! Whatever comes from nodes, manifests or people is cleaned here once: nothing in a mail turns text round, hides it, or
//! ends a header.

use std::fmt::Write as _;

use lampas_shared::deceptive_char;

/// The longest subject.
const SUBJECT: usize = 140;
/// The longest line of a letter, except of output.
const LINE: usize = 500;
/// The most of a program's output that is quoted: its end.
const OUTPUT: usize = 4 << 10;

/// A message before it is put into a form.
#[derive(Debug, Clone, Default)]
pub(super) struct Letter {
    subject: String,
    blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
enum Block {
    Line(String),
    List(String, Vec<String>),
    Output(String, String),
    Link(String, String),
}

impl Letter {
    /// Begins a letter.
    pub(super) fn new(subject: &str) -> Self {
        let mut subject = line(subject);
        if subject.chars().count() > SUBJECT {
            subject = subject.chars().take(SUBJECT - 1).chain(['…']).collect();
        }
        Self { subject, blocks: Vec::new() }
    }

    /// Adds a paragraph of one line; an empty one adds nothing.
    pub(super) fn line(mut self, text: &str) -> Self {
        if !text.trim().is_empty() {
            self.blocks.push(Block::Line(line(text)));
        }
        self
    }

    /// Adds a list under a head; an empty one adds nothing.
    pub(super) fn list(mut self, head: &str, items: &[String]) -> Self {
        if !items.is_empty() {
            self.blocks.push(Block::List(line(head), items.iter().map(|i| line(i)).collect()));
        }
        self
    }

    /// Adds what a program wrote: the end of it, if it is long.
    pub(super) fn output(mut self, head: &str, text: &str) -> Self {
        if !text.trim().is_empty() {
            self.blocks.push(Block::Output(line(head), output(text)));
        }
        self
    }

    /// Adds a link to a page.
    pub(super) fn link(mut self, label: &str, url: &str) -> Self {
        self.blocks.push(Block::Link(line(label), line(url)));
        self
    }

    /// Returns the subject: one line.
    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the letter as plain text.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for block in &self.blocks {
            match block {
                Block::Line(text) => writeln!(out, "{text}\n"),
                Block::List(head, items) => {
                    let items: Vec<String> = items.iter().map(|i| format!("  - {i}\n")).collect();
                    writeln!(out, "{head}\n{}", items.concat())
                }
                Block::Output(head, text) => {
                    let lines: Vec<String> = text.lines().map(|l| format!("    {l}\n")).collect();
                    writeln!(out, "{head}\n{}", lines.concat())
                }
                Block::Link(label, url) => writeln!(out, "{label}:\n{url}\n"),
            }
            .expect("writing to a string");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }

    /// Returns the letter as HTML, without anything that is fetched.
    pub(super) fn html(&self) -> String {
        let mut out = String::from(
            "<!doctype html><html lang=\"en\"><body style=\"font-family:system-ui,sans-serif;font-size:14px;line-height:1.5\">",
        );
        for block in &self.blocks {
            match block {
                Block::Line(text) => write!(out, "<p>{}</p>", escape(text)),
                Block::List(head, items) => {
                    let items: Vec<String> = items.iter().map(|i| format!("<li>{}</li>", escape(i))).collect();
                    write!(
                        out,
                        "<p style=\"margin-bottom:4px\"><b>{}</b></p><ul style=\"margin-top:0\">{}</ul>",
                        escape(head),
                        items.concat()
                    )
                }
                Block::Output(head, text) => write!(
                    out,
                    "<p style=\"margin-bottom:4px\"><b>{}</b></p><pre style=\"margin-top:0;padding:8px;\
                     border:1px solid #ccc;white-space:pre-wrap\">{}</pre>",
                    escape(head),
                    escape(text)
                ),
                Block::Link(label, url) => {
                    write!(out, "<p><a href=\"{}\">{}</a></p>", escape(url), escape(label))
                }
            }
            .expect("writing to a string");
        }
        out.push_str("</body></html>\n");
        out
    }
}

/// Makes one line of any text: what can't be seen is shown as U+FFFD, ends of lines are blanks.
pub(super) fn line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { seen(c) }).collect();
    let mut clean = clean.trim().to_owned();
    if clean.chars().count() > LINE {
        clean = clean.chars().take(LINE - 1).chain(['…']).collect();
    }
    clean
}

/// Cleans output, whose lines stay; of a long one the end is kept.
fn output(text: &str) -> String {
    let mut from = text.len().saturating_sub(OUTPUT);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let clean = text[from..].replace("\r\n", "\n");
    let clean: String = clean.chars().map(|c| if c == '\n' { '\n' } else { seen(c) }).collect();
    let clean = clean.trim_end();
    if from > 0 { format!("… {from} bytes before this are on the page …\n{clean}") } else { clean.to_owned() }
}

fn seen(c: char) -> char {
    let mut buffer = [0; 4];
    if deceptive_char(c.encode_utf8(&mut buffer)).is_some() { '\u{fffd}' } else { c }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_line_hides_or_becomes_markup() {
        let letter = Letter::new("a\r\nBcc: eve@example.com\u{202e}x")
            .line("<b>&\"'\r\nsecond")
            .list("head\n", &["one\ntwo".into(), String::new()])
            .output("said", "first\r\n\u{1b}[31mred\u{200b}\n</pre><script>")
            .link("the page", "https://x/\"><script>");
        assert_eq!(letter.subject(), "a  Bcc: eve@example.com\u{fffd}x");
        let (text, html) = (letter.text(), letter.html());
        assert!(text.contains("<b>&\"'  second\n"), "{text}");
        assert!(text.contains("    first\n    \u{fffd}[31mred\u{fffd}\n    </pre><script>\n"), "{text}");
        assert!(!html.contains("<script") && !html.contains("<b>&"), "{html}");
        assert!(html.contains("&lt;/pre&gt;&lt;script&gt;") && html.contains("https://x/&quot;&gt;"), "{html}");
        assert!(!text.contains('\r') && !html.contains('\r'));
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        assert_eq!(Letter::new(&"ä".repeat(500)).subject().chars().count(), SUBJECT);
        let letter = Letter::new("x").output("said", &format!("{}\nthe end\n", "ü".repeat(5000)));
        let text = letter.text();
        assert!(text.contains("bytes before this are on the page") && text.contains("the end"), "{text}");
        assert!(text.len() < OUTPUT + 200, "{}", text.len());
        assert_eq!(Letter::new("x").line(" \n").list("none", &[]).output("none", "\n").text(), "\n");
    }
}
