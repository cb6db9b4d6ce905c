//! A file that a template made, merged back into the template. Pure.
//!
//! The base is what the object said when the change by hand was found: the node's file came from that. Names stand for what
//! they stand for today. A node shows a file that holds secrets as a sketch, which is written as templates are.

use lampas_api::{AdoptRequest, DriftMerge, MergeKind, MergePart, MergeSide};
use lampas_render::merge::{self, Merge, Side, Why};
use lampas_shared::{
    desired::ContentHash,
    host::{Encoding, ManagedFile},
    object::Body,
    report::ObservedFile,
    template::{Source, Template},
};

use crate::compile::values::Values;

/// What a merge is made of.
pub(super) struct Sides<'a> {
    /// What the template said when the file was found otherwise.
    pub(super) base: &'a str,
    /// What it says.
    pub(super) ours: &'a str,
    /// What stands on the node, as a template.
    pub(super) theirs: String,
    /// The node's name.
    pub(super) node: &'a str,
}

/// A merged template.
#[derive(Debug)]
pub(super) struct Merged {
    /// Its text.
    pub(super) text: String,
    /// The lines in which the node's file becomes otherwise than it stands.
    pub(super) differs: u32,
}

/// Returns the template of a file, if one makes it.
pub(super) fn template(body: &Body) -> Option<&str> {
    match body {
        Body::File(file) if file.template => Some(&file.content),
        Body::Script(script) if script.template => Some(&script.content),
        _ => None,
    }
}

/// Returns the template in an object, to be written.
pub(super) fn template_mut(body: &mut Body) -> Option<&mut String> {
    match body {
        Body::File(file) if file.template => Some(&mut file.content),
        Body::Script(script) if script.template => Some(&mut script.content),
        _ => None,
    }
}

/// Says why a templated file can't be merged; the content is what the node told of it.
///
/// # Errors
/// With a sentence.
pub(super) fn theirs(body: &Body, observed: &ObservedFile, content: Option<&[u8]>) -> Result<String, String> {
    let Some(content) = content else {
        let has_secrets = template(body)
            .and_then(|text| Template::parse(text).ok())
            .is_some_and(|t| t.uses().any(|u| matches!(u.source, Source::Secret(_))));
        return Err(if has_secrets {
            "secrets are in it, and the node does not show it without them: its agent is too old for that, or it is no text; \
             make the change in its template, or revert it"
                .to_owned()
        } else {
            format!("it is larger than {} KiB, or the node does not show it", ObservedFile::MAX_BYTES >> 10)
        });
    };
    let text = std::str::from_utf8(content).ok().filter(|t| !t.contains('\0'));
    let text = text.ok_or_else(|| "it is no text, and a template makes nothing else".to_owned())?;
    // What is told with secrets in it has the hash of the file, under a key of the node's.
    let is_sketch = ContentHash::of(content) != observed.hash;
    Ok(if is_sketch { text.to_owned() } else { merge::plain(text) })
}

