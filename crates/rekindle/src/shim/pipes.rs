//! The three streams of a command, as its shim moves them: the payload in, the output into files.
//!
//! Invariants: nothing here waits; a command is never held up by what the shim keeps or cannot
//! keep: what goes beyond the bound, and what the disk does not take, is counted and dropped.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rekindle_env::{ReadFile, WriteFile};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::files::bounded;
use super::records::Stream;

/// How much is moved at once, bytes: as much as a pipe holds.
const PIECE_BYTES: usize = 64 << 10;
/// How many pieces of one stream are moved before the others have their turn.
const PIECES_MAX: usize = 16;
/// Longest single wait in seconds; whoever waits longer waits again.
const WAIT_SECONDS_MAX: u64 = 3_600;

/// Waits until a descriptor has something to say, or `left_ns` passed, or a signal came.
pub(super) fn is_ready(descriptor: BorrowedFd<'_>, left_ns: Option<u64>) -> io::Result<bool> {
    let mut descriptors = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    wait(&mut descriptors, left_ns)?;
    Ok(descriptors.iter().any(|each| !each.revents().is_empty()))
}

/// Waits until one of them has something to say, or `left_ns` passed, or a signal came.
pub(super) fn wait(descriptors: &mut [PollFd<'_>], left_ns: Option<u64>) -> io::Result<()> {
    let timeout = left_ns.map(|left| {
        let seconds = (left / 1_000_000_000).min(WAIT_SECONDS_MAX);
        let part = |number: u64| i64::try_from(number).expect("below 10^9 by the lines above");
        Timespec { tv_sec: part(seconds), tv_nsec: part(left % 1_000_000_000) }
    });
    match poll(descriptors, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn without_waiting(descriptor: &OwnedFd) -> io::Result<()> {
    let flags = fcntl_getfl(descriptor)?;
    Ok(fcntl_setfl(descriptor, flags | OFlags::NONBLOCK)?)
}

/// A stream of output on its way into a file.
#[derive(Debug)]
pub(super) struct Capture {
    pipe: Option<OwnedFd>,
    file: Box<dyn WriteFile>,
    bytes_max: u64,
    stream: Stream,
    buffer: Vec<u8>,
}

impl Capture {
    pub(super) fn new(pipe: OwnedFd, file: Box<dyn WriteFile>, bytes_max: u64) -> io::Result<Self> {
        without_waiting(&pipe)?;
        let buffer = vec![0; PIECE_BYTES];
        Ok(Self { pipe: Some(pipe), file, bytes_max, stream: Stream::default(), buffer })
    }

    /// What to wait for, until the last writer is gone.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Moves what is there; whether there may be more.
    pub(super) fn take(&mut self) -> io::Result<bool> {
        for _ in 0..PIECES_MAX {
            let Some(pipe) = &self.pipe else { return Ok(false) };
            match rustix::io::read(pipe, self.buffer.as_mut_slice()) {
                Ok(0) => self.pipe = None,
                Ok(read) => self.keep(read),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.pipe.is_some())
    }

    /// Keeps the beginning of the buffer, as far as the bound and the disk allow.
    fn keep(&mut self, read: usize) {
        let stream = &mut self.stream;
        let room = self.bytes_max.saturating_sub(stream.kept);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let room = if stream.error.is_none() { room.min(read) } else { 0 };
        let part = self.buffer.get(..room).unwrap_or_default();
        let mut kept = 0;
        if !part.is_empty() {
            match self.file.write_at(part, stream.kept) {
                Ok(()) => {
                    stream.crc32c = crc32c::crc32c_append(stream.crc32c, part);
                    kept = room;
                }
                Err(error) => stream.error = Some(bounded(&error.to_string())),
            }
        }
        let number = |bytes: usize| u64::try_from(bytes).expect("a usize fits a u64");
        stream.kept += number(kept);
        stream.dropped += number(read.saturating_sub(kept));
    }

    /// Makes what was kept durable, and says what became of the stream.
    pub(super) fn end(mut self) -> Stream {
        // A write that failed may have left a part of itself.
        let synced = match self.stream.error {
            Some(_) => self.file.set_len(self.stream.kept),
            None => Ok(()),
        };
        if let Err(error) = synced.and_then(|()| self.file.sync_all()) {
            // It may not be there after a power loss, and then its checksum tells.
            self.stream.error.get_or_insert_with(|| bounded(&error.to_string()));
        }
        self.stream
    }
}

/// The standard input of a command: first the byte that lets it go, then the payload.
#[derive(Debug)]
pub(super) struct Feed {
    pipe: Option<OwnedFd>,
    payload: Option<Box<dyn ReadFile>>,
    offset: u64,
    pending: Vec<u8>,
    written: usize,
}

impl Feed {
    pub(super) fn new(pipe: OwnedFd, payload: Option<Box<dyn ReadFile>>) -> io::Result<Self> {
        without_waiting(&pipe)?;
        Ok(Self { pipe: Some(pipe), payload, offset: 0, pending: Vec::new(), written: 0 })
    }

    /// Lets the second stage go.
    pub(super) fn go(&mut self) {
        assert!(self.offset == 0 && self.pending.is_empty(), "it is let go once, and first");
        self.pending.push(b'!');
    }

    /// What to wait for, until everything is written.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Writes what the pipe takes. A command that does not want its input is no error.
    pub(super) fn give(&mut self) -> io::Result<()> {
        for _ in 0..PIECES_MAX {
            let rest = self.pending.get(self.written..).unwrap_or_default();
            let Some(pipe) = &self.pipe else { return Ok(()) };
            if rest.is_empty() {
                if !self.refill()? {
                    self.pipe = None;
                }
                continue;
            }
            match rustix::io::write(pipe, rest) {
                Ok(written) => self.written += written,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => self.pipe = None,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads the next piece; false at the end.
    fn refill(&mut self) -> io::Result<bool> {
        let Some(payload) = &self.payload else { return Ok(false) };
        self.pending.resize(PIECE_BYTES, 0);
        let read = payload.read_at(&mut self.pending, self.offset)?;
        self.pending.truncate(read);
        self.written = 0;
        self.offset += u64::try_from(read).expect("a usize fits a u64");
        Ok(read > 0)
    }
}
