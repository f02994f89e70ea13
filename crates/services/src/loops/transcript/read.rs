//! Reading transcripts: which lines can be trusted, where the file is damaged, how far it goes.
//!
//! Invariants: nothing is written here; a line is judged by itself, so that what is wrong before it
//! does not take it along; no more is read into memory than a part of a transcript may have.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rekindle_env::{EntryKind, ReadDisk, durable};

use crate::limits::LOOP_PLAN_JSON_BYTES_MAX;
use crate::loops::id::LoopId;
use crate::loops::transcript::line::{Line, behind_torn, parse};
use crate::loops::transcript::{CorruptedRecord, PART_BYTES, current, parse_name, part};

/// The most that a part can have: it goes on in a new file behind the line that made it full.
const READ_BYTES_MAX: u64 = PART_BYTES + 2 * LOOP_PLAN_JSON_BYTES_MAX as u64;

/// Records of one file that are told; the rest is a number.
const RECORDS_MAX: usize = 100;

/// Earlier parts of transcripts, by the numbers of their first lines.
pub(crate) type Parts = BTreeMap<LoopId, Vec<u64>>;

/// What a part of a transcript is.
#[derive(Debug, Default)]
pub(crate) struct Read<'a> {
    /// Lines that can be trusted, in the order of the file.
    pub(crate) lines: Vec<Line<'a>>,
    /// What cannot.
    pub(crate) records: Vec<CorruptedRecord>,
    /// Where the last line, whole or not, that has an end ends.
    pub(crate) whole_len: u64,
    /// Something without an end is behind that.
    pub(crate) is_torn: bool,
}

/// Reads the lines of a part. Pure.
pub(crate) fn read<'a>(id: LoopId, file: &str, bytes: &'a [u8]) -> Read<'a> {
    let mut read = Read::default();
    let mut more = 0_u64;
    let mut last: Option<Line<'a>> = None;
    // Lines behind that one which cannot be trusted.
    let mut between = 0_u64;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (ended, torn) = bytes.split_at_checked(whole).unwrap_or_default();
    read.whole_len = ended.len() as u64;
    read.is_torn = !torn.is_empty();
    let ended = ended.split_inclusive(|byte| *byte == b'\n');
    let ended = ended.map(|line| line.strip_suffix(b"\n").unwrap_or(line));
    for (line, text) in (1_u64..).zip(ended) {
        let parsed = parse(id, text);
        let good = parsed.ok().or_else(|| Some(behind_torn(id, text)?.1));
        let wrong = match (parsed, &good, &last) {
            (Err(wrong), _, _) => Some(wrong.to_owned()),
            (Ok(_), Some(good), Some(last)) => out_of_place(last, between, good),
            _ => None,
        };
        if let Some(reason) = wrong {
            if read.records.len() < RECORDS_MAX {
                read.records.push(CorruptedRecord { file: file.to_owned(), line, reason });
            } else {
                more += 1;
            }
        }
        between = if good.is_some() { 0 } else { between + 1 };
        last = good.or(last);
        read.lines.extend(good);
    }
    if more > 0 {
        let reason = format!("{more} more lines like these");
        read.records.push(CorruptedRecord { file: file.to_owned(), line: 0, reason });
    }
    read
}

/// What is wrong with a line behind another one, where so many lines between them are damaged.
fn out_of_place(last: &Line<'_>, between: u64, line: &Line<'_>) -> Option<String> {
    let (before, number) = (last.sequence, line.sequence);
    let expected = before.saturating_add(1);
    if number < expected || number > expected.saturating_add(between) {
        return Some(format!("number {number} stands behind number {before}"));
    }
    // What lies between is told already.
    (number == expected && !line.follows(last.chain))
        .then(|| format!("the chain of number {number} does not go on from number {before}"))
}

/// How far a transcript that can be gone on with is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The number of the first line in its current file.
    pub(crate) first: u64,
    /// The number of its last line.
    pub(crate) sequence: u64,
    /// The chain up to there.
    pub(crate) chain: u64,
    /// Bytes of the current file.
    pub(crate) len: u64,
    /// The current file is there.
    pub(crate) is_there: bool,
    /// There is something behind these bytes, which goes.
    pub(crate) is_torn: bool,
}

