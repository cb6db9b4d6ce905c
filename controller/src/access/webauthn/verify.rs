//! The checks of a registration and of an assertion: WebAuthn Level 3, sections 7.1 and 7.2, step by step. Values in,
//! values out; the numbers are those of the specification's steps.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{
        ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use thiserror::Error;

use super::wire::{Attestation, AuthData, ClientData, PublicKey, Statement, WireError};

/// Who asks: the relying party.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Party<'a> {
    /// The host name that keys are bound to.
    pub(super) rp_id: &'a str,
    /// The origin of the dashboard.
    pub(super) origin: &'a str,
}

/// Why an answer is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum VerifyError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("it is the answer to another question ({0})")]
    Kind(String),
    #[error("it answers another challenge")]
    Challenge,
    #[error("it was made at {found}, and keys work at {wanted} alone")]
    Origin { found: String, wanted: String },
    #[error("it was made in a frame of another site")]
    CrossOrigin,
    #[error("the key is bound to another host name than {0}")]
    RpId(String),
    #[error("nobody touched the key")]
    NotPresent,
    #[error("the key asked for neither PIN nor finger")]
    NotVerified,
    #[error("the key says that it is backed up and that it can't be")]
    Backup,
    #[error("no credential came with it")]
    NoCredential,
    #[error("the public key is no point or number of its kind")]
    PublicKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("its counter went back from {kept} to {sent}: there may be a copy of the key")]
    Counter { kept: u32, sent: u32 },
}

/// A credential that may be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) id: Vec<u8>,
    pub(super) cose: Vec<u8>,
    pub(super) sign_count: u32,
    pub(super) is_verified: bool,
}

/// What a key showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) sign_count: u32,
    pub(super) is_verified: bool,
}

/// Checks what `navigator.credentials.create()` made (section 7.1). The challenge is that of the request, in base64url.
pub(super) fn registration(
    party: Party<'_>,
    challenge: &str,
    client_data: &[u8],
    attestation: &[u8],
) -> Result<Registered, VerifyError> {
    // 5 to 11: the client data.
    said(party, "webauthn.create", challenge, client_data)?;
    // 12: the hash of it.
    let client_hash = digest(&SHA256, client_data);
    // 13: the attestation object.
    let object = Attestation::read(attestation)?;
    let data = AuthData::read(&object.auth_data)?;
    // 14 to 18: the host name and the flags; a PIN or a finger is noted, not demanded.
    flags(party, &data, false)?;
    // 19, 20: the algorithm is one of those that were offered, which reading it has seen to.
    let credential = data.credential.ok_or(VerifyError::NoCredential)?;
    let key = Verifier::new(&credential.key)?;
    // 21: extensions are passed over. 22 to 24: nothing, or the key's own signature; no authority is asked for.
    if let Statement::Own { algorithm, signature } = &object.statement {
        if *algorithm != i128::from(credential.key.algorithm()) {
            return Err(VerifyError::Signature);
        }
        let signed = [object.auth_data.as_slice(), client_hash.as_ref()].concat();
        key.verify(&signed, signature)?;
    }
    // 25: the length of the id, which reading it has seen to. 26, that nobody has it yet, is the store's part.
    Ok(Registered {
        id: credential.id,
        cose: credential.cose,
        sign_count: data.sign_count,
        is_verified: data.is_verified,
    })
}

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) cose: &'a [u8],
    pub(super) sign_count: u32,
}

/// What a key answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered<'a> {
    pub(super) client_data: &'a [u8],
    pub(super) auth_data: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// Checks what `navigator.credentials.get()` answered (section 7.2). Whose the credential is, steps 5 and 6, is the caller's
/// part.
pub(super) fn assertion(
    party: Party<'_>,
    challenge: &str,
    known: Known<'_>,
    answered: Answered<'_>,
    must_verify: bool,
) -> Result<Shown, VerifyError> {
    // 8 to 14: the client data.
    said(party, "webauthn.get", challenge, answered.client_data)?;
    // 15 to 19: the host name and the flags.
    let data = AuthData::read(answered.auth_data)?;
    flags(party, &data, must_verify)?;
    // 21: the signature over both.
    let signed = [answered.auth_data, digest(&SHA256, answered.client_data).as_ref()].concat();
    Verifier::new(&PublicKey::read(known.cose)?)?.verify(&signed, answered.signature)?;
    // 22: the counter, of keys that have one.
    if (data.sign_count != 0 || known.sign_count != 0) && data.sign_count <= known.sign_count {
        return Err(VerifyError::Counter { kept: known.sign_count, sent: data.sign_count });
    }
    Ok(Shown { sign_count: data.sign_count, is_verified: data.is_verified })
}

/// What the browser says of itself and of the page.
fn said(party: Party<'_>, kind: &str, challenge: &str, client_data: &[u8]) -> Result<(), VerifyError> {
    let said = ClientData::read(client_data)?;
    if said.kind != kind {
        return Err(VerifyError::Kind(said.kind.chars().take(40).collect()));
    }
    if said.challenge != challenge {
        return Err(VerifyError::Challenge);
    }
    if said.origin != party.origin {
        let found = said.origin.chars().filter(|c| !c.is_control()).take(120).collect();
        return Err(VerifyError::Origin { found, wanted: party.origin.to_owned() });
    }
    if said.cross_origin || said.top_origin.is_some() {
        return Err(VerifyError::CrossOrigin);
    }
    Ok(())
}

/// What the authenticator says of the host name and of who was there.
fn flags(party: Party<'_>, data: &AuthData, must_verify: bool) -> Result<(), VerifyError> {
    if data.rp_id_hash != digest(&SHA256, party.rp_id.as_bytes()).as_ref() {
        return Err(VerifyError::RpId(party.rp_id.to_owned()));
    }
    if !data.is_present {
        return Err(VerifyError::NotPresent);
    }
    if must_verify && !data.is_verified {
        return Err(VerifyError::NotVerified);
    }
    if data.is_backed_up && !data.may_back_up {
        return Err(VerifyError::Backup);
    }
    Ok(())
}

/// A public key that was looked at.
enum Verifier {
    Point(ParsedPublicKey),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

impl Verifier {
    fn new(key: &PublicKey) -> Result<Self, VerifyError> {
        let parsed = match key {
            PublicKey::Es256(x, y) => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, [&[4], x.as_slice(), y.as_slice()].concat())
            }
            PublicKey::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).parse(),
            PublicKey::Rs256(n, e) => {
                return Ok(Self::Rsa(RsaPublicKeyComponents { n: n.clone(), e: e.clone() }));
            }
        };
        parsed.map(Self::Point).map_err(|_| VerifyError::PublicKey)
    }

    fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        let verified = match self {
            Self::Point(key) => key.verify_sig(signed, signature),
            Self::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature),
        };
        verified.map_err(|_| VerifyError::Signature)
    }
}

#[cfg(test)]
mod tests;
