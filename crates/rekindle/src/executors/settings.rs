//! The settings of executors: which types of jobs the server itself works on, and how.
//!
//! Invariant: everything that a command or a webhook will need is checked when the server starts,
//! as far as it can be known then; an unknown key is an error.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekindle_services::jobs::Claimed;
use rekindle_services::limits::RESULT_BYTES_MAX;
use rekindle_services::loops::STEPS;
use rustix::fs::OFlags;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::steps::StepSettings;
use crate::config::values::{self, Raw, parse_duration};
use crate::posting::Target;
use crate::shim::{GRACE, Inherit, Spec};

/// How long work may take unless it is said otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(3_600);
/// The same of a webhook.
const WEBHOOK_TIME_LIMIT: Duration = Duration::from_secs(30);
/// The longest time limit.
const TIME_LIMIT_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);
/// The most jobs of one type at once.
const CONCURRENCY_MAX: u64 = 256;
/// The fewest and the most bytes of a secret (Standard Webhooks).
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// The most bytes of the file of a secret.
const SECRET_FILE_BYTES_MAX: u64 = 4_096;
/// What stands before a secret.
const SECRET_PREFIX: &str = "whsec_";

/// The executors of a server.
#[derive(Clone, Debug, Default)]
pub struct Executors {
    pub(super) of_types: BTreeMap<String, Executor>,
}

/// The executor of one type.
#[derive(Clone, Debug)]
pub(super) struct Executor {
    /// How many jobs at once.
    pub(super) concurrency: usize,
    pub(super) what: What,
}

/// What it does with a job.
#[derive(Clone, Debug)]
pub(super) enum What {
    Command(CommandSettings),
    Webhook(WebhookSettings),
    /// The steps of loops.
    Steps(StepSettings),
}

impl Executor {
    /// Its name as a worker.
    pub(super) fn name(&self) -> &'static str {
        match self.what {
            What::Command(_) => "command",
            What::Webhook(_) => "webhook",
            What::Steps(_) => "loop",
        }
    }
}

/// A command.
#[derive(Clone, Debug)]
pub(super) struct CommandSettings {
    spec: Spec,
}

impl CommandSettings {
    /// The command for this job.
    pub(super) fn spec(&self, job: &Claimed) -> Spec {
        let mut spec = self.spec.clone();
        let variables = [
            ("REKINDLE_JOB_ID", job.id.to_string()),
            ("REKINDLE_JOB_TYPE", job.kind.clone()),
            ("REKINDLE_JOB_ATTEMPT", job.attempt.to_string()),
            ("REKINDLE_JOB_TOKEN", job.token.to_string()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        spec.environment.extend(variables);
        spec.payload = job.payload().to_vec();
        spec
    }
}

/// A webhook.
#[derive(Clone, Debug)]
pub(super) struct WebhookSettings {
    pub(super) target: Target,
    pub(super) secret: Secret,
    pub(super) time_limit: Duration,
}

/// What requests are signed with; never shown.
#[derive(Clone)]
pub(super) struct Secret(pub(super) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `[executors.command.TYPE]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    argv: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    inherit: Option<Vec<String>>,
    directory: Option<PathBuf>,
    time_limit: Option<String>,
    grace: Option<String>,
    output_bytes: Option<toml::Value>,
    concurrency: Option<toml::Value>,
}

/// `[executors.webhook.TYPE]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWebhook {
    url: String,
    secret_file: PathBuf,
    time_limit: Option<String>,
    concurrency: Option<toml::Value>,
}

impl Executors {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of_types.is_empty()
    }

    /// With the steps of loops, too.
    #[must_use]
    pub(crate) fn with_steps(mut self, settings: StepSettings) -> Self {
        let executor = Executor { concurrency: settings.concurrency, what: What::Steps(settings) };
        self.of_types.insert(STEPS.to_owned(), executor);
        self
    }

    /// Reads the table `executors` of a configuration file. An error names the key.
    pub(crate) fn parse(table: &toml::Table) -> Result<Self, String> {
        let mut executors = Self::default();
        for (sort, types) in table {
            let path = format!("executors.{sort}");
            let parse: fn(&str, &toml::Value) -> Result<Executor, String> = match sort.as_str() {
                "command" => command,
                "webhook" => webhook,
                _ => {
                    return Err(format!("no such key: {path:?}; executors are command or webhook"));
                }
            };
            let types = types.as_table().ok_or_else(|| {
                format!("{path}: it has a table for each type of jobs: [{path}.TYPE]")
            })?;
            for (kind, settings) in types {
                let path = format!("{path}.{kind}");
                rekindle_services::jobs::check_type(kind)
                    .map_err(|error| format!("{path}: {error}"))?;
                let executor = parse(&path, settings)?;
                if executors.of_types.insert(kind.clone(), executor).is_some() {
                    return Err(format!("{path}: this type of jobs has another executor already"));
                }
            }
        }
        Ok(executors)
    }
}

fn command(path: &str, settings: &toml::Value) -> Result<Executor, String> {
    let raw: RawCommand = raw(path, settings)?;
    let at = |key: &str| format!("{path}.{key}");
    let time_limit = duration(&at("time_limit"), raw.time_limit.as_deref(), TIME_LIMIT)?;
    let grace = duration(&at("grace"), raw.grace.as_deref(), GRACE)?;
    let output = match &raw.output_bytes {
        None => RESULT_BYTES_MAX as u64,
        Some(value) => values::bytes(&Raw::from(value), 0, RESULT_BYTES_MAX as u64)
            .map_err(|wrong| format!("{}: {wrong}", at("output_bytes")))?,
    };
    let inherit = match raw.inherit {
        None => Inherit::Only(vec!["PATH".to_owned()]),
        Some(names) if names == ["*"] => Inherit::Everything,
        Some(names) => Inherit::Only(names),
    };
    let mut spec = Spec::new(raw.argv, time_limit);
    spec.environment = raw.environment;
    spec.inherit = inherit;
    spec.directory = raw.directory;
    spec.grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    (spec.stdout_bytes_max, spec.stderr_bytes_max) = (output, output);
    spec.check().map_err(|wrong| format!("{path}: {wrong}"))?;
    let concurrency = concurrency(&at("concurrency"), raw.concurrency.as_ref())?;
    Ok(Executor { concurrency, what: What::Command(CommandSettings { spec }) })
}

fn webhook(path: &str, settings: &toml::Value) -> Result<Executor, String> {
    let raw: RawWebhook = raw(path, settings)?;
    let at = |key: &str| format!("{path}.{key}");
    let target = Target::parse(&raw.url).map_err(|wrong| format!("{}: {wrong}", at("url")))?;
    let secret = secret(&raw.secret_file)
        .map_err(|wrong| format!("{}: {} {wrong}", at("secret_file"), raw.secret_file.display()))?;
    let limit = raw.time_limit.as_deref();
    let time_limit = duration(&at("time_limit"), limit, WEBHOOK_TIME_LIMIT)?;
    let concurrency = concurrency(&at("concurrency"), raw.concurrency.as_ref())?;
    let what = What::Webhook(WebhookSettings { target, secret, time_limit });
    Ok(Executor { concurrency, what })
}

fn raw<T: DeserializeOwned>(path: &str, settings: &toml::Value) -> Result<T, String> {
    let parsed: Result<T, _> = settings.clone().try_into();
    parsed.map_err(|error| format!("{path}: {}", error.to_string().trim()))
}

fn duration(path: &str, text: Option<&str>, usual: Duration) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(usual) };
    let limits = Duration::from_millis(1)..=TIME_LIMIT_MAX;
    parse_duration(text)
        .filter(|duration| limits.contains(duration))
        .ok_or_else(|| format!("{path}: {text:?} is not a duration from 1ms to 366 days"))
}

