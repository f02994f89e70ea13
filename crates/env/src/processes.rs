//! The machine's processes, read from `/proc`: who they are, and whether they still are.
//!
//! Invariants: a process is named by its number *and* its start time, because numbers are used
//! again; a process that ended and was not waited for yet counts as ended; every read is bounded,
//! and what a process chose itself (its name, its environment) is only ever compared.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::disk::{EntryKind, ReadDisk, ReadFile};

/// Longest `/proc/PID/stat` that is read, bytes: it has some 50 numbers and a short name.
const STAT_BYTES_MAX: usize = 4 << 10;
/// How much of an environment is held at once, bytes.
const ENVIRONMENT_PIECE_BYTES: usize = 64 << 10;
/// Longest environment that is searched, bytes; the kernel's own bound is of this order.
const ENVIRONMENT_BYTES_MAX: u64 = 8 << 20;
/// Length of a boot id, bytes.
const BOOT_ID_BYTES: usize = 36;

/// A process, as far as it matters who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number, which another may have had before.
    pub pid: u32,
    /// Its parent's number.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// When it began, in ticks of the kernel since the machine was started.
    pub start_ticks: u64,
    /// It ended, and nobody waited for it yet.
    pub ended: bool,
}

/// A locked file, as [`hold`] gives it.
#[derive(Debug)]
pub struct Held(OwnedFd);

impl Held {
    /// The standard input of a child that holds it, too; it is empty where nobody wrote to it.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn stdin(&self) -> io::Result<Stdio> {
        self.0.try_clone().map(Stdio::from)
    }
}

/// Locks a file, made where it is missing, for as long as anybody has it open: this process, and
/// each child that it is handed to, also when this process dies. Waits for `patience` until nobody
/// else has it.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`]: somebody has it still. Otherwise it cannot be opened or locked.
#[allow(clippy::disallowed_types)]
pub fn hold(path: &Path, patience: Duration) -> io::Result<Held> {
    /// How often it is looked whether nobody has it any more: nothing tells.
    const LOOK: Duration = Duration::from_millis(20);
    // A lock is a thing of the machine, as processes are.
    let mut options = std::fs::File::options();
    let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Held(file.into())),
            Err(std::fs::TryLockError::WouldBlock) if waited < patience => {
                thread::park_timeout(LOOK);
                waited += LOOK;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The identity of this start of the machine: another one after each boot.
///
/// # Errors
/// `/proc` cannot be read, or says something unheard-of.
pub fn boot_id(disk: &(impl ReadDisk + ?Sized)) -> io::Result<String> {
    let file = disk.open_read(Path::new("/proc/sys/kernel/random/boot_id"))?;
    let mut bytes = [0; BOOT_ID_BYTES];
    let read = file.read_at(&mut bytes, 0)?;
    let is_word = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    match std::str::from_utf8(&bytes) {
        Ok(text) if read == BOOT_ID_BYTES && bytes.iter().all(is_word) => Ok(text.to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "/proc gives no boot id")),
    }
}

/// The process of this number; `None` where there is none, or none that is for us to see.
///
/// # Errors
/// `/proc` cannot be read, or says something unheard-of.
pub fn process(disk: &(impl ReadDisk + ?Sized), pid: u32) -> io::Result<Option<Process>> {
    let mut bytes = [0; STAT_BYTES_MAX];
    let read = match read_of(disk, pid, "stat", &mut bytes) {
        Err(error) if is_gone(&error) || is_not_for_us(&error) => return Ok(None),
        read => read?,
    };
    let parsed = bytes.get(..read).and_then(|bytes| parse_stat(pid, bytes));
    let unheard_of = || format!("/proc/{pid}/stat cannot be understood");
    parsed.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, unheard_of()))
}

/// All processes that this one can see, in no order that means anything.
///
/// # Errors
/// `/proc` cannot be read.
pub fn processes(disk: &(impl ReadDisk + ?Sized)) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in disk.list(Path::new("/proc"))? {
        let pid = entry.name.parse().ok().filter(|_| entry.kind == EntryKind::Directory);
        let Some(pid) = pid else { continue };
        // Between the listing and the look at it a process may end.
        found.extend(process(disk, pid)?);
    }
    Ok(found)
}

