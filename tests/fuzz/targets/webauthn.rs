//! What browsers and security keys send: read or refused; a credential that is read holds a key that is read again as the
//! same.
#![no_main]

#[path = "../../../controller/src/access/webauthn/wire.rs"]
mod wire;

use libfuzzer_sys::fuzz_target;
use wire::{Attestation, AuthData, ClientData, PublicKey};

fuzz_target!(|bytes: &[u8]| {
    drop(ClientData::read(bytes));
    drop(PublicKey::read(bytes).map(|key| key.algorithm()));
    let data = match Attestation::read(bytes) {
        Ok(Attestation { auth_data, statement }) => {
            drop(statement);
            auth_data
        }
        Err(_) => bytes.to_vec(),
    };
    let Ok(data) = AuthData::read(&data) else { return };
    let Some(credential) = data.credential else { return };
    assert!((1..=1023).contains(&credential.id.len()));
    assert_eq!(PublicKey::read(&credential.cose), Ok(credential.key));
});
