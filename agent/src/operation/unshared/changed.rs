//! What a rehearsal would have changed: what its overlays hold, beside what stands on the node.
//!
//! It is read as root, and whoever rehearses has a hand in both sides: in the copy a file or a directory may stand where
//! on the node a link leads to what they may not read, and the node's own side may be swapped meanwhile. So no link is
//! followed and no file system left on the way, and content is shown of regular files that everybody may read, by the
//! descriptor that was looked at.

use std::{
    fs::{self, File, Metadata},
    io::Read as _,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use similar::TextDiff;

/// The most that is told of one file, and of all.
const FILE_BYTES: usize = 16 << 10;
const ALL_BYTES: usize = 256 << 10;
/// The most files that are looked at.
const MAX_FILES: usize = 20_000;
/// What is longer is not compared line by line.
const TEXT_BYTES: u64 = 512 << 10;

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// One file system of the copy: where it stands, and what was written to it.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) at: String,
    pub(super) upper: PathBuf,
}

/// What stands at a path on one side, by a descriptor that nobody can swap.
struct Side {
    file: File,
    meta: Metadata,
}

impl Side {
    /// Looks below a directory; `None` when nothing is there, or a link would lead to it.
    fn look(dir: &Path, relative: &Path) -> Option<Self> {
        let dir = File::open(dir).ok()?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat2(&dir, relative, flags, Mode::empty(), RESOLVE).ok()?);
        let meta = file.metadata().ok()?;
        Some(Self { file, meta })
    }

    /// Returns whether everybody may read it, and it is a file that can be read without waiting.
    fn is_public(&self) -> bool {
        self.meta.is_file() && self.meta.mode() & 0o004 != 0
    }

    /// Reads a regular file, as far as it is compared.
    fn read(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.meta.is_file()
            && let Ok(file) = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
        {
            // What can't be read is shown as empty.
            let _ = file.take(TEXT_BYTES).read_to_end(&mut bytes);
        }
        bytes
    }

    /// Returns where a link leads; nothing for whatever is none.
    fn link(&self) -> Option<String> {
        let to = rustix::fs::readlinkat(&self.file, "", Vec::new()).ok()?;
        Some(to.to_string_lossy().into_owned())
    }
}

/// What happened to one file.
struct Change {
    mark: char,
    path: String,
    /// What there is to say, and the difference.
    more: String,
}

