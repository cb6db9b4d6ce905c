//! Golden vectors and properties of version 1.
//!
//! `golden.txt` holds one frame a line, name and hexadecimal. A line may never change once released: it is what agents
//! in the field say. A message that is added gets a new line.

mod sample;
mod state;

use lampas_shared::{desired::Resource, object::Kind as ObjectKind};
use proptest::prelude::*;

use self::{
    sample::{sample_hello, samples},
    state::{accounts_and_packages, sample_state, units_and_reactions, younger_kinds},
};
use crate::{
    DecodeError, Kind, Message, decode, encode,
    frame::{Decoder, Frame},
};

const GOLDEN: &str = include_str!("golden.txt");

#[test]
fn every_message_is_written_as_it_was_released_and_read_back_whole() {
    let golden: Vec<(&str, &str)> = GOLDEN.lines().filter_map(|l| l.split_once(' ')).collect();
    let samples = samples();
    assert_eq!(samples.len(), golden.len(), "a sample for each line of golden.txt, and the other way round");
    for ((name, message), (golden_name, golden_hex)) in samples.iter().zip(golden) {
        assert_eq!(*name, golden_name);
        assert_eq!(hex(&encode(message).unwrap()), golden_hex, "{name} is no longer written as released");
        assert_eq!(decode(&frame(&unhex(golden_hex))).unwrap(), *message, "{name} is no longer read as released");
    }
}

#[test]
fn every_kind_has_a_sample() {
    let mut seen: Vec<Kind> = samples().iter().map(|(_, m)| m.kind()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, Kind::ALL);
}

#[test]
fn unknown_kinds_versions_and_facts_are_told_from_broken_ones() {
    let later = Frame { kind: Kind::Ping as u16, version: 2, body: vec![1] };
    assert!(matches!(decode(&later), Err(DecodeError::Unknown { kind: 4, version: 2 })));
    let unknown = Frame { kind: 999, version: 1, body: vec![] };
    assert!(matches!(decode(&unknown), Err(DecodeError::Unknown { kind: 999, version: 1 })));
    let trailing = Frame { kind: Kind::Ping as u16, version: 1, body: vec![1, 2] };
    assert!(matches!(decode(&trailing), Err(DecodeError::Trailing { extra: 1, .. })));

    let mut hello = frame(&encode(&Message::Hello(Box::new(sample_hello()))).unwrap());
    hello.body.extend_from_slice(&[0xff, 0xff, 3, 0, 1, 2, 3]);
    assert_eq!(
        decode(&hello).unwrap(),
        Message::Hello(Box::new(sample_hello())),
        "a fact of a later version is skipped"
    );
}

#[test]
fn values_go_through_their_parsers() {
    // Each replaces a text in an honest frame by a hostile one of equal length.
    let check = |from: &str, to: &str, expected: &str| {
        assert_eq!(from.len(), to.len());
        let frame = frame(&encode(&Message::Desired(Box::new(sample_state()))).unwrap());
        let at = frame.body.windows(from.len()).rposition(|w| w == from.as_bytes()).unwrap();
        let mut body = frame.body.clone();
        body[at..at + to.len()].copy_from_slice(to.as_bytes());
        let error = decode(&Frame { body, ..frame }).unwrap_err();
        let text = lampas_shared::error::Chain(&error).to_string();
        assert!(text.contains(expected), "{to:?} gave {text}");
    };
    check("date +%F", "x\nroot y", "must be a single line");
    check("/etc/motd.d", "/etc/../etc", "must not contain");
    check("*/5 * * * *", "*/5 * * * 9", "is not in 0 to 7");
    check("path:/etc/motd.d", "path:/etc/passwd", "stands for /etc/motd.d");
    check("www-data", "www;data", "is not allowed");
    check("hello, world", "hello, w0rld", "does not have the hash");
}

#[test]
fn a_length_inside_a_body_can_not_ask_for_memory() {
    // A list of 2^60 resources in eleven bytes, and a text of 4 GiB in a fault.
    for (kind, body) in [
        (Kind::Trust, vec![253, 0, 0, 0, 0, 0, 0, 0, 16]),
        (Kind::Fault, vec![252, 0xff, 0xff, 0xff, 0xff]),
        (Kind::BlobReply, vec![0, 252, 0xff, 0xff, 0xff, 0xff]),
    ] {
        let error = decode(&Frame { kind: kind as u16, version: 1, body }).unwrap_err();
        assert!(matches!(error, DecodeError::Body { .. }), "{error:?}");
    }
}