impl Sides<'_> {
    /// Merges.
    ///
    /// # Errors
    /// With a sentence that says why it can't be.
    pub(super) fn merge(&self, values: &Values) -> Result<Merge, String> {
        merge::merge(self.base, self.ours, &self.theirs, &|found| values.get(found))
    }

    /// Returns the merge as the API shows it.
    pub(super) fn shown(&self, merge: &Merge) -> DriftMerge {
        DriftMerge {
            id: self.id(),
            template: self.ours.to_owned(),
            marked: merge.marked(self.node),
            conflicts: merge.conflicts() as u32,
            parts: merge.parts.iter().map(part).collect(),
        }
    }

    /// Names what a merge was made of.
    fn id(&self) -> String {
        let mut bytes = Vec::new();
        for text in [self.base, self.ours, &self.theirs] {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        ContentHash::of(&bytes).to_string().chars().take(16).collect()
    }

    /// Decides about the conflicts as the request says, and compares the outcome with what stands on the node.
    ///
    /// # Errors
    /// With a sentence, and whether the merge moved since it was looked at.
    pub(super) fn decided(&self, merge: &Merge, values: &Values, request: &AdoptRequest) -> Result<Merged, Undecided> {
        if request.merge.as_ref().is_some_and(|seen| *seen != self.id()) {
            return Err(Undecided::Moved);
        }
        let refused = |why: String| Err(Undecided::Refused(why));
        let text = match (&request.content, request.conflicts) {
            (Some(_), Some(_)) => return refused("give either the merged text, or whose lines are taken".to_owned()),
            (Some(_), None) if request.merge.is_none() => {
                return refused("merge: say which merge the text was made from, by its id".to_owned());
            }
            (Some(text), None) => written(text).map_err(Undecided::Refused)?.to_owned(),
            (None, side) => {
                let side = side.map(|side| match side {
                    MergeSide::Template => Side::Template,
                    MergeSide::Node => Side::Node,
                });
                match merge.text(side) {
                    Some(text) => text,
                    None if side.is_some() => {
                        let why = "some of the node's lines hold secrets and are not shown, so that they can't be taken; keep the \
                                   template's there, or write them";
                        return refused(why.to_owned());
                    }
                    None => return Err(Undecided::Conflicts(merge.conflicts())),
                }
            }
        };
        let made = merge::rendered(&text, &|found| values.get(found)).map_err(Undecided::Refused)?;
        Ok(Merged { differs: differing(&self.theirs, &made), text })
    }

    /// Returns all templates whose names are looked up.
    pub(super) fn texts<'a>(&'a self, request: &'a AdoptRequest) -> impl Iterator<Item = &'a str> {
        [self.base, self.ours].into_iter().chain(request.content.as_deref())
    }
}

/// Why a merge isn't an object yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undecided {
    /// So many conflicts wait for somebody.
    Conflicts(usize),
    /// It isn't the merge that was looked at.
    Moved,
    /// It can't be.
    Refused(String),
}

/// Checks a text that somebody wrote.
fn written(text: &str) -> Result<&str, String> {
    for (line, number) in text.lines().zip(1..) {
        let is_mark = ["<<<<<<< ", ">>>>>>> "].iter().any(|mark| line.starts_with(mark)) || line == "=======";
        // Seven marks of equality alone are a heading's underline in some texts.
        if is_mark && (line != "=======" || text.contains("<<<<<<< template")) {
            return Err(format!("line {number} is the mark of a conflict; decide, and take the marks out"));
        }
        if merge::hides(line) {
            return Err(format!(
                "line {number} stands for lines that the node does not show; write them, or take it out"
            ));
        }
    }
    Template::parse(text).map_err(|e| e.to_string())?;
    Ok(text)
}

/// Counts the lines of both texts that the other one doesn't have there.
fn differing(a: &str, b: &str) -> u32 {
    let diff = similar::TextDiff::from_lines(a, b);
    diff.iter_all_changes().filter(|c| c.tag() != similar::ChangeTag::Equal).count() as u32
}

fn part(part: &merge::MergePart) -> MergePart {
    match part {
        merge::MergePart::Kept(text) => MergePart {
            kind: MergeKind::Kept,
            template: text.clone(),
            node: String::new(),
            why: String::new(),
            can_take_node: false,
        },
        merge::MergePart::Taken { template, node } => MergePart {
            kind: MergeKind::Taken,
            template: template.clone(),
            node: node.clone(),
            why: String::new(),
            can_take_node: true,
        },
        merge::MergePart::Conflict { template, node, why } => MergePart {
            kind: MergeKind::Conflict,
            template: template.clone(),
            node: node.clone(),
            why: match why {
                Why::Name => "names stand in the template's lines, and would be lost",
                Why::Hidden => "the node's lines may hold a secret and are not shown",
                Why::Both => "the template was changed here, too",
            }
            .to_owned(),
            can_take_node: !merge::hides(node),
        },
    }
}

