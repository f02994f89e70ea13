//! Faults to order: which call fails, when, how often, and what it leaves behind.
//!
//! Invariant: without a fault the simulated disk never fails for another reason than the real one
//! would; with one, exactly the calls that it names fail.

use std::io;
use std::path::Path;

use super::operation::OperationKind;

/// A fault that waits for its call.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind of call that fails; `None` for any.
    pub operation: Option<OperationKind>,
    /// Only calls on paths that contain this.
    pub path_contains: Option<String>,
    /// The first matching call that fails, counted from 1 after the injection.
    pub nth: u64,
    /// How many matching calls fail from there on.
    pub times: Times,
    /// What happens.
    pub effect: Effect,
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// So many calls in a row.
    Count(u64),
    /// Every call from the first on.
    Forever,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The call fails and changes nothing.
    Error(FaultError),
    /// A sync of a file fails with EIO and drops the unsynced bytes from what can survive a crash,
    /// while reads still show them and the next sync succeeds ("Can Applications Recover from fsync
    /// Failures?", ATC 2020). On other calls: a plain EIO.
    FailedSync,
    /// A part of the bytes of a write lands, of a length drawn from the disk's seed, then it fails.
    /// On other calls: the plain error.
    ShortWrite(FaultError),
}

/// The error that a faulty call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// An error of this kind.
    Kind(io::ErrorKind),
    /// An error of the operating system, by number.
    Os(i32),
}

impl FaultError {
    /// A read or write that the medium refuses.
    pub const EIO: Self = Self::Os(rustix::io::Errno::IO.raw_os_error());
    /// A full file system.
    pub const ENOSPC: Self = Self::Os(rustix::io::Errno::NOSPC.raw_os_error());

    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Kind(kind) => kind.into(),
            Self::Os(number) => io::Error::from_raw_os_error(number),
        }
    }
}

impl Fault {
    /// The next call of this kind fails once.
    #[must_use]
    pub fn error(operation: OperationKind, error: FaultError) -> Self {
        Self::new(operation, Effect::Error(error))
    }

    /// The next sync of a file fails and drops its unsynced bytes.
    #[must_use]
    pub fn failed_sync() -> Self {
        Self::new(OperationKind::SyncData, Effect::FailedSync)
    }

    /// The next write lands in part and fails.
    #[must_use]
    pub fn short_write(error: FaultError) -> Self {
        Self::new(OperationKind::Write, Effect::ShortWrite(error))
    }

    fn new(operation: OperationKind, effect: Effect) -> Self {
        let times = Times::Count(1);
        Self { operation: Some(operation), path_contains: None, nth: 1, times, effect }
    }

    /// Only on paths that contain `text`.
    #[must_use]
    pub fn on(mut self, text: impl Into<String>) -> Self {
        self.path_contains = Some(text.into());
        self
    }

    /// Not at the next but at the `nth` matching call, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// At every matching call from the first on.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.times = Times::Forever;
        self
    }

    fn matches(&self, kind: OperationKind, paths: &[&Path]) -> bool {
        let on_path =
            |text: &String| paths.iter().any(|path| path.to_string_lossy().contains(text.as_str()));
        self.operation.is_none_or(|wanted| wanted == kind)
            && self.path_contains.as_ref().is_none_or(on_path)
    }

    fn strikes(&self, seen: u64) -> bool {
        let last = match self.times {
            Times::Count(count) => self.nth.saturating_add(count),
            Times::Forever => u64::MAX,
        };
        (self.nth..last).contains(&seen)
    }
}

/// The faults of a disk and what they have seen.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: Vec<(Fault, u64)>,
}

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) {
        assert!(fault.nth > 0, "matching calls are counted from 1");
        self.waiting.push((fault, 0));
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Counts the call for every fault that matches it; the first injected one that strikes wins.
    pub(super) fn strike(&mut self, kind: OperationKind, paths: &[&Path]) -> Option<Effect> {
        debug_assert!(!paths.is_empty(), "a call has a path");
        let mut effect = None;
        for (fault, seen) in &mut self.waiting {
            if fault.matches(kind, paths) {
                *seen += 1;
                if effect.is_none() && fault.strikes(*seen) {
                    effect = Some(fault.effect);
                }
            }
        }
        effect
    }
}
