//! Changes of directory entries: what each refuses, what it does, and which others it needs.
//!
//! Invariant: the state of one name on the medium is always one that the name had at some moment.
//! So a change that survives a crash brings along every earlier one that touches one of its names
//! ([`close`]); changes of different names survive independently. A rename is atomic.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::image::{Image, Node, NodeId};

/// A name inside a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) dir: NodeId,
    pub(super) name: OsString,
}

#[derive(Clone, Debug)]
pub(super) enum EntryChange {
    Create { at: Place, node: NodeId, directory: bool },
    Rename { from: Place, to: Place, node: NodeId, replaced: Option<NodeId> },
    Link { at: Place, node: NodeId },
    Remove { at: Place, node: NodeId },
}

impl EntryChange {
    /// The creation of a file or directory that must not exist.
    pub(super) fn create(image: &Image, path: &Path, directory: bool) -> io::Result<Self> {
        let at = place(image, path)?;
        if image.entry(at.dir, &at.name).is_some() {
            return Err(Errno::EXIST.into());
        }
        assert!(!image.nodes.contains_key(&image.next), "numbers are given once");
        Ok(Self::Create { at, node: image.next, directory })
    }

    /// A rename by the rules of `rename(2)`; `None` when both names are the same entry.
    pub(super) fn rename(
        image: &Image,
        from_path: &Path,
        to_path: &Path,
    ) -> io::Result<Option<Self>> {
        let (from, to, above) = (
            place(image, from_path)?,
            place(image, to_path)?,
            image.walk_all(to_path.parent().unwrap_or(Path::new("")))?,
        );
        let node = image.entry(from.dir, &from.name).ok_or(Errno::NOENT)?;
        if above.contains(&node) {
            return Err(Errno::INVAL.into());
        }
        let replaced = image.entry(to.dir, &to.name);
        if replaced == Some(node) {
            return Ok(None);
        }
        if let Some(replaced) = replaced {
            if image.walk_all(from_path.parent().unwrap_or(Path::new("")))?.contains(&replaced) {
                return Err(Errno::NOTEMPTY.into());
            }
            match (image.is_directory(node), image.directory(replaced)) {
                (true, Err(_)) => return Err(Errno::NOTDIR.into()),
                (false, Ok(_)) => return Err(Errno::ISDIR.into()),
                (true, Ok(entries)) if !entries.is_empty() => return Err(Errno::NOTEMPTY.into()),
                _ => {}
            }
        }
        assert!(from != to, "one name is one entry");
        Ok(Some(Self::Rename { from, to, node, replaced }))
    }

    /// A second name for a file.
    pub(super) fn link(image: &Image, from: &Path, to: &Path) -> io::Result<Self> {
        let from = place(image, from)?;
        let node = image.entry(from.dir, &from.name).ok_or(Errno::NOENT)?;
        if image.is_directory(node) {
            return Err(Errno::ISDIR.into());
        }
        let at = place(image, to)?;
        if image.entry(at.dir, &at.name).is_some() {
            return Err(Errno::EXIST.into());
        }
        Ok(Self::Link { at, node })
    }

    /// The removal of a file, or of an empty directory.
    pub(super) fn remove(image: &Image, path: &Path, directory: bool) -> io::Result<Self> {
        let at = place(image, path)?;
        let node = image.entry(at.dir, &at.name).ok_or(Errno::NOENT)?;
        match (directory, image.directory(node)) {
            (true, Err(_)) => Err(Errno::NOTDIR.into()),
            (false, Ok(_)) => Err(Errno::ISDIR.into()),
            (true, Ok(entries)) if !entries.is_empty() => Err(Errno::NOTEMPTY.into()),
            _ => Ok(Self::Remove { at, node }),
        }
    }

    /// The names that it touches.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        let (first, second) = match self {
            Self::Create { at, .. } | Self::Link { at, .. } | Self::Remove { at, .. } => (at, None),
            Self::Rename { from, to, .. } => (from, Some(to)),
        };
        [Some(first), second].into_iter().flatten()
    }

    /// The node that it gives a name to or takes one from.
    pub(super) fn node(&self) -> NodeId {
        match self {
            Self::Create { node, .. }
            | Self::Rename { node, .. }
            | Self::Link { node, .. }
            | Self::Remove { node, .. } => *node,
        }
    }

    /// The node that loses a name, for a file perhaps not its last one.
    pub(super) fn unlinked(&self) -> Option<NodeId> {
        match self {
            Self::Create { .. } | Self::Link { .. } => None,
            Self::Rename { replaced, .. } => *replaced,
            Self::Remove { node, .. } => Some(*node),
        }
    }
}

impl Image {
    /// Performs a change. Where a crash took away what it builds on, it does what is left to do.
    pub(super) fn apply(&mut self, change: &EntryChange) {
        match change {
            EntryChange::Create { at, node, directory } => {
                self.admit(*node, *directory);
                self.link(at, *node);
            }
            EntryChange::Rename { from, to, node, .. } => {
                self.unlink(from, *node);
                self.link(to, *node);
            }
            EntryChange::Link { at, node } => self.link(at, *node),
            EntryChange::Remove { at, node } => self.unlink(at, *node),
        }
    }

    /// Makes the node exist, without a name.
    pub(super) fn admit(&mut self, node: NodeId, directory: bool) {
        self.nodes.entry(node).or_insert_with(|| Node::empty(directory));
        self.next = self.next.max(node + 1);
        assert_eq!(self.is_directory(node), directory, "a node stays what it is");
    }

    fn link(&mut self, at: &Place, node: NodeId) {
        assert!(!at.name.is_empty() && at.dir != node, "a place is a name in another directory");
        if self.nodes.contains_key(&node)
            && let Ok(entries) = self.directory_mut(at.dir)
        {
            entries.insert(at.name.clone(), node);
        }
    }

    fn unlink(&mut self, at: &Place, node: NodeId) {
        if self.entry(at.dir, &at.name) == Some(node)
            && let Ok(entries) = self.directory_mut(at.dir)
        {
            entries.remove(&at.name);
        }
    }
}

/// Adds to the chosen changes all earlier ones that they cannot do without.
pub(super) fn close<'a>(changes: impl DoubleEndedIterator<Item = (&'a EntryChange, &'a mut bool)>) {
    let mut names: BTreeSet<(NodeId, &OsStr)> = BTreeSet::new();
    // A directory was removed because it was empty: its entries were gone before.
    let mut emptied: BTreeSet<NodeId> = BTreeSet::new();
    for (change, chosen) in changes.rev() {
        let needed = |place: &Place| {
            names.contains(&(place.dir, place.name.as_os_str())) || emptied.contains(&place.dir)
        };
        if !*chosen && !change.places().any(needed) {
            continue;
        }
        *chosen = true;
        names.extend(change.places().map(|place| (place.dir, place.name.as_os_str())));
        emptied.extend(change.unlinked());
    }
}

fn place(image: &Image, path: &Path) -> io::Result<Place> {
    let (dir, name) = image.place(path)?;
    Ok(Place { dir, name })
}
