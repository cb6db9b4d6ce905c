//! A file is read again when anything was done to it, and only then.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use lampas_shared::desired::{Content, Resource, Spec};
use proptest::prelude::*;

use super::fixture::{Host, ann, file, is_root};

/// A file whose content has to be asked for, so that whoever plans it anew without having it fails.
fn fetched(path: &str, text: &str) -> Resource {
    let mut resource = file(path, text);
    if let Spec::File { content, .. } = &mut resource.spec {
        *content = Content { inline: None, ..Content::of(text.as_bytes()) };
    }
    resource
}

/// A host that looks from a minute ahead, where nothing was written just now, with one file that was looked at.
fn looked_at() -> (Host, Vec<Resource>) {
    let mut host = Host::new();
    host.looks.ahead_ms = 60_000;
    let resources = vec![fetched("/etc/motd", "one\n")];
    let Spec::File { content, .. } = &resources[0].spec else { unreachable!("a file") };
    host.contents.insert(content.hash, b"one\n".to_vec());
    host.apply(&resources);
    (host, resources)
}

/// Waits until the file system's clock has moved, as it has between any two looks that are seconds apart.
fn tick(host: &Host) {
    let scratch = host.path("scratch");
    let now = || {
        fs::write(&scratch, "x").expect("written");
        let meta = fs::metadata(&scratch).expect("there");
        (meta.ctime(), meta.ctime_nsec())
    };
    let before = now();
    while now() == before {
        std::thread::yield_now();
    }
}

fn set_time(path: &Path, meta: &fs::Metadata) {
    let at = std::time::UNIX_EPOCH + Duration::new(meta.mtime() as u64, meta.mtime_nsec() as u32);
    fs::File::options().write(true).open(path).expect("opened").set_modified(at).expect("set");
}

/// What people and programs do to a file.
#[derive(Debug, Clone, Copy)]
enum Act {
    Nothing,
    Read,
    Same,
    InPlace,
    BackDated,
    Replaced,
    ReplacedBackDated,
    Mode,
    Owner,
    Gone,
}

const ACTS: [Act; 10] = [
    Act::Nothing,
    Act::Read,
    Act::Same,
    Act::InPlace,
    Act::BackDated,
    Act::Replaced,
    Act::ReplacedBackDated,
    Act::Mode,
    Act::Owner,
    Act::Gone,
];

impl Act {
    /// Does it; every text is as long as any other.
    fn do_it(self, path: &Path, letter: char) {
        let text = format!("{letter}{letter}{letter}\n");
        let old = fs::metadata(path).ok();
        let back = |at: &Path| old.iter().for_each(|old| set_time(at, old));
        let beside = path.with_extension("beside");
        match self {
            Self::Nothing => {}
            Self::Read => drop(fs::read(path)),
            Self::Same => fs::write(path, "one\n").expect("written"),
            Self::InPlace => fs::write(path, text).expect("written"),
            Self::BackDated => {
                fs::write(path, text).expect("written");
                back(path);
            }
            Self::Replaced | Self::ReplacedBackDated => {
                fs::write(&beside, text).expect("written");
                if matches!(self, Self::ReplacedBackDated) {
                    back(&beside);
                }
                fs::rename(&beside, path).expect("renamed");
            }
            Self::Mode if old.is_some() => {
                let mode = if letter < 'n' { 0o600 } else { 0o644 };
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
            }
            Self::Owner if old.is_some() && is_root() => {
                std::os::unix::fs::chown(path, Some(if letter < 'n' { ann() } else { 0 }), None).expect("chown");
            }
            Self::Mode | Self::Owner => {}
            Self::Gone => drop(fs::remove_file(path)),
        }
    }
}

#[test]
fn what_nobody_touched_is_not_read() {
    let (mut host, resources) = looked_at();
    host.contents.clear();
    assert!(host.plan(&resources).is_empty(), "its content is not asked for: {:?}", host.plan(&resources));
    fs::read(host.path("etc/motd")).expect("read");
    assert_eq!(host.plan(&resources).items[0].fault, None, "who reads it does not touch it");
    tick(&host);
    host.write("etc/motd", "one\n");
    let code = host.plan(&resources).items[0].fault.clone().map(|f| f.code);
    assert_eq!(code.as_deref(), Some("file.content_missing"), "a touched one is planned anew");
}

#[test]
fn every_change_by_hand_is_seen() {
    for act in ACTS.into_iter().skip(3).filter(|a| is_root() || !matches!(a, Act::Owner)) {
        let (host, resources) = looked_at();
        assert!(host.plan(&resources).is_empty());
        tick(&host);
        act.do_it(&host.path("etc/motd"), 'b');
        assert!(host.plan(&resources).items[0].is_drifted, "{act:?}");
    }
}

#[test]
fn a_file_that_was_just_written_is_read_again_whatever_its_stamp_says() {
    let (mut host, resources) = looked_at();
    host.looks.ahead_ms = 0;
    // No tick in between: both edits may well bear the same times.
    for letter in 'a'..='z' {
        Act::Same.do_it(&host.path("etc/motd"), letter);
        assert!(host.plan(&resources).is_empty());
        Act::BackDated.do_it(&host.path("etc/motd"), letter);
        assert!(host.plan(&resources).items[0].is_drifted, "{letter}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_from_memory_is_the_plan_of_who_reads_everything(
        acts in prop::collection::vec((prop::sample::select(&ACTS[..]), prop::char::range('a', 'z'), any::<bool>()), 1..12)
    ) {
        let (host, resources) = looked_at();
        for (act, letter, looks) in acts {
            tick(&host);
            act.do_it(&host.path("etc/motd"), letter);
            if !looks {
                continue;
            }
            let remembered = host.plan(&resources);
            let read = host.with_inputs(&resources, |inputs| {
                crate::host::plan(&host.root, &crate::host::Inputs { looks: None, ..*inputs })
            });
            prop_assert_eq!(remembered.observed, read.observed);
            prop_assert_eq!(remembered.is_empty(), read.is_empty());
            let shown = |p: &crate::host::HostPlan| {
                let items = p.items.iter();
                items.map(|i| (i.is_drifted, i.verb, i.fault.clone(), i.diff.clone(), i.drift_diff.clone())).collect::<Vec<_>>()
            };
            prop_assert_eq!(shown(&remembered), shown(&read), "{:?}", act);
        }
    }
}
