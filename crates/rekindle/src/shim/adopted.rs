//! A command that runs, as the server holds it: started by it, or found after a crash.
//!
//! Invariants: the end that is told is what the directory says once the shim is over; when that is
//! unknown, what the command left behind was ended before it is told.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin};
use std::time::Duration;

use rekindle_env::Env;
use rustix::process::Signal;

use super::evidence::{Evidence, look};
use super::files::Files;
use super::handle::Handle;
use super::orphans::kill_orphans;
use super::records::{Identity, ProcessId};

/// A command under its shim. Dropping it ends nothing: the shim goes on, and can be adopted. One
/// that was started by this process stays a zombie then until this process ends, so wait for it.
#[derive(Debug)]
pub struct Running {
    env: Env,
    dir: PathBuf,
    shim: ProcessId,
    handle: Handle,
    /// The shim as our child, until it was waited for.
    child: Option<Child>,
    /// The shim sees it close when this process dies.
    _server: Option<ChildStdin>,
}

impl Running {
    /// A shim that this process started.
    pub(super) fn started(
        env: &Env,
        dir: &Path,
        mut child: Child,
        shim: ProcessId,
    ) -> io::Result<Self> {
        let server = child.stdin.take();
        let handle = Handle::of(env, shim)?;
        let (env, dir) = (env.clone(), dir.to_path_buf());
        Ok(Self { env, dir, shim, handle, child: Some(child), _server: server })
    }

    /// The shim.
    #[must_use]
    pub fn shim(&self) -> ProcessId {
        self.shim
    }

    /// The directory of the command.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A descriptor that becomes readable when the command is over, to be waited for with others;
    /// `None` where it is over, or where the kernel has none. Then call [`Running::poll`].
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.handle.descriptor()
    }

    /// Waits for the end, and tells it: [`Evidence::Finished`] or [`Evidence::Unknown`], or
    /// [`Evidence::NotStarted`] where the shim gave up before it began anything.
    ///
    /// # Errors
    /// The machine does not let us look, or something of a command whose end is unknown does not
    /// die ([`io::ErrorKind::TimedOut`]); it may be called again.
    pub fn wait(&mut self) -> io::Result<Evidence> {
        self.handle.wait(&self.env, None)?;
        self.settle()
    }

    /// The end, if it was reached; does not wait. The errors are those of [`Running::wait`].
    ///
    /// # Errors
    /// See [`Running::wait`].
    pub fn poll(&mut self) -> io::Result<Option<Evidence>> {
        self.wait_for(Duration::ZERO)
    }

    /// Waits for the end, but not for longer than this.
    ///
    /// # Errors
    /// See [`Running::wait`].
    pub fn wait_for(&mut self, patience: Duration) -> io::Result<Option<Evidence>> {
        let patience_ns = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let until = self.env.clock.boot_ns().saturating_add(patience_ns);
        if self.handle.wait(&self.env, Some(until))? { self.settle().map(Some) } else { Ok(None) }
    }

    /// Asks the shim to end the command: SIGTERM, and SIGKILL after the grace of its spec. The end
    /// then tells the reason, of which the first 1,024 bytes are kept. Does not wait.
    ///
    /// # Errors
    /// The reason cannot be written (it is asked all the same), or the shim cannot be signaled.
    pub fn kill(&self, reason: &str) -> io::Result<()> {
        // It is ended even where the reason cannot be written down: a full disk keeps none alive.
        let written = Files::new(&self.env, &self.dir).write_kill(reason);
        self.handle.signal(&self.env, Signal::TERM)?;
        // One that was stopped hears nothing before it goes on.
        self.handle.signal(&self.env, Signal::CONT)?;
        written
    }

    /// Ends the shim itself, for one that does not end when it is asked to: the command dies with
    /// it, and how it ended is unknown.
    ///
    /// # Errors
    /// The shim cannot be signaled.
    pub fn kill_shim(&self) -> io::Result<()> {
        self.handle.signal(&self.env, Signal::KILL)
    }

    fn settle(&mut self) -> io::Result<Evidence> {
        let evidence = look(&self.env, &self.dir)?;
        // Before the shim is waited for: until then its number is no one else's, and whatever is in
        // its session is of this command.
        let cleared = match evidence {
            Evidence::Unknown { .. } => kill_orphans(&self.env, &self.dir).map(drop),
            _ => Ok(()),
        };
        cleared?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(evidence)
    }
}

/// Takes over a command that an earlier server started, as [`look`] found it. One that ended since
/// is over at once: [`Running::wait`] tells how.
///
/// # Errors
/// The machine does not let us look.
pub fn adopt(env: &Env, dir: &Path, identity: &Identity) -> io::Result<Running> {
    let shim = identity.shim;
    let handle = Handle::of(env, shim)?;
    let (env, dir) = (env.clone(), dir.to_path_buf());
    Ok(Running { env, dir, shim, handle, child: None, _server: None })
}
