//! A manifest: what a backup is made of, as JSON that proves itself.
//!
//! The file is `{"crc32c": "<8 hex digits>", "backup": {...}}`, and the checksum is the CRC-32C of
//! all of the file's bytes with zeros in the place of its digits. Invariants: bytes become a
//! [`Manifest`] only when the checksum is right and every number can be counted on from; a newer
//! format is told from damage.

use rekindle_recovery::numbers::{NUMBER_MAX, RUN_MAX, STORED_MAX};
use serde::{Deserialize, Serialize};

use crate::engines::EngineKind;

/// The format of the backup of a store on the memory engine.
const FORMAT_MEMORY: u16 = 1;

/// The newest format that this program reads: it also names the engine.
const FORMAT: u16 = 2;

/// Longer files are no manifests.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 20;

const HEAD: &str = "{\n  \"crc32c\": \"";
const DIGITS: usize = 8;
const BEHIND: &str = "\",\n  \"backup\": ";

/// What a backup is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1, or 2 where an engine is named.
    pub format: u16,
    /// Its number in its directory, and the name of its file.
    pub number: u64,
    /// The backup before it, if there is one.
    pub earlier: Option<u64>,
    /// The store, in hexadecimal.
    pub store_id: String,
    /// Its lineage, in hexadecimal.
    pub lineage: String,
    /// The node.
    pub node: u64,
    /// The engine of the store, where that is not memory: a restore makes a store on the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The version of the program that took it.
    pub program: String,
    /// The run that took it.
    pub incarnation: u64,
    /// When, by the wall clock, milliseconds since the Unix epoch.
    pub taken_ms: u64,
    /// The last position in it.
    pub position: u64,
    /// The last version in it.
    pub version: u64,
    /// Log time of that version's transaction.
    pub log_time_ms: u64,
    /// Everything up to this log time is in it.
    pub until_ms: u64,
    /// The checkpoint that it begins with.
    pub checkpoint: CheckpointFile,
    /// The segments behind, oldest first; the first ones may lie below the checkpoint.
    pub segments: Vec<SegmentFile>,
}

/// A checkpoint of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointFile {
    /// Relative to the directory.
    pub file: String,
    /// Its id.
    pub id: u64,
    /// Its length.
    pub bytes: u64,
    /// CRC-32C of all of it.
    #[serde(with = "hex")]
    pub crc32c: u32,
    /// The last position in it.
    pub position: u64,
    /// The last version in it.
    pub version: u64,
    /// Log time of that version's transaction.
    pub log_time_ms: u64,
    /// Where replay on top of it begins.
    pub replay_from: u64,
}

/// A sealed segment of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentFile {
    /// Relative to the directory.
    pub file: String,
    /// Its number.
    pub seq: u64,
    /// The one before (0: none).
    pub prev_seq: u64,
    /// Its length.
    pub bytes: u64,
    /// Where its valid part ends, from the start of the file; what is behind counts for nothing.
    pub used: u64,
    /// CRC-32C of the valid part.
    #[serde(with = "hex")]
    pub crc32c: u32,
    /// The address of its first byte.
    pub base_lsn: u64,
    /// The position of its first record.
    pub first_position: u64,
    /// The position behind its last record.
    pub next_position: u64,
    /// Header checksum of its last frame (0: none).
    #[serde(with = "hex")]
    pub chain: u32,
}

/// All of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(rename = "crc32c")]
    _crc32c: serde::de::IgnoredAny,
    backup: Manifest,
}

/// Why bytes are no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Defect {
    pub(crate) offset: u64,
    pub(crate) expected: String,
    pub(crate) found: String,
    /// Whole, and of a newer program.
    pub(crate) newer: bool,
}

impl Defect {
    fn new(offset: usize, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let offset = offset as u64;
        Self { offset, expected: expected.into(), found: found.into(), newer: false }
    }
}

/// The path of a segment inside a backup's directory.
pub(crate) fn segment_file(seq: u64) -> String {
    format!("journal/{seq:016x}")
}

/// The path of a checkpoint inside a backup's directory.
pub(crate) fn checkpoint_file(id: u64) -> String {
    format!("checkpoints/{}", rekindle_engine::checkpoint::file_name(id))
}

impl Manifest {
    /// The format and the engine's name for a store on this engine.
    pub(super) fn of_engine(kind: EngineKind) -> (u16, Option<String>) {
        match kind {
            EngineKind::Memory => (FORMAT_MEMORY, None),
            kind => (FORMAT, Some(kind.name().to_owned())),
        }
    }

    /// The engine of the store; `None` for one that this program does not have.
    pub(crate) fn engine_kind(&self) -> Option<EngineKind> {
        match &self.engine {
            None => Some(EngineKind::Memory),
            Some(name) => name.parse().ok(),
        }
    }

