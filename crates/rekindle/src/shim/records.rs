//! What a shim writes down: who runs, and how it ended.
//!
//! Invariants: times are milliseconds of the boot clock, which mean something only together with
//! the boot id; members are only ever added, with a default, because a running shim is older than
//! the server that adopts it.

use serde::{Deserialize, Serialize};

use rekindle_env::processes::Process;

use super::directory::DirectoryId;

/// A process, told apart from every other that has or had its number since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it began (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
}

impl From<Process> for ProcessId {
    fn from(process: Process) -> Self {
        Self { pid: process.pid, start_ticks: process.start_ticks }
    }
}

/// Who runs a command, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The word that names this attempt.
    pub token: String,
    /// Which start of the machine it belongs to.
    pub boot_id: String,
    /// The shim, which leads a session of its own.
    pub shim: ProcessId,
    /// The command, which leads a process group of its own; `None` until it is about to begin.
    #[serde(default)]
    pub command: Option<ProcessId>,
    /// When the shim began.
    pub started_boot_ms: u64,
    /// The directory that it writes into: the command is of this one, and of no copy.
    #[serde(default)]
    pub directory: Option<DirectoryId>,
}

/// What lies in `identity.json`: whoever is first decides whether the command runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Claim {
    /// A shim runs it.
    Shim(Identity),
    /// Nobody may: this attempt was given up before it began.
    Forbidden {
        /// Why, for people.
        reason: String,
    },
}

/// How a command itself ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ended by itself, with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It could not be started.
    NotRun(NotRun),
}

/// Why a command could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotRun {
    /// The code that a shell would give: 127 where the program is not found, 126 otherwise.
    pub code: i32,
    /// What the machine said.
    pub error: String,
}

/// What became of one stream of output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Bytes in its file.
    pub kept: u64,
    /// Bytes behind them that were counted and dropped.
    pub dropped: u64,
    /// The checksum (CRC-32C) of those that were kept.
    pub crc32c: u32,
    /// Why less was kept than the bound allows; `None` where nothing went wrong.
    #[serde(default)]
    pub error: Option<String>,
}

/// What lies in `end.json`: nothing of the command runs any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The word that names this attempt.
    pub token: String,
    /// How the command itself ended.
    pub outcome: Outcome,
    /// It was ended because its time was over.
    #[serde(default)]
    pub timed_out: bool,
    /// It was ended because somebody asked for it, for this reason.
    #[serde(default)]
    pub killed: Option<String>,
    /// When the command was let go.
    pub started_boot_ms: u64,
    /// When the command itself had ended.
    pub ended_boot_ms: u64,
    /// When the server that started it was seen to be gone; `None` where it was there to the end.
    #[serde(default)]
    pub server_gone_boot_ms: Option<u64>,
    /// Its standard output.
    pub stdout: Stream,
    /// Its standard error.
    pub stderr: Stream,
    /// Processes of it that could not be ended within ten seconds of SIGKILL.
    #[serde(default)]
    pub left: u32,
}

impl End {
    /// The exit code as a shell has it: 128 and the signal's number for a command that a signal
    /// ended, 126 or 127 for one that could not be started.
    #[must_use]
    pub fn code(&self) -> i32 {
        match &self.outcome {
            Outcome::Exited(code) => *code,
            Outcome::Signaled(signal) => signal.saturating_add(128),
            Outcome::NotRun(why) => why.code,
        }
    }

    /// Whether it did what it was asked for: ended by itself, in time, with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.outcome == Outcome::Exited(0) && !self.timed_out && self.killed.is_none()
    }
}

/// What lies in `kill.json`: why a command is to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KillOrder {
    /// For people.
    pub(super) reason: String,
}
