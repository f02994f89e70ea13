//! The directory of one command: which files it has, how it is given up and removed.
//!
//! ```text
//! DIR/spec.json      what is asked for           written by the server, before everything
//! DIR/stdin          the payload                 "
//! DIR/identity.json  who runs it, or nobody may  whoever is first; then the shim once more
//! DIR/stdout stderr  its output, bounded         by the shim; synced before the end
//! DIR/not-run.json   why it could not begin      by the second stage
//! DIR/kill.json      why it is to end            by the server
//! DIR/end.json       how it ended                by the shim, last
//! DIR/shim-error     why a shim gave up          by the shim, for people
//! ```
//!
//! Invariants: a directory is for one attempt and is never used again; only files with these names
//! are removed; a directory that is removed is moved away first, so that no crash leaves one that
//! tells less than the truth.

use std::io;
use std::path::{Path, PathBuf};

use rekindle_env::{Disk, EntryKind, Env, durable};

use super::evidence;
use super::records::{Claim, End, KillOrder, NotRun, Stream};
use super::sealed::{self, Found};
use super::spec::Order;

const IDENTITY: &str = "identity.json";
const END: &str = "end.json";
const KILL: &str = "kill.json";
const NOT_RUN: &str = "not-run.json";
const SHIM_ERROR: &str = "shim-error";
const SPEC: &str = "spec.json";
const STDERR: &str = "stderr";
const STDIN: &str = "stdin";
const STDOUT: &str = "stdout";

const NAMES: [&str; 9] = [IDENTITY, END, KILL, NOT_RUN, SHIM_ERROR, SPEC, STDERR, STDIN, STDOUT];

/// Appended to the name of a directory that is being removed.
const REMOVED_SUFFIX: &str = ".removed";

/// The largest `spec.json`, bytes: JSON makes a byte at most six.
const SPEC_BYTES_MAX: u64 = 4 << 20;
/// The largest of the other records, bytes.
const RECORD_BYTES_MAX: u64 = 64 << 10;
/// Longest text that is taken from elsewhere (an error, a reason), bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// The directory of one command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
}

