//! The start, from a directory to a server that serves: the page to frame on the wall.
//!
//! ```text
//!   1 recovery   the directory is locked and is who it says it is     \
//!   2 engine     the newest good checkpoint is loaded                  |  open: reads the disk
//!   3 journal    segments are checked, a torn tail is cut              |
//!   5 database   committed transactions are replayed on top           /
//!   6 services   leases, timers, ready indexes, commands are settled  -   lead: what was in flight
//!     report     what was seen, decided and done is written down
//!   7 serve      the gRPC front accepts
//! ```
//!
//! (4 is the quorum of a cluster; a single machine has none.) Each stage is handed what the one
//! before recovered, so none can be left out or run early. Invariant: a start either ends with all
//! of [`Recovered`], or refuses with an exit code, the reason and the ways on.

use std::path::Path;
use std::sync::Arc;

use rekindle_database::{Database, EngineKind, Error as DatabaseError, Options};
use rekindle_env::Env;
use rekindle_recovery::{
    Failure, LayerReport, Meter, Report, examine_metered, exit, perform_metered,
};
use rekindle_services::{Options as ServiceOptions, Services};

use crate::alerts::Damage;
use crate::config::Config;
use crate::executors::{self, CommandLayer, Left};
use crate::progress::{Progress, Stage};
use crate::repaired::{accept_flags, ranges};
use crate::reports::{self, Writing};

/// What a new store is on (docs/decisions/0034).
const NEW_ENGINE: EngineKind = EngineKind::Lsm;

/// Everything that a start recovered.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Transactions and versions.
    pub database: Database,
    /// What is built on them.
    pub services: Services,
    /// What recovery saw and did.
    pub report: Report,
    /// The same on its way to the disk.
    pub writing: Writing,
    /// Commands of the run before that go on, or whose ends are not told yet.
    pub left: Arc<[Left]>,
}

/// Why a start ended, and with which exit code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// One of docs/reference.md.
    pub code: i32,
    /// The reason, and the ways on.
    pub message: String,
    /// The damage that it is for, where it is for any.
    pub damage: Damage,
}

impl Refused {
    /// What was asked for cannot be: exit 78.
    #[must_use]
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(exit::CONFIG, message)
    }

    /// For a reason that is no damage.
    #[must_use]
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), damage: Damage::default() }
    }
}

/// Recovers a store. Blocking; `env` is the machine.
pub fn boot(config: &Config, env: &Env, progress: &Progress) -> Result<Recovered, Refused> {
    let began_ns = env.clock.boot_ns();
    if let Some(took) = reports::last_took(env, &config.data) {
        progress.expect(took);
    }

    progress.enter(Stage::Open);
    let database = open(config, env, progress.meter())?;

    progress.enter(Stage::Lead);
    let (services, settled, left) = lead(&database, config, env, progress.meter())?;

    progress.enter(Stage::Serve);
    let took_ns = env.clock.boot_ns().saturating_sub(began_ns);
    let (report, writing) = publish(&database, settled, took_ns, config, env);
    Ok(Recovered { database, services, report, writing, left })
}

/// Stages 1 to 5: everything that reads the disk.
fn open(config: &Config, env: &Env, meter: &Meter) -> Result<Database, Refused> {
    let options = Options {
        durability: config.durability,
        sync_interval: config.sync_interval,
        segment_bytes: config.segment_bytes,
        max_recovery: config.max_recovery,
        max_state_bytes: config.max_state_bytes,
        engine: config.engine,
        new_engine: NEW_ENGINE,
        memtable_bytes: config.memtable_bytes,
        cache_bytes: config.cache_bytes,
        scrub_every: config.scrub_every,
        scrub_bytes_per_second: config.scrub_rate,
        ..Options::default()
    };
    Database::open_metered(&config.data, options, env.clone(), meter).map_err(|error| {
        if let DatabaseError::Corrupt(report) | DatabaseError::Refused { report, .. } = &error {
            publish_refused(report, config, env);
        }
        refuse(&error, &config.data)
    })
}

/// What stage 6 gives: the services, what their layers and that of commands did, the commands that
/// go on.
type Led = (Services, Vec<LayerReport>, Arc<[Left]>);

/// Stage 6: settles what was in flight, claims by what is left of their commands. The same that a
/// promotion runs.
fn lead(database: &Database, config: &Config, env: &Env, meter: &Meter) -> Result<Led, Refused> {
    let commands = CommandLayer { dir: executors::directory(&config.data) };
    let clock = env.clock.as_ref();
    let machine = |failure: Failure| refuse(&DatabaseError::from(failure), &config.data);
    let examined = examine_metered(&commands, env, clock, meter).map_err(machine)?;
    let options = ServiceOptions {
        dispatch_capacity: config.dispatch_capacity,
        traces: executors::traces(&examined.trusted),
        strategies: config.loops.strategies,
        transcripts: Some(executors::loops(&config.data)),
        ..ServiceOptions::default()
    };
    let led = Services::lead_metered(database, options, meter);
    let (services, mut reports) =
        led.map_err(|error| refuse_lead(database, config, env, &error))?;
    let acted = perform_metered(&commands, examined, env, clock, meter);
    let (left, report) = acted.map_err(machine)?;
    reports.push(report);
    Ok((services, reports, left.into()))
}

