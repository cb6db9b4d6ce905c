//! The checks against the specification's own vectors, against real keys of each algorithm, and against lies.

use ciborium::Value;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::access::webauthn::{
    decoded,
    soft::{Soft, b64, cbor},
};

const RP_ID: &str = "fleet.example";
const ORIGIN: &str = "https://fleet.example:8443";
const PARTY: Party<'_> = Party { rp_id: RP_ID, origin: ORIGIN };
const CHALLENGE: &str = "Y2hhbGxlbmdlIG9mIHRoZSB0ZXN0";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |p: &[u8]| u8::from_str_radix(std::str::from_utf8(p).expect("digits"), 16).expect("digits");
    digits.chunks(2).map(pair).collect()
}

struct Vector {
    challenge: &'static str,
    client_data: &'static str,
    attestation: &'static str,
    get_challenge: &'static str,
    get_client_data: &'static str,
    auth_data: &'static str,
    signature: &'static str,
    is_verified: bool,
}

/// WebAuthn Level 3, section 16: "ES256 Credential with No Attestation" and "ES256 Credential with Self Attestation", both
/// of the RP ID `example.org`.
const VECTORS: [Vector; 2] = [
    Vector {
        challenge: "00c30fb78531c464d2b6771dab8d7b603c01162f2fa486bea70f283ae556e130",
        client_data: "7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a22414d4d507434557878475453746e63647134313759447742466938767049612d7077386f4f755657345441222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c647320696e20746865206675747572652c207375636820617320746869733a20426b5165446a646354427258426941774a544c453551227d",
        attestation: "a363666d74646e6f6e656761747453746d74a068617574684461746158a4bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b559000000008446ccb9ab1db374750b2367ff6f3a1f0020f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4a5010203262001215820afefa16f97ca9b2d23eb86ccb64098d20db90856062eb249c33a9b672f26df61225820930a56b87a2fca66334b03458abf879717c12cc68ed73290af2e2664796b9220",
        get_challenge: "39c0e7521417ba54d43e8dc95174f423dee9bf3cd804ff6d65c857c9abf4d408",
        get_client_data: "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a224f63446e55685158756c5455506f334a5558543049393770767a7a59425039745a63685879617630314167222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73657d",
        auth_data: "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b51900000000",
        signature: "3046022100f50a4e2e4409249c4a853ba361282f09841df4dd4547a13a87780218deffcd380221008480ac0f0b93538174f575bf11a1dd5d78c6e486013f937295ea13653e331e87",
        is_verified: false,
    },
    Vector {
        challenge: "7869c2b772d4b58eba9378cf8f29e26cf935aa77df0da89fa99c0bdc0a76f7e5",
        client_data: "7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a2265476e4374334c55745936366b336a506a796e6962506b31716e666644616966715a774c33417032392d55222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c647320696e20746865206675747572652c207375636820617320746869733a205539685458764b453255526b4d6e625f307859485667227d",
        attestation: "a363666d74667061636b65646761747453746d74a263616c672663736967584630440220067a20754ab925005dbf378097c92120031581c73228d1fb4f5b881bcd7da98302207fc7b147558c7c0eba3af18bd9d121fa3d3a26d17fe3f220272178f473b6006d68617574684461746158a4bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b55d00000000df850e09db6afbdfab51697791506cfc0020455ef34e2043a87db3d4afeb39bbcb6cc32df9347c789a865ecdca129cbef58ca5010203262001215820eb151c8176b225cc651559fecf07af450fd85802046656b34c18f6cf193843c5225820927b8aa427a2be1b8834d233a2d34f61f13bfd44119c325d5896e183fee484f2",
        get_challenge: "4478a10b1352348dd160c1353b0d469b5db19eb91c27f7dfa6fed39fe26af20b",
        get_client_data: "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a225248696843784e534e493352594d45314f7731476d3132786e726b634a5f6666707637546e2d4a71386773222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c647320696e20746865206675747572652c207375636820617320746869733a206754623533727a36456853576f6d58477a696d433151227d",
        auth_data: "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b50900000000",
        signature: "304402203310b9431903c401f1be2bdc8d23a4007682dbbddcf846994947b7f465daf84002204e94dd00047b316061b3b99772b7efd95994a83ef584b3b6b825ea3550251b66",
        is_verified: true,
    },
];

