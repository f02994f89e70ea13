//! Arguments of the program.
//!
//! Invariant: the defaults show every table within minutes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::Failed;
use crate::backlog::BacklogArgs;
use crate::engines::EnginesArgs;
use crate::short_lived::ShortLivedArgs;

/// Measures Rekindle beside the raw disk.
#[derive(Debug, Parser)]
#[command(name = "rekindle-bench")]
pub(crate) struct Args {
    /// Only these sections [default: all that are built in]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Section>,
    /// Only loads of `embedded`, `server` and `jobs` whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) load: Option<String>,
    /// How long each load runs, in seconds
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Runs; medians are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) runs: u32,
    /// A directory on the disk to measure [default: beside this program]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Short for --format json
    #[arg(long, global = true, conflicts_with = "markdown")]
    json: bool,
    /// Short for --format markdown
    #[arg(long, global = true)]
    markdown: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What is measured apart from the tables, and what this program does for itself in processes of
/// their own.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A backlog larger than memory: sends it, kills the server, starts it again and receives
    Backlog(BacklogArgs),
    /// Messages that live for a moment: what they cost in bytes written
    ShortLived(ShortLivedArgs),
    /// All engines with backlogs of several sizes, for the choice of the default
    Engines(EnginesArgs),
    /// Serves, as `rekindle serve` does, on a disk whose syncs may take longer
    #[command(hide = true)]
    Serve(ServeArgs),
    /// Opens a database and says how long that took
    #[command(hide = true)]
    Replay(ReplayArgs),
}

/// Arguments of the server's process.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// The store's directory
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// How much longer each sync takes
    #[arg(long, default_value_t = 0)]
    pub(crate) delay_us: u64,
    /// The engine of the store
    #[arg(long)]
    pub(crate) engine: Option<String>,
}

/// Arguments of a replay's process.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// The store's directory
    #[arg(long)]
    pub(crate) data: PathBuf,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Section {
    /// Commits of the embedded database, beside the raw disk
    Embedded,
    /// Replay and checkpoints
    Recovery,
    /// The server through the Rust client
    Server,
    /// Jobs over HTTP, beside other servers (feature `peer-servers`), and by plain messages
    Jobs,
    /// From a killed server to the first message
    Restart,
    /// The same, for growing stores
    Growth,
    /// Other stores in the same run (feature `peers`)
    Peers,
}

impl Section {
    /// All, in the order in which they run.
    pub(crate) const ALL: [Self; 7] = [
        Self::Embedded,
        Self::Recovery,
        Self::Server,
        Self::Jobs,
        Self::Restart,
        Self::Growth,
        Self::Peers,
    ];

    /// What stands above its table.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Embedded => "Embedded: one put of 16 B + 100 B per transaction",
            Self::Recovery => "Recovery: 16 B + 100 B per transaction",
            Self::Server => "Server: messages of 1 KiB on loopback, synced before the ack",
            Self::Jobs => "Jobs: payloads of 200 B on loopback, synced before the answer",
            Self::Restart => "Restart after SIGKILL, from exec to the first message",
            Self::Growth => "Time to serving after SIGKILL, for growing stores",
            Self::Peers => "Peers: the same transactions in the same run",
        }
    }
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for a terminal
    Text,
    /// Tables for docs/benchmarks.md
    Markdown,
    /// One object
    Json,
}

impl Args {
    /// Whether this section runs.
    pub(crate) fn wants(&self, section: Section) -> bool {
        if self.only.is_empty() {
            return section != Section::Peers || cfg!(feature = "peers");
        }
        // A peer is compared with ours of the same run.
        let compared = matches!(section, Section::Embedded | Section::Recovery);
        self.only.contains(&section) || (compared && self.only.contains(&Section::Peers))
    }

    /// Whether this load runs.
    pub(crate) fn wants_load(&self, what: &str) -> bool {
        self.load.as_deref().is_none_or(|part| what.contains(part))
    }

    /// How long each load runs.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How the result is printed.
    pub(crate) fn format(&self) -> Format {
        match (self.json, self.markdown) {
            (true, _) => Format::Json,
            (_, true) => Format::Markdown,
            _ => self.format,
        }
    }

    /// Where the stores are made.
    pub(crate) fn directory(&self) -> Result<PathBuf, Failed> {
        directory(self.dir.as_deref())
    }
}

/// That directory; without one, beside this program lies a real disk, where `/tmp` may be memory.
pub(crate) fn directory(asked: Option<&Path>) -> Result<PathBuf, Failed> {
    if let Some(dir) = asked {
        return Ok(dir.to_path_buf());
    }
    let program = std::env::current_exe()?;
    Ok(program.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.05..=600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("between 0.05 and 600 seconds".to_owned())
    }
}
