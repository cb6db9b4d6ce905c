//! What names in templates stand for on one node. Pure.
//!
//! A name goes by the same precedence as everything else; so each is put into a file of its own for that node, and what the
//! compiler makes of it is read.

use std::collections::{BTreeMap, BTreeSet};

use lampas_shared::{
    desired::{Provenance, Spec},
    fleet::Scope,
    host::{Encoding, FileMode, GroupName, ManagedFile, ManagedPath, UserName},
    id::ObjectId,
    object::{Body, DriftPolicy, ObjectName, ObjectSpec},
    template::{Escape, Part, Sealed, Source, Template, Use},
};
use uuid::Uuid;

use super::{Compiled, NodeInput, ObjectInput, compile};

/// What names stand for on a node.
#[derive(Debug, Default)]
pub(crate) struct Values(BTreeMap<(Source, Escape), Result<Part, String>>);

impl Values {
    /// Looks up the names in these templates.
    pub(crate) fn on<'a>(
        node: &NodeInput,
        objects: impl Iterator<Item = ObjectInput>,
        templates: impl Iterator<Item = &'a str>,
        provenance: &Provenance,
    ) -> Self {
        let read = templates.filter_map(|text| Template::parse(text).ok());
        let uses: BTreeSet<(Source, Escape)> =
            read.flat_map(|t| t.uses().map(|u| (u.source.clone(), u.escape)).collect::<Vec<_>>()).collect();
        // Ids of this form are drawn by nobody: they hold neither a time nor a version.
        let id = |index: usize| ObjectId::from_uuid(Uuid::from_u128(index as u128 + 1));
        let asked = uses.iter().enumerate().map(|(index, (source, escape))| ObjectInput {
            id: id(index),
            spec: file(node, index, source, *escape).into(),
            provenance: provenance.clone(),
        });
        let objects: Vec<ObjectInput> = objects.chain(asked).collect();
        let compiled = compile(std::slice::from_ref(node), &objects);
        let found = uses.into_iter().enumerate().map(|(index, name)| (name, read_back(&compiled, node, id(index))));
        Self(found.collect())
    }

    /// Knows the node's name and nothing else.
    #[cfg(test)]
    pub(crate) fn of_node(name: &str) -> Self {
        let found = (Source::Fact(lampas_shared::template::Fact::Node), Escape::Raw);
        Self(BTreeMap::from([(found, Ok(Part::Text(name.to_owned())))]))
    }

    /// Returns what a name stands for.
    ///
    /// # Errors
    /// When it stands for nothing on this node.
    pub(crate) fn get(&self, found: &Use) -> Result<Part, String> {
        let value = self.0.get(&(found.source.clone(), found.escape));
        value.cloned().unwrap_or_else(|| Err(format!("{} was not looked up", found.source)))
    }
}

/// A file that holds nothing but the name.
fn file(node: &NodeInput, index: usize, source: &Source, escape: Escape) -> ObjectSpec {
    let how = match escape {
        Escape::Raw => "raw",
        Escape::Shell => "shell",
        Escape::Quoted => "json",
        Escape::Base64 => "base64",
    };
    let name = format!("value-{index}");
    ObjectSpec {
        name: ObjectName::parse(name.as_str()).expect("a word and a number are a name"),
        scope: Scope::Node(node.name.clone()),
        drift: DriftPolicy::default(),
        body: Body::File(ManagedFile {
            path: ManagedPath::parse(format!("/{name}/of/a/template")).expect("words are a path"),
            content: format!("{{{{{source} | {how}}}}}"),
            encoding: Encoding::default(),
            template: true,
            owner: UserName::root(),
            group: GroupName::root(),
            mode: FileMode::new(0o600).expect("a mode"),
            validate: None,
            on_change: Vec::new(),
        }),
    }
}

fn read_back(compiled: &Compiled, node: &NodeInput, id: ObjectId) -> Result<Part, String> {
    let nothing = || "it stands for nothing on this node".to_owned();
    let class = compiled.class(node.id).ok_or_else(nothing)?;
    let resource = class.resources.iter().find(|r| r.object == id).ok_or_else(nothing)?;
    match &resource.spec {
        Spec::File { content, .. } => {
            let bytes = content.inline.clone().or_else(|| compiled.blob(node.id, content.hash)).ok_or_else(nothing)?;
            Ok(Part::Text(String::from_utf8(bytes).map_err(|_| "its value is no text".to_owned())?))
        }
        Spec::Sealed(Sealed { fault: Some(why), .. }) => Err(why.clone()),
        Spec::Sealed(sealed) => match sealed.texts.get(Sealed::CONTENT).map(Vec::as_slice) {
            Some([part]) => Ok(part.clone()),
            _ => Err(nothing()),
        },
        _ => Err(nothing()),
    }
}

#[cfg(test)]
mod tests {
    use lampas_shared::{fleet::NodeName, id::NodeId, time::UnixMs};

    use super::*;

    fn object(id: u128, json: serde_json::Value) -> ObjectInput {
        let spec: ObjectSpec = serde_json::from_value(json).expect("a spec");
        ObjectInput { id: ObjectId::from_uuid(Uuid::from_u128(id << 64)), spec: spec.into(), provenance: provenance() }
    }

    fn provenance() -> Provenance {
        Provenance {
            revision: 1,
            author: "ann".to_owned(),
            at: UnixMs(0),
            reason: String::new(),
            change: 1,
            approval: lampas_shared::desired::Approval::default(),
        }
    }

    #[test]
    fn names_go_by_precedence_and_secrets_by_reference() {
        let value = "0190a000-0000-7000-8000-000000000001";
        let objects = [
            object(1, serde_json::json!({"name": "host", "scope": "fleet", "body": {"kind": "var", "value": "db-0"}})),
            object(
                2,
                serde_json::json!({"name": "host", "scope": "node:web-1", "body": {"kind": "var", "value": "db 1"}}),
            ),
            object(3, serde_json::json!({"name": "pw", "scope": "fleet", "body": {"kind": "secret", "value": value}})),
        ];
        let node = NodeInput {
            id: NodeId::from_uuid(Uuid::from_u128(7)),
            name: NodeName::parse("web-1").expect("a name"),
            roles: BTreeSet::new(),
            labels: lampas_shared::fleet::Labels::default(),
            address: None,
            facts: super::super::StableFacts::default(),
        };
        let text = "{{var.host}} {{var.host | shell}} {{secret.pw}} {{fact.node}} {{var.none}} {{fact.address}}";
        let values = Values::on(&node, objects.into_iter(), std::iter::once(text), &provenance());
        let template = Template::parse(text).expect("a template");
        let got: Vec<_> = template.uses().map(|u| values.get(u).map(|part| part.source())).collect();
        let text = |text: &str| Ok(text.to_owned());
        assert_eq!(got[..4], [text("db 1"), text("'db 1'"), text("{{secret.pw}}"), text("web-1")]);
        assert!(got[4].as_ref().is_err_and(|why| why.contains("there is no var none")), "{got:?}");
        assert!(got[5].as_ref().is_err_and(|why| why.contains("no address")), "{got:?}");
    }
}