const W3C: Party<'_> = Party { rp_id: "example.org", origin: "https://example.org" };

#[test]
fn the_vectors_of_the_specification_pass() {
    for vector in VECTORS {
        let challenge = b64(&hex(vector.challenge));
        let (client_data, object) = (hex(vector.client_data), hex(vector.attestation));
        let made = registration(W3C, &challenge, &client_data, &object).expect("is right");
        assert_eq!((made.sign_count, made.is_verified), (0, vector.is_verified));
        let (client_data, auth_data) = (hex(vector.get_client_data), hex(vector.auth_data));
        let signature = hex(vector.signature);
        let answered = Answered { client_data: &client_data, auth_data: &auth_data, signature: &signature };
        let known = Known { cose: &made.cose, sign_count: 0 };
        let challenge = b64(&hex(vector.get_challenge));
        assert_eq!(assertion(W3C, &challenge, known, answered, false).map(|s| s.sign_count), Ok(0));
        let elsewhere = Party { rp_id: "example.com", ..W3C };
        assert!(matches!(assertion(elsewhere, &challenge, known, answered, false), Err(VerifyError::RpId(_))));
    }
    // Self attestation is verified, not passed over.
    let mut forged = hex(VECTORS[1].attestation);
    let end = forged.len() - 1;
    forged[end] ^= 1;
    let challenge = b64(&hex(VECTORS[1].challenge));
    let found = registration(W3C, &challenge, &hex(VECTORS[1].client_data), &forged);
    assert!(matches!(found, Err(VerifyError::Signature | VerifyError::PublicKey)), "{found:?}");
}

#[test]
fn keys_of_each_algorithm_register_and_answer() {
    for pair in Soft::pairs() {
        let mut key = Soft::new(RP_ID, ORIGIN).with(pair);
        let (client_data, object) = key.create(CHALLENGE);
        let made = registration(PARTY, CHALLENGE, &client_data, &object).expect("is right");
        assert_eq!((&made.id, made.is_verified), (&key.id, true));
        let (client_data, auth_data, signature) = key.get(CHALLENGE);
        let check = |client_data: &[u8], auth_data: &[u8], signature: &[u8]| {
            let known = Known { cose: &made.cose, sign_count: 0 };
            assertion(PARTY, CHALLENGE, known, Answered { client_data, auth_data, signature }, true)
        };
        assert_eq!(check(&client_data, &auth_data, &signature), Ok(Shown { sign_count: 1, is_verified: true }));
        let mut wrong = signature.clone();
        let middle = wrong.len() / 2;
        wrong[middle] ^= 1;
        assert_eq!(check(&client_data, &auth_data, &wrong), Err(VerifyError::Signature));
        let mut wrong = auth_data.clone();
        wrong[36] ^= 1;
        assert_eq!(check(&client_data, &wrong, &signature), Err(VerifyError::Signature), "the counter is signed");
        let wrong = [client_data.as_slice(), b" "].concat();
        assert_eq!(check(&wrong, &auth_data, &signature), Err(VerifyError::Signature), "the client data is signed");
        let other = Soft::new(RP_ID, ORIGIN).cose();
        let known = Known { cose: &other, sign_count: 0 };
        let answered = Answered { client_data: &client_data, auth_data: &auth_data, signature: &signature };
        assert_eq!(assertion(PARTY, CHALLENGE, known, answered, true), Err(VerifyError::Signature), "another's key");
    }
}