impl Standing {
    /// Nothing is written yet.
    pub(crate) fn new() -> Self {
        Self { first: 1, ..Self::default() }
    }
}

/// How a transcript stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It goes on from here.
    Sound(Standing),
    /// Its current file is damaged.
    Damaged(Vec<CorruptedRecord>),
}

/// The parts that a folder has; none where it is missing.
pub(crate) fn parts(disk: &dyn ReadDisk, dir: &Path) -> io::Result<Parts> {
    let mut parts = Parts::new();
    for entry in durable::list_folder(disk, dir)?.unwrap_or_default() {
        if entry.kind == EntryKind::File
            && let Some((id, Some(first))) = parse_name(&entry.name)
        {
            // Sorted by name; those above ten digits are longer.
            parts.entry(id).or_default().push(first);
        }
    }
    parts.values_mut().for_each(|firsts| firsts.sort_unstable());
    Ok(parts)
}

/// How a transcript stands on disk.
pub(crate) fn look(disk: &dyn ReadDisk, dir: &Path, id: LoopId, parts: &Parts) -> Found {
    let file = current(dir, id);
    let name = file.display().to_string();
    let bytes = match durable::read_file(disk, &file, READ_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Found::Sound(behind_parts(disk, dir, id, parts));
        }
        Err(error) => return Found::Damaged(unreadable(&name, &error)),
    };
    let read = read(id, &name, &bytes);
    if !read.records.is_empty() {
        return Found::Damaged(read.records);
    }
    let Some((first, last)) = read.lines.first().zip(read.lines.last()) else {
        let begins = behind_parts(disk, dir, id, parts);
        let is_torn = read.is_torn;
        return Found::Sound(Standing { is_there: true, is_torn, ..begins });
    };
    Found::Sound(Standing {
        first: first.sequence,
        sequence: last.sequence,
        chain: last.chain,
        len: read.whole_len,
        is_there: true,
        is_torn: read.is_torn,
    })
}

/// Where a current file begins: behind the last part, where that can be trusted.
fn behind_parts(disk: &dyn ReadDisk, dir: &Path, id: LoopId, parts: &Parts) -> Standing {
    let last = parts.get(&id).and_then(|firsts| firsts.last());
    let end = last.and_then(|first| {
        let file = part(dir, id, *first);
        let bytes = durable::read_file(disk, &file, READ_BYTES_MAX).ok()?;
        let read = read(id, "", &bytes);
        let last = read.lines.last().filter(|_| read.records.is_empty() && !read.is_torn)?;
        Some((last.sequence, last.chain))
    });
    end.map_or(Standing::new(), |(sequence, chain)| Standing {
        first: sequence.saturating_add(1),
        sequence,
        chain,
        ..Standing::default()
    })
}

/// All that files of one transcript say: the rows of its events by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Each with the chain that its line tells.
    pub(crate) events: BTreeMap<u64, (Vec<u8>, u64)>,
    /// What cannot be trusted.
    pub(crate) records: Vec<CorruptedRecord>,
    /// Its last line has no end; what of it could be read is among the events.
    pub(crate) is_torn: bool,
}

/// Reads all parts of a transcript.
pub(crate) fn gather(disk: &dyn ReadDisk, dir: &Path, id: LoopId, firsts: &[u64]) -> Gathered {
    let mut gathered = Gathered::default();
    let files = firsts.iter().map(|first| part(dir, id, *first)).chain([current(dir, id)]);
    for file in files {
        let name = file.display().to_string();
        let bytes = match durable::read_file(disk, &file, READ_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                gathered.records.extend(unreadable(&name, &error));
                continue;
            }
        };
        let read = read(id, &name, &bytes);
        gathered.records.extend(read.records);
        gathered.is_torn = read.is_torn;
        let torn = usize::try_from(read.whole_len).ok().and_then(|at| bytes.get(at..));
        let without_end = torn.and_then(|torn| parse(id, torn).ok());
        for line in read.lines.iter().chain(&without_end) {
            gathered.events.entry(line.sequence).or_insert((line.row(), line.chain));
        }
    }
    gathered
}