    /// Bytes of its files that count.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.used).sum();
        self.checkpoint.bytes.saturating_add(segments)
    }

    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        debug_assert_eq!(self.inconsistency(), None, "only what can be read is written");
        let body = serde_json::to_string_pretty(self).expect("names, numbers and lists of them");
        let body = body.replace('\n', "\n  ");
        let zeros = "0".repeat(DIGITS);
        let mut text = format!("{HEAD}{zeros}{BEHIND}{body}\n}}\n");
        let crc = format!("{:08x}", crc32c::crc32c(text.as_bytes()));
        text.replace_range(HEAD.len()..HEAD.len() + DIGITS, &crc);
        text.into_bytes()
    }

    /// Reads the file with this number.
    pub(crate) fn decode(bytes: &[u8], number: u64) -> Result<Self, Defect> {
        check_crc(bytes)?;
        let value: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|error| Defect::new(0, "a manifest in JSON", error.to_string()))?;
        let body = value.get("backup");
        let format = body
            .and_then(|body| body.get("format"))
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        if format > u64::from(FORMAT) {
            let expected = format!("a manifest of format {FORMAT} or older");
            let found = format!("format {format}, of a newer program");
            return Err(Defect { newer: true, ..Defect::new(0, expected, found) });
        }
        // Once more from the bytes: a field that stands twice is no manifest of ours.
        let Whole { backup: manifest, .. } = serde_json::from_slice(bytes)
            .map_err(|error| Defect::new(0, "a manifest of a known format", error.to_string()))?;
        if manifest.number != number {
            let expected = format!("the manifest of backup {number}");
            return Err(Defect::new(0, expected, format!("that of backup {}", manifest.number)));
        }
        if manifest.engine_kind().is_none() {
            let found = format!("engine {:?}, of a newer program", manifest.engine);
            return Err(Defect {
                newer: true,
                ..Defect::new(0, "an engine of this program", found)
            });
        }
        match manifest.inconsistency() {
            None => Ok(manifest),
            Some(what) => Err(Defect::new(0, "a consistent manifest", what)),
        }
    }

    /// What in it contradicts the rest, or cannot be counted on from.
    pub(super) fn inconsistency(&self) -> Option<String> {
        let checkpoint = &self.checkpoint;
        let times = [self.log_time_ms, self.until_ms, self.taken_ms, checkpoint.log_time_ms];
        let counted = [self.number, self.position, self.version, checkpoint.id];
        let bounded = counted.into_iter().all(|number| (1..=STORED_MAX).contains(&number))
            && times.into_iter().all(|time| time <= NUMBER_MAX)
            && (1..=RUN_MAX).contains(&self.incarnation);
        let ids = [&self.store_id, &self.lineage];
        let hex = ids.into_iter().all(|id| id.len() == 32 && decode_id(id).is_some());
        let ascends = checkpoint.position <= self.position
            && checkpoint.version <= self.version
            && checkpoint.log_time_ms <= self.log_time_ms
            && (1..=checkpoint.position.saturating_add(1)).contains(&checkpoint.replay_from);
        let named = checkpoint.file == checkpoint_file(checkpoint.id)
            && self.segments.iter().all(|segment| segment.file == segment_file(segment.seq));
        let joined = self.segments.windows(2).all(|pair| match pair {
            [before, after] => after.follows(before),
            _ => true,
        });
        let last = self.segments.last();
        let ends =
            last.is_some_and(|last| last.next_position.checked_sub(1) == Some(self.position));
        let kind = self.engine_kind();
        let format = kind.map(Self::of_engine);
        let checks = [
            (kind.is_some(), "an engine that this program does not have"),
            (format == Some((self.format, self.engine.clone())), "a format that never was"),
            (bounded, "numbers out of range"),
            (hex, "identities that are none"),
            (ascends, "an end before its beginning"),
            (named, "files that are named otherwise"),
            (self.segments.iter().all(SegmentFile::is_consistent), "segments that cannot be"),
            (joined, "segments that do not join"),
            (ends, "segments that end elsewhere"),
            (self.earlier.is_none_or(|earlier| earlier < self.number), "an earlier one behind it"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what.to_owned())
    }
}

impl SegmentFile {
    /// Whether it stands right behind this one. A repair leaves out the addresses of what it
    /// replaced; whether this is one the segment's own header says when it is read.
    pub(crate) fn follows(&self, before: &Self) -> bool {
        self.prev_seq == before.seq
            && self.first_position == before.next_position
            && before.base_lsn.checked_add(before.bytes).is_some_and(|end| end <= self.base_lsn)
    }

    /// The address behind its valid part.
    pub(crate) fn end_lsn(&self) -> u64 {
        self.base_lsn + self.used
    }

    fn is_consistent(&self) -> bool {
        let end = self.base_lsn.checked_add(self.bytes);
        (4096..=self.bytes).contains(&self.used)
            && end.is_some_and(|end| end <= STORED_MAX)
            && self.seq > self.prev_seq
            && self.seq <= STORED_MAX
            && (1..=self.next_position).contains(&self.first_position)
            && self.next_position <= STORED_MAX
    }
}

/// The bytes of an identity in hexadecimal.
pub(crate) fn decode_id(text: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    let digits = text.as_bytes();
    if digits.len() != 32 || digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.contains('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(id)
}

/// An identity in hexadecimal.
pub(crate) fn encode_id(id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

fn check_crc(bytes: &[u8]) -> Result<(), Defect> {
    let digits = HEAD.len()..HEAD.len() + DIGITS;
    let behind = digits.end..digits.end + BEHIND.len();
    let framed = bytes.starts_with(HEAD.as_bytes())
        && bytes.get(behind).is_some_and(|bytes| bytes == BEHIND.as_bytes());
    let stored = bytes.get(digits.clone()).unwrap_or_default();
    if !framed {
        return Err(Defect::new(0, "a manifest with its checksum first", "other bytes"));
    }
    let mut zeroed = bytes.to_vec();
    zeroed.get_mut(digits.clone()).unwrap_or_default().fill(b'0');
    let computed = format!("{:08x}", crc32c::crc32c(&zeroed));
    if computed.as_bytes() == stored {
        return Ok(());
    }
    let found = String::from_utf8_lossy(stored).escape_default().to_string();
    Err(Defect::new(digits.start, format!("checksum {computed}"), found))
}

/// Checksums in JSON are hexadecimal, as everywhere else.
mod hex {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over so")]
    pub(super) fn serialize<S: Serializer>(crc: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{crc:08x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        let text = String::deserialize(from)?;
        let value = u32::from_str_radix(&text, 16).map_err(D::Error::custom)?;
        if format!("{value:08x}") == text { Ok(value) } else { Err(D::Error::custom("8 digits")) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