/// Registers and answers with the same lie; returns what both say.
fn lie(change: impl Fn(&mut Soft)) -> (Option<VerifyError>, Option<VerifyError>) {
    let mut key = Soft::new(RP_ID, ORIGIN);
    let honest = key.cose();
    change(&mut key);
    let (client_data, object) = key.create(CHALLENGE);
    let made = registration(PARTY, CHALLENGE, &client_data, &object).err();
    let (client_data, auth_data, signature) = key.get(CHALLENGE);
    let answered = Answered { client_data: &client_data, auth_data: &auth_data, signature: &signature };
    let known = Known { cose: &honest, sign_count: 0 };
    (made, assertion(PARTY, CHALLENGE, known, answered, true).err())
}

#[test]
fn what_is_from_elsewhere_is_refused() {
    assert_eq!(lie(|_| {}), (None, None));
    for origin in [
        "https://fleet.example",
        "http://fleet.example:8443",
        "https://evil.example:8443",
        "https://fleet.example:84431",
        "null",
    ] {
        let (made, shown) = lie(|key| key.origin = origin.to_owned());
        let expected = VerifyError::Origin { found: origin.to_owned(), wanted: ORIGIN.to_owned() };
        assert_eq!((made, shown), (Some(expected.clone()), Some(expected)));
    }
    let rp_id = Some(VerifyError::RpId(RP_ID.to_owned()));
    for name in ["example", "evil.example", "FLEET.example", ""] {
        assert_eq!(lie(|key| key.rp_id = name.to_owned()), (rp_id.clone(), rp_id.clone()), "{name}");
    }
    let also = |also: serde_json::Value| lie(|key| key.also = also.clone());
    let cross = Some(VerifyError::CrossOrigin);
    assert_eq!(also(json!({"crossOrigin": true})), (cross.clone(), cross.clone()));
    assert_eq!(also(json!({"topOrigin": "https://evil.example"})), (cross.clone(), cross));
    let challenge = Some(VerifyError::Challenge);
    for other in ["b3RoZXI", "", "Y2hhbGxlbmdlIG9mIHRoZSB0ZXN0="] {
        assert_eq!(also(json!({"challenge": other})), (challenge.clone(), challenge.clone()), "{other}");
    }
    for kind in ["webauthn.nothing", "payment.get", ""] {
        let expected = Some(VerifyError::Kind(kind.to_owned()));
        assert_eq!(also(json!({"type": kind})), (expected.clone(), expected));
    }
}

#[test]
fn an_answer_to_one_ceremony_is_none_to_the_other() {
    let mut key = Soft::new(RP_ID, ORIGIN);
    let (_, object) = key.create(CHALLENGE);
    let (client_data, auth_data, signature) = key.get(CHALLENGE);
    let expected = VerifyError::Kind("webauthn.get".to_owned());
    assert_eq!(registration(PARTY, CHALLENGE, &client_data, &object), Err(expected));
    let (client_data, _) = key.create(CHALLENGE);
    let answered = Answered { client_data: &client_data, auth_data: &auth_data, signature: &signature };
    let cose = key.cose();
    let found = assertion(PARTY, CHALLENGE, Known { cose: &cose, sign_count: 0 }, answered, false);
    assert_eq!(found, Err(VerifyError::Kind("webauthn.create".to_owned())));
}

#[test]
fn who_was_there_counts() {
    let absent = Some(VerifyError::NotPresent);
    assert_eq!(lie(|key| key.is_present = false), (absent.clone(), absent));
    // At registration it is noted; where it is demanded it is refused.
    assert_eq!(lie(|key| key.is_verified = false), (None, Some(VerifyError::NotVerified)));
}

