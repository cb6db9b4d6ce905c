//! What files of others mean: shown safely, and judged whether they may become objects. Pure.

use lampas_render::{crontab, hosts};
use lampas_shared::{
    deceptive_char,
    host::{CronTable, UserName},
    report::ObservedFile,
    scan::{ForeignFile, Place},
};

/// The longest content that is shown, in bytes.
const MAX_SHOWN: usize = 64 << 10;

/// Returns bytes as text for people: what is not UTF-8 as `\xff`, what can't be seen as `\u{202e}`.
pub(super) fn show(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().min(MAX_SHOWN));
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut out, c);
            if out.len() > MAX_SHOWN {
                out.push_str("\n… the rest is not shown\n");
                return out;
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

fn push(out: &mut String, c: char) {
    let is_plain = c == '\n' || deceptive_char(c.encode_utf8(&mut [0; 4])).is_none();
    if is_plain {
        out.push(c);
    } else {
        out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
    }
}

/// Returns a path or a name in one line.
pub(super) fn show_line(text: &str) -> String {
    show(text.as_bytes()).replace('\n', "\\n")
}

/// Returns owner, mode and size in words.
pub(super) fn about(file: &ForeignFile) -> String {
    match (&file.file, &file.link) {
        (Some(found), _) => {
            let size = found.content.as_ref().map_or_else(String::new, |c| format!(", {} bytes", c.len()));
            format!("{}:{} {}{size}", show_line(&found.owner), show_line(&found.group), found.mode)
        }
        (None, Some(to)) => format!("a link to {}", show_line(to)),
        (None, None) => show_line(&file.fault),
    }
}

/// Says why a file can't become an object; empty when it can.
pub(super) fn refusal(file: &ForeignFile) -> String {
    if let Some(to) = &file.link {
        return format!("it is a symbolic link to {}; import what it points to", show_line(to));
    }
    let Some(found) = &file.file else { return show_line(&file.fault) };
    if found.content.is_none() {
        return format!("it is larger than {} KiB, or the scan had no room for it", ObservedFile::MAX_BYTES >> 10);
    }
    if found.is_writable_by_others && is_trusted(file) {
        return format!(
            "somebody other than root could have written it (owner {}, mode {}), and root trusts it; look at it and \
             make the change by hand",
            show_line(&found.owner),
            found.mode
        );
    }
    if lampas_shared::host::ManagedPath::parse(file.path.as_str()).is_err() {
        return "its path has characters that can't be seen, or belongs to LAMPAS or the kernel".to_owned();
    }
    let is_named = UserName::parse(found.owner.clone()).is_ok()
        && lampas_shared::host::GroupName::parse(found.group.clone()).is_ok();
    if is_named { String::new() } else { format!("its owner {}:{} has no name", found.owner, found.group) }
}

/// Whether root executes or trusts what stands there.
fn is_trusted(file: &ForeignFile) -> bool {
    let of_root = || file.file.as_ref().is_some_and(|f| f.owner == "root" || f.mode.bits() & 0o6111 != 0);
    match file.place {
        Place::Cron | Place::CronScript | Place::Hosts | Place::Script | Place::Sudoers => true,
        Place::Crontab => file.path.ends_with("/root"),
        Place::File => of_root(),
    }
}

/// Whether everybody on the node may read it, so that everybody here may.
pub(super) fn is_public(file: &ForeignFile) -> bool {
    let by_mode = file.file.as_ref().is_some_and(|f| f.mode.bits() & 0o004 != 0);
    by_mode && !matches!(file.place, Place::Sudoers | Place::Crontab)
}

/// Counts what a file holds: jobs, lines of hosts, or itself.
pub(super) fn count(file: &ForeignFile) -> u32 {
    let Some(bytes) = file.file.as_ref().and_then(|f| f.content.as_deref()) else { return 1 };
    match file.place {
        Place::Cron | Place::Crontab => crontab::parse(bytes, table(file.place)).jobs().count() as u32,
        Place::Hosts => {
            hosts::parse(bytes).lines.iter().filter(|l| matches!(l.content, hosts::LineContent::Entry { .. })).count()
                as u32
        }
        Place::CronScript | Place::Script | Place::Sudoers | Place::File => 1,
    }
}

/// The kind of table that a place holds.
pub(super) fn table(place: Place) -> CronTable {
    if place == Place::Crontab { CronTable::User } else { CronTable::System }
}

#[cfg(test)]
mod tests {
    use lampas_shared::{desired::ContentHash, host::FileMode, time::UnixMs};

    use super::*;

    pub(super) fn file(place: Place, path: &str, content: &[u8], owner: &str, mode: u32, others: bool) -> ForeignFile {
        let found = ObservedFile {
            content: Some(content.to_vec()),
            hash: ContentHash::of(content),
            owner: owner.to_owned(),
            group: "root".to_owned(),
            mode: FileMode::new(mode).expect("a mode"),
            modified_at: UnixMs(0),
            is_writable_by_others: others,
        };
        ForeignFile { place, path: path.to_owned(), file: Some(found), link: None, fault: String::new() }
    }

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        assert_eq!(show("a\u{202e}b\x1b[2J\tc\n".as_bytes()), "a\\u{202e}b\\u{1b}[2J\tc\n");
        assert_eq!(show(b"\xff\x00ok"), "\\xff\\u{0}ok");
        assert!(show(&vec![b'x'; 1 << 20]).len() < 70 << 10);
    }

    #[test]
    fn links_giants_and_what_others_could_have_written_are_refused() {
        let good = file(Place::Script, "/usr/local/bin/x", b"#!/bin/sh\n", "root", 0o755, false);
        assert_eq!(refusal(&good), "");
        let check = |f: &ForeignFile, part: &str| assert!(refusal(f).contains(part), "{}", refusal(f));
        check(&file(Place::Script, "/usr/local/bin/x", b"", "ann", 0o755, true), "other than root");
        check(&ForeignFile { file: None, link: Some("/x".into()), ..good.clone() }, "symbolic link");
        check(&ForeignFile { file: None, fault: "100 bytes, more".into(), ..good.clone() }, "100 bytes");
        check(&file(Place::File, "/srv/x", b"", "1234", 0o644, false), "has no name");
        check(&file(Place::File, "/srv/\u{202e}x", b"", "root", 0o644, false), "can't be seen");
        assert_eq!(refusal(&file(Place::Crontab, "/var/spool/cron/crontabs/ann", b"", "ann", 0o600, true)), "");
        check(&file(Place::Crontab, "/var/spool/cron/crontabs/root", b"", "ann", 0o600, true), "other than root");
    }
}
