//! Checks an exported audit by itself: no controller is asked, so that it holds although the controller was taken.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lampas_api::{AuditHead, AuditRecord, AuditVerification};
use lampas_shared::audit::Head;

use super::{CommandError, Context};
use crate::output;

/// Checks a file and says where it is broken first.
pub(super) fn file(
    context: &Context,
    path: &Path,
    is_filtered: bool,
    head: Option<&str>,
    mut given: Vec<PathBuf>,
) -> Result<u8, CommandError> {
    let own = beside(path);
    if given.is_empty() && path != Path::new("-") && own.exists() {
        given.push(own);
    }
    let mut heads = Vec::new();
    for path in &given {
        heads.extend(read_heads(path)?);
    }
    // Of a restored store the chain begins anew behind the backup: heads of earlier epochs may be beyond it.
    let epoch = heads.iter().map(|h: &AuditHead| h.epoch).max();
    heads.retain(|h| Some(h.epoch) == epoch);
    heads.sort_by_key(|h| h.seq);
    let failed = |e| CommandError::Io(format!("read {}", path.display()), e);
    let found = if path == Path::new("-") {
        verify(&mut io::stdin().lock(), is_filtered, heads)
    } else {
        verify(&mut BufReader::new(File::open(path).map_err(failed)?), is_filtered, heads)
    };
    let mut found = found.map_err(failed)?;
    if let (Some(head), None) = (head, found.broken_at)
        && !found.head.eq_ignore_ascii_case(head)
    {
        found.broken_at = Some(found.entries + 1);
        found.broken_how = Some("the last entry is not the one that was noted: entries are missing at the end".into());
    }
    if context.is_json() {
        output::json(&found);
    } else {
        match (found.broken_at, &found.broken_how) {
            (Some(seq), how) => {
                output::line(format!("broken at entry {seq}: {}", how.as_deref().unwrap_or_default()));
            }
            (None, _) => {
                let heads = output::count(found.countersigned, "signed head");
                output::line(format!("{} entries, whole, with {heads}; head {}", found.entries, found.head));
            }
        }
        found.rewritten.iter().for_each(|why| output::line(format!("rewritten: {why}")));
    }
    Ok(u8::from(found.broken_at.is_some() || !found.rewritten.is_empty()))
}

/// Where `export --to` puts the heads that belong to a file.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".heads");
    PathBuf::from(name)
}

/// Reads heads, as the controller or a node gave them, and checks their signatures.
fn read_heads(path: &Path) -> Result<Vec<AuditHead>, CommandError> {
    let failed = |e| CommandError::Io(format!("read {}", path.display()), e);
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut heads = Vec::new();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let head: AuditHead = serde_json::from_str(line).map_err(|e| failed(io::Error::other(e.to_string())))?;
        if !is_signed(&head) {
            let text =
                format!("{}: the signature of {} under entry {} does not hold", path.display(), head.name, head.seq);
            return Err(CommandError::Usage(text));
        }
        heads.push(head);
    }
    Ok(heads)
}

/// Returns whether the key in the line signed it. Whose key that is, a node tells: `lampas-agent heads` prints the same.
fn is_signed(head: &AuditHead) -> bool {
    let bytes = |text: &str| STANDARD.decode(text).ok();
    let (Some(fleet), Ok(hash)) = (head.fleet, head.hash.parse()) else { return false };
    let (Some(key), Some(signature)) = (bytes(&head.public_key), bytes(&head.signature)) else { return false };
    let seen = Head { epoch: head.epoch, seq: head.seq, hash };
    let text = seen.to_signed_text(fleet, head.node, head.at_ms);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let wanted = rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
    let found = provider.signature_verification_algorithms.mapping.iter().find(|(scheme, _)| *scheme == wanted);
    let algorithm = found.and_then(|(_, algorithms)| algorithms.first());
    algorithm.is_some_and(|a| a.verify_signature(&key, text.as_bytes(), &signature).is_ok())
}

