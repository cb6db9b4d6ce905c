//! What browsers and authenticators send, read into values: client data (WebAuthn Level 3, section 5.8.1), authenticator
//! data (6.1), attestation objects (6.5) and public keys (RFC 9053). Nothing is verified here, all of it is hostile, and
//! the fuzz target `webauthn` reads this file alone.

use ciborium::Value;
use serde::Deserialize;
use thiserror::Error;

/// Why something can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum WireError {
    /// The client data is no JSON, or lacks a member.
    #[error("the client data can't be read: {0}")]
    ClientData(String),
    /// The authenticator data is cut short, goes on after its end, or contradicts itself.
    #[error("the authenticator data can't be read: {0}")]
    AuthData(&'static str),
    /// The attestation object is none.
    #[error("the attestation can't be read: {0}")]
    Attestation(&'static str),
    /// An attestation came that nobody asked for.
    #[error("the attestation is of the kind {0}, and none was asked for")]
    AttestationKind(String),
    /// The public key is none.
    #[error("the public key can't be read: {0}")]
    Key(&'static str),
    /// The public key is of another algorithm than those that were offered.
    #[error("the public key is of the algorithm {0}, which was not offered")]
    Algorithm(i128),
}

/// What the browser says of the ceremony; members that this reader doesn't know are passed over, as section 5.8.1 asks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientData {
    /// `webauthn.create` or `webauthn.get`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The challenge in base64url.
    pub(super) challenge: String,
    /// The origin of the page.
    pub(super) origin: String,
    /// Whether the page stood in a frame of another site.
    #[serde(default)]
    pub(super) cross_origin: bool,
    /// That site.
    #[serde(default)]
    pub(super) top_origin: Option<String>,
}

impl ClientData {
    /// Reads `clientDataJSON`.
    ///
    /// # Errors
    /// When it is no JSON object with these members.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        serde_json::from_slice(bytes).map_err(|e| WireError::ClientData(e.to_string()))
    }
}

/// The algorithms that are offered (IANA COSE), the preferred one first: what every authenticator has, what newer ones have,
/// and what Windows Hello has.
pub(super) const ALGORITHMS: [i32; 3] = [ES256, EDDSA, RS256];

const ES256: i32 = -7;
const EDDSA: i32 = -8;
const RS256: i32 = -257;

/// The longest credential id (section 4, "Credential ID").
const MAX_ID: usize = 1023;

/// How deep CBOR may nest: the deepest of what is read has four levels.
const DEPTH: usize = 8;

/// What the authenticator signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuthData {
    /// The SHA-256 of the host name that the key is bound to.
    pub(super) rp_id_hash: [u8; 32],
    /// Somebody touched it.
    pub(super) is_present: bool,
    /// It asked for a PIN or a finger.
    pub(super) is_verified: bool,
    /// The key may be copied by its maker's service.
    pub(super) may_back_up: bool,
    /// It is copied.
    pub(super) is_backed_up: bool,
    /// How often it signed; 0 of what doesn't count.
    pub(super) sign_count: u32,
    /// The new credential, at registration.
    pub(super) credential: Option<Credential>,
}

/// A new credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credential {
    /// Its id.
    pub(super) id: Vec<u8>,
    /// The public key, as the authenticator wrote it.
    pub(super) cose: Vec<u8>,
    /// The same, read.
    pub(super) key: PublicKey,
}

impl AuthData {
    /// Reads authenticator data to its last byte.
    ///
    /// # Errors
    /// When it is cut short, or goes on after its end, or holds what can't be read.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let short = || WireError::AuthData("it is cut short");
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>().ok_or_else(short)?;
        let (&flags, rest) = rest.split_first().ok_or_else(short)?;
        let (count, mut rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let has = |bit: u8| flags & (1 << bit) != 0;
        let credential = if has(6) { Some(Credential::read(&mut rest)?) } else { None };
        if has(7) {
            let extensions = read_cbor(&mut rest).ok_or(WireError::AuthData("its extensions are no CBOR"))?;
            if !extensions.is_map() {
                return Err(WireError::AuthData("its extensions are no map"));
            }
        }
        if !rest.is_empty() {
            return Err(WireError::AuthData("it goes on after its end"));
        }
        Ok(Self {
            rp_id_hash: *rp_id_hash,
            is_present: has(0),
            is_verified: has(2),
            may_back_up: has(3),
            is_backed_up: has(4),
            sign_count: u32::from_be_bytes(*count),
            credential,
        })
    }
}