/// Puts a merged text into an object.
pub(super) fn put(body: &mut Body, text: String) {
    if let Body::File(file) = body {
        file.encoding = Encoding::default();
    }
    if let Some(template) = template_mut(body) {
        *template = text;
    }
    debug_assert!(!matches!(body, Body::File(ManagedFile { template: false, .. })), "only templates are merged");
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "host={{fact.node}}\nport=1\n";

    fn sides(theirs: &str) -> Sides<'_> {
        Sides { base: BASE, ours: BASE, theirs: theirs.to_owned(), node: "web-1" }
    }

    fn decide(theirs: &str, request: &AdoptRequest) -> Result<(String, u32), Undecided> {
        let sides = sides(theirs);
        let merge = sides.merge(&Values::of_node("web-1")).expect("merges");
        sides.decided(&merge, &Values::of_node("web-1"), request).map(|m| (m.text, m.differs))
    }

    #[test]
    fn conflicts_wait_for_a_decision_and_what_becomes_otherwise_is_counted() {
        let ask = AdoptRequest::default();
        assert_eq!(decide("host=web-1\nport=2\n", &ask), Ok(("host={{fact.node}}\nport=2\n".to_owned(), 0)));
        let edited = "host=db\nport=2\n";
        assert_eq!(decide(edited, &ask), Err(Undecided::Conflicts(1)));
        let template = AdoptRequest { conflicts: Some(MergeSide::Template), ..AdoptRequest::default() };
        assert_eq!(decide(edited, &template), Ok(("host={{fact.node}}\nport=2\n".to_owned(), 2)));
        let node = AdoptRequest { conflicts: Some(MergeSide::Node), ..AdoptRequest::default() };
        assert_eq!(decide(edited, &node), Ok((edited.to_owned(), 0)));
        assert!(matches!(decide("{{hidden}}\n", &node), Err(Undecided::Refused(why)) if why.contains("secrets")));
    }

    #[test]
    fn a_written_text_belongs_to_one_merge_and_holds_no_marks() {
        let id = sides("host=db\nport=1\n").id();
        let ask = |content: &str, merge: Option<&str>| AdoptRequest {
            content: Some(content.to_owned()),
            merge: merge.map(str::to_owned),
            ..AdoptRequest::default()
        };
        let decide = |request: &AdoptRequest| decide("host=db\nport=1\n", request);
        assert_eq!(
            decide(&ask("host={{fact.node}}.db\nport=1\n", Some(&id))),
            Ok(("host={{fact.node}}.db\nport=1\n".to_owned(), 2))
        );
        let refused = |content: &str, part: &str| {
            let error = decide(&ask(content, Some(&id))).expect_err(content);
            assert!(matches!(&error, Undecided::Refused(why) if why.contains(part)), "{error:?}");
        };
        refused("<<<<<<< template\na\n=======\n>>>>>>> web-1\n", "line 1 is the mark");
        refused("a\n{{hidden}}\n", "line 2 stands for");
        refused("{{oops}}\n", "line 1 of the template");
        assert_eq!(decide(&ask("a\n", Some("another"))), Err(Undecided::Moved));
        assert!(matches!(decide(&ask("a\n", None)), Err(Undecided::Refused(why)) if why.contains("by its id")));
    }

    #[test]
    fn what_the_node_told_is_a_sketch_or_bytes() {
        let spec = |content: &str| -> Body {
            serde_json::from_value(
                serde_json::json!({"kind": "file", "path": "/etc/a", "content": content, "template": true}),
            )
            .expect("a body")
        };
        let observed = |content: &[u8]| ObservedFile {
            content: None,
            hash: ContentHash::of(content),
            owner: "root".to_owned(),
            group: "root".to_owned(),
            mode: lampas_shared::host::FileMode::new(0o644).expect("a mode"),
            modified_at: lampas_shared::time::UnixMs(1),
            is_writable_by_others: false,
        };
        let plain = b"a={{b}}\n";
        let body = spec("a\n");
        assert_eq!(theirs(&body, &observed(plain), Some(plain)), Ok("a={{{{b}}\n".to_owned()));
        let sketch = b"a={{secret.b}}\n";
        assert_eq!(theirs(&body, &observed(b"a=hunter2\n"), Some(sketch)), Ok("a={{secret.b}}\n".to_owned()));
        assert!(theirs(&spec("{{secret.b}}\n"), &observed(b""), None).is_err_and(|why| why.contains("too old")));
        assert!(theirs(&body, &observed(b"\xff"), Some(b"\xff")).is_err_and(|why| why.contains("no text")));
    }
}
