//! Transactions as bytes: the payloads of the record kinds that the database writes and reads.
//!
//! ```text
//! Txns    base_version 8 | log_time_ms 8 | n 4 | pad 4 | n entries, one behind the other
//! entry   len 4 (of what follows) | txn_id 8 | flags 1 | ops varint | operations
//! op      kind 1 | keyspace 2 | key length varint | value length varint | key | value
//!         kind 1: put; 2: delete (no value); 3: delete range (key: first, value: behind the last)
//! Begin   txn_id 8
//! Part    txn_id 8 | ops varint | operations
//! Commit  txn_id 8 | version 8 | log_time_ms 8 | parts 4
//! Abort   txn_id 8
//! Loss    from_position 8 | to_position 8 | from_lsn 8 | end_lsn 8 | next_version 8 | audit text
//! Feature level 4
//! ```
//!
//! Little-endian; varint is unsigned LEB128 in its shortest form. Invariants: decoding never
//! allocates and never panics, whatever the bytes; what was decoded was checked whole before its
//! first operation is handed out; the operations of an entry are encoded in place, once.

use rekindle_engine::{KeyspaceId, Operation};
use rekindle_recovery::numbers::NUMBER_MAX;

/// Sets a key.
pub(crate) const PUT: u8 = 1;
/// Removes a key.
pub(crate) const DELETE: u8 = 2;
/// Removes a range of keys.
pub(crate) const DELETE_RANGE: u8 = 3;

/// Longest varint of a u32.
pub(crate) const VARINT_BYTES_MAX: usize = 5;
/// Bytes in front of the operation count of an entry.
pub(crate) const ENTRY_HEAD_BYTES: usize = 4 + 8 + 1;

/// Why bytes are no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at} of the payload")]
pub(crate) struct DecodeError {
    /// What is wrong.
    pub(crate) what: &'static str,
    /// Where, relative to the payload.
    pub(crate) at: usize,
}

/// A position in bytes that nobody trusts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError { what, at: self.at })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let Some(taken) = self.rest().get(..len) else { return self.fail("too few bytes") };
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(taken) = self.rest().first_chunk::<N>() else {
            return self.fail("too few bytes");
        };
        self.at += N;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn varint(&mut self) -> Result<u32, DecodeError> {
        let start = self.at;
        let mut value: u64 = 0;
        for shift in 0..VARINT_BYTES_MAX {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7F) << (7 * shift);
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError { what: "a varint longer than it must be", at: start });
                }
                let too_large = DecodeError { what: "a varint above 32 bits", at: start };
                return u32::try_from(value).map_err(|_| too_large);
            }
        }
        Err(DecodeError { what: "a varint without an end", at: start })
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        let at = self.at;
        let length = self.varint()?;
        usize::try_from(length).map_err(|_| DecodeError { what: "a length above memory", at })
    }

    pub(crate) fn operation(&mut self) -> Result<Operation<'a>, DecodeError> {
        let kind = self.u8()?;
        let keyspace = KeyspaceId(self.u16()?);
        let key_len = self.length()?;
        let value_len = self.length()?;
        let key = self.take(key_len)?;
        let value = self.take(value_len)?;
        match kind {
            PUT => Ok(Operation::Put { keyspace, key, value }),
            DELETE if value.is_empty() => Ok(Operation::Delete { keyspace, key }),
            DELETE => self.fail("a delete with a value"),
            DELETE_RANGE => Ok(Operation::DeleteRange { keyspace, start: key, end: value }),
            _ => self.fail("an unknown operation"),
        }
    }

    /// Checks `count` operations up to the end of the bytes.
    fn operations(mut self, count: u32) -> Result<Operations<'a>, DecodeError> {
        let start = self;
        let mut puts = 0;
        for _ in 0..count {
            puts += u32::from(matches!(self.operation()?, Operation::Put { .. }));
        }
        if !self.is_empty() {
            return self.fail("bytes behind the last operation");
        }
        Ok(Operations { reader: start, left: count, puts })
    }
}

/// The operations of a payload that was checked whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operations<'a> {
    reader: Reader<'a>,
    left: u32,
    puts: u32,
}

impl Operations<'_> {
    /// No operations.
    pub(crate) fn none() -> Self {
        Self { reader: Reader::new(&[]), left: 0, puts: 0 }
    }

    /// How many keys they set, and how many keys and ranges they remove; before any was taken.
    pub(crate) fn changes(&self) -> (u32, u32) {
        debug_assert!(self.puts <= self.left, "asked before any was taken");
        (self.puts, self.left - self.puts)
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    fn next(&mut self) -> Option<Operation<'a>> {
        self.left = self.left.checked_sub(1)?;
        // The bytes were checked when this value was made.
        self.reader.operation().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

/// One transaction of a `Txns` record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TxnEntry<'a> {
    /// Which transaction.
    pub(crate) txn_id: u64,
    /// What it changes.
    pub(crate) operations: Operations<'a>,
}

/// Whether a transaction can have this version, and others come behind it.
fn is_version(version: u64) -> bool {
    (1..=NUMBER_MAX).contains(&version)
}

/// A `Txns` payload, checked whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Txns<'a> {
    /// Version of the first transaction.
    pub(crate) base_version: u64,
    /// Log time of the last one, milliseconds.
    pub(crate) log_time_ms: u64,
    /// How many there are, at least one.
    pub(crate) count: u32,
    reader: Reader<'a>,
}