#[test]
fn the_counter_never_goes_back() {
    let check = |kept: u32, sent: u32| {
        let mut key = Soft { count: sent.wrapping_sub(1), ..Soft::new(RP_ID, ORIGIN) };
        let cose = key.cose();
        let (client_data, auth_data, signature) = if sent == 0 {
            key.count = 0;
            let client_data = key.client_data("webauthn.get", CHALLENGE);
            let auth_data = key.auth_data(false);
            let signature = key.sign(&[auth_data.as_slice(), digest(&SHA256, &client_data).as_ref()].concat());
            (client_data, auth_data, signature)
        } else {
            key.get(CHALLENGE)
        };
        let answered = Answered { client_data: &client_data, auth_data: &auth_data, signature: &signature };
        assertion(PARTY, CHALLENGE, Known { cose: &cose, sign_count: kept }, answered, false).map(|s| s.sign_count)
    };
    for (kept, sent) in [(0, 0), (0, 1), (7, 8), (7, u32::MAX)] {
        assert_eq!(check(kept, sent), Ok(sent), "{kept} to {sent}");
    }
    for (kept, sent) in [(1, 0), (7, 7), (7, 6), (u32::MAX, 1)] {
        assert_eq!(check(kept, sent), Err(VerifyError::Counter { kept, sent }), "{kept} to {sent}");
    }
}

#[test]
fn keys_that_were_not_offered_are_refused() {
    let algorithm = |n: i64| lie(move |key| key.algorithm = Some(n)).0;
    assert_eq!(algorithm(-35), Some(WireError::Algorithm(-35).into()), "ES384");
    assert_eq!(algorithm(i64::MIN), Some(WireError::Algorithm(i128::from(i64::MIN)).into()));
    assert!(matches!(algorithm(-8), Some(VerifyError::Wire(WireError::Key(_)))), "EdDSA over P-256");
    let point = |x: [u8; 32]| {
        let map = |y: &[u8]| {
            let entry = |label: i64, value: Value| (Value::from(label), value);
            let x = Value::Bytes(x.to_vec());
            vec![
                entry(1, 2.into()),
                entry(3, (-7).into()),
                entry(-1, 1.into()),
                entry(-2, x),
                entry(-3, Value::Bytes(y.to_vec())),
            ]
        };
        let on = cbor(&Value::Map(map(&[7; 32])));
        assert!(Verifier::new(&PublicKey::read(&on).expect("reads")).is_err(), "not on the curve");
        assert!(PublicKey::read(&cbor(&Value::Map(map(&[7; 31])))).is_err(), "short");
        let mut twice = map(&[7; 32]);
        twice.push(twice[0].clone());
        assert_eq!(PublicKey::read(&cbor(&Value::Map(twice))), Err(WireError::Key("a label is there twice")));
        let behind = [on.as_slice(), &[0]].concat();
        assert_eq!(PublicKey::read(&behind), Err(WireError::Key("it goes on after its end")));
    };
    point([7; 32]);
}

#[test]
fn attestations_that_nobody_asked_for_are_refused() {
    let key = Soft::new(RP_ID, ORIGIN);
    let (client_data, _) = key.create(CHALLENGE);
    let check = |fmt: &str, statement: Vec<(Value, Value)>| {
        let object = cbor(&Value::Map(vec![
            ("fmt".into(), fmt.into()),
            ("attStmt".into(), Value::Map(statement)),
            ("authData".into(), Value::Bytes(key.auth_data(true))),
        ]));
        registration(PARTY, CHALLENGE, &client_data, &object).err()
    };
    let x5c = ("x5c".into(), Value::Array(vec![Value::Bytes(vec![1])]));
    assert_eq!(check("none", Vec::new()), None);
    assert!(check("none", vec![x5c.clone()]).is_some());
    assert_eq!(check("packed", vec![x5c]), Some(WireError::AttestationKind("packed".to_owned()).into()));
    assert_eq!(check("tpm", Vec::new()), Some(WireError::AttestationKind("tpm".to_owned()).into()));
    let own = |alg: i64, sig: Vec<u8>| vec![("alg".into(), alg.into()), ("sig".into(), Value::Bytes(sig))];
    let signed = [key.auth_data(true).as_slice(), digest(&SHA256, &client_data).as_ref()].concat();
    assert_eq!(check("packed", own(-7, key.sign(&signed))), None);
    assert_eq!(check("packed", own(-8, key.sign(&signed))), Some(VerifyError::Signature), "another algorithm");
    assert_eq!(check("packed", own(-7, key.sign(b"something else"))), Some(VerifyError::Signature));
}

