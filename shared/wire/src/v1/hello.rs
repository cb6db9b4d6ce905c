//! `Hello` and facts: a layout of their own, so that every version of a controller can read every agent's first words.
//!
//! All integers are little endian. `oldest u16, newest u16, flags u32, features u32, node [16], outbox epoch u64,
//! session u64, applied epoch u64, applied counter u64, applied hash [32], trust hash [32], agent version (u16 length,
//! UTF-8), facts`. Flag 1 is a probe, flag 2 says that the applied fields mean something. Facts are entries of
//! `tag u16, length u16, bytes` to the end of the frame; unknown tags are skipped, unknown flags ignored.

use lampas_shared::{
    TextError, deceptive_char,
    desired::{ContentHash, Generation},
    fleet::{NodeFacts, NodePause, NodePolicy},
    id::NodeId,
    time::UnixMs,
};
use uuid::Uuid;

use super::{bounded, cut};
use crate::message::{Hello, Role};

const FLAG_PROBE: u32 = 1;
const FLAG_APPLIED: u32 = 2;

/// The longest fact, in bytes; `PRETTY_NAME` and paths are far below it.
const MAX_FACT: usize = 256;
const MAX_VERSION: usize = 64;
/// The most addresses that a node tells: more would be a router, whose addresses nobody asks for.
const MAX_ADDRESSES: usize = 64;
/// The most denied paths, and the most signers, that a node tells of its policy.
const MAX_POLICY: usize = 16;
const POLICY_FILE: u8 = 1;
const POLICY_OBSERVE: u8 = 2;
const POLICY_ROOT_CODE: u8 = 4;
const POLICY_SIGNATURE: u8 = 8;
const POLICY_SECRETS: u8 = 16;

pub(super) fn encode(hello: &Hello) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(&hello.oldest_version.to_le_bytes());
    out.extend_from_slice(&hello.newest_version.to_le_bytes());
    let probe = if hello.role == Role::Probe { FLAG_PROBE } else { 0 };
    let applied = if hello.applied.is_some() { FLAG_APPLIED } else { 0 };
    out.extend_from_slice(&(probe | applied).to_le_bytes());
    out.extend_from_slice(&hello.features.to_le_bytes());
    out.extend_from_slice(hello.node.as_uuid().as_bytes());
    out.extend_from_slice(&hello.outbox_epoch.to_le_bytes());
    out.extend_from_slice(&hello.session.to_le_bytes());
    let (generation, hash) = hello.applied.unwrap_or((Generation::default(), ContentHash::from_bytes([0; 32])));
    out.extend_from_slice(&generation.epoch.to_le_bytes());
    out.extend_from_slice(&generation.counter.to_le_bytes());
    out.extend_from_slice(hash.as_bytes());
    out.extend_from_slice(hello.trust.as_bytes());
    let version = cut(&hello.agent_version, MAX_VERSION);
    out.extend_from_slice(&(version.len() as u16).to_le_bytes());
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(&encode_facts(&hello.facts));
    out
}

pub(super) fn decode(body: &[u8]) -> Result<Hello, TextError> {
    let mut input = Input(body);
    let oldest_version = input.u16()?;
    let newest_version = input.u16()?;
    let flags = input.u32()?;
    let features = input.u32()?;
    let node = NodeId::from_uuid(Uuid::from_bytes(input.array()?));
    let outbox_epoch = input.u64()?;
    let session = input.u64()?;
    let generation = Generation { epoch: input.u64()?, counter: input.u64()? };
    let hash = ContentHash::from_bytes(input.array()?);
    let trust = ContentHash::from_bytes(input.array()?);
    let agent_version = input.text("agent version", MAX_VERSION)?;
    let facts = decode_facts(input.0)?;
    if oldest_version > newest_version {
        return Err(TextError::new("wire version", &format!("{oldest_version} to {newest_version}"), "runs backwards"));
    }
    if outbox_epoch == 0 {
        return Err(TextError::new("outbox epoch", "0", "must be drawn"));
    }
    Ok(Hello {
        role: if flags & FLAG_PROBE != 0 { Role::Probe } else { Role::Session },
        oldest_version,
        newest_version,
        features,
        agent_version,
        node,
        outbox_epoch,
        session,
        applied: (flags & FLAG_APPLIED != 0).then_some((generation, hash)),
        trust,
        facts,
    })
}