impl<'a> Txns<'a> {
    /// Checks a payload.
    pub(crate) fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let base_version = reader.u64()?;
        let log_time_ms = reader.u64()?;
        let count = reader.u32()?;
        if reader.u32()? != 0 {
            return reader.fail("a pad that is not zero");
        }
        if !is_version(base_version) || log_time_ms > NUMBER_MAX {
            return reader.fail("a version or time out of range");
        }
        if count == 0 {
            return reader.fail("no transactions");
        }
        let entries = reader;
        for _ in 0..count {
            take_entry(&mut reader)?;
        }
        if !reader.is_empty() {
            return reader.fail("bytes behind the last transaction");
        }
        Ok(Self { base_version, log_time_ms, count, reader: entries })
    }

    /// Version of the last transaction.
    #[must_use]
    pub(crate) fn last_version(&self) -> u64 {
        debug_assert!(self.count > 0 && self.base_version > 0, "checked when decoded");
        self.base_version + u64::from(self.count) - 1
    }

    /// The transactions with their versions.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, TxnEntry<'a>)> + use<'a> {
        let mut reader = self.reader;
        let versions = self.base_version..=self.last_version();
        // The bytes were checked when this value was made.
        versions.map_while(move |version| Some((version, take_entry(&mut reader).ok()?)))
    }
}

/// The next entry of a `Txns` payload.
fn take_entry<'a>(reader: &mut Reader<'a>) -> Result<TxnEntry<'a>, DecodeError> {
    let start = reader.at;
    let len = reader.u32()?;
    let Ok(len) = usize::try_from(len) else { return reader.fail("a length above memory") };
    let mut entry = Reader::new(reader.take(len)?);
    let inside = |error: DecodeError| DecodeError { at: start + 4 + error.at, ..error };
    let txn_id = entry.u64().map_err(inside)?;
    if entry.u8().map_err(inside)? != 0 {
        return Err(DecodeError { what: "unknown flags", at: start + ENTRY_HEAD_BYTES - 1 });
    }
    let count = entry.varint().map_err(inside)?;
    let operations = entry.operations(count).map_err(inside)?;
    Ok(TxnEntry { txn_id, operations })
}

/// A `Part` payload, checked whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    /// Which transaction.
    pub(crate) txn_id: u64,
    /// What this part changes.
    pub(crate) operations: Operations<'a>,
}

impl<'a> Part<'a> {
    /// Checks a payload.
    pub(crate) fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let txn_id = reader.u64()?;
        let count = reader.varint()?;
        Ok(Self { txn_id, operations: reader.operations(count)? })
    }
}

/// A `Commit` payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitMark {
    /// Which transaction.
    pub(crate) txn_id: u64,
    /// Its version.
    pub(crate) version: u64,
    /// Its log time, milliseconds.
    pub(crate) log_time_ms: u64,
    /// How many parts it has.
    pub(crate) parts: u32,
}

impl CommitMark {
    /// Checks a payload.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let mark = Self {
            txn_id: reader.u64()?,
            version: reader.u64()?,
            log_time_ms: reader.u64()?,
            parts: reader.u32()?,
        };
        if !is_version(mark.version) || mark.log_time_ms > NUMBER_MAX {
            return reader.fail("a version or time out of range");
        }
        if reader.is_empty() { Ok(mark) } else { reader.fail("bytes behind the end") }
    }

    /// The payload.
    #[cfg(test)]
    pub(crate) fn encode(&self) -> [u8; 28] {
        let fields = [self.txn_id, self.version, self.log_time_ms];
        let fields = fields.iter().flat_map(|field| field.to_le_bytes());
        let mut bytes = [0; 28];
        for (to, from) in bytes.iter_mut().zip(fields.chain(self.parts.to_le_bytes())) {
            *to = from;
        }
        bytes
    }
}

/// How the audit text of a record begins that stands for no loss: the accepted ranges held no
/// record that is not elsewhere. Persisted.
pub(crate) const NOTHING_LOST: &[u8] = b"{\"records\":0,";

/// A `Loss` payload: an operator accepted that a range is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss<'a> {
    /// First lost position.
    pub(crate) from_position: u64,
    /// Last lost position.
    pub(crate) to_position: u64,
    /// First lost address.
    pub(crate) from_lsn: u64,
    /// Behind the last lost address.
    pub(crate) end_lsn: u64,
    /// Version of the first transaction behind the range.
    pub(crate) next_version: u64,
    /// Who accepted it, and why.
    pub(crate) audit: &'a [u8],
}

impl<'a> Loss<'a> {
    /// Checks a payload.
    pub(crate) fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let loss = Self {
            from_position: reader.u64()?,
            to_position: reader.u64()?,
            from_lsn: reader.u64()?,
            end_lsn: reader.u64()?,
            next_version: reader.u64()?,
            audit: reader.rest(),
        };
        let range = loss.from_position <= loss.to_position && loss.to_position <= NUMBER_MAX;
        if !is_version(loss.next_version) || !range {
            return reader.fail("a range or version that cannot be");
        }
        Ok(loss)
    }

    /// Whether it stands for more than the decision of who repaired.
    pub(crate) fn held_records(&self) -> bool {
        self.from_position < self.to_position || !self.audit.starts_with(NOTHING_LOST)
    }

    /// The payload.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let fields =
            [self.from_position, self.to_position, self.from_lsn, self.end_lsn, self.next_version];
        let mut bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        bytes.extend_from_slice(self.audit);
        bytes
    }
}

/// The transaction id that is the whole payload of `Begin` and `Abort`.
pub(crate) fn decode_txn_id(payload: &[u8]) -> Result<u64, DecodeError> {
    let mut reader = Reader::new(payload);
    let id = reader.u64()?;
    if reader.is_empty() { Ok(id) } else { reader.fail("bytes behind the end") }
}

/// The level of a `Feature` payload.
pub(crate) fn decode_feature(payload: &[u8]) -> Result<u32, DecodeError> {
    let mut reader = Reader::new(payload);
    let level = reader.u32()?;
    if reader.is_empty() { Ok(level) } else { reader.fail("bytes behind the end") }
}
