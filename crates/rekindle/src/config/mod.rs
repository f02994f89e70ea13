//! Configuration: flags over environment over file over defaults.
//!
//! Invariants: an unknown key is an error that names the key and where it stands, whoever set it;
//! reading the configuration changes nothing.

pub mod keys;
pub mod values;

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rekindle_database::EngineKind;
use rekindle_journal::Durability;
use rekindle_services::loops::recovery::Strategies;

use crate::alerts::AlertSettings;
use crate::executors::{Settings as Executors, StepSettings};
use crate::front::limits::Limits;
use crate::front::origin::Names;
use crate::serve::ServeArgs;
use crate::shim::Inherit;
use keys::{KEYS, Key};
use values::Raw;

/// The section of executors. It is no table of keys: it has a table for each type of jobs.
const EXECUTORS: &str = "executors";

/// What the names of environment variables begin with.
pub const PREFIX: &str = "REKINDLE__";

/// The least severity that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel(pub tracing::Level);

impl LogLevel {
    /// The level of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let level = match name {
            "error" => tracing::Level::ERROR,
            "warn" => tracing::Level::WARN,
            "info" => tracing::Level::INFO,
            "debug" => tracing::Level::DEBUG,
            "trace" => tracing::Level::TRACE,
            _ => return None,
        };
        Some(Self(level))
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object per line.
    Json,
}

/// All settings of a server. [`keys::KEYS`] says what each means.
#[derive(Clone, Debug)]
pub struct Config {
    /// `server.data`
    pub data: PathBuf,
    /// `server.grpc`
    pub grpc: std::net::SocketAddr,
    /// `server.http`
    pub http: std::net::SocketAddr,
    /// `server.allowed_hosts`
    pub names: Names,
    /// `server.insecure_allow_remote`
    pub insecure_allow_remote: bool,
    /// `--recovery-mode`, and nowhere else: it is decided anew at each start.
    pub recovery_mode: bool,
    /// `server.shutdown_timeout`
    pub shutdown_timeout: Duration,
    /// `server.worker_threads`
    pub worker_threads: u64,
    /// `durability.mode`
    pub durability: Durability,
    /// `durability.interval`
    pub sync_interval: Duration,
    /// `journal.segment_bytes`
    pub segment_bytes: u64,
    /// `recovery.max_time`
    pub max_recovery: Duration,
    /// `recovery.scrub_interval`
    pub scrub_every: Option<Duration>,
    /// `recovery.scrub_rate`
    pub scrub_rate: u64,
    /// `jobs.dispatch_capacity`
    pub dispatch_capacity: u64,
    /// `loops.*`
    pub loops: Loops,
    /// `engine.kind`
    pub engine: Option<EngineKind>,
    /// `engine.memtable_bytes`
    pub memtable_bytes: u64,
    /// `engine.cache_bytes`
    pub cache_bytes: u64,
    /// `engine.max_state_bytes`
    pub max_state_bytes: Option<u64>,
    /// `executors.*`, in the file only
    pub executors: Executors,
    /// `limits.*`
    pub limits: Limits,
    /// `alerts.*`
    pub alerts: AlertSettings,
    /// `log.level`
    pub log_level: LogLevel,
    /// `log.format`
    pub log_format: LogFormat,
}

/// What is set of loops.
#[derive(Clone, Debug, Default)]
pub struct Loops {
    /// `loops.commands`
    pub commands: bool,
    /// `loops.concurrency`
    pub concurrency: u64,
    /// `loops.inherit`
    pub inherit: Inherit,
    /// `loops.resume_within`, `loops.recovery_timeout`
    pub strategies: Strategies,
}

impl Loops {
    /// Names of variables, separated by commas; `*`: all.
    fn inherit_these(&mut self, names: &str) {
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(str::to_owned).collect();
        self.inherit = match names.as_slice() {
            [] => Inherit::Nothing,
            [all] if all == "*" => Inherit::Everything,
            _ => Inherit::Only(names),
        };
    }
}

