//! Tests of names, files and verifiers, in real handshakes over loopback.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::*;
use crate::{
    clock,
    quic::{ClientTls, Purpose, client_config, dial_from, listen, peer_node, server_config},
    random,
};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// A fleet's authority, as the signer makes it but without an intermediate.
struct Fleet {
    id: FleetId,
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Fleet {
    fn new(id: FleetId) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "test root");
        let root = params.self_signed(&key).expect("signed").der().clone();
        let issuer = Issuer::from_ca_cert_der(&root, key).expect("an issuer");
        Self { id, root, issuer }
    }

    fn trust(&self) -> Trust {
        Trust { fleet: self.id, roots: vec![self.root.clone()] }
    }

    fn issue(&self, subject: &Subject, dns: Option<&str>, from: UnixMs, to: UnixMs) -> Identity {
        let key = PrivateKey::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        let at = |t: UnixMs| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_millis(t.0 as u64);
        (params.not_before, params.not_after) = (at(from), at(to));
        params.subject_alt_names = vec![SanType::URI(subject.to_string().try_into().expect("a URI"))];
        if let Some(dns) = dns {
            params.subject_alt_names.push(SanType::DnsName(dns.try_into().expect("a name")));
        }
        params.extended_key_usages = vec![match subject.who {
            Who::Node(_) => ExtendedKeyUsagePurpose::ClientAuth,
            Who::Controller(_) => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        let certificate = params.signed_by(key.signing(), &self.issuer).expect("signed").der().clone();
        Identity::new(key, vec![certificate]).expect("ours")
    }

    fn controller(&self) -> Identity {
        let now = clock::now();
        let subject = Subject::controller(self.id, random::new_id());
        self.issue(&subject, Some(CONTROLLER_DNS), now.plus_ms(-DAY_MS), now.plus_ms(DAY_MS))
    }

    fn node(&self) -> Identity {
        let now = clock::now();
        self.issue(&Subject::node(self.id, random::new_id()), None, now.plus_ms(-DAY_MS), now.plus_ms(DAY_MS))
    }
}

/// Dials once. Returns who the server saw, or what either side refused with: a client's certificate is judged after
/// the client's own end of the handshake.
async fn handshake(
    server: (&Identity, &Trust),
    verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>,
    client: Option<&Identity>,
) -> Result<Option<NodeId>, String> {
    let listener = listen(
        "127.0.0.1:0".parse().expect("an address"),
        server_config(server.0, server.1).expect("configured"),
        &[7; 32],
    );
    let listener = listener.expect("listens");
    let address = listener.local_addr().expect("an address");
    let identity = client.map(|c| c.certified(&[]).expect("usable"));
    let purpose = if client.is_some() { Purpose::Link } else { Purpose::Enrol };
    let config = client_config(ClientTls { purpose, verifier, identity }).expect("configured");
    let dialler = dial_from(address).expect("a socket");
    let dialled = async {
        let connection = dialler.connect_with(config, address, CONTROLLER_DNS).expect("dials").await;
        let connection = connection.map_err(|e| e.to_string())?;
        // Held until the server has judged.
        let closed = connection.closed().await;
        Ok::<_, String>(closed.to_string())
    };
    let accepted = async {
        let connection = listener.accept().await.expect("open").await.map_err(|e| e.to_string())?;
        let node = peer_node(&connection).map(|(node, _)| node);
        assert_eq!(Purpose::of(&connection), Some(purpose));
        connection.close(0_u32.into(), b"seen");
        Ok::<_, String>(node)
    };
    let (dialled, accepted) = tokio::join!(dialled, accepted);
    dialled.and(accepted)
}

fn trusted(fleet: &Fleet, time: ControllerTime) -> Arc<Trusted> {
    Trusted::new(&fleet.trust(), time).expect("trust")
}

#[test]
fn a_subject_has_one_spelling() {
    let fleet: FleetId = random::new_id();
    let node = Subject::node(fleet, random::new_id());
    let controller = Subject::controller(fleet, random::new_id());
    for subject in [node, controller] {
        assert_eq!(Subject::parse(&subject.to_string()), Some(subject));
    }
    let text = node.to_string();
    for bad in [
        text.to_uppercase(),
        format!("{text}/"),
        format!("{text}/x"),
        text.replace("node", "root"),
        text[9..].to_owned(),
    ] {
        assert_eq!(Subject::parse(&bad), None, "{bad}");
    }
}

#[test]
fn identity_and_trust_survive_the_disk_and_nothing_else_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let fleet = Fleet::new(random::new_id());
    let (identity, path) = (fleet.node(), dir.path().join("identity.pem"));
    assert!(Identity::load(&path).expect("read").is_none());
    identity.store(&path).expect("stored");
    let loaded = Identity::load(&path).expect("read").expect("there");
    assert_eq!(loaded.info(), identity.info());
    fleet.trust().store(&path).expect("stored");
    assert_eq!(Trust::load(&path).expect("read"), Some(fleet.trust()));
    assert!(Identity::load(&path).is_err(), "a set of authorities is no identity");
    let other_key = PrivateKey::generate().expect("a key");
    assert!(Identity::new(other_key, identity.chain().to_vec()).is_err(), "another key");
    assert!(!format!("{loaded:?} {:?}", loaded.key()).contains("PRIVATE"));
}

