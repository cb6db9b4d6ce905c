//! What runs wrote, in pieces: numbered over their operation, and by their offsets in the run.

use lampas_shared::{
    deceptive_char,
    id::{OperationId, RunId},
    operation::OutputChunk,
};
use sqlx::{Any, QueryBuilder, any::AnyRow};

use super::{RunRow, run_row};
use crate::{
    db::{
        DbError, Tx,
        row::{Reader, by_weight, insert_many},
    },
    operation::output as words,
};

/// Returns runs whose output is still to come, or to be let go: the run, its node, whether it has a result, whether the
/// output is stored, and how much of it is.
pub(crate) async fn pending_output(tx: &mut Tx) -> Result<Vec<(RunRow, bool, bool, u64)>, DbError> {
    let rows = sqlx::query(
        "SELECT r.run, r.operation, r.node, r.state, r.work, r.told_ms, r.has_begun, r.has_result, r.output_state, \
         r.output_bytes FROM operation_run r WHERE r.output_state IN ('pending', 'stored') AND r.has_begun = 1",
    )
    .fetch_all(tx.conn())
    .await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("operation_run", row);
            Ok((run_row(row)?, r.flag("has_result")?, r.text("output_state")? == "stored", r.count("output_bytes")?))
        })
        .collect()
}

/// Returns up to where the output of a run is stored.
pub(crate) async fn stored_to(tx: &mut Tx, run: RunId) -> Result<u64, DbError> {
    let row =
        sqlx::query("SELECT p.start, p.bytes FROM operation_output p WHERE p.run = ? ORDER BY p.start DESC LIMIT 1")
            .bind(run.to_string())
            .fetch_optional(tx.conn())
            .await?;
    let Some(row) = row else { return Ok(0) };
    let r = Reader::new("operation_output", &row);
    Ok(r.count("start")? + r.maybe_bytes("bytes")?.map_or(0, |b| b.len() as u64))
}

/// How much of an output's end its last words are sought in, and in how many pieces of it: a program may write by the byte.
const WORDS_BYTES: usize = 2 << 10;
const WORDS_PIECES: i64 = 256;

/// Returns the last lines that a run wrote, as one; empty when nothing of it is here, or not yet.
pub(crate) async fn last_words(tx: &mut Tx, run: RunId) -> Result<String, DbError> {
    let rows = sqlx::query(
        "SELECT p.start, LENGTH(p.bytes) AS length FROM operation_output p WHERE p.run = ? ORDER BY p.start DESC LIMIT ?",
    )
    .bind(run.to_string())
    .bind(WORDS_PIECES)
    .fetch_all(tx.conn())
    .await?;
    let (mut first, mut held) = (0, 0);
    for row in &rows {
        let r = Reader::new("operation_output", row);
        (first, held) = (r.int("start")?, held + r.count("length")? as usize);
        if held >= WORDS_BYTES {
            break;
        }
    }
    let rows = sqlx::query("SELECT p.bytes FROM operation_output p WHERE p.run = ? AND p.start >= ? ORDER BY p.start")
        .bind(run.to_string())
        .bind(first)
        .fetch_all(tx.conn())
        .await?;
    let mut end = Vec::with_capacity(held);
    for row in &rows {
        end.extend(Reader::new("operation_output", row).maybe_bytes("bytes")?.unwrap_or_default());
    }
    Ok(in_a_line(&end))
}

/// Puts the end of an output into a line, which goes to terminals: without what moves cursors, or hides or turns text.
fn in_a_line(bytes: &[u8]) -> String {
    const LINES: usize = 3;
    const CHARS: usize = 300;
    let seen = |c: char| if deceptive_char(c.encode_utf8(&mut [0; 4])).is_some() { '\u{fffd}' } else { c };
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().rev().map(str::trim).filter(|l| !l.is_empty()).take(LINES);
    let mut room = CHARS;
    let mut shown: Vec<&str> = lines
        .take_while(|line| {
            // The last one in any case: its beginning says more than what was written before it.
            let fits = room == CHARS || line.chars().count() <= room;
            room = room.saturating_sub(line.chars().count());
            fits
        })
        .collect();
    shown.reverse();
    let said: String = shown.join("; ").chars().map(seen).collect();
    match said.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{} …", &said[..end]),
        None => said,
    }
}

