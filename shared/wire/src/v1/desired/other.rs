//! Kinds that are younger than the layout of states: each has a word and a layout of its own, so that an agent that doesn't
//! know one takes the rest of the state and answers that resource with `Blocked`.

use lampas_shared::{
    TextError,
    desired::{self, ContentHash},
    host::{self, Aspect, CheckCommand, FileMode, GroupName, Reaction, SysctlKey, UnitName, UserName, Validator},
    object::{self, ObjectName},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    AptPart, Bytes, Extended, Kind, Spec, Sudoers, Sysctl, Text, Unit, UnitPart, account, content_from_wire, package,
    sealed, spec_from_wire,
};
use crate::{codec, message::Kind as FrameKind};

/// The longest body: a content that rides along, and what stands around it.
const MAX_BODY: usize = 64 << 10;

/// The word of what an older agent knows only without its reactions and its check: such an agent must not write it.
const EXTENDED: &str = "file with on_change or validate";

/// The word of an account's password that shall let nobody in; the name says whose.
const LOCKED: &str = "locked_password";

/// Returns whether a resource's kind is younger than the layout, or it says more than that has room for.
pub(super) fn is(resource: &desired::Resource) -> bool {
    is_extended(resource) || is_kind(resource) || matches!(resource.spec, desired::Spec::Sealed(_))
}

fn is_kind(resource: &desired::Resource) -> bool {
    matches!(
        resource.kind,
        object::Kind::Service
            | object::Kind::Sudoers
            | object::Kind::Sysctl
            | object::Kind::User
            | object::Kind::Group
            | object::Kind::Package
            | object::Kind::AptSource
            | object::Kind::Unsupported
    )
}