impl Credential {
    /// Reads attested credential data (section 6.5.2): AAGUID, length, id, key.
    fn read(rest: &mut &[u8]) -> Result<Self, WireError> {
        let short = || WireError::AuthData("its credential is cut short");
        let (_aaguid, after) = rest.split_first_chunk::<16>().ok_or_else(short)?;
        let (length, after) = after.split_first_chunk::<2>().ok_or_else(short)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 || length > MAX_ID {
            return Err(WireError::AuthData("its credential id has not 1 to 1023 bytes"));
        }
        let (id, after) = after.split_at_checked(length).ok_or_else(short)?;
        let mut behind = after;
        let value = read_cbor(&mut behind).ok_or(WireError::Key("it is no CBOR"))?;
        let cose = &after[..after.len() - behind.len()];
        *rest = behind;
        Ok(Self { id: id.to_vec(), cose: cose.to_vec(), key: PublicKey::from_value(&value)? })
    }
}

/// A public key of an algorithm that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// ECDSA over P-256 with SHA-256: both coordinates.
    Es256([u8; 32], [u8; 32]),
    /// Ed25519.
    Ed25519([u8; 32]),
    /// RSASSA-PKCS1-v1_5 with SHA-256: modulus and exponent, without zeros in front.
    Rs256(Vec<u8>, Vec<u8>),
}

impl PublicKey {
    /// Reads a COSE key to its last byte.
    ///
    /// # Errors
    /// When it is none, or of another algorithm.
    pub(super) fn read(mut cose: &[u8]) -> Result<Self, WireError> {
        let value = read_cbor(&mut cose).ok_or(WireError::Key("it is no CBOR"))?;
        if cose.is_empty() { Self::from_value(&value) } else { Err(WireError::Key("it goes on after its end")) }
    }

    /// Returns its algorithm.
    pub(super) fn algorithm(&self) -> i32 {
        match self {
            Self::Es256(..) => ES256,
            Self::Ed25519(_) => EDDSA,
            Self::Rs256(..) => RS256,
        }
    }

    fn from_value(value: &Value) -> Result<Self, WireError> {
        let map = value.as_map().ok_or(WireError::Key("it is no map"))?;
        // RFC 9052, section 7: 1 kty, 3 alg; RFC 9053, section 7: -1 crv, -2 x, -3 y; RFC 8230, section 4: -1 n, -2 e.
        let number = |label: i128| of(map, label).and_then(Value::as_integer).map(i128::from);
        let bytes = |label: i128| of(map, label).and_then(Value::as_bytes).map(Vec::as_slice);
        let field = |label: i128| -> Result<[u8; 32], WireError> {
            let bytes = bytes(label).ok_or(WireError::Key("a coordinate is missing"))?;
            bytes.try_into().map_err(|_| WireError::Key("a coordinate has not 32 bytes"))
        };
        for (i, (label, _)) in map.iter().enumerate() {
            if map[..i].iter().any(|(before, _)| before == label) {
                return Err(WireError::Key("a label is there twice"));
            }
        }
        let algorithm = number(3).ok_or(WireError::Key("it names no algorithm"))?;
        let expect = |label: i128, wanted: i128| {
            if number(label) == Some(wanted) {
                Ok(())
            } else {
                Err(WireError::Key("type or curve are not the algorithm's"))
            }
        };
        match i32::try_from(algorithm) {
            Ok(ES256) => {
                expect(1, 2)?;
                expect(-1, 1)?;
                Ok(Self::Es256(field(-2)?, field(-3)?))
            }
            Ok(EDDSA) => {
                expect(1, 1)?;
                expect(-1, 6)?;
                Ok(Self::Ed25519(field(-2)?))
            }
            Ok(RS256) => {
                expect(1, 3)?;
                let part = |label| {
                    let bytes = bytes(label).ok_or(WireError::Key("modulus or exponent are missing"))?;
                    let zeros = bytes.iter().take_while(|b| **b == 0).count();
                    Ok::<_, WireError>(bytes[zeros..].to_vec())
                };
                let (modulus, exponent) = (part(-1)?, part(-2)?);
                // 2048 to 4096 bits: shorter ones are weak, and longer ones are nobody's.
                if !(256..=512).contains(&modulus.len()) || !(1..=8).contains(&exponent.len()) {
                    return Err(WireError::Key("the modulus has not 2048 to 4096 bits, or the exponent is none"));
                }
                Ok(Self::Rs256(modulus, exponent))
            }
            _ => Err(WireError::Algorithm(algorithm)),
        }
    }
}

