//! A sorted array of keys beside the array of what they stand for: one level of the tree.
//!
//! Why two arrays: a search reads keys alone, a third of the cache lines of an array of pairs.
//!
//! Invariants: keys ascend strictly, in an array of separators all but the first, which stands for
//! everything below; both arrays have the same length.

use super::key::{Key, Probe};

/// Keys and what they stand for.
#[derive(Debug)]
pub(super) struct Sorted<T> {
    keys: Vec<Key>,
    items: Vec<T>,
}

impl<T> Sorted<T> {
    pub(super) fn new() -> Self {
        Self { keys: Vec::new(), items: Vec::new() }
    }

    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { keys: Vec::with_capacity(capacity), items: Vec::with_capacity(capacity) }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The place of a key, or where it would stand.
    pub(super) fn search(&self, probe: &Probe<'_>) -> Result<usize, usize> {
        self.keys.binary_search_by(|key| key.compare(probe))
    }

    /// The place of the last key at or below the probe; the first one stands for everything below.
    pub(super) fn covering(&self, probe: &Probe<'_>) -> usize {
        // The first key is left out: it may lie above later ones once the child it came from went.
        let behind = self.keys.get(1..).unwrap_or_default();
        behind.partition_point(|key| key.compare(probe).is_le())
    }

    pub(super) fn key(&self, index: usize) -> &Key {
        self.keys.get(index).expect("only places that a search gave are asked for")
    }

    pub(super) fn item(&self, index: usize) -> &T {
        self.items.get(index).expect("only places that a search gave are asked for")
    }

    pub(super) fn item_mut(&mut self, index: usize) -> &mut T {
        self.items.get_mut(index).expect("only places that a search gave are asked for")
    }

    pub(super) fn last(&self) -> Option<(&Key, &T)> {
        self.keys.last().zip(self.items.last())
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.items.last_mut()
    }

    pub(super) fn walk(&self, index: usize) -> impl DoubleEndedIterator<Item = (&Key, &T)> {
        self.keys.iter().zip(&self.items).skip(index)
    }

    pub(super) fn walk_up_to(&self, end: usize) -> impl DoubleEndedIterator<Item = (&Key, &T)> {
        let (keys, items) = (self.keys.get(..end), self.items.get(..end));
        keys.unwrap_or(&self.keys).iter().zip(items.unwrap_or(&self.items))
    }

    pub(super) fn walk_mut(&mut self, index: usize) -> impl Iterator<Item = (&Key, &mut T)> {
        self.keys.iter().zip(&mut self.items).skip(index)
    }

    pub(super) fn push(&mut self, key: Key, item: T) {
        debug_assert!(self.ends_before(&key), "what is pushed stands behind");
        self.keys.push(key);
        self.items.push(item);
    }

    /// Whether all keys lie below `key`. The first one of several is not looked at: among
    /// separators it stands for everything below, whatever it says.
    fn ends_before(&self, key: &Key) -> bool {
        let last = self.keys.get(1..).and_then(<[Key]>::last);
        last.is_none_or(|last| last.compare(&key.probe()).is_lt())
    }

    pub(super) fn insert(&mut self, index: usize, key: Key, item: T) {
        let next = self.keys.get(index);
        debug_assert!(next.is_none_or(|next| next.compare(&key.probe()).is_gt()), "keys ascend");
        let last = self.keys.get(index.saturating_sub(1)).filter(|_| index > 1);
        debug_assert!(last.is_none_or(|last| last.compare(&key.probe()).is_lt()), "keys ascend");
        self.keys.insert(index, key);
        self.items.insert(index, item);
    }

    pub(super) fn remove(&mut self, index: usize) -> (Key, T) {
        (self.keys.remove(index), self.items.remove(index))
    }

    /// The half behind `middle`, with room for `capacity`.
    pub(super) fn split(&mut self, middle: usize, capacity: usize) -> Self {
        debug_assert!((1..self.len()).contains(&middle), "neither half is empty");
        let mut right = Self::with_capacity(capacity);
        right.keys.extend(self.keys.drain(middle..));
        right.items.extend(self.items.drain(middle..));
        right
    }

    /// Takes in what stands behind.
    pub(super) fn join(&mut self, mut behind: Self) {
        let first = behind.keys.first();
        debug_assert!(first.is_none_or(|first| self.ends_before(first)), "it stands behind");
        self.keys.append(&mut behind.keys);
        self.items.append(&mut behind.items);
    }

    /// Replaces the first key, which stands for everything below, by one that counts.
    pub(super) fn set_first_key(&mut self, first: Key) {
        *self.keys.first_mut().expect("nothing empty is joined") = first;
    }
}
