//! `hash/v1`: the content hash of desired state, over an encoding of its own.
//!
//! Neither bincode nor JSON is hashed, since both may change with a crate or a field's order. Every field is written as
//! its length (u64, little endian) and its bytes, every list as its length and its elements, every variant as a name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

mod account;

use super::{Group, Resource, Spec};
use crate::{
    TextError,
    host::{CronJob, Validator},
    object::Target,
    template::{Part, Sealed},
};

/// A BLAKE3 hash, shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Wraps a hash.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the first eight digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let hash =
            blake3::Hash::from_hex(text).map_err(|_| TextError::new("hash", text, "is not 64 hexadecimal digits"))?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl TryFrom<String> for ContentHash {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

pub(super) fn state_hash(groups: &[Group]) -> ContentHash {
    hash_of_hashes(groups.iter().flat_map(|g| &g.resources).map(|r| (&r.target, resource_hash(r))).collect())
}

/// All resources count as one group, as they were before there were several.
pub(super) fn hash_of_hashes(mut hashes: Vec<(&Target, ContentHash)>) -> ContentHash {
    let mut out = Encoder::new("lampas state hash/v1");
    out.count(1);
    out.text("Host");
    hashes.sort();
    out.count(hashes.len());
    for (target, hash) in hashes {
        out.text(target.as_str());
        out.bytes(hash.as_bytes());
    }
    out.finish()
}

pub(super) fn resource_hash(resource: &Resource) -> ContentHash {
    if let Spec::Unsupported { hash, .. } = &resource.spec {
        return *hash;
    }
    let mut out = Encoder::new("lampas resource hash/v1");
    out.text(resource.kind.as_str());
    out.text(resource.target.as_str());
    out.text(&resource.object.to_string());
    out.text(&format!("{:?}", resource.drift));
    encode_spec(&mut out, &resource.spec);
    // Hashes of what has no reactions are as they were before there were any.
    if !resource.on_change.is_empty() {
        out.text("on_change");
        out.count(resource.on_change.len());
        resource.on_change.iter().for_each(|reaction| out.text(&reaction.to_string()));
    }
    out.finish()
}
fn encode_spec(out: &mut Encoder, spec: &Spec) {
    match spec {
        Spec::File { path, content, owner, group, mode, validate } => {
            out.text("file");
            out.text(path.as_str());
            out.bytes(content.hash.as_bytes());
            out.text(owner.as_str());
            out.text(group.as_str());
            out.text(&mode.to_string());
            match validate {
                Some(Validator::Command(command)) => {
                    out.text("command");
                    out.count(command.words().len());
                    command.words().iter().for_each(|word| out.text(word));
                }
                closed => out.text(&format!("{closed:?}")),
            }
        }
        Spec::Directory { path, owner, group, mode } => {
            out.text("directory");
            out.text(path.as_str());
            out.text(owner.as_str());
            out.text(group.as_str());
            out.text(&mode.to_string());
        }
        Spec::Link { path, to } => {
            out.text("link");
            out.text(path.as_str());
            out.text(to);
        }
        Spec::Hosts { address, names, comment } => {
            out.text("hosts");
            out.text(&address.to_string());
            out.count(names.len());
            for name in names {
                out.text(name.as_str());
            }
            out.text(comment);
        }
        Spec::Cron(job) => cron(out, job),
        Spec::Sealed(sealed) => encode_sealed(out, sealed),
        Spec::Kernel { key, value } => {
            out.text("kernel");
            out.text(key.as_str());
            out.text(value);
        }
        Spec::Unit { unit, aspect, is_so } => {
            out.text("unit");
            out.text(unit.as_str());
            out.text(aspect.word(*is_so));
        }
        Spec::User { .. } | Spec::Keys { .. } | Spec::Password { .. } | Spec::Group { .. } | Spec::Members { .. } => {
            account::encode(out, spec);
        }
        Spec::Package { name, want } => account::encode_package(out, name, want),
        // A resource of this sort has the hash that came along.
        Spec::Unsupported { kind, hash } => {
            out.text(kind);
            out.bytes(hash.as_bytes());
        }
    }
}

/// Secrets count by which of their values stands, never by the value.
fn encode_sealed(out: &mut Encoder, sealed: &Sealed) {
    out.text("sealed");
    encode_spec(out, &sealed.base);
    out.count(sealed.texts.len());
    for (field, parts) in &sealed.texts {
        out.text(field);
        out.count(parts.len());
        for part in parts {
            match part {
                Part::Text(text) => {
                    out.text("text");
                    out.text(text);
                }
                Part::Secret { name, value, escape } => {
                    out.text("secret");
                    out.text(name.as_str());
                    out.text(&value.to_string());
                    out.text(&format!("{escape:?}"));
                }
            }
        }
    }
    out.optional(sealed.fault.as_deref());
}

fn cron(out: &mut Encoder, job: &CronJob) {
    let CronJob { schedule, user, command, environment, mailto, time_zone, table, timeout_secs, enabled, template: _ } =
        job;
    out.text("cron");
    out.text(schedule.as_str());
    out.text(user.as_str());
    out.text(command);
    out.count(environment.len());
    for (name, value) in environment {
        out.text(name.as_str());
        out.text(value);
    }
    out.optional(mailto.as_deref());
    out.optional(time_zone.as_ref().map(|z| z.as_str()));
    out.text(&format!("{table:?}"));
    out.optional(timeout_secs.map(|s| s.to_string()).as_deref());
    out.text(if *enabled { "enabled" } else { "disabled" });
}

struct Encoder(blake3::Hasher);

impl Encoder {
    fn new(domain: &str) -> Self {
        let mut encoder = Self(blake3::Hasher::new());
        encoder.text(domain);
        encoder
    }

    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.count(usize::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn finish(self) -> ContentHash {
        ContentHash(*self.0.finalize().as_bytes())
    }
}
