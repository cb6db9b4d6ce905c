//! Output on the disk: pieces with their offsets, the beginning and the end of it, never more than was asked for.
//!
//! It stands in segments, files named by the offset at which they begin. The first takes half of the room; after it,
//! segments of an eighth follow each other, of which the last four stay. What lies between is a gap, which shows by the
//! offsets. Each piece is a header of 24 bytes (offset, milliseconds since the beginning, length, stream) and its bytes.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use lampas_shared::{
    desired::ContentHash,
    operation::{OutputChunk, OutputStream},
};

const HEADER: usize = 24;
/// How many segments stay beside the first.
const TAIL_SEGMENTS: usize = 4;

/// Writes the output of one run.
pub(super) struct Writer {
    dir: PathBuf,
    current: File,
    size: u64,
    is_head: bool,
    head_room: u64,
    segment_room: u64,
    tail: VecDeque<PathBuf>,
    total: u64,
    lost: u64,
    hashes: [blake3::Hasher; 3],
}

impl Writer {
    /// Begins; nothing of this run was written before.
    pub(super) fn create(dir: &Path, room: u64) -> io::Result<Self> {
        let (head_room, segment_room) = (room / 2, room / 8);
        Ok(Self {
            dir: dir.to_owned(),
            current: open(&segment(dir, 0))?,
            size: 0,
            is_head: true,
            head_room,
            segment_room,
            tail: VecDeque::new(),
            total: 0,
            lost: 0,
            hashes: Default::default(),
        })
    }

    /// Writes what came. What the disk does not take is left out and counted: the run goes on.
    pub(super) fn write(&mut self, stream: OutputStream, after_ms: u64, bytes: &[u8]) {
        self.hashes[place(stream)].update(bytes);
        let most = OutputChunk::MAX_BYTES.min(self.segment_room as usize - HEADER);
        for piece in bytes.chunks(most) {
            if self.put(stream, after_ms, piece).is_err() {
                self.lost += piece.len() as u64;
                // A torn piece must not stand before the next one.
                let _ = self.current.set_len(self.size).and_then(|()| self.current.seek(SeekFrom::Start(self.size)));
            }
            self.total += piece.len() as u64;
        }
    }

    fn put(&mut self, stream: OutputStream, after_ms: u64, piece: &[u8]) -> io::Result<()> {
        let length = (HEADER + piece.len()) as u64;
        let room = if self.is_head { self.head_room } else { self.segment_room };
        if self.size + length > room {
            self.rotate()?;
        }
        let mut record = Vec::with_capacity(HEADER + piece.len());
        record.extend_from_slice(&self.total.to_le_bytes());
        record.extend_from_slice(&after_ms.to_le_bytes());
        record.extend_from_slice(&(piece.len() as u32).to_le_bytes());
        record.extend_from_slice(&[place(stream) as u8, 0, 0, 0]);
        record.extend_from_slice(piece);
        self.current.write_all(&record)?;
        self.size += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        if !self.is_head && self.size == 0 {
            return Ok(());
        }
        while self.tail.len() >= TAIL_SEGMENTS {
            if let Some(oldest) = self.tail.pop_front() {
                fs::remove_file(oldest)?;
            }
        }
        let path = segment(&self.dir, self.total);
        self.current = open(&path)?;
        (self.size, self.is_head) = (0, false);
        self.tail.push_back(path);
        Ok(())
    }

    /// Makes sure that it is on the disk. Returns how much was written, how much of it the disk did not take, and the
    /// hash over all of it.
    pub(super) fn finish(self) -> (u64, u64, ContentHash) {
        // What can't be synced may be lost with the power; the record says how much there was.
        let _ = self.current.sync_all();
        let mut all = [0; 96];
        for (part, hasher) in all.chunks_mut(32).zip(&self.hashes) {
            part.copy_from_slice(hasher.finalize().as_bytes());
        }
        (self.total, self.lost, ContentHash::of(&all))
    }
}

fn place(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
        OutputStream::Agent => 2,
    }
}