#[test]
fn what_is_cut_short_or_goes_on_is_refused() {
    let key = Soft::new(RP_ID, ORIGIN);
    let (client_data, object) = key.create(CHALLENGE);
    for end in 0..object.len() {
        assert!(registration(PARTY, CHALLENGE, &client_data, &object[..end]).is_err(), "{end}");
    }
    let longer = [object.as_slice(), &[0]].concat();
    assert!(registration(PARTY, CHALLENGE, &client_data, &longer).is_err());
    for data in [key.auth_data(true), key.auth_data(false)] {
        for end in 0..data.len() {
            assert!(AuthData::read(&data[..end]).is_err(), "{end}");
        }
        assert!(AuthData::read(&[data.as_slice(), &[0]].concat()).is_err());
        let mut extended = [data.as_slice(), &cbor(&Value::Map(vec![("credProtect".into(), 2.into())]))].concat();
        extended[32] |= 1 << 7;
        assert!(AuthData::read(&extended).is_ok(), "extensions are passed over");
        let mut no_map = [data.as_slice(), &[1]].concat();
        no_map[32] |= 1 << 7;
        assert!(AuthData::read(&no_map).is_err());
    }
    let without = [("fmt", false), ("attStmt", false)];
    assert!(
        without
            .iter()
            .all(|(name, _)| Attestation::read(&cbor(&Value::Map(vec![((*name).into(), "x".into())]))).is_err())
    );
    // CBOR that claims more than there is, or nests without end, costs nothing.
    for hostile in [
        vec![0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x5b, 0xff, 0, 0, 0, 0, 0, 0, 0],
        vec![0x81; 100_000],
        vec![0xbf; 100_000],
    ] {
        assert!(Attestation::read(&hostile).is_err());
        assert!(PublicKey::read(&hostile).is_err());
    }
    for text in ["", "{}", "[]", "null", "{\"type\":1}", "{\"type\":\"a\",\"challenge\":\"b\"}"] {
        assert!(ClientData::read(text.as_bytes()).is_err(), "{text}");
    }
    assert!(decoded("ab=").is_none() && decoded("a+b").is_none() && decoded("YQ").is_some());
}

proptest! {
    #[test]
    fn nothing_that_arrives_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        drop(ClientData::read(&bytes));
        drop(AuthData::read(&bytes));
        drop(PublicKey::read(&bytes));
        drop(Attestation::read(&bytes));
    }

    #[test]
    fn a_changed_byte_is_refused(at in 0_usize..10_000, bit in 0_u8..8) {
        let vector = &VECTORS[1];
        let challenge = b64(&hex(vector.get_challenge));
        let cose = AuthData::read(&Attestation::read(&hex(vector.attestation)).expect("reads").auth_data).expect("reads");
        let cose = cose.credential.expect("is there").cose;
        let mut parts = [hex(vector.get_client_data), hex(vector.auth_data), hex(vector.signature)];
        let mut at = at % parts.iter().map(Vec::len).sum::<usize>();
        for part in &mut parts {
            match part.get_mut(at) {
                Some(byte) => { *byte ^= 1 << bit; break; }
                None => at -= part.len(),
            }
        }
        let answered = Answered { client_data: &parts[0], auth_data: &parts[1], signature: &parts[2] };
        let found = assertion(W3C, &challenge, Known { cose: &cose, sign_count: 0 }, answered, false);
        prop_assert!(found.is_err());
    }
}
