//! Does what was recorded on a simulated disk.
//!
//! Invariants: after the last call the disk shows what the real folder shows ([`differences`]);
//! nothing is durable here that was not synced there.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rekindle_env::{Disk, EntryKind, Image, Moment, ReadDisk, SimulatedDisk};

use super::descriptors::{Descriptors, OpenFile, Target};
use super::lines::{Call, calls};
use super::order::{Half, is_sync, order};

/// What the recorded process writes to its standard output, at the beginning of a line and with a
/// number behind it, to put a mark into the trace.
pub const MARK: &str = "acknowledged ";

/// A sync that the disk answers and does not do: to see that somebody notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// None.
    None,
    /// Those of folders whose path ends so.
    Folders(&'static str),
    /// Those of files whose path has this in it.
    Files(&'static str),
}

impl Lie {
    fn is_about(self, target: &Target) -> bool {
        match (self, target) {
            (Self::Folders(end), Target::Folder(path)) => path.ends_with(end),
            (Self::Files(part), Target::File(open)) => open.path.to_string_lossy().contains(part),
            _ => false,
        }
    }
}

/// A replay under way: one process after the other, on one disk.
#[derive(Debug)]
pub struct Replay {
    disk: SimulatedDisk,
    root: PathBuf,
    lie: Lie,
    descriptors: Descriptors,
    /// What was opened and has no descriptor yet, by the number of the call.
    opened: BTreeMap<usize, Target>,
    /// Syncs under way, by the number of the call.
    syncing: BTreeMap<usize, (Target, Moment)>,
}

impl Replay {
    /// A replay of what happens below the real folder `root` onto this disk, whose root it is.
    #[must_use]
    pub fn new(disk: SimulatedDisk, root: &Path, lie: Lie) -> Self {
        Self {
            disk,
            root: root.to_owned(),
            lie,
            descriptors: Descriptors::default(),
            opened: BTreeMap::new(),
            syncing: BTreeMap::new(),
        }
    }

    /// Does what one process did, from its beginning to its end.
    ///
    /// # Errors
    /// A call that cannot be replayed, with the line on which it began.
    pub fn process(&mut self, record: &str) -> Result<(), String> {
        let calls = calls(record)?;
        for (number, half) in order(&calls) {
            let Some(call) = calls.get(number) else { continue };
            let done = match half {
                Half::Doing => self.perform(number, call),
                Half::Returned => self.returned(number, call),
            };
            done.map_err(|error| format!("line {}: {}: {error}", call.begin + 1, call.name))?;
        }
        // The kernel closes what the process left open.
        self.descriptors = Descriptors::default();
        self.opened.clear();
        self.syncing.clear();
        Ok(())
    }

    fn perform(&mut self, number: usize, call: &Call) -> Result<(), String> {
        match call.name.as_str() {
            "open" | "creat" => self.open(number, call, None, 0),
            "openat" => self.open(number, call, Some(0), 1),
            "close" => {
                self.descriptors.take(call.descriptor(0)?);
                Ok(())
            }
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => self.write(call),
            "ftruncate" | "fallocate" => self.resize(call),
            _ if is_sync(call) => {
                if let Some(target) = self.descriptors.get(call.descriptor(0)?) {
                    self.syncing.insert(number, (target.clone(), self.disk.moment()));
                }
                Ok(())
            }
            "rename" | "link" => self.two_names(call, [(None, 0), (None, 1)]),
            "renameat" | "renameat2" | "linkat" => {
                self.two_names(call, [(Some(0), 1), (Some(2), 3)])
            }
            "unlink" | "rmdir" | "mkdir" => self.one_name(call, None, 0),
            "unlinkat" | "mkdirat" => self.one_name(call, Some(0), 1),
            _ => self.harmless(call),
        }
    }

    fn returned(&mut self, number: usize, call: &Call) -> Result<(), String> {
        if let Some((target, began)) = self.syncing.remove(&number) {
            return self.sync(call, &target, began);
        }
        let Some(result) = call.result.filter(|result| *result >= 0) else { return Ok(()) };
        let moved = u64::try_from(result).unwrap_or_default();
        match call.name.as_str() {
            "open" | "creat" | "openat" => {
                let target = self.opened.remove(&number);
                self.descriptors.give(result, target);
            }
            "dup" | "dup2" | "dup3" => self.copy_descriptor(call, result)?,
            "fcntl" if call.text(1)?.starts_with("F_DUPFD") => {
                self.copy_descriptor(call, result)?
            }
            "read" | "readv" => {
                if let Some(open) = self.descriptors.file(call.descriptor(0)?) {
                    open.offset.set(open.offset.get() + moved);
                }
            }
            "lseek" => {
                if let Some(open) = self.descriptors.file(call.descriptor(0)?) {
                    open.offset.set(moved);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn copy_descriptor(&mut self, call: &Call, result: i64) -> Result<(), String> {
        let target = self.descriptors.get(call.descriptor(0)?).cloned();
        self.descriptors.give(result, target);
        Ok(())
    }

    /// Where a path lies on the disk; `None`: outside of the root.
    fn place(
        &self,
        call: &Call,
        folder: Option<usize>,
        at: usize,
    ) -> Result<Option<PathBuf>, String> {
        let path = call.path(at)?;
        let folder = match folder {
            Some(folder) if path.is_relative() => call.descriptor(folder)?,
            _ => None,
        };
        let place = if path.is_absolute() {
            path.strip_prefix(&self.root).ok().map(Path::to_owned)
        } else {
            // The working directory is not below the root, or [`Self::harmless`] would have said.
            self.descriptors.get(folder).map(|target| target.path().join(&path))
        };
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        match place {
            Some(place) if place.components().all(plain) => Ok(Some(place)),
            Some(place) => Err(format!("{} goes up", place.display())),
            None => Ok(None),
        }
    }

    fn open(
        &mut self,
        number: usize,
        call: &Call,
        folder: Option<usize>,
        at: usize,
    ) -> Result<(), String> {
        let Some(path) = self.place(call, folder, at)? else { return Ok(()) };
        if call.name == "creat" || call.result.is_none() {
            return Err(format!("{}: not replayed", path.display()));
        }
        if !call.succeeded() {
            return Ok(());
        }
        let flags: Vec<&str> = call.text(at + 1)?.split('|').collect();
        let has = |flag: &str| flags.contains(&flag);
        if has("O_DIRECT") || has("O_TMPFILE") || has("O_PATH") {
            return Err(format!("{}: {flags:?} is not replayed", path.display()));
        }
        let kind = self.disk.stat(&path).map_err(text)?.map(|entry| entry.kind);
        let file = match kind {
            Some(EntryKind::Directory) => {
                self.opened.insert(number, Target::Folder(path));
                return Ok(());
            }
            Some(_) => self.disk.open_write(&path),
            None if has("O_CREAT") => self.disk.create(&path),
            None => return Err(format!("{} is not there", path.display())),
        };
        let file = file.map_err(text)?;
        if has("O_TRUNC") && !file.is_empty().map_err(text)? {
            file.set_len(0).map_err(text)?;
        }
        let (append, offset) = (has("O_APPEND"), Cell::new(0));
        let open = OpenFile { file, path, append, offset };
        self.opened.insert(number, Target::File(Rc::new(open)));
        Ok(())
    }

    fn write(&mut self, call: &Call) -> Result<(), String> {
        let descriptor = call.descriptor(0)?;
        let Some(open) = self.descriptors.file(descriptor) else {
            if descriptor == Some(1) && call.succeeded() {
                self.mark(&call.written(1)?);
            }
            return Ok(());
        };
        if !call.succeeded() {
            return Err(format!("{} was not written", open.path.display()));
        }
        let bytes = call.written(1)?;
        let at = match call.name.as_str() {
            "write" | "writev" if open.append => open.file.len().map_err(text)?,
            "write" | "writev" => open.offset.get(),
            _ if open.append => return Err("a write at a place, to the end".to_owned()),
            _ => call.number(3)?,
        };
        if call.name.starts_with("write") {
            open.offset.set(at + u64::try_from(bytes.len()).map_err(text)?);
        }
        open.file.write_at(&bytes, at).map_err(text)
    }

    fn mark(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let numbers = text.lines().filter_map(|line| line.strip_prefix(MARK)?.parse().ok());
        numbers.for_each(|number| self.disk.mark(number));
    }

    fn resize(&mut self, call: &Call) -> Result<(), String> {
        let Some(open) = self.descriptors.file(call.descriptor(0)?) else { return Ok(()) };
        if !call.succeeded() {
            return Err(format!("{} was not resized", open.path.display()));
        }
        if call.name == "ftruncate" {
            return open.file.set_len(call.number(1)?).map_err(text);
        }
        let (offset, len) = (call.number(2)?, call.number(3)?);
        let mut mode: Vec<&str> = call.text(1)?.split('|').collect();
        mode.sort_unstable();
        match mode.as_slice() {
            ["0"] => open.file.allocate(offset + len).map_err(text),
            ["FALLOC_FL_KEEP_SIZE"] => Ok(()),
            ["FALLOC_FL_KEEP_SIZE", "FALLOC_FL_PUNCH_HOLE"] => {
                open.file.punch_hole(offset, len).map_err(text)
            }
            mode => Err(format!("{mode:?} is not replayed")),
        }
    }

    fn sync(&mut self, call: &Call, target: &Target, began: Moment) -> Result<(), String> {
        if !call.succeeded() {
            return Err(format!("{} was not synced", target.path().display()));
        }
        if self.lie.is_about(target) {
            return Ok(());
        }
        self.disk.sync_since(began);
        match target {
            Target::File(open) => open.file.sync_all().map_err(text),
            Target::Folder(path) => self.disk.sync_dir(path).map_err(text),
        }
    }

    fn two_names(&mut self, call: &Call, at: [(Option<usize>, usize); 2]) -> Result<(), String> {
        let [from, to] = at.map(|(folder, at)| self.place(call, folder, at));
        let link = call.name.starts_with("link");
        let (from, to) = match (from?, to?) {
            (Some(from), Some(to)) => (from, to),
            // A view of the store, elsewhere.
            (Some(_), None) if link => return Ok(()),
            (None, None) => return Ok(()),
            (from, to) => return Err(format!("{from:?} to {to:?} crosses the root")),
        };
        if call.result.is_none() || call.arguments.get(4).is_some_and(|flags| flags != "0") {
            return Err("not replayed".to_owned());
        }
        match (call.succeeded(), link) {
            (false, _) => Ok(()),
            (true, true) => self.disk.hard_link(&from, &to).map_err(text),
            (true, false) => self.disk.rename(&from, &to).map_err(text),
        }
    }

    fn one_name(&mut self, call: &Call, folder: Option<usize>, at: usize) -> Result<(), String> {
        let Some(path) = self.place(call, folder, at)? else { return Ok(()) };
        if call.result.is_none() {
            return Err("it never returned".to_owned());
        }
        if !call.succeeded() {
            return Ok(());
        }
        let is_folder = call.name == "rmdir"
            || call.name == "unlinkat" && call.text(2)?.contains("AT_REMOVEDIR");
        match (call.name.starts_with("mkdir"), is_folder) {
            (true, _) => self.disk.create_dir(&path),
            (false, true) => self.disk.remove_dir(&path),
            (false, false) => self.disk.remove_file(&path),
        }
        .map_err(text)
    }

    /// Passes over a call only where it can change no file of ours.
    fn harmless(&self, call: &Call) -> Result<(), String> {
        let ours =
            |at: usize| Ok::<_, String>(self.descriptors.get(call.descriptor(at)?).is_some());
        let dangerous = match call.name.as_str() {
            "dup" | "dup2" | "dup3" | "fcntl" | "read" | "readv" | "lseek" => false,
            "sync_file_range" => false,
            "clone" | "clone3" => !call.arguments.concat().contains("CLONE_FILES"),
            "mmap" => {
                let writes = call.text(2)?.contains("PROT_WRITE");
                ours(4)? && writes && call.text(3)?.contains("MAP_SHARED")
            }
            "ioctl" => ours(0)? && call.text(1)?.contains("CLONE"),
            "copy_file_range" | "splice" => ours(2)?,
            "sendfile" => ours(0)?,
            "close_range" => !self.descriptors.is_empty(),
            "truncate" => self.place(call, None, 0)?.is_some(),
            "symlink" | "mknod" | "openat2" | "symlinkat" | "mknodat" => {
                let at = if call.name.ends_with("nod") { 0 } else { 1 };
                let (folder, at) = match call.name.as_str() {
                    "symlinkat" => (Some(1), 2),
                    "openat2" | "mknodat" => (Some(0), 1),
                    _ => (None, at),
                };
                self.place(call, folder, at)?.is_some()
            }
            _ => true,
        };
        if dangerous && call.result != Some(-1) {
            return Err(format!("not replayed, and it may change files: {:?}", call.arguments));
        }
        Ok(())
    }
}

/// Where the disk does not show what the folder shows: the record has a gap.
///
/// # Errors
/// The folder cannot be read.
pub fn differences(disk: &SimulatedDisk, real: &Image) -> io::Result<Vec<String>> {
    let image = disk.image();
    let mut found = Vec::new();
    let names = |image: &Image| {
        let files = image.files().into_iter().map(|(path, _)| path);
        files.chain(image.directories()).collect::<BTreeSet<_>>()
    };
    let (ours, theirs) = (names(&image), names(real));
    for path in ours.symmetric_difference(&theirs) {
        found.push(format!("{} is only on one", path.display()));
    }
    for (path, _) in real.files() {
        if ours.contains(&path) && image.read(&path)? != real.read(&path)? {
            found.push(format!("{} has other bytes", path.display()));
        }
    }
    Ok(found)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
