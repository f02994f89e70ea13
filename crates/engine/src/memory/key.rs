//! Keys inside the tree: short ones inline, so that a search touches no second cache line.
//!
//! Invariant: order and equality are those of the bytes, whatever the representation, which is what
//! `Borrow<[u8]>` demands of a map key.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;

/// What fits into the 24 bytes that a boxed slice and its tag would take anyway.
const INLINE_BYTES: usize = 22;

/// The bytes of a key.
#[derive(Clone)]
pub(super) enum Key {
    /// In place.
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    /// On the heap.
    Heap(Box<[u8]>),
}

impl Key {
    pub(super) fn new(key: &[u8]) -> Self {
        let mut bytes = [0_u8; INLINE_BYTES];
        match (bytes.get_mut(..key.len()), u8::try_from(key.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(key);
                Self::Inline { len, bytes }
            }
            _ => Self::Heap(key.into()),
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => {
                bytes.get(..usize::from(*len)).expect("len was checked when the key was made")
            }
            Self::Heap(bytes) => bytes,
        }
    }

    /// Heap bytes of a key of that length, allocator overhead included.
    pub(super) fn heap_bytes(len: usize) -> u64 {
        if len <= INLINE_BYTES { 0 } else { len as u64 + super::slot::ALLOCATION_BYTES }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
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

    #[test]
    fn representation_never_shows() {
        assert_eq!(size_of::<Key>(), 24);
        for len in [0, 1, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 300] {
            let bytes = vec![0xA5_u8; len];
            let key = Key::new(&bytes);
            assert_eq!(key.as_slice(), bytes);
            assert_eq!(matches!(key, Key::Inline { .. }), len <= INLINE_BYTES);
            assert_eq!(key, key.clone());
        }
        let short = Key::new(&[2; 3]);
        let long = Key::new(&[1; 40]);
        assert!(long < short, "heap and inline keys compare by their bytes");
        assert_eq!(format!("{:?}", Key::new(b"a\n")), "a\\n");
    }
}
