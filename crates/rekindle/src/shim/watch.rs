//! Watching a command: its streams, its time, its server, its end.
//!
//! Invariants: one loop waits for everything at once and never for one thing alone; the command is
//! waited for only after its group was killed, so that the number of the group cannot be another's;
//! the loop ends when the command itself did, and what it left is gone before the end is told (or
//! counted, where it does not die).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rekindle_env::Env;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, kill_process_group, waitid,
    waitpid,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::files::Files;
use super::handle::number;
use super::orphans::{DYING_NS_MAX, ended_children, kill_descendants};
use super::pipes::{self, Capture, Feed};
use super::records::{Outcome, ProcessId};
use super::spec::Spec;

/// How long the end of something that was killed is waited for before the machine is searched
/// again, nanoseconds: for what appeared during a search.
const SEARCH_AGAIN_NS: u64 = 100_000_000;

/// How often the rest of the output is asked for when nobody can write any more: more than a pipe
/// holds.
const LAST_PIECES_MAX: usize = 64;

/// The pipe from the server, which is this process's standard input.
#[derive(Debug)]
pub(super) struct Server {
    gone_boot_ms: Option<u64>,
}

impl Server {
    pub(super) fn new() -> Self {
        Self { gone_boot_ms: None }
    }

    pub(super) fn gone_boot_ms(&self) -> Option<u64> {
        self.gone_boot_ms
    }

    /// Looks whether the server is still there, and notes when it first was not.
    pub(super) fn look(&mut self, env: &Env) -> io::Result<()> {
        if self.gone_boot_ms.is_some() {
            return Ok(());
        }
        let stdin = io::stdin();
        let mut descriptors = [PollFd::new(&stdin, PollFlags::empty())];
        pipes::wait(&mut descriptors, Some(0))?;
        let closed = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        if descriptors.iter().any(|each| each.revents().intersects(closed)) {
            self.gone_boot_ms = Some(env.clock.boot_ms());
        }
        Ok(())
    }
}

/// Signals as something to wait for. Handlers, not ignored signals: an ignored one would stay
/// ignored in the command.
#[derive(Debug)]
pub(super) struct Signals {
    woken: UnixStream,
    asked: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let (woken, waker) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            flag::register(signal, Arc::clone(&asked))?;
        }
        // SIGHUP wakes and means nothing: a shim survives whoever hangs up.
        for signal in [SIGCHLD, SIGTERM, SIGINT, SIGHUP] {
            low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        Ok(Self { woken, asked })
    }

    /// Somebody asked the shim to end.
    fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Forgets that signals came; whether any did.
    fn drain(&self) -> io::Result<bool> {
        let mut any = false;
        let mut buffer = [0; 256];
        loop {
            match rustix::io::read(&self.woken, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(any),
                Ok(_) => any = true,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What the shim hears beside its command.
#[derive(Debug)]
pub(super) struct Ears {
    pub(super) signals: Signals,
    pub(super) server: Server,
}

/// What goes in and comes out.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) feed: Feed,
    pub(super) stdout: Capture,
    pub(super) stderr: Capture,
}

/// How far the command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has its time.
    Running,
    /// It was asked to end.
    Asked,
    /// It was killed; only the kernel holds it now.
    Killed,
}

/// How a command ended, before it is written down.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) timed_out: bool,
    pub(super) killed: Option<String>,
    pub(super) started_boot_ms: u64,
    pub(super) ended_boot_ms: u64,
    pub(super) server_gone_boot_ms: Option<u64>,
    pub(super) stdout: Capture,
    pub(super) stderr: Capture,
    pub(super) left: u32,
}

