//! An authenticator and a browser in the test's own hands: real keys and signatures, and every lie that is asked for.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ciborium::Value;
use lampas_runtime::random;
use serde_json::{Value as Json, json};

/// A key pair.
pub(crate) enum Pair {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

/// An authenticator with one credential.
pub(crate) struct Soft {
    pub(crate) pair: Pair,
    pub(crate) id: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) rp_id: String,
    pub(crate) origin: String,
    /// Whether it asks for a PIN or a finger.
    pub(crate) is_verified: bool,
    pub(crate) is_present: bool,
    /// The algorithm that its COSE key names, if not its own.
    pub(crate) algorithm: Option<i64>,
    /// What its client data says besides.
    pub(crate) also: Json,
}

impl Soft {
    /// A new one for a page at an origin.
    pub(crate) fn new(rp_id: &str, origin: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key pair");
        Self {
            pair: Pair::Es256(pair),
            id: random::bytes::<32>().to_vec(),
            count: 0,
            rp_id: rp_id.to_owned(),
            origin: origin.to_owned(),
            is_verified: true,
            is_present: true,
            algorithm: None,
            also: json!({}),
        }
    }

    /// The same with a pair of another algorithm.
    pub(crate) fn with(self, pair: Pair) -> Self {
        Self { pair, ..self }
    }

    /// A pair of each algorithm that is offered.
    pub(crate) fn pairs() -> [Pair; 3] {
        [
            Pair::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key pair")),
            Pair::Ed25519(Ed25519KeyPair::generate().expect("a key pair")),
            Pair::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key pair")),
        ]
    }

    /// What the browser hands over after `create()`: client data and attestation object.
    pub(crate) fn create(&self, challenge: &str) -> (Vec<u8>, Vec<u8>) {
        let client_data = self.client_data("webauthn.create", challenge);
        let object = Value::Map(vec![
            ("fmt".into(), "none".into()),
            ("attStmt".into(), Value::Map(Vec::new())),
            ("authData".into(), Value::Bytes(self.auth_data(true))),
        ]);
        (client_data, cbor(&object))
    }

    /// The body of a registration.
    pub(crate) fn registration(&self, challenge: &str, name: &str) -> Json {
        let (client_data, attestation) = self.create(challenge);
        json!({"name": name, "client_data": b64(&client_data), "attestation": b64(&attestation),
               "transports": ["usb", "teleport"], "is_discoverable": true})
    }

    /// What the browser hands over after `get()`: client data, authenticator data and signature. It counts.
    pub(crate) fn get(&mut self, challenge: &str) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        self.count += 1;
        let client_data = self.client_data("webauthn.get", challenge);
        let auth_data = self.auth_data(false);
        let signed = [auth_data.as_slice(), digest(&SHA256, &client_data).as_ref()].concat();
        let signature = self.sign(&signed);
        (client_data, auth_data, signature)
    }

    /// The answer to a request.
    pub(crate) fn answer(&mut self, challenge: &str, user_handle: Option<&str>) -> Json {
        let (client_data, auth_data, signature) = self.get(challenge);
        json!({"id": b64(&self.id), "client_data": b64(&client_data), "authenticator_data": b64(&auth_data),
               "signature": b64(&signature), "user_handle": user_handle})
    }

    pub(crate) fn client_data(&self, kind: &str, challenge: &str) -> Vec<u8> {
        let mut said = json!({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false});
        let members = said.as_object_mut().expect("an object");
        members.extend(self.also.as_object().expect("an object").clone());
        serde_json::to_vec(&said).expect("JSON")
    }

    pub(crate) fn auth_data(&self, with_credential: bool) -> Vec<u8> {
        let flags = u8::from(self.is_present) | u8::from(self.is_verified) << 2 | u8::from(with_credential) << 6;
        let mut data = digest(&SHA256, self.rp_id.as_bytes()).as_ref().to_vec();
        data.push(flags);
        data.extend(self.count.to_be_bytes());
        if with_credential {
            data.extend([0; 16]);
            data.extend((self.id.len() as u16).to_be_bytes());
            data.extend(&self.id);
            data.extend(self.cose());
        }
        data
    }

    /// The public key.
    pub(crate) fn cose(&self) -> Vec<u8> {
        let entry = |label: i64, value: Value| (Value::from(label), value);
        let alg = |own: i64| entry(3, self.algorithm.unwrap_or(own).into());
        let bytes = |b: &[u8]| Value::Bytes(b.to_vec());
        cbor(&Value::Map(match &self.pair {
            Pair::Es256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (bytes(&point[1..33]), bytes(&point[33..65]));
                vec![entry(1, 2.into()), alg(-7), entry(-1, 1.into()), entry(-2, x), entry(-3, y)]
            }
            Pair::Ed25519(pair) => {
                vec![entry(1, 1.into()), alg(-8), entry(-1, 6.into()), entry(-2, bytes(pair.public_key().as_ref()))]
            }
            Pair::Rs256(pair) => {
                let n = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
                vec![entry(1, 3.into()), alg(-257), entry(-1, bytes(&n)), entry(-2, bytes(&[1, 0, 1]))]
            }
        }))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Es256(pair) => pair.sign(&random, message).expect("signs").as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("signs");
                signature
            }
        }
    }
}

/// Writes bytes as they are sent.
pub(crate) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Writes CBOR.
pub(crate) fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("a vector takes everything");
    bytes
}