fn segment(dir: &Path, offset: u64) -> PathBuf {
    dir.join(format!("out.{offset:020}"))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Returns pieces from an offset on, about `most` bytes of them; none when there are none yet. A piece that begins
/// before the offset is cut.
pub(super) fn read(dir: &Path, offset: u64, most: usize) -> io::Result<Vec<OutputChunk>> {
    let mut segments: Vec<u64> = Vec::new();
    for item in fs::read_dir(dir)? {
        let name = item?.file_name();
        segments.extend(name.to_str().and_then(|n| n.strip_prefix("out.")?.parse::<u64>().ok()));
    }
    segments.sort_unstable();
    let first = segments.partition_point(|s| *s <= offset).saturating_sub(1);
    let mut chunks = Vec::new();
    let mut held = 0;
    for start in segments.into_iter().skip(first) {
        let mut file = match File::open(segment(dir, start)) {
            // The writer took it away meanwhile: the gap is larger.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            file => io::BufReader::with_capacity(64 << 10, file?),
        };
        while let Some((header, length)) = header(&mut file)? {
            let end = header.offset + length as u64;
            if end <= offset {
                file.seek_relative(length as i64)?;
                continue;
            }
            let mut bytes = vec![0; length];
            match file.read_exact(&mut bytes) {
                // The writer is at it.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                read => read?,
            }
            let skip = offset.saturating_sub(header.offset) as usize;
            held += length - skip;
            chunks.push(OutputChunk { offset: header.offset + skip as u64, bytes: bytes.split_off(skip), ..header });
            if held >= most {
                return Ok(chunks);
            }
        }
    }
    Ok(chunks)
}

/// Returns how much was written as far as the disk shows; for a run whose writer is gone.
pub(super) fn total(dir: &Path) -> u64 {
    let mut at = 0;
    while let Some(last) = read(dir, at, 1 << 20).ok().and_then(|mut chunks| chunks.pop()) {
        at = last.offset + last.bytes.len() as u64;
    }
    at
}

/// Reads a header; `None` at the end, and where the writer is at it.
fn header(file: &mut impl io::Read) -> io::Result<Option<(OutputChunk, usize)>> {
    let mut bytes = [0; HEADER];
    match file.read_exact(&mut bytes) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let number = |from: usize| u64::from_le_bytes(bytes[from..from + 8].try_into().expect("eight bytes"));
    let length = u32::from_le_bytes(bytes[16..20].try_into().expect("four bytes")) as usize;
    let stream = match bytes[20] {
        0 => OutputStream::Stdout,
        1 => OutputStream::Stderr,
        _ => OutputStream::Agent,
    };
    if length == 0 || length > OutputChunk::MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the output in the spool is damaged"));
    }
    Ok(Some((OutputChunk { offset: number(0), stream, after_ms: number(8), bytes: Vec::new() }, length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_on_disk(dir: &Path) -> u64 {
        let list = fs::read_dir(dir).expect("listed");
        list.map(|i| i.expect("an entry").metadata().expect("its size").len()).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_beginning_and_the_end_are_kept_within_the_room(
            writes in proptest::collection::vec((any::<bool>(), 1_usize..3000), 0..60),
        ) {
            let dir = tempfile::tempdir().expect("a directory");
            let room = 4096;
            let mut writer = Writer::create(dir.path(), room).expect("created");
            let mut all = Vec::new();
            for (number, (is_error, length)) in writes.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..length).map(|i| (number * 7 + i) as u8).collect();
                let stream = if is_error { OutputStream::Stderr } else { OutputStream::Stdout };
                writer.write(stream, number as u64, &bytes);
                all.extend(bytes);
            }
            let (total, lost, _) = writer.finish();
            prop_assert_eq!((total, lost), (all.len() as u64, 0));
            prop_assert!(bytes_on_disk(dir.path()) <= room);
            let mut at = 0;
            loop {
                let chunks = read(dir.path(), at, 700).expect("read");
                let Some(last) = chunks.last() else { break };
                for chunk in &chunks {
                    prop_assert!(chunk.offset >= at || at == 0);
                    let from = chunk.offset as usize;
                    prop_assert_eq!(&chunk.bytes[..], &all[from..from + chunk.bytes.len()]);
                }
                at = last.offset + last.bytes.len() as u64;
            }
            prop_assert_eq!(at, total, "the end is there");
            if total > 0 {
                prop_assert_eq!(read(dir.path(), 0, 1).expect("read")[0].offset, 0, "and the beginning");
            }
            if total > 10 {
                let from = total - 3;
                prop_assert_eq!(read(dir.path(), from, 1).expect("read")[0].offset, from, "from the middle of a piece");
            }
        }
    }

    #[test]
    fn equal_outputs_have_equal_hashes_however_they_came() {
        let dir = tempfile::tempdir().expect("a directory");
        let hash = |name: &str, pieces: &[(OutputStream, &[u8])]| {
            let dir = dir.path().join(name);
            fs::create_dir(&dir).expect("made");
            let mut writer = Writer::create(&dir, 4096).expect("created");
            for (stream, bytes) in pieces {
                writer.write(*stream, 0, bytes);
            }
            writer.finish().2
        };
        use OutputStream::{Stderr, Stdout};
        let whole = hash("a", &[(Stdout, b"one two"), (Stderr, b"oh")]);
        assert_eq!(whole, hash("b", &[(Stdout, b"one "), (Stderr, b"oh"), (Stdout, b"two")]));
        assert_ne!(whole, hash("c", &[(Stdout, b"one twooh")]));
    }
}
