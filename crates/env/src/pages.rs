//! Sparse bytes in pages: the arithmetic that the simulated disk and the overlay share.
//!
//! Invariant: no page is ever changed in place while somebody else holds it ([`Arc::make_mut`]), so
//! a clone of a page map costs one reference count for each page.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a page: what a page cache keeps together.
pub(crate) const PAGE_BYTES: usize = 4096;

/// One page of content.
pub(crate) type Page = [u8; PAGE_BYTES];

/// Pages by number; one that is missing has another source (zeros, or the file underneath).
pub(crate) type PageMap = BTreeMap<u64, Arc<Page>>;

/// The part of a buffer that falls into one unit (page, sector) of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The number of the unit.
    pub(crate) unit: u64,
    /// Where the part lies inside the unit.
    pub(crate) inside: Range<usize>,
    /// Where it lies inside the buffer.
    pub(crate) buffer: Range<usize>,
}

/// Cuts `len` bytes at `offset` at the boundaries of units of `unit_bytes`.
pub(crate) fn spans(offset: u64, len: usize, unit_bytes: usize) -> impl Iterator<Item = Span> {
    let unit_len = widen(unit_bytes);
    assert!(offset.checked_add(widen(len)).is_some(), "callers refuse ranges beyond u64");
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + widen(done);
        let start = narrow(at % unit_len);
        let count = (unit_bytes - start).min(len - done);
        let span =
            Span { unit: at / unit_len, inside: start..start + count, buffer: done..done + count };
        done += count;
        debug_assert!(count > 0 && span.inside.end <= unit_bytes, "a span is inside its unit");
        Some(span)
    })
}

/// The part of a page.
pub(crate) fn part(page: &Page, inside: Range<usize>) -> &[u8] {
    page.get(inside).expect("a span never leaves its unit")
}

/// The part of a page, to be changed; copies the page when it is shared.
pub(crate) fn part_mut(page: &mut Arc<Page>, inside: Range<usize>) -> &mut [u8] {
    Arc::make_mut(page).get_mut(inside).expect("a span never leaves its unit")
}

/// The part of a buffer that a span names.
pub(crate) fn piece(buf: &[u8], range: Range<usize>) -> &[u8] {
    buf.get(range).expect("a span never leaves its buffer")
}

/// The part of a buffer that a span names, to be filled.
pub(crate) fn piece_mut(buf: &mut [u8], range: Range<usize>) -> &mut [u8] {
    buf.get_mut(range).expect("a span never leaves its buffer")
}

/// A length in memory as a length on disk.
pub(crate) fn widen(len: usize) -> u64 {
    u64::try_from(len).expect("a usize fits a u64")
}

/// A number known to be below a page or a buffer.
pub(crate) fn narrow(len: u64) -> usize {
    usize::try_from(len).expect("bounded by something that is in memory")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_the_buffer_once_and_stay_inside_their_units() {
        for offset in [0, 1, 511, 512, 513, 4095, 4096, 9000] {
            for len in [0, 1, 511, 512, 513, 1024, 5000] {
                let mut next = 0;
                for span in spans(offset, len, 512) {
                    assert_eq!(span.buffer.start, next);
                    assert_eq!(span.buffer.len(), span.inside.len());
                    assert!(span.inside.end <= 512 && !span.inside.is_empty());
                    assert_eq!(span.unit * 512 + widen(span.inside.start), offset + widen(next));
                    next = span.buffer.end;
                }
                assert_eq!(next, len);
            }
        }
    }
}
