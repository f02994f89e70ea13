//! The names of an overlay: what was created, renamed and removed, over the tree underneath.
//!
//! Invariants: a directory remembers which one underneath it shows, so a renamed one takes its
//! content along; a name that is known here hides the one underneath, a removed one too.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use super::file::FileState;
use crate::disk::{Entry, EntryKind, Inode, LockMode, ReadDisk};
use crate::locks::Locks;

/// The number of a directory of one overlay.
pub(super) type DirectoryId = u64;

/// Where relative paths start.
const HERE: DirectoryId = 0;
/// Where absolute paths start.
const ROOT: DirectoryId = 1;

#[derive(Clone, Debug)]
enum Slot {
    File(Arc<Mutex<FileState>>),
    Directory(DirectoryId),
    /// A link or a device underneath; as a part of a path it may lead to a directory.
    Other {
        base: PathBuf,
        behind: DirectoryId,
    },
    Gone,
}

#[derive(Debug)]
struct Directory {
    /// The directory underneath that shows through.
    base: Option<PathBuf>,
    known: BTreeMap<OsString, Slot>,
}

#[derive(Debug)]
pub(super) struct Tree {
    base: Arc<dyn ReadDisk>,
    directories: BTreeMap<DirectoryId, Directory>,
    next: DirectoryId,
    pub(super) locks: Locks,
}

impl Tree {
    pub(super) fn new(base: Arc<dyn ReadDisk>) -> Self {
        let over = |path: &str| Directory { base: Some(path.into()), known: BTreeMap::new() };
        let directories = BTreeMap::from([(HERE, over("")), (ROOT, over("/"))]);
        Self { base, directories, next: ROOT + 1, locks: Locks::default() }
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<Arc<Mutex<FileState>>> {
        let Some((stack, name)) = self.place(path)? else { return Err(Errno::ISDIR.into()) };
        match self.child(top(&stack), &name)? {
            Some(Slot::File(file)) => {
                let base = Arc::clone(&self.base);
                file.lock().unwrap_or_else(PoisonError::into_inner).open(base.as_ref())?;
                Ok(file)
            }
            Some(Slot::Directory(_)) => Err(Errno::ISDIR.into()),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
            None => Err(Errno::NOENT.into()),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<Arc<Mutex<FileState>>> {
        let (dir, name) = self.vacant(path)?;
        let file = Arc::<Mutex<FileState>>::default();
        self.put(dir, name, Slot::File(Arc::clone(&file)));
        Ok(file)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.vacant(path)?;
        let slot = Slot::Directory(self.add(None));
        self.put(dir, name, slot);
        Ok(())
    }

    /// By the rules of `rename(2)`.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_stack, from_name) = self.place(from)?.ok_or(Errno::BUSY)?;
        let (to_stack, to_name) = self.place(to)?.ok_or(Errno::BUSY)?;
        let (from_dir, to_dir) = (top(&from_stack), top(&to_stack));
        let slot = self.child(from_dir, &from_name)?.ok_or(Errno::NOENT)?;
        if let Slot::Directory(id) = slot
            && to_stack.contains(&id)
        {
            return Err(Errno::INVAL.into());
        }
        if (from_dir, &from_name) == (to_dir, &to_name) {
            return Ok(());
        }
        match (&slot, self.child(to_dir, &to_name)?) {
            // Two names of one file: nothing happens, says rename(2).
            (Slot::File(file), Some(Slot::File(other))) if Arc::ptr_eq(file, &other) => {
                return Ok(());
            }
            (_, Some(Slot::Directory(above))) if from_stack.contains(&above) => {
                return Err(Errno::NOTEMPTY.into());
            }
            (Slot::Directory(_), Some(Slot::Directory(replaced))) => self.expect_empty(replaced)?,
            (Slot::Directory(_), Some(_)) => return Err(Errno::NOTDIR.into()),
            (_, Some(Slot::Directory(_))) => return Err(Errno::ISDIR.into()),
            _ => {}
        }
        assert!(!matches!(slot, Slot::Gone), "what is gone cannot be renamed");
        self.put(to_dir, to_name, slot);
        self.put(from_dir, from_name, Slot::Gone);
        Ok(())
    }

    pub(super) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_stack, from_name) = self.place(from)?.ok_or(Errno::ISDIR)?;
        let slot = match self.child(top(&from_stack), &from_name)? {
            Some(slot @ Slot::File(_)) => slot,
            Some(Slot::Directory(_)) => return Err(Errno::ISDIR.into()),
            Some(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            None => return Err(Errno::NOENT.into()),
        };
        let (dir, name) = self.vacant(to)?;
        self.put(dir, name, slot);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let (stack, name) = self.place(path)?.ok_or(Errno::ISDIR)?;
        match self.child(top(&stack), &name)? {
            None => return Err(Errno::NOENT.into()),
            Some(Slot::Directory(_)) => return Err(Errno::ISDIR.into()),
            Some(_) => self.put(top(&stack), name, Slot::Gone),
        }
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let (stack, name) = self.place(path)?.ok_or(Errno::BUSY)?;
        match self.child(top(&stack), &name)? {
            None => return Err(Errno::NOENT.into()),
            Some(Slot::Directory(id)) => self.expect_empty(id)?,
            Some(_) => return Err(Errno::NOTDIR.into()),
        }
        self.put(top(&stack), name, Slot::Gone);
        Ok(())
    }

    pub(super) fn list(&mut self, dir: &Path) -> io::Result<Vec<Entry>> {
        let id = self.directory(dir)?;
        self.entries(id)
    }

    pub(super) fn stat(&mut self, path: &Path) -> io::Result<Option<Entry>> {
        let found = match self.place(path) {
            Ok(Some((stack, name))) => {
                let slot = self.child(top(&stack), &name)?;
                return slot.map_or(Ok(None), |slot| self.describe(&name, &slot));
            }
            Ok(None) => path.as_os_str().to_string_lossy().into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Entry { name: found, kind: EntryKind::Directory, len: 0 }))
    }