#[test]
fn an_identity_is_due_when_a_third_is_left() {
    let fleet = Fleet::new(random::new_id());
    let start = UnixMs(1_790_000_000_000);
    let identity = fleet.issue(&Subject::node(fleet.id, random::new_id()), None, start, start.plus_ms(30 * DAY_MS));
    assert!(!identity.is_due(start.plus_ms(19 * DAY_MS)));
    assert!(identity.is_due(start.plus_ms(20 * DAY_MS)));
    assert!(identity.is_due(start.plus_ms(40 * DAY_MS)));
}

#[tokio::test]
async fn node_and_controller_of_one_fleet_know_each_other() {
    let fleet = Fleet::new(random::new_id());
    let (controller, node) = (fleet.controller(), fleet.node());
    let seen = handshake((&controller, &fleet.trust()), trusted(&fleet, ControllerTime::default()), Some(&node)).await;
    let Who::Node(id) = node.info().subject.who else { unreachable!("it was issued to a node") };
    assert_eq!(seen, Ok(Some(id)));
}

#[tokio::test]
async fn a_node_without_a_certificate_gets_through_tls_and_is_nobody() {
    let fleet = Fleet::new(random::new_id());
    let seen = handshake((&fleet.controller(), &fleet.trust()), Pinned::new(pin(&fleet.root)), None).await;
    assert_eq!(seen, Ok(None));
}

#[tokio::test]
async fn foreign_and_misnamed_certificates_are_refused() {
    let id: FleetId = random::new_id();
    let (fleet, foreign) = (Fleet::new(id), Fleet::new(random::new_id()));
    // Signed by somebody else, in our name.
    let forged = Fleet::new(id);
    let time = ControllerTime::default;
    let now = clock::now();
    let refused = |outcome: Result<Option<NodeId>, String>, expected: &str| {
        let why = outcome.expect_err("refused");
        assert!(why.contains(expected), "{why:?} should say {expected:?}");
    };
    let server = (&fleet.controller(), &fleet.trust());
    refused(handshake(server, trusted(&fleet, time()), Some(&foreign.node())).await, "another fleet");
    refused(handshake(server, trusted(&fleet, time()), Some(&forged.node())).await, "");
    refused(handshake(server, trusted(&fleet, time()), Some(&fleet.controller())).await, "not one of a node");
    refused(handshake(server, trusted(&foreign, time()), Some(&fleet.node())).await, "another fleet");
    refused(handshake(server, trusted(&forged, time()), Some(&fleet.node())).await, "");
    refused(handshake(server, Pinned::new(pin(&forged.root)), None).await, "token pins");
    // A node that poses as a controller, a controller without its DNS name, one with another.
    let life = (now.plus_ms(-DAY_MS), now.plus_ms(DAY_MS));
    let node_subject = Subject::node(id, random::new_id());
    let subject = Subject::controller(id, random::new_id());
    let posing = fleet.issue(&node_subject, Some(CONTROLLER_DNS), life.0, life.1);
    refused(handshake((&posing, &fleet.trust()), trusted(&fleet, time()), Some(&fleet.node())).await, "posed");
    for dns in [None, Some("fleet.example")] {
        let unnamed = fleet.issue(&subject, dns, life.0, life.1);
        refused(handshake((&unnamed, &fleet.trust()), trusted(&fleet, time()), Some(&fleet.node())).await, "");
    }
}