/// Returns what stands on the wire for such a resource.
pub(super) fn to_wire(resource: &desired::Resource) -> Option<Spec> {
    if let desired::Spec::Sealed(found) = &resource.spec {
        let hash = *resource.compute_hash().as_bytes();
        let kind = sealed::word(resource.kind).into();
        return Some(Spec::Other { kind, hash, body: body(&sealed::to_wire(found, &resource.on_change)) });
    }
    let on_change = || resource.on_change.iter().map(|r| Text(r.to_string())).collect();
    if is_extended(resource) && !is_kind(resource) {
        let check = match &resource.spec {
            desired::Spec::File { validate: Some(Validator::Command(command)), .. } => command.words(),
            _ => &[],
        };
        let check = check.iter().map(|word| word.as_str().into()).collect();
        let spec = (&resource.spec).into();
        let body = body(&Extended { kind: resource.kind.into(), spec, on_change: on_change(), check });
        let hash = *resource.compute_hash().as_bytes();
        return Some(Spec::Other { kind: EXTENDED.into(), hash, body });
    }
    let body = match (resource.kind, &resource.spec) {
        (object::Kind::Service, spec) => {
            let (name, part) = unit_part(spec)?;
            body(&Unit { name: name.as_str().into(), part, on_change: on_change() })
        }
        (object::Kind::User, desired::Spec::Password { .. }) => {
            let hash = *resource.compute_hash().as_bytes();
            return Some(Spec::Other { kind: LOCKED.into(), hash, body: Bytes(Vec::new()) });
        }
        (object::Kind::Package, spec) if !resource.on_change.is_empty() => {
            let hash = *resource.compute_hash().as_bytes();
            let body = body(&package::followed(spec, on_change())?);
            return Some(Spec::Other { kind: package::FOLLOWED.into(), hash, body });
        }
        (object::Kind::User, spec) => body(&account::user_to_wire(spec)?),
        (object::Kind::Group, spec) => body(&account::group_to_wire(spec)?),
        (object::Kind::Package, spec) => body(&package::to_wire(spec)?),
        (object::Kind::AptSource, desired::Spec::File { path, content, .. }) => {
            let content = content.into();
            body(&if host::AptSource::is_key_path(path.as_str()) {
                AptPart::Key { content, is_armored: path.as_str().strip_suffix(".asc").is_some() }
            } else {
                AptPart::List(content)
            })
        }
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

fn is_extended(resource: &desired::Resource) -> bool {
    let has_command = matches!(&resource.spec, desired::Spec::File { validate: Some(Validator::Command(_)), .. });
    has_command || !resource.on_change.is_empty()
}

/// Returns the unit of a part of it: of a file by its path.
fn unit_part(spec: &desired::Spec) -> Option<(UnitName, UnitPart)> {
    match spec {
        desired::Spec::Unit { unit, aspect, is_so } => {
            let part = match aspect {
                Aspect::Masked => UnitPart::Masked(*is_so),
                Aspect::Enabled => UnitPart::Enabled(*is_so),
                Aspect::Running => UnitPart::Running(*is_so),
            };
            Some((unit.clone(), part))
        }
        desired::Spec::File { path, content, .. } => {
            let rest = path.as_str().rsplit_once("/system/")?.1;
            let part = |unit: &str| UnitName::parse(unit).ok();
            match rest.split_once(".d/") {
                Some((unit, _)) => Some((part(unit)?, UnitPart::Override(content.into()))),
                None => Some((part(rest)?, UnitPart::File(content.into()))),
            }
        }
        _ => None,
    }
}

fn reactions(texts: Vec<Text>) -> Result<Vec<Reaction>, TextError> {
    super::super::bounded_list("on_change", texts.len(), 64)?;
    let reactions = texts.into_iter().map(|t| t.0.parse()).collect::<Result<Vec<Reaction>, _>>()?;
    Reaction::check_all(&reactions)?;
    Ok(reactions)
}

fn service_from_wire(unit: Unit) -> Result<(object::Kind, desired::Spec, Vec<Reaction>), TextError> {
    let name = UnitName::parse(unit.name.0)?;
    let aspect = |aspect, is_so| desired::Spec::Unit { unit: name.clone(), aspect, is_so };
    let file = |path, content| {
        Ok::<_, TextError>(desired::Spec::File {
            path,
            content: content_from_wire(content)?,
            owner: UserName::root(),
            group: GroupName::root(),
            mode: FileMode::new(0o644)?,
            validate: None,
        })
    };
    let spec = match unit.part {
        UnitPart::File(content) => file(name.file_path()?, content)?,
        UnitPart::Override(content) => file(name.override_path()?, content)?,
        UnitPart::Masked(is_so) => aspect(Aspect::Masked, is_so),
        UnitPart::Enabled(is_so) => aspect(Aspect::Enabled, is_so),
        UnitPart::Running(is_so) => aspect(Aspect::Running, is_so),
    };
    Ok((object::Kind::Service, spec, reactions(unit.on_change)?))
}

fn extended_from_wire(
    extended: Extended,
    name: &ObjectName,
) -> Result<(object::Kind, desired::Spec, Vec<Reaction>), TextError> {
    let kind = match extended.kind {
        kind @ (Kind::File | Kind::Script | Kind::Link) => object::Kind::from(kind),
        kind => return Err(TextError::new("kind", object::Kind::from(kind).as_str(), "has no on_change and no check")),
    };
    let mut spec = spec_from_wire(extended.spec, name)?;
    if !extended.check.is_empty() {
        super::super::bounded_list("validate", extended.check.len(), 64)?;
        let command = CheckCommand::new(extended.check.into_iter().map(|word| word.0).collect())?;
        match &mut spec {
            desired::Spec::File { validate, .. } => *validate = Some(Validator::Command(command)),
            _ => return Err(TextError::new("validate", kind.as_str(), "has no content to check")),
        }
    }
    Ok((kind, spec, reactions(extended.on_change)?))
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
) -> Result<(object::Kind, desired::Spec, Vec<Reaction>), TextError> {
    super::super::bounded("kind", &word, 64)?;
    if body.len() > MAX_BODY {
        return Err(TextError::new("body", &body.len().to_string(), format!("at most {MAX_BODY} bytes are allowed")));
    }
    if let Some(kind) = sealed::kind_of(&word) {
        let (spec, on_change) = sealed::from_wire(kind, read(&word, body)?, name)?;
        return Ok((kind, spec, on_change));
    }
    Ok(match word.as_str() {
        EXTENDED => extended_from_wire(read(&word, body)?, name)?,
        "service" => service_from_wire(read(&word, body)?)?,
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
            (object::Kind::Sudoers, spec, Vec::new())
        }
        "apt_source" => {
            let (path, content) = match read(&word, body)? {
                AptPart::List(content) => (host::AptSource::list_path(name.as_str())?, content),
                AptPart::Key { content, is_armored } => {
                    (host::AptSource::key_path_of(name.as_str(), is_armored)?, content)
                }
            };
            let (owner, group, mode) = (UserName::root(), GroupName::root(), FileMode::new(0o644)?);
            let content = content_from_wire(content)?;
            let spec = desired::Spec::File { path, content, owner, group, mode, validate: None };
            (object::Kind::AptSource, spec, Vec::new())
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
            (object::Kind::Sysctl, spec, Vec::new())
        }
        "user" => {
            let (kind, spec) = account::user_from_wire(read(&word, body)?, name)?;
            (kind, spec, Vec::new())
        }
        "group" => {
            let (kind, spec) = account::group_from_wire(read(&word, body)?, name)?;
            (kind, spec, Vec::new())
        }
        LOCKED => {
            let user = host::User::name_of(name.as_str())?;
            let spec = desired::Spec::Password { user, want: host::PasswordWant::Locked };
            (object::Kind::User, spec, Vec::new())
        }
        package::FOLLOWED => {
            let (kind, spec, on_change) = package::followed_from_wire(read(&word, body)?, name)?;
            (kind, spec, reactions(on_change)?)
        }
        "package" => {
            let (kind, spec) = package::from_wire(read(&word, body)?, name)?;
            (kind, spec, Vec::new())
        }
        _ => {
            let hash = ContentHash::from_bytes(hash);
            (object::Kind::Unsupported, desired::Spec::Unsupported { kind: word, hash }, Vec::new())
        }
    })
}

fn read<T: DeserializeOwned>(word: &str, body: &[u8]) -> Result<T, TextError> {
    codec::from_body(FrameKind::Desired, body).map_err(|error| TextError::new("body", word, error.to_string()))
}
