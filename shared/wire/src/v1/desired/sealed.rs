//! Files, jobs and passwords with secrets in them: texts with references to values, which travel apart from the state.

use std::collections::BTreeMap;

use lampas_shared::{
    TextError,
    desired::{self, Content, ContentHash},
    host::{
        CheckCommand, EnvName, FileMode, GroupName, ManagedPath, PasswordWant, Reaction, User, UserName, Validator,
    },
    id::SecretValueId,
    object::{Kind, ObjectName},
    template::{self, Escape},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CronJob, Text, cron_from_wire};

/// The most parts of one text; a template of the greatest length holds fewer names.
const MAX_PARTS: usize = 10_000;

/// The layout, in `Spec::Other`.
#[derive(Serialize, Deserialize)]
pub(super) struct Sealed {
    base: Base,
    texts: Vec<(Text, Vec<Part>)>,
    fault: Option<Text>,
    on_change: Vec<Text>,
}

#[derive(Serialize, Deserialize)]
enum Base {
    /// The words of a check are those of a program, or the one word of the closed list.
    File {
        path: Text,
        owner: Text,
        group: Text,
        mode: u32,
        check: Vec<Text>,
    },
    Cron(CronJob),
    /// Only under its own word, so that agents that don't know it don't read it.
    Password {
        is_locked: bool,
    },
}

#[derive(Serialize, Deserialize)]
enum Part {
    Text(Text),
    Secret { name: Text, value: [u8; 16], escape: u8 },
}

/// Returns the word for such a resource: that of its kind, marked.
pub(super) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Script => "secret_script",
        Kind::Cron => "secret_cron",
        Kind::User => "secret_password",
        _ => "secret_file",
    }
}

/// Returns the kind that a word stands for.
pub(super) fn kind_of(word: &str) -> Option<Kind> {
    [Kind::File, Kind::Script, Kind::Cron, Kind::User].into_iter().find(|kind| self::word(*kind) == word)
}

pub(super) fn to_wire(sealed: &template::Sealed, on_change: &[Reaction]) -> Sealed {
    let base = match &*sealed.base {
        desired::Spec::Cron(job) => Base::Cron(job.into()),
        desired::Spec::File { path, owner, group, mode, validate, .. } => Base::File {
            path: path.as_str().into(),
            owner: owner.as_str().into(),
            group: group.as_str().into(),
            mode: mode.bits(),
            check: check_words(validate.as_ref()),
        },
        desired::Spec::Password { want, .. } => {
            Base::Password { is_locked: matches!(want, PasswordWant::Hash { is_locked: true, .. }) }
        }
        _ => unreachable!("only files, jobs and passwords hold secrets"),
    };
    let part = |part: &template::Part| match part {
        template::Part::Text(text) => Part::Text(text.as_str().into()),
        template::Part::Secret { name, value, escape } => Part::Secret {
            name: name.as_str().into(),
            value: *value.as_uuid().as_bytes(),
            escape: match escape {
                Escape::Raw => 0,
                Escape::Shell => 1,
                Escape::Quoted => 2,
                Escape::Base64 => 3,
            },
        },
    };
    let texts = sealed.texts.iter().map(|(field, parts)| (field.as_str().into(), parts.iter().map(part).collect()));
    Sealed {
        base,
        texts: texts.collect(),
        fault: sealed.fault.as_deref().map(Text::from),
        on_change: on_change.iter().map(|r| Text(r.to_string())).collect(),
    }
}

fn check_words(validate: Option<&Validator>) -> Vec<Text> {
    match validate {
        None => Vec::new(),
        Some(Validator::Script) => vec!["script".into()],
        Some(Validator::Json) => vec!["json".into()],
        Some(Validator::Toml) => vec!["toml".into()],
        Some(Validator::Sudoers) => vec!["sudoers".into()],
        Some(Validator::Command(command)) => command.words().iter().map(|w| w.as_str().into()).collect(),
    }
}

/// Reads it through the parsers and checks of its kind.
pub(super) fn from_wire(
    kind: Kind,
    sealed: Sealed,
    name: &ObjectName,
) -> Result<(desired::Spec, Vec<Reaction>), TextError> {
    let is_job = matches!(sealed.base, Base::Cron(_));
    let is_password = matches!(sealed.base, Base::Password { .. });
    if is_job != (kind == Kind::Cron) || is_password != (kind == Kind::User) {
        return Err(TextError::new("kind", kind.as_str(), "holds what is of another kind"));
    }
    let base = match sealed.base {
        Base::Cron(job) => desired::Spec::Cron(cron_from_wire(job, name)?),
        Base::Password { is_locked } => {
            let user = User::name_of(name.as_str())?;
            desired::Spec::Password { user, want: PasswordWant::Hash { hash: None, is_locked } }
        }
        Base::File { path, owner, group, mode, check } => desired::Spec::File {
            path: ManagedPath::parse(path.0)?,
            content: Content { hash: ContentHash::of(b""), size: 0, inline: Some(Vec::new()) },
            owner: UserName::parse(owner.0)?,
            group: GroupName::parse(group.0)?,
            mode: FileMode::new(mode)?,
            validate: validator(check)?,
        },
    };
    let mut texts = BTreeMap::new();
    for (field, parts) in sealed.texts {
        super::super::bounded_list("parts", parts.len(), MAX_PARTS)?;
        if is_job {
            EnvName::parse(field.0.as_str())?;
        } else if field.0 != (if is_password { template::Sealed::PASSWORD } else { template::Sealed::CONTENT }) {
            return Err(TextError::new("text", &field.0, "is none of this kind"));
        }
        texts.insert(field.0, super::each(parts)?);
    }
    if !is_job && texts.len() != 1 {
        return Err(TextError::new("text", "", "there is exactly one"));
    }
    let fault = sealed.fault.map(|f| f.0);
    super::super::bounded("fault", fault.as_deref().unwrap_or_default(), 2048)?;
    let on_change: Vec<Reaction> = sealed.on_change.into_iter().map(|r| r.0.parse()).collect::<Result<_, _>>()?;
    Reaction::check_all(&on_change)?;
    Ok((desired::Spec::Sealed(template::Sealed { base: Box::new(base), texts, fault }), on_change))
}

impl TryFrom<Part> for template::Part {
    type Error = TextError;
    fn try_from(part: Part) -> Result<Self, TextError> {
        Ok(match part {
            Part::Text(text) => Self::Text(text.0),
            Part::Secret { name, value, escape } => Self::Secret {
                name: ObjectName::parse(name.0)?,
                value: SecretValueId::from_uuid(Uuid::from_bytes(value)),
                escape: match escape {
                    0 => Escape::Raw,
                    1 => Escape::Shell,
                    2 => Escape::Quoted,
                    3 => Escape::Base64,
                    other => return Err(TextError::new("escape", &other.to_string(), "is not known")),
                },
            },
        })
    }
}

fn validator(words: Vec<Text>) -> Result<Option<Validator>, TextError> {
    let words: Vec<String> = words.into_iter().map(|w| w.0).collect();
    Ok(match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => None,
        ["script"] => Some(Validator::Script),
        ["json"] => Some(Validator::Json),
        ["toml"] => Some(Validator::Toml),
        ["sudoers"] => Some(Validator::Sudoers),
        _ => Some(Validator::Command(CheckCommand::new(words)?)),
    })
}
