//! Tests of the signer over its socket, and of its log across restarts.

use std::fs;

use lampas_runtime::{
    Tasks, clock,
    identity::{PrivateKey, Subject, inspect},
    random,
};
use lampas_shared::{
    desired::ContentHash,
    id::{FleetId, NodeId, TokenId},
    time::UnixMs,
};
use rcgen::{CertificateParams, SanType};

use super::{Authority, Enrolment, Renewal, Signer, SignerError};
use crate::link::testing::{LONG, signer};

fn request() -> Vec<u8> {
    PrivateKey::generate().expect("a key").request().expect("a request")
}

fn record(node: NodeId, token: TokenId) -> Enrolment {
    Enrolment { node, token, uses: 1, expires: clock::now().plus_ms(3_600_000) }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, SignerError>) -> String {
    match outcome.expect_err("refused") {
        SignerError::Refused(fault) => fault.code,
        other => panic!("{other}"),
    }
}

async fn with_signer(test: impl AsyncFnOnce(Signer, FleetId, &std::path::Path)) {
    let dir = tempfile::tempdir().expect("a directory");
    let (tasks, fleet) = (Tasks::new(), random::new_id());
    let client = signer(&tasks, dir.path());
    client.open(fleet).await.expect("opened");
    test(client, fleet, dir.path()).await;
    assert!(tasks.finish(LONG).await, "the signer ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_signs_what_is_recorded_and_nothing_that_contradicts_it() {
    with_signer(async |signer, fleet, _| {
        let (node, token) = (random::new_id(), random::new_id());
        let csr = request();
        let issued = signer.enrol(record(node, token), csr.clone()).await.expect("signed");
        let info = inspect(&issued.chain[0]).expect("one of ours");
        assert_eq!(info.subject, Subject::node(fleet, node));
        assert_eq!(info.not_after.since(info.not_before) / 86_400_000, 30);
        signer.enrol(record(node, token), csr).await.expect("the same key may try again");
        assert_eq!(code(signer.enrol(record(node, token), request()).await), "signer.token_used");
        assert_eq!(code(signer.enrol(record(random::new_id(), token), request()).await), "signer.token_used");
        let late = Enrolment { expires: UnixMs(1), ..record(random::new_id(), random::new_id()) };
        assert_eq!(code(signer.enrol(late, request()).await), "signer.token_expired");
        let unknown = Renewal { node, fingerprint: ContentHash::of(b"another"), shown: Vec::new() };
        assert_eq!(code(signer.renew(unknown, request()).await), "signer.unknown");
        let foreign = Renewal { node: random::new_id(), fingerprint: issued.fingerprint, shown: issued.chain.clone() };
        assert_eq!(code(signer.renew(foreign, request()).await), "signer.unknown");
        assert_eq!(
            code(signer.enrol(record(random::new_id(), random::new_id()), vec![0; 100]).await),
            "signer.request"
        );
        assert_eq!(code(signer.open(random::new_id()).await), "signer.failed", "another fleet");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_asks_for_is_ignored() {
    with_signer(async |signer, fleet, _| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut params = CertificateParams::new(vec!["controller.lampas.internal".to_owned()]).expect("parameters");
        let posing = Subject::controller(fleet, random::new_id()).to_string();
        params.subject_alt_names.push(SanType::URI(posing.try_into().expect("a URI")));
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let csr = params.serialize_request(&key).expect("a request").der().to_vec();
        let node = random::new_id();
        let issued = signer.enrol(record(node, random::new_id()), csr).await.expect("signed");
        assert_eq!(inspect(&issued.chain[0]).expect("one of ours").subject, Subject::node(fleet, node));
        let (_, parsed) = x509_parser::parse_x509_certificate(&issued.chain[0]).expect("a certificate");
        assert!(!parsed.is_ca());
        let names = parsed.subject_alternative_name().expect("parses").expect("there").value.general_names.len();
        assert_eq!(names, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_signed_at_once_and_each_is_logged() {
    with_signer(async |signer, fleet, dir| {
        let token = random::new_id();
        let ask = || {
            let many = Enrolment { uses: 50, ..record(random::new_id(), token) };
            signer.enrol(many, request())
        };
        let outcomes = futures_util::future::join_all((0..60).map(|_| ask())).await;
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 50, "as many as the token allows");
        let log = fs::read_to_string(dir.join("signer/signed.log")).expect("the log");
        assert_eq!(log.lines().count(), 50);
        assert_eq!(signer.open(fleet).await.expect("answers").issued, 50);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_outlives_the_signer_and_a_changed_one_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let fleet = random::new_id();
    let (node, token) = (random::new_id(), random::new_id());
    let log = dir.path().join("signer/signed.log");
    let mut issued = None;
    for round in 0..2 {
        let tasks = Tasks::new();
        let client = signer(&tasks, dir.path());
        client.open(fleet).await.expect("opened");
        if round == 0 {
            issued = Some(client.enrol(record(node, token), request()).await.expect("signed"));
        } else {
            assert_eq!(code(client.enrol(record(node, token), request()).await), "signer.token_used");
            let fingerprint = issued.as_ref().expect("of the first round").fingerprint;
            client.renew(Renewal { node, fingerprint, shown: Vec::new() }, request()).await.expect("it remembers");
        }
        assert!(tasks.finish(LONG).await, "the signer ends");
        // A line that a crash cut off: its certificate never left.
        let mut text = fs::read(&log).expect("the log");
        text.extend_from_slice(b"{\"at\":1");
        fs::write(&log, text).expect("written");
    }
    Authority::open(&dir.path().join("signer"), clock::now()).expect("the torn line is dropped");
    let text = fs::read_to_string(&log).expect("the log");
    assert_eq!(text.lines().count(), 2);
    fs::write(&log, text.lines().nth(1).expect("a line").to_owned() + "\n").expect("written");
    let error = Authority::open(&dir.path().join("signer"), clock::now()).expect_err("a line is missing");
    assert!(lampas_shared::error::Chain(&error).to_string().contains("log was changed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_private_and_the_root_can_be_taken_away() {
    use std::os::unix::fs::PermissionsExt as _;
    with_signer(async |signer, fleet, dir| {
        for entry in fs::read_dir(dir.join("signer")).expect("listed") {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
        }
        let (root, away) = (dir.join("signer/root-1.key"), dir.join("root.key"));
        fs::rename(&root, &away).expect("taken away");
        let info = signer.open(fleet).await.expect("opened");
        assert!(!info.has_root_key);
        signer.enrol(record(random::new_id(), random::new_id()), request()).await.expect("still signs");
        assert_eq!(signer.rotate().await.expect("rotated").roots.len(), 2);
        assert_eq!(signer.retire().await.expect("retired").roots.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_from_a_backup_learns_certificates_that_are_found_in_use() {
    let (dir, restored) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let fleet = random::new_id();
    let (old, node) = (random::new_id(), random::new_id());
    let (tasks, signing) = (Tasks::new(), Tasks::new());
    let before = signer(&tasks, dir.path());
    before.open(fleet).await.expect("opened");
    let replaced = before.enrol(record(old, random::new_id()), request()).await.expect("signed");
    let again = before.enrol(record(old, random::new_id()), request()).await.expect("signed anew");
    fs::create_dir(restored.path().join("signer")).expect("made");
    for entry in fs::read_dir(dir.path().join("signer")).expect("listed") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), restored.path().join("signer").join(entry.file_name())).expect("copied");
    }
    // What the backup doesn't know.
    let later = before.enrol(record(node, random::new_id()), request()).await.expect("signed");

    let after = signer(&signing, restored.path());
    assert_eq!(after.open(fleet).await.expect("opened").issued, 2);
    let shown =
        |node, issued: &super::Issued| Renewal { node, fingerprint: issued.fingerprint, shown: issued.chain.clone() };
    let blind = Renewal { shown: Vec::new(), ..shown(node, &later) };
    assert_eq!(code(after.renew(blind, request()).await), "signer.unknown", "a fingerprint alone proves nothing");
    assert_eq!(code(after.renew(shown(old, &later), request()).await), "signer.unknown", "it names another node");
    assert_eq!(
        code(after.renew(shown(old, &replaced), request()).await),
        "signer.unknown",
        "the log knows it as replaced"
    );
    let posing = Renewal { shown: again.chain.clone(), ..shown(node, &later) };
    assert_eq!(code(after.renew(posing, request()).await), "signer.unknown", "another certificate than it names");

    let foreign = tempfile::tempdir().expect("a directory");
    let elsewhere = signer(&tasks, foreign.path());
    elsewhere.open(random::new_id()).await.expect("opened");
    let stranger = elsewhere.enrol(record(node, random::new_id()), request()).await.expect("signed");
    assert_eq!(code(after.renew(shown(node, &stranger), request()).await), "signer.unknown", "another fleet signed it");

    let renewed = after.renew(shown(node, &later), request()).await.expect("it was found in use");
    after.renew(shown(node, &renewed), request()).await.expect("it goes on as always");
    let log = fs::read_to_string(restored.path().join("signer/signed.log")).expect("the log");
    assert_eq!(log.matches("found_in_use").count(), 1, "{log}");
    assert_eq!(log.lines().count(), 5);
    assert!(signing.finish(LONG).await && tasks.finish(LONG).await, "the signers end");
    Authority::open(&restored.path().join("signer"), clock::now()).expect("the log is whole");
}
