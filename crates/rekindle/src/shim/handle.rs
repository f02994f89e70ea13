//! A hold on one process: to wait for its end, and to signal it and no other.
//!
//! Invariants: a signal reaches the process that was meant or nobody, because a pidfd names a
//! process and not a number; where the kernel has none, the start time is looked at right before.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rekindle_env::Env;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::evidence::lives;
use super::pipes;
use super::records::ProcessId;

/// How often a process is looked at where it cannot be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug)]
enum Hold {
    /// Its descriptor.
    Descriptor(OwnedFd),
    /// The kernel has none: its number, with care.
    Number(Pid),
    /// It is over.
    Over,
}

/// One process.
#[derive(Debug)]
pub(super) struct Handle {
    id: ProcessId,
    hold: Hold,
}

impl Handle {
    /// Takes hold of this very process, if it still is.
    pub(super) fn of(env: &Env, id: ProcessId) -> io::Result<Self> {
        let over = Self { id, hold: Hold::Over };
        let Some(pid) = number(id.pid) else { return Ok(over) };
        let hold = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => Hold::Descriptor(descriptor),
            Err(Errno::SRCH) => return Ok(over),
            // Too old a kernel, or a sandbox that does not know the call; or the process is being
            // waited for right now, and its number is for a moment that of a thread without a
            // process.
            Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::NOENT) => {
                Hold::Number(pid)
            }
            Err(error) => return Err(error.into()),
        };
        // Looked at behind the open: a number that was used again has another start time.
        if lives(env, id)? { Ok(Self { id, hold }) } else { Ok(over) }
    }

    /// Readable once the process ended; `None` where there is no such descriptor.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.hold {
            Hold::Descriptor(descriptor) => Some(descriptor.as_fd()),
            Hold::Number(_) | Hold::Over => None,
        }
    }

    /// Waits for its end until `until_boot_ns`, or for as long as it takes; whether it ended.
    pub(super) fn wait(&mut self, env: &Env, until_boot_ns: Option<u64>) -> io::Result<bool> {
        loop {
            let left = until_boot_ns.map(|until| until.saturating_sub(env.clock.boot_ns()));
            let ended = match &self.hold {
                Hold::Over => true,
                Hold::Descriptor(descriptor) => pipes::is_ready(descriptor.as_fd(), left)?,
                Hold::Number(_) => !lives(env, self.id)?,
            };
            if ended {
                self.hold = Hold::Over;
                return Ok(true);
            }
            if left == Some(0) {
                return Ok(false);
            }
            if let Hold::Number(_) = self.hold {
                let patience = left.map_or(LOOK_EVERY, Duration::from_nanos);
                std::thread::park_timeout(patience.min(LOOK_EVERY));
            }
        }
    }

    /// Sends it a signal; one that is over gets none.
    pub(super) fn signal(&self, env: &Env, signal: Signal) -> io::Result<()> {
        let sent = match &self.hold {
            Hold::Over => Ok(()),
            Hold::Descriptor(descriptor) => pidfd_send_signal(descriptor, signal),
            Hold::Number(pid) if lives(env, self.id)? => kill_process(*pid, signal),
            Hold::Number(_) => Ok(()),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The number of a process as the kernel takes it.
pub(super) fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::{Command, Stdio};

    use rekindle_env::processes::process;

    use super::*;

    /// With and without a descriptor: the process that is meant is waited for and signaled, and one
    /// that only has its number is left alone.
    #[test]
    fn a_process_is_held_by_descriptor_or_by_number() {
        let env = Env::real();
        for by_number in [false, true] {
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let id = ProcessId::from(process(env.disk.as_ref(), child.id()).unwrap().unwrap());
            let of = |id: ProcessId| {
                let mut handle = Handle::of(&env, id).unwrap();
                if by_number {
                    handle.hold = Hold::Number(number(id.pid).unwrap());
                }
                handle
            };
            let mut other = of(ProcessId { start_ticks: id.start_ticks + 1, ..id });
            other.signal(&env, Signal::KILL).unwrap();
            assert!(other.wait(&env, None).unwrap(), "that one is over");
            let mut handle = of(id);
            assert_eq!(handle.descriptor().is_none(), by_number);
            assert!(!handle.wait(&env, Some(env.clock.boot_ns() + 1)).unwrap());
            handle.signal(&env, Signal::TERM).unwrap();
            assert!(handle.wait(&env, None).unwrap());
            handle.signal(&env, Signal::TERM).unwrap();
            child.wait().unwrap();
            assert!(matches!(Handle::of(&env, id).unwrap().hold, Hold::Over), "it was waited for");
        }
    }
}
