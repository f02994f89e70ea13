//! The content of one simulated file: sparse pages and a length.
//!
//! Invariant: while changes are applied one by one, pages may hold bytes behind the length (data
//! that survived a crash although the size did not); [`Content::trim`] drops them.

use crate::pages::{PAGE_BYTES, PageMap, narrow, part, part_mut, piece, piece_mut, spans, widen};
use std::sync::Arc;

/// A change of one file's bytes or size.
#[derive(Clone, Debug)]
pub(super) enum DataChange {
    /// Bytes inside the file; a write that grows it is preceded by its own size change.
    Write { offset: u64, data: Arc<[u8]> },
    /// A new size; below `from` it cuts.
    Len { from: u64, to: u64 },
    /// A range that reads as zeros from now on.
    Punch { offset: u64, len: u64 },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: PageMap,
    len: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` from `offset` as far as the file goes; returns the bytes read.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let available = self.len.saturating_sub(offset);
        let count = buf.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        for span in spans(offset, count, PAGE_BYTES) {
            let piece = piece_mut(buf, span.buffer);
            match self.pages.get(&span.unit) {
                Some(page) => piece.copy_from_slice(part(page, span.inside)),
                None => piece.fill(0),
            }
        }
        count
    }

    /// Puts bytes into pages; the length stays what it is.
    pub(super) fn store(&mut self, offset: u64, data: &[u8]) {
        for span in spans(offset, data.len(), PAGE_BYTES) {
            let page = self.pages.entry(span.unit).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            part_mut(page, span.inside).copy_from_slice(piece(data, span.buffer));
        }
    }

    /// Makes `[from, to)` read as zeros and gives whole pages back.
    pub(super) fn zero(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let page_len = widen(PAGE_BYTES);
        let (first, last) = (from / page_len, to / page_len);
        let (head, tail) = (narrow(from % page_len), narrow(to % page_len));
        if first == last {
            self.zero_inside(first, head, tail);
            return;
        }
        let mut whole = first;
        if head > 0 {
            self.zero_inside(first, head, PAGE_BYTES);
            whole += 1;
        }
        self.zero_inside(last, 0, tail);
        if whole < last {
            self.pages.extract_if(whole..last, |_, _| true).for_each(drop);
        }
    }

    fn zero_inside(&mut self, page: u64, from: usize, to: usize) {
        if let Some(page) = self.pages.get_mut(&page).filter(|_| from < to) {
            part_mut(page, from..to).fill(0);
        }
    }

    /// Cuts or extends with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        self.apply(&DataChange::Len { from: self.len, to: len });
    }

    pub(super) fn apply(&mut self, change: &DataChange) {
        match change {
            DataChange::Write { offset, data } => self.store(*offset, data),
            DataChange::Len { from, to } => {
                if to < from {
                    self.zero(*to, u64::MAX);
                }
                self.len = *to;
                assert!(i64::try_from(self.len).is_ok(), "callers refuse what Linux refuses");
            }
            DataChange::Punch { offset, len } => self.zero(*offset, offset.saturating_add(*len)),
        }
    }

    /// Drops what lies behind the length.
    pub(super) fn trim(&mut self) {
        self.zero(self.len, u64::MAX);
        debug_assert!(!self.overhangs(), "nothing is left behind the length");
    }

    /// Whether pages hold anything behind the length.
    pub(super) fn overhangs(&self) -> bool {
        let page_len = widen(PAGE_BYTES);
        let Some((last, page)) = self.pages.last_key_value() else { return false };
        if last * page_len >= self.len {
            return true;
        }
        let used = self.len - last * page_len;
        used < page_len && part(page, narrow(used)..PAGE_BYTES).iter().any(|byte| *byte != 0)
    }

    /// Inverts one bit of the byte at `offset`; false behind the end.
    pub(super) fn flip(&mut self, offset: u64, bit: u8) -> bool {
        assert!(bit < 8, "a byte has bits 0 to 7");
        let mut byte = [0];
        if self.read(&mut byte, offset) == 0 {
            return false;
        }
        self.store(offset, &byte.map(|byte| byte ^ (1 << bit)));
        true
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; narrow(self.len)];
        self.read(&mut bytes, 0);
        bytes
    }
}

impl PartialEq for Content {
    /// Equal to a reader: a missing page and one of zeros are the same.
    fn eq(&self, other: &Self) -> bool {
        let same = |number: &u64| match (self.pages.get(number), other.pages.get(number)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (Some(only), None) | (None, Some(only)) => only.iter().all(|byte| *byte == 0),
            (None, None) => true,
        };
        self.len == other.len && self.pages.keys().chain(other.pages.keys()).all(same)
    }
}

impl Eq for Content {}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn zeroing_any_range_equals_zeroing_a_plain_buffer() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..500 {
            let mut plain: Vec<u8> = (0..20_000).map(|_| random.u8(1..)).collect();
            let mut content = Content { len: 20_000, ..Content::default() };
            content.store(0, &plain);
            let from = random.usize(..20_000);
            let to = random.usize(from..=20_000);
            plain[from..to].fill(0);
            content.zero(widen(from), widen(to));
            assert_eq!(content.bytes(), plain, "{from}..{to}");
        }
    }

    #[test]
    fn a_cut_leaves_zeros_behind_and_a_hole_costs_nothing() {
        let mut content = Content::default();
        content.set_len(64 << 20);
        assert!(content.pages.is_empty());
        content.store(5_000, b"behind");
        content.set_len(5_002);
        assert!(!content.overhangs());
        content.set_len(5_006);
        assert_eq!(&content.bytes()[5_000..], b"be\0\0\0\0");
    }

    #[test]
    fn bytes_behind_the_length_are_seen_and_trimmed() {
        let mut content = Content::default();
        content.store(100, b"x");
        assert!(content.overhangs());
        content.trim();
        assert!(!content.overhangs());
        content.set_len(200);
        assert_eq!(content.bytes(), vec![0; 200]);
    }
}