proptest! {
    #[test]
    fn any_body_is_a_message_or_an_error(index in 0..Kind::ALL.len(), body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode(&Frame { kind: Kind::ALL[index] as u16, version: 1, body });
    }

    #[test]
    fn a_damaged_message_is_an_error_or_another_message(
        index in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let samples = samples();
        let mut frame = frame(&encode(&samples[index.index(samples.len())].1).unwrap());
        if !frame.body.is_empty() {
            let at = at.index(frame.body.len());
            frame.body[at] = byte;
        }
        if let Ok(message) = decode(&frame) {
            // What was read can be written and read again.
            prop_assert_eq!(decode(&self::frame(&encode(&message).unwrap())).unwrap(), message);
        }
    }
}

/// Packages are a group of their own on a node, and of one hash with the rest: an agent that knows no groups has the same.
#[test]
fn which_group_a_resource_is_in_is_no_part_of_the_state_s_hash() {
    let state = accounts_and_packages();
    assert_eq!(state.groups.iter().map(|g| g.resources.len()).collect::<Vec<_>>(), [4, 1]);
    let mut flat = state.clone();
    let all: Vec<Resource> = state.resources().cloned().collect();
    flat.groups.truncate(1);
    flat.groups[0].resources = all;
    assert_eq!(flat.compute_hash(), state.compute_hash());
}

#[test]
fn a_kind_that_is_not_known_leaves_the_rest_of_the_state_as_it_was() {
    let state = younger_kinds();
    let sent = frame(&encode(&Message::Desired(Box::new(state.clone()))).unwrap());
    // A later build's word in the place of one that is known here, of the same length.
    let at = sent.body.windows(8).position(|w| w == b"\x07sudoers").unwrap() + 1;
    let mut body = sent.body.clone();
    body[at..at + 7].copy_from_slice(b"sudoerz");
    let Message::Desired(read) = decode(&Frame { body, ..sent }).unwrap() else { panic!("a state") };
    assert_eq!(
        read.compute_hash(),
        state.hash,
        "its hash came along, so that the state is still the one that was sent"
    );
    let kinds: Vec<_> = read.resources().map(|r| (r.kind, r.target.as_str())).collect();
    assert_eq!(
        kinds,
        [(ObjectKind::Unsupported, "balloon:red"), (ObjectKind::Unsupported, "path:/etc/sudoers.d/hello")]
    );
}

#[test]
fn accounts_and_packages_are_unknown_to_older_agents_and_their_hash_is_not() {
    let state = accounts_and_packages();
    let sent = frame(&encode(&Message::Desired(Box::new(state.clone()))).unwrap());
    for (word, other, count) in
        [(&b"\x04user"[..], &b"\x04uses"[..], 2), (b"\x05group", b"\x05groux", 2), (b"\x07package", b"\x07packagf", 1)]
    {
        // The first are the words of kinds; a name of an account or a target may have the same letters.
        let mut body = sent.body.clone();
        let mut from = 0;
        while let Some(found) = body[from..].windows(word.len()).position(|w| w == word) {
            body[from + found..from + found + word.len()].copy_from_slice(other);
            from += found + word.len();
        }
        let Message::Desired(read) = decode(&Frame { body, ..sent.clone() }).unwrap() else { panic!("a state") };
        assert_eq!(read.compute_hash(), state.hash, "{word:?}");
        let unknown = read.resources().filter(|r| r.kind == ObjectKind::Unsupported).count();
        assert_eq!(unknown, count, "{word:?}: the others are as they were sent");
    }
}

/// Units of systemd, and what is reloaded after a change: an agent that knows neither must not write the file without.
#[test]
fn units_and_reactions_travel_and_are_unknown_to_older_agents() {
    let state = units_and_reactions();
    let sent = frame(&encode(&Message::Desired(Box::new(state.clone()))).unwrap());
    assert_eq!(decode(&sent).unwrap(), Message::Desired(Box::new(state.clone())));

    // To an older agent the words mean nothing.
    let mut body = sent.body.clone();
    for (word, other) in [(&b"\x07service"[..], &b"\x07servicf"[..]), (b"file with on_change", b"filf with on_change")]
    {
        while let Some(found) = body.windows(word.len()).position(|w| w == word) {
            body[found..found + word.len()].copy_from_slice(other);
        }
    }
    let Message::Desired(read) = decode(&Frame { body, ..sent }).unwrap() else { panic!("a state") };
    assert_eq!(read.compute_hash(), state.hash);
    assert!(read.resources().all(|r| r.kind == ObjectKind::Unsupported && r.on_change.is_empty()));
}

fn frame(bytes: &[u8]) -> Frame {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let frame = decoder.next_frame().unwrap().unwrap();
    decoder.finish().unwrap();
    frame
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    digits.map(|d| char::from_digit(u32::from(d), 16).unwrap()).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}
