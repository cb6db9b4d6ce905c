//! Frames from a peer, in pieces of any size: decoded, skipped or refused, within the decoder's bounds.
#![no_main]

use lampas_wire::{decode, encode, frame::Decoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let mut decoder = Decoder::new();
    for bytes in bytes.chunks(usize::from(piece).max(1)) {
        decoder.push(bytes);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    if let Ok(message) = decode(&frame) {
                        let _ = encode(&message);
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    let _ = decoder.finish();
});
