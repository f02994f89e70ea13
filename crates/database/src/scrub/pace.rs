//! Reading slowly: a scrub takes no more of the disk than it may, and ends at once when asked to.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rekindle_env::ReadFile;

use crate::apply::lock;

/// How fast a scrub reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace<'a> {
    /// As fast as it goes.
    Full,
    /// No faster than this, until asked to stop.
    Slow {
        /// Bytes in a second; at least 1.
        bytes_per_second: u64,
        /// Set, and told, when it is to stop.
        stop: &'a (Mutex<bool>, Condvar),
    },
}

impl Pace<'_> {
    /// Whether it was asked to stop.
    pub(crate) fn stopped(&self) -> bool {
        match self {
            Self::Full => false,
            Self::Slow { stop, .. } => *lock(&stop.0),
        }
    }

    /// Waits for the time that so many bytes may take; an error when asked to stop.
    pub(super) fn after(&self, bytes: usize) -> io::Result<()> {
        let Self::Slow { bytes_per_second, stop } = self else { return Ok(()) };
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / (*bytes_per_second).max(1);
        let (stopped, _) = stop
            .1
            .wait_timeout_while(lock(&stop.0), Duration::from_nanos(nanos), |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        if *stopped { Err(io::Error::other("asked to stop")) } else { Ok(()) }
    }
}

/// A file that is read at a pace.
#[derive(Debug)]
pub(crate) struct Paced<'a> {
    pub(crate) file: Box<dyn ReadFile>,
    pub(crate) pace: Pace<'a>,
}

impl ReadFile for Paced<'_> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.forget_cached(offset, buf.len() as u64);
        let read = self.file.read_at(buf, offset)?;
        self.pace.after(read)?;
        Ok(read)
    }
}
