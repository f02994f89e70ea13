//! What is to be run, and within which bounds.
//!
//! Invariant: an [`Order`] is what lies in `spec.json`: the caller's [`Spec`], the word that names
//! this one attempt, and the server that asked for it. The payload lies beside it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::directory::DirectoryId;

/// How long a command has after SIGTERM before SIGKILL, unless it is said otherwise.
pub const GRACE: Duration = Duration::from_secs(5);

/// Longest time limit and grace, milliseconds: a year. Anything longer is a mistake.
const LIMIT_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1_000;
/// The most that is kept of a stream, bytes.
pub(super) const OUTPUT_BYTES_MAX: u64 = 256 << 20;
/// What is kept of a stream unless it is said otherwise, bytes.
const USUAL_OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// The longest payload, bytes.
pub(super) const PAYLOAD_BYTES_MAX: u64 = 256 << 20;
/// The most that arguments and environment have together, bytes; below what Linux takes.
const TEXT_BYTES_MAX: usize = 512 << 10;

/// What a command sees of the server's environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inherit {
    /// Nothing: the server's environment may hold its secrets.
    #[default]
    Nothing,
    /// These variables, as far as they are set.
    Only(Vec<String>),
    /// All of it.
    Everything,
}

/// One command, to be run once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The program and its arguments; a program without a slash is looked for in `PATH`.
    pub arguments: Vec<String>,
    /// What is set in its environment.
    pub environment: BTreeMap<String, String>,
    /// What else is in its environment.
    pub inherit: Inherit,
    /// Its working directory; that of the server where none is given.
    pub directory: Option<PathBuf>,
    /// After so many milliseconds it is ended.
    pub time_limit_ms: u64,
    /// How long it then has between SIGTERM and SIGKILL, milliseconds ([`GRACE`]).
    pub grace_ms: u64,
    /// The most that is kept of its standard output, bytes.
    pub stdout_bytes_max: u64,
    /// The most that is kept of its standard error, bytes.
    pub stderr_bytes_max: u64,
    /// What it reads from its standard input.
    #[serde(skip)]
    pub payload: Vec<u8>,
}

impl Spec {
    /// A command with this time and everything else as usual: none of the server's environment, its
    /// working directory, five seconds of grace, 1 MiB of each stream, no payload.
    #[must_use]
    pub fn new(arguments: Vec<String>, time_limit: Duration) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            arguments,
            time_limit_ms: ms(time_limit),
            grace_ms: ms(GRACE),
            stdout_bytes_max: USUAL_OUTPUT_BYTES_MAX,
            stderr_bytes_max: USUAL_OUTPUT_BYTES_MAX,
            ..Self::default()
        }
    }

    /// Whether it can be run at all; what is wrong with it, when something is.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn check(&self) -> Result<(), String> {
        let no = |what: &str| Err(what.to_owned());
        if self.arguments.first().is_none_or(String::is_empty) {
            return no("a command needs a program");
        }
        let names = self.environment.keys();
        if names.clone().any(|name| name.is_empty() || name.contains('=')) {
            return no("the name of a variable is not empty and holds no '='");
        }
        let texts = || self.arguments.iter().chain(names.clone()).chain(self.environment.values());
        if texts().any(|text| text.contains('\0')) {
            return no("arguments and variables hold no zero bytes");
        }
        if texts().map(|text| text.len() + 1).sum::<usize>() > TEXT_BYTES_MAX {
            return no("arguments and environment together are longer than 512 KiB");
        }
        if self.time_limit_ms == 0 || self.time_limit_ms.max(self.grace_ms) > LIMIT_MS_MAX {
            return no("a time limit is longer than nothing and at most a year");
        }
        if self.stdout_bytes_max.max(self.stderr_bytes_max) > OUTPUT_BYTES_MAX {
            return no("at most 256 MiB of a stream are kept");
        }
        if u64::try_from(self.payload.len()).unwrap_or(u64::MAX) > PAYLOAD_BYTES_MAX {
            return no("a payload is at most 256 MiB long");
        }
        Ok(())
    }
}

/// What lies in `spec.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// The word that names this attempt, and nothing else ever.
    pub(super) token: String,
    /// The process that asked for it.
    pub(super) server_pid: u32,
    /// The directory that this was written into: a copy of it asks for nothing.
    #[serde(default)]
    pub(super) directory: Option<DirectoryId>,
    /// The file mode mask of the command; that of its shim where none is given.
    #[serde(default)]
    pub(super) umask: Option<u32>,
    /// What is asked for.
    pub(super) spec: Spec,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_refused() {
        let good = Spec::new(vec!["true".into()], Duration::from_millis(1));
        good.check().unwrap();
        let wrong: [fn(&mut Spec); 8] = [
            |spec| spec.arguments.clear(),
            |spec| spec.arguments = vec![String::new()],
            |spec| spec.arguments.push("a\0b".into()),
            |spec| spec.arguments.push("x".repeat(TEXT_BYTES_MAX)),
            |spec| drop(spec.environment.insert("A=B".into(), String::new())),
            |spec| spec.time_limit_ms = 0,
            |spec| spec.grace_ms = u64::MAX,
            |spec| spec.stderr_bytes_max = u64::MAX,
        ];
        for (number, break_it) in wrong.iter().enumerate() {
            let mut spec = good.clone();
            break_it(&mut spec);
            assert!(spec.check().is_err(), "{number}");
        }
    }
}