fn concurrency(path: &str, value: Option<&toml::Value>) -> Result<usize, String> {
    let Some(value) = value else { return Ok(1) };
    let count = values::count(&Raw::from(value), 1, CONCURRENCY_MAX);
    let count = count.map_err(|wrong| format!("{path}: {wrong}"))?;
    Ok(usize::try_from(count).unwrap_or(1))
}

/// The text of a regular file; links to one are followed (that is how secrets are mounted). Nothing
/// else is read, because a pipe has no end as long as somebody holds it, nor does a device.
// The file belongs to the user, not to a store, so it is not read through `env`.
#[allow(clippy::disallowed_types, reason = "a user's file, not a part of any store")]
fn secret_text(path: &Path) -> io::Result<String> {
    // Without this the open itself waits for somebody who writes into a pipe.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = String::new();
    file.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The secret in a file: `whsec_` and base 64, as Standard Webhooks has it, or that without the
/// prefix.
fn secret(path: &Path) -> Result<Secret, String> {
    let text = secret_text(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = text.trim();
    let coded = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
    let bytes = STANDARD.decode(coded).ok().filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
    bytes.map(Secret).ok_or_else(|| {
        "holds no secret: it is whsec_ and 24 to 64 bytes in base 64 (openssl rand -base64 32)"
            .to_owned()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_secret_is_read_from_a_regular_file_and_from_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let bytes = [7; 32];
        std::fs::write(at("secret"), format!("whsec_{}\n", STANDARD.encode(bytes))).unwrap();
        symlink(at("secret"), at("link")).unwrap();
        for name in ["secret", "link"] {
            assert_eq!(secret(&at(name)).unwrap().0, bytes, "{name}");
        }
        mkfifoat(CWD, at("pipe"), Mode::RWXU).unwrap();
        for path in [at("pipe"), "/dev/zero".into(), dir.path().to_owned()] {
            let error = secret(&path).unwrap_err();
            assert_eq!(error, "cannot be read: it is not a regular file", "{}", path.display());
        }
        std::fs::write(at("short"), "whsec_AAAA").unwrap();
        assert!(secret(&at("short")).unwrap_err().starts_with("holds no secret"));
        assert!(secret(&at("missing")).unwrap_err().starts_with("cannot be read"));
    }
}