/// Stores where the output of a run is: `stored`, `done`.
pub(crate) async fn output_is(tx: &mut Tx, run: RunId, state: &'static str) -> Result<(), DbError> {
    sqlx::query("UPDATE operation_run SET output_state = ? WHERE run = ?")
        .bind(state)
        .bind(run.to_string())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Stores pieces of one operation's output, numbered in their order; what is there already is left out.
pub(crate) async fn put_output(
    tx: &mut Tx,
    operation: OperationId,
    pieces: &[(RunId, OutputChunk)],
) -> Result<(), DbError> {
    sqlx::query("UPDATE operation SET output_seq = output_seq + ? WHERE id = ?")
        .bind(pieces.len() as i64)
        .bind(operation.to_string())
        .execute(tx.conn())
        .await?;
    let row = sqlx::query("SELECT o.output_seq FROM operation o WHERE o.id = ?")
        .bind(operation.to_string())
        .fetch_optional(tx.conn())
        .await?;
    let Some(row) = row else { return Ok(()) };
    let last = Reader::new("operation", &row).int("output_seq")?;
    let rows: Vec<_> = (last - pieces.len() as i64 + 1..).zip(pieces).collect();
    let after = tx.dialect().on_conflict(&["run", "start"], &[]);
    let columns = ["operation", "seq", "run", "start", "stream", "after_ms", "bytes"];
    for rows in by_weight(&rows, |(_, (_, chunk))| chunk.bytes.len()) {
        insert_many(tx, "operation_output", &columns, &after, rows, |b, (seq, (run, chunk))| {
            b.push_bind(operation.to_string())
                .push_bind(*seq)
                .push_bind(run.to_string())
                .push_bind(chunk.offset.min(i64::MAX as u64) as i64)
                .push_bind(words::stream_word(chunk.stream))
                .push_bind(chunk.after_ms.min(i64::MAX as u64) as i64)
                .push_bind(chunk.bytes.clone());
        })
        .await?;
    }
    Ok(())
}

/// Takes the middle out of a run's output, so that its beginning and its end stay.
pub(crate) async fn trim_output(tx: &mut Tx, run: RunId, head: u64, tail_from: u64) -> Result<(), DbError> {
    sqlx::query("DELETE FROM operation_output WHERE run = ? AND start >= ? AND start < ?")
        .bind(run.to_string())
        .bind(head as i64)
        .bind(tail_from.min(i64::MAX as u64) as i64)
        .execute(tx.conn())
        .await?;
    // Shown while the run goes on; the result says it for good.
    Ok(())
}

/// Notes how much a run has written as far as is known.
pub(crate) async fn grown(tx: &mut Tx, run: RunId, bytes: u64) -> Result<(), DbError> {
    sqlx::query("UPDATE operation_run SET output_bytes = ? WHERE run = ? AND has_result = 0 AND output_bytes < ?")
        .bind(bytes.min(i64::MAX as u64) as i64)
        .bind(run.to_string())
        .bind(bytes.min(i64::MAX as u64) as i64)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// A stored piece.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) seq: u64,
    pub(crate) run: RunId,
    pub(crate) chunk: OutputChunk,
}

/// How many pieces are read at once, and how many are handed out at most: a piece has at most 32 KiB, or a byte.
const AT_ONCE: usize = 40;
const MOST_PIECES: usize = 400;

/// Returns pieces after a place among those of the operation, at most about `most` bytes of them.
pub(crate) async fn pieces(
    tx: &mut Tx,
    operation: OperationId,
    run: Option<RunId>,
    after: u64,
    most: usize,
) -> Result<Vec<Piece>, DbError> {
    // A listener that is behind comes again.
    let (mut found, mut held, mut after) = (Vec::new(), 0, after.min(i64::MAX as u64));
    while found.len() < MOST_PIECES {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT p.seq, p.run, p.start, p.stream, p.after_ms, p.bytes FROM operation_output p WHERE p.operation = ",
        );
        query.push_bind(operation.to_string()).push(" AND p.seq > ").push_bind(after as i64);
        if let Some(run) = run {
            query.push(" AND p.run = ").push_bind(run.to_string());
        }
        query.push(" ORDER BY p.seq LIMIT ").push_bind(AT_ONCE as i64);
        let rows = query.build().fetch_all(tx.conn()).await?;
        if take(&rows, most, &mut found, &mut held)? || rows.len() < AT_ONCE {
            break;
        }
        after = found.last().map_or(after, |p: &Piece| p.seq);
    }
    Ok(found)
}

/// Reads rows until so many bytes are held; returns whether they are.
fn take(rows: &[AnyRow], most: usize, found: &mut Vec<Piece>, held: &mut usize) -> Result<bool, DbError> {
    for row in rows {
        let piece = piece(row)?;
        *held += piece.chunk.bytes.len();
        found.push(piece);
        if *held >= most {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the pieces of one run by their offsets, at most about `most` bytes of them.
pub(crate) async fn pieces_of(tx: &mut Tx, run: RunId, most: usize) -> Result<Vec<Piece>, DbError> {
    let (mut found, mut held, mut after) = (Vec::new(), 0, -1);
    loop {
        let rows = sqlx::query(
            "SELECT p.seq, p.run, p.start, p.stream, p.after_ms, p.bytes FROM operation_output p WHERE p.run = ? \
             AND p.start > ? ORDER BY p.start LIMIT ?",
        )
        .bind(run.to_string())
        .bind(after)
        .bind(AT_ONCE as i64)
        .fetch_all(tx.conn())
        .await?;
        if take(&rows, most, &mut found, &mut held)? || rows.len() < AT_ONCE {
            return Ok(found);
        }
        after = found.last().map_or(after, |p| p.chunk.offset as i64);
    }
}

fn piece(row: &AnyRow) -> Result<Piece, DbError> {
    let r = Reader::new("operation_output", row);
    Ok(Piece {
        seq: r.count("seq")?,
        run: r.parse("run")?,
        chunk: OutputChunk {
            offset: r.count("start")?,
            stream: words::stream_of(&r.text("stream")?).ok_or_else(|| r.wrong("stream", "is not known"))?,
            after_ms: r.count("after_ms")?,
            bytes: r.maybe_bytes("bytes")?.unwrap_or_default(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_a_line_that_moves_no_cursor() {
        let output = b"one\n two\r\n\nthree\x1b[2Jfour\xe2\x80\xae\n five \n";
        assert_eq!(in_a_line(output), "two; three\u{fffd}[2Jfour\u{fffd}; five");
        assert_eq!(in_a_line(b" \n"), "");
        assert_eq!(in_a_line(format!("{}\nlast\n", "-".repeat(400)).as_bytes()), "last");
        assert_eq!(in_a_line("\u{e4}".repeat(400).as_bytes()), format!("{} \u{2026}", "\u{e4}".repeat(300)));
    }
}