impl<'a> Files<'a> {
    pub(super) fn new(env: &'a Env, dir: &'a Path) -> Self {
        Self { disk: env.disk.as_ref(), dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn stdin(&self) -> PathBuf {
        self.at(STDIN)
    }

    pub(super) fn stdout(&self) -> PathBuf {
        self.at(STDOUT)
    }

    pub(super) fn stderr(&self) -> PathBuf {
        self.at(STDERR)
    }

    /// Whether there are files that a shim writes before anything runs.
    pub(super) fn has_output(&self) -> io::Result<bool> {
        for path in [self.stdout(), self.stderr()] {
            if self.disk.stat(&path)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn order(&self) -> io::Result<Found<Order>> {
        sealed::read(self.disk, &self.at(SPEC), SPEC_BYTES_MAX)
    }

    pub(super) fn claim(&self) -> io::Result<Found<Claim>> {
        sealed::read(self.disk, &self.at(IDENTITY), RECORD_BYTES_MAX)
    }

    pub(super) fn end(&self) -> io::Result<Found<End>> {
        sealed::read(self.disk, &self.at(END), RECORD_BYTES_MAX)
    }

    pub(super) fn not_run(&self) -> io::Result<Found<NotRun>> {
        sealed::read(self.disk, &self.at(NOT_RUN), RECORD_BYTES_MAX)
    }

    /// The reason for which it is to end; what a damaged order says is not known.
    pub(super) fn kill_reason(&self) -> Option<String> {
        match sealed::read::<KillOrder>(self.disk, &self.at(KILL), RECORD_BYTES_MAX) {
            Ok(Found::Whole(order)) => Some(order.reason),
            _ => None,
        }
    }

    pub(super) fn write_order(&self, order: &Order) -> io::Result<()> {
        sealed::write(self.disk, &self.at(SPEC), order)
    }

    /// Claims the directory; false: somebody was first.
    pub(super) fn publish(&self, claim: &Claim) -> io::Result<bool> {
        let by = if matches!(claim, Claim::Shim(_)) { "shim" } else { "forbid" };
        sealed::publish(self.disk, &self.at(IDENTITY), claim, by)
    }

    /// Writes the claim once more, by who holds it.
    pub(super) fn write_claim(&self, claim: &Claim) -> io::Result<()> {
        sealed::write(self.disk, &self.at(IDENTITY), claim)
    }

    pub(super) fn write_end(&self, end: &End) -> io::Result<()> {
        sealed::write(self.disk, &self.at(END), end)
    }

    pub(super) fn write_not_run(&self, code: i32, error: &str) -> io::Result<()> {
        let why = NotRun { code, error: bounded(error) };
        sealed::write(self.disk, &self.at(NOT_RUN), &why)
    }

    pub(super) fn write_kill(&self, reason: &str) -> io::Result<()> {
        let order = KillOrder { reason: bounded(reason) };
        sealed::write(self.disk, &self.at(KILL), &order)
    }

    /// Leaves a word for people where nothing else can be said.
    pub(super) fn write_shim_error(&self, error: &io::Error) -> io::Result<()> {
        let text = bounded(&error.to_string());
        durable::replace_file(self.disk, &self.at(SHIM_ERROR), text.as_bytes())
    }

    /// That word, where there is one.
    pub(super) fn shim_error(&self) -> Option<String> {
        let bytes_max = u64::try_from(TEXT_BYTES_MAX).expect("a usize fits a u64");
        let bytes = durable::read_file(self.disk, &self.at(SHIM_ERROR), bytes_max).ok()?;
        String::from_utf8(bytes).ok()
    }
}

/// The beginning of a text, within the bound.
pub(super) fn bounded(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().to_owned()
}

/// Makes sure that nothing ever runs here: before an attempt that was not begun
/// ([`super::Evidence::NotStarted`]) is repeated elsewhere, because a shim that an earlier server
/// started may still be on its way. False: one was first; look again.
///
/// # Errors
/// The disk does not do what it is asked to.
pub fn forbid(env: &Env, dir: &Path) -> io::Result<bool> {
    let files = Files::new(env, dir);
    match files.claim()? {
        Found::Whole(Claim::Forbidden { .. }) => return Ok(true),
        Found::Whole(Claim::Shim(_)) | Found::Damaged(_) => return Ok(false),
        Found::Absent => {}
    }
    let reason = "given up before it began".to_owned();
    match files.publish(&Claim::Forbidden { reason }) {
        // Nothing runs where there is no directory.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        published => published,
    }
}

/// Removes the directory of a command that runs no more, for good; one that is not there is
/// removed. What a removal that was interrupted left is removed with it.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`]: it runs. [`io::ErrorKind::DirectoryNotEmpty`]: it holds
/// something that is not of a command; nothing is lost. Others are of the disk.
pub fn remove(env: &Env, dir: &Path) -> io::Result<()> {
    let disk = env.disk.as_ref();
    let mut name = dir.as_os_str().to_os_string();
    name.push(REMOVED_SUFFIX);
    let away = PathBuf::from(name);
    empty(disk, &away)?;
    if disk.stat(dir)?.is_none() {
        return Ok(());
    }
    if !forbid(env, dir)? && evidence::shim_lives(env, dir)? {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    durable::rename(disk, dir, &away)?;
    empty(disk, &away)
}

/// The directory whose removal was interrupted, where this is the name of such a rest.
#[must_use]
pub fn removed(name: &str) -> Option<&str> {
    name.strip_suffix(REMOVED_SUFFIX)
}

/// Removes the directory of a command for which no shim was ever made; needs no room.
pub(super) fn discard(env: &Env, dir: &Path) -> io::Result<()> {
    empty(env.disk.as_ref(), dir)
}

/// Removes a directory that was moved away, and its files.
fn empty(disk: &dyn Disk, away: &Path) -> io::Result<()> {
    let Some(entry) = disk.stat(away)? else { return Ok(()) };
    if entry.kind != EntryKind::Directory {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    for entry in disk.list(away)? {
        let unfinished = entry.name.ends_with(durable::TEMPORARY_SUFFIX);
        if entry.kind == EntryKind::File && (unfinished || NAMES.contains(&entry.name.as_str())) {
            disk.remove_file(&away.join(&entry.name))?;
        }
    }
    disk.remove_dir(away)?;
    durable::sync_parent(disk, away)
}

/// What a command wrote, as far as it was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Reads what a command wrote, and proves that it is what the shim kept.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`]: it is not. Others are of the disk.
pub fn output(env: &Env, dir: &Path, end: &End) -> io::Result<Output> {
    let files = Files::new(env, dir);
    let stdout = stream(files.disk, &files.stdout(), &end.stdout)?;
    let stderr = stream(files.disk, &files.stderr(), &end.stderr)?;
    Ok(Output { stdout, stderr })
}

fn stream(disk: &dyn Disk, path: &Path, end: &Stream) -> io::Result<Vec<u8>> {
    let bytes = match durable::read_file(disk, path, end.kept) {
        // A command that could not be started may have no files.
        Err(error) if error.kind() == io::ErrorKind::NotFound && end.kept == 0 => Vec::new(),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string()));
        }
        bytes => bytes?,
    };
    let kept = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if kept == end.kept && crc32c::crc32c(&bytes) == end.crc32c {
        return Ok(bytes);
    }
    let text = format!("{} is not what was kept of the output", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}