/// The services of a store cannot start.
fn refuse_lead(
    database: &Database,
    config: &Config,
    env: &Env,
    error: &rekindle_services::Error,
) -> Refused {
    let mut report = database.report().clone();
    add_unled(&mut report, error);
    // The directory is still held: nobody else writes a report of that number.
    match reports::write(env, &config.data, &report) {
        Ok(number) => tracing::info!(number, "report of the refused start written"),
        Err(error) => tracing::warn!(%error, "the recovery report could not be written"),
    }
    let code = report.code;
    let data = config.data.display();
    let count = u64::from(code == exit::CORRUPT);
    let damage = Damage { count, example: error.to_string() };
    Refused { code, message: format!("the services of {data} cannot start: {error}"), damage }
}

/// Adds that the services could not be recovered, and what code that means: a machine that refused
/// is no damage and no matter of the configuration.
pub fn add_unled(report: &mut Report, error: &rekindle_services::Error) {
    report.add(rekindle_services::unled(error));
    if error.kind() != rekindle_services::Kind::Corrupt {
        report.code = exit::IO;
    }
}

/// The report of the whole start: joined, logged, numbered, and on its way to the disk.
fn publish(
    database: &Database,
    settled: Vec<LayerReport>,
    took_ns: u64,
    config: &Config,
    env: &Env,
) -> (Report, Writing) {
    let mut report = database.report().clone();
    for layer in settled {
        report.add(layer);
    }
    report.micros = took_ns / 1_000;
    for finding in report.findings() {
        tracing::warn!(label = %finding.label, file = finding.place.file, "{finding}");
    }
    tracing::info!(
        code = report.code,
        incarnation = report.incarnation,
        micros = report.micros,
        "{}",
        report.summary_line()
    );
    let writing = match reports::next_number(env, &config.data) {
        Ok(number) => {
            report.number = Some(number);
            Writing::begin(env, config.data.clone(), &report)
        }
        Err(error) => {
            tracing::warn!(%error, "the recovery report could not be written");
            Writing::nothing()
        }
    };
    (report, writing)
}

/// The report of a start that is refused: written beside the others, where that is possible.
fn publish_refused(report: &Report, config: &Config, env: &Env) {
    match reports::write_refused(env, &config.data, report) {
        Ok(Some(number)) => tracing::info!(number, "report of the refused start written"),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the recovery report could not be written"),
    }
}

/// The command that goes on without what is damaged, where ranges of the journal are all that is.
fn repair(error: &DatabaseError, data: &str) -> String {
    let (DatabaseError::Corrupt(report) | DatabaseError::Refused { report, .. }) = error else {
        return String::new();
    };
    let ranges = ranges(report);
    if ranges.is_empty() {
        return String::new();
    }
    let flags = accept_flags(&ranges);
    format!(
        "  rekindle repair --data {data} {flags}    gives up what stood there for good, and goes \
         on with the rest (with --plan it says first what that would be)\n"
    )
}

/// What a person reads when the directory cannot be opened.
pub(crate) fn refuse(error: &DatabaseError, data: &Path) -> Refused {
    let code = match error {
        // An option that cannot be is a matter of the configuration.
        DatabaseError::Invalid(_) => exit::CONFIG,
        _ => error.exit_code(),
    };
    let data = data.display();
    let ways_on = match code {
        exit::CORRUPT => format!(
            "\n\nNo byte of the store was changed (the report of this start is beside it, in \
             reports/), and nothing starts on damaged data. The ways on:\n  \
             rekindle verify --data {data}          checks every byte and lists what is damaged\n  \
             rekindle journal dump --data {data}    shows what can be read\n  \
             restore a copy of the directory, and start on that (and take its backups into another \
             directory: those of the time behind the copy stay as they are)\n{}  \
             rekindle salvage --data {data} --export OUT    writes all that can be read as JSON \
             lines, and changes nothing",
            repair(error, &data.to_string())
        ),
        exit::IO => format!(
            "\n\nThe machine refused an operation; nothing is known to be damaged. Check the disk \
             and the permissions of {data}, then start again."
        ),
        exit::CONFIG => {
            "\n\nName another directory with --data, or an empty one for a new store.".to_owned()
        }
        _ => String::new(),
    };
    let damage = Damage::of_refusal(error);
    Refused { code, message: format!("{error}{ways_on}"), damage }
}