/// A command that is watched.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    env: &'a Env,
    files: Files<'a>,
    spec: &'a Spec,
    command: Pid,
    streams: Streams,
    ears: Ears,
    timer: OwnedFd,
    phase: Phase,
    /// When the next phase begins.
    until_boot_ns: u64,
    timed_out: bool,
    killed: Option<String>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        env: &'a Env,
        files: Files<'a>,
        spec: &'a Spec,
        command: ProcessId,
        streams: Streams,
        ears: Ears,
    ) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        let command = number(command.pid).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            env,
            files,
            spec,
            command,
            streams,
            ears,
            timer,
            phase: Phase::Running,
            until_boot_ns: u64::MAX,
            timed_out: false,
            killed: None,
        })
    }

    /// Lets the second stage go, and watches it to its end.
    pub(super) fn run(mut self) -> io::Result<Ending> {
        let started_boot_ms = self.env.clock.boot_ms();
        self.streams.feed.go();
        self.set_timer(self.spec.time_limit_ms)?;
        let status = loop {
            self.move_streams()?;
            self.ears.server.look(self.env)?;
            // Signals before the look at the command: one that comes later wakes again.
            let signaled = self.ears.signals.drain()?;
            if let Some(status) = self.ended()? {
                break status;
            }
            if signaled {
                self.reap_orphans()?;
            }
            self.next_phase()?;
            self.wait()?;
        };
        let ended_boot_ms = self.env.clock.boot_ms();
        if self.phase == Phase::Running && self.ears.signals.asked() {
            // Whoever ends a whole group ends the command before we could.
            self.killed = Some(self.kill_reason());
        }
        let left = self.clear()?;
        for _ in 0..LAST_PIECES_MAX {
            let more = self.streams.stdout.take()? | self.streams.stderr.take()?;
            if !more {
                break;
            }
        }
        self.ears.server.look(self.env)?;
        Ok(Ending {
            outcome: outcome(&status),
            timed_out: self.timed_out,
            killed: self.killed,
            started_boot_ms,
            ended_boot_ms,
            server_gone_boot_ms: self.ears.server.gone_boot_ms(),
            stdout: self.streams.stdout,
            stderr: self.streams.stderr,
            left,
        })
    }

    fn move_streams(&mut self) -> io::Result<()> {
        self.streams.feed.give()?;
        self.streams.stdout.take()?;
        self.streams.stderr.take()?;
        Ok(())
    }

    /// Waits until anything happens.
    fn wait(&self) -> io::Result<()> {
        let stdin = io::stdin();
        let open = [
            (Some(self.ears.signals.woken.as_fd()), PollFlags::IN),
            (Some(self.timer.as_fd()), PollFlags::IN),
            (self.streams.stdout.descriptor(), PollFlags::IN),
            (self.streams.stderr.descriptor(), PollFlags::IN),
            (self.streams.feed.descriptor(), PollFlags::OUT),
            // Only its end is of interest, and that needs no asking.
            (self.ears.server.gone_boot_ms.is_none().then(|| stdin.as_fd()), PollFlags::empty()),
        ];
        let mut descriptors = Vec::with_capacity(open.len());
        for (descriptor, flags) in open {
            descriptors.extend(descriptor.map(|each| PollFd::from_borrowed_fd(each, flags)));
        }
        pipes::wait(&mut descriptors, None)
    }

    /// Whether the command itself ended; it stays a zombie, and its numbers its own.
    fn ended(&self) -> io::Result<Option<WaitIdStatus>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let retried = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.command), options));
        Ok(retried?)
    }

    /// Waits for what the command left behind and what ended since.
    fn reap_orphans(&self) -> io::Result<()> {
        let command = u32::try_from(self.command.as_raw_pid()).unwrap_or(0);
        for orphan in ended_children(self.env, command)? {
            if let Some(orphan) = number(orphan) {
                match waitpid(Some(orphan), WaitOptions::NOHANG) {
                    Ok(_) | Err(Errno::CHILD | Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Asks the command to end, or kills it, when that is due.
    fn next_phase(&mut self) -> io::Result<()> {
        let over = self.env.clock.boot_ns() >= self.until_boot_ns;
        match self.phase {
            Phase::Running if self.ears.signals.asked() => {
                self.killed = Some(self.kill_reason());
                self.ask()
            }
            Phase::Running if over => {
                self.timed_out = true;
                self.ask()
            }
            Phase::Asked if over => {
                self.phase = Phase::Killed;
                self.until_boot_ns = u64::MAX;
                self.timer_off()?;
                self.signal_group(Signal::KILL)?;
                kill_descendants(self.env).map(drop)
            }
            Phase::Running | Phase::Asked | Phase::Killed => Ok(()),
        }
    }

    fn kill_reason(&self) -> String {
        self.files.kill_reason().unwrap_or_else(|| "its shim was sent SIGTERM".into())
    }

    fn ask(&mut self) -> io::Result<()> {
        self.phase = Phase::Asked;
        self.set_timer(self.spec.grace_ms)?;
        self.signal_group(Signal::TERM)?;
        // One that was stopped hears nothing before it goes on.
        self.signal_group(Signal::CONT)
    }

    /// Signals the group of the command, which was not waited for: the number is its own.
    fn signal_group(&self, signal: Signal) -> io::Result<()> {
        match kill_process_group(self.command, signal) {
            // Nobody is left in it, or only others' processes (setuid programs).
            Ok(()) | Err(Errno::SRCH | Errno::PERM) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Wakes the loop after so many milliseconds, machine asleep or not.
    fn set_timer(&mut self, ms: u64) -> io::Result<()> {
        let ns = ms.saturating_mul(1_000_000);
        self.until_boot_ns = self.env.clock.boot_ns().saturating_add(ns);
        // A timer at zero would be off.
        self.arm(self.until_boot_ns.max(1))
    }

    fn timer_off(&self) -> io::Result<()> {
        self.arm(0)
    }

    /// Arms the timer, which also makes it silent until then.
    fn arm(&self, at_boot_ns: u64) -> io::Result<()> {
        let part = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = Timespec {
            tv_sec: part(at_boot_ns / 1_000_000_000),
            tv_nsec: part(at_boot_ns % 1_000_000_000),
        };
        let value = Itimerspec { it_interval: zero, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &value)?;
        Ok(())
    }

    /// Kills what is left of the group and of everything that the command started, and waits for
    /// it; gives how many do not die.
    fn clear(&mut self) -> io::Result<u32> {
        self.signal_group(Signal::KILL)?;
        let until = self.env.clock.boot_ns().saturating_add(DYING_NS_MAX);
        loop {
            let living = kill_descendants(self.env)?;
            if !reap_all()? {
                return Ok(0);
            }
            let left_ns = until.saturating_sub(self.env.clock.boot_ns());
            if left_ns == 0 {
                return Ok(living);
            }
            // Full pipes are no reason not to die, but they hold what it wrote last.
            self.streams.stdout.take()?;
            self.streams.stderr.take()?;
            let woken = self.ears.signals.woken.as_fd();
            pipes::is_ready(woken, Some(left_ns.min(SEARCH_AGAIN_NS)))?;
            self.ears.signals.drain()?;
        }
    }
}

/// Waits for every child that ended; whether there are others.
fn reap_all() -> io::Result<bool> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(true),
            Err(Errno::CHILD) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn outcome(status: &WaitIdStatus) -> Outcome {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Outcome::Exited(code),
        (None, Some(signal)) => Outcome::Signaled(signal),
        (None, None) => unreachable!("only the end of a process was waited for"),
    }
}