/// Reads JSON lines or comma-separated values: the first byte tells them apart.
fn verify<R: BufRead>(input: &mut R, is_filtered: bool, heads: Vec<AuditHead>) -> io::Result<AuditVerification> {
    let mut chain = Chain::new(is_filtered, heads);
    if input.fill_buf()?.first() == Some(&b'{') {
        let mut line = String::new();
        loop {
            line.clear();
            // No entry is longer than its columns: 16 MiB is more than they hold.
            if input.by_ref().take(16 << 20).read_line(&mut line)? == 0 {
                break;
            }
            let record = serde_json::from_str(line.trim_end()).map_err(|e| io::Error::other(e.to_string()));
            if !chain.feed(&record?) {
                break;
            }
        }
    } else {
        let mut rows = csv::Reader::from_reader(input);
        for record in rows.deserialize() {
            if !chain.feed(&record.map_err(|e| io::Error::other(e.to_string()))?) {
                break;
            }
        }
    }
    Ok(chain.end())
}

struct Chain {
    seen: AuditVerification,
    last: Option<u64>,
    is_filtered: bool,
    heads: std::iter::Peekable<std::vec::IntoIter<AuditHead>>,
}

impl Chain {
    fn new(is_filtered: bool, heads: Vec<AuditHead>) -> Self {
        let seen = AuditVerification {
            entries: 0,
            broken_at: None,
            broken_how: None,
            head: String::new(),
            countersigned: 0,
            rewritten: Vec::new(),
        };
        Self { seen, last: None, is_filtered, heads: heads.into_iter().peekable() }
    }

    /// Takes note of the heads that are at this entry, or should have been before it.
    fn meet(&mut self, record: &AuditRecord) {
        while let Some(head) = self.heads.next_if(|h| h.seq <= record.seq) {
            if head.seq == record.seq && head.hash == record.hash {
                self.seen.countersigned += 1;
            } else if head.seq == record.seq || !self.is_filtered {
                self.seen.rewritten.push(told(&head));
            }
        }
    }

    fn end(mut self) -> AuditVerification {
        if self.seen.broken_at.is_none() && !self.is_filtered {
            self.seen.rewritten.extend(self.heads.map(|head| told(&head)));
        }
        self.seen
    }

    /// Takes the next entry; false when the chain is broken there.
    fn feed(&mut self, record: &AuditRecord) -> bool {
        let next = self.last.map_or(1, |last| last + 1);
        let how = if record.seq < next {
            Some("it is not in order")
        } else if record.seq > next && !self.is_filtered {
            return self.broken(next, "it is missing; for a filtered export give --filtered");
        } else if record.hash != record.expected_hash() {
            Some("it was altered")
        } else if record.seq == next && record.prev_hash != self.seen.head {
            Some("it does not follow the entry before it, which was replaced")
        } else {
            None
        };
        if let Some(how) = how {
            return self.broken(record.seq, how);
        }
        self.meet(record);
        self.last = Some(record.seq);
        self.seen.entries += 1;
        self.seen.head.clone_from(&record.hash);
        true
    }

    fn broken(&mut self, at: u64, how: &str) -> bool {
        self.seen.broken_at = Some(at);
        self.seen.broken_how = Some(how.to_owned());
        false
    }
}

