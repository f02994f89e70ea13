//! A file system at one moment, as a plain value: what is left of a disk after a crash.
//!
//! Invariants: every directory entry names a node that exists; a clone costs one reference count
//! for each file and directory, no bytes. Paths are taken from the root, with or without a leading
//! `/`; `.` and `..` are resolved by name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::content::Content;
use super::entries::EntryChange;
use crate::pages::widen;

/// The number of a file or directory, never reused on one disk.
pub(super) type NodeId = u64;

/// The directory that everything hangs on.
pub(super) const ROOT: NodeId = 0;

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Arc<Content>),
    Directory(Arc<BTreeMap<OsString, NodeId>>),
}

impl Node {
    pub(super) fn empty(directory: bool) -> Self {
        if directory { Self::Directory(Arc::default()) } else { Self::File(Arc::default()) }
    }

    fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

/// A file system at one moment. Campaigns change it to damage files before a recovery.
#[derive(Clone, Debug)]
pub struct Image {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) next: NodeId,
}

impl Default for Image {
    fn default() -> Self {
        Self { nodes: BTreeMap::from([(ROOT, Node::empty(true))]), next: ROOT + 1 }
    }
}

impl Image {
    /// An empty file system.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All files with their lengths, sorted by path.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        self.visit(ROOT, &mut PathBuf::new(), &mut |path, node| {
            if let Node::File(content) = node {
                files.push((path.to_path_buf(), content.len()));
            }
        });
        files
    }

    /// All directories below the root, sorted by path.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories = Vec::new();
        self.visit(ROOT, &mut PathBuf::new(), &mut |path, node| {
            if node.is_directory() {
                directories.push(path.to_path_buf());
            }
        });
        directories
    }

    /// The whole content of a file.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        Ok(self.content(self.walk(path.as_ref())?)?.bytes())
    }

    /// Gives a file this content; creates it and its directories where they are missing.
    pub fn write_file(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        self.create_dir_all(path.parent().unwrap_or(Path::new("")))?;
        self.create_if_missing(path, false)?;
        self.change(path, |content| {
            content.set_len(0);
            content.set_len(widen(bytes.len()));
            content.store(0, bytes);
        })
    }

    /// Creates a directory and its parents where they are missing.
    pub fn create_dir_all(&mut self, path: impl AsRef<Path>) -> io::Result<()> {
        let levels: Vec<&Path> = path.as_ref().ancestors().collect();
        for level in levels.into_iter().rev().filter(|level| level.file_name().is_some()) {
            self.create_if_missing(level, true)?;
        }
        Ok(())
    }

    /// Inverts one bit; bit 0 is the lowest of the first byte.
    pub fn flip(&mut self, path: impl AsRef<Path>, bit_index: u64) -> io::Result<()> {
        let bit = u8::try_from(bit_index % 8).expect("below 8");
        let inside = self.change(path.as_ref(), |content| content.flip(bit_index / 8, bit))?;
        if inside { Ok(()) } else { Err(Errno::INVAL.into()) }
    }

    /// Sets a file's length: cuts, or extends with zeros.
    pub fn truncate(&mut self, path: impl AsRef<Path>, len: u64) -> io::Result<()> {
        self.change(path.as_ref(), |content| content.set_len(len))
    }

    /// Makes a range of a file read as zeros; its length stays.
    pub fn zero(&mut self, path: impl AsRef<Path>, range: Range<u64>) -> io::Result<()> {
        self.change(path.as_ref(), |content| content.zero(range.start, range.end))
    }

    /// Removes a file, or a directory with all in it.
    pub fn remove(&mut self, path: impl AsRef<Path>) -> io::Result<()> {
        let (dir, name) = self.place(path.as_ref())?;
        self.directory_mut(dir)?.remove(&name).ok_or(Errno::NOENT)?;
        self.collect(&BTreeSet::new());
        Ok(())
    }

    /// Exchanges the contents of two files.
    pub fn swap(&mut self, a: impl AsRef<Path>, b: impl AsRef<Path>) -> io::Result<()> {
        let (a, b) = (self.walk(a.as_ref())?, self.walk(b.as_ref())?);
        let (in_a, in_b) = (self.content(a)?.clone(), self.content(b)?.clone());
        assert!(self.nodes.contains_key(&a) && self.nodes.contains_key(&b), "both were read");
        self.nodes.insert(a, Node::File(in_b));
        self.nodes.insert(b, Node::File(in_a));
        Ok(())
    }

    fn create_if_missing(&mut self, path: &Path, directory: bool) -> io::Result<()> {
        match EntryChange::create(self, path, directory) {
            Ok(change) => self.apply(&change),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn change<T>(&mut self, path: &Path, with: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        let node = self.walk(path)?;
        Ok(with(self.content_mut(node)?))
    }

    /// The node at a path.
    pub(super) fn walk(&self, path: &Path) -> io::Result<NodeId> {
        let stack = self.walk_all(path)?;
        Ok(*stack.last().expect("the root is always on the stack"))
    }

    /// The nodes from the root to a path.
    pub(super) fn walk_all(&self, path: &Path) -> io::Result<Vec<NodeId>> {
        let mut stack = vec![ROOT];
        for component in path.components() {
            let here = *stack.last().expect("the root is never popped");
            match component {
                Component::Normal(name) => {
                    stack.push(*self.directory(here)?.get(name).ok_or(Errno::NOENT)?);
                }
                Component::ParentDir if stack.len() > 1 => drop(stack.pop()),
                _ => {}
            }
        }
        Ok(stack)
    }

    /// The directory and the name that a path stands for; the name need not exist.
    pub(super) fn place(&self, path: &Path) -> io::Result<(NodeId, OsString)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let dir = self.walk(path.parent().unwrap_or(Path::new("")))?;
        self.directory(dir)?;
        assert!(name != "." && name != "..", "names are resolved before they are used");
        Ok((dir, name.to_os_string()))
    }

    pub(super) fn directory(&self, node: NodeId) -> io::Result<&BTreeMap<OsString, NodeId>> {
        match self.nodes.get(&node) {
            Some(Node::Directory(entries)) => Ok(entries),
            Some(Node::File(_)) => Err(Errno::NOTDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    pub(super) fn directory_mut(
        &mut self,
        node: NodeId,
    ) -> io::Result<&mut BTreeMap<OsString, NodeId>> {
        match self.nodes.get_mut(&node) {
            Some(Node::Directory(entries)) => Ok(Arc::make_mut(entries)),
            Some(Node::File(_)) => Err(Errno::NOTDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    pub(super) fn content(&self, node: NodeId) -> io::Result<&Arc<Content>> {
        match self.nodes.get(&node) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory(_)) => Err(Errno::ISDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    pub(super) fn content_mut(&mut self, node: NodeId) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(content)) => Ok(Arc::make_mut(content)),
            Some(Node::Directory(_)) => Err(Errno::ISDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    pub(super) fn is_directory(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(Node::is_directory)
    }

    /// Forgets the nodes that neither the root nor `keep` reaches.
    pub(super) fn collect(&mut self, keep: &BTreeSet<NodeId>) {
        let mut reached = BTreeSet::new();
        let mut open: Vec<NodeId> = keep.iter().copied().chain([ROOT]).collect();
        while let Some(node) = open.pop() {
            if reached.insert(node)
                && let Ok(entries) = self.directory(node)
            {
                open.extend(entries.values());
            }
        }
        self.nodes.retain(|node, _| reached.contains(node));
        debug_assert!(self.nodes.contains_key(&ROOT), "the root is always reached");
    }

    /// Whether some entry names this node.
    pub(super) fn is_named(&self, node: NodeId) -> bool {
        let mut entries = self.nodes.values().filter_map(|found| match found {
            Node::Directory(entries) => Some(entries),
            Node::File(_) => None,
        });
        entries.any(|entries| entries.values().any(|named| *named == node))
    }

    /// Checks in debug builds that every name leads to something and a directory has one name.
    pub(super) fn validate(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        assert!(self.is_directory(ROOT), "the root is a directory");
        let mut named = BTreeSet::from([ROOT]);
        for node in self.nodes.values() {
            let Node::Directory(entries) = node else { continue };
            for child in entries.values() {
                assert!(self.nodes.contains_key(child), "an entry names a node that exists");
                let first = named.insert(*child);
                assert!(first || !self.is_directory(*child), "a directory has one name");
                assert!(*child < self.next, "numbers are given once");
            }
        }
    }

    /// Calls `with` for everything below `node`, in the order of paths.
    fn visit(&self, node: NodeId, path: &mut PathBuf, with: &mut impl FnMut(&Path, &Node)) {
        let Some(Node::Directory(entries)) = self.nodes.get(&node) else { return };
        for (name, child) in entries.iter() {
            let found = self.nodes.get(child).expect("an entry names a node that exists");
            path.push(name);
            with(path, found);
            self.visit(*child, path, with);
            path.pop();
        }
    }

    fn same(&self, a: NodeId, other: &Self, b: NodeId) -> bool {
        match (self.nodes.get(&a), other.nodes.get(&b)) {
            (Some(Node::File(a)), Some(Node::File(b))) => Arc::ptr_eq(a, b) || a == b,
            (Some(Node::Directory(a)), Some(Node::Directory(b))) => {
                let pair =
                    |((a_name, a), (b_name, b)): ((&OsString, &NodeId), (&OsString, &NodeId))| {
                        a_name == b_name && self.same(*a, other, *b)
                    };
                a.len() == b.len() && a.iter().zip(b.iter()).all(pair)
            }
            _ => false,
        }
    }

    /// The number of the entry `name` of a directory.
    pub(super) fn entry(&self, dir: NodeId, name: &OsStr) -> Option<NodeId> {
        self.directory(dir).ok()?.get(name).copied()
    }
}

impl PartialEq for Image {
    /// Equal to a reader: the same paths with the same bytes.
    fn eq(&self, other: &Self) -> bool {
        self.same(ROOT, other, ROOT)
    }
}

impl Eq for Image {}