#[tokio::test]
async fn either_root_of_a_rotation_is_trusted() {
    let id: FleetId = random::new_id();
    let (old, new) = (Fleet::new(id), Fleet::new(id));
    let both = Trust { fleet: id, roots: vec![old.root.clone(), new.root.clone()] };
    for (controller, node) in [(&old, &new), (&new, &old), (&new, &new)] {
        let verifier = Trusted::new(&both, ControllerTime::default()).expect("trust");
        let seen = handshake((&controller.controller(), &both), verifier, Some(&node.node())).await;
        assert!(matches!(seen, Ok(Some(_))), "{seen:?}");
    }
}

#[tokio::test]
async fn time_is_judged_by_controllers_rather_than_by_the_wall_clock() {
    let fleet = Fleet::new(random::new_id());
    let now = clock::now();
    let issued = |from: i64, to: i64| {
        let subject = Subject::controller(fleet.id, random::new_id());
        fleet.issue(&subject, Some(CONTROLLER_DNS), now.plus_ms(from), now.plus_ms(to))
    };
    let outcome = async |controller: Identity, last: Option<i64>| {
        let time = ControllerTime::from_last(last.map(|ms| now.plus_ms(ms)));
        handshake((&controller, &fleet.trust()), trusted(&fleet, time), Some(&fleet.node())).await.is_ok()
    };
    // This clock says that it has expired, and no controller was ever heard: so it has.
    assert!(!outcome(issued(-20 * DAY_MS, -10 * DAY_MS), None).await);
    // This clock is ten days ahead of the controllers', for which the certificate is alive.
    assert!(outcome(issued(-20 * DAY_MS, -5 * DAY_MS), Some(-10 * DAY_MS)).await);
    // A controller was heard after the end.
    assert!(!outcome(issued(-20 * DAY_MS, -10 * DAY_MS), Some(-9 * DAY_MS)).await);
    // This clock is years behind: what is too young for it is alive.
    assert!(outcome(issued(1000 * DAY_MS, 1030 * DAY_MS), Some(1010 * DAY_MS)).await);
    assert!(outcome(issued(1000 * DAY_MS, 1030 * DAY_MS), Some(990 * DAY_MS)).await);
    assert!(!outcome(issued(1000 * DAY_MS, 1030 * DAY_MS), None).await);
}

#[tokio::test]
async fn an_expired_node_passes_tls_so_that_it_can_renew() {
    let fleet = Fleet::new(random::new_id());
    let now = clock::now();
    let subject = Subject::node(fleet.id, random::new_id());
    let expired = fleet.issue(&subject, None, now.plus_ms(-60 * DAY_MS), now.plus_ms(-30 * DAY_MS));
    let server = (&fleet.controller(), &fleet.trust());
    let seen = handshake(server, trusted(&fleet, ControllerTime::default()), Some(&expired)).await;
    assert!(matches!(seen, Ok(Some(_))), "the link judges expiry afterwards, by its purpose");
}