/// Whether a process was started with this entry (`NAME=value`) in its environment; `false` where
/// that is not for us to see.
///
/// # Errors
/// `/proc` cannot be read.
pub fn was_started_with(
    disk: &(impl ReadDisk + ?Sized),
    pid: u32,
    entry: &[u8],
) -> io::Result<bool> {
    assert!(!entry.is_empty() && !entry.contains(&0), "an entry is a word that does not end");
    let file = match disk.open_read(&path_of(pid, "environ")) {
        Err(error) if is_gone(&error) || is_not_for_us(&error) => return Ok(false),
        file => file?,
    };
    // Every entry ends with a zero; so does, in this text, whatever stands before the first.
    let mut wanted = vec![0];
    wanted.extend_from_slice(entry);
    wanted.push(0);
    let mut text = vec![0];
    let mut piece = vec![0; ENVIRONMENT_PIECE_BYTES];
    let mut offset = 0;
    while offset < ENVIRONMENT_BYTES_MAX {
        let read = match file.read_at(&mut piece, offset) {
            Err(error) if is_gone(&error) || is_not_for_us(&error) => return Ok(false),
            read => read?,
        };
        let Some(part) = piece.get(..read).filter(|part| !part.is_empty()) else { break };
        text.extend_from_slice(part);
        if text.windows(wanted.len()).any(|window| window == wanted) {
            return Ok(true);
        }
        // What may be the beginning of the entry is looked at again.
        let done = text.len().saturating_sub(wanted.len());
        text.drain(..done);
        offset += u64::try_from(read).expect("a usize fits a u64");
    }
    Ok(false)
}

fn path_of(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

fn read_of(
    disk: &(impl ReadDisk + ?Sized),
    pid: u32,
    name: &str,
    buf: &mut [u8],
) -> io::Result<usize> {
    let file: Box<dyn ReadFile> = disk.open_read(&path_of(pid, name))?;
    file.read_at(buf, 0)
}

/// The process ended while, or before, it was looked at.
fn is_gone(error: &io::Error) -> bool {
    let gone = rustix::io::Errno::SRCH.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(gone)
}

/// The process belongs to somebody else.
fn is_not_for_us(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// `PID (NAME) STATE PARENT GROUP SESSION …`, the start time as the 22nd field. The name may hold
/// anything, closing brackets too: the last one ends it.
fn parse_stat(pid: u32, bytes: &[u8]) -> Option<Process> {
    let name_end = bytes.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(bytes.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Behind the session (the 6th) stand 15 others before the start time.
    let start_ticks = fields.nth(15)?.parse().ok()?;
    let ended = matches!(state, "Z" | "X" | "x");
    Some(Process { pid, parent, group, session, start_ticks, ended })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::RealDisk;

    #[test]
    fn this_process_is_found() {
        let pid = std::process::id();
        let own = process(&RealDisk, pid).unwrap().unwrap();
        let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_pid);
        assert_eq!(u32::try_from(parent.unwrap_or(0)).unwrap(), own.parent);
        let group = rustix::process::getpgrp().as_raw_pid();
        assert_eq!(u32::try_from(group).unwrap(), own.group);
        assert!(!own.ended && own.start_ticks > 0);
        assert!(processes(&RealDisk).unwrap().contains(&own));
        assert_eq!(process(&RealDisk, u32::MAX).unwrap(), None);
        assert_eq!(boot_id(&RealDisk).unwrap(), boot_id(&RealDisk).unwrap());
    }

    #[test]
    fn names_cannot_deceive() {
        let numbers = "7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 1";
        let text = format!("5 (a) Z 1 1 1) S {numbers}\n");
        let found = parse_stat(5, text.as_bytes()).unwrap();
        let wanted =
            Process { pid: 5, parent: 7, group: 8, session: 9, start_ticks: 4242, ended: false };
        assert_eq!(found, wanted);
        assert!(parse_stat(5, format!("5 (a) Z {numbers}").as_bytes()).unwrap().ended);
        for end in 0..text.len() - " 1 1\n".len() - "4242".len() {
            assert_eq!(parse_stat(5, text.get(..end).unwrap().as_bytes()), None, "{end}");
        }
    }

    #[test]
    fn an_environment_is_searched_by_whole_entries() {
        let filler = "x".repeat(3 * ENVIRONMENT_PIECE_BYTES / 2);
        let mut child = std::process::Command::new("cat")
            .env_clear()
            .env("AFTER", "of it")
            .env("BEFORE", filler)
            .env("NAME", "value")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Once it answers it is the program, and no longer the copy of this process.
        let mut answer = [0; 1];
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"x").unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut answer).unwrap();
        let has = |entry: &str| was_started_with(&RealDisk, child.id(), entry.as_bytes()).unwrap();
        assert!(has("NAME=value") && has("AFTER=of it"));
        assert!(!has("NAME=valu") && !has("AME=value") && !has("NAME=values"));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
