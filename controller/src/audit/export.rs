//! Entries as lines of a file: JSON, or comma-separated values (RFC 4180). Both hold what the hashes cover, to the byte.

use lampas_api::{AuditFormat, AuditRecord};

use crate::db::row::to_json;

const COLUMNS: &str = "seq,at_ms,principal,from,act,object,reason,result,details,prev_hash,hash";

/// Returns the first line of comma-separated values.
pub(super) fn csv_head() -> String {
    format!("{COLUMNS}\r\n")
}

/// Returns entries as lines.
pub(super) fn lines(rows: &[AuditRecord], format: AuditFormat) -> String {
    let mut out = String::new();
    for row in rows {
        match format {
            AuditFormat::Jsonl => {
                out.push_str(&to_json(row));
                out.push('\n');
            }
            AuditFormat::Csv => {
                out.push_str(&format!("{},{}", row.seq, row.at_ms));
                let texts = [&row.principal, &row.from, &row.act, &row.object, &row.reason, &row.result, &row.details];
                for text in texts.into_iter().chain([&row.prev_hash, &row.hash]) {
                    out.push_str(",\"");
                    out.push_str(&text.replace('"', "\"\""));
                    out.push('"');
                }
                out.push_str("\r\n");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_lines_stay_within_their_value() {
        let row = AuditRecord {
            seq: 1,
            at_ms: 2,
            principal: "user:admin".into(),
            from: String::new(),
            act: "change.apply".into(),
            object: "say \"hi\", now".into(),
            reason: "one\ntwo".into(),
            result: "done".into(),
            details: "{}".into(),
            prev_hash: String::new(),
            hash: "h".into(),
        };
        let line = lines(std::slice::from_ref(&row), AuditFormat::Csv);
        assert_eq!(
            line,
            "1,2,\"user:admin\",\"\",\"change.apply\",\"say \"\"hi\"\", now\",\"one\ntwo\",\"done\",\"{}\",\"\",\"h\"\r\n"
        );
        let line = lines(std::slice::from_ref(&row), AuditFormat::Jsonl);
        assert_eq!(line.lines().count(), 1);
        assert_eq!(serde_json::from_str::<AuditRecord>(&line).expect("JSON"), row);
    }
}
