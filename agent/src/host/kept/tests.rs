//! What stands on the disk of kept copies, what opens, and what a purge takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use lampas_shared::id::SecretValueId;

use super::*;
use crate::host::ownership::FileMeta;

const CANARY: &[u8] = b"password=canary-of-the-copies\n";
const PLAIN: &[u8] = b"nothing of interest\n";

struct Disk {
    dir: tempfile::TempDir,
    root: Root,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("var/lib/lampas/agent")).expect("made");
        let root = Root::open(dir.path()).expect("opens");
        Self { dir, root }
    }

    fn kept(&self) -> PathBuf {
        self.dir.path().join("var/lib/lampas/agent/kept")
    }

    /// Returns the names of the copies below a directory whose bytes show the canary.
    fn shown(&self) -> Vec<String> {
        let mut shown = Vec::new();
        for directory in [self.kept(), self.kept().join("by-hand")] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten().filter(|e| e.path().is_file()) {
                let bytes = fs::read(entry.path()).expect("read");
                if bytes.windows(6).any(|w| w == b"canary") {
                    shown.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        shown
    }

    fn by_hand(&self) -> Vec<String> {
        copies(&self.root).expect("listed").into_iter().map(|copy| copy.name).collect()
    }
}

fn value(number: u128) -> SecretValueId {
    SecretValueId::from_uuid(uuid::Uuid::from_u128(number))
}

fn owned(values: &[u128], before: Before) -> Owned {
    let values: BTreeSet<SecretValueId> = values.iter().map(|n| value(*n)).collect();
    let holds_secrets = !values.is_empty();
    Owned { claims: BTreeMap::new(), known: BTreeSet::new(), before, holds_secrets, values }
}

fn ownership(places: &[(&str, Owned)]) -> Ownership {
    Ownership { places: places.iter().map(|(path, owned)| ((*path).to_owned(), owned.clone())).collect() }
}

fn file(hash: ContentHash) -> Before {
    Before::File { hash, meta: FileMeta::default() }
}

fn holds(values: &[u128]) -> Holds {
    Holds::Values(values.iter().map(|n| value(*n)).collect())
}

#[test]
fn what_may_hold_secrets_is_sealed_and_comes_back_whole() {
    let disk = Disk::new();
    let hash = keep(&disk.root, "/etc/app", holds(&[1]), CANARY).expect("kept");
    keep_by_hand(&disk.root, "/etc/app", 0, &holds(&[1]), CANARY).expect("kept");
    keep_note(&disk.root, "password-ann", &Holds::Any, CANARY).expect("kept");
    keep(&disk.root, "/etc/motd", Holds::Nothing, PLAIN).expect("kept");
    assert_eq!(disk.shown(), [""; 0], "nothing of it stands in plain");
    let digits = ContentHash::of(CANARY).short();
    assert!(!disk.by_hand().iter().any(|name| name.contains(&digits)), "no name says what a guess could be tried on");
    assert_eq!(original(&disk.root, &hash).as_deref(), Some(CANARY));
    assert_eq!(note(&disk.root, "password-ann").as_deref(), Some(CANARY));
    let name = disk.by_hand().pop().expect("a copy");
    assert_eq!(copy(&disk.root, &name).expect("read").as_deref(), Some(CANARY));
    assert_eq!(copy(&disk.root, "../ownership.json").expect("read"), None);
    let plain = fs::read(disk.kept().join(ContentHash::of(PLAIN).to_string())).expect("read");
    assert_eq!(plain, PLAIN, "what holds none stands as it was");

    // What was kept in plain before is sealed when secrets come to it, and not opened again by what holds none.
    let hash = keep(&disk.root, "/etc/b", Holds::Nothing, b"canary too\n").expect("kept");
    assert_eq!(disk.shown(), [hash.to_string()]);
    for holds in [holds(&[2]), Holds::Nothing, holds(&[3])] {
        keep(&disk.root, "/etc/b", holds, b"canary too\n").expect("kept");
        assert_eq!(disk.shown(), [""; 0]);
    }
    assert_eq!(original(&disk.root, &hash).as_deref(), Some(&b"canary too\n"[..]));

    // Without the key nothing opens, and a damaged copy is none.
    fs::remove_file(disk.dir.path().join("var/lib/lampas/agent/secret-key")).expect("removed");
    assert_eq!(original(&disk.root, &hash), None);
    assert_eq!(copy(&disk.root, &name).expect("read"), None);
}

#[test]
fn a_file_that_looks_sealed_is_what_it_is() {
    let disk = Disk::new();
    let sealed = sealed::stored(&disk.root, "/etc/a", &holds(&[1]), CANARY).expect("sealed");
    for bytes in [sealed.as_slice(), b"lampas kept/1\n", b"lampas kept/1\n{}\n", b"lampas kept/1\n{\"values\":[]}\nxyz"]
    {
        let hash = keep(&disk.root, "/etc/a", Holds::Nothing, bytes).expect("kept");
        assert_eq!(original(&disk.root, &hash).as_deref(), Some(bytes));
        let hash = keep(&disk.root, "/etc/a", holds(&[1]), bytes).expect("kept");
        assert_eq!(original(&disk.root, &hash).as_deref(), Some(bytes), "sealed once more");
    }
}

#[test]
fn a_purge_takes_what_may_hold_the_value_and_leaves_the_rest() {
    let disk = Disk::new();
    let before = keep(&disk.root, "/etc/app", holds(&[]), b"canary of before\n").expect("kept");
    keep(&disk.root, "/etc/app", holds(&[1]), CANARY).expect("kept");
    let taken = keep(&disk.root, "/etc/old", holds(&[1]), b"canary in an original\n").expect("kept");
    keep_by_hand(&disk.root, "/etc/one", 0, &holds(&[1]), b"canary 1\n").expect("kept");
    keep_by_hand(&disk.root, "/etc/two", 0, &holds(&[2]), b"canary 2\n").expect("kept");
    keep_by_hand(&disk.root, "/etc/any", 0, &Holds::Any, b"canary any\n").expect("kept");
    keep_by_hand(&disk.root, "/etc/motd", 0, &Holds::Nothing, PLAIN).expect("kept");
    keep_note(&disk.root, "password-ann", &Holds::Any, CANARY).expect("kept");
    keep_note(&disk.root, "members-app", &Holds::Nothing, b"ann\n").expect("kept");
    let owns = ownership(&[("/etc/app", owned(&[2], file(before))), ("/etc/old", owned(&[2], file(taken)))]);
    // What a kill left of a write.
    let beside = disk.dir.path().join(format!("etc/.lampas-{}.new", ContentHash::of(b"app").short()));
    fs::create_dir_all(disk.dir.path().join("etc")).expect("made");
    fs::write(&beside, CANARY).expect("written");

    let mut removed = Vec::new();
    let stay =
        purge(&disk.root, &owns, &[], &[value(1)].into(), &mut |name| removed.push(name.to_owned())).expect("purged");
    removed.sort();
    assert_eq!(removed.len(), 3, "{removed:?}");
    assert!(removed[0].starts_with("by-hand/etc_any-") && removed[1].starts_with("by-hand/etc_one-"), "{removed:?}");
    assert_eq!(removed[2], "note-password-ann");
    assert_eq!(stay, [("/etc/old".to_owned(), value(1))], "what comes back is named, and stays");
    let mut left: Vec<String> = disk.by_hand();
    left.sort();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].starts_with("etc_motd-") && left[1].starts_with("etc_two-"), "{left:?}");
    assert_eq!(note(&disk.root, "password-ann"), None);
    assert_eq!(note(&disk.root, "members-app").as_deref(), Some(&b"ann\n"[..]));
    assert_eq!(original(&disk.root, &ContentHash::of(CANARY)), None, "nobody goes back to it any more");
    assert!(original(&disk.root, &before).is_some() && original(&disk.root, &taken).is_some());
    assert!(!beside.exists());
    let removed = &mut |name: &str| panic!("{name} holds none of it");
    assert_eq!(purge(&disk.root, &owns, &[], &[value(3)].into(), removed).expect("purged"), []);
}