fn unreadable(file: &str, error: &io::Error) -> Vec<CorruptedRecord> {
    let reason = format!("it cannot be read: {error}");
    vec![CorruptedRecord { file: file.to_owned(), line: 0, reason }]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::loops::event::{Event, What};
    use crate::loops::row::{chain, encode_event};
    use crate::loops::transcript::line::encode;

    const ID: u8 = 4;

    fn id() -> LoopId {
        LoopId::new(1, [ID; 10])
    }

    /// `count` lines.
    fn lines(count: u64) -> Vec<Vec<u8>> {
        let mut before = 0;
        let line = |number| {
            let what = What::Failed { why: format!("number {number}") };
            let bytes = encode_event(&Event { at_ms: number, what });
            before = chain(before, number, &bytes);
            encode(id(), number, before, &bytes).unwrap()
        };
        (1..=count).map(line).collect()
    }

    fn told(bytes: &[u8]) -> (Vec<u64>, Vec<u64>, bool) {
        let read = read(id(), "f", bytes);
        let lines = read.lines.iter().map(|line| line.sequence).collect();
        (lines, read.records.iter().map(|record| record.line).collect(), read.is_torn)
    }

    /// Each kind of damage has its verdict, and takes no other line along.
    ///
    /// proves: L4
    #[test]
    fn each_damage_has_its_verdict_and_takes_no_other_line_along() {
        let whole = lines(5);
        let all = whole.concat();
        assert_eq!(told(&all), (vec![1, 2, 3, 4, 5], vec![], false));
        assert_eq!(told(b""), (vec![], vec![], false));
        // Torn at the end: at each byte of the last line.
        let last = whole.last().unwrap().len();
        for cut in 1..last {
            let bytes = all.get(..all.len() - cut).unwrap();
            assert_eq!(told(bytes), (vec![1, 2, 3, 4], vec![], true), "{cut} bytes cut");
        }
        // A bit of a line in the middle, its end included, at each place.
        let start = whole.first().unwrap().len();
        let second = whole.get(1).unwrap().len();
        for at in start..start + second - 1 {
            let mut bytes = all.clone();
            *bytes.get_mut(at).unwrap() ^= 1;
            // A byte may become the end of a line.
            let (good, wrong, torn) = told(&bytes);
            assert_eq!(good, [1, 3, 4, 5], "byte {at}");
            assert!(wrong.first() == Some(&2) && !torn, "byte {at}: {wrong:?}");
        }
        // Torn, and gone on with behind it, with and without an end between.
        let (one, two, three) = (&whole[0], &whole[1], &whole[2]);
        let torn = two.get(..20).unwrap();
        let bytes = [one, torn, three].concat();
        assert_eq!(told(&bytes), (vec![1, 3], vec![2], false));
        let bytes = [one, torn, b"\n", three].concat();
        assert_eq!(told(&bytes), (vec![1, 3], vec![2], false));
        // Missing, twice, in another order.
        assert_eq!(told(&[&one[..], three].concat()), (vec![1, 3], vec![2], false));
        assert_eq!(told(&[&one[..], one].concat()), (vec![1, 1], vec![2], false));
        assert_eq!(told(&[&two[..], one].concat()), (vec![2, 1], vec![2], false));
        // A page that was never written, at the end and in the middle.
        assert_eq!(told(&[&one[..], &[0; 99]].concat()), (vec![1], vec![], true));
        let bytes = [&one[..], &[0; 99], b"\n", two].concat();
        assert_eq!(told(&bytes), (vec![1, 2], vec![2], false));
        // Of another history.
        let what = What::Failed { why: "other".to_owned() };
        let row = encode_event(&Event { at_ms: 2, what });
        let other = encode(id(), 2, chain(77, 2, &row), &row).unwrap();
        assert_eq!(told(&[&one[..], &other].concat()), (vec![1, 2], vec![2], false));
    }

    #[test]
    fn records_of_a_file_are_bounded() {
        let text = b"x\n".repeat(10_000);
        let read = read(id(), "f", &text);
        assert_eq!(read.records.len(), RECORDS_MAX + 1);
        assert_eq!(read.records.last().unwrap().reason, "9900 more lines like these");
    }
}
