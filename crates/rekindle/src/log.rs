//! Structured logs, on standard error.
//!
//! Invariant: bodies of messages, values and tokens are never logged, at any level.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::bar;
use crate::config::{LogFormat, LogLevel};

/// Our own crates follow the configured level; what they are built on only warns.
fn filter(level: LogLevel) -> EnvFilter {
    let least = level.0.min(tracing::Level::WARN).to_string().to_lowercase();
    let ours = level.0.to_string().to_lowercase();
    let mut filter = least;
    for name in ["", "_env", "_recovery", "_journal", "_engine", "_database", "_services"] {
        filter.push_str(&format!(",rekindle{name}={ours}"));
    }
    EnvFilter::new(filter)
}

/// Begins logging. Does nothing when something else (a test) already does.
pub(crate) fn begin(level: LogLevel, format: LogFormat) {
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_timer(SystemTime)
        // A progress bar on the same terminal makes room for the line.
        .with_writer(bar::stderr);
    let begun = if json {
        builder.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        // Without colours: the library panics when it is asked for what it was built without.
        builder.with_ansi(false).try_init()
    };
    if let Err(error) = begun {
        tracing::debug!(%error, "logging had already begun");
    }
}