    /// That of the directory underneath; one that is only here has none.
    pub(super) fn inode(&mut self, dir: &Path) -> io::Result<Option<Inode>> {
        let id = match self.walk(dir) {
            Ok(stack) => top(&stack),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        self.at(id).base.as_ref().map_or(Ok(None), |base| self.base.inode(base))
    }

    pub(super) fn lock(&mut self, dir: &Path, mode: LockMode) -> io::Result<Option<DirectoryId>> {
        let id = self.directory(dir)?;
        Ok(self.locks.lock(id, mode).then_some(id))
    }

    /// The directory at a path.
    pub(super) fn directory(&mut self, path: &Path) -> io::Result<DirectoryId> {
        let id = top(&self.walk(path)?);
        // One that shows what is underneath may turn out to be none (a link to a file).
        if let Some(base) = self.at(id).base.clone() {
            self.base.list(&base)?;
        }
        Ok(id)
    }

    /// The directories from the start to a path.
    fn walk(&mut self, path: &Path) -> io::Result<Vec<DirectoryId>> {
        let mut stack = vec![if path.has_root() { ROOT } else { HERE }];
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir if stack.len() > 1 => {
                    stack.pop();
                    continue;
                }
                Component::ParentDir if top(&stack) == HERE => OsStr::new(".."),
                _ => continue,
            };
            match self.child(top(&stack), name)? {
                Some(Slot::Directory(id) | Slot::Other { behind: id, .. }) => stack.push(id),
                Some(_) => return Err(Errno::NOTDIR.into()),
                None => return Err(Errno::NOENT.into()),
            }
        }
        assert!(stack.first().is_some_and(|start| *start <= ROOT), "a walk begins at a start");
        Ok(stack)
    }

    /// The directories above a path and its name; `None` for a start, which has neither.
    fn place(&mut self, path: &Path) -> io::Result<Option<(Vec<DirectoryId>, OsString)>> {
        let Some(name) = path.file_name() else {
            self.walk(path)?;
            return Ok(None);
        };
        let above = self.walk(path.parent().unwrap_or(Path::new("")))?;
        Ok(Some((above, name.to_os_string())))
    }

    fn vacant(&mut self, path: &Path) -> io::Result<(DirectoryId, OsString)> {
        let (stack, name) = self.place(path)?.ok_or(Errno::EXIST)?;
        match self.child(top(&stack), &name)? {
            None => Ok((top(&stack), name)),
            Some(_) => Err(Errno::EXIST.into()),
        }
    }

    /// What a name stands for; looks underneath when it is not known yet.
    fn child(&mut self, dir: DirectoryId, name: &OsStr) -> io::Result<Option<Slot>> {
        let directory = self.at(dir);
        if let Some(slot) = directory.known.get(name) {
            return Ok(Some(slot.clone()).filter(|slot| !matches!(slot, Slot::Gone)));
        }
        let Some(base) = directory.base.as_ref().map(|base| base.join(name)) else {
            return Ok(None);
        };
        let Some(entry) = self.base.stat(&base)? else { return Ok(None) };
        let slot = match entry.kind {
            EntryKind::File => Slot::File(Arc::new(Mutex::new(FileState::over(base, entry.len)))),
            EntryKind::Directory => Slot::Directory(self.add(Some(base))),
            EntryKind::Other => Slot::Other { behind: self.add(Some(base.clone())), base },
        };
        self.put(dir, name.to_os_string(), slot.clone());
        Ok(Some(slot))
    }

    fn entries(&self, id: DirectoryId) -> io::Result<Vec<Entry>> {
        let Directory { base, known } = self.at(id);
        let mut entries = match base {
            Some(base) => self.base.list(base)?,
            None => Vec::new(),
        };
        entries.retain(|entry| !known.contains_key(OsStr::new(&entry.name)));
        for (name, slot) in known.iter().filter(|(name, _)| *name != "..") {
            entries.extend(self.describe(name, slot)?);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn expect_empty(&self, id: DirectoryId) -> io::Result<()> {
        if self.entries(id)?.is_empty() { Ok(()) } else { Err(Errno::NOTEMPTY.into()) }
    }

    fn describe(&self, name: &OsStr, slot: &Slot) -> io::Result<Option<Entry>> {
        let name = name.to_string_lossy().into_owned();
        let (kind, len) = match slot {
            Slot::File(file) => {
                (EntryKind::File, file.lock().unwrap_or_else(PoisonError::into_inner).len())
            }
            Slot::Directory(_) => (EntryKind::Directory, 0),
            Slot::Other { base, .. } => {
                return Ok(self.base.stat(base)?.map(|entry| Entry { name, ..entry }));
            }
            Slot::Gone => return Ok(None),
        };
        Ok(Some(Entry { name, kind, len }))
    }

    fn add(&mut self, base: Option<PathBuf>) -> DirectoryId {
        let id = self.next;
        self.next += 1;
        let before = self.directories.insert(id, Directory { base, known: BTreeMap::new() });
        assert!(before.is_none(), "numbers are given once");
        id
    }

    fn put(&mut self, dir: DirectoryId, name: OsString, slot: Slot) {
        assert!(!name.is_empty(), "an entry has a name");
        let directory = self.directories.get_mut(&dir).expect("directories are never dropped");
        directory.known.insert(name, slot);
    }

    fn at(&self, id: DirectoryId) -> &Directory {
        self.directories.get(&id).expect("directories are never dropped")
    }
}

fn top(stack: &[DirectoryId]) -> DirectoryId {
    *stack.last().expect("a walk never pops its start")
}