#[test]
fn what_an_earlier_agent_kept_in_plain_is_sealed_once() {
    let disk = Disk::new();
    let secret = keep(&disk.root, "/etc/app", Holds::Nothing, CANARY).expect("kept");
    let plain = keep(&disk.root, "/etc/motd", Holds::Nothing, PLAIN).expect("kept");
    for path in ["/etc/app", "/etc/gone", "/etc/motd"] {
        keep_by_hand(&disk.root, path, 0, &Holds::Nothing, format!("canary by hand of {path}\n").as_bytes())
            .expect("kept");
    }
    keep_note(&disk.root, "password-ann", &Holds::Nothing, b"$6$canary").expect("kept");
    let owns = ownership(&[("/etc/app", owned(&[1], file(secret))), ("/etc/motd", owned(&[], file(plain)))]);
    // A name that somebody else chose, of which the last eight bytes begin within a letter.
    fs::write(disk.kept().join("by-hand/größe.txt"), CANARY).expect("written");
    for _ in 0..2 {
        seal_earlier(&disk.root, &owns, &[]).expect("sealed");
        let shown = disk.shown();
        assert!(shown.len() == 1 && shown[0].starts_with("etc_motd-"), "what is known to hold none stays: {shown:?}");
    }
    assert_eq!(original(&disk.root, &secret).as_deref(), Some(CANARY));
    assert_eq!(copy(&disk.root, "größe.txt.sealed").expect("read").as_deref(), Some(CANARY));
    assert_eq!(note(&disk.root, "password-ann").as_deref(), Some(&b"$6$canary"[..]));
    let gone = disk.by_hand().into_iter().find(|name| name.starts_with("etc_gone-")).expect("kept");
    assert_eq!(copy(&disk.root, &gone).expect("read").as_deref(), Some(&b"canary by hand of /etc/gone\n"[..]));
    // What is kept afterwards says itself what it is.
    keep_by_hand(&disk.root, "/etc/gone", 0, &Holds::Nothing, PLAIN).expect("kept");
    seal_earlier(&disk.root, &owns, &[]).expect("nothing to do");
    assert!(
        disk.by_hand()
            .contains(&by_hand_path(&disk.root, "/etc/gone", 0, PLAIN).rsplit('/').next().expect("a name").to_owned())
    );

    forget_sealed(&disk.root).expect("gone");
    assert_eq!(disk.by_hand().len(), 2, "{:?}", disk.by_hand());
    assert!(original(&disk.root, &secret).is_none() && note(&disk.root, "password-ann").is_none());
}

