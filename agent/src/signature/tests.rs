//! What counts as signed, with real keys and the real `ssh-keygen`.

use std::{path::Path, process::Command};

use lampas_shared::{
    desired::{Generation, Spec},
    fleet::NodeName,
    object::{Kind, ObjectName},
    signature::{NAMESPACE, Part},
    testing,
};

use super::*;
use crate::{policy::Policy, system::sandbox::Helper};

const NOW: UnixMs = UnixMs(1_795_000_000_000);

struct Bench {
    dir: tempfile::TempDir,
    paths: Paths,
    verifier: Verifier,
    ruling: Ruling,
    judge: Judge,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(dir.path());
        std::fs::create_dir_all(dir.path().join("etc/lampas")).expect("made");
        let policy = Policy { require_signature: true, ..Policy::default() };
        let judge = Judge { fleet: Some(fleet(9)), node: node(1), now: NOW, goes_back: false };
        let verifier = Verifier::new(Helper { path: "/usr/bin/env".into(), args: Vec::new(), env: Vec::new() });
        let this = Self { paths, verifier, ruling: Ruling::Known(policy), judge, dir };
        for name in ["ann", "eve"] {
            let status = Command::new("/usr/bin/ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(this.dir.path().join(name))
                .status();
            assert!(status.expect("runs").success());
        }
        this.allow("ann", "");
        this
    }

    fn allow(&self, name: &str, options: &str) {
        let key = std::fs::read_to_string(self.dir.path().join(format!("{name}.pub"))).expect("a key");
        std::fs::write(allowed_signers(&self.paths), format!("# who\n{name}@example.com {options} {key}"))
            .expect("written");
    }

    fn sign(&self, key: &str, namespace: &str, text: &str) -> Signed {
        sign(&self.dir.path().join(key), namespace, text)
    }

    fn consent(&self, ledger: &Ledger) -> Consent {
        Consent::read(self.judge, &self.ruling, (ledger.clone(), &state(vec![])), &self.paths, &self.verifier)
    }

