//! Reading and writing the fields of persisted values: little-endian, lengths before bytes.
//!
//! Invariant: a reader never trusts a length before the bytes are there, and answers `None`
//! instead.

use std::fmt;

/// Stored bytes that are not what they must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What should have been there.
    pub expected: &'static str,
    /// What was there.
    pub found: String,
}

impl Malformed {
    /// Bytes that are not `expected`; long ones are cut.
    pub(crate) fn new(expected: &'static str, found: &[u8]) -> Self {
        const SHOWN: usize = 48;
        let shown = found.get(..SHOWN).unwrap_or(found);
        let more = if found.len() > SHOWN { "…" } else { "" };
        let found = format!("{} bytes: {}{more}", found.len(), shown.escape_ascii());
        Self { expected, found }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

/// Takes fields from the front of stored bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not taken yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    /// One byte.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of 7 bits a byte, lowest first; the highest bit says that more follow.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let low = u64::from(byte & 0x7F);
            number |= low.checked_shl(shift).filter(|bits| bits >> shift == low)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Text with its length in one byte.
    pub(crate) fn text8(&mut self) -> Option<&'a str> {
        let len = self.u8()?;
        std::str::from_utf8(self.take(usize::from(len))?).ok()
    }

    /// Text with its length in two bytes.
    pub(crate) fn text16(&mut self) -> Option<&'a str> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(usize::from(len))?).ok()
    }

    /// `Some` when everything was taken.
    pub(crate) fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

/// Adds text with its length in one byte; the limits keep every such text below 256 bytes.
pub(crate) fn put_text8(bytes: &mut Vec<u8>, text: &str) {
    let len = u8::try_from(text.len()).expect("checked against a limit below 256 bytes");
    bytes.push(len);
    bytes.extend_from_slice(text.as_bytes());
}

/// Adds text with its length in two bytes; the limits keep every such text below 64 KiB.
pub(crate) fn put_text16(bytes: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).expect("checked against a limit below 64 KiB");
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// Adds a number as [`Reader::varint`] takes it.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        let [low, ..] = number.to_le_bytes();
        bytes.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    bytes.push(low);
}

/// The longest beginning of `text` that has at most `max` bytes.
pub(crate) fn truncated(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_never_takes_more_than_there_is() {
        let mut reader = Reader::new(&[5, b'a', b'b']);
        assert_eq!(reader.text8(), None);
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), None);
        assert_eq!(reader.u16(), Some(0x0201));
        assert_eq!(reader.end(), None);
        assert_eq!(reader.u8(), Some(3));
        assert_eq!(reader.end(), Some(()));
    }

    #[test]
    fn varints_come_back_and_longer_ones_are_none() {
        for shift in 0..64 {
            for number in [1 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = vec![];
                put_varint(&mut bytes, number);
                let mut reader = Reader::new(&bytes);
                assert_eq!((reader.varint(), reader.end()), (Some(number), Some(())));
            }
        }
        assert_eq!(Reader::new(&[0x80]).varint(), None);
        assert_eq!(Reader::new(&[0xFF; 11]).varint(), None);
        let above = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2];
        assert_eq!(Reader::new(&above).varint(), None);
    }

    #[test]
    fn texts_round_trip_and_other_bytes_are_no_text() {
        let mut bytes = vec![];
        put_text8(&mut bytes, "grün");
        put_text16(&mut bytes, "");
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.text8(), Some("grün"));
        assert_eq!(reader.text16(), Some(""));
        assert_eq!(Reader::new(&[1, 0xFF]).text8(), None);
    }

    #[test]
    fn truncation_keeps_characters_whole() {
        assert_eq!(truncated("grün", 3), "gr");
        assert_eq!(truncated("grün", 4), "grü");
        assert_eq!(truncated("grün", 99), "grün");
    }
}