#[test]
fn what_is_no_file_among_the_copies_holds_nothing_and_keeps_no_purge() {
    let disk = Disk::new();
    keep_by_hand(&disk.root, "/etc/one", 0, &holds(&[1]), CANARY).expect("kept");
    let by_hand = disk.kept().join("by-hand");
    for directory in [by_hand.join("aside"), disk.kept().join("note-old"), disk.kept().join("0".repeat(64))] {
        fs::create_dir_all(directory.join("within")).expect("made");
    }
    std::os::unix::fs::symlink("/etc/passwd", by_hand.join("link")).expect("linked");
    let removed = &mut Vec::new();
    for _ in 0..2 {
        let stay = purge(&disk.root, &ownership(&[]), &[], &[value(1)].into(), &mut |name| {
            removed.push(name.to_owned());
        });
        assert_eq!(stay.expect("purged"), []);
    }
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert_eq!(disk.by_hand(), [""; 0]);
    seal_earlier(&disk.root, &ownership(&[]), &[]).expect("sealed");
    forget_sealed(&disk.root).expect("forgotten");
    keep_by_hand(&disk.root, "/etc/two", 0, &Holds::Nothing, PLAIN).expect("kept");
    assert!(by_hand.join("aside/within").is_dir() && by_hand.join("link").is_symlink(), "they stay");
}

#[test]
fn a_user_who_edits_again_and_again_takes_no_copy_of_roots_away() {
    let disk = Disk::new();
    fs::create_dir_all(disk.dir.path().join("etc")).expect("made");
    let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
    fs::write(disk.dir.path().join("etc/passwd"), passwd).expect("written");
    for path in ["/etc/motd", "/root/.profile"] {
        keep_by_hand(&disk.root, path, 0, &Holds::Nothing, PLAIN).expect("kept");
    }
    let large = vec![b'x'; 6 << 20];
    for n in 0..100 {
        let text = format!("{n}\n");
        for (path, owner) in [("/home/ann/.profile", 0), ("/srv/app/conf", 1000), ("/var/spool/cron/crontabs/ann", 0)] {
            keep_by_hand(&disk.root, path, owner, &Holds::Nothing, text.as_bytes()).expect("kept");
        }
        if n % 20 == 0 {
            keep_by_hand(&disk.root, "/srv/app/data", 1000, &Holds::Nothing, &[&large, text.as_bytes()].concat())
                .expect("kept");
        }
    }
    let names = disk.by_hand();
    let of_root: Vec<&String> = names.iter().filter(|name| !name.starts_with(OF_USERS)).collect();
    assert_eq!(of_root.len(), 2, "{of_root:?}");
    let of_users: Vec<&String> = names.iter().filter(|name| name.starts_with(OF_USERS)).collect();
    let size = |name: &&String| fs::metadata(disk.kept().join("by-hand").join(name)).expect("stat").len();
    assert!(of_users.len() <= MAX_BY_USERS && of_users.iter().map(size).sum::<u64>() <= MAX_BY_USERS_BYTES);
    assert!(of_users.iter().any(|name| name.contains("home_ann_.profile-")), "the latest are there: {of_users:?}");
}