/// The tags of facts; 12, 14 and 16 may stand several times. 13 says that the node tells its policy. 17 is a pause: since
/// when, until when (0 for no end), both i64, and why. 18 is since when the generation is undone.
pub(super) fn encode_facts(facts: &NodeFacts) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    let mut put = |tag: u16, bytes: &[u8]| {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    let texts = [
        (1, &facts.hostname),
        (2, &facts.os),
        (3, &facts.kernel),
        (4, &facts.architecture),
        (7, &facts.time_zone),
        (8, &facts.agent_version),
        (9, &facts.machine),
        (10, &facts.root),
    ];
    for (tag, text) in texts {
        put(tag, cut(text, MAX_FACT).as_bytes());
    }
    put(5, &facts.cpus.to_le_bytes());
    put(6, &facts.memory_bytes.to_le_bytes());
    for address in facts.addresses.iter().take(MAX_ADDRESSES) {
        put(12, cut(address, MAX_FACT).as_bytes());
    }
    if let Some(policy) = &facts.policy {
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        let flags = bit(policy.has_file, POLICY_FILE)
            | bit(policy.observe, POLICY_OBSERVE)
            | bit(policy.root_code, POLICY_ROOT_CODE)
            | bit(policy.require_signature, POLICY_SIGNATURE)
            | bit(policy.signed_secrets, POLICY_SECRETS);
        put(13, &[flags]);
        for path in policy.deny_paths.iter().take(MAX_POLICY) {
            put(14, cut(path, MAX_FACT).as_bytes());
        }
        if !policy.malformed.is_empty() {
            put(15, cut(&policy.malformed, MAX_FACT).as_bytes());
        }
        for signer in policy.signers.iter().take(MAX_POLICY) {
            put(16, cut(signer, MAX_FACT).as_bytes());
        }
    }
    if let Some(NodePause { since, until, reason }) = &facts.pause {
        let mut pause = since.0.to_le_bytes().to_vec();
        pause.extend_from_slice(&until.map_or(0, |until| until.0).to_le_bytes());
        pause.extend_from_slice(cut(reason, MAX_FACT).as_bytes());
        put(17, &pause);
    }
    if let Some(since) = facts.undone_since {
        put(18, &since.0.to_le_bytes());
    }
    out
}

pub(super) fn decode_facts(bytes: &[u8]) -> Result<NodeFacts, TextError> {
    let mut facts = NodeFacts::default();
    let mut input = Input(bytes);
    while !input.0.is_empty() {
        let tag = input.u16()?;
        let length = usize::from(input.u16()?);
        let value = input.take(length)?;
        match tag {
            1 => facts.hostname = fact("host name", value)?,
            2 => facts.os = fact("os", value)?,
            3 => facts.kernel = fact("kernel", value)?,
            4 => facts.architecture = fact("architecture", value)?,
            5 => facts.cpus = u32::from_le_bytes(Input(value).array()?),
            6 => facts.memory_bytes = u64::from_le_bytes(Input(value).array()?),
            7 => facts.time_zone = fact("time zone", value)?,
            8 => facts.agent_version = fact("agent version", value)?,
            9 => facts.machine = fact("machine", value)?,
            10 => facts.root = fact("root", value)?,
            12 if facts.addresses.len() == MAX_ADDRESSES => {
                return Err(TextError::new("facts", "", format!("more than {MAX_ADDRESSES} addresses")));
            }
            12 => facts.addresses.push(fact("address", value)?),
            13 => {
                let [flags] = Input(value).array()?;
                let policy = facts.policy.get_or_insert_with(NodePolicy::default);
                policy.has_file = flags & POLICY_FILE != 0;
                policy.observe = flags & POLICY_OBSERVE != 0;
                policy.root_code = flags & POLICY_ROOT_CODE != 0;
                policy.require_signature = flags & POLICY_SIGNATURE != 0;
                policy.signed_secrets = flags & POLICY_SECRETS != 0;
            }
            17 => facts.pause = Some(pause(value)?),
            18 => facts.undone_since = Some(time(Input(value).array()?)),
            14..=16 => policy_fact(tag, value, facts.policy.get_or_insert_with(NodePolicy::default))?,
            _ => {}
        }
    }
    Ok(facts)
}

fn pause(value: &[u8]) -> Result<NodePause, TextError> {
    let mut input = Input(value);
    let (since, until) = (time(input.array()?), time(input.array()?));
    Ok(NodePause { since, until: Some(until).filter(|until| until.0 > 0), reason: fact("pause", input.0)? })
}

/// Reads a time: from 1970 to the end of 9999, which every clock and calendar can show.
fn time(bytes: [u8; 8]) -> UnixMs {
    UnixMs(i64::from_le_bytes(bytes).clamp(0, 253_402_300_799_999))
}

fn policy_fact(tag: u16, value: &[u8], policy: &mut NodePolicy) -> Result<(), TextError> {
    let text = fact("policy", value)?;
    let list = match tag {
        14 => &mut policy.deny_paths,
        16 => &mut policy.signers,
        _ => {
            policy.malformed = text;
            return Ok(());
        }
    };
    if list.len() == MAX_POLICY {
        return Err(TextError::new("facts", "", format!("more than {MAX_POLICY} of a kind in the policy")));
    }
    list.push(text);
    Ok(())
}

/// Reads a fact. Characters that could deceive a reader of a screen or a log are replaced, not refused: a node isn't
/// to be locked out because somebody gave it an odd name.
fn fact(what: &'static str, bytes: &[u8]) -> Result<String, TextError> {
    let text = utf8(what, bytes)?;
    bounded(what, text, MAX_FACT)?;
    Ok(match deceptive_char(text) {
        None => text.to_owned(),
        Some(_) => {
            let mut buffer = [0; 4];
            text.chars().map(|c| if deceptive_char(c.encode_utf8(&mut buffer)).is_some() { '?' } else { c }).collect()
        }
    })
}

fn utf8<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, TextError> {
    std::str::from_utf8(bytes).map_err(|_| TextError::new(what, "", "is not UTF-8"))
}

/// Reads the layout from front to back.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], TextError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| {
            TextError::new("hello", "", format!("ends early: {length} bytes are missing, {} are there", self.0.len()))
        })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TextError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, TextError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, TextError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, TextError> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self, what: &'static str, max: usize) -> Result<String, TextError> {
        let length = usize::from(self.u16()?);
        let text = utf8(what, self.take(length)?)?;
        lampas_shared::check_line(what, text, max)?;
        Ok(text.to_owned())
    }
}