/// Why there is no configuration: where, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    /// The file, variable or flag.
    pub place: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Default for Config {
    fn default() -> Self {
        let unset: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut config = Self {
            data: PathBuf::new(),
            grpc: unset,
            http: unset,
            names: Names::default(),
            insecure_allow_remote: false,
            recovery_mode: false,
            shutdown_timeout: Duration::ZERO,
            worker_threads: 0,
            durability: Durability::Strict,
            sync_interval: Duration::ZERO,
            segment_bytes: 0,
            max_recovery: Duration::ZERO,
            scrub_every: None,
            scrub_rate: 0,
            dispatch_capacity: 0,
            loops: Loops::default(),
            engine: None,
            memtable_bytes: 0,
            cache_bytes: 0,
            max_state_bytes: None,
            executors: Executors::default(),
            limits: Limits::default(),
            alerts: AlertSettings::default(),
            log_level: LogLevel(tracing::Level::INFO),
            log_format: LogFormat::Auto,
        };
        for key in KEYS {
            let raw = Raw::Text(key.default.to_owned());
            (key.set)(&mut config, &raw).expect("a default is valid: a test sets each of them");
        }
        config
    }
}

impl Config {
    /// Reads all sources: the arguments, the process's environment, the file that they name.
    pub fn load(args: &ServeArgs) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map(read_file).transpose()?;
        let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        Self::merge(args, std::env::vars_os(), file)
    }

    /// The executors, that of the steps of loops among them where it is wanted.
    #[must_use]
    pub fn all_executors(&self) -> Executors {
        let executors = self.executors.clone();
        if !self.loops.commands {
            return executors;
        }
        let concurrency = usize::try_from(self.loops.concurrency).unwrap_or(1);
        executors.with_steps(StepSettings { concurrency, inherit: self.loops.inherit.clone() })
    }

    /// Merges the sources; `file` is a name and its text.
    pub fn merge(
        args: &ServeArgs,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        file: Option<(&str, &str)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some((name, text)) = file {
            config.take_file(name, text)?;
        }
        for (variable, value) in environment {
            config.take_variable(&variable, &value)?;
        }
        config.take_flags(args)?;
        config.check()
    }

    /// Applies a file.
    fn take_file(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let problem = |problem: String| ConfigError { place: name.to_owned(), problem };
        let tables: toml::Table =
            text.parse().map_err(|error: toml::de::Error| problem(error.to_string()))?;
        for (section, entries) in &tables {
            let Some(entries) = entries.as_table() else {
                return Err(problem(unknown(section, section)));
            };
            if section == EXECUTORS {
                self.executors = Executors::parse(entries).map_err(problem)?;
                continue;
            }
            if !KEYS.iter().any(|key| key.section == section) {
                let example = entries.keys().next();
                let path =
                    example.map_or_else(|| section.clone(), |key| format!("{section}.{key}"));
                return Err(problem(unknown(&path, &path)));
            }
            for (key, value) in entries {
                let path = format!("{section}.{key}");
                let known = find(section, key).ok_or_else(|| problem(unknown(&path, &path)))?;
                (known.set)(self, &Raw::from(value))
                    .map_err(|wrong| problem(format!("{path}: {wrong}")))?;
            }
        }
        Ok(())
    }

    /// Applies an environment variable, if it is one of ours.
    fn take_variable(&mut self, variable: &OsString, value: &OsString) -> Result<(), ConfigError> {
        let place = variable.to_string_lossy().into_owned();
        let Some(path) = place.strip_prefix(PREFIX).map(str::to_lowercase) else {
            return Ok(());
        };
        let problem = |problem: String| ConfigError { place: place.clone(), problem };
        let path = path.replacen("__", ".", 1);
        let known = path.split_once('.').and_then(|(section, name)| find(section, name));
        let Some(known) = known.filter(|known| known.variable() == place) else {
            let nearest = keys::nearest(&path).map(Key::variable);
            let hint = nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"));
            return Err(problem(format!("no such key{hint}")));
        };
        let text = value.to_str().ok_or_else(|| problem("the value is not UTF-8".to_owned()))?;
        (known.set)(self, &Raw::Text(text.to_owned())).map_err(problem)
    }

    /// Applies the flags.
    fn take_flags(&mut self, args: &ServeArgs) -> Result<(), ConfigError> {
        let problem = |flag: &'static str| {
            move |problem: String| ConfigError { place: flag.to_owned(), problem }
        };
        if let Some(data) = &args.data {
            // Not through text: a path need not be UTF-8.
            self.data.clone_from(data);
        }
        let raw = |text: &str| Raw::Text(text.to_owned());
        if let Some(text) = &args.grpc {
            self.grpc = values::address(&raw(text)).map_err(problem("--grpc"))?;
        }
        if let Some(text) = &args.http {
            self.http = values::address(&raw(text)).map_err(problem("--http"))?;
        }
        if let Some(text) = &args.durability {
            self.durability = values::durability(&raw(text)).map_err(problem("--durability"))?;
        }
        if let Some(text) = &args.engine {
            self.engine = Some(text.parse().map_err(problem("--engine"))?);
        }
        self.insecure_allow_remote |= args.insecure_allow_remote;
        self.loops.commands |= args.loop_commands;
        self.recovery_mode = args.recovery_mode;
        Ok(())
    }

    /// Checks what concerns more than one key.
    fn check(self) -> Result<Self, ConfigError> {
        for (place, address) in [("server.grpc", self.grpc), ("server.http", self.http)] {
            if !address.ip().is_loopback() && !self.insecure_allow_remote {
                let problem = format!(
                    "{address} can be reached from other machines, and this version does not ask \
                     callers who they are. Listen on 127.0.0.1 and use an SSH tunnel, or, if \
                     everybody who can reach it may do everything, add --insecure-allow-remote"
                );
                return Err(ConfigError { place: place.to_owned(), problem });
            }
        }
        if self.grpc == self.http && self.grpc.port() != 0 {
            let problem = format!("server.http has the same address, {}", self.http);
            return Err(ConfigError { place: "server.grpc".to_owned(), problem });
        }
        if self.limits.inflight_bytes < self.limits.inflight_bytes_per_connection {
            return Err(ConfigError {
                place: "limits.inflight_bytes".to_owned(),
                problem: "is less than limits.inflight_bytes_per_connection".to_owned(),
            });
        }
        Ok(self)
    }

    /// What a power loss can cost in this durability mode, in words.
    #[must_use]
    pub fn loss_window(&self) -> String {
        let interval = values::show_duration(self.sync_interval);
        match self.durability {
            Durability::Strict => {
                "strict (acknowledged = synced; nothing acknowledged is lost)".to_owned()
            }
            Durability::Batched => format!(
                "batched (acknowledged = written; a power loss costs at most the last {interval})"
            ),
            Durability::Relaxed => format!(
                "relaxed (acknowledged = in memory; a crash costs at most the last {interval})"
            ),
        }
    }
}

/// The key of this section and name.
fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// The message about an unknown key.
fn unknown(path: &str, shown: &str) -> String {
    let nearest = keys::nearest(path).map(Key::path);
    let hint = nearest.map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
    format!("no such key: {shown:?}{hint}")
}

/// Most bytes of a configuration file.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// A file's name and text.
// The configuration file belongs to the user, not to a store, so it is not read through `env`.
#[allow(clippy::disallowed_types, reason = "a user's file, not a part of any store")]
fn read_file(path: &Path) -> Result<(String, String), ConfigError> {
    let name = path.display().to_string();
    let mut text = String::new();
    // It may be a device without an end.
    let limit = CONFIG_BYTES_MAX + 1;
    let file = std::fs::File::open(path);
    let problem = match file.and_then(|file| file.take(limit).read_to_string(&mut text)) {
        Ok(read) if read as u64 <= CONFIG_BYTES_MAX => return Ok((name, text)),
        Ok(_) => format!("is larger than {CONFIG_BYTES_MAX} bytes"),
        Err(error) => format!("cannot be read: {error}"),
    };
    Err(ConfigError { place: name, problem })
}

#[cfg(test)]
mod tests;