/// Tells what layers hold; the run's own directory is left out.
pub(super) fn tell(layers: &[Layer], spool: &Path) -> String {
    let mut found = Vec::new();
    let mut is_cut = false;
    for layer in layers {
        walk(layer, Path::new(""), spool, &mut found, &mut is_cut);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let count = found.len();
    let mut out = match count {
        0 => return "would change nothing\n".to_owned(),
        1 => "would change this file:\n".to_owned(),
        _ => format!("would change these {count} files:\n"),
    };
    for change in found {
        let text = format!("  {} {}{}\n", change.mark, change.path, change.more);
        if out.len() + text.len() > ALL_BYTES {
            is_cut = true;
            break;
        }
        out.push_str(&text);
    }
    if is_cut {
        out.push_str("  … and more, which is not shown\n");
    }
    out
}

fn walk(layer: &Layer, below: &Path, spool: &Path, found: &mut Vec<Change>, is_cut: &mut bool) {
    let Ok(list) = fs::read_dir(layer.upper.join(below)) else { return };
    for item in list.flatten() {
        if found.len() >= MAX_FILES {
            *is_cut = true;
            return;
        }
        let relative = below.join(item.file_name());
        let Some(new) = Side::look(&layer.upper, &relative) else { continue };
        let old = Path::new(&layer.at).join(&relative);
        if old.starts_with(spool) || spool.starts_with(&old) && !new.meta.is_dir() {
            continue;
        }
        let before = Side::look(Path::new(&layer.at), &relative);
        let path = old.display().to_string();
        let mark = if before.is_some() { '~' } else { '+' };
        let kind = new.meta.file_type();
        // A whiteout: overlayfs marks what is gone by a character device 0/0.
        if kind.is_char_device() && new.meta.rdev() == 0 {
            if before.is_some() {
                found.push(Change { mark: '-', path, more: String::new() });
            }
        } else if kind.is_dir() {
            match &before {
                Some(was) if was.meta.is_dir() => {
                    if let Some(more) = access_change(&was.meta, &new.meta) {
                        found.push(Change { mark, path: format!("{path}/"), more });
                    }
                }
                _ => found.push(Change { mark: '+', path: format!("{path}/"), more: String::new() }),
            }
            walk(layer, &relative, spool, found, is_cut);
        } else if let Some(to) = new.link() {
            if before.and_then(|was| was.link()).as_ref() != Some(&to) {
                found.push(Change { mark, path, more: format!(" -> {to}") });
            }
        } else if !kind.is_file() {
            found.push(Change { mark, path, more: " (no regular file)".to_owned() });
        } else if let Some(change) = file_change(before.as_ref(), &new, path) {
            found.push(change);
        }
    }
}

fn file_change(before: Option<&Side>, new: &Side, path: String) -> Option<Change> {
    let meta = &new.meta;
    let Some(was) = before.filter(|was| was.meta.is_file()) else {
        let mark = if before.is_some() { '~' } else { '+' };
        let size = format!(" ({} bytes, {}, mode {:04o})", meta.len(), owner(meta), meta.mode() & 0o7777);
        let shown = if new.is_public() { difference(b"", &new.read()) } else { String::new() };
        return Some(Change { mark, path, more: size + &shown });
    };
    let access = access_change(&was.meta, meta).unwrap_or_default();
    let (a, b) = (was.read(), new.read());
    if was.meta.len() == meta.len() && a == b {
        // Opened for writing, and left as it was.
        return (!access.is_empty()).then_some(Change { mark: '~', path, more: access });
    }
    let shown = if was.is_public() && new.is_public() {
        difference(&a, &b)
    } else {
        " (not world-readable: its content is not shown)".to_owned()
    };
    Some(Change { mark: '~', path, more: access + &shown })
}

fn access_change(was: &Metadata, is: &Metadata) -> Option<String> {
    let mode = |m: &Metadata| m.mode() & 0o7777;
    let mut more = String::new();
    if mode(was) != mode(is) {
        more.push_str(&format!(" (mode {:04o} -> {:04o})", mode(was), mode(is)));
    }
    if (was.uid(), was.gid()) != (is.uid(), is.gid()) {
        more.push_str(&format!(" (owner {} -> {})", owner(was), owner(is)));
    }
    (!more.is_empty()).then_some(more)
}

fn owner(meta: &Metadata) -> String {
    format!("{}:{}", meta.uid(), meta.gid())
}

/// Returns the difference of two texts, a line each, indented; for other bytes only that they differ.
fn difference(old: &[u8], new: &[u8]) -> String {
    let is_text = |b: &[u8]| !b.contains(&0) && std::str::from_utf8(b).is_ok() && (b.len() as u64) < TEXT_BYTES;
    if !is_text(old) || !is_text(new) {
        return " (not text: the difference is not shown)".to_owned();
    }
    let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
    let diff = TextDiff::from_lines(old.as_ref(), new.as_ref());
    let mut out = String::new();
    for line in diff.unified_diff().context_radius(3).to_string().lines() {
        if out.len() + line.len() > FILE_BYTES {
            out.push_str("\n      … (the rest is not shown)");
            break;
        }
        out.push_str("\n      ");
        out.push_str(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().expect("has a parent")).expect("a directory");
        fs::write(path, text).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    /// What is told of a copy whose two sides were made so.
    fn told(make: impl FnOnce(&Path, &Path, &Path)) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let (at, upper, elsewhere) = (dir.path().join("at"), dir.path().join("upper"), dir.path().join("elsewhere"));
        for path in [&at, &upper, &elsewhere] {
            fs::create_dir(path).expect("made");
        }
        make(&at, &upper, &elsewhere);
        tell(&[Layer { at: at.display().to_string(), upper }], &dir.path().join("spool"))
    }

    #[test]
    fn differences_of_public_files_are_shown() {
        let text = told(|at, upper, _| {
            for (name, mode) in [("public", 0o644), ("private", 0o600)] {
                write(&at.join(name), "before-text\n", mode);
                write(&upper.join(name), "after-text\n", mode);
            }
            write(&upper.join("fresh"), "fresh-text\n++ like a head\n", 0o644);
        });
        assert!(
            text.contains("-before-text") && text.contains("+after-text") && text.contains("+fresh-text"),
            "{text}"
        );
        assert!(text.contains("+++ like a head"), "{text}");
        assert_eq!(text.matches("before-text").count(), 1, "not of the private one: {text}");
        assert!(text.starts_with("would change these 3 files:"), "{text}");
    }

    #[test]
    fn what_links_lead_to_is_not_shown() {
        let text = told(|at, upper, elsewhere| {
            // As a program can do that removes its own link, and writes a file or a directory in its place.
            write(&elsewhere.join("shadow"), "root:hidden\n", 0o644);
            symlink(elsewhere.join("shadow"), at.join("file")).expect("a link");
            write(&upper.join("file"), "mine\n", 0o644);
            symlink(elsewhere, at.join("dir")).expect("a link");
            write(&upper.join("dir/shadow"), "mine\n", 0o644);
        });
        assert!(!text.contains("hidden") && text.matches("+mine").count() == 2, "{text}");
        assert!(text.contains("/file (5 bytes") && text.contains("/dir/shadow (5 bytes"), "{text}");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let text = told(|at, upper, _| {
            let pipe = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o666));
            pipe(&upper.join("new")).expect("a pipe");
            pipe(&at.join("old")).expect("a pipe");
            write(&upper.join("old"), "mine\n", 0o644);
            symlink("old", at.join("link")).expect("a link");
            symlink("new", upper.join("link")).expect("a link");
        });
        assert!(text.contains("+ ") && text.contains("/new (no regular file)"), "{text}");
        assert!(text.contains("/old (5 bytes") && text.contains("/link -> new"), "{text}");
    }
}
