//! Random numbers, drawn here and nowhere else.

use lampas_shared::id::Id;
use rand::Rng as _;

use crate::clock;

/// Returns bytes from the operating system's generator, fit for keys and tokens.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Makes an id (UUIDv7) of this instant.
pub fn new_id<T: Id>() -> T {
    T::from_parts(clock::now(), bytes())
}