    fn check(&self, ledger: &Ledger, resource: &Resource, expected: Option<&str>) {
        let fault = self.consent(ledger).judge(&self.ruling, resource);
        match (fault, expected) {
            (None, None) => {}
            (Some(fault), Some(expected)) => {
                assert_eq!(fault.code, SIGNATURE);
                assert!(fault.message.contains(expected), "{} has no {expected}", fault.message);
            }
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }
}

fn sign(key: &Path, namespace: &str, text: &str) -> Signed {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("text");
    std::fs::write(&file, text).expect("written");
    let output = Command::new("/usr/bin/ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
        .arg(key)
        .arg(&file)
        .output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let signature = std::fs::read_to_string(dir.path().join("text.sig")).expect("a signature");
    Signed { text: text.to_owned(), signature }
}

fn fleet(n: u128) -> FleetId {
    FleetId::from_uuid(uuid::Uuid::from_u128(n))
}

fn node(n: u128) -> NodeId {
    NodeId::from_uuid(uuid::Uuid::from_u128(n))
}

fn resource(content: &str) -> Resource {
    testing::file("/etc/sudoers.d/ops", "ops", content.as_bytes(), 0o440)
}

fn state(resources: Vec<Resource>) -> NodeDesired {
    NodeDesired::new(node(1), Generation { epoch: 1, counter: 1 }, resources)
}

fn statement(serial: u64, grants: impl IntoIterator<Item = Grant>) -> Statement {
    let web = (node(1), NodeName::parse("web-1").expect("a name"));
    Statement {
        fleet: fleet(9),
        serial,
        expires: NOW.plus_ms(60_000),
        purpose: "change 1".into(),
        parts: vec![Part { nodes: vec![web], grants: grants.into_iter().collect() }],
    }
}

#[test]
fn root_code_comes_only_with_a_signature_that_counts_for_it() {
    let bench = Bench::new();
    let wanted = resource("one");
    let good = statement(5, [Grant::of(&wanted)]);
    let ledger = |signed: Signed| Ledger { statements: vec![signed], ..Ledger::default() };
    bench.check(&Ledger::default(), &wanted, Some("no signature covers it"));
    bench.check(&ledger(bench.sign("ann", NAMESPACE, &good.to_text())), &wanted, None);

    let signed = |s: &Statement| ledger(bench.sign("ann", NAMESPACE, &s.to_text()));
    bench.check(
        &ledger(bench.sign("eve", NAMESPACE, &good.to_text())),
        &wanted,
        Some("is not in /etc/lampas/allowed_signers"),
    );
    bench.check(&ledger(bench.sign("ann", "file", &good.to_text())), &wanted, Some("ssh-keygen says no"));
    let mut forged = bench.sign("ann", NAMESPACE, &good.to_text());
    forged.text = statement(6, [Grant::of(&wanted)]).to_text();
    bench.check(&ledger(forged), &wanted, Some("ssh-keygen says no"));
    bench.check(&signed(&good), &resource("two"), Some("is over something else"));
    bench.check(&signed(&Statement { expires: NOW, ..good.clone() }), &wanted, Some("ended at"));
    bench.check(&signed(&Statement { fleet: fleet(8), ..good.clone() }), &wanted, Some("another fleet"));
    let mut elsewhere = good.clone();
    elsewhere.parts[0].nodes[0].0 = node(2);
    bench.check(&signed(&elsewhere), &wanted, Some("for other nodes"));
    let replayed = Ledger { high: 6, ..signed(&good) };
    bench.check(&replayed, &wanted, Some("is older than 6"));

    // The owner's word: another namespace for this key, and then no keys at all.
    bench.allow("ann", "namespaces=\"git\"");
    bench.check(&signed(&good), &wanted, Some("does not count here"));
    std::fs::remove_file(allowed_signers(&bench.paths)).expect("removed");
    bench.check(&signed(&good), &wanted, Some("there is no"));
}

#[test]
fn what_was_admitted_stays_and_what_it_replaced_needs_a_signature_again() {
    let mut bench = Bench::new();
    let (one, two) = (resource("one"), resource("two"));
    let hold = |serial, r: &Resource| bench.sign("ann", NAMESPACE, &statement(serial, [Grant::of(r)]).to_text());
    let (first, second) = (hold(5, &one), hold(6, &two));
    let kept = BTreeSet::from([(one.target.clone(), one.compute_hash())]);

    let ledger = Ledger { statements: vec![first.clone()], ..Ledger::default() };
    let ledger = bench.consent(&ledger).admit(&bench.ruling, &state(vec![one.clone()]), &kept).expect("changes");
    assert_eq!((ledger.high, ledger.admitted.len()), (5, 1));
    assert_eq!(ledger.admitted[0].by, "ann@example.com");
    assert_eq!(bench.consent(&ledger).admit(&bench.ruling, &state(vec![one.clone()]), &kept), None, "once");
    let alone = Ledger { statements: Vec::new(), ..ledger.clone() };
    bench.judge.now = NOW.plus_ms(1_000_000);
    bench.check(&alone, &one, None);

    bench.judge.now = NOW;
    let both = Ledger { statements: vec![first, second], ..ledger };
    let ledger = bench.consent(&both).admit(&bench.ruling, &state(vec![two.clone()]), &kept).expect("changes");
    assert_eq!(ledger.high, 6);
    bench.check(&ledger, &two, None);
    bench.check(&ledger, &one, Some("is older than 6"));
    bench.judge.goes_back = true;
    bench.check(&ledger, &one, None);
    assert_eq!(bench.consent(&ledger).admit(&bench.ruling, &state(vec![one.clone()]), &kept), None);
    bench.judge.goes_back = false;
    bench.check(&ledger, &one, Some("is older than 6"));

    // What went may not come back by itself either, and nothing is kept for ever.
    let gone = bench.consent(&ledger).admit(&bench.ruling, &state(vec![]), &BTreeSet::new()).expect("changes");
    assert_eq!(gone.admitted, []);
}

#[test]
fn the_way_back_to_what_stood_before_signatures_were_wanted_stays_open() {
    let mut bench = Bench::new();
    let (one, two) = (resource("one"), resource("two"));
    let signed = bench.sign("ann", NAMESPACE, &statement(5, [Grant::of(&two)]).to_text());
    let kept = BTreeSet::from([(one.target.clone(), one.compute_hash())]);
    let ledger = Ledger { statements: vec![signed], ..Ledger::default() };
    let mut ledger = bench.consent(&ledger).admit(&bench.ruling, &state(vec![two.clone()]), &kept).expect("changes");
    bench.judge.goes_back = true;
    bench.check(&ledger, &one, Some("over something else"));
    ledger.remember(&kept, NOW);
    bench.check(&ledger, &one, None);
    bench.judge.goes_back = false;
    bench.check(&ledger, &one, Some("over something else"));
}

#[test]
fn what_no_signature_covers_is_not_filled_in() {
    let bench = Bench::new();
    let (template, filled) = (resource("{{ secret }}"), resource("all"));
    let signed = bench.sign("ann", NAMESPACE, &statement(5, [Grant::of(&template), Grant::of(&filled)]).to_text());
    let ledger = Ledger { statements: vec![signed], ..Ledger::default() };
    let wanted = state(vec![template.clone()]);
    let consent = Consent::read(bench.judge, &bench.ruling, (ledger, &wanted), &bench.paths, &bench.verifier);
    assert_eq!(consent.judge(&bench.ruling, &template), None);
    let fault = consent.judge(&bench.ruling, &filled).expect("refused");
    assert!(fault.message.contains("values of secrets"), "{}", fault.message);
}

#[test]
fn a_signature_covers_secrets_by_reference_where_the_policy_says_so() {
    use lampas_shared::{
        id::SecretValueId,
        template::{Escape, Part, Sealed},
    };
    let mut bench = Bench::new();
    let sealed = |escape| {
        let value = SecretValueId::from_uuid(uuid::Uuid::from_u128(8));
        let name = ObjectName::parse("pw").expect("a name");
        let parts = vec![Part::Text("echo ".into()), Part::Secret { name, value, escape }];
        let texts = [(Sealed::CONTENT.to_owned(), parts)].into();
        let base = Box::new(resource("").spec);
        Resource { spec: Spec::Sealed(Sealed { base, texts, fault: None }), ..resource("") }
    };
    let verdict = |bench: &Bench, of: &Resource, value: &str| {
        let signed = bench.sign("ann", NAMESPACE, &statement(5, [Grant::of(of)]).to_text());
        let wanted = state(vec![of.clone()]);
        let ledger = Ledger { statements: vec![signed], ..Ledger::default() };
        let consent = Consent::read(bench.judge, &bench.ruling, (ledger, &wanted), &bench.paths, &bench.verifier);
        let admitted = consent.admit(&bench.ruling, &wanted, &BTreeSet::new());
        let mut filled = vec![of.clone()];
        let secrets = Secrets::fill(&mut filled, Default::default(), &|_| Ok(value.to_owned()));
        (consent.judge_filled(&bench.ruling, &filled[0], &secrets).map(|f| f.message), admitted.is_some())
    };
    let (refused, admitted) = verdict(&bench, &sealed(Escape::Raw), "hunter2");
    assert!(refused.is_some_and(|m| m.contains("signed_secrets = true")) && !admitted);
    let policy = Policy { require_signature: true, signed_secrets: true, ..Policy::default() };
    bench.ruling = Ruling::Known(policy);
    assert_eq!(verdict(&bench, &sealed(Escape::Raw), "hunter2"), (None, true));
    for escape in [Escape::Raw, Escape::Shell, Escape::Quoted] {
        let (refused, _) = verdict(&bench, &sealed(escape), "x; rm -rf /");
        let refused = refused.expect("could become code");
        assert!(refused.contains("secret pw") && !refused.contains("rm -rf"), "{refused}");
    }
    assert_eq!(verdict(&bench, &sealed(Escape::Base64), "x; rm -rf /").0, None);
    // The same text with another value of the same secret is another thing.
    let mut other = sealed(Escape::Raw);
    if let Spec::Sealed(sealed) = &mut other.spec
        && let Some(Part::Secret { value, .. }) = sealed.texts.get_mut(Sealed::CONTENT).and_then(|p| p.last_mut())
    {
        *value = SecretValueId::from_uuid(uuid::Uuid::from_u128(9));
    }
    assert_ne!(other.compute_hash(), sealed(Escape::Raw).compute_hash());
}

#[test]
fn what_goes_needs_a_signature_as_well() {
    let bench = Bench::new();
    let removal = |path| Removal { path, kind: Kind::File, files: [Some((0, 0, 0o440)), None], jobs_of: &[] };
    let grant = Grant::Remove { kind: Kind::File, path: "/etc/sudoers.d/ops".into() };
    let signed = bench.sign("ann", NAMESPACE, &statement(5, [grant]).to_text());
    let ledger = Ledger { statements: vec![signed], ..Ledger::default() };
    let consent = bench.consent(&ledger);
    assert_eq!(consent.judge_removal(&bench.ruling, &removal("/etc/sudoers.d/ops")), None);
    assert!(consent.judge_removal(&bench.ruling, &removal("/etc/sudoers.d/other")).is_some());
    let after = consent.admit(&bench.ruling, &state(vec![]), &BTreeSet::new()).expect("the serial is used");
    assert_eq!(after.high, 5);
}

#[test]
fn a_run_uses_its_statement_up() {
    let bench = Bench::new();
    let program = ContentHash::of(b"program");
    let grant = Grant::Run { hash: program, title: "df".into() };
    let signed = bench.sign("ann", NAMESPACE, &statement(5, [grant]).to_text());
    let ledger = Ledger { statements: vec![signed], ..Ledger::default() };
    assert_eq!(bench.consent(&ledger).of_run(program), Ok(5));
    assert!(bench.consent(&ledger).of_run(ContentHash::of(b"other")).is_err());
    let over = |signed: &Signed, judge| Consent::over(judge, signed, &bench.paths, &bench.verifier).of_run(program);
    assert_eq!(over(&ledger.statements[0], bench.judge), Ok(5));
    for (judge, why) in [
        (Judge { node: node(2), ..bench.judge }, "is for other nodes"),
        (Judge { fleet: Some(fleet(8)), ..bench.judge }, "is for another fleet"),
        (Judge { now: NOW.plus_ms(10 * 86_400_000), ..bench.judge }, "ended at"),
    ] {
        assert!(over(&ledger.statements[0], judge).expect_err(why).contains(why));
    }
    // Another byte, the signature being the same.
    let text = ledger.statements[0].text.replace("df", "dg");
    let altered = Signed { text, ..ledger.statements[0].clone() };
    assert!(over(&altered, bench.judge).expect_err("altered").contains("does not count here"));
    let foreign = bench.sign("eve", NAMESPACE, &ledger.statements[0].text);
    assert!(over(&foreign, bench.judge).expect_err("a stranger's").contains("is not in /etc/lampas/allowed_signers"));
}

/// A signature as a FIDO key makes it (PROTOCOL.u2f of OpenSSH): an Ed25519 one over a blob of the authenticator.
fn sk_signed(text: &str) -> (String, Signed) {
    use aws_lc_rs::{
        digest::{SHA256, digest},
        signature::{Ed25519KeyPair, KeyPair as _},
    };
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    const TYPE: &[u8] = b"sk-ssh-ed25519@openssh.com";
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let sha = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
    let key = Ed25519KeyPair::generate().expect("a key");
    let public = [string(TYPE), string(key.public_key().as_ref()), string(b"ssh:")].concat();
    let about = [string(NAMESPACE.as_bytes()), string(b""), string(b"sha256")].concat();
    let message = [b"SSHSIG".to_vec(), about.clone(), string(&sha(text.as_bytes()))].concat();
    let (present, counter) = ([1_u8], 7_u32.to_be_bytes());
    let data = [sha(b"ssh:"), present.to_vec(), counter.to_vec(), sha(&message)].concat();
    let signature = [string(TYPE), string(key.sign(&data).as_ref()), present.to_vec(), counter.to_vec()].concat();
    let blob = [b"SSHSIG".to_vec(), 1_u32.to_be_bytes().to_vec(), string(&public), about, string(&signature)].concat();
    let body = STANDARD.encode(blob);
    let lines: Vec<&str> = body.as_bytes().chunks(70).map(|l| std::str::from_utf8(l).expect("ASCII")).collect();
    let armour = format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"));
    let public = format!("{} {}", std::str::from_utf8(TYPE).expect("ASCII"), STANDARD.encode(public));
    (public, Signed { text: text.to_owned(), signature: armour })
}

#[test]
fn signatures_of_fido_keys_count() {
    let bench = Bench::new();
    let program = ContentHash::of(b"program");
    let grant = Grant::Run { hash: program, title: "df".into() };
    let (public, signed) = sk_signed(&statement(5, [grant]).to_text());
    let over = |signed: &Signed| Consent::over(bench.judge, signed, &bench.paths, &bench.verifier).of_run(program);
    assert!(over(&signed).expect_err("not on the list").contains("is not in /etc/lampas/allowed_signers"));
    std::fs::write(allowed_signers(&bench.paths), format!("ann@example.com {public}\n")).expect("written");
    assert_eq!(over(&signed), Ok(5));
    let altered = Signed { text: signed.text.replace("df", "dg"), ..signed };
    assert!(over(&altered).expect_err("altered").contains("does not count here"));
}

#[test]
fn values_that_can_become_code_are_told_apart() {
    for good in ["hunter2", "a_b.c+d/e=f-g@h", "", "QUJD=="] {
        assert!(is_inert(good), "{good}");
    }
    for bad in ["a b", "$(id)", "a;b", "a\nb", "'", "\"", "`id`", "-rf", "a\\b", "ü", "%x", "a:b"] {
        assert!(!is_inert(bad), "{bad}");
    }
}

#[test]
fn the_principals_are_told() {
    let keys = "# x\nann@example.com,bob ssh-ed25519 AAAA\n\n\"c d\" namespaces=\"x\" ssh-ed25519 AAAA\n";
    assert_eq!(signers(keys), ["ann@example.com,bob", "c d"]);
}