/// What comes of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attestation {
    /// Who says what the authenticator is.
    pub(super) statement: Statement,
    /// What was signed.
    pub(super) auth_data: Vec<u8>,
}

/// An attestation statement. `none` is asked for; a browser leaves a self-signed one as it is, since it tells nothing of the
/// device (section 5.1.3, step 21).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// Nobody.
    None,
    /// The new key itself (section 8.2, without `x5c`).
    Own {
        /// The algorithm.
        algorithm: i128,
        /// The signature.
        signature: Vec<u8>,
    },
}

impl Attestation {
    /// Reads an attestation object to its last byte.
    ///
    /// # Errors
    /// When it is none, or of a kind that was not asked for.
    pub(super) fn read(mut bytes: &[u8]) -> Result<Self, WireError> {
        let value = read_cbor(&mut bytes).ok_or(WireError::Attestation("it is no CBOR"))?;
        if !bytes.is_empty() {
            return Err(WireError::Attestation("it goes on after its end"));
        }
        let map = value.as_map().ok_or(WireError::Attestation("it is no map"))?;
        let kind = named(map, "fmt").and_then(Value::as_text).ok_or(WireError::Attestation("it has no fmt"))?;
        let statement = named(map, "attStmt").and_then(Value::as_map);
        let statement = statement.ok_or(WireError::Attestation("it has no attStmt"))?;
        let auth_data = named(map, "authData").and_then(Value::as_bytes);
        let auth_data = auth_data.ok_or(WireError::Attestation("it has no authData"))?.clone();
        let statement = match kind {
            "none" if statement.is_empty() => Statement::None,
            "none" => return Err(WireError::Attestation("it is of the kind none, and says something")),
            "packed" if named(statement, "x5c").is_none() => {
                let algorithm = named(statement, "alg").and_then(Value::as_integer).map(i128::from);
                let signature = named(statement, "sig").and_then(Value::as_bytes);
                let (Some(algorithm), Some(signature)) = (algorithm, signature) else {
                    return Err(WireError::Attestation("it lacks alg or sig"));
                };
                Statement::Own { algorithm, signature: signature.clone() }
            }
            other => return Err(WireError::AttestationKind(other.chars().take(40).collect())),
        };
        Ok(Self { statement, auth_data })
    }
}

fn of(map: &[(Value, Value)], label: i128) -> Option<&Value> {
    map.iter().find(|(k, _)| k.as_integer().map(i128::from) == Some(label)).map(|(_, v)| v)
}

fn named<'m>(map: &'m [(Value, Value)], name: &str) -> Option<&'m Value> {
    map.iter().find(|(k, _)| k.as_text() == Some(name)).map(|(_, v)| v)
}

/// Reads one CBOR item from the front.
fn read_cbor(bytes: &mut &[u8]) -> Option<Value> {
    ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH).ok()
}
