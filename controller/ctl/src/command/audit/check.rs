//! Checks an exported audit by itself: no controller is asked, so that it holds although the controller was taken.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

use lampas_api::{AuditRecord, AuditVerification};

use super::{CommandError, Context};
use crate::output;

/// Checks a file and says where it is broken first.
pub(super) fn file(context: &Context, path: &Path, is_filtered: bool, head: Option<&str>) -> Result<u8, CommandError> {
    let failed = |e| CommandError::Io(format!("read {}", path.display()), e);
    let found = if path == Path::new("-") {
        verify(&mut io::stdin().lock(), is_filtered)
    } else {
        verify(&mut BufReader::new(File::open(path).map_err(failed)?), is_filtered)
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
            (None, _) => output::line(format!("{} entries, whole; head {}", found.entries, found.head)),
        }
    }
    Ok(u8::from(found.broken_at.is_some()))
}

/// Reads JSON lines or comma-separated values: the first byte tells them apart.
fn verify<R: BufRead>(input: &mut R, is_filtered: bool) -> io::Result<AuditVerification> {
    let mut chain = Chain::new(is_filtered);
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
    Ok(chain.seen)
}

struct Chain {
    seen: AuditVerification,
    last: Option<u64>,
    is_filtered: bool,
}

impl Chain {
    fn new(is_filtered: bool) -> Self {
        let seen = AuditVerification { entries: 0, broken_at: None, broken_how: None, head: String::new() };
        Self { seen, last: None, is_filtered }
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
            let found = verify(&mut text.as_bytes(), is_filtered).expect("is read");
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
        let found = verify(&mut jsonl(&whole[..4]).as_bytes(), false).expect("is read");
        assert_eq!(found.head, whole[3].hash, "what a shorter file ends with shows");
        verify(&mut "{\"seq\":1}\n".as_bytes(), false).expect_err("no entry");
        verify(&mut "{\"seq\":".as_bytes(), false).expect_err("cut off");
    }
}
