//! Keys inside the tree: short ones inline, compared as three numbers instead of byte by byte.
//!
//! An inline key is padded with zeros and followed by its length; read as big-endian numbers, such
//! keys order like their bytes: the padding decides unless one key is the other and zeros, and then
//! the length does.
//!
//! Invariant: order and equality are those of the bytes, whatever the representation.

use std::cmp::Ordering;
use std::fmt;

/// What fits into the 24 bytes that a boxed slice and its tag would take anyway, less the length.
const INLINE_BYTES: usize = 22;

type Padded = [u8; INLINE_BYTES + 1];

/// The bytes of a key.
#[derive(Clone)]
pub(super) enum Key {
    /// In place: the bytes, zeros, the length.
    Inline(Padded),
    /// On the heap: more than [`INLINE_BYTES`].
    Heap(Box<[u8]>),
}

/// A key that is looked for, prepared for many comparisons. Never on the heap.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    bytes: &'a [u8],
    numbers: Option<[u64; 3]>,
}

fn padded(key: &[u8]) -> Option<Padded> {
    let mut padded = [0; INLINE_BYTES + 1];
    let (room, last) = padded.split_at_mut(INLINE_BYTES);
    room.get_mut(..key.len())?.copy_from_slice(key);
    last.fill(u8::try_from(key.len()).ok()?);
    Some(padded)
}

/// The 23 bytes as numbers that order like them; the last overlaps the second by one byte.
fn numbers(padded: &Padded) -> [u64; 3] {
    let number = |bytes: Option<&[u8; 8]>| {
        u64::from_be_bytes(*bytes.expect("23 bytes hold 8 at their start and at their end"))
    };
    let (_, behind) = padded.split_at(8);
    [number(padded.first_chunk()), number(behind.first_chunk()), number(padded.last_chunk())]
}

impl<'a> Probe<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, numbers: padded(bytes).as_ref().map(numbers) }
    }

    /// The key that it looks for.
    pub(super) fn key(&self) -> Key {
        Key::new(self.bytes)
    }
}

impl Key {
    pub(super) fn new(key: &[u8]) -> Self {
        padded(key).map_or_else(|| Self::Heap(key.into()), Self::Inline)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline(padded) => {
                let len = usize::from(padded.last().copied().unwrap_or(0));
                padded.get(..len).expect("the length was checked when the key was made")
            }
            Self::Heap(bytes) => bytes,
        }
    }

    /// A probe for this key.
    pub(super) fn probe(&self) -> Probe<'_> {
        match self {
            Self::Inline(padded) => {
                Probe { bytes: self.as_slice(), numbers: Some(numbers(padded)) }
            }
            Self::Heap(bytes) => Probe { bytes, numbers: None },
        }
    }

    /// How this key compares to the one that is looked for.
    #[inline]
    pub(super) fn compare(&self, probe: &Probe<'_>) -> Ordering {
        match (self, &probe.numbers) {
            (Self::Inline(padded), Some(wanted)) => numbers(padded).cmp(wanted),
            _ => self.as_slice().cmp(probe.bytes),
        }
    }

    /// Whether it stands behind the last key that a walk told; true at the beginning of one.
    pub(super) fn is_behind(&self, last: Option<&Self>) -> bool {
        last.is_none_or(|last| last.compare(&self.probe()).is_lt())
    }

    /// Heap bytes of this key, allocator overhead included.
    pub(super) fn heap_bytes(&self) -> u64 {
        match self {
            Self::Inline(_) => 0,
            Self::Heap(bytes) => bytes.len() as u64 + super::slot::ALLOCATION_BYTES,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn representation_never_shows() {
        assert_eq!(size_of::<Key>(), 24);
        for len in [0, 1, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 300] {
            let bytes = vec![0xA5_u8; len];
            let key = Key::new(&bytes);
            assert_eq!(key.as_slice(), bytes);
            assert_eq!(matches!(key, Key::Inline(_)), len <= INLINE_BYTES);
            assert_eq!(key.heap_bytes() > 0, len > INLINE_BYTES);
            assert_eq!(Probe::new(&bytes).key().as_slice(), bytes);
        }
        assert_eq!(format!("{:?}", Key::new(b"a\n")), "a\\n");
    }

    proptest! {
        /// Few letters, zeros among them, around the length at which keys leave the slot.
        #[test]
        fn order_is_that_of_the_bytes(
            a in proptest::collection::vec(0_u8..3, 0..26),
            b in proptest::collection::vec(0_u8..3, 0..26),
            shared in 0_usize..24,
        ) {
            let b: Vec<u8> = a.iter().take(shared).copied().chain(b).collect();
            prop_assert_eq!(Key::new(&a).compare(&Probe::new(&b)), a.cmp(&b));
            prop_assert_eq!(Key::new(&a).compare(&Key::new(&b).probe()), a.cmp(&b));
            prop_assert_eq!(Key::new(&a).compare(&Probe::new(&a)), Ordering::Equal);
        }
    }
}
