//! `serve --recovery-mode`: a server that starts limited on purpose, to look and to decide.
//!
//! It reads every byte as `verify` does; what can be opened is opened over an overlay that is
//! thrown away, so that reads show what the next start would make of the store. Invariants: no
//! claim is settled and nothing is dispatched; the gRPC front stays closed; the directory is
//! changed by an operator's decision and by nothing else; while this server lives no other starts
//! on the directory, but for the moment in which a decision takes it for itself.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};

use rekindle_database::{Error as DatabaseError, Repair, RepairOptions};
use rekindle_env::{DirectoryLock, Env, LockMode};
use rekindle_recovery::{Finding, Report, Verdict, exit};
use rekindle_services::{Options as ServiceOptions, Services};

use crate::boot::{self, Recovered, Refused};
use crate::config::Config;
use crate::overlay;
use crate::repaired::PROGRAM;
use crate::reports::Writing;
use crate::state::Server;

/// A directory that is looked at.
#[derive(Debug)]
pub struct RecoveryMode {
    data: PathBuf,
    /// None while a decision has the directory, or when another process took it right then.
    held: Mutex<Option<Box<dyn DirectoryLock>>>,
    report: RwLock<Report>,
}

/// What a look at the directory gives.
struct Look {
    /// As `verify` says it.
    report: Report,
    /// What can be read, as the next start would have it; nothing where that is refused.
    recovered: Option<Recovered>,
}

impl RecoveryMode {
    /// Takes the directory and looks at it. Blocking.
    pub(crate) fn begin(server: &Server) -> Result<(), Refused> {
        let (config, env) = (&server.config, &server.env);
        let held = hold(config, env).map_err(|error| boot::refuse(&error, &config.data))?;
        let look = look(config, env).map_err(|error| boot::refuse(&error, &config.data))?;
        let mode = Self {
            data: config.data.clone(),
            held: Mutex::new(Some(held)),
            report: RwLock::new(look.report),
        };
        server.look(mode, look.recovered);
        Ok(())
    }

    /// What every byte of the directory says, as `verify` would.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ranges whose loss a repair must accept, as `--accept-loss` takes them.
    #[must_use]
    pub fn ranges(&self) -> Vec<String> {
        let report = self.report.read().unwrap_or_else(PoisonError::into_inner);
        let corrupt = |it: &&Finding| it.verdict == Some(Verdict::Corrupt);
        let ranged = |it: &&Finding| it.place.to > it.place.from;
        let findings = report.findings().filter(corrupt).filter(ranged);
        findings.map(|it| format!("{}..{}", it.place.from, it.place.to)).collect()
    }

    /// An operator accepts losses: the store is repaired, and looked at again. One decision at a
    /// time; blocking.
    pub(crate) fn repair(
        &self,
        server: &Server,
        accept: Vec<Range<u64>>,
        reason: String,
    ) -> Result<Repair, DatabaseError> {
        let (config, env) = (&server.config, &server.env);
        let who = "local".to_owned();
        let options = RepairOptions { accept, who, reason, program: PROGRAM.to_owned() };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // A repair takes the directory for itself.
        *held = None;
        let repaired = rekindle_database::repair(&self.data, &options, env);
        *held = Some(hold(config, env)?);
        let repaired = repaired?;
        let look = look(config, env)?;
        *self.report.write().unwrap_or_else(PoisonError::into_inner) = look.report;
        server.looked_again(look.recovered);
        Ok(repaired)
    }
}

/// Keeps every process away that would change the directory.
fn hold(config: &Config, env: &Env) -> Result<Box<dyn DirectoryLock>, DatabaseError> {
    let data = config.data.display();
    match env.disk.lock(&config.data, LockMode::Shared) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(DatabaseError::Locked(data.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(DatabaseError::NotAStore(format!("{data} does not exist")))
        }
        Err(source) => Err(DatabaseError::Io { context: format!("locking {data}"), source }),
    }
}

/// Reads every byte, and opens what a start would open.
fn look(config: &Config, env: &Env) -> Result<Look, DatabaseError> {
    let mut report = rekindle_database::verify(&config.data, env)?;
    if report.refusal().is_some() {
        return Ok(Look { report, recovered: None });
    }
    match over(config, env) {
        Ok((recovered, layers)) => {
            layers.into_iter().for_each(|layer| report.add(layer));
            Ok(Look { report, recovered: Some(recovered) })
        }
        // What a start refuses is the verdict, whatever was found before.
        Err(DatabaseError::Corrupt(report) | DatabaseError::Refused { report, .. }) => {
            Ok(Look { report: *report, recovered: None })
        }
        Err(error) => Err(error),
    }
}

/// A start over an overlay, whose changes end with it.
fn over(
    config: &Config,
    env: &Env,
) -> Result<(Recovered, Vec<rekindle_recovery::LayerReport>), DatabaseError> {
    let database = overlay::open(&config.data, config.max_state_bytes, env)?;
    let lead = Services::lead(&database, ServiceOptions { background: false });
    let (services, layers) = lead.map_err(|error| {
        let context = "reading what the services keep".to_owned();
        DatabaseError::Io { context, source: std::io::Error::other(error) }
    })?;
    let mut report = database.report().clone();
    layers.iter().cloned().for_each(|layer| report.add(layer));
    Ok((Recovered { database, services, report, writing: Writing::nothing() }, layers))
}

/// What a person reads on the terminal: what there is, and the next command.
pub(crate) fn announcement(server: &Server, mode: &RecoveryMode) -> String {
    let report = mode.report();
    let data = std::path::absolute(&mode.data).unwrap_or_else(|_| mode.data.clone());
    let data = data.display();
    let http = server.addresses().map_or_else(String::new, |it| it.http.to_string());
    let next = match (report.code, mode.ranges().as_slice()) {
        (exit::CLEAN | exit::TORN | exit::HEALED, _) => {
            "nothing stands in the way: end this one and start without --recovery-mode".to_owned()
        }
        (_, []) => "bring the named file back from a copy, or restore a backup".to_owned(),
        (_, ranges) => {
            let accepted: Vec<String> =
                ranges.iter().map(|range| format!("--accept-loss {range}")).collect();
            format!("rekindle repair --http {http} {} --reason TEXT", accepted.join(" "))
        }
    };
    format!(
        "rekindle {version} is in recovery mode: it serves no work\n\
         data:       {data}\n\
         http:       http://{http}\n\
         verdict:    {verdict}\n\
         next:       {next}\n",
        version = env!("CARGO_PKG_VERSION"),
        verdict = report.verdict_line(),
    )
}
