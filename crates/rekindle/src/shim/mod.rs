//! Commands under a shim: a small process of this binary that starts one command, watches it, and
//! writes down how it ended, whatever becomes of the server.
//!
//! ```text
//! server --(pipe)--> shim --(pipe: go, then the payload)--> second stage = the command
//!                     |      <--(pipes: output)--             (group of its own)
//!                     '--> DIR/{identity.json, stdout, stderr, end.json}
//! ```
//!
//! Invariants: nothing of a command runs before its identity is durable; `end.json` is there only
//! after nothing of it runs any more; what a directory says of a command is decided by a table
//! ([`look`]), and what is not whole is *unknown*, never a guess. The shim outlives the server; the
//! command does not outlive the shim.
//!
//! A shim of one version may be adopted by a server of the next: the files of a directory only ever
//! gain members.

mod adopted;
mod directory;
mod evidence;
mod files;
mod handle;
mod orphans;
mod pipes;
mod records;
mod sealed;
mod spec;
mod stage;
mod start;
mod supervisor;
mod watch;

pub use adopted::{Running, adopt};
pub use directory::DirectoryId;
pub use evidence::{Evidence, Why, examine, look};
pub use files::{Output, forbid, output, remove, removed};
pub use orphans::kill_orphans;
pub use records::{End, Identity, NotRun, Outcome, ProcessId, Stream};
pub use spec::{GRACE, Inherit, Spec};
pub use stage::become_command;
pub use start::{reserve, start, start_reserved};
pub use supervisor::supervise;

/// In the environment of every command: the number of the server's process.
pub const SERVER_PID_VARIABLE: &str = "REKINDLE_SERVER_PID";

/// In the environment of every command: the word by which what it leaves behind is found.
pub const TOKEN_VARIABLE: &str = "REKINDLE_COMMAND_TOKEN";

/// The hidden subcommand of the binary that is the shim.
pub const SUBCOMMAND: &str = "shim";
