//! Kinds that are younger than the layout of states: each has a word and a layout of its own, so that an agent that doesn't
//! know one takes the rest of the state and answers that resource with `Blocked`.

use lampas_shared::{
    TextError,
    desired::{self, ContentHash},
    host::{self, FileMode, GroupName, SysctlKey, UserName, Validator},
    object::{self, ObjectName},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Bytes, Spec, Sudoers, Sysctl, content_from_wire};
use crate::{codec, message::Kind as FrameKind};

/// The longest body: a content that rides along, and what stands around it.
const MAX_BODY: usize = 64 << 10;

/// Returns whether a resource's kind is younger than the layout.
pub(super) fn is(resource: &desired::Resource) -> bool {
    matches!(resource.kind, object::Kind::Sudoers | object::Kind::Sysctl | object::Kind::Unsupported)
}

/// Returns what stands on the wire for such a resource.
pub(super) fn to_wire(resource: &desired::Resource) -> Option<Spec> {
    let body = match (resource.kind, &resource.spec) {
        (object::Kind::Sudoers, desired::Spec::File { content, .. }) => body(&Sudoers { content: content.into() }),
        (object::Kind::Sysctl, desired::Spec::Kernel { key, value }) => {
            body(&Sysctl { key: key.as_str().into(), value: value.as_str().into(), is_file: false })
        }
        // A line is always short enough to ride along.
        (object::Kind::Sysctl, desired::Spec::File { content, .. }) => {
            let line = String::from_utf8_lossy(content.inline.as_deref().unwrap_or_default()).into_owned();
            let (key, value) = line.split_once('=').unwrap_or((&line, ""));
            body(&Sysctl { key: key.trim().into(), value: value.trim().into(), is_file: true })
        }
        _ => return None,
    };
    let hash = *resource.compute_hash().as_bytes();
    Some(Spec::Other { kind: resource.kind.as_str().into(), hash, body })
}

fn body<T: Serialize>(value: &T) -> Bytes {
    let bytes = codec::to_body(FrameKind::Desired, value);
    Bytes(bytes.expect("numbers, texts and lists can all be encoded"))
}

/// Reads such a resource, through the parsers and checks of its kind. What isn't known is kept as such.
pub(super) fn from_wire(
    word: String,
    hash: [u8; 32],
    body: &[u8],
    name: &ObjectName,
) -> Result<(object::Kind, desired::Spec), TextError> {
    super::super::bounded("kind", &word, 64)?;
    if body.len() > MAX_BODY {
        return Err(TextError::new("body", &body.len().to_string(), format!("at most {MAX_BODY} bytes are allowed")));
    }
    Ok(match word.as_str() {
        "sudoers" => {
            let Sudoers { content } = read(&word, body)?;
            let spec = desired::Spec::File {
                path: host::Sudoers::path_for(name.as_str())?,
                content: content_from_wire(content)?,
                owner: UserName::root(),
                group: GroupName::root(),
                mode: FileMode::new(0o440)?,
                validate: Some(Validator::Sudoers),
            };
            (object::Kind::Sudoers, spec)
        }
        "sysctl" => {
            let Sysctl { key, value, is_file } = read(&word, body)?;
            let sysctl = host::Sysctl { key: SysctlKey::parse(key.0)?, value: value.0 };
            sysctl.check(name.as_str())?;
            let spec = if is_file {
                desired::Spec::File {
                    path: host::Sysctl::path_for(name.as_str())?,
                    content: desired::Content::of(sysctl.line().as_bytes()),
                    owner: UserName::root(),
                    group: GroupName::root(),
                    mode: FileMode::new(0o644)?,
                    validate: None,
                }
            } else {
                desired::Spec::Kernel { value: sysctl.plain_value(), key: sysctl.key }
            };
            (object::Kind::Sysctl, spec)
        }
        _ => {
            let hash = ContentHash::from_bytes(hash);
            (object::Kind::Unsupported, desired::Spec::Unsupported { kind: word, hash })
        }
    })
}

fn read<T: DeserializeOwned>(word: &str, body: &[u8]) -> Result<T, TextError> {
    codec::from_body(FrameKind::Desired, body).map_err(|error| TextError::new("body", word, error.to_string()))
}
