//! The keyspaces of an engine, found without a lock.
//!
//! Invariant: a keyspace, once used, stays; its number is its place.

use std::sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::tree::Tree;
use crate::api::KeyspaceId;

/// 256 pages of 256 keyspaces, made when first used.
#[derive(Debug)]
pub(super) struct Spaces {
    pages: [OnceLock<Box<Page>>; 256],
}

type Page = [OnceLock<Space>; 256];

/// One keyspace.
#[derive(Debug)]
pub(super) struct Space {
    tree: RwLock<Tree>,
}

impl Space {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read().expect("a panic while it was changed left this keyspace undefined")
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Tree> {
        self.tree.write().expect("a panic while it was changed left this keyspace undefined")
    }
}

impl Spaces {
    pub(super) fn new() -> Self {
        Self { pages: [const { OnceLock::new() }; 256] }
    }

    pub(super) fn get(&self, keyspace: KeyspaceId) -> Option<&Space> {
        let [low, high] = keyspace.0.to_le_bytes();
        self.pages.get(usize::from(high))?.get()?.get(usize::from(low))?.get()
    }

    /// The keyspace, made where it is new.
    pub(super) fn make(&self, keyspace: KeyspaceId) -> &Space {
        self.make_with(keyspace, Tree::new)
    }

    /// The keyspace, made of `tree` where it is new.
    pub(super) fn make_with(&self, keyspace: KeyspaceId, tree: impl FnOnce() -> Tree) -> &Space {
        let [low, high] = keyspace.0.to_le_bytes();
        let page = self.pages.get(usize::from(high)).expect("256 pages, one per high byte");
        let page = page.get_or_init(|| Box::new([const { OnceLock::new() }; 256]));
        let place = page.get(usize::from(low)).expect("256 places, one per low byte");
        place.get_or_init(|| Space { tree: RwLock::new(tree()) })
    }

    /// The first keyspace at or above a number.
    pub(super) fn next(&self, from: KeyspaceId) -> Option<KeyspaceId> {
        let mut number = u32::from(from.0);
        while let Ok(id) = u16::try_from(number) {
            let page = self.pages.get(usize::from(id >> 8)).and_then(OnceLock::get);
            if page.is_none() {
                number = (number | 0xFF) + 1;
            } else if self.get(KeyspaceId(id)).is_some() {
                return Some(KeyspaceId(id));
            } else {
                number += 1;
            }
        }
        None
    }

    /// All keyspaces, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyspaceId, &Space)> {
        let mut from = Some(KeyspaceId(0));
        std::iter::from_fn(move || {
            let id = self.next(from?)?;
            from = id.0.checked_add(1).map(KeyspaceId);
            Some((id, self.get(id)?))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_place() {
        let spaces = Spaces::new();
        assert_eq!(spaces.iter().count(), 0);
        for id in [0, 1, 255, 256, 4_000, u16::MAX] {
            spaces.make(KeyspaceId(id));
            spaces.make(KeyspaceId(id));
            assert!(spaces.get(KeyspaceId(id)).is_some());
        }
        assert!(spaces.get(KeyspaceId(2)).is_none());
        assert!(spaces.get(KeyspaceId(9_999)).is_none());
        let all: Vec<u16> = spaces.iter().map(|(id, _)| id.0).collect();
        assert_eq!(all, [0, 1, 255, 256, 4_000, u16::MAX]);
        assert_eq!(spaces.next(KeyspaceId(257)).unwrap(), KeyspaceId(4_000));
    }
}