/// Says what a head means that the chain does not hold.
fn told(head: &AuditHead) -> String {
    format!("{} saw entry {} with the hash {}; the chain was rewritten, or cut, since", head.name, head.seq, head.hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: u64) -> Vec<AuditRecord> {
        let mut prev = String::new();
        (1..=length)
            .map(|seq| {
                let mut record = AuditRecord {
                    seq,
                    at_ms: 1000 * seq as i64,
                    principal: "user:admin".into(),
                    from: "10.0.0.1".into(),
                    act: "node.update".into(),
                    object: format!("web-{seq}, \"quoted\"\nand more"),
                    reason: "ä".into(),
                    result: "done".into(),
                    details: "{}".into(),
                    prev_hash: prev.clone(),
                    hash: String::new(),
                };
                record.hash = record.expected_hash();
                prev.clone_from(&record.hash);
                record
            })
            .collect()
    }

    fn jsonl(records: &[AuditRecord]) -> String {
        records.iter().map(|r| serde_json::to_string(r).expect("JSON") + "\n").collect()
    }

    fn csv(records: &[AuditRecord]) -> String {
        let mut out = csv::Writer::from_writer(Vec::new());
        for record in records {
            out.serialize(record).expect("CSV");
        }
        String::from_utf8(out.into_inner().expect("written")).expect("text")
    }

    fn check(records: &[AuditRecord], is_filtered: bool, expected: Option<u64>) {
        for text in [jsonl(records), csv(records)] {
            let found = verify(&mut text.as_bytes(), is_filtered, Vec::new()).expect("is read");
            assert_eq!(found.broken_at, expected, "{:?}", found.broken_how);
        }
    }

    #[test]
    fn the_first_break_is_found_in_both_forms() {
        let whole = chain(6);
        check(&whole, false, None);
        let mut altered = whole.clone();
        altered[2].object.push('!');
        check(&altered, false, Some(3));
        altered[2].hash = altered[2].expected_hash();
        check(&altered, false, Some(4));
        let mut shorter = whole.clone();
        shorter.remove(1);
        check(&shorter, false, Some(2));
        check(&shorter, true, None);
        let mut swapped = whole.clone();
        swapped.swap(3, 4);
        check(&swapped, true, Some(4));
        let found = verify(&mut jsonl(&whole[..4]).as_bytes(), false, Vec::new()).expect("is read");
        assert_eq!(found.head, whole[3].hash, "what a shorter file ends with shows");
        verify(&mut "{\"seq\":1}\n".as_bytes(), false, Vec::new()).expect_err("no entry");
        verify(&mut "{\"seq\":".as_bytes(), false, Vec::new()).expect_err("cut off");
    }

    /// Rewrites the chain from an entry on, as who owns the store could: each hash is right.
    fn rewritten(records: &[AuditRecord], from: usize) -> Vec<AuditRecord> {
        let mut records = records.to_vec();
        records[from].object = "nothing to see".into();
        for at in from..records.len() {
            if at > 0 {
                records[at].prev_hash = records[at - 1].hash.clone();
            }
            records[at].hash = records[at].expected_hash();
        }
        records
    }

    fn head_of(record: &AuditRecord) -> AuditHead {
        AuditHead {
            fleet: None,
            node: lampas_shared::id::NodeId::from_uuid(uuid::Uuid::nil()),
            name: "web-1".into(),
            epoch: 1,
            seq: record.seq,
            hash: record.hash.clone(),
            at_ms: 0,
            signature: String::new(),
            public_key: String::new(),
            contradicts_seq: None,
            contradicts_hash: None,
        }
    }

    #[test]
    fn a_chain_that_was_rewritten_with_right_hashes_is_found_by_what_nodes_saw() {
        let whole = chain(6);
        let heads = || vec![head_of(&whole[1]), head_of(&whole[4])];
        let look = |records: &[AuditRecord], filtered| {
            verify(&mut jsonl(records).as_bytes(), filtered, heads()).expect("is read")
        };
        let honest = look(&whole, false);
        assert_eq!((honest.countersigned, honest.rewritten.len(), honest.broken_at), (2, 0, None));
        let forged = rewritten(&whole, 2);
        check(&forged, false, None);
        let found = look(&forged, false);
        assert_eq!((found.countersigned, found.broken_at), (1, None), "in itself it is whole");
        assert!(found.rewritten[0].contains("entry 5"), "{:?}", found.rewritten);
        assert_eq!(look(&whole[..3], false).rewritten.len(), 1, "what was cut off is missed");
        assert_eq!(look(&whole[4..], true).rewritten.len(), 0, "a filtered export leaves entries out");
        assert!(!is_signed(&head_of(&whole[0])));
    }
}
